"""Figures: which are chosen, how a wrong name is answered, and that what is drawn is what the tables say."""

import hashlib
import itertools
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.axes import Axes
from PIL import Image

from conftest import LIMIT, ROOT
from dlsweep.config.kinds import KINDS, FigureSpec
from dlsweep.config.paths import record_name
from dlsweep.config.plan import Plan
from dlsweep.config.sweep import expand_config
from dlsweep.errors import ConfigError
from dlsweep.files import read_json
from dlsweep.report.captions import caption, captions, finding
from dlsweep.report.figures import axes, data, drawing
from dlsweep.report.figures.headings import Heading, heading_in
from dlsweep.results.columns import Columns
from dlsweep.results.decisions import decide
from dlsweep.results.tables import write_tables
from dlsweep.tasks.classification.steps import steps_per_epoch
from fake import fake_predictions, fake_sweep

FEW = {"grid": {"lr": [0.01, 0.1, 1], "act": ["relu", "tanh"]}, "seeds": 3, "log_gradients": True}
MANY = {
    "sample": {
        "n": 300,
        "lr": {"log_uniform": [1e-4, 1.2]},
        "hid_dim": {"log_int_uniform": [8, 512]},
        "optimizer": {"choice": ["sgd", "momentum", "adam"]},
        "dropout": {"uniform": [0, 0.6]},
    },
    "log_gradients": True,
}
GRID = {"grid": {"lr": [round(0.001 * 1.5**i, 6) for i in range(15)], "hid_dim": list(range(10, 210, 10))}}
RANGES = {"lr": {"log_uniform": [0.01, 1]}, "hid_dim": {"int_uniform": [4, 8]}}
OF_SETTINGS = [kind for kind in KINDS if kind not in ("rungs", "tuning")]  # of a search, of a comparison
EXPERIMENTS = {
    "few": {**FEW, "figures": OF_SETTINGS},
    "many": {**MANY, "figures": OF_SETTINGS},
    "batches": {"grid": {"batch_size": [4, 16, 64, "full"]}, "seeds": 2},
    "off": {"grid": {"grad_clip": [None, 0.1, 1.0], "batch_norm": [True, False]}, "seeds": 2},
}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, dict[str, data.Tables]]:
    folder = tmp_path_factory.mktemp("figures")
    plan = fake_sweep({"defaults": {"epochs": 4}, "experiments": EXPERIMENTS}, folder)
    for exp_name, digest in plan.records():
        fake_predictions(folder, read_json(folder / record_name(exp_name, digest)))
    write_tables(plan, folder)
    return replace(plan, tables=str(folder)), drawing.load(folder)


@pytest.fixture(autouse=True)
def closed():
    yield
    drawing.plt.close("all")


def draw(tables: data.Tables, exp_name: str = "few", **spec: str) -> mpl.figure.Figure:
    settings = expand_config({"experiments": {exp_name: {**EXPERIMENTS[exp_name], "figures": [spec]}}})
    (complete,) = settings.experiments[exp_name].figures
    return drawing.draw_one(exp_name, complete, tables)[0]


def chosen(experiment: dict) -> dict[str, dict]:
    found = expand_config({"experiments": {"e": experiment}}).experiments["e"].figures
    return {figure.name: figure.to_json() for figure in found}


# -- which figures -------------------------------------------------------------------------------------------------


def test_a_grid_of_two_gets_the_three_of_the_course():
    found = chosen({"grid": {"lr": [0.1, 0.2], "act": ["relu", "tanh"]}, "seeds": 2})
    assert list(found) == ["test_accuracy", "accuracy", "loss_curves", "accuracy_curves"]
    assert found["accuracy"] == {"kind": "bars", "name": "accuracy", "y": "acc", "x": "lr", "hue": "act"}
    for name, y in (("loss_curves", "loss"), ("accuracy_curves", "acc")):
        assert found[name] == {"kind": "curves", "name": name, "y": y, "col": "lr", "row": "act"}
    # The config's order decides which is first.
    assert chosen({"grid": {"act": ["relu", "tanh"], "lr": [0.1, 0.2]}})["accuracy"]["x"] == "act"


