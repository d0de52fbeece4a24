"""Images a second of one training epoch: this pipeline beside PyTorch's CIFAR-10 tutorial: python benchmarks/step.py

The tutorial's network, batch size and optimizer on random images of CIFAR's shape; then a larger batch for both. On a
GPU where there is one, and there also airbench's loop beside this one at its network, precision and batch size. Then
the share of a run's time that its checkpoints take.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

import common
import torch
import tutorial

from dlsweep.config.identity import check_setting
from dlsweep.tasks.checkpoint import Checkpoint
from dlsweep.tasks.classification.data import Splits
from dlsweep.tasks.classification.images import Rows
from dlsweep.tasks.classification.training import Trainer


def random_splits(n: int) -> Splits:
    """Return random images of CIFAR's shape, and a few to validate and test on."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (n + 20, 3, 32, 32), dtype=torch.uint8, generator=generator)
    y = torch.randint(10, (n + 20,), generator=generator)
    half = torch.full((3,), 0.5)
    sizes = [n, 10, 10]
    parts = [part for x, y in zip(x.split(sizes), y.split(sizes), strict=True) for part in (Rows(x), y)]
    return Splits(*parts, half, half, [str(i) for i in range(10)])


def samples_per_second(n: int, device: torch.device, epochs: int = 1, **setting: Any) -> float:
    """Return this pipeline's training images a second over some epochs, after one to warm up."""
    complete = check_setting({"dataset": "cifar10", "epochs": epochs + 1, **setting})
    with tempfile.TemporaryDirectory() as folder:
        curves = Trainer(complete, random_splits(n), device, Checkpoint(Path(folder) / "checkpoint.pt")).run()["epochs"]
    return n * epochs / sum(epoch["seconds"] for epoch in curves[1:])


def against_tutorial(device: torch.device) -> None:
    """The tutorial's loop and this one, at its batch size of 4 and at 256."""
    rows = []
    few, many = (1_000, 12_000) if device.type == "cpu" else (8_000, 50_000)
    for threads, workers in ((1, 0), (1, 2), (2, 2)) if device.type == "cpu" else [(1, 2)]:
        torch.set_num_threads(threads)
        for batch_size, n in ((4, few), (256, many)):
            theirs = tutorial.samples_per_second(n, batch_size, device, workers)
            setting = {"model": "tutorial:Net", "optimizer": "momentum", "lr": 0.001, "batch_size": batch_size}
            ours = samples_per_second(n, device, **setting)
            last = samples_per_second(n, device, **setting, channels_last=True)
            speeds = [round(theirs), round(ours), ours / theirs, round(last), last / theirs]
            rows.append([batch_size, threads, workers, *speeds])
    header = [
        "batch size",
        "threads",
        "its loader's processes",
        "tutorial",
        "pipeline",
        "times as many",
        "with channels_last",
        "times as many",
    ]
    common.print_table(f"Images a second, the tutorial's network, on {device.type}", header, rows)


class CheckpointClock(Checkpoint):
    """A checkpoint that adds up the seconds it takes."""

    seconds, n = 0.0, 0

    def save(self, state: dict[str, Any]) -> None:
        start = time.perf_counter()
        super().save(state)
        self.seconds, self.n = self.seconds + time.perf_counter() - start, self.n + 1


def checkpoints(device: torch.device) -> None:
    """The share of the time that checkpoints take, of a small model and of one of 45 MB with as much momentum."""
    rows = []
    for name, setting in (
        ("mlp of 4 layers of 128, 300 epochs", {"epochs": 300, "hid_dim": 128, "lr": 0.01}),
        ("resnet18, 1 epoch", {"model": "resnet18", "optimizer": "momentum", "lr": 0.01, "epochs": 1}),
    ):
        complete = check_setting({"dataset": "cifar10", **setting})
        with tempfile.TemporaryDirectory() as folder:
            clock = CheckpointClock(Path(folder) / "checkpoint.pt")
            trainer = Trainer(complete, random_splits(1_000), device, clock)
            start = time.perf_counter()
            trainer.run()
            seconds = time.perf_counter() - start
        rows.append([name, seconds, clock.n, clock.seconds, f"{100 * clock.seconds / seconds:.1f} %"])
    header = ["", "seconds", "checkpoints", "seconds of them", "share"]
    common.print_table(f"Checkpoints, on {device.type}", header, rows)


def against_airbench(device: torch.device) -> None:
    """The loop of airbench's 94 % network and this one, at its network, precision, batch size and augmentation."""
    import airbench
    from airbench.lib_airbench94 import hyp

    n, epochs, batch_size = 50_000, 5, hyp["opt"]["batch_size"]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name, size in (("train", n), ("test", 100)):
            Path("cifar10").mkdir(exist_ok=True)
            images = torch.randint(256, (size, 32, 32, 3), dtype=torch.uint8)
            content = {"images": images, "labels": torch.randint(10, (size,)), "classes": [str(i) for i in range(10)]}
            torch.save(content, f"cifar10/{name}.pt")
        airbench.warmup94()
        torch.cuda.synchronize()
        start = time.perf_counter()
        airbench.train94(epochs=epochs, verbose=False)
        torch.cuda.synchronize()
        theirs = n * epochs / (time.perf_counter() - start)
    setting = {"model": "step:airbench_net", "precision": "fp16", "channels_last": True, "batch_size": batch_size}
    ours = samples_per_second(n, device, epochs, **setting, optimizer="nag", random_crop=2, horizontal_flip=True)
    rows = [[batch_size, round(theirs), round(ours), theirs / ours]]
    common.print_table(
        "Images a second, airbench's network", ["batch size", "airbench", "pipeline", "airbench's lead"], rows
    )


def airbench_net(in_shape: tuple[int, ...], n_classes: int) -> torch.nn.Module:
    """Return airbench's network; this pipeline's mixed precision wants its weights in single precision."""
    from airbench import make_net94

    return make_net94().float()


def main() -> None:
    common.print_machine("torchvision")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    against_tutorial(device)
    if device.type == "cuda":
        against_airbench(device)
    torch.set_num_threads(1)
    checkpoints(device)


if __name__ == "__main__":
    main()
