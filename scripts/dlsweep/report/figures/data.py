"""What figures take from the tables: their rows, their groups, their means."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dlsweep.config.dotted import dotted, root_of
from dlsweep.config.identity import default
from dlsweep.config.kinds import FigureSpec
from dlsweep.config.labels import format_value
from dlsweep.config.metrics import CLASSIFICATION, SPLITS, Range, parts_of
from dlsweep.config.names import nearest
from dlsweep.config.registry import AUGMENTATION, REGISTRIES
from dlsweep.config.replicates import without_replicates
from dlsweep.errors import RecordError
from dlsweep.results.columns import Columns
from dlsweep.results.decisions import Decision
from dlsweep.results.leaderboard import group_settings
from dlsweep.results.predictions import read_predictions
from dlsweep.results.splits import Splits
from dlsweep.results.statistics import means
from dlsweep.results.tables import measured_columns
from dlsweep.tasks.classification.steps import steps_per_epoch

MOST_POINTS = 3000  # of a scatter plot
MOST_LINES = 300  # of learning curves or parallel coordinates
MOST_VALUES = 40  # of a numeric hyper-parameter; more are drawn in bins
BINS = 12


@dataclass(frozen=True, eq=False)  # tables are compared by identity: what is found of them is kept
class Tables:
    """The tables of one experiment, and what is known of their columns."""

    summary: pd.DataFrame
    epochs: pd.DataFrame
    gradients: pd.DataFrame
    confusion: pd.DataFrame
    classes: pd.DataFrame
    calibration: pd.DataFrame
    mistakes: pd.DataFrame
    columns: Columns
    question: str = ""
    decision: Decision | None = None
    predictions: Path | None = None  # of the best run, where its mistakes are known
    trials: pd.DataFrame = field(default_factory=pd.DataFrame)
    tuned: tuple[str, ...] = ()  # what a comparison tuned; its trials are the runs that did

    @functools.cached_property
    def images(self) -> dict[int, np.ndarray]:
        """The images of the most confident mistakes, by their place in the test split, where they are kept."""
        try:
            found = read_predictions(self.predictions) if self.predictions else None
        except RecordError:  # the tables have said so
            return {}
        if found is None or found.shown is None or found.images is None:
            return {}
        return dict(zip(found.shown.tolist(), found.images, strict=True))


Drawing = tuple[Figure, str]


class Undrawable(Exception):
    """A figure that cannot be drawn of these tables; its text says why, in the figure's place."""


def runs_with(tables: Tables, shown: pd.Series) -> Tables:
    """Return the tables with only those runs of the summary of which `shown` is true."""
    summary = tables.summary[shown]
    kept = set(summary["hash"])
    others = {
        name: table[table["hash"].isin(kept)]
        for name, table in vars(tables).items()
        if isinstance(table, pd.DataFrame) and name != "summary" and len(table)
    }
    return replace(tables, summary=summary, **others)


def with_axis(spec: FigureSpec, column: str, *axes: str) -> tuple[FigureSpec, bool]:
    """Return the figure with the column on the first of these axes that is free, and whether one is."""
    free = next((axis for axis in axes if axis not in spec.axes), None)
    return (replace(spec, **{free: column}), True) if free else (spec, False)


def marks_of(data: pd.DataFrame, groups: Sequence[str], within: Range, of: Splits) -> pd.DataFrame:
    """The mean of `value` in each group, its interval as `low` and `high`, and `n`, what that is over.

    `of` are the splits of the data that the runs are repeated on.
    """
    marks = data.groupby(list(groups), observed=True, dropna=False)
    splits = None
    if of.keys and {*of.keys} <= {*data}:
        splits = data.groupby(list(of.keys), dropna=False, observed=True).ngroup()
    overlap = 0.0 if splits is None else of.correction
    found = means(data["value"], marks.ngroup(), pd.factorize(data["label"])[0], within, splits, overlap)
    return marks.size().reset_index()[list(groups)].assign(value=found.mean, low=found.low, high=found.high, n=found.n)


