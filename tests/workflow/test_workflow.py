"""The whole way through the front door: real Snakemake on small sweeps."""

import copy
import json
import os
import time

import pandas as pd

from conftest import ROOT, SMALL, Project


def stamps(project: Project) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in project.results.glob("*-*.json")}


def test_from_config_to_report_and_nothing_twice(project: Project):
    done = project.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(project.records()) == 4
    summary = pd.read_csv(project.results / "summary.csv")
    assert sorted(summary["lr"]) == [0.01, 0.01, 0.1, 0.1]
    assert len(pd.read_csv(project.results / "epochs.csv")) == 8
    figures = {path.suffix for path in (project.results / "figures").iterdir()}
    assert {".png", ".svg"} <= figures
    assert "<html" in (project.results / "report.html").read_text()
    assert not list((project.results / "running").iterdir())
    assert "report.html" in done.stdout + done.stderr

    before = stamps(project)
    assert project.has_nothing_to_do()
    assert project.planned() == {}

    # What may not repeat a finished run: a changed script, a longer grid, another order, a lost data file.
    folder = project.folder
    for path in [*(folder / "scripts").rglob("*.py"), *(folder / "rules").iterdir(), folder / "Snakefile"]:
        path.write_text(path.read_text() + "\n# changed\n")
        os.utime(path, (time.time() + 100,) * 2)
    assert project.planned() == {}
    (project.results / "data" / "digits.pt").unlink()
    assert project.planned() == {}
    longer = copy.deepcopy(SMALL)
    longer["experiments"]["small"]["figures"] = []
    longer["experiments"]["small"]["grid"] = {"act": ["tanh", "relu"], "lr": [0.1, "1e-2", 0.2]}
    project.configure(longer)
    planned = project.planned()
    assert planned["train"] == 2 and planned["prepare"] == 1
    assert project.snakemake().returncode == 0
    assert len(project.records()) == 6
    assert {name: stamp for name, stamp in stamps(project).items() if name in before} == before

    # A setting taken out leaves its record on disk and out of the tables; going back brings it back.
    shorter = copy.deepcopy(longer)
    shorter["experiments"]["small"]["grid"]["lr"] = [0.01]
    for config, rows in ((shorter, 2), (longer, 6)):
        project.configure(config)
        assert "train" not in project.planned()
        assert project.snakemake().returncode == 0
        assert len(pd.read_csv(project.results / "summary.csv")) == rows
        assert len(project.records()) == 6


def test_configs_live_side_by_side(project: Project):
    small = {**SMALL["experiments"]["small"], "figures": []}
    other = {**SMALL, "experiments": {"other": {"grid": {"lr": [0.01, 0.3]}, "figures": []}}}
    project.configure({**SMALL, "experiments": {"small": small}})
    project.configure(other, "examples/other.yaml")
    assert project.snakemake().returncode == 0
    done = project.snakemake("--configfile", "examples/other.yaml")
    assert done.returncode == 0, done.stderr
    assert set(pd.read_csv(project.results / "summary.csv")["exp_name"]) == {"small"}
    assert set(pd.read_csv(project.results / "other" / "summary.csv")["exp_name"]) == {"other"}
    assert (project.results / "other" / "report.html").exists()
    assert project.planned() == {}
    twin = [record for name, record in project.records().items() if name.startswith("other-")]
    assert len(twin) == 2
    log = "".join(path.read_text() for path in (project.results / "logs").glob("other-*.log"))
    assert "the same setting as small-" in log


def test_a_shared_setting_is_trained_once(project: Project):
    project.configure({**SMALL, "experiments": {"one": {"lr": 0.1}, "two": {"grid": {"lr": [0.1, 0.2]}}}})
    done = project.snakemake("two")
    assert done.returncode == 0 and "Done: two." in done.stdout + done.stderr, done.stderr
    records = project.records()
    assert sorted(name.split("-")[0] for name in records) == ["one", "two", "two"]
    commands = [record["provenance"]["command"] for record in records.values()]
    assert len(set(commands)) == 2


def test_overrides_from_the_command_line(project: Project):
    done = project.snakemake("small", "--config", "defaults={epochs: 1}")
    assert done.returncode == 0, done.stderr
    assert {len(record["epochs"]) for record in project.records().values()} == {1}


def test_a_failed_run_stops_nothing_but_itself(project: Project):
    project.configure({**SMALL, "experiments": {"a": {"grid": {"model": ["mlp", "no_such_module:Net"]}}}})
    done = project.snakemake()
    assert done.returncode != 0
    assert [record["setting"]["model"] for record in project.records().values()] == ["mlp"]
    assert "1 of 2 runs are not finished" in done.stdout + done.stderr
    logs = [path.read_text() for path in (project.results / "logs").glob("a-*.log")]
    assert any("no_such_module" in text for text in logs)


def test_the_command_of_a_run_can_be_repeated_by_hand(project: Project):
    assert project.snakemake("small").returncode == 0
    before = project.outcomes()
    name, record = next(iter(project.records().items()))
    (project.results / name).unlink()
    done = project.run("sh", "-c", record["provenance"]["command"])
    assert done.returncode == 0, done.stderr
    assert project.outcomes() == before


def test_derived_files_are_up_to_date(project: Project):
    done = project.run("python", "scripts/sweep.py", "schema")
    assert done.returncode == 0, done.stderr
    for name in done.stdout.split():
        assert (project.folder / name).read_text() == (ROOT / name).read_text(), name


def test_the_committed_config_fits_the_schema():
    import jsonschema
    import yaml

    root = ROOT
    schema = json.loads((root / "schemas/config.schema.json").read_text())
    for path in [root / "config.yaml", *sorted((root / "examples").glob("*.yaml"))]:
        jsonschema.validate(yaml.safe_load(path.read_text()), schema)
