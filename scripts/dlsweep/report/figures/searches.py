"""What a search has tried: history, rungs, slices, contour.

They show the objective, by which a search decides. An experiment without a search is taken for one that tried its
settings in the config's order.
"""

from __future__ import annotations

import functools
import json
import math
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

from dlsweep.config.kinds import FigureSpec
from dlsweep.config.labels import format_value
from dlsweep.report.figures.axes import BAD, COLOURS, GREY, PAGE, NumberAxis, draw_crosses, facets, frame, label_axes
from dlsweep.report.figures.data import (
    Drawing,
    Tables,
    Undrawable,
    fences,
    forest_input,
    spans_decades,
    text_levels,
    varying_keys,
)
from dlsweep.report.figures.notes import seeds_in_words, sentences
from dlsweep.results.statistics import Importances, importances, partial_dependence

MOST_SLICES = 8
FEWEST_SETTINGS = 4  # that a forest is fitted to
RED = sns.color_palette("colorblind")[3]  # of the best
STOPPED = "pruned"
LOST = ("failed", "diverged")  # without a value; of the runs of a point the first that is there counts


@dataclass(frozen=True, eq=False)
class Trials:
    """What was tried, in its order: `rows` has a row for each point of each round.

    Its columns are the hyper-parameters `keys`, and `setting` (what two trials of one setting have in common), `value`
    (the mean of the objective over the runs of the point; NaN where one diverged or failed), `status` (finished,
    pruned, diverged or failed), `epochs`, `bracket` (NaN where no run pauses), `n` runs, of which `n_new` begin, and
    `seconds` and `n_epochs`, which all of them added.
    """

    rows: pd.DataFrame
    keys: list[str]
    better: str

    @property
    def pauses(self) -> bool:
        """Whether runs pause, and only some go on."""
        return bool(self.rows["bracket"].notna().any())

    @property
    def last(self) -> pd.DataFrame:
        """The last row of each setting, in the order in which they were first tried."""
        first = self.rows.groupby("setting", sort=False)["order"].first()
        return self.rows.groupby("setting", sort=False).tail(1).set_index("setting").loc[first.index].reset_index()

    @property
    def compared(self) -> tuple[pd.DataFrame, int | None]:
        """A row for each setting that can be compared, and after how many epochs, where runs pause.

        That is the number of epochs after which most settings have a value; of equals the largest.
        """
        if not self.pauses:
            return self.last, None
        at = self.rows.drop_duplicates(["setting", "epochs"])
        known = at[at["value"].notna()]
        n = known.groupby("epochs")["setting"].nunique()
        if n.empty:
            return self.last, None
        epochs = int(n.index[n == n.max()].max())
        lost = at[at["value"].isna() & ~(at["epochs"] > epochs)]
        return pd.concat([known[known["epochs"] == epochs], lost]).sort_values("order"), epochs

    def best(self) -> pd.Series | None:
        """The best trial of those that got furthest, as a search with rungs counts them; None where there is none."""
        known = self.rows[self.rows["value"].notna()]
        if self.pauses and (known["status"] != STOPPED).any():
            known = known[known["status"] != STOPPED]
        if known.empty:
            return None
        return known.loc[known["value"].idxmax() if self.better == "max" else known["value"].idxmin()]

    def counts(self) -> str:
        """How many settings there are, and what came of those without a value, for a note."""
        status = self.last["status"].value_counts()
        words = {"diverged": "×: {} of {} settings diverged", "failed": "{} of {} failed"}
        return "; ".join(text.format(status[name], len(self.last)) for name, text in words.items() if name in status)


@functools.lru_cache(maxsize=4)
def trials_of(tables: Tables) -> Trials:
    """Return what an experiment has tried. Raises Undrawable where it has no objective."""
    objective = tables.columns.objective
    rows, keys = _of_search(tables) if len(tables.trials) else _of_summary(tables)
    keys = [key for key in keys if text_levels(rows[key]).nunique() > 1]
    rows = rows.assign(order=range(len(rows)))
    return Trials(rows, keys, objective.better)


