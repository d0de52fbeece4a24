"""`search` in a config: its points, its options, and what a mistake is answered with."""

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import qmc

from conftest import ROOT
from dlsweep.config.course import Course
from dlsweep.config.identity import Setting
from dlsweep.config.quasi_random import points, radical_inverse
from dlsweep.config.sweep import expand_config
from dlsweep.errors import ConfigError
from fake import follow

SPACE = {"lr": {"log_uniform": [1e-4, 1]}, "hid_dim": {"int_uniform": [8, 64]}, "act": {"choice": ["relu", "tanh"]}}


def settings_of(search: dict[str, Any], **more: Any) -> dict[str, Any]:
    experiments = {"a": {"search": {"method": "quasi_random", **search}, **more}}
    return expand_config({"experiments": experiments}).experiments["a"].settings


# -- quasi-random points -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [2, 3, 7])
def test_without_a_permutation_it_is_haltons_sequence(base: int):
    primes = (2, 3, 5, 7)
    theirs = qmc.Halton(len(primes), scramble=False).random(200)[:, primes.index(base)]
    ours = [radical_inverse(k, base, [range(base)] * 20) for k in range(200)]
    np.testing.assert_allclose(ours, theirs, atol=1e-9)


def test_points_fill_the_space_evenly():
    """Each of b intervals has as many points of the first b^m as another, and all is more even than random points."""
    found = list(itertools.islice(points(["lr", "dropout", "hid_dim"], seed=3), 64))
    assert sorted(found[0]) == sorted(["lr", "dropout", "hid_dim"])
    for name, base in (("dropout", 2), ("hid_dim", 3), ("lr", 5)):  # the primes, in the order of the names
        first = [int(point[name] * base**2) for point in found[: base**2]]
        assert sorted(first) == list(range(base**2))
    ours = qmc.discrepancy(np.array([[*point.values()] for point in found]))
    random = [qmc.discrepancy(np.random.default_rng(i).random((64, 3))) for i in range(20)]
    assert ours < min(random) / 2


def test_more_points_and_another_order_of_the_names_change_none():
    few, many = settings_of({"n": 4, **SPACE}), settings_of({"n": 9, **dict(reversed(SPACE.items()))})
    assert list(many)[:4] == list(few) and len(many) == 9
    assert not few.keys() & settings_of({"n": 4, "seed": 1, **SPACE}).keys()
    assert all(1e-4 <= s["lr"] <= 1 and 8 <= s["hid_dim"] <= 64 for s in many.values())


def test_the_first_points_are_for_ever():
    """Records are named by their settings, so another sequence would train everything again."""
    found = [(s["lr"], s["hid_dim"], s["act"]) for s in settings_of({"n": 3, **SPACE}).values()]
    assert found == [(0.00541744961524, 44, "tanh"), (0.0341817962309, 63, "relu"), (0.000858607901569, 25, "tanh")]


def test_a_search_goes_with_all_that_makes_settings():
    both = settings_of(
        {"n": 6, "lr": SPACE["lr"]},
        seeds=2,
        grid={"act": ["relu", "tanh"]},
        when={"if": {"act": "tanh"}, "set": {"hid_dim": 8}},
        exclude={"act": "tanh", "lr": ">0.01"},
    )
    assert {s["hid_dim"] for s in both.values() if s["act"] == "tanh"} == {8}
    assert 12 < len(both) < 24 and len({s["seed"] for s in both.values()}) == 2
    child = {"extends": "a", "search": {"n": 2, "hid_dim": {"choice": [3]}}, "seeds": None}
    config = {"experiments": {"a": {"search": {"method": "quasi_random", "n": 3, **SPACE}, "seeds": 2}, "b": child}}
    assert [s["hid_dim"] for s in expand_config(config).experiments["b"].settings.values()] == [3, 3]