def measures_of(tables: Tables, spec: FigureSpec) -> list[str]:
    """What a reader must know of how the built-in task measures the training split, where the figure shows it."""
    summary = tables.summary
    if not tables.columns.classifies:
        return []
    shown, notes = set(spec.axes.values()), [_updates_note(tables, spec)]
    during = f"mean during the epoch{disturbed(summary)}"
    if shown & {*CLASSIFICATION, "train_acc", "train_loss"} and spec.kind != "gap":
        notes.append(f"Train: {during}")
    if "generalization_gap" in shown:
        known = summary[summary["generalization_gap"].notna()]
        n_old = int(known["tested_train_acc"].isna().sum())
        old = f"of the last epoch, its training accuracy the {during}"
        if n_old < len(known):
            notes.append("Gap: of the tested weights, without dropout and augmentation" if known.size else "")
        if n_old:
            notes.append(f"Gap {old}" if n_old == len(known) else f"But of {n_old} of {len(known)} runs {old}")
    return notes


FAR = 3.0  # quartile ranges beyond the quartiles; further out a value is far from all others
MOST_FAR = 0.2  # of all values: more than that are no outliers


def fences(values: Any) -> tuple[float, float]:
    """Return the least and the greatest value that an axis or a colour scale has room for; the others are outliers.

    An outlier is far out by Tukey's rule (1977, Exploratory Data Analysis): beyond three quartile ranges from the
    quartiles. There are none where they are many, or where their room would not double that of the others.
    """
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    everything = (-math.inf, math.inf)
    if len(values) < 5:
        return everything
    first, third = np.quantile(values, [0.25, 0.75])
    low, high = first - FAR * (third - first), third + FAR * (third - first)
    shown = values[(values >= low) & (values <= high)]
    few = 0 < len(values) - len(shown) <= MOST_FAR * len(values)
    if first == third or not few or np.ptp(values) < 2 * np.ptp(shown):
        return everything
    return (float(low) if values.min() < low else -math.inf, float(high) if values.max() > high else math.inf)


def steps_per_run(summary: pd.DataFrame) -> pd.Series:
    """The updates per epoch of each row's run, NaN where they are not known: of the built-in task, from its speed."""
    steps = pd.Series(np.nan, summary.index)
    if not {"batch_size", "samples_per_second"} <= {*summary}:
        return steps
    images = summary["samples_per_second"] * summary["train_seconds"] / summary["epochs_run"]
    known = summary.assign(images=images.replace([np.inf, -np.inf], np.nan)).dropna(subset=["images", "batch_size"])
    steps[known.index] = [
        float(steps_per_epoch(max(1, round(n)), size if size == "full" else int(float(size))))
        for n, size in zip(known["images"], known["batch_size"], strict=True)
    ]
    return steps


def _steps_of(summary: pd.DataFrame) -> pd.Series:
    """The same by the hash of the run, within one experiment."""
    return steps_per_run(summary).set_axis(summary["hash"])


def spent_by(tables: Tables, over: str) -> pd.Series:
    """What each run has spent by the end of each epoch, by hash and epoch. Raises Undrawable if unknown."""
    epochs = tables.epochs.sort_values("epoch", kind="stable")
    if over == "updates":
        spent = epochs["epoch"] * epochs["hash"].map(_steps_of(tables.summary))
    elif over == "seconds" and "seconds" in epochs:
        spent = epochs.groupby("hash")["seconds"].cumsum()
    else:
        spent = epochs["epoch"].astype(float)
    if spent.isna().all():
        what = "updates its epochs had" if over == "updates" else "seconds its epochs took"
        raise Undrawable(f"no run says how many {what}")
    return spent.set_axis(pd.MultiIndex.from_frame(epochs[["hash", "epoch"]]))


def _updates_note(tables: Tables, spec: FigureSpec) -> str:
    """That equal epochs are not equal training, where the figure compares batch sizes."""
    summary = tables.summary
    if not {"batch_size", "label"} & {*spec.groups, spec.x} or "batch_size" not in summary:
        return ""
    totals = summary["hash"].map(_steps_of(summary)) * summary["epochs_run"]
    means = totals.groupby(summary["batch_size"].astype(str)).mean().dropna()
    if len(means) < 2 or means.max() < 1.5 * means.min():
        return ""
    ends = [f"{means[size]:,.0f} with batch_size={size}" for size in (means.idxmax(), means.idxmin())]
    return f"Updates of the weights differ: {' but '.join(ends)}"


def disturbed(summary: pd.DataFrame) -> str:
    """What made training images harder than those of validation, in any of the runs."""
    switched_on = {"dropout": ["dropout"], "augmentation": AUGMENTATION}
    on = [word for word, keys in switched_on.items() if any(_is_on(summary[key]) for key in keys)]
    return f", with {' and '.join(on)} on" if on else ""


def _is_on(values: pd.Series) -> bool:
    return bool(values.dropna().astype(float).gt(0).any())


