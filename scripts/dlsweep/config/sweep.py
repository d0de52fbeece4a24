"""From `config.yaml` to settings: expand, name. Loads neither torch nor pandas.

An experiment is a mapping of hyper-parameters (its base values) and of these keys (see docs/reference/sweeps.md):

    grid      {key: [values]}      the cross product
    zip       {key: [values]}      lists that advance together
    settings  [{key: value}]       an explicit list
    sample    {n, seed, key: ...}  random search
    search    {method, n, key: ..} points that fill the space evenly, or that follow from earlier results
    compare, tune                  tunes each value of a hyper-parameter by itself, then compares them
    seeds     a number or a list   every setting with each of these seeds
    split_seeds  the same          ... with each of these splits of the data
    folds     a number             ... with each fold of a cross-validation as its test split
    exclude   [{key: value}]       drops the settings that match; comparisons as text: ">0.1"
    when      [{if: ..., set: ...}] values (or lists of them) for the settings that match
    extends   another experiment, of which this one changes some keys
    figures   [{kind, x, y, ...}]  the figures; left out, they follow from what varies
    question  text                 what the experiment is to answer; it is shown with the answer
"""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dlsweep.config.axes import MOST_SETTINGS, a_mapping, check_key
from dlsweep.config.comparison import Comparison, arms_of, plan_comparison
from dlsweep.config.course import Course, example_runs, plan_course
from dlsweep.config.figures import figures_for
from dlsweep.config.files import read_configs, shown, where_stated
from dlsweep.config.hyperparameters import find
from dlsweep.config.identity import Setting, setting_hash
from dlsweep.config.kinds import FigureSpec
from dlsweep.config.labels import what_varies
from dlsweep.config.metrics import STANDARD, Column, Objective
from dlsweep.config.names import nearest
from dlsweep.config.objectives import read_metrics, read_objective
from dlsweep.config.paths import FOLDERS
from dlsweep.config.plan import Plan, PlannedComparison, PlannedExperiment, PlannedSearch
from dlsweep.config.race import Race, plan_race, racers_of
from dlsweep.config.space import Space, merged_spec, read_space
from dlsweep.config.tasks import BUILT_IN, TASK_WORDS, Task
from dlsweep.errors import ConfigError

TOP_KEYS = (
    "name",
    "parquet",
    "save",
    "keep_state",
    "jobs_per_gpu",
    "gpus_per_run",
    "outdated",
    "metrics",
    "defaults",
    "experiments",
)
OUTDATED = ("keep", "redo")
"""What becomes of finished runs whose code or data have changed since."""
SAVE = ("best", "all", "none")
"""Whose weights are kept."""
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
MOST_CHARACTERS = 300
"""Of a question."""


@dataclass(frozen=True)
class Experiment:
    """A named group of settings: `settings` maps each hash to its complete setting, in the config's order.

    Those of a search in rounds are the ones that are known by now: see `with_decided`.
    """

    name: str
    settings: dict[str, Setting]
    figures: list[FigureSpec]
    swept: tuple[str, ...] = ()  # the keys that grid, zip, settings, ... set, in the config's order
    task: Task = BUILT_IN
    objective: Objective = STANDARD
    question: str = ""
    course: Course | None = None  # of a search in rounds, or of a comparison

    @property
    def n_runs(self) -> int:
        """How many runs it has; of a search in rounds, how many slots."""
        return sum(1 for _ in self.course.slots()) if self.course else len(self.settings)

    @functools.cached_property
    def varies(self) -> dict[str, list[Any]]:
        """The hyper-parameters with more than one value, each with its values, all in the config's order."""
        return what_varies(self.settings.values(), self.swept)


