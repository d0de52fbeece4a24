"""Users' own models: tried once before their runs, and every fault told in one message."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import ROOT, Project
from dlsweep.config.identity import check_setting, setting_hash
from dlsweep.config.signatures import find_function, parse
from dlsweep.errors import ConfigError
from dlsweep.runs.states import run_state
from dlsweep.tasks.checkpoint import Checkpoint, Interrupted
from dlsweep.tasks.classification.data import load_splits, prepare
from dlsweep.tasks.classification.models import build_model
from dlsweep.tasks.classification.own_parts import part_faults, static_fault
from dlsweep.tasks.classification.training import Trainer

MODELS = """
import os, sys
from torch import nn


class Wide(nn.Sequential):
    def __init__(self, in_shape, n_classes, width=8, extra=0):
        super().__init__(nn.Flatten(), nn.Linear(64, width), nn.Linear(width + extra, n_classes))


class Two(Wide):
    def forward(self, x):
        logits = super().forward(x)
        return (logits, logits) if self.training else logits
"""
SCRIPT = "import argparse\nargparse.ArgumentParser('cli').parse_args()\n" + MODELS


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, Any, Any]]:
    """A project after its dry run and its sweep."""
    project = Project(tmp_path_factory.mktemp("own"))
    for name, text in {"nets": MODELS, "cli": SCRIPT, "train": MODELS}.items():
        (project.folder / f"{name}.py").write_text(text)
    twice = {"grid": {"lr": [0.1, 0.2]}, "figures": []}
    widths = [{"width": 4}, {"width": 5}, {"extra": 1}]
    project.configure(
        {
            "defaults": {"epochs": 1, "train_size": 100},
            "experiments": {
                "good": {**twice, "model": "nets:Wide", "grid": {"lr": [0.1, 0.2], "model_args": widths}},
                "script_name": {**twice, "model": "train:Wide"},  # scripts/train.py is loaded in a warm trainer
                "two": {**twice, "model": "nets:Two"},
                "no_class": {**twice, "model": "nets:Wdie"},
                "argument": {**twice, "model": "nets:Wide", "model_args": {"widht": 4}},
                "command": {**twice, "model": "cli:Wide", "grid": {"lr": [0.1, 0.2], "model_args": [{}, {"width": 9}]}},
            },
        }
    )
    dry = project.snakemake("-n")
    yield project, dry, project.snakemake("good", "script_name", "two", "no_class", "argument", "command")


def test_what_is_certainly_wrong_is_told_by_show_and_before_the_start(sweep: tuple[Project, Any, Any]) -> None:
    project, dry, done = sweep
    shown = project.run("python", "scripts/sweep.py", "show").stdout
    for told in (dry.stderr, done.stderr, shown):
        assert "warning: model: nets.py has no 'Wdie'. Did you mean 'Wide'? (2 runs cannot start)" in told
        assert "warning: model_args: nets:Wide (nets.py): takes no 'widht'" in told
        assert told.count("warning: model") == 2


def test_a_model_that_does_not_work_is_told_once_and_its_runs_do_not_start(sweep: tuple[Project, Any, Any]) -> None:
    project, _, done = sweep
    assert done.returncode != 0
    records = project.records().values()
    assert sorted(record["exp_name"] for record in records) == ["good"] * 4 + ["script_name"] * 2
    assert len(list((project.results / "logs").glob("*-" + "?" * 40 + ".log"))) == 6, "a run of a bad model started"
    expected = {
        "nets:Two": "returns a tuple of 2 in training (after model.train()); it must be logits (8, 10)",
        "nets:Wdie": "nets.py has no 'Wdie'",
        "nets:Wide": "unexpected keyword argument 'widht'; it is called with in_shape, n_classes and what model_args",
        "cli:Wide": "cli.py ends the program while it is imported: SystemExit: exit status 2 (cli.py, line 2)",
    }
    table = [line for line in done.stderr.splitlines() if "cannot start: " in line]
    assert len(table) == 5 and sum("cannot start" in line for line in table) == 5
    for model, message in expected.items():
        assert any(line.startswith(f"{model}: ") and message in line for line in table), message
    (bad_shape,) = (line for line in table if "mat1 and mat2" in line)
    assert "it is called with in_shape=(1, 8, 8), n_classes=10 and its model_args" in bad_shape
    assert "cli:Wide: 4 runs cannot start" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "12 of 18 runs are not finished" in done.stderr
    assert "cli:Wide: 4 runs cannot start" in project.run("python", "scripts/sweep.py", "status").stdout


def test_a_mended_model_is_tried_again_and_a_working_one_is_not(sweep: tuple[Project, Any, Any]) -> None:
    project, _, _ = sweep
    before = project.outcomes()
    tried = project.results / ".checked"
    there = {path.name: path.stat().st_mtime_ns for path in tried.iterdir()}
    (project.folder / "cli.py").write_text(MODELS)
    done = project.snakemake("command", "script_name", "good")
    assert done.returncode != 0 and "cli:Wide" not in done.stderr
    assert there.items() <= {path.name: path.stat().st_mtime_ns for path in tried.iterdir()}.items()
    assert before.items() <= project.outcomes().items() and len(project.records()) == len(before) + 4


def test_a_run_by_hand_says_the_same(sweep: tuple[Project, Any, Any]) -> None:
    project, _, _ = sweep
    done = project.run(
        *("python", "scripts/train.py", "--data=results/data/digits.pt", "--epochs=1", "--train-size=100"),
        "--model=nets:Two",
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: model: nets:Two returns a tuple of 2 in training")


# -- what is expected of a model -----------------------------------------------------------------------------------

FAULTY = """
import torch
from torch import nn


