"""Say which records stay the same, bit for bit, when a run is repeated under other circumstances.

    python benchmarks/determinism.py

Trains a few small settings on the digits in a process of its own for each circumstance, and prints a table:
`same`, or the largest relative difference of a training loss. See docs/explanation/determinism.md.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

SETTINGS = {
    "mlp": {},
    "mlp, 500 units, adam": {"hid_dim": 500, "optimizer": "adam", "batch_size": 256},
    "mlp, batch norm, dropout": {"batch_norm": True, "dropout": 0.2, "optimizer": "adam"},
    "cnn": {"model": "cnn", "optimizer": "adam"},
    "cnn, batch norm, crop": {"model": "cnn", "batch_norm": True, "optimizer": "momentum", "random_crop": 1},
    "cnn, bf16": {"model": "cnn", "optimizer": "adam", "precision": "bf16", "channels": 8},
    "resnet20": {"model": "resnet20", "optimizer": "momentum"},
}

CIRCUMSTANCES = {
    "again": {},
    "2 threads": {"threads": "2"},
    "torch without AVX-512": {"ATEN_CPU_CAPABILITY": "avx2"},
    "oneDNN without AVX-512": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
}


def train_all(threads: int, folder: Path) -> dict[str, list[float]]:
    """Return the training, validation and test losses of every setting."""
    import torch

    from dlsweep.config.identity import check_setting
    from dlsweep.tasks.checkpoint import Checkpoint
    from dlsweep.tasks.classification.data import load_splits, prepare
    from dlsweep.tasks.classification.training import Trainer

    torch.set_num_threads(threads)
    prepare(check_setting({}), folder / "digits.pt", folder)
    losses = {}
    for name, values in SETTINGS.items():
        setting = check_setting({"epochs": 2, "train_size": 500, **values})
        data = load_splits(folder / "digits.pt", setting)
        outcome = Trainer(setting, data, torch.device("cpu"), Checkpoint(folder / "checkpoint.pt")).run()
        epochs = [epoch[key] for epoch in outcome["epochs"] for key in ("train_loss", "val_loss")]
        losses[name] = [*epochs, outcome["final"]["test_loss"]]
    return losses


def in_a_process(threads: str = "1", **environment: str) -> dict[str, list[float]]:
    command = [sys.executable, __file__, threads]
    done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, check=True)
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    first = in_a_process()
    others = [in_a_process(**circumstance) for circumstance in CIRCUMSTANCES.values()]
    print("| setting |", " | ".join(CIRCUMSTANCES), "|\n|---" + "|---" * len(others) + "|")
    for name, losses in first.items():
        differences = [max(abs(a - b) / abs(a) for a, b in zip(losses, other[name], strict=True)) for other in others]
        print(f"| {name} |", " | ".join("same" if d == 0 else f"{d:.0e}" for d in differences), "|")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        with tempfile.TemporaryDirectory() as scratch:
            print(json.dumps(train_all(int(sys.argv[1]), Path(scratch))))
    else:
        main()
