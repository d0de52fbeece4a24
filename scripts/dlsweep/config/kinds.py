"""The kinds of figure: what each shows, the columns of its axes, what it needs, and which function draws it.

Loads no pandas: the drawing is in report/figures/. To add a kind, write its function there, and name it here.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dlsweep.config.dotted import dotted
from dlsweep.config.hyperparameters import Hyperparameter, with_dotted
from dlsweep.config.identity import Setting
from dlsweep.config.labels import is_grid
from dlsweep.config.metrics import (
    CLASSIFICATION,
    EPOCH_METRICS,
    MEASURED,
    METRICS,
    STANDARD,
    SUMMARY,
    Objective,
    is_number,
)
from dlsweep.config.replicates import without_replicates
from dlsweep.config.search import METHODS
from dlsweep.config.tasks import is_built_in, task_of
from dlsweep.errors import ConfigError

MOST_PANELS = 40  # of a figure that is asked for
MOST_ACROSS = 8  # of them beside each other, where there are rows
READABLE_PANELS = 16  # of a grid that comes by itself; more are too small to read on one page
READABLE_ACROSS = 5
READABLE_COLOURS = 8  # of learning curves in one panel
MOST_COLUMNS = 12  # of learning curves, for the values of one hyper-parameter
MOST_COLOURS = 10  # that are told apart
MOST_BARS = 30  # with their names beside them

SPENT = ("epoch", "updates", "seconds")
"""What curves are over: epochs, updates of the weights, or seconds of training and validation."""


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
        no_group = ("x", "y") if self.kind == "curves" else ("y",)  # curves are over epochs and the like
        return [column for axis, column in self.axes.items() if axis not in no_group]

    def to_json(self) -> dict[str, str]:
        """Return it as the plan has it: `FigureSpec(**figure)` reads that."""
        return {"kind": self.kind, "name": self.name, **self.axes}


def classifies(settings: Iterable[Setting]) -> bool:
    """Say whether all settings are of the built-in classification: every run then has the metrics of METRICS."""
    return all(is_built_in(setting) and setting.get("loss", "cross_entropy") == "cross_entropy" for setting in settings)


@dataclass(frozen=True)
class Varied:
    """What varies in an experiment and what is best in it, which the choice of its figures depends on."""

    settings: Mapping[str, Setting]
    values: Mapping[str, list[Any]]  # of each hyper-parameter that varies
    objective: Objective = STANDARD
    search: str = ""  # its method
    tuned: tuple[str, ...] = ()  # what a comparison tunes

    @functools.cached_property
    def hyperparameters(self) -> Mapping[str, Hyperparameter]:
        """The hyper-parameters of the experiment's task, and what varies inside of them."""
        return with_dotted(task_of(next(iter(self.settings.values()))).hyperparameters, self.values)

    @functools.cached_property
    def classifies(self) -> bool:
        """Whether it is the built-in classification, whose metrics are known."""
        return classifies(self.settings.values())

    @property
    def keys(self) -> list[str]:
        """The hyper-parameters that vary, in the config's order, without those that repeat a setting."""
        return without_replicates(self.values)

    @property
    def groups(self) -> list[str]:
        """What the settings are told apart by: the hyper-parameters of a grid, else the settings' labels."""
        grid = len(self.keys) < 2 or is_grid(self.settings, self.values)
        return self.keys if grid else ["label"]

    @property
    def numeric(self) -> list[str]:
        """The numeric hyper-parameters of the task; where it says no types, those of which every value is a number."""
        return [
            key
            for key, hyper in self.hyperparameters.items()
            if hyper.type in (int, float) or (hyper.type is object and self._has_numbers(key))
        ]

    def _has_numbers(self, key: str) -> bool:
        return all(is_number(setting.get(key)) for setting in self.settings.values())

    @property
    def numbers(self) -> list[str]:
        """The numeric hyper-parameters that vary."""
        numeric = self.numeric
        return [key for key in self.keys if key in numeric]

    @property
    def logs_gradients(self) -> bool:
        """Whether any of the runs records its gradients."""
        return any(is_built_in(setting) and setting.get("log_gradients") for setting in self.settings.values())

    def n_values(self, key: str) -> int:
        """Return how many values a hyper-parameter or the label has."""
        if key == "label":
            return len({str([setting.get(key) for key in self.keys]) for setting in self.settings.values()})
        return len(self.values[key])

    def is_number(self, key: str) -> bool:
        """Say whether a hyper-parameter has numbers only: a batch size may be `full`."""
        return key in self.numeric and all(is_number(value) for value in self.values[key])


