"""The users' own models, `module:Class`: what can be said of them unseen, and what is tried once before their runs.

Loads neither torch nor pandas, and imports no module of the user's.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlsweep.config.files import own_folders_text
from dlsweep.config.identity import Setting
from dlsweep.config.jobs import run_options
from dlsweep.config.modules import is_installed, source_file
from dlsweep.config.names import nearest
from dlsweep.config.paths import data_file, data_name
from dlsweep.config.sweep import Sweep
from dlsweep.config.tasks import is_built_in

FOLDER = ".checked"  # in the results folder; no sweep can have that name


def has_own_model(setting: Setting) -> bool:
    """Say whether a setting is one of the built-in task with a model of the user's."""
    return is_built_in(setting) and ":" in setting["model"]


# -- what is tried once --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """One thing to try for all the runs that share it; `name` is that of its file.

    Either whether the class can be imported, where `data` is None, or whether it can be trained with these
    arguments on data of this shape, `data` being a setting that reads them.
    """

    name: str
    values: Setting
    data: Setting | None = None

    @property
    def model(self) -> str:
        """The model, `module:Class`."""
        return str(self.values["model"])

    def output(self, results: str) -> str:
        """Return the file that says that it has been tried."""
        return f"{results}/{FOLDER}/{self.name}.txt"

    def log(self, results: str) -> Path:
        """Return its log, which ends with what is wrong."""
        return Path(results, "logs", f"check-{self.name}.log")

    def options(self, data: str) -> str:
        """Return the options of scripts/train.py, quoted for the shell, but for the output; `data` are prepared."""
        return run_options({**({"data": data} if self.data else {}), **self.values})

    def command(self, script: str, results: str) -> str:
        """Return the command that makes the check by hand."""
        data = data_file(results, self.data) if self.data else ""
        return f"{script} {self.options(data)} {run_options({'check': self.output(results)})}"


class ModelChecks:
    """The checks of a sweep: of each class, and of each of its arguments and data that several runs share.

    What a single run has to itself is tried by that run: it fails with the same message.
    """

    def __init__(self, sweep: Sweep) -> None:
        self.checks: dict[str, Check] = {}
        self._of_class: dict[str, str] = {}
        counts: Counter[str] = Counter()
        kinds: dict[str, set[str]] = defaultdict(set)
        own = {digest: setting for _, digest, setting in sweep.records() if has_own_model(setting)}
        for setting in own.values():
            check = _training_check(setting)
            self.checks[check.name] = check
            counts[check.name] += 1
            kinds[setting["model"]].add(check.name)
        self.checks = {name: check for name, check in self.checks.items() if counts[name] > 1}
        for model, names in kinds.items():
            if len(names) > 1:
                check = _import_check(model)
                self.checks[check.name], self._of_class[model] = check, check.name

    def of_run(self, setting: Setting) -> list[Check]:
        """Return what must have been tried before a run of this setting starts."""
        if not has_own_model(setting):
            return []
        of_class = self._of_class.get(setting["model"])
        names = [of_class or "", _training_check(setting).name]
        return [self.checks[name] for name in names if name in self.checks]

    def before(self, check: Check) -> list[Check]:
        """Return what must have been tried before a check is made."""
        of_class = self._of_class.get(check.model)
        return [self.checks[of_class]] if of_class and of_class != check.name else []

    def failed(self, results: Path) -> Iterator[tuple[Check, str]]:
        """Yield the checks that have failed, each with the message."""
        for check in self.checks.values():
            if not Path(check.output(str(results))).exists() and check.log(str(results)).exists():
                lines = check.log(str(results)).read_text(errors="replace").splitlines()
                if errors := [line for line in lines if line.startswith("error: ")]:
                    yield check, errors[-1].removeprefix("error: ")


def _import_check(model: str) -> Check:
    return Check(_name(model, {}), {"model": model})


def _training_check(setting: Setting) -> Check:
    """What decides whether a step can be done with a model: its arguments, the data, and how weights are treated."""
    values = {key: setting[key] for key in ("model", "model_args", "test_weights", "channels_last")}
    values |= {"l1": 1.0 if setting["l1"] else 0.0}
    return Check(_name(setting["model"], {**values, "data": data_name(setting)}), values, setting)


def _name(model: str, values: Mapping[str, Any]) -> str:
    digest = hashlib.sha1(json.dumps([model, values], sort_keys=True).encode()).hexdigest()[:12]
    return f"{re.sub(r'[^A-Za-z0-9_.]', '_', model.replace(':', '.'))[:80]}-{digest}"


# -- what can be said without importing anything -------------------------------------------------------------------


def model_faults(settings: Collection[Setting]) -> list[str]:
    """Return what is certainly wrong with the own models of these settings, each with the number of its runs."""
    faults: Counter[str] = Counter()
    known: dict[str, str] = {}
    for setting in settings:
        if has_own_model(setting):
            key = json.dumps([setting["model"], setting["model_args"]])
            if key not in known:
                known[key] = static_fault(setting["model"], setting["model_args"])
            faults[known[key]] += 1
    return [f"{fault} ({n} {'run' if n == 1 else 'runs'} cannot start)" for fault, n in faults.items() if fault]


def static_fault(model: str, arguments: Mapping[str, Any]) -> str:
    """Say what is certainly wrong with a model and its arguments, from the source text alone, or nothing."""
    module, class_name = model.split(":")
    file = source_file(model)
    if file is None:
        return "" if is_installed(module) else f"model: there is no module {module!r} in {own_folders_text()}"
    if file.suffix != ".py":
        return ""
    try:
        names, is_whole = _names(file, file.stat().st_mtime_ns)
    except SyntaxError as error:
        return f"model: {file}, line {error.lineno}: is not valid Python: {error.msg}"
    if class_name not in names:
        return f"model: {file} has no {class_name!r}.{nearest(class_name, names)}" if is_whole else ""
    fault = _call_fault(names[class_name], arguments) if is_whole else ""
    return fault and f"model_args: {model} ({file}): {fault}"


@functools.cache
def _names(file: Path, changed: int) -> tuple[dict[str, ast.stmt], bool]:
    """Return what a module's text binds at its top, the last statement for each name, and whether that is all."""
    tree = ast.parse(file.read_bytes())
    bound: dict[str, ast.stmt] = {}
    is_whole = True
    todo: list[ast.stmt] = list(tree.body)
    for statement in todo:
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            bound[statement.name] = statement
            is_whole &= statement.name != "__getattr__"
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.alias):
                bound[(node.asname or node.name).partition(".")[0]] = statement
                is_whole &= node.name != "*"
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                bound[node.id] = statement
            elif isinstance(node, (ast.ClassDef, ast.FunctionDef)):  # below an if, a try or a with
                bound[node.name] = statement
    text = ast.unparse(tree)
    return bound, is_whole and not re.search(r"\b(globals|exec|setattr|vars|global)\b|sys\.modules|__dict__", text)


