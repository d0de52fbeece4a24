"""Tables of records: tidy CSV that `pandas.read_csv` reads without cleaning. Columns: columns.py."""

from __future__ import annotations

import io
import json
import sys
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from .columns import CONFUSION, EPOCHS, GRADIENTS, LEADERBOARD, REPORTED, SELECTED_BY, SUMMARY, TABLES, Column, metric
from .labels import setting_labels, with_version
from .records import (
    MOST_CLASSES,
    MOST_CONFUSIONS,
    Record,
    RecordError,
    known_epoch,
    read_record,
    record_name,
    write_atomic,
)
from .statistics import (
    COMPARISON_DOC,
    INTERVAL_DOC,
    compare_with_first,
    interval,
    mean_text,
    p_text,
    rank,
    runs_text,
)
from .versions import made_with, outdated_note, outdated_sources, tell_apart

SHOWN_SETTINGS = 20  # of an experiment, in leaderboard.md


def read_records(plan: Mapping[str, Any]) -> tuple[list[Record], list[str], list[str]]:
    """Return the records of a plan that can be trusted, the names of missing ones, and what is wrong with bad ones."""
    records, missing, bad = [], [], []
    for exp_name, experiment in plan["experiments"].items():
        for digest in experiment["hashes"]:
            path = Path(plan["results"]) / record_name(exp_name, digest)
            try:
                records.append(read_record(path))
            except RecordError as error:
                if path.exists():
                    bad.append(str(error))
                else:
                    missing.append(path.name)
    return records, missing, bad


# -- the tables ----------------------------------------------------------------------------------------------------


def _column(values: list[Any], column: Column) -> pd.Series:
    """The values as a typed column, as `pandas.read_csv` would give it, but that integers may be missing.

    A column of numbers in which a setting says a word (`batch_size: full`) is text throughout.
    """
    if column.type in (int, float) and any(isinstance(value, str) for value in values):
        return pd.Series([None if value is None else str(value) for value in values], dtype="str")
    dtype = {int: "Int64", float: "float64", bool: "boolean", str: "str"}[column.type]
    return pd.Series(values, dtype=dtype)


def _table(rows: Mapping[str, list[Any]], columns: Mapping[str, Column]) -> pd.DataFrame:
    return pd.DataFrame({name: _column(rows[name], column) for name, column in columns.items()})


def _summary_row(record: Record) -> dict[str, Any]:
    setting, final, timing, provenance = (record[part] for part in ("setting", "final", "timing", "provenance"))
    last: dict[str, Any] = known_epoch(record["epochs"][-1]) if record["epochs"] else {}
    n_epochs = len(record["epochs"])
    train_acc, val_acc = last.get("train_acc"), last.get("val_acc")
    tested_train_acc = final.get("tested_train_acc")
    tested_val_acc = final["best_val_acc"] if setting.get("test_weights") == "best" else val_acc
    seconds = timing["train_seconds"]
    return {
        **{key: json.dumps(v) if isinstance(v, (list, dict)) else v for key, v in setting.items()},
        **last,
        **final,
        **timing,
        "exp_name": record["exp_name"],
        "hash": record["hash"],
        "status": record["status"],
        "epochs_run": n_epochs,
        "tested_val_acc": tested_val_acc,
        "generalization_gap": _difference(tested_train_acc, tested_val_acc)
        if tested_train_acc is not None
        else _difference(train_acc, val_acc),
        "n_parameters": record["model"]["n_parameters"],
        "seconds_per_epoch": seconds / n_epochs if n_epochs and seconds is not None else None,
        "lr": setting["lr"],  # not that of the last epoch
        "code": provenance.get("code"),
        "data": provenance.get("data"),
        "device": provenance.get("device"),
        "host": provenance.get("host"),
    }


