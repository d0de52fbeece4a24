"""Which setting is best, and what can be told apart from it."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dlsweep.results.columns import Columns, leaderboard_columns
from dlsweep.results.frames import make_table
from dlsweep.results.predictions import Right, right_of
from dlsweep.results.statistics import (
    IMAGES_DOC,
    compare_over_images,
    compare_with_first,
    holm,
    interval,
    interval_over_images,
    p_text,
    rank,
    runs_text,
)
from dlsweep.results.versions import outdated_note

SHOWN_SETTINGS = 20  # of an experiment, in leaderboard.md


# -- the leaderboard -----------------------------------------------------------------------------------------------


def _rank_settings(part: pd.DataFrame, by: str, columns: Columns) -> list[Any]:
    """The standings of an experiment's settings (`by` the label) or runs (by the hash), best first."""
    selected = columns.objective.selected
    values = zip(part[by], part[selected], part["status"] == "diverged", strict=True)
    return rank(values, columns.objective.better, columns.metric(selected).within)


def group_settings(part: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Return one row per setting of one experiment's summary, best first.

    Settings are ranked by the mean of the objective over all their runs, of which the diverged ones count as the
    worst possible, and reported by the mean of the reported metric of those that have one.
    """
    report, ranked = columns.objective.report, columns.ranked
    standings = _rank_settings(part, "label", columns)
    groups = part.groupby("label", sort=False)
    test = groups[report].agg(["mean", "std", "count", "min", "max"])
    within, splits = columns.metric(report).within, columns.splits
    spread = test
    if splits.keys:
        by_split = part.groupby(["label", *splits.keys])[report].mean().groupby("label")
        spread = by_split.agg(["std", "count", "min", "max"]).reindex(test.index)
    low, high = interval(
        test["mean"], spread["std"], spread["count"], spread["min"], spread["max"], within, splits.correction
    )
    table = pd.DataFrame(
        {
            "n_outdated": groups["outdated"].count(),
            "outdated": groups["outdated"].first(),
            "n_tested": test["count"],
            report: test["mean"],
            f"{report}_sd": test["std"],
            f"{report}_low": low,
            f"{report}_high": high,
            **{name: groups[name].mean() for name in columns.beside},
        }
    )
    table = table.reindex([one.label for one in standings]).rename_axis("label").reset_index()
    known = groups[columns.objective.selected].count()
    return table.assign(
        rank=range(1, len(table) + 1),
        n=[one.n for one in standings],
        n_diverged=[one.n_diverged for one in standings],
        **{
            # Where no run has the metric and none diverged, there is nothing that the worst could stand for.
            ranked: [one.mean if known[one.label] or one.n_diverged else math.nan for one in standings],
            f"{ranked}_sd": [one.sd for one in standings],
        },
    )


def best_run(part: pd.DataFrame, columns: Columns) -> pd.Series | None:
    """Return the best run, by the objective, of the best setting that has a run with the reported metric.

    Where no run has that, the best of those that have the objective; None where there is none either.
    """
    tested = part[part[columns.objective.report].notna()]
    if tested.empty:
        tested = part[part[columns.objective.selected].notna() & (part["status"] != "diverged")]
    if tested.empty:
        return None
    labels = tested.set_index("label", drop=False)
    best = next(one.label for one in _rank_settings(part, "label", columns) if one.label in labels.index)
    runs = labels.loc[[best]].set_index("hash", drop=False)
    return runs.loc[_rank_settings(runs, "hash", columns)[0].label]


def leaderboard(
    summary: pd.DataFrame, known: Mapping[str, Columns], right: Mapping[str, Mapping[str, Right]] | None = None
) -> pd.DataFrame:
    """Return one row per experiment and setting: selected by the objective, reported on test, compared with the best.

    `known` are the columns of each experiment, `right` what its settings predict, as `predicted` finds it.
    """
    columns = leaderboard_columns(known.values())
    boards = [
        compare_settings(part, known[exp_name], (right or {}).get(str(exp_name))).assign(exp_name=exp_name)
        for exp_name, part in summary.groupby("exp_name", sort=False)
    ]
    if not boards:
        return make_table({name: [] for name in columns}, columns)
    return pd.concat(boards, ignore_index=True).reindex(columns=list(columns))


def compare_settings(part: pd.DataFrame, columns: Columns, right: Mapping[str, Right] | None = None) -> pd.DataFrame:
    """Return one row per setting of one experiment's summary, best first, each with its tests against rank 1.

    The tests are over seeds and, where `right` has what the settings predict, over test images.
    """
    report, board = columns.objective.report, group_settings(part, columns)
    splits = columns.splits
    found = compare_with_first(by_repetition(part, report, board["label"], splits.keys), splits.correction)
    board = board.assign(
        difference=board[report] - board[report].iloc[0],
        test=pd.Series(found.test, dtype="str").replace("", None),
        p_value=found.p_value,
        p_holm=found.p_holm,
    )
    if not columns.counts_images:
        return board
    rows = [(right or {}).get(label) for label in board["label"]]
    ends = [(math.nan, math.nan) if row is None else interval_over_images(row.counts, row.n_runs) for row in rows]
    return board.assign(
        n_images=pd.array([None if row is None else len(row.counts) for row in rows], dtype="Int64"),
        images_low=[low for low, _ in ends],
        images_high=[high for _, high in ends],
        p_images=holm(np.array([math.nan, *(_over_images(rows[0], row) for row in rows[1:])])),
    )


def _over_images(first: Right | None, other: Right | None) -> float:
    if first is None or other is None or not first.is_comparable(other):
        return math.nan
    return compare_over_images(other.counts, other.n_runs, first.counts, first.n_runs)


def predicted(
    summary: pd.DataFrame, known: Mapping[str, Columns], results: Path
) -> tuple[dict[str, dict[str, Right]], list[str]]:
    """Return what the settings of each experiment predict, by label, and why some predictions cannot be trusted."""
    found: dict[str, dict[str, Right]] = {}
    faults = []
    for exp_name, part in summary.groupby("exp_name", sort=False):
        report = known[str(exp_name)].objective.report
        if not known[str(exp_name)].counts_images:
            continue
        of_setting = found[str(exp_name)] = {}
        for label, runs in part[part[report].notna()].groupby("label", sort=False):
            right, why = right_of(results, zip(runs["exp_name"], runs["hash"], runs[report], strict=True))
            faults += why
            if right is not None:
                of_setting[str(label)] = right
    return found, faults


def by_repetition(part: pd.DataFrame, column: str, labels: Iterable[str], splits: Sequence[str] = ()) -> np.ndarray:
    """Return a column of one experiment's summary with a row per seed and a column per setting, of these labels.

    With `splits`, the keys by which its runs are of several splits of the data, a row per split, of which it has the
    mean over seeds: the seeds of a split share its images.
    """
    if splits:
        of_splits = part.pivot_table(column, list(splits), "label", "mean", dropna=False)
        return np.asarray(of_splits.reindex(columns=list(labels)).to_numpy(float))
    # One row per seed, one column per setting; two runs of one seed differ in what no label shows: no pairs. Runs
    # without a seed share nothing.
    seeds = part["seed"].astype(str) if "seed" in part else part["hash"]
    nth = part.groupby("label").cumcount() if "seed" not in part else part.groupby(["label", "seed"]).cumcount()
    row = seeds.where((nth == 0) & (seeds != "nan"), part["label"] + nth.astype(str))
    values = part.assign(row=row).pivot(index="row", columns="label", values=column)
    found: np.ndarray = values.reindex(columns=list(labels)).to_numpy(float)
    return found


def has_images(board: pd.DataFrame) -> bool:
    """Say whether any setting of an experiment's leaderboard is compared over test images."""
    return "p_images" in board and bool(board["p_images"].notna().any())


def leaderboard_notes(columns: Columns, over_images: bool = False) -> list[str]:
    """Return how a leaderboard is to be read, for those who see it as text or in the report.

    `over_images` says that settings are compared over test images, too.
    """
    objective, worst = columns.objective, columns.worst
    counts = f"counting as {worst:g}" if math.isfinite(worst) else "counting as the worst"
    lower = " (lower is better)" if objective.better == "min" else ""
    how = "which chose nothing: the mean" if objective.report != objective.metric else "the mean"
    return [
        f"Settings are ranked by their mean {columns.in_words(objective.metric)}{lower} over all runs, a diverged run"
        f" {counts}; a setting of which every run diverged comes last.",
        f"They are reported by their {columns.in_words(objective.report)}, {how} over the runs that have one"
        f" [{columns.interval_doc}].",
        f"p: {columns.comparison_doc}.",
        *([f"p over images: {IMAGES_DOC}."] if over_images else []),
    ]


def leaderboard_markdown(
    board: pd.DataFrame,
    known: Mapping[str, Columns],
    above: Mapping[str, Iterable[str]] | None = None,
    below: Mapping[str, Iterable[str]] | None = None,
) -> str:
    """Return leaderboard.md: the best settings of each experiment.

    `above` are paragraphs of text that an experiment begins with, `below` lines that it ends with.
    """
    above, below = above or {}, below or {}
    shared = {(columns.objective, columns.splits) for columns in known.values()}
    lines = ["# Leaderboard"]
    if len(shared) == 1:
        lines += ["", *_wrapped(next(iter(known.values())), has_images(board))]
    for exp_name, part in board.groupby("exp_name", sort=False):
        columns = known[exp_name]
        report, ranked = columns.objective.report, columns.ranked
        lines += ["", f"## {exp_name}"]
        for paragraph in above.get(exp_name, ()):
            lines += ["", *textwrap.wrap(html.escape(paragraph, quote=False), 118)]
        if len(shared) > 1:
            lines += ["", *_wrapped(columns, has_images(part))]
        if note := outdated_note(part.groupby("outdated")["n_outdated"].sum().to_dict(), part["n"].sum()):
            lines += ["", f"{note}."]
        over_images = has_images(part)
        titles = ["rank", "setting", "runs", columns.title(ranked), columns.title(report), "sd", "p"]
        titles += ["p over images"] if over_images else []
        lines += ["", f"| {' | '.join(titles)} |", f"|--:|---|{'--:|' * (len(titles) - 2)}"]
        for row in part.head(SHOWN_SETTINGS).to_dict("records"):
            cells = [row["rank"], row["label"], runs_text(row["n"], row["n_diverged"])]
            cells += [columns.text(ranked, row[ranked])]
            cells += [columns.text(report, row[report], row[f"{report}_low"], row[f"{report}_high"])]
            cells += [columns.text(report, row[f"{report}_sd"]), p_text(row["p_holm"], row["test"])]
            cells += [p_text(row["p_images"], "")] if over_images else []
            lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
        if len(part) > SHOWN_SETTINGS:
            lines += ["", f"{len(part) - SHOWN_SETTINGS} more settings in leaderboard.csv."]
        lines += below.get(exp_name, ())
    return "\n".join(lines) + "\n"


def _wrapped(columns: Columns, over_images: bool) -> list[str]:
    return [line for note in leaderboard_notes(columns, over_images) for line in textwrap.wrap(note, 118)]