@dataclass(frozen=True)
class Sweep:
    """A whole config, expanded."""

    name: str
    experiments: dict[str, Experiment]
    jobs_per_gpu: int = 1
    gpus_per_run: int = 1
    parquet: bool = False  # the tables as Parquet too
    keep_state: bool = False  # of finished runs, to continue them for more epochs
    outdated: str = "keep"  # one of OUTDATED
    save: str = "best"  # one of SAVE
    metrics: Mapping[str, Column] = field(default_factory=dict)  # what the config says of them

    def records(self) -> Iterator[tuple[str, str, Setting]]:
        """Yield (exp_name, hash, complete setting) of every record that the sweep asks for."""
        for experiment in self.experiments.values():
            for digest, setting in experiment.settings.items():
                yield experiment.name, digest, setting

    def plan(self, results: str, outdated: Mapping[str, list[str]] | None = None) -> Plan:
        """Return what the tables and figures need to know of the sweep.

        `outdated` are the versions of code and data that have changed since they made a record. Where those records are
        made again by themselves, they are no part of it.
        """
        return Plan(
            self.name,
            results,
            self.tables(results),
            {
                experiment.name: PlannedExperiment(
                    experiment.settings,
                    experiment.course.varies if isinstance(experiment.course, Comparison) else experiment.varies,
                    tuple(experiment.figures),
                    experiment.objective,
                    experiment.question,
                    _planned_search(experiment),
                    _planned_comparison(experiment.course),
                    experiment.n_runs if isinstance(experiment.course, Race) else 0,
                )
                for experiment in self.experiments.values()
            },
            self.parquet,
            dict(outdated) if outdated and self.outdated != "redo" else {},
            self.metrics,
        )

    def with_decided(self, results: Path) -> Sweep:
        """Return the sweep with those settings of its searches that are decided by now.

        Raises ConfigError where a decision cannot be read.
        """
        known = {
            experiment.name: replace(experiment, settings=dict(experiment.course.known_runs(results).values()))
            for experiment in self.experiments.values()
            if experiment.course
        }
        return replace(self, experiments={**self.experiments, **known}) if known else self

    def tables(self, results: str) -> str:
        """Return the folder of this sweep's tables and figures, which other sweeps do not share."""
        return f"{results}/{self.name}" if self.name else results


def _planned_search(experiment: Experiment) -> PlannedSearch | None:
    course = experiment.course
    if course is None:
        return None
    return PlannedSearch(
        course.name,
        tuple(course.n_slots(one.number) for one in course.rounds),
        course.static_runs(),
        experiment.swept,
        tuple(one.epochs for one in course.rounds),
        tuple(course.brackets),
        tuple(course.n_seeds(one.number) for one in course.rounds),
    )


def _planned_comparison(course: Course | None) -> PlannedComparison | None:
    if not isinstance(course, Comparison):
        return None
    search = course.space.tuning.search if course.space.tuning else None
    return PlannedComparison(course.compared, course.tuned, course.of_arm, dict(search.dimensions) if search else {})


# -- reading -------------------------------------------------------------------------------------------------------


def load_sweep(paths: Iterable[Path | str], overrides: Mapping[str, Any] | None = None) -> Sweep:
    """Read config files (later ones change earlier ones), apply overrides, and expand.

    The sweep is named after the first file unless that is `config.yaml` or the config gives a `name`.
    Raises ConfigError naming the file, the line, the key, the bad value and what is allowed.
    """
    files = [Path(path) for path in paths]
    config = read_configs(files, overrides or {})
    try:
        return expand_config(config, name_after(files[0]))
    except ConfigError as error:
        key_path = str(error).partition(": ")[0]
        message = " ".join(str(error).splitlines())  # a key may be a line break
        raise ConfigError(f"{where_stated(key_path, files, overrides or {})}: {message}") from None
    except RecursionError:
        raise ConfigError(f"{files[0]}: is nested too deeply") from None


def name_after(file: Path) -> str:
    """Return the name of the sweep of a config file that gives none; "" for config.yaml."""
    if file.stem == "config":
        return ""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", file.stem)
    if not SAFE_NAME.fullmatch(name):  # _draft, ä b, or longer than a name may be
        plain = unicodedata.normalize("NFKD", file.stem).encode("ascii", "ignore").decode()
        plain = re.sub(r"[^A-Za-z0-9_.-]", "_", plain).lstrip("_.-")
        digest = hashlib.sha1(file.stem.encode(errors="surrogateescape")).hexdigest()[:8]
        name = plain if SAFE_NAME.fullmatch(plain) else f"sweep-{digest}"
    return f"{name}_sweep" if name in FOLDERS else name


