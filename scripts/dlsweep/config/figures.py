"""Which figures an experiment gets: those its config names, checked, or those that fit what varies.

Loads no pandas. The drawing is in report/figures/, which has one function for each name in KINDS.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dlsweep.config.hyperparameters import HYPERPARAMETERS
from dlsweep.config.identity import Setting
from dlsweep.config.labels import is_grid
from dlsweep.config.metrics import EPOCH_METRICS, FAMILIES, METRICS, REPORTED, SUMMARY
from dlsweep.config.names import nearest
from dlsweep.errors import ConfigError

AXES = ("x", "y", "hue", "col", "row")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")

GROUPS = (*HYPERPARAMETERS, "label", "status", "device", "host", "version")
"""Columns whose values can stand side by side: on a categorical axis, as colours or as panels."""

NUMBERS = tuple(key for key, hyper in HYPERPARAMETERS.items() if hyper.type in (int, float))
QUANTITIES = (*NUMBERS, *METRICS)
SUMMARY_METRICS = (*FAMILIES, *METRICS)
CURVES = (*FAMILIES, *EPOCH_METRICS)

MOST_PANELS = 60  # of a facet grid; more are too small to read
MOST_COLUMNS = 20  # of learning curves, for the values of one hyper-parameter
MOST_COLOURS = 10  # that are told apart
MOST_BARS = 30  # with their names beside them


@dataclass(frozen=True)
class Kind:
    """One kind of figure: what it shows and which columns each axis takes."""

    doc: str
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


_PANELS = {"hue": GROUPS, "col": GROUPS, "row": GROUPS}
_CATEGORICAL = {"x": GROUPS, "y": SUMMARY_METRICS, **_PANELS}
_RESULT = {"y": tuple(METRICS)}

KINDS: Mapping[str, Kind] = {
    "bars": Kind("bars of the mean, with its interval over seeds", _CATEGORICAL),
    "points": Kind("points of the mean, with its interval over seeds", _CATEGORICAL),
    "box": Kind("boxes of the quartiles of the runs", _CATEGORICAL),
    "strip": Kind("every run as a point", _CATEGORICAL),
    "violin": Kind("violins of the distribution of the runs", _CATEGORICAL),
    "line": Kind("the mean over a numeric hyper-parameter, with its interval", {**_CATEGORICAL, "x": NUMBERS}),
    "heatmap": Kind("the mean for each pair of values", {"x": GROUPS, "y": GROUPS, "hue": tuple(METRICS)}),
    "curves": Kind("curves over the epochs, with their interval over seeds", {"y": CURVES, **_PANELS}),
    "scatter": Kind("two quantities, a point a run", {"x": QUANTITIES, "y": QUANTITIES, "hue": tuple(SUMMARY)}),
    "parallel": Kind("parallel coordinates: a line a setting, through its hyper-parameters to its result", _RESULT),
    "importance": Kind("how much each hyper-parameter matters to a random forest's prediction", _RESULT),
    "gap": Kind("training against validation accuracy; below the diagonal the model over-fits", {"hue": GROUPS}),
    "speed": Kind("throughput and test accuracy, by default over the batch size", {"x": GROUPS, "hue": GROUPS}),
    "gradients": Kind("the mean absolute gradient of each layer, in the first and the last epoch", _PANELS),
    "confusion": Kind("the confusion matrix of the best run"),
}


@dataclass(frozen=True)
class _Experiment:
    """What the choice of figures depends on."""

    settings: Mapping[str, Setting]
    varies: Mapping[str, list[Any]]

    @property
    def keys(self) -> list[str]:
        return [key for key in self.varies if key != "seed"]

    @property
    def groups(self) -> list[str]:
        """What the settings are told apart by: the hyper-parameters of a grid, else the settings' labels."""
        grid = len(self.keys) < 2 or is_grid(self.settings, self.varies)
        return self.keys if grid else ["label"]

    @property
    def n_labels(self) -> int:
        return len({str([setting.get(key) for key in self.keys]) for setting in self.settings.values()})

    def n_values(self, key: str) -> int:
        return self.n_labels if key == "label" else len(self.varies[key])

    def is_number(self, key: str) -> bool:
        return key in NUMBERS and all(isinstance(value, (int, float)) for value in self.varies[key])

    @property
    def numbers(self) -> list[str]:
        return [key for key in self.keys if key in NUMBERS]

    @property
    def logs_gradients(self) -> bool:
        return any(setting.get("log_gradients") for setting in self.settings.values())


