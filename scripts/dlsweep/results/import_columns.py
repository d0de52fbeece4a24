"""What the columns of somebody's table of runs are: hyper-parameters, metrics, the epoch, or none of our business.

Known are the headings of W&B, MLflow, TensorBoard, Optuna and Ray Tune; what is decided is shown and can be said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dlsweep.config.metrics import KNOWN_FAMILIES, SPLITS, parts_of
from dlsweep.config.names import nearest
from dlsweep.errors import ConfigError

PARAMETER_SECTIONS = ("config", "params", "parameters", "param", "args", "hparams", "hyperparameters", "setting")
METRIC_SECTIONS = ("metrics", "metric", "results", "result", "summary", "final", "hparam")
"""TensorBoard's own examples call what is measured hparam/accuracy."""
HISTORY = "history"
"""The section of what a JSON file has of each epoch."""
OTHER_SECTIONS = ("tags", "user_attrs", "system_attrs", "_wandb", "artifacts", "info", "environment")
_SECTIONS = (*PARAMETER_SECTIONS, *METRIC_SECTIONS, *OTHER_SECTIONS, HISTORY)
_SECTION = re.compile(rf"({'|'.join(_SECTIONS)})[./](.+)", re.IGNORECASE)
_OPTUNA = re.compile(r"(params|user_attrs|system_attrs)_(.+)")

RUN = ("run_id", "run id", "trial_id", "trial id", "id", "run", "run_name", "trial", "number", "name")
EPOCH = ("epoch", "current_epoch", "training_iteration", "step", "global_step", "iteration", "iter")
STATUS = ("state", "status")
TIMES = {
    **dict.fromkeys(("total_seconds", "runtime", "time_total_s"), "total_seconds"),
    "train_seconds": "train_seconds",
    "n_parameters": "n_parameters",
}
"""Columns of a run that records have a place of their own for."""
BOOKKEEPING = (
    *("created", "notes", "user", "tags", "sweep", "group", "job type", "jobtype", "timestamp", "wandb", "version"),
    *("experiment_id", "artifact_uri", "start_time", "end_time", "start time", "end time", "duration", "source"),
    *("source type", "source name", "models", "datetime_start", "datetime_complete", "date", "hostname", "host"),
    *("node_ip", "pid", "done", "logdir", "trial_name", "time_this_iter_s", "time_since_restore", "exp_name", "hash"),
    *("iterations_since_restore", "label", "show metrics", "wall time", "outdated", "code", "python", "torch"),
)
_NO_METRIC = re.compile(
    r".*_(size|batch|split|fraction|ratio|epochs?|steps?|path|files?|dir|data|dataset|samples?|subset|transform|"
    r"workers|seed|every|interval|augmentation|examples|batches|prop|frac|len|length|name)"
)
_SPLITS = {"training": "train", "valid": "val", "validation": "val", "dev": "val", "testing": "test"}
_AVERAGES = ("macro", "micro", "weighted")


@dataclass(frozen=True)
class Said:
    """What the user says of the columns. `parameters` are all of them; None: those that are nothing else by name."""

    parameters: Sequence[str] | None = None
    metrics: Sequence[str] = ()
    ignore: Sequence[str] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    percent: Sequence[str] = ()
    run: str | None = None
    epoch: str | None = None


@dataclass
class Columns:
    """What each column is. Those of hyper-parameters, metrics and times map to the name that they have here."""

    parameters: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)
    times: dict[str, str] = field(default_factory=dict)
    run: str | None = None
    epoch: str | None = None
    status: str | None = None
    percent: set[str] = field(default_factory=set)
    left_out: dict[str, str] = field(default_factory=dict)  # and why

    def describe(self) -> list[str]:
        """Return the lines that show the user what is taken for what."""
        lines = [
            ("hyper-parameters", [_renamed(*pair) for pair in self.parameters.items()]),
            ("metrics", [_renamed(*pair) for pair in self.metrics.items()]),
            ("also", [_renamed(*pair) for pair in self.times.items()]),
            *((what, [column]) for what, column in (("epoch", self.epoch), ("status", self.status)) if column),
            ("left out", [f"{column or '(no name)'}{why and f' ({why})'}" for column, why in self.left_out.items()]),
        ]
        return [f"  {what:<17} {', '.join(columns)}" for what, columns in lines if columns]


def _renamed(column: str, name: str) -> str:
    return name if column == name else f"{name} (from {column})"


def metric_name(column: str) -> str | None:
    """Return the name of a metric that a column is by its heading: that of a split, or of a known family; else None."""
    name = name_here(column).lower()
    family, _, split = name.rpartition("_")
    if family in KNOWN_FAMILIES and split in (*SPLITS, *_SPLITS):  # Loss/val
        name = f"{split}_{family}"
    split, _, family = name.partition("_")
    name = f"{_SPLITS[split]}_{family}" if split in _SPLITS and family else name
    if _NO_METRIC.fullmatch(name):
        return None
    words = name.split("_")
    known = words[-1] in KNOWN_FAMILIES or (words[-1] in _AVERAGES and words[0] in KNOWN_FAMILIES)
    return name if parts_of(name).split or known else None


