"""The same 60 runs by this pipeline and by what a user would pick instead: python benchmarks/peers.py [NAME ...]

Digits, MLP of 1 to 5 layers of 100, 20 epochs, batch 64: 4 learning rates x 5 depths x 3 seeds, on two cores. Then one
setting is added to the finished sweep, and a new sweep is killed half-way and started again. Every way is given the
list of settings and finds out by itself, or does not, what is left to do.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import common
import notebook
import numpy as np

PEERS = Path(__file__).parent / "peers"
N = 60


@dataclass
class Way:
    """One way to do the sweep: its command for a number of settings, and where its runs tell their outcome."""

    name: str
    command: list[str]
    environment: dict[str, str]
    ours: bool = False

    def folder(self) -> Path:
        if not self.ours:
            return Path(tempfile.mkdtemp(prefix="benchmark-"))
        folder = common.pipeline(config(N))
        np.savez(folder / "splits.npz", **notebook.SPLITS)  # the same split for all
        return folder

    def wall(self, folder: Path, n: int = N, kill_after: float = 0) -> float:
        if self.ours:
            (folder / "config.yaml").write_text(json.dumps(config(n)))
        variables = {"RESULTS": str(folder / "results.jsonl"), "PYTHONPATH": str(PEERS), **self.environment}
        command = [part.format(n=n) for part in self.command]
        return common.wall(command, folder, variables, kill_after)

    def accuracies(self, folder: Path) -> list[float]:
        """The test accuracy of every run that was trained, repeated ones too."""
        if self.ours:
            logs = [path.read_text() for path in folder.glob("results/logs/sweep-*.log")]
            lines = [line for log in logs for line in log.splitlines() if ": test accuracy " in line]
            return [float(line.split("test accuracy ")[1].split()[0]) for line in lines]
        results = folder / "results.jsonl"
        return [json.loads(line)["test_acc"] for line in results.read_text().splitlines()] if results.exists() else []


def config(n: int) -> dict[str, Any]:
    """The sweep for this pipeline."""
    settings = [*notebook.SETTINGS, notebook.ADDED][:n]
    data = {"dataset": "npz", "data_path": "splits.npz"}
    defaults = {"epochs": notebook.EPOCHS, "batch_size": notebook.BATCH_SIZE, "hid_dim": notebook.HID_DIM, **data}
    return {"defaults": defaults, "experiments": {"sweep": {"settings": settings, "figures": []}}}


PYTHON = sys.executable
SNAKEMAKE = ["snakemake", "--cores", "2", "--quiet", "all", "--", "sweep"]
WAYS = [
    Way("loop", [PYTHON, str(PEERS / "loop.py"), "{n}"], {}),
    Way("pipeline", SNAKEMAKE, {}, ours=True),
    Way("pipeline, a fresh process a run", SNAKEMAKE, {"DLSWEEP_WARM": "0"}, ours=True),
    Way(
        "hydra",
        [
            *(PYTHON, str(PEERS / "hydra_app.py"), "--multirun", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
            "index=range(0,{n})",
        ],
        {},
    ),
    Way("optuna", [PYTHON, str(PEERS / "optuna_app.py"), "{n}"], {}),
    Way("ray", [PYTHON, str(PEERS / "ray_app.py"), "{n}"], {"RAY_DISABLE_IMPORT_WARNING": "1"}),
]


def main() -> None:
    chosen = [way for way in WAYS if not sys.argv[1:] or way.name in ("loop", *sys.argv[1:])]
    common.print_machine("hydra-core", "hydra-joblib-launcher", "optuna", "ray")
    rows, later = [], []
    loop = expected = None
    for way in chosen:
        folder = way.folder()
        seconds = way.wall(folder)
        done = way.accuracies(folder)
        loop = loop or seconds
        accuracy = statistics.median(done)  # a deep network that a seed lets fail would move a mean
        expected = expected or accuracy
        assert len(done) >= N and abs(accuracy - expected) < 0.01, (way.name, len(done), accuracy, expected)
        rows.append([way.name, seconds, seconds / loop, N / seconds * 60, len(done), f"{100 * accuracy:.1f} %"])
        print(f"{way.name}: {seconds:.1f} s", file=sys.stderr, flush=True)
        added = way.wall(folder, N + 1)
        n_added = len(way.accuracies(folder)) - len(done)
        shutil.rmtree(folder)

        folder = way.folder()
        killed = way.wall(folder, kill_after=seconds / 2)
        again = way.wall(folder)
        n_trained = len(way.accuracies(folder))
        later.append([way.name, added, n_added, killed + again, (killed + again) / seconds, n_trained])
        shutil.rmtree(folder, ignore_errors=True)
    header = ["", "seconds", "of the loop's time", "runs a minute", "runs trained", "median test accuracy"]
    common.print_table(f"{N} runs on two cores", header, rows)
    header = ["", "one setting added: seconds", "runs trained", "killed half-way: seconds in all", "of one whole sweep"]
    common.print_table("One setting more, and an interruption", [*header, "runs trained"], later)


if __name__ == "__main__":
    main()
