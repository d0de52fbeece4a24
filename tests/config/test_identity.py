"""What changes a setting's hash, and what never may. See docs/explanation/identity.md."""

import hashlib
import json
import random

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dlsweep import errors
from dlsweep.config import hyperparameters, identity
from dlsweep.config.hyperparameters import HYPERPARAMETERS
from dlsweep.config.identity import check_setting, default, setting_hash
from dlsweep.config.registry import REGISTRIES
from dlsweep.config.sweep import expand_config

# Pinned for ever, each with the text that is hashed: a change here would orphan every record that anybody has.
GOLDEN = [
    ({}, "{}", "bf21a9e8fbc5a3846fb05b4fa0859e0917b2202f"),
    ({"lr": 0.1}, '{"lr":0.1}', "edf980217e9ac3ed4bf9b2ba90101f0f18c3f5ae"),
    ({"seed": 3, "epochs": 1}, '{"epochs":1,"seed":3}', "b3786424d22c8859612bedff566e6709ddbd87ab"),
    (
        {"optimizer": "adam", "lr": "1e-3", "momentum": 0.5},
        '{"optimizer":"adam"}',
        "b8aa2563c8246ee687f6381072affe2f5f4164fd",
    ),
    (
        {"model": "cnn", "batch_norm": True, "batch_size": "full", "train_size": 500},
        '{"batch_norm":true,"batch_size":"full","model":"cnn","train_size":500.0}',
        "ae9afbc9ef2a40db2b15b88a5e52f6fc20205600",
    ),
    (
        {"dataset": "cifar10", "model": "resnet20", "lr_schedule": "multistep", "lr_milestones": [1, 2], "seed": 7},
        '{"dataset":"cifar10","lr_milestones":[1,2],"lr_schedule":"multistep","model":"resnet20","seed":7}',
        "2b5ae90009d7c232624531204c9134c33c28d2b2",
    ),
    (
        {"model": "mine:Net", "model_args": {"width": 64, "names": ["ä"]}},
        '{"model":"mine:Net","model_args":{"names":["ä"],"width":64}}',
        "1d4d4442ab70a841a5d855095ebbd9a9f2c617b5",
    ),
    (
        {"act": "tanh", "init": "xavier_normal", "bias_init": 0.01, "dropout": 0.5, "weight_decay": 1e-5},
        '{"act":"tanh","bias_init":0.01,"dropout":0.5,"init":"xavier_normal","weight_decay":1e-05}',
        "1d9dd819dcda6dfb868d51f48688a8913e3bcb18",
    ),
    (
        {"optimizer": "nag", "momentum": 0.8, "lr_schedule": "one_cycle", "warmup_epochs": 2, "precision": "bf16"},
        '{"lr_schedule":"one_cycle","momentum":0.8,"optimizer":"nag","precision":"bf16","warmup_epochs":2}',
        "e9c153f9925335b46cdaff86da5d322faa4be70c",
    ),
]

# Pinned for ever: keys at their default are not hashed, so a changed default would give old records a new meaning.
# A new hyper-parameter is added here once its default, which keeps the old behaviour, is settled.
DEFAULTS = {
    **{"dataset": "digits", "data_path": None, "image_size": 32, "train_size": None, "val_size": 0.2},
    **{"test_size": 0.2, "split_seed": 0, "random_crop": 0, "horizontal_flip": False, "cutout": 0},
    **{"resized_crop": 0.0},
    **{"model": "mlp", "model_args": {}, "n_layer": 3, "hid_dim": 100, "n_block": 3, "n_conv": 2, "channels": 32},
    **{"kernel_size": 3, "pooling": "max", "shortcut": True, "act": "relu", "init": "default", "bias_init": None},
    **{"dropout": 0.0, "batch_norm": False, "batch_norm_position": "before", "optimizer": "sgd", "lr": 0.01},
    **{"momentum": 0.0, "alpha": 0.99, "rho": 0.9, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0},
    **{"l1": 0.0, "label_smoothing": 0.0, "grad_clip": None, "lr_schedule": "constant", "lr_step": 10},
    **{"lr_gamma": 0.1, "lr_milestones": [], "warmup_epochs": 0, "epochs": 20, "batch_size": 64, "seed": 0},
    **{
        "precision": "fp32",
        "channels_last": False,
        "compile": False,
        "patience": None,
        "monitor": "val_loss",
        "test_weights": "last",
    },
    "log_gradients": False,
    **{"loss": "cross_entropy", "normalise_targets": True, "huber_delta": 1.0, "target": None, "series": False},
    **{"n_folds": None, "fold": 0, "init_from": None, "init_last_layer": True},
    **{"dataset_args": {}, "loss_args": {}, "optimizer_args": {}, "lr_schedule_args": {}, "metrics": []},
}
OTHER_DEFAULTS = {
    "model": {
        name: {"init": "kaiming_normal"}
        for name in (
            *("vgg11", "vgg13", "vgg16", "vgg19"),
            *("resnet20", "resnet32", "resnet44", "resnet56", "resnet110"),
        )
    },
    "optimizer": {
        "momentum": {"momentum": 0.9},
        "nag": {"momentum": 0.9},
        "adagrad": {"eps": 1e-10},
        "adadelta": {"lr": 1.0, "eps": 1e-6},
        "adam": {"lr": 0.001},
        "adamw": {"lr": 0.001, "weight_decay": 0.01},
    },
    "lr_schedule": {"exponential": {"lr_gamma": 0.95}},
}


