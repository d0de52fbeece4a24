"""Settings over several data sets: the aggregates of Agarwal et al. (2021).

Deep Reinforcement Learning at the Edge of the Statistical Precipice, NeurIPS 34; their library is rliable. A mean over
data sets says little of a few runs each, and a best of them nothing. These three use every run: the interquartile mean,
the probability of improvement, and the performance profile, each with an interval that resamples the runs of each data
set for itself (stratified bootstrap, percentiles).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dlsweep.config.labels import setting_labels, with_version
from dlsweep.config.plan import Plan, PlannedExperiment
from dlsweep.results.columns import AGGREGATES, PROFILES, Columns
from dlsweep.results.frames import make_table
from dlsweep.results.statistics import CONFIDENCE, mean_text, runs_text

RESAMPLES = 2000
TRIMMED = 0.25  # at each end
THRESHOLDS = 21  # of a profile

Scores = Sequence[np.ndarray]
"""Of one setting: for each data set the values of its runs, any number of them from one."""


@dataclass(frozen=True)
class Estimate:
    """A number, or several, with the ends of the 95 % bootstrap interval."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def interquartile_mean(scores: Scores) -> Estimate:
    """Return the mean of the middle half of all runs, over all data sets.

    It bears with outliers as a median does, but uses half of the runs; data sets count by how many runs they have.
    """
    draws = np.concatenate([task[_drawn(task, i)] for i, task in enumerate(scores)], axis=1)
    return _estimate(_trimmed_mean(np.concatenate(scores)[None])[0], _trimmed_mean(draws))


def _trimmed_mean(values: np.ndarray) -> np.ndarray:
    """The mean of each row without a quarter of its values at each end, as scipy.stats.trim_mean takes them off."""
    cut = int(TRIMMED * values.shape[1])
    mean: np.ndarray = np.sort(values, axis=1)[:, cut : values.shape[1] - cut].mean(axis=1)
    return mean


def improvement(scores: Scores, others: Scores, better: str) -> Estimate:
    """Return the probability that a run of a setting is better than one of another, on a data set drawn at random.

    On each data set it is the statistic of Mann and Whitney (1947) divided by the number of pairs, of which equal ones
    count half; `better` is `max` or `min`. 0.5 says that neither is better. It needs no common scale, so it holds for
    any metric; how much better it does not say.
    """
    draws = []
    for i, (task, other) in enumerate(zip(scores, others, strict=True)):
        first, second = _weights(task, 2 * i), _weights(other, 2 * i + 1)
        draws.append(((first @ _wins(task, other, better)) * second).sum(axis=1))
    return _estimate(_improvement(scores, others, better), np.mean(draws, axis=0))


def _improvement(scores: Scores, others: Scores, better: str) -> np.ndarray:
    """The probability itself, without its interval."""
    wins = [_wins(task, other, better).mean() for task, other in zip(scores, others, strict=True)]
    return np.asarray(np.mean(wins))


def _wins(task: np.ndarray, other: np.ndarray, better: str) -> np.ndarray:
    """Of each run of one setting against each of another on a data set: 1 where it is better, 0.5 where it is equal."""
    beyond = (1 if better == "max" else -1) * (task[:, None] - other[None, :])
    wins: np.ndarray = (beyond > 0) + 0.5 * (beyond == 0)
    return wins


def profile(scores: Scores, thresholds: np.ndarray, better: str) -> Estimate:
    """Return the share of all runs that are better than each threshold (Dolan & Moré 2002, as score distributions).

    A setting whose profile lies above another's everywhere is better, whatever a data set demands. Data sets count
    alike.
    """
    values, draws = [], []
    for i, task in enumerate(scores):
        beyond = (task[:, None] > thresholds if better == "max" else task[:, None] < thresholds).astype(float)
        values.append(beyond.mean(axis=0))
        draws.append(_weights(task, i) @ beyond)
    return _estimate(np.mean(values, axis=0), np.mean(draws, axis=0))


def _drawn(task: np.ndarray, seed: int) -> np.ndarray:
    """The runs of each resample, (RESAMPLES, n); the same for the same data."""
    return np.random.default_rng(seed).integers(len(task), size=(RESAMPLES, len(task)))


def _weights(task: np.ndarray, seed: int) -> np.ndarray:
    """How often each run is in each resample, as a share, (RESAMPLES, n)."""
    n = len(task)
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n


def _estimate(value: np.ndarray, draws: np.ndarray) -> Estimate:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
    return Estimate(np.asarray(value), low, high)


# -- of a sweep ----------------------------------------------------------------------------------------------------

DATA_SETS = ("dataset", "data_path")  # what tells data sets apart
"""The hyper-parameters that name the data of a run."""


