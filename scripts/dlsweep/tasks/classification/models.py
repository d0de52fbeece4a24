"""Models: each maps a batch of images (N, C, H, W) to (N, n_classes) logits, or to as many numbers.

`mlp` takes vectors (N, D) and time series (N, C, L) as well, `cnn` time series.

A builder (named in registry.py) is called as `builder(setting, in_shape, n_classes)`, `in_shape` being the shape of
one image or vector. It raises ConfigError where the model cannot take such data.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import math
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlsweep.config.identity import Setting
from dlsweep.config.registry import ACTIVATIONS, entry
from dlsweep.errors import ConfigError
from dlsweep.tasks.classification.augmentation import described
from dlsweep.tasks.own_code import call_fault, own_object

Shape = tuple[int, ...]

POOLINGS = {("max", 1): nn.MaxPool1d, ("avg", 1): nn.AvgPool1d, ("max", 2): nn.MaxPool2d, ("avg", 2): nn.AvgPool2d}
CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}


def build_model(setting: Setting, in_shape: Shape, n_classes: int) -> nn.Module:
    """Return the model that the setting names. Raises ConfigError where it does not fit the data."""
    model: nn.Module = entry("model", setting["model"]).load()(setting, in_shape, n_classes)
    return model


# -- parts ---------------------------------------------------------------------------------------------------------


def activation(act: str, norm: nn.Module | None, position: str) -> list[nn.Module]:
    """Return the activation, with batch normalization before it (Ioffe & Szegedy 2015, section 3.2) or after it."""
    function: nn.Module = getattr(nn, ACTIVATIONS[act])()
    if norm is None:
        return [function]
    return [norm, function] if position == "before" else [function, norm]


def init_weights(model: nn.Module, init: str, bias_init: float | None, act: str = "relu") -> None:
    """Initialize every linear and convolution layer; `default` and a bias of None keep torch's own.

    xavier: variance 2 / (fan_in + fan_out), Glorot & Bengio 2010, eq. 16. kaiming: gain² / fan_in, He et al. 2015
    (Delving Deep into Rectifiers), eq. 10, with torch's gain for the activation; elu, gelu and silu take that of relu.
    """
    gain_of = act if act in ("relu", "leaky_relu", "tanh", "sigmoid") else "linear" if act == "identity" else "relu"
    slope = nn.LeakyReLU().negative_slope
    for layer in model.modules():
        if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            if init.startswith("kaiming"):
                getattr(nn.init, f"{init}_")(layer.weight, a=slope, nonlinearity=gain_of)
            elif init != "default":
                getattr(nn.init, f"{init}_")(layer.weight)
            if bias_init is not None and layer.bias is not None:
                nn.init.constant_(layer.bias, bias_init)


def image_shape(
    setting: Setting, in_shape: Shape, halvings: int = 0, key: str = "model", series: bool = False
) -> Shape:
    """Return the (C, H, W) that is left of an image's size after halving height and width some times.

    Where `series` are allowed, also the (C, L) of a time series. Raises ConfigError where the data are something else,
    or nothing would be left; `key` is what the user can change.
    """
    if len(in_shape) != 3 and not (series and len(in_shape) == 2):
        others = "mlp, cnn" if len(in_shape) == 2 else "mlp"
        raise ConfigError(
            f"model: {setting['model']} needs images, but the data are {described(in_shape)};"
            f" allowed: {others}, or your own model"
        )
    channels, *sizes = in_shape
    most = int(math.log2(min(sizes)))
    if halvings > most:
        what = "height and width" if len(sizes) == 2 else "the length"
        have = (
            f"the images have {sizes[0]}x{sizes[-1]} pixels" if len(sizes) == 2 else f"the series have {sizes[0]} steps"
        )
        raise ConfigError(
            f"{key}: {setting[key]} halves {what} {halvings} times, but {have}; allowed: at most {most} times"
        )
    return channels, *(size >> halvings for size in sizes)


# -- multi-layer perceptron ----------------------------------------------------------------------------------------


class MLP(nn.Module):
    """The lecture's multi-layer perceptron: `n_layer` hidden layers of `hid_dim` units and a linear output layer.

    Each hidden layer is linear, batch normalization where set, activation (`batch_norm_position`: in this order, or
    the last two exchanged), dropout (Srivastava et al. 2014). The lecture normalises after the activation.
    """

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
            norm = nn.BatchNorm1d(hid_dim) if batch_norm else None
            layers += [nn.Linear(width, hid_dim), *activation(act, norm, batch_norm_position)]
            layers += [nn.Dropout(dropout)] if dropout else []
        self.layers = nn.Sequential(*layers, nn.Linear(hid_dim, out_dim))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, ...) inputs to (N, out_dim) logits."""
        logits: Tensor = self.layers(x)
        return logits


def build_mlp(setting: Setting, in_shape: Shape, n_classes: int) -> nn.Module:
    """Build the lecture's MLP on flattened images, or on vectors."""
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


# -- plain convolutional networks ----------------------------------------------------------------------------------


