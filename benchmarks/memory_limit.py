"""Train on data three times as large as the memory: python benchmarks/memory_limit.py [MB of data]

A run in a control group whose memory is a third of the data, beside one without a limit: both must come to
the same bits. Needs Linux, and to be allowed to make a control group (root, or a delegated one: `systemd-run --user
--scope -p Delegate=yes`). The file's pages are dropped before each run, so both read it from the disk at first.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

import common
import torch

from dlsweep.config.identity import check_setting
from dlsweep.tasks.checkpoint import Checkpoint
from dlsweep.tasks.classification.data import load_splits, save
from dlsweep.tasks.classification.training import Trainer, preload

MB = 10**6
SIDE = 64  # pixels
TIMES = 3  # the memory
V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


def write(path: Path, megabytes: int) -> None:
    """Write a prepared file of random images of about that size."""
    n = megabytes * MB // (3 * SIDE * SIDE)
    generator = torch.Generator().manual_seed(0)
    content: dict[str, Any] = {"classes": [str(i) for i in range(10)]}
    for split, share in (("train", n * 9 // 10), ("test", n // 10)):
        content[f"x_{split}"] = torch.randint(256, (share, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
        content[f"y_{split}"] = torch.arange(share) % 10
    save(content, path)


def forget(path: Path) -> None:
    """Take the file's pages out of the memory, or a group would not be charged for them."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def control_group(limit: int) -> Iterator[Path]:
    """Make a group of processes that has so many bytes of memory, and yield its folder."""
    first = V1.exists()
    group = (V1 if first else V2) / f"memory_limit-{os.getpid()}"
    group.mkdir()
    try:
        (group / ("memory.limit_in_bytes" if first else "memory.max")).write_text(str(limit))
        yield group
    finally:
        group.rmdir()


def train(path: Path) -> dict[str, Any]:
    """Do a run of an epoch in this process; return what came of it and what it cost."""
    torch.set_num_threads(1)
    preload()
    setting = check_setting({"dataset": "cifar10", "epochs": 1, "batch_size": 64, "hid_dim": 64})
    start, faults = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_majflt
    data = load_splits(path, setting)
    loaded = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        outcome = Trainer(setting, data, torch.device("cpu"), Checkpoint(Path(folder) / "checkpoint.pt")).run()
    (entry,) = outcome["epochs"]
    return {
        "losses": [entry["train_loss"], entry["val_loss"], outcome["final"]["test_loss"]],
        "statistics": loaded - start,
        "seconds": time.perf_counter() - start,
        "faults": resource.getrusage(resource.RUSAGE_SELF).ru_majflt - faults,
    }


def in_a_process(path: Path, group: Path | None = None) -> dict[str, Any]:
    forget(path)

    def enter() -> None:
        if group:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    command = [sys.executable, __file__, "--train", str(path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, preexec_fn=enter)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(megabytes: int) -> None:
    common.print_machine()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        path = Path(folder) / "cifar10.pt"
        write(path, megabytes)
        size = path.stat().st_size
        free = in_a_process(path)
        with control_group(size // TIMES) as group:
            limited = in_a_process(path, group)
    assert free["losses"] == limited["losses"], f"not the same bits: {free['losses']} and {limited['losses']}"
    rows = [
        [name, round(found["statistics"], 1), round(found["seconds"], 1), found["faults"]]
        for name, found in (("no limit", free), (f"{size // TIMES // MB} MB", limited))
    ]
    header = ["memory", "opening and statistics (s)", "all (s)", "pages read while it waited"]
    common.print_table(f"An epoch of an MLP on {size / MB:.0f} MB of images, in shuffled order", header, rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        print(json.dumps(train(Path(sys.argv[2]))))
    else:
        main(int(sys.argv[1]) if sys.argv[1:] else 2400)
