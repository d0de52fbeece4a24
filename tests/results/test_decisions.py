"""What an experiment decides, in words and against tests that are not ours."""

import gc
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from dlsweep.config.hyperparameters import HYPERPARAMETERS
from dlsweep.config.metrics import Objective
from dlsweep.config.sweep import expand_config
from dlsweep.results.columns import Columns
from dlsweep.results.decisions import Decision, Edge, _next_value, decide, sentences
from dlsweep.results.measured import has_learned
from dlsweep.results.records import FINDINGS
from dlsweep.results.statistics import compare_with_first
from dlsweep.results.tables import write_tables
from fake import fake_record, fake_sweep

STANDARD = Columns()
MAE = Columns(Objective("val_mae", "min", "test_mae"), {}, classifies=False)


def part_of(values: dict[str, list[float | None]], columns: Columns = STANDARD, **others: dict[str, object]):
    """The summary of an experiment: of each setting what its runs reached, on test as on validation; None: diverged.

    `others` are further columns, each with its value for a setting.
    """
    rows = [
        {
            "label": label,
            "hash": f"{label}-{seed}",
            "seed": seed,
            "status": "finished" if value is not None else "diverged",
            "outdated": None,
            columns.objective.selected: value,
            columns.objective.report: value,
            **({"test_loss": None} if columns.classifies else {}),
            **{name: of.get(label) for name, of in others.items()},
        }
        for label, runs in values.items()
        for seed, value in enumerate(runs)
    ]
    return pd.DataFrame(rows).astype({columns.objective.selected: float, columns.objective.report: float})


def verdicts(decision: Decision) -> dict[str, str]:
    return {place.label: place.verdict for place in decision.places}


BEST, NEAR = [0.97, 0.96, 0.975, 0.968], [0.964, 0.961, 0.961, 0.972]
WORSE, CHANCE = [0.90, 0.89, 0.91, 0.895], [0.1, 0.11, 0.09, 0.1]


def test_the_answer_comes_in_plain_words():
    learned = {"a": True, "b": True, "c": True, "d": False, "e": None}
    values = {"d": CHANCE, "a": BEST, "c": WORSE, "b": NEAR, "e": [None] * 4}
    decision = decide(
        part_of(values, learned=learned, lr=dict(zip("ecbad", (1, 0.5, 0.2, 0.1, 0.01), strict=True))), Columns()
    )
    assert verdicts(decision) == {"a": "best", "b": "tied", "c": "worse", "d": "worse", "e": "diverged"}
    first, *others = sentences(decision)
    assert first.startswith("Best: a, test accuracy 0.968 [0.957, 0.977].")
    assert others[:4] == [
        "Cannot be told apart from b.",
        "Clearly worse: c and d.",
        "1 of 5 settings never learned.",
        "1 of 5 settings diverged in every run; 4 of 20 runs diverged.",
    ]
    assert others[4] == f"About {decision.seeds.needed - 4} more seeds would settle the first two."
    assert others[-1] == (
        "Intervals and tests cover the seeds, not the choice of test data: no predictions of its runs are kept."
    )


def test_the_verdicts_are_those_of_paired_tests_corrected_by_holm():
    generator = np.random.default_rng(0)
    values = {str(i): list(0.9 - 0.003 * i + generator.normal(0, 0.004, 5)) for i in range(8)}
    places = decide(part_of(values), Columns()).places
    best, others = places[0].label, [place.label for place in places[1:]]
    p_values = [stats.ttest_rel(values[label], values[best]).pvalue for label in others]
    corrected = multipletests(p_values, method="holm")[1]
    assert [place.p_value for place in places[1:]] == pytest.approx(corrected)
    assert [place.verdict for place in places[1:]] == ["worse" if p < 0.05 else "tied" for p in corrected]
    assert 0 < sum(corrected < 0.05) < 7


