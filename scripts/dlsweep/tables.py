"""Tables of records."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from .hyperparameters import HYPERPARAMETERS
from .records import Record, RecordError, read_record, record_name, write_atomic


def read_records(plan: dict[str, Any]) -> tuple[list[Record], int]:
    """Return the good records of a plan and the number of missing ones; bad ones are named."""
    records, missing = [], 0
    for exp_name, experiment in plan["experiments"].items():
        for digest in experiment["hashes"]:
            path = Path(plan["results"]) / record_name(exp_name, digest)
            if not path.exists():
                missing += 1
                continue
            try:
                records.append(read_record(path))
            except RecordError as error:
                print(f"warning: {error}; left out", file=sys.stderr)
    return records, missing


def summary_table(records: list[Record]) -> pd.DataFrame:
    """One row per record."""
    rows = []
    for record in records:
        last = record["epochs"][-1] if record["epochs"] else {}
        setting = {key: record["setting"].get(key) for key in HYPERPARAMETERS}
        final = {k: v for k, v in record["final"].items() if k not in ("per_class_acc", "confusion")}
        rows.append(
            {
                "exp_name": record["exp_name"],
                "hash": record["hash"],
                **{k: json.dumps(v) if isinstance(v, (list, dict)) else v for k, v in setting.items()},
                "status": record["status"],
                "epochs_run": len(record["epochs"]),
                **{k: last.get(k) for k in ("train_loss", "train_acc", "val_loss", "val_acc")},
                **final,
                "n_parameters": record["model"]["n_parameters"],
                **record["timing"],
                "device": record["provenance"].get("device"),
            }
        )
    return pd.DataFrame(rows)


def epochs_table(records: list[Record]) -> pd.DataFrame:
    """One row per record and epoch."""
    return pd.DataFrame(
        {
            "exp_name": record["exp_name"],
            "hash": record["hash"],
            **{k: v for k, v in epoch.items() if k != "layer_gradients"},
        }
        for record in records
        for epoch in record["epochs"]
    )


def leaderboard(summary: pd.DataFrame) -> pd.DataFrame:
    """Settings grouped over seeds, best validation accuracy first."""
    parts = []
    for exp_name, part in summary.groupby("exp_name"):
        keys = [k for k in HYPERPARAMETERS if k != "seed" and part[k].nunique(dropna=False) > 1]
        grouped = part.groupby(keys, dropna=False) if keys else part.groupby("exp_name")
        table = grouped.agg(
            n=("hash", "size"), val_acc=("val_acc", "mean"), test_acc=("test_acc", "mean"), sd=("test_acc", "std")
        )
        table = table.sort_values("val_acc", ascending=False).reset_index()
        setting = [", ".join(f"{key}={row[key]}" for key in keys) for _, row in table.iterrows()]
        table = table[["n", "val_acc", "test_acc", "sd"]]
        table.insert(0, "setting", setting)
        table.insert(0, "exp_name", exp_name)
        parts.append(table)
    return pd.concat(parts)


def write_tables(plan: dict[str, Any], folder: Path) -> None:
    """Write all tables."""
    records, missing = read_records(plan)
    folder.mkdir(parents=True, exist_ok=True)
    if missing:
        print(f"{missing} records are missing", file=sys.stderr)
    summary = summary_table(records)
    board = leaderboard(summary)
    for name, table in (("summary", summary), ("epochs", epochs_table(records)), ("leaderboard", board)):
        write_atomic(folder / f"{name}.csv", table.to_csv(index=False).encode())
    lines = [" | ".join(board.columns), " | ".join("---" for _ in board.columns)]
    lines += [
        " | ".join(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row) for row in board.itertuples(index=False)
    ]
    text = "# Leaderboard\n\nSelected by validation accuracy, reported on test.\n\n" + "".join(
        f"| {line} |\n" for line in lines
    )
    write_atomic(folder / "leaderboard.md", text.encode())
