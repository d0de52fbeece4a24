"""What `compare`, `tune` and `tune_seeds` say in an experiment: what is compared, and how each is tuned before.

Loads neither torch nor pandas.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dlsweep.config.axes import SAMPLERS, a_mapping, read_grid, read_sample, read_seeds
from dlsweep.config.files import Values, shown
from dlsweep.config.names import nearest
from dlsweep.config.replicates import CONSTRUCTS
from dlsweep.config.search import BUDGETS, METHODS, Search, checked_point, read_search
from dlsweep.config.tasks import Task
from dlsweep.errors import ConfigError

WORDS = ("compare", "tune", "tune_seeds")
COMPARED = ("grid", "zip", "settings")
"""The constructs that give what is compared its values."""
TUNERS = tuple(name for name, method in METHODS.items() if method.ranges)
"""The methods of a search that tune: those that find values in ranges."""
FIRST_TUNE_SEED = 1000
"""Of a number of them: so both they and the seeds that are reported by can become more, and none of them changes."""


@dataclass(frozen=True)
class Tuning:
    """What is compared, and the values that each of it is tried with, by runs of these seeds.

    Where results decide the values, they are those of a `search`, and there are no points.
    """

    compared: tuple[str, ...]
    points: tuple[Values, ...]
    seeds: tuple[Values, ...]
    search: Search | None = None

    @property
    def keys(self) -> list[str]:
        """The hyper-parameters that are tuned, as the config names them."""
        return list(self.search.dimensions if self.search else self.points[0])


def read_tuning(spec: Mapping[str, Any], axes: Mapping[str, list[Values]], where: str, task: Task) -> Tuning | None:
    """Read what an experiment says of it, None for nothing; `axes` are its constructs as they are read.

    Raises ConfigError naming the key's path, the bad value and what is allowed.
    """
    said = [word for word in WORDS if spec.get(word) is not None]
    if not said:
        return None
    for word, does in (("compare", "names what is compared"), ("tune", "says what is tuned for each of its values")):
        if word not in said:
            raise ConfigError(f"{where}.{said[0]}: goes with {word}, which {does}; {word} is missing")
    for name in ("sample", "search"):
        if spec.get(name) is not None:
            raise ConfigError(f"{where}.{name}: does not go with compare; write what is tuned under tune")
    compared = _read_compared(spec["compare"], axes, f"{where}.compare")
    all_by_when = spec["tune"] == {} and spec.get("when") is not None
    tried = [{}] if all_by_when else read_tune(spec["tune"], f"{where}.tune", task)
    if "seeds" not in axes:
        raise ConfigError(f"{where}.seeds: is missing; how many seeds is each to be reported by, such as 5?")
    seeds = _read_tune_seeds(spec.get("tune_seeds", 1), f"{where}.tune_seeds", task)
    reported = [part["seed"] for part in axes["seeds"]]
    for part in seeds:
        if part["seed"] in reported:
            raise ConfigError(
                f"{where}.tune_seeds: {part['seed']} is one of seeds, too; allowed: seeds that nothing is reported by"
            )
    if isinstance(tried, Search):
        return Tuning(compared, (), tuple(seeds), tried)
    return Tuning(compared, tuple(tried), tuple(seeds))


def read_tune(spec: Any, where: str, task: Task) -> list[Values] | Search:
    """Return the points of a grid, of a sample (`n`, and ranges to draw from) or of a search that needs no results.

    A search that needs them is returned itself.
    """
    spec = a_mapping(spec, where)
    drawn = any(isinstance(value, Mapping) and not SAMPLERS_OF.isdisjoint(value) for value in spec.values())
    if "method" in spec and spec["method"] not in TUNERS:
        hint = nearest(spec["method"], TUNERS)
        raise ConfigError(
            f"{where}.method: {shown(spec['method'])} is not allowed; allowed: {', '.join(TUNERS)}.{hint}"
        )
    search = read_search(spec, where, task) if "method" in spec else None
    if search and search.max_hours:
        allowed = ", ".join(("n", *BUDGETS))
        raise ConfigError(f"{where}.max_hours: would tune what is slow less than the others; allowed: {allowed}")
    points: list[Values] = []
    if search and search.is_static:
        first = itertools.islice(search.points(), search.options["n"])
        points = [checked_point(point, where, task) for point in first]
    elif not search:
        points = read_sample(spec, where, task) if drawn or "n" in spec else read_grid(spec, where, task)
    for key in points[0] if points else search.dimensions if search else ():
        if any(key in keys for keys in CONSTRUCTS.values()):
            raise ConfigError(f"{where}.{key}: is not tuned, since it repeats a setting; see tune_seeds")
    return points or search or []


SAMPLERS_OF = frozenset(SAMPLERS)


def options_of_tune(spec: Mapping[str, Any]) -> set[str]:
    """Return the keys of `tune` that name no hyper-parameter."""
    if "method" in spec:
        return {key for key, value in spec.items() if not isinstance(value, Mapping)}
    return {"n", "seed"}


def _read_compared(said: Any, axes: Mapping[str, list[Values]], where: str) -> tuple[str, ...]:
    parts = {name: axes[name] for name in COMPARED if name in axes}
    several = [
        key
        for axis in parts.values()
        for key in dict.fromkeys(key for part in axis for key in part)
        if len({repr(part[key]) if key in part else "" for part in axis}) > 1
    ]
    names = said if isinstance(said, list) else [said]
    for name in names or [said]:
        if name not in several:
            allowed = ", ".join(several) or "nothing here; write its values under grid: {optimizer: [sgd, adam]}"
            raise ConfigError(
                f"{where}: {shown(name)} is not allowed; allowed: a hyper-parameter (or a list of them) that grid, zip"
                f" or settings gives two values or more: {allowed}.{nearest(name, several)}"
            )
    return tuple(dict.fromkeys(names))


def _read_tune_seeds(said: Any, where: str, task: Task) -> list[Values]:
    found = read_seeds(said, where, task)
    if isinstance(said, int):
        return [{"seed": FIRST_TUNE_SEED + part["seed"]} for part in found]
    return found
