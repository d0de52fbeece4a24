"""A fair comparison: what is compared is tuned, each by itself, and then reported by seeds that chose nothing.

It is a course of rounds and slots, as that of a search. The first rounds, one for each of what is compared, try the
values of `tune`; the config decides their settings. Their decisions choose the best by validation, and the last rounds
run it with the seeds of `seeds`. Loads neither torch nor pandas.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlsweep.config.course import VERSION, Course, digest_of
from dlsweep.config.dotted import dotted, root_of, value_of
from dlsweep.config.files import Values
from dlsweep.config.identity import Setting, setting_hash
from dlsweep.config.labels import what_varies
from dlsweep.config.metrics import Objective
from dlsweep.config.paths import data_name
from dlsweep.config.replicates import without_replicates
from dlsweep.config.search import MOST_SLOTS, Round
from dlsweep.config.space import Space
from dlsweep.errors import ConfigError

Run = tuple[str, Setting]
Candidate = tuple[Run, ...]
"""One setting that is tried, as its runs of the seeds that tune."""


@dataclass(frozen=True)
class Comparison(Course):
    """The course of a comparison: `arms` are what is compared, each as the settings that it is tried with.

    Round i tunes the i-th arm, and the round of the same place among the second half reports it.
    """

    space: Space
    arms: tuple[tuple[Candidate, ...], ...]

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
        return number < len(self.arms)

    def arm_of(self, number: int) -> tuple[Candidate, ...]:
        """Return the settings that the arm of a round is tried with."""
        return self.arms[number % len(self.arms)]

    def n_seeds(self, number: int) -> int:
        """Return how many runs each setting of a round has."""
        return len(self.arm_of(number)[0]) if self.is_tuning(number) else len(self.seeds)

    def static_round(self, number: int) -> list[Run]:
        """Return (hash, setting) of each slot of a round that tunes."""
        return [run for candidate in self.arms[number] for run in candidate]

    def reported(self, candidate: Candidate) -> list[Run]:
        """Return (hash, setting) of the runs that report a setting."""
        settings = [{**candidate[0][1], **seed} for seed in self.seeds]
        return [(setting_hash(setting), setting) for setting in settings]

    @property
    def method(self) -> str:
        """No method of a search."""
        return ""

    def example(self, number: int) -> Setting:
        """Return a setting of the arm of a round."""
        return self.reported(self.arm_of(number)[0])[0][1]

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
        return list({data_name(setting): setting for setting in self.static_runs().values()}.values())

    def progress(self, left: Sequence[tuple[int, int]]) -> str:
        """Return how many runs that tune are done, and how many that report."""
        parts = []
        for tunes, words in ((True, "tuning"), (False, "then to be reported")):
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
        named = [key for point in self.space.tuning.points for key in point]
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
    exp_name: str, space: Space, arms: Sequence[tuple[Candidate, ...]], objective: Objective, where: str
) -> Comparison:
    """Return the course of an experiment that compares these arms of its space. Raises ConfigError where it cannot."""
    assert space.tuning
    n = len(arms)
    tuning = [Round(i, len(arm)) for i, arm in enumerate(arms)]
    digest = digest_of(["compare", VERSION, space.tuning.points, space.tuning.seeds], space, objective)
    course = Comparison(
        f"{exp_name}-{digest}",
        objective,
        (*tuning, *(Round(n + i, 1, (i,)) for i in range(n))),
        space,
        tuple(arms),
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


def arms_of(space: Space, where: str) -> list[tuple[Candidate, ...]]:
    """Return what is compared, each as the settings that it is tried with, in the config's order.

    Settings that are equal are one, and so are two of what is compared that are tried with the same settings.
    """
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
    if not found:
        raise ConfigError(f"{where}.exclude: no setting is left; every one is excluded")
    unlike: dict[frozenset[str], dict[str, dict[str, Setting]]] = {}
    for candidates in found.values():
        unlike.setdefault(frozenset(candidates), candidates)
    return [tuple(tuple(runs.items()) for runs in candidates.values()) for candidates in unlike.values()]
