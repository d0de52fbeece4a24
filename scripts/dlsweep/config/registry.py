"""What a setting can choose by name: data sets, models, losses, optimizers, learning-rate schedules.

To add one, write a function and add one line here. Each line says where the function is (imported only
when it is used, so that reading a config loads no torch), which hyper-parameters reach it, and where its
defaults differ from those of `hyperparameters.py`. A hyper-parameter that reaches none of the chosen
entries does not apply: it is neither swept nor hashed.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One name: `target` is "module:function" in this package, `uses` the hyper-parameters that reach it.

    `required` are those of them that have no default to go by: null is not allowed. `targets` is what a loss takes, or
    a data set has: a key of MEASURES, or "" where the user's file or code decides. A data set `in_parts` is read by
    several threads, and goes on where an earlier start was ended.
    """

    target: str
    uses: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    targets: str = ""
    in_parts: bool = False

    def load(self) -> Callable[..., Any]:
        """Import and return the function."""
        return _function(self.target)


@functools.cache  # a schedule is asked for before every step
def _function(target: str) -> Callable[..., Any]:
    module, name = target.split(":")
    function: Callable[..., Any] = getattr(importlib.import_module(f"dlsweep.tasks.classification.{module}"), name)
    return function


_SPLIT = ("test_size", "n_folds")
"""Of data without a test split of its own."""
_FILE = ("data_path", *_SPLIT)

DATASETS = {
    "digits": Entry("datasets:load_digits", _SPLIT, targets="classes"),
    "mnist": Entry("downloads:load_torchvision", targets="classes"),
    "fashion_mnist": Entry("downloads:load_torchvision", targets="classes"),
    "kmnist": Entry("downloads:load_torchvision", targets="classes"),
    "cifar10": Entry("downloads:load_torchvision", targets="classes"),
    "cifar100": Entry("downloads:load_torchvision", targets="classes"),
    "svhn": Entry("downloads:load_torchvision", targets="classes"),
    "npz": Entry("datasets:load_npz", (*_FILE, "series"), required=("data_path",)),
    "csv": Entry("tables:load_table", (*_FILE, "target"), required=("data_path", "target")),
    "parquet": Entry("tables:load_table", (*_FILE, "target"), required=("data_path", "target")),
    "image_folder": Entry(
        "image_folder:load_image_folder",
        (*_FILE, "image_size"),
        required=("data_path",),
        targets="classes",
        in_parts=True,
    ),
}

ACTIVATIONS = {
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU",
    "elu": "ELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "identity": "Identity",
}
"""Activation functions: our names, and the names of their classes in torch.nn."""

_INIT = ("init", "bias_init")
AUGMENTATION = ("resized_crop", "random_crop", "horizontal_flip", "cutout")
"""The hyper-parameters that change the training images, where they are set."""

_LAYERS = ("act", *_INIT, "dropout", "batch_norm", "batch_norm_position")
_DEEP = {"init": "kaiming_normal"}  # torch's own initialization starves plain networks of this depth

MODELS = {
    "mlp": Entry("models:build_mlp", ("n_layer", "hid_dim", *_LAYERS)),
    "cnn": Entry("models:build_cnn", ("n_block", "n_conv", "channels", "kernel_size", "pooling", *_LAYERS)),
    **{name: Entry("models:build_vgg", _LAYERS, _DEEP) for name in ("vgg11", "vgg13", "vgg16", "vgg19")},
    **{
        f"resnet{depth}": Entry("models:build_cifar_resnet", ("shortcut", *_INIT), _DEEP)
        for depth in (20, 32, 44, 56, 110)
    },
    **{f"resnet{depth}": Entry("models:build_torchvision_resnet") for depth in (18, 34, 50)},
}

MEASURES: Mapping[str, tuple[str, ...]] = {
    "classes": ("loss", "acc"),
    "labels": ("loss", "f1", "f1_macro", "ap", "auroc"),
    "numbers": ("loss", "rmse", "mae", "r2"),
}
"""What a split is measured by, for each kind of targets: one class an image, several labels, or numbers (regression).

Settings are selected by the second, where the config says nothing else.

The functions are in losses.py."""

