"""Training against a plain loop written out here, metrics against scikit-learn, random streams, determinism."""

import copy
import hashlib
import itertools
import json
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch
import torch.nn.functional as F
from torch import Tensor

from conftest import LIMIT, ROOT, Project, outcome, wait_for
from dlsweep.config.identity import check_setting
from dlsweep.errors import ConfigError
from dlsweep.files import strict
from dlsweep.tasks.checkpoint import Checkpoint
from dlsweep.tasks.classification import images, training
from dlsweep.tasks.classification.data import Splits, load_splits, prepare
from dlsweep.tasks.classification.images import Rows
from dlsweep.tasks.classification.mapped import read_soon
from dlsweep.tasks.classification.training import Trainer

CPU = torch.device("cpu")
SMALL = {"train_size": 100, "n_layer": 1, "hid_dim": 8, "epochs": 2, "batch_size": 32}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "digits.pt"
    prepare(check_setting({}), path, Path("data"))
    return path


@pytest.fixture
def make(digits: Path, tmp_path: Path):
    def make(**values: Any) -> Trainer:
        setting = check_setting({**SMALL, **values})
        return Trainer(setting, load_splits(digits, setting), CPU, Checkpoint(tmp_path / "checkpoint.pt"))

    return make


# -- the step ------------------------------------------------------------------------------------------------------


def plain_loop(trainer: Trainer, order: list[Tensor]) -> dict[str, Any]:
    """One epoch as a textbook has it, for sgd: what the trainer should have done with batches in this order."""
    s = trainer.setting
    model = copy.deepcopy(trainer.model).train()
    weights = dict(model.named_parameters())
    losses, hits, norms = [], [], []
    layers: dict[str, list[float]] = {name: [] for name, w in weights.items() if w.ndim > 1}
    for batch in order:
        x, y = trainer.train_x[batch], trainer.train_y[batch]
        log_p = model(x).log_softmax(1)
        losses += (-log_p[torch.arange(len(y)), y]).tolist()
        hits += (log_p.argmax(1) == y).tolist()
        smooth = s["label_smoothing"]
        target = F.one_hot(y, 10) * (1 - smooth) + smooth / 10
        objective = -(target * log_p).sum(1).mean()
        objective = objective + s["l1"] * sum(weights[name].abs().sum() for name in layers)
        gradients = torch.autograd.grad(objective, list(weights.values()))
        norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients))
        norms.append(norm)
        for name, g in zip(weights, gradients, strict=True):
            if name in layers:
                layers[name].append(float(g.abs().mean()))
        scale = min(1.0, s["grad_clip"] / norm) if s["grad_clip"] else 1.0
        with torch.no_grad():
            for w, g in zip(weights.values(), gradients, strict=True):
                w -= s["lr"] * (scale * g + s["weight_decay"] * w)
    return {
        "weights": {name: w.detach() for name, w in weights.items()},
        "train_loss": np.mean(losses),
        "train_acc": np.mean(hits),
        "grad_norm": np.mean(norms),
        "layer_gradients": {name: np.mean(values) for name, values in layers.items()},
    }


