"""Where each run of a sweep stands, read from records and running records alone: it works over SSH, anywhere.

A run's state is the `status` of its record (finished, stopped_early, diverged), or else that of its running
record (running, pruned, interrupted, failed), or else `new`. A running record whose process is gone is `interrupted`.
While a record is made again (redo.py), the running record counts; what it does not tell, the old record does.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlsweep.config.course import LEFT_OUT
from dlsweep.config.paths import record_name, running_folder
from dlsweep.config.sweep import Sweep
from dlsweep.errors import RecordError
from dlsweep.files import read_json
from dlsweep.locks import is_held
from dlsweep.results.records import read_record
from dlsweep.results.redo import request_file
from dlsweep.results.schema import FINISHED, PRUNED, Record
from dlsweep.runs.warm.handover import FOR_MEMORY

STATES = (*FINISHED, PRUNED, LEFT_OUT, "running", "interrupted", "failed", "damaged", "new")
KILLED = f"killed by signal {int(signal.SIGKILL)} (SIGKILL)"
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
    record: Mapping[str, Any]
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


def lacked_memory(run: Run) -> bool:
    """Say whether the system has killed a run for lack of memory. Who else kills one does not say so."""
    return run.state == "interrupted" and run.error == f"{KILLED}; {FOR_MEMORY}"


def _lives(results: Path, digest: str, path: Path, record: dict[str, Any]) -> bool:
    """Say whether the process that wrote a running record is still at work: it holds the setting's lock."""
    if record["provenance"]["host"] != socket.gethostname():
        return time.time() - path.stat().st_mtime < STALE_SECONDS
    return is_held(running_folder(results) / f"{digest}.lock")
