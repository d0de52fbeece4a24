"""What the hyper-parameters explain of the result."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from dlsweep.config.kinds import MOST_BARS, FigureSpec
from dlsweep.report.figures.data import Drawing, Tables, Undrawable, shown_columns, text_levels, varying_keys
from dlsweep.report.figures.notes import seeds_in_words, sentences
from dlsweep.results.statistics import importances

FOREST_RUNS = 1000


@dataclass(frozen=True, slots=True)
class ImportanceData:
    """How R² falls (`importance`) for each hyper-parameter (`key`), and the runs that tell, each with its `value`."""

    falls: pd.DataFrame
    runs: pd.DataFrame
    trust: str
    n_worst: int  # runs that diverged and count as the worst

    @property
    def order(self) -> pd.Index:
        """The hyper-parameters that matter most, the first before the others."""
        found = self.falls.groupby("key")["importance"].mean().sort_values(ascending=False)
        return found.index[:MOST_BARS]


def importance_data(tables: Tables, y: str) -> ImportanceData:
    """Return what a forest finds of the runs. Raises Undrawable where they are too few or all alike."""
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
    inputs = np.column_stack([_forest_input(data[key]) for key in keys])
    found = importances(inputs, results.to_numpy(), data["label"].to_numpy())
    falls = pd.DataFrame(found.falls.T, columns=keys).melt(var_name="key", value_name="importance")
    n_worst = int((data["status"] == "diverged").sum()) if better else 0
    return ImportanceData(falls, data.assign(value=results), found.trust, n_worst)


def importance(tables: Tables, spec: FigureSpec) -> Drawing:
    """How much each hyper-parameter that varies matters to a random forest's prediction (`statistics.importances`).

    A diverged run counts as the worst result of the experiment.
    """
    found = importance_data(tables, spec.y)
    order, runs = found.order, found.runs
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
    ax.set(xlabel=f"importance for {tables.columns.title(spec.y)}: fall of R²", ylabel="")
    counted = f"{len(runs)} runs of {runs['label'].nunique()} settings{seeds_in_words(runs, ' ({})')}"
    note = f"Random forest, {counted}; bars: standard deviation over folds of settings and shuffles"
    worst = f"{found.n_worst} diverged runs count as the worst" if found.n_worst else ""
    return figure, sentences(note, found.trust, worst)


def _forest_input(values: pd.Series) -> pd.Series:
    """A column as numbers for a forest, which asks only for their order; words are numbered as they come."""
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return values.astype(float).fillna(-1)
    return text_levels(values).cat.codes.astype(float)
