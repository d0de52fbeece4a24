"""Tables -> figures, a file for each family."""
