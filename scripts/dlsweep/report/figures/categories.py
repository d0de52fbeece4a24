"""Figures over categories: bars, boxes, points, violins."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import seaborn as sns

from dlsweep.config.kinds import MOST_BARS, FigureSpec
from dlsweep.config.metrics import SPLITS
from dlsweep.report.figures.axes import (
    add_legend,
    category_positions,
    draw_crosses,
    draw_errorbars,
    facets,
    label_axes,
    palette,
)
from dlsweep.report.figures.data import Drawing, Tables, best_labels, long_form, shown_columns, with_axis, with_text
from dlsweep.report.figures.notes import diverged_note, runs_note, sentences

PLOTS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "bars": (sns.barplot, {"errorbar": None}),
    "points": (sns.pointplot, {"errorbar": None, "linestyle": "none", "markersize": 4}),
    "box": (sns.boxplot, {"linewidth": 0.8, "fliersize": 2}),
    "strip": (sns.stripplot, {"size": 4, "alpha": 0.7, "jitter": 0.15}),
    "violin": (sns.violinplot, {"inner": "point", "cut": 0, "linewidth": 0.8, "density_norm": "width"}),
}
DODGED: dict[str, dict[str, Any]] = {"points": {"dodge": 0.4}, "strip": {"dodge": True}}


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
    along = max(0.13 * n_x * n_hue, 0.3 * n_x) + 0.8  # inches
    if "split" in data:
        spec, _ = with_axis(spec, "split", *(("row", "col") if along > 5 and not flat else ("col", "row")))
    names = [textwrap.fill(name, 70) for name in data[x].cat.categories]
    thick = max(0.08 + 0.14 * max(name.count("\n") + 1 for name in names), 0.13 * n_hue)
    size = (2.3, max(0.8, thick * n_x)) if flat else (min(14, max(2.2, along)), 2.3)
    figure, panels = facets(data, spec, columns, *size)
    plot, options = PLOTS[spec.kind]
    colours: dict[Any, Any] = {}
    if hue:
        colours = dict(zip(data[hue].cat.categories, palette(data[hue]), strict=True))
        options = {**options, "hue": hue, "palette": colours, "legend": False, **DODGED.get(spec.kind, {})}
        add_legend(
            figure, columns.title(hue), {k: {"color": c, "marker": "s", "linestyle": ""} for k, c in colours.items()}
        )
    else:
        options = {**options, "color": sns.color_palette("colorblind")[0]}
    axes = {"y": x, "x": "value", "orient": "h"} if flat else {"x": x, "y": "value"}
    for ax, part in panels:
        if part["value"].notna().any():
            plot(part, ax=ax, **axes, **options)
            if "errorbar" in options:
                draw_errorbars(ax, part, spec, columns.metric(y).within, colours, upright=flat)
        else:  # every run diverged; seaborn's boxplot has no answer to that
            (ax.set_ylim if flat else ax.set_xlim)(-0.5, n_x - 0.5)
            (ax.set_yticks if flat else ax.set_xticks)(range(n_x), names)
        draw_crosses(ax, category_positions(part[part["status"] == "diverged"], spec), upright=flat)
        if flat:
            ax.set_yticks(range(n_x), names)
    label_axes(panels, *((columns.title(y), "") if flat else (columns.title(x), columns.title(y))))
    return figure, sentences(
        left_out,
        runs_note(replace(tables, summary=summary), groups, data, y, kind=spec.kind),
        diverged_note(tables.summary),
    )
