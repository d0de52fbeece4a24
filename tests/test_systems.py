"""Other systems than the one this was written on: a Mac's make, no `which`, file systems that can do less."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT, Project

SYSTEM_TOOLS = {"echo", "rm", "touch"}
# As from a shell, where make itself started these tests.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}


@pytest.mark.parametrize("options", [(), ("TORCH=cpu",), ("CONFIG=a config.yaml",)], ids=str)
def test_make_names_each_command_by_its_path(options: tuple[str, ...]):
    """The make of macOS looks commands up in the PATH that it was called with, which has not ours, or another's."""
    planned = subprocess.run(
        ["make", "--always-make", "--just-print", "PYTHON=/a/python3", *options, "run", "test", "clean-env"],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [shlex.split(line.removeprefix("PYTHONPATH=scripts ")) for line in planned.stdout.splitlines()]
    commands = {words[0] for words in lines}
    assert {"pytest", "ruff", "mypy", "snakefmt", "snakemake", "python"} <= {Path(name).name for name in commands}
    assert all("/" in name or name in SYSTEM_TOOLS for name in commands), commands
    if "TORCH=cpu" in options:
        assert any(words[0] == ".venv/bin/uv" and "--torch-backend" in words for words in lines)
    if "CONFIG=a config.yaml" in options:
        assert any(words[-2:] == ["--configfile", "a config.yaml"] for words in lines)


def test_make_calls_no_foreign_command_of_the_same_name(tmp_path: Path):
    for part in ("Makefile", *(path.name for path in ROOT.glob("requirements*.txt"))):
        shutil.copy(ROOT / part, tmp_path / part)
    called = tmp_path / "called.txt"
    for folder in ("foreign", ".venv/bin"):
        (tmp_path / folder).mkdir(parents=True)
        for name in (
            "pip",
            "python",
            "python3",
            "ruff",
            "mypy",
            "snakefmt",
            "snakemake",
            "pytest",
            "uv",
            "lint-imports",
        ):
            command = tmp_path / folder / name
            command.write_text(f'#!/bin/sh\necho "{folder}/{name} $@" >>{called}\n')
            command.chmod(0o755)
    path = f"{tmp_path / 'foreign'}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        [os.environ.get("OLD_MAKE", "make"), "PYTHON=.venv/bin/python3", "run", "test"],
        cwd=tmp_path,
        env={**ENVIRONMENT, "PATH": path},
        check=True,
        capture_output=True,
    )
    assert called.read_text() and "foreign" not in called.read_text(), called.read_text()


def test_windows_is_told_of_wsl(tmp_path: Path):
    made = subprocess.run(["make", "OS=Windows_NT", "run"], cwd=ROOT, capture_output=True, text=True)
    assert made.returncode and "use WSL" in made.stderr
    for script in ("train", "sweep"):
        code = f"import sys; sys.platform = 'win32'; sys.path.insert(0, 'scripts'); import {script}"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode and done.stderr.startswith("error: ") and "use WSL" in done.stderr


HIDE_SLURM = """
import pkgutil

def without_plugin(*arguments, iter_modules=pkgutil.iter_modules):
    return (module for module in iter_modules(*arguments) if module.name != "snakemake_executor_plugin_slurm")

pkgutil.iter_modules = without_plugin
"""


def test_no_which_is_needed(project: Project, monkeypatch: pytest.MonkeyPatch):
    """SLURM's plugin calls `which` when it is loaded, and Snakemake loads every plugin: only a cluster gets it."""
    assert "slurm" not in (ROOT / "requirements.txt").read_text()
    tools = project.folder / "tools"
    tools.mkdir()
    for name in ("sh", "bash", "tee", "git", "env", "uname"):
        (tools / name).symlink_to(shutil.which(name) or "")
    (tools / "sitecustomize.py").write_text(HIDE_SLURM)  # as where requirements.txt alone is installed
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("PYTHONPATH", str(tools))
    assert not shutil.which("which")
    assert project.planned()["train"] == 4
