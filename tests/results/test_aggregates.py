"""Aggregates over data sets, against rliable, scipy and numbers by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dlsweep.results.aggregates import improvement, interquartile_mean, profile
from dlsweep.results.tables import write_tables
from fake import fake_sweep

# Five runs of two settings on three data sets, and what rliable 1.2.0 says of them (20,000 and 5,000 resamples).
A = np.array([[813, 843, 498, 613, 778], [923, 666, 827, 808, 801], [644, 679, 786, 577, 678]]) / 1000
B = np.array([[703, 780, 830, 619, 550], [400, 839, 857, 720, 598], [436, 746, 868, 659, 327]]) / 1000
RLIABLE = {
    "iqm": (0.73922222, 0.676, 0.79044444),
    "improvement": (0.57333333, 0.34666667, 0.78666667),
    "profile": ([0.93333333, 0.86666667, 0.53333333, 0.4], [0.8, 0.66666667, 0.33333333, 0.2], [1, 1, 0.73333333, 0.6]),
}
THRESHOLDS = np.array([0.5, 0.6, 0.7, 0.8])


def test_the_aggregates_are_those_of_rliable():
    for name, found in {
        "iqm": interquartile_mean(A),
        "improvement": improvement(A, B, "max"),
        "profile": profile(A, THRESHOLDS, "max"),
    }.items():
        value, low, high = RLIABLE[name]
        assert found.value == pytest.approx(value), name
        assert (found.low, found.high) == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01)), name


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_the_interquartile_mean_is_that_of_scipy(n: int):
    scores = np.random.default_rng(n).random((2, n))
    assert interquartile_mean(scores).value == pytest.approx(stats.trim_mean(scores, 0.25, axis=None))


def test_the_probability_of_improvement_is_the_statistic_of_mann_and_whitney():
    expected = np.mean([stats.mannwhitneyu(a, b).statistic / (len(a) * len(b)) for a, b in zip(A, B, strict=True)])
    assert improvement(A, B, "max").value == pytest.approx(expected)
    assert improvement(A, B, "min").value == pytest.approx(1 - expected)
    assert improvement(A, A, "max").value == pytest.approx(0.5)
    # By hand, with unlike numbers of runs and an equal pair: 3.5 of 6 pairs, and 2 of 2.
    first, second = [np.array([1.0, 3.0]), np.array([5.0])], [np.array([0.0, 2.0, 3.0]), np.array([4.0, 4.0])]
    assert improvement(first, second, "max").value == pytest.approx((3.5 / 6 + 1) / 2)


def test_a_profile_of_a_loss_counts_what_is_below():
    found = profile([np.array([0.1, 0.4]), np.array([0.2])], np.array([0.15, 0.3]), "min")
    assert found.value.tolist() == [0.25, 0.75]


# -- of a sweep ----------------------------------------------------------------------------------------------------

SEVERAL = {
    "defaults": {"epochs": 3},
    "experiments": {
        "several": {"grid": {"dataset": ["digits", "mnist"], "lr": [0.001, 0.03, 1]}, "seeds": 3},
        "one": {"grid": {"lr": [0.01, 0.1]}},
    },
}


def test_settings_are_compared_over_the_data_sets_of_an_experiment(tmp_path: Path):
    plan = fake_sweep(SEVERAL, tmp_path / "results")
    write_tables(plan, tmp_path)
    found, profiles = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("aggregates", "profiles"))
    assert list(found["label"]) == ["lr=0.03", "lr=0.001", "lr=1"] and set(found["exp_name"]) == {"several"}
    assert (found["n_data"] == 2).all() and (found["n"] == 6).all() and list(found["n_diverged"]) == [0, 0, 6]
    summary = pd.read_csv(tmp_path / "summary.csv").query("exp_name == 'several' and lr == 0.03")
    assert found["iqm"][0] == pytest.approx(stats.trim_mean(summary["test_acc"], 0.25)) and found["iqm"][2] == 0
    assert list(found["improvement"][1:]) == [1, 1] and (found["iqm_low"] <= found["iqm_high"]).all()
    assert len(profiles) == 3 * 21 and profiles.groupby("label")["share"].max()["lr=1"] == 0
    text = (tmp_path / "leaderboard.md").read_text()
    assert "Over 2 data sets together" in text and f"| 1 | lr=0.03 | 6 | {found['iqm'][0]:.4f} [" in text

    # The tables of a config that compares nothing over data take the place of these.
    write_tables(fake_sweep({"experiments": {"one": SEVERAL["experiments"]["one"]}}, tmp_path / "results"), tmp_path)
    assert not list(tmp_path.glob("aggregates*")) and not list(tmp_path.glob("profiles*"))
