"""The kinds of figure: what each shows, the columns of its axes, what it needs, and which function draws it.

Loads no pandas: the drawing is in report/figures/. To add a kind, write its function there, and name it here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dlsweep.config.hyperparameters import HYPERPARAMETERS
from dlsweep.config.identity import Setting
from dlsweep.config.labels import is_grid
from dlsweep.config.metrics import EPOCH_METRICS, FAMILIES, METRICS, REPORTED, SUMMARY
from dlsweep.errors import ConfigError

MOST_PANELS = 60  # of a facet grid; more are too small to read
MOST_COLUMNS = 20  # of learning curves, for the values of one hyper-parameter
MOST_COLOURS = 10  # that are told apart
MOST_BARS = 30  # with their names beside them


@dataclass(frozen=True, slots=True)
class FigureSpec:
    """One figure: its kind, its name, and the column on each of its axes, "" where it has none."""

    kind: str
    name: str = ""
    x: str = ""
    y: str = ""
    hue: str = ""
    col: str = ""
    row: str = ""

    @property
    def axes(self) -> dict[str, str]:
        """The columns of the axes that it uses."""
        columns = {"x": self.x, "y": self.y, "hue": self.hue, "col": self.col, "row": self.row}
        return {axis: column for axis, column in columns.items() if column}

    @property
    def groups(self) -> list[str]:
        """The columns by which its marks are told apart, but for y."""
        return [column for axis, column in self.axes.items() if axis != "y"]

    def to_json(self) -> dict[str, str]:
        """Return it as the plan has it: `FigureSpec(**figure)` reads that."""
        return {"kind": self.kind, "name": self.name, **self.axes}


@dataclass(frozen=True, slots=True)
class Varied:
    """What varies in an experiment, which the choice of its figures depends on."""

    settings: Mapping[str, Setting]
    values: Mapping[str, list[Any]]  # of each hyper-parameter that varies

    @property
    def keys(self) -> list[str]:
        """The hyper-parameters that vary, in the config's order, without the seed."""
        return [key for key in self.values if key != "seed"]

    @property
    def groups(self) -> list[str]:
        """What the settings are told apart by: the hyper-parameters of a grid, else the settings' labels."""
        grid = len(self.keys) < 2 or is_grid(self.settings, self.values)
        return self.keys if grid else ["label"]

    @property
    def numbers(self) -> list[str]:
        """The numeric hyper-parameters that vary."""
        return [key for key in self.keys if key in NUMBERS]

    @property
    def logs_gradients(self) -> bool:
        """Whether any of the runs records its gradients."""
        return any(setting.get("log_gradients") for setting in self.settings.values())

    def n_values(self, key: str) -> int:
        """Return how many values a hyper-parameter or the label has."""
        if key == "label":
            return len({str([setting.get(key) for key in self.keys]) for setting in self.settings.values()})
        return len(self.values[key])

    def is_number(self, key: str) -> bool:
        """Say whether a hyper-parameter has numbers only: a batch size may be `full`."""
        return key in NUMBERS and all(isinstance(value, (int, float)) for value in self.values[key])


