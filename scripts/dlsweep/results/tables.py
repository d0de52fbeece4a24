"""Tables of records: tidy CSV that `pandas.read_csv` reads without cleaning. Columns: columns.py."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from dlsweep.config.dotted import flat
from dlsweep.config.labels import setting_labels, with_version
from dlsweep.config.metrics import Column, columns_of_runs, is_number, parts_of
from dlsweep.config.paths import predictions_file, record_name, weights_file
from dlsweep.config.plan import Plan, PlannedExperiment
from dlsweep.config.tasks import is_built_in
from dlsweep.errors import RecordError
from dlsweep.files import write_atomic, write_json
from dlsweep.results.aggregates import data_markdown, data_tables
from dlsweep.results.cards import write_cards
from dlsweep.results.columns import (
    CALIBRATION,
    CLASSES,
    CONFUSION,
    DATA_TABLES,
    GRADIENTS,
    MISTAKES,
    TABLES,
    Columns,
    all_columns,
    describe,
    epoch_columns,
    leaderboard_columns,
    summary_columns,
)
from dlsweep.results.decisions import decisions, findings, paragraphs
from dlsweep.results.frames import make_table
from dlsweep.results.leaderboard import best_run, leaderboard, leaderboard_markdown, predicted
from dlsweep.results.measured import (
    epoch_metrics,
    epochs_of,
    has_learned,
    is_confusion,
    lacking,
    last_values,
    run_metrics,
    tested_value,
)
from dlsweep.results.mistakes import class_scores, confident_mistakes, reliability
from dlsweep.results.predictions import Predictions, trusted_predictions
from dlsweep.results.records import DAMAGED, FINDINGS, read_record
from dlsweep.results.schema import MOST_CLASSES, MOST_CONFUSIONS, Record
from dlsweep.results.splits import splits_of
from dlsweep.results.trials import trials_table
from dlsweep.results.tuning import tuning_markdown, tuning_table
from dlsweep.results.versions import made_with, outdated_sources, tell_apart
from dlsweep.results.weights import clear_weights


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


def _summary_row(record: Record, selected: Collection[str], experiment: PlannedExperiment) -> dict[str, Any]:
    """Everything about a run that a column of the summary may hold; `selected` are the metrics of the objectives."""
    # A record says nothing of hyper-parameters that are younger than itself: it has their defaults, as the plan says.
    complete = {**experiment.settings[record["hash"]], **record["setting"]}
    setting = flat(complete, experiment.varies)
    final, timing, provenance = record["final"], record["timing"], record["provenance"]
    last = last_values(record)
    n_epochs = len(record["epochs"])
    tested_val_acc = tested_value(record, "val_acc")
    measured = {**last, **final}
    seconds = timing["train_seconds"]
    return {
        **{name: value if is_number(value) else None for name, value in measured.items()},
        **timing,
        **{f"tested_{name}": tested_value(record, name) for name in selected},
        "epochs_run": n_epochs,
        "tested_val_acc": tested_val_acc,
        "generalization_gap": _difference(final["tested_train_acc"], tested_val_acc)
        if final.get("tested_train_acc") is not None
        else _difference(last.get("train_acc"), last.get("val_acc")),
        "n_parameters": record["model"]["n_parameters"],
        "seconds_per_epoch": seconds / n_epochs if n_epochs and seconds is not None else None,
        **{key: json.dumps(v) if isinstance(v, (list, dict)) else v for key, v in setting.items()},
        "exp_name": record["exp_name"],
        "hash": record["hash"],
        "status": record["status"],
        "learned": has_learned(record),
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
        exp_name: setting_labels(experiment.settings, experiment.varies, experiment.compared)
        for exp_name, experiment in plan.experiments.items()
    }
    records = list(records)
    versions = _versions(records, plan)
    known = all_columns(plan)
    rows = []
    for r, version in zip(records, versions, strict=True):
        label = with_version(labels[r["exp_name"]][r["hash"]], version["version"] or "")
        selected = [known[r["exp_name"]].objective.metric]
        row = _summary_row(r, selected, plan.experiments[r["exp_name"]])
        rows.append({**row, **version, "label": label})
    columns = summary_columns(known.values(), run_metrics(records))
    return make_table({name: [row.get(name) for row in rows] for name in columns}, columns)


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


def epochs_table(records: Iterable[Record], plan: Plan) -> pd.DataFrame:
    """Return one row per record and epoch."""
    records = list(records)
    columns = epoch_columns(all_columns(plan).values(), epoch_metrics(records))
    rows: dict[str, list[Any]] = {name: [] for name in columns}
    for record in records:
        run = {"exp_name": record["exp_name"], "hash": record["hash"]}
        epochs = epochs_of(record)
        for name, values in rows.items():
            values += [run[name]] * len(epochs) if name in run else [epoch.get(name) for epoch in epochs]
    return make_table(rows, columns)


def gradients_table(records: Iterable[Record]) -> pd.DataFrame:
    """Return one row per record, epoch and layer with weights, where gradients were recorded."""
    rows = [
        (record["exp_name"], record["hash"], epoch["epoch"], layer, name, gradient)
        for record in records
        for epoch in record["epochs"]
        for layer, (name, gradient) in enumerate(epoch.get("layer_gradients", {}).items(), 1)
        if is_built_in(record["setting"])
    ]
    return make_table(_by_column(rows, GRADIENTS), GRADIENTS)


def confusion_table(records: Iterable[Record], summary: pd.DataFrame, known: Mapping[str, Columns]) -> pd.DataFrame:
    """Return the confusion matrix of each experiment's best run, one row per cell; of many classes a part of it."""
    by_key = {(record["exp_name"], record["hash"]): record for record in records}
    rows = []
    for exp_name, part in summary.groupby("exp_name", sort=False):
        best = best_run(part, known[exp_name])
        if best is None:
            continue
        rows += [(exp_name, best["hash"], *cell) for cell in _cells(by_key[exp_name, best["hash"]]["final"])]
    return make_table(_by_column(rows, CONFUSION), CONFUSION)


