"""The plan: its file has the same bytes for ever, since a changed name would have all tables made again."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dlsweep.config.metrics import Objective, own_metric
from dlsweep.config.plan import Plan, PlannedExperiment, read_plan
from dlsweep.config.sweep import expand_config
from dlsweep.errors import RecordError

CONFIG = {
    "name": "both",
    "defaults": {"epochs": 2},
    "experiments": {
        "grid": {"grid": {"lr": [0.01, 0.1], "act": ["relu", "tanh"]}, "seeds": 2},
        "again": {"lr": 0.1, "figures": [{"kind": "bars", "y": "test_loss", "x": "act"}]},
    },
}
OUTDATED = {"data digits": ["0123"]}


LATER = ("loss", "metrics", "resized_crop", "n_folds", "init_from")
"""Hyper-parameters that came after the names below were pinned: the plan has complete settings, so they change it."""
LATER_FIGURES = ("test_accuracy",)
"""Figures that are drawn unasked since then: the plan has every figure, so that they are drawn."""


def without_later(plan: Plan) -> Plan:
    def settings(experiment: PlannedExperiment) -> dict:
        return {
            digest: {key: value for key, value in setting.items() if key not in LATER}
            for digest, setting in experiment.settings.items()
        }

    def pinned(experiment: PlannedExperiment) -> PlannedExperiment:
        figures = tuple(figure for figure in experiment.figures if figure.name not in LATER_FIGURES)
        return replace(experiment, settings=settings(experiment), figures=figures)

    return replace(plan, experiments={name: pinned(one) for name, one in plan.experiments.items()})


def test_the_name_of_a_plan_stays():
    sweep = expand_config(CONFIG)
    plans = [without_later(plan) for plan in (sweep.plan("results"), sweep.plan("results", OUTDATED))]
    assert (plans[0].digest, plans[1].digest) == (
        "5f5925d72544",
        "795da3312c2e",
    )


def test_a_plan_is_read_as_it_was_written(tmp_path: Path):
    plan = expand_config(CONFIG).plan("results", OUTDATED)
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_json()))
    assert read_plan(tmp_path / "plan.json") == plan
    assert len(plan.settings) == 8 and len(list(plan.records())) == 9  # one setting is in both experiments

    again = replace(plan.experiments["again"], objective=Objective("val_ndcg", "max", "test_ndcg"))
    metrics = {"ndcg": own_metric("max", [0, None], "", "Normalised discounted cumulative gain.")}
    other = replace(plan, experiments={**plan.experiments, "again": again}, metrics=metrics)
    assert Plan.from_json(json.loads(json.dumps(other.to_json(), allow_nan=False))) == other
    assert other.digest != plan.digest


def test_a_question_is_in_the_plan_and_in_no_hash():
    asked = expand_config({"experiments": {"a": {"lr": 0.1, "question": "Does it\n  help?"}, "b": {"extends": "a"}}})
    plan, plain = asked.plan("results"), expand_config({"experiments": {"a": {"lr": 0.1}, "b": {"extends": "a"}}})
    assert [experiment.question for experiment in plan.experiments.values()] == ["Does it help?", ""]
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert list(asked.records()) == list(plain.records()) and plan.digest != plain.plan("results").digest


@pytest.mark.parametrize("content", ["[]", "{}", '{"experiments": {"a": 1}, "settings": {}}'])
def test_what_is_no_plan_is_named(tmp_path: Path, content: str):
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(RecordError, match=r"plan\.json: is not a plan"):
        read_plan(tmp_path / "plan.json")
