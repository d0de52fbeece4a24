"""Records on disk: where they are, what they hold, how they are written and read.

A record is only trusted after `read_record`. Nothing here deletes a record.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import math
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from .hyperparameters import ConfigError, check_setting, setting_hash
from .locks import take

SCHEMA_VERSION = 1
FINISHED = ("finished", "diverged", "stopped_early")
REQUEST = ".redo"  # suffix of a request to make a record again (redo.py)
_HASH = re.compile("[0-9a-f]{40}")

Record = dict[str, Any]


class RecordError(Exception):
    """A record that cannot be trusted; its text says which and why."""


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": {**required, **(optional or {})}}


_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_LOSS = {"type": ["number", "null"]}
_SECONDS = {"type": ["number", "null"], "minimum": 0}
_ACCURACY = {"type": ["number", "null"], "minimum": 0, "maximum": 1}

MOST_CLASSES = 100
"""A record holds the whole confusion matrix of up to so many classes; of more the most frequent confusions."""
MOST_CONFUSIONS = 1000
_CONFUSION = {"type": "array", "items": _COUNT, "minItems": 3, "maxItems": 3}  # true class, predicted class, count

EPOCH_SCHEMA = _object(
    {
        "epoch": {"type": "integer", "minimum": 1},
        "train_loss": _LOSS,
        "train_acc": _ACCURACY,
        "val_loss": _LOSS,
        "val_acc": _ACCURACY,
        "lr": {"type": ["number", "null"]},
        "seconds": {"type": ["number", "null"], "minimum": 0},
    },
    {"grad_norm": {"type": ["number", "null"]}, "layer_gradients": {"type": "object"}},
)

RECORD_SCHEMA: dict[str, Any] = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "title": "A record: the finished outcome of one run",
    **_object(
        {
            "schema_version": {"const": SCHEMA_VERSION},
            "exp_name": _TEXT,
            "hash": {"type": "string", "pattern": "^[0-9a-f]{40}$"},
            "setting": {"type": "object"},
            "status": {"enum": list(FINISHED)},
            "epochs": {"type": "array", "items": EPOCH_SCHEMA},
            "final": _object(
                {
                    "test_loss": _LOSS,
                    "test_acc": _ACCURACY,
                    "best_epoch": {"type": ["integer", "null"], "minimum": 1},
                    "best_val_loss": _LOSS,
                    "best_val_acc": _ACCURACY,
                },
                {
                    "tested_train_loss": _LOSS,
                    "tested_train_acc": _ACCURACY,
                    "per_class_acc": {"type": ["array", "null"]},
                    "confusion": {"type": ["array", "null"]},
                    "confusions": {"type": ["array", "null"], "maxItems": MOST_CONFUSIONS, "items": _CONFUSION},
                },
            ),
            "model": _object(
                {"n_parameters": {"type": ["integer", "null"], "minimum": 0}},
                {"source_sha1": {"type": ["string", "null"]}},
            ),
            "timing": _object(
                {
                    "total_seconds": _SECONDS,
                    "train_seconds": _SECONDS,
                    "samples_per_second": {"type": ["number", "null"]},
                    "resumed": _COUNT,
                }
            ),
            "provenance": _object({"command": {}}, {"code": {"type": ["string", "null"]}}),
        }
    ),
}


@functools.cache
def validator() -> Callable[[Any], Any]:
    """Return the function that checks a record against the schema; compiling it takes milliseconds."""
    import fastjsonschema

    validate: Callable[[Any], Any] = fastjsonschema.compile(RECORD_SCHEMA)
    return validate


def record_name(exp_name: str, digest: str) -> str:
    """Return the name of a record: `<exp>-<hash>.json`."""
    return f"{exp_name}-{digest}.json"


def running_folder(results: Path) -> Path:
    """Return the folder of checkpoints and running records, which Snakemake never deletes."""
    return results / "running"


def split_name(path: Path) -> tuple[str, str] | None:
    """Return (exp_name, hash) of a record's file name, or None where it is no record's name."""
    exp_name, dash, digest = path.name.removesuffix(".json").rpartition("-")
    is_record = path.suffix == ".json" and dash and exp_name and _HASH.fullmatch(digest)
    return (exp_name, digest) if is_record else None


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
        if leftover.suffix != REQUEST:
            leftover.unlink(missing_ok=True)


def clear_finished(results: Path) -> None:
    """Do for runs what they could not, where they were killed between writing their record and clearing up."""
    left: set[str] = set()
    open_requests: set[str] = set()
    for path in running_folder(results).glob("*"):
        if found := _HASH.search(path.name):
            (open_requests if path.suffix == REQUEST else left).add(found[0])
    for digest in (left - open_requests) & {digest for _, digest in list_records(results)}:
        if lock := take(running_folder(results) / f"{digest}.lock"):
            with lock:
                clear_run(results, digest)


def strict(value: Any) -> Any:
    """Return the value with NaN and infinities as None, as strict JSON wants it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(item) for item in value]
    return value


