"""Results and names that no figure likes: every kind draws what it can, or says in one line why it cannot."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from conftest import Project
from dlsweep.config.kinds import KINDS, FigureSpec
from dlsweep.config.paths import record_name
from dlsweep.config.sweep import expand_config
from dlsweep.files import write_json
from dlsweep.report.figures import data, drawing
from dlsweep.results.schema import MOST_CONFUSIONS, Record
from dlsweep.results.tables import write_tables
from fake import fake_predictions, fake_record

WORDS = ["$a$ $x_{1", "{0} %s \\frac", "<b>&amp;</b>", "多" * 90, "\u202e\u0301", "x" * 900, "x" * 901]
EXPERIMENT = {
    "grid": {"lr": [0.01, 0.1], "act": ["relu", "tanh"]},
    "seeds": 2,
    "log_gradients": True,
    "figures": [kind for kind in KINDS if kind not in ("rungs", "tuning")],
}

OF_TRIALS = ("history", "slices", "contour")  # where a run of each setting diverges, none has a value

BY_LABEL = [
    *[("bars", "x"), ("box", "hue"), ("strip", "col"), ("curves", "row"), ("gradients", "hue")],
    *[("scatter", "hue"), ("gap", "hue"), ("speed", "x")],
]


def diverged(record: Record) -> None:
    last = record["epochs"][-1]
    last["train_loss"] = last["val_loss"] = None
    record["status"] = "diverged"
    for name in ("test_loss", "test_acc", "best_epoch", "best_val_loss", "best_val_acc", "confusion"):
        record["final"][name] = None


def all_diverge_at_once(record: Record) -> None:
    del record["epochs"][1:]
    record["epochs"][0] |= dict.fromkeys(("train_acc", "val_acc"))
    diverged(record)


def a_panel_diverges(record: Record) -> None:
    if record["setting"]["act"] == "tanh":
        diverged(record)


def one_survives(record: Record) -> None:
    if (record["setting"]["act"], record["setting"]["lr"], record["setting"]["seed"]) != ("tanh", 0.1, 0):
        diverged(record)


def all_are_alike(record: Record) -> None:
    for epoch in record["epochs"]:
        epoch |= {"train_loss": 0.0, "val_loss": 0.0, "train_acc": 0.0, "val_acc": 0.0, "grad_norm": 0.0}
        epoch["layer_gradients"] = {"layers.0.weight": 0.0}
    record["final"] |= {"test_loss": 0.0, "test_acc": 0.0, "confusion": [[40]]}
    record["timing"] |= {"train_seconds": 0.0, "samples_per_second": 0.0}


def imported_results(record: Record) -> None:
    """As the lecture's files have them: no times, no test loss, no confusion matrix, no gradients."""
    for epoch in record["epochs"]:
        epoch |= {"lr": None, "seconds": None}
        epoch.pop("layer_gradients")
        epoch.pop("grad_norm")
    record["final"] |= {"test_loss": None, "test_acc": None, "confusion": None}
    record["timing"] |= dict.fromkeys(("total_seconds", "train_seconds", "samples_per_second"))
    record["model"]["n_parameters"] = None


def enormous_losses(record: Record) -> None:
    for epoch in record["epochs"]:
        epoch |= {"train_loss": 1e300, "val_loss": 1.7e308}
    record["final"] |= {"test_loss": 5e-324}


def hostile_names(record: Record) -> None:
    record["provenance"] |= {"device": "$GPU$ {0} %", "host": "多" * 40}
    for epoch in record["epochs"]:
        epoch["layer_gradients"] = {"$w$": 0.1, "": 0.2}


def make(
    folder: Path, experiment: dict, change: Callable[[Record], None] | None = None
) -> tuple[list[FigureSpec], data.Tables]:
    """The figures and the tables of an experiment whose records were changed."""
    sweep = expand_config({"defaults": {"epochs": 3}, "experiments": {"e": experiment}})
    for exp_name, digest, setting in sweep.records():
        record = fake_record(exp_name, digest, setting)
        if change:
            change(record)
        write_json(folder / record_name(exp_name, digest), record, sync=False)
        fake_predictions(folder, record)
    write_tables(sweep.plan(str(folder)), folder)
    return sweep.experiments["e"].figures, drawing.load(folder)["e"]


