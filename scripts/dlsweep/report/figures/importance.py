"""What the hyper-parameters explain of the result."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from dlsweep.config.kinds import MOST_BARS, FigureSpec
from dlsweep.report.figures.data import Drawing, Tables, Undrawable, text_levels, varying_keys
from dlsweep.report.figures.notes import seeds_in_words, sentences
from dlsweep.results.columns import axis_title, metric
from dlsweep.results.statistics import importances

FOREST_RUNS = 1000


def importance(tables: Tables, spec: FigureSpec) -> Drawing:
    """How much each hyper-parameter that varies matters to a random forest's prediction (`statistics.importances`).

    A diverged run counts as the worst result of the experiment.
    """
    summary, y = tables.summary, spec.y
    keys = varying_keys(summary)
    data = summary if len(summary) <= FOREST_RUNS else summary.sample(FOREST_RUNS, random_state=0)
    better, results = metric(y).better, data[y].astype(float)
    if better:
        results = results.mask(data["status"] == "diverged")
    known = results.notna() if not better else pd.Series(True, data.index)
    data, results = data[known], results[known].fillna(results.min() if better == "max" else results.max())
    n_settings = data["label"].nunique()
    if results.isna().all():
        raise Undrawable(f"no run has a {axis_title(y)}")
    if n_settings < 4 or results.nunique() < 2:
        raise Undrawable(f"{n_settings} settings with {results.nunique()} results are too few")
    inputs = np.column_stack([_forest_input(data[key]) for key in keys])
    found = importances(inputs, results.to_numpy(), data["label"].to_numpy())
    long = pd.DataFrame(found.falls.T, columns=keys).melt(var_name="key", value_name="importance")
    order = long.groupby("key")["importance"].mean().sort_values(ascending=False).index[:MOST_BARS]
    figure, ax = plt.subplots(figsize=(4, 0.8 + 0.28 * len(order)))
    colour = sns.color_palette("colorblind")[0]
    sns.barplot(
        long,
        x="importance",
        y="key",
        order=order,
        errorbar="sd",
        color=colour,
        ax=ax,
        capsize=0.25,
        err_kws={"linewidth": 1, "color": "0.25"},
    )
    ax.set(xlabel=f"importance for {axis_title(y)}: fall of R²", ylabel="")
    n_bad = int((data["status"] == "diverged").sum())
    runs = f"{len(data)} runs of {n_settings} settings ({seeds_in_words(data)})"
    note = f"Random forest, {runs}; bars: standard deviation over folds of settings and shuffles"
    return figure, sentences(note, found.trust, f"{n_bad} diverged runs count as the worst" if n_bad and better else "")


def _forest_input(values: pd.Series) -> pd.Series:
    """A column as numbers for a forest, which asks only for their order; words are numbered as they come."""
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return values.astype(float).fillna(-1)
    return text_levels(values).cat.codes.astype(float)
