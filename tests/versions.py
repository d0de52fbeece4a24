"""The versions that the project promises to work with, as environments to test."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parent.parent
TORCH = ("torch", "torchvision")


def requirements(name: str) -> list[str]:
    """Return the lines of a requirements file."""
    lines = (ROOT / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def oldest() -> list[str]:
    """Return requirements-minimum.txt with each package at its lower bound."""
    return [line.replace(">=", "==") for line in requirements("requirements-minimum.txt")]


def without(lines: list[str], *names: str) -> list[str]:
    """Return the requirements that are not of these packages."""
    return [line for line in lines if re.split("[=<>]", line)[0] not in names]


def make_environment(folder: Path, packages: list[str], python: str = sys.executable, over: bool = False) -> Path:
    """Make a virtual environment that holds `packages`; return its Python.

    With `over`, it lies over this one: what `packages` do not name, torch above all, is taken from here.
    """
    subprocess.run([python, "-m", "venv", folder], check=True)
    inside = folder / "bin/python"
    if over:
        here = sysconfig.get_path("purelib")
        there = folder / Path(here).relative_to(Path(sys.prefix))
        (there / "over.pth").write_text(here + "\n")
    subprocess.run([inside, "-m", "pip", "install", "--quiet", *packages], check=True)
    return inside