def digest_of(values: dict) -> str:
    return setting_hash(check_setting(values))


@pytest.mark.parametrize(("values", "text", "digest"), GOLDEN)
def test_golden_hashes(values, text, digest):
    assert digest_of(values) == digest == hashlib.sha1(text.encode()).hexdigest()


def test_no_default_has_changed():
    assert {key: HYPERPARAMETERS[key].default for key in DEFAULTS} == DEFAULTS
    for kind, choices in OTHER_DEFAULTS.items():
        for name in REGISTRIES[kind]:
            expected = {**DEFAULTS, kind: name, **choices.get(name, {})}
            found = {key: default(key, {kind: name}) for key in DEFAULTS if key != kind}
            assert found == {key: value for key, value in expected.items() if key != kind}, name


# -- what cannot change a hash -------------------------------------------------------------------------------------

POSITIVE = st.floats(1e-6, 1e3)
values = st.fixed_dictionaries(
    {},
    optional={
        "lr": POSITIVE,
        "weight_decay": st.floats(0, 1),
        "epochs": st.integers(1, 1000),
        "seed": st.integers(0, 2**32 - 1),
        "model": st.sampled_from(["mlp", "cnn", "resnet20", "mine:Net"]),
        "n_layer": st.integers(1, 9),
        "dropout": st.floats(0, 0.9),
        "optimizer": st.sampled_from(list(REGISTRIES["optimizer"])),
        "momentum": st.floats(0, 1),
        "lr_schedule": st.sampled_from(["constant", "step", "multistep"]),
        "lr_milestones": st.lists(st.integers(1, 99), unique=True).map(sorted),
        "batch_norm": st.booleans(),
        "batch_size": st.one_of(st.integers(1, 512), st.just("full")),
        "train_size": st.one_of(st.none(), st.integers(1, 1000)),
    },
)
every = settings(max_examples=60, deadline=None)


@every
@given(values, st.randoms(use_true_random=False))
def test_the_order_of_keys(values, rng: random.Random):
    shuffled = list(values.items())
    rng.shuffle(shuffled)
    assert digest_of(dict(shuffled)) == digest_of(values)


@every
@given(values, st.sampled_from([None, False, True]), st.sampled_from([None, '"', "'"]), st.booleans())
def test_the_spelling_in_yaml(values, flow, quotes, sort):
    text = yaml.safe_dump(values, default_flow_style=flow, default_style=quotes, sort_keys=sort)
    assert digest_of(yaml.safe_load("# a comment\n" + text)) == digest_of(values)


@every
@given(values)
def test_the_spelling_of_numbers(values):
    def is_number(value) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool)

    digest = digest_of(values)
    for spell in (repr, "{:.17e}".format, "{!r}".format, lambda n: f" +{n!r} ", float):
        assert digest_of({k: spell(v) if is_number(v) else v for k, v in values.items()}) == digest
    whole = {k: int(v) if isinstance(v, float) and v == int(v) else v for k, v in values.items()}
    assert digest_of(whole) == digest


@every
@given(values)
def test_a_default_written_out_or_left_out(values):
    complete = check_setting(values)
    assert digest_of(complete) == digest_of(values)
    assert digest_of({k: v for k, v in complete.items() if k in values}) == digest_of(values)


