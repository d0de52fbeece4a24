"""Read config files and --config, and find the line on which a key stands. Loads neither torch nor pandas.

The files are YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema). YAML 1.1, which PyYAML reads by itself, takes 010
for 8, 1:30 for 90, no for false and 1e-3 for text.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from yamlcore import CCoreLoader

from dlsweep.config.hyperparameters import Ambiguous
from dlsweep.errors import ConfigError

Values = dict[str, Any]
CONFIG_FILE = "config.yaml"
BESIDE = "DLSWEEP_CONFIG_FOLDERS"
"""The variable that tells jobs where the config files lie, unless that is the working folder."""
MOST_NESTED = 100
"""Levels of a config file; far more than it can need, and few enough for the parser's stack."""


class _Loader(CCoreLoader):  # type: ignore[misc]
    """YAML 1.2, and also merge keys (`<<: *base`) and digits in groups (1_000)."""

    depth = 0

    def descend_resolver(self, parent: yaml.Node | None, index: Any) -> None:
        self.depth += 1
        if self.depth > MOST_NESTED:
            raise ConfigError("is nested too deeply")

    def ascend_resolver(self) -> None:
        self.depth -= 1


def _mapping(loader: _Loader, node: yaml.MappingNode) -> Values:
    """A mapping, whose keys are text as written. A key that appears twice is refused: one value would be lost."""
    own: Values = {}
    merged: list[Values] = []
    lines: dict[str, int] = {}
    for key_node, value_node in node.value:
        key, line = key_node.value, key_node.start_mark.line + 1
        if not isinstance(key, str):
            raise ConfigError(f"line {line}: a key must be text, not a list or a mapping")
        if key in lines:
            raise ConfigError(f"line {line}: {key!r} appears twice, first in line {lines[key]}")
        lines[key] = line
        value = loader.construct_object(value_node, deep=True)
        if _merges(key_node):
            merged = value if isinstance(value, list) else [value]
            if not all(isinstance(item, dict) for item in merged):
                raise ConfigError(f"line {line}: << takes a mapping, such as *base, or a list of them")
        else:
            own[key] = value
    mapping: Values = {}
    for values in (*reversed(merged), own):  # what is written here wins, then what is merged first
        mapping.update(values)
    return mapping


def _merges(key: yaml.ScalarNode) -> bool:
    return bool(key.value == "<<" and not key.style)


def _text(loader: _Loader, node: yaml.ScalarNode) -> Any:
    """Text; but a number where digits are in groups, and marked where YAML 1.1 reads it as something else."""
    text: str = node.value
    old = yaml.SafeLoader.yaml_implicit_resolvers.get(text[:1], ())
    if node.style or not any(tag.endswith((":bool", ":int", ":float")) and form.match(text) for tag, form in old):
        return text
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return Ambiguous(text)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:str", _text)


def read_config(path: Path) -> Values:
    """Return a config file's content. Raises ConfigError naming the file and, where it is not YAML, the line."""
    text = ""
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.load(text, _Loader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line}: is not UTF-8 text; save the file as UTF-8") from None
    except ConfigError as error:
        separator = ", " if str(error).startswith("line ") else ": "
        raise ConfigError(f"{path}{separator}{error}") from None
    except yaml.MarkedYAMLError as error:
        last = text.rstrip("\n").count("\n") + 1  # at the end, the parser counts one more
        line, start = (min(mark.line + 1, last) if mark else 1 for mark in (error.problem_mark, error.context_mark))
        context = f"{error.context} from line {start}, " if error.context and start < line else ""
        raise ConfigError(f"{path}, line {line}: is not valid YAML: {context}{error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: is not valid YAML: {_one_line(error)}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must be a mapping with the key experiments, not {shown(content)}")
    return content


def read_value(text: str) -> Any:
    """Return a value as it is written in a config file; text that is not YAML as it is."""
    try:
        return yaml.load(text, _Loader)
    except (ConfigError, yaml.YAMLError, ValueError):
        return text


def check_config_files(arguments: Iterable[str]) -> None:
    """End with one message where a file after --configfile on Snakemake's command line cannot be read.

    Snakemake reads these files before the Snakefile. It answers one that is not there with a traceback, and one that
    is not YAML without its name. So profiles/default asks here first.
    """
    for path in _after_configfile(arguments):
        try:
            if not path.exists():
                hint = "" if path.suffix else f". If it is a target, write -- before it: --configfile FILE -- {path}"
                raise ConfigError(f"{path}: there is no such config file{hint}")
            read_config(path)
            _check_yaml_1_1(path)
        except ConfigError as error:
            sys.exit(f"error: {error}")