def figures_for(
    settings: Mapping[str, Setting], varies: Mapping[str, list[Any]], given: list[Any] | None = None
) -> list[dict[str, Any]]:
    """Return an experiment's figures, each with its kind, a name, and a column for every axis it uses.

    `varies` are the hyper-parameters that vary, in the config's order; `given` is the config's list, None for
    the automatic choice. Raises ConfigError naming the key, the bad value and the nearest one.
    """
    experiment = _Experiment(settings, varies)
    if given is None:
        return [_complete(figure, experiment) for figure in _automatic(experiment)]
    if not isinstance(given, list):
        raise ConfigError(f"figures: must be a list, not {given!r}")
    figures: list[dict[str, Any]] = []
    for i, item in enumerate(given):
        where = f"figures[{i}]"
        figure = _checked({"kind": item} if isinstance(item, str) else item, where)
        try:
            figure = _complete(figure, experiment)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        if any(figure["name"].lower() == other["name"].lower() for other in figures):
            if "name" in (item if isinstance(item, dict) else {}):
                raise ConfigError(f"{where}.name: {figure['name']!r} stands twice")
            figure["name"] = f"{figure['name']}_{i + 1}"
        figures.append(figure)
    return figures


def _checked(figure: Any, where: str) -> dict[str, Any]:
    if not isinstance(figure, dict):
        raise ConfigError(f"{where}: must be a kind of figure or a mapping with one, not {figure!r}")
    name: Any = figure.get("kind")
    if name not in KINDS:
        raise ConfigError(f"{where}.kind: {name!r} is not allowed; allowed: {', '.join(KINDS)}.{nearest(name, KINDS)}")
    axes = KINDS[name].axes
    for key, value in figure.items():
        if key in ("kind", "name"):
            continue
        if key not in axes:
            keys = ("kind", "name", *axes)
            raise ConfigError(f"{where}.{key}: {name} has no such key; allowed: {', '.join(keys)}.{nearest(key, keys)}")
        if value not in axes[key]:
            raise ConfigError(
                f"{where}.{key}: {value!r} is no column that {name} can show there; allowed: {_in_words(axes[key])}."
                f"{nearest(value, axes[key])}"
            )
    given_name = figure.get("name", name)
    if not isinstance(given_name, str) or not NAME.fullmatch(given_name):
        raise ConfigError(f"{where}.name: {given_name!r} is not allowed; allowed: up to 100 of A-Z a-z 0-9 _ . -")
    return dict(figure)


def _in_words(columns: tuple[str, ...]) -> str:
    """Columns as text, the many hyper-parameters as one phrase."""
    keys = [column for column in columns if column in HYPERPARAMETERS]
    phrase = ["the hyper-parameters" if len(keys) == len(HYPERPARAMETERS) else "the numeric hyper-parameters"]
    return ", ".join([*(phrase if keys else []), *(column for column in columns if column not in HYPERPARAMETERS)])


