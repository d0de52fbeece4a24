"""The sweep language: the examples of docs/reference/sweeps.md, its corners, and what a mistake is answered with."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jsonschema
import pytest
import yaml

from conftest import ROOT, SMALL, Project
from dlsweep.config.files import plain_value, where_stated
from dlsweep.config.identity import check_setting, setting_hash
from dlsweep.config.jobs import twins
from dlsweep.config.sweep import expand_config, load_sweep
from dlsweep.errors import ConfigError

EXAMPLES = re.findall(
    r"```yaml\n(.*?)```\n```text\n(.*?)```", (ROOT / "docs/reference/sweeps.md").read_text(), re.DOTALL
)


def settings_of(experiment: dict, **config) -> list[dict]:
    sweep = expand_config({"experiments": {"exp": experiment}, **config})
    return list(sweep.experiments["exp"].settings.values())


def values_of(experiment: dict, *keys: str) -> list[tuple]:
    return [tuple(setting.get(key) for key in keys) for setting in settings_of(experiment)]


# -- the examples of docs/reference/sweeps.md -----------------------------------------------------------------


def listed_record(line: str) -> str:
    """The record's name of one line of an example's listing: `grid: lr=0.1 n_layer=1`."""
    exp_name, _, words = line.partition(":")
    values = {key: yaml.safe_load(value) for key, value in (word.split("=") for word in words.split())}
    return f"{exp_name}-{setting_hash(check_setting(values))}.json"


def planned_records(project: Project, *arguments: str) -> list[str]:
    done = project.snakemake("-n", *arguments, "--workflow-profile", "none")  # the profile's logger names no file
    assert done.returncode == 0, done.stderr
    return sorted(re.findall(r"output: results/(\S+-[0-9a-f]{40}\.json)", done.stdout + done.stderr))


def test_every_example_of_the_docs_fits_the_schema():
    schema = json.loads((ROOT / "schemas" / "config.schema.json").read_text())
    assert len(EXAMPLES) >= 12
    for config, _ in EXAMPLES:
        jsonschema.validate(yaml.safe_load(config), schema)


def test_snakemake_plans_what_the_docs_list(project: Project):
    """All examples in one dry run, and through it every construct of the language."""
    experiments, listing = {}, []
    for text, lines in EXAMPLES:
        config = yaml.safe_load(text)
        for exp_name, spec in config["experiments"].items():
            assert exp_name not in experiments
            experiments[exp_name] = {**config.get("defaults", {}), "figures": [], **spec}
        listing += lines.splitlines()
    project.configure({"experiments": experiments})
    assert planned_records(project) == sorted(listed_record(line) for line in listing)


def test_the_command_line_changes_the_config_and_chooses_an_experiment(project: Project):
    project.configure({"experiments": {"one": {"lr": 0.5}}})
    project.configure(
        {"experiments": {"one": {"lr": 0.5}, "two": {"grid": {"lr": [0.1, 0.2]}, "seeds": 3}}}, "examples/other.yaml"
    )
    other = ("--configfile", "examples/other.yaml")
    assert planned_records(project, "one") == [listed_record("one: lr=0.5")]
    overrides = (
        "--config",
        "defaults={epochs: 1, batch_norm: true, grad_clip: null}",
        "experiments={two: {grid: {lr: [1e-3, 0.3]}, seeds: 1}}",
    )
    assert planned_records(project, "two", *other, *overrides) == sorted(
        [
            listed_record("two: lr=0.001 epochs=1 batch_norm=true"),
            listed_record("two: lr=0.3 epochs=1 batch_norm=true"),
        ]
    )


@pytest.mark.parametrize(
    ("snakemakes", "meant"),
    [
        ({"epochs": "1", "lr": "1e-3"}, {"epochs": 1, "lr": 0.001}),
        (
            {"batch_norm": "true", "grad_clip": "null", "x": ["no", "010"]},
            {"batch_norm": True, "grad_clip": None, "x": ["no", 10]},
        ),
        ({"exclude": {"lr": ">0.1"}, "act": "relu"}, {"exclude": {"lr": ">0.1"}, "act": "relu"}),
        (3, 3),
    ],
)
def test_a_value_of_the_command_line_means_what_it_means_in_a_file(snakemakes, meant):
    """Snakemake hands over every scalar inside a mapping as text."""
    assert plain_value(snakemakes) == meant


# -- corners -------------------------------------------------------------------------------------------------------


def test_constructs_combine_to_their_cross_product():
    found = values_of(
        {
            "settings": [{}, {"dropout": 0.5}],
            "zip": {"n_layer": [1, 2], "hid_dim": [64, 32]},
            "grid": {"lr": [0.1, 0.2]},
            "seeds": 2,
        },
        *("dropout", "n_layer", "hid_dim", "lr", "seed"),
    )
    assert len(found) == len(set(found)) == 16
    assert {(n_layer, hid_dim) for _, n_layer, hid_dim, _, _ in found} == {(1, 64), (2, 32)}


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        ({"range": [1, 3]}, [1, 2, 3]),
        ({"range": [7, 1, -3]}, [7, 4, 1]),
        ({"range": [1, 8, 3]}, [1, 4, 7]),
        ([1, {"range": [5, 6]}, [8, [9]]], [1, 5, 6, 8, 9]),
        ({"linspace": [1, 9, 3]}, [1, 5, 9]),
        ({"logspace": [8, 512, 5]}, [8, 23, 64, 181, 512]),
        ({"logspace": [8, 512, 1]}, [8]),
    ],
)
def test_ranges_of_whole_numbers(axis, values):
    assert [s["n_layer"] for s in settings_of({"grid": {"n_layer": axis}})] == values


def test_ranges_of_numbers_have_no_last_bit_errors():
    assert [s["lr"] for s in settings_of({"grid": {"lr": {"range": ["0.1", 0.5, "1e-1"]}}})] == [
        0.1,
        0.2,
        0.3,
        0.4,
        0.5,
    ]
    assert [s["lr"] for s in settings_of({"grid": {"lr": {"logspace": ["1e-4", 1e-1, 4]}}})] == [1e-4, 1e-3, 1e-2, 1e-1]


def test_a_value_may_be_a_list_or_a_mapping():
    assert values_of({"lr_schedule": "multistep", "grid": {"lr_milestones": [[5], [5, 8]]}}, "lr_milestones") == [
        ([5],),
        ([5, 8],),
    ]
    grid = {"model_args": [{"range": [1]}, {}]}
    assert values_of({"model": "mine:Net", "grid": grid}, "model_args") == [({"range": [1]},), ({},)]


def test_samples_stay_within_their_ends_and_as_they_are():
    space = {
        "lr": {"log_uniform": [1e-4, 1]},
        "dropout": {"uniform": [0, 0.5]},
        "n_layer": {"int_uniform": [1, 3]},
        "hid_dim": {"log_int_uniform": [8, 9]},
        "act": {"choice": ["relu", "tanh"]},
    }

    def sample(n: int, **more) -> list[dict]:
        return settings_of({"sample": {"n": n, "seed": 7, **space, **more}})

    few, many = sample(5), sample(300)
    assert many[:5] == few
    assert len({setting["lr"] for setting in many}) == 300
    assert all(1e-4 <= s["lr"] <= 1 and 0 <= s["dropout"] <= 0.5 for s in many)
    assert {s["n_layer"] for s in many} == {1, 2, 3}
    assert {s["hid_dim"] for s in many} == {8, 9}
    assert {s["act"] for s in many} == {"relu", "tanh"}
    below = sum(setting["lr"] < 1e-2 for setting in many)
    assert 120 < below < 180  # half of the logarithm's range
    with_more = sample(5, batch_size={"choice": [32, 64]})
    assert [{**setting, "batch_size": 64} for setting in with_more] == few
    assert sample(5, seed=8) != few


def test_a_condition_on_what_does_not_apply_matches_nothing():
    grid = {"optimizer": ["sgd", "adam"]}
    assert values_of({"grid": grid, "exclude": {"momentum": "!=0.9"}}, "optimizer") == [("adam",)]
    grid = {"batch_size": [16, "full"], "train_size": [None, 100]}
    kept = values_of({"grid": grid, "exclude": [{"batch_size": ">8"}]}, "batch_size", "train_size")
    assert kept == [("full", None), ("full", 100.0)]
    kept = values_of({"grid": grid, "exclude": [{"train_size": "!=null"}]}, "batch_size", "train_size")
    assert kept == [(16, None), ("full", None)]


def test_rules_of_when_see_what_earlier_ones_set():
    rules = [
        {"if": {"n_layer": ">2"}, "set": {"optimizer": "adam", "act": "tanh"}},
        {"if": {"optimizer": "adam"}, "set": {"lr": {"range": [0.1, 0.2, 0.1]}}},
    ]
    found = values_of({"grid": {"n_layer": [1, 3]}, "when": rules}, "n_layer", "optimizer", "act", "lr")
    assert found == [(1, "sgd", "relu", 0.01), (3, "adam", "tanh", 0.1), (3, "adam", "tanh", 0.2)]


@pytest.mark.parametrize(
    ("child", "expected"),
    [
        ({"lr": 0.5}, [(0.5, 1, 1), (0.5, 2, 1)]),
        ({"grid": {"lr": [0.7]}}, [(0.7, 1, 1), (0.7, 2, 1)]),
        ({"zip": {"lr": [0.5, 0.6], "seed": [8, 9]}}, [(0.5, 1, 8), (0.6, 2, 9)]),
        ({"zip": None}, [(0.1, 3, 0), (0.2, 3, 0)]),
        ({"settings": [{"lr": 0.5, "n_layer": 4}]}, [(0.5, 4, 1)]),
        ({"n_layer": 4, "seeds": [5]}, [(0.1, 4, 5), (0.2, 4, 5)]),
        ({"sample": {"n": 1, "lr": {"choice": [0.3]}}}, [(0.3, 1, 1), (0.3, 2, 1)]),
    ],
)
def test_a_childs_key_replaces_its_parents_in_whichever_construct(child, expected):
    parent = {"grid": {"lr": [0.1, 0.2]}, "zip": {"n_layer": [1, 2], "seed": [1, 1]}}
    config = {"experiments": {"p": parent, "c": {"extends": "p", **child}}}
    settings = expand_config(config).experiments["c"].settings.values()
    assert [(s["lr"], s["n_layer"], s["seed"]) for s in settings] == expected


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


# -- bad input -----------------------------------------------------------------------------------------------------

MISTAKES = {
    "unknown key": ("experiments:\n  a: {lrr: 1}", ["line 2", "experiments.a.lrr", "'lr'", "grid"]),
    "wrong type": ("experiments: {a: {epochs: 1.5}}", ["experiments.a.epochs", "1.5", "an integer >= 1"]),
    "out of range": ("experiments: {a: {grid: {lr: [0.1, -1]}}}", ["experiments.a.grid.lr", "-1", "a number > 0"]),
    "empty grid": ("experiments: {a: {grid: {}}}", ["experiments.a.grid", "empty"]),
    "misspelt model": ("defaults: {model: mpl}\nexperiments: {a: }", ["defaults.model", '"mpl"', "resnet20", "'mlp'"]),
    "misspelt data": ("experiments: {a: {dataset: digit}}", ["experiments.a.dataset", "cifar10", "'digits'"]),
    "not YAML": ("experiments:\n  a: [", ["not valid YAML", "line 2"]),
    "not UTF-8": (b"experiments:\n  a: {data_path: \xe4}", ["line 2", "UTF-8"]),
    "no date": ("experiments: {2024-13-45: {lr: -1}}", []),  # Snakemake reads --configfile as YAML 1.1, and refuses it
    "one name twice": ("experiments:\n  a: {}\n  a: {}", ["line 3", "'a' appears twice, first in line 2"]),
    "unsafe name": ("experiments: {'../a': {}}", ["experiments.../a", "safe file name", "A-Z a-z 0-9"]),
    "a rule's name": ("experiments: {train: {}}", ["experiments.train", "name of a rule"]),
}


@pytest.mark.parametrize("name", sorted(MISTAKES.keys() - {"a rule's name"}))  # which Snakemake alone knows
def test_a_mistake_is_answered_with_one_message(tmp_path: Path, name: str):
    config, words = MISTAKES[name]
    path = tmp_path / "config.yaml"
    path.write_bytes(config if isinstance(config, bytes) else config.encode())
    with pytest.raises(ConfigError) as error:
        load_sweep([path])
    message = str(error.value)
    assert message.startswith(str(path)) and "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("how", ["config.yaml", "--configfile"])
def test_snakemake_stops_with_one_message_before_it_makes_anything(tmp_path: Path, how: str):
    def attempt(name: str) -> None:
        config, words = MISTAKES[name]
        folder = tmp_path / name.replace(" ", "_")
        folder.mkdir()
        project = Project(folder)
        file = project.folder / ("config.yaml" if how == "config.yaml" else "mine.yaml")
        file.write_bytes(config if isinstance(config, bytes) else config.encode())
        before = sorted(project.folder.rglob("*"))
        done = project.snakemake(*(() if how == "config.yaml" else ("--configfile", "mine.yaml")))
        text = done.stdout + done.stderr
        assert done.returncode != 0, name
        assert "Traceback" not in text and 'File "' not in text, text
        after = [path for path in sorted(project.folder.rglob("*")) if ".snakemake" not in path.parts]
        assert after == before, name
        message = next(line for line in text.splitlines() if line.startswith("error: "))
        for word in [how if how == "config.yaml" else "mine.yaml", *words]:
            assert word in message, (name, message)

    names = ["not UTF-8", "a rule's name"] if how == "config.yaml" else ["unknown key", "not YAML", "no date"]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(attempt, names))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("experiment: {}", ["experiment", "'experiments'"]),
        ("experiments: {a: {grid: {lr: []}}}", ["experiments.a.grid.lr", "empty"]),
        ("experiments: {a: {grid: {lr: 1}}}", ["experiments.a.grid.lr", "list"]),
        ("experiments: {a: {grid: {lrr: [1]}}}", ["experiments.a.grid.lrr", "'lr'"]),
        ("experiments: {a: {grid: [1]}}", ["experiments.a.grid", "mapping", "[1]"]),
        ("experiments: {a: {lr: [1, 2]}}", ["experiments.a.lr", "grid"]),
        ("experiments: {a: {lr: {range: [1, 2]}}}", ["experiments.a.lr", "grid"]),
        ("experiments: {a: {lr: .nan}}", ["experiments.a.lr", "NaN"]),
        ("experiments: {a: {lr: true}}", ["experiments.a.lr", "true"]),
        ("defaults: {batch_norm: yess}\nexperiments: {a: {}}", ["defaults.batch_norm", "yess", "true or false"]),
        ("experiments: {a: {}, A: {}}", ["experiments.A", "upper and lower case"]),
        ("experiments: {a: {question: 3}}", ["experiments.a.question", "3", "text"]),
        ("experiments: {a: {question: ' '}}", ["experiments.a.question", "text of up to 300 characters"]),
        ("experiments: {a: {seeds: 0}}", ["experiments.a.seeds", "0"]),
        ("experiments: {a: {seed: 1, seeds: 2}}", ["experiments.a.seeds", "sets seed", "experiments.a.seed"]),
        ("experiments: {a: {zip: {lr: [1, 2], epochs: [1]}}}", ["experiments.a.zip", "lr has 2, epochs has 1"]),
        ("experiments: {a: {settings: []}}", ["experiments.a.settings", "at least one"]),
        ("experiments: {a: {settings: [{}, {lr: 0}]}}", ["experiments.a.settings[1].lr", "0"]),
        ("experiments: {a: {exclude: {lr: 0.01}}}", ["experiments.a.exclude", "excluded"]),
        ("experiments: {a: {exclude: {lr: '>x'}}}", ["experiments.a.exclude[0].lr", "x", "number"]),
        ("experiments: {a: {exclude: {act: '>relu'}}}", ["experiments.a.exclude[0].act", "numbers", "relu"]),
        ("experiments: {a: {exclude: {lr: '>1 and 2'}}}", ["experiments.a.exclude[0].lr", "'2'", "<="]),
        ("experiments: {a: {exclude: [{}]}}", ["experiments.a.exclude[0]", "every setting"]),
        ("experiments: {a: {when: {if: {lr: 1}}}}", ["experiments.a.when[0]", "if and set"]),
        ("experiments: {a: {when: [{if: {lr: 1}, set: {lr: -1}}]}}", ["experiments.a.when[0].set.lr", "-1"]),
        ("experiments: {a: {extends: b}, c: {}}", ["experiments.a.extends", '"b"', "allowed: c"]),
        ("experiments: {a: {extends: b}, b: {extends: a}}", ["extends itself"]),
        ("experiments: {a: {grid: {lr: [1]}, zip: {lr: [1]}}}", ["experiments.a.zip", "sets lr", "experiments.a.grid"]),
        ("experiments: {a: {lr: 1, grid: {lr: [1]}}}", ["experiments.a.grid", "sets lr", "experiments.a.lr"]),
        ("experiments: {a: {sample: {n: 2, lr: {unifrom: [0, 1]}}}}", ["experiments.a.sample.lr", "'uniform'"]),
        ("experiments: {a: {sample: {n: 2, lr: {uniform: [1, 0]}}}}", ["sample.lr.uniform", "[1, 0]", "low <= high"]),
        ("experiments: {a: {sample: {n: 2, hid_dim: {uniform: [1, 9]}}}}", ["sample.hid_dim.uniform", "int_uniform"]),
        ("experiments: {a: {sample: {n: 0, lr: {uniform: [1, 2]}}}}", ["experiments.a.sample.n", "0"]),
        ("experiments: {a: {sample: {lr: {uniform: [1, 2]}}}}", ["experiments.a.sample.n", "null"]),
        ("experiments: {a: {sample: {n: 2}}}", ["experiments.a.sample", "names no hyper-parameter"]),
        ("experiments: {a: {grid: {lr: {range: [1, 2, 0]}}}}", ["experiments.a.grid.lr.range", "[1, 2, 0]"]),
        ("experiments: {a: {grid: {lr: {logspace: [0, 1, 3]}}}}", ["experiments.a.grid.lr.logspace", "above 0"]),
        ("experiments: {a: {grid: {lr: {lgspace: [1, 2, 3]}}}}", ["experiments.a.grid.lr", "'logspace'"]),
        (
            "experiments: {a: {grid: {n_layer: {range: [1, 1000]}, hid_dim: {range: [1, 1001]}}}}",
            ["1,000,000 settings"],
        ),
        ("experiments: {a: {figures: 3}}", ["experiments.a.figures", "3"]),
        ("experiments: {a.b: {lr: 0}}", ["line 1", "experiments.a.b.lr"]),
        ("name: plan\nexperiments: {a: {}}", ["line 1", "name", "plan"]),
        ("experiments: {}", ["at least one"]),
        ("experiments: {a: {seed: 1:30}}", ["experiments.a.seed", '"1:30"', "an integer"]),
        ("experiments: {a: {seed: 0b11}}", ["experiments.a.seed", '"0b11"', "an integer"]),
        ("experiments: {a: {batch_norm: yes}}", ["experiments.a.batch_norm", '"yes"', "Write true, without quotes"]),
        ("experiments: {a: {batch_norm: Off}}", ["experiments.a.batch_norm", '"Off"', "Write false, without quotes"]),
        ("experiments: {a: {grad_clip: off}}", ["experiments.a.grad_clip", '"off"', "Write null"]),
        ("experiments: {a: {grid: {patience: [None, 3]}}}", ["grid.patience", '"None"', "Write null"]),
        ("experiments: {a: {model_args: {bias: no}}}", ["a.model_args.bias: no ", "allowed: false", '"no" in quotes']),
        ("experiments: {a: {model_args: {x: [1:30]}}}", ["a.model_args.x: 1:30 ", "a number", '"1:30" in quotes']),
        ("experiments: {010: {}, a: {extends: 010}}", ["a.extends: 10 is not", "allowed: 010. Write it in quotes."]),
        ("name: 2024\nexperiments: {a: }", ["line 1: name: 2024 is not", "Write it in quotes."]),
        ("experiments: {a: {dataset: npz, data_path: 2024}}", ["data_path: 2024", "text or null. Write it in quotes."]),
        ("experiments:\n  12:30: {}", ["line 2", "experiments.12:30", "safe file name"]),
        ("experiments: {a: {}, ? [b] : {}}", ["line 1", "a key must be text"]),
        ("experiments: {a: {<<: 3}}", ["line 1", "<< takes a mapping"]),
        ("experiments: {a: {<<: {lr: 1}, <<: {lr: 2}}}", ["line 1", "'<<' appears twice"]),
        ("b: &b\n  lr: -1\nexperiments: {a: {<<: *b}}", ["line 1", "b: unknown key"]),
        ("experiments:\n  b: &b\n    seed: 1\n  a:\n    <<: *b\n    lr: -1", ["line 6", "experiments.a.lr"]),
        ("experiments: {a: {train_size: 1.0}}", ["a.train_size", "1.0 would be one image", "null for all"]),
        ("experiments: {a: {grid: {train_size: {linspace: [0.1, 1, 4]}}}}", ["train_size: 1.0 would be one image"]),
        ("experiments: {a: {grid: {val_size: [0.1, 1e0]}}}", ["val_size: 1.0 would be one image", "below 1"]),
        ("experiments: {a: {model: my_nets.Wide}}", ["a.model", '"my_nets.Wide"', '"my_nets:Wide"']),
        ("experiments: {a: {model: x}}", ["a.model", "resnet20", '"module:Class"']),
        ("experiments: {a: {dataset: npz, data_path: 'd/{x}.npz'}}", ["a.data_path", "d/{x}.npz", "braces"]),
        ("experiments: &e {a: *e}", ["my.yaml"]),
        ("- a", ["must be a mapping"]),
        ("", ["must be a mapping"]),
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


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        *(("early_stop", "patience"), ("early_stopping", "patience"), ("learning_rate", "lr"), ("batch", "batch_size")),
        *(("n_epochs", "epochs"), ("num_epochs", "epochs"), ("optim", "optimizer"), ("l2", "weight_decay")),
        *(("hidden_dim", "hid_dim"), ("hidden_size", "hid_dim"), ("layers", "n_layer"), ("num_layers", "n_layer")),
        *(("activation", "act"), ("random_seed", "seed"), ("scheduler", "lr_schedule")),
    ],
)
def test_the_name_that_other_tools_use_is_known(said: str, meant: str):
    with pytest.raises(ConfigError, match=rf"experiments.exp.{said}: unknown key; .*\. Write '{meant}' instead\.$"):
        settings_of({said: 1})


@pytest.mark.parametrize(
    ("said", "meant"),
    [("momentun", "momentum"), ("epcohs", "epochs"), ("n-layer", "n_layer"), ("Dropout", "dropout"), ("lrr", "lr")],
)
def test_a_near_name_is_proposed(said: str, meant: str):
    with pytest.raises(ConfigError, match=rf"Did you mean '{meant}'\?$"):
        settings_of({said: 1})


@pytest.mark.parametrize("said", ["name", "augment", "workers", "root", "notes"])
def test_nonsense_is_not_proposed(said: str):
    with pytest.raises(ConfigError, match=r"unknown key; allowed: [^?']*$"):
        settings_of({said: 1})


def test_what_is_written_is_what_is_meant(tmp_path: Path):
    """YAML 1.1 takes 010 for 8, 1:30 for 90, no for false and 1e-3 for text."""
    (tmp_path / "config.yaml").write_text(
        """
