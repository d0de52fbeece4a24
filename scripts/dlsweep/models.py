"""Models."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from .hyperparameters import ConfigError
from .registry import entry

Setting = Mapping[str, Any]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


def build_model(setting: Setting, in_shape: tuple[int, ...], n_classes: int) -> nn.Module:
    """Return the model that the setting names."""
    model: nn.Module = entry("model", setting["model"]).load()(setting, in_shape, n_classes)
    return model


class MLP(nn.Module):
    """A multi-layer perceptron with `n_layer` hidden layers."""

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        hid_dim: int,
        n_layer: int,
        act: str,
        dropout: float = 0.0,
        batch_norm: bool = False,
        batch_norm_position: str = "before",
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for width in [in_dim] + [hid_dim] * (n_layer - 1):
            layers.append(nn.Linear(width, hid_dim))
            norm: list[nn.Module] = [nn.BatchNorm1d(hid_dim)] if batch_norm else []
            activation: list[nn.Module] = [ACTIVATIONS[act]()]
            layers += norm + activation if batch_norm_position == "before" else activation + norm
            layers += [nn.Dropout(dropout)] if dropout else []
        self.layers = nn.Sequential(*layers, nn.Linear(hid_dim, out_dim))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, ...) inputs to (N, out_dim) logits."""
        logits: Tensor = self.layers(x)
        return logits


def init_weights(model: nn.Module, init: str, bias_init: float | None, act: str) -> None:
    """Initialize linear and convolution layers."""
    gains = {"relu": "relu", "leaky_relu": "leaky_relu", "tanh": "tanh", "sigmoid": "sigmoid"}
    for layer in model.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            if init.startswith("xavier"):
                getattr(nn.init, f"{init}_")(layer.weight)
            elif init.startswith("kaiming"):
                getattr(nn.init, f"{init}_")(layer.weight, nonlinearity=gains.get(act, "relu"))
            if bias_init is not None and layer.bias is not None:
                nn.init.constant_(layer.bias, bias_init)


def build_mlp(setting: Setting, in_shape: tuple[int, ...], n_classes: int) -> nn.Module:
    """Build the lecture's MLP."""
    model = MLP(
        math.prod(in_shape),
        n_classes,
        setting["hid_dim"],
        setting["n_layer"],
        setting["act"],
        setting["dropout"],
        setting["batch_norm"],
        setting.get("batch_norm_position", "before"),
    )
    init_weights(model, setting["init"], setting["bias_init"], setting["act"])
    return model


def build_custom(setting: Setting, in_shape: tuple[int, ...], n_classes: int) -> nn.Module:
    """Build the user's own model, `module:Class`, from the working directory or an installed package.

    It is called as `Class(in_shape=..., n_classes=..., **model_args)`. Raises ConfigError where there is no such
    module or class.
    """
    module_name, class_name = setting["model"].split(":")
    sys.path.insert(0, str(Path.cwd()))  # a script's own folder stands there, not the working directory
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name.partition(".")[0]:
            raise
        raise ConfigError(f"model: there is no module {module_name!r} in {Path.cwd()}") from None
    if not hasattr(module, class_name):
        raise ConfigError(f"model: {module.__file__} has no {class_name!r}")
    model: nn.Module = getattr(module, class_name)(in_shape=in_shape, n_classes=n_classes, **setting["model_args"])
    return model