def batches_of(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> list[list[Tensor]]:
    """Train to the end and return the indices of the images in each batch of each epoch, as they were drawn."""
    drawn: list[Tensor] = []
    draw = torch.randperm

    def remember(n: int, **keywords: Any) -> Tensor:
        drawn.append(draw(n, **keywords))
        return drawn[-1]

    with monkeypatch.context() as patch:
        patch.setattr(torch, "randperm", remember)
        trainer.run()
    assert len(drawn) == trainer.setting["epochs"]
    return [list(order.split(trainer.batch_size))[: trainer.steps_per_epoch] for order in drawn]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"batch_size": "full", "lr": 0.5},
        {"batch_size": 33},  # 100 images: the last one alone is left out
        {"label_smoothing": 0.1, "weight_decay": 0.1},
        {"l1": 0.01, "grad_clip": 0.05},
        {"grad_clip": 0.3, "weight_decay": 0.05, "l1": 0.001, "label_smoothing": 0.2, "batch_norm": True},
        {"model": "cnn", "channels": 4, "n_block": 2, "init": "kaiming_normal", "channels_last": True},
    ],
    ids=str,
)
def test_an_epoch_is_the_plain_loop(make, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any]):
    trainer = make(**{"lr": 0.1, "epochs": 1, "log_gradients": True, **values})
    before = copy.copy(trainer)
    before.model = copy.deepcopy(trainer.model)
    (order,) = batches_of(trainer, monkeypatch)
    expected = plain_loop(before, order)
    found = trainer.progress.epochs[0]
    for name, weight in trainer.model.named_parameters():
        torch.testing.assert_close(weight.detach(), expected["weights"][name], rtol=1e-4, atol=1e-6)
    for name in ("train_loss", "train_acc", "grad_norm"):
        assert found[name] == pytest.approx(expected[name], rel=1e-4), name
    assert found["layer_gradients"] == pytest.approx(expected["layer_gradients"], rel=1e-4)
    n_seen = sum(len(batch) for batch in order)
    assert n_seen == (99 if values.get("batch_size") == 33 else 100)
    assert len(torch.cat(order).unique()) == n_seen


def test_the_deep_sigmoid_network_loses_its_gradient(make):
    """What `log_gradients` is there to show: Glorot & Bengio 2010, section 3."""
    trainer = make(n_layer=6, act="sigmoid", log_gradients=True, epochs=1)
    gradients = list(trainer.run()["epochs"][0]["layer_gradients"].values())
    assert len(gradients) == 7
    assert gradients[0] < 1e-3 * gradients[-1]


class EverySecond(torch.nn.Module):
    """Leaves its first layer out of every second step, as stochastic depth (Huang et al. 2016) does by chance."""

    def __init__(self, in_shape: tuple[int, ...], n_classes: int) -> None:
        super().__init__()
        self.first, self.last, self.steps = torch.nn.Linear(64, 64), torch.nn.Linear(64, n_classes), 0

    def forward(self, x: Tensor) -> Tensor:
        self.steps += self.training
        x = x.flatten(1)
        return self.last(self.first(x) if self.steps % 2 else x)


def test_a_layer_left_out_of_a_step_has_no_gradient_there(make, monkeypatch: pytest.MonkeyPatch):
    trainer = make(model=f"{__name__}:EverySecond", log_gradients=True, epochs=1, train_size=64)
    model = copy.deepcopy(trainer.model).train()
    ((batch, _),) = batches_of(trainer, monkeypatch)
    F.cross_entropy(model(trainer.train_x[batch]), trainer.train_y[batch]).backward()
    found = trainer.progress.epochs[0]["layer_gradients"]
    assert found["first.weight"] == pytest.approx(float(model.first.weight.grad.abs().mean()) / 2, rel=1e-4)
    assert found["last.weight"] > 0


# -- precision and memory format -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_half_precision_is_that_of_the_forward_pass(make, precision: str, dtype: torch.dtype):
    trainer = make(precision=precision, n_layer=2)
    x = trainer.train_x[:16]
    h = x.flatten(1).to(dtype)
    linear = [layer for layer in trainer.model.modules() if isinstance(layer, torch.nn.Linear)]
    for layer in linear[:-1]:
        h = F.linear(h, layer.weight.to(dtype), layer.bias.to(dtype)).relu()
    with trainer.autocast():
        logits = trainer.model(x)
    assert logits.dtype == dtype
    assert torch.equal(logits, F.linear(h, linear[-1].weight.to(dtype), linear[-1].bias.to(dtype)))
    assert {weight.dtype for weight in trainer.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("optimizer", ["momentum", "adam", "rmsprop"])
def test_half_precision_trains_as_fp32_does_but_for_rounding(make, precision: str, optimizer: str):
    """The loss of fp16 is scaled by 65536, which must not be seen in gradients, clipping or steps."""
    common = {"optimizer": optimizer, "log_gradients": True, "grad_clip": 0.5, "lr": 0.001, "epochs": 3}
    half, single = (make(precision=name, **common).run() for name in (precision, "fp32"))
    for a, b in zip(half["epochs"], single["epochs"], strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=0.01)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=0.05)
    assert half["epochs"] != single["epochs"]


