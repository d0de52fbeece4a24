"""Figures of the tables, drawn with seaborn from the CSV files alone: PNG (200 dpi) and SVG.

`KINDS` at the end names one function for each kind. Each takes the tables of one experiment and the figure as
`figure_plan.py` completed it, and returns a matplotlib figure and a note: what a reader must know of it (how
many runs a mark stands for, what its interval is, what was left out). To add a kind, write such a function, and
add one line to `KINDS` here and one to that of figure_plan.py.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd

mpl.use("Agg")
import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.category import StrCategoryFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedFormatter,
    FixedLocator,
    LogFormatter,
    LogFormatterSciNotation,
    MaxNLocator,
    NullLocator,
)
from matplotlib.transforms import Bbox

from .columns import FAMILIES, REPORTED, SPLITS, SUMMARY, axis_title, metric
from .figure_plan import KINDS as FIGURE_KINDS
from .figure_plan import MOST_BARS, MOST_COLOURS, MOST_PANELS
from .hyperparameters import HYPERPARAMETERS, default
from .labels import format_value
from .records import MOST_CLASSES, RecordError, write_atomic
from .registry import AUGMENTATION, REGISTRIES
from .report_plan import IS_EMPTY
from .statistics import Range, importances, interval_name, mean_text, means
from .tables import best_run, group_settings, read_tables
from .versions import outdated_note

DPI = 200
MOST_POINTS = 3000  # of a scatter plot
MOST_LINES = 300  # of learning curves or parallel coordinates
MOST_CELLS = 400  # of a heat map with its numbers written in
MOST_VALUES = 40  # of a numeric hyper-parameter; more are drawn in bins
BINS = 12
MOST_LETTERS = 120  # of a label
BEST_LINES = 5
FOREST_RUNS = 1000
GREY, BAD = "0.75", "black"
COLOURS = "viridis"
MARKS_OF_ONE_SETTING = ("scatter", "parallel", "confusion")  # or of one run: what they draw is one version's

mpl.rcParams["svg.hashsalt"] = "dlsweep"  # the same figure is the same file


@dataclass
class Tables:
    """The tables of one experiment."""

    summary: pd.DataFrame
    epochs: pd.DataFrame
    gradients: pd.DataFrame
    confusion: pd.DataFrame


Spec = dict[str, Any]
Drawing = tuple[Figure, str]


# -- drawing a plan ------------------------------------------------------------------------------------------------


class Undrawable(Exception):
    """A figure that cannot be drawn of these tables; its text says why, in the figure's place."""


_tables: dict[str, Tables] = {}  # by experiment; in each drawing process