def _check_yaml_1_1(path: Path) -> None:
    """Raise ConfigError where a file is good YAML 1.2, but PyYAML, which Snakemake reads it with, refuses it."""
    try:
        yaml.load(path.read_text(encoding="utf-8"), yaml.CFullLoader)
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:  # 2024-13-45 is no date, = is nothing
        what = f"Snakemake, which reads it as YAML 1.1, refuses it: {_one_line(error)}"
        raise ConfigError(f"{path}: {what}; write in quotes what looks like a date") from None


def _after_configfile(arguments: Iterable[str]) -> Iterator[Path]:
    given = False
    for argument in arguments:
        if argument.startswith("-"):
            option, equals, file = argument.partition("=")
            given = option in ("--configfile", "--configfiles")
            if given and equals:
                given = False
                yield Path(file)
        elif given:
            yield Path(argument)


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
        raise ConfigError(f"the value of {key} is not valid YAML: {_one_line(error)}") from None


def look_beside(paths: Iterable[Path | str]) -> None:
    """Have own modules and data found beside these config files too, by this process and those that it starts."""
    folders = dict.fromkeys(str(Path(path).resolve().parent) for path in paths)
    os.environ[BESIDE] = os.pathsep.join(folder for folder in folders if folder != str(Path.cwd()))


def own_folders() -> list[Path]:
    """Return where the user's own modules and data are looked for: the working folder, then beside the config."""
    return [Path.cwd(), *(Path(folder) for folder in os.environ.get(BESIDE, "").split(os.pathsep) if folder)]


def own_folders_text() -> str:
    """Return the same for a message."""
    return " or ".join(map(str, own_folders()))


def own_path(text: str) -> Path:
    """Return the path of the user's own file or folder that a config means; in the working folder if there is none."""
    path = Path(text).expanduser()
    return next(
        (found for folder in own_folders()[1:] if not path.exists() and (found := folder / path).exists()), path
    )


def snakemake_options(files: Iterable[Path | str], overrides: Mapping[str, Any]) -> list[str]:
    """Return the options that have Snakemake read these config files and overrides again."""
    names = [str(path) for path in files]
    return [*(["--configfile", *names] if names != [CONFIG_FILE] else []), *override_options(overrides)]


def override_options(overrides: Mapping[str, Any]) -> list[str]:
    """Return the option --config of these overrides, as Snakemake and scripts/sweep.py take it."""
    pairs = [f"{key}={_as_override(value)}" for key, value in overrides.items()]
    return ["--config", *pairs] if pairs else []


def _as_override(value: Any) -> str:
    is_word = isinstance(value, str) and value.isalpha() and plain_value(value) == value
    return str(value) if is_word else json.dumps(value, ensure_ascii=False)


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
        plain = yaml.load(value, _Loader)
    except (yaml.YAMLError, ValueError, ConfigError):
        return value
    return plain if plain is None or isinstance(plain, (bool, int, float, Ambiguous)) else value


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
        fit = (
            child for child in _children(node) if rest == child[0] or rest.startswith((f"{child[0]}.", f"{child[0]}["))
        )
        name, at, node = max(
            fit, key=lambda child: len(child[0]), default=("", 0, None)
        )  # `a.b`, where there is `a` too
        if not name:
            break
        depth, line, rest = depth + 1, at + 1, rest[len(name) :].removeprefix(".")
    return depth, line


def _children(node: yaml.Node | None) -> Iterator[tuple[str, int, yaml.Node]]:
    """What is below a node: name, line and node. A name that is also merged comes first as it is written here."""
    if isinstance(node, yaml.SequenceNode):
        yield from ((f"[{i}]", item.start_mark.line, item) for i, item in enumerate(node.value))
    elif isinstance(node, yaml.MappingNode):
        yield from ((key.value, key.start_mark.line, value) for key, value in node.value if not _merges(key))
        for _, merged in (pair for pair in node.value if _merges(pair[0])):
            for source in merged.value if isinstance(merged, yaml.SequenceNode) else [merged]:
                yield from _children(source)


def shown(value: Any) -> str:
    """Return a value as a message shows it: JSON, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
