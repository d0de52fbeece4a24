"""The sweep language and a setting's identity."""

import json
import random
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dlsweep.hyperparameters import HYPERPARAMETERS, ConfigError, check_setting, setting_hash
from dlsweep.sweep import expand_config, load_sweep, twins

# Pinned for ever: a change here would orphan every record that anybody has.
GOLDEN = [
    ({}, "bf21a9e8fbc5a3846fb05b4fa0859e0917b2202f"),
    ({"lr": 0.1}, "edf980217e9ac3ed4bf9b2ba90101f0f18c3f5ae"),
    ({"optimizer": "adam", "lr": "1e-3", "momentum": 0.5}, "b8aa2563c8246ee687f6381072affe2f5f4164fd"),
    (
        {"model": "cnn", "batch_norm": True, "batch_size": "full", "train_size": 500},
        "ae9afbc9ef2a40db2b15b88a5e52f6fc20205600",
    ),
    (
        {"dataset": "cifar10", "model": "resnet20", "lr_schedule": "multistep", "lr_milestones": [1, 2], "seed": 7},
        "2b5ae90009d7c232624531204c9134c33c28d2b2",
    ),
]


def settings_of(experiment: dict, **config) -> list[dict]:
    sweep = expand_config({"experiments": {"exp": experiment}, **config})
    return list(sweep.experiments["exp"].settings.values())


def values_of(experiment: dict, *keys: str) -> list[tuple]:
    return [tuple(setting.get(key) for key in keys) for setting in settings_of(experiment)]


def test_grid_is_the_cross_product_in_order():
    grid = {"n_layer": [1, 2], "hid_dim": [8, 16, 32]}
    assert values_of({"grid": grid}, "n_layer", "hid_dim") == [(1, 8), (1, 16), (1, 32), (2, 8), (2, 16), (2, 32)]


def test_zip_advances_together():
    assert values_of({"zip": {"n_layer": [1, 2], "hid_dim": [64, 32]}}, "n_layer", "hid_dim") == [(1, 64), (2, 32)]


def test_settings_combine_with_grid_and_seeds():
    found = values_of({"settings": [{}, {"dropout": 0.5}], "grid": {"lr": [0.1]}, "seeds": 2}, "dropout", "lr", "seed")
    assert sorted(found) == [(0.0, 0.1, 0), (0.0, 0.1, 1), (0.5, 0.1, 0), (0.5, 0.1, 1)]


def test_a_value_that_does_not_apply_is_neither_swept_nor_hashed():
    grid = {"optimizer": ["sgd", "adam"], "momentum": [0.0, 0.5, 0.9]}
    assert values_of({"grid": grid}, "optimizer", "momentum") == [
        ("sgd", 0.0),
        ("sgd", 0.5),
        ("sgd", 0.9),
        ("adam", None),
    ]


def test_exclude_compares():
    experiment = {
        "grid": {"lr": [0.01, 0.1, 1], "optimizer": ["sgd", "adam"]},
        "exclude": {"lr": ">0.1", "optimizer": "adam"},
    }
    assert (1.0, "adam") not in values_of(experiment, "lr", "optimizer")
    assert len(settings_of(experiment)) == 5


def test_when_sets_values_for_settings_that_match():
    experiment = {
        "grid": {"optimizer": ["sgd", "adam"]},
        "when": [{"if": {"optimizer": "sgd"}, "set": {"momentum": [0.0, 0.9], "lr": 0.1}}],
    }
    assert values_of(experiment, "optimizer", "momentum", "lr") == [
        ("sgd", 0.0, 0.1),
        ("sgd", 0.9, 0.1),
        ("adam", None, 0.001),
    ]


