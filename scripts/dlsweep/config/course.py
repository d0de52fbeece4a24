"""The course of a search: its rounds and slots, which the config tells, and the settings that are decided by now.

`results/search/<name>/<round>.json` says which setting each slot of a round has, and `<round>-<slot>.json` what came of
it. The name ends with a digest of all that decides the course, so a search that is changed begins another one; runs
that both have are not repeated, since their records are those of their settings. Loads neither torch nor pandas.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlsweep.config.files import Values
from dlsweep.config.identity import Setting, setting_hash
from dlsweep.config.metrics import Objective
from dlsweep.config.paths import DATA_KEYS, data_name
from dlsweep.config.search import METHODS, MOST_SLOTS, Round, Search, checked_point, within_budget
from dlsweep.config.space import Space
from dlsweep.errors import ConfigError, RecordError
from dlsweep.files import read_json

Run = tuple[str, Setting]
"""A hash and its setting."""
FOLDER = "search"  # in the results
LEFT_OUT = "left_out"  # the status of a slot whose run did not start, since the hours of its search are spent
STOPPED = ("pruned", "failed", LEFT_OUT)  # the runs of slots without a record: they did not go on, or were given up
SKIPPED = "skipped"  # the status of a slot whose round has less to do than it could have had: it has no run
VERSION = 1
"""Of the methods: another one decides otherwise, so its courses have other names."""
N_EXAMPLES = 16
MOST_MISSES = 200  # points on end that are excluded, or equal to others: then there seem to be no more


@dataclass(frozen=True)
class Course:
    """What an experiment runs in rounds: each has slots, whose settings the config or the results of others decide."""

    name: str
    objective: Objective
    rounds: tuple[Round, ...]

    def n_seeds(self, number: int) -> int:
        """Return how many runs each point of a round has: of its seeds, splits and folds."""
        raise NotImplementedError

    def static_round(self, number: int) -> list[tuple[str, Setting]]:
        """Return (hash, setting) of each slot of a round that the config decides."""
        raise NotImplementedError

    @property
    def method(self) -> str:
        """The method of a search that decides; "" for none."""
        raise NotImplementedError

    @property
    def max_hours(self) -> float | None:
        """The hours of training of all its runs after which none starts."""
        return None

    def example(self, number: int) -> Setting:
        """Return a setting of those that the slots of a round may have, whose settings are not decided."""
        raise NotImplementedError

    def setting_like(self, number: int, slot: int) -> Setting:
        """Return the setting of a slot or, where results decide it, one that it may have."""
        return self.example(number) if self.rounds[number].after else self.static_round(number)[slot][1]

    def may_be_best(self, number: int) -> bool:
        """Say whether a run of a round may be the experiment's best one, whose weights are kept."""
        return True

    def n_alike(self, number: int) -> int:
        """Return how many runs of a round have one setting but for what repeats it; 0 where that is not known."""
        return self.n_seeds(number)

    def progress(self, left: Sequence[tuple[int, int]]) -> str:
        """Return how far it is, of which these slots are left, in words."""
        raise NotImplementedError

    @property
    def data_settings(self) -> list[Setting]:
        """Settings that read, together, all the prepared data that its runs may read."""
        raise NotImplementedError

    def round(self, number: int) -> Round:
        """Return the round of a number; the course of a part of a comparison does not begin with 0."""
        return self.rounds[number - self.rounds[0].number]

    def n_slots(self, number: int) -> int:
        """Return how many slots a round has."""
        return self.round(number).n_points * self.n_seeds(number)

    def slots(self) -> Iterator[tuple[int, int]]:
        """Yield (round, slot) of each run, in their order."""
        for one in self.rounds:
            for slot in range(self.n_slots(one.number)):
                yield one.number, slot

    @property
    def brackets(self) -> list[int | None]:
        """The bracket of each round, from 1; None where runs do not pause."""
        pauses = self.method in METHODS and METHODS[self.method].stages
        n_before = itertools.accumulate(not one.after for one in self.rounds)
        return [n if pauses else None for n in n_before]

    def static_runs(self) -> dict[str, Setting]:
        """Return the settings that the config decides, by their hashes."""
        return dict(run for one in self.rounds if not one.after for run in self.static_round(one.number))

    def known_runs(self, results: Path) -> dict[tuple[int, int], tuple[str, Setting]]:
        """Return (hash, setting) of each slot of which that is known by now, by (round, slot)."""
        found = {}
        for one in self.rounds:
            runs = decided(results / FOLDER / self.name, one.number) if one.after else self.static_round(one.number)
            for slot, run in enumerate(runs[: self.n_slots(one.number)]):
                found[one.number, slot] = run
        return found

    def done(self, results: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """Yield (round, slot, what came of it) of each slot that is done by now."""
        return slots_done(results, self.name, [self.n_slots(one.number) for one in self.rounds])

    def left_out(self, results: Path) -> int:
        """Return how many runs were left out by now, since its hours are spent."""
        return left_out(results, self.name, [self.n_slots(one.number) for one in self.rounds])

    def without_record(self, results: Path) -> dict[str, str]:
        """Return the hashes of the runs that have ended without a record by now, each with its status."""
        return without_record(content for _, _, content in self.done(results))


@dataclass(frozen=True)
class SearchCourse(Course):
    """The course of one experiment's search.

    `first` are the points of the rounds that the config decides, `repetitions` is the number of runs of
    each point: of its seeds, splits and folds.
    """

    search: Search
    space: Space
    first: tuple[Values, ...]
    repetitions: int

    def n_seeds(self, number: int = 0) -> int:
        """Return how many runs each point of a round has, which are as many for each."""
        return self.repetitions

    @property
    def method(self) -> str:
        """The method of the search."""
        return self.search.method

    @property
    def max_hours(self) -> float | None:
        """The hours after which no run of the search starts."""
        return self.search.max_hours

    def points_of(self, number: int) -> list[Values]:
        """Return the points of a round that the config decides."""
        one = self.round(number)
        return [self.first[i % len(self.first)] for i in range(one.first, one.first + one.n_points)]

    def static_round(self, number: int) -> list[tuple[str, Setting]]:
        """Return (hash, setting) of each slot of a round that the config decides."""
        return self._static_rounds[number]

    @functools.cached_property
    def _static_rounds(self) -> dict[int, list[tuple[str, Setting]]]:
        return {one.number: self.runs_of(self.points_of(one.number)) for one in self.rounds if not one.after}

    def runs_of(self, points: Sequence[Values]) -> list[tuple[str, Setting]]:
        """Return (hash, setting) of each slot of a round with these points."""
        return [run for point in points for run in self.runs_at(point)]

    def runs_at(self, point: Values) -> list[tuple[str, Setting]]:
        """Return (hash, setting) of each run of a point, one for each seed; nothing where one is excluded."""
        return runs_at(self.space, point, self.repetitions)

    def example(self, number: int) -> Setting:
        """Return a setting that it may have."""
        return self.runs_of(self.first[:1])[0][1]

    def progress(self, left: Sequence[tuple[int, int]]) -> str:
        """Return the round that is under way, and how far that is."""
        number = left[0][0]
        n_slots, one = self.n_slots(number), self.rounds[number]
        n_done = n_slots - sum(slot[0] == number for slot in left)
        how_far = f"; they pause after epoch {one.epochs}" if one.epochs else ""
        where = f"round {number + 1} of {len(self.rounds)}"
        return f"{self.search.method}, {where}: {n_done} of its {n_slots} runs are done{how_far}"

    @functools.cached_property
    def data_settings(self) -> list[Setting]:
        """Settings that read, together, all the prepared data that its runs may read."""
        keys = [key for key in DATA_KEYS if key in self.search.dimensions]
        values = itertools.product(*(self.search.dimensions[key].values for key in keys))
        points = [{**self.first[0], **dict(zip(keys, chosen, strict=True))} for chosen in values]
        settings = {data_name(setting): setting for _, setting in self.runs_of(points)}
        return list(settings.values())


def slot_file(results: str, name: str, number: int, slot: int) -> str:
    """Return the file that says what came of a slot."""
    return f"{results}/{FOLDER}/{name}/{number}-{slot}.json"


def decision_file(results: str, name: str, number: int) -> str:
    """Return the file that says which settings the slots of a round have."""
    return f"{results}/{FOLDER}/{name}/{number}.json"


def decided(folder: Path, number: int) -> list[tuple[str, Setting]]:
    """Return (hash, setting) of each slot of a round; nothing where it is not decided yet.

    Raises ConfigError where its file cannot be read.
    """
    path = folder / f"{number}.json"
    if not path.exists():
        return []
    try:
        return [(run["hash"], run["setting"]) for run in read_json(path)["runs"]]
    except (RecordError, KeyError, TypeError):
        raise ConfigError(
            f"{path}: is not the decision of a round; delete it, and the next start decides again"
        ) from None


def slots_done(results: Path, name: str, n_slots: Sequence[int]) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yield (round, slot, what came of it) of each slot of a search that is done by now, without those that had no run.

    `n_slots` are the numbers of slots of its rounds. One that is torn is not done.
    """
    folder = results / FOLDER / name
    there = {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()
    for number, n in enumerate(n_slots):
        for slot in range(n):
            path = Path(slot_file(str(results), name, number, slot))
            if path.name in there:
                with contextlib.suppress(RecordError):
                    if (content := read_json(path))["status"] != SKIPPED:
                        yield number, slot, content


def left_out(results: Path, name: str, n_slots: Sequence[int]) -> int:
    """Return how many runs of a search were left out by now; `n_slots` are the numbers of slots of its rounds."""
    n = len([0 for _, _, content in slots_done(results, name, n_slots) if content["status"] == LEFT_OUT])
    decisions = (Path(decision_file(str(results), name, number)) for number in range(len(n_slots)))
    return n + sum(
        size for path, size in zip(decisions, n_slots, strict=True) if path.exists() and hours_of_left_out(path)
    )


def hours_of_left_out(path: Path) -> float | None:
    """Return the budget for which a slot or a round was left out, as its file says; None where it was not."""
    try:
        hours: float | None = read_json(path).get("max_hours")
        return hours
    except (RecordError, AttributeError):
        return None


def without_record(done: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the hashes of the runs that a search has stopped or given up, each with its status.

    `done` is what came of slots in their order: who went on in a later round counts as that one says.
    """
    last = {content["hash"]: content["status"] for content in done}
    return {digest: status for digest, status in last.items() if status in STOPPED}


# -- planning ------------------------------------------------------------------------------------------------------


def plan_course(exp_name: str, space: Space, objective: Objective, where: str) -> SearchCourse:
    """Return the course of an experiment's search. Raises ConfigError where the space does not allow it."""
    assert space.search is not None
    n_seeds = space.n_repetitions
    method = METHODS[space.search.method]
    assert method.rounds is not None
    whole = _whole_run(space, where) if method.stages or "max_epochs" in space.search.options else 0
    try:
        search = within_budget(space.search, whole, n_seeds)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from None
    rounds = method.rounds(search.options, whole)
    n_slots = sum(one.n_points for one in rounds) * n_seeds
    if n_slots > MOST_SLOTS:
        raise ConfigError(f"{where}.n: makes {n_slots:,} runs; allowed: up to {MOST_SLOTS:,} of one search")
    n_first = max(one.first + one.n_points for one in rounds if not one.after)
    _, points = _first_points(space, n_seeds, n_first, where)
    name = f"{exp_name}-{_digest(space, search, objective)}"
    return SearchCourse(name, objective, tuple(rounds), search, space, tuple(points), n_seeds)


def example_runs(space: Space, where: str) -> dict[str, Setting]:
    """Return settings that a search may have, by their hashes, for what must be known of it before."""
    settings, _ = _first_points(space, space.n_repetitions, N_EXAMPLES, where)
    return settings


def runs_at(space: Space, point: Values, n_seeds: int) -> list[tuple[str, Setting]]:
    """Return (hash, setting) of each run of a point of a space; nothing where one is excluded."""
    runs = {setting_hash(setting): setting for setting, _, _ in space.at(point)}
    return list(runs.items()) if len(runs) == n_seeds else []


def _first_points(space: Space, n_seeds: int, n: int, where: str) -> tuple[dict[str, Setting], list[Values]]:
    """The settings and points of the first n quasi-random points that are allowed and unlike, or of all there are."""
    assert space.search is not None
    settings: dict[str, Setting] = {}
    found: list[Values] = []
    misses = 0
    for point in space.search.points():
        misses += 1
        normal = checked_point(point, where, space.task)
        runs = runs_at(space, normal, n_seeds)
        if runs and runs[0][0] not in settings:
            for _, setting in runs:
                try:
                    space.check(setting)
                except ConfigError as error:
                    raise ConfigError(f"{where.rpartition('.')[0]}.{error}") from None
            settings.update(runs)
            found.append(normal)
            misses = 0
        if len(found) == n or misses > MOST_MISSES:
            break
    if not found:
        raise ConfigError(f"{where}: no setting is left; every one is excluded")
    return settings, found


def _whole_run(space: Space, where: str) -> int:
    """The number of epochs of a whole run, which must be the same for all."""
    assert space.search is not None
    found = {setting.get("epochs") for setting in example_runs(space, where).values()}
    epochs = next(iter(found))
    if len(found) > 1 or type(epochs) is not int or epochs < 1:
        fault = "has several values" if len(found) > 1 else "is no hyper-parameter with a whole number"
        method = space.search.method
        stages = METHODS[method].stages
        why = f"method: {method} pauses runs after some of their epochs" if stages else "max_epochs: counts epochs"
        raise ConfigError(f"{where}.{why}, but epochs {fault}; give it one value")
    return epochs


def _digest(space: Space, search: Search, objective: Objective) -> str:
    """8 hex digits that change where the course does; a larger budget only goes on."""
    left_out = ("n",) if METHODS[search.method].grows else ()
    options = {key: value for key, value in search.options.items() if key not in left_out}
    dimensions = {key: vars(dimension) for key, dimension in search.dimensions.items()}
    return digest_of([VERSION, search.method, options, dimensions], space, objective)


def digest_of(said: list[Any], space: Space, objective: Objective) -> str:
    """Return 8 hex digits that change with what is said of a course, its space or its objective."""
    content = [
        *said,
        *(space.base, space.axes, [vars(rule) for rule in space.when], space.exclude),
        *(objective.metric, objective.better, space.task.name, space.task.defaults if space.task.key else {}),
    ]
    text = json.dumps(content, sort_keys=True, default=lambda function: function.__name__)
    return hashlib.sha1(text.encode()).hexdigest()[:8]
