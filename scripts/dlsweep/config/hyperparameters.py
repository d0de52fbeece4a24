"""Every hyper-parameter once: type, unit, range, default and a sentence.

The config's schema, `train.py --help` and the table in docs/ are derived from this list, and a setting is
read, normalised and reduced to its identity here. This module loads neither torch nor pandas.

Never change a default or what it means: keys at their default are left out of the hash, so a changed
default would give old records a new meaning. Add a new hyper-parameter whose default keeps the old behaviour.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dlsweep.config.names import OTHER_NAMES, nearest
from dlsweep.config.registry import ACTIVATIONS, LOSSES, LR_SCHEDULES, MEASURES, MODELS, OPTIMIZERS, REGISTRIES
from dlsweep.errors import ConfigError


class Ambiguous(str):
    """Text that stands in a config without quotes, and that YAML 1.1 reads as a number or as true or false.

    `no`, `1:30` and `0b11` are text in YAML 1.2. Where a key takes text or something else, the text is what is meant;
    where it takes anything (`model_args`), the user must say what.
    """


@dataclass(frozen=True)
class Hyperparameter:
    """One hyper-parameter.

    `type` is int, float, bool, str, list, dict or, where it can be anything that JSON has, object; `low` and `high`
    bound a number (`open_low`, `open_high`: that end itself is not allowed); `choices` are the allowed strings, beside
    a number where `type` is one; `values` all that are allowed, where they are not strings; `items` is the type of a
    list's items; `own` is the form of a part of the user's own that is allowed as well, such as module:Class;
    `nullable` allows null (none, off). `needs` names a hyper-parameter without which this one does not apply, `without`
    one with which it does not. A `required` one has no default: every setting must give it.
    """

    type: type
    default: Any
    doc: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    open_low: bool = False
    choices: tuple[str, ...] = ()
    nullable: bool = False
    needs: str = ""
    open_high: bool = False
    values: tuple[Any, ...] = ()
    items: Any = int
    own: str = ""
    required: bool = False
    without: str = ""

    @property
    def allowed(self) -> str:
        """What a value may be, in words."""
        parts = []
        if self.type in (int, float):
            kind = "an integer" if self.type is int else "a number"
            left = "" if self.low is None else f"{'>' if self.open_low else '>='} {self.low:g}"
            right = "" if self.high is None else f"{'<' if self.open_high else '<='} {self.high:g}"
            parts.append(" ".join(filter(None, [kind, " and ".join(filter(None, [left, right]))])))
        elif self.type is bool:
            parts.append("true or false")
        elif self.type is list:
            items = {int: "a list of positive integers", str: f'a list of "{self.own}"'}
            parts.append(items.get(self.items, "a list"))
        elif self.type is dict:
            parts.append("a mapping of names to values")
        elif self.values:
            parts.append(", ".join(json.dumps(value) for value in self.values))
        elif self.type is object:
            parts.append("a number, text, true or false, a list or a mapping")
        elif not (self.choices or self.own):
            parts.append("text")
        if self.choices:
            parts.append(", ".join(self.choices))
        if self.own and self.type is str:
            parts.append(f'"{self.own}"')
        if self.nullable:
            parts.append("null")
        return " or ".join(parts)


_H = Hyperparameter

HYPERPARAMETERS: Mapping[str, Hyperparameter] = {
    # data
    "dataset": _H(str, "digits", "The data set.", choices=tuple(REGISTRIES["dataset"]), own="module:function"),
    "dataset_args": _H(dict, {}, "Keyword arguments of your own data set."),
    "data_path": _H(
        str,
        None,
        "The user's own data: an .npz, CSV or Parquet file, or a folder with a folder per class.",
        nullable=True,
    ),
    "target": _H(
        str, None, "The column of a CSV or Parquet file to predict; several are separated by commas.", nullable=True
    ),
    "series": _H(bool, False, "Arrays (N, C, L) are time series of C channels, and not grey images."),
    "image_size": _H(int, 32, "Images of a folder are resized to this height and width.", "pixels", 1, 1024),
    "train_size": _H(
        float,
        None,
        "Training images used: a number of them, or a fraction below 1; null is all.",
        "images",
        0,
        open_low=True,
        nullable=True,
    ),
    "val_size": _H(
        float,
        0.2,
        "Validation images taken from the training split: a number of them, or a fraction below 1.",
        "images",
        0,
        open_low=True,
    ),
    "test_size": _H(
        float,
        0.2,
        "Test images, where the data has no test split of its own: a number, or a fraction below 1.",
        "images",
        0,
        open_low=True,
        without="n_folds",
    ),
    "n_folds": _H(
        int,
        None,
        "Folds of a cross-validation: the data is cut into so many parts, and `fold` says which is the test split.",
        "folds",
        2,
        nullable=True,
    ),
    "fold": _H(int, 0, "The fold that is the test split, counted from 0.", low=0, needs="n_folds"),
    "split_seed": _H(int, 0, "Seed of the split into training, validation and test.", low=0, high=2**32 - 1),
    "resized_crop": _H(
        float,
        0.0,
        "Smallest part of a training image's area that a random crop keeps, resized to the whole; 0 is off.",
        low=0,
        high=1,
    ),
    "random_crop": _H(int, 0, "Padding of the random crop of training images; 0 is off.", "pixels", 0, 64),
    "horizontal_flip": _H(bool, False, "Flip half of the training images left to right."),
    "cutout": _H(int, 0, "Side of the square cut out of each training image; 0 is off.", "pixels", 0, 1024),
    # model
    "model": _H(str, "mlp", 'The model; or your own, "module:Class".', choices=tuple(MODELS), own="module:Class"),
    "model_args": _H(dict, {}, "Keyword arguments of your own model."),
    "n_layer": _H(int, 3, "Hidden layers.", "layers", 1, 1000),
    "hid_dim": _H(int, 100, "Units in each hidden layer.", "units", 1, 100_000),
    "n_block": _H(int, 3, "Convolution blocks, each halving height and width.", "blocks", 1, 8),
    "n_conv": _H(int, 2, "Convolutions in each block.", "convolutions", 1, 16),
    "channels": _H(int, 32, "Channels of the first block; each next block has twice as many.", "channels", 1, 4096),
    "kernel_size": _H(int, 3, "Side of the convolution kernel.", "pixels", 1, 15),
    "pooling": _H(str, "max", "How a block halves height and width.", choices=("max", "avg")),
    "shortcut": _H(bool, True, "Residual shortcuts; without them it is the paper's plain network."),
    "act": _H(str, "relu", "Activation function.", choices=tuple(ACTIVATIONS)),
    "init": _H(
        str,
        "default",
        "Initialization of the weights; default is torch's own.",
        choices=("default", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal"),
    ),
    "bias_init": _H(
        float, None, "Initial value of every bias of a linear or convolution layer; null is torch's own.", nullable=True
    ),
    "init_from": _H(
        str,
        None,
        "Begin with the weights of this run, to fine-tune them: its hash, or the path of its file of weights.",
        nullable=True,
        own="hash of 40 digits, or FILE.safetensors",
    ),
    "init_last_layer": _H(
        bool,
        True,
        "Take the last layer from `init_from` too; false: it is initialized, as for another number of classes.",
        needs="init_from",
    ),
    "dropout": _H(float, 0.0, "Probability of dropping a unit.", low=0, high=0.99),
    "batch_norm": _H(bool, False, "Batch normalization."),
    "batch_norm_position": _H(
        str,
        "before",
        "Batch normalization before the activation (the paper) or after it.",
        choices=("before", "after"),
        needs="batch_norm",
    ),
    # optimization
    "optimizer": _H(str, "sgd", "The optimizer.", choices=tuple(OPTIMIZERS), own="module:Class"),
    "optimizer_args": _H(dict, {}, "Keyword arguments of your own optimizer, beside lr and weight_decay."),
    "lr": _H(float, 0.01, "Learning rate.", low=0, high=1e6, open_low=True),
    "momentum": _H(float, 0.0, "Momentum.", low=0, high=1),
    "alpha": _H(float, 0.99, "Smoothing constant of rmsprop.", low=0, high=1),
    "rho": _H(float, 0.9, "Decay of adadelta's running averages.", low=0, high=1),
    "beta1": _H(float, 0.9, "Decay of the first moment.", low=0, high=0.999999),
    "beta2": _H(float, 0.999, "Decay of the second moment.", low=0, high=0.99999999),
    "eps": _H(float, 1e-8, "Added to the denominator for stability.", low=0, high=1),
    "weight_decay": _H(float, 0.0, "L2 penalty on all parameters, biases too; decoupled for adamw.", low=0, high=1e3),
    "l1": _H(float, 0.0, "L1 penalty on the weights, not on biases and normalization.", low=0, high=1e3),
    "loss": _H(
        str,
        "cross_entropy",
        "The loss: of classes, of several labels an image (binary_cross_entropy), or of numbers.",
        choices=tuple(LOSSES),
        own="module:function",
    ),
    "loss_args": _H(dict, {}, "Keyword arguments of your own loss."),
    "label_smoothing": _H(float, 0.0, "Share of the target spread over all classes.", low=0, high=1),
    "normalise_targets": _H(
        bool, True, "Learn numbers scaled to mean 0 and standard deviation 1; all but the loss is in their own unit."
    ),
    "huber_delta": _H(float, 1.0, "Where the Huber loss turns from squares to lines.", low=0, open_low=True),
    "grad_clip": _H(
        float, None, "Largest norm of the whole gradient; null is off.", low=0, open_low=True, nullable=True
    ),
    "lr_schedule": _H(
        str, "constant", "How the learning rate changes.", choices=tuple(LR_SCHEDULES), own="module:function"
    ),
    "lr_schedule_args": _H(dict, {}, "Keyword arguments of your own schedule."),
    "lr_step": _H(int, 10, "Epochs between two steps, counted after warm-up.", "epochs", 1),
    "lr_gamma": _H(float, 0.1, "Factor of each step.", low=0, high=1, open_low=True),
    "lr_milestones": _H(list, [], "Epochs after which the learning rate steps, counted after warm-up.", "epochs"),
    "warmup_epochs": _H(int, 0, "Epochs of linear warm-up before the schedule.", "epochs", 0),
    # training
    "epochs": _H(int, 20, "Passes over the training data.", "epochs", 1, 1_000_000),
    "batch_size": _H(int, 64, "Images per step; full is the whole training set.", "images", 1, choices=("full",)),
    "seed": _H(int, 0, "Seed of initialization, shuffling, dropout and augmentation.", low=0, high=2**32 - 1),
    "precision": _H(str, "fp32", "Arithmetic of the training step.", choices=("fp32", "tf32", "bf16", "fp16")),
    "channels_last": _H(bool, False, "Memory format of images and convolutions."),
    "compile": _H(
        bool, False, "Compile the model with torch.compile: last bits differ, and it takes a while to start."
    ),
    "patience": _H(
        int, None, "Stop early after this many epochs without a better one; null is off.", "epochs", 1, nullable=True
    ),
    "monitor": _H(
        str,
        "val_loss",
        "What makes an epoch the best, also for early stopping: a metric of what the loss is of.",
        choices=tuple(dict.fromkeys(f"val_{name}" for names in MEASURES.values() for name in names)),
        own="val_...",
    ),
    "metrics": _H(list, [], "Your own metrics, beside those of the loss.", items=str, own="module:function"),
    "test_weights": _H(
        str, "last", "Weights that are tested: of the last or of the best epoch.", choices=("last", "best")
    ),
    "log_gradients": _H(bool, False, "Record the gradient's norm and each layer's mean absolute gradient per epoch."),
}

OWN_NAME = r"[A-Za-z_][\w.]*:[A-Za-z_]\w*"
OWN_FORMS = {
    "val_...": r"val_[A-Za-z_]\w*",
    "hash of 40 digits, or FILE.safetensors": r"([0-9a-f]{40}|.{1,300}\.safetensors)",
}
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")


def find(key: str, hyperparameters: Mapping[str, Hyperparameter]) -> Hyperparameter | None:
    """Return the hyper-parameter of that name, or None. `model_args.width`, inside of a mapping, can be anything."""
    if key in hyperparameters or "." not in key:
        return hyperparameters.get(key)
    root, *path = key.split(".")
    if all(path) and root in hyperparameters and hyperparameters[root].type is dict:
        return Hyperparameter(object, None, f"`{'.'.join(path)}` of `{root}`.", items=object)
    return None


def nearest_key(key: str, hyperparameters: Mapping[str, Hyperparameter], words: Iterable[str] = ()) -> str:
    """Return a sentence with what is probably meant by an unknown key, beside which these words are allowed."""
    root, _, path = key.partition(".")
    if path and f"{root}_args" in hyperparameters:
        return f" Write '{root}_args.{path}' instead."
    if path and root in hyperparameters and hyperparameters[root].type is not dict:
        return f" {root} is {hyperparameters[root].allowed}: no mapping, which could have {path}."
    inner = [f"{name}.{path}" for name, hyper in hyperparameters.items() if path and hyper.type is dict]
    return nearest(key, (*words, *hyperparameters, *inner))


def with_dotted(hyperparameters: Mapping[str, Hyperparameter], keys: Iterable[str]) -> Mapping[str, Hyperparameter]:
    """Return hyper-parameters with those of the keys that are inside of them, if any."""
    inner = {key: hyper for key in keys if "." in key and (hyper := find(key, hyperparameters))}
    return {**hyperparameters, **inner} if inner else hyperparameters


def check_value(key: str, value: Any, hyperparameters: Mapping[str, Hyperparameter] = HYPERPARAMETERS) -> Any:
    """Return `value` normalised to the type of hyper-parameter `key`, one of those given.

    Numbers may be written as text, as a command line gives them. Raises ConfigError naming the key, the value and
    what is allowed.
    """
    hyper = find(key, hyperparameters)
    if hyper is None:
        raise ConfigError(f"{key}: unknown hyper-parameter.{nearest_key(key, hyperparameters)}")
    if value is None and (hyper.nullable or hyper.type is object):
        return None
    normal = _normalise(key, hyper, value)
    if normal is None:
        shown = json.dumps(value, ensure_ascii=False, default=str)
        raise ConfigError(f"{key}: {shown} is not allowed; allowed: {hyper.allowed}.{_hint(key, hyper, value)}")
    return normal


def _hint(key: str, hyper: Hyperparameter, value: Any) -> str:
    """Return what the user probably means by a value that is not allowed."""
    said = str(value).lower()
    words = ["true", "false"] if hyper.type is bool else ["null"] if hyper.nullable else []
    for word in words:
        off = word == "null" and said in ("false", "no", "off")
        if said == word or said in OTHER_NAMES[word].split() or off:
            return f" Write {word}, without quotes."
    if hyper.type is str and not hyper.choices and isinstance(value, (int, float)):
        return " Write it in quotes."
    hint = nearest(value, hyper.choices)
    if ":" in hyper.own and not hint:
        example = re.sub(r"\.(?=\w+$)", ":", value) if isinstance(value, str) and ":" not in value else ""
        written = f': "{example}".' if ":" in example else "."
        part = {"dataset": "data set", "lr_schedule": "schedule", "metrics": "metric"}.get(key, key)
        hint = f' Your own {part} is written "{hyper.own}"{written}'
    return hint


def _normalise(key: str, hyper: Hyperparameter, value: Any) -> Any:
    """The value in the hyper-parameter's type, or None where it is not allowed."""
    if isinstance(value, str) and value in hyper.choices:
        return value
    if hyper.own and isinstance(value, str) and hyper.type is str:
        return value if re.fullmatch(OWN_FORMS.get(hyper.own, OWN_NAME), value) else None
    if hyper.type is list and hyper.items is str:
        good = isinstance(value, list) and all(isinstance(one, str) and re.fullmatch(OWN_NAME, one) for one in value)
        return value if good else None
    if hyper.type is str:
        usable = isinstance(value, str) and not hyper.choices and 0 < len(value) <= 300 and value.isprintable()
        return str(value) if usable else None
    if hyper.type is bool:
        return value if isinstance(value, bool) else None
    if hyper.type is list and hyper.items is int:
        if not isinstance(value, list):
            return None
        good = all(isinstance(item, int) and not isinstance(item, bool) and item > 0 for item in value)
        return value if good else None
    if hyper.type in (dict, list, object):
        _refuse_ambiguous(key, value)
        allowed = not hyper.values or any(value == one and type(value) is type(one) for one in hyper.values)
        return value if allowed and isinstance(value, hyper.type) and _is_json(value) else None
    return _number(hyper, value)


def _number(hyper: Hyperparameter, value: object) -> int | float | None:
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        text = value.strip()
        value = int(text) if re.fullmatch(r"[-+]?\d{1,18}", text) else float(text)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    if hyper.type is int:
        if value != int(value):
            return None
        value = int(value)
    else:
        value = float(value) + 0.0  # -0.0 and 0.0 are the same setting
    if hyper.low is not None and (value < hyper.low or (hyper.open_low and value == hyper.low)):
        return None
    if hyper.high is not None and (value > hyper.high or (hyper.open_high and value == hyper.high)):
        return None
    return value


def _refuse_ambiguous(where: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _refuse_ambiguous(f"{where}.{key}", item)
    elif isinstance(value, list):
        for item in value:
            _refuse_ambiguous(where, item)
    elif isinstance(value, Ambiguous):
        words = [word for word in ("true", "false") if value.lower() in OTHER_NAMES[word].split()]
        raise ConfigError(f'{where}: {value} is not clear; allowed: {(*words, "a number")[0]}, or "{value}" in quotes')


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return not isinstance(value, dict) or all(isinstance(key, str) for key in value)
