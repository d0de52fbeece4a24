"""The memory of this machine: how much a run needs, and how many go at once."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dlsweep.config.identity import Setting
from dlsweep.config.paths import data_file
from dlsweep.tasks.classification.memory import Data, Need, describe_data, needed, worth_lowering
from dlsweep.workflow import internals
from dlsweep.workflow.gpus import Gpus

UNKNOWN = 4000  # MB that a run asks a cluster for, at least
MB = 10**6


class Memory:
    """The memory that the runs of this start share."""

    def __init__(self, results: str, gpus: Gpus) -> None:
        self.results, self.gpus = results, gpus
        self.free: int | None = None  # MB; None where it limits nothing
        self._submits = False
        self._data: dict[str, Data | None] = {}

    def limit(self, workflow: Any) -> None:
        """Have no more runs at once than fit in memory, where they run on this machine and the user has not said."""
        self._submits = internals.submits(workflow)
        if self._submits or internals.is_limited(workflow, "mem_mb"):
            return
        self.free = free_memory()
        if self.free:
            internals.limit(workflow, "mem_mb", self.free)

    def of_run(self, setting: Setting, attempt: int = 1) -> int:
        """Return the MB that a run asks Snakemake for; of a cluster, which ends those that take more, more each time.

        What code of the user's needs nobody knows: it asks a cluster for as much as ever, and this machine for none.
        """
        need = self._needed(setting)
        here = math.ceil(need.host / MB) if need else 0
        return max(here, UNKNOWN) * attempt if self._submits else here

    def _needed(self, setting: Setting) -> Need | None:
        return needed(setting, self._describe(setting), bool(self.gpus.slots) and not self._submits)

    def _describe(self, setting: Setting) -> Data | None:
        path = data_file(self.results, setting)
        if path and path not in self._data:
            self._data[path] = describe_data(setting, Path(path))
        return self._data.get(path)

    def remark(self, settings: Iterable[Setting], at_once: int) -> str:
        """Say which limit holds where memory lets fewer runs go at once than the `at_once` that else would; or ""."""
        largest = max(settings, key=self.of_run, default=None)
        if largest is None or not self.free or not (need := self.of_run(largest)):
            return ""
        fit = self.free // need
        if fit >= at_once:
            return ""
        told = f"memory: {self.free / 1000:.1f} GB are free here, and a run needs up to {need / 1000:.1f} GB"
        if fit:
            return f"{told}: {fit} of {at_once} such runs go at once (--resources mem_mb=... sets another limit)"
        lower = ", ".join(f"{key} (now {largest[key]})" for key in worth_lowering(largest, self._describe(largest)))
        return f"warning: {told}; it may fail. Lower {lower or 'the size of the model'}"


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
