"""Read config files and --config, and find the line on which a key stands. Loads neither torch nor pandas."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from .hyperparameters import ConfigError

Values = dict[str, Any]
CONFIG_FILE = "config.yaml"


class _Loader(yaml.SafeLoader):
    """YAML whose mappings refuse a key that stands twice: the first would be lost in silence."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> Values:
    loader.flatten_mapping(node)
    mapping: Values = {}
    for key_node, value_node in node.value:
        key = str(loader.construct_object(key_node, deep=True))
        if key in mapping:
            raise ConfigError(f"line {key_node.start_mark.line + 1}: {key!r} stands twice")
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read_config(path: Path) -> Values:
    """Return a config file's content. Raises ConfigError naming the file and, where it is not YAML, the line."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except ConfigError as error:
        raise ConfigError(f"{path}, {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: is not YAML: {_one_line(error)}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must be a mapping with the key experiments, not {shown(content)}")
    return content


def read_configs(paths: Iterable[Path], overrides: Mapping[str, Any]) -> Values:
    """Return the config of some files, of which later ones change earlier ones, and of overrides."""
    config: Values = {}
    for changes in (*map(read_config, paths), overrides):
        _update(config, changes)
    return config


def _update(config: Values, changes: Mapping[str, Any]) -> None:
    """Change `config` in place, mapping by mapping, as Snakemake's --config does."""
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(config.get(key), dict):
            _update(config[key], value)
        else:
            config[key] = value


def parse_override(text: str) -> tuple[str, Any]:
    """Return (key, value) of one `key=value` of the command line; the value is YAML, as in a config file."""
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"{text!r} is not of the form key=value")
    try:
        return key, yaml.load(value, _Loader)
    except (yaml.YAMLError, ValueError, ConfigError) as error:
        raise ConfigError(f"the value of {key} is not YAML: {_one_line(error)}") from None


def snakemake_options(files: Iterable[Path | str], overrides: Mapping[str, Any]) -> list[str]:
    """Return the options that have Snakemake read these config files and overrides again."""
    names = [str(path) for path in files]
    return [*(["--configfile", *names] if names != [CONFIG_FILE] else []), *override_options(overrides)]


def override_options(overrides: Mapping[str, Any]) -> list[str]:
    """Return the option --config of these overrides, as Snakemake and scripts/sweep.py take it."""
    pairs = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in overrides.items()]
    return ["--config", *pairs] if pairs else []


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


def where_stated(key_path: str, files: Iterable[Path], overrides: Mapping[str, Any]) -> str:
    """Say where a key such as `experiments.a.grid.lr` stands: `config.yaml, line 7`, or `--config`.

    Where no file has the whole path, the nearest key above counts. An experiment's name may hold dots, so the path
    is read along the keys that are there.
    """
    found, deepest = ", ".join(map(str, files)), 0
    for file in files:
        depth, line = _walk(key_path, yaml.compose(file.read_text(encoding="utf-8"), _Loader))
        if depth and depth >= deepest:
            found, deepest = f"{file}, line {line}", depth
    depth, _ = _walk(key_path, yaml.compose(json.dumps(overrides, default=str), _Loader))
    return "--config" if depth and depth >= deepest else found


def _walk(key_path: str, node: yaml.Node | None) -> tuple[int, int]:
    """Return how many keys of the path are there, and the line of the last one."""
    depth, line, rest = 0, 0, key_path
    while rest:
        for name, at, below in _children(node):
            if rest == name or rest.startswith((f"{name}.", f"{name}[")):
                depth, line, node, rest = depth + 1, at + 1, below, rest[len(name) :].removeprefix(".")
                break
        else:
            break
    return depth, line


def _children(node: yaml.Node | None) -> list[tuple[str, int, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        return [(str(key.value), key.start_mark.line, value) for key, value in node.value]
    if isinstance(node, yaml.SequenceNode):
        return [(f"[{i}]", item.start_mark.line, item) for i, item in enumerate(node.value)]
    return []


def shown(value: Any) -> str:
    """Return a value as a message shows it: JSON, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
