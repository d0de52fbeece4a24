"""Losses, and what a split is measured by beside its loss.

A loss (named in registry.py) is called as `loss(setting, outputs, targets)` with the model's outputs (N, K) in
float32, and returns the mean over the batch, a tensor of one number. Targets are classes (N,) int64, several labels an
image (N, K) of 0 and 1, or numbers (N, K), both float32.

`measure_<kind>(loss, outputs, targets)` returns the metrics of a kind of targets (MEASURES in registry.py).
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlsweep.config.identity import Setting
from dlsweep.config.registry import MEASURES, entry
from dlsweep.errors import ConfigError
from dlsweep.tasks.classification.data import Splits
from dlsweep.tasks.classification.images import Rows, mean_std
from dlsweep.tasks.own_code import call_fault, own_object

Metrics = dict[str, float]
Loss = Callable[[Tensor, Tensor], Tensor]
"""Maps outputs and targets of a batch to its mean loss."""


def build_loss(setting: Setting, device: torch.device) -> Loss:
    """Return the loss that the setting names."""
    if ":" in setting["loss"]:
        return own_loss(setting, device)
    return functools.partial(entry("loss", setting["loss"]).load(), setting)


def cross_entropy(s: Setting, outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in nats of the softmax of (N, K) logits, with label smoothing (Szegedy et al. 2016, section 7)."""
    return F.cross_entropy(outputs, targets, label_smoothing=s["label_smoothing"])


