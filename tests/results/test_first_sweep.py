"""The five answers of config.yaml, the sweep that a newcomer runs first, are decided.

Nothing is trained here. first_sweep.csv has what the runs reached when `make docs` last worked through the tutorial;
what follows from it is decided anew. A config.yaml with other runs makes the test fail until that is done again.
"""

import pandas as pd
import pytest

from conftest import ROOT
from dlsweep.config.identity import setting_hash
from dlsweep.config.labels import setting_labels
from dlsweep.config.plan import Plan, read_plan
from dlsweep.config.sweep import load_sweep
from dlsweep.files import write_json
from dlsweep.results.decisions import Decision, decisions, findings
from dlsweep.results.leaderboard import leaderboard
from dlsweep.results.statistics import SIGNIFICANT
from dlsweep.results.tables import fitted_columns
from fake import follow
from pages import FIRST_SWEEP

SWEEP = load_sweep([ROOT / "config.yaml"])
N_RUNS = sum(experiment.n_runs for experiment in SWEEP.experiments.values())


@pytest.fixture(scope="module")
def reached() -> pd.DataFrame:
    return pd.read_csv(FIRST_SWEEP)


@pytest.fixture(scope="module")
def plan(reached: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The plan after the comparison has chosen, by what its runs have reached."""
    results = tmp_path_factory.mktemp("results")
    value = dict(zip(reached["hash"], reached["tested_val_acc"], strict=True))
    for experiment in SWEEP.experiments.values():
        if experiment.course:
            follow(experiment.course, results, lambda setting: value[setting_hash(setting)])
    write_json(results / "plan.json", SWEEP.with_decided(results).plan(str(results)).to_json())
    return read_plan(results / "plan.json")


@pytest.fixture(scope="module")
def decided(plan: Plan, reached: pd.DataFrame) -> dict[str, Decision]:
    summary = reached[reached["hash"].isin(plan.settings)].reset_index(drop=True)
    keys = list(zip(summary["exp_name"], summary["hash"], strict=True))
    assert set(keys) == set(plan.records()) and len(reached) == N_RUNS, "make docs runs it again"
    labels = {name: setting_labels(of.settings, of.varies) for name, of in plan.experiments.items()}
    settings = pd.DataFrame([{"label": labels[name][digest], **plan.settings[digest]} for name, digest in keys])
    summary = summary.join(settings).assign(outdated=None, version=None)
    known = fitted_columns(plan, summary, summary)
    return decisions(plan, summary, leaderboard(summary, known), known)


def worse(decision: Decision) -> set[str]:
    return {place.label for place in decision.worse}


def test_every_answer_of_the_first_sweep_is_decided(decided: dict[str, Decision]):
    narrow = {f"n_layer={depth}, hid_dim={width}" for depth in (1, 2, 4) for width in (4, 8)}
    assert worse(decided["depth_width"]) == narrow, "width decides, depth does not"
    assert decided["optimizers"].best.label == "optimizer=adam"
    assert {f"optimizer={name}" for name in ("sgd", "momentum", "rmsprop")} == worse(decided["optimizers"])
    assert len(worse(decided["regularization"])) == 4, "one method helps more than each other and than none"
    assert decided["regularization"].best.label == "label_smoothing=0.2"
    assert {label for label in worse(decided["activation_init"]) if "sigmoid" in label} == {
        f"act=sigmoid, init={init}" for init in ("default", "xavier_normal", "kaiming_normal")
    }
    assert worse(decided["batch_size"]) == {f"batch_size={size}" for size in (16, 64, 256, "full")}


def test_no_answer_of_the_first_sweep_hangs_by_a_thread(decided: dict[str, Decision]):
    """Another CPU rounds differently, so a p-value just below 0.05 could be just above it there."""
    for name, decision in decided.items():
        largest = max(place.p_value for place in decision.worse)
        assert largest < SIGNIFICANT / 2, name


def test_the_tutorial_shows_what_the_first_sweep_found(plan: Plan, decided: dict[str, Decision]):
    page = (ROOT / "docs/tutorial/first-sweep.md").read_text()
    for name, found in findings(plan, decided)["experiments"].items():
        assert f"\n{name}: {found['finding']}\n" in page
    assert f"\n{N_RUNS} runs in 5 experiments; 0 are finished\n" in page
    assert f" {N_RUNS} runs took " in (ROOT / "README.md").read_text()
