"""What the note under a figure says."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dlsweep.config.replicates import REPLICATES
from dlsweep.report.figures.data import Tables, is_pooled, varying_keys
from dlsweep.results.leaderboard import best_run
from dlsweep.results.splits import repetitions_in_words
from dlsweep.results.statistics import CORRECTED, interval_name


def runs_note(tables: Tables, groups: Sequence[str], drawn: pd.DataFrame, *metrics: str, kind: str = "") -> str:
    """How many runs and seeds a mark stands for, what its interval of these metrics is, and what it pools.

    `drawn` has a row for each run's part in a mark, its `value`; a run without one, such as the test accuracy of one
    that diverged, is in no mark.
    """
    summary, seeds = tables.summary, seeds_in_words(tables.summary, " ({})")
    n = runs_per_mark(drawn, groups)
    if n.empty:
        return f"No run has a value to show{seeds}"
    most, runs = n.max(), count_runs(n)
    text = f"A point a run: {runs} each" if kind == "strip" else f"{runs} each" if most == 1 else f"Mean of {runs}"
    if kind in ("box", "violin"):
        text = f"{runs} each"
    text += seeds
    n_settings = runs_per_mark(drawn, groups, "label")
    splits = tables.columns.splits
    if splits.keys and {*splits.keys} <= {*drawn}:
        one_split = drawn.groupby(list(splits.keys), dropna=False, observed=True).ngroup()
        n = runs_per_mark(drawn.assign(one_split=one_split), groups, "one_split")
    over, of = ("settings", n_settings.where(n_settings > 1, n)) if (n_settings > 1).any() else (splits.words, n)
    name = interval_name(of, *(tables.columns.metric(y).within for y in metrics), over=over) if metrics else ""
    if name and kind not in ("box", "violin", "strip"):
        corrected = f", {CORRECTED.format(over)}" if splits.correction and over == splits.words else ""
        text += f"; bars or bands: {name}{corrected}"
    if "label" in groups:
        return text
    pooled = [key for key in varying_keys(tables) if key not in groups and is_pooled(summary, groups, key)]
    return f"{text}; pooled over {', '.join(pooled)}" if pooled else text


def runs_per_mark(drawn: pd.DataFrame, groups: Sequence[str], of: str = "hash") -> pd.Series:
    """How many runs (`of` the hash) or settings (the label) each mark has a value of, where it has any."""
    by = [name for name in (*groups, "split", "measure") if name in drawn]
    drawn = drawn.assign(of=drawn[of])[drawn["value"].notna()]
    n = drawn.groupby(by, dropna=False, observed=True)["of"].nunique() if by else pd.Series([drawn["of"].nunique()])
    return n[n > 0]


def count_runs(n: pd.Series) -> str:
    """Numbers of runs in words: "3 runs", "1 to 3 runs"."""
    few, most = n.min(), n.max()
    return (f"{few}" if few == most else f"{few} to {most}") + (" run" if most == 1 else " runs")


def seeds_in_words(summary: pd.DataFrame, form: str = "{}") -> str:
    """The number of seeds, splits and folds in a form such as " ({})"; nothing where the runs have none."""
    words = repetitions_in_words(summary)
    return form.format(words) if words else ""


def sentences(*parts: str) -> str:
    return "".join(f"{part}. " for part in parts if part).strip()


def best_run_note(tables: Tables) -> str:
    """Which run is the best, and what it has reached; nothing where there is none."""
    columns, report = tables.columns, tables.columns.objective.report
    best = best_run(tables.summary, columns)
    if best is None:
        return ""
    which = ["seed", *columns.splits.keys]
    named = [f"{REPLICATES[key]} {best[key]}" for key in which if not pd.isna(best.get(key))]
    reached = "" if pd.isna(best[report]) else f": {columns.title(report)} {best[report]:.3f}"
    return f"The best run by {columns.by}: {', '.join([best['label'], *named])}{reached}"


def diverged_note(summary: pd.DataFrame, mark: str = "×: ") -> str:
    n = int((summary["status"] == "diverged").sum())
    return f"{mark}{n} of {len(summary)} runs diverged" if n else ""
