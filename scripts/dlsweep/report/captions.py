"""What a figure's experiment found, in numbers, as one paragraph of text."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from dlsweep.config.kinds import KINDS, FigureSpec
from dlsweep.config.metrics import parts_of
from dlsweep.config.plan import Plan
from dlsweep.report.contents import figure_stem, planned_figures
from dlsweep.results.columns import Columns
from dlsweep.results.decisions import comparisons, decide
from dlsweep.results.leaderboard import group_settings
from dlsweep.results.splits import n_splits, repetitions_in_words
from dlsweep.results.statistics import interval_name
from dlsweep.results.tables import remarks
from dlsweep.results.versions import outdated_note


def caption(exp_name: str, figure: FigureSpec, summary: pd.DataFrame, columns: Columns) -> str:
    """Return a figure's caption: what it shows, the best setting, and how many runs, seeds and failures."""
    return f"{what_it_shows(figure, columns)} {finding(summary[summary['exp_name'] == exp_name], columns)}"


def what_it_shows(figure: FigureSpec, columns: Columns) -> str:
    """Return what a figure shows, in a sentence."""
    objective = columns.objective
    family = parts_of(figure.y or objective.metric).family
    return KINDS[figure.kind].sentence(columns.metric_title(family), columns.metric_title(objective.report))


def finding(part: pd.DataFrame, columns: Columns, compared: pd.DataFrame | None = None) -> str:
    """Return one experiment's finding: the best setting by its objective, and how others compare.

    `compared` is its part of the leaderboard, which knows the comparisons over test images.
    """
    if part.empty:
        return "No run is finished."
    report, ranked = columns.objective.report, columns.ranked
    board = group_settings(part, columns)
    runs = f"{len(part)} runs of {len(board)} settings" if len(board) > 1 else f"{len(part)} runs of one setting"
    n_diverged = int((part["status"] == "diverged").sum())
    seeds = f", {repeated}" if (repeated := repetitions_in_words(part)) else ""
    counts = f"{runs}{seeds}; {n_diverged or 'none'} diverged."
    if note := outdated_note(part["outdated"].value_counts().to_dict(), len(part)):
        counts += f" {note}."
    counts = " ".join([counts, *remarks(part, {str(part["exp_name"].iat[0]): columns})])
    best = board.iloc[0]
    if best["n_diverged"] == best["n"]:
        return f"Every run diverged. {counts}"
    what = f"Best setting by {columns.by}" if len(board) > 1 else "The setting"
    diverged = f"; {best['n_diverged']} of its {best['n']} runs diverged" if best["n_diverged"] else ""
    if pd.isna(best[report]):
        if columns.classifies or not math.isfinite(best[ranked]):
            return f"No run of the best setting was tested. {counts}"
        mean = columns.text(ranked, best[ranked], digits=3)
        return f"{what}: {best['label']}, with {columns.metric_title(ranked)} {mean}{diverged}. {counts}"
    n, splits = best["n_tested"], columns.splits
    if splits.keys:
        n = n_splits(part[(part["label"] == best["label"]) & part[report].notna()], splits.keys)
    name = interval_name([n], columns.metric(report).within, over=f"{n} {splits.words}" if n > 2 else splits.words)
    over = f", {name}" if name else ""
    mean = columns.text(report, best[report], best[f"{report}_low"], best[f"{report}_high"], digits=3)
    first = f"{what}: {best['label']}, with {columns.metric_title(report)} {mean}{over}{diverged}."
    return " ".join([first, *comparisons(decide(part, columns, board=compared)), counts])


def captions(plan: Plan, findings: Mapping[str, str], known: Mapping[str, Columns]) -> dict[str, str]:
    """Return the captions of a plan's figures, by the figures' stems, from each experiment's finding and columns."""
    return {
        figure_stem(exp_name, figure): f"{what_it_shows(figure, known[exp_name])} {findings[exp_name]}"
        for exp_name, figure in planned_figures(plan)
    }