experiments:
  no: {grid: {batch_size: [008, 016, 032]}, seeds: 010}
  010: {model: "own:Net", model_args: {lr: 1e-3, octal: 0o10, day: 2024-01-01, many: 1_000, is: "no", on: true}}
  null: {hid_dim: 1_000, lr: 1e-3, seeds: [007, 0x10]}
  1e3: {dataset: npz, data_path: 2024-13-45}
"""
    )
    sweep = load_sweep([tmp_path / "config.yaml"])
    assert list(sweep.experiments) == ["no", "010", "null", "1e3"]
    no, octal, null, number = ([*experiment.settings.values()] for experiment in sweep.experiments.values())
    assert {s["batch_size"] for s in no} == {8, 16, 32} and len({s["seed"] for s in no}) == 10
    args = octal[0]["model_args"]
    assert args == {"lr": 0.001, "octal": 8, "day": "2024-01-01", "many": 1000, "is": "no", "on": True}
    assert [(s["hid_dim"], s["lr"], s["seed"]) for s in null] == [(1000, 0.001, 7), (1000, 0.001, 16)]
    assert number[0]["data_path"] == "2024-13-45"


def test_merge_keys(tmp_path: Path):
    (tmp_path / "config.yaml").write_text(
        """
experiments:
  a: &a {lr: 0.1, seed: 3}
  b: &b {lr: 0.3, act: tanh}
  c: {<<: *a, lr: 0.2}
  d: {<<: [*a, *b]}
