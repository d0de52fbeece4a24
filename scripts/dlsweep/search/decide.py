"""The decision between two rounds of a search: which setting each slot of the next one has."""

from __future__ import annotations

from pathlib import Path

from dlsweep.config.course import Course, SearchCourse, decision_file
from dlsweep.config.files import Values
from dlsweep.config.search import METHODS, checked_point
from dlsweep.errors import ConfigError
from dlsweep.files import write_json
from dlsweep.search.halving import promoted
from dlsweep.search.history import Trial, trials_of
from dlsweep.search.model import propose


def decide(course: Course, number: int, results: Path) -> Path:
    """Decide one round from the results of those before it, and write it down; return the file.

    Raises RecordError where one of these results is missing or cannot be read, ConfigError where it cannot be decided.
    """
    assert isinstance(course, SearchCourse)
    one = course.rounds[number]
    if METHODS[course.search.method].stages:
        before = trials_of(course, course.rounds[one.after[0]], results)
        points = [trial.point for trial in promoted(before, one.n_points)]
    else:
        rounds = [trials_of(course, earlier, results) for earlier in course.rounds[:number]]
        before = [trial for trials in rounds for trial in trials]
        points = _propose(course, number, rounds)
    runs = course.runs_of(points)
    path = Path(decision_file(str(results), course.name, number))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(
        path,
        {
            "points": points,
            "runs": [{"hash": digest, "setting": setting} for digest, setting in runs],
            "decided_from": {trial.key: trial.value for trial in before},
        },
    )
    return path


def _propose(course: SearchCourse, number: int, rounds: list[list[Trial]]) -> list[Values]:
    """As many points as the search has at a time, also where the budget ends before: a larger one finds them."""
    search = course.search
    n_static = sum(not earlier.after for earlier in course.rounds[:number])
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
