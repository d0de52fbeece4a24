"""Own tasks in a config: the parameters of a function and the braces of a command are hyper-parameters."""

import hashlib
import importlib.util
import json
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from conftest import ROOT
from dlsweep.config.identity import setting_hash
from dlsweep.config.jobs import train_arguments
from dlsweep.config.sweep import Sweep, load_sweep
from dlsweep.config.tasks import forget
from dlsweep.errors import ConfigError

SOURCE = """
from typing import Annotated, Literal
import a_library_that_is_not_installed

WIDTH = 2**5

def train(
    run,
    *,
    lr: Annotated[float, "Learning rate.", Gt(0)] = 1e-3,
    width: int = WIDTH,
    act: Literal["relu", "tanh"] = "relu",
    clip: float | None = None,
    layers: list[int] = (16, 16),
    batch_size: int | Literal["full"] = 64,
    decay=0.5,
    nesterov=False,
    anything=None,
    seed: int = 0,
): ...

def needs(run, depth: int): ...
def named(run, grid=1): ...
def of_the_run(run, device="cpu"): ...
def of_a_table(run, status=0): ...
def open_ended(run, **kwargs): ...
def without_run(): ...
def computed(run, width=len("abc")): ...
def wrong(run, width: int = 1.5): ...
made = train
STEPS = 2
STEPS += 1
def counted(run, n=STEPS): ...
def texts(run, said: str | None = None, other: str = "x", anything=None): ...
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    forget()
    (tmp_path / "mine.py").write_text(SOURCE)
    return tmp_path


def read(defaults: dict[str, Any] | None = None, **experiments: Any) -> Sweep:
    config = {"defaults": defaults or {}, "experiments": experiments}
    Path("config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return load_sweep(["config.yaml"])


def settings(**experiment: Any) -> list[dict[str, Any]]:
    return [dict(setting) for setting in read(one=experiment).experiments["one"].settings.values()]


def digest(**experiment: Any) -> str:
    (found,) = read(one=experiment).experiments["one"].settings
    return found


def test_the_parameters_of_a_function_are_its_hyperparameters():
    (setting,) = settings(train="mine:train")
    assert setting == {
        "train": "mine:train", "lr": 0.001, "width": 32, "act": "relu", "clip": None, "layers": [16, 16],
        "batch_size": 64, "decay": 0.5, "nesterov": False, "anything": None, "seed": 0,
    }  # fmt: skip


def test_every_construct_takes_them():
    sweep = read(
        {"train": "mine:train"},
        grid={"grid": {"width": [16, 64], "lr": [{"logspace": [1e-3, 0.1, 3]}]}, "seeds": 2},
        zip={"zip": {"act": ["relu", "tanh"], "layers": [[1], [2, 3]]}},
        sample={"sample": {"n": 4, "lr": {"log_uniform": [1e-4, 1]}, "width": {"int_uniform": [8, 64]}}},
        rules={"grid": {"act": ["relu", "tanh"]}, "when": {"if": {"act": "tanh"}, "set": {"clip": [None, 0.5]}}},
        without={"grid": {"width": [16, 32, 64]}, "exclude": {"width": ">40"}},
        list={"settings": [{"anything": [1, 2]}, {"anything": {"deep": True}}, {"batch_size": "full"}]},
        child={"extends": "grid", "grid": {"width": [8]}},
    )
    sizes = {name: len(experiment.settings) for name, experiment in sweep.experiments.items()}
    assert sizes == {"grid": 12, "zip": 2, "sample": 4, "rules": 3, "without": 2, "list": 3, "child": 6}
    assert sweep.experiments["zip"].varies == {"act": ["relu", "tanh"], "layers": [[1], [2, 3]]}


def test_a_default_written_out_or_another_spelling_is_the_same_setting():
    one = digest(train="mine:train", lr=0.01)
    assert one == digest(train="mine:train", lr="1e-2", width=32, seed=0)
    assert len({one, digest(train="mine:train", lr=0.02), digest(train="mine:needs", depth=1)}) == 3


def test_the_hash_of_a_function_task_is_for_ever():
    assert digest(train="mine:train", width=16) == "85ee9b2a25dc6f3c8abb32789d785a2bec933068"
    command = "python train.py --lr {lr} --out {metrics}"
    assert digest(command=command, lr=0.1) == "3c6fa6d914aebf2b7849101168861b72444c89bf"


def test_tasks_stand_side_by_side_in_one_config():
    sweep = read(
        {"train": "mine:train", "lr": 0.1, "hid_dim": 8},
        own={},
        built_in={"train": None},
        command={"command": "./run.sh {lr} >{metrics}"},
    )
    kinds = {name: experiment.task.kind for name, experiment in sweep.experiments.items()}
    assert kinds == {"own": "function", "built_in": "classification", "command": "command"}
    (command,) = sweep.experiments["command"].settings.values()
    assert command == {"command": "./run.sh {lr} >{metrics}", "lr": 0.1}
    (built_in,) = sweep.experiments["built_in"].settings.values()
    assert (built_in["lr"], built_in["hid_dim"]) == (0.1, 8)


def test_a_function_that_a_package_imports_is_read_where_it_is_defined(folder: Path):
    (folder / "pack").mkdir()
    (folder / "pack/__init__.py").write_text("from .core import fit as train\n")
    (folder / "pack/core.py").write_text("def fit(run, lr: float = 0.5): ...\n")
    assert settings(train="pack:train") == [{"train": "pack:train", "lr": 0.5}]


def test_a_file_with_a_name_of_pythons_own_is_refused(folder: Path):
    """Whether a run got it or Python's once depended on whether it was warm."""
    (folder / "timeit.py").write_text("def train(run, lr: float = 0.5): ...\n")
    with pytest.raises(ConfigError, match=r"train: timeit\.py has the name of a module of Python's own; rename it"):
        settings(train="timeit:train")


