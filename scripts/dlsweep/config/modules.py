"""Where the user's own modules are found, without importing any."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from dlsweep.config.files import own_folders

SCRIPTS = Path(__file__).parents[2]


def find_module(module: str, places: Iterable[Path | str]) -> importlib.machinery.ModuleSpec | None:
    """Return where a module is found in one of these folders; None where it is in none of them. Imports nothing."""
    folders = [str(place) for place in places]
    spec = None
    *packages, _ = parts = module.split(".")
    for i, part in enumerate(parts):
        # By its last name alone: of a dotted one, a folder without __init__.py asks the package, which is not imported.
        spec = importlib.machinery.PathFinder.find_spec(part, folders)
        if spec is None or (i < len(packages) and spec.submodule_search_locations is None):
            return None
        folders = list(spec.submodule_search_locations or [])
    return spec if spec and spec.origin else None  # a mere folder is no module


def source_file(name: str) -> Path | None:
    """Return the user's own file that a `module`, or `module:name`, is in, relative to the working folder, or None."""
    spec = find_module(name.partition(":")[0], own_folders())
    return Path(os.path.relpath(spec.origin)) if spec and spec.has_location and spec.origin else None


def name_fault(name: str, file: Path | None) -> str:
    """Say why a user's own file cannot be imported as `module`, or `module:name`, or nothing.

    Python and its libraries import modules of its own by these names; whose file they get would depend on the moment.
    """
    taken = file and name.partition(":")[0].partition(".")[0] in sys.stdlib_module_names
    return f"{file} has the name of a module of Python's own; rename it" if taken else ""


def is_installed(module: str) -> bool:
    """Say whether there is such a module, or at least its package, outside the working folder and this project."""
    try:
        spec = importlib.util.find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        return True  # nobody knows
    return spec is not None and not (spec.origin and Path(spec.origin).parent == SCRIPTS)
