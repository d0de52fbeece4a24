"""What came of the rounds of a search so far."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlsweep.config.course import FOLDER, Course, SearchCourse, decided
from dlsweep.config.files import Values
from dlsweep.config.identity import Setting
from dlsweep.config.search import Round
from dlsweep.errors import RecordError
from dlsweep.files import read_json


@dataclass(frozen=True)
class Trial:
    """One point and its value: the mean of the objective over its runs, infinite where one of them diverged.

    Smaller is better, whatever the direction of the objective. `runs` are the hash and the setting of each of its runs.
    """

    point: Values
    runs: tuple[tuple[str, Setting], ...]
    value: float

    @property
    def key(self) -> str:
        """What two trials of the same setting have in common."""
        return self.runs[0][0]


def trials_of(course: SearchCourse, one: Round, results: Path) -> list[Trial]:
    """Return the trials of a round. Raises RecordError where one of its results is missing or cannot be read."""
    folder = results / FOLDER / course.name
    if one.after:
        points, runs = _points_of_decision(folder / f"{one.number}.json"), decided(folder, one.number)
    else:
        points = course.points_of(one.number)
        runs = course.runs_of(points)
    n = course.repetitions
    found = []
    for i in range(one.n_points):
        its_runs = runs[i * n : (i + 1) * n]
        values = [
            value_of_slot(folder / f"{one.number}-{i * n + k}.json", run[0], course) for k, run in enumerate(its_runs)
        ]
        found.append(Trial(points[i], tuple(its_runs), math.fsum(values) / n))
    return found


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
