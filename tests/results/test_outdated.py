"""Changed code and data, through the front door: told, kept apart, made again only when asked to."""

import html
import json
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import Project

NETS = """\
from torch import nn
import helpers.scales

class Net(nn.Sequential):
    def __init__(self, in_shape, n_classes):
        super().__init__(nn.Flatten(), nn.Linear(4, helpers.scales.WIDTH), nn.ReLU(), nn.LazyLinear(n_classes))
"""
CONFIG = """\
defaults: {dataset: npz, data_path: mine.npz, epochs: 1, batch_size: 8}
experiments:
  own:
    seeds: 2
    model: "my_nets:Net"
    grid: {lr: [0.1, 0.2]}
    figures: [{kind: line}, {kind: heatmap, x: lr, y: seed}]
"""
BOARD = ("own", "results/leaderboard.csv")  # the runs and their tables, without figures


def write_data(project: Project, seed: int) -> None:
    generator = np.random.default_rng(seed)
    y = np.arange(60) % 3
    np.savez(project.folder / "mine.npz", x_train=generator.normal(size=(60, 4)).astype("float32"), y_train=y)


def write_code(project: Project, width: int) -> None:
    (project.folder / "helpers" / "scales.py").write_text(f"WIDTH = {width}  # of the hidden layer\n")


@pytest.fixture
def own(project: Project) -> Project:
    """A sweep of four runs of an own model on own data."""
    (project.folder / "helpers").mkdir()
    (project.folder / "my_nets.py").write_text(NETS)
    write_code(project, 5)
    write_data(project, 0)
    project.configure(CONFIG)
    return project


