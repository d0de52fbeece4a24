"""Axes, panels, legends and colours of all figures."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.category import StrCategoryFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, LogFormatterSciNotation, NullLocator

from dlsweep.config.kinds import KINDS, MOST_COLOURS, MOST_PANELS, FigureSpec, Takes
from dlsweep.config.metrics import Range
from dlsweep.report.figures.data import Drawing, Tables, is_log_spaced, is_numeric, marks_of, text_levels, with_axis
from dlsweep.results.columns import Columns

MOST_LETTERS = 120  # of a label
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
    kept = set(summary.loc[version == shown, "hash"])
    parts = {name: table[table["hash"].isin(kept)] for name, table in vars(tables).items() if name != "columns"}
    what = f"only those with {shown} are drawn" if shown else "they are not drawn"
    return replace(tables, **parts), spec, f"{len(summary) - len(kept)} runs have other code or data; {what}"


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

    A long row of columns is wrapped. Panels beyond MOST_PANELS are left out; the figure's label says so.
    """
    col, row = spec.col, spec.row
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
    ax: Axes, part: pd.DataFrame, spec: FigureSpec, within: Range, colours: dict[Any, Any], upright: bool
) -> None:
    """The intervals of bars or points; those of points in their colours."""
    hue, points = spec.hue, spec.kind == "points"
    shown = marks_of(part, list(dict.fromkeys(name for name in (spec.x, hue) if name)), within)
    for level, of in shown.groupby(hue, observed=True) if hue else [(None, shown)]:
        at, value = category_positions(of, spec), of["value"]
        ends = np.array([value - of["low"], of["high"] - value])
        where = {"x": value, "y": at, "xerr": ends} if upright else {"x": at, "y": value, "yerr": ends}
        colour = colours.get(level, sns.color_palette("colorblind")[0]) if points else "0.25"
        ax.errorbar(**where, fmt="none", ecolor=colour, elinewidth=1, capsize=2)


def category_positions(data: pd.DataFrame, spec: FigureSpec) -> pd.Series:
    """Where seaborn draws the rows along the categorical axis."""
    at = data[spec.x].cat.codes.astype(float)
    if not spec.hue:
        return at
    n = data[spec.hue].cat.categories.size
    step = 0.4 / max(n - 1, 1) if spec.kind == "points" else 0.8 / n
    return at + (data[spec.hue].cat.codes - (n - 1) / 2) * step
