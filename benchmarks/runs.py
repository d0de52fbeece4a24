"""What a run costs beside its training, and how that grows: python benchmarks/runs.py [N ...]

The records of the sweep in config.yaml, forked from the warm trainer and in a fresh process each, then N tiny runs of
one epoch (100 and 1,000), all on two cores.
"""

from __future__ import annotations

import json
import shutil
import sys
from typing import Any

import common
import yaml

CORES = 2


def measured(config: dict[str, Any], warm: bool = True) -> list[float]:
    """Make all records of a config; return their number, wall seconds, and what a run costs beside its training."""
    folder = common.pipeline(config)
    command = ["snakemake", "--cores", str(CORES), "--quiet", "all", "--", *config["experiments"]]
    seconds = common.wall(command, folder, {} if warm else {"DLSWEEP_WARM": "0"})
    records = [json.loads(path.read_text()) for path in folder.glob("results/*-*.json")]
    training = sum(record["timing"]["train_seconds"] for record in records)
    shutil.rmtree(folder)
    n = len(records)
    return [n, seconds, n / seconds * 60, training / n, (seconds - training / CORES) / n]


def tiny(n: int) -> dict[str, Any]:
    """`n` runs of one epoch of a small model on few images."""
    setting = {"epochs": 1, "train_size": 200, "hid_dim": 8, "grid": {"seed": {"range": [1, n]}}, "figures": []}
    return {"experiments": {"tiny": setting}}


def main() -> None:
    common.print_machine()
    embedded = yaml.safe_load((common.ROOT / "config.yaml").read_text())
    rows: list[list[Any]] = []
    for name, config, warm in [
        ("config.yaml", embedded, True),
        ("config.yaml, a fresh process a run", embedded, False),
        *((f"{n:,} tiny runs", tiny(n), True) for n in [int(argument) for argument in sys.argv[1:]] or [100, 1_000]),
    ]:
        rows.append([name, *measured(config, warm)])
        print(*rows[-1], file=sys.stderr, flush=True)
    header = ["", "runs", "wall (s)", "runs a minute", "training a run (s)", "beside it, of the wall time, a run (s)"]
    common.print_table(f"Runs on {CORES} cores", header, rows)
    print(f"Warm over fresh: {rows[0][3] / rows[1][3]:.1f} times as many runs a minute.")


if __name__ == "__main__":
    main()
