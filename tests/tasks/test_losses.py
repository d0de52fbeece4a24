"""Regression and several labels an image in the built-in task: data, losses, metrics, records."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch

from conftest import Project
from dlsweep.config.identity import check_setting
from dlsweep.config.registry import LOSSES, MEASURES
from dlsweep.config.sweep import expand_config
from dlsweep.errors import ConfigError
from dlsweep.tasks.checkpoint import Checkpoint, Interrupted
from dlsweep.tasks.classification.data import load_splits, prepare
from dlsweep.tasks.classification.losses import measure_labels, measure_numbers
from dlsweep.tasks.classification.training import Trainer

N = 120


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """120 vectors, and targets of each kind that follow from them."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 4)).astype(np.float32)
    price = 1e5 + 3e4 * x[:, 0] - 1e4 * x[:, 1]
    return {
        "x": x,
        "price": price,
        "two": np.stack([price, x[:, 2] / 1e3], 1),
        "labels": (x[:, :3] > [0, 0.5, -0.5]).astype(np.int64),
        "classes": (x[:, 0] > 0).astype(np.int64),
    }


@pytest.fixture
def make(arrays: dict[str, np.ndarray], tmp_path: Path) -> Any:
    """Return a run on some of the targets."""

    def make(y: str | np.ndarray, checkpoint: str = "x", **values: Any) -> Trainer:
        targets = arrays[y] if isinstance(y, str) else y
        np.savez(tmp_path / "mine.npz", x_train=arrays["x"][: len(targets)], y_train=targets)
        setting = check_setting(
            {
                **{"dataset": "npz", "data_path": str(tmp_path / "mine.npz"), "n_layer": 1, "hid_dim": 16},
                **{"epochs": 3, "batch_size": 16, "lr": 0.05, **values},
            }
        )
        prepare(setting, tmp_path / "mine.pt", tmp_path)
        data = load_splits(tmp_path / "mine.pt", setting)
        return Trainer(setting, data, torch.device("cpu"), Checkpoint(tmp_path / f"{checkpoint}.pt"))

    return make


@pytest.mark.parametrize(("y", "loss"), [("price", "mse"), ("two", "mae"), ("price", "huber")])
def test_a_run_that_predicts_numbers_has_the_metrics_of_scikit_learn(make: Any, y: str, loss: str) -> None:
    trainer = make(y, loss=loss, epochs=20)
    outcome = trainer.run()
    last, final = outcome["epochs"][-1], outcome["final"]
    assert outcome["status"] == "finished"
    assert "val_acc" not in last and "test_acc" not in final and "confusion" not in final
    mean, std = (value.numpy() for value in trainer.criterion._scale)
    with torch.no_grad():
        p = trainer.model.eval()(trainer.test_x[:]).numpy() * std + mean
    truth = trainer.test_y.numpy()
    assert final["test_mae"] == pytest.approx(sklearn.metrics.mean_absolute_error(truth, p), rel=1e-5)
    assert final["test_rmse"] == pytest.approx(sklearn.metrics.root_mean_squared_error(truth, p), rel=1e-5)
    assert final["test_r2"] == pytest.approx(sklearn.metrics.r2_score(truth, p), rel=1e-5)
    assert final["test_r2"] > 0.5
    difference = (p - truth) / std
    size = np.abs(difference)
    wanted = {"mse": difference**2, "mae": size, "huber": np.where(size < 1, size**2 / 2, size - 0.5)}[loss].mean()
    assert final["test_loss"] == pytest.approx(wanted, rel=1e-4)


def test_numbers_that_are_not_normalised_have_the_loss_of_their_own_unit(make: Any) -> None:
    final = make("two", loss="mse", normalise_targets=False, lr=1e-12).run()["final"]
    assert final["test_loss"] == pytest.approx((1e5**2) / 2, rel=0.5)


