"""The tables of records, against the records and against SciPy written out."""

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit, logit

from conftest import LIMIT, ROOT, Project
from dlsweep.commands.live import View
from dlsweep.config import metrics
from dlsweep.config.hyperparameters import HYPERPARAMETERS
from dlsweep.config.paths import record_name
from dlsweep.config.plan import Plan
from dlsweep.config.sweep import expand_config
from dlsweep.errors import RecordError
from dlsweep.files import write_json
from dlsweep.results import columns
from dlsweep.results.columns import Columns
from dlsweep.results.leaderboard import best_run, group_settings, leaderboard, leaderboard_markdown
from dlsweep.results.statistics import INTERVAL_DOC
from dlsweep.results.tables import read_tables, write_tables
from fake import fake_record, fake_sweep

MIXED = {
    "defaults": {"epochs": 3},
    "experiments": {
        "mixed": {
            "settings": [
                {},
                {"batch_size": "full", "grad_clip": 1.0},
                {"model": "resnet20", "lr": 1},
                {"optimizer": "adam", "batch_norm": True, "log_gradients": True},
                {"lr_schedule": "multistep", "lr_milestones": [1, 2]},
            ],
            "seeds": 2,
        },
        "NA": {"grid": {"lr": [0.01, 0.1]}},
    },
}


E = {"e": Columns()}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path]:
    folder = tmp_path_factory.mktemp("mixed")
    plan = replace(fake_sweep(MIXED, folder), parquet=True)
    write_tables(plan, folder)
    return plan, folder


def record(plan: Plan, exp_name: str, digest: str) -> dict:
    return json.loads((Path(plan.results) / record_name(exp_name, digest)).read_text())


def test_summary_needs_no_cleaning(mixed: tuple[Plan, Path]):
    plan, folder = mixed
    table = pd.read_csv(folder / "summary.csv")
    assert list(table.columns) == list(metrics.SUMMARY)
    assert len(table) == 12
    table = table[table["exp_name"] == "mixed"].set_index("hash")
    for digest, row in table.iterrows():
        found = record(plan, "mixed", digest)
        for key in HYPERPARAMETERS:
            value = found["setting"].get(key)
            if value is None:
                assert pd.isna(row[key]), key
            elif isinstance(value, (list, dict)):
                assert json.loads(row[key]) == value
            elif key == "batch_size":  # one setting says full: the column is text
                assert row[key] == str(value)
            else:
                assert row[key] == value, key
                assert isinstance(row[key], (bool, np.bool_)) == isinstance(value, bool), key
        last = found["epochs"][-1]
        for name in ("train_loss", "train_acc", "val_loss", "val_acc"):
            assert row[name] == pytest.approx(last[name], nan_ok=True) if last[name] is not None else pd.isna(row[name])
        gap = math.nan if last["val_acc"] is None else last["train_acc"] - last["val_acc"]
        assert row["generalization_gap"] == pytest.approx(gap, nan_ok=True)
        assert row["epochs_run"] == len(found["epochs"])
        assert row["seconds_per_epoch"] == pytest.approx(0.1)
    for key in ("lr", "seed", "epochs", "n_parameters"):
        assert pd.api.types.is_numeric_dtype(table[key])


def test_our_reader_and_parquet_agree_with_the_csv(mixed: tuple[Plan, Path]):
    _, folder = mixed
    for name, table in read_tables(folder).items():
        parquet = pd.read_parquet(folder / f"{name}.parquet")
        assert list(table.columns) == list(parquet.columns) == list(columns.TABLES[name][1])
        plain = [frame.astype(object).where(frame.notna(), None) for frame in (table, parquet)]
        pd.testing.assert_frame_equal(*plain, check_dtype=False, rtol=1e-15)
    assert set(read_tables(folder, "summary")["summary"]["exp_name"]) == {"mixed", "NA"}
    types = pd.read_parquet(folder / "summary.parquet").dtypes
    assert (types["seed"], types["batch_norm"], types["test_acc"]) == ("Int64", "boolean", "float64")


def test_epochs_and_gradients_are_tidy(mixed: tuple[Plan, Path]):
    plan, folder = mixed
    tables = read_tables(folder)
    for exp_name, digest in plan.records():
        found = record(plan, exp_name, digest)
        mine = {
            name: table[(table["exp_name"] == exp_name) & (table["hash"] == digest)]
            for name, table in tables.items()
            if name in ("epochs", "gradients")
        }
        assert list(mine["epochs"]["epoch"]) == [epoch["epoch"] for epoch in found["epochs"]]
        accuracies = [math.nan if epoch["val_acc"] is None else epoch["val_acc"] for epoch in found["epochs"]]
        assert list(mine["epochs"]["val_acc"]) == pytest.approx(accuracies, nan_ok=True)
        expected = [v for epoch in found["epochs"] for v in epoch.get("layer_gradients", {}).values()]
        assert list(mine["gradients"]["gradient"]) == pytest.approx(expected)