def test_fp16_leaves_out_steps_that_overflow(make):
    trainer = make(precision="fp16", batch_size="full", epochs=1, log_gradients=True)
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    weights = copy.deepcopy(trainer.model.state_dict())
    assert math.isnan(trainer.run()["epochs"][0]["grad_norm"])
    assert all(torch.equal(weights[name], weight) for name, weight in trainer.model.state_dict().items())
    assert trainer.scaler.get_scale() == 2.0**39


def test_tf32_needs_a_gpu(make):
    with pytest.raises(ConfigError, match=r"precision: tf32 needs an NVIDIA GPU .* on cpu; allowed here: fp32"):
        make(precision="tf32")


def test_channels_last_reaches_the_convolutions(make):
    trainer = make(model="cnn", channels_last=True, random_crop=1)
    seen = []
    first = next(layer for layer in trainer.model.modules() if isinstance(layer, torch.nn.MaxPool2d))
    first.register_forward_hook(lambda layer, x, y: seen.append(y.is_contiguous(memory_format=torch.channels_last)))
    trainer.run()
    assert seen and all(seen)


def test_a_compiled_model_trains_the_same_but_for_rounding(make, monkeypatch: pytest.MonkeyPatch):
    compile_model, compiled = torch.compile, []
    monkeypatch.setattr(torch, "compile", lambda model: compiled.append(compile_model(model)) or compiled[0])
    common = {"epochs": 3, "optimizer": "momentum", "label_smoothing": 0.1}
    ours, eager = make(compile=True, **common).run(), make(**common).run()
    assert len(compiled) == 1 and torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    for a, b in zip(ours["epochs"], eager["epochs"], strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-4)
        assert a["val_loss"] == pytest.approx(b["val_loss"], rel=1e-4)


# -- metrics and what ends a run -----------------------------------------------------------------------------------


def test_final_metrics_are_those_of_scikit_learn(make):
    trainer = make(epochs=3, lr=0.3, train_size=400, dropout=0.1)
    outcome = trainer.run()
    with torch.no_grad():
        p = trainer.model.eval()(trainer.test_x[:]).double().softmax(1).numpy()
    y, predicted, final = trainer.test_y.numpy(), p.argmax(1), outcome["final"]
    assert final["confusion"] == sklearn.metrics.confusion_matrix(y, predicted).tolist()
    recall = sklearn.metrics.recall_score(y, predicted, average=None)
    assert final["per_class_acc"] == pytest.approx(recall.tolist(), rel=1e-12)
    assert final["test_acc"] == pytest.approx(sklearn.metrics.accuracy_score(y, predicted), rel=1e-12)
    assert final["test_loss"] == pytest.approx(sklearn.metrics.log_loss(y, p), rel=1e-5)
    assert len(set(final["per_class_acc"])) > 2  # otherwise the comparison shows little

    with torch.no_grad():
        p = trainer.model(trainer.train_x[:]).double().softmax(1).numpy()
    y = trainer.train_y.numpy()
    assert final["tested_train_acc"] == pytest.approx(sklearn.metrics.accuracy_score(y, p.argmax(1)), rel=1e-12)
    assert final["tested_train_loss"] == pytest.approx(sklearn.metrics.log_loss(y, p), rel=1e-5)
    assert final["tested_train_acc"] != outcome["epochs"][-1]["train_acc"]  # which is measured during the epoch

    with torch.no_grad():
        p = trainer.model(trainer.val_x[:]).double().softmax(1).numpy()
    last = outcome["epochs"][-1]
    assert last["val_acc"] == pytest.approx(sklearn.metrics.accuracy_score(trainer.val_y, p.argmax(1)), rel=1e-12)
    assert last["val_loss"] == pytest.approx(sklearn.metrics.log_loss(trainer.val_y, p), rel=1e-5)


