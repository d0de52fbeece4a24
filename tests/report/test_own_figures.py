"""Figures of own tasks: their families of metrics are drawn as accuracy is, whatever they log and leave out."""

import re
from pathlib import Path

import numpy as np
import pytest

from dlsweep.config.kinds import KINDS, FigureSpec
from dlsweep.config.sweep import expand_config
from dlsweep.errors import ConfigError
from dlsweep.report.figures import data, drawing
from dlsweep.results.schema import Record
from dlsweep.results.tables import write_tables
from fake import own_sweep

OWN = {"train": "my_training:train", "objective": "val_mae"}
METRICS = {"mae": {"unit": "°C"}}
GRID = {**OWN, "grid": {"lr": [0.01, 0.1, 1], "width": [4, 8, 16]}, "seeds": 2}
EXPERIMENTS = {
    "grid": GRID,
    "list": {**OWN, "settings": [{}, {"act": "tanh"}, {"width": 4, "lr": 0.01}], "seeds": 3},
    "many": {**OWN, "sample": {"n": 20, "lr": {"log_uniform": [0.001, 2]}, "width": {"int_uniform": [1, 99]}}},
    "program": {
        "command": "./run --lr {lr} --kind {kind} {metrics}",
        "objective": "val_mae",
        "grid": {"lr": [0.001, 0.01, 0.1], "kind": ["a", "b"]},
    },
    "fit": {"train": "my_training:fit", "objective": "val_mae", "grid": {"depth": [1, 2, 3]}},
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, data.Tables]:
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        plan = own_sweep({"metrics": METRICS, "experiments": EXPERIMENTS}, folder)
        write_tables(plan, folder)
        return drawing.load(folder, plan)


@pytest.fixture(autouse=True)
def beside_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    own_sweep({"experiments": {"fit": EXPERIMENTS["fit"]}}, tmp_path)
    yield
    drawing.plt.close("all")


def figures(experiment: dict) -> list[FigureSpec]:
    return expand_config({"metrics": METRICS, "experiments": {"e": experiment}}).experiments["e"].figures


def draw(tables: dict[str, data.Tables], exp_name: str, **given: str) -> drawing.Figure:
    (spec,) = figures({**EXPERIMENTS[exp_name], "figures": [given]})
    return drawing.draw_one(exp_name, spec, tables[exp_name])[0]


def note(drawn: drawing.Figure) -> str:
    return drawn.texts[-1].get_text().replace("\n", " ")


@pytest.mark.parametrize("exp_name", EXPERIMENTS)
def test_every_figure_that_an_experiment_gets_by_itself(tables: dict, exp_name: str):
    for spec in figures(EXPERIMENTS[exp_name]):
        if exp_name in ("program", "fit") and spec.kind == "curves":
            with pytest.raises(data.Undrawable, match="no run has mae over the epochs"):
                drawing.draw_one(exp_name, spec, tables[exp_name])
        else:
            drawn, _ = drawing.draw_one(exp_name, spec, tables[exp_name])
            labels = [ax.get_xlabel() + ax.get_ylabel() for ax in drawn.axes]
            assert any("MAE (°C)" in label for label in labels), spec


def test_the_figures_that_fit():
    grid, many = figures(GRID), figures(EXPERIMENTS["many"])
    assert [(one.kind, one.name, one.y) for one in grid] == [
        ("line", "test_mae", "test_mae"),
        ("bars", "mae", "mae"),
        ("curves", "mae_curves", "mae"),
        ("heatmap", "heatmap", "width"),
    ]
    assert grid[3].hue == "test_mae"
    assert [one.kind for one in many] == ["points", "curves", "parallel", "importance", "scatter"]
    assert (many[2].y, many[4].x, many[4].y) == ("test_mae", "lr", "test_mae")
    (line, _) = figures({**OWN, "objective": {"reward": "max"}, "grid": {"lr": [1, 2, 3]}})
    assert (line.kind, line.y) == ("line", "reward")


NOT_OWN = ("gradients", "confusion", "classes", "calibration", "mistakes", "speed", "rungs", "tuning")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in NOT_OWN])
@pytest.mark.parametrize("exp_name", ["grid", "many"])
def test_every_kind(tables: dict, kind: str, exp_name: str):
    drawn = draw(tables, exp_name, kind=kind)
    n_diverged = int((tables[exp_name].summary["status"] == "diverged").sum())
    assert n_diverged and (
        f"{n_diverged} of" in note(drawn) or f"{n_diverged} diverged" in note(drawn) or "×" in note(drawn)
    )


def test_bars_are_the_means_of_each_split(tables: dict):
    summary = tables["grid"].summary
    drawn = draw(tables, "grid", kind="bars", x="width", hue="lr")
    for split, ax in zip(("train", "val", "test"), drawn.axes, strict=True):
        expected = summary.groupby(["lr", "width"])[f"{split}_mae"].mean().dropna()
        heights = [patch.get_height() for patch in ax.patches if patch.get_height() > 0]
        assert ax.get_title() == split
        assert sorted(heights) == pytest.approx(sorted(expected))  # none of those that diverged
    assert "(t, log scale)" not in note(drawn) and "range of the two runs" in note(drawn)