def _of_search(tables: Tables) -> tuple[pd.DataFrame, list[str]]:
    slots = tables.trials
    points = pd.DataFrame([json.loads(text) for text in slots["point"]], index=slots.index)
    points = points.map(lambda value: json.dumps(value) if isinstance(value, (list, dict)) else value)
    reached = slots.groupby("hash")["epochs"].cummax()
    added = reached.groupby(slots["hash"]).diff().fillna(reached).fillna(0)
    lost = slots["status"].isin(LOST)
    table = slots.assign(is_new=~slots["hash"].duplicated(), added=added, lost=lost)
    table = table.assign(rank=table["status"].map({name: i for i, name in enumerate(LOST)}).fillna(len(LOST)))
    rows = table.groupby(["round", "trial"])
    worst = table.loc[rows["rank"].idxmin()].set_index(["round", "trial"])
    found = rows.agg(
        setting=("hash", "first"),
        value=("value", "mean"),
        lost=("lost", "any"),
        epochs=("epochs", "max"),
        bracket=("bracket", "first"),
        n=("hash", "size"),
        n_new=("is_new", "sum"),
        seconds=("seconds", "sum"),
        n_epochs=("added", "sum"),
    ).assign(status=worst["status"])
    found = found.assign(value=found["value"].mask(found["lost"])).reset_index()
    point = points.loc[table.groupby(["round", "trial"]).head(1).sort_values(["round", "trial"]).index]
    return pd.concat([point.reset_index(drop=True), found], axis=1), list(points)


def _of_summary(tables: Tables) -> tuple[pd.DataFrame, list[str]]:
    summary, objective = tables.summary, tables.columns.objective
    selected = objective.selected
    if selected not in summary or summary[selected].isna().all():
        raise Undrawable(f"no run has {objective.metric}")
    keys = varying_keys(tables)
    groups = summary.groupby("label", sort=False)
    diverged = groups["status"].agg(lambda of: (of == "diverged").any())
    found = groups.agg(
        **{key: (key, "first") for key in keys},
        value=(selected, "mean"),
        epochs=("epochs_run", "max"),
        n=("hash", "size"),
        seconds=("train_seconds", "sum"),
        n_epochs=("epochs_run", "sum"),
    ).assign(status=diverged.map({True: "diverged", False: "finished"}), bracket=np.nan)
    found = found.assign(value=found["value"].mask(diverged), n_new=found["n"], setting=found.index)
    return found.reset_index(drop=True), keys


def in_words(row: pd.Series, keys: list[str]) -> str:
    """The values of a trial as text: lr=0.01 hid_dim=8."""
    values = {key: row[key].item() if isinstance(row[key], np.generic) else row[key] for key in keys}
    return " ".join(f"{key}={format_value(value)}" for key, value in values.items())


# -- history ---------------------------------------------------------------------------------------------------------


def history_data(trials: Trials) -> pd.DataFrame:
    """The rows of the trials with the `best` value so far, and all that was spent by then: `runs`, `epochs`, `seconds`.

    The objective of a run that paused is that of its last epoch.
    """
    rows = trials.rows
    known = rows["value"]
    best = known.cummax() if trials.better == "max" else known.cummin()
    spent = rows[["n_new", "n_epochs", "seconds"]].cumsum()
    return rows[["setting", "value", "status"]].assign(
        best=best.ffill(), runs=spent["n_new"], epochs=spent["n_epochs"], seconds=spent["seconds"]
    )


