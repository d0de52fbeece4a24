"""The oldest versions that requirements-minimum.txt promises; tests/matrix.py tests them all, torch's too."""

import json
import os
import subprocess

import pytest

from conftest import Project, written
from versions import TORCH, make_environment, oldest, requirements, without


def test_the_pins_are_what_the_minimum_allows():
    pinned = dict(line.split("==") for line in requirements("requirements.txt"))
    least = dict(line.split(">=") for line in requirements("requirements-minimum.txt"))
    assert list(pinned) == list(least)
    numbers = {name: [tuple(map(int, v[name].split(".")[:2])) for v in (least, pinned)] for name in pinned}
    assert not [name for name, (low, pin) in numbers.items() if low > pin]


def test_the_oldest_promised_versions_make_a_whole_sweep(project: Project, tmp_path_factory: pytest.TempPathFactory):
    """In an environment that lies over this one, as over Colab's: torch is there already and stays as it is."""
    python = make_environment(tmp_path_factory.mktemp("oldest"), without(oldest(), *TORCH), over=True)
    path = f"PATH={python.parent}{os.pathsep}{os.environ['PATH']}"
    asked = "import json, importlib.metadata as m, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    wanted = dict(line.split("==") for line in without(oldest(), *TORCH))
    found = subprocess.run([python, "-c", asked, *wanted], capture_output=True, text=True, check=True).stdout
    assert json.loads(found) == wanted

    def snakemake() -> str:
        done = project.run("env", path, "snakemake", "--cores", "2")
        assert done.returncode == 0, done.stderr
        return done.stderr

    assert "warning" not in snakemake()
    assert len(project.records()) == 4
    assert (project.results / "report.html").exists()
    assert all("Traceback" not in log.read_text() for log in (project.results / "logs").glob("*.log"))
    made = written(project.results)
    snakemake()
    assert written(project.results) == made