def start(project: Project, *arguments: str) -> str:
    done = project.snakemake(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def command(project: Project, *arguments: str) -> str:
    done = project.run("python", "scripts/sweep.py", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def board(project: Project) -> pd.DataFrame:
    return pd.read_csv(project.results / "leaderboard.csv").sort_values("label").reset_index(drop=True)


def words(project: Project, figure: str) -> str:
    """The text of a figure: matplotlib notes each line as a comment beside its shapes."""
    svg = (project.results / "figures" / f"own-{figure}.svg").read_text()
    return " ".join(html.unescape(line.strip()) for line in re.findall("<!--(.*?)-->", svg))


def content(project: Project) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in project.results.glob("own-*.json")}


def test_changed_code_and_data_are_told_and_never_averaged_and_made_again_on_demand(own: Project):
    assert "were made with other" not in start(own, *BOARD)
    first = content(own)
    assert len(first) == 4 and len(board(own)) == 2
    (own.folder / "my_nets.py").write_text(NETS.replace("import helpers", "# a comment\n\nimport helpers"))
    assert own.planned(*BOARD) == {}  # what changes no code is no other version

    # Another helper of the model, and one seed more: the finished runs are kept, and are rows of their own.
    write_code(own, 7)
    own.configure(CONFIG.replace("seeds: 2", "seeds: 3"))
    text = start(own)
    assert "4 of 4 finished runs were made with other code than my_nets has now" in text
    assert "snakemake --cores 4 --config outdated=redo" in text
    assert {name: content(own)[name] for name in first} == first and len(content(own)) == 6
    table = board(own)
    assert table["n"].tolist() == [2, 1, 2, 1] or table["n"].tolist() == [1, 2, 1, 2]
    assert all(", code " in label for label in table["label"])
    assert table.groupby("n")["n_outdated"].unique().to_dict() == {1: [0], 2: [2]}
    note = "4 of 6 runs were made with other code than now"
    for path in ("leaderboard.md", "report/leaderboard-own.html", "report/overview.rst", "report/own-line.rst"):
        assert note in (own.results / path).read_text(), path
    assert note in words(own, "line") and words(own, "line").count("code ") > 1
    assert note in words(own, "heatmap")
    assert "4 runs have other code or data; only those with code" in words(own, "heatmap")
    assert own.has_nothing_to_do()
    for name in ("status", "show", "verify"):
        assert "4 of 6 finished runs were made with other code than my_nets has now" in command(own, name)
    status = json.loads(command(own, "status", "--json"))["experiments"]["own"]
    assert status["outdated"] == 4 and ", code " in status["best"]["setting"] and status["best"]["seeds"] in (1, 2)

    # Other data: prepared again because new runs need them.
    write_data(own, 1)
    own.configure(CONFIG.replace("seeds: 2", "seeds: 4"))
    text = start(own, *BOARD)
    assert "6 of 6 finished runs were made with other data than mine.npz has now" in text
    table = board(own)
    assert len(table) == 6 and table["outdated"].value_counts().to_dict() == {"code and data": 2, "data": 2}
    assert len(set(pd.read_csv(own.results / "summary.csv")["data"])) == 2
    old = content(own)
    assert {name: old[name] for name in first} == first

    # The one act: exactly the outdated runs are made again. Killed half-way, it goes on with what is left.
    n_current = sum(row["n"] for _, row in table.iterrows() if not row["n_outdated"])
    redo = ("--config", "outdated=redo")
    assert own.planned(*redo)["train"] == len(old) - n_current == 6
    name = next(name for name in sorted(old))
    start(own, f"results/{name}", *redo)
    redone = content(own)
    assert [key for key in old if redone[key] != old[key]] == [name]
    assert own.planned(*redo)["train"] == 5
    text = start(own, *BOARD, *redo)
    assert "5 records are made again; each stays until its new one is there" in text
    now = content(own)
    assert now.keys() == old.keys() and now[name] == redone[name]
    assert sum(now[key] == old[key] for key in old) == n_current
    table = board(own)
    assert table["label"].tolist() == ["lr=0.1", "lr=0.2"] and table["n"].tolist() == [4, 4]
    assert table["n_outdated"].tolist() == [0, 0] and table["outdated"].isna().all()
    assert own.has_nothing_to_do(*BOARD, *redo)
    assert own.planned(*BOARD) == {}
    assert "finished runs were made" not in command(own, "verify")

    # Data as they were once are known again, though their time is old, and prepared again where a run needs them.
    write_data(own, 0)
    os.utime(own.folder / "mine.npz", (1, 1))
    own.configure(CONFIG.replace("seeds: 2", "seeds: 5"))
    assert own.planned() == {"train": 2, "prepare": 1, "plan": 1, "aggregate": 1, "report": 1, "html": 1, "all": 1}
    start(own, "own")
    assert {record["provenance"]["data"] for record in own.records().values()} >= {
        json.loads(first_record)["provenance"]["data"] for first_record in first.values()
    }


def test_orphans_of_no_config_that_was_started_here_are_deleted(own: Project):
    own.configure(CONFIG.replace("own:", "theirs:").replace("my_nets:Net", "mlp"), "other.yaml")
    start(own, "own")  # by an experiment, which writes no tables
    start(own, "theirs", "--configfile", "other.yaml")
    start(own, "own", "--config", "defaults={epochs: 2}")
    names = set(own.records())
    assert len(names) == 12
    assert "0 records" in command(own, "orphans", "--delete")
    assert set(own.records()) == names
    own.configure(CONFIG.replace("seeds: 2", "seeds: 1"))
    start(own, "own")
    assert "2 records" in command(own, "orphans", "--delete")
    assert len(names - set(own.records())) == 2
    assert all(name.startswith("own-") for name in names - set(own.records()))
    stray = own.results / "mystery-0123456789012345678901234567890123456789.json"
    stray.write_text("{}")
    own.configure(CONFIG.replace("seeds: 2", "seeds: [1]"))
    done = own.run("python", "scripts/sweep.py", "orphans", "--delete")
    assert done.returncode == 1 and "nothing is deleted" in done.stderr and "Traceback" not in done.stderr
    assert stray.exists() and Path(own.results / stray.name).exists()
    command(own, "orphans", "--delete", "--unknown")
    assert not stray.exists()