"""
    )
    found = load_sweep([tmp_path / "config.yaml"]).experiments
    settings = {name: next(iter(experiment.settings.values())) for name, experiment in found.items()}
    assert (settings["c"]["lr"], settings["c"]["seed"]) == (0.2, 3)
    assert (settings["d"]["lr"], settings["d"]["seed"], settings["d"]["act"]) == (0.1, 3, "tanh")
    where = {
        key: where_stated(f"experiments.{key}", [tmp_path / "config.yaml"], {}) for key in ("c.lr", "c.seed", "d.act")
    }
    assert [place.rpartition(" ")[2] for place in where.values()] == ["5", "3", "4"]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        *(("config.yaml", ""), ("my sweep.yaml", "my_sweep"), ("bär.yaml", "b_r")),
        *(
            ("_draft.yaml", "draft"),
            ("ä b.yaml", "a_b"),
            *((f"{name}.yaml", f"{name}_sweep") for name in ("data", "files", "predictions", "search", "weights")),
            (".figures.yaml", "figures_sweep"),
        ),
        *(("数据.yaml", "sweep-54b8a90b"), ("x" * 101 + ".yaml", "sweep-4dda8f24")),
    ],
)
def test_a_file_may_have_any_name(tmp_path: Path, file: str, name: str):
    (tmp_path / file).write_text("experiments: {a: {}}")
    assert load_sweep([tmp_path / file]).name == name


def test_a_target_after_configfile_is_told_apart_from_a_file(project: Project):
    project.configure(SMALL, "mine.yaml")
    done = project.snakemake("-n", "--configfile", "mine.yaml", "small")
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "error: small: there is no such config file. If it is a target, write -- before it" in done.stderr
    assert project.planned("--configfile", "mine.yaml", "--", "small")["train"] == 4


def test_results_that_is_a_file_is_one_message(project: Project):
    (project.folder / "results").write_text("")
    for done in (project.snakemake("-n"), project.run("python", "scripts/sweep.py", "show")):
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert [line for line in done.stderr.splitlines() if line.startswith("error: results: is not a folder")]


def test_a_class_folder_with_braces_is_one_message(project: Project):
    (project.folder / "images/{cat}").mkdir(parents=True)
    project.configure({"experiments": {"a": {"dataset": "image_folder", "data_path": "images"}}})
    done = project.snakemake("-n")
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "error: images/{cat} has braces" in done.stderr


def test_whole_sizes_may_come_from_a_range():
    assert [s["val_size"] for s in settings_of({"grid": {"val_size": {"range": [1, 3]}}})] == [1, 2, 3]


def test_a_message_names_the_file_and_line_that_has_the_value(tmp_path: Path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("experiments:\n  a:\n    lr: 0.1\n")
    second.write_text("# more\nexperiments:\n  a:\n    grid:\n      epochs: [1, 0]\n")
    with pytest.raises(ConfigError, match=r"second.yaml, line 5: experiments.a.grid.epochs: 0 "):
        load_sweep([first, second])
    with pytest.raises(ConfigError, match=r"^--config: experiments.a.grid.epochs: -1 "):
        load_sweep([first, second], {"experiments": {"a": {"grid": {"epochs": [-1]}}}})
