"""The hyper-parameters of a user's function, read from its source text: nothing of the user's is imported.

A parameter is a hyper-parameter; its annotation says its type, its default the default. `Annotated` adds a sentence and
the bounds of annotated-types (https://github.com/annotated-types/annotated-types):

    lr: Annotated[float, "Learning rate.", Gt(0)] = 1e-3
    act: Literal["relu", "tanh"] = "relu"
    clip: float | None = None
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dlsweep.config.hyperparameters import Hyperparameter, check_value
from dlsweep.config.names import nearest
from dlsweep.errors import ConfigError

_OPERATORS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}
_TYPES: Mapping[str, type] = {"int": int, "float": float, "bool": bool, "str": str}
_CONTAINERS: Mapping[str, type] = {
    **dict.fromkeys(("list", "List", "tuple", "Tuple", "Sequence"), list),
    **dict.fromkeys(("dict", "Dict", "Mapping"), dict),
}
_BOUNDS = {"Gt": "gt", "Ge": "ge", "Lt": "lt", "Le": "le", "Interval": "", "Field": ""}
"""What annotated-types and pydantic call bounds, each with the end that it has without a name."""
_ENDS = {"gt": ("low", "open_low"), "ge": ("low", ""), "lt": ("high", "open_high"), "le": ("high", "")}


def parse(file: Path) -> ast.Module:
    """Return the syntax tree of a Python file. Raises ConfigError naming the line where it is none."""
    try:
        return ast.parse(file.read_bytes())
    except SyntaxError as error:
        raise ConfigError(f"{file}, line {error.lineno}: is not valid Python: {error.msg}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from None


def find_function(tree: ast.Module, name: str, file: Path) -> ast.FunctionDef | ast.ImportFrom:
    """Return the last statement of a module that binds a function, or that imports it from another module.

    Raises ConfigError with the nearest name where there is none, or where it is not a `def`.
    """
    bound = dict(bindings(tree))
    found = bound.get(name)
    if found is None:
        functions = [key for key, statement in bound.items() if isinstance(statement, ast.FunctionDef)]
        raise ConfigError(f"{file} has no function {name!r}.{nearest(name, functions)}")
    if not isinstance(found, (ast.FunctionDef, ast.ImportFrom)):
        raise ConfigError(
            f"{file}, line {found.lineno}: {name!r} is not defined by `def`, so its parameters cannot be read"
        )
    return found


class _Bindings(ast.NodeVisitor):
    """Collects what a module binds. What is inside of a function, a class or a comprehension is its own."""

    def __init__(self) -> None:
        self.found: list[tuple[str, ast.stmt]] = []
        self.statement: ast.stmt = ast.Pass()

    def visit(self, node: ast.AST) -> None:
        outer = self.statement
        self.statement = node if isinstance(node, ast.stmt) else outer
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            self._bind(node.name)
        elif isinstance(node, ast.alias):
            whole = isinstance(self.statement, ast.ImportFrom)
            self._bind(node.asname or (node.name if whole else node.name.partition(".")[0]))
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            self._bind(node.id)
        elif not isinstance(node, (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            if isinstance(node, (ast.MatchAs, ast.MatchStar)) and node.name:
                self._bind(node.name)
            self.generic_visit(node)
        self.statement = outer

    def _bind(self, name: str) -> None:
        self.found.append((name, self.statement))


def bindings(tree: ast.Module) -> list[tuple[str, ast.stmt]]:
    """Return each name that a module's text binds, with the statement that does, also below an if, a try or a loop.

    They are in the order of the text, so `dict` of them has the last statement of each. A star is the name of what
    `from module import *` binds.
    """
    visitor = _Bindings()
    visitor.visit(tree)
    return visitor.found


def read_parameters(function: ast.FunctionDef, tree: ast.Module, file: Path) -> dict[str, Hyperparameter]:
    """Return the hyper-parameters of a function: all its parameters but the first, which takes the run.

    Raises ConfigError naming file, line and parameter where one cannot be read.
    """
    spec, place = function.args, f"{file}, line {function.lineno}: {function.name}"
    positional = [*spec.posonlyargs, *spec.args]
    if not positional:
        raise ConfigError(f"{place} takes no parameter for the run: write def {function.name}(run, ...)")
    if spec.posonlyargs[1:]:
        raise ConfigError(f"{place}: {spec.posonlyargs[1].arg} has no name for who calls it; leave out the `/`")
    if spec.kwarg:
        raise ConfigError(f"{place} takes **{spec.kwarg.arg}, which names no hyper-parameter: write each as one")
    missing = len(positional) - len(spec.defaults)
    defaults = [*[None] * missing, *spec.defaults][1:]
    pairs = [*zip(positional[1:], defaults, strict=True), *zip(spec.kwonlyargs, spec.kw_defaults, strict=True)]
    constants = _constants(tree)
    return {argument.arg: _parameter(argument, value, constants, file) for argument, value in pairs}


def _constants(tree: ast.Module) -> dict[str, Any]:
    """The names at the top of a module that are bound once, to a value that the text tells."""
    values: dict[str, Any] = {}
    times: dict[str, int] = {}
    for name, statement in bindings(tree):
        times[name] = times.get(name, 0) + 1
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                with contextlib.suppress(ValueError):
                    values[name] = _value(statement.value, values)
    return {name: value for name, value in values.items() if times[name] == 1}


def _value(node: ast.expr, constants: Mapping[str, Any]) -> Any:
    """What an expression is, from its text; a tuple is a list. Raises ValueError where that is not known."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float, str, bool, type(None))):
        return node.value
    if isinstance(node, ast.Name) and node.id in constants:
        return constants[node.id]
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(item, constants) for item in node.elts]
    if isinstance(node, ast.Dict) and all(node.keys):
        keys = [_value(key, constants) for key in node.keys if key]
        return dict(zip(keys, (_value(item, constants) for item in node.values), strict=True))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _number(node.operand, constants)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        try:
            return _OPERATORS[type(node.op)](_number(node.left, constants), _number(node.right, constants))
        except ArithmeticError:
            raise ValueError from None
    raise ValueError


