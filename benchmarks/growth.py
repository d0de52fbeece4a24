"""How a finished sweep grows with its settings, 20 epochs each: python benchmarks/growth.py [N ...]

Times a start with nothing to do, the tables, the figures and the page for 100 to 10,000 settings, and draws
them in benchmarks/growth.svg. The records are generated, and valid: the tables read every one.
"""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

import common

from dlsweep.config.identity import setting_hash
from dlsweep.config.paths import record_name
from dlsweep.config.sweep import load_sweep
from dlsweep.files import write_json
from dlsweep.results.schema import SCHEMA_VERSION

EPOCHS = 20


def config(n: int) -> dict[str, Any]:
    """A sweep of `n` settings: n / 50 learning rates, 5 depths and 10 seeds."""
    grid = {"lr": [{"logspace": [1e-4, 1, n // 50]}], "n_layer": [1, 2, 3, 4, 5]}
    return {"defaults": {"epochs": EPOCHS}, "experiments": {"growth": {"grid": grid, "seeds": 10}}}


def record(exp_name: str, setting: dict[str, Any], generator: random.Random) -> dict[str, Any]:
    """Return a finished record of a setting whose numbers are drawn."""
    draw = generator.random
    names = ("train_loss", "train_acc", "val_loss", "val_acc")
    epochs = [
        {"epoch": epoch, **{name: draw() for name in names}, "lr": setting["lr"], "seconds": draw()}
        for epoch in range(1, EPOCHS + 1)
    ]
    best = min(epochs, key=lambda entry: entry["val_loss"])
    return {
        "schema_version": SCHEMA_VERSION,
        "exp_name": exp_name,
        "hash": setting_hash(setting),
        "setting": setting,
        "status": "finished",
        "epochs": epochs,
        "final": {
            "test_loss": draw(),
            "test_acc": draw(),
            "best_epoch": best["epoch"],
            "best_val_loss": best["val_loss"],
            "best_val_acc": best["val_acc"],
            "per_class_acc": [draw() for _ in range(10)],
            "confusion": [[generator.randrange(40) for _ in range(10)] for _ in range(10)],
        },
        "model": {"n_parameters": 27_710, "source_sha1": None},
        "timing": {"total_seconds": draw(), "train_seconds": draw(), "samples_per_second": draw(), "resumed": 0},
        "provenance": {"command": "python scripts/train.py", "device": "cpu x86_64", "torch": "0", "python": "3"},
    }


def measured(n: int) -> list[tuple[str, float, float, float]]:
    """Return (what, wall seconds, CPU seconds, GB) of each step on a finished sweep of `n` settings."""
    folder = common.pipeline(config(n))
    results = folder / "results"
    results.mkdir()
    generator = random.Random(0)
    for exp_name, digest, setting in load_sweep([folder / "config.yaml"]).records():
        write_json(results / record_name(exp_name, digest), record(exp_name, setting, generator), sync=False)
    snakemake = ["snakemake", "--cores", "2", "--quiet", "all"]
    common.wall([*snakemake, "--no-hooks"], folder)  # the plan, the tables and the figures, once
    (plan,) = results.glob("plan/*.json")
    found = [
        ("nothing to do", *common.measure(snakemake, folder)),
        ("tables", *common.measure([sys.executable, "scripts/aggregate.py", str(plan)], folder)),
        ("figures", *common.measure([sys.executable, "scripts/report.py", str(plan)], folder)),
        ("page", *common.measure([sys.executable, "scripts/page.py", str(plan)], folder)),
    ]
    shutil.rmtree(folder)
    return found


def draw(sizes: list[int], steps: dict[str, list[float]], path: Path) -> None:
    """Draw the CPU seconds of each step over the number of settings."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
    for name, seconds in steps.items():
        axes.plot(sizes, seconds, marker="o", label=name)
    axes.set(xscale="log", yscale="log", xlabel="settings", ylabel="CPU time (s)")
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    sizes = [int(argument) for argument in sys.argv[1:]] or [100, 300, 1_000, 3_000, 10_000]
    common.print_machine("pandas", "matplotlib")
    rows: list[list[Any]] = []
    steps: dict[str, list[float]] = {}
    for n in sizes:
        for name, seconds, cpu, memory in measured(n):
            rows.append([f"{n:,} settings: {name}", seconds, cpu, memory])
            steps.setdefault(name, []).append(cpu)
            print(*rows[-1], file=sys.stderr, flush=True)
    common.print_table("A finished sweep", ["", "wall (s)", "CPU (s)", "memory (GB)"], rows)
    if len(sizes) > 1:
        draw(sizes, steps, Path(__file__).parent / "growth.svg")


if __name__ == "__main__":
    main()
