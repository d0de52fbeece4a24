"""Optimizers and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .registry import entry

Setting = Mapping[str, Any]


def build_optimizer(setting: Setting, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimizer that the setting names."""
    return entry("optimizer", setting["optimizer"]).load()(setting, list(parameters))


def sgd(s: Setting, p: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(p, lr=s["lr"], momentum=s["momentum"], weight_decay=s["weight_decay"])


def nag(s: Setting, p: list[nn.Parameter]) -> torch.optim.Optimizer:
    nesterov = s["momentum"] > 0
    return torch.optim.SGD(p, lr=s["lr"], momentum=s["momentum"], weight_decay=s["weight_decay"], nesterov=nesterov)


def adagrad(s: Setting, p: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adagrad(p, lr=s["lr"], eps=s["eps"], weight_decay=s["weight_decay"])


def rmsprop(s: Setting, p: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(p, lr=s["lr"], alpha=s["alpha"], eps=s["eps"], weight_decay=s["weight_decay"])


def adadelta(s: Setting, p: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adadelta(p, lr=s["lr"], rho=s["rho"], eps=s["eps"], weight_decay=s["weight_decay"])


def adam(s: Setting, p: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adam(p, s["lr"], (s["beta1"], s["beta2"]), s["eps"], s["weight_decay"])


def adamw(s: Setting, p: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(p, s["lr"], (s["beta1"], s["beta2"]), s["eps"], s["weight_decay"])


def penalty_l1(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Return the sum of the weights' absolute values; biases and norms are left out."""
    return torch.stack([weight.abs().sum() for weight in parameters if weight.ndim > 1]).sum()


def lr_at(setting: Setting, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of one step, counted from 0 over the whole run."""
    warmup = setting["warmup_epochs"] * steps_per_epoch
    lr: float = setting["lr"]
    if step < warmup:
        return lr * (step + 1) / warmup
    total = max(setting["epochs"] * steps_per_epoch - warmup, 1)
    schedule = entry("lr_schedule", setting["lr_schedule"]).load()
    return lr * float(schedule(setting, step - warmup, total, steps_per_epoch))


def constant(s: Setting, step: int, total: int, steps_per_epoch: int) -> float:
    return 1.0


def step(s: Setting, step: int, total: int, steps_per_epoch: int) -> float:
    return float(s["lr_gamma"] ** (step // steps_per_epoch // s["lr_step"]))


def multistep(s: Setting, step: int, total: int, steps_per_epoch: int) -> float:
    epoch = step // steps_per_epoch
    return float(s["lr_gamma"] ** sum(epoch >= milestone for milestone in s["lr_milestones"]))


def exponential(s: Setting, step: int, total: int, steps_per_epoch: int) -> float:
    return float(s["lr_gamma"] ** (step // steps_per_epoch))


def cosine(s: Setting, step: int, total: int, steps_per_epoch: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * step / total))


def one_cycle(s: Setting, step: int, total: int, steps_per_epoch: int) -> float:
    peak = 0.3 * total
    if step < peak:
        return 0.04 + 0.96 * step / peak
    return max(0.5 * (1 + math.cos(math.pi * (step - peak) / (total - peak))), 4e-6)
