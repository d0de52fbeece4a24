"""What a job is called with, the data that it reads, and whose record it may copy."""

from __future__ import annotations

import functools
import json
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from dlsweep.config.files import own_path
from dlsweep.config.hyperparameters import HYPERPARAMETERS
from dlsweep.config.identity import Setting, default
from dlsweep.config.keep import Keep
from dlsweep.config.labels import alike
from dlsweep.config.options import as_said
from dlsweep.config.paths import DATA_KEYS, hash_in, init_from, record_name
from dlsweep.config.sweep import Experiment, Sweep
from dlsweep.config.tasks import is_built_in, task_of


def source_files(setting: Setting) -> list[str]:
    """Return the user's own file or folders that a setting's data are prepared from, as far as they are there.

    Of a folder of images these are its folders, whose time stamps change when images come or go.
    """
    if not is_built_in(setting) or not setting.get("data_path"):
        return []
    path = own_path(setting["data_path"])
    below = [folder for pattern in ("*/", "*/*/") for folder in path.glob(pattern)] if path.is_dir() else []
    return [str(found) for found in (path, *sorted(below)) if found.exists()]


def prepare_arguments(setting: Setting) -> str:
    """Return the options of scripts/prepare.py for the data of a setting, quoted for the shell."""
    always = ("dataset", "data_path", "image_size")
    values = {key: setting[key] for key in DATA_KEYS if setting.get(key) is not None}
    said = {key: value for key, value in values.items() if key in always or value != default(key, {})}
    return run_options(as_said(said, HYPERPARAMETERS))


def train_arguments(exp_name: str, digest: str, setting: Setting, data: str, results: str) -> str:
    """Return the options of scripts/train.py for one setting, quoted for the shell.

    `data` is the prepared data set, "" for none.
    """
    options = {"exp_name": exp_name, "hash": digest, **({"data": data} if data else {}), "results": results}
    return run_options({**options, **as_said(setting, task_of(setting).hyperparameters)})


def setting_options(setting: Setting) -> list[str]:
    """Return the options of scripts/train.py that say a setting."""
    return [_option(key, text) for key, text in _texts(as_said(setting, task_of(setting).hyperparameters)).items()]


def run_options(values: Mapping[str, Any]) -> str:
    """Return values as options of a script, quoted for the shell."""
    return " ".join(_quoted(key, text) for key, text in _texts(values).items())


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}


@functools.lru_cache(maxsize=10_000)  # quoting takes its time, and most settings of a large sweep share their values
def _quoted(key: str, text: str) -> str:
    return shlex.quote(_option(key, text))


def _option(key: str, text: str) -> str:
    return f"--{key.replace('_', '-')}={text}"


def twins(
    sweep: Sweep, existing: Iterable[tuple[str, str]], again: Collection[tuple[str, str]] = ()
) -> dict[tuple[str, str], str]:
    """Say which records wait for another one: (exp_name, hash) -> the file name of that record.

    The first experiment of the config that has a setting trains it and the others copy its record, unless a
    record of the setting exists already, of whichever experiment: then nobody waits and all copy that one.
    Records that are made again count first: who has none copies theirs, when it is there.
    """
    there = set(existing)
    on_disk = {digest for exp_name, digest in there if (exp_name, digest) not in again}
    runs = [
        (exp.name, digest)
        for exp in sweep.experiments.values()
        if not exp.course  # its slots find out by themselves
        for digest in exp.settings
    ]
    owners: dict[str, str] = {}
    for exp_name, digest in (run for run in runs if run in again):
        owners.setdefault(digest, exp_name)
    waiting: dict[tuple[str, str], str] = {}
    for exp_name, digest in runs:
        is_there = (exp_name, digest) in there or (digest in on_disk and digest not in owners)
        if is_there and (exp_name, digest) not in again:
            continue
        if owners.setdefault(digest, exp_name) != exp_name:
            waiting[exp_name, digest] = record_name(owners[digest], digest)
    return waiting


def keeps(save: str, experiments: Mapping[str, Experiment]) -> dict[tuple[str, str], Keep]:
    """Return what each run of a sweep is told, by (exp_name, hash)."""
    shared = Counter(digest for experiment in experiments.values() for digest in experiment.settings)
    started_from = {
        hash_in(value)
        for experiment in experiments.values()
        for setting in experiment.settings.values()
        if (value := init_from(setting))
    }
    found = {}
    for name, experiment in experiments.items():
        objective = experiment.objective
        n_runs = {digest: len(group) for group in alike(experiment.settings, experiment.varies) for digest in group}
        for place, digest in enumerate(experiment.settings):
            which = "shared" if save == "best" and shared[digest] > 1 else save
            which = "all" if digest in started_from else which
            found[name, digest] = Keep(which, objective.metric, objective.better, n_runs[digest], place)
    return found
