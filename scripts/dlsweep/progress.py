"""Where each run of a sweep stands, read from records and running records alone: it works over SSH, anywhere.

A run's state is the `status` of its record (finished, stopped_early, diverged), or else that of its running
record (running, interrupted, failed), or else `new`. A running record whose process is gone is `interrupted`.
"""

from __future__ import annotations

import fcntl
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .records import FINISHED, Record, RecordError, read_json, read_record, record_name, running_folder
from .sweep import Sweep

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


def run_state(results: Path, exp_name: str, digest: str) -> Run:
    """Return where one run stands."""
    name = record_name(exp_name, digest)
    try:
        if (results / name).exists():
            record = read_record(results / name)
            return Run(exp_name, digest, record["status"], record)
    except RecordError as error:
        return Run(exp_name, digest, "damaged", {}, str(error))
    path = running_folder(results) / name
    try:
        record = read_json(path)
        state, why = record["status"], record.get("error", "")
        if state == "running" and not _lives(results, digest, path, record):
            state, why = "interrupted", "ended without a word: killed, maybe for lack of memory, or power was lost"
    except (RecordError, KeyError, TypeError, AttributeError):  # none yet, or torn: nothing that counts is lost
        return Run(exp_name, digest, "new", {})
    return Run(exp_name, digest, state, record, why)


def _lives(results: Path, digest: str, path: Path, record: dict[str, Any]) -> bool:
    """Say whether the process that wrote a running record is still at work: it holds the setting's lock."""
    if record["provenance"]["host"] != socket.gethostname():
        return time.time() - path.stat().st_mtime < STALE_SECONDS
    try:
        with (running_folder(results) / f"{digest}.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
