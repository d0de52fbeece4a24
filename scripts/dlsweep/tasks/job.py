"""What a run and its task know of each other.

The module of a task has `load(job)`, which returns the Training of a run; `preload()`, which loads what is large; and
`memory_keys(job)`, the hyper-parameters that are worth lowering where memory is short, the first above all.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dlsweep.config.identity import Setting
from dlsweep.results.kept import Kept
from dlsweep.results.schema import Epoch, Outcome, Timing
from dlsweep.results.weights import Weights

if TYPE_CHECKING:
    from dlsweep.results.predictions import Predictions


class Stop(Protocol):
    """Says whether the run is to stop, and why; `on_signal` is called with each signal that asks for it.

    `paused` says that a search asks for it, which goes on with the run later.
    """

    reason: str
    paused: bool
    on_signal: Callable[[int], None] | None

    def __call__(self) -> bool: ...


@dataclass(frozen=True)
class Job:
    """What a task gets of the run that it is for.

    `data` is the prepared data set, of the built-in task only. `checkpoint` is the file from which the run goes on.
    `device` is as the command line has it, `slot` the GPU slot that the run holds. `on_epoch` is told all epochs so far
    after each. `init_from` is the file of weights that the setting says to begin with.
    `keep_state` is where to keep the state at the end. `shorter` are those of runs of fewer epochs, the longest first.
    """

    setting: Setting
    digest: str
    data: Path | None
    checkpoint: Path
    stop: Stop
    on_epoch: Callable[[list[Epoch]], None]
    device: str = "auto"
    slot: str | None = None
    threads: int = 1
    init_from: Path | None = None
    keep_state: Path | None = None
    shorter: Sequence[Kept] = ()

    @property
    def files(self) -> Path:
        """The folder of the files that belong to the record, while the run goes on."""
        return self.checkpoint.with_suffix(".files")


def device_without_torch(job: Job) -> str:
    """Return the name of a run's device where torch is not there to ask: cpu, cuda or mps."""
    if job.device != "auto":
        return job.device
    is_apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    return "cuda" if job.slot else "mps" if is_apple else "cpu"


class Training(Protocol):
    """One run of a task, where its checkpoint has left it."""

    @property
    def epochs(self) -> list[Epoch]:
        """The entries of the epochs so far."""

    @property
    def n_epochs(self) -> int | None:
        """How many epochs the run has at most; None where that is not known."""

    def made_with(self) -> dict[str, Any]:
        """Return the record's `provenance` as far as the task knows it: torch, device, threads, code, data."""

    def run(self) -> Outcome:
        """Run to the end; return the record's `status`, `epochs`, `final` and `model`.

        Raises tasks.checkpoint.Interrupted where it was asked to stop.
        """

    def trained_weights(self) -> Weights | None:
        """Return what the run has trained, after its end; None where it has nothing that could be used again."""

    def test_predictions(self) -> Predictions | None:
        """Return what the run predicted of its test split, after its end; None where that is not kept."""

    def timing(self) -> Timing:
        """Return the record's `timing`, but for `total_seconds`, of which only the whole run knows."""

    def describe_epoch(self, entry: Epoch) -> str:
        """Return the line that the log gets for an epoch."""

    def describe_outcome(self, outcome: Outcome) -> str:
        """Return what the log says of the end of the run."""
