"""Watch a sweep while it runs: `status` once, `watch` until it ends. Reads records and running records only."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlsweep.commands.show import print_columns
from dlsweep.config.labels import setting_labels, with_version
from dlsweep.config.metrics import SELECTED_BY
from dlsweep.config.paths import record_name
from dlsweep.config.sweep import Sweep
from dlsweep.results.columns import metric
from dlsweep.results.schema import FINISHED
from dlsweep.results.statistics import mean_text, rank
from dlsweep.results.versions import find_outdated, tell_apart
from dlsweep.runs.eta import duration, expected_seconds, run_seconds_left, sweep_seconds_left
from dlsweep.runs.states import STATES
from dlsweep.runs.survey import RunProgress, Survey
from dlsweep.workflow.failures import held_back
from dlsweep.workflow.session import is_claimed

if TYPE_CHECKING:
    from rich.console import RenderableType

REFRESH = 1.0  # seconds between two looks
WAIT = 60.0  # seconds in which a sweep must start
SHOWN_FAILURES = 10


class View:
    """A sweep as the user is told of it: the counts, the time left and the label of each run."""

    def __init__(self, sweep: Sweep, results: Path) -> None:
        self.sweep, self.results = sweep, results
        self.survey = Survey(sweep, results)
        self.look()

    def look(self) -> None:
        """Read where every run stands now."""
        self.runs = self.survey.read()
        self.states = Counter(run.state for run in self.runs)
        self.seconds_left = sweep_seconds_left(self.runs)

    @property
    def n_finished(self) -> int:
        """The number of runs that need nothing more."""
        return sum(self.states[state] for state in FINISHED)

    @functools.cached_property
    def _labels(self) -> dict[str, dict[str, str]]:
        experiments = self.sweep.experiments.values()
        return {exp.name: setting_labels(exp.settings, exp.varies) for exp in experiments}

    def label(self, run: RunProgress) -> str:
        """Return what tells a run's setting from the others of its experiment, the seed left out."""
        return self._labels[run.exp_name][run.digest]

    def run_label(self, run: RunProgress) -> str:
        """Return what tells a run from the others of its experiment."""
        seeded = "seed" in self.sweep.experiments[run.exp_name].varies
        return f"{self.label(run)}, seed={run.setting['seed']}" if seeded else self.label(run)

    def headline(self) -> str:
        """Return the state of the whole sweep in one line."""
        others = [f"{self.states[state]} {state}" for state in STATES if state != "finished" and self.states[state]]
        parts = [f"{self.n_finished} of {len(self.runs)} runs are done", *others]
        if self.seconds_left is not None and self.n_finished < len(self.runs):
            parts.append(f"about {duration(self.seconds_left)} left")
        return ", ".join(parts)

    def failures(self) -> list[str]:
        """Return a line for each run that failed or whose record is damaged, and where to read more."""
        failed = [run for run in self.runs if run.error]
        lines = [
            f"{run.exp_name} {self.run_label(run)} {run.state}: {run.error}"
            f"  ({self.results}/logs/{record_name(run.exp_name, run.digest)[:-5]}.log)"
            for run in failed[:SHOWN_FAILURES]
        ]
        more = len(failed) - len(lines)
        lines += [f"and {more} more"] if more else []
        return [*lines, *(str(stop) for stop in held_back(self.sweep, self.results, self.runs))]

    def best(self, exp_name: str) -> dict[str, Any] | None:
        """Return an experiment's best setting so far, of its finished runs, as the leaderboard ranks them."""
        done = [run for run in self.runs if run.exp_name == exp_name and run.state in FINISHED]
        versions = tell_apart({run.digest: run.made for run in done})
        labels = {run.digest: with_version(self.label(run), versions[run.digest]) for run in done}
        selected = metric(SELECTED_BY)
        order = rank(
            ((labels[run.digest], run.val_acc, run.state == "diverged") for run in done),
            selected.better,
            selected.within,
        )
        if not order:
            return None
        best = order[0]
        tested = [run.test_acc for run in done if run.test_acc is not None and labels[run.digest] == best.label]
        return {
            "setting": best.label,
            "seeds": best.n,
            "diverged": best.n_diverged,
            "val_acc": best.mean,
            "test_acc": sum(tested) / len(tested) if tested else None,
        }


# -- status --------------------------------------------------------------------------------------------------------