def expand_config(config: Mapping[str, Any], default_name: str = "") -> Sweep:
    """Check a config and expand its experiments into settings. Raises ConfigError naming the key's path."""
    for key in config:
        if key not in TOP_KEYS:
            raise ConfigError(f"{key}: unknown key; allowed: {', '.join(TOP_KEYS)}.{nearest(key, TOP_KEYS)}")
    name = config.get("name", default_name)
    if name and (not isinstance(name, str) or not SAFE_NAME.fullmatch(name) or name in FOLDERS):
        allowed = f"up to 100 of A-Z a-z 0-9 _ . -, beginning with a letter or digit, but not {', '.join(FOLDERS)}"
        hint = "" if isinstance(name, str) else ". Write it in quotes."
        raise ConfigError(f"name: {shown(name)} is not allowed for a sweep; allowed: {allowed}{hint}")
    jobs_per_gpu, gpus_per_run = (_count(config, key) for key in ("jobs_per_gpu", "gpus_per_run"))
    if jobs_per_gpu > 1 and gpus_per_run > 1:
        raise ConfigError(
            f"gpus_per_run: {gpus_per_run} does not go with jobs_per_gpu: {jobs_per_gpu}; either several runs share a"
            " GPU, or a run has several"
        )
    parquet, keep_state = (_yes_or_no(config, key) for key in ("parquet", "keep_state"))
    outdated, save = _one_of(config, "outdated", OUTDATED), _one_of(config, "save", SAVE)
    experiments = a_mapping(config.get("experiments", {}), "experiments")
    if not experiments:
        raise ConfigError("experiments: must name at least one experiment")
    _check_names(experiments)
    defaults = a_mapping(config.get("defaults") or {}, "defaults")
    metrics = read_metrics(config["metrics"]) if config.get("metrics") is not None else {}
    expanded = {exp_name: _expand(exp_name, experiments, defaults, metrics) for exp_name in experiments}
    _check_defaults(defaults, [experiment.task for experiment in expanded.values()])
    if gpus_per_run > 1 and all(experiment.task is BUILT_IN for experiment in expanded.values()):
        raise ConfigError(
            f"gpus_per_run: {gpus_per_run} is for a task of your own (train, command); the built-in one uses one GPU"
        )
    return Sweep(name or "", expanded, jobs_per_gpu, gpus_per_run, parquet, keep_state, outdated, save, metrics)


def _one_of(config: Mapping[str, Any], key: str, words: tuple[str, ...]) -> str:
    """The word that the config has under a key; the first where it has none."""
    word = config.get(key, words[0])
    if word not in words:
        raise ConfigError(f"{key}: {shown(word)} is not allowed; allowed: {', '.join(words)}.{nearest(word, words)}")
    return str(word)


def _yes_or_no(config: Mapping[str, Any], key: str) -> bool:
    value = config.get(key, False)
    if not isinstance(value, bool):
        raise ConfigError(f"{key}: {shown(value)} is not allowed; allowed: true, false")
    return value


def _count(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key, 1)
    if type(value) is not int or value < 1:
        raise ConfigError(f"{key}: {shown(value)} is not allowed; allowed: a whole number from 1")
    return value


def _check_names(experiments: Mapping[str, Any]) -> None:
    folded: dict[str, str] = {}
    for exp_name in experiments:
        if not SAFE_NAME.fullmatch(exp_name):
            allowed = "up to 100 of A-Z a-z 0-9 _ . -, beginning with a letter or digit"
            raise ConfigError(f"experiments.{exp_name}: is not a safe file name; allowed: {allowed}")
        other = folded.setdefault(exp_name.lower(), exp_name)
        if other != exp_name:  # some file systems take the two for one
            raise ConfigError(f"experiments.{exp_name}: differs from {other} only in upper and lower case")


def _check_defaults(defaults: Mapping[str, Any], tasks: list[Task]) -> None:
    """Each must be a hyper-parameter of one experiment's task at least."""
    for key in defaults:
        if key not in TASK_WORDS and not any(find(key, task.hyperparameters) for task in tasks):
            check_key(key, f"defaults.{key}", tasks[0])


