"""Why a run stops before its end: a signal, its time limit, the death of the Snakemake that started it."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PROCESS_VARIABLE = "DLSWEEP_SNAKEMAKE_PID"  # set by a local Snakemake for its runs, which end with it
TIMED_OUT = 124  # exit status, as of timeout(1)
LOOK_SECONDS = 0.2  # between two looks at clock and Snakemake


def snakemake_is_gone() -> bool:
    """Say whether the local Snakemake that started this process has died."""
    pid = os.environ.get(PROCESS_VARIABLE)
    if pid is None:
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


class Stop:
    """Called before every step, it says whether to stop; `reason` and the exit `status` then say why.

    `limit` is the time that the run has, in seconds; it is asked to stop a little earlier, for its checkpoint. A task
    that has to do more at once, when a signal comes, sets `on_signal`.
    """

    def __init__(self, limit: float | None = None) -> None:
        self.limit = limit
        self.reason, self.status = "", 0
        self.on_signal: Callable[[int], None] | None = None
        self.paused = False
        self._deadline = time.monotonic() + limit - min(60.0, 0.2 * limit) if limit else float("inf")
        self._next_look = 0.0

    def listen(self) -> None:
        """Stop on Ctrl-C, SIGTERM, SIGUSR1 (SLURM's warning) and SIGHUP, unless nohup ignores it."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN or number != signal.SIGHUP:
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: Any) -> None:
        if not self.reason:
            self.reason, self.status = f"stopped by {signal.Signals(number).name}", 128 + number
        if self.on_signal:
            self.on_signal(number)

    def pause(self, epoch: int) -> None:
        """Stop after the checkpoint, as a search asks for it; who is asked to stop for another reason does that."""
        if not self.reason:
            self.reason, self.paused = f"paused after epoch {epoch}", True

    @property
    def by_signal(self) -> bool:
        """Whether somebody asked the run to stop."""
        return self.status > 128

    def __call__(self) -> bool:
        now = time.monotonic()
        if now >= self._next_look and not self.reason:
            self._next_look = now + LOOK_SECONDS
            if now > self._deadline:
                self.reason, self.status = f"stopped by its time limit of {self.limit:g} s", TIMED_OUT
            elif snakemake_is_gone():
                self.reason, self.status = "stopped, since its Snakemake has died", 1
        return bool(self.reason)

    @contextmanager
    def watchdog(self, on_hang: Callable[[str], None]) -> Iterator[None]:
        """End the process hard where the limit passes without a stop; `on_hang` is told why.

        Where even Python hangs, in native code that keeps the interpreter's lock, faulthandler's own thread ends it.
        """
        if not self.limit:
            yield
            return

        def end() -> None:
            reason = f"hung: no step ended within its time limit of {self.limit:g} s"
            on_hang(reason)
            faulthandler.dump_traceback()
            print(f"error: {reason}", file=sys.stderr, flush=True)
            os._exit(TIMED_OUT)

        timer = threading.Timer(self.limit, end)
        timer.daemon = True
        timer.start()
        faulthandler.dump_traceback_later(self.limit + 10, exit=True)
        try:
            yield
        finally:
            timer.cancel()
            faulthandler.cancel_dump_traceback_later()
