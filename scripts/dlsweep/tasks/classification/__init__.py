"""The built-in task: data, models, optimizers and training of a classifier."""