def test_a_class_without_test_images_has_no_accuracy(make, tmp_path: Path):
    data = make().__dict__
    few = Splits(
        *(
            tensor
            for part, n in (("train", 100), ("val", 50), ("test", 3))
            for tensor in (Rows(data[f"{part}_x"][:n]), data[f"{part}_y"][:n])
        ),
        torch.zeros(1),
        torch.ones(1),
        [str(i) for i in range(10)],
    )
    final = Trainer(check_setting({**SMALL, "epochs": 1}), few, CPU, Checkpoint(tmp_path / "x.pt")).run()["final"]
    present = set(few.test_y.tolist())
    assert [i for i, value in enumerate(final["per_class_acc"]) if math.isfinite(value)] == sorted(present)


def test_evaluation_in_parts_is_evaluation_at_once(make):
    trainer = make(batch_norm=True)
    whole = trainer.evaluate(trainer.test_x, trainer.test_y)
    trainer.evaluated_at_once = 10
    metrics, outputs = trainer.evaluate(trainer.test_x, trainer.test_y)
    assert metrics == pytest.approx(whole[0], rel=1e-5) and metrics["acc"] == whole[0]["acc"]
    assert torch.equal(outputs.argmax(1), whole[1].argmax(1))


def test_data_larger_than_the_memory_train_the_same(make, monkeypatch: pytest.MonkeyPatch):
    """What comes next is read ahead: waiting for each image in turn took a run ten times as long."""
    monkeypatch.setattr(training, "GATHERED_BYTES", 4 * 64 * 40)  # 40 images
    fits = make(epochs=1, batch_size=4).run()
    asked: list[list[int]] = []
    monkeypatch.setattr(images, "free_memory", lambda: 0)
    monkeypatch.setattr(images, "read_soon", lambda x, rows: (asked.append(rows), read_soon(x, rows)))
    trainer = make(epochs=1, batch_size=4)
    stored = trainer.train_x.rows.chosen
    (order,) = batches_of(trainer, monkeypatch)
    following = torch.cat(order)[40:]
    assert [row for rows in asked[:3] for row in rows] == stored[following].tolist()
    again = make(epochs=1, batch_size=4).run()
    assert again["final"] == fits["final"]
    assert again["epochs"][0]["train_loss"] == fits["epochs"][0]["train_loss"]


@pytest.mark.parametrize(
    ("monitor", "patience", "ends"),
    [("val_loss", 2, 4), ("val_loss", 3, 7), ("val_acc", 2, 5), ("val_acc", 1, 2), ("val_loss", None, 8)],
)
def test_early_stopping_counts_epochs_without_a_better_one(make, monitor: str, patience: int | None, ends: int):
    losses = [0.9, 0.5, 0.6, 0.5, 0.4, 0.5, 0.5, 0.45]
    accs = [0.5, 0.5, 0.7, 0.7, 0.6, 0.7, 0.8, 0.6]
    if (monitor, patience) == ("val_loss", 3):
        losses = [0.9, 0.5, 0.6, 0.4, 0.4, 0.5, 0.5, 0.45]
    trainer = make(monitor=monitor, patience=patience, epochs=8)
    for epoch, (loss, acc) in enumerate(zip(losses, accs, strict=True), 1):
        trainer.progress.epochs.append({"epoch": epoch, "train_loss": 0.1, "val_loss": loss, "val_acc": acc})
        if trainer.status() != "running":
            break
    assert len(trainer.progress.epochs) == ends
    assert trainer.status() == ("finished" if ends == 8 else "stopped_early")