class Takes(enum.Enum):
    """What an axis can show."""

    GROUP = "what stands side by side: on a categorical axis, as colours or as panels"
    NUMBER = "a numeric hyper-parameter"
    RESULT = "a metric of a run"
    RESULTS = "a metric of a run, or a family of metrics"
    CURVE = "a metric of an epoch, or a family of metrics"
    QUANTITY = "a numeric hyper-parameter or a metric of a run"
    ANYTHING = "any column of the summary"
    SPENT = "what a run has spent on its training by then"

    def columns(self, varied: Varied) -> tuple[str, ...]:
        """Return the columns that an axis can show of an experiment, as far as they are known before its runs."""
        keys = varied.hyperparameters
        groups = (*keys, "label", "status", "device", "host", "version")
        metrics, of_epochs = tuple(METRICS), tuple(EPOCH_METRICS)
        families: tuple[str, ...] = CLASSIFICATION
        if not varied.classifies:
            used = (varied.objective.metric, varied.objective.report)
            metrics = (*dict.fromkeys(used), *(name for name in METRICS if name not in MEASURED))
            of_epochs, families = (varied.objective.metric, "seconds"), (varied.objective.family,)
        return {
            Takes.GROUP: groups,
            Takes.NUMBER: tuple(varied.numeric),
            Takes.RESULT: metrics,
            Takes.RESULTS: tuple(dict.fromkeys((*families, *metrics))),
            Takes.CURVE: tuple(dict.fromkeys((*families, *of_epochs))),
            Takes.QUANTITY: (*varied.numeric, *metrics),
            Takes.SPENT: SPENT,
            Takes.ANYTHING: (*SUMMARY, *dotted(keys)) if varied.classifies else (*groups, *metrics),
        }[self]

    def allows(self, column: Any, varied: Varied) -> bool:
        """Say whether an axis can show a column. Of an own task's metrics only its runs know which there are."""
        if column in self.columns(varied):
            return True
        open_to_metrics = self not in (Takes.GROUP, Takes.NUMBER, Takes.SPENT) and not varied.classifies
        is_name = isinstance(column, str) and 0 < len(column) <= 100 and column.isprintable()
        return open_to_metrics and is_name and column not in varied.hyperparameters


Defaults = Callable[[FigureSpec, Varied], dict[str, str]]
"""Returns the columns of the axes that a figure needs, where it gives none.

Raises ConfigError where the experiment has not what the kind needs.
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of figure."""

    shows: str
    """What it shows, in words, in which `{family}` and `{report}` stand for metrics."""
    drawing: str
    """`module:function` in report/figures/: it takes the tables of one experiment and the figure, and returns a
    matplotlib figure and a note, which is what a reader must know of it."""
    axes: Mapping[str, Takes] = field(default_factory=dict)
    """What each axis can show."""
    defaults: Defaults = lambda figure, varied: {}
    averages: bool = True
    """Whether a mark can be the mean of several settings."""

    @property
    def doc(self) -> str:
        """What it shows of a classification."""
        return self.words("accuracy", "test accuracy")

    def words(self, family: str, report: str) -> str:
        """Return what it shows of metrics."""
        return self.shows.format(family=family, report=report)

    def sentence(self, family: str = "accuracy", report: str = "test accuracy") -> str:
        """Return the same as a sentence."""
        words = self.words(family, report)
        return f"{words[0].upper()}{words[1:]}."


PANELS = {"hue": Takes.GROUP, "col": Takes.GROUP, "row": Takes.GROUP}
CATEGORIES = {"x": Takes.GROUP, "y": Takes.RESULTS, **PANELS}
RESULT = {"y": Takes.RESULT}


