"""The plan: all that tables and figures need to know of a sweep, in a file that is named after its content.

A changed config has another plan, so its tables and figures are made again. Loads neither torch nor pandas.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlsweep.config.hyperparameters import Hyperparameter
from dlsweep.config.identity import Setting
from dlsweep.config.kinds import FigureSpec
from dlsweep.config.metrics import STANDARD, Column, Objective, own_metric, own_metric_to_json
from dlsweep.config.tasks import TASK_KEYS, Task, task_of
from dlsweep.errors import ConfigError, RecordError
from dlsweep.files import read_json

PLAN_VERSION = 1


@dataclass(frozen=True)
class PlannedExperiment:
    """What is planned of one experiment."""

    settings: Mapping[str, Setting]
    """Each hash with its complete setting, in the config's order."""
    varies: Mapping[str, list[Any]]
    """The hyper-parameters with more than one value, each with its values."""
    figures: tuple[FigureSpec, ...] = ()
    objective: Objective = STANDARD
    question: str = ""
    """What it is to answer, as the config says it."""

    @functools.cached_property
    def task(self) -> Task:
        """What its runs do. Where its source is gone by now, no more is known of it than its settings say."""
        setting = next(iter(self.settings.values()))
        try:
            return task_of(setting)
        except ConfigError:
            keys = dict.fromkeys(key for one in self.settings.values() for key in one if key not in TASK_KEYS)
            return Task("", "", {key: Hyperparameter(object, None, "") for key in keys})

    def to_json(self) -> dict[str, Any]:
        """Return it as the plan's file has it, which says the settings themselves beside the experiments."""
        return {
            "hashes": list(self.settings),
            "varies": self.varies,
            "figures": [figure.to_json() for figure in self.figures],
            **({"objective": self.objective.to_json()} if self.objective != STANDARD else {}),
            **({"question": self.question} if self.question else {}),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any], settings: Mapping[str, Setting]) -> PlannedExperiment:
        """Return what `to_json` has made; `settings` are those of the whole plan."""
        return cls(
            {digest: settings[digest] for digest in content["hashes"]},
            content["varies"],
            tuple(FigureSpec(**figure) for figure in content["figures"]),
            Objective(**content.get("objective", {})),
            content.get("question", ""),
        )


@dataclass(frozen=True)
class Plan:
    """A sweep as its tables and figures see it."""

    name: str
    results: str
    """The folder of the records."""
    tables: str
    """The folder of the tables and figures."""
    experiments: Mapping[str, PlannedExperiment]
    parquet: bool = False
    """Whether the tables are written as Parquet too."""
    outdated: Mapping[str, list[str]] = field(default_factory=dict)
    """Of each source of code or data, the versions that have changed since they made a record."""
    metrics: Mapping[str, Column] = field(default_factory=dict)
    """What the config says of its metrics, by a metric's name or its family's."""

    @property
    def settings(self) -> dict[str, Setting]:
        """Every setting by its hash, once."""
        return {digest: setting for exp in self.experiments.values() for digest, setting in exp.settings.items()}

    @property
    def digest(self) -> str:
        """12 hex digits that change when the tables or figures of the plan would."""
        return hashlib.sha1(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:12]

    def records(self) -> Iterator[tuple[str, str]]:
        """Yield (exp_name, hash) of every record that is planned."""
        for exp_name, experiment in self.experiments.items():
            for digest in experiment.settings:
                yield exp_name, digest

    def to_json(self) -> dict[str, Any]:
        """Return the plan as its file has it: each setting once, whichever experiments have it."""
        metrics = {name: own_metric_to_json(column) for name, column in self.metrics.items()}
        return {
            "plan_version": PLAN_VERSION,
            "name": self.name,
            "results": self.results,
            "tables": self.tables,
            "parquet": self.parquet,
            "experiments": {exp_name: experiment.to_json() for exp_name, experiment in self.experiments.items()},
            "settings": self.settings,
            **({"outdated": self.outdated} if self.outdated else {}),
            **({"metrics": metrics} if metrics else {}),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Plan:
        """Return the plan of a file's content, which `to_json` has made."""
        settings = content["settings"]
        return cls(
            content["name"],
            content["results"],
            content["tables"],
            {name: PlannedExperiment.from_json(part, settings) for name, part in content["experiments"].items()},
            content["parquet"],
            content.get("outdated", {}),
            {name: own_metric(**said) for name, said in content.get("metrics", {}).items()},
        )


def read_plan(path: Path) -> Plan:
    """Return the plan of a file. Raises RecordError naming the file where it is no plan."""
    content = read_json(path)
    try:
        return Plan.from_json(content)
    except (KeyError, TypeError, AttributeError):
        raise RecordError(f"{path}: is not a plan of this version") from None