def _complete(figure: dict[str, Any], experiment: _Experiment) -> dict[str, Any]:
    """The figure with a name and with the axes that it needs and does not give."""
    kind, given = figure["kind"], [axis for axis in ("x", "hue", "col", "row") if axis in figure]
    groups = experiment.groups
    added: dict[str, Any] = {}
    if kind in ("bars", "points", "box", "strip", "violin"):
        added = {"y": "acc"}
        if not given:
            added |= dict(zip(("x", "hue"), groups[:2] or ["label"], strict=False))
        elif "x" not in figure:
            added |= {"x": next((key for key in groups if key not in figure.values()), "label")}
    elif kind == "line":
        x = figure.get("x") or next(iter(experiment.numbers), None)
        if x is None:
            raise ConfigError("line needs x: a numeric hyper-parameter; none varies in this experiment")
        added = {"x": x, "y": "acc"}
        others = [key for key in groups if key not in (x, "label")]
        if not given and others:
            added |= {"hue": others[0]}
    elif kind == "heatmap":
        free = [key for key in experiment.keys if key not in figure.values()]
        missing = [axis for axis in ("x", "y") if axis not in figure]
        if len(free) < len(missing):
            varying = ", ".join(experiment.keys) or "nothing"
            raise ConfigError(f"heatmap needs x and y: two hyper-parameters; here varies {varying}")
        added = {**dict(zip(missing, free, strict=False)), "hue": REPORTED}
    elif kind == "curves":
        added = {"y": "loss"}
        if not given and groups:
            added |= _curve_panels(groups, experiment)
    elif kind == "scatter":
        x = figure.get("x") or next(iter(experiment.numbers), "train_seconds")
        added = {"x": x, "y": REPORTED}
        others = [key for key in experiment.keys if key != x]
        if "hue" not in figure and others:
            added |= {"hue": others[0]}
    elif kind in ("parallel", "importance"):
        if not experiment.keys:
            raise ConfigError(f"{kind} needs a hyper-parameter that varies; none does in this experiment")
        added = {"y": REPORTED}
    elif kind == "gap" and not given:
        added = {"hue": groups[0]} if groups else {}
    elif kind == "speed":
        added = {"x": "batch_size"}
        others = [key for key in experiment.keys if key != figure.get("x", "batch_size")]
        if not given and len(groups) == 2 and len(others) == 1:
            added |= {"hue": others[0]}
    elif kind == "gradients":
        if not experiment.logs_gradients:
            raise ConfigError("gradients needs log_gradients: true in the experiment")
        if not given:
            added = {"hue": "label"} if groups == ["label"] else dict(zip(("col", "hue"), groups, strict=False))
    return {"name": kind, **added, **figure}


def _curve_panels(groups: list[str], experiment: _Experiment) -> dict[str, str]:
    """The panels of learning curves: a column for the first hyper-parameter, a row for the second, where they fit."""
    first, second = (*groups, None, None)[:2]
    assert first is not None
    if first == "label" and experiment.n_values("label") > MOST_COLOURS:
        return {"hue": "label"}  # all runs in one panel, the best in colour
    if second is None:
        return {"col": first} if experiment.n_values(first) <= MOST_COLUMNS else {"hue": first}
    if experiment.n_values(first) * experiment.n_values(second) <= MOST_PANELS:
        return {"col": first, "row": second}
    return {"col": first, "hue": second} if experiment.n_values(first) <= MOST_COLUMNS else {"hue": "label"}


def _automatic(experiment: _Experiment) -> list[dict[str, Any]]:
    """The figures that fit what varies."""
    keys, groups = experiment.keys, experiment.groups
    loss = {"kind": "curves", "name": "loss_curves", "y": "loss"}
    accuracy = {"kind": "curves", "name": "accuracy_curves", "y": "acc"}
    bars = {"kind": "bars", "name": "accuracy"}
    figures: list[dict[str, Any]]
    if not keys:
        figures = [loss, accuracy, {"kind": "confusion"}]
    elif len(keys) == 1 and experiment.is_number(keys[0]) and experiment.n_values(keys[0]) > 2:
        figures = [{"kind": "line", "name": "accuracy"}, loss, accuracy]
    elif len(groups) == 1 and experiment.n_values(groups[0]) <= MOST_COLOURS:
        figures = [bars, loss, accuracy, *([{"kind": "gap"}] if groups == ["label"] else [])]
    elif len(groups) == 2:
        large = all(experiment.n_values(key) > 2 for key in groups)
        for key, other in (groups, reversed(groups)):
            if key in experiment.numbers and experiment.n_values(key) > MOST_BARS:
                bars = {"kind": "line", "name": "accuracy", "x": key, "hue": other}
        figures = [bars, loss, accuracy, *([{"kind": "heatmap"}] if large else [])]
    else:
        best = {**bars, "x": "label"}
        curves = [{**curve, "hue": "label"} for curve in (loss, accuracy)]
        figures = [best, *curves, {"kind": "parallel"}, {"kind": "importance"}, {"kind": "scatter"}]
    if "batch_size" in keys:
        figures.append({"kind": "speed"})
    if experiment.logs_gradients:
        figures.append({"kind": "gradients"})
    return figures
