"""Import runs that were trained elsewhere, of any task, from a table or JSON files: records, and a config for them.

What a column is follows from its heading (import_columns.py) or is said; it is shown, and nothing is written where a
single row is wrong.
"""

from __future__ import annotations

import datetime
import json
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dlsweep.config.files import shown
from dlsweep.config.identity import check_setting, setting_hash
from dlsweep.config.metrics import FRACTION, Objective, is_number, is_taken, metric_column, parts_of
from dlsweep.config.names import nearest
from dlsweep.config.objectives import NAME
from dlsweep.config.paths import record_name
from dlsweep.config.sweep import Sweep, load_sweep
from dlsweep.errors import ConfigError
from dlsweep.files import read_json, strict, write_atomic, write_json
from dlsweep.results.import_columns import Columns, Said, sort_columns
from dlsweep.results.import_files import Row, is_missing, read_rows
from dlsweep.results.records import record_fault
from dlsweep.results.schema import SCHEMA_VERSION, Record, is_diverged

CONFIG = Path("imported.yaml")
SEED = "seed"
MOST_FAULTS = 20  # of so many the user is told
STATUSES = {
    **dict.fromkeys(("finished", "complete", "completed", "done", "success", "terminated", "ok"), "finished"),
    **dict.fromkeys(("stopped_early", "early_stopped", "pruned"), "stopped_early"),
    "diverged": "diverged",
}
UNFINISHED = ("running", "failed", "fail", "crashed", "killed", "error", "pending", "waiting", "preempted", "scheduled")


@dataclass
class Run:
    """One run: what is known of it, and the row of its file that it is from."""

    file: Path
    place: str
    parameters: dict[str, Any]
    final: dict[str, float] = field(default_factory=dict)
    epochs: dict[int, dict[str, float]] = field(default_factory=dict)  # by number
    times: dict[str, Any] = field(default_factory=dict)
    status: str = ""
    original: dict[str, Any] = field(default_factory=dict)


def import_runs(source: Path, results: Path, experiment: str, objective: str, said: Said, output: Path) -> int:
    """Import the runs of a file or folder as records, and write a config for them.

    Raises ConfigError, with every row that is wrong, where they cannot be taken over: then nothing is written.
    """
    rows = read_rows(source)
    print(f"{source}: {_counted(len(rows), 'run' if source.is_dir() else 'row')}")
    faults: list[str] = []
    runs, columns = gather(rows, said, faults)
    print("\n".join(columns.describe()))
    runs = _number_repeats(runs, columns, faults)
    if not runs and not faults:
        faults.append(f"{source}: has no finished run")
    if runs and not runs[0].parameters:
        faults.append(f"{source}: has no hyper-parameter, by which its runs would differ; --parameters names them")
    if faults:
        more = [f"... and {len(faults) - MOST_FAULTS} more"] if len(faults) > MOST_FAULTS else []
        raise ConfigError("\n       ".join([*faults[:MOST_FAULTS], *more, "nothing is imported"]))
    aim = choose_objective(objective, runs)
    task = f"{experiment}({', '.join(runs[0].parameters)})"
    records = [make_record(run, source, experiment, task) for run in runs]
    config = _with_figures(config_text(source, experiment, task, aim, runs), runs)
    _check_config(config, records, output)
    _write(records, config, results, output)
    return 0


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


# -- rows -> runs --------------------------------------------------------------------------------------------------


def gather(rows: Sequence[Row], said: Said, faults: list[str]) -> tuple[list[Run], Columns]:
    """Return the runs of the rows, and what each column is; what is wrong with a row goes to `faults`."""
    headings = dict.fromkeys(column for row in rows for part in (row.values, *row.history) for column in part)
    columns = sort_columns(list(headings), lambda column: _has_numbers(column, rows), said)
    finished = [row for row in rows if _is_finished(row, columns, faults)]
    groups = _groups(finished, columns)
    if columns.epoch and any(len(group) > 1 for group in groups):
        _refuse_rows_of_their_own(groups, columns, faults)
        numbers = [row.values.get(columns.epoch) for row in finished]
        first = 0 if 0 in numbers else 1
        if not first:
            print(f"  {columns.epoch} counts from 0, epochs from 1")
        return [run for group in groups if (run := _run_of_epochs(group, first, columns, faults))], columns
    if columns.epoch:
        columns.left_out[columns.epoch] = "each row is a run"
        if columns.run and len({str(row.values.get(columns.run)) for row in finished}) < len(finished):
            _refuse_rows_of_their_own(groups, columns, faults)
        columns.epoch = None
    return [_run_of_row(row, columns, faults) for row in finished], columns