def _difference(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def summary_table(records: Iterable[Record], plan: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row per record, in the plan's order."""
    labels = {
        exp_name: setting_labels({d: plan["settings"][d] for d in experiment["hashes"]}, experiment["varies"])
        for exp_name, experiment in plan["experiments"].items()
    }
    records = list(records)
    versions = _versions(records, plan)
    rows = []
    for r, version in zip(records, versions, strict=True):
        label = with_version(labels[r["exp_name"]][r["hash"]], version["version"] or "")
        rows.append({**_summary_row(r), **version, "label": label})
    return _table({name: [row.get(name) for row in rows] for name in SUMMARY}, SUMMARY)


def _versions(records: list[Record], plan: Mapping[str, Any]) -> list[dict[str, str | None]]:
    """Each record's columns `version` and `outdated`."""
    made = [made_with(record, record["setting"]) for record in records]
    gone = plan.get("outdated", {})
    apart: dict[str, dict[int, str]] = {}
    for exp_name in plan["experiments"]:
        apart[exp_name] = tell_apart({i: made[i] for i, r in enumerate(records) if r["exp_name"] == exp_name})
    return [
        {"version": apart[r["exp_name"]][i] or None, "outdated": outdated_sources(made[i], gone) or None}
        for i, r in enumerate(records)
    ]


def epochs_table(records: Iterable[Record]) -> pd.DataFrame:
    """Return one row per record and epoch."""
    rows: dict[str, list[Any]] = {name: [] for name in EPOCHS}
    for record in records:
        epochs = [known_epoch(epoch) for epoch in record["epochs"]]
        for name, values in rows.items():
            if name in ("exp_name", "hash"):
                values += [record[name]] * len(epochs)
            else:
                values += [epoch.get(name) for epoch in epochs]
    return _table(rows, EPOCHS)


def gradients_table(records: Iterable[Record]) -> pd.DataFrame:
    """Return one row per record, epoch and layer with weights, where gradients were recorded."""
    rows = [
        (record["exp_name"], record["hash"], epoch["epoch"], layer, name, gradient)
        for record in records
        for epoch in record["epochs"]
        for layer, (name, gradient) in enumerate(epoch.get("layer_gradients", {}).items(), 1)
    ]
    return _table(_by_column(rows, GRADIENTS), GRADIENTS)


def confusion_table(records: Iterable[Record], summary: pd.DataFrame) -> pd.DataFrame:
    """Return the confusion matrix of each experiment's best run, one row per cell; of many classes a part of it."""
    by_key = {(record["exp_name"], record["hash"]): record for record in records}
    rows = []
    for exp_name, part in summary.groupby("exp_name", sort=False):
        best = best_run(part)
        if best is None:
            continue
        rows += [(exp_name, best["hash"], *cell) for cell in _cells(by_key[exp_name, best["hash"]]["final"])]
    return _table(_by_column(rows, CONFUSION), CONFUSION)


def _cells(final: Mapping[str, Any]) -> list[tuple[int, int, int]]:
    """The (true class, predicted class, count) of a record; of many classes only the most frequent confusions."""
    matrix = final.get("confusion") or []
    cells = [(true, predicted, count) for true, counts in enumerate(matrix) for predicted, count in enumerate(counts)]
    if len(matrix) > MOST_CLASSES:  # of a version that knew no bound
        wrong = (cell for cell in cells if cell[0] != cell[1] and cell[2])
        return sorted(wrong, key=lambda cell: -cell[2])[:MOST_CONFUSIONS]
    return cells or [tuple(cell) for cell in final.get("confusions") or []]


def _by_column(rows: list[tuple[Any, ...]], columns: Mapping[str, Column]) -> dict[str, list[Any]]:
    cells = zip(*rows, strict=True) if rows else ([] for _ in columns)
    return {name: list(values) for name, values in zip(columns, cells, strict=True)}


# -- the leaderboard -----------------------------------------------------------------------------------------------


def _ranked(part: pd.DataFrame, by: str) -> list[Any]:
    """The standings of an experiment's settings (`by` the label) or runs (by the hash), best first."""
    selected = metric(SELECTED_BY)
    values = zip(part[by], part[SELECTED_BY], part["status"] == "diverged", strict=True)
    return rank(values, selected.better, selected.within)


def group_settings(part: pd.DataFrame) -> pd.DataFrame:
    """Return one row per setting of one experiment's summary, best first.

    Settings are ranked by the mean validation accuracy over all their runs, of which the diverged ones count as the
    worst possible, and reported by the test accuracy of those that have one.
    """
    standings = _ranked(part, "label")
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
    best = next(one.label for one in _ranked(part, "label") if one.label in labels.index)
    runs = labels.loc[[best]].set_index("hash", drop=False)
    return runs.loc[_ranked(runs, "hash")[0].label]


def leaderboard(summary: pd.DataFrame) -> pd.DataFrame:
    """Return one row per experiment and setting: selected by validation, reported on test, compared with the best."""
    boards = [
        _compared(group_settings(part), part).assign(exp_name=exp_name)
        for exp_name, part in summary.groupby("exp_name", sort=False)
    ]
    if not boards:
        return _table({name: [] for name in LEADERBOARD}, LEADERBOARD)
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


# -- files ---------------------------------------------------------------------------------------------------------


def make_tables(plan: Mapping[str, Any], records: list[Record]) -> dict[str, pd.DataFrame]:
    """Return the tables of the records, by name."""
    summary = summary_table(records, plan)
    return {
        "summary": summary,
        "epochs": epochs_table(records),
        "gradients": gradients_table(records),
        "confusion": confusion_table(records, summary),
        "leaderboard": leaderboard(summary),
    }


def write_tables(plan: Mapping[str, Any], folder: Path, partial: bool = False) -> None:
    """Write all tables of a plan's records.

    A bad record is named and left out. Raises RecordError where records are missing, unless `partial`.
    """
    records, missing, bad = read_records(plan)
    for fault in bad:
        print(f"warning: {fault}; left out", file=sys.stderr)
    n = len(records) + len(missing) + len(bad)
    if missing and not partial:
        raise RecordError(f"{plan['results']}: {len(missing)} of {n} records are missing, such as {missing[0]}")
    if missing or bad:
        print(f"{len(records)} of {n} records; {len(missing)} missing, {len(bad)} left out", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    tables = make_tables(plan, records)
    for name, table in tables.items():
        write_atomic(folder / f"{name}.csv", table.to_csv(index=False).encode())
        if plan.get("parquet"):
            buffer = io.BytesIO()
            table.to_parquet(buffer, index=False)
            write_atomic(folder / f"{name}.parquet", buffer.getvalue())
    write_atomic(folder / "leaderboard.md", leaderboard_markdown(tables["leaderboard"]).encode())


def read_tables(folder: Path, *names: str) -> dict[str, pd.DataFrame]:
    """Return tables by name (default: all), from CSV. Raises RecordError where one is missing."""
    return {name: _read_table(folder / f"{name}.csv", TABLES[name][1]) for name in names or TABLES}


def _read_table(path: Path, columns: Mapping[str, Column]) -> pd.DataFrame:
    # The types are given for names that look like something else: an experiment called NA or 2024.
    text = {name: "str" for name, column in columns.items() if column.type is str}
    try:
        table = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise RecordError(f"{path}: is missing; scripts/aggregate.py makes it") from None
    return table.assign(**{name: float("nan") for name in columns if name not in table})  # made by an earlier version