@pytest.mark.parametrize("monitor", ["val_loss", "val_acc"])
def test_the_weights_of_the_best_epoch_are_tested(make, monitor: str):
    """On a run that gets worse again: the same run cut short at its best epoch has these weights."""
    common = {"lr": 0.9, "optimizer": "momentum", "train_size": 60, "monitor": monitor}
    trainer = make(epochs=12, test_weights="best", **common)
    final = trainer.run()["final"]
    best = final["best_epoch"]
    assert best < 12
    short = make(epochs=best, **common).run()
    for name in ("test_loss", "test_acc", "confusion", "best_val_loss", "best_val_acc"):
        assert final[name] == short["final"][name], name
    assert make(epochs=12, **common).run()["final"]["test_loss"] != final["test_loss"]


def test_a_run_that_diverges(make):
    outcome = make(lr=1e6, n_layer=3, act="identity", epochs=9).run()
    assert outcome["status"] == "diverged" and len(outcome["epochs"]) < 9
    assert outcome["final"]["test_acc"] is None and outcome["final"]["confusion"] is None


def test_predictions_that_are_not_finite_have_no_accuracy(make, monkeypatch: pytest.MonkeyPatch):
    """The argmax of NaN is class 0, so that a run that diverged was as good as class 0 is frequent."""
    trainer = make(lr=1e6, n_layer=3, act="identity", epochs=9, test_weights="best", monitor="val_acc", patience=1)
    outcome = trainer.run()
    last, final = strict(outcome["epochs"][-1]), strict(outcome["final"])
    assert outcome["status"] == "diverged" and last["val_loss"] is None
    assert last["val_acc"] is None and last["train_acc"] is None
    *before, _ = outcome["epochs"]
    assert all(0 <= epoch["val_acc"] <= 1 for epoch in before if math.isfinite(epoch["val_loss"]))
    assert final["best_val_acc"] is None or math.isfinite(final["best_val_acc"])
    for bad in (math.nan, math.inf):
        logits = torch.full((4, 3), bad)
        metrics = trainer.criterion.measure(logits, torch.zeros(4, dtype=torch.long))
        assert math.isnan(metrics["loss"]) and math.isnan(metrics["acc"])
    # A class that is ruled out is a prediction like any other.
    logits = torch.tensor([[0.0, 1.0, -math.inf], [2.0, 1.0, -math.inf]])
    metrics = trainer.criterion.measure(logits, torch.tensor([1, 1]))
    assert math.isfinite(metrics["loss"]) and metrics["acc"] == 0.5

    # The test images alone may be beyond what the weights can take.
    trainer = make(epochs=1)
    trainer.test_x.mean = trainer.test_x.mean - math.inf
    outcome = trainer.run()
    final = strict(outcome["final"])
    assert outcome["status"] == "finished" and math.isfinite(outcome["epochs"][-1]["val_acc"])
    assert [final[name] for name in ("test_loss", "test_acc", "per_class_acc", "confusion")] == [None] * 4


def test_one_image_cannot_be_normalised(make):
    with pytest.raises(ConfigError, match="batch_size: 1 is not allowed with batch normalization"):
        make(batch_norm=True, batch_size=1)
    make(batch_size=1, epochs=1, train_size=20).run()


def test_reference_accuracy_on_digits(make):
    """docs/reference/methods.md: ten seeds and splits gave 98.05 % to 99.44 %."""
    values = {"n_layer": 2, "hid_dim": 256, "dropout": 0.3, "label_smoothing": 0.1, "optimizer": "adam", "lr": 0.003}
    trainer = make(**values, lr_schedule="cosine", epochs=30, train_size=None)
    assert trainer.run()["final"]["test_acc"] >= 0.97


def test_your_own_model_is_recorded_with_its_source(make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    source = (
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, in_shape, n_classes, width):\n"
        "        super().__init__(nn.Flatten(), nn.LazyLinear(width), nn.Linear(width, n_classes))\n"
        "        self[2].bias.requires_grad_(False)\n"
    )
    Path("net_of_this_test.py").write_text(source)
    outcome = make(model="net_of_this_test:Net", model_args={"width": 5}).run()
    sha1 = hashlib.sha1(source.encode()).hexdigest()
    assert outcome["model"] == {"n_parameters": 65 * 5 + 5 * 10, "source_sha1": sha1}  # without the frozen bias
    assert make().run()["model"]["source_sha1"] is None


