"""Figures of the tables, drawn with seaborn from the CSV files alone: PNG (200 dpi) and SVG.

Each kind names its function (config/kinds.py). That takes the tables of one experiment and the figure, and returns a
matplotlib figure and a note: what a reader must know of it (how many runs a mark stands for, what its interval is,
what was left out).
"""

from __future__ import annotations

import io
import textwrap
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter
from matplotlib.transforms import Bbox

from dlsweep.config.kinds import KINDS, FigureSpec
from dlsweep.config.paths import predictions_file
from dlsweep.config.plan import Plan, read_plan
from dlsweep.errors import RecordError
from dlsweep.files import write_atomic
from dlsweep.report.contents import figure_stem, planned_figures
from dlsweep.report.figures.axes import MOST_LETTERS, PowersOfTen, empty_figure, fewer_panels, keep_apart, untangle
from dlsweep.report.figures.data import Drawing, Tables, Undrawable, measures_of, with_metric
from dlsweep.report.figures.headings import Heading, heading_of
from dlsweep.report.figures.notes import sentences
from dlsweep.results.columns import Columns
from dlsweep.results.decisions import decisions
from dlsweep.results.tables import fitted_columns, read_tables
from dlsweep.results.versions import outdated_note

mpl.use("Agg")

DPI = 200
FEWEST_INCHES = 4.0  # that a line of text above or below a figure is wide

mpl.rcParams["svg.hashsalt"] = "dlsweep"  # the same figure is the same file


_tables: dict[str, Tables] = {}  # by experiment; in each drawing process


def draw(plan: Plan, folder: Path, threads: int = 1) -> list[str]:
    """Draw all figures of a plan from the tables in `folder`, into its folder `figures`.

    A figure that cannot be drawn becomes an empty one that says why, and stops no other. Return a line for each of
    them. Raises OSError where a figure cannot be written.
    """
    _receive(load(folder, plan))
    (folder / "figures").mkdir(exist_ok=True)
    jobs = [
        (exp_name, figure, folder / "figures" / figure_stem(exp_name, figure))
        for exp_name, figure in planned_figures(plan)
    ]
    pool = _processes(threads) if len(jobs) >= 4 else None
    if not pool:
        faults = [_draw_and_save(*job) for job in jobs]
    else:
        try:
            with pool:
                faults = list(pool.map(_draw_and_save, *zip(*jobs, strict=True)))
        except BrokenProcessPool:
            why = "a process that drew them was killed, maybe for lack of memory"
            raise RecordError(f"{folder}/figures: {why}") from None
    return [f"{stem}.png is empty: {fault}" for (_, _, stem), fault in zip(jobs, faults, strict=True) if fault]


def _processes(threads: int) -> ProcessPoolExecutor | None:
    """Return the processes that draw; None where this one does, since their semaphores cannot be had: no /dev/shm."""
    try:
        return ProcessPoolExecutor(threads, initializer=_receive, initargs=(_tables,)) if threads > 1 else None
    except (ImportError, NotImplementedError, OSError):
        return None


def load(folder: Path, plan: Plan | None = None) -> dict[str, Tables]:
    """Return the tables in `folder`, by experiment; `plan` is theirs (default: the one in `folder`)."""
    plan = plan or _plan_in(folder)
    results = Path(plan.results) if plan else folder
    names = ("summary", "epochs", "gradients", "confusion", "classes", "calibration", "mistakes", "trials")
    tables = read_tables(folder, *names, plan=plan)
    summary = tables["summary"]
    texts = [name for name in summary if pd.api.types.is_string_dtype(summary[name])]
    known = fitted_columns(plan, summary, tables["epochs"]) if plan else {}
    board = read_tables(folder, "leaderboard", plan=plan)["leaderboard"] if plan else None
    decided = decisions(plan, summary, board, known) if plan else {}
    tables["summary"] = summary.assign(**{name: _shortened(summary[name]) for name in texts})
    names = tables["summary"]["exp_name"].unique()
    parts = {name: dict(list(table.groupby("exp_name", sort=False))) for name, table in tables.items()}
    tuned: dict[str, tuple[str, ...]] = {}
    for exp_name, experiment in plan.experiments.items() if plan else ():
        if experiment.comparison and exp_name in parts["trials"]:
            tuned[exp_name], trials = experiment.comparison.tuned, parts["trials"][exp_name]
            parts["trials"][exp_name] = trials[trials["round"] < experiment.comparison.n_tuning_rounds]
    return {
        exp_name: Tables(
            **{name: parts[name].get(exp_name, table.head(0)) for name, table in tables.items()},
            tuned=tuned.get(exp_name, ()),
            columns=known.get(exp_name, Columns()),
            question=plan.experiments[exp_name].question if plan and exp_name in plan.experiments else "",
            decision=decided.get(exp_name),
            predictions=_predictions_of(exp_name, parts["mistakes"].get(exp_name), results),
        )
        for exp_name in names
    }


def _predictions_of(exp_name: str, mistakes: pd.DataFrame | None, results: Path) -> Path | None:
    """The predictions of an experiment's best run, which its table of mistakes names."""
    return None if mistakes is None else predictions_file(results, exp_name, mistakes["hash"].iloc[0])


def _plan_in(folder: Path) -> Plan | None:
    """The plan that the tables in a folder were made of, where it is there."""
    return next((read_plan(path) for path in sorted((folder / "plan").glob("*.json"))), None)


