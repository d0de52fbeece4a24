"""What a run does: the built-in training, a function of the user's, or a command. Loads neither torch nor pandas.

A setting says it: `train: my_training:train`, `command: python my_script.py --lr {lr} --out {metrics}`, or neither.
The parameters of the function, and the braces of the command, are the hyper-parameters that it has. What was trained
elsewhere and imported has `imported: mine(lr, width, seed)`: a name, and the hyper-parameters that are known of it.
"""

from __future__ import annotations

import ast
import functools
import os
import re
import string
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlsweep.config.files import BESIDE, own_folders_text, shown
from dlsweep.config.hyperparameters import HYPERPARAMETERS, Hyperparameter
from dlsweep.config.metrics import COLUMNS
from dlsweep.config.modules import SCRIPTS, find_module, is_installed, name_fault, source_file
from dlsweep.config.options import RUN_OPTIONS
from dlsweep.config.signatures import find_function, parse, read_parameters
from dlsweep.errors import ConfigError

TASK_KEYS = ("train", "command", "imported")
"""The words that name an own task; a setting has one of them at most, and with it its hash depends on it."""

BRACES = ("metrics", "checkpoint", "threads", "device", "results")
"""What stands in the braces of a command beside hyper-parameters: what the run gives it."""

TASK_WORDS = (*TASK_KEYS, "objective", "report")
"""What `defaults` and an experiment say of the task itself; none of it is swept."""
SPECIAL_KEYS = (
    *("grid", "zip", "settings", "sample", "search", "seeds", "split_seeds", "folds"),
    *("compare", "tune", "tune_seeds", "exclude", "when", "extends", "figures", "question"),
)
"""The keys of an experiment that are neither this nor a hyper-parameter."""
CONFIG_WORDS = (*SPECIAL_KEYS, *TASK_WORDS, "n")
IMPORTED_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*\([A-Za-z_]\w*(, ?[A-Za-z_]\w*)*\)$"
FUNCTION_NAME = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"


@dataclass(frozen=True)
class Task:
    """What a run does, and the hyper-parameters that it has, in its own order.

    `kind` is classification (the built-in task), function, command or imported; `name` is "", "module:function", the
    command's text or "name(parameters)".
    """

    kind: str
    name: str
    hyperparameters: Mapping[str, Hyperparameter]

    @property
    def key(self) -> str:
        """The word of the config that names it; "" for the built-in task."""
        return {"function": "train", "command": "command", "imported": "imported"}.get(self.kind, "")

    @functools.cached_property
    def defaults(self) -> dict[str, Any]:
        """The defaults of an own task's hyper-parameters that have one."""
        return {key: hyper.default for key, hyper in self.hyperparameters.items() if not hyper.required}

    def __str__(self) -> str:
        return {"function": self.name, "command": "the command", "imported": self.name}.get(
            self.kind, "the built-in training"
        )


BUILT_IN = Task("classification", "", HYPERPARAMETERS)


def task_of(values: Mapping[str, Any]) -> Task:
    """Return the task that the values of a setting name.

    Raises ConfigError where its source cannot be found or read.
    """
    for key in TASK_KEYS:
        if values.get(key) is not None:
            return _read(key, values[key], str(Path.cwd()), os.environ.get(BESIDE, ""))
    return BUILT_IN


@functools.cache
def _read(key: str, name: str, folder: str, beside: str) -> Task:
    """The task of that name, as the files of these folders have it when it is first asked for."""
    try:
        read = {"train": _read_function, "command": _read_command, "imported": _read_imported}[key]
        return read(name)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None


def is_built_in(values: Mapping[str, Any]) -> bool:
    """Say whether a setting is one of the built-in task: an own one may have parameters of the same names."""
    return all(values.get(key) is None for key in TASK_KEYS)


def forget() -> None:
    """Read every task again when it is next asked for: its source may have changed."""
    _read.cache_clear()


def is_task_name(key: str, value: Any) -> bool:
    """Say whether a value can be the name of a function, the text of a command, or what says what was imported."""
    pattern = {"train": FUNCTION_NAME, "imported": IMPORTED_NAME}.get(key, r"\s*\S")
    return isinstance(value, str) and bool(re.match(pattern, value))


# -- a function ----------------------------------------------------------------------------------------------------