def history(tables: Tables, spec: FigureSpec) -> Drawing:
    """The best value so far over what was spent: runs (or, where they pause, epochs), and seconds of training."""
    trials, columns = trials_of(tables), tables.columns
    data = history_data(trials)
    if data["value"].isna().all():
        raise Undrawable(f"no run has a {columns.metric_title(columns.objective.metric)}: all diverged or failed")
    shown = {"epochs": "epochs of all runs"} if trials.pauses else {"runs": "runs"}
    if data["seconds"].max() > 0:
        shown["seconds"] = "seconds of training, of all runs"
    figure, axes = plt.subplots(1, len(shown), figsize=(0.6 + 3.2 * len(shown), 2.7), sharey=True, squeeze=False)
    blue = sns.color_palette("colorblind")[0]
    for ax, (name, title) in zip(axes[0], shown.items(), strict=True):
        ax.plot(data[name], data["value"], "o", color=GREY, markersize=3.5, markeredgewidth=0, gid="mean")
        lines = {"color": blue, "linewidth": 1.4, "marker": "o" if len(data) == 1 else None}
        ax.step(data[name], data["best"], where="post", **lines)
        at = data["value"].isna()
        draw_crosses(ax, data.loc[at, name])
        found = data[(data["value"] == data["best"]) & (data["best"] == data["best"].iat[-1])].iloc[0]
        ax.plot(found[name], found["value"], "D", color=RED, markersize=5, zorder=6)
        ax.set_xlabel(title)
        if len(data) > 1:
            ax.xaxis.set_major_locator(MaxNLocator(6, integer=name != "seconds"))
    beyond = scale(tables, list(axes[0]), data["value"])
    axes[0][0].set_ylabel(columns.title(columns.objective.metric))
    what = "A grey point: a setting at the end of a rung" if trials.pauses else "A grey point: a setting"
    note = f"{what}{_seeds(tables)}. Line: the best so far; diamond: where it was found"
    return figure, sentences(note, beyond, trials.counts())


def _seeds(tables: Tables) -> str:
    return seeds_in_words(tables.summary, " ({})")


def scale(tables: Tables, axes: list[Axes], values: pd.Series) -> str:
    """Scale the axes of the objective: by its logarithm where it spans decades, else with room for most values."""
    columns, metric = tables.columns, tables.columns.objective.metric
    if spans_decades(columns, metric, values):
        for ax in axes:
            ax.set_yscale("log")
        return ""
    return frame(axes, values, [], columns.metric(metric).within)


# -- rungs -----------------------------------------------------------------------------------------------------------


def rungs_data(trials: Trials) -> pd.DataFrame:
    """Return a row for each setting of each rung: its `value` after `epochs` (NaN: lost), the `rung` from 1.

    `reached` are the epochs that the setting got to in its bracket; `rank` is its place in the first rung, from 1.
    Raises Undrawable where no run pauses.
    """
    if not trials.pauses:
        raise Undrawable("no run of the search pauses")
    rows = trials.rows.assign(bracket=trials.rows["bracket"].astype(int))
    first = rows.groupby("bracket")["round"].transform("min")
    rows = rows.assign(rung=(rows["round"] - first + 1).astype(int))
    reached = rows.groupby(["bracket", "setting"])["epochs"].transform("max")
    begun = rows[rows["rung"] == 1]
    sign = -1 if trials.better == "max" else 1
    ranks = (sign * begun["value"]).groupby(begun["bracket"]).rank(method="first", na_option="bottom")
    at = begun.assign(rank=ranks).drop_duplicates(["bracket", "setting"]).set_index(["bracket", "setting"])["rank"]
    places = pd.MultiIndex.from_frame(rows[["bracket", "setting"]])
    rank = at.reindex(places).to_numpy()
    return rows.assign(reached=reached, rank=rank)