def _categories(figure: FigureSpec, varied: Varied) -> dict[str, str]:
    y = varied.objective.family
    if not figure.groups:
        return {"y": y, **dict(zip(("x", "hue"), varied.groups[:2] or ["label"], strict=False))}
    return {"y": y, "x": next((key for key in varied.groups if key not in figure.groups), "label")}


def _line(figure: FigureSpec, varied: Varied) -> dict[str, str]:
    x = figure.x or max(varied.numbers, key=varied.n_values, default=None)
    if x is None:
        raise ConfigError("line needs x: a numeric hyper-parameter; none varies in this experiment")
    others = [key for key in varied.groups if key not in (x, "label")]
    return {"x": x, "y": varied.objective.family, **({"hue": others[0]} if others and not figure.groups else {})}


def _heatmap(figure: FigureSpec, varied: Varied) -> dict[str, str]:
    free = [key for key in varied.keys if key not in figure.axes.values()]
    missing = [axis for axis in ("x", "y") if axis not in figure.axes]
    if len(free) < len(missing):
        varying = ", ".join(varied.keys) or "nothing"
        raise ConfigError(f"heatmap needs x and y: two hyper-parameters; here varies {varying}")
    return {**dict(zip(missing, free, strict=False)), "hue": varied.objective.report}


def _curves(figure: FigureSpec, varied: Varied) -> dict[str, str]:
    """A column for the first hyper-parameter, a row for the second, where they fit on a page.

    Where they do not: a panel for each value of one, colours for the other; or all runs in one, the best in colour.
    """
    first, second = (*varied.groups, "", "")[:2]
    if figure.groups or not first:
        panels = {}
    elif not second:
        most = MOST_COLOURS if first == "label" else MOST_COLUMNS
        panels = {"col": first} if varied.n_values(first) <= most else {"hue": first}
    else:
        n_first, n_second = varied.n_values(first), varied.n_values(second)
        panels = {"hue": "label"}
        if n_first * n_second <= READABLE_PANELS and n_first <= READABLE_ACROSS:
            panels = {"col": first, "row": second}
        elif n_first <= MOST_COLUMNS and n_second <= READABLE_COLOURS:
            panels = {"col": first, "hue": second}
        elif n_second <= MOST_COLUMNS and n_first <= READABLE_COLOURS:
            panels = {"col": second, "hue": first}
    return {"y": "loss" if varied.classifies else varied.objective.family, **panels}


def _scatter(figure: FigureSpec, varied: Varied) -> dict[str, str]:
    x = figure.x or next(iter(varied.numbers), "train_seconds")
    others = [key for key in varied.keys if key != x]
    return {"x": x, "y": varied.objective.report, **({"hue": others[0]} if others else {})}


def _result(figure: FigureSpec, varied: Varied) -> dict[str, str]:
    if not varied.keys:
        raise ConfigError(f"{figure.kind} needs a hyper-parameter that varies; none does in this experiment")
    return {"y": varied.objective.report}


def _rungs(figure: FigureSpec, varied: Varied) -> dict[str, str]:
    if not varied.search or not METHODS[varied.search].stages:
        methods = " or ".join(name for name, method in METHODS.items() if method.stages)
        raise ConfigError(f"rungs needs a search whose runs pause, by {methods}")
    return {}


def _slices(figure: FigureSpec, varied: Varied) -> dict[str, str]:
    if not varied.keys:
        raise ConfigError("slices needs a hyper-parameter that varies; none does in this experiment")
    return {}


def _tuning(figure: FigureSpec, varied: Varied) -> dict[str, str]:
    if not varied.tuned:
        raise ConfigError("tuning needs compare and tune in the experiment")
    return {}


def _contour(figure: FigureSpec, varied: Varied) -> dict[str, str]:
    for axis in figure.axes.values():
        if axis not in varied.keys:
            raise ConfigError(f"contour needs two hyper-parameters that vary; {axis} does not in this experiment")
    if len(varied.keys) < 2 or (figure.x and figure.x == figure.y):
        raise ConfigError(f"contour needs two hyper-parameters; here varies {', '.join(varied.keys) or 'nothing'}")
    return {}


