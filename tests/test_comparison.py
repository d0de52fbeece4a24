"""A fair comparison: each is tuned by itself, and reported by other seeds, whatever happens to the sweep."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from conftest import Project, kill_group, wait_for

TRAINING = """
import time

def train(run, *, method: str = "plain", lr: float = 0.1, epochs: int = 2, seed: int = 0):
    best = {"plain": 0.1, "new": 0.01}[method]
    for epoch in run.epochs(epochs):
        time.sleep(0.05)
        run.log(val_loss=abs(lr - best) + (method == "plain") + run.rng("noise").random() / 1000)
    return {"test_loss": (method == "plain") + 0.1 + run.rng("test").random() / 100}
"""
CONFIG = {
    "defaults": {"train": "my_training:train"},
    "experiments": {
        "fair": {
            "compare": "method",
            "grid": {"method": ["plain", "new"]},
            "tune": {"lr": [0.001, 0.01, 0.1]},
            "seeds": 2,
            "figures": [],
        },
        "searched": {
            "compare": "method",
            "grid": {"method": ["plain", "new"]},
            "tune": {"method": "halving", "n": 2, "eta": 2, "lr": {"log_uniform": [0.001, 0.1]}},
            "seeds": 1,
            "figures": [],
        },
    },
}


def new_project(folder: Path) -> Project:
    folder.mkdir()
    project = Project(folder)
    (folder / "my_training.py").write_text(TRAINING)
    project.configure(CONFIG)
    return project


def decisions(project: Project) -> dict[str, dict]:
    found = project.results.glob("search/*/[0-9].json")
    return {f"{path.parent.name}/{path.name}": json.loads(path.read_text()) for path in found}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = new_project(tmp_path_factory.mktemp("comparison") / "undisturbed")
    done = project.snakemake(cores=4)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The best of method=plain lies on the edge of what was tuned: lr=0.1 is the largest" in done.stdout
    return project


def test_each_is_reported_at_its_best_and_the_tables_say_how_it_was_tuned(undisturbed: Project):
    tables = [pd.read_csv(undisturbed.results / f"{name}.csv") for name in ("summary", "tuning")]
    summary, tuning = (table[table["exp_name"] == "fair"] for table in tables)
    assert [*zip(summary["label"], summary["lr"], summary["seed"], strict=True)] == [
        ("method=plain", 0.1, 0),
        ("method=plain", 0.1, 1),
        ("method=new", 0.01, 0),
        ("method=new", 0.01, 1),
    ]
    assert list(tuning["label"]) == ["method=plain", "method=new"] and list(tuning["chosen"]) == ["lr=0.1", "lr=0.01"]
    assert list(tuning["n_settings"]) == list(tuning["n"]) == [3, 3] and list(tuning["epochs"]) == [6, 6]
    assert tuning["edge"][0] == "lr=0.1 is the largest that was tried: add 1" and pd.isna(tuning["edge"][1])
    board = " ".join((undisturbed.results / "leaderboard.md").read_text().split())
    said = "Each was tuned by itself with other seeds, the best of 3 settings by validation loss (6 runs, 12 epochs)."
    assert said in board.replace("the validation loss", "validation loss") and "| method=plain | 3 | 3 | 6 |" in board
    page = (undisturbed.results / "report.html").read_text()
    assert said.split(",")[0] in page and "How each was tuned (2)" in page and "<td>lr=0.01</td>" in page
    assert len(undisturbed.records()) == 6 + 4 + 2 + 2  # of a search in rounds, those that were trained to the end
    status = undisturbed.run("python", "scripts/sweep.py", "status")
    assert "18 of 18 runs are done, 2 pruned" in status.stdout, status.stdout + status.stderr


def test_a_search_tunes_each_in_rounds_and_the_best_of_those_that_went_on_is_reported(undisturbed: Project):
    tables = [pd.read_csv(undisturbed.results / f"{name}.csv") for name in ("summary", "tuning", "trials")]
    summary, tuning, trials = (table[table["exp_name"] == "searched"].reset_index() for table in tables)
    assert list(tuning["n_settings"]) == list(tuning["n"]) == [2, 2] and list(tuning["epochs"]) == [3, 3]
    assert list(trials["status"].value_counts().sort_index()) == [4, 4]  # finished, pruned: two of them went on
    for i, method in enumerate(("plain", "new")):
        tried = trials[trials["point"].str.contains(f'"{method}"') & (trials["round"] < 4)]
        first, last = tried[tried["status"] == "pruned"], tried[tried["status"] == "finished"]
        assert list(last["hash"]) == [first.loc[first["value"].idxmin(), "hash"]]
        assert summary["lr"][i] == json.loads(last["point"].iloc[0])["lr"] and summary["seed"][i] == 0
        assert tuning["selected"][i] == last["value"].iloc[0] and tuning["label"][i] == f"method={method}"


def test_killed_while_it_tunes_it_chooses_the_same(undisturbed: Project, tmp_path: Path):
    project = new_project(tmp_path / "killed")
    listed = project.snakemake("-n", "--quiet=rules")
    assert re.search(r"search.slot +18\s", listed.stdout + listed.stderr), listed.stdout + listed.stderr
    process = project.start()
    wait_for(lambda: process.poll() is not None or len(project.records()) >= 2)
    kill_group(process)
    status = project.run("python", "scripts/sweep.py", "status")
    assert "fair: tuning: " in status.stdout and "to be reported: 0 of 4 runs are done" in status.stdout, status.stdout
    done = project.snakemake(cores=1)
    assert done.returncode == 0, done.stdout + done.stderr
    assert decisions(project) == decisions(undisturbed)
    assert project.outcomes() == undisturbed.outcomes()