def rungs(tables: Tables, spec: FigureSpec) -> Drawing:
    """A line for each setting, through its values at the ends of the rungs, to the one at which it was stopped."""
    trials, columns = trials_of(tables), tables.columns
    rows = rungs_data(trials)
    rows = rows.assign(bracket=pd.Categorical(rows["bracket"], ordered=True))
    n_brackets = rows["bracket"].cat.categories.size
    width, panel = (4.4, FigureSpec("rungs")) if n_brackets == 1 else (2.3, FigureSpec("rungs", col="bracket"))
    figure, panels = facets(rows, panel, columns, width, 2.9 if n_brackets == 1 else 2.3)
    lengths = sorted(rows["reached"].dropna().unique())
    colours = dict(zip(lengths, sns.color_palette(COLOURS, len(lengths) + 1), strict=False))
    best = trials.best()
    ticks = sorted({int(epochs) for epochs in rows.loc[rows["value"].notna(), "epochs"]})
    for ax, part in panels:
        for (setting, reached), line in part.groupby(["setting", "reached"]):
            is_best = best is not None and setting == best["setting"] and best["order"] in set(line["order"])
            look: dict[str, Any] = {"color": RED if is_best else colours[reached]}
            look |= {"linewidth": 2, "zorder": 5} if is_best else {"linewidth": 0.9, "alpha": 0.85}
            ax.plot(line["epochs"], line["value"], "-o", markersize=3.5, markeredgewidth=0, **look)
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(FixedLocator(ticks))
        ax.xaxis.set_major_formatter(FixedFormatter([str(tick) for tick in ticks]))
        ax.xaxis.set_minor_locator(NullLocator())
        draw_crosses(ax, part.loc[part["value"].isna(), "epochs"].dropna())
        if ticks:
            ax.set_xlim(ticks[0] / 1.15, ticks[-1] * 1.15)
    beyond = scale(tables, [ax for ax, _ in panels], rows["value"])
    label_axes(panels, "epochs", columns.title(columns.objective.metric))
    note = f"A line a setting{_seeds(tables)}, to the rung that it reached; the darker, the earlier it was stopped"
    return figure, sentences(
        note, "Thick, red: the best at the end" if best is not None else "", beyond, trials.counts()
    )


# -- slices ----------------------------------------------------------------------------------------------------------


def slices(tables: Tables, spec: FigureSpec) -> Drawing:
    """The objective over each hyper-parameter that was searched, a point a setting, coloured by when it was tried."""
    trials, columns = trials_of(tables), tables.columns
    data, keys, left_out = trials.last, trials.keys, ""
    if len(keys) > MOST_SLICES:
        keys = list(most_important(tables)[:MOST_SLICES])
        left_out = f"The {MOST_SLICES} most important of {len(trials.keys)} hyper-parameters"
    if not keys or data["value"].isna().all():
        raise Undrawable("no hyper-parameter varies" if not keys else "every run diverged or failed")
    n_col = min(len(keys), 4)
    n_row = math.ceil(len(keys) / n_col)
    width = min(2.2, PAGE / n_col) if n_col > 1 else 3.6
    figure, axes = plt.subplots(
        n_row, n_col, figsize=(width * n_col, 2.3 * n_row), sharey=True, squeeze=False, layout="constrained"
    )
    shade = (
        data["epochs"].astype(float) if trials.pauses else pd.Series(range(1, len(data) + 1), data.index, dtype=float)
    )
    log = trials.pauses and shade.min() > 0
    norm = (mpl.colors.LogNorm if log and shade.max() > shade.min() else mpl.colors.Normalize)(shade.min(), shade.max())
    best = trials.best()
    for i, ax in enumerate(axes.flat):
        if i >= len(keys):
            ax.remove()
            continue
        axis = NumberAxis.of(data[keys[i]])
        look = {"s": 22, "linewidths": 0.3, "edgecolors": "white", "zorder": 3}
        ax.scatter(axis.positions, data["value"], c=shade, cmap=COLOURS, norm=norm, **look)
        axis.apply(ax)
        if axis.is_words:
            ax.margins(x=0.15)
        draw_crosses(ax, axis.positions[data["value"].isna()])
        if best is not None:
            at = axis.positions[data["setting"] == best["setting"]]
            ax.scatter(at, [best["value"]], s=60, facecolors="none", edgecolors=[RED], linewidths=1.6, zorder=4)
        ax.set_xlabel(columns.title(keys[i]))
    shown = [ax for ax in figure.axes if ax.has_data()]
    beyond = scale(tables, shown, data["value"])
    for row in axes:
        row[0].set_ylabel(columns.title(columns.objective.metric))
    title = "epochs" if trials.pauses else "setting, in the order tried"
    bar = figure.colorbar(mpl.cm.ScalarMappable(norm, COLOURS), ax=shown, label=title, pad=0.02)
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(5, integer=True) if not isinstance(norm, mpl.colors.LogNorm) else _at(shade)
    bar.formatter = mpl.ticker.ScalarFormatter()
    bar.minorlocator = NullLocator()
    bar.update_ticks()
    what = f"A point a setting{_seeds(tables)}" + (", after its last epoch" if trials.pauses else "")
    return figure, sentences(left_out, f"{what}. Ring: the best", beyond, trials.counts())


