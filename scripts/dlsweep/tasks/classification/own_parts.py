"""The users' own parts, `module:name`: what can be said of them unseen, and what is tried once before their runs.

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
from dlsweep.config.hyperparameters import HYPERPARAMETERS
from dlsweep.config.identity import Setting
from dlsweep.config.jobs import run_options
from dlsweep.config.modules import is_installed, name_fault, source_file
from dlsweep.config.names import nearest
from dlsweep.config.paths import data_file, data_name
from dlsweep.config.registry import own_parts
from dlsweep.config.signatures import bindings
from dlsweep.config.sweep import Sweep
from dlsweep.config.tasks import is_built_in

Part = tuple[str, str]
"""The key of an own part, and its name: ("model", "my_nets:Wide")."""
FOLDER = ".checked"  # in the results folder; no sweep can have that name


def has_own_parts(setting: Setting) -> bool:
    """Say whether a setting is one of the built-in task with a model, an optimizer, ... of the user's."""
    return is_built_in(setting) and bool(own_parts(setting))


def tried_parts(setting: Setting) -> list[Part]:
    """The own parts of a setting that are tried; of a data set it shows when it is prepared."""
    parts = own_parts(setting) if is_built_in(setting) else {}
    return [(key, name) for key, names in parts.items() for name in names if key != "dataset"]


# -- what is tried once --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """One thing to try for all the runs that share it; `name` is that of its file.

    Either whether a part can be imported, where `data` is None, or whether a step can be done with these parts and
    arguments on data of this shape, `data` being a setting that reads them.
    """

    name: str
    values: Setting
    data: Setting | None = None

    @property
    def parts(self) -> list[Part]:
        """The parts that are tried, each with its key."""
        return tried_parts(self.values)

    @property
    def what(self) -> str:
        """What is tried, `module:name`."""
        return ", ".join(name for _, name in self.parts)

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


class PartChecks:
    """The checks of a sweep: of each part, and of each of its arguments and data that several runs share.

    What a single run has to itself is tried by that run: it fails with the same message.
    """

    def __init__(self, sweep: Sweep) -> None:
        self.checks: dict[str, Check] = {}
        self._imports: dict[Part, Check] = {}
        counts: Counter[str] = Counter()
        of_part: dict[Part, set[str]] = defaultdict(set)
        own = {digest: setting for _, digest, setting in sweep.records() if tried_parts(setting)}
        for setting in own.values():
            check = _training_check(setting)
            self.checks[check.name] = check
            counts[check.name] += 1
            for part in check.parts:
                of_part[part].add(check.name)
        self.checks = {name: check for name, check in self.checks.items() if counts[name] > 1}
        for part, names in of_part.items():
            if len(names) > 1:
                check = _import_check(*part)
                self.checks[check.name] = self._imports[part] = check

    def of_run(self, setting: Setting) -> list[Check]:
        """Return what must have been tried before a run of this setting starts."""
        parts = tried_parts(setting)
        if not parts:
            return []
        shared = self.checks.get(_training_check(setting).name)
        return [*self._imported(parts), *([shared] if shared else [])]

    def before(self, check: Check) -> list[Check]:
        """Return what must have been tried before a check is made."""
        return self._imported(check.parts) if check.data else []

    def _imported(self, parts: list[Part]) -> list[Check]:
        return [self._imports[part] for part in parts if part in self._imports]

    def failed(self, results: Path) -> Iterator[tuple[Check, str]]:
        """Yield the checks that have failed, each with the message."""
        for check in self.checks.values():
            if not Path(check.output(str(results))).exists() and check.log(str(results)).exists():
                lines = check.log(str(results)).read_text(errors="replace").splitlines()
                if errors := [line for line in lines if line.startswith("error: ")]:
                    yield check, errors[-1].removeprefix("error: ")


def _import_check(key: str, name: str) -> Check:
    return Check(_name(name, {}), {key: [name] if key == "metrics" else name})


def _training_check(setting: Setting) -> Check:
    """What decides whether a step can be done with own parts: their arguments, the data, how weights are treated."""
    parts = own_parts(setting)
    keys = [part for key in parts for part in (key, f"{key}_args") if key != "dataset" and part in setting]
    values = {key: setting[key] for key in (*keys, "test_weights", "channels_last")}
    values |= {
        key: 1.0 if setting[key] else 0.0 for key in ("l1", "weight_decay") if key == "l1" or "optimizer" in parts
    }
    if setting["loss"] != HYPERPARAMETERS["loss"].default:
        values["loss"] = setting["loss"]
    what = ", ".join(name for _, name in tried_parts(setting))
    return Check(_name(what, {**values, "data": data_name(setting)}), values, setting)


def _name(what: str, values: Mapping[str, Any]) -> str:
    digest = hashlib.sha1(json.dumps([what, values], sort_keys=True).encode()).hexdigest()[:12]
    return f"{re.sub(r'[^A-Za-z0-9_.]', '_', what.replace(':', '.'))[:80]}-{digest}"


# -- what can be said without importing anything -------------------------------------------------------------------


def part_faults(settings: Collection[Setting]) -> list[str]:
    """Return what is certainly wrong with the own parts of these settings, each with the number of its runs."""
    faults: Counter[str] = Counter()
    known: dict[str, str] = {}
    for setting in settings:
        for key, names in (own_parts(setting) if is_built_in(setting) else {}).items():
            arguments = setting.get(f"{key}_args", {})
            for name in names:
                part = json.dumps([key, name, arguments])
                if part not in known:
                    known[part] = static_fault(key, name, arguments)
                faults[known[part]] += 1
    return [f"{fault} ({n} {'run' if n == 1 else 'runs'} cannot start)" for fault, n in faults.items() if fault]


def static_fault(key: str, name: str, arguments: Mapping[str, Any]) -> str:
    """Say what is certainly wrong with an own part and its arguments, from the source text alone, or nothing."""
    module, own_name = name.split(":")
    file = source_file(name)
    if fault := name_fault(name, file):
        return f"{key}: {name}: {fault}"
    if file is None:
        return "" if is_installed(module) else f"{key}: there is no module {module!r} in {own_folders_text()}"
    if file.suffix != ".py":
        return ""
    try:
        names, is_whole = _names(file, file.stat().st_mtime_ns)
    except SyntaxError as error:
        return f"{key}: {file}, line {error.lineno}: is not valid Python: {error.msg}"
    if own_name not in names:
        return f"{key}: {file} has no {own_name!r}.{nearest(own_name, names)}" if is_whole else ""
    call = CALLS[key]
    if key == "loss" and isinstance(names[own_name], ast.ClassDef):  # it is made first
        call = Call()
    fault = _call_fault(names[own_name], call, arguments) if is_whole else ""
    where = key if key == "metrics" else f"{key}_args"
    return fault and f"{where}: {name} ({file}): {fault}"


@dataclass(frozen=True)
class Call:
    """How an own part is called beside its arguments.

    With so many by their place, with those of `named`, and with those of `offered` that it takes.
    """

    n_positional: int = 0
    named: tuple[str, ...] = ()
    offered: tuple[str, ...] = ()


CALLS = {
    "dataset": Call(),
    "model": Call(named=("in_shape", "n_classes")),
    "loss": Call(2),
    "optimizer": Call(1, named=("lr",), offered=("weight_decay",)),
    "lr_schedule": Call(offered=("step", "total", "steps_per_epoch")),
    "metrics": Call(2),
}


@functools.cache
def _names(file: Path, changed: int) -> tuple[dict[str, ast.stmt], bool]:
    """Return what a module's text binds at its top, the last statement for each name, and whether that is all."""
    tree = ast.parse(file.read_bytes())
    bound = dict(bindings(tree))
    is_whole = not {"*", "__getattr__"} & bound.keys()
    text = ast.unparse(tree)
    return bound, is_whole and not re.search(r"\b(globals|exec|setattr|vars|global)\b|sys\.modules|__dict__", text)


