"""Which figures an experiment gets: those its config names, checked, or those that fit what varies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dlsweep.config.dotted import flattened
from dlsweep.config.identity import Setting
from dlsweep.config.kinds import KINDS, MOST_BARS, MOST_COLOURS, FigureSpec, Varied
from dlsweep.config.metrics import STANDARD, Objective, parts_of
from dlsweep.config.names import nearest
from dlsweep.config.search import METHODS
from dlsweep.errors import ConfigError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def figures_for(
    settings: Mapping[str, Setting],
    varies: Mapping[str, list[Any]],
    given: list[Any] | None = None,
    objective: Objective = STANDARD,
    search: str = "",
    tuned: tuple[str, ...] = (),
) -> list[FigureSpec]:
    """Return an experiment's figures, each with a name and a column for every axis it uses.

    `varies` are the hyper-parameters that vary, in the config's order; `given` is the config's list, None for
    the automatic choice; `search` is the method of its search, and `tuned` what a comparison tunes. Raises ConfigError
    naming the key, the bad value and the nearest one.
    """
    varied = Varied(flattened(settings, varies), varies, objective, search, tuned)
    if given is None:
        return [_complete(figure, varied) for figure in _automatic(varied)]
    if not isinstance(given, list):
        raise ConfigError(f"figures: must be a list, not {given!r}")
    figures: list[FigureSpec] = []
    for i, item in enumerate(given):
        where = f"figures[{i}]"
        figure = _read({"kind": item} if isinstance(item, str) else item, where, varied)
        try:
            complete = _complete(figure, varied)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        if any(complete.name.lower() == other.name.lower() for other in figures):
            if figure.name:
                raise ConfigError(f"{where}.name: {figure.name!r} stands twice")
            complete = replace(complete, name=f"{complete.name}_{i + 1}")
        figures.append(complete)
    return figures


def _read(figure: Any, where: str, varied: Varied) -> FigureSpec:
    if not isinstance(figure, dict):
        raise ConfigError(f"{where}: must be a kind of figure or a mapping with one, not {figure!r}")
    kind: Any = figure.get("kind")
    if kind not in tuple(KINDS):
        raise ConfigError(f"{where}.kind: {kind!r} is not allowed; allowed: {', '.join(KINDS)}.{nearest(kind, KINDS)}")
    axes = KINDS[kind].axes
    for key, value in figure.items():
        if key in ("kind", "name"):
            continue
        if key not in axes:
            keys = ("kind", "name", *axes)
            raise ConfigError(f"{where}.{key}: {kind} has no such key; allowed: {', '.join(keys)}.{nearest(key, keys)}")
        if not axes[key].allows(value, varied):
            columns = axes[key].columns(varied)
            raise ConfigError(
                f"{where}.{key}: {value!r} is not a column that {kind} can show there; allowed:"
                f" {_in_words(columns, varied)}.{nearest(value, columns)}"
            )
    name = figure.get("name", kind)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ConfigError(f"{where}.name: {name!r} is not allowed; allowed: up to 100 of A-Z a-z 0-9 _ . -")
    return FigureSpec(**figure)


def _in_words(columns: tuple[str, ...], varied: Varied) -> str:
    """Columns as text, the many hyper-parameters as one phrase."""
    known = varied.hyperparameters
    keys = [column for column in columns if column in known]
    phrase = ["the hyper-parameters" if len(keys) == len(known) else "the numeric hyper-parameters"]
    return ", ".join([*(phrase if keys else []), *(column for column in columns if column not in known)])


def _complete(figure: FigureSpec, varied: Varied) -> FigureSpec:
    """The figure with a name and with the axes that it needs and does not give."""
    added = KINDS[figure.kind].defaults(figure, varied)
    return replace(figure, **{"name": figure.name or figure.kind, **added, **figure.axes})


def _automatic(varied: Varied) -> list[FigureSpec]:
    """The figures that fit what varies."""
    keys, groups, family = varied.keys, varied.groups, varied.objective.family
    families = dict.fromkeys(("loss", "acc", family)) if varied.classifies else (family,)
    curves = [FigureSpec("curves", f"{_name(y)}_curves", y=y) for y in families]
    if varied.search:
        return _of_search(varied, curves)
    answer, line = _answer(varied), FigureSpec("line", _name(family))
    bars = FigureSpec("bars", _name(family) if answer.name != _name(family) else f"{_name(family)}_bars")
    if not keys:
        figures = [*curves, *([FigureSpec("confusion")] if varied.classifies else [])]
    elif len(keys) == 1 and varied.is_number(keys[0]) and varied.n_values(keys[0]) > 2:
        figures = [line, *curves]
    elif len(groups) == 1 and varied.n_values(groups[0]) <= MOST_COLOURS:
        figures = [answer, *curves, *([FigureSpec("gap")] if groups == ["label"] and varied.classifies else [])]
    elif len(groups) == 2:
        n_values = [varied.n_values(key) for key in groups]
        figures = [answer, *([bars] if max(n_values) <= MOST_BARS else []), *curves]
        figures += [FigureSpec("heatmap")] if min(n_values) > 2 else []
    else:
        figures = [replace(answer, x="label"), *(replace(curve, hue="label") for curve in curves)]
        figures += [FigureSpec(kind) for kind in ("parallel", "importance", "scatter")]
    if varied.tuned:
        figures.insert(1, FigureSpec("tuning"))
    if "batch_size" in keys and varied.classifies:
        figures += [FigureSpec("budget"), FigureSpec("speed")]
    if varied.logs_gradients:
        figures.append(FigureSpec("gradients"))
    return figures


def _of_search(varied: Varied, curves: list[FigureSpec]) -> list[FigureSpec]:
    """The figures of a search: the answer, what it tried, and what that says of the hyper-parameters."""
    kinds = ["history", *(["rungs"] if METHODS[varied.search].stages else []), "slices"]
    kinds += ["contour", "importance", "parallel"] if len(varied.keys) > 1 else []
    answer = replace(_answer(varied), kind="points", x="label", hue="")
    return [answer, *map(FigureSpec, kinds), *(replace(curve, hue="label") for curve in curves)]


def _answer(varied: Varied) -> FigureSpec:
    """What the settings reach, in one panel: lines over a number, a colour for each value of the other, or points."""
    report = varied.objective.report
    split, family = parts_of(report).split, parts_of(report).family
    points = FigureSpec("points", f"{split}_{_name(family)}" if split else _name(report), y=report)
    numbers = [key for key in varied.groups if varied.is_number(key) and varied.n_values(key) > 2]
    if len(varied.groups) != 2 or not numbers:
        return points
    x = max(numbers, key=varied.n_values)
    return replace(points, kind="line", x=x, hue=next(key for key in varied.groups if key != x))


def _name(family: str) -> str:
    """A family of metrics as a part of a file's name."""
    return "accuracy" if family == "acc" else re.sub(r"[^A-Za-z0-9_.-]", "_", family).lstrip("_.-")[:80] or "metric"
