"""The settings of an experiment as axes: grid, sample, cases, and what depends on them."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dlsweep.config.axes import (
    MOST_SETTINGS,
    a_mapping,
    read_base,
    read_folds,
    read_grid,
    read_sample,
    read_seeds,
    read_settings,
    read_split_seeds,
    read_zip,
)
from dlsweep.config.dotted import dotted, folded, over, whole_of
from dlsweep.config.files import Values, shown
from dlsweep.config.hyperparameters import find, nearest_key
from dlsweep.config.identity import Setting, check_required, defaults_for, resolve
from dlsweep.config.names import nearest
from dlsweep.config.replicates import CONSTRUCTS
from dlsweep.config.rules import Condition, Rule, matches, read_exclude, read_when
from dlsweep.config.search import Search, checked_point, options_of, read_search
from dlsweep.config.tasks import BUILT_IN, SPECIAL_KEYS, TASK_KEYS, TASK_WORDS, Task, is_task_name, task_of
from dlsweep.config.tuning import Tuning, options_of_tune, read_tuning
from dlsweep.errors import ConfigError

AXES: Mapping[str, Callable[[Any, str, Task], list[Values]]] = {
    "grid": read_grid,
    "zip": read_zip,
    "settings": read_settings,
    "sample": read_sample,
    "seeds": read_seeds,
    "split_seeds": read_split_seeds,
    "folds": read_folds,
}
"""The constructs that name several values, each with its reader; an experiment is their cross product."""


# -- one experiment ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Space:
    """What an experiment asks for, read and checked: the settings are the cross product of its axes over its base.

    The base are the defaults of the config and the experiment's own values.
    """

    task: Task
    own: Values
    base: Values
    axes: dict[str, list[Values]]
    when: list[Rule]
    exclude: list[Condition]
    search: Search | None = None
    """What it searches in rounds, beside the axes; the points of a search that needs no results are one of them."""
    race: Search | None = None
    """Where its settings race over seeds: how many of them they get at a time."""
    tuning: Tuning | None = None
    """What is tuned for each setting of the axes, before it is reported by their seeds."""

    def while_tuning(self) -> Space:
        """Return the space of the runs that tune: with the values that are tried, and the seeds of these runs."""
        assert self.tuning
        axes = {name: axis for name, axis in self.axes.items() if name != "seeds"}
        tried = {"tune": list(self.tuning.points)} if self.tuning.points else {}
        seeds = {"tune_seeds": list(self.tuning.seeds)}
        return replace(self, axes={**axes, **tried, **seeds}, search=self.tuning.search, tuning=None)

    def at(self, point: Values) -> Iterator[tuple[Setting, tuple[Values, ...], tuple[int, ...]]]:
        """Yield each setting of one point of the search, as `settings` does."""
        return self.of(point).settings()

    def of(self, point: Values, name: str = "search") -> Space:
        """Return the space with one point of the search, as the axis of this name."""
        return replace(self, axes={**self.axes, name: [point]}, search=None)

    def settings(self) -> Iterator[tuple[Setting, tuple[Values, ...], tuple[int, ...]]]:
        """Yield each setting with what made it: a part of each axis, and the numbers of the rules that set values.

        One setting may come more than once.
        """
        for parts in itertools.product(*self.axes.values()):
            values = self.base
            for part in parts:
                values = self._over(values, part)
            for setting, rules in self._with_rules(values, 0):
                if not any(matches(setting, condition) for condition in self.exclude):
                    yield setting, parts, rules

    @property
    def n_repetitions(self) -> int:
        """How many runs repeat each setting: its seeds, splits and folds."""
        return math.prod(len(self.axes[name]) for name in (*CONSTRUCTS, "tune_seeds") if name in self.axes)

    def check(self, setting: Setting) -> None:
        """Raise ConfigError where a setting lacks what it cannot do without, or what is said does not apply to it."""
        check_required(setting)
        if "folds" in self.axes and "fold" not in setting:
            raise ConfigError(
                f"folds: {setting['dataset']} has a test split of its own, so it has no folds; use split_seeds for"
                " other training and validation splits"
            )

    @functools.cached_property
    def has_dotted(self) -> bool:
        """Whether a key inside of a mapping is said anywhere: a large sweep without is expanded faster."""
        axes = [*self.axes.values(), *(rule.choices for rule in self.when)]
        return bool(dotted(self.base)) or any(dotted(values) for axis in axes for values in axis)

    def _over(self, values: Values, later: Values) -> Values:
        return over(values, later) if self.has_dotted else {**values, **later}

    def _with_rules(self, values: Values, i: int) -> Iterator[tuple[Setting, tuple[int, ...]]]:
        """Apply the rules of `when` from the i-th on; each sees what the earlier ones have set."""
        setting = resolve(folded(values, defaults_for(values)) if self.has_dotted else values)
        if i == len(self.when):
            yield setting, ()
        elif not matches(setting, self.when[i].condition):
            yield from self._with_rules(values, i + 1)
        else:
            for choice in self.when[i].choices:
                for complete, later in self._with_rules(self._over(values, choice), i + 1):
                    yield complete, (i, *later)


def read_space(spec: Mapping[str, Any], defaults: Mapping[str, Any], where: str) -> Space:
    """Read the mapping of one experiment over the config's defaults; `where` is its path."""
    task = read_task(spec, defaults, where)
    words = (*SPECIAL_KEYS, *TASK_WORDS)
    for key in spec:
        if key not in words and find(key, task.hyperparameters) is None:
            which = (
                "(docs/reference/hyperparameters.md)"
                if task is BUILT_IN
                else f"of {task}: {', '.join(task.hyperparameters)}"
            )
            allowed = f"{', '.join(words)} and the hyper-parameters {which}"
            hint = nearest_key(key, task.hyperparameters, words)
            raise ConfigError(f"{where}.{key}: unknown key; allowed: {allowed}.{hint}")
    named = {task.key: task.name} if task.key else {}
    own = read_base({key: value for key, value in spec.items() if key not in words}, where, task)
    if task.key in spec:
        own = {**named, **own}
    said = {name: read for name, read in AXES.items() if spec.get(name) is not None}
    axes = {name: read(spec[name], f"{where}.{name}", task) for name, read in said.items()}
    search = read_search(spec["search"], f"{where}.search", task) if spec.get("search") is not None else None
    race = search if search and search.method == "race" else None
    if search and search.dimensions and search.is_static:
        first = itertools.islice(search.points(), search.options["n"])
        points = [checked_point(point, f"{where}.search", task) for point in first]
        repeated = {name: axes.pop(name) for name in CONSTRUCTS if name in axes}
        axes = {**axes, "search": points, **repeated}
    if search and search.is_static:
        search = None
    tuning = read_tuning(spec, axes, where, task)
    n_tried = max(len(tuning.points), 1) * len(tuning.seeds) if tuning else 1
    if math.prod(len(axis) for axis in axes.values()) * n_tried > MOST_SETTINGS:
        raise ConfigError(f"{where}: has more than {MOST_SETTINGS:,} settings")
    later = {"search": list(search.dimensions)} if search else {"tune": tuning.keys} if tuning else {}
    _refuse_overlap(own, {**axes, **{name: [dict.fromkeys(keys)] for name, keys in later.items()}}, where)
    when = read_when(spec["when"], f"{where}.when", task) if spec.get("when") is not None else []
    exclude = read_exclude(spec["exclude"], f"{where}.exclude", task) if spec.get("exclude") is not None else []
    if search:
        _refuse_beside(search, axes, when, where)
    if tuning:
        _refuse_seeds(when, exclude, where)
        if tuning.search:
            _refuse_choices(tuning.search, when, where)
    return Space(
        task=task,
        own=own,
        base={**named, **over(read_defaults(defaults, task), own)},
        axes=axes,
        when=when,
        exclude=exclude,
        search=search,
        race=race,
        tuning=tuning,
    )


