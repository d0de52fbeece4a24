"""The constructs that ask whether a setting matches: exclude and when. Loads neither torch nor pandas."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dlsweep.config.axes import a_mapping, check_key, checked, is_several, number, read_grid
from dlsweep.config.dotted import MISSING, value_of
from dlsweep.config.files import Values, plain_value, shown
from dlsweep.config.hyperparameters import find
from dlsweep.config.identity import Setting
from dlsweep.config.tasks import Task
from dlsweep.errors import ConfigError

Comparison = tuple[Callable[[Any, Any], bool], Any]
Condition = dict[str, list[list[Comparison]]]
"""For each key its alternatives, of which one must hold: comparisons that must all hold."""

_OPERATORS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_COMPARISON = re.compile(r"\s*(<=|>=|<|>|!=|==)\s*(.+?)\s*")


@dataclass(frozen=True)
class Rule:
    """One item of `when`: the values that settings get where they match."""

    condition: Condition
    choices: list[Values]


def read_exclude(spec: Any, where: str, task: Task) -> list[Condition]:
    """Partial settings, of which a setting that matches any is dropped."""
    items = [spec] if isinstance(spec, Mapping) else spec
    if not isinstance(items, list) or not items:
        raise ConfigError(f"{where}: must be a mapping or a list of mappings, not {shown(spec)}")
    return [_read_condition(item, f"{where}[{i}]", task) for i, item in enumerate(items)]


def read_when(spec: Any, where: str, task: Task) -> list[Rule]:
    """Rules {if: condition, set: {key: value, or a list of values to sweep}}."""
    items = [spec] if isinstance(spec, Mapping) else spec
    if not isinstance(items, list) or not items:
        raise ConfigError(f"{where}: must be a list of rules with if and set, not {shown(spec)}")
    return [_read_rule(item, f"{where}[{i}]", task) for i, item in enumerate(items)]


def _read_rule(item: Any, where: str, task: Task) -> Rule:
    rule = a_mapping(item, where)
    if set(rule) != {"if", "set"}:
        raise ConfigError(f"{where}: must have the keys if and set and no other, not {shown(list(rule))}")
    axes = {
        key: value if is_several(key, value, task) else [value]
        for key, value in a_mapping(rule["set"], f"{where}.set").items()
    }
    return Rule(_read_condition(rule["if"], f"{where}.if", task), read_grid(axes, f"{where}.set", task))


def _read_condition(spec: Any, where: str, task: Task) -> Condition:
    spec = a_mapping(spec, where)
    if not spec:
        raise ConfigError(f"{where}: is empty and would match every setting")
    condition: Condition = {}
    for key, wanted in spec.items():
        check_key(key, f"{where}.{key}", task)
        holds_lists = _type_of(key, task) is list
        alternatives = wanted if isinstance(wanted, list) and not holds_lists else [wanted]
        condition[key] = [_read_comparisons(key, item, f"{where}.{key}", task) for item in alternatives]
    return condition


def _read_comparisons(key: str, wanted: Any, where: str, task: Task) -> list[Comparison]:
    """A value, or comparisons such as ">0.1" and ">0.1 and <=1"."""
    if not isinstance(wanted, str) or not _COMPARISON.fullmatch(wanted):
        return [(operator.eq, checked(key, wanted, where, task))]
    return [_read_comparison(key, part, where, task) for part in re.split(r"\s+and\s+", wanted)]


def _read_comparison(key: str, text: str, where: str, task: Task) -> Comparison:
    found = _COMPARISON.fullmatch(text)
    if not found:
        raise ConfigError(f"{where}: {text!r} is not a comparison; allowed: <, <=, >, >=, ==, != and a value")
    symbol, value = found.groups()
    if symbol in ("==", "!="):
        return _OPERATORS[symbol], checked(key, plain_value(value), where, task)
    if _type_of(key, task) not in (int, float, object):
        raise ConfigError(f"{where}: {text!r} compares numbers, but {key} is {task.hyperparameters[key].allowed}")
    return _OPERATORS[symbol], number(value, where)


def _type_of(key: str, task: Task) -> Any:
    hyper = find(key, task.hyperparameters)
    return hyper and hyper.type


def matches(setting: Setting, condition: Condition) -> bool:
    """Say whether a complete setting matches. A key that does not apply to the setting matches nothing."""
    return all(
        (value := value_of(setting, key)) is not MISSING
        and any(all(_holds(value, *comparison) for comparison in comparisons) for comparisons in alternatives)
        for key, alternatives in condition.items()
    )


def _holds(value: Any, compare: Callable[[Any, Any], bool], wanted: Any) -> bool:
    if isinstance(wanted, float) and not isinstance(value, (int, float)):  # full, null
        return compare is operator.ne
    return compare(value, wanted)
