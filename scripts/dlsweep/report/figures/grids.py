"""Heat maps and confusion matrices."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.ticker import MaxNLocator

from dlsweep.config.kinds import MOST_BARS, FigureSpec
from dlsweep.config.metrics import Range
from dlsweep.report.figures.axes import BAD, COLOURS
from dlsweep.report.figures.data import Drawing, Tables, Undrawable, fences, into_bins, shown_columns, with_text
from dlsweep.report.figures.notes import best_run_note, diverged_note, runs_note, sentences
from dlsweep.results.schema import MOST_CLASSES

MOST_CELLS = 400  # of a heat map with its numbers written in


@dataclass(frozen=True, slots=True)
class HeatmapData:
    """The mean of a metric and the number of diverged runs for each pair of values, y downwards and x to the right."""

    means: pd.DataFrame
    diverged: pd.DataFrame
    summary: pd.DataFrame  # the runs, x and y in bins where they have many values
    in_bins: list[str]


def heatmap_data(summary: pd.DataFrame, spec: FigureSpec) -> HeatmapData:
    """Return what a heat map shows of the runs."""
    binned = {name: into_bins(summary[name]) for name in (spec.x, spec.y)}
    summary = summary.assign(**{name: values for name, (values, _) in binned.items()})
    data = with_text(summary, [spec.x, spec.y])
    groups = data.assign(diverged=data["status"] == "diverged").groupby([spec.y, spec.x], observed=False)
    means = groups[spec.hue].mean().unstack(spec.x).iloc[::-1]
    diverged = groups["diverged"].sum().unstack(spec.x).reindex_like(means).fillna(0).astype(int)
    return HeatmapData(means, diverged, summary, [note for _, note in binned.values()])


def heatmap(tables: Tables, spec: FigureSpec) -> Drawing:
    """The mean of a metric for each pair of two hyper-parameters."""
    x, y, value = spec.x, spec.y, spec.hue
    columns = tables.columns
    shown_columns(tables, tables.summary, value, ())
    shown = heatmap_data(tables.summary, spec)
    means, summary = shown.means, shown.summary
    n_y, n_x = means.shape
    figure, ax = plt.subplots(figsize=(min(14, 2.2 + 0.55 * n_x), min(12, 1.3 + 0.4 * n_y)))
    few = means.size <= MOST_CELLS
    low, high = fences(means)
    known = means.to_numpy()[(means >= low) & (means <= high)]
    sns.heatmap(
        means,
        ax=ax,
        cmap=COLOURS,
        vmin=known.min() if known.size else None,
        vmax=known.max() if known.size else None,
        annot=few,
        fmt=number_format(means, columns.metric(value).within),
        annot_kws={"fontsize": "small"},
        linewidths=0.5 if few else 0,
        cbar_kws={
            "label": columns.title(value),
            "extend": EXTENDED[means.lt(low).any(axis=None), means.gt(high).any(axis=None)],
        },
        xticklabels=1,
        yticklabels=1,
    )
    for row, column in zip(*np.nonzero(shown.diverged.to_numpy()), strict=True):
        alone = pd.isna(means.iat[row, column])
        at = (column + 0.5, row + 0.5) if alone else (column + 0.86, row + 0.2)
        ax.plot(*at, "x", color=BAD, markersize=6 if alone else 3, gid="diverged")
    ax.set(xlabel=columns.title(x), ylabel=columns.title(y))
    ax.tick_params(axis="y", rotation=0)
    ax.grid(False)
    note = runs_note(replace(tables, summary=summary), [x, y], summary.assign(value=summary[value]))
    beyond = "The colours leave out values far from all others" if known.size < means.notna().sum().sum() else ""
    return figure, sentences(*shown.in_bins, note, beyond, diverged_note(summary))


EXTENDED = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}


def number_format(values: pd.DataFrame, within: Range) -> str:
    """Return the format of the numbers of one heat map: all with as many decimals as tell them apart, three for shares.

    Numbers that are too large or too small for that are written with their power of ten.
    """
    known = values.to_numpy(float)
    known = known[np.isfinite(known)]
    if np.isfinite(within).all() and within[1] - within[0] <= 1:
        return ".3f"
    most = np.abs(known).max() if known.size else 0
    if most == 0:
        return ".0f"
    low, high = fences(known)
    spread = np.ptp(known[(known >= low) & (known <= high)]) or most
    decimals = 2 - math.floor(math.log10(spread))
    return f".{max(decimals, 0)}f" if most < 1e5 and decimals <= 6 else ".2e"


def confusion_data(confusion: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The test images of each true class (row) that were given each class (column), and their shares of the row."""
    counts = confusion.pivot_table("count", "true", "predicted", aggfunc="sum")
    return counts, counts.div(counts.sum(axis=1).clip(lower=1), axis=0)


def confusion(tables: Tables, spec: FigureSpec) -> Drawing:
    """The confusion matrix of the best run: rows are true classes, colours shares of the row."""
    columns = tables.columns
    the_best = best_run_note(tables)
    if tables.confusion.empty or not the_best:
        raise Undrawable("no run has a confusion matrix")
    if not (tables.confusion["true"] == tables.confusion["predicted"]).any():  # too many classes for a matrix
        return _confusions(tables, the_best)
    counts, shares = confusion_data(tables.confusion)
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
    ax.set(xlabel=columns.title("predicted"), ylabel=columns.title("true"))
    ax.tick_params(axis="y", rotation=0)
    numbers = "Numbers: test images" if n <= 20 else ""
    return figure, sentences(the_best, numbers, diverged_note(tables.summary, ""))


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
    return figure, sentences(the_best, what, diverged_note(tables.summary, ""))
