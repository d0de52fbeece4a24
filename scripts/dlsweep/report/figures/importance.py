"""What the hyper-parameters explain of the result."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from dlsweep.config.kinds import MOST_BARS, FigureSpec
from dlsweep.report.figures.data import Drawing, Tables, Undrawable, forest_input, shown_columns, varying_keys
from dlsweep.report.figures.notes import seeds_in_words, sentences
from dlsweep.report.figures.searches import falls_of, fitted, trials_of
from dlsweep.results.statistics import Importances, importances

FOREST_RUNS = 1000


@dataclass(frozen=True, slots=True)
class ImportanceData:
    """How R² falls (`importance`) for each hyper-parameter (`key`) when `y` is predicted, and the runs that tell.

    `runs` are each with its `value`, or the settings that a search compared; `of` says how many they are.
    """

    falls: pd.DataFrame
    runs: pd.DataFrame
    y: str
    of: str
    trust: str
    n_worst: int  # that diverged and count as the worst

    @property
    def order(self) -> pd.Index:
        """The hyper-parameters that matter most, the first before the others."""
        found = self.falls.groupby("key")["importance"].mean().sort_values(ascending=False)
        return found.index[:MOST_BARS]


def importance_data(tables: Tables, y: str) -> ImportanceData:
    """Return what a forest finds of the runs. Raises Undrawable where they are too few or all alike.

    Of a search that stops runs before they are tested, it asks for the objective where most can be compared.
    """
    if len(tables.trials) and trials_of(tables).pauses:
        return _of_rungs(tables)
    shown_columns(tables, tables.summary, y, ())
    keys, summary, columns = varying_keys(tables), tables.summary, tables.columns
    data = summary if len(summary) <= FOREST_RUNS else summary.sample(FOREST_RUNS, random_state=0)
    better, results = columns.metric(y).better, data[y].astype(float)
    if better:
        results = results.mask(data["status"] == "diverged")
    known = results.notna() if not better else pd.Series(True, data.index)
    data, results = data[known], results[known].fillna(results.min() if better == "max" else results.max())
    n_settings = data["label"].nunique()
    if results.isna().all():
        raise Undrawable(f"no run has a {columns.title(y)}")
    if n_settings < 4 or results.nunique() < 2:
        raise Undrawable(f"{n_settings} settings with {results.nunique()} results are too few")
    inputs = np.column_stack([forest_input(data[key]) for key in keys])
    found = importances(inputs, results.to_numpy(), data["label"].to_numpy())
    n_worst = int((data["status"] == "diverged").sum()) if better else 0
    of = f"{len(data)} runs of {n_settings} settings"
    return ImportanceData(_falls(found, keys), data.assign(value=results), y, of, found.trust, n_worst)


def _of_rungs(tables: Tables) -> ImportanceData:
    """The same of the settings of a search, after the epochs that most of them had."""
    trials = trials_of(tables)
    data, found = fitted(trials), falls_of(trials)
    of = f"{len(data.rows)} settings after epoch {data.epochs}"
    metric = tables.columns.objective.metric
    return ImportanceData(_falls(found, trials.keys), data.rows, metric, of, found.trust, data.n_worst)


def _falls(found: Importances, keys: list[str]) -> pd.DataFrame:
    return pd.DataFrame(found.falls.T, columns=keys).melt(var_name="key", value_name="importance")


def importance(tables: Tables, spec: FigureSpec) -> Drawing:
    """How much each hyper-parameter that varies matters to a random forest's prediction (`statistics.importances`).

    A diverged run counts as the worst result of the experiment.
    """
    found = importance_data(tables, spec.y)
    order = found.order
    figure, ax = plt.subplots(figsize=(4, 0.8 + 0.28 * len(order)))
    colour = sns.color_palette("colorblind")[0]
    sns.barplot(
        found.falls,
        x="importance",
        y="key",
        order=order,
        errorbar="sd",
        color=colour,
        ax=ax,
        capsize=0.25,
        err_kws={"linewidth": 1, "color": "0.25"},
    )
    ax.set(xlabel=f"importance for {tables.columns.title(found.y)}: fall of R²", ylabel="")
    counted = f"{found.of}{seeds_in_words(tables.summary, ' ({})')}"
    note = f"Random forest, {counted}; bars: standard deviation over folds of settings and shuffles"
    worst = f"{found.n_worst} diverged count as the worst" if found.n_worst else ""
    return figure, sentences(note, found.trust, worst)
