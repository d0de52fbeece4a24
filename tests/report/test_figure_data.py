"""What figures compute from the tables, without drawing: their numbers are those that pandas finds by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dlsweep.config.kinds import FigureSpec
from dlsweep.report.figures import data
from dlsweep.report.figures.categories import categorical_data
from dlsweep.report.figures.curves import curves_data, gradients_data, many_curves_data
from dlsweep.report.figures.drawing import load
from dlsweep.report.figures.grids import confusion_data, heatmap_data
from dlsweep.report.figures.importance import importance_data
from dlsweep.report.figures.lines import line_data, speed_data
from dlsweep.report.figures.parallel import parallel_data
from dlsweep.report.figures.points import gap_data
from dlsweep.results.leaderboard import group_settings
from dlsweep.results.tables import write_tables
from fake import fake_sweep

LRS, ACTS = (0.01, 0.1, 1), ("relu", "tanh")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> data.Tables:
    """18 runs, of which those with a learning rate of 1 diverge in their second epoch."""
    folder: Path = tmp_path_factory.mktemp("data")
    experiment = {"grid": {"lr": list(LRS), "act": list(ACTS)}, "seeds": 3, "log_gradients": True}
    write_tables(fake_sweep({"defaults": {"epochs": 4}, "experiments": {"e": experiment}}, folder), folder)
    return load(folder)["e"]


def test_a_cell_of_a_heat_map_is_the_mean_of_its_runs(tables: data.Tables):
    found = heatmap_data(tables.summary, FigureSpec("heatmap", x="lr", y="act", hue="test_acc"))
    assert (list(found.means.columns), list(found.means.index)) == (["0.01", "0.1", "1"], ["tanh", "relu"])
    for act in ACTS:
        for lr in LRS:
            runs = tables.summary[(tables.summary["act"] == act) & (tables.summary["lr"] == lr)]
            assert found.means.loc[act, f"{lr:g}"] == pytest.approx(runs["test_acc"].mean(), nan_ok=True)
            assert found.diverged.loc[act, f"{lr:g}"] == (3 if lr == 1 else 0) == (runs["status"] == "diverged").sum()


def test_a_row_of_a_confusion_matrix_is_shared_among_the_classes(tables: data.Tables):
    counts, shares = confusion_data(tables.confusion)
    assert counts.to_numpy().sum() == tables.confusion["count"].sum()
    assert shares.sum(axis=1).to_numpy() == pytest.approx(np.where(counts.sum(axis=1) > 0, 1, 0))


def test_curves_hold_each_run_until_it_diverges(tables: data.Tables):
    found = curves_data(tables, FigureSpec("curves", y="loss", col="lr"))
    assert set(found["split"]) == {"train", "val"}
    known = found[found["value"].notna()]
    assert known.groupby("lr", observed=True)["epoch"].max().to_dict() == {"0.01": 4, "0.1": 4, "1": 1}
    val = tables.epochs.set_index(["hash", "epoch"])["val_loss"]
    shown = known[known["split"] == "val"].set_index(["hash", "epoch"])["value"]
    assert shown.to_dict() == val[shown.index].to_dict()
    assert not found["alone"].any()  # all runs of a panel end in the same epoch
    together = curves_data(tables, FigureSpec("curves", y="loss"))
    assert sorted(together.loc[together["alone"], "epoch"].unique()) == [2, 3, 4]  # of those that did not diverge


def test_a_curve_of_a_setting_is_the_mean_over_its_seeds(tables: data.Tables):
    best, *_, worst = group_settings(tables.summary, tables.columns)["label"]
    found, means = many_curves_data(tables, "acc", [best, worst])
    assert set(found["label"]) == {best, worst} and list(means.columns) == ["train", "val"]
    runs = tables.summary.loc[tables.summary["label"] == best, "hash"]
    expected = tables.epochs[tables.epochs["hash"].isin(runs)].groupby("epoch")["val_acc"].mean()
    assert means.loc[best, "val"].to_dict() == pytest.approx(expected.to_dict())
    assert means.loc[worst, "val"].dropna().index.tolist() == [1]  # then it diverged


def test_gradients_are_of_the_first_and_the_last_epoch(tables: data.Tables):
    found, left_out = gradients_data(tables, FigureSpec("gradients", hue="act"))
    assert left_out == "" and set(found["in epoch"]) == {"first", "last"}
    last = tables.gradients.groupby("hash")["epoch"].max()
    ends = found[found["in epoch"] == "last"]
    assert (ends["epoch"] == ends["hash"].map(last)).all()


def test_lines_and_speeds_are_over_the_values_of_x(tables: data.Tables):
    found, axis, _, in_bins = line_data(tables, FigureSpec("line", x="lr", y="acc", hue="act"))
    assert (axis.log, in_bins, len(found)) == (True, "", 3 * len(tables.summary))
    means = found[found["split"] == "test"].groupby("position")["value"].mean()
    assert means.to_dict() == pytest.approx(tables.summary.groupby("lr")["test_acc"].mean().to_dict(), nan_ok=True)
    speeds, _ = speed_data(tables, FigureSpec("speed", x="lr"))
    for measure in ("samples_per_second", "seconds_per_epoch", "test_acc"):
        values = speeds.loc[speeds["measure"] == measure, "value"]
        assert values.tolist() == pytest.approx(tables.summary[measure].tolist(), nan_ok=True)


def test_categories_by_label_are_the_best_first(tables: data.Tables):
    found, _, left_out = categorical_data(tables, FigureSpec("bars", x="label", y="val_acc"))
    assert list(found["label"].cat.categories) == list(group_settings(tables.summary, tables.columns)["label"])
    assert (left_out, len(found)) == ("", 18)


def test_parallel_coordinates_are_by_rank(tables: data.Tables):
    found = parallel_data(tables, "test_acc")
    assert list(found.index) == list(group_settings(tables.summary, tables.columns)["label"])
    assert set(found.columns) == {"lr", "act", "test_acc", "n_diverged"}
    assert found["n_diverged"].tolist() == [0, 0, 0, 0, 3, 3]


def test_importance_counts_diverged_runs_as_the_worst(tables: data.Tables):
    found = importance_data(tables, "test_acc")
    assert (found.n_worst, len(found.runs), found.order[0]) == (6, 18, "lr")
    for y, worst in (("test_acc", min), ("val_loss", max)):
        runs = importance_data(tables, y).runs
        finished = tables.summary.loc[tables.summary["status"] != "diverged", y]
        assert set(runs.loc[runs["status"] == "diverged", "value"]) == {worst(finished)}
    with pytest.raises(data.Undrawable, match="are too few"):
        importance_data(replace(tables, summary=tables.summary[tables.summary["lr"] == 0.1]), "test_acc")


def test_the_gap_is_of_the_tested_weights_where_all_runs_have_it(tables: data.Tables):
    summary = tables.summary.assign(tested_train_acc=0.9)
    assert gap_data(replace(tables, summary=summary), "acc")[:2] == ("tested_train_acc", "tested_val_acc")
    old = summary.assign(tested_train_acc=summary["tested_train_acc"].where(summary["seed"] > 0))
    x, y, measure = gap_data(replace(tables, summary=old), "acc")
    assert (x, y) == ("train_acc", "val_acc") and measure.endswith("since 4 of 12 runs have no other")
