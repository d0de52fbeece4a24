"""From `config.yaml` to settings: read, check, expand, name. Loads neither torch nor pandas.

An experiment is a mapping of hyper-parameters (its base values) and of these keys:

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

import hashlib
import itertools
import json
import math
import random
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .figure_plan import figures_for
from .hyperparameters import (
    HYPERPARAMETERS,
    ConfigError,
    Setting,
    check_value,
    defaults_for,
    nearest,
    resolve,
    setting_hash,
)
from .records import record_name

PLAN_VERSION = 1
TOP_KEYS = ("name", "defaults", "experiments")
SPECIAL_KEYS = ("grid", "zip", "settings", "sample", "seeds", "exclude", "when", "extends", "figures")
SAMPLERS = ("uniform", "log_uniform", "int_uniform", "log_int_uniform", "choice")
RANGES = ("range", "linspace", "logspace")
MOST_SETTINGS = 1_000_000
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")

Values = dict[str, Any]


@dataclass(frozen=True)
class Experiment:
    """A named group of settings: `settings` maps each hash to its complete setting, in the config's order."""

    name: str
    settings: dict[str, Setting]
    figures: list[dict[str, Any]]

    @property
    def varies(self) -> dict[str, list[Any]]:
        """The hyper-parameters with more than one value, each with its values in the config's order.

        One that is at its default throughout only follows another (momentum, say, the optimizer): it is left out.
        """
        seen: dict[str, dict[str, Any]] = {}
        chosen: set[str] = set()
        for setting in self.settings.values():
            defaults = defaults_for(setting)
            for key, value in setting.items():
                seen.setdefault(key, {}).setdefault(json.dumps(value), value)
                if value != defaults[key]:
                    chosen.add(key)
        return {key: list(values.values()) for key, values in seen.items() if len(values) > 1 and key in chosen}


@dataclass(frozen=True)
class Sweep:
    """A whole config, expanded."""

    name: str
    experiments: dict[str, Experiment]

    def records(self) -> Iterator[tuple[str, str, Setting]]:
        """Yield (exp_name, hash, complete setting) of every record that the sweep asks for."""
        for experiment in self.experiments.values():
            for digest, setting in experiment.settings.items():
                yield experiment.name, digest, setting

    def plan(self, results: str) -> dict[str, Any]:
        """Return what the tables and figures need to know of the sweep, ready for JSON."""
        return {
            "plan_version": PLAN_VERSION,
            "name": self.name,
            "results": results,
            "tables": self.tables(results),
            "experiments": {
                experiment.name: {
                    "hashes": list(experiment.settings),
                    "varies": experiment.varies,
                    "figures": experiment.figures,
                }
                for experiment in self.experiments.values()
            },
            "settings": {digest: setting for _, digest, setting in self.records()},
        }

    def tables(self, results: str) -> str:
        """Return the folder of this sweep's tables and figures, which other sweeps do not share."""
        return f"{results}/{self.name}" if self.name else results


def plan_digest(plan: Mapping[str, Any]) -> str:
    """Return 12 hex digits that change when the tables or figures of a plan would."""
    return hashlib.sha1(json.dumps(plan, sort_keys=True).encode()).hexdigest()[:12]


