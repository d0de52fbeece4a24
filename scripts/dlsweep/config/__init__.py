"""config.yaml -> experiments -> settings: the language, the hyper-parameters, and the hash of a setting."""