LOSSES = {
    "cross_entropy": Entry("losses:cross_entropy", ("label_smoothing",), targets="classes"),
    "binary_cross_entropy": Entry("losses:binary_cross_entropy", targets="labels"),
    "mse": Entry("losses:mse", ("normalise_targets",), targets="numbers"),
    "mae": Entry("losses:mae", ("normalise_targets",), targets="numbers"),
    "huber": Entry("losses:huber", ("normalise_targets", "huber_delta"), targets="numbers"),
}

OPTIMIZERS = {
    "sgd": Entry("optimizers:sgd", ("momentum",)),
    "momentum": Entry("optimizers:sgd", ("momentum",), {"momentum": 0.9}),
    "nag": Entry("optimizers:nag", ("momentum",), {"momentum": 0.9}),
    "adagrad": Entry("optimizers:adagrad", ("eps",), {"eps": 1e-10}),
    "rmsprop": Entry("optimizers:rmsprop", ("alpha", "eps")),
    "adadelta": Entry("optimizers:adadelta", ("rho", "eps"), {"lr": 1.0, "eps": 1e-6}),
    "adam": Entry("optimizers:adam", ("beta1", "beta2", "eps"), {"lr": 0.001}),
    "adamw": Entry("optimizers:adamw", ("beta1", "beta2", "eps"), {"lr": 0.001, "weight_decay": 0.01}),
}

LR_SCHEDULES = {
    "constant": Entry("optimizers:constant"),
    "step": Entry("optimizers:step", ("lr_step", "lr_gamma")),
    "multistep": Entry("optimizers:multistep", ("lr_milestones", "lr_gamma")),
    "exponential": Entry("optimizers:exponential", ("lr_gamma",), {"lr_gamma": 0.95}),
    "cosine": Entry("optimizers:cosine"),
    "one_cycle": Entry("optimizers:one_cycle"),
}

REGISTRIES: Mapping[str, Mapping[str, Entry]] = {
    "dataset": DATASETS,
    "model": MODELS,
    "loss": LOSSES,
    "optimizer": OPTIMIZERS,
    "lr_schedule": LR_SCHEDULES,
}


OWN: Mapping[str, Entry] = {
    "dataset": Entry("datasets:load_own", ("dataset_args", *_SPLIT, "series")),
    "model": Entry("models:build_custom", ("model_args",)),
    "loss": Entry("losses:own_loss", ("loss_args",)),
    "optimizer": Entry("optimizers:own_optimizer", ("optimizer_args",)),
    "lr_schedule": Entry("optimizers:own_schedule", ("lr_schedule_args",)),
}
"""What a part of the user's own uses, for each kind: any name with a colon, `model: "my_module:MyNet"`."""


def entry(kind: str, name: str) -> Entry:
    """Return the entry that `name` stands for in the registry `kind` (a key of REGISTRIES)."""
    return OWN[kind] if ":" in name else REGISTRIES[kind][name]


def own_parts(setting: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the user's own parts that a setting of the built-in task names, `module:name`, by their key."""
    named = {kind: [str(setting.get(kind) or "")] for kind in REGISTRIES} | {"metrics": setting.get("metrics") or []}
    found = {key: [name for name in names if ":" in name] for key, names in named.items()}
    return {key: names for key, names in found.items() if names}


def targets_of(setting: Mapping[str, Any]) -> str:
    """Return what the targets of a complete setting are, a key of MEASURES; "" where the user's data decide."""
    return entry("loss", setting["loss"]).targets or entry("dataset", setting["dataset"]).targets


def measured(setting: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the metrics of a complete setting, without their split, the loss first, then what it is selected by.

    With a loss and data of the user's own all that there are, since it takes whatever targets the data have.
    """
    targets = targets_of(setting)
    known = MEASURES[targets] if targets else dict.fromkeys(name for names in MEASURES.values() for name in names)
    return (*known, *(name.partition(":")[2] for name in setting["metrics"]))
