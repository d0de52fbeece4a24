"""The user's own code, `module:name`: import it, and say in one line what goes wrong in it. Loads no torch."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from dlsweep.config.files import own_folders, own_folders_text
from dlsweep.config.modules import SCRIPTS, find_module, is_installed, name_fault, source_file
from dlsweep.config.names import nearest
from dlsweep.errors import ConfigError


def import_installed(files: Iterable[Path]) -> None:
    """Import what the user's files begin by importing of installed modules (`first_imports`), and nothing of theirs.

    Each run does this before it seeds anything, so that its random numbers do not depend on whether the warm trainer
    has done it already. What cannot be imported is left to the user's own code, which says where that happens.
    """
    for file in files:
        for statement in first_imports(file):
            try:
                exec(statement, {})
            except (Exception, SystemExit):
                break


def first_imports(file: Path) -> Iterator[str]:
    """Yield the imports of installed modules at the top of a file, up to the first statement that is anything else.

    What comes later may depend on what is done before, such as a variable of the environment that a library reads. An
    import of the user's own counts as anything else, as does one of a name that a module beside the config has too.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the user's text, which Python says when it is imported
            body = ast.parse(file.read_bytes()).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):  # the docstring
            continue
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            return
        if not all(is_installed(name) and not _is_own(name) for name in names):
            return
        yield ast.unparse(node)


def _is_own(module: str) -> bool:
    """Say whether a module, or its package, is in the working folder or beside the config."""
    return any(find_module(name, own_folders()) for name in {module, module.partition(".")[0]})


def own_object(key: str, name: str) -> Callable[..., Any]:
    """Import and return the user's own class or function, `module:name`, as the config's `key` has it.

    It is looked for in the working directory, beside the config and among the installed packages.
    Raises ConfigError, naming the file and the line, where there is no such module or name, where the module cannot
    be imported, and where another module of that name hides it.
    """
    module_name, own_name = name.split(":")
    if sys.path[0] != str(Path.cwd()):  # a script's own folder stands there, not the working directory
        sys.path.insert(0, str(Path.cwd()))
    sys.path += [str(folder) for folder in own_folders()[1:] if str(folder) not in sys.path]
    file = source_file(name)
    if fault := name_fault(name, file):
        raise ConfigError(f"{key}: {name}: {fault}")
    try:
        module = importlib.import_module(module_name)
    except ConfigError:
        raise
    except ModuleNotFoundError as error:
        if f"{module_name}.".startswith(f"{error.name}.") and not file:
            raise ConfigError(f"{key}: there is no module {module_name!r} in {own_folders_text()}") from None
        raise ConfigError(f"{key}: {file or module_name} cannot be imported: {what_happened(error, file)}") from None
    except SystemExit as end:
        raise ConfigError(
            f"{key}: {file or module_name} ends the program while it is imported: {what_happened(end, file)}; move what"
            ' is not to happen then, such as parse_args(), below if __name__ == "__main__"'
        ) from None
    except Exception as error:
        raise ConfigError(f"{key}: {file or module_name} cannot be imported: {what_happened(error, file)}") from None
    found = getattr(module, "__file__", None)
    if file and not (found and Path(found).samefile(file)):
        other = found or "one of Python's own"
        raise ConfigError(f"{key}: {name}: {file} has the name of a module that is loaded already, {other}; rename it")
    if not file and found and Path(found).parent == SCRIPTS:
        raise ConfigError(f"{key}: there is no module {module_name!r} in {own_folders_text()}")
    if not hasattr(module, own_name):
        where = file or found or module_name
        raise ConfigError(f"{key}: {where} has no {own_name!r}.{nearest(own_name, vars(module))}")
    build: Any = getattr(module, own_name)
    if not callable(build):
        raise ConfigError(f"{key}: {own_name} of {file or found} is {build!r}; allowed: a class or a function")
    return cast(Callable[..., Any], build)


def call_fault(build: Callable[..., Any], *positional: Any, **named: Any) -> str:
    """Say why a class or function cannot be called with these arguments, or nothing."""
    try:
        inspect.signature(build).bind(*positional, **named)
    except TypeError as error:
        return str(error)
    except ValueError:  # one of C's has no signature
        pass
    return ""


def takes(build: Callable[..., Any], name: str) -> bool:
    """Say whether a class or function takes a keyword argument of this name."""
    try:
        parameters = inspect.signature(build).parameters
    except ValueError:
        return True
    return name in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def what_happened(error: BaseException, file: Path | None) -> str:
    """Return an error of the user's code in one line, with the place in their file."""
    text = " ".join(str(error).split())
    if isinstance(error, SystemExit):
        text = f"exit status {error.code}" if isinstance(error.code, int) else text or "exit status 0"
    if isinstance(error, SyntaxError) and error.lineno:
        text = error.msg
    return f"{type(error).__name__}: {text}{place_of(error, file)}"


def place_of(error: BaseException, file: Path | None) -> str:
    """Return where in the user's file an error came up, in brackets; nothing where it came from elsewhere."""
    frames = traceback.extract_tb(error.__traceback__) if file else []
    lines = [frame.lineno for frame in frames if file and frame.filename == str(file.absolute())]
    if isinstance(error, SyntaxError) and error.lineno:
        lines = [error.lineno]
    return f" ({file.name}, line {lines[-1]})" if file and lines else ""
