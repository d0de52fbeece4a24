"""One run, from its command line to its record: devices, signals, checkpoints, the warm start."""
