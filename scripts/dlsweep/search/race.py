"""Who stays in a race over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dlsweep.results.statistics import SIGNIFICANT, compare_with_first


def still_in(values: Sequence[Sequence[Sequence[float]]]) -> list[int]:
    """Return the places of the settings that nothing tells from the best one, in order, the best among them.

    `values` has, of each setting and each of its seeds, the values of that seed's splits and folds; smaller is better,
    infinite where a run diverged. The best is the one of which the fewest seeds diverged and, of those, the one with
    the best mean; of equal ones the first. Out is of whom more seeds diverged, or who is worse by a t-test over seeds,
    in pairs as in the leaderboard, corrected by Holm's method over those that are in: the t-race of irace
    (Lopez-Ibanez et al. 2016). Where no test is possible, as with differences that do not vary, who is not best stays.
    """
    of_seeds = np.array([[math.fsum(seed) / len(seed) for seed in setting] for setting in values])
    n_diverged = np.isinf(of_seeds).sum(axis=1)
    known = np.where(np.isfinite(of_seeds), of_seeds, np.nan)
    means = [math.fsum(row[np.isfinite(row)]) / max(np.isfinite(row).sum(), 1) for row in known]
    best = min(range(len(values)), key=lambda i: (n_diverged[i], means[i], i))
    others = [i for i in range(len(values)) if i != best]
    p_values = compare_with_first(known[[best, *others]].T).p_holm[1:]
    out = {
        i
        for i, p_value in zip(others, p_values, strict=True)
        if n_diverged[i] > n_diverged[best] or (p_value < SIGNIFICANT and means[i] > means[best])
    }
    return [i for i in range(len(values)) if i not in out]