Defaults = Callable[[FigureSpec, Varied], dict[str, str]]
"""Returns the columns of the axes that a figure needs, where it gives none.

Raises ConfigError where the experiment has not what the kind needs.
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of figure."""

    doc: str
    drawing: str
    """`module:function` in report/figures/: it takes the tables of one experiment and the figure, and returns a
    matplotlib figure and a note, which is what a reader must know of it."""
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Which columns each axis takes."""
    defaults: Defaults = lambda figure, varied: {}
    averages: bool = True
    """Whether a mark can be the mean of several settings."""

    @property
    def sentence(self) -> str:
        """What it shows, as a sentence."""
        return f"{self.doc[0].upper()}{self.doc[1:]}."


GROUPS = (*HYPERPARAMETERS, "label", "status", "device", "host", "version")
"""Columns whose values can stand side by side: on a categorical axis, as colours or as panels."""

NUMBERS = tuple(key for key, hyper in HYPERPARAMETERS.items() if hyper.type in (int, float))
QUANTITIES = (*NUMBERS, *METRICS)
PANELS = {"hue": GROUPS, "col": GROUPS, "row": GROUPS}
CATEGORIES = {"x": GROUPS, "y": (*FAMILIES, *METRICS), **PANELS}
RESULT = {"y": tuple(METRICS)}


def _categories(figure: FigureSpec, varied: Varied) -> dict[str, str]:
    if not figure.groups:
        return {"y": "acc", **dict(zip(("x", "hue"), varied.groups[:2] or ["label"], strict=False))}
    return {"y": "acc", "x": next((key for key in varied.groups if key not in figure.groups), "label")}


def _line(figure: FigureSpec, varied: Varied) -> dict[str, str]:
    x = figure.x or next(iter(varied.numbers), None)
    if x is None:
        raise ConfigError("line needs x: a numeric hyper-parameter; none varies in this experiment")
    others = [key for key in varied.groups if key not in (x, "label")]
    return {"x": x, "y": "acc", **({"hue": others[0]} if others and not figure.groups else {})}


def _heatmap(figure: FigureSpec, varied: Varied) -> dict[str, str]:
    free = [key for key in varied.keys if key not in figure.axes.values()]
    missing = [axis for axis in ("x", "y") if axis not in figure.axes]
    if len(free) < len(missing):
        varying = ", ".join(varied.keys) or "nothing"
        raise ConfigError(f"heatmap needs x and y: two hyper-parameters; here varies {varying}")
    return {**dict(zip(missing, free, strict=False)), "hue": REPORTED}


def _curves(figure: FigureSpec, varied: Varied) -> dict[str, str]:
    """A column for the first hyper-parameter, a row for the second, where they fit."""
    first, second = (*varied.groups, "", "")[:2]
    if figure.groups or not first:
        panels = {}
    elif first == "label" and varied.n_values("label") > MOST_COLOURS:
        panels = {"hue": "label"}  # all runs in one panel, the best in colour
    elif not second:
        panels = {"col": first} if varied.n_values(first) <= MOST_COLUMNS else {"hue": first}
    elif varied.n_values(first) * varied.n_values(second) <= MOST_PANELS:
        panels = {"col": first, "row": second}
    else:
        panels = {"col": first, "hue": second} if varied.n_values(first) <= MOST_COLUMNS else {"hue": "label"}
    return {"y": "loss", **panels}


def _scatter(figure: FigureSpec, varied: Varied) -> dict[str, str]:
    x = figure.x or next(iter(varied.numbers), "train_seconds")
    others = [key for key in varied.keys if key != x]
    return {"x": x, "y": REPORTED, **({"hue": others[0]} if others else {})}


def _result(figure: FigureSpec, varied: Varied) -> dict[str, str]:
    if not varied.keys:
        raise ConfigError(f"{figure.kind} needs a hyper-parameter that varies; none does in this experiment")
    return {"y": REPORTED}


def _gap(figure: FigureSpec, varied: Varied) -> dict[str, str]:
    return {"hue": varied.groups[0]} if varied.groups else {}


def _speed(figure: FigureSpec, varied: Varied) -> dict[str, str]:
    others = [key for key in varied.keys if key != "batch_size"]
    both = not figure.groups and len(varied.groups) == 2 and len(others) == 1
    return {"x": "batch_size", **({"hue": others[0]} if both else {})}


def _gradients(figure: FigureSpec, varied: Varied) -> dict[str, str]:
    if not varied.logs_gradients:
        raise ConfigError("gradients needs log_gradients: true in the experiment")
    if figure.groups:
        return {}
    return {"hue": "label"} if varied.groups == ["label"] else dict(zip(("col", "hue"), varied.groups, strict=False))


def _categorical(doc: str) -> Kind:
    return Kind(doc, "categories:categorical", CATEGORIES, _categories)


KINDS: Mapping[str, Kind] = {
    "bars": _categorical("bars of the mean, with its interval over seeds"),
    "points": _categorical("points of the mean, with its interval over seeds"),
    "box": _categorical("boxes of the quartiles of the runs"),
    "strip": _categorical("every run as a point"),
    "violin": _categorical("violins of the distribution of the runs"),
    "line": Kind(
        "the mean over a numeric hyper-parameter, with its interval", "lines:line", {**CATEGORIES, "x": NUMBERS}, _line
    ),
    "heatmap": Kind(
        "the mean for each pair of values", "grids:heatmap", {"x": GROUPS, "y": GROUPS, "hue": tuple(METRICS)}, _heatmap
    ),
    "curves": Kind(
        "curves over the epochs, with their interval over seeds",
        "curves:curves",
        {"y": (*FAMILIES, *EPOCH_METRICS), **PANELS},
        _curves,
    ),
    "scatter": Kind(
        "two quantities, a point a run",
        "points:scatter",
        {"x": QUANTITIES, "y": QUANTITIES, "hue": tuple(SUMMARY)},
        _scatter,
        averages=False,
    ),
    "parallel": Kind(
        "parallel coordinates: a line a setting, through its hyper-parameters to its result",
        "parallel:parallel",
        RESULT,
        _result,
        averages=False,
    ),
    "importance": Kind(
        "how much each hyper-parameter matters to a random forest's prediction",
        "importance:importance",
        RESULT,
        _result,
    ),
    "gap": Kind(
        "training against validation accuracy; below the diagonal the model over-fits",
        "points:gap",
        {"hue": GROUPS},
        _gap,
    ),
    "speed": Kind(
        "throughput and test accuracy, by default over the batch size",
        "lines:speed",
        {"x": GROUPS, "hue": GROUPS},
        _speed,
    ),
    "gradients": Kind(
        "the mean absolute gradient of each layer, in the first and the last epoch",
        "curves:gradients",
        PANELS,
        _gradients,
    ),
    "confusion": Kind("the confusion matrix of the best run", "grids:confusion", averages=False),
}
