"""Records on disk: where they are, what they hold, how they are written and read.

A record is only trusted after `read_record`. Nothing here deletes a record.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dlsweep.config.identity import check_setting, hash_beside, setting_hash
from dlsweep.config.paths import HASH, record_name, running_folder, split_name
from dlsweep.config.tasks import TASK_KEYS
from dlsweep.errors import ConfigError, RecordError
from dlsweep.files import read_json
from dlsweep.locks import take
from dlsweep.results.schema import Epoch, Record, is_diverged, validator

REQUEST = ".redo"  # suffix of a request to make a record again (redo.py)
FINDINGS = "logs/findings.json"  # what the tables say, in words, for who loads no pandas
DAMAGED = "logs/damaged.json"  # in a folder of tables: the records that were left out of them, and why


def list_records(results: Path) -> Iterator[tuple[str, str]]:
    """Yield (exp_name, hash) of each record's file in the results folder, in the order of their names."""
    if results.is_dir():
        for name in sorted(entry.name for entry in os.scandir(results)):
            parts = split_name(Path(name))
            if parts:
                yield parts


def clear_run(results: Path, digest: str) -> None:
    """Remove checkpoint, running records and lock of a finished setting, whose lock the caller holds.

    Not the requests to make a record again (redo.py).
    """
    for leftover in running_folder(results).glob(f"*{digest}.*"):
        if leftover.suffix == REQUEST:
            continue
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def clear_finished(results: Path) -> None:
    """Do for runs what they could not, where they were killed between writing their record and clearing up."""
    left: set[str] = set()
    open_requests: set[str] = set()
    for path in running_folder(results).glob("*"):
        if found := HASH.search(path.name):
            (open_requests if path.suffix == REQUEST else left).add(found[0])
    for digest in (left - open_requests) & {digest for _, digest in list_records(results)}:
        if lock := take(running_folder(results) / f"{digest}.lock"):
            with lock:
                clear_run(results, digest)


def known_epoch(epoch: Epoch) -> Epoch:
    """Return an epoch of a record without accuracies of a loss that is not finite.

    Where the loss became NaN, the outputs say nothing of the class; older records counted them as class 0.
    """
    if epoch.get("train_loss") is not None and epoch.get("val_loss") is not None:
        return epoch
    unknown = {f"{split}_acc": None for split in ("train", "val") if epoch.get(f"{split}_loss") is None}
    return {**epoch, **unknown}


def read_record(path: Path) -> Record:
    """Return a finished record after checking it: JSON, schema, file name, hash against setting, epochs.

    Raises RecordError, naming the file and what is wrong.
    """
    record = read_json(path)
    fault = record_fault(record, path)
    if fault:
        raise RecordError(f"{path}: {fault}")
    checked: Record = record
    return checked


def record_fault(record: Any, path: Path) -> str:
    """Say what is wrong with a record read from `path`, or nothing."""
    import fastjsonschema

    try:
        validator()(record)
    except fastjsonschema.JsonSchemaValueException as error:
        return f"does not fit the record's schema: {error.message}"
    if split_name(path) != (record["exp_name"], record["hash"]):
        return f"is named unlike the record in it, {record_name(record['exp_name'], record['hash'])}"
    try:
        digest = _hash_of(record)
    except ConfigError as error:
        return f"has a setting that is not allowed: {error}"
    if digest != record["hash"]:
        return f"has hash {record['hash'][:12]}, but its setting's is {digest[:12]}"
    return _own_epochs_fault(record) if "task" in record else _epochs_fault(record)


def _hash_of(record: Record) -> str:
    """The hash that a record's setting has. That of an own task needs no source file: the record has the defaults."""
    setting, task = record["setting"], record.get("task")
    if task is None:
        return setting_hash(check_setting(setting))
    if task["name"] not in (setting.get(key) for key in TASK_KEYS):
        raise ConfigError(f"it does not name the task {task['name']}")
    return hash_beside(setting, task["defaults"])


def _own_epochs_fault(record: Record) -> str:
    numbers = [epoch["epoch"] for epoch in record["epochs"]]
    if numbers != sorted(set(numbers)):
        return "has epochs that do not count up"
    diverged = is_diverged(record["epochs"], record["final"])
    if record["task"]["kind"] != "imported" and diverged != (record["status"] == "diverged"):
        return f"has {'an' if diverged else 'no'} error that is not finite, but its status is {record['status']}"
    return ""


def _epochs_fault(record: Record) -> str:
    epochs = record["epochs"]
    if [epoch["epoch"] for epoch in epochs] != list(range(1, len(epochs) + 1)):
        return "has epochs that do not count 1, 2, 3, ..."
    if record["provenance"].get("imported"):
        return ""
    if record["status"] == "finished" and len(epochs) != record["setting"].get("epochs", len(epochs)):
        return f"is finished but has {len(epochs)} of {record['setting']['epochs']} epochs"
    losses = [epoch[name] for epoch in epochs for name in ("train_loss", "val_loss")]
    if record["status"] != "diverged" and None in losses:
        return "has a loss that is not finite, but is not marked as diverged"
    if record["status"] == "diverged" and None not in losses:
        return "is marked as diverged, but every loss is finite"
    return ""