def tables_of_mistakes(summary: pd.DataFrame, known: Mapping[str, Columns], results: Path) -> dict[str, pd.DataFrame]:
    """Return what the best run of each experiment gets wrong, where its predictions are kept and can be trusted.

    Those that cannot be are named already, where settings are compared over test images.
    """
    made: dict[str, tuple[Callable[[Predictions], pd.DataFrame], Mapping[str, Column]]] = {
        "classes": (class_scores, CLASSES),
        "calibration": (reliability, CALIBRATION),
        "mistakes": (confident_mistakes, MISTAKES),
    }
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in made}
    for exp_name, part in summary.groupby("exp_name", sort=False):
        best = best_run(part, known[str(exp_name)]) if known[str(exp_name)].classifies else None
        if best is None or pd.isna(best["test_acc"]):
            continue
        try:
            found = trusted_predictions(predictions_file(results, str(exp_name), best["hash"]), best["test_acc"])
        except RecordError as error:
            if not known[str(exp_name)].counts_images:
                print(f"warning: {error}; what its run gets wrong is not told", file=sys.stderr)
            continue
        if found is not None:
            for name, (rows, _) in made.items():
                parts[name].append(rows(found).assign(exp_name=exp_name, hash=best["hash"]))
    return {
        name: make_table(
            {column: pd.concat(parts[name])[column].tolist() if parts[name] else [] for column in columns}, columns
        )
        for name, (_, columns) in made.items()
    }


def _cells(final: Mapping[str, Any]) -> list[tuple[int, int, int]]:
    """The (true class, predicted class, count) of a record; of many classes only the most frequent confusions."""
    matrix = final.get("confusion") or []
    if not is_confusion(matrix):  # whatever an own task means by it
        return []
    cells = [(true, predicted, count) for true, counts in enumerate(matrix) for predicted, count in enumerate(counts)]
    if len(matrix) > MOST_CLASSES:  # of a version that knew no bound
        wrong = (cell for cell in cells if cell[0] != cell[1] and cell[2])
        return sorted(wrong, key=lambda cell: -cell[2])[:MOST_CONFUSIONS]
    return cells or [tuple(cell) for cell in final.get("confusions") or []]


def _by_column(rows: list[tuple[Any, ...]], columns: Mapping[str, Column]) -> dict[str, list[Any]]:
    cells = zip(*rows, strict=True) if rows else ([] for _ in columns)
    return {name: list(values) for name, values in zip(columns, cells, strict=True)}


