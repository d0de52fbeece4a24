"""What tables, findings and live views say of settings that were each tuned by itself, from invented results."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml
from matplotlib.text import Text

from dlsweep.config.axes import Dimension
from dlsweep.config.comparison import Comparison
from dlsweep.config.identity import Setting, setting_hash
from dlsweep.config.keep import Keep
from dlsweep.config.paths import record_name
from dlsweep.config.plan import Plan
from dlsweep.config.sources import value_sources
from dlsweep.config.sweep import Sweep, expand_config
from dlsweep.errors import ConfigError
from dlsweep.files import read_json, write_json
from dlsweep.report.figures.drawing import draw_one, load
from dlsweep.results.columns import Columns
from dlsweep.results.decisions import decisions, edges_of_ranges, sentences
from dlsweep.results.records import FINDINGS, read_record
from dlsweep.results.tables import make_tables, read_records, summary_table, write_tables
from dlsweep.results.tuning import tuning_table
from dlsweep.runs.run import RunOptions
from dlsweep.runs.slots import write_slot
from dlsweep.workflow.failures import chosen_before
from dlsweep.workflow.jobs import Jobs
from dlsweep.workflow.paths import Paths
from dlsweep.workflow.view import View
from fake import fake_record, follow

NESTED: dict[str, Any] = {
    "compare": "optimizer",
    "grid": {"optimizer": ["sgd", "adam"]},
    "tune": {"lr": [0.0003, 0.003, 0.03]},
    "folds": 3,
    "seeds": 2,
    "epochs": 2,
    "dataset": "digits",
    "figures": [],
}


def tuned(results: Path, **changes: Any) -> tuple[Sweep, Comparison, Plan]:
    """Take a comparison through its rounds, with an invented record for each run; the plan is as its file has it."""
    sweep = expand_config({"experiments": {"e": {**NESTED, **changes}}})
    course = sweep.experiments["e"].course
    assert isinstance(course, Comparison)

    def value(setting: Setting) -> float | None:
        record = fake_record("e", setting_hash(setting), setting)
        write_json(results / record_name("e", record["hash"]), record, sync=False)
        found: float | None = record["epochs"][-1]["val_acc"]
        return found

    follow(course, results, value)
    plan = json.loads(json.dumps(sweep.plan(str(results)).to_json()))
    return sweep, course, Plan.from_json(plan)


def test_each_fold_is_tuned_by_its_own_validation_and_all_are_tested_once(tmp_path: Path):
    sweep, course, plan = tuned(tmp_path)
    write_tables(plan, tmp_path)
    tables = {name: pd.read_csv(tmp_path / f"{name}.csv") for name in ("summary", "tuning", "trials", "leaderboard")}
    trials, tuning, board = tables["trials"], tables["tuning"], tables["leaderboard"]
    assert len(trials) == 2 * 3 * (3 + 2) and set(trials["epochs"]) == {2} and (trials["seconds"] > 0).all()
    assert trials.groupby("round")["point"].nunique().tolist() == [3] * 6 + [1] * 6
    assert list(tuning["split"]) == ["fold=0", "fold=1", "fold=2"] * 2
    for i in range(6):  # each by the runs of its own fold alone
        tried = trials[trials["round"] == i]
        of_fold = [course.static_runs()[digest]["fold"] for digest in tried["hash"]]
        assert set(of_fold) == {i % 3}
        best = json.loads(tried.loc[tried["value"].idxmax(), "point"])
        assert tuning["chosen"][i] == f"lr={best['lr']:g}" and tuning["selected"][i] == tried["value"].max()
    assert set(tables["summary"]["seed"]) == {0, 1} and board["test"][1] == "corrected paired"
    said = " ".join((tmp_path / "leaderboard.md").read_text().split())
    assert "Each was tuned by itself, on each fold separately, with other seeds, the best of 3 settings" in said
    assert "The best of optimizer=sgd and of optimizer=adam, on 2 of 3 folds, lie on the edge of what was tuned" in said
    # What is looked at while it runs says the same: of the runs that report, none that tuned.
    best = View(sweep, tmp_path).best("e")
    assert best and best["setting"] == board["label"][0] == "optimizer=adam" and best["seeds"] == 6
    assert (best["val_acc"], best["test_acc"]) == pytest.approx((board["val_acc"][0], board["test_acc"][0]))
    for path in tmp_path.glob("search/*/[0-9]*.json"):
        if int(path.stem.partition("-")[0]) >= 6:
            path.unlink()
    best = View(sweep, tmp_path).best("e")
    assert best and best["setting"] == "optimizer=adam, lr=0.03" and best["seeds"] == 3


def test_a_choice_that_rests_on_results_that_are_others_now_is_told(tmp_path: Path):
    sweep, course, _ = tuned(tmp_path, tune_seeds=2, folds=None)
    assert chosen_before(sweep, tmp_path) == []
    slot = tmp_path / "search" / course.name / "1-3.json"
    write_json(slot, {**read_json(slot), "value": 0.99})
    (line,) = chosen_before(sweep, tmp_path)
    assert line.startswith("e: 1 of 12 results by which it was tuned have changed since")
    assert f"delete {slot.parent} (" in line
    write_json(slot, {**read_json(slot), "value": None})  # it diverges now
    assert len(chosen_before(sweep, tmp_path)) == 1


def test_runs_that_were_to_report_but_were_given_up_are_said(tmp_path: Path):
    _, course, plan = tuned(tmp_path, folds=None)
    lost = list(course.reporting(tmp_path))[1:]  # one seed of sgd, both of adam
    for path in (tmp_path / "search" / course.name).glob("*-*.json"):
        if (slot := read_json(path))["hash"] in lost:
            write_json(path, {**slot, "status": "failed", "value": None, "error": "RuntimeError"})
            (tmp_path / record_name("e", slot["hash"])).unlink()
    write_tables(Plan.from_json(plan.to_json()), tmp_path)
    said = " ".join((tmp_path / "leaderboard.md").read_text().split())
    assert "1 run of optimizer=sgd was given up: its mean is that of the others." in said
    assert "2 runs of optimizer=adam were given up: it has no place." in said
    assert "optimizer=adam were given up" in read_json(tmp_path / FINDINGS)["experiments"]["e"]["finding"]
    assert list(pd.read_csv(tmp_path / "tuning.csv")["n_missing"]) == [1, 2]


def test_what_gave_no_result_has_no_edge_and_is_said(tmp_path: Path):
    _, _, plan = tuned(
        tmp_path,
        when=[
            {"if": {"optimizer": "sgd"}, "set": {"lr": [2, 3, 4]}},
            {"if": {"optimizer": "adam"}, "set": {"weight_decay": [0, 0.01]}},
        ],
    )
    tables, known = make_tables(plan, read_records(plan)[0])
    tuning = tuning_table(plan, known, summary_table)
    assert tuning["chosen"][0] == "lr=2" and "weight_decay=" in tuning["chosen"][3]  # each what it was tuned in
    decided = decisions(plan, tables["summary"], tables["leaderboard"], known, tuning)["e"]
    said = " ".join(sentences(decided))
    assert "No setting that optimizer=sgd was tuned with gave a result, so the first is reported." in said
    assert "The best of optimizer=sgd lies" not in said
    alone = [{**row, "n_settings": 1} for row in decided.tuning]
    said = " ".join(sentences(replace(decided, tuning=(alone[0], decided.tuning[3]))))
    assert "optimizer=sgd with 1 setting, optimizer=adam with 6 settings" in said
    assert "Nothing was tuned" in " ".join(sentences(replace(decided, tuning=tuple(alone))))
    rows = [{**decided.tuning[3], "edge": edge} for edge in ("lr=1 is the largest that was tried: add 10", "", "")]
    said = " ".join(sentences(replace(decided, tuning=tuple(rows))))
    assert "The best of optimizer=adam, on 1 of 3 folds, lies on the edge" in said
    rows = [{**rows[0], "label": f"optimizer={i}"} for i in range(4)]
    said = " ".join(sentences(replace(decided, tuning=tuple(rows))))
    assert "The best of 4 of the 4 that are compared lie on the edge of what was tuned: lr=1 is" in said


def test_a_label_names_what_is_compared_also_where_it_is_the_default(tmp_path: Path):
    spec = {**NESTED, "compare": ["optimizer", "batch_size"], "folds": None}
    spec["grid"] = {"optimizer": ["sgd", "adam"], "batch_size": [32, 64]}
    spec["exclude"] = {"optimizer": "sgd", "batch_size": 32}
    _, _, plan = tuned(tmp_path, **spec)
    tables, _ = make_tables(plan, read_records(plan)[0])
    assert set(tables["summary"]["label"]) == {
        "optimizer=sgd, batch_size=64",
        "optimizer=adam, batch_size=32",
        "optimizer=adam, batch_size=64",
    }


def test_only_the_weights_of_runs_that_report_are_kept_as_the_best(tmp_path: Path):
    sweep, course, _ = tuned(tmp_path)
    for save, expected in (("best", ["none", "best"]), ("all", ["all", "all"]), ("none", ["none", "none"])):
        jobs = Jobs(replace(sweep, save=save), Paths(sweep, str(tmp_path)), ["config.yaml"], None)
        told = [
            jobs.slot_arguments(SimpleNamespace(search=course.name, round=number, slot="0")) for number in ("0", "6")
        ]
        assert [text.partition("--keep-weights=")[2].partition(":")[0] for text in told] == expected


SEARCHED: dict[str, Any] = {"folds": None, "epochs": 9, "figures": None}
HALVING: dict[str, Any] = {"method": "halving", "n": 9, "lr": {"log_uniform": [1e-8, 1e-4]}}


def test_of_a_search_what_was_tried_is_counted_once_and_a_best_near_the_end_of_its_range_is_said(tmp_path: Path):
    sweep, course, plan = tuned(tmp_path, **SEARCHED, tune=HALVING)
    write_tables(plan, tmp_path)
    tuning, trials, summary = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("tuning", "trials", "summary"))
    assert list(tuning["n_settings"]) == list(tuning["n"]) == [9, 9]
    assert len(trials) == 2 * (9 + 3 + 1) + 4 and trials["status"].value_counts()["pruned"] == 2 * (9 + 3)
    assert len(summary) == 4 and set(summary["seed"]) == {0, 1}
    for i, digest in enumerate(trials.loc[trials["round"].isin([2, 5]), "hash"]):
        lr = read_record(tmp_path / f"e-{digest}.json")["setting"]["lr"]
        assert tuning["chosen"][i] == f"lr={lr:.4g}" and set(summary["lr"][2 * i : 2 * i + 2]) == {lr}
    assert "among the largest that were tried: add values up to " in " ".join(map(str, tuning["edge"]))
    figure = next(one for one in plan.experiments["e"].figures if one.kind == "tuning")
    drawn, _ = draw_one("e", figure, load(tmp_path, plan)["e"])
    assert "Pale: stopped" in " ".join(text.get_text() for text in drawn.findobj(Text))
    assert View(sweep, tmp_path).n_undecided == 0 and course.progress([(4, 0)]).startswith(
        "tuning by halving: 25 of 26"
    )


def test_a_range_has_an_edge_where_there_is_something_beyond_it():
    ranges = {
        "lr": Dimension(low=1e-3, high=1, log=True),
        "momentum": Dimension(low=0, high=0.9),
        "batch_size": Dimension((16, 32, 64)),
        "dropout": Dimension((0, 0.5)),
        "act": Dimension(("relu", "tanh")),
    }

    tried: list[Setting] = []

    def found(**setting: Any) -> list[tuple[str, str]]:
        return [(edge.key, edge.at) for edge in edges_of_ranges(setting, tried, ranges, Columns())]

    assert found(lr=0.05, momentum=0.5, batch_size=32, dropout=0.5, act="tanh") == []
    assert found(lr=0.9, batch_size=16) == [("lr", "largest"), ("batch_size", "smallest")]
    assert found(lr=0.0011, momentum=0.85, batch_size=64)[:2] == [("lr", "smallest"), ("momentum", "largest")]
    assert found(momentum=0.02) == []  # no momentum is below 0
    tried = [{"lr": lr} for lr in (0.001, 0.1, 0.3)]
    assert found(lr=0.3) == [("lr", "largest")] and found(lr=0.1) == []  # of few values, none may be near the end
    tried = [{"lr": lr} for lr in (0.001, 0.05, 0.1)]
    assert found(lr=0.1) == []  # larger ones are in the range, only none was tried
    (edge,) = edges_of_ranges({"lr": 0.9}, [], ranges, Columns())
    assert edge.beyond == pytest.approx(5.6)  # as far again as a quarter of the range


def test_explain_says_where_the_seed_of_a_run_that_tuned_comes_from(tmp_path: Path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"experiments": {"e": NESTED}}))
    _, course, _ = tuned(tmp_path)
    sources = value_sources([tmp_path / "config.yaml"], {}, "e", next(iter(course.static_runs().values())))
    assert sources["seed"] == "default of tune_seeds" and sources["lr"].startswith("experiments.e.tune.lr (")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"experiments": {"e": {**NESTED, "tune_seeds": [1000]}}}))
    sources = value_sources([tmp_path / "config.yaml"], {}, "e", next(iter(course.static_runs().values())))
    assert sources["seed"].startswith("experiments.e.tune_seeds (")
    spec = {**NESTED, **SEARCHED, "tune": HALVING}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"experiments": {"e": spec}}))
    _, course, _ = tuned(tmp_path, **spec)
    for run, seed in ((course.static_round(0)[0], "default of tune_seeds"), (course.known_runs(tmp_path)[6, 0], None)):
        sources = value_sources([tmp_path / "config.yaml"], {}, "e", run[1])
        assert sources["lr"].startswith("experiments.e.tune.lr (")
        assert sources["seed"] == seed or sources["seed"].startswith("experiments.e.seeds (")


def test_a_score_that_is_not_a_number_is_the_worst_and_one_that_was_never_measured_a_mistake(tmp_path: Path):
    setting = next(iter(expand_config({"experiments": {"e": {"epochs": 2}}}).experiments["e"].settings.values()))
    record = fake_record("e", setting_hash(setting), setting)
    record["epochs"][-1]["val_acc"] = None  # NaN in JSON
    write_json(tmp_path / record_name("e", record["hash"]), record)
    options, slot = RunOptions("e", tmp_path, None, None, "cpu", 1, 1, 1, None, Keep("none")), tmp_path / "0-0.json"
    write_slot(slot, options, setting, "val_acc")
    assert read_json(slot)["value"] is None and read_json(slot)["status"] == "finished"
    with pytest.raises(ConfigError, match="has not measured val_score"):
        write_slot(slot, options, setting, "val_score")
