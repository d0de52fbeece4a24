"""What `search` says in an experiment: the method, its budget, and the ranges of the hyper-parameters.

A search goes in rounds of slots. How many there are, and how far their runs go, follows from the config alone; which
settings they have is decided from the results of earlier rounds (the room search/). Loads neither torch nor pandas.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dlsweep.config.axes import MOST_SETTINGS, Dimension, a_mapping, checked, integer, read_dimension
from dlsweep.config.files import Values, shown
from dlsweep.config.names import nearest
from dlsweep.config.quasi_random import points
from dlsweep.config.tasks import Task
from dlsweep.errors import ConfigError

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
    options: dict[str, int] = {}
    for key in options_of(spec):
        if key == "method":
            continue
        if key in task.hyperparameters and key not in known:
            raise ConfigError(
                f"{where}.{key}: must be a range such as {{uniform: [low, high]}}, not {shown(spec[key])}"
            )
        if key not in known:
            names = ("method", *known)
            raise ConfigError(
                f"{where}.{key}: unknown option of {method}; allowed: {', '.join(names)}, and hyper-parameters with"
                f" their ranges.{nearest(key, (*names, *task.hyperparameters))}"
            )
    for key, option in known.items():
        said = spec.get(key)
        if said is None or isinstance(said, Mapping):
            said = option.default
        options[key] = integer(said, f"{where}.{key}", *((option.low, MOST_SETTINGS) if key != "seed" else ()))
    spaces = {key: space for key, space in spec.items() if isinstance(space, Mapping)}
    dimensions = {key: read_dimension(key, space, f"{where}.{key}", task) for key, space in spaces.items()}
    if not dimensions:
        raise ConfigError(f"{where}: names no hyper-parameter with a range, such as lr: {{log_uniform: [1e-4, 1]}}")
    for key, dimension in dimensions.items():
        for end in dimension.values or (dimension.at(0), dimension.within(dimension.high)):
            checked(key, end, f"{where}.{key}", task)
    return Search(method, options, dimensions)


def options_of(spec: Mapping[str, Any]) -> list[str]:
    """Return the keys of a search that name no hyper-parameter: those with a plain value."""
    return [key for key, value in spec.items() if not isinstance(value, Mapping)]


def static_points(search: Search, where: str, task: Task) -> list[Values]:
    """Return the points of a search that needs no results."""
    first = itertools.islice(search.points(), search.options["n"])
    return [{key: checked(key, value, f"{where}.{key}", task) for key, value in point.items()} for point in first]


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

    `rounds` is None for one that needs no results. `stages` says that its runs pause, so `epochs` must be known.
    """

    options: Mapping[str, Option]
    rounds: Callable[[Mapping[str, int], int], list[Round]] | None = None
    stages: bool = False


def _quasi_random() -> Method:
    return Method({"n": Option(None), "seed": Option(0)})


METHODS: Mapping[str, Method] = {
    "quasi_random": _quasi_random(),
}
