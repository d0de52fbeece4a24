"""One Snakemake process: it alone works on its sweep, and its runs stop with it."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from dlsweep.errors import ConfigError
from dlsweep.locks import Busy, Lock, acquire, holder, is_held
from dlsweep.workflow.internals import handler_of_scheduler

GRACE_SECONDS = 60.0  # what a job has for its checkpoint before it is killed


def claim(name: str) -> Lock:
    """Hold the sweep called `name` in this folder until this process ends, however it ends.

    Snakemake's own lock outlives a killed process, so the profile turns it off in favour of this one.
    Raises ConfigError naming the process that holds the sweep already.
    """
    path = _lock_path(name)
    try:
        lock = acquire(path, timeout=0.5)  # long enough for who only asks whether it is held
    except Busy:
        raise ConfigError(
            f"{name}: another Snakemake is at work on this sweep ({holder(path)}); "
            "wait until it is done, or stop it: the next start goes on from where it stood"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    atexit.register(lock.release)
    if lock.lease:
        print(f"This file system has no file locks: files in {lock.lease.parent} and the like replace them")
    return lock


def is_claimed(name: str) -> bool:
    """Say whether a Snakemake process is at work on the sweep called `name` in this folder."""
    return is_held(_lock_path(name))


def _lock_path(name: str) -> Path:
    return Path(".snakemake") / f"{name.replace('/', '-')}.lock"


def stop_jobs_on_signals() -> None:
    """On Ctrl-C, SIGTERM and SIGHUP let every local job write its checkpoint and end, and Snakemake after them.

    Left alone, Snakemake lets its jobs train to their end on SIGTERM, and dies of SIGHUP while they go on.
    """
    finish = handler_of_scheduler()

    def stop(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # who asks twice does not want to wait
        # The scheduler's handler takes a lock that the interrupted thread may hold.
        threading.Thread(target=_stop_jobs, args=(finish,), daemon=True).start()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP, and means it
            signal.signal(number, stop)


def _stop_jobs(finish: Callable[[int, Any], Any] | None) -> None:
    """End every job, and Snakemake: by its own `finish`, which starts no more jobs; else as on Ctrl-C."""
    try:
        if finish is None:
            raise TypeError("it handles no SIGTERM")
        finish(signal.SIGTERM, None)
    except Exception as error:  # whatever it has become: the jobs must write their checkpoints
        print(f"warning: with this version of Snakemake jobs that have not begun are begun ({error})", file=sys.stderr)
        signal.raise_signal(signal.SIGINT)  # the default handler is set again: see `stop`
    started = time.monotonic()
    while True:  # until this process ends: a job may just have been on its way
        for job in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                if job.children():
                    continue  # a shell waits for its command
                if time.monotonic() - started < GRACE_SECONDS:
                    job.terminate()
                else:
                    job.kill()
        time.sleep(1)


def still_output_in_notebooks() -> None:
    """Have progress drawn once, not eight times a second, where a notebook keeps all that was ever drawn.

    A notebook's `!` pretends to be a terminal, but its cursor goes nowhere. rich asks for TERM whenever it draws.
    """
    if "JPY_PARENT_PID" in os.environ:
        os.environ["TERM"] = "dumb"