def varying_keys(tables: Tables) -> list[str]:
    """The hyper-parameters that vary, but for those that only follow another (momentum, say, the optimizer)."""
    keys, summary = tables.columns.hyperparameters, tables.summary
    parted = set(map(root_of, dotted(keys)))  # the mappings whose keys stand by themselves
    varying = [key for key in without_replicates(keys) if key not in parted and summary[key].nunique(dropna=False) > 1]
    return [key for key in varying if not tables.columns.built_in or _is_chosen(summary, key)]


def _is_chosen(summary: pd.DataFrame, key: str) -> bool:
    for row in summary[list({*REGISTRIES, key})].drop_duplicates().to_dict("records"):
        standard = default(key, row)
        if not pd.isna(row[key]) and row[key] != standard and str(row[key]) != str(standard):
            return True
    return False


def is_pooled(summary: pd.DataFrame, by: Sequence[str], key: str) -> bool:
    """Whether a mark of one combination of `by` holds several values of `key`."""
    if not by:
        return True
    return bool((summary.groupby(list(by), dropna=False, observed=True)[key].nunique(dropna=False) > 1).any())


def _number_or_none(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def text_levels(values: pd.Series) -> pd.Series:
    """Return the values as ordered categories of short text: numbers ascending, words in the order they come in."""
    plain = values.astype(object).where(values.notna(), None)
    levels = list(dict.fromkeys(plain))
    numbers = {level: _number_or_none(str(level)) for level in levels if not isinstance(level, bool)}
    if any(number is not None for number in numbers.values()):
        levels.sort(key=lambda level: math.inf if numbers[level] is None else float(str(level)))
    elif set(levels) <= {False, True, None}:
        levels.sort(key=lambda level: (level is None, level or False))

    def text(level: Any) -> str:
        number = numbers.get(level)
        return format_value(level) if number is None else f"{number:.6g}"

    names = list(dict.fromkeys(text(level) for level in levels))
    return pd.Series(pd.Categorical([text(value) for value in plain], names, ordered=True), values.index)


def forest_input(values: pd.Series) -> pd.Series:
    """A column as numbers for a forest, which asks only for their order; words are numbered as they come."""
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return values.astype(float).fillna(-1)
    return text_levels(values).cat.codes.astype(float)


def is_numeric(levels: pd.Series) -> bool:
    return all(_number_or_none(level) is not None for level in levels.cat.categories)


def is_log_spaced(values: pd.Series) -> bool:
    """Say whether numbers are spread over decades: more evenly in their logarithms than as they are."""
    levels = np.unique(values.dropna().to_numpy(float))
    if len(levels) < 2 or levels[0] <= 0 or levels[-1] < 10 * levels[0]:
        return False
    if len(levels) == 2:
        return True
    linear, log = np.diff(levels), np.diff(np.log(levels))
    return bool(log.std() / log.mean() < linear.std() / linear.mean())


def into_bins(values: pd.Series) -> tuple[pd.Series, str]:
    """Numbers of a random search by the middle of the bin they fall into, and a note; few values as they are."""
    if values.nunique() <= MOST_VALUES or not pd.api.types.is_numeric_dtype(values):
        return values, ""
    log = is_log_spaced(values)
    numbers = np.log(values.astype(float)) if log else values.astype(float)
    edges = np.linspace(numbers.min(), numbers.max(), BINS + 1)
    middles = (edges[:-1] + edges[1:]) / 2
    at = middles[np.clip(np.searchsorted(edges, numbers, "right") - 1, 0, BINS - 1)]
    rounded = [float(f"{value:.2g}") for value in (np.exp(at) if log else at)]
    return pd.Series(rounded, values.index), f"{values.name} in {BINS} bins"


def with_text(summary: pd.DataFrame, names: Sequence[str | None]) -> pd.DataFrame:
    """The summary with the columns that tell runs apart as ordered text."""
    return summary.assign(**{name: text_levels(summary[name]) for name in names if name and name in summary})


def shown_columns(tables: Tables, table: pd.DataFrame, y: str, splits: Sequence[str]) -> dict[str, str]:
    """The columns of a table that show y: that of each split of a family such as acc, or y itself, of the split "".

    Raises Undrawable where no run has it.
    """
    columns = tables.columns
    if table is tables.epochs:
        metrics = [name for name in table if name not in ("exp_name", "hash", "epoch")]
    else:
        metrics = [name for name in table if name not in columns.hyperparameters]
    of_splits = {split: f"{split}_{y}" for split in splits if f"{split}_{y}" in metrics}
    found = {"": y} if y in metrics else of_splits
    if not columns.classifies:
        found = {split: name for split, name in found.items() if table[name].notna().any()}
    if not found:
        where = " over the epochs" if table is tables.epochs else ""
        measured = measured_columns(table, columns)
        families = {parts_of(name).family for name in measured}
        have = f"the runs have {', '.join(measured)}" if measured else "the runs have no metric"
        raise Undrawable(f"no run has {y}{where}; {have}.{nearest(y, [*measured, *families])}")
    return found


def with_metric(tables: Tables, spec: FigureSpec) -> tuple[FigureSpec, str]:
    """Return the figure of what settings are selected by, where no run has what they are reported by; and a note."""
    objective, kinds = tables.columns.objective, ("bars", "points", "line")
    found = {name for name in (objective.report, objective.metric) if name in tables.summary}
    known = {name for name in found if tables.summary[name].notna().any()}
    if tables.columns.classifies or spec.kind not in kinds or spec.y != objective.report or objective.report in known:
        return spec, ""
    if objective.metric not in known:
        return spec, ""
    return replace(spec, y=objective.metric), f"No run has {objective.report}, so {objective.metric} is shown"


def long_form(data: pd.DataFrame, shown: Mapping[str, str]) -> pd.DataFrame:
    """The data with the column `value`: that of each of the columns that are shown, their splits named in `split`."""
    if "" in shown:
        return data.assign(value=data[shown[""]])
    parts = [data.assign(value=data[name], split=split) for split, name in shown.items()]
    long = pd.concat(parts, ignore_index=True)
    return long.assign(split=pd.Categorical(long["split"], list(shown), ordered=True))


def best_labels(tables: Tables, most: int) -> tuple[list[str], str]:
    """The labels of the best settings, and a note where some are left out."""
    labels = list(group_settings(tables.summary, tables.columns)["label"])
    note = f"The best {most} of {len(labels)} settings by {tables.columns.by}" if len(labels) > most else ""
    return labels[:most], note


def spans_decades(columns: Columns, name: str, values: pd.Series) -> bool:
    """Whether a loss, gradient, time or throughput needs a log axis, so that one run does not flatten the others."""
    values = values[np.isfinite(values)]
    bounded = math.isfinite(columns.metric(name).within[1])
    if bounded or name in ("best_epoch", "generalization_gap") or values.empty:
        return False
    return bool(values.min() > 0 and values.max() > 50 * values.min())


def without_diverged(tables: Tables) -> pd.DataFrame:
    """The epochs without the values of those in which a run diverged: there is nothing to average in them."""
    epochs, columns = tables.epochs, tables.columns
    if columns.classifies:
        lost = epochs[["train_loss", "val_loss"]].isna().any(axis=1)
        results = [f"{split}_{y}" for split in SPLITS[:2] for y in CLASSIFICATION]
    else:  # only a run's last epoch may be one, and an epoch need not have every metric
        diverged = tables.summary.loc[tables.summary["status"] == "diverged", "hash"]
        is_last = epochs["epoch"] == epochs.groupby("hash")["epoch"].transform("max")
        results = measured_columns(epochs, columns)
        errors = [name for name in results if columns.metric(name).better == "min"]
        lost = epochs["hash"].isin(diverged) & is_last & epochs[errors].isna().any(axis=1)
    return epochs.assign(**{name: epochs[name].mask(lost) for name in results})


def until_one_ends(data: pd.DataFrame, groups: Sequence[str]) -> pd.DataFrame:
    """Add `alone`: whether a row is of an epoch that not all runs of its mean have, and `thin`: the line from there on.

    The mean of the runs that are left would jump where one stops early or diverges, and speak for those that survive.
    """
    by = [name for name in (*groups, "split") if name in data]
    runs = ["hash", *(["split"] if "split" in data else [])]
    data = data.sort_values("epoch", kind="stable")
    known = data["value"].notna().groupby([data[name] for name in runs], observed=True).cummin()
    last = data["epoch"].where(known, 0).groupby([data[name] for name in runs], observed=True).transform("max")
    together = last.groupby([data[name] for name in by], observed=True).transform("min") if by else last.min()
    alone = known & (data["epoch"] > together)
    goes_on = alone.groupby([data[name] for name in runs], observed=True).transform("any")
    data = data.assign(value=data["value"].where(known), alone=alone)
    return data.assign(thin=known & goes_on & (data["epoch"] >= together))