@pytest.mark.parametrize(
    ("experiment", "message"),
    [
        ({"train": "mine:trian"}, "train: mine.py has no function 'trian'. Did you mean 'train'?"),
        ({"train": "mien:train"}, "train: there is no module 'mien' in"),
        ({"train": "mine.train"}, 'train: "mine.train" is not allowed; allowed: text of the form "module:function"'),
        ({"train": ["mine:train", "mine:needs"]}, "is not one task; write an experiment for each"),
        ({"train": "mine:train", "command": "x {metrics}"}, "command: experiments.one has train as well"),
        ({"train": "mine:made"}, "'made' is not defined by `def`"),
        ({"train": "mine:named"}, "mine.py, line 23: grid is a word of the config; rename the parameter"),
        ({"train": "mine:of_the_run"}, "line 24: device is an option of every run; rename the parameter"),
        ({"train": "mine:of_a_table"}, "line 25: status is a column of the tables; rename the parameter"),
        ({"train": "mine:open_ended"}, "takes **kwargs, which names no hyper-parameter"),
        ({"train": "mine:without_run"}, "takes no parameter for the run"),
        ({"train": "mine:computed"}, "line 28: the default of width cannot be read from the text"),
        ({"train": "mine:counted"}, "line 33: the default of n cannot be read from the text"),
        ({"train": "mine:wrong"}, "line 29: the default of width: 1.5 is not allowed; allowed: an integer"),
        ({"train": "mine:needs"}, "depth: is missing; mine:needs needs it, since it has no default there"),
        ({"train": "mine:train", "widht": 3}, "widht: unknown key; allowed: "),
        ({"train": "mine:train", "grid": {"widht": [3]}}, "it has lr, width, act"),
        ({"train": "mine:train", "lr": 0}, "lr: 0 is not allowed; allowed: a number > 0"),
        ({"train": "mine:train", "act": "rleu"}, "is not allowed; allowed: relu, tanh. Did you mean 'relu'?"),
        ({"train": "mine:train", "batch_size": "ful"}, "allowed: an integer or full. Did you mean 'full'?"),
        ({"train": "mine:train", "nesterov": "yes"}, "nesterov: \"yes\" is not allowed; allowed: true or false"),
        ({"train": "mine:needs", "depth": 1, "seeds": 3}, "seeds: mine:needs has no hyper-parameter seed"),
        ({"command": "python x.py"}, "command: has no {metrics}: the file that"),
        ({"command": "x {lr} {metrics}"}, "lr: is missing; the command has {lr}, which needs a value"),
        ({"command": "x '{lr}' {metrics}", "lr": 1}, "{lr} is in quotes; leave them out"),
        ({"command": "x ${HOME} {metrics}"}, "${HOME} is the shell's, not a hyper-parameter: write ${{HOME}}"),
        ({"command": "x {lr:.2f} {metrics}", "lr": 1}, "{lr:.2f} is not the name of a hyper-parameter"),
        ({"command": "x {} {metrics}"}, "{} is not the name of a hyper-parameter"),
        ({"command": "x {lr {metrics}"}, "a brace that is meant as one is written twice"),
        ({"command": "x {seeds} {metrics}"}, "{seeds} is a word of the config"),
        ({"command": "x {lr} {metrics}", "lr": 1, "width": 2}, "width: unknown key"),
        ({"imported": "there(lr, width)", "lr": 1}, "width: is missing; there(lr, width) has it"),
        ({"imported": "there(lr)", "lr": 1, "width": 2}, "width: unknown key"),
        ({"imported": "there(grid)", "grid": {}}, "grid is a word of the config"),
        ({"imported": "there"}, 'imported: "there" is not allowed; allowed: text as import writes it'),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_task_is_said_in_one_line(experiment: dict[str, Any], message: str):
    with pytest.raises(ConfigError) as error:
        read(one=experiment)
    text = str(error.value)
    assert message in text and text.startswith("config.yaml, line ") and "experiments.one" in text, text


def test_a_default_that_no_task_has_is_refused():
    with pytest.raises(ConfigError, match=r"line 3: defaults.widht: unknown hyper-parameter of mine:train; it has"):
        read({"train": "mine:train", "widht": 3}, one={})


def test_a_module_may_be_folders_below_the_project():
    folder = Path("below/further")
    folder.mkdir(parents=True)  # without __init__.py
    (folder / "mine.py").write_text(SOURCE)
    (setting,) = settings(train="below.further.mine:train", lr=0.1)
    assert setting["width"] == 32


def test_a_function_whose_file_is_not_python_is_named_with_its_line(folder: Path):
    (folder / "mine.py").write_text("def train(run:\n")
    with pytest.raises(ConfigError, match=r"experiments.one.train: mine.py, line 1: is not valid Python"):
        read(one={"train": "mine:train"})


def test_what_was_imported_is_named_with_its_parameters():
    (setting,) = settings(imported="there(lr, width)", lr=0.1, width="wide")
    assert setting == {"imported": "there(lr, width)", "lr": 0.1, "width": "wide"}
    text = b'{"imported":"there(lr)","lr":1}'
    assert digest(imported="there(lr)", lr=1) == hashlib.sha1(text).hexdigest()


def test_values_of_a_command_are_hashed_as_they_are_written():
    command = "x {a} {metrics}"
    values: list[Any] = [1, 1.0, True, "1", None, [1], {"b": 1}]
    assert len({digest(command=command, a=json.loads(json.dumps(value))) for value in values}) == len(values)


@pytest.mark.parametrize(
    ("config", "fits"),
    [
        ({"experiments": {"a": {"grid": {"lr": [1]}}}}, True),
        ({"experiments": {"a": {"grid": {"widht": [1]}}}}, False),
        ({"experiments": {"a": {"train": "m:f", "grid": {"x": [1]}, "sample": {"n": 1, "y": {"choice": [1]}}}}}, True),
        ({"experiments": {"a": {"command": "x {lr} >{metrics}", "lr": 1, "objective": {"val_x": "min"}}}}, True),
        ({"experiments": {"a": {"imported": "there(lr)", "settings": [{"lr": 1}], "objective": "val_mae"}}}, True),
        ({"experiments": {"a": {"train": "no function", "lr": 1}}}, False),
        ({"defaults": {"train": "mine:train", "width": 3}, "experiments": {"a": {"zip": {"x": [1]}}, "b": None}}, True),
        ({"defaults": {"width": 3}, "experiments": {"a": {}}}, False),
    ],
)  # fmt: skip
def test_an_editor_knows_what_an_own_task_may_say(config: dict[str, Any], fits: bool):
    validator = jsonschema.Draft7Validator(json.loads((ROOT / "schemas/config.schema.json").read_text()))
    assert validator.is_valid(config) is fits


# -- the objective -------------------------------------------------------------------------------------------------


def objective(metrics: dict[str, Any] | None = None, defaults: dict[str, Any] | None = None, **experiment: Any) -> Any:
    config = {"metrics": metrics, "defaults": defaults or {}, "experiments": {"one": experiment}}
    Path("config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    found = load_sweep(["config.yaml"]).experiments["one"].objective
    return found.metric, found.better, found.report


def test_an_objective_has_a_direction_and_what_it_is_reported_by():
    own = {"train": "mine:train"}
    assert objective() == ("val_acc", "max", "test_acc")
    assert objective(objective="val_loss") == ("val_loss", "min", "test_loss")
    assert objective(**own) == ("val_loss", "min", "test_loss")
    assert objective(**own, objective="val_mae") == ("val_mae", "min", "test_mae")
    assert objective(**own, objective={"val_gain": "max"}) == ("val_gain", "max", "test_gain")
    assert objective(**own, objective={"score": "max"}, report="test_acc") == ("score", "max", "test_acc")
    assert objective(defaults={**own, "objective": "val_r2"}) == ("val_r2", "max", "test_r2")
    assert objective(metrics={"ndcg": {"better": "max"}}, **own, objective="val_ndcg") == (
        "val_ndcg",
        "max",
        "test_ndcg",
    )


def test_no_objective_changes_a_hash():
    assert digest(train="mine:train") == digest(train="mine:train", objective="val_mae", report="test_rmse")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"objective": "val_gain"}, "is to be great or small is not known; write {val_gain: max} or min"),
        ({"objective": "test_acc"}, "objective: test_acc would select settings by the test split"),
        ({"objective": {"val_mae": "down"}}, "objective.val_mae: \"down\" is not allowed; allowed: min, max"),
        ({"objective": ["val_mae"]}, "allowed: a metric such as val_mae, or {val_mae: min}"),
        ({"report": 3}, "report: 3 is not allowed; allowed: the name of a metric"),
        ({"train": None, "objective": "val_mae"}, "val_mae is not measured by the built-in training; it has"),
        ({"metrics": {"gain": {"beter": "max"}}}, "metrics.gain.beter: unknown key; allowed: better, range, unit"),
        ({"metrics": {"gain": {"better": "up"}}}, "metrics.gain.better: \"up\" is not allowed"),
        ({"metrics": {"gain": {"range": [1, 0]}}}, "metrics.gain.range: [1, 0] is not allowed; allowed: low"),
        ({"metrics": {"gain": {"range": 1}}}, "metrics.gain.range: must be [low, high]"),
        ({"metrics": {"a gain": {}}}, "metrics.a gain: \"a gain\" is not allowed as the name of a metric"),
        ({"metrics": ["gain"]}, "metrics: must be a mapping"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_objective_or_a_metric_is_said(config: dict[str, Any], message: str):
    with pytest.raises(ConfigError) as error:
        objective(config.pop("metrics", None), **{"train": "mine:train", **config})
    assert message in str(error.value) and str(error.value).startswith("config.yaml, line "), str(error.value)


# -- the command line of a run -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", ["null", '"null"', "0.5", "true", "[1]", "naïve; 'x'", None, 1, True, [1], {"a": None}]
)
def test_every_value_comes_back_from_the_command_line(value: Any):
    keys = ("said", "other", "anything") if isinstance(value, str) else ("anything",)
    for key in keys:
        (setting,) = settings(train="mine:texts", **{key: value})
        words = shlex.split(train_arguments("one", setting_hash(setting), setting, "", "results"))
        assert script("train").parse_arguments(words)[1] == setting


def test_both_scripts_read_null_alike(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    options = ["--dataset=npz", "--data-path=null"]
    for name, others in (("train", ["--data=x.pt"]), ("prepare", ["--output=x.pt"])):
        monkeypatch.setattr("sys.argv", [name, *options, *others])
        assert script(name).main() == 1
        assert capsys.readouterr().err.startswith("error: data_path: is missing; dataset npz needs it")


def test_no_parameter_is_an_option_of_a_run_too(folder: Path):
    names = [action.dest for action in script("train").parser()._actions if not action.dest.startswith("hp_")]
    assert {"exp_name", "time_limit", "check", "train", "help"} < set(names)
    for name in names:
        (folder / f"of_{name}.py").write_text(f"def train(run, {name}=1): ...\n")
        with pytest.raises(ConfigError, match=f"{name} is (an option of every run|a word of the config)"):
            settings(train=f"of_{name}:train")


def script(name: str) -> Any:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(f"script_{name}", ROOT / "scripts" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
