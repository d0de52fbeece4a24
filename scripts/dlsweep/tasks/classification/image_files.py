"""Read many image files: several at a time, saying how far it is, and going on where an earlier start was ended.

What has been read is kept in a folder beside the prepared file until that is there: the pixels of each split in a file
that is mapped, so that they need no memory of their own, and what else was found in a journal.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dlsweep.files import write_atomic

JOURNAL = "journal.jsonl"
TOGETHER = 256  # images between two entries of the journal
SECONDS = 10  # between two lines that say how far it is


@dataclass(frozen=True)
class Place:
    """Where a loader keeps what it has read so far, and how many files it reads at a time."""

    folder: Path
    threads: int = 1


@dataclass(frozen=True)
class FileImage:
    """What was read of a file: `pixels` (3, size, size) uint8, or None where the file has more than 8 bits of grey.

    `low` and `high` are its least and largest value. `cut`: has 16 bits a channel, of which PIL keeps the upper 8;
    `squeezed`: so little of its grey values would be left in 8 bits of 16 that they are not cut.
    """

    pixels: np.ndarray | None
    mode: str
    is_grey: bool
    low: float
    high: float
    cut: bool
    squeezed: bool
    has_more: bool  # the file holds further images


def read_all(
    files: Mapping[str, list[Path]], size: int, place: Place, read: Callable[[Path, int], FileImage]
) -> tuple[dict[str, np.memmap[Any, Any]], list[FileImage]]:
    """Return the pixels of each split (N, 3, size, size), mapped, and what was found of each file, without pixels.

    `read` raises ConfigError where a file cannot be read; that of the first such file is raised.
    """
    key, shape = _key(files, size), (3, size, size)
    arrays = {place.folder / f"{split}.u8": (len(paths), *shape) for split, paths in files.items()}
    found = _found(place.folder, key)
    if not found or not all(path.exists() for path in arrays):
        shutil.rmtree(place.folder, ignore_errors=True)
        found = []
    place.folder.mkdir(parents=True, exist_ok=True)
    write_atomic(place.folder / JOURNAL, f"{key}\n{_lines(found)}".encode())  # without what is torn
    pixels = {path.stem: _mapped(path, shape) for path, shape in arrays.items()}
    all_files = [(split, i, path) for split, paths in files.items() for i, path in enumerate(paths)]
    progress = _Progress(len(all_files), len(found))
    with ThreadPoolExecutor(place.threads) as pool:
        while len(found) < len(all_files):
            part = all_files[len(found) : len(found) + TOGETHER]
            now = []
            for (split, i, _), image in zip(part, pool.map(lambda one: read(one[2], size), part), strict=True):
                if image.pixels is not None:
                    pixels[split][i] = image.pixels
                now.append(replace(image, pixels=None))
            for array in pixels.values():
                array.flush()  # before the journal says that they are there
            with (place.folder / JOURNAL).open("a") as journal:
                journal.write(_lines(now))
            found += now
            progress.say(len(found))
    return pixels, found


def _key(files: Mapping[str, list[Path]], size: int) -> str:
    """What changes with the size and with any file, and which is kept: then all are read again."""
    sha1 = hashlib.sha1(str(size).encode())
    for split, paths in files.items():
        for path in paths:
            status = path.stat()
            sha1.update(f"{split} {path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return sha1.hexdigest()


def _found(folder: Path, key: str) -> list[FileImage]:
    """What an earlier start has read of the same files."""
    try:
        first, *lines = (folder / JOURNAL).read_text().split("\n")
        whole = lines[:-1]  # what stands after the last end of a line is torn, or nothing
        return [FileImage(**json.loads(line)) for line in whole] if first == key else []
    except (OSError, ValueError, TypeError):
        return []


def _lines(images: Iterable[FileImage]) -> str:
    return "".join(f"{json.dumps({**vars(image), 'pixels': None})}\n" for image in images)


def _mapped(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """Raises OSError where the disk has no room for it: a process that writes to a mapped file is killed there."""
    with path.open("ab") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, math.prod(shape))
        file.truncate(math.prod(shape))
    return np.memmap(path, np.uint8, "r+", shape=shape)


class _Progress:
    """Says now and then how far it is."""

    def __init__(self, total: int, done: int) -> None:
        self.total, self.before, self.start = total, done, time.monotonic()
        self.next = self.start + SECONDS
        if done:
            print(f"{done} of {total} images have been read by an earlier start", flush=True)

    def say(self, done: int) -> None:
        now = time.monotonic()
        if now >= self.next:
            left = (now - self.start) / (done - self.before) * (self.total - done)
            print(f"{done} of {self.total} images, {left:.0f} s left", flush=True)
            self.next = now + SECONDS