@pytest.mark.parametrize(
    ("search", "parts"),
    [
        (3, ["search: must be a mapping"]),
        ({"lr": {"uniform": [0, 1]}}, ["search.method: null is not allowed", "quasi_random"]),
        ({"method": "quasi_randm"}, ['search.method: "quasi_randm"', "Did you mean 'quasi_random'?"]),
        ({"method": "quasi_random", "n": 3}, ["search: names no hyper-parameter with a range"]),
        ({"method": "quasi_random", **SPACE}, ["search.n: null is not allowed", "an integer from 1"]),
        ({"method": "quasi_random", "n": 0, **SPACE}, ["search.n: 0 is not allowed"]),
        ({"method": "quasi_random", "n": 3, "lr": 0.1}, ["search.lr: must be a range", "not 0.1"]),
        ({"method": "quasi_random", "n": 3, "lr": [0.1]}, ["search.lr: must be a range"]),
        ({"method": "quasi_random", "n": 3, "sed": 1, **SPACE}, ["search.sed: unknown option", "Did you mean 'seed'?"]),
        ({"method": "quasi_random", "n": 3, "lrr": {"uniform": [0, 1]}}, ["search.lrr: unknown hyper-parameter"]),
        ({"method": "quasi_random", "n": 3, "lr": {"uniform": [-1, 1]}}, ["search.lr: -1.0 is not allowed"]),
        (
            {"method": "quasi_random", "n": 3, "hid_dim": {"uniform": [1, 9]}},
            ["search.hid_dim.uniform: draws no whole"],
        ),
    ],
)
def test_a_mistake_names_the_key_and_what_is_allowed(search: Any, parts: list[str]):
    with pytest.raises(ConfigError) as error:
        expand_config({"experiments": {"a": {"search": search}}})
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_two_places_that_set_one_key_are_refused():
    with pytest.raises(ConfigError, match=r"a\.search: sets lr, which experiments\.a\.grid sets as well"):
        settings_of({"n": 2, **SPACE}, grid={"lr": [0.1]})


# -- rounds --------------------------------------------------------------------------------------------------------


def course_of(search: dict[str, Any], **more: Any) -> Course:
    found = expand_config({"experiments": {"a": {"search": {**SPACE, **search}, **more}}}).experiments["a"].course
    assert found
    return found


def accuracy(setting: Setting) -> float | None:
    """Best at lr = 0.03 and hid_dim = 40; large rates diverge."""
    lr, width = setting["lr"], setting["hid_dim"]
    return None if lr > 0.7 else 1 - (math.log10(lr / 0.03) / 4) ** 2 - ((width - 40) / 100) ** 2


@pytest.mark.parametrize(("method", "n_rounds"), [("tpe", 4), ("gp", 1), ("cmaes", 4)])
def test_a_model_decides_the_same_again_and_finds_better_values(tmp_path: Path, method: str, n_rounds: int):
    space = {key: SPACE[key] for key in ("lr", "hid_dim")}
    search = {"method": method, "n": 10 + 4 * n_rounds, "startup": 10, "parallel": 4, **space}
    few = expand_config({"experiments": {"a": {"search": {**search, "n": 8 + 4 * n_rounds}}}}).experiments["a"].course
    many = expand_config({"experiments": {"a": {"search": search}}}).experiments["a"].course
    assert few and many and few.name == many.name
    first = follow(few, tmp_path / "one", accuracy)
    assert follow(many, tmp_path / "two", accuracy)[: len(first)] == first  # the budget ends within a round
    decisions = sorted((tmp_path / "one").rglob("?.json"))
    assert len(decisions) == n_rounds
    for path in decisions:
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
    settings = [setting for _, setting in many.known_runs(tmp_path / "two").values()]
    values = [accuracy(setting) or 0.0 for setting in settings]
    assert max(values[10:]) >= max(values[:10])
    assert np.mean(values[10:]) > np.mean(values[:10])
    assert all(
        json.loads(json.dumps(s["lr"])) == float(f"{s['lr']:.12g}") and type(s["hid_dim"]) is int for s in settings
    )


def test_halving_lets_the_best_go_on(tmp_path: Path):
    course = course_of({"method": "halving", "n": 9, "min_epochs": 1}, epochs=9, seeds=2)
    assert [(one.n_points, one.epochs) for one in course.rounds] == [(9, 1), (3, 3), (1, None)]
    follow(course, tmp_path, lambda setting: accuracy(setting))
    runs = course.known_runs(tmp_path)
    of_round = [[runs[n, slot][1] for slot in range(course.n_slots(n))] for n in range(3)]
    assert [len(settings) for settings in of_round] == [18, 6, 2]
    best = sorted(of_round[0], key=lambda setting: -(accuracy(setting) or 0.0))
    assert {(s["lr"], s["seed"]) for s in of_round[1]} == {(s["lr"], s["seed"]) for s in best[:6]}
    assert {s["lr"] for s in of_round[2]} == {best[0]["lr"]}


def test_hyperband_has_the_brackets_of_its_paper():
    course = course_of({"method": "hyperband"}, epochs=81)
    brackets: list[list[tuple[int, int]]] = []
    for one in course.rounds:
        if not one.after:
            brackets.append([])
        brackets[-1].append((one.n_points, one.epochs or 81))
    assert brackets[0] == [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)]
    assert brackets[1] == [(34, 3), (11, 9), (3, 27), (1, 81)]
    assert [bracket[0] for bracket in brackets] == [(81, 1), (34, 3), (15, 9), (8, 27), (5, 81)]
    small, larger = (course_of({"method": "hyperband", "n": n}, epochs=81) for n in (81, 120))
    assert small.name == larger.name == course.name and small.rounds == larger.rounds[:5]