# -- files ---------------------------------------------------------------------------------------------------------


def make_tables(plan: Plan, records: list[Record]) -> tuple[dict[str, pd.DataFrame], dict[str, Columns]]:
    """Return the tables of the records, by name, and the columns of each experiment as its runs have them."""
    summary, epochs = summary_table(records, plan), epochs_table(records, plan)
    known = fitted_columns(plan, summary, epochs)
    right, faults = predicted(summary, known, Path(plan.results))
    for fault in faults:
        print(f"warning: {fault}; its setting is not compared over test images", file=sys.stderr)
    tables = {
        "summary": summary,
        "epochs": epochs,
        "gradients": gradients_table(records),
        "confusion": confusion_table(records, summary, known),
        **tables_of_mistakes(summary, known, Path(plan.results)),
        "trials": trials_table(plan, records),
        "leaderboard": leaderboard(summary, known, right),
    }
    return tables, known


def fitted_columns(plan: Plan, summary: pd.DataFrame, epochs: pd.DataFrame) -> dict[str, Columns]:
    """Return the columns of each experiment as its runs have them.

    A metric whose values leave the range that it should have, as an accuracy in percent does, has none.
    """
    found = {}
    for exp_name, columns in all_columns(plan).items():
        parts = (table[table["exp_name"] == exp_name] for table in (summary, epochs))
        beyond = [] if columns.classifies else [name for part in parts for name in _beyond(part, columns)]
        families = frozenset(parts_of(name).family for name in beyond)
        found[exp_name] = replace(columns, beyond=families, splits=splits_of(summary[summary["exp_name"] == exp_name]))
    return found


def _beyond(part: pd.DataFrame, columns: Columns) -> list[str]:
    """The metrics of a table whose values leave their range."""
    names = measured_columns(part, columns)
    ranges = {name: columns.metric(name).within for name in names}
    return [name for name, (low, high) in ranges.items() if part[name].min() < low or part[name].max() > high]


def measured_columns(part: pd.DataFrame, columns: Columns) -> list[str]:
    """Return the metrics that any of an experiment's runs has, but for those of the best epoch."""
    taken = {*columns_of_runs({}, {}), *columns.hyperparameters, "best_epoch", "generalization_gap"}
    numbers = part.select_dtypes("number").dropna(axis="columns", how="all")
    return [name for name in numbers if name not in taken and not parts_of(name).stage]


def remarks(summary: pd.DataFrame, known: Mapping[str, Columns]) -> list[str]:
    """Return a line for each metric that an experiment's runs lack, or whose values are not in its range."""
    lines = []
    for exp_name, columns in known.items():
        part = summary[(summary["exp_name"] == exp_name) & (summary["status"] != "diverged")]
        lines += lacking(exp_name, columns.objective, measured_columns(part, columns))
        for family in sorted(columns.beyond):
            low, high = replace(columns, beyond=frozenset()).metric(family).within
            lines.append(
                f"{exp_name}: {family} has values outside the range {low:g} to {high:g}, so it counts as one without"
                f" bounds; the config can give it another: metrics: {{{family}: {{range: [low, high]}}}}"
            )
    return lines


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
    tables, known = make_tables(plan, records)
    for remark in remarks(tables["summary"], known):
        print(f"warning: {remark}", file=sys.stderr)
    for name, table in tables.items():
        _write_table(plan, folder, name, table)
    over_data = {**data_tables(plan, tables["summary"], known), "tuning": tuning_table(plan, known, summary_table)}
    decided = decisions(plan, tables["summary"], tables["leaderboard"], known, over_data["tuning"])
    _write_tables_of_data(plan, folder, over_data)
    below = {name: data_markdown(part, known[name]) for name, part in over_data["aggregates"].groupby("exp_name")}
    for name, part in over_data["tuning"].groupby("exp_name"):
        below[name] = [*below.get(name, []), *tuning_markdown(part, known[name])]
    markdown = leaderboard_markdown(
        tables["leaderboard"],
        known,
        {name: paragraphs(plan.experiments[name].question, decision) for name, decision in decided.items()},
        below,
    )
    write_atomic(folder / "leaderboard.md", markdown.encode())
    write_json(folder / FINDINGS, findings(plan, decided))
    if not partial:
        _clear_weights(plan, tables["summary"], known)
        write_cards(Path(plan.results), records, tables["summary"], tables["leaderboard"], known)
    if not all(columns.classifies for columns in known.values()):
        write_atomic(folder / COLUMNS_PAGE, columns_page(plan, tables).encode())