def test_extends_changes_some_keys():
    config = {
        "a": {"epochs": 3, "grid": {"lr": [0.1, 0.2], "n_layer": [1]}},
        "b": {"extends": "a", "grid": {"n_layer": [2]}},
    }
    settings = expand_config({"experiments": config}).experiments["b"].settings.values()
    assert [(s["epochs"], s["lr"], s["n_layer"]) for s in settings] == [(3, 0.1, 2), (3, 0.2, 2)]


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        ({"range": [1, 3]}, [1, 2, 3]),
        ({"range": [1, 7, 3]}, [1, 4, 7]),
        ([1, {"range": [5, 6]}], [1, 5, 6]),
        ({"linspace": [1, 9, 3]}, [1, 5, 9]),
    ],
)
def test_ranges_of_integers(axis, values):
    assert [s["n_layer"] for s in settings_of({"grid": {"n_layer": axis}})] == values


def test_logspace_runs_between_its_ends():
    assert [s["lr"] for s in settings_of({"grid": {"lr": {"logspace": ["1e-4", 1e-1, 4]}}})] == [1e-4, 1e-3, 1e-2, 1e-1]


def test_more_samples_change_no_earlier_one():
    def sample(n):
        space = {
            "lr": {"log_uniform": [1e-4, 1]},
            "hid_dim": {"log_int_uniform": [4, 512]},
            "act": {"choice": ["relu", "tanh"]},
        }
        return list(settings_of({"sample": {"n": n, "seed": 7, **space}}))

    few, many = sample(5), sample(50)
    assert many[:5] == few
    assert len({setting["lr"] for setting in many}) == 50
    assert all(1e-4 <= s["lr"] <= 1 and 4 <= s["hid_dim"] <= 512 for s in many)


def test_one_setting_in_two_experiments_is_trained_once():
    sweep = expand_config({"experiments": {"a": {"lr": 0.1}, "b": {"grid": {"lr": [0.1, 0.2]}}}})
    shared = setting_hash(check_setting({"lr": 0.1}))
    assert twins(sweep, []) == {("b", shared): f"a-{shared}.json"}
    assert twins(sweep, [("b", shared)]) == {}
    assert twins(sweep, [("old", shared)]) == {}


def test_what_varies_leaves_out_what_only_follows():
    grid = {"optimizer": ["sgd", "momentum", "adam"], "lr": [0.01, 0.1]}
    experiment = expand_config({"experiments": {"a": {"grid": grid}}}).experiments["a"]
    assert experiment.varies == {"optimizer": ["sgd", "momentum", "adam"], "lr": [0.01, 0.1]}


# -- identity ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("values", "digest"), GOLDEN)
def test_golden_hashes(values, digest):
    assert setting_hash(check_setting(values)) == digest


values = st.fixed_dictionaries(
    {},
    optional={
        "lr": st.floats(1e-6, 1e3),
        "epochs": st.integers(1, 1000),
        "optimizer": st.sampled_from(["sgd", "adam", "nag", "rmsprop"]),
        "momentum": st.floats(0, 1),
        "batch_norm": st.booleans(),
        "batch_size": st.one_of(st.integers(1, 512), st.just("full")),
        "train_size": st.one_of(st.none(), st.integers(1, 1000)),
    },
)


@given(values, st.randoms(use_true_random=False))
def test_order_defaults_and_spelling_change_no_hash(values, rng: random.Random):
    digest = setting_hash(check_setting(values))
    shuffled = list(values.items())
    rng.shuffle(shuffled)
    assert setting_hash(check_setting(dict(shuffled))) == digest
    complete = check_setting(values)
    assert setting_hash(check_setting(complete)) == digest
    assert setting_hash(check_setting(yaml.safe_load(json.dumps(values)))) == digest
    as_text = {k: repr(v) if type(v) in (int, float) else v for k, v in values.items()}
    assert setting_hash(check_setting(as_text)) == digest
    as_float = {k: float(v) if type(v) is int else v for k, v in values.items()}
    assert setting_hash(check_setting(as_float)) == digest


@given(values, values)
def test_another_setting_has_another_hash(a, b):
    a, b = check_setting(a), check_setting(b)
    assert (setting_hash(a) == setting_hash(b)) == (a == b)