def test_the_metrics_of_labels_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        truth = (rng.random((40, 3)) < 0.4).astype(int)
        scores = np.round(rng.normal(size=(40, 3)), 1)  # some are the same
        found = measure_labels(torch.tensor(0.5), torch.tensor(scores), torch.tensor(truth).float())
        f1, ap = sklearn.metrics.f1_score, sklearn.metrics.average_precision_score
        assert found["f1"] == pytest.approx(f1(truth, scores > 0, average="micro"), rel=1e-9)
        assert found["f1_macro"] == pytest.approx(f1(truth, scores > 0, average="macro"), rel=1e-9)
        assert found["ap"] == pytest.approx(ap(truth, scores), rel=1e-9)
        assert found["auroc"] == pytest.approx(sklearn.metrics.roc_auc_score(truth, scores), rel=1e-9)
    none = measure_labels(torch.tensor(0.5), torch.zeros(4, 2), torch.zeros(4, 2))
    assert none["f1"] == 0 and math.isnan(none["ap"]) and math.isnan(none["auroc"])


def test_r2_of_targets_that_are_all_the_same_is_unknown() -> None:
    assert math.isnan(measure_numbers(torch.tensor(0.0), torch.ones(3, 1), torch.ones(3, 1))["r2"])


def test_several_labels_an_image_are_learned(make: Any) -> None:
    outcome = make("labels", loss="binary_cross_entropy", epochs=20, lr=0.5, monitor="val_f1_macro").run()
    final = outcome["final"]
    assert final["test_f1"] > 0.8 and final["test_ap"] > 0.8 and final["test_auroc"] > 0.8
    best = max(epoch["val_f1_macro"] for epoch in outcome["epochs"])
    assert final["best_val_f1_macro"] == best


@pytest.mark.parametrize(("monitor", "choose"), [("val_rmse", min), ("val_r2", max)])
def test_the_best_epoch_is_that_of_the_metric_that_is_monitored(make: Any, monitor: str, choose: Any) -> None:
    outcome = make("price", loss="mse", monitor=monitor, lr=0.4, epochs=8).run()
    values = [epoch[monitor] for epoch in outcome["epochs"]]
    assert outcome["final"]["best_epoch"] == values.index(choose(values)) + 1


def test_a_regression_goes_on_from_its_checkpoint_bit_for_bit(make: Any) -> None:
    def without_times(outcome: dict[str, Any]) -> str:
        for epoch in outcome["epochs"]:
            del epoch["seconds"]
        return json.dumps(outcome)

    whole = without_times(make("two", loss="huber", dropout=0.2).run())
    torn, steps = make("two", "torn", loss="huber", dropout=0.2), iter([False] * 4 + [True])
    torn.checkpoint.should_stop = lambda: next(steps)
    with pytest.raises(Interrupted):
        torn.run()
    again = make("two", "torn", loss="huber", dropout=0.2)
    again.load_checkpoint()
    assert again.progress.resumed == 1 and without_times(again.run()) == whole


def test_a_regression_that_diverges_says_so(make: Any) -> None:
    outcome = make("price", loss="mse", lr=1e6, n_layer=3, act="identity").run()
    assert outcome["status"] == "diverged" and outcome["final"]["test_mae"] is None
    assert math.isnan(outcome["epochs"][-1]["val_mae"])


ONE_HOT = np.eye(3)[np.arange(N) % 3]


COUNT = "labels are integers that count from 0"