def _call_fault(statement: ast.stmt, arguments: Mapping[str, Any]) -> str:
    """Say which argument a class or function would refuse or miss, or nothing where that is not certain."""
    function: ast.stmt | None = statement
    if isinstance(statement, ast.ClassDef):
        methods = {node.name: node for node in statement.body if isinstance(node, ast.FunctionDef)}
        function = None if statement.keywords or "__new__" in methods else methods.get("__init__")
    if not isinstance(function, ast.FunctionDef) or function.decorator_list or statement.decorator_list:  # type: ignore[attr-defined]
        return ""
    spec = function.args
    positional = [*spec.posonlyargs, *spec.args][isinstance(statement, ast.ClassDef) :]
    names = [arg.arg for arg in (*positional, *spec.kwonlyargs)]
    given = ["in_shape", "n_classes", *arguments]
    unknown = next((name for name in given if name not in names), "") if not spec.kwarg else ""
    if unknown:
        return f"takes no {unknown!r}; it takes {', '.join(names) or 'nothing'}.{nearest(unknown, names)}"
    n_required = len(positional) - len(spec.defaults)
    required = [arg.arg for arg in positional[: max(n_required, 0)]]
    required += [arg.arg for arg, value in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if value is None]
    missing = [name for name in required if name not in given]
    return f"needs {', '.join(repr(name) for name in missing)}" if missing else ""
