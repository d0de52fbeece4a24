"""Started from wherever its users are: another folder, no active environment, a checkout that they cannot write."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from conftest import LIMIT, ROOT, SMALL, Project, written

SNAKEMAKE = str(Path(sys.executable).parent / "snakemake")


def start(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Start Snakemake as one would without an active environment: it is on no PATH, and neither is its Python."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": os.environ["HOME"], "PYTHONDONTWRITEBYTECODE": "1"}
    command = [SNAKEMAKE, "--cores", "2", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT)


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("else where")
    (folder / "config.yaml").write_text(yaml.safe_dump(SMALL))
    return folder


def test_a_sweep_in_another_folder_than_the_pipeline(project: Project, elsewhere: Path):
    """From a read-only checkout: results, logs and Snakemake's own folder are in the working folder."""
    for path in (project.folder, *project.folder.rglob("*")):
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    before = set(project.folder.rglob("*"))
    done = start(elsewhere, "--snakefile", project.folder / "Snakefile")
    assert done.returncode == 0, done.stderr
    assert len(list((elsewhere / "results").glob("small-*.json"))) == 4
    assert "leaderboard" in (elsewhere / "results/report.html").read_text()
    assert set(project.folder.rglob("*")) == before
    made = written(elsewhere / "results")
    again = start(project.folder, "--snakefile", project.folder / "Snakefile", "--directory", elsewhere)
    assert again.returncode == 0 and written(elsewhere / "results") == made, again.stderr


def test_what_a_failed_run_says_to_repeat_by_hand_works(project: Project, elsewhere: Path):
    """The command is for the folder and the Python that the sweep was started with."""
    config = {**SMALL, "defaults": {**SMALL["defaults"], "model": "broken:Net"}, "experiments": {"one": {}}}
    (elsewhere / "config.yaml").write_text(yaml.safe_dump(config))
    (elsewhere / "broken.py").write_text("def Net(**_):\n    raise ValueError('as written')\n")
    failing = start(elsewhere, "--snakefile", project.folder / "Snakefile")
    by_hand = next(line for line in failing.stderr.splitlines() if "by hand: " in line).partition("by hand: ")[2]
    repeated = subprocess.run(by_hand, shell=True, cwd=elsewhere, capture_output=True, text=True, timeout=LIMIT)
    assert "as written" in failing.stderr and "as written" in repeated.stderr, repeated.stderr


def test_the_pipeline_as_a_module_of_another_workflow(project: Project, elsewhere: Path):
    (elsewhere / "Snakefile").write_text(
        f"module sweep:\n    snakefile: {str(project.folder / 'Snakefile')!r}\n    config: config\n\n"
        "use rule * from sweep as sweep_*\n\n"
        "rule paper:\n    default_target: True\n    input: 'results/summary.csv', 'results/report.html'\n"
        "    output: 'paper.txt'\n    shell: 'wc -l {input[0]} > {output}'\n"
    )
    done = start(elsewhere, "--workflow-profile", project.folder / "profiles/default")
    assert done.returncode == 0, done.stderr
    assert (elsewhere / "paper.txt").read_text().startswith("5 ")


@pytest.mark.parametrize("moved", [False, True])
def test_a_moved_project_gets_a_new_environment(tmp_path: Path, moved: bool):
    """Its scripts name the folder where it was made: nothing in it would start."""
    project = tmp_path / "before"
    project.mkdir()
    shutil.copy(ROOT / "Makefile", project)
    (project / "requirements.txt").touch()
    make = ["make", f"PYTHON={sys.executable}", ".venv/run-installed"]
    made = subprocess.run(make, cwd=project, capture_output=True, text=True, check=True)
    assert "Installing" in made.stdout
    if moved:
        project = project.rename(tmp_path / "after wards")
    again = subprocess.run(make, cwd=project, capture_output=True, text=True, check=True)
    assert ("Installing" in again.stdout) == moved
    pip = subprocess.run([project / ".venv/bin/pip", "--version"], capture_output=True, text=True, check=True)
    assert str(project) in pip.stdout


def test_own_modules_and_data_lie_beside_the_config(project: Project, elsewhere: Path):
    """They move with their config: found there, not in the working folder, by runs, by hand and by `status`."""
    own = elsewhere / "study"
    own.mkdir()
    shutil.copy(ROOT / "examples/own_model.py", own / "beside_me.py")
    generator = np.random.default_rng(0)
    np.savez(own / "mine.npz", x_train=generator.random((60, 4), "float32"), y_train=np.arange(60) % 2)
    setting = {"model": "beside_me:ResidualMLP", "dataset": "npz", "data_path": "mine.npz", "epochs": 1}
    (own / "sweep.yaml").write_text(yaml.safe_dump({"experiments": {"own": {**setting, "seeds": 2}}}))
    done = start(elsewhere, "--snakefile", project.folder / "Snakefile", "--configfile", own / "sweep.yaml")
    assert done.returncode == 0, done.stderr
    assert len(list((elsewhere / "results").glob("own-*.json"))) == 2
    with (own / "beside_me.py").open("a") as file:
        file.write("\nCHANGED = True\n")
    command = [sys.executable, project.folder / "scripts/sweep.py", "status", own / "sweep.yaml"]
    status = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, timeout=LIMIT)
    assert "2 runs" in status.stdout and "beside_me" in status.stdout + status.stderr, status.stdout + status.stderr
