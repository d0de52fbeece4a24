"""A Python function as the task of a run: what it may do, and that its record does not depend on interruptions."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import LIMIT, ROOT, Project, outcome, wait_for
from dlsweep.config import tasks
from dlsweep.config.identity import check_setting, setting_hash
from dlsweep.errors import ConfigError
from dlsweep.files import strict
from dlsweep.results.records import record_fault
from dlsweep.tasks import function
from dlsweep.tasks.checkpoint import Interrupted, pack, unpack
from dlsweep.tasks.job import Job

TRAIN = ROOT / "scripts" / "train.py"

EVERYTHING = """
import random
import numpy as np
import torch
from torch import nn

def train(run, *, lr: float = 0.01, epochs: int = 6, seed: int = 0):
    assert run.device.type == "cpu" and run.devices == [run.device] and run.threads == 1
    torch.nn.Linear(3, 3)  # draws
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))
    own = torch.Generator().manual_seed(5)
    noise = np.random.default_rng(6)
    state = {"best": None, "history": [], "average": np.zeros(3), "weights": {}}
    run.restore(model=model, own=own, noise=noise, state=state)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    run.restore(optimizer=optimizer, schedule=schedule)
    x, y = torch.randn(32, 4, generator=own), torch.randn(32, 1)
    for epoch in run.epochs(epochs):
        assert epoch == len(state["history"])
        order = torch.randperm(32, generator=run.generator("shuffle"))
        loss = ((model(x[order]) - y[order]) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        drawn = [random.random(), np.random.rand(), torch.rand(1), noise.normal(), run.rng("a").normal()]
        run.log(train_mse=loss, drawn=sum(drawn).squeeze())
        val = loss.item() + noise.uniform()
        state["history"].append(val)
        state["average"] += val
        if state["best"] is None or val < state["best"]:
            state["best"], state["weights"] = val, {k: v.clone() for k, v in model.state_dict().items()}
        run.log(val_mse=np.float32(val))
        (run.folder / f"{epoch}.txt").write_text("a file")
    model.load_state_dict(state["weights"])
    return {"test_mse": ((model.eval()(x) - y) ** 2).mean(), "after": random.random(), "mean": state["average"]}
"""


class Stop:
    """Asks the run to stop after so many epochs of its."""

    def __init__(self, after: int | None = None) -> None:
        self.after, self.reason, self.on_signal, self.epochs = after, "stopped", None, 0
        self.paused = False

    def __call__(self) -> bool:
        return self.after is not None and self.epochs >= self.after


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run a function `train` of this text in this process, from its checkpoint; return the outcome without times."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[:])

    def run(text: str, stop_after: int | None = None, **values: Any) -> dict[str, Any]:
        name = f"function_{abs(hash((text, str(tmp_path))))}"
        Path(f"{name}.py").write_text(text)
        tasks.forget()
        setting = check_setting({"train": f"{name}:train", **values})
        stop = Stop(stop_after)
        job = Job(setting, setting_hash(setting), None, tmp_path / "run.pt", stop, lambda epochs: count(stop))
        outcome = function.load(job).run()
        return {**outcome, "epochs": [{**epoch, "seconds": 0} for epoch in outcome["epochs"]]}

    def count(stop: Stop) -> None:
        stop.epochs += 1

    yield run
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("stop_after", [1, 2, 5])
def test_an_interrupted_run_ends_as_an_undisturbed_one(run: Callable[..., dict[str, Any]], stop_after: int):
    whole = run(EVERYTHING, seed=3)
    assert whole["status"] == "finished" and len(whole["epochs"]) == 6
    assert whole["model"]["n_parameters"] == 4 * 8 + 8 + 16 + 8 + 1
    assert whole["task"]["defaults"] == {"lr": 0.01, "epochs": 6, "seed": 0}
    times = 0
    while True:
        try:
            again = run(EVERYTHING, stop_after=stop_after, seed=3)
            break
        except Interrupted:
            times += 1
            torch.rand(7), np.random.rand(7)
    assert times == 6 // stop_after and Path("run.pt").exists()
    assert again == whole
    assert sorted(path.name for path in Path("run.files").iterdir()) == [f"{i}.txt" for i in range(6)]
    assert run(EVERYTHING.replace("6):", "6): "), seed=4) != whole


def test_the_loop_ends_early_where_it_is_left_and_where_it_diverges(run: Callable[..., dict[str, Any]]):
    text = """
def train(run, n_epochs: int = 5, at: int = 9, value: float = 0.5, keep: bool = False):
    epochs = run.epochs(n_epochs)
    assert len(epochs) == n_epochs
    for epoch in epochs:
        run.log(val_loss=value if epoch < 3 else float("nan"), val_acc=float("nan"))
        if epoch == at:
            break
    run.log(test_loss=1)
    return (epochs, {"not": "meant"}, {"test_acc": 0.25, "epochs_done": epoch + 1}) if keep else {"test_acc": 0.25}
"""
    stopped = run(text, at=1)
    assert (stopped["status"], len(stopped["epochs"])) == ("stopped_early", 2)
    assert stopped["final"] == {"test_loss": 1, "test_acc": 0.25}
    diverged = run(text, keep=True)
    assert (diverged["status"], len(diverged["epochs"])) == ("diverged", 4)
    assert diverged["final"]["epochs_done"] == 4
    assert run(text, n_epochs=3)["status"] == "finished"  # an accuracy that is not known is no error
    assert run(text, n_epochs=2, at=1, keep=True)["status"] == "finished"
    without = run("def train(run):\n    run.log(val_mae=1)\n    run.log(val_mae=2)\n    return [1], {'a': [1, None]}\n")
    assert (without["final"], without["epochs"]) == ({"val_mae": 2, "a": [1, None]}, [])
    assert run("def train(run):\n    return {'test_rmse': float('inf')}\n")["status"] == "diverged"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "run.log(val_mae='0.3')",
            "val_mae: '0.3' is not a number; allowed: a number, or a tensor or array without axes",
        ),
        ("run.log(val_mae=True)", "val_mae: True is not a number"),
        ("import torch; run.log(val_mae=torch.ones(3))", "val_mae: a Tensor of shape (3,) is not a number"),
        ("run.log(lr=0.1)", "lr is a hyper-parameter; give the metric another name"),
        ("run.log(epoch=1)", "epoch is a column of the tables"),
        ("run.log(hash=1)", "hash is a column of the tables"),
        ("run.log(**{'val mae': 1})", "'val mae' is not the name of a metric"),
        ("run.log(tested_val_mae=1)", "tested_val_mae: names that begin with tested_ are made by the tables"),
        ("run.restore(data=[1])", "run.restore: data is a list; allowed: what has state_dict and load_state_dict"),
        ("run.restore(a={}); run.restore(a={})", "run.restore: a was named before, and was something else"),
        ("run.epochs(3); run.restore(a={})", "run.restore: must be called before run.epochs"),
        ("run.epochs(3); run.epochs(3)", "run.epochs: was called before"),
        ("run.epochs(2.5)", "run.epochs: 2.5 is not allowed; allowed: how many, a whole number from 0"),
        (
            "run.restore(a={'f': print})\n    for _ in run.epochs(1): run.log(b=1)",
            "a['f'] is a builtin_function_or_method, which a checkpoint cannot hold; allowed: numbers",
        ),
        ("pass", "has measured nothing: run.log was not called and it returned no number"),
        ("return {'names': ['a']}", "has measured nothing"),
        ("return 3", "returns 3; allowed: a dict of metrics such as {'test_mae': 0.3}"),
        ("return {'test_mae': print}", "test_mae is a builtin_function_or_method, which a record cannot hold"),
        ("return {'lr': 3}", "lr is a hyper-parameter"),
    ],
)
def test_what_a_function_does_wrong_is_said_in_one_line(run: Callable[..., dict[str, Any]], body: str, message: str):
    with pytest.raises(ConfigError) as caught:
        run(f"def train(run, lr: float = 0.1):\n    {body}\n", stop_after=1)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    if "run." in body:
        assert ".py, line " in str(caught.value)


def test_a_checkpoint_holds_what_can_execute_nothing():
    state = {
        "n": [1, -2.5, 2**100, True, None, "ü", b"x", 1j, {3}, (4, [5])],
        "arrays": [np.arange(6).reshape(2, 3), np.float32(0.1), np.array(2.0), np.array(["a"])],
        ("a", 1): torch.eye(2),
    }
    found = unpack(pack(state, "state"))
    assert found["n"] == state["n"] and torch.equal(found["a", 1], torch.eye(2))
    for one, other in zip(found["arrays"], state["arrays"], strict=True):
        assert type(one) is type(other) and one.dtype == other.dtype and np.array_equal(one, other)
    for bad in (lambda: 1, np.array([None]), Path("x"), frozenset([1])):
        with pytest.raises(ConfigError, match=r"state\['a'\]\[0\] is a .*, which a checkpoint cannot hold"):
            pack({"a": [bad]}, "state")


# -- through scripts/train.py --------------------------------------------------------------------------------------

WITHOUT_TORCH = """
import pickle
import random
import sys
import time
import numpy as np
from sklearn.linear_model import SGDRegressor

def train(run, alpha: float = 1e-4, epochs: int = 4, seed: int = 0, nap: float = 0.0, before: float = 0.0):
    "A line of ridge regression."
    assert "torch" not in sys.modules and run.device == "cpu"
    (run.folder / "started").touch()
    time.sleep(before)
    x = np.random.normal(size=(50, 3))
    y = x.sum(1) + run.rng("noise").normal(size=50)
    kept = {"model": pickle.dumps(SGDRegressor(alpha=alpha, random_state=seed))}
    run.restore(kept=kept)
    for _ in run.epochs(epochs):
        model = pickle.loads(kept["model"])
        order = np.random.permutation(50)
        model.partial_fit(x[order], y[order])
        kept["model"] = pickle.dumps(model)
        run.log(val_mae=np.abs(model.predict(x) - y).mean(), chance=random.random())
        (run.folder / "epoch").touch()
        time.sleep(nap)
    np.save(run.folder / "weights.npy", model.coef_)
    return {"test_mae": np.abs(model.predict(x) - y).mean()}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a function that does without torch, where torch cannot be imported."""
    (tmp_path / "mine.py").write_text(WITHOUT_TORCH)
    (tmp_path / "no_torch").mkdir()
    (tmp_path / "no_torch" / "torch.py").write_text("raise ImportError('there is no torch here')\n")
    return tmp_path


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder / "no_torch"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(TRAIN), "--train=mine:train", *options]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def only(paths: Any) -> dict[str, Any]:
    (path,) = paths
    return json.loads(path.read_text())


def test_without_torch_a_run_stops_and_goes_on(folder: Path):
    """A signal inside of the loop waits for the end of the epoch, one outside ends the run at once."""
    results = folder / "results"
    done = start(folder, "--seed=1", "--results=whole")
    assert done.communicate(timeout=LIMIT)[1] == "" and done.returncode == 0
    whole = only((folder / "whole").glob("*.json"))
    assert record_fault(whole, next((folder / "whole").glob("*.json"))) == ""

    at_once = start(folder, "--seed=1", "--before=600")
    wait_for(lambda: list((results / "running").glob("*.files/started")))
    at_once.send_signal(signal.SIGTERM)
    assert "stopped by SIGTERM; the next start trains from the beginning\n" in at_once.communicate(timeout=LIMIT)[1]
    assert at_once.returncode == 128 + signal.SIGTERM
    for path in (results / "running").iterdir():
        assert path.suffix in (".files", ".json", ".lock"), path

    slow = start(folder, "--seed=1", "--nap=0.5")
    wait_for(lambda: list((results / "running").glob("*.files/epoch")))
    slow.send_signal(signal.SIGINT)
    told = slow.communicate(timeout=LIMIT)[1]
    assert "stopped by SIGINT: the run ends after this epoch\nstopped by SIGINT; the checkpoint is written\n" in told
    (checkpoint,) = (results / "running").glob("*.pt")
    assert checkpoint.read_bytes()[:2] != b"PK"  # not torch's
    digest = checkpoint.stem
    goes_on = start(folder, "--seed=1", "--nap=0.5")
    assert goes_on.communicate(timeout=LIMIT)[1] == "" and goes_on.returncode == 0
    record = only(results.glob("*.json"))
    assert record["timing"]["resumed"] == 1 and record["provenance"]["torch"] is None
    assert [e["val_mae"] for e in record["epochs"]] == [e["val_mae"] for e in whole["epochs"]]
    assert [e["chance"] for e in record["epochs"]] == [e["chance"] for e in whole["epochs"]]
    assert record["final"] == whole["final"]
    left = {path.name.replace(digest, "") for path in (results / "running").iterdir()}
    assert all(digest not in path.name for path in (results / "running").iterdir()), left
    files = results / "files" / f"by-hand-{digest}"
    assert sorted(path.name for path in files.iterdir()) == ["epoch", "started", "weights.npy"]

    copied = start(folder, "--seed=1", "--nap=0.5", "--exp-name=other")
    assert "the same setting as" in copied.communicate(timeout=LIMIT)[0]
    assert (results / "files" / f"other-{digest}" / "weights.npy").exists()


def test_an_error_of_the_function_is_one_line_with_a_traceback_of_its_own(folder: Path):
    (folder / "mine.py").write_text("def train(run, how: str = 'raises'):\n    helper(run, how)\n" + BROKEN)
    for how, message, words in (
        ("raises", "error: ValueError: this is wrong", ["Traceback", "line 2, in train", "line 5, in helper"]),
        ("file", "error: FileNotFoundError: [Errno 2]", ["Traceback", "line 7, in helper"]),
        ("exits", "error: your code or a library ended the run itself, by sys.exit(0)", ["in helper"]),
        ("wrong", "error: val_mae: 'a' is not a number", ["(mine.py, line 10)"]),
    ):
        done = start(folder, f"--how={how}")
        told = done.communicate(timeout=LIMIT)[1]
        assert done.returncode == 1
        assert told.splitlines()[-1].startswith(message), told
        assert all(word in told for word in words), told
        assert "dlsweep" not in told.replace(str(folder), "")
        shown = only((folder / "results" / "running").glob("*.json"))
        assert (shown["status"] == "failed" and shown["error"] in message.removeprefix("error: ")) or shown["error"]
        for path in (folder / "results" / "running").glob("*.json"):
            path.unlink()


BROKEN = """def helper(run, how):
    if how == "raises":
        raise ValueError("this is wrong")
    if how == "file":
        open("/no/such/file")
    if how == "exits":
        raise SystemExit(0)
    run.log(val_mae="a")
"""


def test_the_command_line_of_a_function_is_checked_and_explained(folder: Path):
    def say(*options: str) -> str:
        done = start(folder, *options)
        out, err = done.communicate(timeout=LIMIT)
        assert "Traceback" not in err
        return out + err

    told = say("--help")
    assert "hyper-parameters of mine:train" in told and "--alpha VALUE" in told and "default: 0.0001" in told
    assert "--data" not in told
    assert 'error: epochs: "many" is not allowed; allowed: an integer' in say("--epochs=many")
    assert "unrecognized arguments: --alhpa=1" in say("--alhpa=1")
    assert "has no function 'other'" in say("--train=mine:other")
    assert "there is no module 'nothing'" in say("--train=nothing:train")
    assert "error: --train: mine.train is not allowed; allowed: MODULE:FUNCTION" in say("--train=mine.train")
    assert "a run has one task; give one of them" in say("--command=x")
    assert "is not this setting's hash" in say("--hash=" + 40 * "0")
    assert not (folder / "results").exists()


def test_strict_json_of_what_is_logged_keeps_the_record_whole(folder: Path):
    """NaN and infinity become null, and verify needs no source file: the record has the defaults."""
    (folder / "mine.py").write_text(
        "def train(run, a: int = 1, b=(1, 2)):\n"
        "    for _ in run.epochs(3):\n        run.log(val_loss=float('inf'), val_acc=0.5)\n"
    )
    done = start(folder, "--a=2", "--b=[3]")
    assert done.communicate(timeout=LIMIT)[1] == ""
    (path,) = (folder / "results").glob("*.json")
    record = json.loads(path.read_text())
    assert (record["status"], len(record["epochs"])) == ("diverged", 1)
    assert record["epochs"][0]["val_loss"] is None
    (folder / "mine.py").unlink()
    assert record_fault(record, path) == ""
    for change, fault in (
        ({"status": "finished"}, "its status is finished"),
        ({"setting": {**record["setting"], "a": 1}}, "but its setting's is"),
        ({"task": {**record["task"], "defaults": {"a": 2, "b": [1, 2]}}}, "but its setting's is"),
        ({"task": {**record["task"], "name": "x:y"}}, "does not name the task"),
        ({"epochs": [{"epoch": 1, "val_loss": "a", "seconds": 1}]}, "does not fit the record's schema"),
    ):
        assert fault in record_fault({**record, **change}, path), change
    assert strict(record) == record
    assert outcome(record)


# -- through Snakemake ---------------------------------------------------------------------------------------------

MINE = """
import random
import torch

def train(run, lr: float = 0.1, width: int = 8, epochs: int = 2, seed: int = 0):
    model = torch.nn.Linear(width, 1)
    run.restore(model=model)
    for _ in run.epochs(epochs):
        run.log(val_mae=model(torch.randn(16, width)).abs().mean() * lr + random.random())
    (run.folder / "note.txt").write_text(str(seed))
    return {"test_mae": random.random()}
"""


def test_a_changed_default_is_told_and_made_again_only_on_request(project: Project):
    """The hash of a setting leaves defaults out: what it meant has changed with them, and nothing is mixed up."""
    (project.folder / "mine.py").write_text(MINE)
    same = {"grid": {"lr": [0.1, 0.2]}, "figures": []}
    config = {"defaults": {"train": "mine:train", "objective": "val_mae"}, "experiments": {"a": same, "b": same}}
    project.configure(config)
    done = project.snakemake("--until", "train")
    assert done.returncode == 0, done.stderr
    before, outcomes = project.records(), project.outcomes()
    assert len(before) == 4 and len({record["provenance"]["pid"] for record in before.values()}) == 2
    cold = project.run("python", "scripts/train.py", "--train=mine:train", "--lr=0.2", "--results=cold")
    assert cold.returncode == 0, cold.stderr
    (path,) = (project.folder / "cold").glob("*.json")
    alone = json.loads(path.read_text())
    assert outcome({**alone, "exp_name": "a"}) == outcomes[path.name.replace("by-hand", "a")]  # warm as cold

    (project.folder / "mine.py").write_text(MINE.replace("width: int = 8", "width: int = 4"))
    told = project.snakemake("-n", "--until", "train")
    assert "4 of 4 finished runs were made with other code than mine has now" in told.stdout + told.stderr
    assert project.planned("--until", "train") == {}
    verified = project.run("python", "scripts/sweep.py", "verify")
    assert verified.returncode == 0 and "4 records, 0 of them cannot be trusted" in verified.stdout, verified.stdout

    # An old record is not taken for the setting that has its hash now.
    project.configure({**config, "experiments": {**config["experiments"], "c": same}})
    more = project.snakemake("--until", "train")
    assert more.returncode == 0, more.stderr
    new = project.records()
    assert new.keys() - before.keys() == {name.replace("a-", "c-") for name in before if name.startswith("a-")}
    for name, record in new.items():
        assert record["setting"]["width"] == (4 if name.startswith("c-") else 8)
    again = project.snakemake("--until", "train", "--config", "outdated=redo")
    assert again.returncode == 0, again.stderr
    assert all(record["setting"]["width"] == 4 for record in project.records().values())
    assert {record["task"]["defaults"]["width"] for record in project.records().values()} == {4}

    project.configure({**config, "experiments": {"a": same}})
    folders = {path.name for path in (project.results / "files").iterdir()}
    weights = {path.stem for path in (project.results / "weights").glob("*-*")}
    assert len(folders) == 6 and weights == folders  # no leaderboard was made, and each may be the best of another
    deleted = project.run("python", "scripts/sweep.py", "orphans", "--delete", "--unknown")
    assert deleted.returncode == 0, deleted.stderr
    assert {path.name for path in (project.results / "files").iterdir()} == {n for n in folders if n.startswith("a-")}
    left = {path.stem for path in (project.results / "weights").glob("*-*")}
    assert left == {name for name in weights if name.startswith("a-")}
