"""What came of a slot of a search, beside the record of its setting: the file that the next decision reads."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlsweep.config.course import LEFT_OUT, SKIPPED
from dlsweep.config.identity import Setting, setting_hash
from dlsweep.config.paths import record_name, running_folder
from dlsweep.errors import ConfigError, RecordError
from dlsweep.files import read_json, write_json
from dlsweep.results.measured import tested_value
from dlsweep.results.records import read_record
from dlsweep.results.schema import FAILED, PRUNED, Epoch, Record, is_diverged
from dlsweep.runs.run import RunOptions, find_twin, run_setting
from dlsweep.runs.states import lacked_memory, run_state
from dlsweep.runs.warm.handover import SEE


def setting_of_slot(decision: Path, slot: Path) -> Setting | None:
    """Return the setting that a decision has for a slot, None where it says that there is nothing to run.

    Raises RecordError or ConfigError where it says neither.
    """
    number = int(slot.stem.rpartition("-")[2])
    content = read_json(decision)
    try:
        if len(content["runs"]) <= number < len(content["runs"]) + content.get("n_skipped", 0):
            return None
        setting: Setting = content["runs"][number]["setting"]
    except (KeyError, TypeError, IndexError):
        raise ConfigError(
            f"{decision}: has no setting for slot {number}; delete it, and the next start decides again"
        ) from None
    return setting


def run_slot(slot: Path, options: RunOptions, setting: Setting, metric: str, command: str, attempt: int) -> int:
    """Make the run of a slot, and write what came of it; return the exit status.

    A run that fails in the same way in two starts is given up: it counts as the worst of its search. So is one that
    the system has killed for lack of memory after the same epoch in two. Who else kills a run does not say so, so it
    is tried again. At a retry, an `attempt` after the first, nobody has seen yet why it failed before.
    """
    log_of_record(options.results, options.exp_name, setting)
    before, earlier = earlier_errors(options, setting)
    if attempt == 1 and before.lacked_memory and before == earlier:
        give_up(slot, options.results, options.exp_name, setting, before.error)
        return 0
    status = run_setting(options, setting, command, {"before": vars(before)})
    if not status:
        write_slot(slot, options, setting, metric)
    elif attempt == 1 and before.error and earlier_errors(options, setting)[0].is_like(before):
        give_up(slot, options.results, options.exp_name, setting, before.error)
        return 0
    return status


def log_of_record(results: Path, exp_name: str, setting: Setting) -> None:
    """Have this process write the log of its record, where it is looked for; that of its slot says where."""
    log = results / "logs" / record_name(exp_name, setting_hash(setting)).replace(".json", ".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    print(f"{SEE}{log}", flush=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    sys.stdout.flush()
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.close(descriptor)


def write_slot(slot: Path, options: RunOptions, setting: Setting, metric: str) -> None:
    """Write what came of a slot whose run has ended, or paused.

    Raises ConfigError where it has not measured what the search looks at.
    """
    digest = setting_hash(setting)
    name = record_name(options.exp_name, digest)
    path, last = options.results / name, options.pause_after
    whole = read_record(path) if path.exists() else find_twin(options.results, digest, setting)
    record = whole or read_json(running_folder(options.results) / name)
    epochs = [epoch for epoch in record["epochs"] if last is None or epoch["epoch"] <= last]
    status = PRUNED if not whole or options.pauses_before(record["epochs"]) else record["status"]
    value = _value(record, epochs, status, metric)
    measured = {name for epoch in epochs for name in epoch} | (record["final"].keys() if status != PRUNED else set())
    if value is None and status != "diverged" and metric not in measured:  # NaN, though, is the worst
        when = f" in the first {last} epochs" if status == PRUNED else ""
        raise ConfigError(f"{slot}: the run has not measured {metric}{when}, by which the search decides")
    content: dict[str, Any] = {"hash": digest, "setting": setting, "status": status, "value": value}
    if status == PRUNED:
        content["record"] = pruned_record({**record, "exp_name": options.exp_name, "epochs": epochs})
    slot.parent.mkdir(parents=True, exist_ok=True)
    write_json(slot, content)


def leave_out(slot: Path, options: RunOptions, setting: Setting, max_hours: float) -> bool:
    """Write that a run does not start where its search has trained for that long; say whether it has.

    What is trained already is taken, whatever it took.
    """
    digest = setting_hash(setting)
    record = options.results / record_name(options.exp_name, digest)
    if record.exists() or hours_spent(slot.parent, options.results, options.exp_name) < max_hours:
        return False
    content = {"hash": digest, "setting": setting, "status": LEFT_OUT, "value": None, "max_hours": max_hours}
    write_json(slot, content)
    print(f"left out: {max_hours:g} hours of training are spent (max_hours)", flush=True)
    return True


def hours_spent(folder: Path, results: Path, exp_name: str) -> float:
    """Return the hours of training of all runs of a search, by what came of its slots, which lie in this folder."""
    seconds: dict[str, float] = {}
    for path in folder.glob("*-*.json"):
        with contextlib.suppress(RecordError, KeyError):  # of a slot that had no run, or a run that was given up
            content = read_json(path)
            digest = content["hash"]
            record = content.get("record") or read_json(results / record_name(exp_name, digest))
            seconds[digest] = max(seconds.get(digest, 0.0), record["timing"]["total_seconds"] or 0.0)
    return sum(seconds.values()) / 3600


def skip(slot: Path) -> None:
    """Write that a slot had nothing to run."""
    slot.parent.mkdir(parents=True, exist_ok=True)
    write_json(slot, {"status": SKIPPED})
    print("nothing to do: its round needs fewer runs than it could have had", flush=True)


@dataclass(frozen=True)
class Failure:
    """Why a try of a run failed by itself, "" where it did not, and after how many epochs."""

    error: str = ""
    n_epochs: int = 0
    lacked_memory: bool = False  # the system has killed it

    def is_like(self, other: Failure) -> bool:
        """Say whether both failed in the same way. Addresses and free bytes differ from one time to the next."""
        return _without_numbers(self.error) == _without_numbers(other.error)


def earlier_errors(options: RunOptions, setting: Setting) -> tuple[Failure, Failure]:
    """Return why the last try of a run failed, and the one before it."""
    run = run_state(options.results, options.exp_name, setting_hash(setting))
    if not (lacked_memory(run) or (run.state == FAILED and not run.record.get("by_signal"))):
        return Failure(), Failure()
    last = Failure(run.error, len(run.record["epochs"]), lacked_memory(run))
    return last, Failure(**run.record.get("before", {}))


def give_up(slot: Path, results: Path, exp_name: str, setting: Setting, error: str) -> None:
    """Write that a run has failed for good: its search counts it as the worst there is."""
    digest = setting_hash(setting)
    running = running_folder(results) / record_name(exp_name, digest)
    with contextlib.suppress(RecordError):  # none, or torn: it shows nothing then
        write_json(running, {**read_json(running), "status": FAILED, "error": error, "by_signal": False})
    content = {"hash": digest, "setting": setting, "status": FAILED, "value": None, "error": error}
    slot.parent.mkdir(parents=True, exist_ok=True)
    write_json(slot, content)
    print(f"{error}: given up; it counts as the worst of its search ({slot})", flush=True)


def _without_numbers(error: str) -> str:
    return re.sub(r"0x[0-9a-f]+|\d+", "0", error)


def _value(record: Record, epochs: list[Epoch], status: str, metric: str) -> float | None:
    """The objective of a run, of one that is pruned after these epochs; None where it has diverged."""
    if status == "diverged" or is_diverged(epochs, {}):
        return None
    cut: Record = {**record, "epochs": epochs, "final": {}} if status == PRUNED else record
    return tested_value(cut, metric)


def pruned_record(running: Record) -> Record:
    """Return a running record as the record of a run that was stopped before its end: it has not been tested."""
    seconds = sum(epoch.get("seconds") or 0.0 for epoch in running["epochs"])
    record: Record = {
        "schema_version": running["schema_version"],
        "exp_name": running["exp_name"],
        "hash": running["hash"],
        "setting": running["setting"],
        "status": PRUNED,
        "epochs": running["epochs"],
        "final": {},
        "model": {"n_parameters": None},
        "timing": {"total_seconds": seconds, "train_seconds": seconds, "samples_per_second": None, "resumed": 0},
        "provenance": running["provenance"],
    }
    return record
