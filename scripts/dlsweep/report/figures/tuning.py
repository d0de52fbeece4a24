"""How what a comparison compares was tuned: what each reached with the values that it was tried with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd

from dlsweep.config.dotted import root_of
from dlsweep.config.kinds import FigureSpec
from dlsweep.config.labels import format_value
from dlsweep.config.names import listed
from dlsweep.report.figures.axes import PAGE, NumberAxis, add_legend, draw_crosses, palette
from dlsweep.report.figures.data import Drawing, Tables, Undrawable, text_levels
from dlsweep.report.figures.notes import sentences
from dlsweep.report.figures.searches import STOPPED, scale, trials_of

MOST_PANELS = 8
MARKERS = "osD^vPXp"
PALE = 0.35


@dataclass(frozen=True)
class TuningData:
    """What was tried: a row for each setting of each of what is compared.

    `arm` (a categorical) is what is compared, in the words of `compared`; `value` is the mean of the objective over its
    runs, NaN where one diverged or failed; `chosen` says whether the arm is reported with it, `stopped` whether its
    runs were stopped after fewer epochs. `keys` are the hyper-parameters that were tuned, each a column.
    """

    rows: pd.DataFrame
    compared: str
    keys: list[str]


def tuning_data(tables: Tables) -> TuningData:
    """Return what was tried. Raises Undrawable where nothing was."""
    if tables.trials.empty:
        raise Undrawable("no run that tunes is done")
    trials, summary = trials_of(tables), tables.summary
    rows = trials.last
    roots = {root_of(key) for key in tables.tuned}
    keys = [key for key in trials.keys if root_of(key) in roots]
    compared = [key for key in trials.keys if key not in keys and key in summary]
    if not keys or rows["value"].isna().all():
        raise Undrawable("every run that tunes diverged or failed" if keys else "each was tried with one setting")
    if len(compared) == 1:
        arms = rows[compared[0]]
    else:
        arms = rows[compared].apply(
            lambda row: ", ".join(f"{key}={format_value(row[key])}" for key in compared), axis=1
        )
    reported = set(_texts(summary, [*compared, *keys]))
    chosen = _texts(rows, [*compared, *keys]).isin(reported)
    stopped = rows["status"] == STOPPED
    rows = rows[[*keys, "value"]].assign(arm=text_levels(arms), chosen=chosen & ~stopped, stopped=stopped)
    return TuningData(rows, compared[0] if len(compared) == 1 else "setting", keys)


def _texts(table: pd.DataFrame, keys: list[str]) -> pd.Series:
    """The values of these columns, of each row as one text."""
    known = [key for key in keys if key in table]
    return table[known].map(format_value).agg("\n".join, axis=1)


def _is_drawn(values: pd.Series) -> bool:
    """Whether values are of a range, not of a list: too long for labels, and of what it does not apply to none."""
    is_number = pd.api.types.is_float_dtype(values)
    return is_number and any(float(format_value(value)) != value for value in values.dropna())


def tuning(tables: Tables, spec: FigureSpec) -> Drawing:
    """The objective over each hyper-parameter that was tuned, a colour for each of what is compared."""
    data, columns = tuning_data(tables), tables.columns
    keys, rows = data.keys[:MOST_PANELS], data.rows
    n_col = min(len(keys), 4)
    n_row = -(-len(keys) // n_col)
    width = min(2.4, PAGE / n_col) if n_col > 1 else 4.6
    size = (width * n_col, 3.0 if n_col == 1 else 2.4 * n_row)
    figure, axes = plt.subplots(n_row, n_col, figsize=size, sharey=True, squeeze=False, layout="constrained")
    arms, stopped = list(rows["arm"].cat.categories), rows["stopped"]
    colours = dict(zip(arms, palette(rows["arm"]), strict=True))
    markers = dict(zip(arms, MARKERS if len(arms) <= len(MARKERS) else "." * len(arms), strict=False))
    for ax, key in zip(axes.flat, keys, strict=False):
        there = rows
        if is_drawn := _is_drawn(rows[key]):
            there = rows[rows[key].notna()]
        axis = NumberAxis.of(there[key])
        if is_drawn:
            axis = replace(axis, ticks=None)
        at = axis.side_by_side(there.assign(position=axis.positions), "arm")
        for arm, part in there.groupby("arm", observed=True):
            look: dict[str, Any] = {"color": colours[arm], "linewidth": 1.3}
            if len(data.keys) == 1 and not axis.is_words and not stopped.any():
                means = part.groupby(at[part.index])["value"].mean()
                ax.plot(means.index, means, **look)
            marks = {"markersize": 5.5, "markeredgecolor": "white", "markeredgewidth": 0.6}
            for pale, points in part.groupby("stopped"):
                alpha = PALE if pale else 1.0
                ax.plot(at[points.index], points["value"], markers[arm], **look, **marks, alpha=alpha, zorder=3)
            ring = part[part["chosen"]]
            ax.plot(at[ring.index], ring["value"], "o", color=colours[arm], markersize=11, fillstyle="none", zorder=4)
        axis.apply(ax)
        draw_crosses(ax, at[there["value"].isna()])
        ax.set_xlabel(columns.title(key))
    for ax in axes.flat[len(keys) :]:
        ax.remove()
    beyond = scale(tables, figure.axes, rows["value"])
    for row in axes:
        row[0].set_ylabel(columns.title(columns.objective.metric))
    add_legend(
        figure, columns.title(data.compared), {arm: {"color": colours[arm], "marker": markers[arm]} for arm in arms}
    )
    n = int(trials_of(tables).rows["n"].max())
    point = f"A point a setting, the mean of {n} runs" if n > 1 else "A point a setting"
    ring_is = "Ring: what is reported, with other seeds"
    pale_is = "Pale: stopped after fewer epochs" if stopped.any() else ""
    return figure, sentences(point, ring_is, pale_is, beyond, trials_of(tables).counts())


def chosen_in_words(data: TuningData) -> str:
    """What each was chosen with: those of the same values together."""
    found: dict[str, dict[str, None]] = {}
    for row in data.rows[data.rows["chosen"]].to_dict("records"):
        values = ", ".join(f"{key}={format_value(row[key])}" for key in data.keys if not pd.isna(row[key]))
        found.setdefault(values, {}).setdefault(str(row["arm"]))
    return "; ".join(f"{values} for {listed(list(arms))}" for values, arms in found.items())