# -- reading -------------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """YAML whose mappings refuse a key that stands twice: the first would be lost in silence."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    mapping: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            key = str(key)
        if key in mapping:
            raise ConfigError(f"line {key_node.start_mark.line + 1}: {key!r} stands twice")
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read_config(path: Path) -> Values:
    """Return a config file's content. Raises ConfigError naming the file and line."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except ConfigError as error:
        raise ConfigError(f"{path}, {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must be a mapping with the keys {', '.join(TOP_KEYS)}")
    return content


def load_sweep(paths: Iterable[Path | str], overrides: Mapping[str, Any] | None = None) -> Sweep:
    """Read config files (later ones change earlier ones), apply overrides, and expand.

    The sweep is named after the first file unless that is `config.yaml` or the config gives a `name`.
    Raises ConfigError naming the file, the key, the bad value and what is allowed.
    """
    files = [Path(path) for path in paths]
    config: Values = {}
    for path in files:
        _update(config, read_config(path))
    _update(config, overrides or {})
    source = ", ".join(map(str, files)) + (" with --config" if overrides else "")
    default_name = "" if files[0].stem == "config" else re.sub(r"[^A-Za-z0-9_.-]", "_", files[0].stem)
    try:
        return expand_config(config, default_name)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def parse_override(text: str) -> tuple[str, Any]:
    """Return (key, value) of one `key=value` of --config. The value is YAML and means what it means in a config."""
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--config: {text!r} is not of the form key=value")
    try:
        return key, yaml.load(value, _Loader)
    except (yaml.YAMLError, ConfigError) as error:
        raise ConfigError(f"--config: the value of {key} is not YAML: {' '.join(str(error).split())}") from None


def plain_value(value: Any) -> Any:
    """Return a value of Snakemake's --config as a config file would give it.

    Snakemake leaves every scalar inside a mapping or list as text: in `defaults={batch_norm: true}` it is "true".
    """
    if isinstance(value, Mapping):
        return {key: plain_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain_value(item) for item in value]
    if not isinstance(value, str):
        return value
    try:
        plain = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError):
        return value
    return plain if plain is None or isinstance(plain, (bool, int, float)) else value


def _update(config: Values, changes: Mapping[str, Any]) -> None:
    """Change `config` in place, mapping by mapping, as Snakemake's --config does."""
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(config.get(key), dict):
            _update(config[key], value)
        else:
            config[key] = value


# -- expanding -----------------------------------------------------------------------------------------------------


def expand_config(config: Mapping[str, Any], default_name: str = "") -> Sweep:
    """Check a config and expand its experiments into settings. Raises ConfigError naming the key's path."""
    for key in config:
        if key not in TOP_KEYS:
            raise ConfigError(f"{key}: unknown key; allowed: {', '.join(TOP_KEYS)}.{nearest(key, TOP_KEYS)}")
    name = config.get("name", default_name)
    if name and (not isinstance(name, str) or not SAFE_NAME.fullmatch(name) or name in ("running", "data", "plan")):
        raise ConfigError(f"name: {name!r} is not allowed; allowed: up to 100 of A-Z a-z 0-9 _ . -")
    defaults = _checked(_a_mapping(config.get("defaults") or {}, "defaults"), "defaults")
    experiments = _a_mapping(config.get("experiments"), "experiments")
    if not experiments:
        raise ConfigError("experiments: must name at least one experiment")
    expanded = {exp: _experiment(exp, experiments, defaults) for exp in experiments}
    folded: dict[str, str] = {}
    for exp in experiments:  # two names that one file system takes for one
        other = folded.setdefault(exp.lower(), exp)
        if other != exp:
            raise ConfigError(f"experiments.{exp}: differs from {other} only in upper and lower case")
    return Sweep(name or "", expanded)


def _experiment(exp: str, experiments: Mapping[str, Any], defaults: Values) -> Experiment:
    where = f"experiments.{exp}"
    if not SAFE_NAME.fullmatch(exp):
        raise ConfigError(f"{where}: not a safe file name; allowed: up to 100 of A-Z a-z 0-9 _ . -, no leading . or -")
    spec = _extended(exp, experiments, ())
    for key in spec:
        if key not in SPECIAL_KEYS and key not in HYPERPARAMETERS:
            names = (*SPECIAL_KEYS, *HYPERPARAMETERS)
            raise ConfigError(f"{where}.{key}: unknown key.{nearest(key, names)}")
    base = {**defaults, **_checked({k: v for k, v in spec.items() if k not in SPECIAL_KEYS}, where)}
    axes = [
        _grid(spec.get("grid"), f"{where}.grid"),
        _zip(spec.get("zip"), f"{where}.zip"),
        _list(spec.get("settings"), f"{where}.settings"),
        _sample(spec.get("sample"), f"{where}.sample"),
        _seeds(spec.get("seeds"), f"{where}.seeds"),
    ]
    _refuse_overlap(axes, where)
    when = _when(spec.get("when"), f"{where}.when")
    exclude = _matchers(spec.get("exclude"), f"{where}.exclude")
    if math.prod(len(axis) for axis in axes) > MOST_SETTINGS:
        raise ConfigError(f"{where}: has more than {MOST_SETTINGS:,} settings")

    settings: dict[str, Setting] = {}
    for parts in itertools.product(*axes):
        values = dict(base)
        for part in parts:
            values.update(part)
        for setting in _conditional(values, when):
            if not any(_matches(setting, matcher) for matcher in exclude):
                settings.setdefault(setting_hash(setting), setting)
    if not settings:
        raise ConfigError(f"{where}: no setting is left; every one is excluded")
    experiment = Experiment(exp, settings, [])
    given = spec.get("figures")
    try:
        figures = figures_for(experiment.varies, given)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from None
    return Experiment(exp, settings, figures)


