"""Figures over categories: bars, boxes, points, violins."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from dlsweep.config.kinds import MOST_BARS, FigureSpec
from dlsweep.config.metrics import SPLITS
from dlsweep.report.figures.axes import (
    add_legend,
    category_positions,
    draw_crosses,
    draw_errorbars,
    draw_marks,
    facets,
    frame,
    label_axes,
    palette,
)
from dlsweep.report.figures.data import (
    Drawing,
    Tables,
    best_labels,
    long_form,
    marks_of,
    shown_columns,
    with_axis,
    with_text,
)
from dlsweep.report.figures.notes import diverged_note, runs_note, sentences
from dlsweep.results.columns import Columns

PLOTS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "bars": (sns.barplot, {"errorbar": None}),
    "box": (sns.boxplot, {"linewidth": 0.8, "fliersize": 2}),
    "strip": (sns.stripplot, {"size": 4, "alpha": 0.7, "jitter": 0.15, "dodge": True}),
    "violin": (sns.violinplot, {"inner": "point", "cut": 0, "linewidth": 0.8, "density_norm": "width"}),
}


def categorical_data(tables: Tables, spec: FigureSpec) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """A row a run and split with its `value` and its groups as text; the runs that are shown; and what is left out."""
    labels: list[str] = []
    summary, left_out = tables.summary, ""
    shown = shown_columns(tables, summary, spec.y, SPLITS)
    if spec.col and spec.row:  # no axis is left for the splits
        shown = dict(list(shown.items())[-1:])
    if spec.x == "label":
        labels, left_out = best_labels(tables, MOST_BARS)
        summary = summary[summary["label"].isin(labels)]
    data = with_text(summary, spec.groups)
    if spec.x == "label":  # best first
        data = data.assign(label=data["label"].cat.reorder_categories(labels))
    return long_form(data, shown), summary, left_out


def categorical(tables: Tables, spec: FigureSpec) -> Drawing:
    """Bars, points, boxes, single runs or violins of a metric, or of its three splits side by side."""
    data, summary, left_out = categorical_data(tables, spec)
    columns = tables.columns
    x, hue, y, groups = spec.x, spec.hue, spec.y, spec.groups
    n_x, n_hue = (data[name].cat.categories.size if name else 1 for name in (x, hue))
    flat = x == "label"
    along = max(0.16 * n_x * n_hue, 0.4 * n_x) + 0.8  # inches
    if "split" in data:
        spec, _ = with_axis(spec, "split", *(("row", "col") if along > 5 and not flat else ("col", "row")))
    names = [textwrap.fill(name, 70) for name in data[x].cat.categories]
    thick = max(0.14 + 0.14 * max(name.count("\n") + 1 for name in names), 0.13 * n_hue)
    single = not (spec.col or spec.row)
    if flat:
        size = (4.2 if single else 2.3, max(0.8, thick * n_x))
    else:
        size = (min(14, max(3.4 if single else 2.2, along)), 3.0 if single else 2.3)
    figure, panels = facets(data, spec, columns, *size)
    within = columns.metric(y).within
    colours: dict[Any, Any] = {"": sns.color_palette("colorblind")[0]}
    look: dict[str, Any] = {"color": colours[""]}
    if hue:
        colours = dict(zip(data[hue].cat.categories, palette(data[hue]), strict=True))
        look = {"hue": hue, "palette": colours, "legend": False}
        markers = _markers(colours) if spec.kind == "points" else dict.fromkeys(colours, "s")
        entries = {k: {"color": c, "marker": markers[k], "linestyle": ""} for k, c in colours.items()}
        add_legend(figure, columns.title(hue), entries)
    axes = {"y": x, "x": "value", "orient": "h"} if flat else {"x": x, "y": "value"}
    ends = []
    for ax, part in panels:
        if spec.kind == "points":
            ends.append(_points(ax, part, spec, columns, colours, flat))
        elif part["value"].notna().any():
            plot, options = PLOTS[spec.kind]
            plot(part, ax=ax, **axes, **options, **look)
            if spec.kind == "bars":
                ends.append(draw_errorbars(ax, part, spec, within, columns.splits, upright=flat))
        draw_crosses(ax, category_positions(part[part["status"] == "diverged"], spec), upright=flat)
        # Where every run diverged seaborn has left the categories out.
        (ax.set_yticks if flat else ax.set_xticks)(range(n_x), names)
        (ax.set_ylim if flat else ax.set_xlim)(*((n_x - 0.5, -0.5) if flat else (-0.5, n_x - 0.5)))
        if spec.kind == "points":
            ax.grid(visible=False, axis="y" if flat and n_x <= 1 else "x")
    beyond = ""
    if ends:
        by = [name for name in (*dict.fromkeys(groups), "split") if name in data]
        marks = marks_of(data, by, within, columns.splits)
        shown = marks["value"] if spec.kind == "bars" else pd.concat([marks["value"], data["value"]])
        beyond = frame([ax for ax, _ in panels], shown, np.concatenate(ends), within, flat, zero=spec.kind == "bars")
    label_axes(panels, *((columns.title(y), "") if flat else (columns.title(x), columns.title(y))))
    return figure, sentences(
        left_out,
        runs_note(replace(tables, summary=summary), groups, data, y, kind=spec.kind),
        beyond,
        diverged_note(tables.summary),
    )


def _markers(colours: dict[Any, Any]) -> dict[Any, str]:
    """A marker for each colour; the same for all where they are many."""
    return dict(zip(colours, "osD^vPXp" if len(colours) <= 8 else "o" * len(colours), strict=False))


def _points(
    ax: Axes, part: pd.DataFrame, spec: FigureSpec, columns: Columns, colours: dict[Any, Any], upright: bool
) -> np.ndarray:
    """Means with their intervals, behind them the single runs; return the ends of the intervals."""
    groups = list(dict.fromkeys(name for name in (spec.x, spec.hue) if name))
    marks = marks_of(part, groups, columns.metric(spec.y).within, columns.splits)
    known = part[part["value"].notna()]
    markers = _markers(colours)
    for level, of in marks.groupby(spec.hue, observed=True) if spec.hue else [("", marks)]:
        runs = known[known[spec.hue] == level] if spec.hue else known
        places = category_positions(of, spec), category_positions(runs, spec)
        draw_marks(ax, places[0], of, (places[1], runs["value"]), colours[level], markers[level], upright)
    ends: np.ndarray = marks[["low", "high"]].to_numpy().ravel()
    return ends
