"""One Snakemake process: it alone works on its sweep, and its runs stop with it."""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from .hyperparameters import ConfigError
from .locks import Busy, Lock, acquire, holder, is_held

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
    finish = signal.getsignal(signal.SIGTERM)  # the scheduler's own: start no more jobs

    def stop(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # who asks twice does not want to wait
        # The scheduler's handler takes a lock that the interrupted thread may hold.
        threading.Thread(target=_stop_jobs, args=(finish,), daemon=True).start()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP, and means it
            signal.signal(number, stop)


def _stop_jobs(finish: Callable[[int, Any], None]) -> None:
    finish(signal.SIGTERM, None)
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


def quieten_snakemake() -> None:
    """Drop what Snakemake says of outputs that it keeps: ours are whole or not there, so it would only alarm."""
    from snakemake.logging import logger

    needless = "--keep-incomplete mode is set"
    logger.addFilter(lambda record: not str(record.msg).startswith(needless))


def no_rate_limit(workflow: Any) -> None:
    """Start local jobs as they come: Snakemake's limit (100 a second) is made for clusters.

    To keep it, Snakemake looks at all open jobs once a second for each job that it has started, ever more often, and
    waits for one second more at its end.
    """
    workflow.scheduler.job_rate_limiter = None
