"""What is to be known of this pipeline on a GPU, first whether it is right, then how fast: python benchmarks/gpu.py

Without a GPU the same is done on the CPU at a reduced size, which tests this file and says nothing of a GPU. It ends
with an error where a record is not the same bit for bit: repeated, interrupted, after a warm and a cold start, and two
at once. It needs the packages of requirements.txt and no network: `pip download -r requirements.txt -d wheels` where
there is one, then `pip install --no-index --find-links wheels -r requirements.txt`.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

import common
import step
import torch
import tutorial

from dlsweep.config.identity import check_setting
from dlsweep.config.registry import LR_SCHEDULES, MODELS, OPTIMIZERS
from dlsweep.tasks.checkpoint import Checkpoint, Interrupted
from dlsweep.tasks.classification.data import Splits
from dlsweep.tasks.classification.training import Trainer

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ON_GPU = DEVICE.type == "cuda"
N = 4_000 if ON_GPU else 200  # images to be right on
SYNCHRONISES = ("aten::_local_scalar_dense", "aten::nonzero", "cudaStreamSynchronize", "cudaDeviceSynchronize")
"""What waits for the device. On a CPU, where there is nothing to wait for, the first two show the same places."""

SETTINGS: dict[str, dict[str, Any]] = {
    "mlp, adam": {"optimizer": "adam", "batch_norm": True, "dropout": 0.2},
    "cnn, augmented": {"model": "cnn", "channels": 8, "random_crop": 2, "horizontal_flip": True, "cutout": 4},
    "cnn, channels_last, bf16": {"model": "cnn", "channels": 8, "channels_last": True, "precision": "bf16"},
    "resnet20, best weights": {"model": "resnet20", "optimizer": "momentum", "test_weights": "best"},
}
WAITING = {"loss": "gpu:waiting"}


# -- right ---------------------------------------------------------------------------------------------------------


def trainer(data: Splits, folder: Path, device: torch.device = DEVICE, stop_at: int = 0, **values: Any) -> Trainer:
    """Return a training of two epochs; one that is stopped at a step stops when a checkpoint could be written there."""
    setting = check_setting({"dataset": "cifar10", "epochs": 2, "batch_size": 64, **values})
    asked = iter(range(1, 10**9))
    checkpoint = Checkpoint(folder / "checkpoint.pt", lambda: bool(stop_at) and next(asked) == stop_at)
    return Trainer(setting, data, device, checkpoint)


def outcome(training: Trainer) -> str:
    """Do it; return its outcome without the times, and its weights."""
    found = training.run()
    epochs = [{key: value for key, value in epoch.items() if key != "seconds"} for epoch in found["epochs"]]
    weights = {name: value.double().sum().item() for name, value in training.model.state_dict().items()}
    return json.dumps([found["status"], epochs, found["final"], weights])


def interrupted(data: Splits, folder: Path, values: dict[str, Any]) -> str:
    try:
        trainer(data, folder, stop_at=3, **values).run()
    except Interrupted:
        pass
    else:
        raise AssertionError("it was not interrupted")
    training = trainer(data, folder, **values)
    training.load_checkpoint()
    return outcome(training)


def same_bit_for_bit(data: Splits, folder: Path) -> list[list[Any]]:
    """Each setting again, interrupted, and beside the CPU. Raises AssertionError where a bit differs."""
    rows = []
    for name, values in SETTINGS.items():
        first = outcome(trainer(data, folder, **values))
        again, resumed = outcome(trainer(data, folder, **values)), interrupted(data, folder, values)
        (folder / "checkpoint.pt").unlink()
        assert first == again, f"{name}: differs when it is repeated"
        assert first == resumed, f"{name}: differs when it is interrupted"
        there = json.loads(outcome(trainer(data, folder, torch.device("cpu"), **values)))[1][0]["train_loss"]
        here = json.loads(first)[1][0]["train_loss"]
        assert abs(here - there) < 0.02 * there, f"{name}: {here} here, {there} on the CPU"
        rows.append([name, "same", "same", f"{abs(here - there) / there:.0e}"])
    return rows


def records(way: str, at_once: int) -> dict[str, str]:
    """The records of a small sweep through Snakemake, without their times; `way` is a value of DLSWEEP_WARM."""
    config = {
        **({"jobs_per_gpu": at_once} if ON_GPU else {}),
        "defaults": {"epochs": 2, "train_size": 300},
        "experiments": {"e": {"grid": {"model": ["mlp", "cnn"], "seed": [0, 1]}, "figures": []}},
    }
    folder = common.pipeline(config)
    common.wall(["snakemake", "--cores", str(at_once), "--", "e"], folder, {"DLSWEEP_WARM": way})
    found = {}
    for path in folder.glob("results/e-*.json"):
        record = json.loads(path.read_text())
        epochs = [{key: value for key, value in epoch.items() if key != "seconds"} for epoch in record["epochs"]]
        found[path.name] = json.dumps([epochs, record["final"], record["model"]])
    shutil.rmtree(folder)
    assert len(found) == 4
    return found


def everything_once(data: Splits, folder: Path) -> list[list[Any]]:
    """Every model, optimizer, schedule, precision, augmentation. Raises AssertionError where a loss is not finite."""
    models = [name for name in MODELS if ON_GPU or name in ("mlp", "cnn", "resnet20")]
    precisions = ["fp32", "bf16", "fp16"]
    if ON_GPU and torch.cuda.get_device_capability(DEVICE) >= (8, 0):
        precisions.append("tf32")
    kinds: dict[str, list[dict[str, Any]]] = {
        "model": [{"model": name} for name in models],
        "optimizer": [{"optimizer": name, "lr": 1e-3} for name in OPTIMIZERS],
        "lr_schedule": [{"lr_schedule": name, "lr_milestones": [1], "lr_step": 1} for name in LR_SCHEDULES],
        "precision": [{"precision": name, "model": "cnn", "channels": 8} for name in precisions],
        "augmentation": [{"random_crop": 2}, {"horizontal_flip": True}, {"cutout": 4}],
        "compile": [{"compile": True}] if ON_GPU else [],
    }
    rows = []
    for kind, settings in kinds.items():
        for values in settings:
            found = trainer(data, folder, **values).run()
            finite = all(math.isfinite(epoch["train_loss"]) for epoch in found["epochs"])
            assert finite and found["status"] == "finished", (values, found["status"])
        rows.append([kind, len(settings)])
    return rows


# -- fast ----------------------------------------------------------------------------------------------------------


def waits_of_an_epoch(steps: int, folder: Path, **values: Any) -> list[int]:
    """How often an epoch of so many steps waits for the device."""
    training = trainer(step.random_splits(64 * steps), folder, model="cnn", channels=8, **values)
    training.train_epoch()  # what is done once only
    activities = [torch.profiler.ProfilerActivity.CPU]
    if ON_GPU:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        training.train_epoch()
    counts = Counter(event.name for event in profile.events())
    return [counts[name] for name in SYNCHRONISES]


def waiting(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """A loss that is read in each step, which must be seen."""
    loss = torch.nn.functional.cross_entropy(outputs, targets)
    assert math.isfinite(loss.item())
    return loss


def waits(folder: Path) -> list[list[Any]]:
    """How often an epoch waits for the device. Raises AssertionError where the number of its steps matters."""
    own, read = ({steps: waits_of_an_epoch(steps, folder, **more) for steps in (4, 16)} for more in ({}, WAITING))
    assert read[16][0] - read[4][0] >= 12, f"what waits in each step is not seen: {read}"
    assert own[4] == own[16], f"an epoch waits for the device in its steps: {own}"
    return [
        [name, steps, *found] for name, all_ in (("", own), (WAITING["loss"], read)) for steps, found in all_.items()
    ]


def against_tutorial() -> list[list[Any]]:
    """Images a second beside PyTorch's tutorial; the goal is 10 times as many at its batch size, 5 at larger ones."""
    rows = []
    for batch_size, n in ((4, 8_000), (64, 50_000), (256, 50_000)) if ON_GPU else ((4, 200), (64, 1_000)):
        theirs = tutorial.samples_per_second(n, batch_size, DEVICE, 2 if ON_GPU else 0)
        ours = step.samples_per_second(
            n, DEVICE, model="tutorial:Net", optimizer="momentum", lr=0.001, batch_size=batch_size
        )
        rows.append([batch_size, round(theirs), round(ours), ours / theirs])
    return rows