def _extended(exp: str, experiments: Mapping[str, Any], seen: tuple[str, ...]) -> Values:
    """The experiment's mapping, over that of the experiment it extends."""
    where = f"experiments.{exp}"
    spec = _a_mapping(experiments[exp] if experiments[exp] is not None else {}, where)
    parent = spec.get("extends")
    if parent is None:
        return dict(spec)
    if not isinstance(parent, str) or parent not in experiments:
        raise ConfigError(f"{where}.extends: {parent!r} is not an experiment.{nearest(parent, experiments)}")
    if parent in (exp, *seen):
        raise ConfigError(f"{where}.extends: {parent} extends itself")
    merged = _extended(parent, experiments, (*seen, exp))
    merged.pop("extends", None)
    for key, value in spec.items():
        if key in ("grid", "zip", "sample") and isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = {**merged[key], **value}
        elif value is None and key in SPECIAL_KEYS:
            merged.pop(key, None)
        elif key != "extends":
            merged[key] = value
    return merged


def _conditional(values: Values, when: list[tuple[Values, list[Values]]]) -> Iterator[Setting]:
    """The settings of these values, with what `when` adds to those that match; later rules see earlier ones'."""
    if not when:
        yield resolve(values)
        return
    (condition, choices), *rest = when
    if _matches(resolve(values), condition):
        for choice in choices:
            yield from _conditional({**values, **choice}, rest)
    else:
        yield from _conditional(values, rest)


def _checked(values: Mapping[str, Any], where: str) -> Values:
    checked: Values = {}
    for key, value in values.items():
        if isinstance(value, list) and key in HYPERPARAMETERS and HYPERPARAMETERS[key].type is not list:
            raise ConfigError(f"{where}.{key}: is a list; several values belong under grid")
        checked[key] = _value(key, value, where)
    return checked


def _value(key: str, value: Any, where: str) -> Any:
    try:
        return check_value(key, value)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from None


def _a_mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: must be a mapping of names to values, not {json.dumps(value, default=str)}")
    return value


def _values(key: str, values: Any, where: str) -> list[Any]:
    """The values of one axis: a list whose items may be ranges, or one range."""
    items = values if isinstance(values, list) else [values]
    if isinstance(values, (str, int, float, bool)) or values is None:
        raise ConfigError(f"{where}.{key}: must be a list of values, not {json.dumps(values)}")
    found: list[Any] = []
    for item in items:
        is_range = isinstance(item, dict) and len(item) == 1 and next(iter(item)) in RANGES
        found += _range(item, f"{where}.{key}") if is_range else [item]
    if not found:
        raise ConfigError(f"{where}.{key}: is empty")
    return [_value(key, item, where) for item in found]


