"""A point a run: scatter and the generalization gap."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from dlsweep.config.kinds import MOST_BARS, MOST_COLOURS, FigureSpec
from dlsweep.config.metrics import FRACTION
from dlsweep.report.figures.axes import (
    BAD,
    COLOURS,
    GREY,
    NumberAxis,
    add_legend,
    draw_crosses,
    draw_marks,
    frame,
    palette,
)
from dlsweep.report.figures.curves import BEST_LINES
from dlsweep.report.figures.data import (
    MOST_POINTS,
    Drawing,
    Tables,
    best_labels,
    disturbed,
    is_log_spaced,
    marks_of,
    shown_columns,
    spans_decades,
    text_levels,
)
from dlsweep.report.figures.notes import diverged_note, runs_note, seeds_in_words, sentences


def _drawn_runs(summary: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """At most MOST_POINTS of the runs, and a note where some are left out."""
    if len(summary) <= MOST_POINTS:
        return summary, ""
    shown = summary.sample(MOST_POINTS, random_state=0).sort_index()
    return shown, f"{MOST_POINTS} of {len(summary)} runs, drawn at random"


def _scatter(
    ax: Axes, data: pd.DataFrame, x: str, y: str, hue: str | None, levels: pd.Series, colours: Any, title: str
) -> None:
    """A point a row, coloured by level, with a legend beside the axes; `title` is that of the colours."""
    options: dict[str, Any] = {"s": 24 if len(data) < 300 else 10, "alpha": 0.8, "linewidth": 0.2}
    if hue:
        options |= {"hue": levels, "palette": colours, "legend": False}
        markers = ["o"] * len(colours)
        if len(colours) <= 6:
            markers = ["o", "X", "s", "P", "D", "^"][: len(colours)]
            options |= {"style": levels, "markers": markers}
        looks = zip(levels.cat.categories, colours, markers, strict=True)
        add_legend(
            ax.figure,
            "" if hue == "label" else title,
            {
                name: {"color": colour, "marker": marker, "linestyle": "", "markersize": 5}
                for name, colour, marker in looks
            },
        )
    sns.scatterplot(data, x=x, y=y, ax=ax, rasterized=len(data) > 1000, **options)


def scatter(tables: Tables, spec: FigureSpec) -> Drawing:
    """One quantity against another, a point a run; colour by a third."""
    x, y, hue, columns = spec.x, spec.y, spec.hue, tables.columns
    for name in (x, y, hue):
        if name and name not in columns.hyperparameters:
            shown_columns(tables, tables.summary, name, ())
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
        figure.colorbar(mpl.cm.ScalarMappable(norm, COLOURS), ax=ax, label=columns.title(hue)).outline.set_visible(
            False
        )
    else:
        levels = text_levels(data[hue]) if hue else pd.Series()
        _scatter(ax, data, "position", y, hue, levels, palette(levels) if hue else [], columns.title(hue))
    axis.apply(ax)
    if spans_decades(columns, y, data[y]):
        ax.set_yscale("log")
    draw_crosses(ax, data.loc[data[y].isna(), "position"])
    ax.set(xlabel=columns.title(x), ylabel=columns.title(y))
    note = f"A point a run{seeds_in_words(tables.summary, '; {}')}"
    return figure, sentences(left_out, note, diverged_note(tables.summary))


def gap_data(tables: Tables, family: str) -> tuple[str, str, str]:
    """The columns of a family of metrics on training and validation that all runs have, and how they are measured."""
    runs, columns = tables.summary, tables.columns
    tested_train, tested_val, train, val = (
        f"{name}_{family}" for name in ("tested_train", "tested_val", "train", "val")
    )
    for name in (train, val):
        shown_columns(tables, runs, name, ())
    if not columns.classifies:
        return train, val, "as its task logged it last"
    title = columns.in_words(train)
    measure = f"last epoch; its {title} is the mean during the epoch{disturbed(runs)}"
    if not {tested_train, tested_val} <= {*runs}:
        return train, val, measure
    tested = runs.loc[runs["status"] != "diverged", tested_train].notna()
    if tested.all() and len(tested):
        return tested_train, tested_val, "of the weights that are tested, without dropout and augmentation"
    if tested.any():
        measure += f", since {int((~tested).sum())} of {len(tested)} runs have no other"
    return train, val, measure


def _gaps(tables: Tables, spec: FigureSpec) -> Drawing:
    """A row a setting, the widest gap first: the means on training and on validation, and the single runs."""
    columns, runs = tables.columns, tables.summary
    names = gap_data(tables, spec.y or columns.objective.family)
    train, val, measure = names
    within = columns.metric(val).within
    means = runs.groupby("label")[[train, val]].mean()
    order = (means[train] - means[val]).abs().sort_values(ascending=False, kind="stable", na_position="last").index
    at = pd.Series(range(len(order)), order)
    rows = runs["label"].map(at).to_numpy(float)
    labels = [textwrap.fill(label, 70) for label in order]
    thick = 0.2 + 0.14 * max(label.count("\n") + 1 for label in labels)
    figure, ax = plt.subplots(figsize=(4.6, max(1.2, thick * len(order))))
    ax.hlines(at, means[train].reindex(order), means[val].reindex(order), color="0.7", linewidth=2.5, zorder=1)
    ends = []
    looks = {"training": (train, "o"), "validation": (val, "D")}
    colours = sns.color_palette("colorblind", 2)
    for (name, marker), colour in zip(looks.values(), colours, strict=True):
        marks = marks_of(runs.assign(value=runs[name]), ["label"], within, columns.splits)
        marks = marks.set_index("label").reindex(order)
        ends.append(marks[["low", "high"]].to_numpy().ravel())
        draw_marks(ax, at, marks, (rows, runs[name]), colour, marker, upright=True)
    entries = zip(looks, colours, ("o", "D"), strict=True)
    add_legend(
        figure, "", {word: {"color": colour, "marker": marker, "linestyle": ""} for word, colour, marker in entries}
    )
    draw_crosses(ax, rows[(runs["status"] == "diverged").to_numpy()], upright=True)
    ax.set_yticks(range(len(order)), labels)
    ax.set_ylim(len(order) - 0.5, -0.5)
    beyond = frame([ax], pd.concat([runs[train], runs[val]]), np.concatenate(ends), within, upright=True)
    ax.set(xlabel=columns.title(spec.y or columns.objective.family), ylabel="")
    note = runs_note(tables, ["label"], runs.assign(value=runs[val]), val)
    return figure, sentences(note, f"Training and validation: {measure}", beyond, diverged_note(runs))


def gap(tables: Tables, spec: FigureSpec) -> Drawing:
    """A metric on training and on validation: for each setting from one to the other, else a point a run.

    Both are of the weights that are tested, or, where records lack that, of the last epoch of every run.
    """
    hue, columns = spec.hue, tables.columns
    if hue == "label" and tables.summary["label"].nunique() <= MOST_BARS:
        return _gaps(tables, spec)
    summary, left_out = _drawn_runs(tables.summary)
    data = summary
    x, y, measure = gap_data(replace(tables, summary=summary), spec.y or columns.objective.family)
    levels = text_levels(data[hue]) if hue else pd.Series()
    colours = palette(levels) if hue else []
    if hue == "label" and len(colours) > MOST_COLOURS:
        labels, _ = best_labels(tables, BEST_LINES)
        names = data["label"].where(data["label"].isin(labels), "other settings")
        levels = pd.Series(pd.Categorical(names, [*labels, "other settings"], ordered=True), data.index)
        colours = [*sns.color_palette("colorblind", len(labels)), GREY]
        left_out = sentences(left_out, f"In colour: the best {len(labels)} settings by {columns.by}")[:-1]
    figure, ax = plt.subplots(figsize=(3.4, 3.4))
    _scatter(ax, data, x, y, hue, levels, colours, columns.title(hue))
    low, high = data[[x, y]].min().min(), data[[x, y]].max().max()
    margin = 0.03 * ((high - low) or abs(high) or 1)
    low, high, through = low - margin, high + margin, high
    if columns.metric(y).within == FRACTION:
        low, high, through = np.nanmin([low + margin, 0.95]) - 0.03, 1.02, 1
        margin = 0.03
    ax.axline((through, through), slope=1, color="0.4", linewidth=0.8, linestyle="--", zorder=0)
    diverged = data.loc[data["status"] == "diverged", [x, y]].fillna(low + margin / 3)
    ax.plot(diverged[x], diverged[y], "x", color=BAD, markersize=5, gid="diverged")
    ax.set(xlim=(low, high), ylim=(low, high), xlabel=columns.title(x), ylabel=columns.title(y))
    ax.set_aspect("equal")
    note = f"A point a run, {measure}{seeds_in_words(tables.summary, '; {}')}; dashed: no gap"
    return figure, sentences(left_out, note, diverged_note(tables.summary))
