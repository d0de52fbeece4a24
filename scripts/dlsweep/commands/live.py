"""Watch a sweep while it runs: `status` once, `watch` until it ends. Reads records and running records only."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlsweep.commands.show import print_columns
from dlsweep.config.metrics import SPLITS, is_number
from dlsweep.config.paths import predictions_file, state_file, weights_file
from dlsweep.config.sweep import Sweep
from dlsweep.files import strict
from dlsweep.results.columns import Columns
from dlsweep.results.statistics import mean_text
from dlsweep.results.versions import find_outdated
from dlsweep.runs.eta import duration, expected_seconds, run_seconds_left
from dlsweep.runs.states import STATES
from dlsweep.workflow.failures import chosen_before
from dlsweep.workflow.session import is_claimed
from dlsweep.workflow.view import View, findings

if TYPE_CHECKING:
    from rich.console import RenderableType

REFRESH = 1.0  # seconds between two looks
WAIT = 60.0  # seconds in which a sweep must start


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
        whole = {"runs": view.n_runs, "states": dict(view.states), "seconds_left": view.seconds_left}
        print(json.dumps(strict({**whole, "experiments": experiments, "disk": kept_on_disk(results)}), indent=2))
        return 0
    states = [state for state in STATES if view.states[state]]
    shared = {columns.objective: columns for columns in view.columns.values()}
    titles = ["selected by", "reported by"]
    if len(shared) == 1:
        titles = _titles(next(iter(shared.values())))
    lines: list[list[Any]] = [["experiment", "runs", *states, *titles, "best setting so far"]]
    for name, states_of in counts.items():
        cells = _best_cells(best[name], view.columns[name], named=len(shared) > 1)
        lines.append([name, states_of.total(), *(states_of[state] for state in states), *cells])
    print(view.headline(), end="\n\n")
    print_columns(lines)
    if searches := view.searches():
        print("", *searches, sep="\n")
    if missing := [line for name in counts for line in view.lacking(name)]:
        print("", *missing, sep="\n")
    if view.n_finished == view.n_runs:
        digest = sweep.plan(str(results), outdated.versions).digest
        if found := findings(Path(sweep.tables(str(results))), digest):
            print("", *found, sep="\n")
    if changed := outdated.lines(configs, overrides):
        print("", *changed, sep="\n")
    if old_choices := chosen_before(view.sweep, results):
        print("", *old_choices, sep="\n")
    kept = kept_on_disk(results).items()
    if told := [f"{what} of {n} run{'s' * (n > 1)} ({_bytes(size)})" for what, (n, size) in kept if n]:
        print("", f"In {results}: {', '.join(told)}", sep="\n")
    print(*["", *view.failures()] if view.failures() else [], sep="\n", end="")
    return 0


def kept_on_disk(results: Path) -> dict[str, tuple[int, int]]:
    """Return how many files of weights, states and predictions a results folder has, and the bytes that they take."""
    found = {}
    for what, file in {"weights": weights_file, "states": state_file, "predictions": predictions_file}.items():
        path = file(results, "*", "*")
        sizes = []
        for one in path.parent.glob(path.name):
            with contextlib.suppress(FileNotFoundError):  # a run that ends clears those of others
                sizes.append(one.stat().st_size)
        found[what] = len(sizes), sum(sizes)
    return found


def _bytes(size: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def _best_cells(best: dict[str, Any] | None, columns: Columns, named: bool) -> tuple[str, str, str]:
    """What the best setting is selected and reported by, `named` with the metrics' names where asked; and its label."""
    if best is None:
        return "", "", ""
    if best["diverged"] == best["seeds"]:
        return "", "", "none: every run diverged"
    diverged = f" ({best['diverged']} of {best['seeds']} runs diverged)" if best["diverged"] else ""
    names = (columns.ranked, columns.objective.report)
    texts = [columns.text(name, best[name]) for name in names]
    if named:
        texts = [f"{title} {text}" if text else "" for title, text in zip(_titles(columns), texts, strict=True)]
    return texts[0], texts[1], f"{best['setting']}{diverged}"


