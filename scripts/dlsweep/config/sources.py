"""Where in the config the values of one setting come from. Loads neither torch nor pandas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dlsweep.config.dotted import MISSING, value_of
from dlsweep.config.files import Values, read_configs, where_stated
from dlsweep.config.identity import Setting, setting_hash
from dlsweep.config.replicates import CONSTRUCTS
from dlsweep.config.space import KEYED, Space, merged_spec, read_space
from dlsweep.config.tasks import SPECIAL_KEYS


def value_sources(files: list[Path], overrides: Mapping[str, Any], exp_name: str, setting: Setting) -> dict[str, str]:
    """Return, for each hyper-parameter of a setting, the key path and line of its value; "" where it is the default.

    The experiment must have that setting.
    """
    config = read_configs(files, overrides)
    experiments: Values = config["experiments"]
    spec = merged_spec(exp_name, experiments)
    space = read_space(spec, config.get("defaults") or {}, exp_name)
    if space.tuning:
        tried = space.while_tuning()
        others = [name for name in tried.axes if name != "tune_seeds"]
        reported = replace(tried, axes={**{name: tried.axes[name] for name in others}, "seeds": space.axes["seeds"]})
        seeds = [part["seed"] for part in space.tuning.seeds]
        space = tried if setting.get("seed") in seeds else reported
    if space.search:
        values = {key: value_of(setting, key) for key in space.search.dimensions}
        point = {key: value for key, value in values.items() if value is not MISSING}
        space = space.of(point, "search" if spec.get("search") else "tune")
    digest = setting_hash(setting)
    setting, parts, rules = next(made for made in space.settings() if setting_hash(made[0]) == digest)
    found = {}
    for key in setting:
        place = _place(key, space, parts, rules)
        if place == "tune_seeds" and spec.get(place) is None:
            found[key] = "default of tune_seeds"
            continue
        if place:
            path = f"experiments.{_stated_by(place, key, exp_name, experiments)}.{place}"
        else:
            path = f"defaults.{said}" if (said := _said(key, space.base)) else ""
        found[key] = path and f"{path} ({where_stated(path, files, overrides)})"
    return found


def _place(key: str, space: Space, parts: tuple[Values, ...], rules: tuple[int, ...]) -> str:
    """Return the construct of the experiment that has set a key last, such as `grid.lr`; "" where none has."""
    for i in reversed(rules):
        if said := next((said for choice in space.when[i].choices if (said := _said(key, choice))), ""):
            return f"when[{i}].set.{said}"
    for (name, axis), part in zip(space.axes.items(), parts, strict=True):
        if said := _said(key, part):
            item = f"[{next(i for i, other in enumerate(axis) if other is part)}]" if name == "settings" else ""
            return name if name in (*CONSTRUCTS, "tune_seeds") else f"{name}{item}.{said}"
    return _said(key, space.own)


def _said(key: str, values: Mapping[str, Any]) -> str:
    """The last of a key and those inside of it that these values say; "" for none."""
    return next((said for said in list(values)[::-1] if said == key or said.startswith(f"{key}.")), "")


def _stated_by(place: str, key: str, exp_name: str, experiments: Values) -> str:
    """Return the experiment that says it: this one, or the one which it extends."""
    construct = place.partition(".")[0].partition("[")[0]
    construct = construct if construct in SPECIAL_KEYS else place
    while True:
        spec: Values = experiments[exp_name] or {}
        said = spec.get(construct)
        null = construct in spec and construct not in SPECIAL_KEYS  # a value; of other constructs it takes them away
        if null or (said is not None and (construct not in KEYED or _said(key, said))):
            return exp_name
        exp_name = spec["extends"]
