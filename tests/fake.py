"""Records with invented but plausible results, for tests that need no training."""

import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dlsweep.config.course import Course, slot_file
from dlsweep.config.identity import Setting
from dlsweep.config.paths import predictions_file, record_name
from dlsweep.config.plan import Plan
from dlsweep.config.sweep import expand_config
from dlsweep.config.tasks import is_built_in, task_of
from dlsweep.files import read_json, write_json
from dlsweep.results.predictions import Predictions, write_predictions
from dlsweep.results.schema import Record
from dlsweep.search.decide import decide


def fake_record(exp_name: str, digest: str, setting: dict, n_epochs: int | None = None) -> Record:
    """Return a record that fits the schema. Runs with lr >= 1 diverge; others are better near lr = 0.03."""
    generator = random.Random(f"{exp_name}{digest}")
    n_epochs = n_epochs or setting["epochs"]
    diverged = setting["lr"] >= 1
    n_run = min(2, n_epochs) if diverged else n_epochs
    best = 0.97 - 0.05 * abs(math.log10(setting["lr"] / 0.03)) - 0.03 * (setting["optimizer"] == "sgd")
    epochs = []
    for epoch in range(1, n_run + 1):
        acc = min(1.0, best * (1 - math.exp(-epoch / 3)) + generator.uniform(-0.02, 0.02))
        bad = diverged and epoch == n_run
        entry = {
            "epoch": epoch,
            "train_loss": None if bad else 2.3 * math.exp(-epoch / 4) + 0.02,
            "train_acc": None if bad else min(1.0, acc + 0.02),
            "val_loss": None if bad else 2.3 * math.exp(-epoch / 5) + generator.uniform(0.05, 0.1),
            "val_acc": None if bad else acc,
            "lr": setting["lr"],
            "seconds": 0.1,
        }
        if setting["log_gradients"]:
            entry["grad_norm"] = 1.0 / epoch
            entry["layer_gradients"] = {
                f"layers.{i}.weight": 0.1 ** (4 - i) / epoch * generator.uniform(0.8, 1.2) for i in range(4)
            }
        epochs.append(entry)
    test_acc = None if diverged else min(1.0, epochs[-1]["val_acc"] - 0.01)
    confusion = [[30 if i == j else generator.randrange(3) for j in range(10)] for i in range(10)]
    return {
        "schema_version": 1,
        "exp_name": exp_name,
        "hash": digest,
        "setting": setting,
        "status": "diverged" if diverged else "finished",
        "epochs": epochs,
        "final": {
            "test_loss": None if diverged else epochs[-1]["val_loss"],
            "test_acc": test_acc,
            "best_epoch": 1 if diverged else n_run,
            "best_val_loss": epochs[0 if diverged else -1]["val_loss"],
            "best_val_acc": epochs[0 if diverged else -1]["val_acc"],
            "confusion": None if diverged else confusion,
        },
        "model": {"n_parameters": 1000},
        "timing": {
            "total_seconds": 0.1 * n_run + 1,
            "train_seconds": 0.1 * n_run,
            "samples_per_second": 14370.0 * generator.uniform(0.8, 1.2),
            "resumed": 0,
        },
        "provenance": {"command": "python scripts/train.py", "device": "cpu x86_64", "host": "here"},
    }


def fake_predictions(results: Path, record: Record) -> None:
    """Write predictions that fit the test accuracy of a record, where it has one."""
    accuracy, n = record["final"]["test_acc"], 200
    if accuracy is None:
        return
    target = np.arange(n) % 10
    label = np.where(np.arange(n) < round(accuracy * n), target, (target + 1) % 10)
    probability = np.linspace(1.0, 0.3, n)
    path = predictions_file(results, record["exp_name"], record["hash"])
    images = np.random.default_rng(0).integers(0, 256, (n, 3, 8, 8), dtype=np.uint8)
    write_predictions(path, Predictions(label, probability, target, "fake").with_mistakes(images))


def fake_sweep(config: dict, results: Path) -> Plan:
    """Write a record for each setting of a config, and return the plan."""
    sweep = expand_config(config)
    results.mkdir(parents=True, exist_ok=True)
    for exp_name, digest, setting in sweep.records():
        write_json(results / record_name(exp_name, digest), fake_record(exp_name, digest, setting), sync=False)
    return sweep.plan(str(results))


TARGET = np.arange(1000) % 10
"""The true classes of the test images of `sweep_with_predictions`."""


