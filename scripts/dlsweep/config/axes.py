"""The constructs that name several values: grid, zip, settings, sample, seeds, and the ranges inside them.

Each `read_*` function turns what the config says into a list of partial settings of a task, checked and normalised. It
raises ConfigError naming the key's path (`where`), the bad value and what is allowed.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dlsweep.config.files import Values, shown
from dlsweep.config.hyperparameters import check_value, find, nearest_key
from dlsweep.config.names import nearest
from dlsweep.config.tasks import BUILT_IN, Task
from dlsweep.errors import ConfigError

SAMPLERS = ("uniform", "log_uniform", "int_uniform", "log_int_uniform", "choice")
RANGES = ("range", "linspace", "logspace")
MOST_SETTINGS = 1_000_000


def read_grid(spec: Any, where: str, task: Task) -> list[Values]:
    """{key: [values]}: the cross product; the last key changes fastest."""
    axes = _read_axes(spec, where, task)
    if math.prod(len(values) for values in axes.values()) > MOST_SETTINGS:
        raise ConfigError(f"{where}: has more than {MOST_SETTINGS:,} settings")
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def read_zip(spec: Any, where: str, task: Task) -> list[Values]:
    """{key: [values]}: lists that advance together."""
    axes = _read_axes(spec, where, task)
    lengths = {key: len(values) for key, values in axes.items()}
    if len(set(lengths.values())) != 1:
        counts = ", ".join(f"{key} has {length}" for key, length in lengths.items())
        raise ConfigError(f"{where}: the lists must be equally long; {counts} values")
    return [dict(zip(axes, values, strict=True)) for values in zip(*axes.values(), strict=True)]


def read_settings(spec: Any, where: str, task: Task) -> list[Values]:
    """[{key: value}]: an explicit list."""
    if not isinstance(spec, list) or not spec:
        raise ConfigError(f"{where}: must be a list of mappings with at least one item, not {shown(spec)}")
    return [read_base(a_mapping(item, f"{where}[{i}]"), f"{where}[{i}]", task) for i, item in enumerate(spec)]


def read_seeds(spec: Any, where: str, task: Task, key: str = "seed") -> list[Values]:
    """A number of seeds, counted from 0, or a list of them; `key` is the hyper-parameter that they are of."""
    if key not in task.hyperparameters:
        raise ConfigError(f"{where}: {task} has no hyper-parameter {key}")
    if isinstance(spec, int) and not isinstance(spec, bool) and 1 <= spec <= MOST_SETTINGS:
        return [{key: checked(key, seed, where, task)} for seed in range(spec)]
    if not isinstance(spec, (list, dict)):
        raise ConfigError(f"{where}: {shown(spec)} is not allowed; allowed: how many (a positive integer), or a list")
    return [{key: seed} for seed in read_values(key, spec, where, task)]


def read_split_seeds(spec: Any, where: str, task: Task) -> list[Values]:
    """A number of random splits of the data, or a list of their seeds."""
    return read_seeds(spec, where, task, "split_seed")


def read_folds(spec: Any, where: str, task: Task) -> list[Values]:
    """The number of folds of a cross-validation: each is the test split of one run. Own code may do without n_folds."""
    if "fold" not in task.hyperparameters:
        raise ConfigError(f"{where}: {task} has no hyper-parameter fold, which says which fold is the test split")
    n = integer(spec, where, 2, MOST_SETTINGS)
    whole = {"n_folds": checked("n_folds", n, where, task)} if "n_folds" in task.hyperparameters else {}
    return [{**whole, "fold": checked("fold", fold, where, task)} for fold in range(n)]


def read_sample(spec: Any, where: str, task: Task) -> list[Values]:
    """{n, seed, key: {uniform: [low, high]}, ...}: random search.

    The number drawn for the k-th sample of a key follows from seed, k and key alone. So a larger `n`, or one
    more key, changes nothing that was drawn before.
    """
    spec = a_mapping(spec, where)
    n = integer(spec.get("n"), f"{where}.n", 1, MOST_SETTINGS)
    seed = integer(spec.get("seed", 0), f"{where}.seed")
    spaces = {key: space for key, space in spec.items() if key not in ("n", "seed")}
    dimensions = {key: read_dimension(key, space, f"{where}.{key}", task) for key, space in spaces.items()}
    if not dimensions:
        raise ConfigError(f"{where}: names no hyper-parameter to sample")
    return [
        {
            key: checked(key, dimension.at(fraction(f"{seed}/{k}/{key}")), f"{where}.{key}", task)
            for key, dimension in dimensions.items()
        }
        for k in range(n)
    ]


def read_base(values: Mapping[str, Any], where: str, task: Task) -> Values:
    """{key: value}: one value for each key."""
    for key, value in values.items():
        if is_several(key, value, task):
            raise ConfigError(f"{where}.{key}: {shown(value)} is not one value; several values belong under grid")
    return {key: checked(key, value, f"{where}.{key}", task) for key, value in values.items()}


def checked(key: str, value: Any, where: str, task: Task) -> Any:
    """Return the normalised value of a hyper-parameter; `where` is its path."""
    try:
        if task is BUILT_IN:
            _refuse_one(key, value)
            if key == "data_path":
                refuse_braces(str(value), "data_path: ")
        return check_value(key, value, task.hyperparameters)
    except ConfigError as error:
        raise ConfigError(f"{where.removesuffix(key)}{error}") from None


def _refuse_one(key: str, value: Any) -> None:
    """Refuse a size that is written 1.0: it would be one image, and looks like all of them."""
    if key in ("train_size", "val_size", "test_size") and not isinstance(value, int):
        try:
            one = float(value) == 1 and str(value).strip() != "1"
        except (TypeError, ValueError):
            return
        if one:
            every = "null for all of them" if key == "train_size" else "a fraction below 1"
            raise ConfigError(f"{key}: {shown(value)} would be one image; write {every}, or 1 for one image")


def refuse_braces(path: str, where: str = "") -> None:
    """Raise ConfigError where Snakemake would take a part of a path for a wildcard."""
    if re.search(r"\{.*\}", path):
        raise ConfigError(f"{where}{path} has braces, which Snakemake reads as a wildcard; rename the file or folder")


def a_mapping(value: Any, where: str) -> Mapping[str, Any]:
    """Return `value`, which must be a mapping."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: must be a mapping of names to values, not {shown(value)}")
    return value