def test_the_truly_best_is_rarely_called_worse(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gc, "collect", lambda: 0)  # statsmodels calls it each time
    # Which setting is compared with is chosen by validation accuracies that go with the test accuracies.
    generator = np.random.default_rng(1)
    n_lost, n, n_experiments = 0, 4, 400
    for i, _ in itertools.product(range(2), range(n_experiments // 2)):
        sds = np.full(6, 0.01) if i else np.geomspace(0.002, 0.05, 6)  # all are equally good: the hardest case
        test = 0.9 + generator.normal(0, sds, (n, 6))
        val = 0.8 * (test - 0.9) + 0.6 * generator.normal(0, sds, (n, 6))
        order = np.argsort(-val.mean(axis=0))
        p_values = compare_with_first(test[:, order]).p_holm
        place = list(order).index(0)  # the first is the best, by a hair
        n_lost += place > 0 and p_values[place] < 0.05 and test[:, 0].mean() < test[:, order[0]].mean()
    assert n_lost / n_experiments <= 0.05


def test_a_metric_of_which_less_is_better():
    values = {"high": [3.0, 3.1, 2.8], "low": [1.0, 1.1, 0.9], "gone": [None] * 3, "near": [1.05, 0.95, 1.1]}
    decision = decide(part_of(values, MAE), MAE)
    assert verdicts(decision) == {"low": "best", "near": "tied", "high": "worse", "gone": "diverged"}
    assert sentences(decision)[0].startswith("Best: low, test MAE 1.00 [")
    swapped = part_of(values, MAE)
    swapped.loc[swapped["label"] == "low", "test_mae"] += 1  # better by validation, worse on test
    assert decide(swapped, MAE).test_order == "near"
    assert verdicts(decide(swapped, MAE))["near"] == "better"


def test_what_no_test_can_say_is_said():
    one_seed = decide(part_of({"a": [0.9], "b": [0.8], "c": [0.7]}), Columns())
    assert verdicts(one_seed) == {"a": "best", "b": "untested", "c": "untested"} and one_seed.seeds is None
    assert "With one run of each setting, chance cannot be told from a difference: use several seeds." in sentences(
        one_seed
    )
    some = decide(part_of({"a": BEST, "b": [0.9], "c": WORSE}), Columns())
    assert "Not tested: b (fewer than two results)." in sentences(some)
    assert sentences(decide(part_of({"a": BEST}), Columns()))[0].startswith("One setting, test accuracy 0.968 [")
    assert sentences(decide(part_of({"a": [None, None]}), Columns())) == ["All 2 runs diverged."]
    assert sentences(decide(part_of({"a": BEST}).iloc[:0], Columns())) == ["No run is finished."]
    untested = part_of({"a": BEST, "b": WORSE}).assign(test_acc=math.nan)
    assert sentences(decide(untested, Columns()))[0] == "Best: a, val accuracy 0.968; no run of it was tested."


def test_all_alike_and_all_apart():
    generator = np.random.default_rng(2)
    alike = {name: list(generator.normal(0.9, 0.01, 4)) for name in "abcd"}
    assert "None of the 3 other settings can be told apart from it." in sentences(decide(part_of(alike), Columns()))
    apart = {name: list(generator.normal(0.9 - 0.1 * i, 0.002, 4)) for i, name in enumerate("abcd")}
    found = decide(part_of(apart), Columns())
    assert "It is clearly better than every other setting." in sentences(found) and found.seeds is None


def test_leaderboard_and_findings_begin_with_question_and_answer(tmp_path: Path):
    config = {"a": {"grid": {"lr": [0.001, 0.03, 1]}, "seeds": 3, "question": "Which lr < 1?"}, "b": {"lr": 1}}
    plan = fake_sweep({"defaults": {"epochs": 3}, "experiments": config}, tmp_path / "results")
    write_tables(plan, tmp_path)
    found = json.loads((tmp_path / FINDINGS).read_text())
    assert found["plan"] == plan.digest and found["experiments"]["b"]["finding"] == "The only run diverged."
    of_a = found["experiments"]["a"]
    assert (of_a["question"], of_a["planned"], of_a["runs"], of_a["diverged"]) == ("Which lr < 1?", 9, 9, 3)
    assert of_a["sentences"][0].startswith("Best: lr=0.03, test accuracy 0.")
    assert "1 of 3 settings diverged in every run; 3 of 9 runs diverged." in of_a["sentences"]
    text = " ".join((tmp_path / "leaderboard.md").read_text().split())
    assert f"## a Which lr &lt; 1? {' '.join(of_a['sentences'])} | rank" in text


# -- never learned -------------------------------------------------------------------------------------------------


def record_with(final: dict, status: str = "finished") -> dict:
    setting = next(iter(expand_config({"experiments": {"a": {"lr": 0.1}}}).experiments["a"].settings.values()))
    record = fake_record("a", "0" * 40, setting)
    return {**record, "status": status, "final": {**record["final"], **final}}


def test_settings_that_never_learned_are_counted_where_it_is_known_of_all():
    decision = decide(part_of({"a": BEST, "d": CHANCE}, learned={"a": True, "d": False}), Columns())
    assert [place.label for place in decision.never_learned] == ["d"]
    assert "1 of 2 settings never learned." in sentences(decision)


@pytest.mark.parametrize("n_correct", [40, 55, 60, 62, 63, 64, 66, 70, 100])
def test_a_classifier_has_learned_where_chance_does_not_explain_it(n_correct: int):
    # 100 images, half of them of one class: a constant names 50 of them right.
    n_first = min(n_correct, 50)
    matrix = [[n_first, 50 - n_first], [50 - (n_correct - n_first), n_correct - n_first]]
    p_value = stats.binomtest(n_correct, 100, 0.5, alternative="greater").pvalue
    assert has_learned(record_with({"confusion": matrix})) == (p_value < 0.01)


def test_a_constant_prediction_is_no_learning_and_a_diverged_run_neither():
    assert has_learned(record_with({"confusion": [[0, 30, 0], [0, 40, 0], [0, 30, 0]]})) is False
    assert has_learned(record_with({"confusion": [[0, 0], [9, 0]]})) is False
    assert has_learned(record_with({"confusion": None})) is None
    assert has_learned(record_with({}, status="diverged")) is None
    assert has_learned(record_with({"confusion": {"a": 1}})) is None  # whatever an own task means by it
    assert has_learned(record_with({"confusion": None, "test_r2": -0.01})) is False
    assert has_learned(record_with({"confusion": None, "test_r2": 0.2})) is True


# -- notes ---------------------------------------------------------------------------------------------------------


def edges(best: str, lrs: dict[str, object], **others: dict[str, object]) -> tuple[Edge, ...]:
    values = {label: [0.9 if label == best else 0.5] * 2 for label in lrs}
    columns = {"lr": lrs, **others}
    part = part_of(values, **columns)
    return decide(part, Columns(), {name: list(set(of.values())) for name, of in columns.items()}).edges


def test_the_best_on_the_edge_of_what_was_tried():
    lrs = {"a": 0.01, "b": 0.1, "c": 1.0}
    assert edges("c", lrs) == (Edge("lr", 1.0, "largest"),) and edges("a", lrs) == (Edge("lr", 0.01, "smallest"),)
    assert edges("b", lrs) == () and edges("b", {"a": 0.01, "b": 0.1}) == ()  # of two, one is always at an edge
    # Among the settings of its optimizer it is in the middle, though another has a larger one.
    of = dict(zip("abcd", ("sgd", "sgd", "sgd", "adam"), strict=True))
    assert edges("c", {**lrs, "d": 10.0}, optimizer=of) == (Edge("lr", 1.0, "largest"),)
    # A dropout of 0 is the least there is, and `full` more than any number.
    none = {"a": 0.1, "b": 0.1, "c": 0.1}
    assert edges("a", none, dropout={"a": 0.0, "b": 0.2, "c": 0.5}) == ()
    sizes = {"a": "8", "b": "16", "c": "32", "d": "full"}
    assert edges("c", dict.fromkeys("abcd", 0.1), batch_size=sizes) == ()
    assert edges("a", dict.fromkeys("abcd", 0.1), batch_size=sizes) == (Edge("batch_size", 8.0, "smallest"),)


def test_the_notes_say_where_to_go_on_and_that_test_results_choose_nothing():
    part = part_of({"a": BEST, "b": NEAR, "c": WORSE}, lr={"a": 1.0, "b": 0.1, "c": 0.01})
    part.loc[part["label"] == "a", "test_acc"] -= 0.006
    notes = decide(part, Columns(), {"lr": [0.01, 0.1, 1.0]}).notes
    assert notes[0] == (
        "The best lies on the edge: lr=1 is the largest that was tried; a larger lr, such as 10, may be better still."
    )
    assert notes[1] == "By test alone b would be first, but test results choose nothing."


@pytest.mark.parametrize(
    ("key", "tried", "expected"),
    [
        ("lr", [0.001, 0.01, 0.1], 1.0),
        ("lr", [0.1, 0.01, 0.001], 0.0001),
        ("hid_dim", [8, 16, 32, 64], 128),
        ("n_layer", [1, 2, 3], 4),
        ("n_layer", [3, 2], 1),
        ("dropout", [0.0, 0.2, 0.4], 0.6),
        ("dropout", [0.5, 0.7, 0.9], 0.99),  # no further than is allowed
        ("lr", [3.0, 2.0, 1.0], 0.5),  # not 0
        ("lr", [*np.geomspace(1e-4, 1, 41)], 10.0),  # a random search: by a quarter of its range
    ],
)
def test_the_value_to_try_next_is_as_far_off_as_those_that_were_tried(key: str, tried: list[float], expected: float):
    assert _next_value(tried, HYPERPARAMETERS[key]) == expected
