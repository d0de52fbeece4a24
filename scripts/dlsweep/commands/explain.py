"""`sweep.py explain` and `diff`: one run, or two."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlsweep.commands.show import print_columns, value_text
from dlsweep.config.identity import Setting, identity
from dlsweep.config.jobs import train_arguments
from dlsweep.config.metrics import Objective, is_number
from dlsweep.config.paths import data_file, predictions_file, record_name, running_folder
from dlsweep.config.sources import value_sources
from dlsweep.config.sweep import Sweep
from dlsweep.errors import ConfigError
from dlsweep.results.columns import Columns
from dlsweep.results.measured import epoch_metrics, last_values
from dlsweep.results.records import list_records, read_record
from dlsweep.results.redo import checkpoint_file, open_token
from dlsweep.runs.states import Run, run_state

# -- explain -------------------------------------------------------------------------------------------------------


def explain_run(sweep: Sweep, results: Path, configs: list[str], overrides: Mapping[str, Any], run: str) -> int:
    """Explain one run: its setting, where each value comes from, its command, its files."""
    digest = full_hash(run, sweep, results)
    setting = setting_of(digest, sweep, results)
    experiments = [exp_name for exp_name, experiment in sweep.experiments.items() if digest in experiment.settings]
    print(f"hash        {digest}")
    for exp_name in experiments:
        objective = sweep.experiments[exp_name].objective
        print(f"experiment  {exp_name}: {_state(run_state(results, exp_name, digest), objective)}")
    for exp_name in _recorded_experiments(digest, results):
        if exp_name not in experiments:
            print(f"record      of {exp_name}, which is not in {', '.join(configs)}")
    sources = value_sources([Path(path) for path in configs], overrides, experiments[0], setting) if experiments else {}
    print("setting")
    chosen = identity(setting)
    ordered = sorted(setting, key=lambda key: key not in chosen)  # what is not at its default first
    print_columns([[f"  {key}", value_text(setting[key]), sources.get(key) or "default"] for key in ordered])
    exp_name = (experiments or _recorded_experiments(digest, results))[0]
    data = data_file(str(results), setting)
    command = f"python scripts/train.py {train_arguments(exp_name, digest, setting, data, str(results))}"
    print(f"command\n  {'none: it was trained elsewhere and imported' if setting.get('imported') else command}")
    name = record_name(exp_name, digest)
    print("files")
    for what, path in {
        "record": results / name,
        "log": results / "logs" / Path(name).with_suffix(".log"),
        "running record": running_folder(results) / name,
        "checkpoint": checkpoint_file(running_folder(results), digest, open_token(results, exp_name, digest)),
        **({"data": Path(data)} if data else {}),
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


def _state(run: Run, objective: Objective) -> str:
    if run.error:
        return f"{run.state}: {run.error}"
    if "final" not in run.record:
        return run.state
    value, seconds = run.record["final"].get(objective.report), run.record["timing"]["total_seconds"]
    columns = Columns(objective)
    shown = columns.text(objective.report, value) if is_number(value) else "unknown"
    time = "imported" if seconds is None else f"{seconds:.1f} s"
    return f"{run.state}, {columns.in_words(objective.report)} {shown}, {time}"


# -- diff ----------------------------------------------------------------------------------------------------------


def diff_runs(sweep: Sweep, results: Path, run: str, other: str) -> int:
    """Say in what two runs differ: in the setting, in the results, and in which test images they get right."""
    first, second = (full_hash(text, sweep, results) for text in (run, other))
    settings = [setting_of(digest, sweep, results) for digest in (first, second)]
    outcomes = [_outcome(digest, results) for digest in (first, second)]
    lines = [["", first[:12], second[:12]]]
    for title, (left, right) in (("setting", settings), ("result", outcomes)):
        keys = [key for key in {**left, **right} if left.get(key) != right.get(key)]
        lines.append([title if keys else f"{title}: the same", "", ""])
        lines += [
            [f"  {key}", value_text(left[key]) if key in left else "-", value_text(right.get(key, "-"))] for key in keys
        ]
    lines += _predicted_unlike(first, second, results)
    print_columns(lines)
    return 0


def _predicted_unlike(first: str, second: str, results: Path) -> list[list[str]]:
    """How many test images each of two runs alone gets right, where both were tested on the same ones."""
    from dlsweep.results.predictions import trusted_predictions  # which needs NumPy

    found = []
    for digest in (first, second):
        names = _recorded_experiments(digest, results)
        record = read_record(results / record_name(names[0], digest)) if names else None
        accuracy = record["final"].get("test_acc") if record else None
        if accuracy is None:
            return []
        one = trusted_predictions(predictions_file(results, names[0], digest), accuracy)
        if one is None:
            return []
        found.append(one)
    one, other = found
    if one.split != other.split:
        return [["test images: the two were not tested on the same", "", ""]]
    both = one.correct & other.correct
    alike = ~one.correct & (one.label == other.label)
    n_unlike = int((one.label != other.label).sum())
    return [
        [f"test images: {n_unlike} of {len(both)} are predicted unlike", "", ""],
        ["  only this run is right", str((one.correct & ~both).sum()), str((other.correct & ~both).sum())],
        ["  both are right", str(both.sum()), str(both.sum())],
        ["  both are wrong alike", str(alike.sum()), str(alike.sum())],
    ]


def _outcome(digest: str, results: Path) -> dict[str, Any]:
    """What a run has resulted in, flat; only its state where it is not finished."""
    for exp_name in _recorded_experiments(digest, results):
        record = read_record(results / record_name(exp_name, digest))
        numbers = {key: value for key, value in record["final"].items() if not isinstance(value, (list, dict))}
        last = last_values(record)
        ends = {key: last.get(key) for key in ("epoch", *epoch_metrics([record]))}
        seconds = record["timing"]["total_seconds"]
        outcome = {"state": record["status"], **ends, **numbers, **record["model"], "total_seconds": seconds}
        return {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in outcome.items()}
    return {"state": "not finished"}
