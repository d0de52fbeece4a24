"""How what is compared was tuned: how many settings each was tried with, which was chosen, and whether at an edge."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from dlsweep.config.dotted import MISSING, value_of
from dlsweep.config.identity import Setting, setting_hash
from dlsweep.config.labels import format_value, setting_labels, what_varies
from dlsweep.config.paths import record_name
from dlsweep.config.plan import Plan, PlannedExperiment
from dlsweep.config.replicates import REPLICATES
from dlsweep.errors import RecordError
from dlsweep.results.columns import TUNING, Columns
from dlsweep.results.decisions import Edge, edges_of, edges_of_ranges
from dlsweep.results.frames import make_table
from dlsweep.results.records import read_record
from dlsweep.results.schema import FAILED, Record

Summarize = Callable[[list[Record], Plan], pd.DataFrame]


def tuning_table(plan: Plan, known: Mapping[str, Columns], summarize: Summarize) -> pd.DataFrame:
    """Return one row for each of what is compared, by fold and split where it is tuned for each of them.

    `summarize` makes the summary of records, by a plan of theirs.
    """
    rows = [
        {"exp_name": exp_name, **row}
        for exp_name, experiment in plan.experiments.items()
        if experiment.comparison
        for row in _rows(plan, exp_name, experiment, known[exp_name], summarize)
    ]
    return make_table({key: [row.get(key) for row in rows] for key in TUNING}, TUNING)


def _rows(
    plan: Plan, exp_name: str, experiment: PlannedExperiment, known: Columns, summarize: Summarize
) -> list[dict[str, Any]]:
    search, comparison, results = experiment.search, experiment.comparison, Path(plan.results)
    assert search and comparison
    runs: list[dict[str, dict[str, Any]]] = [{} for _ in range(comparison.n_arms)]
    n_missing = [0] * comparison.n_arms
    for number, _, content in search.slots(results):
        i = comparison.of_arm[number]
        if number < comparison.n_tuning_rounds:
            runs[i][content["hash"]] = content  # of one that went on, what came of it last
        else:
            n_missing[i] += content["status"] == FAILED
    tried = {digest: one["setting"] for of_arm in runs for digest, one in of_arm.items()}
    labels = setting_labels({**tried, **experiment.settings}, experiment.varies, experiment.compared)
    rows = []
    for i, of_arm in enumerate(runs):
        slots = list(of_arm.values())
        if not slots:
            continue
        reported = search.decided(results, comparison.n_tuning_rounds + i)
        chosen: Setting = reported[0][1] if reported else {}
        unlike = [_without_seed(one["setting"]) for one in slots]
        like = _without_seed(chosen) if chosen else ""
        by = [one for one, its in zip(slots, unlike, strict=True) if its == like]  # what it was chosen by
        records = _records(results, exp_name, slots)
        selected, first = _mean_of(by), slots[0]
        splits = {key: first["setting"].get(key) for key in REPLICATES if key != "seed" and key in experiment.varies}
        rows.append(
            {
                "label": labels[first["hash"]],
                "split": ", ".join(f"{key}={value}" for key, value in splits.items()),
                "n_settings": len(set(unlike)),
                "n": len(slots),
                "n_diverged": sum(one["status"] == "diverged" for one in slots),
                "n_failed": sum(one["status"] == FAILED for one in slots),
                "epochs": sum(len(record["epochs"]) for record in records),
                "seconds": sum(record["timing"]["train_seconds"] or 0.0 for record in records),
                "chosen": _in_words(chosen, [one["setting"] for one in slots], comparison.tuned),
                "selected": selected,
                "n_missing": n_missing[i],
                "edge": ""
                if selected is None
                else _near_ends(edges_of_ranges(chosen, [one["setting"] for one in slots], comparison.ranges, known))
                if comparison.ranges
                else _edges(plan, exp_name, experiment, known, records, {one["hash"] for one in by}, summarize),
            }
        )
    return rows


def _records(results: Path, exp_name: str, slots: list[dict[str, Any]]) -> list[Record]:
    found = []
    for one in slots:
        with contextlib.suppress(RecordError):  # of a run that failed there is none
            found.append(one.get("record") or read_record(results / record_name(exp_name, one["hash"])))
    return found


def _in_words(chosen: Setting, tried: list[Setting], tuned: tuple[str, ...]) -> str:
    """What was chosen of that in which the settings that were tried differ; of one alone, all that is tuned."""
    differ = [key for key in tuned if any(value_of(one, key) != value_of(tried[0], key) for one in tried)]
    values = {key: value_of(chosen, key) for key in differ or tuned}
    return ", ".join(f"{key}={format_value(value)}" for key, value in values.items() if value is not MISSING)


def _without_seed(setting: Setting) -> str:
    return setting_hash({**setting, "seed": 0})


def _mean_of(slots: list[dict[str, Any]]) -> float | None:
    """The mean of the objective over the runs of these slots that have one."""
    known = [one["value"] for one in slots if one["value"] is not None]
    return sum(known) / len(known) if known else None


def _edges(
    plan: Plan,
    exp_name: str,
    experiment: PlannedExperiment,
    known: Columns,
    records: list[Record],
    chosen: set[str],
    summarize: Summarize,
) -> str:
    """Where the values of the chosen runs, by hash, lie at the edge of those tried, and what to add, in words."""
    assert experiment.comparison
    if not chosen or not records:
        return ""
    settings = {record["hash"]: record["setting"] for record in records}
    varies = what_varies(settings.values(), experiment.comparison.tuned)
    part = replace(experiment, settings=settings, varies=varies, search=None, comparison=None)
    summary = summarize(records, replace(plan, experiments={exp_name: part}))
    best = summary.loc[summary["hash"].isin(chosen), "label"]
    if best.empty:
        return ""
    return "; ".join(
        f"{edge.key}={format_value(edge.value)} is the {edge.at} that was tried: add {format_value(edge.beyond)}"
        for edge in edges_of(summary, known, best.iloc[0], varies)
    )


def _near_ends(edges: Iterable[Edge]) -> str:
    return "; ".join(
        f"{edge.key}={format_value(edge.value)} is among the {edge.at} that were tried:"
        f" add values {'up' if edge.at == 'largest' else 'down'} to {format_value(edge.beyond)}"
        for edge in edges
    )


def tuning_cells(rows: Iterable[Mapping[str, Any]], columns: Columns) -> list[list[str]]:
    """Return rows of the table of tuning as texts: of which, settings tried, runs, epochs, chosen, its value, edge."""
    found = []
    for row in rows:
        split, chosen, edge = (row[key] if isinstance(row[key], str) else "" for key in ("split", "chosen", "edge"))
        lost = ", ".join(f"{row[f'n_{how}']} {how}" for how in ("diverged", FAILED) if row[f"n_{how}"])
        what, runs = f"{row['label']}, {split}" if split else row["label"], f"{row['n']} ({lost})" if lost else row["n"]
        value = columns.text(columns.objective.metric, row["selected"])
        found.append([str(cell) for cell in (what, row["n_settings"], runs, row["epochs"], chosen, value, edge)])
    return found


def tuning_markdown(table: pd.DataFrame, columns: Columns) -> list[str]:
    """Return the lines of leaderboard.md on how each of what an experiment compares was tuned."""
    title = columns.title(columns.objective.metric)
    lines = ["", f"How each was tuned, with other seeds; the best by {columns.by} was chosen:"]
    lines += ["", f"| of | settings tried | runs | epochs | chosen | {title} | at the edge |"]
    lines += ["|---|--:|--:|--:|---|--:|---|"]
    for cells in tuning_cells(table.to_dict("records"), columns):
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines
