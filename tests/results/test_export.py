"""Exports, read back with the library of the tool that they are for."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from conftest import LIMIT, ROOT
from dlsweep.errors import ConfigError
from dlsweep.results import export
from fake import fake_record, fake_sweep

CONFIG = {"defaults": {"epochs": 3}, "experiments": {"e": {"grid": {"lr": [0.01, 1]}}}}


def run(folder: Path, tool: str) -> subprocess.CompletedProcess[str]:
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    command = [sys.executable, "scripts/sweep.py", "export", tool, str(folder / "config.yaml")]
    command += ["--results", str(folder / "results"), "--output", str(folder / tool)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT)


def test_tensorboard_reads_what_was_written(tmp_path: Path):
    from tensorboard.backend.event_processing import event_accumulator as reader

    plan = fake_sweep(CONFIG, tmp_path / "results")
    done = run(tmp_path, "tensorboard")
    assert done.returncode == 0, done.stderr
    assert "2 runs written, 0 there already, 0 not finished" in done.stdout
    for digest, setting in plan.settings.items():
        record = fake_record("e", digest, setting)
        events = reader.EventAccumulator(str(tmp_path / "tensorboard" / "e" / digest)).Reload()
        read = [(event.step, event.value) for event in events.Scalars("val_acc")]
        known = [epoch for epoch in record["epochs"] if epoch["val_acc"] is not None]
        assert read == [(epoch["epoch"], pytest.approx(epoch["val_acc"])) for epoch in known]
        losses = [epoch["val_loss"] for epoch in record["epochs"] if epoch["val_loss"] is not None]
        assert [event.value for event in events.Scalars("val_loss")] == pytest.approx(losses)


def test_mlflow_reads_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    plan = fake_sweep(CONFIG, tmp_path / "results")
    records = [fake_record("e", digest, setting) for digest, setting in plan.settings.items()]
    assert export.write_mlflow(records, tmp_path / "store") == 2
    assert export.write_mlflow(records, tmp_path / "store") == 0  # nothing twice
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "store").as_uri())
    runs = client.search_runs([client.get_experiment_by_name("e").experiment_id])
    assert {run.data.params["lr"] for run in runs} == {"0.01", "1.0"}
    for record in records:
        (found,) = [r for r in runs if r.info.run_name == record["hash"]]
        history = client.get_metric_history(found.info.run_id, "val_acc")
        accuracies = [epoch["val_acc"] for epoch in record["epochs"] if epoch["val_acc"] is not None]
        assert [m.value for m in history] == pytest.approx(accuracies)
        if record["final"]["test_acc"] is not None:
            assert found.data.metrics["test_acc"] == pytest.approx(record["final"]["test_acc"])


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ConfigError, match="pip install tensorboard"):
        export.write_tensorboard([], tmp_path)
