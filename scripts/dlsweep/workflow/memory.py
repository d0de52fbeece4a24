"""The memory of this machine: how much a run needs, and how many go at once."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dlsweep.config.identity import Setting
from dlsweep.config.paths import data_file
from dlsweep.tasks.classification.memory import Data, Need, describe_data, kept_bytes, needed, worth_lowering
from dlsweep.tasks.free_memory import MB, free_memory
from dlsweep.workflow import internals
from dlsweep.workflow.gpus import Gpus

MUCH = 10 * 10**9  # bytes of weights that are kept without a word
UNKNOWN = 4000  # MB that a run asks a cluster for, at least


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

    def disk_remark(self, settings: Iterable[Setting], weights: bool, states: bool) -> str:
        """Say what the weights and states of these runs take on disk where that is much for it; or ""."""
        if not (weights or states):
            return ""
        total = sum(kept_bytes(setting, self._describe(setting), weights, states) for setting in settings)
        folder = Path(self.results)
        free = shutil.disk_usage(folder if folder.exists() else Path.cwd()).free
        if total <= min(MUCH, free // 2):
            return ""
        keys = [word for word, kept in {"save: all": weights, "keep_state: true": states}.items() if kept]
        return (
            f"warning: {' and '.join(keys)} will keep about {total / 1e9:.1f} GB in {self.results}/weights, where"
            f" {free / 1e9:.1f} GB are free; save: best keeps the weights of each experiment's best run alone"
        )

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