# -- random streams ------------------------------------------------------------------------------------------------


def initial_weights(trainer: Trainer) -> list[Tensor]:
    return [weight.detach().clone() for weight in trainer.model.parameters()]


def equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


OTHER_STREAMS = [
    {"dropout": 0.5},
    {"random_crop": 1, "horizontal_flip": True, "cutout": 2},
    {"lr": 0.3, "optimizer": "adam"},
    {"batch_norm": True},
    {"split_seed": 1},
]


@pytest.mark.parametrize("change", OTHER_STREAMS, ids=str)
def test_initialization_and_shuffling_do_not_depend_on(make, monkeypatch: pytest.MonkeyPatch, change: dict):
    plain, changed = make(), make(**change)
    linear = [weight for weight in initial_weights(changed) if weight.ndim > 1]
    assert equal(linear, [weight for weight in initial_weights(plain) if weight.ndim > 1])
    first, second = (torch.cat([*itertools.chain(*batches_of(trainer, monkeypatch))]) for trainer in (plain, changed))
    assert torch.equal(first, second)
    assert not torch.equal(first[:100], first[100:])


def test_shuffling_does_not_depend_on_the_model(make, monkeypatch: pytest.MonkeyPatch):
    orders = [
        torch.cat(batches_of(make(**values, epochs=1), monkeypatch)[0])
        for values in ({}, {"hid_dim": 9}, {"model": "cnn", "channels": 2}, {"batch_size": 20})
    ]
    assert all(torch.equal(orders[0], order) for order in orders)


