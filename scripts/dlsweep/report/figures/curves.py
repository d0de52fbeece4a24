"""Learning curves and gradients over epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from dlsweep.config.kinds import MOST_COLOURS, READABLE_COLOURS, SPENT, FigureSpec
from dlsweep.config.metrics import SPLITS, parts_of
from dlsweep.report.figures.axes import BAD, GREY, add_legend, draw_crosses, label_axes
from dlsweep.report.figures.data import (
    MOST_LINES,
    Drawing,
    Tables,
    Undrawable,
    best_labels,
    long_form,
    marks_of,
    runs_with,
    shown_columns,
    spans_decades,
    spent_by,
    until_one_ends,
    with_axis,
    with_text,
    without_diverged,
)
from dlsweep.report.figures.lines import draw_lines
from dlsweep.report.figures.notes import count_runs, diverged_note, runs_note, runs_per_mark, seeds_in_words, sentences
from dlsweep.results.columns import Columns
from dlsweep.results.leaderboard import group_settings

BEST_LINES = 5


def curves_data(tables: Tables, spec: FigureSpec) -> pd.DataFrame:
    """A row a run, epoch and split with its `value`, its groups as text, and `alone` (`until_one_ends`)."""
    known = list(dict.fromkeys(["hash", "label", "status", *tables.columns.splits.keys, *spec.groups]))
    return _with_epochs(tables, spec.y, with_text(tables.summary, spec.groups)[known], spec.groups)


def many_curves_data(tables: Tables, y: str, labels: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same of the settings of these labels; and their means over seeds, a column a split (y, where it has none)."""
    runs = tables.summary.loc[tables.summary["label"].isin(labels), ["hash", "label"]]
    data = _with_epochs(tables, y, runs, ["label"])
    data = data.assign(split=data.get("split", y))
    means = data[~data["alone"]].groupby(["label", "epoch", "split"], observed=True)["value"].mean()
    return data, means.unstack("split")


def _with_epochs(tables: Tables, y: str, runs: pd.DataFrame, groups: Sequence[str]) -> pd.DataFrame:
    shown = shown_columns(tables, tables.epochs, y, SPLITS[:2] if tables.columns.classifies else SPLITS)
    values = long_form(without_diverged(tables), shown)
    if not tables.columns.classifies:  # an epoch need not have every metric
        values = values[values["value"].notna()]
    values = values[[name for name in ("hash", "epoch", "value", "split") if name in values]]
    return until_one_ends(values.merge(runs, on="hash"), groups)


def curves(tables: Tables, spec: FigureSpec) -> Drawing:
    """A metric over epochs, or its training and validation curves; with the test accuracy in each panel of accuracy."""
    hue, columns = spec.hue, tables.columns
    report = columns.objective.report
    if hue == "label" and tables.summary["label"].nunique() > MOST_COLOURS:
        return _many_curves(tables, spec)
    y, groups, style = spec.y, spec.groups, ""
    data = curves_data(tables, spec)
    if "split" in data:
        spec, is_free = with_axis(spec, "split", "hue")
        style = "" if is_free else "split"
    over = spec.x or "epoch"
    spent = spent_by(tables, over)
    data = data.assign(spent=_spent_together(data, spent, groups))
    data = data[data["spent"].notna()]
    figure, panels = draw_lines(data, spec, columns, "spent", 99, style)
    last, by_hash = spent.groupby("hash").max(), tables.summary.set_index("hash")
    log, top = spans_decades(columns, y, data["value"]), 10 * data["value"].quantile(0.98)
    beyond = log and data["value"].max() > top
    writes = y == columns.objective.family and not hue and report not in (columns.objective.metric, y)
    falls = columns.objective.better == "min"
    for ax, part in panels:
        runs = by_hash.loc[part["hash"].unique()]
        draw_crosses(ax, last.reindex(runs.index[runs["status"] == "diverged"]).dropna(), 0.95)
        if _needs_log(data, groups):
            ax.set_xscale("log")
        if log:
            ax.set_yscale("log")
        if beyond:
            ax.set_ylim(top=top)
        if writes and (text := _test_text(runs, columns)):
            ax.text(
                0.97,
                0.88 if falls else 0.05,  # where the curves are not
                text,
                transform=ax.transAxes,
                ha="right",
                va="top" if falls else "bottom",
                fontsize="small",
                gid="test",
                bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 1},
            )
    label_axes(panels, SPENT_TITLES[over], columns.title(y))
    written = f"Written in: mean {columns.metric(report).title} [its interval]" if writes else ""
    cut = "Values far above the others leave the axis" if beyond else ""
    alone = _GOING_ON if data["alone"].any() else ""
    note = runs_note(tables, groups, data[~data["alone"]], y)
    return figure, sentences(note, alone, written, cut, diverged_note(tables.summary))