def _call_fault(statement: ast.stmt, call: Call, arguments: Mapping[str, Any]) -> str:
    """Say which argument a class or function would refuse or miss, or nothing where that is not certain."""
    function: ast.stmt | None = statement
    if isinstance(statement, ast.ClassDef):
        methods = {node.name: node for node in statement.body if isinstance(node, ast.FunctionDef)}
        function = None if statement.keywords or "__new__" in methods else methods.get("__init__")
    if not isinstance(function, ast.FunctionDef) or function.decorator_list or statement.decorator_list:  # type: ignore[attr-defined]
        return ""
    spec = function.args
    positional = [*spec.posonlyargs, *spec.args][isinstance(statement, ast.ClassDef) :]
    if len(positional) < call.n_positional and not spec.vararg:
        return f"takes {len(positional)} arguments; it is called with {call.n_positional}"
    names = [arg.arg for arg in (*positional[call.n_positional :], *spec.kwonlyargs)]
    given = [*call.named, *arguments]
    unknown = next((name for name in given if name not in names), "") if not spec.kwarg else ""
    if unknown:
        return f"takes no {unknown!r}; it takes {', '.join(names) or 'nothing'}.{nearest(unknown, names)}"
    n_required = len(positional) - len(spec.defaults)
    required = [arg.arg for arg in positional[call.n_positional : max(n_required, call.n_positional)]]
    required += [arg.arg for arg, value in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if value is None]
    missing = [name for name in required if name not in (*given, *call.offered)]
    return f"needs {', '.join(repr(name) for name in missing)}" if missing else ""
