"""Look at a sweep: what it will run, what has run, what one run is, what differs, what is left over."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlsweep.config.dotted import MISSING, value_of
from dlsweep.config.identity import Setting
from dlsweep.config.sweep import Sweep
from dlsweep.results.records import list_records
from dlsweep.results.schema import FINISHED
from dlsweep.results.versions import find_outdated
from dlsweep.runs.eta import duration, expected_seconds, run_seconds_left
from dlsweep.runs.states import STATES
from dlsweep.runs.survey import Survey
from dlsweep.tasks.classification.own_parts import part_faults

# -- show ----------------------------------------------------------------------------------------------------------


def show_table(sweep: Sweep, results: Path, configs: list[str], overrides: Mapping[str, Any], as_json: bool) -> int:
    """Show the experiments of a config: how many runs, where they stand, what varies, the time left.

    The time is that of one run after another, from finished runs of the same kind; "?" where there is none yet.
    """
    rows = experiments_table(sweep, results)
    if as_json:
        print(json.dumps(rows, indent=2))
        return 0
    states = [state for state in STATES if any(state in row["states"] for row in rows)]
    lines = [["experiment", "runs", *states, "left", "varies"]]
    for row in rows:
        varies = "  ".join(f"{key}: {_listed(values)}" for key, values in row["varies"].items())
        left = "?" if row["seconds_left"] is None else duration(row["seconds_left"]) if row["seconds_left"] else "-"
        counts = (row["states"].get(state, 0) for state in states)
        lines.append([row["experiment"], row["runs"], *counts, left, varies])
    print_columns(lines)
    for line in find_outdated(sweep, results).lines(configs, overrides):
        print(line)
    for row in rows:
        if row["no_effect"]:
            print(f"{row['experiment']}: {', '.join(row['no_effect'])}: swept, but applies to none of its settings")
    for fault in part_faults(_settings_to_do(sweep, results)):
        print(f"warning: {fault}")
    return 0


def _settings_to_do(sweep: Sweep, results: Path) -> list[Setting]:
    there = set(list_records(results))
    return [setting for exp_name, digest, setting in sweep.records() if (exp_name, digest) not in there]


def experiments_table(sweep: Sweep, results: Path) -> list[dict[str, Any]]:
    """Return a row per experiment: its runs, their states, what varies, the seconds left of its runs.

    A setting that another experiment has finished, or that an earlier one will train, costs nothing here.
    """
    found = Survey(sweep, results).read()
    expect = expected_seconds(found)
    outdated = Counter(exp_name for exp_name, _ in find_outdated(sweep, results).runs)
    paid = {run.digest for run in found if run.state in FINISHED}
    rows: dict[str, dict[str, Any]] = {
        experiment.name: {
            "experiment": experiment.name,
            "runs": len(experiment.settings),
            "states": dict(Counter(run.state for run in found if run.exp_name == experiment.name)),
            "outdated": outdated[experiment.name],
            "varies": experiment.varies,
            "no_effect": [
                key
                for key in experiment.swept
                if all(value_of(one, key) is MISSING for one in experiment.settings.values())
            ],
            "seconds_left": 0.0,
        }
        for experiment in sweep.experiments.values()
    }
    for run in found:
        if run.digest not in paid:
            paid.add(run.digest)
            seconds, row = run_seconds_left(run, expect), rows[run.exp_name]
            row["seconds_left"] = (
                None if seconds is None or row["seconds_left"] is None else row["seconds_left"] + seconds
            )
    return list(rows.values())


# -- text ----------------------------------------------------------------------------------------------------------


def print_columns(lines: list[list[Any]]) -> None:
    """Print a table of plain text, numbers to the right."""
    widths = [max(len(str(line[i])) for line in lines) for i in range(len(lines[0]) - 1)]
    for line in lines:
        cells = [
            f"{cell:>{width}}" if isinstance(cell, int) else f"{cell:<{width}}"
            for cell, width in zip(line, widths, strict=False)
        ]
        print("  ".join([*cells, str(line[-1])]).rstrip())


def _listed(values: list[Any]) -> str:
    """Values as text, the middle of a long list left out."""
    texts = [value_text(value) for value in values]
    return ", ".join(texts if len(texts) <= 8 else [*texts[:3], "...", f"{texts[-1]} ({len(texts)} values)"])


def value_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
