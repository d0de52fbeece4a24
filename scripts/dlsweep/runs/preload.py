"""Load the module of a task, and what is large, torch above all, in half the time."""

from __future__ import annotations

import functools
import gc
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


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


TASKS = {
    "classification": "dlsweep.tasks.classification.training",
    "function": "dlsweep.tasks.function",
    "command": "dlsweep.tasks.command",
}
"""The module of each kind of task; see tasks/job.py for what it has."""


@functools.cache
def load_task(kind: str) -> Any:
    """Return the module of a kind of task, with all that its runs need loaded, but nothing computed."""
    with without_collector():
        from dlsweep.results.schema import validator
        from dlsweep.runs.machine import git_state

        module = importlib.import_module(TASKS[kind])
        module.preload()
        validator()
        git_state()
        return module