class Wide(nn.Sequential):
    def __init__(self, in_shape, n_classes, width=8):
        super().__init__(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, n_classes))


class Always(Wide):
    def forward(self, x):
        return super().forward(x), None


class Integers(Wide):
    def forward(self, x):
        return super().forward(x).argmax(1, keepdim=True).expand(-1, 10)


class Empty(nn.Module):
    def __init__(self, in_shape, n_classes):
        super().__init__()


class Frozen(Wide):
    def __init__(self, in_shape, n_classes):
        super().__init__(in_shape, n_classes)
        self.requires_grad_(False)


class Detached(Wide):
    def forward(self, x):
        return super().forward(x).detach()


class Flat(Wide):
    def forward(self, x):
        return super().forward(x).flatten() if self.training else super().forward(x)


class NoMatrix(nn.Module):
    def __init__(self, in_shape, n_classes):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(n_classes))

    def forward(self, x):
        return x.flatten(1)[:, :10] + self.bias


class Stateful(Wide):
    kept = 0

    def get_extra_state(self):
        return {"kept": self.kept, "names": ["a", "b"]}

    def set_extra_state(self, state):
        self.kept = state["kept"]

    def forward(self, x):
        self.kept += self.training
        return super().forward(x)


class OneWay(Wide):
    def get_extra_state(self):
        return 1


class Strange(Stateful):
    def get_extra_state(self):
        return Wide


