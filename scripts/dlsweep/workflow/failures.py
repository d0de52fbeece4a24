"""What did not finish, and why: the table that ends a sweep with failures."""

from __future__ import annotations

import errno
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dlsweep.config.comparison import Comparison
from dlsweep.config.course import decision_file, slot_file
from dlsweep.config.dotted import flat
from dlsweep.config.identity import Setting
from dlsweep.config.paths import record_name, split_name
from dlsweep.config.sweep import Experiment, Sweep
from dlsweep.files import read_json, write_atomic
from dlsweep.results.redo import requested
from dlsweep.results.schema import FAILED, FINISHED
from dlsweep.runs.states import Run, lacked_memory, run_state
from dlsweep.runs.survey import RunStatus
from dlsweep.runs.warm.handover import SEE
from dlsweep.tasks.classification.own_parts import Check, PartChecks

LITTLE_BYTES = 2**20
MOST_NAMED = 20  # lines a user still reads
MOST_TOLD = 3  # failures, while a sweep runs

_NOTHING = Experiment("", {}, [])


def unfinished(
    sweep: Sweep, results: Path, command: Callable[[str, str], str], script: str, release: Callable[[str], str]
) -> str:
    """Return how many runs are not finished, and of those that failed: setting, epoch, cause, log, command.

    `release` is the command with which a search gives up the run of a hash. Records that are still to be made again
    count as not finished.
    """
    again = requested(results)
    missing = [
        run_state(results, exp_name, digest)
        for exp_name, digest, _ in sweep.records()
        if (exp_name, digest) in again or not (results / record_name(exp_name, digest)).exists()
    ]
    left = open_slots(sweep, results)
    slots = {name: len(slots) for name, slots in left.items()}
    open_runs = _open_runs(sweep, results, left)
    missing = [run for run in missing if run.exp_name not in left or run.digest in open_runs]
    if not missing and not any(slots.values()):
        return "every run is finished, but not what is made of them: see the errors above; start again to go on"
    causes = [_cause(results, run) for run in missing]
    failed = [(run, cause) for run, cause in zip(missing, causes, strict=True) if cause]
    counts = Counter("failed" if cause else _state(run) for run, cause in zip(missing, causes, strict=True))
    n_runs = sum(exp.n_runs for exp in sweep.experiments.values())
    known = Counter(run.exp_name for run in missing)
    undecided = {name: n - known[name] for name, n in slots.items() if n > known[name]}
    if undecided:
        counts["not decided"] = sum(undecided.values())
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
        if exp_name in left and (run.state == FAILED or lacked_memory(run)):
            lines.append("    if the next start fails in the same way, it counts as the worst, and the search goes on")
        elif exp_name in left:
            lines.append(f"    its search waits for it; to count it as the worst and go on: {release(run.digest[:12])}")
    if len(alike) > MOST_NAMED:
        lines.append(f"... and {sum(map(len, list(alike.values())[MOST_NAMED:]))} more")
    lines += [line for stop in held_back(sweep, results, missing) for line in stop.lines(results, script)]
    kept = sum((results / record_name(run.exp_name, run.digest)).exists() for run in missing)
    old = f"; {kept} of them have their old record until then" if kept else ""
    states = ", ".join(f"{n} {state}" for state, n in counts.items())
    return "\n".join(
        [*lines, f"{counts.total()} of {n_runs} runs are not finished ({states}){old}; start again to go on"]
    )


def _open_runs(sweep: Sweep, results: Path, left: dict[str, list[tuple[int, int]]]) -> set[str]:
    """The hashes of the runs of open slots, as far as they are decided."""
    found = set()
    for name, slots in left.items():
        if slots and (course := sweep.experiments[name].course):
            known = course.known_runs(results)
            found |= {known[slot][0] for slot in slots if slot in known}
    return found


def open_slots(sweep: Sweep, results: Path) -> dict[str, list[tuple[int, int]]]:
    """Return the slots of each search in rounds that are not done, (round, slot) each."""
    return {
        exp.name: [
            slot for slot in exp.course.slots() if not Path(slot_file(str(results), exp.course.name, *slot)).exists()
        ]
        for exp in sweep.experiments.values()
        if exp.course
    }


def given_up(sweep: Sweep, results: Path) -> list[str]:
    """Return a line for each run that a search has given up, so that it counts as the worst."""
    lines = []
    for exp in sweep.experiments.values():
        for number, slot, content in exp.course.done(results) if exp.course else ():
            if exp.course and content["status"] == FAILED:
                run = Run(exp.name, content["hash"], FAILED, {})
                path = slot_file(str(results), exp.course.name, number, slot)
                lines.append(
                    f"{exp.name} {_in_words(sweep, run)}: counts as the worst of its search:"
                    f" {content['error']} ({_log(results, run)}); to try it again, delete {path}"
                )
    more = [f"... and {len(lines) - MOST_NAMED} more"] if len(lines) > MOST_NAMED else []
    return lines[:MOST_NAMED] + more


def left_out(sweep: Sweep, results: Path) -> list[str]:
    """Return a line for each search that has left out runs, since its hours are spent."""
    return [
        f"{exp.name}: {n} of {exp.n_runs} runs were left out, since its {exp.course.max_hours:g} hours of training are"
        " spent (max_hours)"
        for exp in sweep.experiments.values()
        if exp.course and exp.course.max_hours and (n := exp.course.left_out(results))
    ]


def chosen_before(sweep: Sweep, results: Path) -> list[str]:
    """Return a line for each comparison whose choices rest on results that have been made again, and differ, since."""
    lines = []
    for exp in sweep.experiments.values():
        if not isinstance(course := exp.course, Comparison):
            continue
        decisions = [
            decision_file(str(results), course.name, one.number)
            for one in course.rounds
            if course.may_be_best(one.number)
        ]
        then = {key: value for path in decisions if Path(path).exists() for key, value in _decided_from(path).items()}
        sign = -1.0 if course.objective.better == "max" else 1.0
        done = course.done(results) if then else ()
        now = {one["hash"]: math.inf if one["value"] is None else sign * one["value"] for _, _, one in done}
        if changed := [digest for digest, value in then.items() if now.get(digest, value) != value]:
            folder = Path(decisions[0]).parent
            lines.append(
                f"{exp.name}: {len(changed)} of {len(then)} results by which it was tuned have changed since; to"
                f" choose by what they are now, delete {folder} (no record is lost) and start again"
            )
    return lines


def _decided_from(path: str) -> dict[str, float]:
    found = read_json(Path(path)).get("decided_from", {})
    return {digest: math.inf if value is None else float(value) for digest, value in found.items()}


class Failures:
    """The runs that fail while a sweep runs, a line each; of many only the first are told, the table tells the rest."""

    def __init__(self, sweep: Sweep, results: Path) -> None:
        self._sweep, self._results, self._n = sweep, results, 0

    def in_short(self, log: str) -> str | None:
        """Return the line of the run that a log is of: "" where it is not told, None where its cause is unknown."""
        name = split_name(Path(log_of_record(log)).with_suffix(".json"))
        if name is not None and name[1] not in self._sweep.experiments.get(name[0], _NOTHING).settings:
            self._sweep = self._sweep.with_decided(self._results)
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


def log_of_record(log: str) -> str:
    """Return the log of the run that a slot of a search is for, which its own log names; else the log itself."""
    if not Path(log).name.startswith("search-"):
        return log
    try:
        lines = Path(log).read_text(errors="replace").splitlines()
    except OSError:
        return log
    return next((line.removeprefix(SEE) for line in reversed(lines) if line.startswith(SEE)), log)


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