@pytest.mark.parametrize(
    ("y", "loss", "told"),
    [
        (np.arange(N) / 7, "cross_entropy", f"y_train is float64; {COUNT}: write loss: mse"),
        ((np.arange(N) % 3).astype(float), "cross_entropy", f"{COUNT}: save y.astype(np.int64), or write loss: mse"),
        (ONE_HOT, "cross_entropy", f"y_train has shape (120, 3) and is one-hot; {COUNT}: save y.argmax(1)"),
        (ONE_HOT.astype(int), "cross_entropy", "save y.argmax(1)"),
        (ONE_HOT / 2, "cross_entropy", "for probabilities save y.argmax(1), or write loss: mse"),
        (1 - ONE_HOT, "cross_entropy", "with several labels an image; write loss: binary_cross_entropy"),
        (np.arange(N) % 3, "binary_cross_entropy", "has the value 2; loss binary_cross_entropy takes labels of 0"),
        (np.where(np.arange(N) == 7, np.nan, 1.5), "mse", "has NaN or infinite values, the first in y_train[7]"),
        (np.full(N, "red"), "mse", "y_train is <U3; allowed: numbers"),
        (np.zeros((N, 2, 2)), "mse", "y_train has shape (120, 2, 2); allowed: (N,), one label an image, or (N, K)"),
    ],
)
def test_targets_that_the_loss_does_not_take_are_refused(make: Any, y: Any, loss: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        make(y, loss=loss)
    assert told in str(error.value) and "mine.npz: y_train" in str(error.value)


def test_digits_are_classes_and_no_numbers(tmp_path: Path) -> None:
    told = "digits: has classes, but loss mse takes numbers; allowed for these data: cross_entropy"
    with pytest.raises(ConfigError, match=told):
        prepare(check_setting({"loss": "mse"}), tmp_path / "x.pt", tmp_path)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_monitor_must_be_a_metric_of_the_loss(loss: str) -> None:
    allowed = {f"val_{name}" for name in MEASURES[LOSSES[loss].targets]}
    for metric in {f"val_{name}" for names in MEASURES.values() for name in names}:
        if metric in allowed:
            assert check_setting({"loss": loss, "monitor": metric})["monitor"] == metric
        else:
            with pytest.raises(
                ConfigError, match=f"monitor: {metric} is not measured with loss {loss}; allowed: val_loss"
            ):
                check_setting({"loss": loss, "monitor": metric})


def test_a_sweep_of_losses_on_one_file(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    project = Project(tmp_path)
    np.savez(tmp_path / "mine.npz", x_train=arrays["x"], y_train=arrays["classes"])
    project.configure(
        {
            "defaults": {"dataset": "npz", "data_path": "mine.npz", "epochs": 2, "n_layer": 1, "hid_dim": 4},
            "experiments": {"losses": {"grid": {"loss": ["cross_entropy", "mse", "mae", "binary_cross_entropy"]}}},
        }
    )
    done = project.snakemake("losses")
    assert done.returncode == 0, done.stderr
    records = project.records().values()
    assert len(records) == 4 and len(list((tmp_path / "results/data").glob("*.pt"))) == 3
    for record in records:
        names = MEASURES[LOSSES[record["setting"]["loss"]].targets]
        assert {f"test_{name}" for name in names} <= record["final"].keys()
        assert all(math.isfinite(record["final"][f"test_{name}"]) for name in names)
    assert project.has_nothing_to_do("losses")


@pytest.mark.parametrize(
    ("spec", "objective"),
    [
        ({}, ("val_acc", "max", "test_acc")),
        ({"loss": "m:focal"}, ("val_acc", "max", "test_acc")),  # digits are classes
        ({"grid": {"loss": ["mse", "mae"]}}, ("val_rmse", "min", "test_rmse")),
        ({"loss": "binary_cross_entropy"}, ("val_f1", "max", "test_f1")),
        ({"loss": "m:focal", "dataset": "npz", "data_path": "x"}, ("val_loss", "min", "test_loss")),
        ({"grid": {"loss": ["cross_entropy", "mse"]}}, ("val_loss", "min", "test_loss")),
        ({"loss": "mse", "objective": "val_r2"}, ("val_r2", "max", "test_r2")),
        ({"metrics": ["m:top5_acc"], "objective": "val_top5_acc"}, ("val_top5_acc", "max", "test_top5_acc")),
    ],
)
def test_what_is_best_follows_from_the_loss(spec: dict[str, Any], objective: tuple[str, str, str]) -> None:
    found = expand_config({"experiments": {"x": spec}}).experiments["x"].objective
    assert (found.metric, found.better, found.report) == objective


def test_an_objective_that_not_all_settings_have_is_refused() -> None:
    for spec in (
        {"loss": "mse", "objective": "val_acc"},
        {"grid": {"loss": ["mse", "cross_entropy"]}, "report": "test_r2"},
    ):
        with pytest.raises(ConfigError, match="is not measured by the built-in training; it has train_loss"):
            expand_config({"experiments": {"x": spec}})
