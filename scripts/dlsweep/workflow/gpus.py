"""The GPUs of this machine: how many runs they take at once, and which of them torch can use."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlsweep.config.identity import Setting
from dlsweep.config.tasks import is_built_in
from dlsweep.errors import ConfigError
from dlsweep.runs.devices import (
    KNOWN,
    VISIBLE,
    Found,
    are_hidden,
    complaints,
    find_devices,
    find_usable,
    refuse_too_few,
    select_visible,
    whole,
)
from dlsweep.workflow import internals


@dataclass
class Gpus:
    """The GPUs that the runs of this start share: `jobs_per_gpu` runs one, or one run `gpus_per_run` of them."""

    jobs_per_gpu: int = 1
    gpus_per_run: int = 1

    @functools.cached_property
    def _found(self) -> Found:
        """What the driver says of this machine's GPUs: asked once a start, since it takes time and may hang."""
        return Found([]) if are_hidden() else find_devices()

    @functools.cached_property
    def slots(self) -> int:
        """How many slots this machine's GPUs have. Most runs take one."""
        return len(self._countable(select_visible(self._found.names))) * self.jobs_per_gpu

    def _countable(self, names: list[str]) -> list[str]:
        return whole(names) if self.gpus_per_run > 1 else names

    def of_run(self, setting: Setting) -> int:
        """Return how many GPUs a run takes, whatever this machine has: the built-in training uses one."""
        return 1 if is_built_in(setting) else self.gpus_per_run

    def to_ask_for(self, setting: Setting) -> int:
        """Return how many GPUs a run asks Snakemake for: none where this machine shows none.

        A cluster's profile says whether its runs have one; where they are to have several, the config says how many.
        """
        n_gpus = self.of_run(setting)
        here = self.slots or self._found.error
        return n_gpus if here or (self._are_elsewhere and self.gpus_per_run > 1) else 0

    def limit(self, workflow: Any) -> None:
        """Have no more runs at once than GPU slots, where they run on this machine and the user has not said."""
        self._are_elsewhere = internals.submits(workflow)
        several_elsewhere = self._are_elsewhere and self.gpus_per_run > 1
        said = [
            internals.take_back_resource(workflow, rule, "gpu")
            for rule in internals.TRAINING_RULES
            if several_elsewhere
        ]
        if 0 in said:
            raise ConfigError(
                f"gpus_per_run: {self.gpus_per_run} does not go with the cluster's profile (or --set-resources),"
                " which gives a run no GPU (gpu: 0)"
            )
        self._are_pretended = KNOWN in os.environ
        self._are_limited_here = not self._are_elsewhere and not internals.is_limited(workflow, "gpu")
        if self.slots and self._are_limited_here:
            internals.limit(workflow, "gpu", self.slots)
        if self._found.names and not self._are_elsewhere:
            os.environ[KNOWN] = ",".join(self._found.names)

    def check(self, workflow: Any, settings: Iterable[Setting]) -> None:
        """Look at this machine's GPUs before the first run; raise ConfigError where one is to have more than there are.

        Torch does not decide what the GPUs can do for a command, which may know no torch.
        """
        settings = list(settings)
        if self._found.error or not all("command" in setting for setting in settings):
            self._try(workflow)
        most = max(map(self.of_run, settings), default=1)
        if most == 1 or are_hidden():
            return
        refuse_too_few(most, whole(select_visible(find_devices().names)), self._found.error)
        if not self._are_limited_here and (limit := internals.limit_of(workflow, "gpu")) < most:
            raise ConfigError(f"--resources gpu={limit}: is too little for gpus_per_run: {most}")

    def _try(self, workflow: Any) -> None:
        """Let torch try the GPUs; say loudly which it cannot use and why, and leave these out."""
        elsewhere = internals.deployment(workflow)  # the runs have another Python, with another torch
        if self._are_pretended or elsewhere or not (self.slots or self._found.error):
            return
        usable = find_usable(self._found, Path(".snakemake", "gpus.json"))
        for line in complaints(self._found, usable):
            print(line, file=sys.stderr)
        os.environ[KNOWN] = ",".join(self._found.names or usable.names)
        os.environ[VISIBLE] = ",".join(usable.names)
        if self._are_limited_here and usable.names != select_visible(self._found.names):
            slots = len(self._countable(usable.names)) * self.jobs_per_gpu
            internals.limit_from_now_on(workflow, "gpu", slots or None)
