"""`sweep.py import`: results that were made elsewhere, as records."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlsweep.config.sweep import SAFE_NAME, name_after
from dlsweep.errors import ConfigError
from dlsweep.results.import_columns import Said
from dlsweep.results.import_runs import CONFIG, import_runs
from dlsweep.results.importing import import_results


def import_from(
    source: Path,
    results: Path,
    setting: Sequence[tuple[str, Any]],
    experiment: str | None,
    objective: str,
    parameters: Sequence[str] | None,
    metrics: Sequence[str],
    ignore: Sequence[str],
    rename: Sequence[tuple[str, Any]],
    percent: Sequence[str],
    run: str | None,
    epoch: str | None,
    output: Path,
) -> int:
    """Import runs that were trained elsewhere as records, and write a config that names them.

    A CSV file has a row for each run, or for each run and epoch; of JSON files each is a run. A folder without
    --experiment holds results of the lecture's notebooks, which are those of the built-in training. What is there is
    only read, and no record is overwritten.
    """
    names = {old: str(new) for old, new in rename}
    said = Said(parameters, tuple(metrics), tuple(ignore), names, tuple(percent), run, epoch)
    if source.is_dir() and not experiment:
        if said != Said() or objective or output != CONFIG:
            raise ConfigError("--experiment: is missing; without it a folder holds results of the lecture's notebooks")
        return import_results(source, results, setting)
    if not source.exists():
        raise ConfigError(f"{source}: there is no such file or folder")
    if setting:
        raise ConfigError("--setting: is for the lecture's results; a run's own values are in its row or file")
    name = experiment or name_after(source) or "imported"
    if not SAFE_NAME.fullmatch(name):
        raise ConfigError(f"--experiment: {name!r} is not allowed; allowed: letters, digits and _ . -")
    return import_runs(source, results, name, objective, said, output)
