"""The five answers of config.yaml, the sweep that a newcomer runs first, are decided.

Nothing is trained here. first_sweep.csv has what the runs reached when `make docs` last worked through the tutorial;
what follows from it is decided anew. A config.yaml with other runs makes the test fail until that is done again.
"""

import pandas as pd
import pytest

from conftest import ROOT
from dlsweep.config.labels import setting_labels
from dlsweep.config.sweep import load_sweep
from dlsweep.results.decisions import Decision, decisions, findings
from dlsweep.results.leaderboard import leaderboard
from dlsweep.results.statistics import SIGNIFICANT
from dlsweep.results.tables import fitted_columns
from pages import FIRST_SWEEP

PLAN = load_sweep([ROOT / "config.yaml"]).plan("results")


@pytest.fixture(scope="module")
def decided() -> dict[str, Decision]:
    summary = pd.read_csv(FIRST_SWEEP)
    assert set(zip(summary["exp_name"], summary["hash"], strict=True)) == set(PLAN.records()), "make docs runs it again"
    labels = {name: setting_labels(of.settings, of.varies) for name, of in PLAN.experiments.items()}
    keys = zip(summary["exp_name"], summary["hash"], strict=True)
    settings = pd.DataFrame([{"label": labels[name][digest], **PLAN.settings[digest]} for name, digest in keys])
    summary = summary.join(settings).assign(outdated=None, version=None)
    known = fitted_columns(PLAN, summary, summary)
    return decisions(PLAN, summary, leaderboard(summary, known), known)


def worse(decision: Decision) -> set[str]:
    return {place.label for place in decision.worse}


def test_every_answer_of_the_first_sweep_is_decided(decided: dict[str, Decision]):
    narrow = {f"n_layer={depth}, hid_dim={width}" for depth in (1, 2, 4) for width in (4, 8)}
    assert worse(decided["depth_width"]) == narrow, "width decides, depth does not"
    far_off = {place.label.split(",")[0] for place in decided["optimizers"].worse}
    near = {place.label.split(",")[0] for place in decided["optimizers"].places if place.verdict in ("best", "tied")}
    assert len(far_off) == 5, "of every optimizer the learning rate matters"
    assert len(near) == 4 and "optimizer=sgd" not in near, "all but the plain one have a learning rate that suits them"
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


def test_the_tutorial_shows_what_the_first_sweep_found(decided: dict[str, Decision]):
    page = (ROOT / "docs/tutorial/first-sweep.md").read_text()
    for name, found in findings(PLAN, decided)["experiments"].items():
        assert f"\n{name}: {found['finding']}\n" in page
    n = len(PLAN.settings)
    assert f"\n{n} runs in 5 experiments; 0 are finished\n" in page
    assert f" {n} runs took " in (ROOT / "README.md").read_text()