def drawn(specs: list[FigureSpec], tables: data.Tables) -> dict[str, Bbox | str]:
    """Draw figures; return by name what each covers, or why it is empty. Any other error is a failure."""
    found: dict[str, Bbox | str] = {}
    for spec in specs:
        try:
            figure, box = drawing.draw_one("e", spec, tables)
            figure.savefig(io.BytesIO(), bbox_inches=box, dpi=20)
            found[spec.name] = box
        except data.Undrawable as why:
            found[spec.name] = str(why)
        finally:
            drawing.plt.close("all")
    return found


@pytest.mark.filterwarnings("ignore:All-NaN slice", "ignore:overflow encountered")
@pytest.mark.parametrize(
    ("change", "empty"),
    [
        (diverged, {*OF_TRIALS, "importance", "confusion", "classes", "calibration", "mistakes"}),
        (all_diverge_at_once, {*OF_TRIALS, "importance", "confusion", "classes", "calibration", "mistakes"}),
        (a_panel_diverges, set()),
        (one_survives, {*OF_TRIALS, "importance"}),
        (all_are_alike, {"importance", "contour"}),
        (imported_results, {"importance", "confusion", "classes", "calibration", "mistakes", "gradients"}),
        (enormous_losses, set()),
        (hostile_names, set()),
    ],
)
def test_every_kind_draws_hostile_results_or_says_why_not(
    change: Callable[[Record], None], empty: set[str], tmp_path: Path
):
    found = drawn(*make(tmp_path, EXPERIMENT, change))
    assert {name for name, outcome in found.items() if isinstance(outcome, str)} == empty


@pytest.mark.filterwarnings("ignore:Glyph")
def test_any_label_is_drawn_as_it_is_written(tmp_path: Path):
    by_label = [{"kind": kind, "name": f"{kind}-{axis}", axis: "label"} for kind, axis in BY_LABEL]
    settings = [{"model_args": {word: word}} for word in WORDS]
    experiment = {"model": "own:Net", "settings": settings, "log_gradients": True, "figures": by_label}
    specs, tables = make(tmp_path, experiment)
    found = drawn(specs, tables)
    assert [why for why in found.values() if isinstance(why, str)] == []
    assert {name for name, box in found.items() if max(box.width, box.height) > 40} == set()
    (spec,) = [spec for spec in specs if spec.name == "gap-hue"]
    figure, _ = drawing.draw_one("e", spec, tables)
    shown = " ".join(text.get_text() for text in figure.findobj(Text) if not text.get_parse_math())
    assert "$a$ $x_{1" in shown and "\\frac" in shown


def test_one_run_of_one_setting_is_drawn(tmp_path: Path):
    kinds = [
        kind
        for kind in KINDS
        if kind not in ("line", "heatmap", "parallel", "importance", "rungs", "slices", "tuning", "contour")
    ]
    found = drawn(*make(tmp_path, {"log_gradients": True, "figures": kinds}))
    assert [why for why in found.values() if isinstance(why, str)] == []


# -- what a mean is of ---------------------------------------------------------------------------------------------


def uneven(record: Record) -> None:
    """With tanh, seed 1 stops after the third epoch and seed 2 diverges in the fifth, at another level each."""
    if record["setting"]["act"] == "tanh":
        for epoch in record["epochs"]:
            epoch["val_acc"] = 0.2 * record["setting"]["seed"] + 0.01 * epoch["epoch"]
        if record["setting"]["seed"] == 1:
            del record["epochs"][3:]
            record["status"] = "stopped_early"
        if record["setting"]["seed"] == 2:
            del record["epochs"][5:]
            diverged(record)


UNEVEN = {"epochs": 8, "grid": {"act": ["relu", "tanh"]}, "seeds": 3}


