"""What own tasks measure: the names and values of metrics, the outcome of a run. Loads no torch."""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from dlsweep.config.metrics import is_number, is_taken
from dlsweep.config.tasks import Task
from dlsweep.errors import ConfigError
from dlsweep.results.schema import Epoch, Outcome, is_diverged


def check_name(name: Any, hyperparameters: Collection[str]) -> str:
    """Return a metric's name. Raises ConfigError where it cannot be one."""
    if not isinstance(name, str) or not name.isidentifier():
        raise ConfigError(f"{name!r} is not the name of a metric; allowed: letters, digits and _, such as val_mae")
    if name in hyperparameters:
        raise ConfigError(f"{name} is a hyper-parameter; give the metric another name, {name}_now say")
    if name.startswith("tested_"):
        raise ConfigError(f"{name}: names that begin with tested_ are made by the tables; leave that out")
    if is_taken(name):
        raise ConfigError(f"{name} is a column of the tables; give the metric another name")
    return name


def number(name: str, value: Any) -> int | float:
    """Return a metric's value: a number, or a tensor or array without axes. Raises ConfigError naming the metric."""
    found = value
    if getattr(found, "ndim", None) == 0 and hasattr(found, "item"):
        found = found.item()
    if isinstance(found, bool) or not isinstance(found, numbers.Real):
        shape = getattr(value, "shape", None)
        what = f"a {type(value).__name__} of shape {tuple(shape)}" if shape else f"{value!r:.80}"
        raise ConfigError(f"{name}: {what} is not a number; allowed: a number, or a tensor or array without axes")
    return int(found) if isinstance(found, numbers.Integral) else float(found)


def as_json(name: str, value: Any) -> Any:
    """Return a value as JSON has it: arrays and tensors become lists. Raises ConfigError where it has none."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): as_json(f"{name}[{key!r}]", item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(f"{name}[{i}]", item) for i, item in enumerate(value)]
    if hasattr(value, "tolist") and hasattr(value, "ndim"):
        return value.tolist()
    if isinstance(value, numbers.Real):
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    raise ConfigError(
        f"{name} is a {type(value).__name__}, which a record cannot hold; allowed: what JSON has, and arrays;"
        " write anything else into run.folder"
    )


def outcome(
    task: Task,
    epochs: list[Epoch],
    final: dict[str, Any],
    stopped_early: bool = False,
    n_parameters: int | None = None,
) -> Outcome:
    """Return what the record says of a run that came to its end. Raises ConfigError where it has measured nothing."""
    measured = [key for entry in epochs for key in entry if key not in ("epoch", "seconds")]
    if not measured and not any(map(is_number, final.values())):
        how = "run.log was not called and it returned no number" if task.kind == "function" else "it wrote no line"
        raise ConfigError(f"{task}: has measured nothing: {how}; a run needs one metric at least")
    status = "diverged" if is_diverged(epochs, final) else "stopped_early" if stopped_early else "finished"
    return {
        "task": {"kind": task.kind, "name": task.name, "defaults": dict(task.defaults)},
        "status": status,
        "epochs": epochs,
        "final": final,
        "model": {"n_parameters": n_parameters},
    }


def in_words(metrics: Mapping[str, Any]) -> str:
    """Return metrics for the log."""
    return "  ".join(
        f"{name} {value:.4g}"
        for name, value in metrics.items()
        if is_number(value) and name not in ("epoch", "seconds")
    )


def describe_epoch(entry: Mapping[str, Any], n_epochs: int | None = None) -> str:
    """Return the line that the log gets for an epoch."""
    of = f"/{n_epochs}" if n_epochs else ""
    seconds = f"  {entry['seconds']:.2f} s" if entry["seconds"] is not None else ""
    return f"epoch {entry['epoch']}{of}  {in_words(entry)}{seconds}"


def total(seconds: Iterable[float | None]) -> float:
    """Return the sum of those seconds that are known."""
    return math.fsum(value for value in seconds if value is not None)