@pytest.mark.parametrize(
    ("experiment", "kinds"),
    [
        ({}, ["curves", "curves", "confusion"]),
        (
            {"epochs": 3, "search": {"method": "halving", "n": 3, **RANGES}},
            ["points", "history", "rungs", "slices", "contour", "importance", "parallel", "curves", "curves"],
        ),
        (
            {"search": {"method": "quasi_random", "n": 3, "lr": RANGES["lr"]}},
            ["points", "history", "slices", "curves", "curves"],
        ),
        ({"seeds": 3}, ["curves", "curves", "confusion"]),
        ({"grid": {"lr": [0.001, 0.01, 0.1]}}, ["line", "curves", "curves"]),
        ({"grid": {"act": ["relu", "tanh"]}}, ["points", "curves", "curves"]),
        ({"grid": {"batch_size": [16, 64, "full"]}}, ["points", "curves", "curves", "budget", "speed"]),
        ({"settings": [{}, {"dropout": 0.5}, {"l1": 0.1}]}, ["points", "curves", "curves", "gap"]),
        (
            {"grid": {"lr": [0.1, 0.2, 0.3], "seed": [1, 2], "l1": [0, 1, 2]}},
            ["line", "bars", "curves", "curves", "heatmap"],
        ),
        ({"grid": {"act": ["relu", "tanh"], "dropout": [0, 0.5]}}, ["points", "bars", "curves", "curves"]),
        (
            {"grid": {"act": ["relu", "tanh", "sigmoid"], "lr": [{"logspace": [0.001, 1, 50]}]}},
            ["line", "curves", "curves", "heatmap"],
        ),
        (MANY, ["points", "curves", "curves", "parallel", "importance", "scatter", "gradients"]),
        (
            {"grid": {"lr": [0.1, 0.2], "act": ["relu", "tanh"], "dropout": [0, 0.5], "n_layer": [1, 2]}},
            ["points", "curves", "curves", "parallel", "importance", "scatter"],
        ),
    ],
)
def test_the_automatic_figures_fit_what_varies(experiment: dict, kinds: list[str]):
    assert [figure["kind"] for figure in chosen(experiment).values()] == kinds


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        ({"kind": "barz"}, "figures[0].kind: 'barz' is not allowed; allowed: bars, .* Did you mean 'bars'"),
        ("heatmpa", "figures[0].kind: .*Did you mean 'heatmap'"),
        ({"kind": "bars", "x": "hid_dmi"}, "figures[0].x: 'hid_dmi' is not a column .*Did you mean 'hid_dim'"),
        ({"kind": "bars", "y": "test_ac"}, "figures[0].y: 'test_ac' .*Did you mean 'test_acc'"),
        ({"kind": "curves", "y": "val_los"}, "figures[0].y: 'val_los' .*Did you mean 'val_loss'"),
        (
            {"kind": "curves", "x": "second"},
            "figures[0].x: 'second' .*allowed: epoch, updates, seconds.*Did you mean 'seconds'",
        ),
        ({"kind": "line", "x": "act"}, "figures[0].x: 'act' is not a column .*the numeric hyper-parameters"),
        ({"kind": "bars", "huee": "lr"}, "figures[0].huee: bars has no such key; .*Did you mean 'hue'"),
        ({"kind": "bars", "name": "a/b"}, "figures[0].name: 'a/b' is not allowed"),
        ({"kind": "heatmap"}, "figures[0]: heatmap needs x and y: two hyper-parameters; here varies lr"),
        ({"kind": "gradients"}, "figures[0]: gradients needs log_gradients: true"),
        ({"kind": "rungs"}, "figures[0]: rungs needs a search whose runs pause, by halving or hyperband"),
        ({"kind": "contour"}, "figures[0]: contour needs two hyper-parameters; here varies lr"),
        (3, "figures[0]: must be a kind of figure or a mapping with one, not 3"),
    ],
)
def test_a_wrong_figure_is_named_with_the_nearest_name(figure: object, message: str):
    with pytest.raises(ConfigError, match=r"experiments\.e\." + message.replace("[0]", r"\[0\]")):
        chosen({"grid": {"lr": [0.1, 0.2]}, "figures": [figure]})


def test_names_of_figures_are_unique():
    found = chosen({"grid": {"lr": [0.1, 0.2]}, "figures": ["bars", "bars", {"kind": "curves", "y": "lr"}]})
    assert list(found) == ["bars", "bars_2", "curves"]
    with pytest.raises(ConfigError, match=r"figures\[1\].name: 'a' stands twice"):
        chosen({"figures": [{"kind": "curves", "name": "a"}, {"kind": "curves", "name": "a"}]})


# -- what is drawn -------------------------------------------------------------------------------------------------