SPENT_TITLES = {"epoch": "epoch", "updates": "updates", "seconds": "training time (s)"}


def _spent_together(data: pd.DataFrame, spent: pd.Series, groups: Sequence[str]) -> pd.Series:
    """Where the rows are drawn: all runs of a mean at what they have spent on average, one that goes on at its own."""
    own = pd.Series(spent.reindex(pd.MultiIndex.from_frame(data[["hash", "epoch"]])).to_numpy(), data.index)
    together = own.groupby([*(data[name] for name in groups), data["epoch"], data["alone"]], observed=True)
    return own.where(data["alone"], together.transform("mean"))


def _needs_log(data: pd.DataFrame, groups: Sequence[str]) -> bool:
    """Whether what some settings spend in all is little beside what others do."""
    if not groups:
        return False
    totals = data.groupby(list(groups), observed=True)["spent"].max()
    return bool(totals.min() > 0 and totals.max() > 5 * totals.min())


def budget(tables: Tables, spec: FigureSpec) -> Drawing:
    """A metric of validation over epochs, updates and seconds, a curve a setting."""
    columns, hue = tables.columns, spec.hue
    y = spec.y if spec.y in tables.epochs else f"val_{spec.y}"
    left_out, diverged = "", diverged_note(tables.summary, "")
    n_levels = tables.summary[hue].nunique(dropna=False)
    if hue == "label" and n_levels > READABLE_COLOURS:
        labels, left_out = best_labels(tables, READABLE_COLOURS)
        tables = runs_with(tables, tables.summary["label"].isin(labels))
    spec = replace(spec, x="", y=y)
    data = curves_data(tables, spec)
    parts = {}
    for over in SPENT:
        try:
            spent = spent_by(tables, over)
        except Undrawable:
            continue
        parts[over] = data.assign(spent=_spent_together(data, spent, spec.groups), over=over)
    long = pd.concat(parts.values(), ignore_index=True)
    long = long.assign(over=pd.Categorical(long["over"], list(parts), ordered=True))
    long = long[long["spent"].notna()]
    figure, panels = draw_lines(long, replace(spec, col="over"), columns, "spent", 99)
    for (ax, part), over in zip(panels, parts, strict=True):
        ax.set(title=f"after as many {'epochs' if over == 'epoch' else over}")
        if _needs_log(part, spec.groups):
            ax.set_xscale("log")
    log = spans_decades(columns, y, data["value"])
    if log:
        panels[0][0].set_yscale("log")
    label_axes(panels, "", columns.title(y))
    for (ax, _), over in zip(panels, parts, strict=True):
        ax.set_xlabel(SPENT_TITLES[over])
    note = runs_note(tables, spec.groups, data[~data["alone"]], y)
    alone = _GOING_ON if data["alone"].any() else ""
    return figure, sentences(note, alone, left_out, diverged)


_GOING_ON = "A mean ends where the first of its runs ends; thin: the runs that go on"


def _test_text(runs: pd.DataFrame, columns: Columns) -> str:
    """The mean of the reported metric of the runs that have one, and how many diverged."""
    report = columns.objective.report
    n_diverged = int((runs["status"] == "diverged").sum())
    if runs[report].isna().all():
        return "diverged" if n_diverged or columns.classifies else ""
    values, within = runs.assign(value=runs[report], mark=0), columns.metric(report).within
    found = marks_of(values, ["mark"], within, columns.splits).iloc[0]
    split = parts_of(report).split or columns.metric(report).title
    text = f"{split} {columns.text(report, found['value'], found['low'], found['high'], digits=3)}"
    return f"{text}\n{n_diverged} of {len(runs)} diverged" if n_diverged else text