def vgg_epoch() -> float:
    """Seconds of the course's epoch: VGG-11 on 40,000 images, in half precision."""
    n = 40_000 if ON_GPU else 64
    setting = {"model": "vgg11", "batch_norm": True, "batch_size": 256, "precision": "bf16", "channels_last": True}
    return n / step.samples_per_second(n, DEVICE, optimizer="momentum", **setting)


def runs_a_minute(at_once: int, way: str = "") -> float:
    """Small runs through Snakemake, so many on a GPU at once; `way` is a value of DLSWEEP_WARM."""
    n = 64 if ON_GPU else 4
    setting = {"epochs": 5, "hid_dim": 32, "grid": {"seed": {"range": [1, n]}}, "figures": []}
    folder = common.pipeline({"jobs_per_gpu": at_once, "experiments": {"small": setting}})
    seconds = common.wall(["snakemake", "--cores", str(at_once), "--", "small"], folder, {"DLSWEEP_WARM": way})
    assert len(list(folder.glob("results/small-*.json"))) == n
    shutil.rmtree(folder)
    return n / seconds * 60


def describe() -> str:
    """The GPU and its driver in a line."""
    if not ON_GPU:
        return "No GPU: reduced size on the CPU, as a test of this file. The numbers say nothing of a GPU."
    driver = subprocess.run(
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True
    ).stdout.split()
    return (
        f"{torch.cuda.get_device_name(DEVICE)}, driver {driver[0] if driver else 'unknown'}, CUDA {torch.version.cuda}"
    )