# -- lists and ranges ----------------------------------------------------------------------------------------------


def _read_axes(spec: Any, where: str, task: Task) -> dict[str, list[Any]]:
    axes = {key: read_values(key, values, f"{where}.{key}", task) for key, values in a_mapping(spec, where).items()}
    if not axes:
        raise ConfigError(f"{where}: is empty")
    return axes


def read_values(key: str, spec: Any, where: str, task: Task) -> list[Any]:
    """Return the values of one hyper-parameter: a range, or a list of values, ranges and further lists."""
    check_key(key, where, task)
    if not is_several(key, spec, task) and not isinstance(spec, list):
        raise ConfigError(f"{where}: must be a list of values, or one of {', '.join(RANGES)}, not {shown(spec)}")
    values = [checked(key, value, where, task) for value in _flat(key, spec, where, task)]
    if not values:
        raise ConfigError(f"{where}: is empty")
    return values


def _flat(key: str, spec: Any, where: str, task: Task) -> Iterator[Any]:
    """The single values of nested lists and ranges. The values of some keys are lists or mappings themselves."""
    for item in spec if isinstance(spec, list) else [spec]:
        if not is_several(key, item, task):
            yield item
        elif isinstance(item, list):
            yield from _flat(key, item, where, task)
        else:
            yield from _read_range(key, item, where, task)


def is_several(key: str, value: Any, task: Task) -> bool:
    """Say whether a value is a list or a range of values.

    A list can be one value where the key holds lists, or anything; so can a mapping, unless it is a range.
    """
    hyper = find(key, task.hyperparameters)
    kind = hyper.type if hyper else None
    if isinstance(value, Mapping):
        return kind in (int, float) or (kind is object and len(value) == 1 and next(iter(value)) in RANGES)
    return isinstance(value, list) and kind not in (list, object)


def check_key(key: str, where: str, task: Task) -> None:
    """Raise ConfigError where a task has no such hyper-parameter; `where` is its path."""
    if find(key, task.hyperparameters) is None:
        of_whom = "" if task is BUILT_IN else f" of {task}; it has {', '.join(task.hyperparameters) or 'none'}"
        raise ConfigError(f"{where}: unknown hyper-parameter{of_whom}.{nearest_key(key, task.hyperparameters)}")


def _read_range(key: str, item: Mapping[str, Any], where: str, task: Task) -> list[float]:
    """The numbers of {range: [start, stop, step]}, {linspace: [low, high, n]} or {logspace: [low, high, n]}.

    `range` includes its stop; the ends of `logspace` are the values themselves, not exponents. Where the
    hyper-parameter is a whole number, linspace and logspace are rounded to whole numbers.
    """
    kind, arguments = _one_of(RANGES, item, where)
    where = f"{where}.{kind}"
    form = "[start, stop] or [start, stop, step]" if kind == "range" else "[low, high, n]"
    if not isinstance(arguments, list) or len(arguments) not in ((2, 3) if kind == "range" else (3,)):
        raise ConfigError(f"{where}: must be {form}, not {shown(arguments)}")
    numbers = [number(argument, where) for argument in arguments]
    whole = all(isinstance(argument, int) for argument in arguments[:2])  # then 1 is 1 image, and not 1.0
    if kind == "range":
        start, stop, step = (*numbers, 1.0)[:3]
        if step == 0 or not 0 <= (stop - start) / step < MOST_SETTINGS:
            raise ConfigError(f"{where}: {shown(arguments)} does not lead from start to stop")
        found = [_rounded(start + i * step) for i in range(int((stop - start) / step + 1e-9) + 1)]
        return [int(x) if whole and x.is_integer() else x for x in found]
    low, high = numbers[:2]
    n = integer(arguments[2], where, 1, MOST_SETTINGS)
    if kind == "logspace" and (low <= 0 or high <= 0):
        raise ConfigError(f"{where}: {shown(arguments)} is not allowed; allowed: both ends above 0")
    scale, back = (math.log, math.exp) if kind == "logspace" else (float, float)
    steps = [scale(low) + (scale(high) - scale(low)) * i / max(n - 1, 1) for i in range(n)]
    found = [round(back(x)) if _is_whole(key, task) else _rounded(back(x)) for x in steps]
    return [int(x) if whole and x == int(x) else x for x in found]