def test_a_new_hyperparameter_changes_no_hash(monkeypatch):
    from dlsweep import hyperparameters

    before = setting_hash(check_setting({"lr": 0.5, "batch_norm": True}))
    new = hyperparameters.Hyperparameter(float, 0.25, "A new one.")
    monkeypatch.setattr(hyperparameters, "HYPERPARAMETERS", {**HYPERPARAMETERS, "new": new})
    monkeypatch.setattr(hyperparameters, "_defaults_of", {})
    assert "new" in check_setting({"lr": 0.5})
    assert setting_hash(check_setting({"lr": 0.5, "batch_norm": True})) == before
    assert setting_hash(check_setting({"lr": 0.5, "batch_norm": True, "new": 0.5})) != before


@given(values)
def test_growing_a_grid_keeps_the_hashes_it_had(values):
    def hashes(lrs):
        grid = {"lr": lrs}
        return set(expand_config({"experiments": {"x": {**values, "grid": grid}}}).experiments["x"].settings)

    values.pop("lr", None)
    assert hashes([0.1, 0.2]) < hashes([0.3, 0.2, 0.1])


# -- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("experiments: {a: {lrr: 1}}", ["experiments.a.lrr", "'lr'"]),
        ("experiment: {}", ["experiment", "'experiments'"]),
        ("experiments: {a: {lr: -1}}", ["experiments.a.lr", "-1", "> 0"]),
        ("experiments: {a: {epochs: 1.5}}", ["experiments.a.epochs", "1.5", "integer"]),
        ("experiments: {a: {grid: {lr: []}}}", ["experiments.a.grid.lr", "empty"]),
        ("experiments: {a: {grid: {}}}", ["experiments.a.grid", "empty"]),
        ("experiments: {a: {grid: {lr: 1}}}", ["experiments.a.grid.lr", "list"]),
        ("experiments: {a: {lr: [1, 2]}}", ["experiments.a.lr", "grid"]),
        ("experiments: {a: {model: mpl}}", ["experiments.a.model", "mpl", "'mlp'"]),
        ("experiments: {a: {dataset: digit}}", ["experiments.a.dataset", "'digits'"]),
        ("defaults: {batch_norm: yess}\nexperiments: {a: {}}", ["defaults.batch_norm", "yess", "true or false"]),
        ("experiments: {a: {}, a: {}}", ["line 1", "'a' stands twice"]),
        ("experiments: {a: {}, A: {}}", ["experiments.A", "upper and lower case"]),
        ("experiments: {'../a': {}}", ["../a", "safe file name"]),
        ("experiments: {a: {seeds: 0}}", ["experiments.a.seeds", "0"]),
        ("experiments: {a: {zip: {lr: [1, 2], epochs: [1]}}}", ["experiments.a.zip", "equally long"]),
        ("experiments: {a: {exclude: {lr: 0.01}}}", ["experiments.a", "excluded"]),
        ("experiments: {a: {extends: b}, c: {}}", ["experiments.a.extends", '"b"', "allowed: c"]),
        ("experiments: {a: {extends: b}, b: {extends: a}}", ["extends itself"]),
        ("experiments: {a: {grid: {lr: [1]}, zip: {lr: [1]}}}", ["experiments.a.zip", "sets lr", "experiments.a.grid"]),
        ("experiments: {a: {sample: {n: 2, lr: {unifrom: [0, 1]}}}}", ["sample.lr", "'uniform'"]),
        ("experiments: {a: [", ["not YAML", "line 1"]),
        ("experiments: {}", ["at least one"]),
        ("- a", ["must be a mapping"]),
    ],
)
def test_one_clear_message(config: str, words: list[str], tmp_path: Path):
    path = tmp_path / "my.yaml"
    path.write_text(config)
    with pytest.raises(ConfigError) as error:
        load_sweep([path])
    message = str(error.value)
    assert "\n" not in message
    for word in ["my.yaml", *words]:
        assert word in message
