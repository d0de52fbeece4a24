"""The file from which an interrupted run goes on: when it is written, and what becomes of one that does not fit.

A task gives the state that it needs and takes it back; all else is done here, for every task.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dlsweep.files import write_atomic

SECONDS = 0.5  # at least, between two checkpoints: what a killed run may lose
SHARE = 20  # the last checkpoint is as many times its own cost ago, so that they cost 5 % of the time at most

_UNLIKE = {
    "hash": "is of another setting, {there}",
    "torch": "is of torch {there}, not {here}",
    "device": "is of a {there} device, not {here}",
    "data": "is of other data, {there}, not {here}",
    "code": "is of another version of your code",
}
"""What a checkpoint was made with, and what to say where that is another one now."""


class Interrupted(BaseException):
    """The run was asked to stop; its checkpoint is written. Like Ctrl-C, it is no error that a task may catch."""


class Checkpoint:
    """The checkpoint of one run. `should_stop` is asked whenever one could be written.

    The task says in `made_with`, before anything else, what the run is made with, by the names of `_UNLIKE`.
    """

    def __init__(self, path: Path, should_stop: Callable[[], bool] = lambda: False) -> None:
        self.path, self.should_stop = path, should_stop
        self.made_with: Mapping[str, str | None] = {}
        self._last, self._cost = time.perf_counter(), 0.0

    def load(self, misfit: Callable[[dict[str, Any]], str]) -> dict[str, Any] | None:
        """Return the state to go on from, its tensors on the CPU; None where there is none that fits, saying why.

        One that was made with anything else does not fit, nor one of which `misfit` says what is wrong. Its file is
        moved aside.
        """
        if not self.path.exists():
            return None
        import torch

        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            fault = self._fault(state) or misfit(state)
        except Exception as error:  # torch raises many kinds for a torn file
            fault = f"cannot be read ({type(error).__name__})"
        if fault:
            self.refuse(fault)
            return None
        return {key: value for key, value in state.items() if key not in self.made_with}

    def _fault(self, state: Any) -> str:
        if not isinstance(state, dict) or not self.made_with.keys() <= state.keys():
            return "has another form than this version writes"
        for key, here in self.made_with.items():
            there = state[key]
            if there != here:
                return _UNLIKE[key].format(here=here, there=there[:12] if key == "hash" else there)
        return ""

    def refuse(self, fault: str) -> None:
        """Move the file aside, and say why."""
        aside = self.path.with_suffix(".pt.bad")
        self.path.replace(aside)
        print(f"warning: {self.path} {fault}; moved to {aside.name}, training starts anew", flush=True)

    def save_if_due(self, state: Callable[[], dict[str, Any]]) -> None:
        """Write a checkpoint where it is time for one. Raises Interrupted, after writing one, where the run is to stop.

        Raises OSError where the disk is full.
        """
        if self.should_stop():
            self.save(state())
            raise Interrupted
        now = time.perf_counter()
        if now - self._last >= max(SHARE * self._cost, SECONDS):
            self.save(state())
            self._last = time.perf_counter()
            self._cost = self._last - now

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint, whole or not at all. Raises OSError where the disk is full."""
        import torch

        buffer = io.BytesIO()
        torch.save({**self.made_with, **state}, buffer)
        write_atomic(self.path, buffer.getvalue())