def sweep_with_predictions(results: Path, wrong: dict[str, list[range]], split: str = "a") -> Plan:
    """A sweep of one experiment whose settings, named by their optimizer, get these test images wrong, of each seed."""
    config = {"grid": {"optimizer": list(wrong)}, "seeds": max(map(len, wrong.values())), "lr": 0.01}
    plan = fake_sweep({"defaults": {"epochs": 3}, "experiments": {"a": config}}, results)
    for digest, setting in plan.settings.items():
        path = results / record_name("a", digest)
        label = TARGET.copy()
        label[wrong[setting["optimizer"]][setting["seed"]]] += 1
        record, accuracy = read_json(path), (label == TARGET).mean()
        record["final"]["test_acc"] = accuracy
        record["epochs"][-1]["val_acc"] = accuracy
        write_json(path, record, sync=False)
        found = Predictions(label % 11, np.full(len(label), 0.5), TARGET, split)
        write_predictions(predictions_file(results, "a", digest), found)
    return plan


OWN = """
def train(run, *, lr: float = 0.1, width: int = 8, act: str = "relu", epochs: int = 6, seed: int = 0):
    ...

def fit(run, *, depth: int = 3):
    ...
"""


def own_record(exp_name: str, digest: str, setting: dict) -> Record:
    """Return a record of a task of OWN or of a command, in degrees, best near lr = 0.01; with lr >= 1 it diverges.

    It logs its validation every second epoch only. `fit` and a command have no epochs.
    """
    generator, task = random.Random(f"{exp_name}{digest}"), task_of(setting)
    lr, n_epochs = float(setting.get("lr", 0.01)), setting.get("epochs", 0)
    diverged = lr >= 1
    best = 1.0 + abs(math.log10(lr) + 2) + generator.uniform(0, 0.2)
    epochs: list[dict] = []
    for epoch in range(1, (3 if diverged else n_epochs) + 1):
        train_mae = None if diverged and epoch == 3 else best * 0.9 + 1 / epoch
        entry = {"epoch": epoch, "train_mae": train_mae, "seconds": 0.1}
        if epoch % 2 == 0:
            entry["val_mae"] = best + 1 / epoch
        epochs.append(entry)
    final = {"test_mae": None if diverged else best * 1.1, "gpu_bytes": 1000, "words": ["a"], "name": "x", "fits": True}
    if not epochs:
        final = {"val_mae": best, **final}
    return {
        "schema_version": 1,
        "exp_name": exp_name,
        "hash": digest,
        "task": {"kind": task.kind, "name": task.name, "defaults": task.defaults},
        "setting": setting,
        "status": "diverged" if diverged else "finished",
        "epochs": epochs,
        "final": final,
        "model": {"n_parameters": None},
        "timing": {"total_seconds": 2.0, "train_seconds": 1.0, "samples_per_second": None, "resumed": 0},
        "provenance": {
            "command": "python scripts/train.py",
            "device": "cpu x86_64",
            "host": "here",
            "started": "2026-01-01T00:00:00+00:00",
            "finished": "2026-01-01T00:00:02+00:00",
        },
    }


def own_sweep(config: dict, folder: Path, change: Callable[[Record], None] = lambda record: None) -> Plan:
    """Write OWN and the records of a config in the working folder, and return the plan."""
    Path("my_training.py").write_text(OWN)
    sweep = expand_config(config)
    folder.mkdir(parents=True, exist_ok=True)
    for exp_name, digest, setting in sweep.records():
        make = fake_record if is_built_in(setting) else own_record
        change(record := make(exp_name, digest, setting))
        write_json(folder / record_name(exp_name, digest), record, sync=False)
    return sweep.plan(str(folder))


def follow(course: Course, results: Path, value: Callable[[Setting], float | None]) -> list[str]:
    """Take a search or a comparison through all its rounds without training; return the hash of each slot's setting."""
    for one in course.rounds:
        if one.after:
            decide(course, one.number, results)
        for (number, slot), (digest, setting) in course.known_runs(results).items():
            if number == one.number:
                path = Path(slot_file(str(results), course.name, number, slot))
                path.parent.mkdir(parents=True, exist_ok=True)
                status = "pruned" if one.epochs else "finished"
                content = {"hash": digest, "setting": setting, "status": status, "value": value(setting)}
                write_json(path, content, sync=False)
    return [digest for digest, _ in course.known_runs(results).values()]