def _refuse_beside(search: Search, axes: Mapping[str, list[Values]], when: list[Rule], where: str) -> None:
    """A search in rounds is one search, with one setting a point and seed."""
    others = [name for name in axes if name not in CONSTRUCTS]
    if others:
        raise ConfigError(
            f"{where}.{others[0]}: does not go with a search by {search.method}; make it a choice of the search, or"
            f" write an experiment for each; allowed beside it: {', '.join(CONSTRUCTS)}, when, exclude"
        )
    _refuse_choices(search, when, where)


def _refuse_choices(search: Search, when: list[Rule], where: str) -> None:
    for i, rule in enumerate(when):
        if len(rule.choices) > 1:
            raise ConfigError(
                f"{where}.when[{i}].set: has several values, but a search by {search.method} has one setting a point"
            )


def _refuse_seeds(when: list[Rule], exclude: list[Condition], where: str) -> None:
    """What is chosen with some seeds is reported by others, so no value may depend on the seed."""
    keys = {
        **{
            f"when[{i}]": {*rule.condition, *(key for part in rule.choices for key in part)}
            for i, rule in enumerate(when)
        },
        **{f"exclude[{i}]": {*condition} for i, condition in enumerate(exclude)},
    }
    for name, said in keys.items():
        if "seed" in said:
            raise ConfigError(f"{where}.{name}: names seed, which does not go with tune: it is tuned with other seeds")


def read_task(spec: Mapping[str, Any], defaults: Mapping[str, Any], where: str) -> Task:
    """Return the task of an experiment: what it says itself, else what the defaults say."""
    for said, place in ((spec, where), (defaults, "defaults")):
        named = {key: said[key] for key in TASK_KEYS if said.get(key) is not None}
        if len(named) > 1:
            first, second = list(named)[:2]
            raise ConfigError(f"{place}.{second}: {place} has {first} as well; allowed: one of them")
        for key, name in named.items():
            if isinstance(name, (list, Mapping)):
                raise ConfigError(f"{place}.{key}: {shown(name)} is not one task; write an experiment for each")
            if not is_task_name(key, name):
                forms = {"train": 'text of the form "module:function"', "imported": "text as import writes it"}
                allowed = forms.get(key, "the text of a command")
                raise ConfigError(f"{place}.{key}: {shown(name)} is not allowed; allowed: {allowed}")
            try:
                return task_of(named)
            except ConfigError as error:
                raise ConfigError(f"{place}.{error}") from None
        if any(key in said for key in TASK_KEYS):  # null: the built-in one
            break
    return BUILT_IN