NUMBER = 4
"""


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    for name in ("faulty", "argparse_at_import", "broken_text", "needs_more", "train"):  # of other tests
        monkeypatch.delitem(sys.modules, name, raising=False)
    path = tmp_path / "faulty.py"
    path.write_text(FAULTY)
    return path


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": "faulty:Always"}, "faulty:Always returns a tuple of 2; it must be logits (2, 10)"),
        (
            {"model": "faulty:Integers"},
            "faulty:Integers returns int64; it must be logits (2, 10), a tensor of floating",
        ),
        ({"model": "faulty:Empty"}, "faulty:Empty has no parameters; there is nothing to train"),
        ({"model": "faulty:Frozen"}, "faulty:Frozen has only frozen parameters (requires_grad is False)"),
        ({"model": "faulty:Detached"}, "faulty:Detached returns what needs no gradient in training"),
        ({"model": "faulty:Flat"}, "faulty:Flat maps 50 images to shape (500,) in training (after model.train())"),
        ({"model": "faulty:NoMatrix", "l1": 0.1}, "l1: 0.1 needs weights to penalize, but faulty:NoMatrix has only"),
        ({"model": "faulty:OneWay"}, "OneWay has get_extra_state, but no set_extra_state to restore it"),
        ({"model": "faulty:Strange"}, "get_extra_state returns what a checkpoint cannot hold"),
        ({"model": "faulty:NUMBER"}, "NUMBER of faulty.py is 4; allowed: a class or a function"),
        ({"model": "faulty:Wide", "model_args": {"width": "8"}}, None),
    ],
)
def test_what_is_expected_of_a_model_is_said(
    values: dict[str, Any], message: str | None, faulty: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError if message else TypeError) as caught:
        trained(values, tmp_path)
    assert (message or "") in str(caught.value)


def test_extra_state_is_kept_with_the_best_weights_and_in_checkpoints(faulty: Path, tmp_path: Path) -> None:
    values = {"model": "faulty:Stateful", "test_weights": "best", "epochs": 3}
    whole = trained(values, tmp_path)
    with pytest.raises(Interrupted):
        trained(values, tmp_path, stop_after=4)
    assert trained(values, tmp_path, resumed=1) == whole
    assert not list(tmp_path.glob("*.bad"))


def trained(values: dict[str, Any], folder: Path, stop_after: int | None = None, resumed: int = 0) -> dict[str, Any]:
    """Train on digits, go on where there is a checkpoint, and return the results without times."""
    setting = check_setting({"epochs": 1, "batch_size": 50, "train_size": 100, **values})
    if not (folder / "digits.pt").exists():
        prepare(setting, folder / "digits.pt", folder)
    steps = iter(range(1000))
    trainer = Trainer(
        setting,
        load_splits(folder / "digits.pt", setting),
        torch.device("cpu"),
        Checkpoint(folder / "checkpoint.pt", lambda: stop_after is not None and next(steps) >= stop_after),
    )
    trainer.load_checkpoint()
    assert trainer.progress.resumed == resumed
    outcome = trainer.run()
    return {**outcome, "epochs": [{**epoch, "seconds": 0} for epoch in outcome["epochs"]]}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("argparse_at_import", SCRIPT, "ends the program while it is imported: SystemExit: exit status 2"),
        ("argparse_at_import", "import sys\nsys.exit('bye')", "SystemExit: bye (argparse_at_import.py, line 2)"),
        ("broken_text", "class Net(:\n", "broken_text.py cannot be imported: SyntaxError: invalid syntax"),
        ("needs_more", "\nimport no_such_library\n", "No module named 'no_such_library' (needs_more.py, line 2)"),
        ("needs_more", "raise RecursionError('deep')\n", "RecursionError: deep (needs_more.py, line 1)"),
        ("json", "class Net: ...\n", "json.py has the name of a module of Python's own; rename it"),
    ],
)
def test_a_module_that_cannot_be_imported_is_said(
    name: str, text: str, message: str, faulty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["train.py", "--unknown"])
    faulty.with_name(f"{name}.py").write_text(text)
    with pytest.raises(ConfigError) as caught:
        build_model(check_setting({"model": f"{name}:Net"}), (1, 8, 8), 10)
    assert str(caught.value).startswith("model: ") and message in str(caught.value)


CERTAIN = """
from dataclasses import dataclass
from torch import nn
from torchvision.models import AlexNet as Alex
import torch
Alias = nn.Linear
if torch.__version__:
    class Sometimes(nn.Module): ...
def build(in_shape, n_classes, *, width, depth=1): ...
class Any(nn.Module):
    def __init__(self, in_shape, **others): ...
class Few(nn.Module):
    def __init__(self, n_classes): ...
@dataclass
class Data:
    width: int