def augmented(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    seen: list[Tensor] = []
    original = training.augment.augment
    with monkeypatch.context() as patch:
        patch.setattr(training.augment, "augment", lambda *a: seen.append(original(*a)) or seen[-1])
        trainer.run()
    return seen


def test_augmentation_does_not_depend_on_model_and_dropout(make, monkeypatch: pytest.MonkeyPatch):
    crop = {"random_crop": 1}
    settings = ({}, {"dropout": 0.5}, {"hid_dim": 9, "dropout": 0.1}, {"model": "cnn", "channels": 2})
    seen = [augmented(make(**crop, **values), monkeypatch) for values in settings]
    assert len(seen[0]) == 8 and all(equal(seen[0], other) for other in seen)


def dropped(trainer: Trainer) -> list[Tensor]:
    seen: list[Tensor] = []
    for layer in trainer.model.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.register_forward_hook(lambda layer, x, y: seen.append((y == 0) & (x[0] != 0)))
    trainer.run()
    return seen


def test_dropout_does_not_depend_on_augmentation(make):
    """tanh, so that no unit is 0 by itself."""
    common = {"dropout": 0.5, "act": "tanh"}
    assert equal(dropped(make(**common)), dropped(make(**common, random_crop=1, cutout=2)))


def test_the_seed_decides_every_stream(make, monkeypatch: pytest.MonkeyPatch):
    def streams(seed: int) -> list[list[Tensor]]:
        values = {"seed": seed, "dropout": 0.5, "act": "tanh", "random_crop": 1}
        return [
            initial_weights(make(**values)),
            batches_of(make(**values), monkeypatch)[0],
            dropped(make(**values)),
            augmented(make(**values), monkeypatch),
        ]

    zero, again, one = streams(0), streams(0), streams(1)
    assert all(equal(a, b) for a, b in zip(zero, again, strict=True))
    assert not any(equal(a, b) for a, b in zip(zero, one, strict=True))


# -- real processes ------------------------------------------------------------------------------------------------

EVERYTHING = {
    "model": "cnn",
    "channels": 8,
    "n-block": 2,
    "batch-norm": True,
    "dropout": 0.2,
    "random-crop": 1,
    "cutout": 2,
    "optimizer": "adam",
    "lr-schedule": "one_cycle",
    "warmup-epochs": 1,
    "label-smoothing": 0.1,
    "grad-clip": 1.0,
    "precision": "bf16",
    "test-weights": "best",
    "log-gradients": True,
    "epochs": 12,
    "batch-size": 16,
}


def command(results: str, **values: Any) -> list[str]:
    options = [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in values.items()]
    return ["python", "scripts/train.py", "--data=digits.pt", f"--results={results}", *options]


def start(project: Project, *arguments: str) -> subprocess.Popen[bytes]:
    log = (project.folder / "log").open("ab")
    return subprocess.Popen(arguments, cwd=project.folder, env=project.environment(), stdout=log, stderr=log)


def record_in(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("*-*.json")
    return json.loads(path.read_text())


def test_same_record_whatever_runs_beside_it_and_stops_it(project: Project, digits: Path):
    """One run goes through; beside it another is killed at once, stopped by a signal, and continued."""
    (project.folder / "digits.pt").write_bytes(digits.read_bytes())
    whole = start(project, *command("whole", **EVERYTHING))
    running = project.folder / "stopped" / "running"
    for number, after in ((signal.SIGKILL, 2), (signal.SIGTERM, 6)):
        process = start(project, *command("stopped", **EVERYTHING))
        wait_for(lambda after=after: list(running.glob("*.pt")) and n_epochs(running) >= after, pause=0.01)
        os.kill(process.pid, number)
        assert process.wait(timeout=LIMIT) in (-number, 128 + number)
    assert start(project, *command("stopped", **EVERYTHING)).wait(timeout=LIMIT) == 0
    assert whole.wait(timeout=LIMIT) == 0
    first, second = (record_in(project.folder / name) for name in ("whole", "stopped"))
    assert (first["timing"]["resumed"], second["timing"]["resumed"]) == (0, 2)
    assert first["status"] == "finished"
    assert outcome(first) == outcome(second)


def n_epochs(running: Path) -> int:
    return max((len(json.loads(path.read_text())["epochs"]) for path in running.glob("*.json")), default=0)


def test_what_the_docs_say_adds_a_model_an_optimizer_and_a_schedule(project: Project, digits: Path):
    """docs/reference/methods.md, section "Add a method": function and line of each."""
    (project.folder / "digits.pt").write_bytes(digits.read_bytes())
    section = (ROOT / "docs/reference/methods.md").read_text().split("## Add a method")[1]
    blocks = re.findall(r"```python\n(.*?)```", section, re.S)
    library = project.folder / "scripts" / "dlsweep"
    task = library / "tasks" / "classification"
    registry = (library / "config" / "registry.py").read_text()
    names = {}
    for file, kind, function, line in zip(
        ("models.py", "optimizers.py", "optimizers.py"),
        ("model", "optimizer", "lr_schedule"),
        blocks[::2],
        blocks[1::2],
        strict=True,
    ):
        (task / file).write_text((task / file).read_text() + "\n\n" + function)
        opening = f"\n{kind.upper()}S = {{\n"
        assert opening in registry
        registry = registry.replace(opening, opening + line)
        names[kind.replace("_", "-")] = re.findall(r'"(.*?)"', line)[0]
    (library / "config" / "registry.py").write_text(registry)
    done = project.run(*command("added", **names, epochs=3))
    assert done.returncode == 0, done.stderr
    record = record_in(project.folder / "added")
    assert record["setting"] | {key.replace("-", "_"): name for key, name in names.items()} == record["setting"]
    assert record["setting"]["lr"] == 0.002 and record["model"]["n_parameters"] == 65 * 10
    rates = [epoch["lr"] for epoch in record["epochs"]]
    assert rates == pytest.approx([0.002 * (1 - (18 * epoch - 1) / 54) for epoch in (1, 2, 3)])
    assert record["epochs"][-1]["train_loss"] < record["epochs"][0]["train_loss"]