def overlapping(ax: Axes) -> list[str]:
    """The tick labels of an axis that cover the one before."""
    found = []
    for axis in (ax.xaxis, ax.yaxis):
        boxes = [
            (label.get_window_extent(), label.get_text())
            for label in axis.get_ticklabels()
            if label.get_visible() and label.get_text()
        ]
        found += [text for (box, _), (other, text) in itertools.pairwise(boxes) if box.overlaps(other)]
    return found


@pytest.mark.parametrize("exp_name", ["few", "many"])
@pytest.mark.parametrize("kind", OF_SETTINGS)
def test_every_kind_draws_few_and_many_settings(sweep: tuple, exp_name: str, kind: str):
    _, tables = sweep
    drawn = draw(tables[exp_name], exp_name, kind=kind)
    drawn.draw_without_rendering()
    assert any(ax.has_data() for ax in drawn.axes)
    assert [text for ax in drawn.axes for text in overlapping(ax)] == []
    texts = " ".join(text.get_text() for text in drawn.texts).replace("\n", " ")
    assert "seed" in texts
    assert "diverged" in texts
    for legend in [*drawn.legends, *(ax.get_legend() for ax in drawn.axes if ax.get_legend())]:
        for ax in drawn.axes:
            assert not legend.get_window_extent().overlaps(ax.get_window_extent())


def test_a_large_grid_stays_readable():
    """A panel for each cell where they fit on a page, else one for each value of one, else one with the best."""
    for lr, hid_dim, axes_of in (
        (4, 4, {"col": "lr", "row": "hid_dim"}),
        (4, 7, {"col": "lr", "hue": "hid_dim"}),
        (9, 7, {"col": "lr", "hue": "hid_dim"}),
        (7, 9, {"col": "hid_dim", "hue": "lr"}),
        (15, 20, {"hue": "label"}),
    ):
        grid = {key: GRID["grid"][key][:n] for key, n in (("lr", lr), ("hid_dim", hid_dim))}
        found = chosen({"grid": grid})["loss_curves"]
        assert {axis: key for axis, key in found.items() if axis in ("col", "row", "hue")} == axes_of


def test_of_more_panels_than_can_be_read_the_best_are_drawn(sweep: tuple, monkeypatch: pytest.MonkeyPatch):
    _, tables = sweep
    monkeypatch.setattr(axes, "MOST_PANELS", 6)
    drawn = draw(tables["many"], "many", kind="strip", y="val_acc", x="optimizer", col="hid_dim")
    best = tables["many"].summary.groupby("hid_dim")["tested_val_acc"].max().nlargest(6).index
    assert [ax.get_title() for ax in drawn.axes] == [f"hid_dim = {value}" for value in sorted(best)]
    n_values = tables["many"].summary["hid_dim"].nunique()
    assert f"The best 6 of {n_values} values of hid_dim by validation accuracy." in note_of(drawn)


def test_panels_are_large_enough_to_read(sweep: tuple):
    """Also where they are many: a row of them goes on below, and the figure grows."""
    _, tables = sweep
    drawn = draw(tables["many"], "many", kind="strip", y="val_acc", x="optimizer", col="hid_dim")
    sizes = [ax.get_window_extent().size / drawn.dpi for ax in drawn.axes]
    assert len(sizes) == axes.MOST_PANELS and min(size.min() for size in sizes) > 1.4
    assert drawn.get_size_inches()[0] <= axes.PAGE


def note_of(drawn: mpl.figure.Figure) -> str:
    """Its sentences: none begins behind a semicolon."""
    note = drawn.texts[-1].get_text().replace("\n", " ")
    assert not re.search("; [A-Z]", note), note
    return note


@pytest.mark.parametrize("kind", ["points", "line", "bars"])
def test_one_bad_setting_and_one_wide_interval_leave_the_axis_to_the_others(sweep: tuple, kind: str):
    _, tables = sweep
    runs = tables["off"].summary
    runs = pd.concat([runs, runs.iloc[::2].assign(hash=lambda third: third["hash"].str[::-1])], ignore_index=True)
    place = dict(zip(runs["label"].unique(), range(6), strict=True))
    close = 0.9 + 0.01 * runs["label"].map(place) + 0.001 * runs.groupby("label").cumcount()
    spec = FigureSpec(kind, kind, x="grad_clip", y="test_acc", hue="batch_norm")
    for first, arrows in ((lambda seed: 0.2 + 0.01 * seed, ["0.21"]), (lambda seed: 0.9 + 0.04 * seed, [])):
        values = close.where(runs["label"].map(place) > 0, first(runs.groupby("label").cumcount()))
        drawn, _ = drawing.draw_one("off", spec, replace(tables["off"], summary=runs.assign(test_acc=values)))
        bottom, top = drawn.axes[0].get_ylim()
        found = [text.get_text() for text in drawn.axes[0].texts if text.get_gid() == "beyond"]
        if kind == "bars":
            assert bottom == 0 and top < 1.06 and not found
        else:
            assert bottom > 0.85 and top < 1.01 and found == arrows
            assert ("Arrows at the edge" in note_of(drawn)) is bool(arrows)
            assert "An interval that leaves the axis" in note_of(drawn)


