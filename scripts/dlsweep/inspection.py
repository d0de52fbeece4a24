"""Look at a sweep: what it will run, what has run, what one run is, what differs, what is left over."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from .eta import duration, expected_seconds, run_seconds_left
from .hyperparameters import ConfigError, Setting, identity
from .named import find_orphans
from .origin import origins
from .own_models import model_faults
from .progress import STATES, Run, Survey, run_state
from .records import FINISHED, known_epoch, list_records, read_record, record_name, running_folder
from .redo import checkpoint_file, open_token
from .sweep import Sweep, data_file, train_arguments
from .versions import find_outdated

# -- show ----------------------------------------------------------------------------------------------------------


def show(options: argparse.Namespace) -> int:
    """Show the experiments of a config: how many runs, where they stand, what varies, the time left.

    The time is that of one run after another, from finished runs of the same kind; "?" where there is none yet.
    """
    rows = experiments_table(options.sweep, options.results)
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0
    states = [state for state in STATES if any(state in row["states"] for row in rows)]
    lines = [["experiment", "runs", *states, "left", "varies"]]
    for row in rows:
        varies = "  ".join(f"{key}: {_listed(values)}" for key, values in row["varies"].items())
        left = "?" if row["seconds_left"] is None else duration(row["seconds_left"]) if row["seconds_left"] else "-"
        counts = (row["states"].get(state, 0) for state in states)
        lines.append([row["experiment"], row["runs"], *counts, left, varies])
    print_columns(lines)
    for line in find_outdated(options.sweep, options.results).lines(options.configs, dict(options.config)):
        print(line)
    for row in rows:
        if row["no_effect"]:
            print(f"{row['experiment']}: {', '.join(row['no_effect'])}: swept, but applies to none of its settings")
    for fault in model_faults(_settings_to_do(options.sweep, options.results)):
        print(f"warning: {fault}")
    return 0


def _settings_to_do(sweep: Sweep, results: Path) -> list[Setting]:
    there = set(list_records(results))
    return [setting for exp_name, digest, setting in sweep.records() if (exp_name, digest) not in there]


def experiments_table(sweep: Sweep, results: Path) -> list[dict[str, Any]]:
    """Return a row per experiment: its runs, their states, what varies, the seconds left of its runs.

    A setting that another experiment has finished, or that an earlier one will train, costs nothing here.
    """
    found = Survey(sweep, results).read()
    expect = expected_seconds(found)
    outdated = Counter(exp_name for exp_name, _ in find_outdated(sweep, results).runs)
    paid = {run.digest for run in found if run.state in FINISHED}
    rows: dict[str, dict[str, Any]] = {
        experiment.name: {
            "experiment": experiment.name,
            "runs": len(experiment.settings),
            "states": dict(Counter(run.state for run in found if run.exp_name == experiment.name)),
            "outdated": outdated[experiment.name],
            "varies": experiment.varies,
            "no_effect": [
                key for key in experiment.swept if not any(key in setting for setting in experiment.settings.values())
            ],
            "seconds_left": 0.0,
        }
        for experiment in sweep.experiments.values()
    }
    for run in found:
        if run.digest not in paid:
            paid.add(run.digest)
            seconds, row = run_seconds_left(run, expect), rows[run.exp_name]
            row["seconds_left"] = (
                None if seconds is None or row["seconds_left"] is None else row["seconds_left"] + seconds
            )
    return list(rows.values())


# -- explain -------------------------------------------------------------------------------------------------------


def explain(options: argparse.Namespace) -> int:
    """Explain one run: its setting, where each value comes from, its command, its files."""
    sweep, results = options.sweep, options.results
    digest = full_hash(options.hash, sweep, results)
    setting = setting_of(digest, sweep, results)
    experiments = [exp_name for exp_name, experiment in sweep.experiments.items() if digest in experiment.settings]
    files = [Path(path) for path in options.configs]
    print(f"hash        {digest}")
    for run in (run_state(results, exp_name, digest) for exp_name in experiments):
        print(f"experiment  {run.exp_name}: {_state(run)}")
    for exp_name in _recorded_experiments(digest, results):
        if exp_name not in experiments:
            print(f"record      of {exp_name}, which is not in {', '.join(options.configs)}")
    sources = origins(files, dict(options.config), experiments[0], digest) if experiments else {}
    print("setting")
    chosen = identity(setting)
    ordered = sorted(setting, key=lambda key: key not in chosen)  # what is not at its default first
    print_columns([[f"  {key}", _text(setting[key]), sources.get(key) or "default"] for key in ordered])
    exp_name = (experiments or _recorded_experiments(digest, results))[0]
    data = data_file(str(results), setting)
    print(f"command\n  python scripts/train.py {train_arguments(exp_name, digest, setting, data, str(results))}")
    name = record_name(exp_name, digest)
    print("files")
    for what, path in {
        "record": results / name,
        "log": results / "logs" / Path(name).with_suffix(".log"),
        "running record": running_folder(results) / name,
        "checkpoint": checkpoint_file(running_folder(results), digest, open_token(results, exp_name, digest)),
        "data": Path(data),
    }.items():
        print(f"  {what:<14}  {path}{'' if path.exists() else '  (not there)'}")
    return 0


def full_hash(text: str, sweep: Sweep, results: Path) -> str:
    """Return the hash that begins with `text`, of the sweep's settings and of the records that are there.

    A record's name or path is taken as well. Raises ConfigError where there is none or more than one.
    """
    prefix = Path(text).name.removesuffix(".json").rpartition("-")[2].lower()
    known = {digest for _, digest, _ in sweep.records()} | {digest for _, digest in list_records(results)}
    found = sorted(digest for digest in known if digest.startswith(prefix))
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError(f"{text}: no setting and no record has a hash that begins so")
    raise ConfigError(f"{text}: {len(found)} hashes begin so: {', '.join(digest[:12] for digest in found[:5])}, ...")


def setting_of(digest: str, sweep: Sweep, results: Path) -> Setting:
    """Return the complete setting of a hash, from the sweep or else from a record."""
    for experiment in sweep.experiments.values():
        if digest in experiment.settings:
            return experiment.settings[digest]
    setting: Setting = read_record(results / record_name(_recorded_experiments(digest, results)[0], digest))["setting"]
    return setting


def _recorded_experiments(digest: str, results: Path) -> list[str]:
    return [exp_name for exp_name, other in list_records(results) if other == digest]


def _state(run: Run) -> str:
    if run.error:
        return f"{run.state}: {run.error}"
    if "final" not in run.record:
        return run.state
    accuracy, seconds = run.record["final"]["test_acc"], run.record["timing"]["total_seconds"]
    shown = "unknown" if accuracy is None else f"{accuracy:.4f}"
    return f"{run.state}, test accuracy {shown}, {'imported' if seconds is None else f'{seconds:.1f} s'}"


# -- diff ----------------------------------------------------------------------------------------------------------


def diff(options: argparse.Namespace) -> int:
    """Say in what two runs differ: in the setting and in the results."""
    sweep, results = options.sweep, options.results
    first, second = (full_hash(text, sweep, results) for text in (options.hash, options.other))
    settings = [setting_of(digest, sweep, results) for digest in (first, second)]
    outcomes = [_outcome(digest, results) for digest in (first, second)]
    lines = [["", first[:12], second[:12]]]
    for title, (left, right) in {"setting": settings, "result": outcomes}.items():
        keys = [key for key in {**left, **right} if left.get(key) != right.get(key)]
        lines.append([title if keys else f"{title}: the same", "", ""])
        lines += [[f"  {key}", _text(left[key]) if key in left else "-", _text(right.get(key, "-"))] for key in keys]
    print_columns(lines)
    return 0


def _outcome(digest: str, results: Path) -> dict[str, Any]:
    """What a run has resulted in, flat; only its state where it is not finished."""
    for exp_name in _recorded_experiments(digest, results):
        record = read_record(results / record_name(exp_name, digest))
        numbers = {key: value for key, value in record["final"].items() if not isinstance(value, list)}
        last = known_epoch(record["epochs"][-1]) if record["epochs"] else {}
        ends = {key: last.get(key) for key in ("epoch", "train_loss", "train_acc", "val_loss", "val_acc")}
        seconds = record["timing"]["total_seconds"]
        outcome = {"state": record["status"], **ends, **numbers, **record["model"], "total_seconds": seconds}
        return {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in outcome.items()}
    return {"state": "not finished"}


# -- orphans -------------------------------------------------------------------------------------------------------


def orphans(options: argparse.Namespace) -> int:
    """List the records that no config names; with --delete, delete them.

    Configs that were started in this folder count as they were then, and this one as it is now. Nothing is deleted
    where there are records that none of them is known to have named ever, unless --unknown says so.
    """
    found = find_orphans(options.sweep, options.results, options.configs, dict(options.config))
    if options.delete and found.unknown and not options.unknown:
        raise ConfigError(
            f"{options.results}: nothing is deleted: of {len(found.unknown)} records, such as {found.unknown[0]}, it is"
            " not known which config named them; start each config that you still use once, or add --unknown to delete"
            " them too"
        )
    names = sorted(found.dropped + found.unknown)
    for name in names:
        print(options.results / name)
        if options.delete:
            (options.results / name).unlink()
    told = f" ({len(found.unknown)} of them, it is not known which config ever did)" if found.unknown else ""
    what = "; deleted" if options.delete else "; --delete deletes them" if names else ""
    print(f"{len(names)} records are named by no config{told}{what}")
    return 0


# -- text ----------------------------------------------------------------------------------------------------------


def print_columns(lines: list[list[Any]]) -> None:
    """Print a table of plain text, numbers to the right."""
    widths = [max(len(str(line[i])) for line in lines) for i in range(len(lines[0]) - 1)]
    for line in lines:
        cells = [
            f"{cell:>{width}}" if isinstance(cell, int) else f"{cell:<{width}}"
            for cell, width in zip(line, widths, strict=False)
        ]
        print("  ".join([*cells, str(line[-1])]).rstrip())


def _listed(values: list[Any]) -> str:
    """Values as text, the middle of a long list left out."""
    texts = [_text(value) for value in values]
    return ", ".join(texts if len(texts) <= 8 else [*texts[:3], "...", f"{texts[-1]} ({len(texts)} values)"])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