def _range(item: Mapping[str, Any], where: str) -> list[float]:
    """The numbers of {range: [start, stop, step]}, {linspace: [low, high, n]} or {logspace: [low, high, n]}.

    `range` includes its stop; the ends of `logspace` are the values themselves, not exponents.
    """
    kind, arguments = next(iter(item.items()))
    where = f"{where}.{kind}"
    if not isinstance(arguments, list) or len(arguments) not in ((2, 3) if kind == "range" else (3,)):
        form = "[start, stop] or [start, stop, step]" if kind == "range" else "[low, high, n]"
        raise ConfigError(f"{where}: must be {form}")
    numbers = [_plain_number(argument, where) for argument in arguments]
    if kind == "range":
        start, stop, step = (*numbers, 1.0)[:3]
        if step == 0 or (stop - start) / step < 0 or (stop - start) / step >= MOST_SETTINGS:
            raise ConfigError(f"{where}: the step does not lead from start to stop")
        return [_round(start + i * step) for i in range(int((stop - start) / step + 1e-9) + 1)]
    low, high, n = numbers
    if n != int(n) or not 1 <= n <= MOST_SETTINGS:
        raise ConfigError(f"{where}: n must be a positive integer")
    if kind == "logspace" and (low <= 0 or high <= 0):
        raise ConfigError(f"{where}: both ends must be above 0")
    if kind == "logspace":
        return [_round(math.exp(x)) for x in _linspace(math.log(low), math.log(high), int(n))]
    return [_round(x) for x in _linspace(low, high, int(n))]


def _linspace(low: float, high: float, n: int) -> list[float]:
    return [low] if n == 1 else [low + (high - low) * i / (n - 1) for i in range(n)]


def _round(number: float) -> float:
    """12 significant digits, so that 0.1 + 0.2 is 0.3 and a hash does not hang on the last bit."""
    return float(f"{number:.12g}")


def _plain_number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise ConfigError(f"{where}: {json.dumps(value, default=str)} is not a number")
    return number


def _grid(spec: Any, where: str) -> list[Values]:
    if spec is None:
        return [{}]
    axes = {key: _values(key, values, where) for key, values in _a_mapping(spec, where).items()}
    if not axes:
        raise ConfigError(f"{where}: is empty")
    if math.prod(len(values) for values in axes.values()) > MOST_SETTINGS:
        raise ConfigError(f"{where}: has more than {MOST_SETTINGS:,} settings")
    return [dict(zip(axes, combination, strict=True)) for combination in itertools.product(*axes.values())]


def _zip(spec: Any, where: str) -> list[Values]:
    if spec is None:
        return [{}]
    axes = {key: _values(key, values, where) for key, values in _a_mapping(spec, where).items()}
    lengths = {key: len(values) for key, values in axes.items()}
    if not axes or len(set(lengths.values())) != 1:
        raise ConfigError(f"{where}: the lists must be equally long; they have {lengths} values")
    return [dict(zip(axes, combination, strict=True)) for combination in zip(*axes.values(), strict=True)]


def _list(spec: Any, where: str) -> list[Values]:
    if spec is None:
        return [{}]
    if not isinstance(spec, list) or not spec:
        raise ConfigError(f"{where}: must be a list of mappings with at least one item")
    return [_checked(_a_mapping(item, f"{where}[{i}]"), f"{where}[{i}]") for i, item in enumerate(spec)]


def _seeds(spec: Any, where: str) -> list[Values]:
    if spec is None:
        return [{}]
    if isinstance(spec, int) and not isinstance(spec, bool):
        if not 1 <= spec <= MOST_SETTINGS:
            raise ConfigError(f"{where}: {spec} is not allowed; allowed: a positive number of seeds, or a list of them")
        spec = list(range(spec))
    if not isinstance(spec, (list, dict)):
        raise ConfigError(f"{where}: {spec!r} is not allowed; allowed: a positive number of seeds, or a list of them")
    return [{"seed": seed} for seed in _values("seed", spec, where)]


