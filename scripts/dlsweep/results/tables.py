"""Tables of records: tidy CSV that `pandas.read_csv` reads without cleaning. Columns: columns.py."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from dlsweep.config.labels import setting_labels, with_version
from dlsweep.config.metrics import SUMMARY, Column
from dlsweep.config.paths import record_name
from dlsweep.config.plan import Plan
from dlsweep.errors import RecordError
from dlsweep.files import write_atomic, write_json
from dlsweep.results.columns import CONFUSION, EPOCHS, GRADIENTS, TABLES
from dlsweep.results.frames import make_table
from dlsweep.results.leaderboard import best_run, leaderboard, leaderboard_markdown
from dlsweep.results.records import DAMAGED, Record, known_epoch, read_record
from dlsweep.results.schema import MOST_CLASSES, MOST_CONFUSIONS
from dlsweep.results.versions import made_with, outdated_sources, tell_apart


def read_records(plan: Plan) -> tuple[list[Record], list[str], dict[str, str]]:
    """Return the records of a plan that can be trusted, the names of missing ones, and why bad ones are (by path)."""
    records, missing, bad = [], [], {}
    for exp_name, digest in plan.records():
        path = Path(plan.results) / record_name(exp_name, digest)
        try:
            records.append(read_record(path))
        except RecordError as error:
            if path.exists():
                bad[str(path)] = str(error)
            else:
                missing.append(path.name)
    return records, missing, bad


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


def summary_table(records: Iterable[Record], plan: Plan) -> pd.DataFrame:
    """Return one row per record, in the plan's order."""
    labels = {
        exp_name: setting_labels(experiment.settings, experiment.varies)
        for exp_name, experiment in plan.experiments.items()
    }
    records = list(records)
    versions = _versions(records, plan)
    rows = []
    for r, version in zip(records, versions, strict=True):
        label = with_version(labels[r["exp_name"]][r["hash"]], version["version"] or "")
        rows.append({**_summary_row(r), **version, "label": label})
    return make_table({name: [row.get(name) for row in rows] for name in SUMMARY}, SUMMARY)


def _versions(records: list[Record], plan: Plan) -> list[dict[str, str | None]]:
    """Each record's columns `version` and `outdated`."""
    made = [made_with(record, record["setting"]) for record in records]
    apart: dict[str, dict[int, str]] = {}
    for exp_name in plan.experiments:
        apart[exp_name] = tell_apart({i: made[i] for i, r in enumerate(records) if r["exp_name"] == exp_name})
    return [
        {"version": apart[r["exp_name"]][i] or None, "outdated": outdated_sources(made[i], plan.outdated) or None}
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
    return make_table(rows, EPOCHS)


def gradients_table(records: Iterable[Record]) -> pd.DataFrame:
    """Return one row per record, epoch and layer with weights, where gradients were recorded."""
    rows = [
        (record["exp_name"], record["hash"], epoch["epoch"], layer, name, gradient)
        for record in records
        for epoch in record["epochs"]
        for layer, (name, gradient) in enumerate(epoch.get("layer_gradients", {}).items(), 1)
    ]
    return make_table(_by_column(rows, GRADIENTS), GRADIENTS)


def confusion_table(records: Iterable[Record], summary: pd.DataFrame) -> pd.DataFrame:
    """Return the confusion matrix of each experiment's best run, one row per cell; of many classes a part of it."""
    by_key = {(record["exp_name"], record["hash"]): record for record in records}
    rows = []
    for exp_name, part in summary.groupby("exp_name", sort=False):
        best = best_run(part)
        if best is None:
            continue
        rows += [(exp_name, best["hash"], *cell) for cell in _cells(by_key[exp_name, best["hash"]]["final"])]
    return make_table(_by_column(rows, CONFUSION), CONFUSION)


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


# -- files ---------------------------------------------------------------------------------------------------------


def make_tables(plan: Plan, records: list[Record]) -> dict[str, pd.DataFrame]:
    """Return the tables of the records, by name."""
    summary = summary_table(records, plan)
    return {
        "summary": summary,
        "epochs": epochs_table(records),
        "gradients": gradients_table(records),
        "confusion": confusion_table(records, summary),
        "leaderboard": leaderboard(summary),
    }


def write_tables(plan: Plan, folder: Path, partial: bool = False) -> None:
    """Write all tables of a plan's records.

    A bad record is named, in the file DAMAGED too, and left out. Raises RecordError where records are missing, unless
    `partial`.
    """
    records, missing, bad = read_records(plan)
    for fault in bad.values():
        print(f"warning: {fault}; left out", file=sys.stderr)
    (folder / DAMAGED).parent.mkdir(parents=True, exist_ok=True)
    write_json(folder / DAMAGED, bad)
    n = len(records) + len(missing) + len(bad)
    if missing and not partial:
        raise RecordError(f"{plan.results}: {len(missing)} of {n} records are missing, such as {missing[0]}")
    if missing or bad:
        print(f"{len(records)} of {n} records; {len(missing)} missing, {len(bad)} left out", file=sys.stderr)
    tables = make_tables(plan, records)
    for name, table in tables.items():
        write_atomic(folder / f"{name}.csv", table.to_csv(index=False).encode())
        if plan.parquet:
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
