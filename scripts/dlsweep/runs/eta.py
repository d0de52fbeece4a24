"""How long a sweep will still take, from what its runs took so far. Loads neither torch nor pandas.

The work that is left is estimated in seconds of training: what is left of the runs that are running, by their
own latest epochs, and the runs to come, by those that are most like them. It is divided by the number of runs
that the machines really do at a time: the training time of the current stretch over its wall time, pauses and
start-up between the runs included. So it holds for any number of parallel runs, and what earlier stretches did
counts as done, not as speed.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from dlsweep.config.course import LEFT_OUT
from dlsweep.config.identity import Setting
from dlsweep.config.replicates import REPLICATES
from dlsweep.config.tasks import is_built_in
from dlsweep.results.schema import FINISHED, PRUNED
from dlsweep.runs.survey import RunStatus

COST_KEYS = (
    *("dataset", "train_size", "image_size", "model", "model_args", "n_layer", "hid_dim"),
    *("optimizer", "batch_size", "precision", "patience"),
)
"""The built-in task's hyper-parameters that decide how long an epoch takes, or how many of them a run needs."""

WINDOW = 900.0  # seconds over which the number of parallel runs is measured
PAUSE = 60.0  # a longer time (s) without any run separates two stretches
START = 10.0  # the next run starts within this time (s), or the stretch is over


def sweep_seconds_left(runs: Iterable[RunStatus], now: float | None = None) -> float | None:
    """Return the seconds until the last run is finished, None where nothing runs or nothing is known yet."""
    now = time.time() if now is None else now
    distinct = list({run.digest: run for run in sorted(runs, key=_weight)}.values())
    stretch = current_stretch(distinct, now)
    if stretch is None:
        return None
    expect = expected_seconds(distinct)
    total = longest = 0.0
    for run in distinct:
        if run.state == "failed" and (run.updated or 0.0) >= stretch.begin:
            continue  # the next start tries it again, not this one
        left = run_seconds_left(run, expect, now)
        if left is None:
            return None
        total += left
        if run.state == "running":
            longest = max(longest, left)
    return max(longest, total / stretch.parallel)


def _weight(run: RunStatus) -> int:
    """Of the runs of one setting in several experiments, one is trained and the others copy its record."""
    return ("new", "damaged", "failed", "interrupted", LEFT_OUT, PRUNED, "running", *FINISHED).index(run.state)


def run_seconds_left(
    run: RunStatus, expect: Callable[[RunStatus], float | None], now: float | None = None
) -> float | None:
    """Return the seconds of training that are left of one run, None where nothing is known yet."""
    if run.state in (*FINISHED, PRUNED, LEFT_OUT):
        return 0.0
    now = time.time() if now is None else now
    if run.epoch_seconds is not None and run.n_planned is not None:
        n_left = run.n_planned - run.n_epochs
        since = now - run.updated if run.state == "running" and run.updated else 0.0  # in the epoch under way
        return max(n_left * run.epoch_seconds - min(since, run.epoch_seconds), 0.0)
    expected = expect(run)
    if expected is None or run.state != "running" or run.started is None:
        return expected
    return max(expected - (now - run.started), 0.0)


def expected_seconds(runs: Iterable[RunStatus]) -> Callable[[RunStatus], float | None]:
    """Return a function that tells how long a whole run of a setting takes: as long, per epoch, as those like it.

    Those are, where there are any, the runs that cost the same (`_cost`), else those of the same experiment, else
    all. Epochs that a diverged or stopped run left out make those like it cheaper. Runs of which nobody knows how
    many epochs they are to have take as long as whole runs like them.
    """
    seconds: defaultdict[Hashable, float] = defaultdict(float)
    amount: defaultdict[Hashable, int] = defaultdict(int)  # of epochs, or of runs
    for run in runs:
        if not run.seconds:  # an imported record says no times
            continue
        done = run.n_epochs
        if run.state in FINISHED and (run.n_epochs or run.n_planned is None):
            done = run.n_planned or 1
        elif run.n_planned is None:
            continue
        for group in _groups(run) if done else ():
            seconds[group] += run.seconds
            amount[group] += done

    def expect(run: RunStatus) -> float | None:
        group = next((group for group in _groups(run) if amount[group]), None)
        return None if group is None else seconds[group] / amount[group] * (run.n_planned or 1)

    return expect


def _groups(run: RunStatus) -> tuple[Hashable, ...]:
    counted = run.n_planned is not None
    return (counted, _cost(run.setting)), (counted, run.exp_name), (counted, None)


def _cost(setting: Setting) -> Hashable:
    """What runs have in common that take equally long; of an own task all but the seed may count."""
    keys = COST_KEYS if is_built_in(setting) else [key for key in setting if key not in (*REPLICATES, "epochs")]
    return tuple(str(setting.get(key)) for key in keys)


@dataclass(frozen=True)
class Stretch:
    """The time since the last pause: its begin (Unix time) and how many runs it does at a time, on average."""

    begin: float
    parallel: float


def current_stretch(runs: Iterable[RunStatus], now: float | None = None) -> Stretch | None:
    """Return the stretch that is under way; None where nothing runs."""
    now = time.time() if now is None else now
    spans = (_busy(run, now) for run in runs if run.started is not None and run.updated is not None)
    busy = sorted(spans, key=lambda span: -span[1])
    if not busy or busy[0][1] < now - START:
        return None
    begin = now
    for start, end in busy:
        if end < begin - PAUSE:
            break
        begin = min(begin, start)
    since = max(begin, now - WINDOW)
    worked = sum(end - max(start, since) for start, end in busy if end > since)
    if worked <= 0:
        return None
    # More may run by now than did on average: on a cluster they start one after another. The younger a run is, the
    # less it counts: short ones leave a part of the time to the start of the next.
    ages = [now - start for start, end in busy if end == now]
    return Stretch(begin, max(worked / (now - since), sum(age / (age + START) for age in ages)))


def _busy(run: RunStatus, now: float) -> tuple[float, float]:
    """The time in which its last process trained."""
    assert run.started is not None and run.updated is not None
    if run.state == "running":
        return min(run.started, now), now
    return run.started, min(run.updated, now)


def duration(seconds: float) -> str:
    """Return a time as a person would say it: 45 s, 3 min 20 s, 5 h 10 min, 2 d 3 h."""
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} {seconds % size // part:.0f} {smaller}"
    return f"{max(seconds, 1):.0f} s"