@every
@given(values, POSITIVE, st.integers(1, 9))
def test_a_key_that_does_not_apply(values, number, whole):
    values = {**values, "model": "cnn", "optimizer": "adam", "lr_schedule": "constant"}
    other = {"rho": min(number, 1.0), "n_layer": whole, "lr_step": whole, "image_size": whole, "model_args": {"a": 1}}
    assert digest_of({**values, **other}) == digest_of(values)


@every
@given(values, POSITIVE)
def test_a_new_hyperparameter(values, number):
    """With a default, that is, which keeps the old behaviour."""
    before = digest_of(values)
    new = hyperparameters.Hyperparameter(float, 0.25, "A new one.", low=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(HYPERPARAMETERS, "new", new)
        patch.setattr(identity, "_defaults_of", {})
        assert check_setting(values)["new"] == 0.25
        assert digest_of(values) == before == digest_of({**values, "new": "25e-2"})
        assert (digest_of({**values, "new": number}) == before) == (number == 0.25)


lists = st.lists(POSITIVE, min_size=1, max_size=5, unique=True)


@every
@given(values, lists, lists)
def test_a_longer_shorter_or_reordered_grid(values, lrs, others):
    def hashes(lrs: list[float]) -> set[str]:
        spec = {key: value for key, value in values.items() if key != "lr"}
        return set(expand_config({"experiments": {"x": {**spec, "grid": {"lr": lrs}}}}).experiments["x"].settings)

    assert hashes(lrs) | hashes(others) == hashes([*reversed(others), *lrs])


@every
@given(values)
def test_the_experiment_and_the_construct_that_name_it(values):
    """An experiment renamed, a value moved to the defaults, to a grid or to a list of settings."""
    configs = [
        {"experiments": {"a": values}},
        {"name": "other", "experiments": {"renamed": {**values, "figures": []}}},
        {"defaults": values, "experiments": {"a": {}}},
        {"experiments": {"a": {"grid": {key: [value] for key, value in values.items()}}} if values else {"a": {}}},
        {"experiments": {"a": {"settings": [values]}}},
        {"experiments": {"a": {"when": {"if": {"precision": "fp32"}, "set": values}}} if values else {"a": {}}},
    ]
    found = {digest for config in configs for _, digest, _ in expand_config(config).records()}
    assert found == {digest_of(values)}


# -- what changes a hash -------------------------------------------------------------------------------------------


@every
@given(values, values)
def test_another_setting(a, b):
    a, b = check_setting(a), check_setting(b)
    assert (setting_hash(a) == setting_hash(b)) == (a == b)


@pytest.mark.parametrize("key", HYPERPARAMETERS)
def test_another_value_of_any_hyperparameter(key: str):
    """Where it applies, every value that is not the default has a hash of its own."""
    base = {kind: name for kind, names in REGISTRIES.items() for name in names if key in names[name].uses}
    if key.endswith("_args"):
        base[key.removesuffix("_args")] = "mine:Net"
    if base.get("dataset") in ("npz", "image_folder", "csv", "parquet"):
        base["data_path"] = "my/data"
    if base.get("dataset") in ("csv", "parquet"):
        base["target"] = "y"
    needed = HYPERPARAMETERS[key].needs
    if needed:
        base[needed] = {bool: True, str: "a.safetensors"}.get(HYPERPARAMETERS[needed].type, 9)
    candidates = (0.125, 3, 4, True, False, [3], {"a": 1}, "some/path", "a.safetensors", ["m:f"])
    candidates += HYPERPARAMETERS[key].choices
    found = {digest_of(base): check_setting(base)}
    for value in candidates:
        try:
            setting = check_setting({**base, key: value})
        except errors.ConfigError:
            continue
        assert found.setdefault(setting_hash(setting), setting) == setting
    assert len({json.dumps(setting[key]) for setting in found.values()}) == len(found) > 1


def test_canonical_json_is_what_json_says():
    """No space, sorted keys, the shortest text of a float: any language can find a record's name."""
    setting = check_setting({"lr": 0.30000000000000004, "hid_dim": 7})
    text = json.dumps({"hid_dim": 7, "lr": 0.30000000000000004}).replace(" ", "")
    assert setting_hash(setting) == hashlib.sha1(text.encode()).hexdigest()