def status(sweep: Sweep, results: Path, configs: list[str], overrides: Mapping[str, Any], as_json: bool) -> int:
    """Show where a sweep stands: its runs by state, the time left, each experiment's best setting so far."""
    view = View(sweep, results)
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for run in view.runs:
        counts[run.exp_name][run.state] += 1
    best = {exp_name: view.best(exp_name) for exp_name in counts}
    outdated = find_outdated(sweep, results)
    if as_json:
        gone = Counter(exp_name for exp_name, _ in outdated.runs)
        experiments = {
            name: {"states": dict(counts[name]), "outdated": gone[name], "best": best[name]} for name in counts
        }
        whole = {"runs": len(view.runs), "states": dict(view.states), "seconds_left": view.seconds_left}
        print(json.dumps({**whole, "experiments": experiments}, indent=2))
        return 0
    states = [state for state in STATES if view.states[state]]
    lines: list[list[Any]] = [["experiment", "runs", *states, "val acc", "test acc", "best setting so far"]]
    for name, states_of in counts.items():
        lines.append([name, states_of.total(), *(states_of[state] for state in states), *_best_cells(best[name])])
    print(view.headline(), end="\n\n")
    print_columns(lines)
    if changed := outdated.lines(configs, overrides):
        print("", *changed, sep="\n")
    print(*["", *view.failures()] if view.failures() else [], sep="\n", end="")
    return 0


def _best_cells(best: dict[str, Any] | None) -> tuple[str, str, str]:
    if best is None:
        return "", "", ""
    if best["diverged"] == best["seeds"]:
        return "", "", "none: every run diverged"
    diverged = f" ({best['diverged']} of {best['seeds']} runs diverged)" if best["diverged"] else ""
    return mean_text(best["val_acc"]), mean_text(best["test_acc"]), f"{best['setting']}{diverged}"


# -- watch ---------------------------------------------------------------------------------------------------------


def watch(sweep: Sweep, results: Path, wait: float) -> int:
    """Show the running settings until the sweep ends; without a terminal, a line for each run that ends.

    Returns 0 where every run is done, else 1.
    """
    view = View(sweep, results)
    with contextlib.suppress(KeyboardInterrupt):  # the usual way to leave; the sweep goes on
        (_watch_terminal if sys.stdout.isatty() else _watch_lines)(view, wait)
    print(view.headline(), *view.failures(), sep="\n")
    return 0 if view.n_finished == len(view.runs) else 1


def _until_the_end(view: View, wait: float, show: Callable[[], None]) -> None:
    """Look and show until all runs are done, Snakemake has ended, or `wait` seconds passed without either."""
    active, was_claimed = time.monotonic(), False
    while True:
        show()
        claimed = is_claimed(view.sweep.tables(str(view.results)))
        if claimed or view.states["running"]:
            active = time.monotonic()
        ended = was_claimed and not claimed and not view.states["running"]
        if view.n_finished == len(view.runs) or ended or time.monotonic() - active > wait:
            return
        was_claimed |= claimed
        time.sleep(REFRESH)
        view.look()


def _watch_lines(view: View, wait: float) -> None:
    print(view.headline(), flush=True)
    seen = {(run.exp_name, run.digest): run.state for run in view.runs}

    def show() -> None:
        for run in view.runs:
            key = run.exp_name, run.digest
            if run.state != seen[key] and run.state not in ("new", "running"):
                accuracies = (("val acc", run.val_acc), ("test acc", run.test_acc))
                known = [f"{name} {value:.4f}" for name, value in accuracies if value is not None]
                result = run.error or ", ".join(known) or "no result"
                left = f", about {duration(view.seconds_left)} left" if view.seconds_left else ""
                done = f"{view.n_finished}/{len(view.runs)}{left}"
                print(f"{run.exp_name} {view.run_label(run)} {run.state}: {result} ({done})", flush=True)
            seen[key] = run.state

    _until_the_end(view, wait, show)


def _watch_terminal(view: View, wait: float) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False, transient=True) as display:
        _until_the_end(view, wait, lambda: display.update(_screen(view, console.height), refresh=True))


def _screen(view: View, height: int) -> RenderableType:
    """One bar for the sweep and one line for each running setting, as many as fit."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    running = sorted((run for run in view.runs if run.state == "running"), key=lambda run: run.started or 0.0)
    expect = expected_seconds(view.runs)
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("experiment", style="cyan", no_wrap=True)
    table.add_column("setting", ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column("epoch", justify="right", no_wrap=True)
    table.add_column("", width=20)
    for name in ("train loss", "val loss", "val acc", "left"):
        table.add_column(name, justify="right", no_wrap=True)
    n_shown = max(height - 5, 1)
    for run in running[:n_shown]:
        epochs, left = run.setting["epochs"], run_seconds_left(run, expect)
        table.add_row(
            run.exp_name,
            Text(view.run_label(run)),
            f"{run.n_epochs}/{epochs}",
            ProgressBar(epochs, run.n_epochs),
            *(mean_text(run.last.get(key)) for key in ("train_loss", "val_loss", "val_acc")),
            "" if left is None else duration(left),
        )
    bar = ProgressBar(len(view.runs), view.n_finished)
    parts: list[RenderableType] = [Text(view.headline(), style="bold"), bar, Text()]
    if not running:
        parts.append(Text("no run is under way", style="dim"))
    else:
        parts.append(table)
    if len(running) > n_shown:
        parts.append(Text(f"and {len(running) - n_shown} more are running", style="dim"))
    return Group(*parts)