class Plain(Any): ...
"""


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("text:Missing", {}, "model: text.py has no 'Missing'."),
        ("text:build", {}, "model_args: text:build (text.py): needs 'width'"),
        (
            "text:build",
            {"width": 1, "dept": 2},
            "takes no 'dept'; it takes in_shape, n_classes, width, depth.",
        ),
        ("text:Few", {}, "takes no 'in_shape'; it takes n_classes."),
        ("nothing.here:Net", {}, "there is no module 'nothing.here' in "),
        ("train:Net", {}, "there is no module 'train' in "),  # scripts/train.py is no model
        ("wrong:Net", {}, "model: wrong.py, line 2: is not valid Python"),
        *((f"text:{name}", {}, "") for name in ("Alias", "Alex", "Sometimes", "Any", "Plain")),
        ("text:build", {"width": 1}, ""),
        ("text:Data", {"width": 1}, ""),
        ("star:Net", {}, ""),
        ("dynamic:Net", {}, ""),
        ("package.part:Net", {}, ""),
        ("torchvision.models:AlexNet", {}, ""),
    ],
)
def test_what_is_certain_is_said_without_importing(model: str, arguments: dict, message: str, faulty: Path) -> None:
    texts = {
        "text": CERTAIN,
        "wrong": "\nclass Net(:\n",
        "star": "from torch.nn import *\n",
        "dynamic": "globals()['Net'] = 1\n",
        "package/__init__": "raise SystemExit\n",
        "package/part": "raise SystemExit\nclass Net: ...\n",
    }
    for name, text in texts.items():
        (faulty.parent / f"{name}.py").parent.mkdir(exist_ok=True)
        (faulty.parent / f"{name}.py").write_text(text)
    fault = static_fault("model", model, arguments)
    assert message in fault and bool(message) == bool(fault)


DEFINED = "def fit(outputs, targets, alpha=0.1): ...\n"


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    from fast import fit\nexcept ImportError:\n    " + DEFINED,
        "for _ in range(1):\n    " + DEFINED,
        "if True:\n    def other():\n        fit = 1\n    " + DEFINED + "    def another():\n        fit = 2\n",
        "fit = None\n" + DEFINED + "kept = [fit for fit in ()]\n",
    ],
    ids=["try", "loop", "nested", "comprehension"],
)
def test_a_part_and_a_training_function_are_found_alike(text: str, faulty: Path) -> None:
    """What a module binds last is what its name means, below an if or a loop too; what functions bind is their own."""
    file = faulty.parent / "alike.py"
    file.write_text(text)
    assert find_function(parse(file), "fit", file).lineno == text[: text.index("def fit")].count("\n") + 1
    assert "takes no 'beta'; it takes alpha." in static_fault("loss", "alike:fit", {"beta": 1})


def test_runs_with_one_fault_are_told_together(faulty: Path) -> None:
    settings = [check_setting({"model": "faulty:Wdie", "lr": lr}) for lr in (0.1, 0.2)]
    assert part_faults(settings) == ["model: faulty.py has no 'Wdie'. Did you mean 'Wide'? (2 runs cannot start)"]


# -- runs that end without a word ----------------------------------------------------------------------------------


def test_how_a_run_ended_is_told_as_far_as_it_is_known(project: Project) -> None:
    """In a process of its own: Python tells of a crash in the log; of a kill nobody knows. The warm trainer knows."""
    (project.folder / "ends.py").write_text(
        "import ctypes, os, sys\nfrom torch import nn\n"
        "class Net(nn.Linear):\n"
        "    def __init__(self, in_shape, n_classes, how):\n"
        "        super().__init__(64, n_classes)\n"
        "        {'crash': lambda: ctypes.string_at(0), 'kill': lambda: os.kill(os.getpid(), 9),\n"
        "         'exit': lambda: sys.exit(0), 'leave': lambda: os._exit(0)}[how]()\n"
    )
    project.run("python", "scripts/prepare.py", "--dataset=digits", "--output=results/data/digits.pt")
    expected = {
        "crash": ("interrupted", "Fatal Python error: Segmentation fault"),
        "kill": ("interrupted", "its process is gone and said nothing: it was killed or ended itself"),
        "exit": ("failed", "ended the run itself, by sys.exit(0)"),
    }
    (project.results / "logs").mkdir()
    for how, (state, error) in expected.items():
        values = {"model": "ends:Net", "model_args": {"how": how}}
        digest = setting_hash(check_setting(values))
        log = project.results / "logs" / f"a-{digest}.log"
        log.write_text("error: of an earlier start\n")
        command = f"python scripts/train.py --exp-name=a --data=results/data/digits.pt --model={values['model']}"
        done = project.run("sh", "-c", f"{command} '--model-args={json.dumps(values['model_args'])}' >>{log} 2>&1")
        assert done.returncode != 0
        run = run_state(project.results, "a", digest)
        assert run.state == state and error in run.error, how
