"""Settings that are repeated on folds and on random splits: what is compared, and with which uncertainty."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit, logit

from conftest import Project
from dlsweep.config.identity import identity
from dlsweep.config.sweep import expand_config
from dlsweep.errors import ConfigError
from dlsweep.report.captions import finding
from dlsweep.report.figures.data import Tables, marks_of
from dlsweep.report.figures.notes import runs_note
from dlsweep.results.aggregates import data_markdown
from dlsweep.results.columns import Columns
from dlsweep.results.decisions import decide, sentences
from dlsweep.results.leaderboard import compare_settings, leaderboard_notes
from dlsweep.results.records import FINDINGS
from dlsweep.results.splits import ONE_SPLIT, Splits, splits_of
from dlsweep.results.statistics import compare_with_first
from dlsweep.results.tables import make_tables, read_records
from fake import fake_sweep


def corrected(differences: list[float], ratio: float) -> float:
    """The p-value of Nadeau & Bengio's test as scikit-learn's example of comparing models computes it."""
    n = len(differences)
    t = np.mean(differences) / np.sqrt(np.var(differences, ddof=1) * (1 / n + ratio))
    return 2 * stats.t.sf(np.abs(t), n - 1)


@pytest.mark.parametrize("ratio", [0.0, 0.25, 1 / 9])
def test_the_corrected_resampled_test_against_its_formula(ratio: float):
    generator = np.random.default_rng(0)
    values = generator.normal(0.9, 0.02, (10, 3))
    found = compare_with_first(values, ratio)
    expected = [corrected(values[:, i] - values[:, 0], ratio) for i in (1, 2)]
    assert found.p_value[1:] == pytest.approx(expected)
    assert found.test[1:] == ["corrected paired" if ratio else "paired"] * 2
    values[:5, 1] = math.nan  # other splits
    a, b = (np.var(column[np.isfinite(column)], ddof=1) for column in (values[:, 0], values[:, 1]))
    a, b = a * (1 / 10 + ratio), b * (1 / 5 + ratio)
    t = (values[5:, 1].mean() - values[:, 0].mean()) / np.sqrt(a + b)
    df = (a + b) ** 2 / (a**2 / 9 + b**2 / 4)
    assert compare_with_first(values, ratio).p_value[1] == pytest.approx(2 * stats.t.sf(abs(t), df))


def test_equal_settings_are_rarely_told_apart_by_random_splits_only_with_the_correction():
    """Accuracies of constant predictions on random halves of the same 100 images: all that differs is the split."""
    generator = np.random.default_rng(0)
    n_wrong, n_naive, n_experiments = 0, 0, 300
    for _ in range(n_experiments):
        better = generator.choice([-1, 0, 1], 100)  # which of two equally good models is right on an image
        means = [better[generator.permutation(100)[:20]].mean() for _ in range(15)]
        n_wrong += corrected(means, 20 / 80) < 0.05
        n_naive += corrected(means, 0) < 0.05
    assert n_wrong / n_experiments <= 0.07 < 0.2 < n_naive / n_experiments


CONFIG = {
    "defaults": {"epochs": 1},
    "experiments": {"e": {"grid": {"lr": [0.1, 0.001]}, "folds": 5, "split_seeds": 2, "seeds": 2}},
}


def test_tables_figures_and_findings_say_that_they_are_over_folds(tmp_path: Path):
    plan = fake_sweep(CONFIG, tmp_path)
    tables, known = make_tables(plan, read_records(plan)[0])
    summary, columns, board = tables["summary"], known["e"], tables["leaderboard"]
    assert columns.splits == Splits(("split_seed", "fold"), 0.25)
    assert list(board["n"]) == [20, 20] and set(board["label"]) == {"lr=0.1", "lr=0.001"}  # no label names a repetition
    of_seeds = summary.pivot_table("test_acc", ["split_seed", "fold"], "label", "mean")
    by_fold = of_seeds[board["label"]].to_numpy()
    assert board["p_value"][1] == pytest.approx(corrected(by_fold[:, 1] - by_fold[:, 0], 1 / 4))
    assert board["test"][1] == "corrected paired"
    mean, sd = by_fold[:, 0].mean(), by_fold[:, 0].std(ddof=1)
    half = stats.t.isf(0.025, 9) * sd * math.sqrt(1 / 10 + 1 / 4) / (mean * (1 - mean))
    ends = pytest.approx((expit(logit(mean) - half), expit(logit(mean) + half)))
    assert (board["test_acc_low"][0], board["test_acc_high"][0]) == ends
    marks = marks_of(summary.assign(value=summary["test_acc"]), ["label"], (0, 1), columns.splits).set_index("label")
    best = marks.loc[board["label"][0]]
    assert (best["low"], best["high"]) == ends and best["n"] == 10  # as in the figures
    names = ("epochs", "gradients", "confusion", "classes", "calibration", "mistakes")
    note = runs_note(
        Tables(summary, **{name: tables[name] for name in names}, columns=columns),
        ["lr"],
        summary.assign(value=summary["test_acc"]),
        "test_acc",
    )
    assert "Mean of 20 runs (2 seeds, 2 splits, 5 folds)" in note
    assert "confidence interval over splits" in note and "Nadeau & Bengio" in note
    assert "over 10 splits" in finding(summary, columns) and "2 seeds, 2 splits, 5 folds" in finding(summary, columns)
    assert "corrected resampled t-test" in " ".join(leaderboard_notes(columns))
    decision = decide(summary, columns, plan.experiments["e"].varies, board)
    assert decision.seeds is None  # more folds of the same data help only so far
    assert sentences(decision)[-1] == (
        "Intervals and tests are over splits, corrected for what these share: they cover the choice of training and"
        " test data, not the seeds."
    )


def test_what_the_splits_share_follows_from_the_settings():
    def of(**columns: list[object]) -> Splits:
        return splits_of(pd.DataFrame(columns))

    assert of(seed=[0, 1], split_seed=[0, 0], test_size=[0.2, 0.2]) == ONE_SPLIT
    assert of(split_seed=[0, 1], test_size=[0.2, 0.2]) == Splits(("split_seed",), 0.25)
    assert of(split_seed=[0, 1], test_size=[None, None]).overlap == 0  # the data's own test split
    assert of(split_seed=[0, 1]).overlap is None  # of own code, which may do anything
    assert of(fold=[0, 1, 2]) == Splits(("fold",), 0.5)  # own code that has no n_folds
    assert of(fold=[0, 1], n_folds=[10, 10]) == Splits(("fold",), 1 / 9)  # as far as it is by now
    assert of(seed=[0, 1, 0, 1], split_seed=[0, 1, 0, 1], test_size=[0.5] * 4).covers_seeds
    assert not of(seed=[0, 0, 1, 1], split_seed=[0, 1, 0, 1], test_size=[0.5] * 4).covers_seeds
    by_count = {"test_size": [300, 300], "samples_per_second": [1000.0] * 2, "train_seconds": [3.0] * 2}
    assert of(split_seed=[0, 1], epochs_run=[2, 2], **by_count).overlap == pytest.approx(300 / 1500)
    known = Columns(splits=of(split_seed=[0, 1]))
    rows = [
        {"label": label, "hash": f"{label}{i}", "split_seed": i, "status": "finished", "outdated": None}
        | {"tested_val_acc": value, "test_acc": value, "test_loss": 1.0}
        for label, values in {"a": [0.9, 0.93, 0.91], "b": [0.8, 0.82, 0.83]}.items()
        for i, value in enumerate(values)
    ]
    part = pd.DataFrame(rows)
    assert compare_settings(part, known)["test"][1] == "paired"
    assert "too certain: how far the splits overlap is not known" in sentences(decide(part, known))[-1]


def test_a_cross_validation_tests_every_image_once(project: Project):
    rng = np.random.default_rng(0)
    classes = np.repeat([0, 1, 2], [30, 20, 13])
    np.savez(project.folder / "small.npz", x_train=rng.normal(size=(63, 4)) + classes[:, None], y_train=classes)
    project.configure(
        {
            "defaults": {"dataset": "npz", "data_path": "small.npz", "epochs": 2, "n_layer": 1},
            "experiments": {"cv": {"grid": {"hid_dim": [8, 16]}, "folds": 3, "figures": []}},
        }
    )
    done = project.snakemake("results/leaderboard.md")
    assert done.returncode == 0, done.stdout + done.stderr
    records = project.records().values()
    for width in (8, 16):
        tested = [np.array(r["final"]["confusion"]).sum(axis=1) for r in records if r["setting"]["hid_dim"] == width]
        assert sum(tested).tolist() == [30, 20, 13]
        assert all(counts.tolist() in ([10, 7, 4], [10, 7, 5], [10, 6, 4], [10, 6, 5]) for counts in tested)
    assert {(r["setting"]["n_folds"], r["setting"]["fold"]) for r in records} == {(3, 0), (3, 1), (3, 2)}
    assert all("test_size" not in r["setting"] for r in records)
    board = (project.results / "leaderboard.md").read_text()
    assert "over folds" in " ".join(board.split()) and "corrected resampled t-test" in " ".join(board.split())
    (found,) = json.loads((project.results / FINDINGS).read_text())["experiments"].values()
    assert "over folds, corrected for what these share" in found["sentences"][-1]


# -- the language --------------------------------------------------------------------------------------------------


def settings_of(**experiment: object) -> list[dict]:
    return list(expand_config({"experiments": {"e": experiment}}).experiments["e"].settings.values())


def test_repetitions_are_part_of_a_hash_only_where_they_are_asked_for():
    assert identity(settings_of(lr=0.1)[0]) == {"lr": 0.1}
    assert [identity(one) for one in settings_of(folds=2)] == [{"n_folds": 2}, {"n_folds": 2, "fold": 1}]
    assert [identity(one) for one in settings_of(split_seeds=[7])] == [{"split_seed": 7}]
    assert settings_of(folds=2, test_size=0.3) == settings_of(folds=2)  # a fold is the test split
    child = {"extends": "a", "folds": None, "split_seeds": 3, "grid": {"seed": [5]}}
    found = expand_config({"experiments": {"a": {"folds": 4, "seeds": 2}, "b": child}}).experiments["b"]
    assert [identity(one) for one in found.settings.values()] == [
        {"seed": 5, **({"split_seed": i} if i else {})} for i in range(3)
    ]


@pytest.mark.parametrize(
    ("experiment", "parts"),
    [
        ({"folds": 1}, ["e.folds: 1 is not allowed", "an integer from 2"]),
        ({"folds": True}, ["e.folds: true is not allowed"]),
        ({"folds": 3, "fold": 1}, ["e.folds: sets fold, which experiments.e.fold sets as well"]),
        ({"folds": 3, "dataset": "mnist"}, ["e.folds: mnist has a test split of its own", "use split_seeds"]),
        ({"split_seeds": 0}, ["e.split_seeds: 0 is not allowed"]),
        ({"n_folds": 3, "fold": 3}, ["e.fold: 3 is not allowed; with n_folds 3 allowed: 0 to 2"]),
        ({"n_repeats": 3}, ["Write 'split_seeds' instead"]),
        ({"kfold": 3}, ["Write 'folds' instead"]),
        ({"command": "run {lr} {metrics}", "lr": 1, "folds": 2}, ["has no hyper-parameter fold"]),
    ],
)
def test_a_mistake_names_the_key_and_what_is_allowed(experiment: dict, parts: list[str]):
    with pytest.raises(ConfigError) as error:
        settings_of(**experiment)
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_own_code_has_folds_where_it_has_the_parameter():
    found = settings_of(command="run {lr} {fold} {metrics}", lr=1, folds=3)
    assert [one["fold"] for one in found] == [0, 1, 2]


def test_intervals_over_data_sets_say_that_they_leave_out_what_splits_share():
    numbers = dict.fromkeys(("iqm", "iqm_low", "iqm_high", "improvement", "improvement_low", "improvement_high"), 0.5)
    aggregates = pd.DataFrame([{"rank": 1, "label": "a", "n_data": 2, "n": 10, "n_diverged": 0, **numbers}])
    assert "too narrow" in data_markdown(aggregates, Columns(splits=Splits(("fold",), 0.25)))[-1]
    assert "too narrow" not in data_markdown(aggregates, Columns())[-1]
