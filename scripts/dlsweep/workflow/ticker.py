"""How far a sweep is, told by the Snakemake that runs it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

from dlsweep.config.sweep import Sweep

INTERVAL = 2.0  # seconds between two looks
SHARE = 0.02  # of a core that looking may take
TENTHS = 10


class Ticker:
    """A thread that tells the time left and the best so far until it is stopped.

    `show` shows a text in the terminal, in the place of the last one, and says whether there is one; without a terminal
    a line is printed each time that another tenth of the sweep's runs has ended.
    """

    def __init__(self, sweep: Sweep, results: Path, show: Callable[[str], bool]) -> None:
        self._sweep, self._results, self._show = sweep, results, show
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Say no more."""
        self._stopped.set()
        self._thread.join(timeout=5.0)

    def _tell(self) -> None:
        from dlsweep.workflow.view import View

        with contextlib.suppress(OSError, RuntimeError):  # of a sweep that ends, or a disk that is gone: others say so
            view = View(self._sweep, self._results)
            told = _tenths(view.n_finished, view.n_runs)
            wait = INTERVAL
            while not self._stopped.wait(wait):
                started = time.thread_time()
                view.look()
                parts = [view.headline(), view.best_so_far()]
                tenths = _tenths(view.n_finished, view.n_runs)
                if not self._show(" · ".join(filter(None, parts))) and told < tenths < TENTHS:
                    print("; ".join(filter(None, parts)), flush=True)
                told = max(told, tenths)
                wait = max(INTERVAL, (time.thread_time() - started) / SHARE)


def _tenths(n_done: int, n: int) -> int:
    return TENTHS * n_done // n if n else TENTHS