def _at(values: pd.Series) -> FixedLocator:
    return FixedLocator(sorted(values.dropna().unique()))


# -- what matters ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a forest is fitted to: a row a setting, its `inputs` as numbers and its `target`, and after which epoch.

    A setting that diverged or failed counts as the worst of the others.
    """

    rows: pd.DataFrame
    inputs: np.ndarray
    target: np.ndarray
    epochs: int | None
    n_worst: int


@functools.lru_cache(maxsize=4)
def fitted(trials: Trials) -> Fitted:
    """Return what a forest learns from. Raises Undrawable where that is too little."""
    rows, epochs = trials.compared
    rows = rows.drop_duplicates("setting")
    known = rows["value"]
    worst = known.min() if trials.better == "max" else known.max()
    target = known.fillna(worst).to_numpy(float)
    if len(rows) < FEWEST_SETTINGS or len(np.unique(target[np.isfinite(target)])) < 2:
        raise Undrawable(f"{len(rows)} settings with {known.nunique()} results are too few")
    inputs = np.column_stack([forest_input(rows[key]) for key in trials.keys])
    return Fitted(rows, inputs, target, epochs, int(known.isna().sum()))


@functools.lru_cache(maxsize=4)
def falls_of(trials: Trials) -> Importances:
    """Return how much each of the hyper-parameters that were searched matters to a forest's prediction."""
    data = fitted(trials)
    return importances(data.inputs, data.target, data.rows["setting"].to_numpy())


@functools.lru_cache(maxsize=4)
def most_important(tables: Tables) -> tuple[str, ...]:
    """The hyper-parameters that were searched, those first that matter most to a forest's prediction."""
    trials = trials_of(tables)
    if len(trials.keys) < 3:
        return tuple(trials.keys)
    falls = falls_of(trials).falls.mean(axis=1)
    return tuple(trials.keys[i] for i in np.argsort(-falls, kind="stable"))


# -- contour ---------------------------------------------------------------------------------------------------------

CELLS = 40  # along each axis


@dataclass(frozen=True)
class ContourData:
    """The prediction over two hyper-parameters: `predicted` (n_y, n_x) at the positions `at_x` and `at_y`."""

    x: str
    y: str
    axis_x: NumberAxis
    axis_y: NumberAxis
    at_x: np.ndarray
    at_y: np.ndarray
    predicted: np.ndarray
    fitted: Fitted

    def text_x(self, column: int) -> str:
        """The value of a column."""
        return _text(self.axis_x, self.at_x[column])

    def text_y(self, row: int) -> str:
        """The value of a row."""
        return _text(self.axis_y, self.at_y[row])


def _text(axis: NumberAxis, at: float) -> str:
    if axis.is_words and axis.ticks:
        return axis.ticks[1][int(at)]
    return f"{at:.3g}"


def contour_keys(tables: Tables, spec: FigureSpec) -> tuple[str, str]:
    """The two hyper-parameters of a contour: those of the figure, else the most important ones."""
    keys = [key for key in most_important(tables) if key not in (spec.x, spec.y)]
    for key in (spec.x, spec.y):
        if key and key not in trials_of(tables).keys:
            raise Undrawable(f"{key} does not vary")
    missing = 2 - bool(spec.x) - bool(spec.y)
    if len(keys) < missing:
        raise Undrawable("fewer than two hyper-parameters vary")
    free = iter(keys)
    x, y = spec.x or next(free), spec.y or next(free)
    return x, y


