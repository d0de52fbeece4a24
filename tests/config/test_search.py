"""`search` in a config: its points, its options, and what a mistake is answered with."""

import itertools
from typing import Any

import numpy as np
import pytest
from scipy.stats import qmc

from dlsweep.config.quasi_random import points, radical_inverse
from dlsweep.config.sweep import expand_config
from dlsweep.errors import ConfigError

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
