"""The decision between two rounds of a search, or of a comparison: which setting each slot of the next one has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlsweep.config.comparison import Comparison
from dlsweep.config.course import (
    FOLDER,
    Course,
    Run,
    SearchCourse,
    decided,
    decision_file,
    hours_of_left_out,
    slot_file,
)
from dlsweep.config.files import Values
from dlsweep.config.race import Race
from dlsweep.config.search import METHODS, checked_point
from dlsweep.errors import ConfigError
from dlsweep.files import write_json
from dlsweep.search.halving import promoted
from dlsweep.search.history import Trial, trials_of, tried_in, value_of_slot
from dlsweep.search.model import propose
from dlsweep.search.race import still_in


def decide(course: Course, number: int, results: Path) -> Path:
    """Decide one round from the results of those before it, and write it down; return the file.

    Raises RecordError where one of these results is missing or cannot be read, ConfigError where it cannot be decided.
    """
    if hours := _hours_of_left_out(course, number, results):
        return _write(course, number, results, [], {"n_skipped": course.n_slots(number), "max_hours": hours}, {})
    if isinstance(course, Comparison):
        if not course.is_tuning(number):
            return choose(course, number, results)
        course = course.search_of(number)
    if isinstance(course, Race):
        return race_on(course, number, results)
    assert isinstance(course, SearchCourse)
    one = course.round(number)
    if METHODS[course.search.method].stages:
        before = trials_of(course, course.round(one.after[0]), results)
        points = [trial.point for trial in promoted(before, one.n_points)]
    else:
        rounds = [trials_of(course, earlier, results) for earlier in course.rounds if earlier.number < number]
        before = [trial for trials in rounds for trial in trials]
        points = _propose(course, number, rounds)
    values = {trial.key: trial.value for trial in before}
    return _write(course, number, results, course.runs_of(points), {"points": points}, values)


def _hours_of_left_out(course: Course, number: int, results: Path) -> float | None:
    """The hours of training after which runs were left out that a round depends on; None where none was."""
    for before in course.rounds[number].after:
        slots = (slot_file(str(results), course.name, before, slot) for slot in range(course.n_slots(before)))
        for path in (decision_file(str(results), course.name, before), *slots):
            if Path(path).exists() and (hours := hours_of_left_out(Path(path))):
                return hours
    return None


def choose(course: Comparison, number: int, results: Path) -> Path:
    """Choose what an arm of a comparison is reported with, and write it down; return the file.

    It is the setting of which the fewest runs diverged and, of those, the one with the best mean of the objective over
    the others; of equal ones the first. Raises RecordError where a result is missing or cannot be read.
    """
    tried = [one for tuning in course.rounds[number].after for one in tried_in(course, tuning, results)]

    def loss(values: list[float]) -> tuple[int, float]:
        known = [value for value in values if math.isfinite(value)]
        return len(values) - len(known), math.fsum(known) / len(known) if known else math.inf

    chosen, _ = min(tried, key=lambda one: loss(one[1]))
    decided_from = {run[0]: value for runs, values in tried for run, value in zip(runs, values, strict=True)}
    runs = course.reported(chosen)
    return _write(course, number, results, runs, {"chosen": [run[0] for run in chosen]}, decided_from)


def race_on(course: Race, number: int, results: Path) -> Path:
    """Decide which settings get more seeds, and write it down; return the file.

    Those are the ones that had the seeds before and are still not told from the best; nothing where one is left alone.
    Raises RecordError where a result is missing or cannot be read.
    """
    folder = results / FOLDER / course.name
    decided_from: dict[str, float] = {}
    in_race: list[int] = []
    for before in range(number):
        runs = decided(folder, before) if before else course.static_round(0)
        for slot, (digest, _) in enumerate(runs):
            decided_from[digest] = value_of_slot(folder / f"{before}-{slot}.json", digest, course)
        there = {digest for digest, _ in runs}
        in_race = [i for i in range(len(course.racers)) if course.runs_of(i, before)[0][0] in there]
    seeds = range(course.n_seeds_before(number))
    values = [[[decided_from[run[0]] for run in course.racers[i][seed]] for seed in seeds] for i in in_race]
    left = [in_race[i] for i in still_in(values)] if in_race else []
    runs = [run for i in left if len(left) > 1 for run in course.runs_of(i, number)]
    what = {"n_skipped": course.n_slots(number) - len(runs)}
    return _write(course, number, results, runs, what, decided_from)


def _write(
    course: Course, number: int, results: Path, runs: list[Run], what: Mapping[str, Any], values: Mapping[str, float]
) -> Path:
    path = Path(decision_file(str(results), course.name, number))
    path.parent.mkdir(parents=True, exist_ok=True)
    said = [{"hash": digest, "setting": setting} for digest, setting in runs]
    write_json(path, {**what, "runs": said, "decided_from": values})
    return path


def _propose(course: SearchCourse, number: int, rounds: list[list[Trial]]) -> list[Values]:
    """As many points as the search has at a time, also where the budget ends before: a larger one finds them."""
    search = course.search
    n_static = sum(not one.after for one in course.rounds)
    tried = {trial.key for trials in rounds for trial in trials}

    def accept(point: Values, is_last: bool) -> bool:
        """Take no setting twice as long as there are others; cmaes has to learn from those that it proposes."""
        runs = course.runs_at(point)
        if not runs or (search.method != "cmaes" and runs[0][0] in tried and not is_last):
            return False
        tried.add(runs[0][0])
        return True

    try:
        return propose(
            search.method,
            search.dimensions,
            search.options["seed"],
            [trial for trials in rounds[:n_static] for trial in trials],
            rounds[n_static:],
            search.options["parallel"],
            lambda point: checked_point(point, "search", course.space.task),
            accept,
        )
    except ConfigError as error:
        raise ConfigError(f"{course.name}: round {number} cannot be decided: {error}") from None
