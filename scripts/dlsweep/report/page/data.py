"""What the scripts of the page get to see of a sweep: its tables, small enough for 10,000 runs.

A table goes by column, since columns are alike in themselves: `{"same": value}` for one that never varies,
`{"words": [...], "at": [...]}` for text, a list of numbers else. What is missing is null.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from dlsweep.config.labels import is_grid, setting_labels
from dlsweep.config.metrics import METRICS, SUMMARY, Column
from dlsweep.config.plan import Plan, PlannedExperiment
from dlsweep.config.replicates import without_replicates
from dlsweep.report.figures.data import steps_per_run
from dlsweep.results.columns import Columns

MOST_NUMBERS = 600_000
"""Of all learning curves together; beyond it each keeps its first, its last and some epochs evenly between."""
FEWEST_EPOCHS = 8
"""That a curve keeps all the same."""
DIGITS, CURVE_DIGITS = 6, 4
"""Significant digits of a number in the run table, and in a curve."""
MOST_LISTED = 12
"""Settings that have room side by side on an axis."""
HIDDEN = ("label", "exp_name")
"""Columns that have a place of their own on the page."""


def page_data(plan: Plan, summary: pd.DataFrame, epochs: pd.DataFrame, known: Mapping[str, Columns]) -> dict[str, Any]:
    """Return what the scripts read, ready for strict JSON.

    Both tables are as `read_tables` gives them; `known` are the columns of each experiment.
    """
    order = {exp_name: i for i, exp_name in enumerate(plan.experiments)}
    summary = summary.sort_values("exp_name", key=lambda names: names.map(order), kind="stable", ignore_index=True)
    return {
        "name": plan.name,
        "results": plan.results,
        "experiments": [_experiment(exp_name, experiment) for exp_name, experiment in plan.experiments.items()],
        "columns": _columns(plan, summary, known),
        "runs": len(summary),
        "curves": _curves(summary, epochs, known),
    }


def _experiment(exp_name: str, experiment: PlannedExperiment) -> dict[str, Any]:
    """What the scripts must know of an experiment; `listed`: its settings are few, and differ in a key or two each."""
    objective = experiment.objective
    n = len(set(setting_labels(experiment.settings, experiment.varies).values()))
    n_values = [len(experiment.varies[key]) for key in without_replicates(experiment.varies)]
    is_list = not is_grid(experiment.settings, experiment.varies) and 2 * max(n_values, default=0) <= n
    return {
        "name": exp_name,
        "varies": list(experiment.varies),
        "selected": objective.selected,
        "metric": objective.metric,
        "report": objective.report,
        "better": objective.better,
        "listed": is_list and n <= MOST_LISTED,
    }


def _columns(plan: Plan, summary: pd.DataFrame, known: Mapping[str, Columns]) -> list[dict[str, Any]]:
    """Each column of the run table: what it is, and its values."""
    hyperparameters = {key for setting in plan.settings.values() for key in setting}
    hyperparameters |= {key for experiment in plan.experiments.values() for key in experiment.varies}
    columns = []
    for name in (str(name) for name in summary if summary[name].notna().any()):
        column = _column(name, known.values())
        is_hyper = name in hyperparameters
        columns.append(
            {
                "name": name,
                "title": "setting" if name == "label" else name if is_hyper else column.title or name,
                "doc": column.doc,
                "unit": column.unit,
                "kind": "hyper" if is_hyper else "metric" if column.better else "other",
                "better": "" if is_hyper else column.better,
                "fraction": column.within == (0.0, 1.0) and not is_hyper,
                "hidden": name in HIDDEN,
                "values": _packed(summary[name]),
            }
        )
    return columns


def _column(name: str, known: Collection[Columns]) -> Column:
    """What is known of a column, by the experiment that says most of it."""
    if name in SUMMARY and (name not in METRICS or any(of.classifies for of in known)):
        return SUMMARY[name]
    found = [of.metric(name) for of in known]
    return next((column for column in found if column.better), found[0])


def _packed(column: pd.Series) -> Any:
    if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
        codes, words = pd.factorize(column)
        words = [_word(word) for word in words]
        if len(words) == 1 and (codes == 0).all():
            return {"same": words[0]}
        return {"words": words, "at": codes.tolist()}
    values = [_number(value, DIGITS) for value in column.astype(float)]
    first = values[0]
    return {"same": first} if all(value == first for value in values) else values


def _word(value: Any) -> Any:
    return bool(value) if isinstance(value, (bool, np.bool_)) else str(value)


def _number(value: float, digits: int) -> float | int | None:
    """A number as few characters of JSON: whole ones whole, others rounded."""
    if not math.isfinite(value):
        return None
    if value.is_integer() and abs(value) < 1e15:
        return int(value)
    return float(f"{value:.{digits}g}")


# -- learning curves -------------------------------------------------------------------------------------------------


def _curves(summary: pd.DataFrame, epochs: pd.DataFrame, known: Mapping[str, Columns]) -> dict[str, Any]:
    """The curves of the runs, in the order of the run table.

    `of` says for each run which of `epochs` its curve is over; `values` has the points of all runs, one after another.
    `steps` are the updates per epoch of each run; empty where they are known of none.
    """
    names = [
        str(name)
        for name in epochs.columns.difference(["exp_name", "hash", "epoch"], sort=False)
        if pd.api.types.is_numeric_dtype(epochs[name]) and epochs[name].notna().any()
    ]
    place = {key: i for i, key in enumerate(zip(summary["exp_name"], summary["hash"], strict=True))}
    run = [place.get(key, -1) for key in zip(epochs["exp_name"], epochs["hash"], strict=True)]
    table = epochs.assign(run=run)
    table = table[table["run"] >= 0].sort_values(["run", "epoch"], kind="stable", ignore_index=True)
    if "seconds" in names:
        table["elapsed"] = table.groupby("run")["seconds"].cumsum()
        names.append("elapsed")
    n_epochs = table.groupby("run")["epoch"].transform("size").to_numpy()
    most = max(FEWEST_EPOCHS, MOST_NUMBERS // max(1, len(names) * len(summary)))
    kept = _evenly(table.groupby("run").cumcount().to_numpy(), n_epochs, most)
    thinned = int(n_epochs.max(initial=0)) if not kept.all() else 0
    table = table[kept]
    over: dict[tuple[int, ...], int] = {}
    of = [-1] * len(summary)
    columns = next((one for one in known.values() if one.classifies), next(iter(known.values())))
    for number, part in table.groupby("run")["epoch"]:
        of[int(str(number))] = over.setdefault(tuple(int(epoch) for epoch in part), len(over))
    steps = [_number(value, DIGITS) for value in steps_per_run(summary)]
    return {
        "metrics": [
            {"name": name, "title": "training time (s)" if name == "elapsed" else columns.title(name)} for name in names
        ],
        "epochs": [list(epochs) for epochs in over],
        "of": of,
        "steps": steps if any(steps) else [],
        "values": {name: [_number(value, CURVE_DIGITS) for value in table[name].astype(float)] for name in names},
        "most": most if thinned else 0,
        "longest": thinned,
    }


def _evenly(nth: np.ndarray, n: np.ndarray, most: int) -> np.ndarray:
    """Say of each epoch, the `nth` of `n` from 0, whether it is one of at most `most` that are spread evenly."""
    if not len(nth):
        return np.ones(0, bool)
    steps = np.maximum(np.minimum(n, most) - 1, 1)
    # The k-th that is kept is the nearest to k / steps of the way; an epoch is kept where it is the nearest of one.
    k = np.rint(nth * steps / np.maximum(n - 1, 1))
    return np.asarray((n <= most) | (np.rint(k * np.maximum(n - 1, 1) / steps) == nth))
