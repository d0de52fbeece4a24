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

from dlsweep.config.axes import Dimension
from dlsweep.config.course import FOLDER, decided, left_out, slots_done, without_record
from dlsweep.config.hyperparameters import Hyperparameter
from dlsweep.config.identity import Setting
from dlsweep.config.kinds import FigureSpec
from dlsweep.config.labels import what_varies
from dlsweep.config.metrics import STANDARD, Column, Objective, own_metric, own_metric_to_json
from dlsweep.config.paths import record_name
from dlsweep.config.tasks import TASK_KEYS, Task, task_of
from dlsweep.errors import ConfigError, RecordError
from dlsweep.files import read_json

PLAN_VERSION = 1


@dataclass(frozen=True)
class PlannedSearch:
    """What is planned of a search in rounds, whose settings are decided while it runs: see course.py.

    `n_slots` are the numbers of slots of its rounds, `first` are the settings that the config decides, by their hashes.
    Of each round `until` is the epoch that its runs pause after, and `brackets` the bracket, from 1; else None.
    `n_seeds` are the numbers of runs of a point.
    """

    name: str
    n_slots: tuple[int, ...]
    first: Mapping[str, Setting]
    swept: tuple[str, ...]
    until: tuple[int | None, ...]
    brackets: tuple[int | None, ...]
    n_seeds: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as the plan's file has it."""
        said = {key: value for key, value in vars(self).items() if key != "first"}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in said.items()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], first: Mapping[str, Setting]) -> PlannedSearch:
        """Return what `to_json` has made; `first` are the settings that the config decides, by their hashes."""
        said = {key: tuple(value) for key, value in content.items() if isinstance(value, list)}
        return cls(name=content["name"], first=first, **said)

    def known(self, results: Path, first: int = 0) -> dict[str, Setting]:
        """Return the settings of the rounds from the first on that are decided by now, by their hashes."""
        return dict(run for number in range(first, len(self.n_slots)) for run in self.decided(results, number))

    def decided(self, results: Path, number: int) -> list[tuple[str, Setting]]:
        """Return (hash, setting) of each slot of a round, nothing where it is not decided yet."""
        return decided(results / FOLDER / self.name, number)[: self.n_slots[number]]

    def left_out(self, results: Path) -> int:
        """Return how many runs were left out by now, since its hours are spent."""
        return left_out(results, self.name, self.n_slots)

    def slots(self, results: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """Yield (round, slot, what came of it) of each slot that is done by now."""
        return slots_done(results, self.name, self.n_slots)


@dataclass(frozen=True)
class PlannedComparison:
    """What is planned of a fair comparison: see comparison.py.

    `of_arm` says which of what is `compared` each round is of: those that tune it, with settings that differ in
    `tuned`, and of the last rounds, one for each, the one that reports it. `ranges` are what a search tunes it in.
    """

    compared: tuple[str, ...]
    tuned: tuple[str, ...]
    of_arm: tuple[int, ...]
    ranges: Mapping[str, Dimension] = field(default_factory=dict)

    @property
    def n_arms(self) -> int:
        """How many are compared, counted for each fold and split."""
        return max(self.of_arm) + 1

    @property
    def n_tuning_rounds(self) -> int:
        """The number of rounds that tune, which come first; in each of the others one is reported."""
        return len(self.of_arm) - self.n_arms

    def to_json(self) -> dict[str, Any]:
        """Return it as the plan's file has it."""
        ranges = {key: {**vars(one), "values": list(one.values)} for key, one in self.ranges.items()}
        lists = {key: list(getattr(self, key)) for key in ("compared", "tuned", "of_arm")}
        return {**lists, "ranges": ranges}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> PlannedComparison:
        """Return what `to_json` has made."""
        compared, tuned, of_arm = (tuple(content[key]) for key in ("compared", "tuned", "of_arm"))
        ranges = {key: Dimension(**{**one, "values": tuple(one["values"])}) for key, one in content["ranges"].items()}
        return cls(compared, tuned, of_arm, ranges)


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
    search: PlannedSearch | None = None
    comparison: PlannedComparison | None = None
    """What it compares, each as it was tuned: then `settings` are those that are reported, as far as they are decided.
    """
    most_runs: int = 0
    """Of a race, how many runs it would have had if nothing could be told apart."""

    @property
    def compared(self) -> tuple[str, ...]:
        """The hyper-parameters that it compares fairly, which every label names."""
        return self.comparison.compared if self.comparison else ()

    @property
    def static(self) -> Mapping[str, Setting]:
        """The settings that do not depend on results: those that the plan's file says."""
        return self.search.first if self.search else self.settings

    @functools.cached_property
    def task(self) -> Task:
        """What its runs do. Where its source is gone by now, no more is known of it than its settings say."""
        settings = {**self.static, **self.settings}
        try:
            return task_of(next(iter(settings.values())))
        except ConfigError:
            keys = dict.fromkeys(key for one in settings.values() for key in one if key not in TASK_KEYS)
            return Task("", "", {key: Hyperparameter(object, None, "") for key in keys})

    def to_json(self) -> dict[str, Any]:
        """Return it as the plan's file has it, which says the settings themselves beside the experiments."""
        return {
            "hashes": list(self.static),
            "varies": {} if self.search and not self.comparison else self.varies,
            "figures": [figure.to_json() for figure in self.figures],
            **({"objective": self.objective.to_json()} if self.objective != STANDARD else {}),
            **({"question": self.question} if self.question else {}),
            **({"search": self.search.to_json()} if self.search else {}),
            **({"comparison": self.comparison.to_json()} if self.comparison else {}),
            **({"most_runs": self.most_runs} if self.most_runs else {}),
        }

    @classmethod
    def from_json(
        cls, name: str, content: Mapping[str, Any], settings: Mapping[str, Setting], results: Path
    ) -> PlannedExperiment:
        """Return what `to_json` has made; `settings` are those of the whole plan, `results` is its folder.

        The settings of a search are those that are decided by now, without those whose runs were stopped.
        """
        found = {digest: settings[digest] for digest in content["hashes"]}
        varies, search = content["varies"], None
        comparison = PlannedComparison.from_json(content["comparison"]) if "comparison" in content else None
        if said := content.get("search"):
            search = PlannedSearch.from_json(said, dict(found))
            known = search.known(results, comparison.n_tuning_rounds if comparison else 0)
            found = known if comparison else {**found, **known}
            varies = varies if comparison else what_varies(found.values(), search.swept)
            ended = without_record(content for _, _, content in search.slots(results))
            stopped = {key for key in ended if not (results / record_name(name, key)).exists()}
            found = {key: setting for key, setting in found.items() if key not in stopped}
        return cls(
            found,
            varies,
            tuple(FigureSpec(**figure) for figure in content["figures"]),
            Objective(**content.get("objective", {})),
            content.get("question", ""),
            search,
            comparison,
            content.get("most_runs", 0),
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
            "settings": {
                digest: setting for exp in self.experiments.values() for digest, setting in exp.static.items()
            },
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
            {
                name: PlannedExperiment.from_json(name, part, settings, Path(content["results"]))
                for name, part in content["experiments"].items()
            },
            content["parquet"],
            content.get("outdated", {}),
            {name: own_metric(**said) for name, said in content.get("metrics", {}).items()},
        )


def read_plan(path: Path) -> Plan:
    """Return the plan of a file. Raises RecordError naming the file where it is no plan."""
    content = read_json(path)
    try:
        return Plan.from_json(content)
    except ConfigError as error:
        raise RecordError(str(error)) from None
    except (KeyError, TypeError, AttributeError):
        raise RecordError(f"{path}: is not a plan of this version") from None
