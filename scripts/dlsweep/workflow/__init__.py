"""What the Snakefile asks: the paths, jobs and GPUs of a sweep, its session, and what the user hears."""
