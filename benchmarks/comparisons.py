"""How often the truly best setting is called worse, and a worse one is told: the table in docs/reference/methods.md.

Each experiment draws test accuracies, and validation accuracies that go with them (correlation 0.8), selects by
validation and compares on test: by paired t-tests corrected by Holm's method, as the leaderboard does, and by Dunnett's
critical value with the spread of all settings pooled.
"""

import sys
from pathlib import Path

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from dlsweep.results.statistics import SIGNIFICANT

EXPERIMENTS = 4000
CASES = {
    "5 settings, steps of 0.01, spread 0.005": (0.95 - 0.01 * np.arange(5), np.full(5, 0.005)),
    "9 settings, two are 0.02 better, spread 0.01": (np.r_[0.95, 0.95, np.full(7, 0.93)], np.full(9, 0.01)),
    "9 equal settings, spread 0.01": (np.full(9, 0.95), np.full(9, 0.01)),
    "9 equal settings, spread 0.002 to 0.05": (np.full(9, 0.95), np.geomspace(0.002, 0.05, 9)),
    "9 settings, the best varies by 0.05, the others by 0.003": (
        np.r_[0.95, np.full(8, 0.94)],
        np.r_[0.05, np.full(8, 0.003)],
    ),
}


def holm(p_values: np.ndarray) -> np.ndarray:
    """Which of each row's p-values Holm's method rejects."""
    order = np.argsort(p_values, axis=1)
    ordered = np.take_along_axis(p_values, order, axis=1)
    rejected = np.logical_and.accumulate(ordered <= SIGNIFICANT / np.arange(p_values.shape[1], 0, -1), axis=1)
    found = np.zeros_like(rejected)
    np.put_along_axis(found, order, rejected, axis=1)
    return found


def dunnett(n_settings: int, df: int) -> float:
    """The two-sided critical value of the greatest of n_settings - 1 differences from one, by simulation."""
    generator = np.random.default_rng(1)
    values = generator.normal(size=(400_000, n_settings))
    sd = np.sqrt(generator.chisquare(df, len(values)) / df)
    greatest = np.abs(values[:, 1:] - values[:, :1]).max(axis=1) / np.sqrt(2) / sd
    return float(np.quantile(greatest, 1 - SIGNIFICANT))


def simulate(means: np.ndarray, sds: np.ndarray, n: int) -> dict[str, tuple[float, float, float]]:
    """Shares of each method: the first best setting called worse, any of the best, each of the others."""
    generator, k = np.random.default_rng(0), len(means)
    test = means + generator.normal(size=(EXPERIMENTS, n, k)) * sds
    val = means + 0.8 * (test - means) + 0.6 * generator.normal(size=test.shape) * sds
    first = val.mean(axis=1).argmax(axis=1)
    row = np.arange(EXPERIMENTS)
    gap = test - test[row, :, first][:, :, None]
    mean = gap.mean(axis=1)
    others = np.ones((EXPERIMENTS, k), bool)
    others[row, first] = False
    with np.errstate(invalid="ignore"):  # the first against itself
        p_values = 2 * stats.t.sf(np.abs(mean) / (gap.std(axis=1, ddof=1) / np.sqrt(n)), n - 1)
    paired = np.zeros_like(others)
    paired[others] = holm(p_values[others].reshape(EXPERIMENTS, -1)).ravel()
    rest = test - test.mean(axis=1, keepdims=True) - test.mean(axis=2, keepdims=True)
    rest += test.mean(axis=(1, 2), keepdims=True)
    df = (n - 1) * (k - 1)
    pooled = np.abs(mean) / np.sqrt(2 * (rest**2).sum(axis=(1, 2)) / df / n)[:, None] > dunnett(k, df)
    best = means == means.max()
    found = {}
    for name, rejected in (("paired t, Holm", paired), ("Dunnett, pooled", pooled)):
        worse = rejected & (mean < 0)
        told = worse[:, ~best].mean() if (~best).any() else np.nan
        found[name] = (worse[:, best.argmax()].mean(), worse[:, best].any(axis=1).mean(), told)
    return found


if __name__ == "__main__":
    for name, (means, sds) in CASES.items():
        for n in (3, 5, 10):
            for method, (lost, any_lost, told) in simulate(means, sds, n).items():
                print(f"{name}, {n} seeds, {method}: {lost:.1%} lost, {any_lost:.1%} any, {told:.0%} told")