def draw(plan: dict[str, Any], folder: Path, threads: int = 1) -> list[str]:
    """Draw all figures of a plan from the tables in `folder`, into its folder `figures`.

    A figure that cannot be drawn becomes an empty one that says why, and stops no other. Return a line for each of
    them. Raises OSError where a figure cannot be written.
    """
    _receive(load(folder))
    (folder / "figures").mkdir(exist_ok=True)
    jobs = [
        (exp_name, figure, folder / "figures" / f"{exp_name}-{figure['name']}")
        for exp_name, experiment in plan["experiments"].items()
        for figure in experiment["figures"]
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
    return [f"{stem}.png {IS_EMPTY} {fault}" for (_, _, stem), fault in zip(jobs, faults, strict=True) if fault]


def _processes(threads: int) -> ProcessPoolExecutor | None:
    """Return the processes that draw; None where this one does, since their semaphores cannot be had: no /dev/shm."""
    try:
        return ProcessPoolExecutor(threads, initializer=_receive, initargs=(_tables,)) if threads > 1 else None
    except (ImportError, NotImplementedError, OSError):
        return None


def load(folder: Path) -> dict[str, Tables]:
    """Return the tables in `folder`, by experiment."""
    tables = read_tables(folder, "summary", "epochs", "gradients", "confusion")
    summary = tables["summary"]
    texts = [name for name, column in SUMMARY.items() if column.type is str]
    tables["summary"] = summary.assign(**{name: _shortened(summary[name]) for name in texts})
    names = tables["summary"]["exp_name"].unique()
    parts = {name: dict(list(table.groupby("exp_name", sort=False))) for name, table in tables.items()}
    return {
        exp_name: Tables(**{name: parts[name].get(exp_name, table.head(0)) for name, table in tables.items()})
        for exp_name in names
    }


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


def _draw_and_save(exp_name: str, spec: Spec, stem: Path) -> str:
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
    png, svg = _rendered(figure, box, "png", dpi=DPI), _rendered(figure, box, "svg", metadata={"Date": None})
    return {"png": png, "svg": svg}


def _rendered(figure: Figure, box: Bbox, suffix: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix, bbox_inches=box, **options)
    return buffer.getvalue()


def save(figure: Figure, box: Bbox, path: Path, **options: Any) -> None:
    """Write a figure, whole or not at all; `options` are those of matplotlib's `savefig`."""
    write_atomic(path, _rendered(figure, box, path.suffix[1:], **options), sync=False)


def draw_one(
    exp_name: str, spec: Spec, tables: Tables | None, why_empty: str = "no run is finished"
) -> tuple[Figure, Bbox]:
    """Draw one figure, with its title, and its note below it. Return it with what it covers, in inches.

    Without tables, or runs in them, it is empty but for `why_empty`. Raises Undrawable where the tables do not hold
    what the figure shows.
    """
    sns.set_theme(context="paper", style="whitegrid", palette="colorblind")
    with mpl.rc_context({"text.parse_math": False}):  # a label with two dollar signs is no formula
        if tables is None or tables.summary.empty:
            figure, note = _empty(why_empty)
        else:
            gone = outdated_note(tables.summary["outdated"].value_counts().to_dict(), len(tables.summary))
            tables, spec, left_out = keep_apart(tables, spec)
            figure, note = KINDS[spec["kind"]](tables, spec)
            note = f"{note} {_sentence(*_measures(tables.summary, spec), left_out, gone)}".strip()
        return _finish(figure, note, f"{exp_name}: {spec['name'].replace('_', ' ')}")


def _finish(figure: Figure, note: str, title: str) -> tuple[Figure, Bbox]:
    """Make the tick labels readable, and add the title and the note."""
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            if isinstance(axis.get_major_formatter(), LogFormatter):
                axis.set_major_formatter(_PowersOfTen())
                axis.set_minor_formatter(_PowersOfTen())
    figure.draw_without_rendering()
    for ax in figure.axes:
        _untangle(ax)
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    below = textwrap.fill(f"{_sentence(figure.get_label())} {note}".strip(), max(45, int(14 * box.width)))
    middle, left = (box.x0 + box.x1) / 2 / width, box.x0 / width
    texts = [
        figure.text(middle, (box.y1 + 0.08) / height, title, va="bottom", ha="center", fontsize="large"),
        figure.text(left, (box.y0 - 0.08) / height, below, va="top", ha="left", fontsize="small", color="0.35"),
    ]
    extents = [text.get_window_extent().transformed(figure.dpi_scale_trans.inverted()) for text in texts]
    return figure, Bbox.union([box, *extents]).padded(0.08)


class _PowersOfTen(LogFormatterSciNotation):
    """The labels of a log axis, as matplotlib's but without its formulas: 10⁻³, 2×10⁻³."""

    _SUPERSCRIPTS = str.maketrans("-−0123456789", "⁻⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

    def __call__(self, x: float, pos: int | None = None) -> str:
        text = super().__call__(x, pos)
        text = re.sub(r"\^\{([^}]*)\}", lambda found: found[1].translate(self._SUPERSCRIPTS), text)
        return text.replace(r"$\mathdefault{", "").removesuffix("}$").replace(r"\times", "×")


def keep_apart(tables: Tables, spec: Spec) -> tuple[Tables, Spec, str]:
    """Return tables and figure such that no mark averages runs of unlike code or data (column `version`), and a note.

    An axis that is free is given to the version. Where there is none, only the present version is drawn.
    """
    summary = tables.summary
    version = summary["version"].fillna("")
    if version.nunique() < 2 or {"label", "version"} & set(spec.values()) or spec["kind"] in MARKS_OF_ONE_SETTING:
        return tables, spec, ""
    axes = FIGURE_KINDS[spec["kind"]].axes
    free = [axis for axis in ("row", "col", "hue") if axis not in spec and "version" in axes.get(axis, ())]
    if free:
        return tables, {**spec, free[0]: "version"}, ""
    present = version[summary["outdated"].isna()] if summary["outdated"].isna().any() else version
    shown = present.mode()[0]
    kept = set(summary.loc[version == shown, "hash"])
    parts = {name: table[table["hash"].isin(kept)] for name, table in vars(tables).items()}
    what = f"only those with {shown} are drawn" if shown else "they are not drawn"
    return Tables(**parts), spec, f"{len(summary) - len(kept)} runs have other code or data; {what}"


def _empty(text: str) -> Drawing:
    figure, ax = plt.subplots(figsize=(4, 2))
    ax.text(0.5, 0.5, textwrap.fill(textwrap.shorten(text, 400), 50), ha="center", va="center")
    ax.set_axis_off()
    return figure, ""


# -- what the kinds share ------------------------------------------------------------------------------------------


def _means(data: pd.DataFrame, groups: Sequence[str], within: Range) -> pd.DataFrame:
    """The mean of `value` in each group, its interval as `low` and `high`, and `n`, what that is over."""
    marks = data.groupby(list(groups), observed=True, dropna=False)
    found = means(data["value"], marks.ngroup(), pd.factorize(data["label"])[0], within)
    return marks.size().reset_index()[list(groups)].assign(value=found.mean, low=found.low, high=found.high, n=found.n)


def _runs_note(summary: pd.DataFrame, groups: Sequence[str], drawn: pd.DataFrame, *metrics: str, kind: str = "") -> str:
    """How many runs and seeds a mark stands for, what its interval of these metrics is, and what it pools.

    `drawn` has a row for each run's part in a mark, its `value`; a run without one, such as the test accuracy of one
    that diverged, is in no mark.
    """
    n = _runs_per_mark(drawn, groups)
    if n.empty:
        return f"No run has a value to show ({_seeds(summary)})"
    most, runs = n.max(), _count_runs(n)
    text = f"A point a run: {runs} each" if kind == "strip" else f"{runs} each" if most == 1 else f"Mean of {runs}"
    if kind in ("box", "violin"):
        text = f"{runs} each"
    text += f" ({_seeds(summary)})"
    n_settings = _runs_per_mark(drawn, groups, "label")
    over, of = ("settings", n_settings.where(n_settings > 1, n)) if (n_settings > 1).any() else ("runs", n)
    name = interval_name(of, *(metric(y).within for y in metrics), over=over) if metrics else ""
    if name and kind not in ("box", "violin", "strip"):
        text += f"; bars or bands: {name}"
    if "label" in groups:
        return text
    pooled = [key for key in _varying(summary) if key not in groups and _is_pooled(summary, groups, key)]
    return f"{text}; pooled over {', '.join(pooled)}" if pooled else text


def _runs_per_mark(drawn: pd.DataFrame, groups: Sequence[str], of: str = "hash") -> pd.Series:
    """How many runs (`of` the hash) or settings (the label) each mark has a value of, where it has any."""
    by = [name for name in (*groups, "split", "measure") if name in drawn]
    drawn = drawn.assign(of=drawn[of])[drawn["value"].notna()]
    n = drawn.groupby(by, dropna=False, observed=True)["of"].nunique() if by else pd.Series([drawn["of"].nunique()])
    return n[n > 0]


def _count_runs(n: pd.Series) -> str:
    """Numbers of runs in words: "3 runs", "1 to 3 runs"."""
    few, most = n.min(), n.max()
    return (f"{few}" if few == most else f"{few} to {most}") + (" run" if most == 1 else " runs")


def _seeds(summary: pd.DataFrame) -> str:
    n = summary["seed"].nunique()
    return f"{n} seed{'s' if n > 1 else ''}"


def _sentence(*parts: str) -> str:
    return "".join(f"{part}. " for part in parts if part).strip()


def _diverged_note(summary: pd.DataFrame, mark: str = "×: ") -> str:
    n = int((summary["status"] == "diverged").sum())
    return f"{mark}{n} of {len(summary)} runs diverged" if n else ""


def _measures(summary: pd.DataFrame, spec: Spec) -> list[str]:
    """What a reader must know of how the training split was measured, where the figure shows it."""
    shown, notes = set(map(str, spec.values())), []
    during = f"mean during the epoch{_disturbed(summary)}"
    if shown & {*FAMILIES, "train_acc", "train_loss"} and spec["kind"] != "gap":
        notes.append(f"Train: {during}")
    if "generalization_gap" in shown:
        known = summary[summary["generalization_gap"].notna()]
        n_old = int(known["tested_train_acc"].isna().sum())
        old = f"of the last epoch, its training accuracy the {during}"
        if n_old < len(known):
            notes.append("Gap: of the tested weights, without dropout and augmentation" if known.size else "")
        if n_old:
            notes.append(f"Gap {old}" if n_old == len(known) else f"But of {n_old} of {len(known)} runs {old}")
    return notes


def _disturbed(summary: pd.DataFrame) -> str:
    """What made training images harder than those of validation, in any of the runs."""
    switched_on = {"dropout": ["dropout"], "augmentation": AUGMENTATION}
    on = [word for word, keys in switched_on.items() if any(_is_on(summary[key]) for key in keys)]
    return f", with {' and '.join(on)} on" if on else ""


def _is_on(values: pd.Series) -> bool:
    return bool(values.dropna().astype(float).gt(0).any())


def _varying(summary: pd.DataFrame) -> list[str]:
    """The hyper-parameters that vary, but for those that only follow another (momentum, say, the optimizer)."""
    return [key for key in HYPERPARAMETERS if key != "seed" and _is_chosen(summary, key)]


def _is_chosen(summary: pd.DataFrame, key: str) -> bool:
    if summary[key].nunique(dropna=False) < 2:
        return False
    for row in summary[list({*REGISTRIES, key})].drop_duplicates().to_dict("records"):
        standard = default(key, row)
        if not pd.isna(row[key]) and row[key] != standard and str(row[key]) != str(standard):
            return True
    return False


def _is_pooled(summary: pd.DataFrame, by: Sequence[str], key: str) -> bool:
    """Whether a mark of one combination of `by` holds several values of `key`."""
    if not by:
        return True
    return bool((summary.groupby(list(by), dropna=False, observed=True)[key].nunique(dropna=False) > 1).any())


def _number_or_none(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def text_levels(values: pd.Series) -> pd.Series:
    """Return the values as ordered categories of short text: numbers ascending, words in the order they come in."""
    plain = values.astype(object).where(values.notna(), None)
    levels = list(dict.fromkeys(plain))
    numbers = {level: _number_or_none(str(level)) for level in levels if not isinstance(level, bool)}
    if any(number is not None for number in numbers.values()):
        levels.sort(key=lambda level: math.inf if numbers[level] is None else float(str(level)))
    elif set(levels) <= {False, True, None}:
        levels.sort(key=lambda level: (level is None, level or False))

    def text(level: Any) -> str:
        number = numbers.get(level)
        return format_value(level) if number is None else f"{number:.6g}"

    names = list(dict.fromkeys(text(level) for level in levels))
    return pd.Series(pd.Categorical([text(value) for value in plain], names, ordered=True), values.index)


def _is_numeric(levels: pd.Series) -> bool:
    return all(_number_or_none(level) is not None for level in levels.cat.categories)


def palette(levels: pd.Series) -> list[Any]:
    """Return a colour for each level, safe for the colour-blind: an ordered scale for numbers and for many words."""
    n = len(levels.cat.categories)
    if n > MOST_COLOURS or (_is_numeric(levels) and n > 2):
        return sns.color_palette(COLOURS, n + 1)[:n]
    return sns.color_palette("colorblind", n)


def is_log_spaced(values: pd.Series) -> bool:
    """Say whether numbers are spread over decades: more evenly in their logarithms than as they are."""
    levels = np.unique(values.dropna().to_numpy(float))
    if len(levels) < 2 or levels[0] <= 0 or levels[-1] < 10 * levels[0]:
        return False
    if len(levels) == 2:
        return True
    linear, log = np.diff(levels), np.diff(np.log(levels))
    return bool(log.std() / log.mean() < linear.std() / linear.mean())


def _binned(values: pd.Series) -> tuple[pd.Series, str]:
    """Numbers of a random search by the middle of the bin they fall into, and a note; few values as they are."""
    if values.nunique() <= MOST_VALUES or not pd.api.types.is_numeric_dtype(values):
        return values, ""
    log = is_log_spaced(values)
    numbers = np.log(values.astype(float)) if log else values.astype(float)
    edges = np.linspace(numbers.min(), numbers.max(), BINS + 1)
    middles = (edges[:-1] + edges[1:]) / 2
    at = middles[np.clip(np.searchsorted(edges, numbers, "right") - 1, 0, BINS - 1)]
    rounded = [float(f"{value:.2g}") for value in (np.exp(at) if log else at)]
    return pd.Series(rounded, values.index), f"{values.name} in {BINS} bins"


@dataclass
class NumberAxis:
    """Where the values of a column stand on an axis: as numbers, linear or log, or evenly where some are words or 0."""

    positions: pd.Series
    log: bool = False
    ticks: tuple[Sequence[float], Sequence[str]] | None = None

    @classmethod
    def of(cls, values: pd.Series) -> NumberAxis:
        if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values) and values.notna().all():
            levels = np.unique(values.to_numpy(float))
            ticks = (list(levels), [f"{level:.6g}" for level in levels]) if len(levels) <= 8 else None
            log = is_log_spaced(values)
            if log or levels[0] > 0 or not is_log_spaced(values[values > 0]):
                return cls(values.astype(float), log, ticks)
        levels = text_levels(values)
        names = list(levels.cat.categories)
        return cls(levels.cat.codes.astype(float), False, (range(len(names)), names))

    @property
    def n_ticks(self) -> int:
        """How many values have a tick of their own; many where they are not counted."""
        return len(self.ticks[0]) if self.ticks else 99

    def apply(self, ax: Axes) -> None:
        if self.log:
            ax.set_xscale("log")
        if self.ticks:
            ax.xaxis.set_major_locator(FixedLocator(list(self.ticks[0])))
            ax.xaxis.set_major_formatter(FixedFormatter(list(self.ticks[1])))
            ax.xaxis.set_minor_locator(NullLocator())


_IN_WORDS = (FixedFormatter, StrCategoryFormatter)


def _untangle(ax: Axes) -> None:
    """Turn the tick labels of an axis that overlap, and leave some out where that is not enough."""
    for axis, along, across in ((ax.xaxis, 0, 1), (ax.yaxis, 1, 0)):
        labels = [label for label in axis.get_ticklabels() if label.get_visible() and label.get_text()]
        boxes = [label.get_window_extent() for label in labels]
        if len(labels) < 2:
            continue
        centres = sorted((box.get_points()[0][along] + box.get_points()[1][along]) / 2 for box in boxes)
        room = min(np.diff(centres))
        length = max(box.get_points()[1][along] - box.get_points()[0][along] for box in boxes)
        thickness = max(box.get_points()[1][across] - box.get_points()[0][across] for box in boxes)
        pad = 3 if along == 0 else 0
        if room >= length + pad:
            continue
        needed = length
        if (
            along == 0 and length > thickness and isinstance(axis.get_major_formatter(), _IN_WORDS)
        ):  # labels that are wider than high: upright they need less room
            needed = 1.1 * thickness
            for label in labels:
                label.set(rotation=90)
        step = max(1, math.ceil(needed / max(room, 0.01)))
        for i, label in enumerate(labels):
            label.set_visible(i % step == 0)


def _facets(
    data: pd.DataFrame, spec: Spec, width: float, height: float, sharey: bool = True
) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """A figure with a panel of `width` x `height` inches for each value of col and row, and each panel's data.

    A long row of columns is wrapped. Panels beyond MOST_PANELS are left out; the figure's label says so.
    """
    col, row = spec.get("col"), spec.get("row")
    cols, rows = (list(data[name].cat.categories) if name else [None] for name in (col, row))
    n_panels = len(cols) * len(rows)
    cols = cols[: max(1, MOST_PANELS // len(rows))]
    rows = rows[: MOST_PANELS // len(cols)]
    n_shown = len(cols) * len(rows)
    wrapped = len(rows) == 1 and len(cols) > 6
    n_col = math.ceil(math.sqrt(1.6 * len(cols))) if wrapped else len(cols)
    n_row = math.ceil(len(cols) / n_col) if wrapped else len(rows)
    space = {"wspace": (0.28 if sharey else 0.75) / width, "hspace": (0.32 if wrapped else 0.12) / height}
    figure, grid = plt.subplots(
        n_row,
        n_col,
        figsize=(width * n_col, height * n_row),
        sharex=True,
        sharey=sharey,
        squeeze=False,
        gridspec_kw={**space, "left": 0, "right": 1, "bottom": 0, "top": 1},
        label=f"The first {n_shown} of {n_panels} panels" if n_shown < n_panels else "",
    )
    panels = []
    for i, ax in enumerate(grid.flat):
        at_row, at_col = (0, i) if wrapped else divmod(i, n_col)
        if at_col >= len(cols):
            ax.remove()
            grid.flat[i - n_col].tick_params(labelbottom=True)
            continue
        chosen = {name: value for name, value in ((col, cols[at_col]), (row, rows[at_row])) if name}
        mask = np.logical_and.reduce([(data[name] == value).to_numpy() for name, value in chosen.items()] or [True])
        panels.append((ax, data[np.broadcast_to(mask, len(data))]))
        if col and (wrapped or at_row == 0):
            ax.set_title(_panel_title(col, cols[at_col]), fontsize="medium")
        if row and at_col == len(cols) - 1:
            ax.annotate(
                _panel_title(row, rows[at_row]), (1.03, 0.5), xycoords="axes fraction", rotation=270, va="center"
            )
    return figure, panels


def _panel_title(name: str, value: Any) -> str:
    text = value if name in ("split", "label", "version") else f"{name} = {value}"
    text = axis_title(value) if name == "measure" else text
    return textwrap.fill(text, 28)


def _label_axes(panels: list[tuple[Axes, pd.DataFrame]], x: str, y: str) -> None:
    """Name the axes at the foot and at the left of a grid."""
    for ax, _ in panels:
        position = ax.get_subplotspec()
        ax.set(xlabel="", ylabel="")
        if ax.xaxis.get_tick_params()["labelbottom"]:
            ax.set_xlabel(x)
        if position.is_first_col():
            ax.set_ylabel(y)


def _legend(figure: Figure, title: str, entries: dict[str, dict[str, Any]]) -> None:
    """A legend to the right of the figure; `entries` are names with the properties of their lines."""
    handles = [mpl.lines.Line2D([], [], **properties) for properties in entries.values()]
    names = [textwrap.fill(name, 45) for name in entries]
    beside = 1 + 0.25 / figure.get_size_inches()[0]
    figure.legend(
        handles,
        names,
        title=title,
        loc="center left",
        bbox_to_anchor=(beside, 0.5),
        frameon=False,
        ncols=math.ceil(len(names) / 24),
    )


def _crosses(ax: Axes, at: Any, foot: float = 0.025, upright: bool = False) -> None:
    """Mark diverged runs with crosses at the foot of the axis (or, `upright`, at the foot of the other)."""
    at = np.unique(np.asarray(at, float))
    feet = np.full(len(at), foot)
    transform = ax.get_yaxis_transform() if upright else ax.get_xaxis_transform()
    marks = (feet, at) if upright else (at, feet)
    ax.plot(*marks, "x", color=BAD, markersize=4, transform=transform, gid="diverged", zorder=5)


def _with_text(summary: pd.DataFrame, names: Sequence[str | None]) -> pd.DataFrame:
    """The summary with the columns that tell runs apart as ordered text."""
    return summary.assign(**{name: text_levels(summary[name]) for name in names if name and name in summary})


def _long(data: pd.DataFrame, y: str, splits: Sequence[str]) -> pd.DataFrame:
    """The data with the column `value`: that of `y`, or of each split of a family such as acc, named in `split`."""
    if y not in FAMILIES:
        return data.assign(value=data[y])
    parts = [data.assign(value=data[f"{split}_{y}"], split=split) for split in splits]
    long = pd.concat(parts, ignore_index=True)
    return long.assign(split=pd.Categorical(long["split"], splits, ordered=True))


def _best_labels(summary: pd.DataFrame, most: int) -> tuple[list[str], str]:
    """The labels of the best settings by validation accuracy, and a note where some are left out."""
    labels = list(group_settings(summary)["label"])
    note = f"The best {most} of {len(labels)} settings by validation accuracy" if len(labels) > most else ""
    return labels[:most], note


# -- categorical ---------------------------------------------------------------------------------------------------

_CATEGORICAL: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "bars": (sns.barplot, {"errorbar": None}),
    "points": (sns.pointplot, {"errorbar": None, "linestyle": "none", "markersize": 4}),
    "box": (sns.boxplot, {"linewidth": 0.8, "fliersize": 2}),
    "strip": (sns.stripplot, {"size": 4, "alpha": 0.7, "jitter": 0.15}),
    "violin": (sns.violinplot, {"inner": "point", "cut": 0, "linewidth": 0.8, "density_norm": "width"}),
}
_DODGED: dict[str, dict[str, Any]] = {"points": {"dodge": 0.4}, "strip": {"dodge": True}}


def categorical(tables: Tables, spec: Spec) -> Drawing:
    """Bars, points, boxes, single runs or violins of a metric, or of its three splits side by side."""
    spec = dict(spec)
    summary, left_out = tables.summary, ""
    x, hue, y = spec["x"], spec.get("hue"), spec["y"]
    groups = [spec[axis] for axis in ("x", "hue", "col", "row") if axis in spec]
    if x == "label":
        labels, left_out = _best_labels(summary, MOST_BARS)
        summary = summary[summary["label"].isin(labels)]
    data = _with_text(summary, groups)
    if x == "label":  # best first
        data = data.assign(label=data["label"].cat.reorder_categories(labels))
    n_x, n_hue = (data[name].cat.categories.size if name else 1 for name in (x, hue))
    flat = x == "label"
    along = max(0.13 * n_x * n_hue, 0.3 * n_x) + 0.8  # inches
    if y in FAMILIES:
        free = [axis for axis in (("row", "col") if along > 5 and not flat else ("col", "row")) if axis not in spec]
        spec |= {free[0]: "split"} if free else {}
        data = _long(data, y, SPLITS if free else ("test",))
    else:
        data = _long(data, y, ())
    names = [textwrap.fill(name, 70) for name in data[x].cat.categories]
    thick = max(0.08 + 0.14 * max(name.count("\n") + 1 for name in names), 0.13 * n_hue)
    size = (2.3, max(0.8, thick * n_x)) if flat else (min(14, max(2.2, along)), 2.3)
    figure, panels = _facets(data, spec, *size)
    plot, options = _CATEGORICAL[spec["kind"]]
    colours: dict[Any, Any] = {}
    if hue:
        colours = dict(zip(data[hue].cat.categories, palette(data[hue]), strict=True))
        options = {**options, "hue": hue, "palette": colours, "legend": False, **_DODGED.get(spec["kind"], {})}
        _legend(figure, axis_title(hue), {k: {"color": c, "marker": "s", "linestyle": ""} for k, c in colours.items()})
    else:
        options = {**options, "color": sns.color_palette("colorblind")[0]}
    axes = {"y": x, "x": "value", "orient": "h"} if flat else {"x": x, "y": "value"}
    for ax, part in panels:
        if part["value"].notna().any():
            plot(part, ax=ax, **axes, **options)
            if "errorbar" in options:
                _errorbars(ax, part, spec, colours, upright=flat)
        else:  # every run diverged; seaborn's boxplot has no answer to that
            (ax.set_ylim if flat else ax.set_xlim)(-0.5, n_x - 0.5)
            (ax.set_yticks if flat else ax.set_xticks)(range(n_x), names)
        _crosses(ax, _category_positions(part[part["status"] == "diverged"], spec), upright=flat)
        if flat:
            ax.set_yticks(range(n_x), names)
    _label_axes(panels, *((axis_title(y), "") if flat else (axis_title(x), axis_title(y))))
    return figure, _sentence(
        left_out, _runs_note(summary, groups, data, y, kind=spec["kind"]), _diverged_note(tables.summary)
    )


def _errorbars(ax: Axes, part: pd.DataFrame, spec: Spec, colours: dict[Any, Any], upright: bool) -> None:
    """The intervals of bars or points; those of points in their colours."""
    hue, points = spec.get("hue"), spec["kind"] == "points"
    shown = _means(part, list(dict.fromkeys(name for name in (spec["x"], hue) if name)), metric(spec["y"]).within)
    for level, of in shown.groupby(hue, observed=True) if hue else [(None, shown)]:
        at, value = _category_positions(of, spec), of["value"]
        ends = np.array([value - of["low"], of["high"] - value])
        where = {"x": value, "y": at, "xerr": ends} if upright else {"x": at, "y": value, "yerr": ends}
        colour = colours.get(level, sns.color_palette("colorblind")[0]) if points else "0.25"
        ax.errorbar(**where, fmt="none", ecolor=colour, elinewidth=1, capsize=2)


def _category_positions(data: pd.DataFrame, spec: Spec) -> pd.Series:
    """Where seaborn draws the rows along the categorical axis."""
    at = data[spec["x"]].cat.codes.astype(float)
    if "hue" not in spec:
        return at
    n = data[spec["hue"]].cat.categories.size
    step = 0.4 / max(n - 1, 1) if spec["kind"] == "points" else 0.8 / n
    return at + (data[spec["hue"]].cat.codes - (n - 1) / 2) * step


# -- over numbers --------------------------------------------------------------------------------------------------


def line(tables: Tables, spec: Spec) -> Drawing:
    """The mean of a metric, or of its three splits, over a numeric hyper-parameter."""
    spec = dict(spec)
    groups = [spec[axis] for axis in ("x", "hue", "col", "row") if axis in spec]
    data = _with_text(tables.summary, groups[1:])
    values, in_bins = _binned(data[spec["x"]])
    axis = NumberAxis.of(values)
    data = _long(data.assign(position=axis.positions), spec["y"], SPLITS)
    if spec["y"] in FAMILIES:
        spec[next(name for name in ("hue", "col", "row", "style") if name not in spec)] = "split"
    figure, panels = _lines(data, spec, "position", axis.n_ticks)
    for ax, part in panels:
        axis.apply(ax)
        _crosses(ax, part.loc[part["status"] == "diverged", "position"])
        if _spans_decades(spec["y"], data["value"]):
            ax.set_yscale("log")
    _label_axes(panels, axis_title(spec["x"]), axis_title(spec["y"]))
    summary = tables.summary.assign(**{spec["x"]: values})
    drawn = data.drop(columns=groups).merge(summary[["hash", *groups]], on="hash")
    return figure, _sentence(in_bins, _runs_note(summary, groups, drawn, spec["y"]), _diverged_note(summary))


def _lines(
    data: pd.DataFrame, spec: Spec, x: str, n_x: int, sharey: bool = True
) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """Lines of the mean of `value` over x, with intervals: bars where x has few values, else bands.

    Rows that are `alone` are in no mean: each run of them goes on as a thin line of its own.
    """
    hue, style = spec.get("hue"), spec.get("style")
    few = n_x <= 15
    n_col, n_row = (data[spec[axis]].cat.categories.size if axis in spec else 1 for axis in ("col", "row"))
    single = n_col * n_row == 1
    width = 3.4 if single else max(1.3, min(2.3, 14 / (n_col if n_row > 1 or n_col < 7 else 7)))
    figure, panels = _facets(data, spec, width, 0.75 * width if single else 0.85 * width, sharey)
    colours: dict[Any, Any] = {None: sns.color_palette("colorblind")[0]}
    dashes: dict[Any, Any] = {None: "-"}
    if hue:
        colours = dict(zip(data[hue].cat.categories, palette(data[hue]), strict=True))
    if style:
        dashes = dict(zip(data[style].cat.categories, ("-", "--", ":"), strict=False))
    markers = dict(zip(colours, "osD^vP" if few and len(colours) <= 6 else "." * len(colours), strict=False))
    by = [name for name in (hue, style) if name]
    for ax, part in panels:
        within = metric(part["measure"].iat[0] if "measure" in part else spec["y"]).within
        means = _means(part[~part["alone"]] if "alone" in part else part, [*by, x], within)
        for keys, line in means.groupby(by, observed=True) if by else [((), means)]:
            names = dict(zip(by, keys, strict=True))
            colour = colours[names.get(hue)]
            look = {"color": colour, "linestyle": dashes[names.get(style)], "linewidth": 1.3}
            marker = markers[names.get(hue)] if few else "." if len(line) == 1 else None
            ax.plot(line[x], line["value"], marker=marker, markersize=4, **look)
            if (line["n"] < 2).all():
                continue
            if few:
                errors = (line["value"] - line["low"], line["high"] - line["value"])
                ax.errorbar(line[x], line["value"], errors, fmt="none", ecolor=colour, elinewidth=1, capsize=2)
            else:
                ax.fill_between(line[x], line["low"], line["high"], color=colour, alpha=0.2, linewidth=0)
        if "thin" in part:
            for keys, line in part[part["thin"]].groupby([*by, "hash"], observed=True):
                names = dict(zip(by, keys, strict=False))
                look = {"color": colours[names.get(hue)], "linestyle": dashes[names.get(style)], "linewidth": 0.6}
                ax.plot(line[x], line["value"], alpha=0.8, gid="alone", **look)
    entries: dict[str, dict[str, Any]] = {}
    if hue:
        entries |= {k: {"color": c, "marker": markers[k] if few else None} for k, c in colours.items()}
    if style:
        entries |= {k: {"color": "0.3", "linestyle": dash} for k, dash in dashes.items()}
    if entries:
        _legend(figure, axis_title(hue) if hue and hue != "split" else "", entries)
    return figure, panels


def speed(tables: Tables, spec: Spec) -> Drawing:
    """Throughput, time per epoch and test accuracy side by side, over the batch size or another hyper-parameter."""
    groups = [spec[axis] for axis in ("x", "hue") if axis in spec]
    data = _with_text(tables.summary, groups[1:])
    axis = NumberAxis.of(data[spec["x"]])
    data = data.assign(position=axis.positions)
    measures = ("samples_per_second", "seconds_per_epoch", "test_acc")
    long = pd.concat([data.assign(value=data[name], measure=name) for name in measures])
    long = long.assign(measure=pd.Categorical(long["measure"], measures, ordered=True))
    figure, panels = _lines(long, {**spec, "col": "measure"}, "position", axis.n_ticks, sharey=False)
    for (ax, part), name in zip(panels, measures, strict=True):
        axis.apply(ax)
        _crosses(ax, part.loc[part["status"] == "diverged", "position"])
        if _spans_decades(name, part["value"]):
            ax.set_yscale("log")
    _label_axes(panels, axis_title(spec["x"]), "")
    return figure, _sentence(_runs_note(tables.summary, groups, long, *measures), _diverged_note(tables.summary))


def _spans_decades(name: str, values: pd.Series) -> bool:
    """Whether a loss, gradient, time or throughput needs a log axis, so that one run does not flatten the others."""
    values = values[np.isfinite(values)]
    if name.endswith("acc") or name in ("best_epoch", "generalization_gap") or values.empty:
        return False
    return bool(values.min() > 0 and values.max() > 50 * values.min())


def _drawn_runs(summary: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """At most MOST_POINTS of the runs, and a note where some are left out."""
    if len(summary) <= MOST_POINTS:
        return summary, ""
    shown = summary.sample(MOST_POINTS, random_state=0).sort_index()
    return shown, f"{MOST_POINTS} of {len(summary)} runs, drawn at random"


def _scatter(ax: Axes, data: pd.DataFrame, x: str, y: str, hue: str | None, levels: pd.Series, colours: Any) -> None:
    """A point a row, coloured by level, with a legend beside the axes."""
    options: dict[str, Any] = {"s": 24 if len(data) < 300 else 10, "alpha": 0.8, "linewidth": 0.2}
    if hue:
        options |= {"hue": levels, "palette": colours, "legend": False}
        markers = ["o"] * len(colours)
        if len(colours) <= 6:
            markers = ["o", "X", "s", "P", "D", "^"][: len(colours)]
            options |= {"style": levels, "markers": markers}
        looks = zip(levels.cat.categories, colours, markers, strict=True)
        _legend(
            ax.figure,
            "" if hue == "label" else axis_title(hue),
            {
                name: {"color": colour, "marker": marker, "linestyle": "", "markersize": 5}
                for name, colour, marker in looks
            },
        )
    sns.scatterplot(data, x=x, y=y, ax=ax, rasterized=len(data) > 1000, **options)


def scatter(tables: Tables, spec: Spec) -> Drawing:
    """One quantity against another, a point a run; colour by a third."""
    x, y, hue = spec["x"], spec["y"], spec.get("hue")
    summary, left_out = _drawn_runs(tables.summary)
    axis = NumberAxis.of(summary[x])
    data = summary.assign(position=axis.positions)
    figure, ax = plt.subplots(figsize=(4.2, 3.2))
    if hue and pd.api.types.is_float_dtype(data[hue]) and data[hue].nunique() > MOST_COLOURS:
        scale = mpl.colors.LogNorm if is_log_spaced(data[hue]) else mpl.colors.Normalize
        norm = scale(data[hue].min(), data[hue].max())
        sns.scatterplot(
            data,
            x="position",
            y=y,
            ax=ax,
            hue=hue,
            hue_norm=norm,
            palette=COLOURS,
            legend=False,
            s=14,
            linewidth=0.2,
            rasterized=len(data) > 1000,
        )
        figure.colorbar(mpl.cm.ScalarMappable(norm, COLOURS), ax=ax, label=axis_title(hue)).outline.set_visible(False)
    else:
        levels = text_levels(data[hue]) if hue else pd.Series()
        _scatter(ax, data, "position", y, hue, levels, palette(levels) if hue else [])
    axis.apply(ax)
    if _spans_decades(y, data[y]):
        ax.set_yscale("log")
    _crosses(ax, data.loc[data[y].isna(), "position"])
    ax.set(xlabel=axis_title(x), ylabel=axis_title(y))
    return figure, _sentence(left_out, f"A point a run; {_seeds(tables.summary)}", _diverged_note(tables.summary))


def gap(tables: Tables, spec: Spec) -> Drawing:
    """Training against validation accuracy, a point a run; the diagonal is no gap.

    Both are of the weights that are tested, or, where records lack that, of the last epoch of every run.
    """
    hue = spec.get("hue")
    data, left_out = _drawn_runs(tables.summary)
    tested = data.loc[data["status"] != "diverged", "tested_train_acc"].notna()
    x, y = ("tested_train_acc", "tested_val_acc") if tested.all() and len(tested) else ("train_acc", "val_acc")
    measure = "of the weights that are tested, without dropout and augmentation"
    if x == "train_acc":
        measure = f"last epoch; its training accuracy is the mean during the epoch{_disturbed(data)}"
        if tested.any():
            measure += f", since {int((~tested).sum())} of {len(tested)} runs have no other"
    levels = text_levels(data[hue]) if hue else pd.Series()
    colours = palette(levels) if hue else []
    if hue == "label" and len(colours) > MOST_COLOURS:
        labels, _ = _best_labels(tables.summary, BEST_LINES)
        names = data["label"].where(data["label"].isin(labels), "other settings")
        levels = pd.Series(pd.Categorical(names, [*labels, "other settings"], ordered=True), data.index)
        colours = [*sns.color_palette("colorblind", len(labels)), GREY]
        left_out = _sentence(left_out, f"In colour: the best {len(labels)} settings by validation accuracy")[:-1]
    figure, ax = plt.subplots(figsize=(3.4, 3.4))
    _scatter(ax, data, x, y, hue, levels, colours)
    ax.axline((1, 1), slope=1, color="0.4", linewidth=0.8, linestyle="--", zorder=0)
    low = np.nanmin([data[x].min(), data[y].min(), 0.95]) - 0.03
    diverged = data.loc[data["status"] == "diverged", [x, y]].fillna(low + 0.01)
    ax.plot(diverged[x], diverged[y], "x", color=BAD, markersize=5, gid="diverged")
    ax.set(xlim=(low, 1.02), ylim=(low, 1.02), xlabel=axis_title(x), ylabel=axis_title(y))
    ax.set_aspect("equal")
    note = f"A point a run, {measure}; {_seeds(tables.summary)}; dashed: no gap"
    return figure, _sentence(left_out, note, _diverged_note(tables.summary))


# -- over epochs ---------------------------------------------------------------------------------------------------


def curves(tables: Tables, spec: Spec) -> Drawing:
    """A metric over epochs, or its training and validation curves; with the test accuracy in each panel of accuracy."""
    hue = spec.get("hue")
    if hue == "label" and tables.summary["label"].nunique() > MOST_COLOURS:
        return _many_curves(tables, spec)
    spec = dict(spec)
    groups = [spec[axis] for axis in ("hue", "col", "row") if axis in spec]
    summary = _with_text(tables.summary, groups)
    y = spec["y"]
    names = [f"{split}_{y}" for split in SPLITS[:2]] if y in FAMILIES else [y]
    values = _long(_without_diverged(tables.epochs)[["hash", "epoch", *names]], y, SPLITS[:2])
    known = list(dict.fromkeys(["hash", "label", "status", *groups]))
    data = values.drop(columns=names).merge(summary[known], on="hash")
    data = _until_one_ends(data, groups)
    if y in FAMILIES:
        spec["style" if hue else "hue"] = "split"
    figure, panels = _lines(data, spec, "epoch", 99)
    last, by_hash = data.groupby("hash")["epoch"].max(), summary.set_index("hash")
    log, top = _spans_decades(y, data["value"]), 10 * data["value"].quantile(0.98)
    beyond = log and data["value"].max() > top
    for ax, part in panels:
        runs = by_hash.loc[part["hash"].unique()]
        _crosses(ax, last[runs.index[runs["status"] == "diverged"]], 0.95)
        if log:
            ax.set_yscale("log")
        if beyond:
            ax.set_ylim(top=top)
        if y == "acc" and not hue:
            ax.text(
                0.97,
                0.05,
                _test_text(runs),
                transform=ax.transAxes,
                ha="right",
                va="bottom",
                fontsize="small",
                gid="test",
                bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 1},
            )
    _label_axes(panels, "epoch", axis_title(y))
    written = "Written in: mean test accuracy [its interval]" if y == "acc" and not hue else ""
    cut = "Values far above the others leave the axis" if beyond else ""
    alone = _GOING_ON if data["alone"].any() else ""
    note = _runs_note(tables.summary, groups, data[~data["alone"]], y)
    return figure, _sentence(note, alone, written, cut, _diverged_note(tables.summary))


_GOING_ON = "A mean ends where the first of its runs ends; thin: the runs that go on"


def _without_diverged(epochs: pd.DataFrame) -> pd.DataFrame:
    """The epochs without the values of those in which a run diverged: there is nothing to average in them."""
    lost = epochs[["train_loss", "val_loss"]].isna().any(axis=1)
    results = [f"{split}_{y}" for split in SPLITS[:2] for y in FAMILIES]
    return epochs.assign(**{name: epochs[name].mask(lost) for name in results})


def _until_one_ends(data: pd.DataFrame, groups: Sequence[str]) -> pd.DataFrame:
    """Add `alone`: whether a row is of an epoch that not all runs of its mean have, and `thin`: the line from there on.

    The mean of the runs that are left would jump where one stops early or diverges, and speak for those that survive.
    """
    by = [name for name in (*groups, "split") if name in data]
    runs = ["hash", *(["split"] if "split" in data else [])]
    data = data.sort_values("epoch", kind="stable")
    known = data["value"].notna().groupby([data[name] for name in runs], observed=True).cummin()
    last = data["epoch"].where(known, 0).groupby([data[name] for name in runs], observed=True).transform("max")
    together = last.groupby([data[name] for name in by], observed=True).transform("min") if by else last.min()
    alone = known & (data["epoch"] > together)
    goes_on = alone.groupby([data[name] for name in runs], observed=True).transform("any")
    data = data.assign(value=data["value"].where(known), alone=alone)
    return data.assign(thin=known & goes_on & (data["epoch"] >= together))


def _test_text(runs: pd.DataFrame) -> str:
    """The mean test accuracy of the runs that have one, and how many diverged."""
    n_diverged = int((runs["status"] == "diverged").sum())
    if runs[REPORTED].isna().all():
        return "diverged"
    found = _means(runs.assign(value=runs[REPORTED], mark=0), ["mark"], metric(REPORTED).within).iloc[0]
    text = f"test {mean_text(found['value'], found['low'], found['high'], digits=3)}"
    return f"{text}\n{n_diverged} of {len(runs)} diverged" if n_diverged else text


def _many_curves(tables: Tables, spec: Spec) -> Drawing:
    """All settings in grey, the best in colour, each the mean over its seeds; a panel a split."""
    y = spec["y"]
    names = [f"{split}_{y}" for split in SPLITS[:2]] if y in FAMILIES else [y]
    board = list(group_settings(tables.summary)["label"])
    best = board[:BEST_LINES]
    step = math.ceil(len(board) / MOST_LINES)
    shown = [*best, *board[BEST_LINES::step]]
    labels = tables.summary.loc[tables.summary["label"].isin(shown), ["hash", "label"]]
    known = _without_diverged(tables.epochs).merge(labels, on="hash")
    data = _until_one_ends(_long(known, y, SPLITS[:2]), ["label"])
    data = data.assign(split=data["split"] if y in FAMILIES else y)
    means = data[~data["alone"]].groupby(["label", "epoch", "split"], observed=True)["value"].mean().unstack("split")
    figure, panels = plt.subplots(1, len(names), figsize=(3 * len(names), 2.6), sharey=True, squeeze=False)
    diverged = set(tables.summary.loc[tables.summary["status"] == "diverged", "label"])
    colours = dict(zip(best, sns.color_palette("colorblind"), strict=False))
    for name, ax in zip(names, panels.flat, strict=True):
        split = name.split("_")[0] if y in FAMILIES else y
        wide = means.get(split, pd.Series(dtype=float, index=means.index)).unstack("label").reindex(columns=shown)
        going_on = data[data["thin"] & (data["split"] == split) & data["label"].isin(best)]
        for (label, _), line in going_on.groupby(["label", "hash"]):
            ax.plot(line["epoch"], line["value"], color=colours[label], linewidth=0.6, zorder=2, gid="alone")
        for label in reversed(shown):
            colour = colours.get(label)
            ax.plot(
                wide.index,
                wide[label],
                color=colour or GREY,
                linewidth=1.6 if colour else 0.5,
                zorder=3 if colour else 1,
                rasterized=not colour and len(shown) > 100,
            )
            end = wide[label].last_valid_index()
            if label in diverged and end is not None:
                ax.plot(end, wide[label][end], "x", color=BAD, markersize=4, gid="diverged")
        ax.set(xlabel="epoch", title=split if y in FAMILIES else "")
    if _spans_decades(y, data["value"]):
        panels.flat[0].set_yscale("log")
    panels.flat[0].set_ylabel(axis_title(y))
    _legend(figure, f"best {len(best)} by validation", {label: {"color": colours[label]} for label in best})
    every = f"; every {step}th of them by rank" if step > 1 else ""
    grey = f"Grey: the other settings of {len(board)}{every}"
    n = _runs_per_mark(data[~data["alone"]], ["label"])
    mean = f"Mean of {_count_runs(n)} ({_seeds(tables.summary)})" if len(n) else "No mean"
    alone = _GOING_ON if data["alone"].any() else ""
    return figure, _sentence(grey, mean, alone, _diverged_note(tables.summary))


def gradients(tables: Tables, spec: Spec) -> Drawing:
    """The mean absolute gradient of each layer's weights, in the first and in the last epoch."""
    groups = [spec[axis] for axis in ("hue", "col", "row") if axis in spec]
    summary, left_out = _with_text(tables.summary, groups), ""
    if "label" in groups and summary["label"].cat.categories.size > MOST_COLOURS:
        labels, left_out = _best_labels(tables.summary, BEST_LINES)
        summary = summary[summary["label"].isin(labels)]
        summary = summary.assign(label=summary["label"].cat.set_categories(labels))
    data = tables.gradients.merge(summary[list(dict.fromkeys(["hash", "label", *groups]))], on="hash")
    if data.empty:
        raise Undrawable("no gradients were recorded")
    last = data.groupby("hash")["epoch"].transform("max")
    data = data[(data["epoch"] == 1) | (data["epoch"] == last)]
    when = pd.Categorical(np.where(data["epoch"] == 1, "first", "last"), ["first", "last"], ordered=True)
    data = data.assign(value=data["gradient"].where(data["gradient"] > 0), when=when).rename(
        columns={"when": "in epoch"}
    )
    figure, panels = _lines(data, {**spec, "y": "gradient", "style": "in epoch"}, "layer", data["layer"].nunique())
    layers = sorted(data["layer"].unique())
    for ax, _ in panels:
        ax.set_yscale("log")
        if len(layers) <= 12:
            ax.set_xticks(layers)
    _label_axes(panels, "layer, from the input", axis_title("gradient"))
    recorded = summary[summary["hash"].isin(data["hash"])]
    return figure, _sentence(left_out, _runs_note(recorded, groups, data, "gradient"), _diverged_note(tables.summary))


# -- tables as pictures --------------------------------------------------------------------------------------------


def heatmap(tables: Tables, spec: Spec) -> Drawing:
    """The mean of a metric for each pair of two hyper-parameters."""
    x, y, value = spec["x"], spec["y"], spec["hue"]
    binned = {name: _binned(tables.summary[name]) for name in (x, y)}
    summary = tables.summary.assign(**{name: values for name, (values, _) in binned.items()})
    data = _with_text(summary, [x, y])
    groups = data.assign(diverged=data["status"] == "diverged").groupby([y, x], observed=False)
    means = groups[value].mean().unstack(x).iloc[::-1]
    diverged = groups["diverged"].sum().unstack(x).reindex_like(means).fillna(0).astype(int)
    n_y, n_x = means.shape
    figure, ax = plt.subplots(figsize=(min(14, 1.8 + 0.5 * n_x), min(12, 1.2 + 0.36 * n_y)))
    few = means.size <= MOST_CELLS
    sns.heatmap(
        means,
        ax=ax,
        cmap=COLOURS,
        annot=few,
        fmt=".3g",
        annot_kws={"fontsize": "x-small"},
        linewidths=0.5 if few else 0,
        cbar_kws={"label": axis_title(value)},
        xticklabels=1,
        yticklabels=1,
    )
    rows, columns = np.nonzero(diverged.to_numpy())
    for row, column in zip(rows, columns, strict=True):
        alone = pd.isna(means.iat[row, column])
        at = (column + 0.5, row + 0.5) if alone else (column + 0.86, row + 0.2)
        ax.plot(*at, "x", color=BAD, markersize=6 if alone else 3, gid="diverged")
    ax.set(xlabel=axis_title(x), ylabel=axis_title(y))
    ax.tick_params(axis="y", rotation=0)
    ax.grid(False)
    notes = [note for _, note in binned.values()]
    note = _runs_note(summary, [x, y], summary.assign(value=summary[value]))
    return figure, _sentence(*notes, note, _diverged_note(summary))


def confusion(tables: Tables, spec: Spec) -> Drawing:
    """The confusion matrix of the best run: rows are true classes, colours shares of the row."""
    best = best_run(tables.summary)
    if tables.confusion.empty or best is None:
        raise Undrawable("no run has a confusion matrix")
    run = f"{best['label']}, seed {best['seed']}: test accuracy {best['test_acc']:.3f}"
    the_best = f"The best run by validation accuracy: {run}"
    if not (tables.confusion["true"] == tables.confusion["predicted"]).any():  # too many classes for a matrix
        return _confusions(tables, the_best)
    counts = tables.confusion.pivot_table("count", "true", "predicted", aggfunc="sum")
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    n = len(counts)
    size = min(9, 2.2 + 0.3 * n)
    figure, ax = plt.subplots(figsize=(size + 0.6, size))
    sns.heatmap(
        shares,
        ax=ax,
        annot=counts if n <= 20 else False,
        fmt="d",
        annot_kws={"fontsize": "x-small"},
        cmap="Blues",
        vmin=0,
        vmax=1,
        square=True,
        cbar_kws={"label": "share of the true class", "shrink": 0.8},
        xticklabels=1,
        yticklabels=1,
    )
    ax.set(xlabel=axis_title("predicted"), ylabel=axis_title("true"))
    ax.tick_params(axis="y", rotation=0)
    numbers = "Numbers: test images" if n <= 20 else ""
    return figure, _sentence(the_best, numbers, _diverged_note(tables.summary, ""))


def _confusions(tables: Tables, the_best: str) -> Drawing:
    """The most frequent confusions as bars, where there are too many classes for a matrix."""
    data = tables.confusion.nlargest(MOST_BARS, "count")
    names = [f"{true} as {predicted}" for true, predicted in zip(data["true"], data["predicted"], strict=True)]
    figure, ax = plt.subplots(figsize=(4, 0.8 + 0.2 * len(data)))
    ax.barh(range(len(data)), data["count"], color=sns.color_palette("colorblind")[0])
    ax.set_yticks(range(len(data)), names)
    ax.invert_yaxis()
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.set(xlabel="test images", ylabel="true class as predicted class")
    what = f"Its {len(data)} most frequent confusions: more than {MOST_CLASSES} classes are too many for a matrix"
    return figure, _sentence(the_best, what, _diverged_note(tables.summary, ""))


# -- many hyper-parameters -----------------------------------------------------------------------------------------


def parallel(tables: Tables, spec: Spec) -> Drawing:
    """Parallel coordinates: a line a setting through its hyper-parameters to the mean of a metric."""
    summary, y = tables.summary, spec["y"]
    keys = _varying(summary)
    order = {label: i for i, label in enumerate(group_settings(summary)["label"])}
    table = summary.groupby("label", sort=False).agg(
        {**dict.fromkeys(keys, "first"), y: "mean", "status": lambda s: (s == "diverged").sum()}
    )
    table = table.rename(columns={"status": "n_diverged"}).assign(rank=[order[label] for label in table.index])
    table = table.sort_values("rank", kind="stable")
    step = math.ceil(len(table) / MOST_LINES)
    shown = pd.concat([table.head(BEST_LINES), table.iloc[BEST_LINES::step]])
    low, high = table[y].min(), table[y].max()
    norm = mpl.colors.Normalize(low, high)
    scaled, ticks = {}, {}
    for key in keys:
        axis = NumberAxis.of(table[key])
        at = np.log10(axis.positions) if axis.log else axis.positions
        span = (at.max() - at.min()) or 1
        scaled[key] = ((at - at.min()) / span).reindex(shown.index)
        ticks[key] = _parallel_ticks(axis, at.min(), span)
    scaled[y] = ((shown[y] - low) / ((high - low) or 1)).fillna(-0.08)
    heights = [v for v in MaxNLocator(5).tick_values(low, high) if low <= v <= high]
    ticks[y] = [((v - low) / ((high - low) or 1), f"{v:.3g}") for v in heights]
    lines = pd.DataFrame(scaled)

    figure, ax = plt.subplots(figsize=(max(4, 1.35 * len(lines.columns)), 3))
    colours = mpl.colormaps[COLOURS]
    n = len(shown)
    for i, label in reversed(list(enumerate(shown.index))):
        bad = pd.isna(shown[y].iat[i])
        partly = shown["n_diverged"].iat[i] > 0
        ax.plot(
            range(len(lines.columns)),
            lines.loc[label],
            color=BAD if bad else colours(norm(shown[y].iat[i])),
            linewidth=2 if i == 0 else 0.9 if n <= 60 else 0.6,
            alpha=1 if i < BEST_LINES else 0.75 if n <= 60 else 0.5,
            linestyle=":" if bad else "-",
            marker="x" if bad or partly else None,
            markersize=3,
            markevery=[-1],
            zorder=4 if i == 0 else 2,
            gid="diverged" if bad or partly else None,
        )
    for at, name in enumerate(lines.columns):
        ax.axvline(at, color="0.3", linewidth=0.8, zorder=1)
        for height, text in ticks[name]:
            ax.text(
                at - 0.03,
                height,
                text,
                ha="right",
                va="center",
                fontsize="x-small",
                zorder=5,
                bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.5},
            )
    ax.set_xticks(range(len(lines.columns)), [axis_title(name) for name in lines.columns])
    ax.set(yticks=[], xlim=(-0.35, len(lines.columns) - 0.95), ylim=(-0.12, 1.05))
    ax.grid(False)
    sns.despine(ax=ax, left=True, bottom=True)
    bar = figure.colorbar(mpl.cm.ScalarMappable(norm, COLOURS), ax=ax, label=f"mean {axis_title(y)}", pad=0.02)
    bar.outline.set_visible(False)
    every = (
        f"{len(shown)} of {len(table)} settings, evenly by rank, the best among them" if step > 1 else f"{n} settings"
    )
    n = _runs_per_mark(summary.assign(value=summary[y]), ["label"])
    mean = f"mean of {_count_runs(n)}, " if len(n) else ""
    note = f"A line a setting: {every}; {mean}{_seeds(summary)}. Thick: the best by validation"
    n_bad = int(shown[y].isna().sum())
    n_partly = int((shown["n_diverged"] > 0).sum()) - n_bad
    return figure, _sentence(
        note,
        f"Dotted to ×: {n_bad} settings whose runs all diverged" if n_bad else "",
        f"Ending in ×: {n_partly} of which some diverged; the mean is that of the others" if n_partly > 0 else "",
    )


def _parallel_ticks(axis: NumberAxis, low: float, span: float) -> list[tuple[float, str]]:
    """The (height in [0, 1], text) of an axis of parallel coordinates."""
    if axis.ticks:
        at = np.log10(axis.ticks[0]) if axis.log else np.asarray(axis.ticks[0], float)
        ticks = list(zip((at - low) / span, axis.ticks[1], strict=True))
        return ticks[:: math.ceil(len(ticks) / 12)]
    values = (
        range(math.ceil(low), math.floor(low + span) + 1) if axis.log else MaxNLocator(4).tick_values(low, low + span)
    )
    values = [v for v in values if low - 1e-9 <= v <= low + span + 1e-9] or [low, low + span]
    return [((v - low) / span, f"{10**v if axis.log else v:.3g}") for v in values]


def importance(tables: Tables, spec: Spec) -> Drawing:
    """How much each hyper-parameter that varies matters to a random forest's prediction (`statistics.importances`).

    A diverged run counts as the worst result of the experiment.
    """
    summary, y = tables.summary, spec["y"]
    keys = _varying(summary)
    data = summary if len(summary) <= FOREST_RUNS else summary.sample(FOREST_RUNS, random_state=0)
    better, results = metric(y).better, data[y].astype(float)
    if better:
        results = results.mask(data["status"] == "diverged")
    known = results.notna() if not better else pd.Series(True, data.index)
    data, results = data[known], results[known].fillna(results.min() if better == "max" else results.max())
    n_settings = data["label"].nunique()
    if results.isna().all():
        raise Undrawable(f"no run has a {axis_title(y)}")
    if n_settings < 4 or results.nunique() < 2:
        raise Undrawable(f"{n_settings} settings with {results.nunique()} results are too few")
    inputs = np.column_stack([_forest_input(data[key]) for key in keys])
    found = importances(inputs, results.to_numpy(), data["label"].to_numpy())
    long = pd.DataFrame(found.falls.T, columns=keys).melt(var_name="key", value_name="importance")
    order = long.groupby("key")["importance"].mean().sort_values(ascending=False).index[:MOST_BARS]
    figure, ax = plt.subplots(figsize=(4, 0.8 + 0.28 * len(order)))
    colour = sns.color_palette("colorblind")[0]
    sns.barplot(
        long,
        x="importance",
        y="key",
        order=order,
        errorbar="sd",
        color=colour,
        ax=ax,
        capsize=0.25,
        err_kws={"linewidth": 1, "color": "0.25"},
    )
    ax.set(xlabel=f"importance for {axis_title(y)}: fall of R²", ylabel="")
    n_bad = int((data["status"] == "diverged").sum())
    runs = f"{len(data)} runs of {n_settings} settings ({_seeds(data)})"
    note = f"Random forest, {runs}; bars: standard deviation over folds of settings and shuffles"
    return figure, _sentence(note, found.trust, f"{n_bad} diverged runs count as the worst" if n_bad and better else "")


def _forest_input(values: pd.Series) -> pd.Series:
    """A column as numbers for a forest, which asks only for their order; words are numbered as they come."""
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return values.astype(float).fillna(-1)
    return text_levels(values).cat.codes.astype(float)


KINDS: dict[str, Callable[[Tables, Spec], Drawing]] = {
    "bars": categorical,
    "points": categorical,
    "box": categorical,
    "strip": categorical,
    "violin": categorical,
    "line": line,
    "heatmap": heatmap,
    "curves": curves,
    "scatter": scatter,
    "parallel": parallel,
    "importance": importance,
    "gap": gap,
    "speed": speed,
    "gradients": gradients,
    "confusion": confusion,
}
