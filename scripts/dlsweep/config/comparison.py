"""A fair comparison: what is compared is tuned, each by itself, and then reported by seeds that chose nothing.

It is a course of rounds and slots, as that of a search. The first rounds try the values of `tune`: one round for each
of what is compared, whose settings the config decides, or all those of a search for each. Then decisions choose the
best by validation, and the last rounds run it with the seeds of `seeds`. Loads neither torch nor pandas.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dlsweep.config.course import (
    MOST_MISSES,
    VERSION,
    Course,
    Run,
    SearchCourse,
    digest_of,
    example_runs,
    plan_course,
    runs_at,
)
from dlsweep.config.dotted import dotted, root_of, value_of
from dlsweep.config.files import Values
from dlsweep.config.identity import Setting, setting_hash
from dlsweep.config.labels import what_varies
from dlsweep.config.metrics import Objective
from dlsweep.config.paths import data_name
from dlsweep.config.replicates import without_replicates
from dlsweep.config.search import MOST_SLOTS, Round, checked_point
from dlsweep.config.space import Space
from dlsweep.errors import ConfigError

Candidate = tuple[Run, ...]
"""One setting that is tried, as its runs of the seeds that tune."""


@dataclass(frozen=True)
class Arm:
    """One of what is compared: the settings that it is tried with or, of a `search` in rounds, such as it may try."""

    candidates: tuple[Candidate, ...]
    search: Space | None = None


@dataclass(frozen=True)
class Comparison(Course):
    """The course of a comparison: `arms` are what is compared, each as the settings that it is tried with.

    `searches` are the courses that find them, of each arm, if any do: then `arms` are examples. `of_arm` has the arm of
    each round: all that tune the first one, all that tune the second one, ..., then one for each that reports it.
    """

    space: Space
    arms: tuple[tuple[Candidate, ...], ...]
    of_arm: tuple[int, ...]
    searches: tuple[SearchCourse, ...] = ()

    @property
    def compared(self) -> tuple[str, ...]:
        """The hyper-parameters that are compared, as the config names them."""
        assert self.space.tuning
        return self.space.tuning.compared

    @property
    def seeds(self) -> list[Values]:
        """The seeds that each is reported by."""
        return self.space.axes["seeds"]

    def is_tuning(self, number: int) -> bool:
        """Say whether the runs of a round tune."""
        return number < len(self.rounds) - len(self.arms)

    def arm_of(self, number: int) -> tuple[Candidate, ...]:
        """Return the settings that the arm of a round is tried with, or may be."""
        return self.arms[self.of_arm[number]]

    def search_of(self, number: int) -> SearchCourse:
        """Return the search that a round is one of."""
        return self.searches[self.of_arm[number]]

    def n_seeds(self, number: int) -> int:
        """Return how many runs each setting of a round has."""
        return len(self.arm_of(number)[0]) if self.is_tuning(number) else len(self.seeds)

    def static_round(self, number: int) -> list[Run]:
        """Return (hash, setting) of each slot of a round that tunes."""
        if self.searches:
            return self.search_of(number).static_round(number)
        return [run for candidate in self.arm_of(number) for run in candidate]

    def reported(self, candidate: Candidate) -> list[Run]:
        """Return (hash, setting) of the runs that report a setting."""
        settings = [{**candidate[0][1], **seed} for seed in self.seeds]
        return [(setting_hash(setting), setting) for setting in settings]

    @property
    def method(self) -> str:
        """The method of the searches that tune, "" where none do."""
        return self.searches[0].method if self.searches else ""

    @property
    def brackets(self) -> list[int | None]:
        """The bracket of each round, from 1 for each arm; None where runs do not pause."""
        found = [bracket for search in self.searches for bracket in search.brackets]
        return [*found, *[None] * (len(self.rounds) - len(found))]

    def example(self, number: int) -> Setting:
        """Return a setting of the arm of a round."""
        candidate = self.arm_of(number)[0]
        return (candidate if self.is_tuning(number) else self.reported(candidate))[0][1]

    def may_be_best(self, number: int) -> bool:
        """Only what is reported may be the best."""
        return not self.is_tuning(number)

    def n_alike(self, number: int) -> int:
        """Not known: folds and splits may have chosen the same setting."""
        return 0

    def reporting(self, results: Path) -> dict[str, Setting]:
        """Return the settings that report, as far as they are decided, by their hashes."""
        return {run[0]: run[1] for (number, _), run in self.known_runs(results).items() if not self.is_tuning(number)}

    @functools.cached_property
    def data_settings(self) -> list[Setting]:
        """Settings that read, together, all the prepared data that its runs read."""
        found = [setting for search in self.searches for setting in search.data_settings]
        found = found or list(self.static_runs().values())
        return list({data_name(setting): setting for setting in found}.values())

    def progress(self, left: Sequence[tuple[int, int]]) -> str:
        """Return how many runs that tune are done, and how many that report."""
        parts = []
        tuning = f"tuning by {self.method}" if self.method else "tuning"
        for tunes, words in ((True, tuning), (False, "then to be reported")):
            total = sum(self.n_slots(one.number) for one in self.rounds if self.is_tuning(one.number) == tunes)
            n_left = sum(self.is_tuning(number) == tunes for number, _ in left)
            parts.append(f"{words}: {total - n_left} of {total} runs are done")
        return "; ".join(parts)

    @functools.cached_property
    def examples(self) -> dict[str, Setting]:
        """What its reported runs are like, before their settings are decided."""
        return dict(run for arm in self.arms for run in self.reported(arm[0]))

    @functools.cached_property
    def tuned(self) -> tuple[str, ...]:
        """The hyper-parameters that differ between the settings that an arm is tried with."""
        assert self.space.tuning
        named = self.space.tuning.keys
        roots = {root_of(key) for key in dotted(named)}  # what is inside of it stands for it
        found: dict[str, None] = {}
        for arm in self.arms:
            settings = [candidate[0][1] for candidate in arm]
            for key in dict.fromkeys([*named, *(key for setting in settings for key in setting)]):
                if any(value_of(one, key) != value_of(settings[0], key) for one in settings):
                    found.setdefault(key)
        return tuple(key for key in found if key not in self.compared and key not in roots)

    @functools.cached_property
    def varies(self) -> dict[str, list[Any]]:
        """What tells the arms apart, and their seeds and splits: not what is tuned, which is a part of an arm."""
        swept = [key for axis in self.space.axes.values() for part in axis for key in part]
        found = what_varies(self.examples.values(), dict.fromkeys(swept))
        return {key: values for key, values in found.items() if key not in self.tuned}


def plan_comparison(
    exp_name: str, space: Space, compared: Sequence[Arm], objective: Objective, where: str
) -> Comparison:
    """Return the course of an experiment that compares these arms of its space. Raises ConfigError where it cannot."""
    tuning = space.tuning
    assert tuning
    arms, n = [arm.candidates for arm in compared], len(compared)
    found: list[Any] = [tuning.points]
    if tuning.search:
        # With n, too: with a larger one, others may be chosen. What was trained is found by its settings.
        dimensions = {key: vars(dimension) for key, dimension in tuning.search.dimensions.items()}
        found = [tuning.search.method, tuning.search.options, dimensions]
    name = f"{exp_name}-{digest_of(['compare', VERSION, *found, tuning.seeds], space, objective)}"
    rounds: list[Round] = []
    of_arm: list[int] = []
    searches: list[SearchCourse] = []
    for i, arm in enumerate(compared):
        if arm.search:
            search = plan_course(exp_name, arm.search, objective, f"{where}.tune")
            searches.append(_as_part(search, name, len(rounds)))
        rounds += searches[i].rounds if arm.search else [Round(i, len(arm.candidates))]
        of_arm += [i] * (len(rounds) - len(of_arm))
    whole = [[one.number for one in rounds if of_arm[one.number] == i and one.epochs is None] for i in range(n)]
    reporting = [Round(len(rounds) + i, 1, tuple(whole[i])) for i in range(n)]
    course = Comparison(
        name, objective, (*rounds, *reporting), space, tuple(arms), (*of_arm, *range(n)), tuple(searches)
    )
    if (n_slots := sum(course.n_slots(one.number) for one in course.rounds)) > MOST_SLOTS:
        raise ConfigError(f"{where}.tune: makes {n_slots:,} runs; allowed: up to {MOST_SLOTS:,} of one comparison")
    keys = list(course.varies)
    told = {repr([value_of(arm[0][0][1], key) for key in keys if key != "seed"]) for arm in arms}
    if len(told) < n:
        raise ConfigError(
            f"{where}.compare: two of what is compared differ in {', '.join(course.tuned)} alone, which is tuned"
        )
    labels = {repr([value_of(arm[0][0][1], key) for key in without_replicates(keys)]) for arm in arms}
    if len(labels) < 2:
        raise ConfigError(f"{where}.compare: all that is compared is the same setting; allowed: two or more")
    return course


def _as_part(course: SearchCourse, name: str, first: int) -> SearchCourse:
    """Return the course of a search as a part of a comparison, whose rounds begin with this number."""
    rounds = (
        replace(one, number=one.number + first, after=tuple(before + first for before in one.after))
        for one in course.rounds
    )
    return replace(course, name=name, rounds=tuple(rounds))


def arms_of(space: Space, where: str) -> list[Arm]:
    """Return what is compared, in the config's order. Raises ConfigError naming the key where a setting is not allowed.

    Settings that are equal are one, and so are two of what is compared that are tried with the same settings.
    """
    assert space.tuning
    found = _searched(space, where) if space.tuning.search else [Arm(one) for one in _tried(space, where)]
    if not found:
        raise ConfigError(f"{where}.exclude: no setting is left; every one is excluded")
    unlike: dict[frozenset[str], Arm] = {}
    for arm in found:
        unlike.setdefault(frozenset(candidate[0][0] for candidate in arm.candidates), arm)
    return list(unlike.values())


def _searched(space: Space, where: str) -> list[Arm]:
    """Return what is compared, each with the space that it is searched in, but for what is excluded wholly."""
    tried = space.while_tuning()
    assert tried.search
    first = [
        checked_point(point, f"{where}.tune", space.task)
        for point in itertools.islice(tried.search.points(), MOST_MISSES)
    ]
    axes = {name: axis for name, axis in tried.axes.items() if name != "tune_seeds"}
    n = len(tried.axes["tune_seeds"])
    found = []
    for parts in itertools.product(*axes.values()):
        its_axes = {name: [part] for name, part in zip(axes, parts, strict=True)}
        its_own = replace(tried, axes={**its_axes, "tune_seeds": tried.axes["tune_seeds"]})
        if any(runs_at(its_own, point, n) for point in first):
            runs = list(example_runs(its_own, f"{where}.tune").items())
            found.append(Arm(tuple(tuple(runs[i : i + n]) for i in range(0, len(runs), n)), its_own))
    return found


def _tried(space: Space, where: str) -> list[tuple[Candidate, ...]]:
    """Return what is compared, each as the settings that it is tried with."""
    parts_of_arm = [name not in ("tune", "tune_seeds") for name in space.while_tuning().axes]
    found: dict[str, dict[str, dict[str, Setting]]] = {}
    try:
        for setting, parts, _ in space.while_tuning().settings():
            arm = repr([part for part, is_arm in zip(parts, parts_of_arm, strict=True) if is_arm])
            plain = json.dumps({key: value for key, value in setting.items() if key != "seed"}, sort_keys=True)
            found.setdefault(arm, {}).setdefault(plain, {})[setting_hash(setting)] = setting
            space.check(setting)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from None
    return [tuple(tuple(runs.items()) for runs in candidates.values()) for candidates in found.values()]