class CNN(nn.Module):
    """Convolution blocks, each of which halves height and width by pooling, and a classifier on what is left."""

    def __init__(self, blocks: list[nn.Module], classifier: list[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(nn.Flatten(), *classifier)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) images to (N, n_classes) logits."""
        logits: Tensor = self.classifier(self.blocks(x))
        return logits


def convolutions(
    setting: Setting, c_in: int, c_out: int, n_conv: int, kernel_size: int, n_axes: int = 2
) -> list[nn.Module]:
    """Return `n_conv` convolutions that keep height and width, each with normalization where set and activation.

    `n_axes` is 1 for time series.
    """
    layers: list[nn.Module] = []
    for channels in [c_in] + [c_out] * (n_conv - 1):
        norm = NORMS[n_axes](c_out) if setting["batch_norm"] else None
        layers.append(CONVOLUTIONS[n_axes](channels, c_out, kernel_size, padding="same"))
        layers += activation(setting["act"], norm, setting.get("batch_norm_position", "before"))
    return layers


def build_cnn(setting: Setting, in_shape: Shape, n_classes: int) -> nn.Module:
    """Build a small network in the manner of VGG (Simonyan & Zisserman 2014).

    Each block is `n_conv` convolutions, pooling and dropout; the next has twice the channels; one linear layer
    classifies. For time series the convolutions go along the time.
    """
    n_block, channels = setting["n_block"], setting["channels"]
    c_in, *sizes = image_shape(setting, in_shape, n_block, "n_block", series=True)
    blocks: list[nn.Module] = []
    for c_out in [channels * 2**i for i in range(n_block)]:
        layers = convolutions(setting, c_in, c_out, setting["n_conv"], setting["kernel_size"], len(sizes))
        layers.append(POOLINGS[setting["pooling"], len(sizes)](2))
        layers += [nn.Dropout(setting["dropout"])] if setting["dropout"] else []
        blocks.append(nn.Sequential(*layers))
        c_in = c_out
    model = CNN(blocks, [nn.Linear(c_in * math.prod(sizes), n_classes)])
    init_weights(model, setting["init"], setting["bias_init"], setting["act"])
    return model


VGG_CONVOLUTIONS = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
"""Convolutions in each of the five blocks: Simonyan & Zisserman 2014, table 1, columns A, B, D, E."""


def build_vgg(setting: Setting, in_shape: Shape, n_classes: int) -> nn.Module:
    """Build VGG (Simonyan & Zisserman 2014) for images of 32x32 pixels or more.

    As in the paper, with 512 instead of 4096 units in the two hidden linear layers, which dropout acts on.
    """
    c_in, height, width = image_shape(setting, in_shape, 5)
    blocks = []
    for n_conv, c_out in zip(VGG_CONVOLUTIONS[setting["model"]], (64, 128, 256, 512, 512), strict=True):
        blocks.append(nn.Sequential(*convolutions(setting, c_in, c_out, n_conv, 3), nn.MaxPool2d(2)))
        c_in = c_out
    classifier: list[nn.Module] = []
    for units in (512 * height * width, 512):
        classifier += [nn.Linear(units, 512), *activation(setting["act"], None, "before")]
        classifier += [nn.Dropout(setting["dropout"])] if setting["dropout"] else []
    model = CNN(list(blocks), [*classifier, nn.Linear(512, n_classes)])
    init_weights(model, setting["init"], setting["bias_init"], setting["act"])
    return model


# -- residual networks ---------------------------------------------------------------------------------------------


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters (He et al. 2015, option A).

    Where the block halves height and width, the shortcut takes every second pixel and fills new channels with zeros.
    """

    def __init__(self, c_in: int, c_out: int, shortcut: bool) -> None:
        super().__init__()
        self.new_channels, self.stride, self.shortcut = c_out - c_in, 1 if c_in == c_out else 2, shortcut
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride=self.stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, c_in, H, W) to (N, c_out, H / stride, W / stride), halves rounded up."""
        out: Tensor = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if self.shortcut:
            out = out + F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))
        return F.relu(out)


class ResNet(nn.Module):
    """The residual network for CIFAR (He et al. 2015, section 4.2): 6n + 2 layers in three stages.

    Without shortcuts it is the paper's plain network, whose training error grows with depth.
    """

    def __init__(self, in_channels: int, n_classes: int, depth: int, shortcut: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        n = (depth - 2) // 6
        widths = [16] + [16] * n + [32] * n + [64] * n
        self.blocks = nn.Sequential(*(BasicBlock(c_in, c_out, shortcut) for c_in, c_out in itertools.pairwise(widths)))
        self.linear = nn.Linear(64, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) images to (N, n_classes) logits."""
        features = self.blocks(F.relu(self.norm(self.conv(x)))).mean((2, 3))
        logits: Tensor = self.linear(features)
        return logits


