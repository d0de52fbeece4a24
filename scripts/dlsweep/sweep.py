"""From `config.yaml` to settings: expand, name. Loads neither torch nor pandas.

An experiment is a mapping of hyper-parameters (its base values) and of these keys (see docs/sweeps.md):

    grid      {key: [values]}      the cross product
    zip       {key: [values]}      lists that advance together
    settings  [{key: value}]       an explicit list
    sample    {n, seed, key: ...}  random search
    seeds     a number or a list   every setting with each of these seeds
    exclude   [{key: value}]       drops the settings that match; comparisons as text: ">0.1"
    when      [{if: ..., set: ...}] values (or lists of them) for the settings that match
    extends   another experiment, of which this one changes some keys
    figures   [{kind, x, y, ...}]  the figures; left out, they follow from what varies
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
import re
import shlex
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .conditions import Condition, Rule, matches, read_exclude, read_when
from .config_file import Values, own_path, read_configs, shown, where_stated
from .figure_plan import figures_for
from .hyperparameters import (
    HYPERPARAMETERS,
    ConfigError,
    Setting,
    check_required,
    defaults_for,
    nearest,
    resolve,
    setting_hash,
)
from .records import record_name
from .values import (
    MOST_SETTINGS,
    a_mapping,
    read_base,
    read_grid,
    read_sample,
    read_seeds,
    read_settings,
    read_zip,
)

PLAN_VERSION = 1
TOP_KEYS = ("name", "parquet", "jobs_per_gpu", "outdated", "defaults", "experiments")
OUTDATED = ("keep", "redo")
"""What becomes of finished runs whose code or data have changed since."""
AXES: Mapping[str, Callable[[Any, str], list[Values]]] = {
    "grid": read_grid,
    "zip": read_zip,
    "settings": read_settings,
    "sample": read_sample,
    "seeds": read_seeds,
}
"""The constructs that name several values, each with its reader; an experiment is their cross product."""
SPECIAL_KEYS = (*AXES, "exclude", "when", "extends", "figures")
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
RESERVED_NAMES = ("data", "figures", "logs", "partial", "plan", "running")
"""Folders in results/, which a sweep's own folder must not be."""


@dataclass(frozen=True)
class Experiment:
    """A named group of settings: `settings` maps each hash to its complete setting, in the config's order."""

    name: str
    settings: dict[str, Setting]
    figures: list[dict[str, Any]]
    swept: tuple[str, ...] = ()  # the keys that grid, zip, settings, ... set, in the config's order

    @functools.cached_property
    def varies(self) -> dict[str, list[Any]]:
        """The hyper-parameters with more than one value, each with its values, all in the config's order.

        One that is at its default throughout only follows another (momentum, say, the optimizer): it is left out.
        """
        seen: dict[str, dict[str, Any]] = {}
        chosen: set[str] = set()
        for setting in self.settings.values():
            defaults = defaults_for(setting)
            for key, value in setting.items():
                seen.setdefault(key, {}).setdefault(repr(value), value)
                if value != defaults[key]:
                    chosen.add(key)
        return {
            key: list(seen[key].values())
            for key in dict.fromkeys((*self.swept, *seen))
            if key in chosen and len(seen[key]) > 1
        }


@dataclass(frozen=True)
class Sweep:
    """A whole config, expanded."""

    name: str
    experiments: dict[str, Experiment]
    jobs_per_gpu: int = 1
    parquet: bool = False  # the tables as Parquet too
    outdated: str = "keep"  # one of OUTDATED

    def records(self) -> Iterator[tuple[str, str, Setting]]:
        """Yield (exp_name, hash, complete setting) of every record that the sweep asks for."""
        for experiment in self.experiments.values():
            for digest, setting in experiment.settings.items():
                yield experiment.name, digest, setting

    def plan(self, results: str, outdated: Mapping[str, list[str]] | None = None) -> dict[str, Any]:
        """Return what the tables and figures need to know of the sweep, ready for JSON.

        `outdated` are the versions of code and data that have changed since they made a record.
        """
        return {
            "plan_version": PLAN_VERSION,
            "name": self.name,
            "results": results,
            "tables": self.tables(results),
            "parquet": self.parquet,
            "experiments": {
                experiment.name: {
                    "hashes": list(experiment.settings),
                    "varies": experiment.varies,
                    "figures": experiment.figures,
                }
                for experiment in self.experiments.values()
            },
            "settings": {digest: setting for _, digest, setting in self.records()},
            **({"outdated": dict(outdated)} if outdated else {}),
        }

    def tables(self, results: str) -> str:
        """Return the folder of this sweep's tables and figures, which other sweeps do not share."""
        return f"{results}/{self.name}" if self.name else results