def test_a_mean_over_epochs_ends_where_its_first_run_ends(tmp_path: Path):
    curve = {"kind": "curves", "y": "val_acc", "col": "act"}
    (spec,), tables = make(tmp_path, {**UNEVEN, "figures": [curve]}, uneven)
    figure, _ = drawing.draw_one("e", spec, tables)
    relu, tanh = figure.axes
    (mean,) = (line for line in relu.lines if not line.get_gid())
    assert list(mean.get_xdata()) == list(range(1, 9))

    (mean,) = (line for line in tanh.lines if not line.get_gid())
    shown = ~np.isnan(mean.get_ydata())
    assert list(mean.get_xdata()[shown]) == [1, 2, 3]
    assert list(mean.get_ydata()[shown]) == pytest.approx([0.21, 0.22, 0.23])  # of all three, not of who is left
    alone = sorted((line for line in tanh.lines if line.get_gid() == "alone"), key=lambda line: line.get_ydata()[0])
    assert [list(line.get_xdata()[~np.isnan(line.get_ydata())]) for line in alone] == [[3, 4, 5, 6, 7, 8], [3, 4]]
    (cross,) = (line for line in tanh.lines if line.get_gid() == "diverged")
    assert list(cross.get_xdata()) == [5]
    note = figure.texts[-1].get_text().replace("\n", " ")
    assert "Mean of 3 runs (3 seeds)" in note and "A mean ends where the first of its runs ends" in note

    (spec,), tables = make(tmp_path, {**UNEVEN, "figures": [curve]}, lambda record: None)
    figure, _ = drawing.draw_one("e", spec, tables)
    assert "A mean ends" not in figure.texts[-1].get_text()


def test_notes_count_the_runs_that_are_drawn(tmp_path: Path):
    kinds = [{"kind": kind, "y": "test_acc"} for kind in ("bars", "strip", "parallel")]
    kinds.append({"kind": "curves", "y": "acc"})
    specs, tables = make(tmp_path, {**UNEVEN, "figures": kinds}, uneven)
    figures_by_kind = {spec.kind: drawing.draw_one("e", spec, tables)[0] for spec in specs}
    notes = {kind: figure.texts[-1].get_text().replace("\n", " ") for kind, figure in figures_by_kind.items()}
    assert "Mean of 2 to 3 runs" in notes["bars"]  # a diverged run has no test accuracy
    assert "A point a run: 2 to 3 runs each" in notes["strip"]
    assert "mean of 2 to 3 runs" in notes["parallel"]
    written = [
        text.get_text() for ax in figures_by_kind["curves"].axes for text in ax.texts if text.get_gid() == "test"
    ]
    assert ["1 of 3 diverged" in text for text in written] == [False, True]


@pytest.mark.parametrize(
    ("measured", "column", "words"),
    [
        ({0, 1, 2}, "tested_train_acc", ("of the weights that are tested", "Gap: of the tested weights, without")),
        (
            set(),
            "train_acc",
            (
                "last epoch; its training accuracy is the mean during the epoch, with dropout on;",
                "Gap of the last epoch, its training accuracy the mean during the epoch, with dropout on.",
            ),
        ),
        ({1, 2}, "train_acc", ("since 2 of 6 runs have no other", "But of 2 of 6 runs of the last epoch")),
    ],
)
def test_the_gap_is_of_one_measure_and_says_which(
    measured: set[int], column: str, words: tuple[str, str], tmp_path: Path
):
    def change(record: Record) -> None:
        if record["setting"]["seed"] in measured:
            record["final"]["tested_train_acc"] = 0.99

    kinds = ["gap", {"kind": "strip", "y": "generalization_gap"}, {"kind": "curves", "y": "acc"}]
    specs, tables = make(tmp_path, {**UNEVEN, "dropout": 0.5, "figures": kinds}, change)
    gap, strip, curves = (drawing.draw_one("e", spec, tables)[0] for spec in specs)
    points = np.concatenate([np.asarray(dots.get_offsets()) for dots in gap.axes[0].collections])
    assert sorted(points[:, 0]) == pytest.approx(sorted(tables.summary[column]))
    notes = [figure.texts[-1].get_text().replace("\n", " ") for figure in (gap, strip, curves)]
    assert words[0] in notes[0] and words[1] in notes[1]
    assert "Train: mean during the epoch, with dropout on." in notes[2]
    of_tested = tables.summary["tested_train_acc"] - tables.summary["tested_val_acc"]
    old = tables.summary["train_acc"] - tables.summary["val_acc"]
    assert tables.summary["generalization_gap"].tolist() == pytest.approx(of_tested.fillna(old).tolist())


# -- many classes --------------------------------------------------------------------------------------------------