def main() -> None:
    start = time.perf_counter()
    common.print_machine("torchvision")
    print(describe(), flush=True)
    torch.set_num_threads(1)
    data = step.random_splits(N)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        header = ["", "again", "interrupted", "training loss of the first epoch beside the CPU's"]
        common.print_table("Records, bit for bit", header, same_bit_for_bit(data, folder))
        cold, warm, two, kept = records("0", 1), records("", 1), records("", 2), records("contexts", 2)
        assert cold == warm == two, "records differ between a warm and a cold start, or with two at once"
        assert cold == kept, "records differ where a process keeps CUDA for its next run"
        header = ["cold", "warm", "two at once", "two that keep CUDA"]
        common.print_table("Records through Snakemake", header, [["", "same", "same", "same"]])
        common.print_table("Each once, finite", ["", "of them"], everything_once(data, folder))
        common.print_table("An epoch waits for the device", ["loss", "steps", *SYNCHRONISES], waits(folder))
    header = ["batch size", "tutorial", "pipeline", "times as many"]
    common.print_table("Images a second, the tutorial's network", header, against_tutorial())
    common.print_table("An epoch of VGG-11", ["seconds"], [[vgg_epoch()]])
    if ON_GPU:
        try:
            step.against_airbench(DEVICE)
        except ImportError as error:
            print(f"airbench is not measured: {error}")
    rows = [
        [n, round(runs_a_minute(n)), round(runs_a_minute(n, "contexts"))] for n in ((1, 4, 16) if ON_GPU else (1, 2))
    ]
    common.print_table("Small runs a minute", ["at once on a GPU", "each starts CUDA", "processes keep it"], rows)
    print(f"All in {(time.perf_counter() - start) / 60:.1f} minutes.")


if __name__ == "__main__":
    main()
