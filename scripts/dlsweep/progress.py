"""Where each run of a sweep stands, read from records and running records alone: it works over SSH, anywhere.

A run's state is the `status` of its record (finished, stopped_early, diverged), or else that of its running
record (running, interrupted, failed), or else `new`. A running record whose process is gone is `interrupted`.
While a record is made again (redo.py), the running record counts; what it does not tell, the old record does.
"""

from __future__ import annotations

import datetime
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .hyperparameters import Setting
from .locks import is_held
from .records import (
    FINISHED,
    REQUEST,
    Record,
    RecordError,
    known_epoch,
    read_json,
    read_record,
    record_name,
    running_folder,
    split_name,
)
from .redo import request_file
from .sweep import Sweep
from .versions import Made, made_with

STATES = (*FINISHED, "running", "interrupted", "failed", "damaged", "new")
STALE_SECONDS = 600.0  # a running record of another host that is older than this is taken for dead


@dataclass(frozen=True)
class Run:
    """One run and where it stands.

    `record` is its record or running record, {} where it is new or damaged; `error` says why it failed or is
    damaged, in one line.
    """

    exp_name: str
    digest: str
    state: str
    record: Record
    error: str = ""


def runs(sweep: Sweep, results: Path) -> Iterator[Run]:
    """Yield every run of the sweep with its state."""
    for exp_name, digest, _ in sweep.records():
        yield run_state(results, exp_name, digest)


def run_state(results: Path, exp_name: str, digest: str, read: Callable[[Path], Record] = read_record) -> Run:
    """Return where one run stands; `read` reads and checks its record."""
    name = record_name(exp_name, digest)
    path = running_folder(results) / name
    is_there = (results / name).exists()
    if not is_there or (request_file(results, exp_name, digest).exists() and path.exists()):
        return _running_state(results, exp_name, digest, path)
    try:
        record = read(results / name)
        return Run(exp_name, digest, record["status"], record)
    except RecordError as error:
        return Run(exp_name, digest, "damaged", {}, str(error))


def _running_state(results: Path, exp_name: str, digest: str, path: Path) -> Run:
    try:
        record = read_json(path)
        state, why = record["status"], record.get("error", "")
        if state == "running" and not _lives(results, digest, path, record):
            state, why = "interrupted", _last_words(results / "logs" / f"{path.stem}.log", record.get("log"))
    except (RecordError, KeyError, TypeError, AttributeError):  # none yet, or torn: nothing that counts is lost
        return Run(exp_name, digest, "new", {})
    return Run(exp_name, digest, state, record, why)


def _last_words(log: Path, begin: Any) -> str:
    """Return what is known of the end of a run whose process is gone, from what its log has from `begin` on.

    `begin` is the log's inode and its length when the run began. The job that started a run writes how it ended
    where it knows, and Python writes why it crashed.
    """
    with suppress(OSError, TypeError, ValueError):
        inode, length = begin
        if log.stat().st_ino == inode:
            with log.open("rb") as file:
                file.seek(length)
                lines = file.read().decode(errors="replace").splitlines()
            for line in reversed(lines):
                if line.startswith(("error: ", "Fatal Python error: ")):
                    return line.removeprefix("error: ")
    return "its process is gone and said nothing: it was killed or ended itself, or the machine went down"


def _lives(results: Path, digest: str, path: Path, record: dict[str, Any]) -> bool:
    """Say whether the process that wrote a running record is still at work: it holds the setting's lock."""
    if record["provenance"]["host"] != socket.gethostname():
        return time.time() - path.stat().st_mtime < STALE_SECONDS
    return is_held(running_folder(results) / f"{digest}.lock")


# -- many runs, looked at again and again ----------------------------------------------------------------------------


@dataclass(frozen=True)
class RunProgress:
    """What a live view needs to know of one run. A sweep's whole records would not fit in memory."""

    exp_name: str
    digest: str
    setting: Setting
    state: str
    n_epochs: int = 0  # that are done
    last: dict[str, Any] = field(default_factory=dict)  # the last of them, as in the record
    epoch_seconds: float | None = None  # mean time of the latest of them
    val_acc: float | None = None  # of the weights that are tested
    test_acc: float | None = None
    seconds: float = 0.0  # of its epochs and, where it was not continued, its start
    started: float | None = None  # start of its last process (Unix time)
    updated: float | None = None  # its end or, while it is running, its latest epoch
    error: str = ""
    made: Made = field(default_factory=dict)  # the code and data of a finished run


class Survey:
    """The runs of a sweep, as often as they are asked for; a finished record is read once."""

    def __init__(self, sweep: Sweep, results: Path) -> None:
        self.sweep, self.results = sweep, results
        self._finished: dict[str, RunProgress] = {}

    def read(self) -> list[RunProgress]:
        """Return every run of the sweep as it is now."""
        records, running = _names(self.results), _names(running_folder(self.results))
        found = []
        for exp_name, digest, setting in self.sweep.records():
            name = record_name(exp_name, digest)
            again = record_name(exp_name, digest).replace(".json", REQUEST) in running
            progress = self._finished.get(name) if name in records and not again else None
            if progress is None and (name in records or name in running):
                run = run_state(self.results, exp_name, digest, _glance)
                progress = _progress(run, setting, self.results)
                if progress.state in FINISHED and not again:
                    self._finished[name] = progress
            found.append(progress or RunProgress(exp_name, digest, setting, "new"))
        return found


def _names(folder: Path) -> set[str]:
    return {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()


def _glance(path: Path) -> Record:
    """A record of which no more is checked than that it is one: ten thousand are read in a second."""
    record: Record = read_json(path)
    try:
        if record["status"] in FINISHED and (record["exp_name"], record["hash"]) == split_name(path):
            return record
    except (KeyError, TypeError):
        pass
    return read_record(path)  # says what is wrong with it


def _progress(run: Run, setting: Setting, results: Path) -> RunProgress:
    record = run.record
    epochs = record.get("epochs", [])
    provenance, final, timing = (record.get(key, {}) for key in ("provenance", "final", "timing"))
    last = known_epoch(epochs[-1]) if epochs else {}
    latest = [epoch["seconds"] for epoch in epochs[-5:] if epoch["seconds"] is not None]
    trained = sum(epoch["seconds"] or 0.0 for epoch in epochs)
    if run.state in FINISHED:
        updated = _unix_time(provenance.get("finished"))
    else:
        updated = _changed(running_folder(results) / record_name(run.exp_name, run.digest))
    by_best = setting.get("test_weights") == "best"
    return RunProgress(
        run.exp_name,
        run.digest,
        setting,
        run.state,
        len(epochs),
        last,
        sum(latest) / len(latest) if latest else None,
        final.get("best_val_acc") if by_best else last.get("val_acc"),
        final.get("test_acc"),
        max(timing.get("total_seconds") or 0.0, trained),
        _unix_time(provenance.get("started")),
        updated,
        run.error,
        made_with(record, setting) if run.state in FINISHED else {},
    )


def _unix_time(text: str | None) -> float | None:
    return datetime.datetime.fromisoformat(text).timestamp() if text else None


def _changed(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None
