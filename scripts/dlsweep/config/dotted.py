"""Keys inside of arguments, by a dotted name: `model_args.width` is `width` in `model_args`.

A config says and sweeps them like any hyper-parameter. A setting, and so its hash, has the whole mapping; what varies
has them by their dotted names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from dlsweep.errors import ConfigError

MISSING = object()


def root_of(key: str) -> str:
    """Return the hyper-parameter that a key is inside of: itself where it has no dot."""
    return key.partition(".")[0]


def dotted(keys: Iterable[str]) -> list[str]:
    """Return those of the keys that are inside of a hyper-parameter."""
    return [key for key in keys if "." in key]


def whole_of(key: str, keys: Collection[str]) -> str:
    """Return the one of the keys that a key is inside of, the outermost where there are several; "" for none."""
    ends = (i for i, letter in enumerate(key) if letter == ".")
    return next((key[:i] for i in ends if key[:i] in keys), "")


def value_of(setting: Mapping[str, Any], key: str) -> Any:
    """Return the value of a key of a setting, or MISSING where the setting has none."""
    found: Any = setting
    for part in key.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return MISSING
        found = found[part]
    return found


def over(values: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with those that are said later over them; a whole mapping replaces what was said inside of it."""
    kept = {key: value for key, value in values.items() if not ("." in key and whole_of(key, later))}
    return {**kept, **later}


def folded(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return values with those of dotted names inside of their mappings, which are said with them or the defaults.

    Raises ConfigError where what such a key would be inside of is no mapping.
    """
    names = sorted(dotted(values), key=lambda name: name.count("."))
    if not names:
        return values
    found = {key: value for key, value in values.items() if "." not in key}
    for name in names:
        root, *path = name.split(".")
        found[root] = _with(found.get(root, defaults.get(root)) or {}, path, values[name], root)
    return found


def _with(mapping: Any, path: list[str], value: Any, where: str) -> dict[str, Any]:
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{where}.{'.'.join(path)}: {where} is {mapping!r}, which holds no keys")
    key, *rest = path
    inner = _with(mapping.get(key, {}), rest, value, f"{where}.{key}") if rest else value
    return {**mapping, key: inner}


def flat(setting: Mapping[str, Any], keys: Iterable[str]) -> Mapping[str, Any]:
    """Return a setting that has those of the keys which are dotted, and of which it has a value, by their names too."""
    found = {key: value_of(setting, key) for key in dotted(keys)}
    return {**setting, **{key: value for key, value in found.items() if value is not MISSING}} if found else setting


def flattened(settings: Mapping[str, Mapping[str, Any]], keys: Iterable[str]) -> Mapping[str, Mapping[str, Any]]:
    """Return settings, by their hashes, that have those of the keys which are dotted by their names too: see `flat`."""
    names = dotted(keys)
    return {digest: flat(setting, names) for digest, setting in settings.items()} if names else settings


def inside(setting: Mapping[str, Any], root: str, swept: Iterable[str]) -> list[str]:
    """Return the dotted names of what a setting has in a mapping: those that are swept, and its other keys."""
    swept = [key for key in dotted(swept) if root_of(key) == root]
    others = (f"{root}.{key}" for key in setting.get(root) or ())
    return [*swept, *(key for key in others if not any(f"{name}.".startswith(f"{key}.") for name in swept))]
