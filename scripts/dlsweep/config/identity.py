"""A setting: its complete values, its identity and its hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from dlsweep.config.dotted import folded, root_of, value_of
from dlsweep.config.hyperparameters import HYPERPARAMETERS, check_value
from dlsweep.config.metrics import metric_column
from dlsweep.config.names import nearest
from dlsweep.config.registry import OWN, REGISTRIES, entry, measured
from dlsweep.config.tasks import BUILT_IN, TASK_KEYS, Task, task_of
from dlsweep.errors import ConfigError

Setting = Mapping[str, Any]
"""Every hyper-parameter of a run by name, complete or as far as it is said: it is read, never changed."""

_CONDITIONAL = {key for registry in (*REGISTRIES.values(), OWN) for choice in registry.values() for key in choice.uses}


def default(key: str, setting: Setting) -> Any:
    """Return the default of `key`, given what else the setting chooses (adam's lr is not sgd's).

    That of a key inside of a mapping is MISSING where the mapping's own default has no such key.
    """
    if "." in key:
        return value_of({(root := root_of(key)): default(root, setting)}, key)
    if (task := task_of(setting)) is not BUILT_IN:
        return task.defaults.get(key)
    for kind in REGISTRIES:
        if kind != key:
            choice = entry(kind, setting.get(kind, HYPERPARAMETERS[kind].default))
            if key in choice.defaults:
                return choice.defaults[key]
    return HYPERPARAMETERS[key].default


def applies(key: str, setting: Setting) -> bool:
    """Say whether `key` matters to what the setting chooses."""
    if (task := task_of(setting)) is not BUILT_IN:
        return key in task.hyperparameters
    needs = HYPERPARAMETERS[key].needs
    if needs and not (applies(needs, setting) and setting.get(needs, default(needs, setting))):
        return False
    without = HYPERPARAMETERS[key].without
    if without and applies(without, setting) and setting.get(without, default(without, setting)):
        return False
    if key not in _CONDITIONAL:
        return True
    chosen = (entry(kind, setting.get(kind, HYPERPARAMETERS[kind].default)) for kind in REGISTRIES)
    return any(key in choice.uses for choice in chosen)


_SWITCHES = (*REGISTRIES, *sorted({hyper.needs for hyper in HYPERPARAMETERS.values() if hyper.needs}))
_defaults_of: dict[tuple[Any, ...], Setting] = {}


def defaults_for(values: Mapping[str, Any]) -> Setting:
    """Return the defaults of all the keys that apply to what the normalised `values` choose and that have one.

    The answer depends only on the few keys that switch others on; it is kept, since a large sweep asks often.
    """
    if (task := task_of(values)) is not BUILT_IN:
        return task.defaults
    switches = tuple(values.get(key) if key in REGISTRIES else bool(values.get(key)) for key in _SWITCHES)
    if switches not in _defaults_of:
        _defaults_of[switches] = {key: default(key, values) for key in HYPERPARAMETERS if applies(key, values)}
    return _defaults_of[switches]


def resolve(values: Mapping[str, Any]) -> Setting:
    """Return the complete setting of normalised values: defaults filled in, keys that do not apply left out.

    That of an own task begins with the word that names it; a hyper-parameter that has neither value nor default is
    left out (see `check_required`).
    """
    defaults = defaults_for(values)
    if (task := task_of(values)) is BUILT_IN:
        return {key: values.get(key, standard) for key, standard in defaults.items()}
    known = {**defaults, **values}
    return {task.key: task.name, **{key: known[key] for key in task.hyperparameters if key in known}}


def check_required(setting: Setting) -> None:
    """Raise ConfigError where a complete setting lacks what its task, or one of its choices, cannot do without."""
    if (task := task_of(setting)) is not BUILT_IN:
        _check_given(task, setting)
        return
    for kind in REGISTRIES:
        for key in entry(kind, setting[kind]).required:
            if setting[key] is None:
                raise ConfigError(f"{key}: is missing; {kind} {setting[kind]} needs it. {HYPERPARAMETERS[key].doc}")
    if setting.get("n_folds") and setting["fold"] >= setting["n_folds"]:
        n = setting["n_folds"]
        raise ConfigError(f"fold: {setting['fold']} is not allowed; with n_folds {n} allowed: 0 to {n - 1}")
    if setting["metrics"] or setting["monitor"] != HYPERPARAMETERS["monitor"].default:
        _check_measured(setting)


def _check_measured(setting: Setting) -> None:
    names = [name.partition(":")[2] for name in setting["metrics"]]
    built_in = measured({**setting, "metrics": []})
    for i, name in enumerate(names):
        if name in built_in or name in names[:i]:
            said = setting["metrics"][i]
            raise ConfigError(f"metrics: {said}: there is another metric {name!r}; rename the function")
    monitor = setting["monitor"]
    if monitor.removeprefix("val_") not in (*built_in, *names):
        allowed = [f"val_{name}" for name in (*built_in, *names)]
        raise ConfigError(
            f"monitor: {monitor} is not measured with loss {setting['loss']}; allowed: {', '.join(allowed)}."
            f"{nearest(monitor, allowed)}"
        )
    if not metric_column(monitor).better:
        raise ConfigError(
            f"monitor: whether {monitor} is to be great or small is not known; rename the function, so that its last"
            " word says it: my_acc, my_error"
        )


def _check_given(task: Task, setting: Setting) -> None:
    missing = [key for key in task.hyperparameters if key not in setting]
    if missing and task.kind == "function":
        raise ConfigError(f"{missing[0]}: is missing; {task} needs it, since it has no default there")
    if missing and task.kind == "imported":
        raise ConfigError(f"{missing[0]}: is missing; {task} has it, so every setting needs its value")
    if missing:
        raise ConfigError(f"{missing[0]}: is missing; the command has {{{missing[0]}}}, which needs a value")


def check_setting(values: Mapping[str, Any]) -> Setting:
    """Normalise the values (see `check_value`) and return the complete setting."""
    task = task_of(values)
    named = {key: values[key] for key in TASK_KEYS if values.get(key) is not None}
    given = {key: value for key, value in values.items() if key not in TASK_KEYS}
    checked = {**named, **{key: check_value(key, given[key], task.hyperparameters) for key in given}}
    setting = resolve(folded(checked, defaults_for(checked)))
    check_required(setting)
    return setting


def identity(setting: Setting) -> Setting:
    """Return what is hashed of a complete setting: the keys that apply and differ from their default.

    Of an own task also the word that names it.
    """
    defaults = defaults_for(setting)
    if task_of(setting) is not BUILT_IN:
        return _beside(setting, defaults)
    return {key: value for key, value in setting.items() if key in defaults and value != defaults[key]}


def _beside(setting: Setting, defaults: Mapping[str, Any]) -> Setting:
    return {key: value for key, value in setting.items() if key not in defaults or not _same(value, defaults[key])}


def hash_beside(setting: Setting, defaults: Mapping[str, Any]) -> str:
    """Return the hash of the complete setting of an own task that had these defaults."""
    return hashlib.sha1(_canonical_json(_beside(setting, defaults)).encode()).hexdigest()


def _same(value: Any, standard: Any) -> bool:
    """Say whether two values are the same to a function: 1 and True, or 1 and 1.0, are not."""
    return type(value) is type(standard) and bool(value == standard)


def setting_hash(setting: Setting) -> str:
    """Return the sha1 (40 hex digits) of the complete setting's canonical JSON."""
    return hashlib.sha1(_canonical_json(identity(setting)).encode()).hexdigest()


_canonical_json = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
