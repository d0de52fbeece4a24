"""Records that are to be made again: a small file asks for it until the new record has replaced the old one.

`results/running/<exp>-<hash>.redo` is a request. It holds its token, which the new record notes in its provenance: so
a run that is killed between writing the record and removing the request does not train again, and two experiments
that share a setting train it once for the requests of one start. An empty file, made by hand, asks as well.
Whoever removes the file takes the request back.
"""

from __future__ import annotations

import functools
import os
import re
import secrets
from pathlib import Path

from dlsweep.config.paths import record_name, running_folder, split_name
from dlsweep.errors import RecordError
from dlsweep.files import write_atomic
from dlsweep.results.records import REQUEST, read_record
from dlsweep.results.schema import Record

_TOKEN = re.compile("[0-9a-f]{1,40}")


def request_file(results: Path, exp_name: str, digest: str) -> Path:
    """Return the file that asks for a record to be made again."""
    return running_folder(results) / record_name(exp_name, digest).replace(".json", REQUEST)


def checkpoint_file(running: Path, digest: str, token: str = "") -> Path:
    """Return the checkpoint of a setting. One made for a request goes on from no other's."""
    return running / (f"{digest}.{token}.pt" if token else f"{digest}.pt")


def request(results: Path, exp_name: str, digest: str) -> None:
    """Ask for a record to be made again. A request that is still open stays as it is: it may have a checkpoint."""
    path = request_file(results, exp_name, digest)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, f"{_token_of_this_process()}\n".encode(), sync=False)


def requested(results: Path) -> set[tuple[str, str]]:
    """Return the records with an open request, as (exp_name, hash)."""
    folder = running_folder(results)
    if not folder.is_dir():
        return set()
    names = (entry.name for entry in os.scandir(folder) if entry.name.endswith(REQUEST))
    return {parts for name in names if (parts := split_name(Path(name).with_suffix(".json")))}


def open_token(results: Path, exp_name: str, digest: str) -> str:
    """Return the token of a record's open request; "" where there is none."""
    path = request_file(results, exp_name, digest)
    try:
        text = path.read_text(errors="replace").strip()
        return text if _TOKEN.fullmatch(text) else f"{path.stat().st_mtime_ns:x}"
    except FileNotFoundError:
        return ""


def answers(path: Path, token: str) -> bool:
    """Say whether a record was made for the request with this token."""
    try:
        return is_answer(read_record(path), token)
    except RecordError:
        return False


def is_answer(record: Record, token: str) -> bool:
    """Say whether this record was made for the request with this token."""
    return bool(record["provenance"].get("request") == token)


def withdraw(results: Path, exp_name: str, digest: str) -> None:
    """Remove a request: its record is there."""
    request_file(results, exp_name, digest).unlink(missing_ok=True)


@functools.cache
def _token_of_this_process() -> str:
    return secrets.token_hex(4)
