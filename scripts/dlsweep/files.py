"""Files that are written whole or not at all, and JSON without NaN."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from dlsweep.errors import RecordError


def strict(value: Any) -> Any:
    """Return the value with NaN and infinities as None, as strict JSON wants it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(item) for item in value]
    return value


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


def copy_folder(source: Path, target: Path) -> None:
    """Have `target` be what `source` is, whole; nothing where that is not there or empty.

    The files are hard links, where the file system has them: weights are large. What was there before is replaced.
    """
    if not source.is_dir() or not any(source.iterdir()):
        return
    new, old = (target.with_name(f".{target.name}.{suffix}") for suffix in ("new", "old"))
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)  # by a process that was killed
    shutil.copytree(source, new, symlinks=True, copy_function=_link_or_copy)
    if target.exists():
        target.rename(old)
    new.rename(target)
    _sync_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def copy_file(source: Path, target: Path) -> None:
    """Have `target` be what `source` is, whole: a hard link, where the file system has them. Raises OSError."""
    new = target.with_name(target.name + ".tmp")
    new.unlink(missing_ok=True)  # of a process that was killed
    _link_or_copy(str(source), str(new))
    new.replace(target)
    _sync_folder(target.parent)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


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


def read_end(path: Path) -> dict[str, Any]:
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
