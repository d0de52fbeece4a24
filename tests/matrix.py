"""Test the promised versions of Python, Snakemake and every dependency. A person runs this before a release:

    python tests/matrix.py                # all: hours, and 12 GB of disk at a time
    python tests/matrix.py oldest 3.13    # those named so

It needs pip's package index, and the interpreters under names such as python3.13 (or in ~/.pyenv).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from versions import ROOT, make_environment, oldest, requirements, without

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SNAKEMAKES = ("9.0.1", "9.8.2", "9.16.3")
CHECKERS = ("mypy", "ruff", "snakefmt", "types-PyYAML")  # of requirements-dev.txt, what no test needs
SHOWN = ("snakemake", "torch", "numpy", "pandas")


def interpreter(version: str) -> str | None:
    """Return the path of an interpreter of this version that starts, None where there is none.

    A name in the PATH may be pyenv's, which starts nothing while another version is chosen.
    """
    kept = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"), reverse=True)
    for python in (shutil.which(f"python{version}"), *map(str, kept)):
        if python and subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            return python
    return None


def pins(snakemake: str = "") -> list[str]:
    """Return requirements.txt, with another Snakemake where one is named."""
    lines = requirements("requirements.txt")
    return [*without(lines, "snakemake"), f"snakemake=={snakemake}"] if snakemake else lines


def newest() -> list[str]:
    """Return every dependency without a bound."""
    return ["--upgrade", *(re.split("[=<>]", line)[0] for line in requirements("requirements-minimum.txt"))]


def environments() -> dict[str, tuple[str, Callable[[], list[str]]]]:
    """Return what is tested: name -> version of Python, packages."""
    return {
        "oldest": ("3.11", oldest),
        "newest": ("3.11", newest),
        **{f"snakemake-{version}": ("3.11", lambda version=version: pins(version)) for version in SNAKEMAKES},
        **{version: (version, pins) for version in PYTHONS},
    }


def test(name: str, version: str, packages: list[str], arguments: list[str]) -> str:
    """Return the row of one environment."""
    python = interpreter(version)
    if python is None:
        return f"| {name} | no Python {version} here | not tested | |"
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="matrix-") as folder:
        lines = [*requirements("requirements-dev.txt"), *requirements("requirements-examples.txt")]
        tests = [line for line in without(lines, *CHECKERS) if line[0] != "-"]
        try:
            inside = make_environment(Path(folder), [*packages, *tests], python)
        except subprocess.CalledProcessError:
            return f"| {name} | Python {version} | cannot be installed | |"
        code = f"from importlib.metadata import version; print(*(n + ' ' + version(n) for n in {SHOWN}), sep=', ')"
        found = subprocess.run([inside, "-c", code], capture_output=True, text=True).stdout.strip()
        path = f"{inside.parent}{os.pathsep}{os.environ['PATH']}"
        log = ROOT / "results/logs" / f"matrix-{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as file:
            command = [inside, "-m", "pytest", "-q", "-m", "not slurm and not faults", *arguments]
            subprocess.run(command, cwd=ROOT, env={**os.environ, "PATH": path}, stdout=file, stderr=subprocess.STDOUT)
        last = log.read_text().strip().splitlines()[-1].strip("= ")
    return f"| {name} | Python {version}, {found} | {last} | {(time.monotonic() - start) / 60:.0f} min |"


def main() -> int:
    known = environments()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(known)}")
    parser.add_argument("--tests", nargs="+", default=[], metavar="FILE", help="test files (default: all)")
    options = parser.parse_args()
    if unknown := set(options.names) - set(known):
        parser.error(f"{', '.join(sorted(unknown))} is not known; allowed: {', '.join(known)}")
    print("| environment | versions | tests | time |\n|---|---|---|--:|")
    rows = []
    for name in options.names or known:
        version, packages = known[name]
        rows.append(test(name, version, packages(), options.tests))
        print(rows[-1], flush=True)
    return int(any("failed" in row or "error" in row or "cannot" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main())