def _expand(
    exp_name: str, experiments: Mapping[str, Any], defaults: Mapping[str, Any], metrics: Mapping[str, Column]
) -> Experiment:
    where = f"experiments.{exp_name}"
    spec = merged_spec(exp_name, experiments)
    settings: dict[str, Setting] = {}
    space = read_space(spec, defaults, where)
    if space.search:
        return _expand_search(exp_name, spec, defaults, metrics, space, where)
    if space.race:
        return _expand_race(exp_name, spec, defaults, metrics, space, where)
    if space.tuning:
        return _expand_comparison(exp_name, spec, defaults, metrics, space, where)
    try:
        for setting, _, _ in space.settings():
            settings.setdefault(setting_hash(setting), setting)
            if len(settings) > MOST_SETTINGS:
                break
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from None
    if len(settings) > MOST_SETTINGS:
        raise ConfigError(f"{where}: has more than {MOST_SETTINGS:,} settings")
    if not settings:
        raise ConfigError(f"{where}.exclude: no setting is left; every one is excluded")
    swept = _swept(space)
    objective = read_objective(spec, defaults, space.task, metrics, where, settings.values())
    varies = Experiment(exp_name, settings, [], swept).varies
    question = _question(spec.get("question"), f"{where}.question")
    method = spec["search"]["method"] if spec.get("search") else ""
    try:
        for setting in settings.values():
            space.check(setting)
        figures = figures_for(settings, varies, spec.get("figures"), objective, method)
        return Experiment(exp_name, settings, figures, swept, space.task, objective, question)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from None


def _expand_search(
    exp_name: str,
    spec: Mapping[str, Any],
    defaults: Mapping[str, Any],
    metrics: Mapping[str, Column],
    space: Space,
    where: str,
) -> Experiment:
    """Return an experiment whose settings follow from results: those that the config decides, and its course."""
    assert space.search is not None
    examples = dict(example_runs(space, f"{where}.search"))
    objective = read_objective(spec, defaults, space.task, metrics, where, examples.values())
    course = plan_course(exp_name, space, objective, f"{where}.search")
    swept = _swept(space)
    varies = what_varies(examples.values(), swept)
    return _with_course(exp_name, spec, space, course, swept, examples, varies, where)


def _expand_comparison(
    exp_name: str,
    spec: Mapping[str, Any],
    defaults: Mapping[str, Any],
    metrics: Mapping[str, Column],
    space: Space,
    where: str,
) -> Experiment:
    """Return an experiment that compares: its settings are those that tune; which are reported follows from them."""
    arms = arms_of(space, where)
    tried = [run[1] for arm in arms for candidate in arm.candidates for run in candidate]
    objective = read_objective(spec, defaults, space.task, metrics, where, tried)
    course = plan_comparison(exp_name, space, arms, objective, where)
    swept = _swept(space.while_tuning())
    return _with_course(exp_name, spec, space, course, swept, course.examples, course.varies, where)


def _expand_race(
    exp_name: str,
    spec: Mapping[str, Any],
    defaults: Mapping[str, Any],
    metrics: Mapping[str, Column],
    space: Space,
    where: str,
) -> Experiment:
    """Return an experiment whose settings race: those of their first seeds; who gets more follows from these."""
    racers = racers_of(space, where)
    tried = [run[1] for racer in racers for run in racer[0]]
    objective = read_objective(spec, defaults, space.task, metrics, where, tried)
    course = plan_race(exp_name, space, racers, objective, where)
    swept = _swept(space)
    varies = what_varies(course.all_runs.values(), swept)
    return _with_course(exp_name, spec, space, course, swept, course.all_runs, varies, where)


def _swept(space: Space) -> tuple[str, ...]:
    """The hyper-parameters that the search of a space, its axes and its `when` give values."""
    searched = space.search.dimensions if space.search else {}
    axes = [*space.axes.values(), *(rule.choices for rule in space.when)]
    return tuple(dict.fromkeys([*searched, *(key for axis in axes for part in axis for key in part)]))


def _with_course(
    exp_name: str,
    spec: Mapping[str, Any],
    space: Space,
    course: Course,
    swept: tuple[str, ...],
    examples: Mapping[str, Setting],
    varies: Mapping[str, list[Any]],
    where: str,
) -> Experiment:
    """Return an experiment that runs in rounds; its figures are for settings such as `examples`."""
    question = _question(spec.get("question"), f"{where}.question")
    try:
        tuned, method = (course.tuned, "") if isinstance(course, Comparison) else ((), course.method)
        figures = figures_for(examples, varies, spec.get("figures"), course.objective, method, tuned)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from None
    return Experiment(exp_name, course.static_runs(), figures, swept, space.task, course.objective, question, course)


def _question(said: Any, where: str) -> str:
    if said is None:
        return ""
    if not isinstance(said, str) or not said.strip() or len(said) > MOST_CHARACTERS:
        allowed = f"text of up to {MOST_CHARACTERS} characters"
        raise ConfigError(f"{where}: {shown(said)} is not allowed; allowed: {allowed}")
    return " ".join(said.split())
