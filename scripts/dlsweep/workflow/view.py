"""A sweep while it runs, in the words that status, watch and the sweep itself use. Loads neither torch nor pandas."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dlsweep.config.comparison import Comparison
from dlsweep.config.course import decision_file
from dlsweep.config.labels import setting_labels, with_version
from dlsweep.config.metrics import UNBOUNDED, Range
from dlsweep.config.paths import record_name
from dlsweep.config.replicates import REPLICATES
from dlsweep.config.sweep import Sweep
from dlsweep.errors import RecordError
from dlsweep.files import read_json
from dlsweep.results.columns import Columns, all_columns
from dlsweep.results.measured import lacking
from dlsweep.results.records import FINDINGS
from dlsweep.results.schema import FINISHED
from dlsweep.results.statistics import rank
from dlsweep.results.versions import tell_apart
from dlsweep.runs.eta import duration, sweep_seconds_left
from dlsweep.runs.states import STATES
from dlsweep.runs.survey import RunStatus, Survey, new_run
from dlsweep.workflow.failures import held_back, left_out, open_slots

SHOWN_FAILURES = 10


def findings(folder: Path, plan: str) -> list[str]:
    """Return what each experiment has found, a line each, and how many runs diverged, as the tables in a folder say it.

    Nothing where there are no tables, or where they are those of another plan, whose digest is not `plan`.
    """
    try:
        found = read_json(folder / FINDINGS)
    except RecordError:  # none yet, or torn
        return []
    if found.get("plan") != plan:
        return []
    experiments = found["experiments"]
    lines = [f"{exp_name}: {one['finding']}" for exp_name, one in experiments.items()]
    n_diverged, n_runs = (sum(one[key] for one in experiments.values()) for key in ("diverged", "runs"))
    return [*lines, f"{n_diverged} of {n_runs} runs diverged."] if n_diverged else lines


class View:
    """A sweep as the user is told of it: the counts, the time left and the label of each run."""

    def __init__(self, sweep: Sweep, results: Path) -> None:
        self.sweep, self.results = sweep, results
        self.survey = Survey(sweep, results)
        self.look()

    def look(self) -> None:
        """Read where every run stands now."""
        known = self.sweep.with_decided(self.results)
        if known is not self.sweep:
            self.sweep = self.survey.sweep = known
            for cached in ("_labels", "_reporting", "columns"):
                self.__dict__.pop(cached, None)
        self.open_slots = open_slots(self.sweep, self.results)
        self.runs = self.survey.read()
        self.states = Counter(run.state for run in self.runs)
        undecided = list(self._undecided())
        self.n_undecided = len(undecided)
        to_come = [run for run in undecided if run]
        is_known = len(to_come) == len(undecided)
        self.seconds_left = sweep_seconds_left([*self.runs, *to_come]) if is_known else None

    def _undecided(self) -> Iterator[RunStatus | None]:
        """Yield what is known of each run whose setting is still to be decided.

        What a comparison will report takes about as long with whatever values it chooses; of a search nobody knows.
        """
        for name, left in self.open_slots.items():
            course = self.sweep.experiments[name].course
            for number, slots in itertools.groupby(left, key=lambda slot: slot[0]):
                assert course
                decision = Path(decision_file(str(self.results), course.name, number))
                if not course.rounds[number].after or decision.exists():
                    continue
                reports = isinstance(course, Comparison) and not course.is_tuning(number)
                for _, slot in slots:
                    yield new_run(name, f"{number}-{slot}", course.example(number)) if reports else None

    @property
    def n_runs(self) -> int:
        """The number of runs of the sweep; of a search in rounds that of its slots, whether they are decided or not."""
        return sum(experiment.n_runs for experiment in self.sweep.experiments.values())

    @property
    def n_finished(self) -> int:
        """The number of runs that need nothing more."""
        of_slots = sum(self.sweep.experiments[name].n_runs - len(left) for name, left in self.open_slots.items())
        others = sum(run.state in FINISHED for run in self.runs if run.exp_name not in self.open_slots)
        return of_slots + others

    def searches(self) -> list[str]:
        """Return a line for each search in rounds that is under way: its round, and how far that is."""
        lines = []
        for name, left in self.open_slots.items():
            course = self.sweep.experiments[name].course
            if course is None or not left:
                continue
            lines.append(f"{name}: {course.progress(left)}")
        return [*lines, *left_out(self.sweep, self.results)]

    @functools.cached_property
    def _labels(self) -> dict[str, dict[str, str]]:
        experiments = self.sweep.experiments.values()
        return {exp.name: setting_labels(exp.settings, exp.varies) for exp in experiments}

    @functools.cached_property
    def _reporting(self) -> dict[str, dict[str, str]]:
        """The labels of the runs that report what an experiment compares, by hash, as the tables have them."""
        found = {}
        for exp in self.sweep.experiments.values():
            if isinstance(course := exp.course, Comparison):
                known = course.reporting(self.results)
                labels = setting_labels({**course.examples, **known}, course.varies, course.compared)
                found[exp.name] = {digest: labels[digest] for digest in known}
        return found

    def label(self, run: RunStatus) -> str:
        """Return what tells a run's setting from the others of its experiment, the seed left out."""
        return self._labels[run.exp_name][run.digest]

    def run_label(self, run: RunStatus) -> str:
        """Return what tells a run from the others of its experiment."""
        varies = self.sweep.experiments[run.exp_name].varies
        repeated = [f"{key}={run.setting[key]}" for key in REPLICATES if key in varies and key in run.setting]
        return ", ".join([self.label(run), *repeated])

    def headline(self) -> str:
        """Return the state of the whole sweep in one line."""
        others = [f"{self.states[state]} {state}" for state in STATES if state != "finished" and self.states[state]]
        parts = [f"{self.n_finished} of {self.n_runs} runs are done", *others]
        if self.n_undecided:
            parts.append(f"{self.n_undecided} not decided")
        if self.seconds_left is not None and self.n_finished < self.n_runs:
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
        """Return an experiment's best setting so far, of its finished runs, as the leaderboard ranks them.

        Of what is compared fairly, as soon as any of it is reported: no run that tuned counts then.
        """
        done = [run for run in self.runs if run.exp_name == exp_name and run.state in FINISHED]
        reporting = self._reporting.get(exp_name, {})
        done = [run for run in done if run.digest in reporting] or done
        versions = tell_apart({run.digest: run.made for run in done})
        labels = {
            run.digest: with_version(reporting.get(run.digest) or self.label(run), versions[run.digest]) for run in done
        }
        columns = self.columns[exp_name]
        objective = columns.objective
        values = ((labels[run.digest], run.selected, run.state == "diverged") for run in done)
        order = rank(values, objective.better, self._range(columns, done))
        if not order:
            return None
        best = order[0]
        tested = [run.reported for run in done if run.reported is not None and labels[run.digest] == best.label]
        known = best.n_diverged or any(run.selected is not None for run in done if labels[run.digest] == best.label)
        return {
            "setting": best.label,
            "seeds": best.n,
            "diverged": best.n_diverged,
            columns.ranked: best.mean if known else None,
            objective.report: sum(tested) / len(tested) if tested else None,
        }

    def best_so_far(self) -> str:
        """Return the best setting of the experiment in which a run has ended last; empty where none has."""
        done = [run for run in self.runs if run.state in FINISHED and run.updated is not None]
        if not done:
            return ""
        exp_name = max(done, key=lambda run: run.updated or 0.0).exp_name
        best, columns = self.best(exp_name), self.columns[exp_name]
        if best is None or best[columns.ranked] is None or best["diverged"] == best["seeds"]:
            return ""
        value = columns.text(columns.ranked, best[columns.ranked])
        return f"best of {exp_name} so far: {best['setting']}, {columns.metric_title(columns.ranked)} {value}"

    def _range(self, columns: Columns, done: list[RunStatus]) -> Range:
        """The range of what is selected by; none where values leave it, as in the tables."""
        low, high = within = columns.metric(columns.objective.selected).within
        values = [run.selected for run in done if run.selected is not None]
        return within if all(low <= value <= high for value in values) else UNBOUNDED

    @functools.cached_property
    def columns(self) -> dict[str, Columns]:
        """What is known of the columns of each experiment."""
        return all_columns(self.sweep.plan(str(self.results)))

    def lacking(self, exp_name: str) -> list[str]:
        """Return a line for each metric of its objective that no finished run of an experiment has."""
        done = [run for run in self.runs if run.exp_name == exp_name and run.state in FINISHED]
        measured = {name: None for run in done if run.state != "diverged" for name in run.metrics}
        return lacking(exp_name, self.columns[exp_name].objective, measured)
