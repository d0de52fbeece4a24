"""The memory of a run, private and shared, beside what torch itself takes: python benchmarks/memory.py

Digits, images of CIFAR-10's number and shape, and 3,000 images of 224 x 224 pixels, all random but the digits; an epoch
each. Then eight runs on CIFAR's shape at once, as the warm trainer has them. Linux only: it reads /proc.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, os.environ.get("SCRIPTS") or str(Path(__file__).parent.parent / "scripts"))

import common
import torch

from dlsweep.config.identity import check_setting
from dlsweep.tasks.checkpoint import Checkpoint
from dlsweep.tasks.classification.data import load_splits, prepare, save
from dlsweep.tasks.classification.training import Trainer, preload

MB = 1e6
DATA = {"digits": None, "cifar10": (50_000, 10_000, 32), "image_folder": (2_400, 600, 224)}
RUNS: dict[str, dict[str, Any]] = {
    "digits, MLP": {"dataset": "digits"},
    "digits, CNN": {"dataset": "digits", "model": "cnn"},
    "CIFAR-10's shape, MLP": {"dataset": "cifar10"},
    "CIFAR-10's shape, CNN, batch 64": {"dataset": "cifar10", "model": "cnn", "train_size": 4_000},
    "224 pixels, MLP": {"dataset": "image_folder", "data_path": "none", "image_size": 224},
    "224 pixels, resnet18, batch 16": {
        **{"dataset": "image_folder", "data_path": "none", "image_size": 224, "model": "resnet18"},
        **{"batch_size": 16, "train_size": 64, "val_size": 32},
    },
}
AT_ONCE = 8


def write(folder: Path) -> None:
    """Write the prepared files."""
    generator = torch.Generator().manual_seed(0)
    for name, shape in DATA.items():
        path = folder / f"{name}.pt"
        if shape is None:
            prepare(check_setting({}), path, folder)
            continue
        n_train, n_test, side = shape
        content: dict[str, Any] = {"classes": [str(i) for i in range(10)]}
        for split, n in (("train", n_train), ("test", n_test)):
            content[f"x_{split}"] = torch.randint(256, (n, 3, side, side), dtype=torch.uint8, generator=generator)
            content[f"y_{split}"] = torch.arange(n) % 10
        save(content, path)


def used(pid: int | str = "self") -> dict[str, int]:
    """Return the bytes of a process by kind, as the kernel counts them."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines}


class Peak:
    """The most that a process had, looked at every hundredth of a second."""

    def __init__(self) -> None:
        self.private = self.file = 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self) -> None:
        while not self.stop.wait(0.01):
            now = used()
            self.private = max(self.private, now["Pss_Anon"])
            self.file = max(self.file, now["Rss"] - now["Anonymous"])


def train(name: str, folder: Path) -> dict[str, float]:
    """Do a run in this process; return what it took."""
    torch.set_num_threads(1)
    preload()
    setting = check_setting({"epochs": 1, **RUNS[name]})
    before = used()
    peak = Peak()
    data = load_splits(folder / f"{setting['dataset']}.pt", setting)
    trainer = Trainer(setting, data, torch.device("cpu"), Checkpoint(folder / f"{os.getpid()}.pt"))
    trainer.run()
    peak.stop.set()
    peak.thread.join()
    return {
        "private": (peak.private - before["Pss_Anon"]) / MB,
        "shared": (peak.file - before["Rss"] + before["Anonymous"]) / MB,
        "torch": before["Rss"] / MB,
    }


def at_once(folder: Path) -> tuple[float, float]:
    """Return the MB that eight forks which train on CIFAR's shape take: together, and the most of one of them."""
    torch.set_num_threads(1)
    preload()
    children = []
    for seed in range(AT_ONCE):
        if pid := os.fork():
            children.append(pid)
            continue
        setting = check_setting({"epochs": 1, "dataset": "cifar10", "seed": seed, "train_size": 20_000})
        data = load_splits(folder / "cifar10.pt", setting)
        Trainer(setting, data, torch.device("cpu"), Checkpoint(folder / f"{seed}.pt")).run()
        os._exit(0)
    together = private = 0
    while children:
        total = used()["Pss"]
        for child in children:
            with contextlib.suppress(OSError):
                now = used(child)
                total += now["Pss"]
                private = max(private, now["Private_Dirty"])
        together = max(together, total)
        children = [child for child in children if os.waitpid(child, os.WNOHANG)[0] == 0]
        time.sleep(0.05)
    return together / MB, private / MB


def in_a_process(*arguments: str) -> Any:
    done = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    common.print_machine()
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        rows = []
        for name in RUNS:
            found = in_a_process(folder, name)
            rows.append([name, *(round(found[key]) for key in ("private", "shared", "torch"))])
        header = ["", "private beyond torch (MB)", "pages of files beyond torch's (MB)", "torch (MB)"]
        common.print_table("One run", header, rows)
        together, private = in_a_process(folder)
        rows = [[round(together), round(private)]]
        common.print_table(
            f"{AT_ONCE} runs at once, CIFAR-10's shape", ["together (MB)", "private, the most (MB)"], rows
        )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(train(sys.argv[2], Path(sys.argv[1]))))
    elif len(sys.argv) == 2:
        print(json.dumps(at_once(Path(sys.argv[1]))))
    else:
        main()
