"""Look at a sweep: what it will run, what has run, what one run is. Reads records, never writes one."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from .progress import STATES, runs
from .sweep import Experiment, Sweep


def show(options: argparse.Namespace) -> int:
    """Show the experiments of a config: how many runs, where they stand, what varies."""
    table = experiments_table(options.sweep, options.results)
    if options.json:
        print(json.dumps(table, indent=2))
        return 0
    states = [state for state in STATES if any(state in row["states"] for row in table)]
    lines = [["experiment", "runs", *states, "varies"]]
    for row in table:
        varies = "  ".join(f"{key}: {', '.join(map(_text, values))}" for key, values in row["varies"].items())
        lines.append([row["experiment"], row["runs"], *(row["states"].get(state, 0) for state in states), varies])
    print_columns(lines)
    return 0


def experiments_table(sweep: Sweep, results: Path) -> list[dict[str, Any]]:
    """Return a row per experiment: its runs, their states, what varies."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in sweep.experiments}
    for run in runs(sweep, results):
        counts[run.exp_name][run.state] += 1
    return [_row(experiment, counts[experiment.name]) for experiment in sweep.experiments.values()]


def _row(experiment: Experiment, states: Counter[str]) -> dict[str, Any]:
    return {
        "experiment": experiment.name,
        "runs": len(experiment.settings),
        "states": dict(states),
        "varies": experiment.varies,
    }


def print_columns(lines: list[list[Any]]) -> None:
    """Print a table of plain text, numbers to the right."""
    widths = [max(len(str(line[i])) for line in lines) for i in range(len(lines[0]) - 1)]
    for line in lines:
        cells = [
            f"{cell:>{width}}" if isinstance(cell, int) else f"{cell:<{width}}"
            for cell, width in zip(line, widths, strict=False)
        ]
        print("  ".join([*cells, str(line[-1])]).rstrip())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
