"""Which setting is best, and what can be told apart from it."""

from __future__ import annotations

import textwrap
from typing import Any

import pandas as pd

from dlsweep.config.metrics import REPORTED, SELECTED_BY
from dlsweep.results.columns import LEADERBOARD, metric
from dlsweep.results.frames import make_table
from dlsweep.results.statistics import (
    COMPARISON_DOC,
    INTERVAL_DOC,
    compare_with_first,
    interval,
    mean_text,
    p_text,
    rank,
    runs_text,
)
from dlsweep.results.versions import outdated_note

SHOWN_SETTINGS = 20  # of an experiment, in leaderboard.md


# -- the leaderboard -----------------------------------------------------------------------------------------------


def _rank_settings(part: pd.DataFrame, by: str) -> list[Any]:
    """The standings of an experiment's settings (`by` the label) or runs (by the hash), best first."""
    selected = metric(SELECTED_BY)
    values = zip(part[by], part[SELECTED_BY], part["status"] == "diverged", strict=True)
    return rank(values, selected.better, selected.within)


def group_settings(part: pd.DataFrame) -> pd.DataFrame:
    """Return one row per setting of one experiment's summary, best first.

    Settings are ranked by the mean validation accuracy over all their runs, of which the diverged ones count as the
    worst possible, and reported by the test accuracy of those that have one.
    """
    standings = _rank_settings(part, "label")
    groups = part.groupby("label", sort=False)
    test = groups[REPORTED].agg(["mean", "std", "count", "min", "max"])
    within = metric(REPORTED).within
    low, high = interval(test["mean"], test["std"], test["count"], test["min"], test["max"], within)
    table = pd.DataFrame(
        {
            "n_outdated": groups["outdated"].count(),
            "outdated": groups["outdated"].first(),
            "n_tested": test["count"],
            "test_acc": test["mean"],
            "test_acc_sd": test["std"],
            "test_acc_low": low,
            "test_acc_high": high,
            "test_loss": groups["test_loss"].mean(),
        }
    )
    table = table.reindex([one.label for one in standings]).rename_axis("label").reset_index()
    return table.assign(
        rank=range(1, len(table) + 1),
        n=[one.n for one in standings],
        n_diverged=[one.n_diverged for one in standings],
        val_acc=[one.mean for one in standings],
        val_acc_sd=[one.sd for one in standings],
    )


def best_run(part: pd.DataFrame) -> pd.Series | None:
    """Return the best run, by validation accuracy, of the best setting that has a run that was tested."""
    tested = part[part[REPORTED].notna()]
    if tested.empty:
        return None
    labels = tested.set_index("label", drop=False)
    best = next(one.label for one in _rank_settings(part, "label") if one.label in labels.index)
    runs = labels.loc[[best]].set_index("hash", drop=False)
    return runs.loc[_rank_settings(runs, "hash")[0].label]


def leaderboard(summary: pd.DataFrame) -> pd.DataFrame:
    """Return one row per experiment and setting: selected by validation, reported on test, compared with the best."""
    boards = [
        _compared(group_settings(part), part).assign(exp_name=exp_name)
        for exp_name, part in summary.groupby("exp_name", sort=False)
    ]
    if not boards:
        return make_table({name: [] for name in LEADERBOARD}, LEADERBOARD)
    return pd.concat(boards, ignore_index=True)[list(LEADERBOARD)]


def _compared(board: pd.DataFrame, part: pd.DataFrame) -> pd.DataFrame:
    """Add the test of each setting's test accuracy against that of rank 1."""
    # One row per seed, one column per setting; two runs of one seed differ in what no label shows: no pairs.
    nth = part.groupby(["label", "seed"]).cumcount()
    row = part["seed"].astype(str).where(nth == 0, part["label"] + nth.astype(str))
    values = part.assign(row=row).pivot(index="row", columns="label", values=REPORTED)
    found = compare_with_first(values.reindex(columns=board["label"]).to_numpy(float))
    return board.assign(
        difference=board["test_acc"] - board["test_acc"].iloc[0],
        test=pd.Series(found.test, dtype="str").replace("", None),
        p_value=found.p_value,
        p_holm=found.p_holm,
    )


LEADERBOARD_NOTES = (
    "Settings are ranked by their mean validation accuracy over all runs, a diverged run counting as 0; a setting of"
    " which every run diverged comes last.",
    "They are reported by their test accuracy, which chose nothing: the mean over the runs that have one"
    f" [{INTERVAL_DOC}].",
    f"p: {COMPARISON_DOC}.",
)
"""How a leaderboard is to be read, for those who see it as text or in the report."""


def leaderboard_markdown(board: pd.DataFrame) -> str:
    """Return leaderboard.md: the best settings of each experiment."""
    lines = ["# Leaderboard", "", *(line for note in LEADERBOARD_NOTES for line in textwrap.wrap(note, 118))]
    for exp_name, part in board.groupby("exp_name", sort=False):
        lines += ["", f"## {exp_name}"]
        if note := outdated_note(part.groupby("outdated")["n_outdated"].sum().to_dict(), part["n"].sum()):
            lines += ["", f"{note}."]
        lines += ["", "| rank | setting | runs | val accuracy | test accuracy | sd | p |"]
        lines += ["|--:|---|--:|--:|--:|--:|--:|"]
        for row in part.head(SHOWN_SETTINGS).to_dict("records"):
            accuracy = mean_text(row["test_acc"], row["test_acc_low"], row["test_acc_high"])
            cells = [row["rank"], row["label"], runs_text(row["n"], row["n_diverged"])]
            cells += [mean_text(row["val_acc"]), accuracy, mean_text(row["test_acc_sd"])]
            cells += [p_text(row["p_holm"], row["test"])]
            lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
        if len(part) > SHOWN_SETTINGS:
            lines += ["", f"{len(part) - SHOWN_SETTINGS} more settings in leaderboard.csv."]
    return "\n".join(lines) + "\n"
