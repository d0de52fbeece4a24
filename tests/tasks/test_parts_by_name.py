"""Losses, optimizers, schedules, metrics and data sets of one's own, by the name of their module."""

import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from conftest import Project, outcome
from dlsweep.config.identity import check_setting, setting_hash
from dlsweep.errors import ConfigError
from dlsweep.results.versions import code_digest, own_modules
from dlsweep.tasks.checkpoint import Checkpoint, Interrupted
from dlsweep.tasks.classification.data import load_splits, prepare
from dlsweep.tasks.classification.optimizers import lr_at
from dlsweep.tasks.classification.own_parts import static_fault
from dlsweep.tasks.classification.training import Trainer
from dlsweep.tasks.classification.trial import try_once

PARTS = """
import numpy as np
import torch
import torch.nn.functional as F


class Sign(torch.optim.Optimizer):
    def __init__(self, params, lr, momentum=0.9):
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                average = self.state[p].setdefault("average", torch.zeros_like(p))
                average.mul_(group["momentum"]).add_(p.grad)
                p.sub_(group["lr"] * average.sign())


class Notes(Sign):
    def state_dict(self):
        return {**super().state_dict(), "notes": object()}


def halve(step, total, steps_per_epoch, gamma=0.5):
    return gamma ** (step // steps_per_epoch)


def rise(step, total):
    return (step + 1) / total


def negative(step):
    return -1


def focal(outputs, targets, gamma=2.0):
    log_p = F.log_softmax(outputs, 1).gather(1, targets[:, None])[:, 0]
    return -((1 - log_p.exp()) ** gamma * log_p).mean()


class Running(torch.nn.Module):
    # beside the mean of the loss so far, which a batch needs of those before it

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.ones(()))

    def forward(self, outputs, y):
        value = F.cross_entropy(outputs, y)
        self.mean.lerp_(value.detach(), 0.1)
        return value / self.mean


class Counted:
    made = 0

    def __init__(self):
        Counted.made += 1

    def __call__(self, outputs, targets):
        return F.cross_entropy(outputs, targets)


def each(outputs, targets):
    return F.cross_entropy(outputs, targets, reduction="none")


def breaks(outputs, targets):
    return outputs @ targets


def top2_acc(outputs, targets):
    return (outputs.topk(2).indices == targets[:, None]).any(1).float().mean()


def spread(outputs, targets):
    return outputs


def blobs(n=90, shift=3.0):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3
    return rng.normal(size=(n, 2)) + shift * y[:, None], y


def tensors():
    x, y = blobs()
    return torch.tensor(x), torch.tensor(y), torch.tensor(x[:30]), torch.tensor(y[:30])


def single():
    return 5


def fails():
    raise ValueError("no such file")
"""


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of that name in the working folder; each test has its own."""
    name = f"parts_{abs(hash(str(tmp_path))) % 10**9}"
    (tmp_path / f"{name}.py").write_text(PARTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name


@pytest.fixture
def make(parts: str, tmp_path: Path) -> Callable[..., Trainer]:
    def make(checkpoint: str = "x", **values: Any) -> Trainer:
        setting = check_setting(
            {"train_size": 100, "n_layer": 1, "hid_dim": 8, "epochs": 3, "batch_size": 25, **values}
        )
        prepare(setting, tmp_path / "data.pt", tmp_path)
        return Trainer(
            setting, load_splits(tmp_path / "data.pt", setting), torch.device("cpu"), Checkpoint(tmp_path / checkpoint)
        )

    return make


def result(run: dict[str, Any]) -> str:
    return json.dumps([run["final"], [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in run["epochs"]]])


# -- what they do --------------------------------------------------------------------------------------------------


def interrupted(make: Any, **values: Any) -> dict[str, Any]:
    """Stop a run within its second epoch, and go on from its checkpoint."""
    torn, steps = make("torn", **values), iter([False] * 5 + [True])
    torn.checkpoint.should_stop = lambda: next(steps)
    with pytest.raises(Interrupted):
        torn.run()
    again = make("torn", **values)
    again.load_checkpoint()
    assert again.progress.resumed == 1
    run: dict[str, Any] = again.run()
    return run


def test_a_published_optimizer_goes_on_from_its_checkpoint_bit_for_bit(make: Any) -> None:
    lion = {"optimizer": "lion_pytorch:Lion", "optimizer_args": {"betas": [0.8, 0.9]}, "lr": 0.003, "weight_decay": 0.1}
    trainer = make(**lion)
    assert trainer.optimizer.defaults == {"lr": 0.003, "betas": [0.8, 0.9], "weight_decay": 0.1}
    whole = trainer.run()
    assert result(interrupted(make, **lion)) == result(whole)
    assert result(make(**{**lion, "optimizer_args": {}}).run()) != result(whole)


def test_sgd_by_its_name_is_the_built_in_one(make: Any) -> None:
    built_in = make(optimizer="sgd", momentum=0.5, lr=0.1, weight_decay=0.01)
    own = make(optimizer="torch.optim:SGD", optimizer_args={"momentum": 0.5, "fused": True}, lr=0.1, weight_decay=0.01)
    assert result(own.run()) == result(built_in.run())


def test_an_own_optimizer_without_weight_decay(make: Any, parts: str) -> None:
    trainer = make(optimizer=f"{parts}:Sign", lr=0.01, epochs=20)
    assert trainer.run()["final"]["test_acc"] > 0.6
    with pytest.raises(ConfigError, match=r"weight_decay: 0\.1 is not taken by .*:Sign; allowed here: 0"):
        make(optimizer=f"{parts}:Sign", weight_decay=0.1)


def test_an_own_schedule_gets_what_it_takes(parts: str) -> None:
    def lrs(function: str, **values: Any) -> list[float]:
        setting = check_setting({"lr_schedule": f"{parts}:{function}", "lr": 1.0, "epochs": 3, **values})
        return [lr_at(setting, step, 2) for step in range(6)]

    assert lrs("halve") == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert lrs("halve", lr_schedule_args={"gamma": 0.1}) == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert lrs("rise", warmup_epochs=1) == pytest.approx([0.5, 1, 0.25, 0.5, 0.75, 1])


def test_an_own_loss_and_its_arguments(make: Any, parts: str) -> None:
    trainer = make(loss=f"{parts}:focal", loss_args={"gamma": 0.0})
    outputs, y = torch.randn(9, 10), torch.arange(9)
    assert trainer.criterion.loss(outputs, y).item() == pytest.approx(F.cross_entropy(outputs, y).item())
    sharper = make(loss=f"{parts}:focal", lr=0.1).run()
    assert sharper["final"]["test_acc"] > 0.2 and sharper["final"]["confusion"]
    make(loss=f"{parts}:Counted")
    assert sys.modules[parts].Counted.made == 1
    module = make(loss="torch.nn:CrossEntropyLoss", loss_args={"label_smoothing": 0.1}, lr=0.1).run()
    built_in = make(label_smoothing=0.1, lr=0.1).run()
    assert module["final"]["test_acc"] == built_in["final"]["test_acc"]


def test_what_an_own_loss_keeps_is_in_the_checkpoint(make: Any, parts: str) -> None:
    own = {"loss": f"{parts}:Running", "lr": 0.1}
    whole = make(**own).run()
    assert result(interrupted(make, **own)) == result(whole)


def test_an_own_metric_is_measured_on_every_split_and_can_be_monitored(make: Any, parts: str) -> None:
    run = make(metrics=[f"{parts}:top2_acc"], monitor="val_top2_acc", lr=0.3, epochs=6).run()
    values = [epoch["val_top2_acc"] for epoch in run["epochs"]]
    assert run["final"]["best_epoch"] == values.index(max(values)) + 1
    assert run["final"]["best_val_top2_acc"] == max(values)
    assert run["final"]["test_acc"] <= run["final"]["test_top2_acc"] <= 1


def test_data_from_a_function(make: Any, parts: str) -> None:
    data = {"dataset": f"{parts}:blobs", "train_size": None, "lr": 0.3, "epochs": 10}
    assert make(**data).run()["final"]["test_acc"] > 0.8
    few = make(**data, dataset_args={"n": 60, "shift": 9.0})
    assert len(few.train_y) + len(few.val_y) + len(few.test_y) == 60
    tensors = make(dataset=f"{parts}:tensors", train_size=None)
    assert len(tensors.test_y) == 30 and tensors.train_x[:].dtype == torch.float32


# -- what is said of their faults ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"optimizer": ":Sgn"}, "optimizer: PARTS.py has no 'Sgn'. Did you mean 'Sign'?"),
        (
            {"optimizer": ":Sign", "optimizer_args": {"beta": 1}},
            "optimizer_args: PARTS:Sign(parameters, lr, beta): got an",
        ),
        ({"optimizer": ":Sign", "optimizer_args": {"lr": 1}}, "lr is a key of its own; write lr: 1 beside optimizer"),
        (
            {"optimizer": ":blobs"},
            "optimizer_args: PARTS:blobs(parameters, lr): got an unexpected keyword argument 'lr'",
        ),
        ({"optimizer": "torch.optim:LBFGS"}, "torch.optim:LBFGS: its step() needs a closure"),
        ({"optimizer": ":Notes"}, "optimizer: PARTS:Notes: its state does not fit in a checkpoint"),
        ({"lr_schedule": ":negative"}, "lr_schedule: PARTS:negative returns -1 in step 0 of 1; it must be the factor"),
        (
            {"lr_schedule": ":halve", "lr_schedule_args": {"g": 1}},
            "lr_schedule_args: PARTS:halve(step, total, steps_per_e",
        ),
        (
            {"lr_schedule": "torch.optim.lr_scheduler:StepLR"},
            "StepLR is a class; allowed: a function of step and total",
        ),
        ({"loss": ":each"}, "loss: PARTS:each returns shape (8,); it must be a tensor of one number"),
        ({"loss": ":breaks"}, "loss: PARTS:breaks (PARTS.py): RuntimeError: "),
        ({"loss": ":breaks"}, "it is called with outputs (8, 10) and targets (8,) and must return their mean loss"),
        (
            {"loss": ":focal", "loss_args": {"gama": 1}},
            "loss_args: PARTS:focal(outputs, targets, gama): got an unexpected",
        ),
        ({"metrics": [":spread"]}, "metrics: PARTS:spread returns shape (8, 10); it must be a number"),
        (
            {"metrics": [":blobs", ":tensors"]},
            "metrics: PARTS:tensors(outputs, targets): too many positional arguments",
        ),
    ],
)
def test_what_does_not_work_is_told_when_it_is_tried(
    parts: str, tmp_path: Path, values: dict[str, Any], told: str
) -> None:
    def named(value: Any) -> Any:
        return f"{parts}{value}" if isinstance(value, str) and value.startswith(":") else value

    values = {
        key: [named(v) for v in value] if isinstance(value, list) else named(value) for key, value in values.items()
    }
    prepare(check_setting({}), tmp_path / "data.pt", tmp_path)
    with pytest.raises(ConfigError) as error:
        try_once(check_setting(values), tmp_path / "data.pt", 1)
    assert told.replace("PARTS", parts) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("single", "dataset: PARTS:single returns a int; allowed: arrays (x_train, y_train) or"),
        ("fails", "dataset: PARTS:fails (PARTS.py): ValueError: no such file (PARTS.py, line"),
        ("missing", "dataset: PARTS.py has no 'missing'"),
    ],
)
def test_a_function_that_returns_no_data_is_told(parts: str, tmp_path: Path, function: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        prepare(check_setting({"dataset": f"{parts}:{function}"}), tmp_path / "x.pt", tmp_path)
    assert told.replace("PARTS", parts) in str(error.value)


@pytest.mark.parametrize(
    ("key", "name", "arguments", "told"),
    [
        (
            "optimizer",
            "Sign",
            {"lrr": 1},
            "optimizer_args: PARTS:Sign (PARTS.py): takes no 'lrr'; it takes lr, momentum",
        ),
        ("optimizer", "Sign", {}, ""),
        ("optimizer", "blobs", {}, "optimizer_args: PARTS:blobs (PARTS.py): takes no 'lr'"),
        ("lr_schedule", "halve", {"gama": 1}, "takes no 'gama'; it takes step, total, steps_per_epoch, gamma. Did you"),
        ("lr_schedule", "rise", {}, ""),
        ("lr_schedule", "focal", {}, "needs 'outputs', 'targets'"),
        ("loss", "focal", {"gama": 1}, "loss_args: PARTS:focal (PARTS.py): takes no 'gama'; it takes gamma"),
        ("loss", "rise", {}, ""),
        ("metrics", "negative", {}, "metrics: PARTS:negative (PARTS.py): takes 1 arguments; it is called with 2"),
        ("dataset", "blobs", {"m": 1}, "dataset_args: PARTS:blobs (PARTS.py): takes no 'm'; it takes n, shift"),
        ("dataset", "blob", {}, "dataset: PARTS.py has no 'blob'. Did you mean 'blobs'?"),
    ],
)
def test_what_is_certain_is_said_without_importing(
    parts: str, key: str, name: str, arguments: dict[str, Any], told: str
) -> None:
    fault = static_fault(key, f"{parts}:{name}", arguments)
    assert told.replace("PARTS", parts) in fault and bool(told) == bool(fault)


def test_the_hash_holds_the_names_and_arguments_and_the_record_the_code(parts: str, tmp_path: Path) -> None:
    values = {"loss": f"{parts}:focal", "optimizer": "torch.optim:SGD", "metrics": [f"{parts}:top2_acc"]}
    setting = check_setting(values)
    assert own_modules(setting) == [parts, "torch.optim"]
    others = [{**values, "loss_args": {"gamma": 1.0}}, {**values, "metrics": []}, {**values, "optimizer": "sgd"}]
    assert len({setting_hash(check_setting(other)) for other in (values, *others)}) == 4
    assert check_setting({"optimizer_args": {"a": 1}, "loss_args": {"a": 1}}) == check_setting({})
    before = code_digest(*own_modules(setting))
    (tmp_path / f"{parts}.py").write_text(PARTS.replace("gamma=2.0", "gamma=3.0"))
    assert before != code_digest(*own_modules(setting)) and code_digest(parts, "nowhere") is None


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"optimizer": "lion"}, 'Your own optimizer is written "module:Class".'),
        ({"optimizer": "my_opt.Lion"}, 'Your own optimizer is written "module:Class": "my_opt:Lion".'),
        ({"loss": "focal"}, 'Your own loss is written "module:function".'),
        ({"metrics": "a:b"}, 'allowed: a list of "module:function"'),
        ({"metrics": ["m:acc"]}, "metrics: m:acc: there is another metric 'acc'; rename the function"),
        ({"metrics": ["m:cost"], "monitor": "val_costs"}, "monitor: val_costs is not measured with loss cross_entropy"),
        ({"metrics": ["m:cost"], "monitor": "val_cost"}, "whether val_cost is to be great or small is not known"),
    ],
)
def test_names_that_are_none_are_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_setting(values)
    assert told in str(error.value)


# -- a whole sweep -------------------------------------------------------------------------------------------------


def test_a_sweep_of_own_parts(tmp_path: Path) -> None:
    """Each is tried once, the runs of one that does not work do not start, and changed code is noticed."""
    project = Project(tmp_path)
    (tmp_path / "mine.py").write_text(PARTS)
    twice = {"grid": {"lr": [0.01, 0.02]}, "figures": []}
    project.configure(
        {
            "defaults": {"dataset": "mine:blobs", "epochs": 2, "n_layer": 1, "hid_dim": 4},
            "experiments": {
                "good": {**twice, "optimizer": "mine:Sign", "lr_schedule": "mine:rise", "loss": "mine:focal"},
                "bad": {**twice, "loss": "mine:breaks"},
                "typo": {**twice, "optimizer": "mine:Sing"},
            },
        }
    )
    done = project.snakemake("good", "bad", "typo")
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "warning: optimizer: mine.py has no 'Sing'. Did you mean 'Sign'? (2 runs cannot start)" in done.stderr
    assert "mine:breaks: 2 runs cannot start: loss: mine:breaks (mine.py): RuntimeError" in done.stderr
    records = project.records()
    assert {record["exp_name"] for record in records.values()} == {"good"} and len(records) == 2
    assert all(math.isfinite(record["final"]["test_acc"]) for record in records.values())
    assert len({record["provenance"]["code"] for record in records.values()}) == 1
    assert project.has_nothing_to_do("good")

    before = {name: outcome(record) for name, record in records.items()}
    (tmp_path / "mine.py").write_text(PARTS.replace("shift=3.0", "shift=4.0"))
    told = project.snakemake("good")
    assert "2 of 2 finished runs were made with other code than mine has now" in told.stderr
    assert "2 of 2 finished runs were made with other data than mine:blobs has now" in told.stderr
    assert {name: outcome(record) for name, record in project.records().items()} == before
    again = project.snakemake("good", "--config", "outdated=redo")
    assert again.returncode == 0, again.stderr
    assert {name: outcome(record) for name, record in project.records().items()} != before


def test_arrays_from_a_function_are_like_those_of_a_file(tmp_path: Path, parts: str) -> None:
    x, y = np.arange(80.0).reshape(20, 4), np.arange(20) % 2
    np.savez(tmp_path / "same.npz", x_train=x, y_train=y)
    (tmp_path / f"{parts}_data.py").write_text(
        "import numpy as np\ndef load():\n    return np.arange(80.0).reshape(20, 4), np.arange(20) % 2\n"
    )
    own = check_setting({"dataset": f"{parts}_data:load"})
    npz = check_setting({"dataset": "npz", "data_path": str(tmp_path / "same.npz")})
    for name, setting in {"own": own, "npz": npz}.items():
        prepare(setting, tmp_path / f"{name}.pt", tmp_path)
    splits = [load_splits(tmp_path / f"{name}.pt", own) for name in ("own", "npz")]
    assert splits[0].digest == splits[1].digest