@functools.lru_cache(maxsize=4)
def contour_data(tables: Tables, spec: FigureSpec) -> ContourData:
    """Return what a forest predicts for each pair of values, averaged over the others as they were tried."""
    trials = trials_of(tables)
    x, y = contour_keys(tables, spec)
    data = fitted(trials)
    places = [trials.keys.index(key) for key in (x, y)]
    axes = [NumberAxis.of(data.rows[key]) for key in (x, y)]
    at, asked = zip(*(_grid(axis, data.inputs[:, i]) for axis, i in zip(axes, places, strict=True)), strict=True)
    predicted = partial_dependence(data.inputs, data.target, places, asked)
    return ContourData(x, y, axes[0], axes[1], at[0], at[1], predicted, data)


def _grid(axis: NumberAxis, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions along an axis, and the inputs of a forest there: those of each word, or evenly over the numbers."""
    if axis.is_words:
        pairs = sorted(set(zip(axis.positions, inputs, strict=True)))
        return np.array([at for at, _ in pairs]), np.array([value for _, value in pairs])
    low, high = inputs.min(), inputs.max()
    values = np.geomspace(low, high, CELLS) if axis.log else np.linspace(low, high, CELLS)
    return values, values


def contour(tables: Tables, spec: FigureSpec) -> Drawing:
    """What a forest predicts over the two hyper-parameters that matter most, and the settings that were tried."""
    columns, metric = tables.columns, tables.columns.objective.metric
    data = contour_data(tables, replace(spec, name=""))
    known = data.fitted.rows["value"]
    low, high = fences(known)
    low, high = max(low, data.predicted.min()), min(high, data.predicted.max())
    log = spans_decades(columns, metric, pd.Series(data.predicted.ravel()))
    norm = (mpl.colors.LogNorm if log else mpl.colors.Normalize)(low, high)
    figure, ax = plt.subplots(figsize=(4.4, 3.3))
    mesh = ax.pcolormesh(data.at_x, data.at_y, data.predicted, norm=norm, cmap=COLOURS, shading="nearest")
    mesh.set_rasterized(True)
    numbers = not (data.axis_x.is_words or data.axis_y.is_words)
    if numbers and high > low:
        levels = np.geomspace(low, high, 8) if log else np.linspace(low, high, 8)
        ax.contour(data.at_x, data.at_y, data.predicted, levels[1:-1], colors="white", linewidths=0.6, alpha=0.7)
    at_x, at_y, lost = data.axis_x.positions, data.axis_y.positions, known.isna()
    look = {"s": 20, "edgecolors": "white", "linewidths": 0.6, "zorder": 3}
    ax.scatter(at_x[~lost], at_y[~lost], c=known[~lost], cmap=COLOURS, norm=norm, **look)
    ax.plot(at_x[lost], at_y[lost], "x", color=BAD, markersize=4, gid="diverged", zorder=4)
    best = trials_of(tables).best()
    if best is not None:
        at = data.fitted.rows["setting"] == best["setting"]
        ax.scatter(at_x[at], at_y[at], s=70, facecolors="none", edgecolors=[RED], linewidths=1.6, zorder=4)
    data.axis_x.apply(ax)
    data.axis_y.apply(ax, upright=True)
    ax.set(xlabel=columns.title(data.x), ylabel=columns.title(data.y))
    ax.grid(False)
    bar = figure.colorbar(mesh, ax=ax, label=columns.title(metric))
    bar.outline.set_visible(False)
    n, others = len(data.fitted.rows), len(trials_of(tables).keys) - 2
    averaged = ", averaged over the other hyper-parameters as they were tried" if others else ""
    when = f" after epoch {data.fitted.epochs}" if data.fitted.epochs else ""
    counts = f"{n} settings{when}{_seeds(tables)}"
    worst = (
        f"{data.fitted.n_worst} settings that diverged or failed (×) count as the worst" if data.fitted.n_worst else ""
    )
    return figure, sentences(
        f"Colour: what a random forest predicts from {counts}{averaged} (partial dependence, Friedman 2001)",
        "Points: the settings with their own values; ring: the best",
        worst,
    )