def build_cifar_resnet(setting: Setting, in_shape: Shape, n_classes: int) -> nn.Module:
    """Build the ResNet for CIFAR of the depth that its name says."""
    channels, _, _ = image_shape(setting, in_shape)
    model = ResNet(channels, n_classes, int(setting["model"].removeprefix("resnet")), setting["shortcut"])
    init_weights(model, setting["init"], setting["bias_init"])
    return model


SMALL_IMAGE = 64  # pixels; below it the stem of ImageNet's networks would throw most of the image away


def build_torchvision_resnet(setting: Setting, in_shape: Shape, n_classes: int) -> nn.Module:
    """Build torchvision's ResNet (He et al. 2015, table 1), without trained weights.

    For images smaller than 64 pixels it begins with a 3x3 convolution of stride 1 and no pooling (Chen et al. 2020,
    SimCLR, appendix B.9), instead of a 7x7 convolution of stride 2 and pooling.
    """
    import torchvision

    channels, height, width = image_shape(setting, in_shape)
    model: nn.Module = getattr(torchvision.models, setting["model"])(num_classes=n_classes)
    small = min(height, width) < SMALL_IMAGE
    kernel_size, stride = (3, 1) if small else (7, 2)
    stem = nn.Conv2d(channels, 64, kernel_size, stride, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")  # as torchvision does
    model.conv1 = stem
    if small:
        model.maxpool = nn.Identity()
    return model


# -- your own ------------------------------------------------------------------------------------------------------


def build_custom(setting: Setting, in_shape: Shape, n_classes: int) -> nn.Module:
    """Build the user's own model, `module:Class` (see `own_object`).

    It is called as `Class(in_shape=..., n_classes=..., **model_args)`. Raises ConfigError where the class does not
    take these arguments, makes no torch.nn.Module or one without anything to train, or where what it makes of a batch
    is something else than logits (N, n_classes), or where its state does not fit in a checkpoint.
    """
    name, arguments = setting["model"], {"in_shape": in_shape, "n_classes": n_classes, **setting["model_args"]}
    build = own_object("model", name)
    if fault := call_fault(build, **arguments):
        raise ConfigError(
            f"model_args: {name}({', '.join(arguments)}): {fault}; it is called with in_shape, n_classes and what"
            " model_args says"
        )
    model: nn.Module = build(**arguments)
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model: {name} makes {type(model).__name__}, not a torch.nn.Module")
    parameters = list(model.parameters())
    if not any(weight.requires_grad for weight in parameters):
        what = "only frozen parameters (requires_grad is False)" if parameters else "no parameters"
        raise ConfigError(f"model: {name} has {what}; there is nothing to train")
    with torch.no_grad():
        output = model.eval()(torch.zeros(2, *in_shape))
    check_output(name, output, (2, n_classes))
    _check_state(name, model)
    return model


def check_output(name: str, output: Any, shape: Shape, in_training: bool = False) -> None:
    """Raise ConfigError where what a user's own model makes of a batch is anything but logits (N, n_classes)."""
    when = " in training (after model.train())" if in_training else ""
    wanted = f"it must be logits {shape}, a tensor of floating point that depends on the parameters"
    if not isinstance(output, Tensor):
        inside = f" of {len(output)}" if isinstance(output, (tuple, list, dict)) else ""
        raise ConfigError(f"model: {name} returns a {type(output).__name__}{inside}{when}; {wanted}")
    if output.shape != shape:
        raise ConfigError(
            f"model: {name} maps {shape[0]} images to shape {tuple(output.shape)}{when}; it must be {shape}"
        )
    if not output.is_floating_point():
        kind = str(output.dtype).removeprefix("torch.")
        raise ConfigError(f"model: {name} returns {kind}{when}; {wanted}")
    if in_training and not output.requires_grad:
        raise ConfigError(f"model: {name} returns what needs no gradient{when}, so nothing can be learned; {wanted}")


def _check_state(name: str, model: nn.Module) -> None:
    """Refuse a state that a checkpoint could not hold or give back."""
    for module in model.modules():
        own = type(module)
        if own.get_extra_state is not nn.Module.get_extra_state and own.set_extra_state is nn.Module.set_extra_state:
            raise ConfigError(
                f"model: {name}: {own.__name__} has get_extra_state, but no set_extra_state to restore it"
            )
    extra = {key: value for key, value in model.state_dict().items() if not isinstance(value, Tensor)}
    if extra:
        buffer = io.BytesIO()
        try:
            torch.save(extra, buffer)
            torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
        except Exception:  # pickle raises many kinds
            raise ConfigError(
                f"model: {name}: get_extra_state returns what a checkpoint cannot hold ({', '.join(extra)}); allowed:"
                " tensors, numbers, text, and lists and dicts of them"
            ) from None


def source_sha1(setting: Setting) -> str | None:
    """Return the sha1 of the file that the user's own model is in; None for the other models.

    It stands in the record and not in the setting's hash: a comment in the file must not make every run again.
    """
    module = sys.modules[setting["model"].split(":")[0]] if ":" in setting["model"] else None
    file = module.__file__ if module else None
    return hashlib.sha1(Path(file).read_bytes()).hexdigest() if file else None