def plan_digest(plan: Mapping[str, Any]) -> str:
    """Return 12 hex digits that change when the tables or figures of a plan would."""
    return hashlib.sha1(json.dumps(plan, sort_keys=True).encode()).hexdigest()[:12]


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
        raise ConfigError(f"{where_stated(key_path, files, overrides or {})}: {error}") from None
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
    return f"{name}_sweep" if name in RESERVED_NAMES else name


def expand_config(config: Mapping[str, Any], default_name: str = "") -> Sweep:
    """Check a config and expand its experiments into settings. Raises ConfigError naming the key's path."""
    for key in config:
        if key not in TOP_KEYS:
            raise ConfigError(f"{key}: unknown key; allowed: {', '.join(TOP_KEYS)}.{nearest(key, TOP_KEYS)}")
    name = config.get("name", default_name)
    if name and (not isinstance(name, str) or not SAFE_NAME.fullmatch(name) or name in RESERVED_NAMES):
        allowed = (
            f"up to 100 of A-Z a-z 0-9 _ . -, beginning with a letter or digit, but not {', '.join(RESERVED_NAMES)}"
        )
        hint = "" if isinstance(name, str) else ". Write it in quotes."
        raise ConfigError(f"name: {shown(name)} is not allowed for a sweep; allowed: {allowed}{hint}")
    jobs_per_gpu = config.get("jobs_per_gpu", 1)
    if type(jobs_per_gpu) is not int or jobs_per_gpu < 1:
        raise ConfigError(f"jobs_per_gpu: {shown(jobs_per_gpu)} is not allowed; allowed: a whole number from 1")
    parquet = config.get("parquet", False)
    if not isinstance(parquet, bool):
        raise ConfigError(f"parquet: {shown(parquet)} is not allowed; allowed: true, false")
    outdated = config.get("outdated", "keep")
    if outdated not in OUTDATED:
        allowed = ", ".join(OUTDATED)
        raise ConfigError(
            f"outdated: {shown(outdated)} is not allowed; allowed: {allowed}.{nearest(outdated, OUTDATED)}"
        )
    experiments = a_mapping(config.get("experiments", {}), "experiments")
    if not experiments:
        raise ConfigError("experiments: must name at least one experiment")
    _check_names(experiments)
    defaults = read_base(a_mapping(config.get("defaults") or {}, "defaults"), "defaults")
    expanded = {exp_name: _expand(exp_name, experiments, defaults) for exp_name in experiments}
    return Sweep(name or "", expanded, jobs_per_gpu, parquet, outdated)


def _check_names(experiments: Mapping[str, Any]) -> None:
    folded: dict[str, str] = {}
    for exp_name in experiments:
        if not SAFE_NAME.fullmatch(exp_name):
            allowed = "up to 100 of A-Z a-z 0-9 _ . -, beginning with a letter or digit"
            raise ConfigError(f"experiments.{exp_name}: is no safe file name; allowed: {allowed}")
        other = folded.setdefault(exp_name.lower(), exp_name)
        if other != exp_name:  # some file systems take the two for one
            raise ConfigError(f"experiments.{exp_name}: differs from {other} only in upper and lower case")


def _expand(exp_name: str, experiments: Mapping[str, Any], defaults: Values) -> Experiment:
    where = f"experiments.{exp_name}"
    spec = merged_spec(exp_name, experiments)
    settings: dict[str, Setting] = {}
    space = read_space(spec, defaults, where)
    for setting, _, _ in space.settings():
        settings.setdefault(setting_hash(setting), setting)
        if len(settings) > MOST_SETTINGS:
            raise ConfigError(f"{where}: has more than {MOST_SETTINGS:,} settings")
    if not settings:
        raise ConfigError(f"{where}.exclude: no setting is left; every one is excluded")
    parts = [*space.axes.values(), *(rule.choices for rule in space.when)]
    swept = tuple(dict.fromkeys(key for axis in parts for values in axis for key in values))
    varies = Experiment(exp_name, settings, [], swept).varies
    try:
        for setting in settings.values():
            check_required(setting)
        return Experiment(exp_name, settings, figures_for(settings, varies, spec.get("figures")), swept)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from None


