"""Optimizers and learning-rate schedules.

An optimizer (named in registry.py) is called as `optimizer(setting, parameters)`. They are torch's, whose fused kernels
take one pass over all parameters where torch has them. As in torch, `weight_decay` acts on all parameters, biases and
normalization too; it adds `weight_decay * w` to the gradient, except in AdamW. In the formulas `w` are the weights and
`g` is the gradient, this term included.

A schedule is called as `schedule(setting, step, total, steps_per_epoch)`, `step` counting from 0 after warm-up and
`total` being the steps after warm-up, and returns the factor of `lr`.
"""

from __future__ import annotations

import functools
import inspect
import json
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dlsweep.config.identity import Setting
from dlsweep.config.registry import entry
from dlsweep.errors import ConfigError
from dlsweep.tasks.own_code import call_fault, own_object, takes

Parameters = list[nn.Parameter]


def build_optimizer(setting: Setting, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimizer that the setting names."""
    optimizer: torch.optim.Optimizer = entry("optimizer", setting["optimizer"]).load()(setting, list(parameters))
    return optimizer


def _fused(parameters: Parameters) -> bool:
    return parameters[0].device.type in ("cpu", "cuda")  # on others torch has no fused kernel for each of them


def _fused_sgd(s: Setting, p: Parameters) -> bool:
    # When the scaling of fp16 skips the first step, torch 2.14 leaves the momentum of its fused kernel uninitialized.
    return _fused(p) and s["precision"] != "fp16"


def sgd(s: Setting, p: Parameters) -> torch.optim.Optimizer:
    """Gradient descent with momentum (Polyak 1964): v = momentum * v + g, w -= lr * v."""
    return torch.optim.SGD(
        p, lr=s["lr"], momentum=s["momentum"], weight_decay=s["weight_decay"], fused=_fused_sgd(s, p)
    )


def nag(s: Setting, p: Parameters) -> torch.optim.Optimizer:
    """Nesterov's accelerated gradient (Sutskever et al. 2013): v = momentum * v + g, w -= lr * (g + momentum * v)."""
    momentum = s["momentum"]
    return torch.optim.SGD(
        p, s["lr"], momentum, weight_decay=s["weight_decay"], nesterov=momentum > 0, fused=_fused_sgd(s, p)
    )


def adagrad(s: Setting, p: Parameters) -> torch.optim.Optimizer:
    """Adagrad (Duchi et al. 2011): r += g², w -= lr * g / (√r + eps)."""
    return torch.optim.Adagrad(p, lr=s["lr"], eps=s["eps"], weight_decay=s["weight_decay"], fused=_fused(p))


def rmsprop(s: Setting, p: Parameters) -> torch.optim.Optimizer:
    """RMSprop (Hinton 2012, lecture 6e): r = alpha * r + (1 - alpha) * g², w -= lr * g / (√r + eps)."""
    return torch.optim.RMSprop(p, lr=s["lr"], alpha=s["alpha"], eps=s["eps"], weight_decay=s["weight_decay"])


def adadelta(s: Setting, p: Parameters) -> torch.optim.Optimizer:
    """AdaDelta (Zeiler 2012): r = rho * r + (1 - rho) * g², d = √(u + eps) / √(r + eps) * g,
    u = rho * u + (1 - rho) * d², w -= lr * d."""
    return torch.optim.Adadelta(p, lr=s["lr"], rho=s["rho"], eps=s["eps"], weight_decay=s["weight_decay"])


def adam(s: Setting, p: Parameters) -> torch.optim.Optimizer:
    """Adam (Kingma & Ba 2015): m = beta1 * m + (1 - beta1) * g, r = beta2 * r + (1 - beta2) * g²,
    w -= lr * m / (1 - beta1^t) / (√(r / (1 - beta2^t)) + eps)."""
    return torch.optim.Adam(p, s["lr"], (s["beta1"], s["beta2"]), s["eps"], s["weight_decay"], fused=_fused(p))


def adamw(s: Setting, p: Parameters) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019): w *= 1 - lr * weight_decay, then Adam's step without it in the gradient."""
    return torch.optim.AdamW(p, s["lr"], (s["beta1"], s["beta2"]), s["eps"], s["weight_decay"], fused=_fused(p))