def data_tables(plan: Plan, summary: pd.DataFrame, known: Mapping[str, Columns]) -> dict[str, pd.DataFrame]:
    """Return the tables `aggregates` and `profiles`, without rows where no experiment compares settings over data."""
    rows: list[dict[str, Any]] = []
    profiles: list[dict[str, Any]] = []
    for exp_name, experiment in plan.experiments.items():
        part = summary[summary["exp_name"] == exp_name]
        scores = _scores(part, experiment, known[exp_name])
        if len(scores) > 1:
            rows += [{"exp_name": exp_name, **row} for row in _aggregates(scores, known[exp_name])]
            profiles += [{"exp_name": exp_name, **row} for row in _profiles(scores, known[exp_name])]
    return {
        name: make_table({key: [row.get(key) for row in of] for key in columns}, columns)
        for name, of, columns in (("aggregates", rows, AGGREGATES), ("profiles", profiles, PROFILES))
    }


@dataclass(frozen=True)
class _Scored:
    """One setting over all data sets: the values of its runs on each, a diverged run as the worst."""

    label: str
    scores: list[np.ndarray]
    n_diverged: int


def _scores(part: pd.DataFrame, experiment: PlannedExperiment, columns: Columns) -> list[_Scored]:
    """The settings that have a result on every data set of an experiment; none where it has only one data set."""
    keys = [key for key in DATA_SETS if key in experiment.varies and key in part]
    if not keys:
        return []
    report = columns.objective.report
    varies = {key: values for key, values in experiment.varies.items() if key not in DATA_SETS}
    labels = setting_labels(experiment.settings, varies, experiment.compared)
    within, better = columns.metric(report).within, columns.objective.better
    worst = within[0] if better == "max" else within[1]
    diverged = part["status"] == "diverged"
    rows = part.assign(
        label=[
            with_version(labels.get(digest, ""), version if isinstance(version, str) else "")
            for digest, version in zip(part["hash"], part["version"], strict=True)
        ],
        data=part[keys].astype(str).agg(" ".join, axis=1),
        score=part[report].astype(float).where(~diverged, worst),
        diverged=diverged,
    ).dropna(subset=["score"])
    all_data = list(dict.fromkeys(rows["data"]))
    found = []
    for label, of_label in rows.groupby("label", sort=False):
        by_data = {data: of["score"].to_numpy(float) for data, of in of_label.groupby("data")}
        if len(by_data) == len(all_data) > 1:
            found.append(_Scored(str(label), [by_data[data] for data in all_data], int(of_label["diverged"].sum())))
    return found


def _has_scale(columns: Columns) -> bool:
    """Whether values of the reported metric on unlike data mean the same: those of one with two bounds do."""
    return all(map(math.isfinite, columns.metric(columns.objective.report).within))


def _aggregates(scored: list[_Scored], columns: Columns) -> Iterator[dict[str, Any]]:
    better = columns.objective.better
    if _has_scale(columns):
        means = {one.label: interquartile_mean(one.scores) for one in scored}
        order = sorted(scored, key=lambda one: (-1 if better == "max" else 1) * float(means[one.label].value))
    else:
        means = {}
        wins = {
            one.label: np.mean([_improvement(one.scores, other.scores, better) for other in scored]) for one in scored
        }
        order = sorted(scored, key=lambda one: -wins[one.label])
    for rank, one in enumerate(order, 1):
        row: dict[str, Any] = {"label": one.label, "rank": rank, "n_data": len(one.scores)}
        row |= {"n": sum(map(len, one.scores)), "n_diverged": one.n_diverged}
        if one.label in means:
            row |= _named("iqm", means[one.label])
        if rank > 1:
            row |= _named("improvement", improvement(order[0].scores, one.scores, better))
        yield row


def _profiles(scored: list[_Scored], columns: Columns) -> Iterator[dict[str, Any]]:
    if not _has_scale(columns):
        return
    values = np.concatenate([np.concatenate(one.scores) for one in scored])
    thresholds = np.linspace(values.min(), values.max(), THRESHOLDS)
    for one in scored:
        found = profile(one.scores, thresholds, columns.objective.better)
        for i, threshold in enumerate(thresholds):
            ends = {"share_low": found.low[i], "share_high": found.high[i]}
            yield {"label": one.label, "threshold": threshold, "share": found.value[i], **ends}


def _named(name: str, of: Estimate) -> dict[str, float]:
    return {name: float(of.value), f"{name}_low": float(of.low), f"{name}_high": float(of.high)}


def data_markdown(aggregates: pd.DataFrame, columns: Columns) -> list[str]:
    """Return the lines of leaderboard.md on the settings of one experiment over all its data sets."""
    if aggregates.empty:
        return []
    report = columns.objective.report
    title = f"interquartile mean of {columns.metric_title(report)}"
    n = aggregates["n_data"].iat[0]
    lines = ["", f"Over {n} data sets together (Agarwal et al. 2021; in brackets the 95% bootstrap interval):"]
    lines += ["", f"| rank | setting | runs | {title} | P(rank 1 is better) |", "|--:|---|--:|--:|--:|"]
    for row in aggregates.to_dict("records"):
        cells = [row["rank"], row["label"], runs_text(row["n"], row["n_diverged"])]
        cells += [columns.text(report, row["iqm"], row["iqm_low"], row["iqm_high"])]
        cells += [mean_text(row["improvement"], row["improvement_low"], row["improvement_high"], 2)]
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    if columns.splits.keys and columns.splits.overlap != 0:
        lines += ["", f"These intervals are too narrow: they take the runs on {columns.splits.words} for independent."]
    return lines
