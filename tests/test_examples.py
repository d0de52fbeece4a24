"""Each sweep of examples/: real Snakemake, real files of its data set, a few of its settings at reduced size."""

import json
import shutil
import string
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from conftest import ROOT, Project
from dlsweep.config.identity import setting_hash
from dlsweep.config.sweep import load_sweep
from raw_files import DATASETS, write_raw

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
SMALL = {"epochs": 1, "train_size": 100, "val_size": 20}


def write_data(project: Project, dataset: str) -> None:
    if dataset in DATASETS:
        write_raw(dataset, project.folder / "data", n_train=600, n_test=30)
    else:
        assert project.run("python", "examples/own_data.py").returncode == 0


def override(**values: Any) -> list[str]:
    return ["--config", *(f"{key}={json.dumps(value)}" for key, value in values.items())]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("examples"))
    shutil.copytree(ROOT / "examples", project.folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    return project


def chosen(example: Path) -> dict[str, list[dict[str, Any]]]:
    """The first setting of each kind of model and data set, at reduced size, by experiment."""
    experiments: dict[str, list[dict[str, Any]]] = {}
    seen = set()
    for exp_name, _, setting in load_sweep([example], {"defaults": SMALL}).records():
        if (kind := (setting["dataset"], setting["model"].rstrip(string.digits))) not in seen:
            seen.add(kind)
            experiments.setdefault(f"{example.stem}.{exp_name}", []).append(dict(setting))
    return experiments


@pytest.fixture(scope="module")
def records(project: Project) -> list[dict[str, Any]]:
    """The records of those settings of all examples, from one start of Snakemake."""
    experiments = {name: settings for example in EXAMPLES for name, settings in chosen(example).items()}
    for dataset in {setting["dataset"] for settings in experiments.values() for setting in settings}:
        write_data(project, dataset)
    project.configure({"experiments": {name: {"settings": settings} for name, settings in experiments.items()}})
    done = project.snakemake(*experiments)
    assert done.returncode == 0, done.stdout + done.stderr
    return list(project.records().values())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example(records: list[dict[str, Any]], example: Path) -> None:
    head = example.read_text().partition("\n\n")[0]
    assert "?" in head and "Expected: " in head
    assert f"# Run it: snakemake --cores 4 --configfile examples/{example.name}" in head
    settings = [setting_hash(setting) for settings in chosen(example).values() for setting in settings]
    found = [record for record in records if record["exp_name"].startswith(f"{example.stem}.")]
    assert sorted(record["hash"] for record in found) == sorted(settings)
    for record in found:
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
