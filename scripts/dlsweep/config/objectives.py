"""What the config says of metrics: what each is, and which says what is best. Loads neither torch nor pandas."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from dlsweep.config.axes import a_mapping, number
from dlsweep.config.files import shown
from dlsweep.config.identity import Setting
from dlsweep.config.metrics import KEYS, SPLITS, Column, Objective, metric_column, own_metric, parts_of
from dlsweep.config.names import nearest
from dlsweep.config.registry import MEASURES, measured, targets_of
from dlsweep.config.tasks import BUILT_IN, Task, is_built_in
from dlsweep.errors import ConfigError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]{0,99}")
DIRECTIONS = ("min", "max")
METRIC_KEYS = ("better", "range", "unit", "doc")
OWN = Objective("val_loss", "min", "test_loss")
"""That of an own task, where the config says nothing."""


def read_metrics(spec: Any, where: str = "metrics") -> dict[str, Column]:
    """Return what the config says of its metrics, by a metric's name or a family's: {ndcg: {better: max, ...}}.

    Raises ConfigError naming the key's path, the bad value and what is allowed.
    """
    return {name: _read_metric(name, said, f"{where}.{name}") for name, said in a_mapping(spec, where).items()}


def _read_metric(name: str, spec: Any, where: str) -> Column:
    _check_name(name, where)
    said = a_mapping(spec, where)
    for key in said:
        if key not in METRIC_KEYS:
            raise ConfigError(
                f"{where}.{key}: unknown key; allowed: {', '.join(METRIC_KEYS)}.{nearest(key, METRIC_KEYS)}"
            )
    if said.get("better", "min") not in DIRECTIONS:
        raise ConfigError(f"{where}.better: {shown(said['better'])} is not allowed; allowed: min, max")
    for key in ("unit", "doc"):
        if not isinstance(said.get(key, ""), str):
            raise ConfigError(f"{where}.{key}: {shown(said[key])} is not allowed; allowed: text. Write it in quotes.")
    return own_metric(**{**said, "range": _read_range(said.get("range"), f"{where}.range")})


def _read_range(spec: Any, where: str) -> list[float | None] | None:
    if spec is None:
        return None
    if not isinstance(spec, list) or len(spec) != 2:
        raise ConfigError(f"{where}: must be [low, high], null for an end that is not bounded, not {shown(spec)}")
    low, high = (None if end is None else number(end, where) for end in spec)
    if low is not None and high is not None and low >= high:
        raise ConfigError(f"{where}: {shown(spec)} is not allowed; allowed: low < high")
    return [low, high]


def read_objective(
    spec: Mapping[str, Any],
    defaults: Mapping[str, Any],
    task: Task,
    own: Mapping[str, Column],
    where: str,
    settings: Iterable[Setting],
) -> Objective:
    """Return an experiment's objective; `own` is what the config says of its metrics.

    That of the built-in task must be a metric which all its settings have.

    Raises ConfigError where its direction is not known, or where it would select by the test split.
    """
    settings = list(settings)
    standard = _standard(settings) if task is BUILT_IN else OWN
    said, place = _stated("objective", spec, defaults, where)
    metric, better = _metric_and_direction(said, place) if said is not None else (standard.metric, "")
    if parts_of(metric).split == "test":
        raise ConfigError(
            f"{place}: {metric} would select settings by the test split, which is to choose nothing; allowed: a metric"
            " of the validation split, such as val_loss; what settings are reported by is said under report"
        )
    better = better or metric_column(metric, own).better
    if not better:
        raise ConfigError(
            f"{place}: whether {metric} is to be great or small is not known; write {{{metric}: max}} or min"
        )
    report, report_place = _stated("report", spec, defaults, where)
    if report is None:
        report = metric.replace("val_", "test_", 1) if metric.startswith("val_") else metric
    elif not isinstance(report, str):
        raise ConfigError(f"{report_place}: {shown(report)} is not allowed; allowed: the name of a metric")
    _check_name(report, report_place)
    if task is BUILT_IN:
        common = _common(settings)
        for name, its_place in ((metric, place), (report, report_place)):
            _check_known(name, its_place, common)
    return Objective(metric, better, report)


def standard_objective(setting: Setting) -> Objective:
    """Return the objective of a run whose config says nothing, or that has none."""
    return _standard([setting]) if is_built_in(setting) else OWN


def _stated(key: str, spec: Mapping[str, Any], defaults: Mapping[str, Any], where: str) -> tuple[Any, str]:
    """What the experiment or else the defaults say, and where."""
    if spec.get(key) is not None:
        return spec[key], f"{where}.{key}"
    return defaults.get(key), f"defaults.{key}"


def _metric_and_direction(said: Any, where: str) -> tuple[str, str]:
    if isinstance(said, str):
        _check_name(said, where)
        return said, ""
    if not isinstance(said, Mapping) or len(said) != 1:
        raise ConfigError(
            f"{where}: {shown(said)} is not allowed; allowed: a metric such as val_mae, or {{val_mae: min}}"
        )
    ((metric, better),) = said.items()
    _check_name(metric, where)
    if better not in DIRECTIONS:
        raise ConfigError(f"{where}.{metric}: {shown(better)} is not allowed; allowed: min, max")
    return metric, str(better)


def _check_name(name: Any, where: str) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name) or name in KEYS:
        raise ConfigError(
            f"{where}: {shown(name)} is not allowed as the name of a metric; allowed: up to 100 of A-Z a-z 0-9 _"
        )


def _standard(settings: list[Setting]) -> Objective:
    """That of the built-in task: the accuracy of classes, the first metric of other targets, the loss of several kinds.

    And the loss where only the data tell what the targets are.
    """
    kinds = {targets_of(setting) for setting in settings}
    kind = next(iter(kinds)) if len(kinds) == 1 else ""
    metric = MEASURES[kind][1] if kind else "loss"
    return Objective(f"val_{metric}", metric_column(metric).better, f"test_{metric}")


def _common(settings: list[Setting]) -> tuple[str, ...]:
    """The metrics that all these settings of the built-in task have, in their order."""
    several = list(
        {(setting["loss"], setting["dataset"], *setting["metrics"]): setting for setting in settings}.values()
    )
    names = [measured(setting) for setting in several]
    return tuple(name for name in names[0] if all(name in others for others in names))


def _check_known(name: str, where: str, families: Iterable[str]) -> None:
    """Of the built-in task it is known what is measured."""
    known = [f"{split}_{one}" for split in SPLITS for one in families]
    if name not in known:
        has = ", ".join(known)
        raise ConfigError(f"{where}: {name} is not measured by {BUILT_IN}; it has {has}.{nearest(name, known)}")