# -- one experiment ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Space:
    """What an experiment asks for, read and checked: the settings are the cross product of its axes over its base.

    The base are the defaults of the config and the experiment's own values.
    """

    own: Values
    base: Values
    axes: dict[str, list[Values]]
    when: list[Rule]
    exclude: list[Condition]

    def settings(self) -> Iterator[tuple[Setting, tuple[Values, ...], tuple[int, ...]]]:
        """Yield each setting with what made it: a part of each axis, and the numbers of the rules that set values.

        One setting may come more than once.
        """
        for parts in itertools.product(*self.axes.values()):
            values = dict(self.base)
            for part in parts:
                values.update(part)
            for setting, rules in self._with_rules(values, 0):
                if not any(matches(setting, condition) for condition in self.exclude):
                    yield setting, parts, rules

    def _with_rules(self, values: Values, i: int) -> Iterator[tuple[Setting, tuple[int, ...]]]:
        """Apply the rules of `when` from the i-th on; each sees what the earlier ones have set."""
        setting = resolve(values)
        if i == len(self.when):
            yield setting, ()
        elif not matches(setting, self.when[i].condition):
            yield from self._with_rules(values, i + 1)
        else:
            for choice in self.when[i].choices:
                for complete, later in self._with_rules({**values, **choice}, i + 1):
                    yield complete, (i, *later)


def read_space(spec: Mapping[str, Any], defaults: Values, where: str) -> Space:
    """Read the mapping of one experiment; `where` is its path."""
    for key in spec:
        if key not in SPECIAL_KEYS and key not in HYPERPARAMETERS:
            allowed = f"{', '.join(SPECIAL_KEYS)} and the hyper-parameters (docs/hyperparameters.md)"
            names = (*SPECIAL_KEYS, *HYPERPARAMETERS)
            raise ConfigError(f"{where}.{key}: unknown key; allowed: {allowed}.{nearest(key, names)}")
    own = read_base({key: value for key, value in spec.items() if key in HYPERPARAMETERS}, where)
    axes = {name: read(spec[name], f"{where}.{name}") for name, read in AXES.items() if spec.get(name) is not None}
    if math.prod(len(axis) for axis in axes.values()) > MOST_SETTINGS:
        raise ConfigError(f"{where}: has more than {MOST_SETTINGS:,} settings")
    _refuse_overlap(own, axes, where)
    return Space(
        own=own,
        base={**defaults, **own},
        axes=axes,
        when=read_when(spec["when"], f"{where}.when") if spec.get("when") is not None else [],
        exclude=read_exclude(spec["exclude"], f"{where}.exclude") if spec.get("exclude") is not None else [],
    )


def _refuse_overlap(own: Values, axes: Mapping[str, list[Values]], where: str) -> None:
    """Two places that set one key would silently undo each other."""
    stated = {key: f"{where}.{key}" for key in own}
    for name, axis in axes.items():
        for key in {key: None for part in axis for key in part}:
            if key in stated:
                raise ConfigError(f"{where}.{name}: sets {key}, which {stated[key]} sets as well")
            stated[key] = f"{where}.{name}"


def merged_spec(exp_name: str, experiments: Mapping[str, Any], below: tuple[str, ...] = ()) -> Values:
    """Return the mapping of an experiment over that of the experiment it extends.

    What it says of a hyper-parameter replaces all that the other says of it, in whichever construct. Axes of one
    construct (grid, zip, sample) are joined key by key; null takes a construct away.
    """
    where = f"experiments.{exp_name}"
    spec = a_mapping(experiments[exp_name] if experiments[exp_name] is not None else {}, where)
    parent = spec.get("extends")
    if parent is None:
        return dict(spec)
    if not isinstance(parent, str) or parent not in experiments:
        allowed = ", ".join(other for other in experiments if other != exp_name) or "the name of another experiment"
        hint = nearest(parent, experiments) if isinstance(parent, str) else " Write it in quotes."
        raise ConfigError(f"{where}.extends: {shown(parent)} is not an experiment; allowed: {allowed}.{hint}")
    if parent in (exp_name, *below):
        raise ConfigError(f"{where}.extends: {parent} extends itself")
    merged = _without(merged_spec(parent, experiments, (*below, exp_name)), spec)
    for key, value in spec.items():
        if key in KEYED and isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = {**merged[key], **value}
        elif value is None and key in SPECIAL_KEYS:
            merged.pop(key, None)
        elif key != "extends":
            merged[key] = value
    return merged


