"""Values and settings as short text, for tables, figures and the terminal. Loads neither torch nor pandas."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from dlsweep.config.dotted import MISSING, dotted, flat, flattened, inside, root_of, value_of
from dlsweep.config.identity import Setting, default, defaults_for
from dlsweep.config.paths import HASH
from dlsweep.config.replicates import without_replicates

HASH_DIGITS = 8  # of the hash of a run, as `init_from` names one

BASELINE = "baseline"
"""The label of a setting that changes nothing of what its experiment varies."""


def format_value(value: Any) -> str:
    """Return a value as short text: 0.001, 1e-05, true, none. It may be a scalar of NumPy's."""
    value = value.item() if hasattr(value, "item") else value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str):
        return value[:HASH_DIGITS] if HASH.fullmatch(value) else value
    return json.dumps(value)


def what_varies(settings: Collection[Setting], swept: Iterable[str]) -> dict[str, list[Any]]:
    """Return the hyper-parameters with more than one value, each with its values, first those that are swept.

    One that is at its default throughout only follows another (momentum, say, the optimizer): it is left out.
    """
    swept = list(swept)
    seen: dict[str, dict[str, Any]] = {}
    chosen: set[str] = set()
    for setting in settings:
        defaults = defaults_for(setting)
        for key, value in setting.items():
            seen.setdefault(key, {}).setdefault(repr(value), value)
            if key not in defaults or value != defaults[key]:
                chosen.add(key)
    for root in dict.fromkeys(map(root_of, dotted(swept))):
        chosen.discard(root)  # what is inside of it stands for it
        having = [setting for setting in settings if root in setting]
        for key in dict.fromkeys(name for setting in having for name in inside(setting, root, swept)):
            values = [value_of(setting, key) for setting in having]
            seen[key] = {repr(value): None if value is MISSING else value for value in values}
            chosen.add(key)
    return {
        key: list(seen[key].values()) for key in dict.fromkeys((*swept, *seen)) if key in chosen and len(seen[key]) > 1
    }


def _by_what_varies(
    settings: Mapping[str, Setting], varies: Mapping[str, list[Any]]
) -> tuple[list[str], dict[str, list[str]]]:
    """The keys that vary, repetitions aside, and the hashes of each combination of their values."""
    keys = without_replicates(varies)
    groups: dict[str, list[str]] = {}
    for digest, setting in flattened(settings, keys).items():
        groups.setdefault(repr([setting.get(key, MISSING) for key in keys]), []).append(digest)
    return keys, groups


def alike(settings: Mapping[str, Setting], varies: Mapping[str, list[Any]]) -> list[list[str]]:
    """Return the hashes of an experiment, those that differ in their seed alone together."""
    return list(_by_what_varies(settings, varies)[1].values())


def with_version(label: str, version: str) -> str:
    """Return the label of a run: its setting's and, where its experiment has several, its version."""
    return f"{label}, {version}" if version else label


def is_grid(settings: Mapping[str, Setting], varies: Mapping[str, list[Any]]) -> bool:
    """Say whether the settings are (nearly: some may be excluded) all combinations of what varies."""
    keys, groups = _by_what_varies(settings, varies)
    return len(groups) >= 0.8 * math.prod(len(varies[key]) for key in keys)


def setting_labels(
    settings: Mapping[str, Setting], varies: Mapping[str, list[Any]], compared: Collection[str] = ()
) -> dict[str, str]:
    """Return each setting's label, by hash: what varies in its experiment, seeds, splits and folds aside.

    A grid's settings name all of it ("lr=0.1, act=relu"); the settings of a list only where they leave the
    default ("weight_decay=0.01, dropout=0.5", "baseline"), but always what is `compared`. Different settings have
    different labels.
    """
    keys, groups = _by_what_varies(settings, varies)
    grid = is_grid(settings, varies)
    labels: dict[str, str] = {}
    used: set[str] = set()
    for digests in groups.values():
        setting = flat(settings[digests[0]], keys)
        shown = {key: setting[key] for key in keys if key in setting}
        if not grid:
            shown = {key: value for key, value in shown.items() if key in compared or value != default(key, setting)}
        label = ", ".join(f"{key}={format_value(value)}" for key, value in shown.items()) or BASELINE
        if label in used:  # two numbers that differ after the fourth digit
            label = ", ".join(f"{key}={value}" for key, value in shown.items())
        used.add(label)
        labels |= dict.fromkeys(digests, label)
    return labels