def test_labels_say_what_varies(mixed: tuple[Plan, Path]):
    _, folder = mixed
    summary = read_tables(folder, "summary")["summary"]
    labels = list(summary[summary["exp_name"] == "mixed"]["label"].unique())
    assert labels[0] == "baseline"
    assert "grad_clip=1, batch_size=full" in labels or "batch_size=full, grad_clip=1" in labels
    assert set(summary[summary["exp_name"] == "NA"]["label"]) == {"lr=0.01", "lr=0.1"}
    assert (summary.groupby(["exp_name", "label"])["seed"].nunique().loc["mixed"] == 2).all()


def test_a_record_that_is_older_than_a_hyper_parameter_has_its_default(tmp_path: Path):
    plan = fake_sweep({"defaults": {"epochs": 2}, "experiments": {"old": {"grid": {"lr": [0.01, 0.1]}}}}, tmp_path)
    exp_name, digest = next(iter(plan.records()))
    older = record(plan, exp_name, digest)
    for younger in ("loss", "label_smoothing"):  # a choice, and one that follows from it
        del older["setting"][younger]
    write_json(tmp_path / record_name(exp_name, digest), older)
    write_tables(plan, tmp_path)
    summary = read_tables(tmp_path, "summary")["summary"]
    assert set(summary["loss"]) == {"cross_entropy"} and set(summary["label_smoothing"]) == {0.0}


def test_confusion_is_that_of_the_best_run(mixed: tuple[Plan, Path]):
    plan, folder = mixed
    tables = read_tables(folder)
    for exp_name, counts in tables["confusion"].groupby("exp_name"):
        (digest,) = counts["hash"].unique()
        board = tables["leaderboard"]
        best = board[(board["exp_name"] == exp_name) & (board["rank"] == 1)]["label"].item()
        summary = tables["summary"]
        runs = summary[(summary["exp_name"] == exp_name) & (summary["label"] == best)]
        assert digest == runs.loc[runs["tested_val_acc"].idxmax(), "hash"]
        matrix = counts.pivot(index="true", columns="predicted", values="count").to_numpy()
        assert matrix.tolist() == record(plan, exp_name, digest)["final"]["confusion"]


def a_summary(accuracies: dict[str, list[float | None]], seeds: dict[str, list[int]] | None = None) -> pd.DataFrame:
    """A summary of settings with these test accuracies; the first is best by validation, and so on."""
    rows = [
        {
            "exp_name": "e",
            "hash": f"{label}{seed}",
            "label": label,
            "seed": seed,
            "status": "finished" if accuracy is not None else "diverged",
            "tested_val_acc": 0.9 - 0.1 * i,
            "outdated": None,
            "test_acc": math.nan if accuracy is None else accuracy,
            "test_loss": 1.0,
        }
        for i, (label, values) in enumerate(accuracies.items())
        for seed, accuracy in zip((seeds or {}).get(label, range(len(values))), values, strict=True)
    ]
    return pd.DataFrame(rows)


def test_leaderboard_against_scipy():
    values = {"best": [0.90, 0.92, 0.95, 0.91], "same": [0.89, 0.93, 0.94, 0.90], "worse": [0.70, 0.75, 0.71, 0.74]}
    board = leaderboard(a_summary(values), E).set_index("label")
    for label, accuracies in values.items():
        mean = np.mean(accuracies)  # the delta method, written out
        low, high = expit(stats.t.interval(0.95, 3, logit(mean), stats.sem(accuracies) / (mean * (1 - mean))))
        assert (board.loc[label, "test_acc_low"], board.loc[label, "test_acc_high"]) == pytest.approx((low, high))
        assert board.loc[label, "test_acc_sd"] == pytest.approx(np.std(accuracies, ddof=1))
    p = [stats.ttest_rel(values[label], values["best"]).pvalue for label in ("same", "worse")]
    assert list(board["p_value"][1:]) == pytest.approx(p)
    assert list(board["test"][1:]) == ["paired", "paired"]
    small, large = sorted(p)  # Holm (1979): the smallest p times the number of comparisons, and so on
    assert sorted(board["p_holm"][1:]) == pytest.approx([min(1, 2 * small), max(min(1, 2 * small), large)])
    assert pd.isna(board.loc["best", "p_value"])