def penalty_l1(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Return the sum of the weights' absolute values; biases and norms are left out."""
    return torch.stack([weight.abs().sum() for weight in parameters if weight.ndim > 1]).sum()


def own_optimizer(s: Setting, p: Parameters) -> torch.optim.Optimizer:
    """Build the user's own optimizer, `module:Class`: `Class(parameters, lr=..., weight_decay=..., **optimizer_args)`.

    Without `weight_decay` where the class takes none. Raises ConfigError where the class does not take these arguments,
    makes no torch.optim.Optimizer, or one whose step needs a closure.
    """
    name, given = s["optimizer"], s["optimizer_args"]
    build = own_object("optimizer", name)
    for key in ("lr", "weight_decay"):
        if key in given:
            raise ConfigError(f"optimizer_args: {key} is a key of its own; write {key}: {given[key]} beside optimizer")
    arguments = {"lr": s["lr"], **given}
    if takes(build, "weight_decay"):
        arguments["weight_decay"] = s["weight_decay"]
    elif s["weight_decay"]:
        raise ConfigError(f"weight_decay: {s['weight_decay']:g} is not taken by {name}; allowed here: 0")
    if fault := call_fault(build, p, **arguments):
        called = f"{name}(parameters, {', '.join(arguments)})"
        raise ConfigError(f"optimizer_args: {called}: {fault}; it is called with these and what optimizer_args says")
    optimizer = build(p, **arguments)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ConfigError(f"optimizer: {name} makes {type(optimizer).__name__}, not a torch.optim.Optimizer")
    if call_fault(optimizer.step):
        raise ConfigError(f"optimizer: {name}: its step() needs a closure, which this training does not give")
    return optimizer


# -- learning-rate schedules ---------------------------------------------------------------------------------------


def lr_at(setting: Setting, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of one step, counted from 0 over the whole run.

    Warm-up is linear (Goyal et al. 2017, section 2.2), from lr / n in the first of its n steps to lr in the last.
    """
    warmup: int = setting["warmup_epochs"] * steps_per_epoch
    lr: float = setting["lr"]
    if step < warmup:
        return lr * (step + 1) / warmup
    total = max(setting["epochs"] * steps_per_epoch - warmup, 1)
    schedule = entry("lr_schedule", setting["lr_schedule"]).load()
    return lr * float(schedule(setting, step - warmup, total, steps_per_epoch))


def same_rates(setting: Setting, n_epochs: int, steps_per_epoch: int) -> bool:
    """Say whether a run of so many epochs has the learning rates with which this setting begins, in every step."""
    shorter = {**setting, "epochs": n_epochs}
    return all(
        lr_at(setting, step, steps_per_epoch) == lr_at(shorter, step, steps_per_epoch)
        for step in range(n_epochs * steps_per_epoch)
    )


def own_schedule(s: Setting, step: int, total: int, steps_per_epoch: int) -> float:
    """The user's own schedule, `module:function`: called with those of step, total and steps_per_epoch that it takes.

    And with `lr_schedule_args`. Raises ConfigError where it does not take these, or returns no number from 0.
    """
    name = s["lr_schedule"]
    function, offered = _own_schedule(name, json.dumps(s["lr_schedule_args"]))
    values = {"step": step, "total": total, "steps_per_epoch": steps_per_epoch}
    factor = function(**{key: values[key] for key in offered}, **s["lr_schedule_args"])
    try:
        number = float(factor)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number < math.inf:
        raise ConfigError(
            f"lr_schedule: {name} returns {factor!r} in step {step} of {total}; it must be the factor of lr, a number"
            " from 0"
        )
    return number


@functools.cache
def _own_schedule(name: str, arguments: str) -> tuple[Callable[..., Any], tuple[str, ...]]:
    """The function, and which of the numbers that are offered it takes."""
    function = own_object("lr_schedule", name)
    if inspect.isclass(function):
        raise ConfigError(
            f"lr_schedule: {name} is a class; allowed: a function of step and total that returns a factor"
        )
    offered = tuple(key for key in ("step", "total", "steps_per_epoch") if takes(function, key))
    given = json.loads(arguments)
    if fault := call_fault(function, **dict.fromkeys(offered, 0), **given):
        called = f"{name}({', '.join((*offered, *given))})"
        raise ConfigError(
            f"lr_schedule_args: {called}: {fault}; it is called with those of step, total and steps_per_epoch that it"
            " takes, and what lr_schedule_args says"
        )
    return function, offered


def constant(s: Setting, step: int, total: int, steps_per_epoch: int) -> float:
    """1."""
    return 1.0


def step(s: Setting, step: int, total: int, steps_per_epoch: int) -> float:
    """`lr_gamma` to the number of times that `lr_step` epochs have passed."""
    return float(s["lr_gamma"] ** (step // steps_per_epoch // s["lr_step"]))


def multistep(s: Setting, step: int, total: int, steps_per_epoch: int) -> float:
    """`lr_gamma` to the number of `lr_milestones` passed."""
    epoch = step // steps_per_epoch
    return float(s["lr_gamma"] ** sum(epoch >= milestone for milestone in s["lr_milestones"]))


def exponential(s: Setting, step: int, total: int, steps_per_epoch: int) -> float:
    """`lr_gamma` to the number of epochs passed."""
    return float(s["lr_gamma"] ** (step // steps_per_epoch))


def cosine(s: Setting, step: int, total: int, steps_per_epoch: int) -> float:
    """Half a cosine from 1 to 0 (Loshchilov & Hutter 2017, SGDR, without restarts), step by step."""
    return 0.5 * (1 + math.cos(math.pi * step / total))


def one_cycle(s: Setting, step: int, total: int, steps_per_epoch: int) -> float:
    """From 1/25 up to 1 in 30 % of the steps and down to 1/250,000, both on half a cosine (Smith & Topin 2017).

    The numbers are those of torch's OneCycleLR, whose `max_lr` is `lr`.
    """
    low, lowest, peak = 1 / 25, 1 / 25e4, 0.3 * total - 1
    if step < peak:
        return 1 + (low - 1) * 0.5 * (1 + math.cos(math.pi * step / peak))
    return lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * (step - peak) / (total - 1 - peak)))