def _sample(spec: Any, where: str) -> list[Values]:
    """Random search. Each sample and key has its own random stream, so a larger `n` changes no earlier sample."""
    if spec is None:
        return [{}]
    spec = _a_mapping(spec, where)
    n, seed = spec.get("n"), spec.get("seed", 0)
    if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= MOST_SETTINGS:
        raise ConfigError(f"{where}.n: {n!r} is not allowed; allowed: a positive integer")
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ConfigError(f"{where}.seed: {seed!r} is not allowed; allowed: an integer")
    spaces = {key: _space(space, f"{where}.{key}") for key, space in spec.items() if key not in ("n", "seed")}
    if not spaces:
        raise ConfigError(f"{where}: names no hyper-parameter to sample")
    return [
        {key: _value(key, _draw(*space, random.Random(f"{seed}/{k}/{key}")), where) for key, space in spaces.items()}
        for k in range(n)
    ]


def _space(space: Any, where: str) -> tuple[str, list[Any]]:
    space = _a_mapping(space, where)
    kind = next(iter(space), None)
    if len(space) != 1 or kind not in SAMPLERS:
        raise ConfigError(f"{where}: must be one of {', '.join(SAMPLERS)}.{nearest(kind, SAMPLERS)}")
    arguments = space[kind]
    if not isinstance(arguments, list) or not arguments:
        raise ConfigError(f"{where}.{kind}: must be a list")
    if kind == "choice":
        return kind, arguments
    if len(arguments) != 2:
        raise ConfigError(f"{where}.{kind}: must be [low, high]")
    low, high = (_plain_number(argument, f"{where}.{kind}") for argument in arguments)
    if low > high or ("log" in kind and low <= 0) or ("int" in kind and (low != int(low) or high != int(high))):
        raise ConfigError(
            f"{where}.{kind}: {arguments} is not allowed; allowed: low <= high, above 0 where log, whole where int"
        )
    return kind, [low, high]


def _draw(kind: str, arguments: list[Any], generator: random.Random) -> Any:
    if kind == "choice":
        return arguments[int(generator.random() * len(arguments))]
    low, high = arguments
    u = generator.random()
    if kind == "uniform":
        return _round(low + u * (high - low))
    if kind == "log_uniform":
        return _round(math.exp(math.log(low) + u * (math.log(high) - math.log(low))))
    if kind == "int_uniform":
        return int(low + math.floor(u * (high - low + 1)))
    return min(int(high), math.floor(math.exp(math.log(low) + u * (math.log(high + 1) - math.log(low)))))


def _refuse_overlap(axes: list[list[Values]], where: str) -> None:
    """Two constructs that set one key would silently undo each other."""
    seen: dict[str, str] = {}
    for name, axis in zip(("grid", "zip", "settings", "sample", "seeds"), axes, strict=True):
        for key in {key for values in axis for key in values}:
            if key in seen:
                raise ConfigError(f"{where}.{name}.{key}: is set by {seen[key]} as well")
            seen[key] = name


# -- conditions ----------------------------------------------------------------------------------------------------

_COMPARISON = re.compile(r"\s*(<=|>=|<|>|!=|==)\s*(.+?)\s*")


def _matchers(spec: Any, where: str) -> list[Values]:
    if spec is None:
        return []
    items = [spec] if isinstance(spec, dict) else spec
    if not isinstance(items, list) or not items:
        raise ConfigError(f"{where}: must be a mapping or a list of mappings")
    return [_matcher(item, f"{where}[{i}]") for i, item in enumerate(items)]


def _matcher(spec: Any, where: str) -> Values:
    """{key: [(operator, value), ...]}: a key matches when one of its pairs does."""
    spec = _a_mapping(spec, where)
    if not spec:
        raise ConfigError(f"{where}: is empty and would match every setting")
    matcher: Values = {}
    for key, wanted in spec.items():
        if key not in HYPERPARAMETERS:
            raise ConfigError(f"{where}.{key}: unknown hyper-parameter.{nearest(key, HYPERPARAMETERS)}")
        is_list = isinstance(wanted, list) and HYPERPARAMETERS[key].type is not list
        matcher[key] = [_comparison(key, item, where) for item in (wanted if is_list else [wanted])]
    return matcher


