"""How many steps an epoch has. Loads no torch: figures ask too."""

from __future__ import annotations

import math


def images_per_step(n_train: int, batch_size: int | str) -> int:
    """Return how many images a batch has; `full` is all of them, and no batch has more than there are."""
    return n_train if batch_size == "full" else min(int(batch_size), n_train)


def steps_per_epoch(n_train: int, batch_size: int | str) -> int:
    """Return how often an epoch of `n_train` images updates the weights.

    A last batch of a single image is left out: batch normalization cannot train on it.
    """
    size = images_per_step(n_train, batch_size)
    single = n_train % size == 1 and size > 1
    return n_train // size if single else math.ceil(n_train / size)