def _gap(figure: FigureSpec, varied: Varied) -> dict[str, str]:
    return {"hue": varied.groups[0]} if varied.groups else {}


def _speed(figure: FigureSpec, varied: Varied) -> dict[str, str]:
    if not figure.x and "batch_size" not in varied.hyperparameters:
        raise ConfigError("speed needs x: a hyper-parameter; the task has no batch_size")
    others = [key for key in varied.keys if key != "batch_size"]
    both = not figure.groups and len(varied.groups) == 2 and len(others) == 1
    return {"x": "batch_size", **({"hue": others[0]} if both else {})}


def _budget(figure: FigureSpec, varied: Varied) -> dict[str, str]:
    both = len(varied.groups) > 1
    return {"y": varied.objective.metric, "hue": "label" if both or not varied.groups else varied.groups[0]}


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
    "points": _categorical("points of the mean, with its interval and the single runs"),
    "box": _categorical("boxes of the quartiles of the runs"),
    "strip": _categorical("every run as a point"),
    "violin": _categorical("violins of the distribution of the runs"),
    "line": Kind(
        "the mean over a numeric hyper-parameter, with its interval and the single runs",
        "lines:line",
        {**CATEGORIES, "x": Takes.NUMBER},
        _line,
    ),
    "heatmap": Kind(
        "the mean for each pair of values",
        "grids:heatmap",
        {"x": Takes.GROUP, "y": Takes.GROUP, "hue": Takes.RESULT},
        _heatmap,
    ),
    "curves": Kind(
        "curves over the epochs (or updates, or seconds), with their interval over seeds",
        "curves:curves",
        {"x": Takes.SPENT, "y": Takes.CURVE, **PANELS},
        _curves,
    ),
    "budget": Kind(
        "one curve a setting over epochs, updates and seconds side by side: which is best after as much of each",
        "curves:budget",
        {"y": Takes.CURVE, "hue": Takes.GROUP},
        _budget,
    ),
    "scatter": Kind(
        "two quantities, a point a run",
        "points:scatter",
        {"x": Takes.QUANTITY, "y": Takes.QUANTITY, "hue": Takes.ANYTHING},
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
    "history": Kind(
        "the best value so far over the runs of a search, and over their seconds", "searches:history", averages=False
    ),
    "rungs": Kind(
        "how far each setting got in the rungs of a search, and what it had reached",
        "searches:rungs",
        {},
        _rungs,
        False,
    ),
    "slices": Kind(
        "the objective over each hyper-parameter, a point a setting", "searches:slices", {}, _slices, averages=False
    ),
    "tuning": Kind(
        "what each of what is compared reached with the values that it was tuned over",
        "tuning:tuning",
        {},
        _tuning,
        averages=False,
    ),
    "contour": Kind(
        "what a random forest predicts over two hyper-parameters, by default those that matter most",
        "searches:contour",
        {"x": Takes.GROUP, "y": Takes.GROUP},
        _contour,
        averages=False,
    ),
    "gap": Kind(
        "training against validation {family}: how far apart they are",
        "points:gap",
        {"y": Takes.CURVE, "hue": Takes.GROUP},
        _gap,
    ),
    "speed": Kind(
        "throughput and {report}, by default over the batch size",
        "lines:speed",
        {"x": Takes.GROUP, "hue": Takes.GROUP},
        _speed,
    ),
    "gradients": Kind(
        "the mean absolute gradient of each layer, in the first and the last epoch",
        "curves:gradients",
        PANELS,
        _gradients,
    ),
    "confusion": Kind("the confusion matrix of the best run", "grids:confusion", averages=False),
    "classes": Kind("precision, recall and F1 of each class, of the best run", "mistakes:classes", averages=False),
    "calibration": Kind(
        "the reliability diagram of the best run: how often it is right, by how sure it is",
        "mistakes:calibration",
        averages=False,
    ),
    "mistakes": Kind(
        "the test images that the best run gets wrong and is surest of",
        "mistakes:mistakes",
        averages=False,
    ),
}