def _titles(columns: Columns) -> list[str]:
    """The metrics of an objective as short titles: val acc, test acc."""
    return [name.replace("_", " ") for name in (columns.objective.metric, columns.objective.report)]


# -- watch ---------------------------------------------------------------------------------------------------------


def watch(sweep: Sweep, results: Path, wait: float) -> int:
    """Show the running settings until the sweep ends; without a terminal, a line for each run that ends.

    Returns 0 where every run is done, else 1.
    """
    view = View(sweep, results)
    with contextlib.suppress(KeyboardInterrupt):  # the usual way to leave; the sweep goes on
        (_watch_terminal if sys.stdout.isatty() else _watch_lines)(view, wait)
    print(view.headline(), *view.failures(), sep="\n")
    return 0 if view.n_finished == view.n_runs else 1


def _until_the_end(view: View, wait: float, show: Callable[[], None]) -> None:
    """Look and show until all runs are done, Snakemake has ended, or `wait` seconds passed without either."""
    active, was_claimed = time.monotonic(), False
    while True:
        show()
        claimed = is_claimed(view.sweep.tables(str(view.results)))
        if claimed or view.states["running"]:
            active = time.monotonic()
        ended = was_claimed and not claimed and not view.states["running"]
        if view.n_finished == view.n_runs or ended or time.monotonic() - active > wait:
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
            if run.state != seen.get(key, "new") and run.state not in ("new", "running"):
                columns = view.columns[run.exp_name]
                objective = columns.objective
                values = {objective.metric: run.selected, objective.report: run.reported}
                known = [
                    f"{name.replace('_', ' ')} {columns.text(name, value)}"
                    for name, value in values.items()
                    if value is not None
                ]
                result = run.error or ", ".join(known) or "no result"
                left = f", about {duration(view.seconds_left)} left" if view.seconds_left else ""
                done = f"{view.n_finished}/{view.n_runs}{left}"
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
    shown = running[: max(height - 5, 1)]
    families = {view.columns[run.exp_name].objective.family for run in shown}
    names = [name for name in _LIVE if any(name in run.last for run in shown)]
    if not all(view.columns[run.exp_name].classifies for run in shown):
        names = [name for family in sorted(families) for name in (*(f"{split}_{family}" for split in SPLITS), family)]
        names = [name for name in names if any(name in run.last for run in shown)]
    for name in [*(name.replace("_", " ") for name in names or _LIVE), "left"]:
        table.add_column(name, justify="right", no_wrap=True)
    for run in shown:
        left, columns = run_seconds_left(run, expect), view.columns[run.exp_name]
        of = "" if run.n_planned is None else f"/{run.n_planned}"
        table.add_row(
            run.exp_name,
            Text(view.run_label(run)),
            f"{run.n_epochs}{of}",
            Text() if run.n_planned is None else ProgressBar(run.n_planned, run.n_epochs),
            *(_live_text(columns, name, run.last.get(name)) for name in names or _LIVE),
            "" if left is None else duration(left),
        )
    bar = ProgressBar(view.n_runs, view.n_finished)
    parts: list[RenderableType] = [Text(view.headline(), style="bold"), bar, Text()]
    if not running:
        parts.append(Text("no run is under way", style="dim"))
    else:
        parts.append(table)
    if len(running) > len(shown):
        parts.append(Text(f"and {len(running) - len(shown)} more are running", style="dim"))
    return Group(*parts)


_LIVE = ("train_loss", "val_loss", "val_acc")
"""The metrics that a live view shows of the built-in classification; of an own task those of its objective's family."""


def _live_text(columns: Columns, name: str, value: Any) -> str:
    if not is_number(value):
        return ""
    return mean_text(value) if columns.classifies else columns.text(name, value)