def _is_whole(key: str, task: Task) -> bool:
    hyper = find(key, task.hyperparameters)
    return hyper is not None and hyper.type is int


def _rounded(value: float) -> float:
    """12 significant digits, so that 0.1 + 0.2 is 0.3 and a hash does not hang on the last bit."""
    return float(f"{value:.12g}")


# -- what is drawn from --------------------------------------------------------------------------------------------


def fraction(text: str) -> float:
    """Return a number in [0, 1) that follows from the text on every machine and in every version of Python."""
    return int.from_bytes(hashlib.sha1(text.encode()).digest()[:6]) / 2**48


@dataclass(frozen=True)
class Dimension:
    """What one hyper-parameter is drawn from: `values`, or the numbers from `low` to `high`, both of them included.

    `log` says that each factor is as probable as any other, `whole` that the numbers are integers.
    """

    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    whole: bool = False

    def at(self, u: float) -> Any:
        """Return the value at a number in [0, 1)."""
        if self.values:
            return self.values[int(u * len(self.values))]
        top = self.high + 1 if self.whole else self.high  # an integer stands for the interval from itself to the next
        if not self.log:
            return self.within(self.low + u * (top - self.low))
        return self.within(math.exp(math.log(self.low) + u * (math.log(top) - math.log(self.low))))

    def within(self, drawn: float) -> float:
        """Return the number drawn, rounded; the last bit of a logarithm must not carry it beyond an end."""
        return min(max(math.floor(drawn) if self.whole else _rounded(drawn), self.low), self.high)


def read_dimension(key: str, space: Any, where: str, task: Task) -> Dimension:
    """Return what one hyper-parameter is drawn from: {log_uniform: [1e-4, 1]}, {choice: [relu, tanh]}."""
    check_key(key, where, task)
    kind, arguments = _one_of(SAMPLERS, space, where)
    where = f"{where}.{kind}"
    if kind == "choice":
        return Dimension(tuple(read_values(key, arguments, where, task)))
    if not isinstance(arguments, list) or len(arguments) != 2:
        raise ConfigError(f"{where}: must be [low, high], not {shown(arguments)}")
    low, high = (number(argument, where) for argument in arguments)
    whole = "int" in kind
    if low > high or ("log" in kind and low <= 0) or (whole and (low != int(low) or high != int(high))):
        allowed = "low <= high" + ", both above 0" * ("log" in kind) + ", both whole" * whole
        raise ConfigError(f"{where}: {shown(arguments)} is not allowed; allowed: {allowed}")
    if not whole and _is_whole(key, task):
        raise ConfigError(f"{where}: draws no whole numbers; allowed: int_uniform, log_int_uniform, choice")
    return Dimension(low=low, high=high, log="log" in kind, whole=whole)


# -- single values -------------------------------------------------------------------------------------------------


def number(value: Any, where: str) -> float:
    """Return a finite number; it may be written as text, as in quotes or on Snakemake's command line."""
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise ConfigError(f"{where}: {shown(value)} is not a number")
    return found


def integer(value: Any, where: str, low: int | None = None, high: int | None = None) -> int:
    good = isinstance(value, int) and not isinstance(value, bool)
    if not good or (low is not None and value < low) or (high is not None and value > high):
        limits = "" if low is None else f" from {low:,} to {high:,}"
        raise ConfigError(f"{where}: {shown(value)} is not allowed; allowed: an integer{limits}")
    return int(value)


def _one_of(kinds: tuple[str, ...], item: Any, where: str) -> tuple[str, Any]:
    """The only key and value of a mapping such as {uniform: [0, 1]}."""
    mapping = a_mapping(item, where)
    kind = next(iter(mapping), None)
    if len(mapping) != 1 or kind not in kinds:
        raise ConfigError(f"{where}: {shown(item)} must be one of {', '.join(kinds)}.{nearest(kind, kinds)}")
    return kind, mapping[kind]
