"""Figures over a number: lines with intervals, training speed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dlsweep.config.kinds import FigureSpec
from dlsweep.config.metrics import SPLITS, Range
from dlsweep.report.figures.axes import (
    PAGE,
    NumberAxis,
    add_legend,
    draw_crosses,
    draw_marks,
    facets,
    frame,
    label_axes,
    palette,
)
from dlsweep.report.figures.data import (
    Drawing,
    Tables,
    Undrawable,
    into_bins,
    long_form,
    marks_of,
    shown_columns,
    spans_decades,
    with_axis,
    with_text,
)
from dlsweep.report.figures.notes import diverged_note, runs_note, sentences
from dlsweep.results.columns import Columns


def line_data(tables: Tables, spec: FigureSpec) -> tuple[pd.DataFrame, NumberAxis, pd.DataFrame, str]:
    """A row a run and split with its `value` and `position`; the axis; the runs, x in bins; and a note on the bins."""
    summary = tables.summary
    shown = shown_columns(tables, summary, spec.y, SPLITS)
    values, in_bins = into_bins(summary[spec.x])
    axis = NumberAxis.of(values)
    data = with_text(summary, spec.groups[1:]).assign(position=axis.positions)
    return long_form(data, shown), axis, summary.assign(**{spec.x: values}), in_bins


def line(tables: Tables, spec: FigureSpec) -> Drawing:
    """The mean of a metric, or of its three splits, over a numeric hyper-parameter."""
    groups, style = spec.groups, ""
    columns = tables.columns
    data, axis, summary, in_bins = line_data(tables, spec)
    if "split" in data:
        spec, is_free = with_axis(spec, "split", "hue", "col", "row")
        style = "" if is_free else "split"
    data = data.assign(position=axis.side_by_side(data, spec.hue))
    figure, panels = draw_lines(data, spec, columns, "position", axis.n_ticks, style)
    log = spans_decades(columns, spec.y, data["value"])
    for ax, part in panels:
        axis.apply(ax)
        draw_crosses(ax, part.loc[part["status"] == "diverged", "position"])
        if log:
            ax.set_yscale("log")
    beyond = "" if log else frame_lines(panels, data, columns.metric(spec.y).within)
    label_axes(panels, columns.title(spec.x), columns.title(spec.y))
    drawn = data.drop(columns=groups).merge(summary[["hash", *groups]], on="hash")
    note = runs_note(replace(tables, summary=summary), groups, drawn, spec.y)
    return figure, sentences(in_bins, note, beyond, diverged_note(summary))


def frame_lines(panels: list[tuple[Axes, pd.DataFrame]], data: pd.DataFrame, within: Range) -> str:
    """Give the lines of these panels room for their means and single runs (`frame`)."""
    drawn = [line for ax, _ in panels for line in ax.lines if line.get_gid() != "diverged"]
    # The ends of the intervals are lines of their own: the caps.
    means = [line.get_ydata() for line in drawn if line.get_marker() != "_"]
    ends = [line.get_ydata() for line in drawn if line.get_marker() == "_"]
    values = np.concatenate([data["value"], *means])
    return frame([ax for ax, _ in panels], values, np.concatenate(ends or [[]]), within)


def draw_lines(
    data: pd.DataFrame, spec: FigureSpec, columns: Columns, x: str, n_x: int, style: str = "", sharey: bool = True
) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """Lines of the mean of `value` over x, with intervals: bars where x has few values, else bands.

    Rows that are `alone` are in no mean: each run of them goes on as a thin line of its own.
    """
    hue = spec.hue
    few = n_x <= 15
    n_col, n_row = (data[name].cat.categories.size if name else 1 for name in (spec.col, spec.row))
    if n_col * n_row == 1:
        width, height = (4.6, 3.0) if hue else (3.8, 2.7)
    else:
        width = max(1.7, min(2.5, PAGE / min(n_col, 4))) if n_row == 1 else max(1.7, min(2.3, PAGE / n_col))
        height = 0.85 * width
    figure, panels = facets(data, spec, columns, width, height, sharey)
    colours: dict[Any, Any] = {"": sns.color_palette("colorblind")[0]}
    dashes: dict[Any, Any] = {"": "-"}
    if hue:
        colours = dict(zip(data[hue].cat.categories, palette(data[hue]), strict=True))
    if style:
        dashes = dict(zip(data[style].cat.categories, ("--", "-", ":") if hue else ("-", "--", ":"), strict=False))
    markers = dict(zip(colours, "osD^vPXp" if few and len(colours) <= 8 else "." * len(colours), strict=False))
    by = [name for name in (hue, style) if name]
    crowded = len(colours) * len(dashes) > 6 and not few  # bands that hide each other
    for ax, part in panels:
        within = columns.metric(part["measure"].iat[0] if "measure" in part else spec.y).within
        known = part[~part["alone"]] if "alone" in part else part
        means = marks_of(known, [*by, x], within, columns.splits)
        runs = dict(list(known.groupby(by, observed=True))) if by else {(): known}
        for keys, line in means.groupby(by, observed=True) if by else [((), means)]:
            names = {"": "", **dict(zip(by, keys, strict=True))}
            colour, dash = colours[names[hue]], dashes[names[style]]
            if few:
                ax.plot(line[x], line["value"], dash, color=colour, linewidth=1.3)
                single = runs[keys]
                draw_marks(ax, line[x], line, (single[x], single["value"]), colour, markers[names[hue]])
                continue
            marker = "." if len(line) == 1 else None
            ax.plot(line[x], line["value"], dash, marker=marker, markersize=4, color=colour, linewidth=1.3)
            if (line["n"] > 1).any() and not crowded:
                ax.fill_between(line[x], line["low"], line["high"], color=colour, alpha=0.2, linewidth=0)
        if "thin" in part:
            for keys, line in part[part["thin"]].groupby([*by, "hash"], observed=True):
                names = {"": "", **dict(zip(by, keys, strict=False))}
                look = {"color": colours[names[hue]], "linestyle": dashes[names[style]], "linewidth": 0.6}
                ax.plot(line[x], line["value"], alpha=0.8, gid="alone", **look)
    entries: dict[str, dict[str, Any]] = {}
    if hue:
        entries |= {k: {"color": c, "marker": markers[k] if few else None} for k, c in colours.items()}
    if style:
        entries |= {k: {"color": "0.3", "linestyle": dash} for k, dash in dashes.items()}
    if entries:
        add_legend(figure, columns.title(hue) if hue and hue != "split" else "", entries)
    return figure, panels


def speed_data(tables: Tables, spec: FigureSpec) -> tuple[pd.DataFrame, NumberAxis]:
    """A row a run and `measure` with its `value` and `position`; and the axis."""
    summary, columns = tables.summary, tables.columns
    measures = ["samples_per_second", "seconds_per_epoch", columns.objective.report]
    if not columns.classifies:  # not every task has them
        measures = [name for name in measures if name in summary and summary[name].notna().any()]
    if not measures:
        raise Undrawable("no run says how fast it was")
    axis = NumberAxis.of(summary[spec.x])
    data = with_text(summary, spec.groups[1:]).assign(position=axis.positions)
    long = pd.concat([data.assign(value=data[name], measure=name) for name in measures])
    return long.assign(measure=pd.Categorical(long["measure"], measures, ordered=True)), axis


def speed(tables: Tables, spec: FigureSpec) -> Drawing:
    """Throughput, time per epoch and the reported metric side by side, over a hyper-parameter."""
    columns = tables.columns
    data, axis = speed_data(tables, spec)
    measures = list(data["measure"].cat.categories)
    data = data.assign(position=axis.side_by_side(data, spec.hue))
    figure, panels = draw_lines(data, replace(spec, col="measure"), columns, "position", axis.n_ticks, sharey=False)
    beyond = []
    for (ax, part), name in zip(panels, measures, strict=True):
        axis.apply(ax)
        draw_crosses(ax, part.loc[part["status"] == "diverged", "position"])
        if spans_decades(columns, name, part["value"]):
            ax.set_yscale("log")
        else:
            beyond.append(frame_lines([(ax, part)], part, columns.metric(name).within))
    label_axes(panels, columns.title(spec.x), "")
    note = runs_note(tables, spec.groups, data, *measures)
    return figure, sentences(note, *dict.fromkeys(beyond), diverged_note(tables.summary))