def _read_function(name: str) -> Task:
    module, function = name.split(":")
    seen: set[str] = set()
    while True:
        file = _file_of(module)
        tree = parse(file)
        found = find_function(tree, function, file)
        if isinstance(found, ast.FunctionDef):
            break
        seen.add(module)
        module, function = _imported(found, function, module, file)  # a package's __init__.py often only imports it
        if module in seen:
            raise ConfigError(f"{file} imports {function!r} in a circle; name the module that defines it")
    hyperparameters = read_parameters(found, tree, file)
    for parameter in hyperparameters:
        _refuse_reserved(parameter, f"{file}, line {found.lineno}: {parameter}")
    return Task("function", name, hyperparameters)


def _file_of(module: str) -> Path:
    """The source file of a module: the user's own or, where there is none, an installed one."""
    file = source_file(module)
    if fault := name_fault(module, file):
        raise ConfigError(fault)
    if file is None and is_installed(module):
        spec = find_module(module, [path for path in sys.path if path and Path(path) != SCRIPTS])
        file = Path(spec.origin) if spec and spec.has_location and spec.origin else None
    if file is None:
        raise ConfigError(f"there is no module {module!r} in {own_folders_text()}")
    if file.suffix != ".py":
        raise ConfigError(f"{file} is not Python source, so its parameters cannot be read")
    return file


def _imported(statement: ast.ImportFrom, name: str, module: str, file: Path) -> tuple[str, str]:
    """The module and the name that `from ... import` takes a function from."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for _ in range(statement.level - 1):
        package = package.rpartition(".")[0]
    base = ".".join(part for part in ((package if statement.level else ""), statement.module or "") if part)
    original = next(alias.name for alias in statement.names if (alias.asname or alias.name) == name)
    return base, original


def _refuse_reserved(name: str, place: str) -> None:
    """A parameter whose name means something else here would be two things at once."""
    other = f"{name.rstrip('s')}_" if name in CONFIG_WORDS else f"own_{name}"
    if name in CONFIG_WORDS:
        raise ConfigError(f"{place} is a word of the config; rename the parameter, for example to {other}")
    if name in (*RUN_OPTIONS, "help"):
        given = "; the run has it: run.device, run.threads, run.folder" if name in ("device", "threads") else ""
        raise ConfigError(f"{place} is an option of every run; rename the parameter, for example to {other}{given}")
    if name in COLUMNS:
        raise ConfigError(f"{place} is a column of the tables; rename the parameter, for example to {other}")


# -- a command -----------------------------------------------------------------------------------------------------


def _read_command(text: str) -> Task:
    names: dict[str, None] = {}
    quote = ""
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ConfigError(f"{shown(text)}: {error}; a brace that is meant as one is written twice: {{{{ }}}}") from None
    for literal, field, form, conversion in parts:
        quote = _quote_after(literal, quote)
        if field is None:
            continue
        written = "{" + field + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "") + "}"
        if literal.endswith("$"):
            raise ConfigError(f"${written} is the shell's, not a hyper-parameter: write ${{{written}}}")
        if not field.isidentifier() or form or conversion:
            raise ConfigError(
                f"{written} is not the name of a hyper-parameter; allowed: a name, or one of {', '.join(BRACES)};"
                " a brace that is meant as one is written twice"
            )
        if quote:
            raise ConfigError(f"{written} is in quotes; leave them out: values are quoted where they need it")
        names[field] = None
    if "metrics" not in names:
        raise ConfigError(
            "has no {metrics}: the file that the program writes its metrics to, a line of JSON for each epoch"
        )
    parameters = [name for name in names if name not in BRACES]
    for name in parameters:
        _refuse_reserved(name, f"{{{name}}}")
    return Task("command", text, {name: Hyperparameter(object, None, "", required=True) for name in parameters})


def _quote_after(text: str, quote: str) -> str:
    """The quote that is open for the shell after this text, "" for none; `quote` is the one that is open before it."""
    escaped = False
    for letter in text:
        if escaped:
            escaped = False
        elif letter == "\\" and quote != "'":
            escaped = True
        elif letter in "'\"" and quote in ("", letter):
            quote = "" if quote else letter
    return quote


def format_command(text: str, values: Mapping[str, str]) -> str:
    """Return a command with the values, as they are to stand there, in place of its braces."""
    return string.Formatter().vformat(text, (), values)


# -- imported ------------------------------------------------------------------------------------------------------


def _read_imported(text: str) -> Task:
    parameters = [name.strip() for name in text.partition("(")[2].rstrip(")").split(",")]
    for name in parameters:
        _refuse_reserved(name, name)
    return Task("imported", text, {name: Hyperparameter(object, None, "", required=True) for name in parameters})
