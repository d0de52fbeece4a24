"""The GPUs of this machine: how many runs they take at once, and which of them torch can use."""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlsweep.runs.devices import KNOWN, VISIBLE, Found, complaints, find_devices, find_usable, select_visible
from dlsweep.workflow import internals


@dataclass
class Gpus:
    """The GPUs that the runs of this start share."""

    jobs_per_gpu: int

    @functools.cached_property
    def _found(self) -> Found:
        """What the driver says of this machine's GPUs: asked once a start, since it takes time and may hang."""
        hidden = os.environ.get(VISIBLE, "all").strip() in ("", "-1")
        return Found([]) if hidden else find_devices()

    @functools.cached_property
    def slots(self) -> int:
        """How many runs this machine's GPUs take at once."""
        return len(select_visible(self._found.names)) * self.jobs_per_gpu

    @property
    def per_run(self) -> int:
        """1 where this machine shows a GPU, else 0. A cluster's profile sets its own."""
        return int(bool(self.slots or self._found.error))

    def limit(self, workflow: Any) -> None:
        """Have no more runs at once than GPU slots, where they run on this machine and the user has not said."""
        self._are_pretended = KNOWN in os.environ
        self._are_limited_here = not internals.submits(workflow) and not internals.is_limited(workflow, "gpu")
        if self.slots and self._are_limited_here:
            internals.limit(workflow, "gpu", self.slots)
        if self._found.names and not internals.submits(workflow):
            os.environ[KNOWN] = ",".join(self._found.names)

    def check(self, workflow: Any) -> None:
        """Let torch try the GPUs; say loudly which it cannot use and why, and leave these out."""
        elsewhere = internals.deployment(workflow)  # the runs have another Python, with another torch
        if self._are_pretended or elsewhere or not self.per_run:
            return
        usable = find_usable(self._found, Path(".snakemake", "gpus.json"))
        for line in complaints(self._found, usable):
            print(line, file=sys.stderr)
        os.environ[KNOWN] = ",".join(self._found.names or usable.names)
        os.environ[VISIBLE] = ",".join(usable.names)
        if self._are_limited_here and usable.names != select_visible(self._found.names):
            internals.limit_from_now_on(workflow, "gpu", len(usable.names) * self.jobs_per_gpu or None)