def test_welch_where_the_seeds_differ():
    values = {"best": [0.90, 0.92, 0.95], "other": [0.80, 0.93, 0.85, 0.9]}
    board = leaderboard(a_summary(values, {"other": [7, 8, 9, 10]}), E).set_index("label")
    assert board.loc["other", "test"] == "welch"
    expected = stats.ttest_ind(values["other"], values["best"], equal_var=False).pvalue
    assert board.loc["other", "p_value"] == pytest.approx(expected)


def test_selection_is_by_validation_and_diverged_runs_count():
    # The setting with the best test accuracy is not the best by validation, and stays second.
    board = leaderboard(a_summary({"chosen": [0.8, 0.81], "lucky": [0.99, 0.98], "broken": [None, 0.97, 0.96]}), E)
    assert list(board["label"]) == ["chosen", "lucky", "broken"]
    assert list(board["n"]) == [2, 2, 3]
    assert list(board["n_diverged"]) == [0, 0, 1] and list(board["n_tested"]) == [2, 2, 2]
    assert board["val_acc"][2] == pytest.approx(2 * 0.7 / 3)
    assert board["test_acc"][2] == pytest.approx(0.965)


@pytest.mark.parametrize("values", [{"one": [0.9]}, {"one": [0.9], "two": [0.8]}, {"none": [None]}])
def test_leaderboard_of_single_runs(values: dict):
    board = leaderboard(a_summary(values), E)
    assert board[["test_acc_sd", "test_acc_low", "p_value", "p_holm"]].isna().all(axis=None)


def test_runs_that_do_not_vary_have_no_p_value():
    board = leaderboard(a_summary({"a": [0.9, 0.9], "b": [0.9, 0.9], "c": [0.9028, 0.9028]}), E)
    assert board[["p_value", "p_holm"]].isna().all(axis=None)
    assert list(board["test"][1:]) == ["neither varies"] * 2 and pd.isna(board["test"][0])
    assert "| 0.9028 [0.9028, 0.9028] | 0.0000 | neither varies |" in leaderboard_markdown(board, E)
    assert group_settings(a_summary({"a": [0.9, 0.9, 0.9]}), Columns())["test_acc_low"].item() == pytest.approx(0.9)


def test_leaderboard_markdown(mixed: tuple[Plan, Path]):
    _, folder = mixed
    text = (folder / "leaderboard.md").read_text()
    words = " ".join(text.split())
    assert INTERVAL_DOC in words and "a diverged run counting as 0" in words
    assert "## mixed" in text and "2 (2 diverged)" in text and re.search(r"\| 0\.\d{4} \[0\.\d{4}, 0\.\d{4}\] \|", text)
    for page in ("docs/reference/tables.md", "docs/reference/figures.md", "docs/reference/report.md"):
        assert INTERVAL_DOC in " ".join((ROOT / page).read_text().split()), page


def test_with_the_best_weights_a_setting_that_diverges_is_not_the_best(tmp_path: Path):
    """The weights from before the loss became NaN are tested, and are better than any run that went well."""
    config = {"experiments": {"e": {"test_weights": "best", "epochs": 3, "grid": {"lr": [0.001, 1.0]}, "seeds": 3}}}
    plan = fake_sweep(config, tmp_path)
    for digest in plan.settings:
        changed = record(plan, "e", digest)
        if changed["status"] == "diverged" and changed["setting"]["seed"] < 2:
            changed["epochs"][-1] |= {"train_acc": 0.91, "val_acc": 0.91}  # class 0, as earlier versions counted NaN
        elif changed["status"] == "diverged":
            changed = fake_record("e", digest, {**changed["setting"], "lr": 0.03})
            changed["setting"]["lr"] = 1.0
        if changed["setting"]["lr"] == 1.0:
            changed["final"] |= {"best_val_acc": 0.99, "test_acc": 0.98}
        write_json(tmp_path / record_name("e", digest), changed)
    write_tables(plan, tmp_path)
    tables = read_tables(tmp_path)
    board = tables["leaderboard"]
    assert list(board["label"]) == ["lr=0.001", "lr=1"] and list(board["n_diverged"]) == [0, 2]
    assert board["val_acc"][1] == pytest.approx(0.33) and board["test_acc"][1] == pytest.approx(0.98)
    assert "| lr=1 | 3 (2 diverged) | 0.3300 |" in (tmp_path / "leaderboard.md").read_text()
    assert set(tables["confusion"]["hash"]) == {best_run(tables["summary"], Columns())["hash"]}
    assert best_run(tables["summary"], Columns())["label"] == "lr=0.001"
    assert tables["epochs"].dropna(subset=["val_acc"])["val_loss"].notna().all()
    sweep = expand_config(config)
    best = View(sweep, tmp_path).best("e")
    assert best and (best["setting"], best["val_acc"]) == ("lr=0.001", pytest.approx(board["val_acc"][0]))
    for path in tmp_path.glob("e-*.json"):
        if json.loads(path.read_text())["setting"]["lr"] < 1:
            path.unlink()
    best = View(sweep, tmp_path).best("e")
    assert best and (best["seeds"], best["diverged"], best["val_acc"]) == (3, 2, pytest.approx(0.33))


