"""What a figure's experiment found, in numbers, as one paragraph of text."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dlsweep.config.kinds import KINDS, FigureSpec
from dlsweep.config.metrics import REPORTED
from dlsweep.config.plan import Plan
from dlsweep.report.contents import figure_stem, planned_figures
from dlsweep.results.columns import metric
from dlsweep.results.leaderboard import group_settings
from dlsweep.results.statistics import interval_name, mean_text
from dlsweep.results.tables import read_tables
from dlsweep.results.versions import outdated_note


def caption(exp_name: str, figure: FigureSpec, summary: pd.DataFrame) -> str:
    """Return a figure's caption: what it shows, the best setting, and how many runs, seeds and failures."""
    return f"{KINDS[figure.kind].sentence} {finding(summary[summary['exp_name'] == exp_name])}"


def finding(part: pd.DataFrame) -> str:
    """Return one experiment's finding: the best setting by validation accuracy and its accuracy on test."""
    if part.empty:
        return "No run is finished."
    board = group_settings(part)
    runs = f"{len(part)} runs of {len(board)} settings" if len(board) > 1 else f"{len(part)} runs of one setting"
    n_seeds, n_diverged = part["seed"].nunique(), int((part["status"] == "diverged").sum())
    counts = f"{runs}, {n_seeds} seed{'s' if n_seeds > 1 else ''}; {n_diverged or 'none'} diverged."
    if note := outdated_note(part["outdated"].value_counts().to_dict(), len(part)):
        counts += f" {note}."
    best = board.iloc[0]
    if best["n_diverged"] == best["n"]:
        return f"Every run diverged. {counts}"
    if pd.isna(best[REPORTED]):
        return f"No run of the best setting was tested. {counts}"
    n = best["n_tested"]
    name = interval_name([n], metric(REPORTED).within, over=f"{n} runs" if n > 2 else "runs")
    over = f", {name}" if name else ""
    accuracy = mean_text(best[REPORTED], best[f"{REPORTED}_low"], best[f"{REPORTED}_high"], digits=3)
    diverged = f"; {best['n_diverged']} of its {best['n']} runs diverged" if best["n_diverged"] else ""
    what = "Best setting by validation accuracy" if len(board) > 1 else "The setting"
    return f"{what}: {best['label']}, with {metric(REPORTED).title} {accuracy}{over}{diverged}. {counts}"


def captions(plan: Plan, folder: Path) -> dict[str, str]:
    """Return the captions of a plan's figures from the tables in `folder`, by the figures' stems."""
    summary = read_tables(folder, "summary")["summary"]
    return {
        figure_stem(exp_name, figure): caption(exp_name, figure, summary) for exp_name, figure in planned_figures(plan)
    }
