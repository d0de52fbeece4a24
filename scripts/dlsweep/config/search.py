"""What `search` says in an experiment: the method, its budget, and the ranges of the hyper-parameters.

A search goes in rounds of slots. How many there are, and how far their runs go, follows from the config alone; which
settings they have is decided from the results of earlier rounds (the room search/). Loads neither torch nor pandas.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dlsweep.config.axes import MOST_SETTINGS, Dimension, a_mapping, checked, integer, number, read_dimension
from dlsweep.config.files import Values, shown
from dlsweep.config.hyperparameters import find
from dlsweep.config.names import nearest
from dlsweep.config.quasi_random import points
from dlsweep.config.tasks import Task
from dlsweep.errors import ConfigError

BUDGETS = ("max_runs", "max_epochs")
"""Options that say how large a search may become, in place of `n` or beside it."""
MAX_HOURS = "max_hours"
"""The option that bounds what starts, by the hours of training that the search has spent."""
MOST_SLOTS = 100_000
"""Of one search: each is a job, and each round is decided by one."""


@dataclass(frozen=True)
class Option:
    """A number that a method takes: its default (None: it must be said), and the least that is allowed."""

    default: int | None
    low: int = 1


@dataclass(frozen=True)
class Search:
    """What `search` says, checked; `options` are those of the method, `n` and `seed` too, all with a value."""

    method: str
    options: Mapping[str, int]
    dimensions: Mapping[str, Dimension]
    max_hours: float | None = None

    @property
    def is_static(self) -> bool:
        """Whether the config decides all of its settings."""
        return METHODS[self.method].rounds is None

    def points(self) -> Iterator[Values]:
        """Yield quasi-random points without end, the values of the hyper-parameters by name."""
        for point in points(self.dimensions, self.options["seed"]):
            yield {key: dimension.at(point[key]) for key, dimension in self.dimensions.items()}


def read_search(spec: Any, where: str, task: Task) -> Search:
    """Read {method, n, key: {uniform: [low, high]}, ...}.

    What has a range, or a choice, is a hyper-parameter; what has a plain value is an option of the method.
    Raises ConfigError naming the key's path, the bad value and what is allowed.
    """
    spec = a_mapping(spec, where)
    method = spec.get("method")
    if not isinstance(method, str) or method not in METHODS:
        allowed = ", ".join(METHODS)
        raise ConfigError(
            f"{where}.method: {shown(method)} is not allowed; allowed: {allowed}.{nearest(method, METHODS)}"
        )
    known = METHODS[method].options
    in_rounds = METHODS[method].in_rounds
    options: dict[str, int] = {}
    for key in options_of(spec):
        if key == "method" or (key == MAX_HOURS and in_rounds):
            continue
        if find(key, task.hyperparameters) and key not in known:
            raise ConfigError(
                f"{where}.{key}: must be a range such as {{uniform: [low, high]}}, not {shown(spec[key])}"
            )
        if key not in known:
            names = ("method", *known, *([MAX_HOURS] if in_rounds else []))
            raise ConfigError(
                f"{where}.{key}: unknown option of {method}; allowed: {', '.join(names)}, and hyper-parameters with"
                f" their ranges.{nearest(key, (*names, *task.hyperparameters))}"
            )
    spaces = {key: space for key, space in spec.items() if isinstance(space, Mapping)}
    needs_n = spaces or METHODS[method].ranges
    for key, option in known.items():
        said = spec.get(key)
        if said is None and (
            key in BUDGETS or (key == "n" and (not needs_n or any(spec.get(one) is not None for one in BUDGETS)))
        ):
            continue
        if option.default is not None and (said is None or isinstance(said, Mapping)):
            options[key] = option.default
        else:
            options[key] = integer(said, f"{where}.{key}", *((option.low, MOST_SETTINGS) if key != "seed" else ()))
    dimensions = {key: read_dimension(key, space, f"{where}.{key}", task) for key, space in spaces.items()}
    if not dimensions and METHODS[method].ranges:
        raise ConfigError(f"{where}: names no hyper-parameter with a range, such as lr: {{log_uniform: [1e-4, 1]}}")
    for key, dimension in dimensions.items():
        for end in dimension.values or (dimension.at(0), dimension.within(dimension.high)):
            checked(key, end, f"{where}.{key}", task)
    if method == "cmaes" and (len(dimensions) < 2 or any(one.values for one in dimensions.values())):
        raise ConfigError(
            f"{where}.method: cmaes needs two hyper-parameters or more, all of them numbers; use tpe or gp"
        )
    return Search(method, options, dimensions, _read_max_hours(spec.get(MAX_HOURS), f"{where}.{MAX_HOURS}"))


def _read_max_hours(said: Any, where: str) -> float | None:
    if said is None:
        return None
    hours = number(said, where)
    if hours <= 0:
        raise ConfigError(f"{where}: {shown(said)} is not allowed; allowed: hours above 0, such as 1.5")
    return hours


def options_of(spec: Mapping[str, Any]) -> list[str]:
    """Return the keys of a search that name no hyper-parameter: those with a plain value."""
    return [key for key, value in spec.items() if not isinstance(value, Mapping)]


def checked_point(point: Values, where: str, task: Task) -> Values:
    """Return a point with its values normalised, as the hyper-parameters of a setting are."""
    return {key: checked(key, value, f"{where}.{key}", task) for key, value in point.items()}


# -- the rounds ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Round:
    """A round: how many points it has, the rounds whose results it needs, and the epoch that its runs pause after.

    Without such rounds the config decides it: it has the points from the `first`-th on. `epochs` is None where its
    runs go to the end.
    """

    number: int
    n_points: int
    after: tuple[int, ...] = ()
    first: int = 0
    epochs: int | None = None


@dataclass(frozen=True)
class Method:
    """A method: its options, and its rounds from their values and the number of epochs of a whole run.

    `rounds` is None for one that needs no results. `stages` says that its runs pause, so that number must be known.
    `grows` says that a larger `n` adds to the rounds and changes none. `needs` are packages.
    """

    options: Mapping[str, Option]
    rounds: Callable[[Mapping[str, int], int], list[Round]] | None = None
    stages: bool = False
    grows: bool = True
    needs: tuple[str, ...] = ()
    ranges: bool = True
    """Whether it needs ranges to search in."""

    @property
    def in_rounds(self) -> bool:
        """Whether its later runs depend on the results of earlier ones."""
        return self.rounds is not None or not self.ranges


def within_budget(search: Search, whole: int, n_seeds: int) -> Search:
    """Return a search with the largest `n` that its budgets allow; `whole` are the epochs of a whole run.

    A run that pauses and goes on is one run, and each of its epochs counts once. Raises ConfigError where a budget is
    too small for the method.
    """
    budgets = {key: search.options[key] for key in BUDGETS if key in search.options}
    options = {key: value for key, value in search.options.items() if key not in BUDGETS}
    if not budgets:
        return search
    method = METHODS[search.method]
    assert method.rounds is not None

    def costs(n: int) -> dict[str, int]:
        assert method.rounds is not None
        rounds = method.rounds({**options, "n": n}, whole)
        runs = sum(one.n_points for one in rounds if not (method.stages and one.after)) * n_seeds
        reached = {one.number: (one.epochs or whole) if method.stages else 0 for one in rounds}
        epochs = 0
        for one in rounds:
            epochs += one.n_points * ((one.epochs or whole) - max((reached[i] for i in one.after), default=0))
        return {"max_runs": runs, "max_epochs": epochs * n_seeds}

    def fits(n: int) -> bool:
        return all(costs(n)[key] <= budget for key, budget in budgets.items())

    if not fits(1):
        key = next(key for key, budget in budgets.items() if costs(1)[key] > budget)
        raise ConfigError(f"{key}: {budgets[key]} is not allowed; {search.method} needs {costs(1)[key]} here at least")
    low, high = 1, min([*budgets.values(), MOST_SLOTS, *filter(None, [options.get("n")])]) + 1
    while high - low > 1:  # low fits
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return replace(search, options={**options, "n": low})


def model_rounds(options: Mapping[str, int], epochs: int) -> list[Round]:
    """Return the rounds of a method that models the results: `startup` points of the config, then `parallel` a time."""
    n, parallel, startup = (options[key] for key in ("n", "parallel", "startup"))
    rounds: list[Round] = []
    done = 0
    while done < n:
        number = len(rounds)
        if done < startup:
            rounds.append(Round(number, min(parallel, startup - done, n - done), first=done))
        else:
            before = rounds[-1:] if rounds[-1].after else rounds
            rounds.append(Round(number, min(parallel, n - done), tuple(one.number for one in before)))
        done += rounds[-1].n_points
    return rounds


def halving_rounds(options: Mapping[str, int], epochs: int) -> list[Round]:
    """Return the rungs of successive halving (Jamieson & Talwalkar 2016): n points, of which one in `eta` goes on."""
    n_rungs = _n_rungs(options, epochs)
    return _bracket(options["n"], n_rungs, options["eta"], epochs, 0, 0)


def hyperband_rounds(options: Mapping[str, int], epochs: int) -> list[Round]:
    """Return the rungs of Hyperband's brackets (Li et al. 2018), one bracket after the other, until there are n points.

    The brackets begin with the one of most points and fewest epochs; after the last they begin again. n = 0 stands for
    all brackets once.
    """
    most, eta = _n_rungs(options, epochs), options["eta"]
    sizes = [
        -(-most * eta ** (rungs - 1) // rungs) for rungs in range(most, 0, -1)
    ]  # the numbers of points, rounded up
    rounds: list[Round] = []
    n_points = 0
    for size, rungs in itertools.cycle(zip(sizes, range(most, 0, -1), strict=True)):
        if rounds and n_points + size > (options["n"] or sum(sizes)):
            return rounds
        rounds += _bracket(size, rungs, eta, epochs, len(rounds), n_points)
        n_points += size
    raise AssertionError("the cycle has no end")


def _n_rungs(options: Mapping[str, int], epochs: int) -> int:
    """How often the number of epochs can be divided by `eta` until it is less than `min_epochs`."""
    n_rungs = 1
    while epochs >= options["min_epochs"] * options["eta"] ** n_rungs:
        n_rungs += 1
    return n_rungs


def _bracket(n: int, n_rungs: int, eta: int, epochs: int, number: int, first: int) -> list[Round]:
    """The rungs of one bracket, each with 1/eta of the points and eta times the epochs of the one before."""
    return [
        Round(
            number + i,
            max(n // eta**i, 1),
            (number + i - 1,) if i else (),
            first,
            None if i == n_rungs - 1 else max(round(epochs / eta ** (n_rungs - 1 - i)), 1),
        )
        for i in range(n_rungs)
    ]


_SEED = {"seed": Option(0)}
_BUDGETS = dict.fromkeys(BUDGETS, Option(None))
_MODEL = {"n": Option(None), **_SEED, "parallel": Option(4), "startup": Option(10), **_BUDGETS}
_STAGES = {"eta": Option(3, 2), "min_epochs": Option(1), **_BUDGETS}

METHODS: Mapping[str, Method] = {
    "quasi_random": Method({"n": Option(None), **_SEED}),
    "race": Method({"n": Option(None), **_SEED, "first": Option(3, 2), "step": Option(1)}, ranges=False),
    "tpe": Method(_MODEL, model_rounds, needs=("optuna",)),
    "gp": Method(_MODEL, model_rounds, needs=("optuna",)),
    "cmaes": Method(_MODEL, model_rounds, needs=("optuna", "cmaes")),
    "halving": Method({"n": Option(None), **_SEED, **_STAGES}, halving_rounds, stages=True, grows=False),
    "hyperband": Method({"n": Option(0), **_SEED, **_STAGES}, hyperband_rounds, stages=True),
}
