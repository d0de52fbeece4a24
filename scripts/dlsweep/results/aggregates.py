"""Settings over several data sets: the aggregates of Agarwal et al. (2021).

Deep Reinforcement Learning at the Edge of the Statistical Precipice, NeurIPS 34; their library is rliable. A mean over
data sets says little of a few runs each, and a best of them nothing. These three use every run: the interquartile mean,
the probability of improvement, and the performance profile, each with an interval that resamples the runs of each data
set for itself (stratified bootstrap, percentiles).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dlsweep.results.statistics import CONFIDENCE

RESAMPLES = 2000
TRIMMED = 0.25  # at each end
THRESHOLDS = 21  # of a profile

Scores = Sequence[np.ndarray]
"""Of one setting: for each data set the values of its runs, any number of them from one."""


@dataclass(frozen=True)
class Estimate:
    """A number, or several, with the ends of the 95 % bootstrap interval."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def interquartile_mean(scores: Scores) -> Estimate:
    """Return the mean of the middle half of all runs, over all data sets.

    It bears with outliers as a median does, but uses half of the runs; data sets count by how many runs they have.
    """
    draws = np.concatenate([task[_drawn(task, i)] for i, task in enumerate(scores)], axis=1)
    return _estimate(_trimmed_mean(np.concatenate(scores)[None])[0], _trimmed_mean(draws))


def _trimmed_mean(values: np.ndarray) -> np.ndarray:
    """The mean of each row without a quarter of its values at each end, as scipy.stats.trim_mean takes them off."""
    cut = int(TRIMMED * values.shape[1])
    mean: np.ndarray = np.sort(values, axis=1)[:, cut : values.shape[1] - cut].mean(axis=1)
    return mean


def improvement(scores: Scores, others: Scores, better: str) -> Estimate:
    """Return the probability that a run of a setting is better than one of another, on a data set drawn at random.

    On each data set it is the statistic of Mann and Whitney (1947) divided by the number of pairs, of which equal ones
    count half; `better` is `max` or `min`. 0.5 says that neither is better. It needs no common scale, so it holds for
    any metric; how much better it does not say.
    """
    values, draws = [], []
    for i, (task, other) in enumerate(zip(scores, others, strict=True)):
        sign = 1 if better == "max" else -1
        beyond = sign * (task[:, None] - other[None, :])
        wins = (beyond > 0) + 0.5 * (beyond == 0)
        values.append(wins.mean())
        first, second = _weights(task, 2 * i), _weights(other, 2 * i + 1)
        draws.append(((first @ wins) * second).sum(axis=1))
    return _estimate(np.mean(values), np.mean(draws, axis=0))


def profile(scores: Scores, thresholds: np.ndarray, better: str) -> Estimate:
    """Return the share of all runs that are better than each threshold (Dolan & Moré 2002, as score distributions).

    A setting whose profile lies above another's everywhere is better, whatever a data set demands. Data sets count
    alike.
    """
    values, draws = [], []
    for i, task in enumerate(scores):
        beyond = (task[:, None] > thresholds if better == "max" else task[:, None] < thresholds).astype(float)
        values.append(beyond.mean(axis=0))
        draws.append(_weights(task, i) @ beyond)
    return _estimate(np.mean(values, axis=0), np.mean(draws, axis=0))


def _drawn(task: np.ndarray, seed: int) -> np.ndarray:
    """The runs of each resample, (RESAMPLES, n); the same for the same data."""
    return np.random.default_rng(seed).integers(len(task), size=(RESAMPLES, len(task)))


def _weights(task: np.ndarray, seed: int) -> np.ndarray:
    """How often each run is in each resample, as a share, (RESAMPLES, n)."""
    n = len(task)
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n


def _estimate(value: np.ndarray, draws: np.ndarray) -> Estimate:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
    return Estimate(np.asarray(value), low, high)
