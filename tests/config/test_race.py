"""A race over seeds: who gets more of them, and what a mistake is answered with."""

import gc
import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from dlsweep.config.identity import Setting
from dlsweep.config.race import Race
from dlsweep.config.sweep import expand_config
from dlsweep.errors import ConfigError
from dlsweep.search.decide import decide
from dlsweep.search.race import still_in
from fake import follow

GRID = {"lr": [0.01, 0.1, 1]}


def race(seeds: Any = 8, search: dict[str, Any] | None = None, **more: Any) -> Race:
    spec = {"grid": GRID, "search": {"method": "race", **(search or {})}, "seeds": seeds, **more}
    course = expand_config({"experiments": {"a": spec}}).experiments["a"].course
    assert isinstance(course, Race)
    return course


def accuracy(setting: Setting) -> float | None:
    """0.01 is far behind; of the others none is better, but each run has its own luck."""
    luck = random.Random(f"{setting['lr']} {setting['seed']} {setting.get('split_seed')}").gauss(0, 0.01)
    return (0.5 if setting["lr"] == 0.01 else 0.9) + luck


def n_runs(course: Race, results: Path) -> dict[float, int]:
    known = [setting["lr"] for _, setting in course.known_runs(results).values()]
    return {lr: known.count(lr) for lr in dict.fromkeys(known)}


def test_who_is_clearly_worse_gets_no_more_seeds(tmp_path: Path):
    course = race()
    follow(course, tmp_path, accuracy)
    assert n_runs(course, tmp_path) == {0.01: 3, 0.1: 8, 1: 8}
    assert [course.n_slots(one.number) for one in course.rounds] == [9, 3, 3, 3, 3, 3]
    decision = json.loads((tmp_path / "search" / course.name / "1.json").read_text())
    assert len(decision["runs"]) == 2 and decision["n_skipped"] == 1


def test_it_ends_when_one_is_left(tmp_path: Path):
    course = race(seeds=20, search={"first": 4, "step": 4})
    follow(
        course,
        tmp_path,
        lambda setting: setting["lr"] / 2 + random.Random(setting["seed"] + setting["lr"]).random() / 50,
    )
    assert n_runs(course, tmp_path) == {0.01: 4, 0.1: 4, 1: 4}
    assert len(course.rounds) == 5
    assert not json.loads((tmp_path / "search" / course.name / "4.json").read_text())["runs"]


def test_more_diverged_seeds_are_worse_than_any_value(tmp_path: Path):
    course = race()

    def value(setting: Setting) -> float | None:
        return None if setting["lr"] == 1 and setting["seed"] == 2 else 0.9 if setting["lr"] == 1 else accuracy(setting)

    follow(course, tmp_path, value)
    assert n_runs(course, tmp_path) == {0.01: 3, 0.1: 3, 1: 3}


@pytest.mark.parametrize("n_seeds", [3, 6])
def test_the_rule_is_that_of_paired_tests_corrected_by_holm(n_seeds: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gc, "collect", lambda: 0)  # statsmodels calls it each time
    generator = np.random.default_rng(n_seeds)
    outcomes = set()
    for _ in range(60):
        values = generator.normal(0, 0.01, (5, n_seeds)) + np.array([0, 0, 0.01, 0.03, 0.06])[:, None]
        best, *others = np.argsort(values.mean(axis=1))
        p_values = [stats.ttest_rel(values[i], values[best]).pvalue for i in others]
        rejected = multipletests(p_values, method="holm")[0]
        expected = sorted([best, *(i for i, worse in zip(others, rejected, strict=True) if not worse)])
        assert still_in(values[:, :, None].tolist()) == expected
        outcomes.add(len(expected))
    assert len(outcomes) > 2


def test_the_splits_of_a_seed_count_as_one_result(tmp_path: Path):
    course = race(seeds=5, split_seeds=2)
    follow(course, tmp_path, accuracy)
    values = [[[accuracy(run[1]) for run in seed] for seed in racer] for racer in course.racers]
    means = [[[-np.mean(seed)] for seed in racer[:3]] for racer in values]
    decision = json.loads((tmp_path / "search" / course.name / "1.json").read_text())
    assert [run["setting"]["lr"] for run in decision["runs"]] == [GRID["lr"][i] for i in still_in(means) for _ in "ab"]
    assert n_runs(course, tmp_path)[0.01] == 3 * 2


def test_more_seeds_only_go_on(tmp_path: Path):
    few, many = race(seeds=5), race(seeds=9)
    assert few.name == many.name
    follow(few, tmp_path, accuracy)
    folder = tmp_path / "search" / few.name
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    follow(many, tmp_path, accuracy)
    assert before.items() <= {path.name: path.read_bytes() for path in folder.iterdir()}.items()
    assert n_runs(many, tmp_path) == {0.01: 3, 0.1: 9, 1: 9}
    assert race(seeds=[0, 1, 2, 3, 7]).name not in (few.name, race(seeds=[0, 1, 2, 4, 7]).name)


def test_a_decision_depends_on_the_results_alone(tmp_path: Path):
    course = race()
    follow(course, tmp_path, accuracy)
    path = tmp_path / "search" / course.name / "3.json"
    before = path.read_bytes()
    path.unlink()
    assert decide(course, 3, tmp_path).read_bytes() == before


def test_ranges_are_tried_at_points_that_fill_the_space():
    course = race(search={"n": 4, "hid_dim": {"int_uniform": [8, 64]}})
    assert len(course.racers) == 3 * 4 and len({racer[0][0][0] for racer in course.racers}) == 12


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seeds": None}, "experiments.a.seeds: is missing; a race needs more than the 3 that each setting gets first"),
        ({"seeds": 3}, "experiments.a.seeds: 3 are too few; a race needs more than the 3"),
        ({"search": {"first": 1}}, "experiments.a.search.first: "),
        ({"search": {"step": 3}}, "experiments.a.search.step: 3 does not divide the 5 seeds after the first 3"),
        ({"search": {"max_runs": 9}}, "experiments.a.search.max_runs: unknown option of race; allowed: method, n"),
        ({"grid": {"lr": [0.1]}}, "experiments.a.search.method: race needs two settings or more; here are 1"),
        ({"search": {"hid_dim": {"int_uniform": [8, 64]}}}, "experiments.a.search.n: "),
        ({"exclude": [{"lr": 1, "seed": 2}]}, "experiments.a.exclude: takes some runs of a setting out of a race"),
    ],
)  # fmt: skip
def test_mistakes(change: dict[str, Any], said: str):
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}"):
        race(**change)