def _many_curves(tables: Tables, spec: FigureSpec) -> Drawing:
    """All settings in grey, the best in colour, each the mean over its seeds; a panel a split."""
    y, columns = spec.y, tables.columns
    board = list(group_settings(tables.summary, columns)["label"])
    best = board[:BEST_LINES]
    step = math.ceil(len(board) / MOST_LINES)
    shown = [*best, *board[BEST_LINES::step]]
    data, means = many_curves_data(tables, y, shown)
    over = spec.x or "epoch"
    data = data.assign(spent=_spent_together(data, spent_by(tables, over), ["label"]))
    places = data[~data["alone"]].groupby(["epoch", "label"])["spent"].first().unstack("label")
    splits = list(shown_columns(tables, tables.epochs, y, SPLITS[:2] if columns.classifies else SPLITS))
    splits = [split or y for split in splits]
    figure, panels = plt.subplots(1, len(splits), figsize=(3 * len(splits), 2.6), sharey=True, squeeze=False)
    diverged = set(tables.summary.loc[tables.summary["status"] == "diverged", "label"])
    colours = dict(zip(best, sns.color_palette("colorblind"), strict=False))
    for split, ax in zip(splits, panels.flat, strict=True):
        wide = means.get(split, pd.Series(dtype=float, index=means.index)).unstack("label").reindex(columns=shown)
        going_on = data[data["thin"] & (data["split"] == split) & data["label"].isin(best)]
        for (label, _), line in going_on.groupby(["label", "hash"]):
            ax.plot(line["spent"], line["value"], color=colours[label], linewidth=0.6, zorder=2, gid="alone")
        for label in reversed(shown):
            colour = colours.get(label)
            ax.plot(
                places[label].reindex(wide.index) if label in places else wide.index,
                wide[label],
                color=colour or GREY,
                linewidth=1.6 if colour else 0.5,
                zorder=3 if colour else 1,
                rasterized=not colour and len(shown) > 100,
            )
            end = wide[label].last_valid_index()
            if label in diverged and end is not None:
                ax.plot(places[label][end], wide[label][end], "x", color=BAD, markersize=4, gid="diverged")
        ax.set(xlabel=SPENT_TITLES[over], title=split if split != y else "")
    if spans_decades(columns, y, data["value"]):
        panels.flat[0].set_yscale("log")
    panels.flat[0].set_ylabel(columns.title(y))
    add_legend(figure, f"best {len(best)} by {columns.by_split}", {label: {"color": colours[label]} for label in best})
    every = f"; every {step}th of them by rank" if step > 1 else ""
    grey = f"Grey: the other settings of {len(board)}{every}"
    n = runs_per_mark(data[~data["alone"]], ["label"])
    mean = f"Mean of {count_runs(n)}{seeds_in_words(tables.summary, ' ({})')}" if len(n) else "No mean"
    alone = _GOING_ON if data["alone"].any() else ""
    return figure, sentences(grey, mean, alone, diverged_note(tables.summary))


def gradients_data(tables: Tables, spec: FigureSpec) -> tuple[pd.DataFrame, str]:
    """A row a run and layer in its first and its last epoch (`in epoch`) with its `value`; and what is left out."""
    groups = spec.groups
    summary, left_out = with_text(tables.summary, groups), ""
    if "label" in groups and summary["label"].cat.categories.size > MOST_COLOURS:
        labels, left_out = best_labels(tables, BEST_LINES)
        summary = summary[summary["label"].isin(labels)]
        summary = summary.assign(label=summary["label"].cat.set_categories(labels))
    data = tables.gradients.merge(summary[list(dict.fromkeys(["hash", "label", *groups]))], on="hash")
    last = data.groupby("hash")["epoch"].transform("max")
    data = data[(data["epoch"] == 1) | (data["epoch"] == last)]
    when = pd.Categorical(np.where(data["epoch"] == 1, "first", "last"), ["first", "last"], ordered=True)
    return data.assign(**{"value": data["gradient"].where(data["gradient"] > 0), "in epoch": when}), left_out


def gradients(tables: Tables, spec: FigureSpec) -> Drawing:
    """The mean absolute gradient of each layer's weights, in the first and in the last epoch."""
    data, left_out = gradients_data(tables, spec)
    if data.empty:
        raise Undrawable("no gradients were recorded")
    n_layers = data["layer"].nunique()
    figure, panels = draw_lines(data, replace(spec, y="gradient"), tables.columns, "layer", n_layers, "in epoch")
    layers = sorted(data["layer"].unique())
    for ax, _ in panels:
        ax.set_yscale("log")
        if len(layers) <= 12:
            ax.set_xticks(layers)
    label_axes(panels, "layer, from the input", tables.columns.title("gradient"))
    recorded = tables.summary[tables.summary["hash"].isin(data["hash"])]
    note = runs_note(replace(tables, summary=recorded), spec.groups, data, "gradient")
    return figure, sentences(left_out, note, diverged_note(tables.summary))