def _number(node: ast.expr, constants: Mapping[str, Any]) -> int | float:
    value = _value(node, constants)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e300:
        raise ValueError
    return value


def _parameter(argument: ast.arg, default: ast.expr | None, constants: Mapping[str, Any], file: Path) -> Hyperparameter:
    place, name = f"{file}, line {argument.lineno}", argument.arg
    hyper = _annotated(argument.annotation, constants, f"{place}: {name}")
    if default is None:
        return dataclasses.replace(hyper, required=True)
    try:
        value = _value(default, constants)
    except ValueError:
        raise ConfigError(
            f"{place}: the default of {name} cannot be read from the text; allowed: a number, text, True, False, None,"
            " a list or a dict of them, or a constant of the module that is one"
        ) from None
    if value is None:
        return dataclasses.replace(hyper, default=None, nullable=True)
    if argument.annotation is None:
        kinds = (bool, int, float, str, list, dict)
        hyper = dataclasses.replace(hyper, type=next(kind for kind in kinds if isinstance(value, kind)))
    try:
        return dataclasses.replace(hyper, default=check_value(name, value, {name: hyper}))
    except ConfigError as error:
        raise ConfigError(f"{place}: the default of {error}") from None


def _annotated(node: ast.expr | None, constants: Mapping[str, Any], place: str) -> Hyperparameter:
    """The type, bounds and sentence that an annotation gives; of one that is not known here, anything is allowed."""
    anything = Hyperparameter(object, None, "", items=object)
    if node is None:
        return anything
    if isinstance(node, ast.Constant) and isinstance(node.value, str):  # a forward reference
        try:
            node = ast.parse(node.value, mode="eval").body
        except SyntaxError:
            return anything
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _union([node.left, node.right], constants, place)
    name = _name(node)
    if not isinstance(node, ast.Subscript):
        kind = {**_TYPES, **_CONTAINERS}.get(name, object)
        return dataclasses.replace(anything, type=kind)
    name, inner = _name(node.value), node.slice
    items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if name == "Optional":
        return dataclasses.replace(_annotated(inner, constants, place), nullable=True)
    if name == "Union":
        return _union(items, constants, place)
    if name == "Literal":
        return _literal(items, anything, constants, place)
    if name == "Annotated":
        return _with_bounds(_annotated(items[0], constants, place), items[1:], constants, place)
    return dataclasses.replace(anything, type=_CONTAINERS.get(name, object))


def _name(node: ast.expr) -> str:
    """The last part of a dotted name."""
    return str(getattr(node, "attr", getattr(node, "id", "")))


def _union(nodes: list[ast.expr], constants: Mapping[str, Any], place: str) -> Hyperparameter:
    """Several types: null, a number, and words beside it, are told apart; all else may be anything."""
    is_null = [isinstance(node, ast.Constant) and node.value is None for node in nodes]
    parts = [_annotated(node, constants, place) for node, null in zip(nodes, is_null, strict=True) if not null]
    nullable = any(is_null) or any(part.nullable for part in parts)
    kinds = {part.type for part in parts}
    if len(parts) == 1:
        return dataclasses.replace(parts[0], nullable=nullable)
    if kinds == {int, float}:
        return dataclasses.replace(next(part for part in parts if part.type is float), nullable=nullable)
    words = [part for part in parts if part.type is str and part.choices]
    numbers = [part for part in parts if part.type in (int, float)]
    if len(parts) == 2 and words and numbers:
        return dataclasses.replace(numbers[0], choices=words[0].choices, nullable=nullable)
    return Hyperparameter(object, None, "", items=object, nullable=nullable)


def _literal(
    items: list[ast.expr], anything: Hyperparameter, constants: Mapping[str, Any], place: str
) -> Hyperparameter:
    try:
        values = tuple(_value(item, constants) for item in items)
    except ValueError:
        raise ConfigError(f"{place}: its Literal cannot be read from the text") from None
    nullable = None in values
    values = tuple(value for value in values if value is not None)
    if all(isinstance(value, str) for value in values):
        return dataclasses.replace(anything, type=str, choices=values, nullable=nullable)
    return dataclasses.replace(anything, values=values, nullable=nullable)


def _with_bounds(
    hyper: Hyperparameter, extras: list[ast.expr], constants: Mapping[str, Any], place: str
) -> Hyperparameter:
    """What `Annotated` adds: text is the sentence, Gt, Ge, Lt, Le and Interval are bounds; others say nothing here."""
    changes: dict[str, Any] = {}
    for extra in extras:
        if isinstance(extra, ast.Constant) and isinstance(extra.value, str):
            changes["doc"] = extra.value
        elif isinstance(extra, ast.Call) and (known := _BOUNDS.get(_name(extra.func))) is not None:
            given = {keyword.arg: keyword.value for keyword in extra.keywords}
            if known and extra.args:
                given[known] = extra.args[0]
            for end, node in given.items():
                if end in _ENDS:
                    bound, is_open = _ENDS[end]
                    try:
                        changes[bound] = float(_number(node, constants))
                    except ValueError:
                        raise ConfigError(f"{place}: its bound {end} cannot be read from the text") from None
                    if is_open:
                        changes[is_open] = True
    return dataclasses.replace(hyper, **changes)
