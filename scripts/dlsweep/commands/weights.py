"""`sweep.py weights`: the weights of a finished run that were not kept, by training it again."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from dlsweep.commands.show import value_text
from dlsweep.config.identity import Setting, check_setting
from dlsweep.config.jobs import train_arguments
from dlsweep.config.keep import Keep
from dlsweep.config.paths import HASH, data_file, init_from, predictions_file, record_name, running_folder, weights_file
from dlsweep.config.tasks import task_of
from dlsweep.errors import ConfigError, RecordError
from dlsweep.files import copy_file
from dlsweep.locks import acquire, take
from dlsweep.results.init_from import find_weights_file
from dlsweep.results.records import list_records, read_record
from dlsweep.results.schema import Record
from dlsweep.results.weights import add_weights, read_weights
from dlsweep.runs.run import RunOptions, run_setting

AGAIN = "again"  # folder beside the running records where runs are trained again
MOST_TOLD = 10


def weights(results: Path, runs: list[str], device: str) -> int:
    """Train finished runs again and, where a record comes out the same bit for bit, keep the weights.

    Else say what differs, and keep nothing. What interrupts it loses no more than it does of any run.
    """
    for digest in [recorded_hash(results, run) for run in runs]:
        if status := _make(results, digest, device):
            return status
    return 0


def _make(results: Path, digest: str, device: str) -> int:
    names = [exp_name for exp_name, other in list_records(results) if other == digest]
    record = read_record(results / record_name(names[0], digest))
    _refuse(record)
    if path := _kept(results, names, digest):
        print(f"{path}: is there already")
        return 0
    folder = running_folder(results) / AGAIN
    folder.mkdir(parents=True, exist_ok=True)
    if not (lock := take(folder / f"{digest}.lock")):
        raise ConfigError(f"{digest[:12]}: another process is training it again")
    with lock:
        scratch = folder / digest
        _clear(scratch, "running")  # of a process that was killed: its code may have been another
        setting = check_setting(record["setting"])
        status = _train(results, scratch, names[0], digest, setting, record, device)
        if status:
            print(f"{digest[:12]}: is not trained to its end; the same command goes on", file=sys.stderr)
            return status
        again = read_record(scratch / record_name(names[0], digest))
        found = list(differences(record, again))
        kept = None if found else _keep(results, scratch, names, record)
        _clear(scratch)
        lock.path.unlink()
    for empty in (scratch, folder):
        with contextlib.suppress(OSError):
            empty.rmdir()
    if found:
        rest = [f"and {len(found) - MOST_TOLD} more"] if len(found) > MOST_TOLD else []
        lines = "\n  ".join([*found[:MOST_TOLD], *rest, *_reasons(record, again)])
        raise ConfigError(f"{digest[:12]}: trained again, it has another record; no weights are kept\n  {lines}")
    if not kept:
        raise ConfigError(f"{digest[:12]}: has the same record again, but no weights: its code names none to keep")
    print(f"{kept}: the weights of {digest[:12]}, whose record came out the same")
    return 0


def prepared_data(results: Path, setting: Setting) -> str:
    """Return the prepared data set of a setting, "" where it has none; prepare it where it is not there."""
    data = data_file(str(results), setting)
    if data and not Path(data).exists():
        from dlsweep.tasks.classification.data import prepare

        Path(data).parent.mkdir(parents=True, exist_ok=True)
        with acquire(Path(f"{data}.lock")):
            prepare(setting, Path(data), Path("data"))
    return data


def recorded_hash(results: Path, text: str) -> str:
    """Return the hash of a record that begins with `text`; a record's name or path is taken as well.

    Raises ConfigError where there is none or more than one.
    """
    prefix = Path(text).name.removesuffix(".json").rpartition("-")[2].lower()
    found = sorted({digest for _, digest in list_records(results) if digest.startswith(prefix)})
    if not found:
        raise ConfigError(f"{text}: no record of {results} has a hash that begins so")
    if len(found) > 1:
        raise ConfigError(f"{text}: {len(found)} hashes begin so: {', '.join(digest[:12] for digest in found[:5])}")
    return found[0]


def _refuse(record: Record) -> None:
    digest = record["hash"][:12]
    if record["setting"].get("imported"):
        raise ConfigError(f"{digest}: was trained elsewhere and imported, so it cannot be trained again")
    if task_of(record["setting"]).kind == "command":
        raise ConfigError(f"{digest}: is of a program of yours, which keeps its own weights, in its folder {{results}}")
    if record["status"] == "diverged":
        raise ConfigError(f"{digest}: diverged, so it has no weights that were tested")


def _kept(results: Path, names: list[str], digest: str) -> Path | None:
    """The weights that are there already; what is there and cannot be trusted is told, and made again."""
    for path in (weights_file(results, name, digest) for name in names):
        if path.exists():
            try:
                read_weights(path)
                return path
            except RecordError as error:
                print(f"warning: {error}; it is made again", file=sys.stderr)
    return None


def _train(
    results: Path, scratch: Path, exp_name: str, digest: str, setting: Setting, record: Record, device: str
) -> int:
    data = prepared_data(results, setting)
    options = RunOptions(
        exp_name=exp_name,
        results=scratch,
        data=Path(data) if data else None,
        hash=digest,
        device=device,
        jobs_per_gpu=1,
        gpus_per_run=1,
        threads=record["provenance"].get("threads") or 1,  # sums of another number of threads have other last digits
        time_limit=None,
        keep_weights=Keep(),
    )
    if (value := init_from(setting)) and HASH.fullmatch(value):
        source = find_weights_file(results, value)
        target = scratch / source.relative_to(results)
        target.parent.mkdir(parents=True, exist_ok=True)
        copy_file(source, target)
    arguments = train_arguments(exp_name, digest, setting, data, str(scratch))
    return run_setting(options, setting, f"python scripts/train.py {arguments}")


def differences(record: Record, again: Record) -> Iterator[str]:
    """Say in what two records differ that must not: all but times and where it was made."""
    left = {key: value for key, value in record.items() if key not in ("epochs", "timing", "provenance")}
    right = dict(again)
    for key, value in left.items():
        yield from _unlike(key, value, right.get(key))
    for number, pair in enumerate(zip_longest(record["epochs"], again["epochs"]), 1):
        one, other = ({key: value for key, value in (epoch or {}).items() if key != "seconds"} for epoch in pair)
        yield from _unlike(f"epoch {number}", one, other)


def _unlike(name: str, left: Any, right: Any) -> Iterator[str]:
    if isinstance(left, dict) and isinstance(right, dict):
        for key in {**left, **right}:
            yield from _unlike(f"{name}: {key}", left.get(key), right.get(key))
    elif left != right:
        yield f"{name}: {value_text(left)} in the record, {value_text(right)} now"


def _reasons(record: Record, again: Record) -> list[str]:
    """What was another when the record was made, and may be why."""
    words = {"code": "your code", "data": "the data", "torch": "torch", "device": "the device", "threads": "threads"}
    words["init_from"] = "the weights of init_from"
    made, now = record["provenance"], again["provenance"]
    return [
        f"{words[key]}: {value_text(made.get(key))} when the record was made, {value_text(now.get(key))} now"
        for key in words
        if made.get(key) != now.get(key)
    ]


def _keep(results: Path, scratch: Path, names: list[str], record: Record) -> Path | None:
    """Copy weights and predictions of a run to where its records have them; return one of the files of weights."""
    digest, kept = record["hash"], None
    its_weights, its_predictions = (file(scratch, names[0], digest) for file in (weights_file, predictions_file))
    for name in names:
        target = weights_file(results, name, digest)
        if its_weights.exists():
            add_weights(results, {**record, "exp_name": name}, its_weights)
            kept = kept or target
        predicted = predictions_file(results, name, digest)
        if its_predictions.exists() and not predicted.exists():
            predicted.parent.mkdir(exist_ok=True)
            copy_file(its_predictions, predicted)
    return kept


def _clear(scratch: Path, *stays: str) -> None:
    """Empty the folder of a run trained again, but for what is called `stays`."""
    for path in scratch.glob("*"):
        if path.is_dir() and path.name not in stays:
            shutil.rmtree(path)
        elif path.name not in stays:
            path.unlink()