def _has_numbers(column: str, rows: Iterable[Row]) -> bool | None:
    """Say whether any value of a column is a number; None where it has no value at all."""
    parts = (part for row in rows for part in ([row.values] if column in row.values else row.history))
    values = [part[column] for part in parts if part.get(column) is not None]
    return any(map(is_number, values)) if values else None


def _is_finished(row: Row, columns: Columns, faults: list[str]) -> bool:
    """Say whether a row is of a run that has come to its end; one that has not is told, and left out."""
    state = row.values.get(columns.status) if columns.status else None
    if state is None or str(state).lower() in STATUSES:
        return True
    if str(state).lower() in UNFINISHED:
        print(f"  {row.place}: is left out, since {columns.status} is {state}")
    else:
        known = ", ".join((*dict.fromkeys(STATUSES), *UNFINISHED))
        faults.append(f"{row.place}, {columns.status}: {shown(state)} is not known; known are {known}")
    return False


def _groups(rows: Iterable[Row], columns: Columns) -> list[list[Row]]:
    """The rows of each run: those of one name, where runs have names, and of the same hyper-parameters."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        named = [row.values.get(columns.run)] if columns.run else []
        key = json.dumps([*named, *(row.values.get(column) for column in columns.parameters)])
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def _refuse_rows_of_their_own(groups: list[list[Row]], columns: Columns, faults: list[str]) -> None:
    """A column that changes within a run is no hyper-parameter of it: it would make a run of each row."""
    by_run: dict[str, list[Row]] = {}
    if columns.run:
        for group in groups:
            by_run.setdefault(str(group[0].values.get(columns.run)), []).append(group[0])
    for rows in by_run.values():
        epochs = [row.values.get(columns.epoch or "") for row in rows]
        if len(rows) > 1 and len(set(map(str, epochs))) > 1:  # else these are repetitions, numbered alike everywhere
            changing = [column for column in columns.parameters if len({str(r.values.get(column)) for r in rows}) > 1]
            first, second = (row.place for row in rows[:2])
            faults.append(
                f"{second}, {changing[0]}: differs from {first}, of the same run; if it is a metric, say"
                f" --metrics {changing[0]}, else --ignore it"
            )
            return


def _parameters(row: Row, columns: Columns) -> dict[str, Any]:
    found = {name: row.values.get(column) for column, name in columns.parameters.items()}
    return {name: None if is_missing(value) else value for name, value in found.items()}


def _run_of_row(row: Row, columns: Columns, faults: list[str]) -> Run:
    """A run that has one row: its metrics are what came out in the end."""
    return Run(
        row.file,
        row.place,
        _parameters(row, columns),
        _numbers(row.values, row.place, columns, faults),
        {i: _numbers(epoch, f"{row.place}, epoch {i}", columns, faults) for i, epoch in enumerate(row.history, 1)},
        _times(row, columns, faults),
        _status(row, columns),
        row.values,
    )


def _run_of_epochs(rows: list[Row], first: int, columns: Columns, faults: list[str]) -> Run | None:
    """A run that has a row for each epoch, counted from `first`; of the test split its last number counts."""
    by_epoch: dict[int, list[Row]] = {}
    for row in rows:
        epoch: Any = row.values.get(columns.epoch or "")
        if not isinstance(epoch, int) or epoch < 0:
            what = "is not a whole number from 0; --epoch names another column to count epochs by"
            faults.append(f"{row.place}, {columns.epoch}: {shown(epoch)} {what}")
            return None
        by_epoch.setdefault(epoch + 1 - first, []).append(row)
    epochs = {number: _merged(by_epoch[number], columns, faults) for number in sorted(by_epoch)}
    tests = {name for epoch in epochs.values() for name in epoch if parts_of(name).split == "test"}
    final = {name: value for epoch in epochs.values() for name, value in epoch.items() if name in tests}
    once = {name for name in tests if sum(name in epoch for epoch in epochs.values()) == 1}
    last = by_epoch[max(by_epoch)][-1]
    return Run(
        rows[0].file,
        rows[0].place,
        _parameters(rows[0], columns),
        final,
        {number: {name: v for name, v in epoch.items() if name not in once} for number, epoch in epochs.items()},
        _times(last, columns, faults),
        _status(last, columns),
        rows[0].values,
    )


def _merged(rows: list[Row], columns: Columns, faults: list[str]) -> dict[str, float]:
    """The metrics of an epoch, of which some tools write several rows, each with some of them."""
    merged: dict[str, float] = {}
    for row in rows:
        for name, value in _numbers(row.values, row.place, columns, faults).items():
            if name in merged:
                hint = "" if columns.run else "; if they are of two runs, --run says by which column to tell them apart"
                faults.append(
                    f"{row.place}, {name}: {rows[0].place} is of the same run and {columns.epoch} and has it, too{hint}"
                )
                return merged
            merged[name] = value
    return merged


def _numbers(values: Mapping[str, Any], place: str, columns: Columns, faults: list[str]) -> dict[str, float]:
    """The metrics that a row has, by name; NaN where the row says so."""
    found: dict[str, float] = {}
    for column, name in columns.metrics.items():
        value = values.get(column)
        if value is None:
            continue
        if not is_number(value):
            comma = "; numbers need a decimal point" if re.fullmatch(r"-?\d+,\d+", str(value)) else ""
            faults.append(f"{place}, {column}: {shown(value)} is not a number{comma}")
            continue
        number = float(value) / 100 if column in columns.percent else float(value)
        if metric_column(name).within == FRACTION and (number < 0 or number > 1):
            percent = f"; --percent {name} takes it for a percentage" if 1 < number <= 100 else ""
            faults.append(f"{place}, {column}: {shown(value)} is not allowed for {name}, which is from 0 to 1{percent}")
            continue
        found[name] = number
    return found


def _times(row: Row, columns: Columns, faults: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {name: row.values.get(column) for column, name in columns.times.items()}
    known = {name: value for name, value in found.items() if not is_missing(value)}
    for name, value in known.items():
        if not is_number(value) or value < 0:
            faults.append(f"{row.place}, {name}: {shown(value)} is not allowed; allowed: a number >= 0")
    return known


def _status(row: Row, columns: Columns) -> str:
    return STATUSES.get(str(row.values.get(columns.status or "")).lower(), "")


def _number_repeats(runs: list[Run], columns: Columns, faults: list[str]) -> list[Run]:
    """Runs of the same hyper-parameters are repetitions: where none is a seed, they are numbered as that."""
    repeats: dict[str, list[Run]] = {}
    for run in runs:
        repeats.setdefault(json.dumps(run.parameters), []).append(run)
    if all(len(group) == 1 for group in repeats.values()):
        return runs
    if SEED in columns.parameters.values():
        for group in repeats.values():
            for run in group[1:]:
                faults.append(
                    f"{run.place}: has the same hyper-parameters as {group[0].place}, the {SEED} included; is a column"
                    " left out that tells them apart?"
                )
        return runs
    most = max(map(len, repeats.values()))
    print(
        f"  {'repeated':<17} {len(runs)} runs have {len(repeats)} settings, up to {most} runs each: no column is called"
        f" {SEED}, so they are numbered as {SEED} 0, 1, 2, ... in the order of the rows"
    )
    columns.parameters[SEED] = SEED
    numbered = []
    for run in runs:
        group = repeats[json.dumps(run.parameters)]
        number = next(i for i, other in enumerate(group) if other is run)
        numbered.append(replace(run, parameters={**run.parameters, SEED: number}))
    return numbered


# -- runs -> records and a config ----------------------------------------------------------------------------------


def choose_objective(text: str, runs: Sequence[Run]) -> Objective:
    """Return the objective that the user names, `val_mae` or `val_score=max`, or the only one that it can be.

    Raises ConfigError where there is no such metric, or where it is not clear which, or in which direction.
    """
    names = dict.fromkeys(name for run in runs for part in (run.final, *run.epochs.values()) for name in part)
    for name in names:
        if not NAME.fullmatch(name) or is_taken(name):
            raise ConfigError(f"{name}: is not allowed as the name of a metric; --rename {name}=OTHER gives it another")
    metric, _, better = text.partition("=")
    if not metric:
        known = [name for name in names if metric_column(name).better and parts_of(name).split in ("val", "")]
        candidates = [name for name in known if parts_of(name).split == "val"] or known
        if len(candidates) != 1:
            listed = f": {', '.join(candidates)}" if candidates else f"; there are {', '.join(names) or 'none'}"
            raise ConfigError(f"--objective: which metric settings are selected by is not clear{listed}")
        metric = candidates[0]
    if metric not in names:
        raise ConfigError(f"--objective: {metric} is not among the metrics {', '.join(names)}.{nearest(metric, names)}")
    if better not in ("", "min", "max"):
        raise ConfigError(f"--objective: {better!r} is not allowed; allowed: {metric}=min, {metric}=max")
    better = better or metric_column(metric).better
    if not better:
        raise ConfigError(
            f"--objective: whether {metric} is to be great or small is not known; write {metric}=max or {metric}=min"
        )
    report = metric.replace("val_", "test_", 1) if metric.startswith("val_") else metric
    aim = Objective(metric, better, report if report in names else metric)
    lacking = [run for run in runs if not any(metric in part for part in (run.final, *run.epochs.values()))]
    if lacking:
        which = f"{_counted(len(lacking), 'run')}, such as {lacking[0].place}"
        print(f"  no {metric:<14} {which}; write nan for one that diverged")
    print(f"  {'selected by':<17} {metric}, the {'greatest' if better == 'max' else 'least'}; reported: {aim.report}")
    return aim


def make_record(run: Run, source: Path, exp_name: str, task: str) -> Record:
    """Return the record of a run. Raises ConfigError, naming the row, where it would be none that can be trusted."""
    try:
        setting = check_setting({"imported": task, **run.parameters})
    except ConfigError as error:
        raise ConfigError(f"{run.place}, {error}; --rename gives a column another name") from None
    digest = setting_hash(setting)
    modified = datetime.datetime.fromtimestamp(run.file.stat().st_mtime, datetime.UTC).isoformat(timespec="seconds")
    status = "diverged" if is_diverged(list(run.epochs.values()), run.final) else run.status or "finished"
    n_parameters = run.times.get("n_parameters")
    seconds = {name: run.times.get(name) for name in ("total_seconds", "train_seconds")}
    record: Record = strict(
        {
            "schema_version": SCHEMA_VERSION,
            "exp_name": exp_name,
            "hash": digest,
            "setting": setting,
            "task": {"kind": "imported", "name": task, "defaults": {}},
            "status": status,
            "epochs": [{"epoch": i, **epoch, "seconds": None} for i, epoch in run.epochs.items()],
            "final": {**run.final, "best_epoch": None},
            "model": {"n_parameters": None if n_parameters is None else int(n_parameters)},
            "timing": {**seconds, "samples_per_second": None, "resumed": 0},
            "provenance": {
                "command": f"python scripts/sweep.py import {source}",
                "imported": {"file": str(run.file), "place": run.place, "original": run.original},
                "finished": modified,
            },
        }
    )
    if fault := record_fault(record, Path(record_name(exp_name, digest))):
        raise ConfigError(f"{run.place}: its record {fault}")
    return record


def config_text(source: Path, exp_name: str, task: str, aim: Objective, runs: Sequence[Run]) -> str:
    """Return the config that names the runs."""
    settings = [", ".join(f"{name}: {json.dumps(value)}" for name, value in run.parameters.items()) for run in runs]
    return "\n".join(
        [
            f"# {len(runs)} runs of {source}, imported. Nothing is trained: tables and figures are made of them.",
            "experiments:",
            f"  {exp_name}:",
            f"    imported: {task}",
            f"    objective: {{{aim.metric}: {aim.better}}}",
            f"    report: {aim.report}",
            "    settings:",
            *(f"      - {{{setting}}}" for setting in settings),
            "",
        ]
    )


def _with_figures(config: str, runs: Sequence[Run]) -> str:
    """Return the config with its figures where no run has epochs: those that it has by itself, but for their curves."""
    if any(run.epochs for run in runs):
        return config
    (experiment,) = _read(config).experiments.values()
    figures = [figure.to_json() for figure in experiment.figures if figure.kind != "curves"]
    lines = "".join(f"      - {json.dumps(figure)}\n" for figure in figures)
    return f"{config}    figures:{'' if figures else ' []'} # no curves, since nothing is known of epochs\n{lines}"


def _read(config: str) -> Sweep:
    """The config, read as Snakemake will."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, CONFIG.name)
        path.write_text(config, encoding="utf-8")
        try:
            return load_sweep([path])
        except ConfigError as error:
            raise ConfigError(f"the config for these runs would not be read: {error}") from None


