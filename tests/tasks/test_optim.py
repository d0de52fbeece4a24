"""Optimizers against their formulas in numpy, schedules against torch's own classes."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as reference

from dlsweep.config.identity import check_setting
from dlsweep.config.registry import LR_SCHEDULES, OPTIMIZERS
from dlsweep.tasks.classification.optimizers import build_optimizer, lr_at

Array = np.ndarray
Update = Callable[[dict[str, Any], Array, Array, dict[str, Array], int], Array]


def running(state: dict[str, Array], name: str, decay: float, value: Array) -> Array:
    state[name] = decay * state.get(name, np.zeros_like(value)) + value
    return state[name]


def sgd(s: dict, w: Array, g: Array, state: dict, t: int) -> Array:
    return w - s["lr"] * running(state, "v", s["momentum"], g)


def nag(s: dict, w: Array, g: Array, state: dict, t: int) -> Array:
    return w - s["lr"] * (g + s["momentum"] * running(state, "v", s["momentum"], g))


def adagrad(s: dict, w: Array, g: Array, state: dict, t: int) -> Array:
    return w - s["lr"] * g / (np.sqrt(running(state, "r", 1, g * g)) + s["eps"])


def rmsprop(s: dict, w: Array, g: Array, state: dict, t: int) -> Array:
    r = running(state, "r", s["alpha"], (1 - s["alpha"]) * g * g)
    return w - s["lr"] * g / (np.sqrt(r) + s["eps"])


def adadelta(s: dict, w: Array, g: Array, state: dict, t: int) -> Array:
    r = running(state, "r", s["rho"], (1 - s["rho"]) * g * g)
    delta = np.sqrt(state.get("u", np.zeros_like(g)) + s["eps"]) / np.sqrt(r + s["eps"]) * g
    running(state, "u", s["rho"], (1 - s["rho"]) * delta * delta)
    return w - s["lr"] * delta


def adam(s: dict, w: Array, g: Array, state: dict, t: int) -> Array:
    m = running(state, "m", s["beta1"], (1 - s["beta1"]) * g) / (1 - s["beta1"] ** t)
    r = running(state, "r", s["beta2"], (1 - s["beta2"]) * g * g) / (1 - s["beta2"] ** t)
    return w - s["lr"] * m / (np.sqrt(r) + s["eps"])


FORMULAS: dict[str, Update] = {
    "sgd": sgd,
    "momentum": sgd,
    "nag": nag,
    "adagrad": adagrad,
    "rmsprop": rmsprop,
    "adadelta": adadelta,
    "adam": adam,
    "adamw": adam,
}

OTHER_VALUES = {
    "sgd": {"momentum": 0.7},
    "nag": {"momentum": 0.0},
    "adagrad": {"eps": 1e-3},
    "rmsprop": {"alpha": 0.8, "eps": 1e-3},
    "adadelta": {"rho": 0.5, "lr": 0.5},
    "adam": {"beta1": 0.5, "beta2": 0.9},
    "adamw": {"beta1": 0.5, "beta2": 0.9, "eps": 1e-4},
}


def cases() -> Iterator[dict[str, Any]]:
    for name in OPTIMIZERS:
        yield {"optimizer": name}
        yield {"optimizer": name, "weight_decay": 0.1, **OTHER_VALUES.get(name, {})}


class Formula:
    """A matrix and a vector, and what the formula makes of them step by step."""

    def __init__(self, values: dict[str, Any], dtype: torch.dtype) -> None:
        self.setting, self.dtype = check_setting(values), dtype
        self.draw = np.random.default_rng(0)
        self.weights = [self.draw.normal(size=(5, 3)), self.draw.normal(size=7)]
        self.parameters = [torch.nn.Parameter(torch.tensor(w, dtype=dtype)) for w in self.weights]
        self.states: list[dict[str, Array]] = [{}, {}]
        self.optimizer = build_optimizer(self.setting, self.parameters)

    def step(self, t: int, lr: float, scale: float = 1.0) -> None:
        """Give the parameters a new gradient, `scale` times too large, and do the formula's step number `t`."""
        s = {**self.setting, "lr": lr}
        self.optimizer.param_groups[0]["lr"] = lr
        for i, parameter in enumerate(self.parameters):
            g = self.draw.normal(size=self.weights[i].shape)
            parameter.grad = torch.tensor(g * scale, dtype=self.dtype)
            if s["optimizer"] == "adamw":
                self.weights[i] = self.weights[i] * (1 - lr * s["weight_decay"])
            else:
                g = g + s["weight_decay"] * self.weights[i]
            self.weights[i] = FORMULAS[s["optimizer"]](s, self.weights[i], g, self.states[i], t)

    def compare(self) -> None:
        precise = self.dtype == torch.float64
        tolerance = {"rtol": 1e-10, "atol": 1e-13} if precise else {"rtol": 2e-5, "atol": 2e-6}
        for parameter, w in zip(self.parameters, self.weights, strict=True):
            np.testing.assert_allclose(parameter.detach().numpy(), w, **tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("values", list(cases()), ids=str)
def test_steps_follow_the_formula(values: dict[str, Any], dtype: torch.dtype):
    """The learning rate changes half way, as a schedule does it."""
    formula = Formula(values, dtype)
    for t in range(1, 13):
        formula.step(t, formula.setting["lr"] * (1 if t < 7 else 0.3))
        formula.optimizer.step()
        formula.compare()


@pytest.mark.parametrize("values", list(cases()), ids=str)
def test_a_step_that_overflows_in_fp16_is_as_if_it_had_not_been(values: dict[str, Any]):
    formula = Formula({**values, "precision": "fp16"}, torch.float32)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024)
    scaler.scale(torch.zeros(1))
    t = 0
    for overflows in (True, True, False, False, True, False):
        if overflows:
            for parameter in formula.parameters:
                parameter.grad = torch.full_like(parameter, math.inf)
        else:
            t += 1
            formula.step(t, formula.setting["lr"], scaler.get_scale())
        scaler.step(formula.optimizer)
        scaler.update()
        formula.compare()
    assert scaler.get_scale() == 128