def _clear_weights(plan: Plan, summary: pd.DataFrame, known: Mapping[str, Columns]) -> None:
    """Of the weights that were kept as the best so far, keep those of each experiment's best run."""
    results = Path(plan.results)
    for exp_name, part in summary.groupby("exp_name", sort=False):

        def best(digests: set[str], part: pd.DataFrame = part, columns: Columns = known[exp_name]) -> str | None:
            run = best_run(part[part["hash"].isin(digests)], columns)
            return None if run is None else str(run["hash"])

        found = clear_weights(results, exp_name, set(part["hash"]), best)
        if found and not weights_file(results, exp_name, found).exists():
            print(f"{exp_name}: the weights of its best run, {found[:12]}, were not kept", file=sys.stderr)


def _write_table(plan: Plan, folder: Path, name: str, table: pd.DataFrame) -> None:
    write_atomic(folder / f"{name}.csv", table.to_csv(index=False).encode())
    if plan.parquet:
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
        write_atomic(folder / f"{name}.parquet", buffer.getvalue())


def _write_tables_of_data(plan: Plan, folder: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Write the tables over data sets where they have rows; take away those of an earlier config."""
    for name, table in tables.items():
        if len(table):
            _write_table(plan, folder, name, table)
        else:
            for suffix in ("csv", "parquet"):
                (folder / f"{name}.{suffix}").unlink(missing_ok=True)


def read_tables_of_data(folder: Path) -> dict[str, pd.DataFrame]:
    """Return the tables that only some sweeps have, DATA_TABLES, by name, without rows where there is none."""
    return {
        name: _read_table(folder / f"{name}.csv", columns)
        if (folder / f"{name}.csv").exists()
        else pd.DataFrame(columns=[*columns])
        for name, (_, columns) in DATA_TABLES.items()
    }


COLUMNS_PAGE = "columns.md"


def columns_page(plan: Plan, tables: Mapping[str, pd.DataFrame]) -> str:
    """Return the page that describes the columns of these tables, which docs/reference/tables.md does not know."""
    known = all_columns(plan).values()
    of_runs, of_epochs = (
        [name for name in tables[table] if name not in fixed]
        for table, fixed in (("summary", summary_columns(known)), ("epochs", epoch_columns(known)))
    )
    described = {
        "summary": summary_columns(known, of_runs),
        "epochs": epoch_columns(known, of_epochs),
        "leaderboard": leaderboard_columns(known),
    }
    lines = [
        "# Columns",
        "",
        "What the tables beside this page hold; docs/reference/tables.md says what all tables have in common.",
    ]
    for name, columns in described.items():
        there = {column: columns[column] for column in tables[name] if column in columns}
        lines += describe(name, TABLES[name][0], there)
    return "\n".join(lines) + "\n"


def read_tables(folder: Path, *names: str, plan: Plan | None = None) -> dict[str, pd.DataFrame]:
    """Return tables by name (default: all), from CSV. Raises RecordError where one is missing.

    `plan` is theirs; without it, they are taken for those of the built-in classification.
    """
    known = all_columns(plan).values() if plan else [Columns()]
    columns = {
        **{name: columns for name, (_, columns) in TABLES.items()},
        "summary": summary_columns(known),
        "epochs": epoch_columns(known),
        "leaderboard": leaderboard_columns(known),
    }
    return {name: _read_table(folder / f"{name}.csv", columns[name]) for name in names or TABLES}


def _read_table(path: Path, columns: Mapping[str, Column]) -> pd.DataFrame:
    # The types are given for names that look like something else: an experiment called NA or 2024.
    text = {name: "str" for name, column in columns.items() if column.type is str}
    try:
        table = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise RecordError(f"{path}: is missing; scripts/aggregate.py makes it") from None
    return table.assign(**{name: float("nan") for name in columns if name not in table})  # made by an earlier version