def name_here(column: str) -> str:
    """Return a column's name as tables and configs can have it: letters, digits and _; without its section."""
    found = _SECTION.fullmatch(column) or _OPTUNA.fullmatch(column)
    return re.sub(r"\W+", "_", found[2] if found else column, flags=re.ASCII).strip("_")


def sort_columns(columns: Sequence[str], has_numbers: Callable[[str], bool | None], said: Said) -> Columns:
    """Say what each column is; `has_numbers` tells whether a column has any, None where it is empty.

    Raises ConfigError where the user names a column that is not there, or two columns have one name.
    """
    given = {option: _find(getattr(said, option), columns, option) for option in ("metrics", "ignore", "percent")}
    of_runs = [column for column in columns if not of_epochs(column)]
    parameters = None if said.parameters is None else _find(said.parameters, of_runs, "parameters")
    names = {column: said.rename[name] for name in said.rename for column in _find([name], columns, "rename")}
    run, epoch = (
        next(iter(_find([name], of_runs, option)), None) if name else None
        for option, name in (("run", said.run), ("epoch", said.epoch))
    )
    taken = {*given["metrics"], *given["ignore"], *(parameters or ()), *filter(None, (run, epoch))}
    found = Columns(
        run=run or _first(RUN, of_runs, taken),
        epoch=epoch or _first(EPOCH, of_runs, taken),
        status=_first(STATUS, of_runs, taken),
        percent=set(given["percent"]),
    )
    special = {found.run, found.epoch, found.status}
    optuna = any(_OPTUNA.fullmatch(column) for column in columns)
    for column in columns:
        section, name = _section(column), names.get(column, name_here(column))
        by_name = names.get(column, metric_name(column) or name)
        numbers = has_numbers(column)
        if column in given["ignore"]:
            found.left_out[column] = "--ignore"
        elif parameters is not None and column in parameters:
            found.parameters[column] = name
        elif column in given["metrics"]:
            found.metrics[column] = by_name
        elif column in special:
            continue
        elif numbers is None:
            found.left_out[column] = "empty"
        elif section in OTHER_SECTIONS or _is_bookkeeping(column, name):
            if time := TIMES.get(_plain(column)):
                found.times[column] = time
            else:
                found.left_out[column] = ""
        elif section in (*METRIC_SECTIONS, HISTORY) or (optuna and re.fullmatch(r"values?(_\d+)?", column)):
            if numbers:
                found.metrics[column] = by_name
            else:
                found.left_out[column] = "no number"
        elif section not in PARAMETER_SECTIONS and numbers and (metric_name(column) or metric_name(name)):
            found.metrics[column] = by_name
        elif parameters is None:
            found.parameters[column] = name
        else:
            found.left_out[column] = "not among --parameters"
    if found.run:
        found.left_out[found.run] = "names the runs"
    _refuse_twice({column: name for column, name in {**found.parameters, **found.metrics}.items() if column in of_runs})
    _refuse_twice({column: name for column, name in found.metrics.items() if column not in of_runs})
    return found


def of_epochs(column: str) -> bool:
    """Say whether a column is one of the epochs in a JSON file."""
    return _section(column) == HISTORY


def _find(names: Iterable[str], columns: Sequence[str], option: str) -> dict[str, None]:
    """The columns of these headings, or of the names that these have here."""
    found: dict[str, None] = {}
    for name in names:
        matching = [column for column in columns if column == name]
        matching = matching or [column for column in columns if name in (name_here(column), metric_name(column))]
        if not matching:
            raise ConfigError(f"--{option}: there is no column {name!r}.{nearest(name, columns)}")
        found.update(dict.fromkeys(matching))
    return found


def _section(column: str) -> str:
    found = _SECTION.fullmatch(column) or _OPTUNA.fullmatch(column)
    return found[1].lower() if found else ""


def _plain(column: str) -> str:
    return name_here(column).lower() if "_" in column or "/" in column or "." in column else column.strip().lower()


def _first(known: Sequence[str], columns: Sequence[str], taken: set[str]) -> str | None:
    """The first column that has one of these headings, in the order of `known`."""
    by_name: dict[str, str] = {}
    for column in columns:
        if column not in taken and _section(column) not in PARAMETER_SECTIONS:
            by_name.setdefault(_plain(column), column)
    return next((by_name[name] for name in known if name in by_name), None)


def _is_bookkeeping(column: str, name: str) -> bool:
    """Say whether a column is what its tool notes of a run: also a second name, epoch or status."""
    others = (*RUN, *EPOCH, *STATUS, *TIMES, *BOOKKEEPING)
    return not name or column.startswith("Unnamed: ") or _plain(column) in others


def _refuse_twice(names: Mapping[str, str]) -> None:
    first: dict[str, str] = {}
    for column, name in names.items():
        other = first.setdefault(name, column)
        if other != column:
            raise ConfigError(
                f"{column}: has the name {name} here, as {other} has; --rename {column!r}=OTHER gives it another, and"
                " --ignore leaves it out"
            )
