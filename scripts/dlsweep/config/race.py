"""A race over seeds: settings get more of them only as long as nothing tells them from the best one.

It is a course of rounds and slots, as that of a search. The first round gives each setting its `first` seeds, and the
config decides it; each later one gives `step` more to the settings that are left by then (Maron & Moore 1994; F-Race,
Birattari et al. 2002). A round has slots for all settings; those of settings that are out have nothing to do. Loads
neither torch nor pandas.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dlsweep.config.course import VERSION, Course, digest_of
from dlsweep.config.identity import Setting, setting_hash
from dlsweep.config.metrics import Objective
from dlsweep.config.paths import data_name
from dlsweep.config.replicates import CONSTRUCTS
from dlsweep.config.search import MOST_SLOTS, Round
from dlsweep.config.space import Space
from dlsweep.errors import ConfigError

Run = tuple[str, Setting]
Racer = tuple[tuple[Run, ...], ...]
"""A setting that races: of each seed, in their order, its runs, one for each of its splits and folds."""


@dataclass(frozen=True)
class Race(Course):
    """The course of a race of these settings."""

    racers: tuple[Racer, ...]
    first: int
    step: int
    hours: float | None = None

    @property
    def max_hours(self) -> float | None:
        """The hours after which no run of the race starts."""
        return self.hours

    def n_seeds_before(self, number: int) -> int:
        """Return how many seeds a setting has had before a round."""
        return self.first + (number - 1) * self.step if number else 0

    def runs_of(self, racer: int, number: int) -> list[Run]:
        """Return what a setting runs in a round."""
        seeds = self.racers[racer][self.n_seeds_before(number) : self.n_seeds_before(number + 1)]
        return [run for seed in seeds for run in seed]

    def n_seeds(self, number: int) -> int:
        """Return how many runs each setting of a round has."""
        return len(self.runs_of(0, number))

    def static_round(self, number: int) -> list[Run]:
        """Return (hash, setting) of each slot of the first round."""
        return [run for racer in range(len(self.racers)) for run in self.runs_of(racer, number)]

    @property
    def method(self) -> str:
        """No method that proposes settings."""
        return ""

    def example(self, number: int) -> Setting:
        """Return a setting that a slot may have."""
        return self.runs_of(0, number)[0][1]

    def n_alike(self, number: int) -> int:
        """Not known: the results decide how many seeds a setting gets."""
        return 0

    def progress(self, left: Sequence[tuple[int, int]]) -> str:
        """Return the round that is under way, and how far that is."""
        number = left[0][0]
        n_slots, n_left = self.n_slots(number), sum(slot[0] == number for slot in left)
        seeds = f"up to seed {self.n_seeds_before(number + 1)} of {len(self.racers[0])}"
        return (
            f"race, round {number + 1} of {len(self.rounds)} ({seeds}): {n_slots - n_left} of {n_slots} slots are done"
        )

    @functools.cached_property
    def all_runs(self) -> dict[str, Setting]:
        """What it runs where nothing can be told apart, by hash."""
        return dict(run for racer in self.racers for seed in racer for run in seed)

    @functools.cached_property
    def data_settings(self) -> list[Setting]:
        """Settings that read, together, all the prepared data that its runs may read."""
        return list({data_name(setting): setting for setting in self.all_runs.values()}.values())


def plan_race(exp_name: str, space: Space, racers: Sequence[Racer], objective: Objective, where: str) -> Race:
    """Return the course of an experiment whose settings race. Raises ConfigError where it is too long."""
    assert space.race
    first, step = (space.race.options[key] for key in ("first", "step"))
    seeds = space.axes["seeds"]
    n_rounds = 1 + (len(seeds) - first) // step
    rounds = [Round(number, len(racers), tuple(range(number))) for number in range(n_rounds)]
    # Seeds that are counted can become more, and the race goes on.
    is_counted = [part["seed"] for part in seeds] == list(range(len(seeds)))
    axes = {key: axis for key, axis in space.axes.items() if key != "seeds" or not is_counted}
    digest = digest_of(["race", VERSION, first, step], replace(space, axes=axes), objective)
    course = Race(f"{exp_name}-{digest}", objective, tuple(rounds), tuple(racers), first, step, space.race.max_hours)
    if (n_slots := sum(course.n_slots(one.number) for one in rounds)) > MOST_SLOTS:
        raise ConfigError(f"{where}.seeds: makes {n_slots:,} runs; allowed: up to {MOST_SLOTS:,} of one race")
    return course


def racers_of(space: Space, where: str) -> list[Racer]:
    """Return the settings that race, in the config's order; equal ones are one.

    Raises ConfigError where they cannot race.
    """
    _check_seeds(space, where)
    is_setting = [name not in CONSTRUCTS for name in space.axes]
    found: dict[str, dict[str, dict[str, Setting]]] = {}
    try:
        for setting, parts, rules in space.settings():
            made_by = [part for part, is_one in zip(parts, is_setting, strict=True) if is_one]
            of_seeds = found.setdefault(json.dumps([made_by, rules], sort_keys=True, default=str), {})
            of_seeds.setdefault(str(setting["seed"]), {})[setting_hash(setting)] = setting
            space.check(setting)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from None
    unlike: dict[str, Racer] = {}
    for of_seeds in found.values():
        racer = tuple(tuple(runs.items()) for runs in of_seeds.values())
        unlike.setdefault(racer[0][0][0], racer)
    if len(unlike) < 2:
        raise ConfigError(f"{where}.search.method: race needs two settings or more; here are {len(unlike)}")
    if len({tuple(len(runs) for runs in racer) for racer in unlike.values()}) > 1:
        raise ConfigError(f"{where}.exclude: takes some runs of a setting out of a race; allowed: all of them or none")
    return list(unlike.values())


def _check_seeds(space: Space, where: str) -> None:
    """Raise ConfigError where its seeds are not as many as a race needs."""
    assert space.race
    first, step = (space.race.options[key] for key in ("first", "step"))
    n_seeds = len(space.axes.get("seeds", []))
    if n_seeds <= first:
        has = f"{n_seeds} are too few" if n_seeds else "is missing"
        raise ConfigError(
            f"{where}.seeds: {has}; a race needs more than the {first} that each setting gets first (search.first),"
            f" such as {first + 9 * step}: the most that one can get"
        )
    if left_over := (n_seeds - first) % step:
        raise ConfigError(
            f"{where}.search.step: {step} does not divide the {n_seeds - first} seeds after the first {first};"
            f" allowed: seeds: {n_seeds - left_over} or {n_seeds - left_over + step}"
        )
