"""What did not finish, and why: the table that ends a sweep with failures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from .progress import Run, run_state
from .records import record_name
from .sweep import Sweep

MOST_NAMED = 20  # lines a user still reads


def unfinished(sweep: Sweep, results: Path, command: Callable[[str, str], str]) -> str:
    """Return how many runs have no record, and of those that failed: setting, epoch, cause, log, command."""
    missing = [
        run_state(results, exp_name, digest)
        for exp_name, digest, _ in sweep.records()
        if not (results / record_name(exp_name, digest)).exists()
    ]
    failed = [(run, cause) for run in missing if (cause := _cause(results, run))]
    counts = Counter("failed" if cause else run.state for run in missing for cause in [_cause(results, run)])
    n_runs = sum(len(experiment.settings) for experiment in sweep.experiments.values())
    lines = []
    for run, cause in failed[:MOST_NAMED]:
        experiment = sweep.experiments[run.exp_name]
        setting = experiment.settings[run.digest]
        varies = " ".join(f"{key}={json.dumps(setting[key])}" for key in experiment.varies if key in setting)
        lines += [
            f"{run.exp_name} {varies or run.digest[:12]}: {run.state} after epoch {_epoch(run)} of {setting['epochs']}",
            f"    {cause}",
            f"    log: {_log(results, run)}",
            f"    by hand: {command(run.exp_name, run.digest)}",
        ]
    if len(failed) > MOST_NAMED:
        lines.append(f"... and {len(failed) - MOST_NAMED} more")
    states = ", ".join(f"{n} {state}" for state, n in counts.items())
    return "\n".join([*lines, f"{len(missing)} of {n_runs} runs are not finished ({states}); start again to go on"])


def _epoch(run: Run) -> int:
    return len(run.record.get("epochs", []))


def _log(results: Path, run: Run) -> Path:
    return results / "logs" / record_name(run.exp_name, run.digest).replace(".json", ".log")


def _cause(results: Path, run: Run) -> str:
    """Why a run failed, in one line; nothing where it did not."""
    if run.error:
        return run.error
    if run.state == "new" and (log := _log(results, run)).exists():  # it failed before it had a running record
        lines = log.read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
    return ""
