"""Begin the training with the weights of another run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dlsweep.config.identity import Setting
from dlsweep.errors import ConfigError
from dlsweep.results.weights import read_weights

MOST_TOLD = 4


def start_from(path: Path, model: nn.Module, setting: Setting) -> str:
    """Give a model the weights of a file; return 12 hex digits that change with them.

    Running statistics and extra state are weights too. Raises ConfigError where a name or a shape is not the model's,
    RecordError where the file is torn or foreign.
    """
    weights = read_weights(path)
    if weights.about["kind"] == "function":
        raise ConfigError(f"init_from: {path}: is of training code of your own, not of the built-in training")
    own = model.state_dict()
    there: dict[str, Any] = {**weights.tensors, **weights.about["extra_state"]}
    last = f"{last_layer(model)}."
    if not setting["init_last_layer"]:
        there = {name: value for name, value in there.items() if not name.startswith(last)}
        there |= {name: value for name, value in own.items() if name.startswith(last)}
    differ = {
        name: f"{name} is {_shape(there, name)} there and {_shape(own, name)} here"
        for name in {**own, **there}
        if _shape(own, name) != _shape(there, name)
    }
    if differ:
        told = "; ".join(list(differ.values())[:MOST_TOLD])
        rest = f"; and {len(differ) - MOST_TOLD} more" if len(differ) > MOST_TOLD else ""
        only_last = all(name.startswith(last) for name in differ)
        hint = ". Where only the number of classes differs, write init_last_layer: false" if only_last else ""
        raise ConfigError(f"init_from: {path}: does not fit the model: {told}{rest}{hint}")
    model.load_state_dict(there)
    digest: str = weights.about["sha1"][:12]
    return digest


def last_layer(model: nn.Module) -> str:
    """Return the name of the last layer of a model that has parameters."""
    layers = model.named_modules()
    having = [str(name) for name, layer in layers if next(layer.parameters(recurse=False), None) is not None]
    return having[-1]


def _shape(state: dict[str, Any], name: str) -> str:
    if name not in state:
        return "missing"
    value = state[name]
    return str(tuple(value.shape)) if isinstance(value, Tensor) else "no tensor"
