"""Parallel coordinates."""

from __future__ import annotations

import math

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.ticker import MaxNLocator

from dlsweep.config.kinds import FigureSpec
from dlsweep.report.figures.axes import BAD, COLOURS, NumberAxis
from dlsweep.report.figures.curves import BEST_LINES
from dlsweep.report.figures.data import MOST_LINES, Drawing, Tables, shown_columns, varying_keys
from dlsweep.report.figures.notes import count_runs, runs_per_mark, seeds_in_words, sentences
from dlsweep.results.leaderboard import group_settings


def parallel_data(tables: Tables, y: str) -> pd.DataFrame:
    """A row a setting, best first: its hyper-parameters that vary, the mean of y, and `n_diverged`."""
    shown_columns(tables, tables.summary, y, ())
    summary = tables.summary
    order = {label: i for i, label in enumerate(group_settings(summary, tables.columns)["label"])}
    table = summary.groupby("label", sort=False).agg(
        {**dict.fromkeys(varying_keys(tables), "first"), y: "mean", "status": lambda s: (s == "diverged").sum()}
    )
    table = table.rename(columns={"status": "n_diverged"})
    return table.iloc[np.argsort([order[label] for label in table.index], kind="stable")]


def parallel(tables: Tables, spec: FigureSpec) -> Drawing:
    """Parallel coordinates: a line a setting through its hyper-parameters to the mean of a metric."""
    summary, columns, y = tables.summary, tables.columns, spec.y
    table = parallel_data(tables, y)
    keys = [name for name in table.columns if name not in (y, "n_diverged")]
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
    ax.set_xticks(range(len(lines.columns)), [columns.title(name) for name in lines.columns])
    ax.set(yticks=[], xlim=(-0.35, len(lines.columns) - 0.95), ylim=(-0.12, 1.05))
    ax.grid(False)
    sns.despine(ax=ax, left=True, bottom=True)
    bar = figure.colorbar(mpl.cm.ScalarMappable(norm, COLOURS), ax=ax, label=f"mean {columns.title(y)}", pad=0.02)
    bar.outline.set_visible(False)
    every = (
        f"{len(shown)} of {len(table)} settings, evenly by rank, the best among them" if step > 1 else f"{n} settings"
    )
    n = runs_per_mark(summary.assign(value=summary[y]), ["label"])
    counts = [f"mean of {count_runs(n)}" if len(n) else "", seeds_in_words(summary)]
    counted = "; ".join(filter(None, [every, ", ".join(filter(None, counts))]))
    note = f"A line a setting: {counted}. Thick: the best by {columns.by_split}"
    n_bad = int(shown[y].isna().sum())
    n_partly = int((shown["n_diverged"] > 0).sum()) - n_bad
    return figure, sentences(
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
