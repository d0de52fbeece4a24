"""`compare` and `tune` in a config: what is tried, reported and chosen, and what a mistake is answered with."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from dlsweep.config.comparison import Comparison
from dlsweep.config.identity import setting_hash
from dlsweep.config.plan import Plan
from dlsweep.config.sweep import expand_config
from dlsweep.errors import ConfigError
from dlsweep.files import read_json
from dlsweep.workflow.surroundings import check_packages
from fake import follow

FAIR: dict[str, Any] = {
    "compare": "optimizer",
    "grid": {"optimizer": ["sgd", "adam"]},
    "tune": {"lr": [0.01, 0.1, 1], "momentum": [0, 0.9]},
    "seeds": 2,
}


HALVING: dict[str, Any] = {"method": "halving", "n": 6, "lr": {"log_uniform": [1e-3, 1]}}


def comparison(**changes: Any) -> Comparison:
    course = expand_config({"experiments": {"a": {**FAIR, **changes}}}).experiments["a"].course
    assert isinstance(course, Comparison)
    return course


def test_each_is_tuned_by_what_applies_to_it_and_reported_by_other_seeds():
    course = comparison(tune_seeds=2)
    assert [len(arm) for arm in course.arms] == [6, 3]  # adam has no momentum
    assert [course.n_slots(one.number) for one in course.rounds] == [12, 6, 2, 2]
    assert [one.after for one in course.rounds] == [(), (), (0,), (1,)]
    assert {setting["seed"] for setting in course.static_runs().values()} == {1000, 1001}
    assert {setting["seed"] for setting in course.examples.values()} == {0, 1}
    assert course.tuned == ("lr", "momentum") and list(course.varies) == ["optimizer", "seed"]
    for digest, setting in {**course.static_runs(), **course.examples}.items():
        assert setting_hash(setting) == digest


def test_a_larger_grid_more_seeds_and_a_further_value_keep_all_that_was_tried():
    few = comparison().static_runs().keys()
    for changes in ({"tune": {"lr": [1e-3, 0.01, 0.1, 1], "momentum": [0, 0.9]}}, {"seeds": 9}, {"tune_seeds": 3}):
        assert few <= comparison(**changes).static_runs().keys()
    assert few <= comparison(grid={"optimizer": ["rmsprop", "sgd", "adam"]}).static_runs().keys()


def test_what_is_tuned_may_be_drawn_or_follow_from_what_is_compared():
    drawn = comparison(tune={"n": 5, "lr": {"log_uniform": [1e-3, 1]}, "weight_decay": {"choice": [0, 1e-3]}})
    assert [len(arm) for arm in drawn.arms] == [5, 5]
    spread = comparison(tune={"method": "quasi_random", "n": 4, "lr": {"log_uniform": [1e-3, 1]}})
    assert [len(arm) for arm in spread.arms] == [4, 4]
    own = comparison(tune={"lr": [0.1]}, when={"if": {"optimizer": "sgd"}, "set": {"momentum": [0, 0.5, 0.9]}})
    assert [len(arm) for arm in own.arms] == [3, 1] and own.tuned == ("momentum",)
    rules = [
        {"if": {"optimizer": "sgd"}, "set": {"momentum": [0, 0.9]}},
        {"if": {"optimizer": "adam"}, "set": {"beta1": [0.5, 0.7, 0.9]}},
    ]
    by_rules = comparison(tune={}, when=rules)
    assert [len(arm) for arm in by_rules.arms] == [2, 3] and by_rules.tuned == ("momentum", "beta1")
    folds = comparison(folds=3, dataset="digits", tune={"lr": [0.01, 0.1]})
    assert len(folds.arms) == 2 * 3 and list(folds.varies) == ["optimizer", "seed", "fold"]


def test_the_best_by_validation_is_chosen_and_only_reported_runs_are_compared(tmp_path: Path):
    def value(setting: dict[str, Any]) -> float | None:
        if setting["lr"] == 1 and setting["seed"] == 1001:
            return None  # diverges with one of its seeds
        return setting["lr"] if setting["optimizer"] == "sgd" else 0.5  # all of adam are equal

    sweep = expand_config({"experiments": {"a": {**FAIR, "tune_seeds": 2}}})
    course = comparison(tune_seeds=2)
    follow(course, tmp_path, value)
    plan = Plan.from_json({**json.loads(json.dumps(sweep.plan(str(tmp_path)).to_json()))})
    reported = list(plan.experiments["a"].settings.values())
    found = [(one["optimizer"], one["lr"], one.get("momentum"), one["seed"]) for one in reported]
    assert found == [("sgd", 0.1, 0, 0), ("sgd", 0.1, 0, 1), ("adam", 0.01, None, 0), ("adam", 0.01, None, 1)]
    assert plan.digest == sweep.with_decided(tmp_path).plan(str(tmp_path)).digest
    decided_from = read_json(tmp_path / "search" / course.name / "2.json")["decided_from"]
    assert len(decided_from) == 12 and sum(one is None or math.isinf(one) for one in decided_from.values()) == 2


SEARCHED: dict[str, Any] = {
    **FAIR,
    "tune": {**HALVING, "momentum": {"uniform": [0, 0.9]}},
    "epochs": 9,
}


def searched(**changes: Any) -> Comparison:
    return comparison(**{**SEARCHED, **changes})


def distance(setting: dict[str, Any]) -> float:
    """An accuracy: sgd is best at a large learning rate, adam at a small one."""
    best = {"sgd": 0.5, "adam": 0.002}[setting["optimizer"]]
    return -abs(math.log10(setting["lr"] / best))


def test_a_search_tunes_each_by_itself_in_rounds_of_its_own():
    course = searched(tune_seeds=2)
    assert [(one.number, one.n_points, one.epochs, one.after) for one in course.rounds] == [
        *((0, 6, 1, ()), (1, 2, 3, (0,)), (2, 1, None, (1,))),
        *((3, 6, 1, ()), (4, 2, 3, (3,)), (5, 1, None, (4,))),
        *((6, 1, None, (2,)), (7, 1, None, (5,))),  # only what was trained to the end may be chosen
    ]
    assert [course.n_slots(one.number) for one in course.rounds] == [12, 4, 2] * 2 + [2, 2]
    assert course.brackets == [1, 1, 1, 1, 1, 1, None, None]
    assert course.tuned == ("lr", "momentum") and list(course.varies) == ["optimizer", "seed"]
    for number, optimizer in ((0, "sgd"), (3, "adam")):
        settings = [setting for _, setting in course.static_round(number)]
        assert {setting["optimizer"] for setting in settings} == {optimizer}
        assert {setting["seed"] for setting in settings} == {1000, 1001}
    same = [[setting["lr"] for _, setting in course.static_round(number)] for number in (0, 3)]
    assert same[0] == same[1]  # each begins with the same tries
    whole = searched(tune={**SEARCHED["tune"], "method": "hyperband", "n": None}).rounds
    assert [one.after for one in whole[-2:]] == [(2, 4, 5), (8, 10, 11)]


def test_what_is_chosen_was_trained_to_the_end_and_went_on_within_its_arm(tmp_path: Path):
    course = searched()
    follow(course, tmp_path, distance)
    decided = {number: read_json(tmp_path / "search" / course.name / f"{number}.json") for number in (1, 2, 4, 5, 6, 7)}
    for number, optimizer in ((1, "sgd"), (2, "sgd"), (4, "adam"), (5, "adam")):
        before = dict(course.known_runs(tmp_path)[number - 1, slot] for slot in range(course.n_slots(number - 1)))
        went_on = [run["setting"] for run in decided[number]["runs"]]
        best = sorted(before.values(), key=distance, reverse=True)[: len(went_on)]
        assert went_on == best and {setting["optimizer"] for setting in went_on} == {optimizer}
    for number, last in ((6, 2), (7, 5)):
        assert decided[number]["chosen"] == [run["hash"] for run in decided[last]["runs"]]
        assert {run["setting"]["seed"] for run in decided[number]["runs"]} == {0, 1}

    again = tmp_path / "again"
    follow(course, again, lambda setting: distance(setting) if setting["optimizer"] == "sgd" else None)
    mine, others = course.known_runs(tmp_path), course.known_runs(again)
    assert all(mine[slot] == others[slot] for slot in mine if course.of_arm[slot[0]] == 0)  # of its own results alone
    assert any(mine[slot] != others[slot] for slot in mine if course.of_arm[slot[0]] == 1)


def test_a_search_that_models_proposes_from_the_results_of_its_arm_and_a_larger_one_keeps_them(tmp_path: Path):
    pytest.importorskip("optuna")
    tune = {"method": "tpe", "startup": 3, "parallel": 2, "lr": {"log_uniform": [1e-3, 1]}}
    course, larger = (searched(tune={**tune, "n": n}, epochs=1) for n in (7, 10))
    tried = follow(course, tmp_path, distance)
    assert tried == follow(course, tmp_path / "again", distance)
    assert set(tried[: 2 * 7]) <= set(follow(larger, tmp_path, distance)) and larger.name != course.name
    chosen = [run for slot, run in larger.known_runs(tmp_path).items() if not larger.is_tuning(slot[0])]
    for optimizer in ("sgd", "adam"):
        settings = [setting for slot, (_, setting) in larger.known_runs(tmp_path).items() if larger.is_tuning(slot[0])]
        best = max((one for one in settings if one["optimizer"] == optimizer), key=distance)
        assert {one["lr"] for _, one in chosen if one["optimizer"] == optimizer} == {best["lr"]}


def test_a_package_that_a_method_needs_is_asked_for_under_tune(monkeypatch: pytest.MonkeyPatch):
    tune = {"method": "tpe", "n": 3, "lr": {"log_uniform": [1e-3, 1]}}
    sweep = expand_config({"experiments": {"a": {**FAIR, "tune": tune}}})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"a\.tune\.method: tpe needs optuna, which is not installed"):
        check_packages(sweep)


def test_a_budget_is_that_of_each_and_what_is_excluded_wholly_is_not_compared():
    of_runs = searched(tune={**SEARCHED["tune"], "n": None, "max_runs": 8}, tune_seeds=2)
    assert [of_runs.n_slots(number) for number in (0, 3)] == [8, 8]
    of_epochs = searched(tune={**SEARCHED["tune"], "n": None, "max_epochs": 30})
    spent = 0
    for one, reached in zip(of_epochs.rounds[:3], (0, 1, 3), strict=True):
        spent += one.n_points * ((one.epochs or 9) - reached)
    assert 30 - 9 < spent <= 30 and [one.n_points for one in of_epochs.rounds[3:6]] == [
        one.n_points for one in of_epochs.rounds[:3]
    ]
    grid = {"optimizer": ["sgd", "adam", "rmsprop"], "dropout": [0, 0.5]}
    course = searched(grid=grid, exclude={"optimizer": "rmsprop"})
    assert len(course.searches) == 4 and len(course.rounds) == 4 * 3 + 4
    folds = searched(folds=3, dataset="digits")
    assert len(folds.searches) == 2 * 3 and list(folds.varies) == ["optimizer", "seed", "fold"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tune": None}, "a.compare: goes with tune, which says what is tuned for each of its values; tune is missing"),
        ({"compare": None}, "a.tune: goes with compare"),
        ({"compare": "optimizr"}, 'a.compare: "optimizr" is not allowed; allowed: a hyper-parameter (or a list of'),
        ({"compare": "optimizr"}, "two values or more: optimizer. Did you mean 'optimizer'?"),
        ({"compare": 3}, "a.compare: 3 is not allowed"),
        ({"compare": []}, "a.compare: [] is not allowed"),
        ({"grid": {"optimizer": ["sgd"]}}, 'a.compare: "optimizer" is not allowed'),
        ({"grid": {"momentum": [0.1, 0.2], "optimizer": ["adam"]}, "compare": "momentum", "tune": {"lr": [1]}}, "same"),
        ({"tune": {"lrr": [1]}}, "a.tune.lrr: unknown hyper-parameter. Did you mean 'lr'?"),
        ({"tune": {}}, "a.tune: is empty"),
        ({"tune": {"lr": 1}}, "a.tune.lr: must be a list of values"),
        ({"tune": {"n_folds": [2, 3]}}, "a.tune.n_folds: is not tuned, since it repeats a setting"),
        ({"tune": {"seed": [1, 2]}}, "a.tune.seed: is not tuned, since it repeats a setting; see tune_seeds"),
        ({"tune": {"optimizer": ["sgd"]}}, "a.tune: sets optimizer, which experiments.a.grid sets as well"),
        ({"tune": {"method": "tpe", "lr": {"uniform": [0.1, 1]}}}, "a.tune.n: null is not allowed"),
        (
            {"tune": {"method": "tpi", "n": 3, "lr": {"uniform": [0.1, 1]}}},
            'a.tune.method: "tpi" is not allowed; allowed: quasi_random, tpe,',
        ),
        (
            {"tune": HALVING, "when": {"if": {"optimizer": "sgd"}, "set": {"epochs": [1, 2]}}},
            "when[0].set: has several",
        ),
        ({"tune": {**HALVING, "method": "race"}}, 'a.tune.method: "race" is not allowed; allowed: quasi_random, tpe'),
        (
            {"tune": {**HALVING, "max_hours": 1}},
            "a.tune.max_hours: would tune what is slow less than the others; allow",
        ),
        ({"tune": {**HALVING, "max_runs": 1}, "tune_seeds": 2}, "a.tune.max_runs: 1 is not allowed; halving needs 2"),
        ({"tune": {**HALVING, "seed": {"int_uniform": [0, 9]}}}, "a.tune.seed: is not tuned"),
        ({"tune": {**HALVING, "optimizer": {"choice": ["sgd"]}}}, "a.tune: sets optimizer, which experiments.a.grid"),
        ({"tune": HALVING, "exclude": {"lr": ">0"}}, "a.exclude: no setting is left"),
        ({"tune": {"lr": {"uniform": [0.1, 1]}}}, "a.tune.n: null is not allowed"),
        ({"tune_seeds": [7, 1]}, "a.tune_seeds: 1 is one of seeds, too; allowed: seeds that nothing is reported by"),
        ({"tune_seeds": 0}, "a.tune_seeds: 0 is not allowed"),
        ({"seeds": None}, "a.seeds: is missing"),
        ({"sample": {"n": 2, "lr": {"uniform": [0.1, 1]}}}, "a.sample: does not go with compare"),
        ({"exclude": {"seed": 1}}, "a.exclude[0]: names seed, which does not go with tune"),
        ({"exclude": {"lr": ">0"}}, "a.exclude: no setting is left"),
    ],
)
def test_a_mistake_names_the_key_and_what_is_allowed(changes: dict[str, Any], message: str):
    spec = {key: value for key, value in {**FAIR, **changes}.items() if value is not None}
    with pytest.raises(ConfigError) as error:
        expand_config({"experiments": {"a": spec}})
    assert message in str(error.value)
