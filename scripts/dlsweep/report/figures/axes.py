"""Axes, panels, legends and colours of all figures."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.category import StrCategoryFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogFormatterSciNotation, NullLocator

from dlsweep.config.kinds import KINDS, MOST_ACROSS, MOST_COLOURS, MOST_PANELS, FigureSpec, Takes
from dlsweep.config.metrics import Range
from dlsweep.report.figures.data import (
    Drawing,
    Tables,
    fences,
    is_log_spaced,
    is_numeric,
    marks_of,
    runs_with,
    text_levels,
    with_axis,
)
from dlsweep.results.columns import Columns
from dlsweep.results.leaderboard import group_settings
from dlsweep.results.splits import Splits

MOST_LETTERS = 120  # of a label
MOST_DOTS = 2000  # of single runs behind their means, in a panel
PAGE = 9.0  # inches that a figure can be wide and still be read at the width of a page
GREY, BAD = "0.75", "black"
COLOURS = "viridis"


class PowersOfTen(LogFormatterSciNotation):  # type: ignore[misc]  # matplotlib is not checked
    """The labels of a log axis, as matplotlib's but without its formulas: 10⁻³, 2×10⁻³."""

    _SUPERSCRIPTS = str.maketrans("-−0123456789", "⁻⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

    def __call__(self, x: float, pos: int | None = None) -> str:
        text = super().__call__(x, pos)
        text = re.sub(r"\^\{([^}]*)\}", lambda found: found[1].translate(self._SUPERSCRIPTS), text)
        return text.replace(r"$\mathdefault{", "").removesuffix("}$").replace(r"\times", "×")


def keep_apart(tables: Tables, spec: FigureSpec) -> tuple[Tables, FigureSpec, str]:
    """Return tables and figure such that no mark averages runs of unlike code or data (column `version`), and a note.

    An axis that is free is given to the version. Where there is none, only the present version is drawn.
    """
    kind, summary = KINDS[spec.kind], tables.summary
    version = summary["version"].fillna("")
    if version.nunique() < 2 or {"label", "version"} & set(spec.axes.values()) or not kind.averages:
        return tables, spec, ""
    takes = [axis for axis in ("row", "col", "hue") if kind.axes.get(axis) is Takes.GROUP]
    given, is_free = with_axis(spec, "version", *takes)
    if is_free:
        return tables, given, ""
    present = version[summary["outdated"].isna()] if summary["outdated"].isna().any() else version
    shown = present.mode()[0]
    what = f"only those with {shown} are drawn" if shown else "they are not drawn"
    n_left_out = int((version != shown).sum())
    return runs_with(tables, version == shown), spec, f"{n_left_out} runs have other code or data; {what}"


def fewer_panels(tables: Tables, spec: FigureSpec) -> tuple[Tables, str]:
    """Return the tables with as few values of col and row as there can be readable panels, the best, and a note."""
    notes = []
    n_row = tables.summary[spec.row].nunique(dropna=False) if spec.row in tables.summary else 1
    # Columns are wrapped where there are no rows.
    most = {"col": MOST_ACROSS, "row": MOST_PANELS // MOST_ACROSS} if n_row > 1 else {"col": MOST_PANELS}
    for axis, n in most.items():
        name = spec.axes.get(axis, "")
        if name not in tables.summary:
            continue
        levels = text_levels(tables.summary[name])
        if levels.cat.categories.size <= n:
            continue
        order = {label: i for i, label in enumerate(group_settings(tables.summary, tables.columns)["label"])}
        ranks = tables.summary["label"].map(order).groupby(levels, observed=True).min()
        best = ranks.sort_values(kind="stable").index[:n]
        notes.append(f"The best {n} of {levels.cat.categories.size} values of {name} by {tables.columns.by}")
        tables = runs_with(tables, levels.isin(best))
    return tables, ". ".join(notes)


def empty_figure(text: str) -> Drawing:
    figure, ax = plt.subplots(figsize=(4, 2))
    ax.text(0.5, 0.5, textwrap.fill(textwrap.shorten(text, 400), 50), ha="center", va="center")
    ax.set_axis_off()
    return figure, ""


def palette(levels: pd.Series) -> list[Any]:
    """Return a colour for each level, safe for the colour-blind: an ordered scale for numbers and for many words."""
    n = len(levels.cat.categories)
    if n > MOST_COLOURS or (is_numeric(levels) and n > 2):
        return list(sns.color_palette(COLOURS, n + 1)[:n])
    return list(sns.color_palette("colorblind", n))


@dataclass
class NumberAxis:
    """Where the values of a column stand on an axis: as numbers, linear or log, or evenly where some are words or 0."""

    positions: pd.Series
    log: bool = False
    ticks: tuple[Sequence[float], Sequence[str]] | None = None
    is_words: bool = False

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
        return cls(levels.cat.codes.astype(float), False, (range(len(names)), names), True)

    @property
    def n_ticks(self) -> int:
        """How many values have a tick of their own; many where they are not counted."""
        return len(self.ticks[0]) if self.ticks else 99

    def side_by_side(self, data: pd.DataFrame, hue: str) -> pd.Series:
        """The positions of rows such that marks of different colours at one value do not hide each other."""
        at = data["position"]
        places = np.unique(at)
        if not hue or len(places) < 2 or self.n_ticks > 15:
            return at
        n = data[hue].cat.categories.size
        gap = np.diff(np.log(places) if self.log else places).min()
        shift = (data[hue].cat.codes - (n - 1) / 2) * min(0.06, 0.36 / n) * gap
        return at * np.exp(shift) if self.log else at + shift

    def apply(self, ax: Axes, upright: bool = False) -> None:
        axis = ax.yaxis if upright else ax.xaxis
        if self.log:
            (ax.set_yscale if upright else ax.set_xscale)("log")
        if self.ticks:
            axis.set_major_locator(FixedLocator(list(self.ticks[0])))
            axis.set_major_formatter(FixedFormatter(list(self.ticks[1])))
            axis.set_minor_locator(NullLocator())


_IN_WORDS = (FixedFormatter, FuncFormatter, StrCategoryFormatter)


def untangle(ax: Axes) -> None:
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


def facets(
    data: pd.DataFrame, spec: FigureSpec, columns: Columns, width: float, height: float, sharey: bool = True
) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """A figure with a panel of `width` x `height` inches for each value of col and row, and each panel's data.

    A row of columns that is longer than a page is wide is wrapped.
    """
    col, row = spec.col, spec.row
    cols, rows = (list(data[name].cat.categories) if name else [None] for name in (col, row))
    n_col = len(cols)
    if wrapped := len(rows) == 1 and len(cols) * width > PAGE:
        n_col = max(2, int(PAGE // width))
        n_col = math.ceil(len(cols) / math.ceil(len(cols) / n_col))  # of about the same length
    n_row = math.ceil(len(cols) / n_col) if wrapped else len(rows)
    n_lines = max(_panel_title(col, value, columns).count("\n") for value in cols) if wrapped else 0
    between = 0.38 + 0.15 * n_lines if wrapped else 0.12
    space = {"wspace": (0.28 if sharey else 0.75) / width, "hspace": between / height}
    figure, grid = plt.subplots(
        n_row,
        n_col,
        figsize=(width * n_col, height * n_row),
        sharex="col" if col in ("over", "measure") else True,
        sharey=sharey,
        squeeze=False,
        gridspec_kw={**space, "left": 0, "right": 1, "bottom": 0, "top": 1},
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
            ax.set_title(_panel_title(col, cols[at_col], columns), fontsize="medium")
        if row and at_col == len(cols) - 1:
            ax.annotate(
                _panel_title(row, rows[at_row], columns),
                (1.03, 0.5),
                xycoords="axes fraction",
                rotation=270,
                va="center",
            )
    return figure, panels


def _panel_title(name: str, value: Any, columns: Columns) -> str:
    text = value if name in ("split", "label", "version") else f"{name} = {value}"
    text = columns.title(value) if name == "measure" else text
    return textwrap.fill(text, 28)


def label_axes(panels: list[tuple[Axes, pd.DataFrame]], x: str, y: str) -> None:
    """Name the axes at the foot and at the left of a grid."""
    for ax, _ in panels:
        position = ax.get_subplotspec()
        ax.set(xlabel="", ylabel="")
        if ax.xaxis.get_tick_params()["labelbottom"]:
            ax.set_xlabel(x)
        if position.is_first_col():
            ax.set_ylabel(y)


def add_legend(figure: Figure, title: str, entries: dict[str, dict[str, Any]]) -> None:
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


def draw_crosses(ax: Axes, at: Any, foot: float = 0.025, upright: bool = False) -> None:
    """Mark diverged runs with crosses at the foot of the axis (or, `upright`, at the foot of the other)."""
    at = np.unique(np.asarray(at, float))
    feet = np.full(len(at), foot)
    transform = ax.get_yaxis_transform() if upright else ax.get_xaxis_transform()
    marks = (feet, at) if upright else (at, feet)
    ax.plot(*marks, "x", color=BAD, markersize=4, transform=transform, gid="diverged", zorder=5)


def draw_errorbars(
    ax: Axes, part: pd.DataFrame, spec: FigureSpec, within: Range, splits: Splits, upright: bool
) -> np.ndarray:
    """The intervals of bars; return their ends."""
    shown = marks_of(part, list(dict.fromkeys(name for name in (spec.x, spec.hue) if name)), within, splits)
    at, value = category_positions(shown, spec), shown["value"]
    ends = np.array([value - shown["low"], shown["high"] - value])
    where = {"x": value, "y": at, "xerr": ends} if upright else {"x": at, "y": value, "yerr": ends}
    ax.errorbar(**where, fmt="none", ecolor="0.25", elinewidth=1, capsize=2)
    found: np.ndarray = shown[["low", "high"]].to_numpy().ravel()
    return found


def draw_marks(
    ax: Axes, at: Any, marks: pd.DataFrame, runs: tuple[Any, Any], colour: Any, marker: str, upright: bool = False
) -> None:
    """Means (`marks`, at these places) with their intervals, and behind them the single runs: their places and values.

    Where each mark is one run, there is nothing behind it. `upright`: the values are along x.
    """
    runs_at, values = (np.asarray(numbers, float)[np.isfinite(runs[1])] for numbers in runs)
    if (marks["n"] > 1).any() and len(values) <= MOST_DOTS:
        where = (values, runs_at) if upright else (runs_at, values)
        ax.plot(*where, ".", color=colour, alpha=0.45, markersize=5, markeredgewidth=0, gid="runs", zorder=2.5)
    value = marks["value"]
    ends = np.array([value - marks["low"], marks["high"] - value])
    where = (value, at) if upright else (at, value)
    if np.isfinite(ends).any():
        ax.errorbar(
            *where,
            **{"xerr" if upright else "yerr": ends},
            fmt="none",
            ecolor=colour,
            elinewidth=1.1,
            capsize=2,
            alpha=0.7,
        )
    look = {"markersize": 5.5, "markeredgecolor": "white", "markeredgewidth": 0.6}
    ax.plot(*where, marker, color=colour, **look, zorder=4, gid="mean")


def frame(
    panels: Sequence[Axes], values: Any, ends: Any, within: Range, upright: bool = False, zero: bool = False
) -> str:
    """Set the limits of the axis of values so that they show the values, and return a note on what they leave out.

    `values` are means and single runs, `ends` those of their intervals. Neither a few values far from all others
    (`fences`) nor the interval of one mark takes the room of the others: a mean that is left out has an arrow at the
    edge with its value beside it, and an interval that is goes on beyond the edge. `zero`: bars, which begin there.
    """
    values, ends = (np.asarray(numbers, float) for numbers in (values, ends))
    values, ends = values[np.isfinite(values)], ends[np.isfinite(ends)]
    if values.size == 0:
        return ""
    fence_low, fence_high = (-math.inf, math.inf) if zero else fences(values)
    shown = values[(values >= fence_low) & (values <= fence_high)]
    low, high = (min(0.0, shown.min()), max(0.0, shown.max())) if zero else (shown.min(), shown.max())
    room = (high - low) or (np.ptp(ends) if ends.size else 0) or abs(high) or 1.0
    if ends.size:
        low, high = max(min(low, ends.min()), low - room / 3), min(max(high, ends.max()), high + room / 3)
    margin = 0.05 * ((high - low) or room)
    low, high = max(low, within[0]) - (0 if zero and low == 0 else margin), min(high, within[1]) + margin
    n_arrows = 0
    for ax in panels:
        (ax.set_xlim if upright else ax.set_ylim)(low, high)
        n_arrows += _point_beyond(ax, low, high, upright)
    notes = []
    if n_arrows:
        notes.append("Arrows at the edge: values far from all others")
    elif ((values < low) | (values > high)).any():
        notes.append("Single runs far from all others lie beyond the axis")
    if ((ends < low) | (ends > high)).any():
        notes.append("An interval that leaves the axis goes on beyond it")
    return ". ".join(notes)


def _point_beyond(ax: Axes, low: float, high: float, upright: bool) -> int:
    """An arrow at the edge for every mean that lies beyond it, with its value; return how many there are."""
    n = 0
    for line in list(ax.lines):
        if line.get_gid() != "mean":
            continue
        along, values = (np.asarray(line.get_data()[i], float) for i in ((1, 0) if upright else (0, 1)))
        for at, value in zip(along, values, strict=True):
            if not (value < low or value > high):
                continue
            n += 1
            edge = low if value < low else high
            marker = {(False, True): "v", (False, False): "^", (True, True): "<", (True, False): ">"}[
                upright, value < low
            ]
            where = (edge, at) if upright else (at, edge)
            look = {"color": line.get_color(), "markersize": 6, "clip_on": False, "zorder": 5, "gid": "beyond"}
            ax.plot(*where, marker, **look)
            shift = (8 if value < low else -8, 0) if upright else (0, 7 if value < low else -7)
            ax.annotate(
                f"{value:.3g}",
                where,
                shift,
                textcoords="offset points",
                ha=("left" if value < low else "right") if upright else "center",
                va="center" if upright else ("bottom" if value < low else "top"),
                fontsize="x-small",
                color=line.get_color(),
                gid="beyond",
            )
    return n


def category_positions(data: pd.DataFrame, spec: FigureSpec) -> pd.Series:
    """Where the rows are drawn along the categorical axis: bars as seaborn has them."""
    at = data[spec.x].cat.codes.astype(float)
    if not spec.hue:
        return at
    n = data[spec.hue].cat.categories.size
    step = 0.5 / max(n - 1, 2) if spec.kind == "points" else 0.8 / n
    return at + (data[spec.hue].cat.codes - (n - 1) / 2) * step
