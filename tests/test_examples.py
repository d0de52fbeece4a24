"""Each sweep of examples/: real Snakemake, real files of its data set, a few of its settings at reduced size."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from conftest import ROOT, Project
from dlsweep.config.sweep import load_sweep
from raw_files import DATASETS, write_raw

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
SMALL = {"epochs": 1, "train_size": 100, "val_size": 40}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    return project


def write_data(project: Project, dataset: str) -> None:
    if dataset in DATASETS:
        write_raw(dataset, project.folder / "data", n_train=600, n_test=100)
    else:
        assert project.run("python", "examples/own_data.py").returncode == 0


def override(**values: Any) -> list[str]:
    return ["--config", *(f"{key}={json.dumps(value)}" for key, value in values.items())]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example(project: Project, example: Path) -> None:
    head = example.read_text().partition("\n\n")[0]
    assert "?" in head and "Expected: " in head
    assert f"# Run it: snakemake --cores 4 --configfile examples/{example.name}" in head

    # The first setting of each model and data set.
    chosen: dict[tuple[str, ...], str] = {}
    for exp_name, digest, setting in load_sweep([example], {"defaults": SMALL}).records():
        chosen.setdefault((setting["dataset"], setting["model"]), f"results/{exp_name}-{digest}.json")
    for dataset in {dataset for dataset, _ in chosen}:
        write_data(project, dataset)
    done = project.snakemake(*chosen.values(), "--configfile", f"examples/{example.name}", *override(defaults=SMALL))
    assert done.returncode == 0, done.stdout + done.stderr
    records = project.records()
    assert sorted(records) == sorted(Path(path).name for path in chosen.values())
    for record in records.values():
        assert record["status"] == "finished" and len(record["epochs"]) == 1
        assert record["final"]["test_acc"] is not None


def test_an_example_to_its_figures(project: Project) -> None:
    write_data(project, "svhn")
    small = override(defaults=SMALL, experiments={"svhn_search": {"sample": {"n": 3}}})
    done = project.snakemake("--configfile", "examples/random_search.yaml", *small)
    assert done.returncode == 0, done.stdout + done.stderr
    tables = project.results / "random_search"
    assert len(pd.read_csv(tables / "summary.csv")) == 3
    assert list((tables / "figures").glob("*.png")) and (tables / "report.html").exists()