@pytest.mark.parametrize(
    ("search", "n"),
    [
        ({"method": "tpe", "max_runs": 25}, 12),  # of two seeds each
        ({"method": "tpe", "max_epochs": 250}, 13),  # of nine epochs
        ({"method": "tpe", "n": 7, "max_epochs": 250}, 7),
        ({"method": "halving", "max_epochs": 2 * (9 + 3 * 2 + 6)}, 9),
        ({"method": "halving", "max_runs": 18}, 9),
        ({"method": "hyperband", "max_runs": 2 * (9 + 5)}, 14),
    ],
)
def test_a_budget_in_runs_or_epochs_says_how_many_settings(search: dict[str, Any], n: int):
    course = course_of(search, epochs=9, seeds=2)
    assert course.rounds == course_of({**search, "n": n}, epochs=9, seeds=2).rounds
    without = {key: value for key, value in search.items() if not key.startswith("max_")}
    same = course_of({**without, "n": n}, epochs=9, seeds=2)
    assert (course.name, course.rounds) == (same.name, same.rounds)


def test_another_search_has_another_name_and_its_budget_does_not_count():
    tpe = {"method": "tpe", "n": 8}
    names = [
        course_of(tpe).name,
        course_of({**tpe, "seed": 1}).name,
        course_of({**tpe, "lr": {"uniform": [0.1, 1]}}).name,
        course_of(tpe, epochs=3).name,
        course_of(tpe, seeds=2).name,
        course_of(tpe, objective="val_loss").name,
        course_of({**tpe, "method": "gp"}).name,
        course_of({"method": "halving", "n": 8}).name,
        course_of({"method": "halving", "n": 9}).name,
    ]
    assert len(set(names)) == len(names)
    assert course_of({**tpe, "n": 80, "max_hours": 2}).name == names[0]


@pytest.mark.parametrize(
    ("search", "more", "message"),
    [
        ({"method": "tpe", "n": 4}, {"grid": {"batch_size": [1, 2]}}, "a.grid: does not go with a search by tpe"),
        ({"method": "tpe"}, {}, "a.search.n: null is not allowed"),
        ({"method": "tpe", "max_runs": 0}, {}, "a.search.max_runs: 0 is not allowed"),
        ({"method": "hyperband", "max_epochs": 4}, {"epochs": 9}, "max_epochs: 4 is not allowed; hyperband needs 21"),
        ({"method": "tpe", "n": 4, "max_hours": 0}, {}, "a.search.max_hours: 0 is not allowed; allowed: hours above 0"),
        ({"method": "tpe", "n": 4, "max_hours": "2h"}, {}, 'a.search.max_hours: "2h" is not a number'),
        ({"method": "quasi_random", "n": 4, "max_hours": 2}, {}, "a.search.max_hours: unknown option of quasi_random"),
        ({"method": "tpe", "n": 4, "eta": 3}, {}, "a.search.eta: unknown option of tpe"),
        ({"method": "cmaes", "n": 4}, {}, "cmaes needs two hyper-parameters or more, all of them numbers"),
        ({"method": "halving", "n": 4, "eta": 1}, {}, "a.search.eta: 1 is not allowed"),
        ({"method": "halving", "n": 4, "epochs": {"choice": [1, 2]}}, {}, "but epochs has several values"),
        ({"method": "tpe", "n": 200_000}, {}, "makes 200,000 runs; allowed: up to 100,000"),
        ({"method": "tpe", "n": 4}, {"exclude": {"lr": ">0"}}, "no setting is left"),
        (
            {"method": "tpe", "n": 4},
            {"when": {"if": {"act": "relu"}, "set": {"dropout": [0, 0.5]}}},
            "has several values",
        ),
    ],
)
def test_what_no_search_can_do_is_refused(search: dict[str, Any], more: dict[str, Any], message: str):
    with pytest.raises(ConfigError) as error:
        course_of(search, **more)
    assert message in str(error.value)


def test_a_start_loads_no_library_of_a_search():
    code = (
        "import sys, dlsweep.workflow.flow; from dlsweep.config.sweep import expand_config;"
        "expand_config({'experiments': {'a': {'search': {'method': 'gp', 'n': 1000, 'lr': {'uniform': [0.1, 1]}}}}});"
        "print(sorted({'torch', 'pandas', 'optuna', 'scipy', 'numpy', 'cmaes'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "scripts", capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