def _without(spec: Mapping[str, Any], child: Mapping[str, Any]) -> Values:
    """The mapping of an experiment without the hyper-parameters that the one which extends it sets elsewhere."""
    stated = _stated(child)
    kept: Values = {}
    for place, value in spec.items():
        elsewhere = {key for other, keys in stated.items() if other != place for key in keys}
        if place in KEYED and isinstance(value, Mapping):
            options = ("n", "seed") if place == "sample" else ()
            left = {key: item for key, item in value.items() if key in options or key not in elsewhere}
            if left.keys() - options:
                kept[place] = left
        elif place == "settings" and isinstance(value, list):
            kept[place] = [
                {key: said for key, said in item.items() if key not in elsewhere} if isinstance(item, Mapping) else item
                for item in value
            ]
        elif place not in elsewhere and not (place == "seeds" and "seed" in elsewhere):
            kept[place] = value
    return kept


def _stated(spec: Mapping[str, Any]) -> dict[str, set[str]]:
    """The hyper-parameters that each construct of an experiment sets; its base values stand under their own name."""
    stated: dict[str, set[str]] = {key: {key} for key in spec if key in HYPERPARAMETERS}
    for place in KEYED:
        if isinstance(spec.get(place), Mapping):
            stated[place] = set(spec[place]) - ({"n", "seed"} if place == "sample" else set())
    if isinstance(spec.get("settings"), list):
        stated["settings"] = {key for item in spec["settings"] if isinstance(item, Mapping) for key in item}
    if spec.get("seeds") is not None:
        stated["seeds"] = {"seed"}
    return stated


KEYED = ("grid", "zip", "sample")
"""The constructs that are a mapping of hyper-parameters."""


# -- files and commands --------------------------------------------------------------------------------------------


def data_name(setting: Mapping[str, Any]) -> str:
    """Return the name of the prepared data set that a setting reads: one file for all its splits."""
    name: str = setting["dataset"]
    source = {key: setting[key] for key in ("data_path", "image_size") if key in setting}
    if source:
        name += "-" + hashlib.sha1(json.dumps(source, sort_keys=True).encode()).hexdigest()[:12]
    return name


def source_files(setting: Mapping[str, Any]) -> list[str]:
    """Return the user's own file or folders that a setting's data are prepared from, as far as they are there.

    Of a folder of images these are its folders, whose time stamps change when images come or go.
    """
    if not setting.get("data_path"):
        return []
    path = own_path(setting["data_path"])
    below = [folder for pattern in ("*/", "*/*/") for folder in path.glob(pattern)] if path.is_dir() else []
    return [str(found) for found in (path, *sorted(below)) if found.exists()]


def data_file(results: str, setting: Mapping[str, Any]) -> str:
    """Return the prepared data set that a setting reads."""
    return f"{results}/data/{data_name(setting)}.pt"


def prepare_arguments(setting: Mapping[str, Any]) -> str:
    """Return the options of scripts/prepare.py for the data of a setting, quoted for the shell."""
    keys = ("dataset", "data_path", "image_size")
    return run_options({key: setting[key] for key in keys if setting.get(key) is not None})


def train_arguments(exp_name: str, digest: str, setting: Mapping[str, Any], data: str, results: str) -> str:
    """Return the options of scripts/train.py for one setting, quoted for the shell; `data` is the prepared data set."""
    options = {"exp_name": exp_name, "hash": digest, "data": data, "results": results}
    return run_options({**options, **setting})


def run_options(values: Mapping[str, Any]) -> str:
    """Return values as options of a script, quoted for the shell."""
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    return " ".join(_option(key, text) for key, text in texts.items())


@functools.lru_cache(maxsize=10_000)  # quoting takes its time, and most settings of a large sweep share their values
def _option(key: str, text: str) -> str:
    return shlex.quote(f"--{key.replace('_', '-')}={text}")


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
    runs = [(exp_name, digest) for exp_name, digest, _ in sweep.records()]
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