def test_every_optimizer_has_a_formula_here():
    assert set(FORMULAS) == set(OPTIMIZERS)


# -- schedules -----------------------------------------------------------------------------------------------------

EPOCHS, STEPS = 10, 7

SCHEDULES: dict[str, tuple[dict[str, Any], Callable[[torch.optim.Optimizer, int], Any], bool]] = {
    # name: (its hyper-parameters, torch's class on an optimizer for so many steps, does it step once an epoch?)
    "constant": ({}, lambda o, n: reference.ConstantLR(o, factor=1.0), True),
    "step": ({"lr_step": 3, "lr_gamma": 0.5}, lambda o, n: reference.StepLR(o, 3, 0.5), True),
    "multistep": (
        {"lr_milestones": [2, 5, 6], "lr_gamma": 0.2},
        lambda o, n: reference.MultiStepLR(o, [2, 5, 6], 0.2),
        True,
    ),
    "exponential": ({"lr_gamma": 0.9}, lambda o, n: reference.ExponentialLR(o, 0.9), True),
    "cosine": ({}, lambda o, n: reference.CosineAnnealingLR(o, n), False),
    "one_cycle": ({}, lambda o, n: reference.OneCycleLR(o, 0.4, total_steps=n, cycle_momentum=False), False),
}


@pytest.mark.parametrize("warmup_epochs", [0, 2])
@pytest.mark.parametrize("name", LR_SCHEDULES)
def test_schedule_is_that_of_torch(name: str, warmup_epochs: int):
    values, build, once_an_epoch = SCHEDULES[name]
    s = check_setting({"lr_schedule": name, "lr": 0.4, "epochs": EPOCHS, "warmup_epochs": warmup_epochs, **values})
    found = [lr_at(s, step, STEPS) for step in range(EPOCHS * STEPS)]

    n_warmup = warmup_epochs * STEPS
    expected = []
    if n_warmup:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)
        warmup = reference.LinearLR(optimizer, start_factor=1 / n_warmup, total_iters=n_warmup - 1)
        for _ in range(n_warmup):
            expected.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            warmup.step()
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)
    n = EPOCHS * STEPS - n_warmup
    scheduler = build(optimizer, n)
    for step in range(1, n + 1):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if (step % STEPS == 0 or not once_an_epoch) and step < n:
            scheduler.step()
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("total", [1, 2, 3, 10])
def test_one_cycle_of_few_steps(total: int):
    s = check_setting({"lr_schedule": "one_cycle", "lr": 1.0, "epochs": total})
    factors = [lr_at(s, step, 1) for step in range(total)]
    assert factors[-1] == pytest.approx(4e-6)
    assert all(4e-6 <= factor <= 1 for factor in factors)


def test_a_run_that_is_all_warm_up():
    s = check_setting({"lr": 1.0, "epochs": 2, "warmup_epochs": 4, "lr_schedule": "cosine"})
    assert [lr_at(s, step, 2) for step in range(4)] == [1 / 8, 2 / 8, 3 / 8, 4 / 8]