def binary_cross_entropy(s: Setting, outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in nats of the sigmoid of each of (N, K) logits, averaged over the labels."""
    return F.binary_cross_entropy_with_logits(outputs, targets)


def mse(s: Setting, outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error."""
    return F.mse_loss(outputs, targets)


def mae(s: Setting, outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean absolute error."""
    return F.l1_loss(outputs, targets)


def huber(s: Setting, outputs: Tensor, targets: Tensor) -> Tensor:
    """Huber's loss (Huber 1964): d² / 2 for a difference d up to `huber_delta`, then delta * (|d| - delta / 2)."""
    return F.huber_loss(outputs, targets, delta=s["huber_delta"])


def own_loss(setting: Setting, device: torch.device) -> Loss:
    """Return the user's own loss, `module:function`, called as `function(outputs, targets, **loss_args)`.

    Or `module:Class`, such as a torch.nn.Module: `Class(**loss_args)(outputs, targets)`. Raises ConfigError where it
    does not take these arguments or returns anything but the tensor of a single number.
    """
    name, arguments = setting["loss"], setting["loss_args"]
    found = own_object("loss", name)
    is_class = inspect.isclass(found)
    positional: tuple[Any, ...] = () if is_class else (None, None)
    if fault := call_fault(found, *positional, **arguments):
        called = ", ".join((*(() if is_class else ("outputs", "targets")), *arguments))
        raise ConfigError(f"loss_args: {name}({called}): {fault}; it is called with these alone")
    function: Callable[..., Any] = found(**arguments) if is_class else functools.partial(found, **arguments)
    if isinstance(function, nn.Module):
        function.to(device)
        if any(weight.requires_grad for weight in function.parameters()):
            raise ConfigError(f"loss: {name} has parameters of its own, which are not trained; put them in the model")

    return OwnLoss(name, function)


class OwnLoss:
    """A loss of the user's, whose value is checked at each call."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name, self.function = name, function

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        value = self.function(outputs, targets)
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.is_floating_point():
            what = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ConfigError(
                f"loss: {self.name} returns {what}; it must be a tensor of one number, the mean over the batch"
            )
        if outputs.requires_grad and not value.requires_grad:
            raise ConfigError(
                f"loss: {self.name} returns what does not depend on the outputs, so nothing can be learned"
            )
        return value.reshape(())


def own_metric(name: str) -> Callable[[Tensor, Tensor], float]:
    """Return the user's own metric, `module:function`, called as `function(outputs, targets)` with tensors on the CPU.

    Raises ConfigError where it does not take these, or returns no number.
    """
    function = own_object("metrics", name)
    if fault := call_fault(function, None, None):
        raise ConfigError(f"metrics: {name}(outputs, targets): {fault}; it is called with these two alone")

    def measure(outputs: Tensor, targets: Tensor) -> float:
        value = function(outputs, targets)
        try:
            return float(value)
        except (TypeError, ValueError, RuntimeError):
            what = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ConfigError(f"metrics: {name} returns {what}; it must be a number") from None

    return measure


class Criterion:
    """What a run minimises, and what its splits are measured by.

    Numbers are learned with mean 0 and standard deviation 1 where the setting normalises them; all metrics but the loss
    are in their own unit.
    """

    def __init__(self, setting: Setting, data: Splits, device: torch.device) -> None:
        self.setting, self.kind = setting, data.kind
        self._loss = build_loss(setting, device)
        own = self._loss.function if isinstance(self._loss, OwnLoss) else None
        self._stateful: Any = own if hasattr(own, "state_dict") and hasattr(own, "load_state_dict") else None
        self._measured = self._loss  # without smoothing; an own loss is made once
        if setting.get("label_smoothing"):
            self._measured = build_loss({**setting, "label_smoothing": 0.0}, device)
        self._own = {name.partition(":")[2]: own_metric(name) for name in setting["metrics"]}
        self._scale: tuple[Tensor, Tensor] | None = None
        if setting.get("normalise_targets"):
            mean, std = mean_std(Rows(data.train_y))
            self._scale = mean.to(device), std.to(device)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of what a split is measured by, the loss first."""
        return (*MEASURES[self.kind], *self._own)

    def about(self) -> dict[str, Any]:
        """Return what maps the model's outputs to numbers in their own unit, as JSON has it; empty without."""
        if self._scale is None:
            return {}
        mean, std = self._scale
        return {"target_mean": mean.tolist(), "target_std": std.tolist()}

    def state_dict(self) -> dict[str, Any]:
        """Return what an own loss keeps from batch to batch, such as the buffers of a module; empty without."""
        return self._stateful.state_dict() if self._stateful else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what `state_dict` returned."""
        if self._stateful:
            self._stateful.load_state_dict(state)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch in training."""
        return self._loss(outputs, self._scaled(targets))

    @torch.no_grad()
    def measure(self, outputs: Tensor, targets: Tensor) -> Metrics:
        """Return the metrics of a split. Where the loss is not finite the others are NaN.

        The argmax of NaN is class 0, which nobody predicted.
        """
        loss = self._measured(outputs, self._scaled(targets))
        if self._scale:
            mean, std = self._scale
            outputs = outputs * std + mean
        found = _MEASURES[self.kind](loss, outputs, targets)
        found |= {name: function(outputs.cpu(), targets.cpu()) for name, function in self._own.items()}
        return found if math.isfinite(found["loss"]) else {**dict.fromkeys(found, math.nan), "loss": found["loss"]}

    def _scaled(self, targets: Tensor) -> Tensor:
        if self._scale is None:
            return targets
        mean, std = self._scale
        return (targets - mean) / std


# -- metrics -------------------------------------------------------------------------------------------------------


def measure_classes(loss: Tensor, outputs: Tensor, targets: Tensor) -> Metrics:
    """Return the loss and the accuracy in [0, 1]."""
    value, correct = torch.stack([loss, (outputs.argmax(1) == targets).sum()]).tolist()  # one wait for the device
    return {"loss": value, "acc": correct / len(targets)}


def measure_numbers(loss: Tensor, outputs: Tensor, targets: Tensor) -> Metrics:
    """Return the loss, the mean absolute error, the root of the mean squared error, and R², the explained share.

    Of several outputs each is the mean over them, as in scikit-learn. R² is 1 minus the squared error over that of the
    split's mean; NaN where the targets are all the same.
    """
    truth = targets.cpu().double()
    error = outputs.cpu().double() - truth
    spread = (truth - truth.mean(0)).square().sum(0)
    return {
        "loss": loss.item(),
        "mae": error.abs().mean().item(),
        "rmse": error.square().mean(0).sqrt().mean().item(),
        "r2": (1 - error.square().sum(0) / spread).mean().item() if bool((spread > 0).all()) else math.nan,
    }


def measure_labels(loss: Tensor, outputs: Tensor, targets: Tensor) -> Metrics:
    """Return the loss, F1 over all labels and its mean over them, average precision and AUROC, means over the labels.

    A label counts as predicted where its logit is above 0. A label that all or none of the images have takes no part in
    the AUROC, and one that none has none in the average precision; NaN where no label is left.
    """
    scores, truth = outputs.cpu().double(), targets.cpu().double()
    predicted = (scores > 0).double()
    hits, sizes = (predicted * truth).sum(0), predicted.sum(0) + truth.sum(0)
    ranked = [_ranked(score, label) for score, label in zip(scores.T, truth.T, strict=True)]
    return {
        "loss": loss.item(),
        "f1": _ratio(2 * hits.sum(), sizes.sum()),
        "f1_macro": _mean([_ratio(2 * hit, size) for hit, size in zip(hits, sizes, strict=True)]),
        "ap": _mean([average_precision(*one) for one in ranked]),
        "auroc": _mean([auroc(*one) for one in ranked]),
    }


def _ranked(scores: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Return, for each threshold from high to low, how many images with the label and how many without are above."""
    order = scores.argsort(descending=True, stable=True)
    last = torch.cat([scores[order].diff() != 0, torch.ones(1, dtype=torch.bool)])  # of those with the same score
    return truth[order].cumsum(0)[last], (1 - truth[order]).cumsum(0)[last]


def average_precision(right: Tensor, wrong: Tensor) -> float:
    """Return the sum of precision times the step in recall over all thresholds, without interpolation.

    As in scikit-learn's average_precision_score; `right` and `wrong` are the true and the false positives.
    """
    if right[-1] == 0:
        return math.nan
    steps = right.diff(prepend=torch.zeros(1, dtype=right.dtype)) / right[-1]
    return float((steps * right / (right + wrong)).sum())


def auroc(right: Tensor, wrong: Tensor) -> float:
    """Return the area under the curve of true over false positives (trapezoids): P(score with > score without)."""
    if right[-1] == 0 or wrong[-1] == 0:
        return math.nan
    zero = torch.zeros(1, dtype=right.dtype)
    return float(torch.trapezoid(torch.cat([zero, right]) / right[-1], torch.cat([zero, wrong]) / wrong[-1]))


def _ratio(part: Tensor, whole: Tensor) -> float:
    return float(part / whole) if whole > 0 else 0.0


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


_MEASURES: dict[str, Callable[[Tensor, Tensor, Tensor], Metrics]] = {
    "classes": measure_classes,
    "labels": measure_labels,
    "numbers": measure_numbers,
}
