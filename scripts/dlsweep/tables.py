"""Tables of records: tidy CSV that `pandas.read_csv` reads without cleaning. Columns: columns.py."""

from __future__ import annotations

import io
import json
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from .columns import CONFUSION, EPOCHS, GRADIENTS, LEADERBOARD, SUMMARY, TABLES, Column
from .labels import setting_labels
from .records import Record, RecordError, read_record, record_name, write_atomic

CONFIDENCE = 0.95
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
    last: dict[str, Any] = record["epochs"][-1] if record["epochs"] else {}
    n_epochs = len(record["epochs"])
    train_acc, val_acc = last.get("train_acc"), last.get("val_acc")
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
        "tested_val_acc": final["best_val_acc"] if setting.get("test_weights") == "best" else val_acc,
        "generalization_gap": None if train_acc is None or val_acc is None else train_acc - val_acc,
        "n_parameters": record["model"]["n_parameters"],
        "seconds_per_epoch": seconds / n_epochs if n_epochs and seconds is not None else None,
        "lr": setting["lr"],  # not that of the last epoch
        "data": provenance.get("data"),
        "device": provenance.get("device"),
        "host": provenance.get("host"),
    }


def summary_table(records: Iterable[Record], plan: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row per record, in the plan's order."""
    labels = {
        exp_name: setting_labels({d: plan["settings"][d] for d in experiment["hashes"]}, experiment["varies"])
        for exp_name, experiment in plan["experiments"].items()
    }
    rows = [{**_summary_row(r), "label": labels[r["exp_name"]][r["hash"]]} for r in records]
    return _table({name: [row.get(name) for row in rows] for name in SUMMARY}, SUMMARY)


def epochs_table(records: Iterable[Record]) -> pd.DataFrame:
    """Return one row per record and epoch."""
    rows: dict[str, list[Any]] = {name: [] for name in EPOCHS}
    for record in records:
        epochs = record["epochs"]
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
    """Return the confusion matrix of each experiment's best run, one row per cell."""
    by_key = {(record["exp_name"], record["hash"]): record for record in records}
    rows = []
    for exp_name, part in summary.groupby("exp_name", sort=False):
        best = best_run(part)
        if best is None:
            continue
        matrix = by_key[exp_name, best["hash"]]["final"].get("confusion") or []
        for true, counts in enumerate(matrix):
            rows += [(exp_name, best["hash"], true, predicted, count) for predicted, count in enumerate(counts)]
    return _table(_by_column(rows, CONFUSION), CONFUSION)


def _by_column(rows: list[tuple[Any, ...]], columns: Mapping[str, Column]) -> dict[str, list[Any]]:
    cells = zip(*rows, strict=True) if rows else ([] for _ in columns)
    return {name: list(values) for name, values in zip(columns, cells, strict=True)}


# -- the leaderboard -----------------------------------------------------------------------------------------------


def group_settings(part: pd.DataFrame) -> pd.DataFrame:
    """Return one row per setting of one experiment's summary, best mean validation accuracy first.

    A diverged run has no test accuracy; the validation accuracy that it ended with counts, so that a setting
    is not ranked by the seeds that survived. The interval of the test accuracy is Student's t; NaN for one run.
    """
    groups = part.assign(diverged=part["status"] == "diverged").groupby("label", sort=False)
    test = groups["test_acc"]
    table = pd.DataFrame(
        {
            "n": groups.size(),
            "n_diverged": groups["diverged"].sum(),
            "val_acc": groups["tested_val_acc"].mean(),
            "val_acc_sd": groups["tested_val_acc"].std(),
            "test_acc": test.mean(),
            "test_acc_sd": test.std(),
            "test_loss": groups["test_loss"].mean(),
        }
    )
    n = test.count()
    half = stats.t.ppf((1 + CONFIDENCE) / 2, (n - 1).where(n > 1)) * table["test_acc_sd"] / np.sqrt(n)
    table["test_acc_low"], table["test_acc_high"] = table["test_acc"] - half, table["test_acc"] + half
    table = table.sort_values("val_acc", ascending=False, kind="stable").reset_index()
    return table.assign(rank=range(1, len(table) + 1))


def best_run(part: pd.DataFrame) -> pd.Series | None:
    """Return the best run of an experiment's best setting, by validation accuracy, of those that were tested."""
    tested = part[part["test_acc"].notna()]
    if tested.empty:
        return None
    order = group_settings(part).set_index("label")["rank"]
    runs = tested.assign(rank=tested["label"].map(order))
    return runs.sort_values(["rank", "tested_val_acc"], ascending=[True, False], kind="stable").iloc[0]


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
    """Add the test of each setting's test accuracy against that of rank 1.

    Runs of one seed share their split, initialization and order of images, so they are compared in pairs where
    both settings have the same seeds; Welch's test is used where not, or where all pairs differ alike, which says
    nothing of how much they vary. The p-values are corrected by Holm's method.
    """
    from statsmodels.stats.multitest import multipletests  # a second to load, and nobody else needs it

    tested = part[part["test_acc"].notna()]
    # One row per seed, one column per setting; two runs of one seed differ in what no label shows: no pairs.
    by_seed = tested.pivot_table("test_acc", "seed", "label", aggfunc="mean").reindex(columns=board["label"])
    values = by_seed.to_numpy()
    n = tested.groupby("label").size().reindex(board["label"], fill_value=0).to_numpy()
    has = ~np.isnan(values)
    same_seeds = (has == has[:, :1]).all(axis=0) & (n == has.sum(axis=0)) & (n[0] == has[:, 0].sum())
    testable = (n > 1) & (n[0] > 1)
    testable[0] = False
    pairs = values[has[:, 0]]
    vary = (pairs - pairs[:, :1]).std(axis=0) > 1e-9 if len(pairs) else np.zeros(len(board), dtype=bool)
    paired = testable & same_seeds & vary
    welch = testable & ~paired

    p_value = np.full(len(board), np.nan)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # of equal values, whose p-value is set below
        p_value[paired] = stats.ttest_rel(pairs[:, paired], pairs[:, :1], axis=0).pvalue
        mean, sd = board["test_acc"].to_numpy(), board["test_acc_sd"].to_numpy()
        p_value[welch] = stats.ttest_ind_from_stats(
            mean[welch], sd[welch], n[welch], mean[0], sd[0], n[0], equal_var=False
        ).pvalue
    difference = mean - mean[0] if len(mean) else mean
    p_value[testable & (difference == 0) & np.isnan(p_value)] = 1.0
    corrected = np.full(len(board), np.nan)
    known = ~np.isnan(p_value)
    if known.any():
        corrected[known] = multipletests(p_value[known], method="holm")[1]
    test = np.select([paired, welch], ["paired", "welch"], "")
    return board.assign(
        difference=difference, test=pd.Series(test, dtype="str").replace("", None), p_value=p_value, p_holm=corrected
    )


def leaderboard_markdown(board: pd.DataFrame) -> str:
    """Return leaderboard.md: the best settings of each experiment."""
    lines = [
        "# Leaderboard",
        "",
        "Settings are ranked by their mean **validation** accuracy and reported by their **test** accuracy: mean ± the",
        f"half-width of the {CONFIDENCE:.0%} confidence interval over seeds (Student's t; none for one run).",
        "p: two-sided t-test of the test accuracy against rank 1, corrected for the number of comparisons (Holm).",
    ]
    for exp_name, part in board.groupby("exp_name", sort=False):
        lines += ["", f"## {exp_name}", "", "| rank | setting | runs | val accuracy | test accuracy | sd | p |"]
        lines += ["|--:|---|--:|--:|--:|--:|--:|"]
        for row in part.head(SHOWN_SETTINGS).itertuples():
            diverged = f" ({row.n_diverged} diverged)" if row.n_diverged else ""
            half = row.test_acc_high - row.test_acc
            accuracy = _number(row.test_acc) + ("" if pd.isna(half) else f" ± {half:.4f}")
            cells = [row.rank, row.label, f"{row.n}{diverged}", _number(row.val_acc), accuracy]
            cells += [_number(row.test_acc_sd), _number(row.p_holm)]
            lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
        if len(part) > SHOWN_SETTINGS:
            lines += ["", f"{len(part) - SHOWN_SETTINGS} more settings in leaderboard.csv."]
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.4f}"


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
        return pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise RecordError(f"{path}: is missing; scripts/aggregate.py makes it") from None