def known_epoch(epoch: dict[str, Any]) -> dict[str, Any]:
    """Return an epoch of a record without accuracies of a loss that is not finite.

    Where the loss became NaN, the outputs say nothing of the class; older records counted them as class 0.
    """
    if epoch.get("train_loss") is not None and epoch.get("val_loss") is not None:
        return epoch
    unknown = {f"{split}_acc": None for split in ("train", "val") if epoch.get(f"{split}_loss") is None}
    return {**epoch, **unknown}


def to_json(value: Any) -> str:
    """Return strict JSON: one line per epoch would be long, so nested lists of numbers stay on one line."""
    return json.dumps(strict(value), ensure_ascii=False, allow_nan=False)


@contextlib.contextmanager
def atomic_file(path: Path, sync: bool = True) -> Iterator[BinaryIO]:
    """Open a file to be written whole or not at all: temporary file in the same folder, fsync, rename.

    `sync=False` leaves out the fsync, for a file whose loss costs nothing. Raises OSError naming the file, and
    leaves no temporary file behind, where the disk is full or the folder is read-only.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
        if sync:
            _sync_folder(path.parent)
    except OSError as error:
        raise OSError(error.errno, f"cannot be written: {error.strerror}", str(path)) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes, sync: bool = True) -> None:
    """Write `data` as a file, as `atomic_file` does it."""
    with atomic_file(path, sync) as file:
        file.write(data)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power loss, where the file system can do that for a folder.

    AFS, some CIFS and FUSE mounts, shared folders of virtual machines cannot, and say so. The file itself is synced.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any, sync: bool = True) -> None:
    """Write strict JSON atomically."""
    write_atomic(path, (to_json(value) + "\n").encode(), sync)


def read_json(path: Path) -> Any:
    """Return a JSON file's content. Raises RecordError naming the file."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RecordError(f"{path}: is not UTF-8 text") from None
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        what = "is empty" if not text.strip() else f"is not JSON ({error})"
        raise RecordError(f"{path}: {what}") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not strict JSON")


def is_torn(path: Path) -> bool:
    """Say whether a record is not even a whole JSON object: two reads, cheap enough for every record at every start."""
    with path.open("rb") as file:
        first = file.read(1)
        file.seek(-min(path.stat().st_size, 16), os.SEEK_END)
        return first != b"{" or not file.read().rstrip().endswith(b"}")


END_BYTES = 4096


def read_end(path: Path) -> Record:
    """Return what a record ends with, at least its `model` and `provenance`; unchecked, but cheap for many records.

    Raises RecordError where the file is no record.
    """
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - END_BYTES, 0))
        _, key, rest = file.read().rpartition(b'"model": {"n_parameters"')
    try:
        end = json.loads(b"{" + key + rest)
        if "provenance" in end:
            return dict(end)
    except ValueError:  # longer than that, or written by hand
        pass
    record = read_json(path)
    if not isinstance(record, dict) or not all(isinstance(record.get(key), dict) for key in ("model", "provenance")):
        raise RecordError(f"{path}: does not fit the record's schema")
    return record


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
        setting = check_setting(record["setting"])
    except ConfigError as error:
        return f"has a setting that is not allowed: {error}"
    if setting_hash(setting) != record["hash"]:
        return f"has hash {record['hash'][:12]}, but its setting's is {setting_hash(setting)[:12]}"
    return _epochs_fault(record)


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