def test_many_classes_keep_records_tables_and_figures_small(project: Project):
    generator = np.random.default_rng(0)
    y = np.arange(1200) % 300
    np.savez(project.folder / "many.npz", x_train=generator.normal(size=(1200, 6)).astype("float32"), y_train=y)
    config = {"dataset": "npz", "data_path": "many.npz", "epochs": 1, "n_layer": 1, "hid_dim": 4}
    project.configure({"experiments": {"many": {**config, "figures": ["confusion"]}}})
    done = project.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = project.records().values()
    final = record["final"]
    assert final["confusion"] is None and len(final["per_class_acc"]) == 300
    counts = [count for _, _, count in final["confusions"]]
    assert counts == sorted(counts, reverse=True) and all(true != taken for true, taken, _ in final["confusions"])
    assert len(next(iter(project.results.glob("many-*.json"))).read_bytes()) < 20_000
    table = (project.results / "confusion.csv").read_text().splitlines()
    assert len(table) == 1 + len(counts)
    svg = project.results / "figures" / "many-confusion.svg"
    assert svg.stat().st_size < 300_000 and "more than 100 classes" in svg.read_text()


def test_a_full_matrix_of_many_classes_is_read_and_bounded(tmp_path: Path):
    matrix = np.random.default_rng(0).integers(0, 50, (150, 150))

    def full(record: Record) -> None:
        record["final"]["confusion"] = matrix.tolist()

    (spec,), tables = make(tmp_path, {"figures": ["confusion"]}, full)
    assert len(tables.confusion) == MOST_CONFUSIONS
    wrong = matrix[~np.eye(150, dtype=bool)]
    assert tables.confusion["count"].tolist() == sorted(wrong, reverse=True)[:MOST_CONFUSIONS]
    figure, _ = drawing.draw_one("e", spec, tables)
    best = tables.confusion.iloc[0]
    assert figure.axes[0].get_yticklabels()[0].get_text() == f"{best['true']} as {best['predicted']}"


# -- each figure stands alone --------------------------------------------------------------------------------------


def test_an_error_in_one_figure_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(tables: data.Tables, spec: FigureSpec) -> data.Drawing:
        raise KeyError("$a_$ {x}\n" * 50)

    known = drawing.drawing_of
    monkeypatch.setattr(drawing, "drawing_of", lambda kind: broken if kind == "strip" else known(kind))
    experiment = {**EXPERIMENT, "figures": ["bars", "strip", "box"]}
    make(tmp_path, experiment)
    plan = expand_config({"defaults": {"epochs": 3}, "experiments": {"e": experiment}}).plan(str(tmp_path))
    (fault,) = drawing.draw(plan, tmp_path)
    assert fault.startswith(f"{tmp_path}/figures/e-strip.png is empty: it cannot be drawn (KeyError: ")
    assert "\n" not in fault
    names = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert names == sorted(f"e-{kind}.{suffix}" for kind in ("bars", "strip", "box") for suffix in ("png", "svg"))


NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self, in_shape, n_classes, name):
        super().__init__()
        self.factor = float("nan") if name == "not a number" else 1.0
        self.layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, n_classes))

    def forward(self, x):
        return self.layers(x) * self.factor
"""


def test_a_figure_that_cannot_be_drawn_costs_no_report(project: Project):
    (project.folder / "own.py").write_text(NET)
    project.configure(
        {
            "defaults": {"epochs": 1, "train_size": 100, "hid_dim": 8},
            "experiments": {
                "bad": {
                    "model": "own:Net",
                    "model_args": {"name": "not a number"},
                    "grid": {"lr": [0.1, 1.0], "optimizer": ["sgd", "adam"]},
                    "figures": ["importance", "box"],
                },
                "names": {"model": "own:Net", "grid": {"model_args": [{"name": "$a_$"}, {"name": "%"}]}},
            },
        }
    )
    done = project.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    log = project.results / "logs" / "report.log"
    assert "results/figures/bad-importance.png is empty: no run has a test accuracy\n" in done.stdout
    assert f"figures: results/figures/ (1 of them could not be drawn, see {log.relative_to(project.folder)})" in (
        done.stdout
    )
    assert log.read_text() == "results/figures/bad-importance.png is empty: no run has a test accuracy\n"
    assert "no run has a test accuracy" in (project.results / "figures" / "bad-importance.svg").read_text()
    assert "$a_$" in (project.results / "figures" / "names-test_accuracy.svg").read_text()
    assert (project.results / "report.html").exists()
