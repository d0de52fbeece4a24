"""What the jobs of a sweep inherit from the shell it is started in, where that would make them fail."""

from __future__ import annotations

import getpass
import importlib.util
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dlsweep.config.comparison import Comparison
from dlsweep.config.search import METHODS
from dlsweep.config.sweep import Sweep
from dlsweep.errors import ConfigError


def prepare() -> None:
    """Give the jobs of this process what a container or an old shell may lack; Snakemake itself needs a HOME too."""
    try:
        getpass.getuser()
    except (KeyError, OSError):  # no entry in the passwd file, as with docker run --user: Snakemake asks for the name
        os.environ["LOGNAME"] = str(os.getuid())
    os.environ.pop("PYTHONSAFEPATH", None)  # the jobs are scripts that import from their own folder
    if not _is_utf8():  # LC_ALL=en_US.ISO-8859-1, or PYTHONUTF8=0; with LC_ALL=C, Python takes UTF-8 by itself
        os.environ.update(PYTHONUTF8="1", PYTHONIOENCODING="utf-8")


def check_packages(sweep: Sweep) -> None:
    """Raise ConfigError where a search needs a package that is not installed. None is loaded for that."""
    for experiment in sweep.experiments.values():
        method = experiment.course.method if experiment.course else ""
        for package in METHODS[method].needs if method else ():
            if importlib.util.find_spec(package) is None:
                word = "tune" if isinstance(experiment.course, Comparison) else "search"
                raise ConfigError(
                    f"experiments.{experiment.name}.{word}.method: {method} needs {package}, which is not installed:"
                    " python -m pip install -r requirements-search.txt"
                )


def check_writable(*folders: str) -> None:
    """Raise ConfigError where this user may not write to one of these folders, or to a folder in one."""
    for folder in folders:
        if Path(folder).is_dir():
            for path in (folder, *(entry.path for entry in os.scandir(folder) if entry.is_dir())):
                if not os.access(path, os.W_OK | os.X_OK):
                    raise ConfigError(f"{path}: {_why_not_writable(path)}")


def warn_of_protected(files: Iterable[str]) -> None:
    """Say of the first of these files that this user may not write what to do: Snakemake only refuses them."""
    for path in files:
        if Path(path).exists() and not os.access(path, os.W_OK):
            print(f"warning: {path}: {_why_not_writable(path)}", file=sys.stderr)
            return


def _why_not_writable(path: str) -> str:
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return "is on a file system that is read-only"
    try:
        owner = Path(path).owner()
    except KeyError:
        owner = f"user {Path(path).stat().st_uid}"
    return (
        f"belongs to {owner}, and you may not write it; where a group shares a folder, everybody sets umask 002 before"
        f" the start, and {owner} can open what is there with: chmod -R g+rwX {Path(path).parts[0]}"
    )


def check_text(what: Any, source: str) -> None:
    """Raise ConfigError where something cannot be passed on to a job in this process's encoding."""
    if _is_utf8():
        return
    text = json.dumps(what, ensure_ascii=False, default=str)
    if not text.isascii():
        letter = next(letter for letter in text if not letter.isascii())
        raise ConfigError(
            f"{source}: has the letter {letter!a}, but here Python does not use UTF-8 for names of files"
            f" ({sys.getfilesystemencoding()}); set PYTHONUTF8=1"
        )


def _is_utf8() -> bool:
    return sys.getfilesystemencoding() == "utf-8"