def test_a_note_on_arrows_comes_with_arrows_only():
    ax = mpl.figure.Figure().subplots()
    ax.plot([0], [0.95], "o", gid="mean")
    note = axes.frame([ax], [*np.linspace(0.94, 0.96, 20), 0.7], [0.94, 0.96], (0.0, 1.0))
    assert note == "Single runs far from all others lie beyond the axis" and ax.get_ylim()[0] > 0.9


def test_marks_at_one_value_lie_side_by_side_with_their_single_runs(sweep: tuple):
    _, tables = sweep
    for kind in ("line", "points"):
        drawn = draw(tables["few"], kind=kind, x="lr", y="val_acc", hue="act")
        ax = drawn.axes[0]
        means = [line for line in ax.lines if line.get_gid() == "mean"]
        (legend,) = drawn.legends
        assert [one.get_marker() for one in legend.legend_handles] == [line.get_marker() for line in means], kind
        first = sorted(float(line.get_xdata()[0]) for line in means)
        assert len(first) == 2 and first[0] < first[1]
        runs = [line for line in ax.lines if line.get_gid() == "runs"]
        assert sum(len(line.get_xdata()) for line in runs) == tables["few"].summary["val_acc"].notna().sum()


def test_no_text_is_cut_at_the_edge(sweep: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Also where what is found is wider than all else, by letters that come out wider than in the layout."""
    monkeypatch.setattr(drawing, "heading_of", lambda tables, spec: Heading("Which?", "0123456789 m" * 20))
    settings = expand_config({"experiments": {"few": {**EXPERIMENTS["few"], "figures": ["box"]}}})
    figure, box = drawing.draw_one("few", settings.experiments["few"].figures[0], sweep[1]["few"])
    drawing.save(figure, box, tmp_path / "box.png", dpi=drawing.DPI)
    with Image.open(tmp_path / "box.png") as image:
        right = np.asarray(image.convert("L"))[:, -6:]
    assert (right == 255).all()


def test_a_figure_says_above_what_it_asks_and_what_it_finds(sweep: tuple):
    _, tables = sweep
    asked = replace(tables["few"], question="Which activation, and which learning rate?")
    for kind in OF_SETTINGS:
        settings = expand_config({"experiments": {"few": {**EXPERIMENTS["few"], "figures": [kind]}}})
        (spec,) = settings.experiments["few"].figures
        drawn, _ = drawing.draw_one("few", spec, asked)
        *above, _ = [text.get_text().replace("\n", " ") for text in drawn.texts]
        assert "few" not in " ".join(above) and len(above) >= 1, kind
    drawn, _ = drawing.draw_one("few", FigureSpec("points", "a_name", x="label", y="test_acc"), asked)
    finding, question = (drawn.texts[i].get_text().replace("\n", " ") for i in (0, 1))
    assert question == "Which activation, and which learning rate?"
    best = decide(asked.summary, asked.columns).best
    assert finding.startswith(f"Best: {best.label}, test accuracy {best.mean:.3f} [")


def test_bars_are_the_means_of_the_csv(sweep: tuple):
    plan, tables = sweep
    summary = pd.read_csv(Path(plan.tables) / "summary.csv")
    summary = summary[summary["exp_name"] == "few"]
    drawn = draw(tables["few"], kind="bars", x="lr", hue="act")
    for split, ax in zip(("train", "val", "test"), drawn.axes, strict=True):
        assert ax.get_title() == split
        expected = summary.groupby(["act", "lr"])[f"{split}_acc"].mean().dropna()
        heights = [patch.get_height() for patch in ax.patches if patch.get_height() > 0]
        assert sorted(heights) == pytest.approx(sorted(expected))
        crosses = [line.get_xdata() for line in ax.lines if line.get_gid() == "diverged"]
        assert np.concatenate(crosses) == pytest.approx([1.8, 2.2])  # both bars of lr = 1, the third place


def test_curves_are_the_means_of_the_csv(sweep: tuple):
    plan, tables = sweep
    folder = Path(plan.tables)
    summary, epochs = pd.read_csv(folder / "summary.csv"), pd.read_csv(folder / "epochs.csv")
    joined = epochs.merge(summary[["exp_name", "hash", "lr", "act", "test_acc"]], on=["exp_name", "hash"])
    joined = joined[joined["exp_name"] == "few"].rename(columns={"lr_y": "rate"})
    drawn = draw(tables["few"], kind="curves", y="acc", col="lr", row="act")
    panels = dict(zip([(a, r) for a in ("relu", "tanh") for r in (0.01, 0.1, 1)], drawn.axes, strict=True))
    for (act, lr), ax in panels.items():
        part = joined[(joined["act"] == act) & (joined["rate"] == lr)]
        lines = [line for line in ax.lines if line.get_gid() != "diverged"]
        for line, split in zip(lines, ("train", "val"), strict=True):
            mean = part[part["val_loss"].notna()].groupby("epoch")[f"{split}_acc"].mean()
            drawn_at = ~np.isnan(line.get_ydata())
            assert list(line.get_xdata()[drawn_at]) == list(mean.index)
            assert list(line.get_ydata()[drawn_at]) == pytest.approx(list(mean))
        (text,) = [text.get_text() for text in ax.texts if text.get_gid() == "test"]
        tested = part.groupby("hash")["test_acc"].first().dropna()
        assert text.startswith("diverged" if tested.empty else f"test {tested.mean():.3f} [")
    crosses = [line.get_xdata() for line in panels["relu", 1].lines if line.get_gid() == "diverged"]
    assert [2.0] in [list(cross) for cross in crosses]  # lr = 1 diverges in its second epoch


def test_curves_are_also_over_updates_and_over_seconds(sweep: tuple):
    """Each run's epoch is where its updates or seconds are; the seeds of a mean are drawn at their mean."""
    _, tables = sweep
    runs = tables["batches"].summary.query("batch_size == '16'")
    images = runs["samples_per_second"] * runs["train_seconds"] / runs["epochs_run"]
    steps = np.ceil(images.round() / 16).mean()
    for over, step in (("updates", steps), ("seconds", 0.1)):
        drawn = draw(tables["batches"], "batches", kind="curves", x=over, y="val_acc", col="batch_size")
        assert drawn.axes[1].get_title() == "batch_size = 16"
        assert drawn.axes[0].get_xscale() == ("log" if over == "updates" else "linear")
        (line,) = (line for line in drawn.axes[1].lines if line.get_gid() is None)
        assert list(line.get_xdata()) == pytest.approx([step * epoch for epoch in (1, 2, 3, 4)])
        assert "Updates of the weights differ: " in note_of(drawn)
    drawn = draw(tables["batches"], "batches", kind="budget")
    assert [ax.get_xlabel() for ax in drawn.axes] == ["epoch", "updates", "training time (s)"]
    assert [len([line for line in ax.lines if line.get_gid() is None]) for ax in drawn.axes] == [4, 4, 4]
    assert re.search(
        r"is reached first in epochs by batch_size=\S+ \(\d\), in updates by",
        drawn.texts[0].get_text().replace("\n", " "),
    )


def test_a_figure_of_one_batch_size_says_nothing_of_updates(sweep: tuple):
    _, tables = sweep
    assert "Updates" not in note_of(draw(tables["few"], kind="curves", y="acc"))


@pytest.mark.parametrize(
    ("n_train", "batch_size", "steps"),
    [(1437, 4, 359), (1438, 4, 360), (1437, "full", 1), (129, 64, 2), (129, 43, 3), (3, 64, 1), (5, 1, 5), (1, 1, 1)],
)
def test_steps_of_an_epoch(n_train: int, batch_size: int | str, steps: int):
    assert steps_per_epoch(n_train, batch_size) == steps


def test_a_line_over_a_logarithmic_hyperparameter(sweep: tuple):
    _, tables = sweep
    ax = draw(tables["few"], kind="line", x="lr", y="val_acc").axes[0]
    assert ax.get_xscale() == "log"
    means = tables["few"].summary.groupby("lr")["val_acc"].mean()
    assert list(ax.lines[0].get_xdata()) == list(means.index)
    assert list(ax.lines[0].get_ydata()) == pytest.approx(list(means), nan_ok=True)


def test_words_and_missing_values_have_their_place_on_an_axis(sweep: tuple):
    _, tables = sweep
    ax = draw(tables["batches"], "batches", kind="speed").axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["4", "16", "64", "full"]
    few = tables["batches"].summary.query("batch_size != 'full'").astype({"batch_size": int})  # NumPy's, in its heading
    assert draw(replace(tables["batches"], summary=few), "batches", kind="speed", x="batch_size")
    ax = draw(tables["off"], "off", kind="bars", x="grad_clip", hue="batch_norm", y="test_acc").axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0.1", "1", "none"]


def test_heatmap_and_confusion_hold_the_numbers_of_the_csv(sweep: tuple):
    _, tables = sweep
    ax = draw(tables["few"], kind="heatmap").axes[0]
    means = tables["few"].summary.pivot_table("test_acc", "act", "lr", dropna=False)
    written = sorted(text.get_text() for text in ax.texts)
    assert written == sorted(f"{value:.3f}" for value in means.to_numpy().ravel() if not np.isnan(value))
    ax = draw(tables["few"], kind="confusion").axes[0]
    assert [int(text.get_text()) for text in ax.texts] == list(tables["few"].confusion["count"])


@pytest.mark.parametrize(
    ("name", "values", "written"),
    [
        ("test_acc", [0.1, 0.97, 0.9714, 0.9], {"0.100", "0.970", "0.971", "0.900"}),
        ("test_loss", [12.3, 1.25, 0.031, 2.0], {"12.3", "1.2", "0.0", "2.0"}),
        ("n_parameters", [2e6, 3e7, 1, 500], {"2.00e+06", "3.00e+07", "1.00e+00", "5.00e+02"}),
        ("samples_per_second", [0, 0, 0, 0], {"0"}),
    ],
)
def test_the_numbers_of_a_heat_map_have_the_same_digits(sweep: tuple, name: str, values: list, written: set):
    _, tables = sweep
    runs = tables["few"].summary.query("lr < 1")
    numbers = dict(zip(runs["label"].unique(), values, strict=True))
    changed = replace(tables["few"], summary=runs.assign(**{name: runs["label"].map(numbers)}))
    drawn, _ = drawing.draw_one("few", FigureSpec("heatmap", "heatmap", x="lr", y="act", hue=name), changed)
    assert {text.get_text() for text in drawn.axes[0].texts} == written


def test_the_colours_of_a_heat_map_leave_out_what_is_far_from_all_others(sweep: tuple):
    _, tables = sweep
    runs = tables["few"].summary
    good = dict(zip(runs["label"].unique(), [0.9, 0.91, 0.92, 0.93, 0.94, 0.1], strict=True))
    for far, scale in (({}, (0.9, 0.94)), ({next(iter(good)): 0.2}, (0.1, 0.94))):  # two of six are no outliers
        values = runs["label"].map({**good, **far})
        changed = replace(tables["few"], summary=runs.assign(test_acc=values))
        drawn, _ = drawing.draw_one("few", FigureSpec("heatmap", "heatmap", x="lr", y="act", hue="test_acc"), changed)
        assert drawn.axes[0].collections[0].get_clim() == pytest.approx(scale)


def test_parallel_coordinates_have_a_line_a_setting(sweep: tuple):
    _, tables = sweep
    ax = draw(tables["many"], "many", kind="parallel").axes[0]
    names = [label.get_text() for label in ax.get_xticklabels()]
    assert names == ["hid_dim (units)", "dropout", "optimizer", "lr", "test accuracy"]  # none that only follows
    assert sum(len(line.get_xdata()) == len(names) for line in ax.lines) == 300


def test_importance_finds_what_matters(sweep: tuple):
    _, tables = sweep
    ax = draw(tables["many"], "many", kind="importance").axes[0]
    assert ax.get_yticklabels()[0].get_text() == "lr"
    assert max(ax.patches, key=lambda patch: patch.get_width()) is ax.patches[0]


def test_importance_of_pure_noise_is_not_to_be_trusted(tmp_path: Path):
    """The seeds of a setting lie together, so a forest that has seen one of them knows the others by heart."""
    experiment = {"sample": {"n": 20, "lr": {"uniform": [0.01, 0.1]}, "hid_dim": {"int_uniform": [8, 64]}}, "seeds": 5}
    plan = fake_sweep({"experiments": {"noise": {**experiment, "figures": ["importance"]}}}, tmp_path)
    write_tables(plan, tmp_path)
    tables = drawing.load(tmp_path)["noise"]
    generator = np.random.default_rng(0)
    noise = {label: generator.uniform(0.5, 0.9) for label in tables.summary["label"].unique()}
    tables.summary["test_acc"] = tables.summary["label"].map(noise) + generator.normal(0, 0.005, len(tables.summary))
    drawn, _ = drawing.draw_one("noise", FigureSpec("importance", "importance", y="test_acc"), tables)
    note = drawn.texts[-1].get_text().replace("\n", " ")
    assert "100 runs of 20 settings (5 seeds)" in note
    assert re.search(r"R² = -\d\.\d\d of the variance of settings .* not to be trusted", note)


def test_seeds_do_not_narrow_the_interval_of_a_mark_that_pools_settings(sweep: tuple):
    _, tables = sweep
    summary = tables["many"].summary.head(40)
    spec = FigureSpec("bars", "bars", x="optimizer", y="val_acc")

    def bars(summary: pd.DataFrame) -> tuple[list[float], str]:
        drawn, _ = drawing.draw_one("many", spec, replace(tables["many"], summary=summary))
        ends = [segment[:, 1] for lines in drawn.axes[0].collections for segment in lines.get_segments()]
        return list(np.concatenate(ends)), drawn.texts[-1].get_text().replace("\n", " ")

    alone, note = bars(summary)
    assert len(alone) == 6 and "95% confidence interval over settings (t, logit scale)" in note
    seeds = pd.concat([summary.assign(seed=seed, hash=summary["hash"] + str(seed)) for seed in range(5)])
    assert bars(seeds)[0] == pytest.approx(alone)


def test_no_bar_leaves_the_range_of_its_metric(sweep: tuple):
    """Three runs of a setting, two of them perfect: accuracies end at 1, losses above 0."""
    _, tables = sweep
    summary = tables["off"].summary.copy()
    third = summary.iloc[::2].assign(hash=lambda runs: runs["hash"].str[::-1])
    summary = pd.concat([summary, third], ignore_index=True)  # a third run of each
    for column, values in (("test_acc", [1.0, 1.0, 0.7]), ("val_loss", [1e-3, 1e-3, 1.0])):
        summary[column] = summary.groupby("label").cumcount().map(dict(enumerate(values)))
    changed = replace(tables["off"], summary=summary)
    for kind, y, within in (
        ("bars", "test_acc", (0, 1)),
        ("points", "val_loss", (0, 1e9)),
        ("line", "test_acc", (0, 1)),
        ("line", "val_loss", (0, 1e9)),
    ):
        axes = {"x": "lr", "col": "grad_clip"} if kind == "line" else {"x": "grad_clip"}
        spec = FigureSpec(kind, kind, y=y, hue="batch_norm", **axes)
        drawn, _ = drawing.draw_one("off", spec, changed)
        ax = drawn.axes[0]
        bars = [line.get_ydata() for line in ax.lines if line.get_gid() != "diverged"]
        bars += [segment[:, 1] for lines in ax.collections for segment in getattr(lines, "get_segments", list)()]
        ends = np.concatenate([np.asarray(bar, float) for bar in bars])
        ends = ends[np.isfinite(ends)]
        assert np.ptp(ends) > 0.2 and within[0] <= ends.min() and ends.max() <= within[1], (kind, y)
        scale = "logit scale" if y.endswith("acc") else "log scale"
        assert f"95% confidence interval over runs (t, {scale})" in drawn.texts[-1].get_text().replace("\n", " ")


@pytest.mark.parametrize(
    ("values", "log"),
    [
        ([0.001, 0.01, 0.1], True),
        ([0.01, 0.1], True),
        ([1, 2, 4, 8], False),
        ([0, 0.25, 0.5], False),
        ([16, 64, 256], True),
    ],
)
def test_which_values_get_a_log_axis(values: list[float], log: bool):
    assert data.is_log_spaced(pd.Series(values)) is log


# -- files and captions --------------------------------------------------------------------------------------------


def test_files_are_the_same_bytes_each_time(sweep: tuple, tmp_path: Path):
    plan, _ = sweep
    few = plan.experiments["few"]
    heatmaps = tuple(figure for figure in few.figures if figure.kind == "heatmap")
    small = replace(plan, experiments={"few": replace(few, figures=heatmaps)})
    hashes = []
    for _ in range(2):
        (tmp_path / "plan.json").write_text(json.dumps(small.to_json()))
        command = [sys.executable, "scripts/report.py", str(tmp_path / "plan.json")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT)
        assert done.returncode == 0, done.stderr
        files = sorted((Path(plan.tables) / "figures").iterdir())
        assert [path.name for path in files] == ["few-heatmap.png", "few-heatmap.svg"]
        heading = heading_in(files[0])
        assert heading and heading.question == "Where is test accuracy highest?" and "Highest: " in heading.finding
        assert all(f"<dc:{name}>" in files[1].read_text() for name in ("title", "description"))
        hashes.append([hashlib.sha1(path.read_bytes()).hexdigest() for path in files])
    assert hashes[0] == hashes[1]


def test_points_of_a_strip_are_spread_alike_each_time(sweep: tuple):
    _, tables = sweep
    first, second = (draw(tables["few"], kind="strip", y="val_acc").axes[0].collections for _ in range(2))
    for dots, again in zip(first, second, strict=True):
        assert np.array_equal(dots.get_offsets(), again.get_offsets())


def test_nothing_finished_is_said_in_the_figure():
    drawn, _ = drawing.draw_one("e", FigureSpec("bars", "bars"), None)
    assert "no run is finished" in drawn.axes[0].texts[0].get_text()


def test_captions_state_the_finding(sweep: tuple):
    plan, tables = sweep
    summary = tables["few"].summary
    text = caption("few", FigureSpec("bars"), summary, Columns())
    means = summary.groupby("label")["tested_val_acc"].mean()
    best = summary[summary["label"] == means.idxmax()]
    assert f"Best setting by validation accuracy: {means.idxmax()}" in text
    assert (
        f"{best['test_acc'].mean():.3f} [" in text and ", 95% confidence interval over 3 runs (t, logit scale)" in text
    )
    assert "18 runs of 6 settings, 3 seeds; 6 diverged" in text
    known = {name: of.columns for name, of in tables.items()}
    findings = {name: finding(of.summary, of.columns) for name, of in tables.items()}
    found = captions(plan, findings, known)
    assert len(found) == sum(len(experiment.figures) for experiment in plan.experiments.values())
    assert all(found.values())


def test_the_notebook_remakes_figures(sweep: tuple, monkeypatch: pytest.MonkeyPatch):
    plan, _ = sweep
    monkeypatch.setenv("RESULTS", plan.tables)
    monkeypatch.chdir(ROOT / "notebooks")
    notebook = json.loads(Path("look_at_a_sweep.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names: dict = {}
    for cell in cells:
        exec(cell, names)
    assert names["exp_name"] == "few"
    means = names["curves"].groupby(["label", "epoch"])["val_acc"].mean()
    drawn = np.concatenate([line.get_ydata() for line in names["grid"].ax.lines])
    assert sorted(drawn[~np.isnan(drawn)]) == pytest.approx(sorted(means.dropna()))
    (ax,) = names["figure"].axes
    by_gid = {gid: [line for line in ax.lines if line.get_gid() == gid] for gid in ("mean", "runs", "diverged")}
    runs = [line.get_xdata() for line in by_gid["runs"]]  # on training and on validation; those that diverged have none
    summary = pd.read_csv(Path(plan.tables) / "summary.csv").query("exp_name == 'few'")
    for x, name in zip(runs, ("train_acc", "val_acc"), strict=True):
        assert sorted(x) == pytest.approx(sorted(summary[name].dropna()))
    assert len(by_gid["mean"]) == 2 and len(by_gid["diverged"][0].get_xdata()) == 2


def test_the_docs_show_every_kind():
    config, searches = (yaml.safe_load((ROOT / name).read_text()) for name in ("config.yaml", "examples/search.yaml"))
    config["experiments"] |= searches["experiments"]
    examples = yaml.safe_load((ROOT / "docs/reference/gallery.yaml").read_text())
    for exp_name, figures_of in examples.items():
        config["experiments"][exp_name]["figures"] = figures_of
    drawn = [f.kind for exp_name in examples for f in expand_config(config).experiments[exp_name].figures]
    assert sorted(drawn) == sorted(KINDS)
    page, gallery = (ROOT / "docs/reference/figures.md").read_text(), (ROOT / "docs/reference/gallery.md").read_text()
    for name, kind in KINDS.items():
        assert f"| `{name}` | {kind.doc} |" in page
        assert f"## {name}\n" in gallery and (ROOT / "docs/reference/gallery" / f"{name}.png").exists()
