"""What did not finish, and why: the table that ends a sweep with failures."""

from __future__ import annotations

import errno
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dlsweep.config.dotted import flat
from dlsweep.config.identity import Setting
from dlsweep.config.paths import record_name, split_name
from dlsweep.config.sweep import Experiment, Sweep
from dlsweep.files import write_atomic
from dlsweep.results.redo import requested
from dlsweep.results.schema import FINISHED
from dlsweep.runs.states import Run, run_state
from dlsweep.runs.survey import RunStatus
from dlsweep.tasks.classification.own_parts import Check, PartChecks

LITTLE_BYTES = 2**20
MOST_NAMED = 20  # lines a user still reads
MOST_TOLD = 3  # failures, while a sweep runs

_NOTHING = Experiment("", {}, [])


def unfinished(sweep: Sweep, results: Path, command: Callable[[str, str], str], script: str) -> str:
    """Return how many runs are not finished, and of those that failed: setting, epoch, cause, log, command.

    Records that are still to be made again count as not finished.
    """
    again = requested(results)
    missing = [
        run_state(results, exp_name, digest)
        for exp_name, digest, _ in sweep.records()
        if (exp_name, digest) in again or not (results / record_name(exp_name, digest)).exists()
    ]
    if not missing:
        return "every run is finished, but not what is made of them: see the errors above; start again to go on"
    causes = [_cause(results, run) for run in missing]
    failed = [(run, cause) for run, cause in zip(missing, causes, strict=True) if cause]
    counts = Counter("failed" if cause else _state(run) for run, cause in zip(missing, causes, strict=True))
    n_runs = sum(len(experiment.settings) for experiment in sweep.experiments.values())
    alike: dict[tuple[str, str], list[Run]] = {}  # what fails all runs of an experiment is told once
    for run, cause in failed:
        alike.setdefault((run.exp_name, cause), []).append(run)
    lines = []
    for (exp_name, cause), (run, *others) in list(alike.items())[:MOST_NAMED]:
        setting = sweep.experiments[exp_name].settings[run.digest]
        more = f" and {len(others)} more" if others else ""
        lines += [
            f"{exp_name} {_in_words(sweep, run)}{more}: {run.state} {_how_far(run, setting)}",
            f"    {cause}",
            f"    log: {_log(results, run)}",
            f"    by hand: {command(exp_name, run.digest)}",
        ]
    if len(alike) > MOST_NAMED:
        lines.append(f"... and {sum(map(len, list(alike.values())[MOST_NAMED:]))} more")
    lines += [line for stop in held_back(sweep, results, missing) for line in stop.lines(results, script)]
    kept = sum((results / record_name(run.exp_name, run.digest)).exists() for run in missing)
    old = f"; {kept} of them have their old record until then" if kept else ""
    states = ", ".join(f"{n} {state}" for state, n in counts.items())
    return "\n".join(
        [*lines, f"{len(missing)} of {n_runs} runs are not finished ({states}){old}; start again to go on"]
    )


class Failures:
    """The runs that fail while a sweep runs, a line each; of many only the first are told, the table tells the rest."""

    def __init__(self, sweep: Sweep, results: Path) -> None:
        self._sweep, self._results, self._n = sweep, results, 0

    def in_short(self, log: str) -> str | None:
        """Return the line of the run that a log is of: "" where it is not told, None where its cause is unknown."""
        name = split_name(Path(log).with_suffix(".json"))
        if name is None or name[1] not in self._sweep.experiments.get(name[0], _NOTHING).settings:
            return None
        run = run_state(self._results, *name)
        cause = _cause(self._results, run)
        if not cause:
            return None
        self._n += 1
        if self._n > MOST_TOLD:
            return ""
        further = "; further failures are in the table at the end" if self._n == MOST_TOLD else ""
        return f"failed: {run.exp_name}, {_in_words(self._sweep, run)}: {cause} ({log}){further}"


def _in_words(sweep: Sweep, run: Run) -> str:
    """What tells a run from the others of its experiment."""
    experiment = sweep.experiments[run.exp_name]
    setting = flat(experiment.settings[run.digest], experiment.varies)
    varies = " ".join(f"{key}={json.dumps(setting[key])}" for key in experiment.varies if key in setting)
    return varies or run.digest[:12]


@dataclass(frozen=True)
class HeldBack:
    """Runs that cannot start, since the check of their model has failed."""

    check: Check
    message: str
    n_runs: int

    def __str__(self) -> str:
        return f"{self.check.what}: {self.n_runs} {'run' if self.n_runs == 1 else 'runs'} cannot start: {self.message}"

    def lines(self, results: Path, script: str) -> list[str]:
        """Return it for the table of what failed; `script` calls scripts/train.py."""
        by_hand = self.check.command(script, str(results))
        return [str(self), f"    log: {self.check.log(str(results))}", f"    by hand: {by_hand}"]


def held_back(sweep: Sweep, results: Path, runs: Iterable[Run | RunStatus]) -> list[HeldBack]:
    """Return what keeps those of the runs from starting that have not begun."""
    checks = PartChecks(sweep)
    waiting = Counter(
        check.name
        for run in runs
        if run.state == "new"
        for check in checks.of_run(sweep.experiments[run.exp_name].settings[run.digest])
    )
    failed = checks.failed(results) if waiting else ()
    return [HeldBack(check, message, waiting[check.name]) for check, message in failed if waiting[check.name]]


def storage_trouble(results: Path) -> str:
    """Say so where nothing more can be written to the results folder, which no log could tell."""
    probe = results / ".space"
    try:
        write_atomic(probe, bytes(LITTLE_BYTES))
        probe.unlink()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"{results}: the disk is full ({os.strerror(error.errno)}); free some space, then start again"
        return f"{results}: nothing can be written there ({os.strerror(error.errno or 0)})"
    return ""


def _state(run: Run) -> str:
    return "not begun" if _has_only_the_old_record(run) else run.state


def _has_only_the_old_record(run: Run) -> bool:
    """Say so of a record that is to be made again, but whose new run has not begun."""
    return run.state in FINISHED or run.state == "damaged"


def _how_far(run: Run, setting: Setting) -> str:
    of = f" of {setting['epochs']}" if "epochs" in setting else ""
    return f"after epoch {len(run.record.get('epochs', []))}{of}"


def _log(results: Path, run: Run) -> Path:
    return results / "logs" / record_name(run.exp_name, run.digest).replace(".json", ".log")


def _cause(results: Path, run: Run) -> str:
    """Why a run failed, in one line; nothing where it did not, or was asked to stop."""
    if _has_only_the_old_record(run):
        return ""
    if run.error and not run.record.get("by_signal"):
        return run.error
    if run.state == "new" and (log := _log(results, run)).exists():  # it failed before it had a running record
        lines = log.read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
    return ""