def read_defaults(defaults: Mapping[str, Any], task: Task) -> Values:
    """Return those of the config's defaults that are hyper-parameters of a task."""
    known = {key: value for key, value in defaults.items() if find(key, task.hyperparameters)}
    return read_base(known, "defaults", task)


def _refuse_overlap(own: Values, axes: Mapping[str, list[Values]], where: str) -> None:
    """Two places that set one key, or a mapping and a key inside of it, would silently undo each other."""
    stated = {key: f"{where}.{key}" for key in own}
    for name, axis in axes.items():
        for key in {key: None for part in axis for key in part}:
            if key in stated:
                raise ConfigError(f"{where}.{name}: sets {key}, which {stated[key]} sets as well")
            stated[key] = f"{where}.{name}"
    for key in dotted(stated):
        whole = whole_of(key, stated.keys() - own.keys())
        if whole and not stated[key] == stated[whole] == f"{where}.settings":  # its items stand side by side
            raise ConfigError(f"{stated[whole]}: sets the whole of {whole}, and {stated[key]} sets {key} in it")


def merged_spec(exp_name: str, experiments: Mapping[str, Any], below: tuple[str, ...] = ()) -> Values:
    """Return the mapping of an experiment over that of the experiment it extends.

    What it says of a hyper-parameter replaces all that the other says of it, in whichever construct. Axes of one
    construct (grid, zip, sample, search, tune) are joined key by key; null takes a construct away. Its
    question is its own.
    """
    where = f"experiments.{exp_name}"
    spec = a_mapping(experiments[exp_name] if experiments[exp_name] is not None else {}, where)
    parent = spec.get("extends")
    if parent is None:
        return dict(spec)
    if not isinstance(parent, str) or parent not in experiments:
        allowed = ", ".join(other for other in experiments if other != exp_name) or "the name of another experiment"
        hint = nearest(parent, experiments) if isinstance(parent, str) else " Write it in quotes."
        raise ConfigError(f"{where}.extends: {shown(parent)} is not an experiment; allowed: {allowed}.{hint}")
    if parent in (exp_name, *below):
        raise ConfigError(f"{where}.extends: {parent} extends itself")
    merged = _without(merged_spec(parent, experiments, (*below, exp_name)), spec)
    merged.pop("question", None)
    if any(key in spec for key in TASK_KEYS):
        merged = {key: value for key, value in merged.items() if key not in TASK_KEYS}
    for key, value in spec.items():
        if key in KEYED and isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = over(merged[key], value)
        elif value is None and key in SPECIAL_KEYS:
            merged.pop(key, None)
        elif key != "extends":
            merged[key] = value
    return merged


def _without(spec: Mapping[str, Any], child: Mapping[str, Any]) -> Values:
    """The mapping of an experiment without the hyper-parameters that the one which extends it sets elsewhere."""
    stated = _stated(child)
    kept: Values = {}
    for place, value in spec.items():
        elsewhere = {key for other, keys in stated.items() if other != place for key in keys}

        def is_left(key: str, elsewhere: set[str] = elsewhere) -> bool:
            return key not in elsewhere and not whole_of(key, elsewhere)

        if place in KEYED and isinstance(value, Mapping):
            options = _options(place, value)
            left = {key: item for key, item in value.items() if key in options or is_left(key)}
            if left.keys() - options or not value:
                kept[place] = left
        elif place == "settings" and isinstance(value, list):
            kept[place] = [
                {key: said for key, said in item.items() if is_left(key)} if isinstance(item, Mapping) else item
                for item in value
            ]
        elif is_left(place) and elsewhere.isdisjoint(CONSTRUCTS.get(place, ())):
            kept[place] = value
    return kept


def _stated(spec: Mapping[str, Any]) -> dict[str, set[str]]:
    """The hyper-parameters that each construct of an experiment sets; its base values stand under their own name."""
    stated: dict[str, set[str]] = {key: {key} for key in spec if key not in SPECIAL_KEYS}
    for place in KEYED:
        if isinstance(spec.get(place), Mapping):
            stated[place] = set(spec[place]) - _options(place, spec[place])
    if isinstance(spec.get("settings"), list):
        stated["settings"] = {key for item in spec["settings"] if isinstance(item, Mapping) for key in item}
    stated |= {name: set(keys) for name, keys in CONSTRUCTS.items() if spec.get(name) is not None}
    return stated


def _options(place: str, mapping: Mapping[str, Any]) -> set[str]:
    """The keys of a construct that name no hyper-parameter."""
    if place == "tune":
        return options_of_tune(mapping)
    return {"n", "seed"} if place == "sample" else set(options_of(mapping)) if place == "search" else set()


KEYED = ("grid", "zip", "sample", "search", "tune")
"""The constructs that are a mapping of hyper-parameters."""
