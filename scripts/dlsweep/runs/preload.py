"""Load what is large, torch above all, in half the time."""

from __future__ import annotations

import functools
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collector() -> Iterator[None]:
    """Import without Python's garbage collector: it would look through all that is loaded, again and again.

    What is there at the end stays: the collector never looks at it, not even at the end of the process, and processes
    that are forked need no copies of its pages for that.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@functools.cache
def load_training() -> None:
    """Load all that a run needs, without computing anything."""
    with without_collector():
        import torch
        import torch.utils.serialization  # what torch.load loads

        from dlsweep.results.schema import validator
        from dlsweep.runs.machine import git_state
        from dlsweep.tasks.classification import training  # noqa: F401

        torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])  # the first optimizer of a process loads the compiler
        validator()
        git_state()