def test_a_curve_goes_through_the_epochs_that_have_the_metric(tables: dict):
    drawn = draw(tables, "grid", kind="curves", col="lr", row="width")
    lines = [line for line in drawn.axes[0].lines if line.get_gid() != "diverged"]
    assert [list(line.get_xdata()) for line in lines] == [[1, 2, 3, 4, 5, 6], [2, 4, 6]]
    runs = tables["grid"].summary.query("lr == 0.01 and width == 4")["hash"]
    epochs = tables["grid"].epochs
    means = epochs[epochs["hash"].isin(runs)].groupby("epoch")["val_mae"].mean().dropna()
    assert lines[1].get_ydata() == pytest.approx(means.to_numpy())
    texts = [text.get_text() for ax in drawn.axes for text in ax.texts if text.get_gid() == "test"]
    assert re.fullmatch(r"test 1\.\d\d \[1\.\d\d, 1\.\d\d\]", texts[0]) and "diverged" in texts
    assert "Written in: mean test MAE [its interval]" in note(drawn)
    diverged = drawn.axes[2]
    assert [list(line.get_xdata()) for line in diverged.lines if line.get_gid() != "diverged"] == [[1, 2], [2]]


def test_a_metric_that_no_run_has_is_an_empty_figure_with_the_nearest(tables: dict):
    for kind, key in (("bars", "y"), ("curves", "y"), ("heatmap", "hue"), ("scatter", "y"), ("parallel", "y")):
        with pytest.raises(data.Undrawable, match=r"no run has val_mea.* Did you mean 'val_mae'\?"):
            draw(tables, "grid", **{"kind": kind, key: "val_mea"})
    with pytest.raises(data.Undrawable, match="no run has a confusion matrix"):
        draw(tables, "grid", kind="confusion")
    with pytest.raises(data.Undrawable, match="no run has train_mae"):
        draw(tables, "fit", kind="gap")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "bars", "x": "widht"}, "figures[0].x: 'widht' is not a column that bars can show there; .*'width'"),
        ({"kind": "line", "x": "act"}, "figures[0].x: 'act' is not a column that line can show there"),
        (
            {"kind": "bars", "y": "lr"},
            "figures[0].y: 'lr' is not a column that bars can show there; allowed: mae, val_mae",
        ),
        ({"kind": "bars", "y": ["a"]}, "figures[0].y: "),
        ({"kind": "speed"}, "figures[0]: speed needs x: a hyper-parameter; the task has no batch_size"),
        ({"kind": "gradients"}, "figures[0]: gradients needs log_gradients"),
    ],
)
def test_what_can_be_known_before_the_runs_is_refused_before_them(given: dict, said: str):
    with pytest.raises(ConfigError, match=re.escape(said).replace(r"\.\*", ".*")):
        figures({**GRID, "figures": [given]})


def test_axes_are_the_parameters_of_the_task(tables: dict):
    line = draw(tables, "program", kind="line", x="lr", hue="kind")
    assert line.axes[0].get_xscale() == "log" and line.axes[0].get_xlabel() == "lr"
    assert "seed" not in note(line)
    scatter = draw(tables, "program", kind="scatter", x="gpu_bytes", y="test_mae", hue="kind")
    assert scatter.axes[0].get_xlabel() == "gpu_bytes"
    speed = draw(tables, "grid", kind="speed", x="width")
    assert [ax.get_title() for ax in speed.axes] == ["time per epoch (s)", "test MAE (°C)"]


def test_the_gap_of_any_family(tables: dict):
    drawn = draw(tables, "grid", kind="gap")
    summary = tables["grid"].summary
    points = np.concatenate([dots.get_offsets() for dots in drawn.axes[0].collections])
    assert sorted(points[:, 0]) == pytest.approx(sorted(summary["train_mae"].dropna()))
    low, high = drawn.axes[0].get_xlim()
    assert low < summary[["train_mae", "val_mae"]].min().min() and high > summary[["train_mae", "val_mae"]].max().max()


def test_a_metric_beyond_its_range_is_drawn_all_the_same(tmp_path: Path):
    def in_percent(record: Record) -> None:
        record["final"] |= {"val_acc": 80.0 + record["setting"]["seed"], "test_acc": 81.0 + record["setting"]["seed"]}
        for epoch in record["epochs"]:
            epoch["val_acc"] = 70.0 + epoch["epoch"] + record["setting"]["seed"]

    experiment = {**OWN, "objective": "val_acc", "grid": {"lr": [0.01, 0.1]}, "seeds": 3}
    plan = own_sweep({"experiments": {"e": experiment}}, tmp_path, in_percent)
    write_tables(plan, tmp_path)
    tables = drawing.load(tmp_path, plan)["e"]
    for spec in plan.experiments["e"].figures:
        drawn, _ = drawing.draw_one("e", spec, tables)
        assert "95% confidence interval over runs (t)" in note(drawn)