def aggregate(plan: Plan, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    write_json(folder / "plan.json", plan.to_json())
    command = [sys.executable, "scripts/aggregate.py", str(folder / "plan.json"), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT)


def test_missing_and_bad_records_are_named(tmp_path: Path):
    plan = fake_sweep({"experiments": {"e": {"grid": {"lr": [0.01, 0.1, 0.2, 0.3]}}}}, tmp_path)
    gone, bad, _, _ = [tmp_path / record_name("e", digest) for digest in plan.settings]
    gone.unlink()
    bad.write_text(bad.read_text()[:200])

    done = aggregate(plan, tmp_path)
    assert done.returncode == 1 and "1 of 4 records are missing" in done.stderr and gone.name in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "summary.csv").exists()

    done = aggregate(plan, tmp_path, "--partial")
    assert done.returncode == 0, done.stderr
    assert "2 of 4 records; 1 missing, 1 left out" in done.stderr
    assert bad.name in done.stderr and bad.exists()
    assert len(pd.read_csv(tmp_path / "summary.csv")) == 2

    for path in tmp_path.glob("e-*.json"):
        path.unlink()
    write_tables(plan, tmp_path, partial=True)  # tables of nothing have their columns
    assert {name: list(table.columns) for name, table in read_tables(tmp_path).items()} == {
        name: list(columns) for name, (_, columns) in columns.TABLES.items()
    }


def test_a_missing_table_is_named(tmp_path: Path):
    with pytest.raises(RecordError, match=r"summary\.csv: is missing"):
        read_tables(tmp_path)


def test_the_column_dictionary_is_complete():
    text = (ROOT / "docs/reference/tables.md").read_text()
    for name, (_, table) in columns.TABLES.items():
        section = text.split(f"## {name}.csv")[1].split("\n## ")[0]
        assert [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")] == list(table)


def test_best_weights_are_selected_by_their_own_epoch(tmp_path: Path):
    config = {"experiments": {"e": {"test_weights": "best", "epochs": 2}}}
    plan = fake_sweep(config, tmp_path)
    (digest,) = plan.settings
    changed = fake_record("e", digest, plan.settings[digest])
    changed["final"]["best_val_acc"] = 0.123
    write_json(tmp_path / record_name("e", digest), changed)
    write_tables(plan, tmp_path)
    assert pd.read_csv(tmp_path / "summary.csv")["tested_val_acc"].item() == 0.123


def test_a_setting_that_diverges_does_not_win(project: Project):
    """91 % of the images are of class 0, which is what the argmax of NaN says; the other setting hardly learns."""
    generator = np.random.default_rng(0)
    classes = (np.arange(200) % 100 < 9).astype(int)
    np.savez(project.folder / "rare.npz", x_train=generator.normal(size=(200, 5)), y_train=classes)
    project.configure(
        {
            "defaults": {"dataset": "npz", "data_path": "rare.npz", "n_layer": 3, "act": "identity", "epochs": 3},
            "experiments": {"rare": {"grid": {"lr": [1e6, 1e-6]}, "seeds": 2, "figures": []}},
        }
    )
    done = project.snakemake("results/leaderboard.md")
    assert done.returncode == 0, done.stdout + done.stderr
    diverged = [record for record in project.records().values() if record["setting"]["lr"] == 1e6]
    assert {record["status"] for record in diverged} == {"diverged"}
    assert {record["epochs"][-1]["val_acc"] for record in diverged} == {None}
    board = read_tables(project.results, "leaderboard")["leaderboard"]
    assert list(board["label"]) == ["lr=1e-06", "lr=1e+06"] and list(board["n_diverged"]) == [0, 2]
    assert board["val_acc"][0] < 0.91 and board["val_acc"][1] == 0
    status = project.run("python", "scripts/sweep.py", "status").stdout
    assert re.search(r"^rare .* 0\.\d{4} +0\.\d{4} +lr=1e-06$", status, re.MULTILINE)
