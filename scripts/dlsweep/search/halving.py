"""Successive halving: the best of a rung go on, from their checkpoints."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from dlsweep.search.history import Trial


def promoted(trials: Sequence[Trial], n: int) -> list[Trial]:
    """Return the n best of a rung, the first ones of equals; of equal settings one, as long as there are others."""
    unlike: dict[str, Trial] = {}
    for trial in trials:
        unlike.setdefault(trial.key, trial)
    ranked = sorted(unlike.values(), key=lambda trial: trial.value)  # is stable
    return list(itertools.islice(itertools.cycle(ranked), n))
