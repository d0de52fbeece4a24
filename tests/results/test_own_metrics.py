"""Tables of own tasks, whose metrics are any: their columns, what is best, and what is said where a metric lacks."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from conftest import LIMIT, ROOT
from dlsweep.commands.live import View
from dlsweep.config.sweep import expand_config
from dlsweep.files import write_json
from dlsweep.report.captions import finding
from dlsweep.results.columns import LEADERBOARD, all_columns
from dlsweep.results.leaderboard import leaderboard_markdown
from dlsweep.results.schema import Record
from dlsweep.results.tables import read_tables, write_tables
from fake import own_sweep

FUNCTION = {"train": "my_training:train", "objective": "val_mae"}
METRICS = {"mae": {"unit": "°C"}, "gpu_bytes": {"better": "min", "range": [0, None], "unit": "bytes", "doc": "Memory."}}
OWN = {"metrics": METRICS, "experiments": {"own": {**FUNCTION, "grid": {"lr": [0.01, 0.1, 1]}, "seeds": 3}}}


@pytest.fixture(autouse=True)
def beside_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_columns_are_what_the_task_is_given_and_what_it_logs(tmp_path: Path):
    plan = own_sweep(OWN, tmp_path / "results")
    write_tables(plan, tmp_path)
    summary, epochs = pd.read_csv(tmp_path / "summary.csv"), pd.read_csv(tmp_path / "epochs.csv")
    assert " ".join(summary.columns) == (
        "exp_name hash label lr width act epochs seed status learned epochs_run train_mae val_mae test_mae gpu_bytes"
        " tested_val_mae n_parameters total_seconds train_seconds seconds_per_epoch resumed code version outdated"
        " device host"
    )
    assert " ".join(epochs.columns) == "exp_name hash epoch train_mae val_mae seconds"
    finished = summary[summary["status"] == "finished"]
    assert (finished["val_mae"] == finished["tested_val_mae"]).all()  # of the sixth epoch: the last that logged it
    assert epochs["val_mae"].notna().sum() == 3 * len(finished) + 3 * 1  # every second epoch; one before they diverge
    page = (tmp_path / "columns.md").read_text()
    assert (
        "| `gpu_bytes` | Memory. | float | bytes |" in page and "| `val_mae` | Validation MAE. | float | °C |" in page
    )
    again = read_tables(tmp_path, plan=plan)
    assert list(again["summary"].columns) == list(summary.columns)


def test_less_is_better_where_the_objective_says_so(tmp_path: Path):
    plan = own_sweep(OWN, tmp_path / "results")
    write_tables(plan, tmp_path)
    board, summary = pd.read_csv(tmp_path / "leaderboard.csv"), pd.read_csv(tmp_path / "summary.csv")
    assert list(board["label"]) == ["lr=0.01", "lr=0.1", "lr=1"] and list(board["n_diverged"]) == [0, 0, 3]
    means = summary.groupby("label")["test_mae"].mean()
    assert board["test_mae"][0] == pytest.approx(means["lr=0.01"])
    assert board["difference"][1] == pytest.approx(means["lr=0.1"] - means["lr=0.01"])
    assert (board["test_mae_low"][:2] > 0).all() and (board["test"][1:] == ["paired", "fewer than two results"]).all()
    assert board["val_mae"][2] == math.inf
    text = " ".join((tmp_path / "leaderboard.md").read_text().split())
    assert (
        "ranked by their mean validation MAE (lower is better) over all runs, a diverged run counting as the worst"
        in text
    )
    assert "| rank | setting | runs | val MAE (°C) | test MAE (°C) | sd | p |" in text
    columns = all_columns(plan)["own"]
    said = finding(summary, columns)
    assert said.startswith("Best setting by validation MAE: lr=0.01, with test MAE 1.") and "3 diverged" in said


def test_one_diverged_run_is_worse_than_any_finite_one(tmp_path: Path):
    def one_diverges(record: Record) -> None:
        if record["setting"]["lr"] == 0.01 and record["setting"]["seed"] == 0:
            record["epochs"][-1]["train_mae"] = None
            record["final"]["test_mae"] = None
            record["status"] = "diverged"

    plan = own_sweep(OWN, tmp_path / "results", one_diverges)
    write_tables(plan, tmp_path)
    board = pd.read_csv(tmp_path / "leaderboard.csv")
    assert list(board["label"]) == ["lr=0.1", "lr=0.01", "lr=1"]  # MAE has no upper bound
    assert list(board["n_tested"]) == [3, 2, 0]
    status = View(expand_config(OWN), tmp_path / "results").best("own")
    assert status and status["setting"] == "lr=0.1" and status["val_mae"] == pytest.approx(board["val_mae"][0])


def test_built_in_and_own_experiments_share_their_tables(tmp_path: Path):
    experiments = {
        "built_in": {"grid": {"lr": [0.01, 0.1]}, "epochs": 2},
        **OWN["experiments"],
        "fit": {"train": "my_training:fit", "objective": "val_mae", "grid": {"depth": [1, 2]}},
        "program": {
            "command": "./run --lr {lr} --kind {kind} {metrics}",
            "objective": "val_mae",
            "kind": "a",
            "grid": {"lr": [0.01, 0.1]},
        },
    }
    plan = own_sweep({"metrics": METRICS, "experiments": experiments}, tmp_path / "results")
    write_tables(plan, tmp_path)
    tables = read_tables(tmp_path, plan=plan)
    summary, board = tables["summary"], tables["leaderboard"]
    assert {"val_acc", "val_mae", "depth", "kind", "dataset", "tested_val_acc", "tested_val_mae"} <= set(
        summary.columns
    )
    assert set(LEADERBOARD) <= set(board.columns) and "test_mae_low" in board
    for exp_name, part in board.groupby("exp_name"):
        ours, theirs = ("test_acc", "test_mae") if exp_name == "built_in" else ("test_mae", "test_acc")
        assert part[theirs].isna().all() and (part[ours].notna() | (part["n_diverged"] > 0)).all()
    fitted = summary[summary["exp_name"] == "fit"]
    assert fitted["seed"].isna().all() and (fitted["epochs_run"] == 0).all() and fitted["val_mae"].notna().all()
    assert set(board.loc[board["exp_name"] == "fit", "test"].dropna()) == {"fewer than two results"}
    text = leaderboard_markdown(board, all_columns(plan))
    assert text.count("Settings are ranked by") == 4 and "mean validation accuracy" in text
    sweep = expand_config({"metrics": METRICS, "experiments": experiments})
    view = View(sweep, tmp_path / "results")
    assert view.best("fit")["test_mae"] == pytest.approx(board.loc[board["exp_name"] == "fit", "test_mae"].iloc[0])


def no_reports(record: Record) -> None:
    del record["final"]["test_mae"]


def aggregate(plan, folder: Path) -> subprocess.CompletedProcess[str]:
    write_json(folder / "plan.json", plan.to_json())
    command = [sys.executable, str(ROOT / "scripts/aggregate.py"), "plan.json", "--tables", str(folder)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT)


def test_a_metric_that_no_run_has_is_named_with_the_nearest(tmp_path: Path):
    config = {"experiments": {"own": {**FUNCTION, "objective": {"val_mea": "min"}, "grid": {"lr": [0.01, 0.1]}}}}
    plan = own_sweep(config, tmp_path / "results")
    done = aggregate(plan, tmp_path)
    assert done.returncode == 0 and "Traceback" not in done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("warning: own: no run has ")]
    assert len(said) == 2 and "val_mea; settings are selected by it. The runs have" in said[0]
    assert said[0].endswith("Did you mean 'val_mae'?") and said[1].endswith("Did you mean 'test_mae'?")
    assert len(pd.read_csv(tmp_path / "leaderboard.csv")) == 2 and len(pd.read_csv(tmp_path / "summary.csv")) == 2
    view = View(expand_config(config), tmp_path / "results")
    assert view.lacking("own") == [line.removeprefix("warning: ") for line in said]
    assert view.best("own")["val_mea"] is None


def test_runs_without_what_they_are_reported_by_are_still_ranked(tmp_path: Path):
    plan = own_sweep(OWN, tmp_path / "results", no_reports)
    write_tables(plan, tmp_path)
    board = pd.read_csv(tmp_path / "leaderboard.csv")
    assert list(board["label"]) == ["lr=0.01", "lr=0.1", "lr=1"] and board["test_mae"].isna().all()
    said = finding(pd.read_csv(tmp_path / "summary.csv"), all_columns(plan)["own"])
    assert said.startswith("Best setting by validation MAE: lr=0.01, with val MAE 1.") and "no run has test_mae" in said


def test_an_accuracy_in_percent_has_no_bounds_and_is_told(tmp_path: Path):
    def in_percent(record: Record) -> None:
        record["final"] |= {"val_acc": 87.5 + record["setting"]["seed"], "test_acc": 85.0 + record["setting"]["seed"]}

    experiment = {**FUNCTION, "objective": "val_acc", "grid": {"lr": [0.01, 0.1]}, "seeds": 3}
    done = aggregate(own_sweep({"experiments": {"own": experiment}}, tmp_path / "results", in_percent), tmp_path)
    assert (
        "own: acc has values outside the range 0 to 1" in done.stderr and "{acc: {range: [low, high]}}" in done.stderr
    )
    board = pd.read_csv(tmp_path / "leaderboard.csv")
    assert board["test_acc"].tolist() == [86.0, 86.0] and board["test_acc_high"][0] > 86


def test_the_built_in_task_can_be_selected_by_its_loss(tmp_path: Path):
    config = {"experiments": {"e": {"objective": "val_loss", "grid": {"lr": [0.01, 0.1, 1]}, "seeds": 2, "epochs": 3}}}
    plan = own_sweep(config, tmp_path / "results")
    write_tables(plan, tmp_path)
    board, summary = pd.read_csv(tmp_path / "leaderboard.csv"), pd.read_csv(tmp_path / "summary.csv")
    assert list(board.columns[8:15]) == [
        *("val_loss", "val_loss_sd", "test_loss", "test_loss_sd", "test_loss_low", "test_loss_high", "test_acc")
    ]
    means = summary.groupby("label")["val_loss"].mean()
    assert board["label"][0] == means.idxmin() and board["label"][2] == "lr=1" and board["val_loss"][2] == math.inf
    status = View(expand_config(config), tmp_path / "results").best("e")
    assert status and status["val_loss"] == pytest.approx(means.min())
    assert [figure.y for figure in plan.experiments["e"].figures] == ["loss", "loss", "acc"]


def test_status_of_several_objectives_is_strict_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from dlsweep.commands.live import status

    experiments = {"built_in": {"lr": 0.1, "epochs": 2}, "all_diverge": {**FUNCTION, "lr": 1}, **OWN["experiments"]}
    own_sweep({"experiments": experiments}, tmp_path / "results")
    sweep = expand_config({"experiments": experiments})
    status(sweep, tmp_path / "results", ["config.yaml"], {}, as_json=True)
    found = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))["experiments"]
    assert found["all_diverge"]["best"]["val_mae"] is None and found["own"]["best"]["val_mae"] > 1
    status(sweep, tmp_path / "results", ["config.yaml"], {}, as_json=False)
    text = capsys.readouterr().out
    assert (
        "selected by" in text and "val mae 1." in text and "val acc 0." in text and "none: every run diverged" in text
    )
