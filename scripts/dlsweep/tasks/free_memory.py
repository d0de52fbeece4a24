"""How much memory is free on this machine. Loads no torch: the Snakefile asks too."""

from __future__ import annotations

import functools
import os
from pathlib import Path

MB = 10**6


@functools.cache
def free_memory() -> int | None:
    """Return the MB of memory that are free on this machine, or in its container or job; None where nobody says."""
    found = [value for value in (_available(), *_left_in_groups()) if value is not None]
    return min(found) // MB if found else None


def _available() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:  # of a Mac all memory: what is free at a moment says little there
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


def _left_in_groups() -> list[int]:
    """What is left in the control groups of this process, the inner and all outer ones, of version 1 and 2.

    Pages of files count as used there, but are given up where memory is short.
    """
    found = []
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory") and "memory" not in controllers.split(","):
            continue
        root = Path("/sys/fs/cgroup", "memory") if controllers else Path("/sys/fs/cgroup")
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if controllers else ("memory.max", "memory.current")
        inner = Path(path.lstrip("/"))
        for group in (root, *(root / part for part in (inner, *inner.parents) if str(part) != ".")):
            try:
                limit, used = (int((group / name).read_text()) for name in names)
                counts = dict(row.split() for row in (group / "memory.stat").read_text().splitlines())
                files = int(counts.get("total_inactive_file", counts.get("inactive_file", 0)))
                files += int(counts.get("total_active_file", counts.get("active_file", 0)))
                found.append(max(limit - used + files, 0))
            except (OSError, ValueError):  # no limit ("max"), or none that can be read
                continue
    return found
