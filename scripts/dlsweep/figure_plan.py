"""Which figures an experiment gets. Loads no pandas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .hyperparameters import HYPERPARAMETERS, ConfigError, nearest

KINDS: dict[str, str] = {
    "bars": "train, validation and test accuracy side by side, as bars with the spread over seeds",
    "curves_loss": "loss over epochs in a grid of panels",
    "curves_acc": "accuracy over epochs in a grid of panels",
    "speed": "accuracy and seconds per epoch",
}
AXES = ("x", "hue", "col", "row")


def figures_for(varies: Mapping[str, list[Any]], given: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """Return the figures of an experiment: those given, checked, or those that fit what varies."""
    keys = [key for key in varies if key != "seed"][:2]
    axes = dict(zip(("x", "hue"), keys, strict=False))
    panels = dict(zip(("col", "row"), keys, strict=False))
    if given is not None:
        return [_checked(figure, i) for i, figure in enumerate(given)]
    figures = [
        {"name": "accuracy", "kind": "bars", **axes},
        {"name": "loss_curves", "kind": "curves_loss", **panels},
        {"name": "accuracy_curves", "kind": "curves_acc", **panels},
    ]
    if "batch_size" in keys:
        figures.append({"name": "speed", "kind": "speed", "x": "batch_size"})
    return figures


def _checked(figure: dict[str, Any], i: int) -> dict[str, Any]:
    where = f"figures[{i}]"
    if not isinstance(figure, dict) or figure.get("kind") not in KINDS:
        kind = figure.get("kind") if isinstance(figure, dict) else figure
        raise ConfigError(f"{where}.kind: {kind!r} is not allowed; allowed: {', '.join(KINDS)}.{nearest(kind, KINDS)}")
    for key, value in figure.items():
        if key in AXES and value not in HYPERPARAMETERS:
            raise ConfigError(f"{where}.{key}: {value!r} is no hyper-parameter.{nearest(value, HYPERPARAMETERS)}")
        if key not in (*AXES, "name", "kind"):
            raise ConfigError(f"{where}.{key}: unknown key.{nearest(key, (*AXES, 'name', 'kind'))}")
    return {"name": f"{figure['kind']}{i}", **figure}
