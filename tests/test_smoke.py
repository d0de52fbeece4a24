"""The shortest way through the command lines, in seconds: data, one run, its record, its failure."""

import json
from pathlib import Path

from conftest import Project
from dlsweep.results.records import read_record
from dlsweep.runs.states import run_state

RUN = ("--exp-name=a", "--data=results/data/digits.pt", "--epochs=2", "--train-size=200", "--hid-dim=8")


def test_one_run_by_hand(project: Project):
    data = "results/data/digits.pt"
    assert project.run("python", "scripts/prepare.py", "--dataset=digits", f"--output={data}").returncode == 0
    done = project.run("python", "scripts/train.py", *RUN)
    assert done.returncode == 0, done.stderr
    (path,) = project.results.glob("a-*.json")
    record = read_record(path)
    assert len(record["epochs"]) == 2
    assert record["setting"]["hid_dim"] == 8
    assert run_state(project.results, "a", record["hash"]).state == "finished"

    failed = project.run("python", "scripts/train.py", *RUN, "--model=no_such_module:Net")
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr and "no_such_module" in failed.stderr
    (running,) = (project.results / "running").glob("a-*.json")
    state = run_state(project.results, "a", json.loads(running.read_text())["hash"])
    assert state.state == "failed" and "no_such_module" in state.error


def test_a_run_says_what_is_wrong(project: Project):
    done = project.run("python", "scripts/train.py", *RUN, "--lr=-1")
    assert done.returncode == 1
    assert done.stderr.startswith("error: lr: ")
    assert not list(Path(project.folder).glob("results/a-*"))