def _check_config(config: str, records: Sequence[Record], output: Path) -> None:
    """The config must name the very records, and may not replace another one."""
    named = {digest for _, digest, _ in _read(config).records()}
    if unlike := [record for record in records if record["hash"] not in named]:
        place = unlike[0]["provenance"]["imported"]["place"]
        raise ConfigError(f"{place}: its values would not be read from a config as they are; nothing is imported")
    if output.exists() and output.read_text(encoding="utf-8") != config:
        raise ConfigError(f"{output}: already exists with other content; --output names another file")


def _write(records: Sequence[Record], config: str, results: Path, output: Path) -> None:
    results.mkdir(parents=True, exist_ok=True)
    n_there = 0
    for record in records:
        target = results / record_name(record["exp_name"], record["hash"])
        if not target.exists():
            write_json(target, record)
            continue
        n_there += 1
        there = read_json(target)
        if any(there.get(part) != record[part] for part in ("status", "epochs", "final")):
            place = record["provenance"]["imported"]["place"]
            print(f"  {place}: {target} is there already with other numbers; left as it is")
    if not output.exists():
        write_atomic(output, config.encode())
    already = f", {n_there} were there already" if n_there else ""
    print(f"{_counted(len(records) - n_there, 'new record')} in {results}{already}; {output} names all")
    print(f"Tables, figures and report: snakemake --cores 1 --configfile {output}")