def _comparison(key: str, wanted: Any, where: str) -> tuple[str, Any]:
    found = _COMPARISON.fullmatch(wanted) if isinstance(wanted, str) else None
    if not found:
        return "==", _value(key, wanted, where)
    operator, text = found.groups()
    if operator in ("==", "!="):
        return operator, _value(key, yaml.safe_load(text), where)
    if HYPERPARAMETERS[key].type not in (int, float):
        raise ConfigError(f"{where}.{key}: {wanted!r} compares a value that is not a number")
    return operator, _plain_number(text, f"{where}.{key}")


def _matches(setting: Mapping[str, Any], matcher: Values) -> bool:
    return all(
        key in setting and any(_holds(setting[key], operator, value) for operator, value in wanted)
        for key, wanted in matcher.items()
    )


def _holds(have: Any, operator: str, value: Any) -> bool:
    if operator == "==":
        return bool(have == value)
    if operator == "!=":
        return bool(have != value)
    if not isinstance(have, (int, float)) or isinstance(have, bool):
        return False
    return bool({"<": have < value, "<=": have <= value, ">": have > value, ">=": have >= value}[operator])


def _when(spec: Any, where: str) -> list[tuple[Values, list[Values]]]:
    """Rules {if: condition, set: {key: value, or a list of values to sweep}}."""
    if spec is None:
        return []
    items = [spec] if isinstance(spec, dict) else spec
    if not isinstance(items, list) or not items:
        raise ConfigError(f"{where}: must be a list of rules with if and set")
    rules = []
    for i, item in enumerate(items):
        rule = _a_mapping(item, f"{where}[{i}]")
        if set(rule) != {"if", "set"}:
            raise ConfigError(f"{where}[{i}]: must have the keys if and set, and no other")
        lists = {
            key: value
            if isinstance(value, (list, dict)) and HYPERPARAMETERS.get(key, _ANY).type is not list
            else [value]
            for key, value in _a_mapping(rule["set"], f"{where}[{i}].set").items()
        }
        rules.append((_matcher(rule["if"], f"{where}[{i}].if"), _grid(lists, f"{where}[{i}].set")))
    return rules


_ANY = HYPERPARAMETERS["lr"]


# -- files and commands --------------------------------------------------------------------------------------------


def data_name(setting: Mapping[str, Any]) -> str:
    """Return the name of the prepared data set that a setting reads: one file for all its splits."""
    name: str = setting["dataset"]
    source = {key: setting[key] for key in ("data_path", "image_size") if key in setting}
    if source:
        name += "-" + hashlib.sha1(json.dumps(source, sort_keys=True).encode()).hexdigest()[:12]
    return name


def prepare_arguments(setting: Mapping[str, Any]) -> str:
    """Return the options of scripts/prepare.py for the data of a setting, quoted for the shell."""
    keys = [key for key in ("dataset", "data_path", "image_size") if setting.get(key) is not None]
    return shlex.join(_option(key, setting[key]) for key in keys)


def train_arguments(exp_name: str, digest: str, setting: Mapping[str, Any]) -> str:
    """Return the options of scripts/train.py for one setting, complete, quoted for the shell."""
    options = {"exp_name": exp_name, "hash": digest, **setting}
    return shlex.join(_option(key, value) for key, value in options.items())


def _option(key: str, value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return f"--{key.replace('_', '-')}={text}"


def twins(sweep: Sweep, existing: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Say which records wait for another one: (exp_name, hash) -> the file name of that record.

    The first experiment of the config that has a setting trains it and the others copy its record, unless a
    record of the setting exists already, of whichever experiment: then nobody waits and all copy that one.
    """
    on_disk = {digest for _, digest in existing}
    owners: dict[str, str] = {}
    waiting: dict[tuple[str, str], str] = {}
    for exp_name, digest, _ in sweep.records():
        if digest not in on_disk and owners.setdefault(digest, exp_name) != exp_name:
            waiting[exp_name, digest] = record_name(owners[digest], digest)
    return waiting


__all__ = ["ConfigError", "Experiment", "Sweep", "defaults_for", "expand_config", "load_sweep", "plan_digest", "twins"]