def _shortened(texts: pd.Series) -> pd.Series:
    """The texts, each with room in a figure, and those that differ still different."""
    short: dict[str, str] = {}
    for text in texts.dropna().unique():
        if len(text) > MOST_LETTERS:
            beginning = f"{text[: MOST_LETTERS // 2]}…{text[-MOST_LETTERS // 3 :]}"
            short[text] = beginning if beginning not in short.values() else f"{beginning} ({len(short) + 1})"
    return texts.replace(short) if short else texts


def _receive(tables: dict[str, Tables]) -> None:
    _tables.update(tables)


def _draw_and_save(exp_name: str, spec: FigureSpec, stem: Path) -> str:
    """Draw one figure and write its files; return why it is empty, where it is."""
    fault = ""
    try:
        files = _files(*draw_one(exp_name, spec, _tables.get(exp_name)))
    except Exception as error:
        if isinstance(error, Undrawable):
            fault = str(error)
        else:  # whatever it is, it is no reason to leave the user without the other figures
            traceback.print_exc()
            fault = " ".join(f"it cannot be drawn ({type(error).__name__}: {error})".split())
        files = _files(*draw_one(exp_name, spec, None, fault))
    finally:
        plt.close("all")
    for suffix, content in files.items():
        write_atomic(stem.with_name(f"{stem.name}.{suffix}"), content, sync=False)
    return fault


def _files(figure: Figure, box: Bbox) -> dict[str, bytes]:
    said = {str(text.get_gid()): " ".join(text.get_text().split()) for text in figure.texts if text.get_gid()}
    return {
        "png": _rendered(figure, box, "png", dpi=DPI, metadata=said),
        "svg": _rendered(figure, box, "svg", metadata={"Date": None, **said}),
    }


def _rendered(figure: Figure, box: Bbox, suffix: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix, bbox_inches=box, **options)
    return buffer.getvalue()


def save(figure: Figure, box: Bbox, path: Path, **options: Any) -> None:
    """Write a figure, whole or not at all; `options` are those of matplotlib's `savefig`."""
    write_atomic(path, _rendered(figure, box, path.suffix[1:], **options), sync=False)


def draw_one(
    exp_name: str, spec: FigureSpec, tables: Tables | None, why_empty: str = "no run is finished"
) -> tuple[Figure, Bbox]:
    """Draw one figure, with its title, and its note below it. Return it with what it covers, in inches.

    Without tables, or runs in them, it is empty but for `why_empty`. Raises Undrawable where the tables do not hold
    what the figure shows.
    """
    heading = Heading(exp_name)
    np.random.seed(0)  # of the jitter of strips: the same figure is the same file
    sns.set_theme(context="paper", style="whitegrid", palette="colorblind")
    with mpl.rc_context({"text.parse_math": False}):  # a label with two dollar signs is no formula
        if tables is None or tables.summary.empty:
            figure, note = empty_figure(why_empty)
        else:
            gone = outdated_note(tables.summary["outdated"].value_counts().to_dict(), len(tables.summary))
            tables, spec, left_out = keep_apart(tables, spec)
            spec, instead = with_metric(tables, spec)
            tables, only_best = fewer_panels(tables, spec)
            figure, note = drawing_of(spec.kind)(tables, spec)
            heading = heading_of(tables, spec)
            note = f"{note} {sentences(*measures_of(tables, spec), instead, only_best, left_out, gone)}".strip()
        return _finish(figure, f"{exp_name}. {note}", heading)


def drawing_of(kind: str) -> Callable[[Tables, FigureSpec], Drawing]:
    """Return the function that draws a kind of figure."""
    module, _, name = KINDS[kind].drawing.partition(":")
    drawing: Callable[[Tables, FigureSpec], Drawing] = getattr(import_module(f"{__package__}.{module}"), name)
    return drawing


def _extent(text: Text) -> Bbox:
    """What a text covers, in inches. At the resolution of a file its letters may be wider than in the layout."""
    box = text.get_window_extent().transformed(text.figure.dpi_scale_trans.inverted())
    return Bbox.from_bounds(box.x0, box.y0, 1.08 * box.width, box.height)


def _finish(figure: Figure, note: str, heading: Heading) -> tuple[Figure, Bbox]:
    """Make the tick labels readable, and add what is written above the figure and the note below it."""
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            if isinstance(axis.get_major_formatter(), LogFormatter):
                axis.set_major_formatter(PowersOfTen())
                axis.set_minor_formatter(PowersOfTen())
    figure.draw_without_rendering()
    for ax in figure.axes:
        untangle(ax)
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    left, room = box.x0 / width, max(box.width, FEWEST_INCHES)
    extents, top = [], box.y1 + 0.1
    for text, letters, look in (
        (heading.finding, 14, {"fontsize": "medium", "color": "0.25", "gid": "Description"}),
        (heading.question, 11, {"fontsize": "large", "fontweight": "bold", "gid": "Title"}),
    ):
        if text:
            written = textwrap.fill(text, int(letters * room))
            drawn = figure.text(left, top / height, written, va="bottom", ha="left", **look)
            extents.append(_extent(drawn))
            top = extents[-1].y1 + 0.06
    below = textwrap.fill(note, int(14 * room))
    drawn = figure.text(left, (box.y0 - 0.08) / height, below, va="top", ha="left", fontsize="small", color="0.35")
    extents.append(_extent(drawn))
    return figure, Bbox.union([box, *extents]).padded(0.08)
