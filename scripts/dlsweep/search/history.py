"""What came of the rounds of a search so far."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlsweep.config.course import FOLDER, Course, Run, SearchCourse, decided, decision_file
from dlsweep.config.files import Values
from dlsweep.config.search import Round
from dlsweep.errors import RecordError
from dlsweep.files import read_json


@dataclass(frozen=True)
class Trial:
    """One point and its value: the mean of the objective over its runs, infinite where one of them diverged.

    Smaller is better, whatever the direction of the objective. `runs` are the hash and the setting of each of its runs.
    """

    point: Values
    runs: tuple[Run, ...]
    value: float

    @property
    def key(self) -> str:
        """What two trials of the same setting have in common."""
        return self.runs[0][0]


def trials_of(course: SearchCourse, one: Round, results: Path) -> list[Trial]:
    """Return the trials of a round. Raises RecordError where one of its results is missing or cannot be read."""
    decision = Path(decision_file(str(results), course.name, one.number))
    points = _points_of_decision(decision) if one.after else course.points_of(one.number)
    tried = tried_in(course, one.number, results)
    return [
        Trial(point, runs, math.fsum(values) / len(values))
        for point, (runs, values) in zip(points, tried, strict=False)  # a decision has points beyond the budget, too
    ]


def tried_in(course: Course, number: int, results: Path) -> list[tuple[tuple[Run, ...], list[float]]]:
    """Return the runs of each setting of a round, and their values. Raises RecordError as `trials_of` does."""
    folder, one = results / FOLDER / course.name, course.round(number)
    runs = decided(folder, number) if one.after else course.static_round(number)
    n = course.n_seeds(number)
    paths = [folder / f"{number}-{slot}.json" for slot in range(one.n_points * n)]
    values = [value_of_slot(path, run[0], course) for path, run in zip(paths, runs, strict=False)]
    return [(tuple(runs[i : i + n]), values[i : i + n]) for i in range(0, len(paths), n)]


def _points_of_decision(path: Path) -> list[Values]:
    points: list[Values] = read_json(path)["points"]
    return points


def value_of_slot(path: Path, digest: str, course: Course) -> float:
    """Return the value of one slot, the smaller the better; infinite where it diverged. Raises RecordError."""
    content: dict[str, Any] = read_json(path)
    try:
        there, value = content["hash"], content["value"]
    except (KeyError, TypeError):
        raise RecordError(f"{path}: is no result of a slot; delete it, and the next start makes it again") from None
    if there != digest:
        raise RecordError(f"{path}: is of another setting; delete it, and the next start makes it again")
    sign = -1.0 if course.objective.better == "max" else 1.0
    return math.inf if value is None else sign * float(value)
