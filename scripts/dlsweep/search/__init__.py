"""Which settings a search tries next: a function of the config and of the results of earlier rounds alone."""
