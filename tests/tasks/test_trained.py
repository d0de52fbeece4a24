"""A trained model in the hand: it does what the run did, bit for bit, and says what does not fit."""

import contextlib
import json
import os
import signal
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import Project, outcome
from dlsweep import load_model, load_weights
from dlsweep.commands.export_model import export_model
from dlsweep.commands.predict import predict
from dlsweep.commands.weights import weights
from dlsweep.config.identity import check_setting, setting_hash
from dlsweep.config.keep import Keep
from dlsweep.config.options import RUN_OPTIONS
from dlsweep.config.paths import data_file, predictions_file, state_file, weights_file
from dlsweep.config.sweep import expand_config
from dlsweep.errors import ConfigError, RecordError
from dlsweep.files import write_json
from dlsweep.results import weights as weights_module
from dlsweep.results.init_from import weights_digest
from dlsweep.results.predictions import read_predictions, small_images, split_digest
from dlsweep.results.versions import find_outdated
from dlsweep.results.weights import Weights, list_weights, read_weights, write_weights
from dlsweep.runs import run as run_module
from dlsweep.runs.run import RunOptions, run_setting
from dlsweep.tasks.classification.data import load_splits, prepare

MODEL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, in_shape, n_classes, width=8):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(in_shape[0], width, 3), nn.BatchNorm2d(width)
        self.linear, self.steps = nn.Linear(width, n_classes), 0

    def forward(self, x):
        self.steps += self.training
        return self.linear(self.norm(self.conv(x)).relu().mean((2, 3)))

    def get_extra_state(self):
        return {"steps": self.steps}

    def set_extra_state(self, state):
        self.steps = state["steps"]
"""
FUNCTION = """
import torch

def train(run, *, lr: float = 0.1, seed: int = 0):
    net, average = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    run.restore(net=net, average=average, optimizer=optimizer, notes={"a": 1})
    for epoch in run.epochs(2):
        loss = (net(torch.ones(3, 2)) - 1).square().mean()
        loss.backward()
        optimizer.step()
        run.log(train_loss=loss)
    return {"val_loss": loss, "weight": float(net.weight[0, 0])}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    """A working folder with data of each kind and models of the user's own."""
    folder, before = tmp_path_factory.mktemp("trained"), Path.cwd()
    os.chdir(folder)
    Path("net_here.py").write_text(MODEL)
    Path("fit_here.py").write_text(FUNCTION)
    chance = np.random.default_rng(0)
    images = chance.integers(0, 256, (150, 12, 12, 3), dtype=np.uint8)
    np.savez("images.npz", x_train=images, y_train=np.arange(150) % 3, classes=["cat", "dog", "emu"])
    np.savez("labels.npz", x_train=images[..., 0], y_train=chance.integers(0, 2, (150, 4)))
    vectors = chance.normal(5, 3, (120, 6)).astype(np.float32)
    np.savez("numbers.npz", x_train=vectors, y_train=vectors[:, :2] * 30 + 100)
    path = sys.path[:]
    yield folder
    sys.path[:] = path
    os.chdir(before)


def trained(exp_name: str, results: str = "results", keep_state: bool = False, **values: Any) -> dict[str, Any]:
    """Do a run; return its record."""
    setting = check_setting(values if "train" in values else {"epochs": 2, "batch_size": 32, **values})
    data = data_file("results", setting)
    if data and not Path(data).exists():
        prepare(setting, Path(data), Path("data"))
    told = {name: option.default for name, option in RUN_OPTIONS.items()}
    told |= {
        "exp_name": exp_name,
        "results": Path(results),
        "data": Path(data) if data else None,
        "keep_weights": Keep(),
        "keep_state": keep_state,
    }
    options = RunOptions(**{field.name: told[field.name] for field in fields(RunOptions)})
    assert run_setting(options, setting, "by hand") == 0
    return json.loads(Path(results, f"{exp_name}-{setting_hash(setting)}.json").read_text())


IMAGES = {"dataset": "npz", "data_path": "images.npz"}
KINDS = {
    "mlp": {"n_layer": 2, "hid_dim": 16, "batch_norm": True, "dropout": 0.2},
    "best": {"n_layer": 1, "hid_dim": 16, "lr": 1.0, "epochs": 4, "test_weights": "best"},
    "half": {"precision": "bf16", "n_layer": 1, "hid_dim": 16},
    "images": {**IMAGES, "model": "cnn", "n_block": 1, "channels": 4, "channels_last": True, "batch_norm": True},
    "own": {**IMAGES, "model": "net_here:Net", "model_args": {"width": 4}},
    "labels": {"dataset": "npz", "data_path": "labels.npz", "loss": "binary_cross_entropy", "hid_dim": 16},
    "numbers": {"dataset": "npz", "data_path": "numbers.npz", "loss": "mse", "hid_dim": 16, "lr": 0.01},
}


@pytest.mark.parametrize("name", KINDS)
def test_what_was_tested_is_computed_again_from_the_weights_and_raw_data(folder: Path, name: str):
    record = trained(name, **KINDS[name])
    setting, final = record["setting"], record["final"]
    data = load_splits(Path(data_file("results", setting)), setting)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    model, info = load_model("results", name)
    assert torch.equal(torch.get_rng_state(), state)
    assert info.record == record and info.hash == record["hash"] and info.kind == data.kind
    assert info.in_shape == data.in_shape and info.classes == data.classes
    raw, truth = data.test_x[:], data.test_y
    found, outputs = model.predict(raw), model.outputs(raw)
    if data.kind == "classes":
        assert (found.argmax(1) == truth).double().mean().item() == final["test_acc"]
        loss = torch.nn.functional.cross_entropy(outputs, truth)
        torch.testing.assert_close(found.sum(1), torch.ones(len(found)))
        kept = read_predictions(predictions_file(Path("results"), name, record["hash"]))
        assert ((kept.rank == 0) == kept.correct).all()
        assert (kept.label == found.argmax(1).numpy()).all() and (kept.target == truth.numpy()).all()
        assert (kept.probability == found.amax(1).numpy().astype(np.float16)).all()
        if raw.ndim == 4:
            assert (kept.images == small_images(raw[kept.shown].numpy())).all() and not kept.correct[kept.shown].any()
            assert len(kept.shown) == min(16, (~kept.correct).sum())
        assert kept.split == split_digest(raw.numpy(), truth.numpy()) and kept.correct.mean() == final["test_acc"]
    elif data.kind == "labels":
        loss = torch.nn.functional.binary_cross_entropy_with_logits(outputs, truth.float())
    else:
        assert (found.double() - truth.double()).abs().mean().item() == final["test_mae"]
        loss = ((found - truth) / model.target_std).square().mean()
        assert final["test_mae"] > 1  # in their own unit
    assert loss.item() == pytest.approx(final["test_loss"], rel=1e-6)
    if setting["precision"] == "fp32":
        torch.testing.assert_close(model(raw), outputs, rtol=1e-4, atol=1e-4)
    assert not model.training
    if raw.dtype == torch.uint8:
        torch.testing.assert_close(model.predict(raw.numpy() / np.float32(255)), found, rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match=r"input: has shape .*; this model takes \(N, "):
        model.predict(raw[..., :1])
    assert model.predict(raw[:0]).shape == found[:0].shape


def test_the_states_that_an_own_function_has_named_are_kept(folder: Path):
    record = trained("fits", train="fit_here:train")
    states, about = load_weights("results", "fits")
    assert states.keys() == {"net", "average"} and about["setting"] == record["setting"]
    net = torch.nn.Linear(2, 1)
    net.load_state_dict(states["net"])
    assert net.weight[0, 0].item() == record["final"]["weight"]
    with pytest.raises(ConfigError, match=r"training code of your own, .*; load_weights returns what it named"):
        load_model("results", record["hash"][:10])


@contextlib.contextmanager
def changed(path: Path, **changes: Any):
    """A file of weights whose metadata say something else, as one from elsewhere may."""
    before, weights = path.read_bytes(), read_weights(path)
    write_weights(path, Weights(weights.tensors, {**weights.about, **changes}))
    yield
    path.write_bytes(before)


def test_weights_that_do_not_fit_are_named_and_nothing_is_executed(folder: Path, capsys: pytest.CaptureFixture[str]):
    record = trained("own", **KINDS["own"])
    path = weights_file(Path("results"), "own", record["hash"])
    source = Path("net_here.py").read_text()
    module = sys.modules.pop("net_here", None)
    Path("net_here.py").write_text(
        source.replace("self.linear, self.steps", "self.last, self.steps").replace("self.linear(", "self.last(")
    )
    with pytest.raises(ConfigError, match=r"of another architecture: .*last.weight") as error:
        load_model("results", "own")
    assert "\n" not in str(error.value)
    assert "the code that trained it has changed since" in capsys.readouterr().err
    Path("net_here.py").write_text(source)
    sys.modules.pop("net_here")
    load_model("results", "own")
    assert capsys.readouterr().err == ""
    sys.modules["net_here"] = module or sys.modules["net_here"]

    marker = folder / "executed"
    evil = check_setting({**record["setting"], "model": "subprocess:Popen", "model_args": {"args": f"touch {marker}"}})
    with changed(path, setting=evil), pytest.raises(RecordError, match="has a setting with another hash than its own"):
        load_model("results", "own")
    other = weights_file(Path("results"), "own", setting_hash(evil))
    write_weights(other, Weights({}, {**read_weights(path).about, "setting": evil, "hash": setting_hash(evil)}))
    with pytest.raises(ConfigError, match="its model, subprocess:Popen, is not in a file of yours"):
        load_model("results", str(other))
    assert not marker.exists()
    with changed(path, setting={"lr": "fast"}), pytest.raises(RecordError, match="has a setting that is not allowed"):
        load_model("results", "own")
    with changed(path, made_with={**read_weights(path).about["made_with"], "torch": "1.0"}):
        load_model("results", "own")
    assert "was trained with torch 1.0; with " in capsys.readouterr().err


def test_weights_and_predictions_are_copied_with_a_record_and_trained_again_are_the_same(folder: Path):
    record = trained("mlp", **KINDS["mlp"])
    copied = trained("copy", **KINDS["mlp"])
    assert copied == {**record, "exp_name": "copy"}
    again = trained("mlp", results="again", **KINDS["mlp"])
    assert outcome(again) == outcome(record)
    first, *others = (
        (read_weights(weights_file(results, exp_name, record["hash"])).tensors, predicted.read_bytes())
        for results, exp_name in ((Path("results"), "mlp"), (Path("results"), "copy"), (Path("again"), "mlp"))
        if (predicted := predictions_file(results, exp_name, record["hash"])).exists()
    )
    assert len(others) == 2
    for tensors, predicted in others:
        assert tensors.keys() == first[0].keys() and predicted == first[1]
        assert all(torch.equal(first[0][name], tensor) for name, tensor in tensors.items())


def test_weights_are_made_again_where_the_record_comes_out_the_same_and_only_there(folder: Path):
    results = Path("remade")
    record = trained("mlp", results="remade", **KINDS["mlp"])
    trained("other", results="remade", **KINDS["mlp"])
    path, other = (weights_file(results, name, record["hash"]) for name in ("mlp", "other"))
    first, torn = read_weights(path), path.read_bytes()[:5000]
    path.write_bytes(torn)
    other.unlink()
    predictions = predictions_file(results, "mlp", record["hash"])
    predicted = predictions.read_bytes()
    predictions.unlink()
    record_file = results / f"mlp-{record['hash']}.json"
    before = record_file.read_bytes()

    assert weights(results, [record["hash"][:8]], "cpu") == 0
    for again in (path, other):
        tensors = read_weights(again).tensors
        assert tensors.keys() == first.tensors.keys()
        assert all(torch.equal(tensors[name], tensor) for name, tensor in first.tensors.items())
    assert predictions.read_bytes() == predicted and record_file.read_bytes() == before
    assert load_model(results, "mlp")[1].hash == record["hash"]  # it still is known as the best
    assert [entry.name for entry in (results / "running").iterdir()] == []

    path.unlink()
    other.unlink()
    record["epochs"][1]["val_loss"] += 1e-12
    write_json(record_file, {**record, "provenance": {**record["provenance"], "torch": "2.0"}})
    with pytest.raises(ConfigError, match=r"another record; no weights are kept\n  epoch 2: val_loss: .* now\n  torch"):
        weights(results, [record["hash"]], "cpu")
    assert not path.exists() and not list((results / "running").iterdir())

    for change, why in (
        ({"status": "diverged"}, "diverged, so it has no weights"),
        ({"setting": {"imported": "x.csv"}}, "trained elsewhere and imported"),
    ):
        record_file.write_text(json.dumps(record))
        with pytest.MonkeyPatch.context() as patch, pytest.raises(ConfigError, match=why):
            patch.setattr("dlsweep.commands.weights.read_record", lambda _, change=change: {**record, **change})
            weights(results, [record["hash"]], "cpu")


def test_a_run_begins_with_the_weights_of_another_and_says_what_does_not_fit(folder: Path):
    source = trained("source", **KINDS["images"])
    path = weights_file(Path("results"), "source", source["hash"])
    tuned = trained("tuned", **KINDS["images"], init_from=source["hash"], lr=1e-30)  # which changes nothing
    assert tuned["final"]["test_acc"] == source["final"]["test_acc"] and tuned["hash"] != source["hash"]
    assert all(
        torch.equal(tensor, read_weights(path).tensors[name])
        for name, tensor in load_weights("results", "tuned")[0]["network"].items()
        if "running" not in name and "tracked" not in name
    )
    assert tuned["provenance"]["init_from"] == read_weights(path).about["sha1"][:12] == weights_digest(path)
    assert "init_from" not in source["provenance"]
    assert weights(Path("results"), [tuned["hash"]], "cpu") == 0  # are there
    weights_file(Path("results"), "tuned", tuned["hash"]).unlink()
    assert weights(Path("results"), [tuned["hash"]], "cpu") == 0  # are made again, from the same

    two = {**KINDS["images"], "data_path": "two.npz", "init_from": str(path)}
    data = np.load("images.npz")
    np.savez("two.npz", x_train=data["x_train"], y_train=data["y_train"] % 2)
    assert failed("two", **two) == (
        f"init_from: {path}: does not fit the model: classifier.1.weight is (3, 144) there and (2, 144) here;"
        " classifier.1.bias is (3,) there and (2,) here. Where only the number of classes differs, write"
        " init_last_layer: false"
    )
    other = trained("two", **two, init_last_layer=False, lr=1e-30)
    body = load_weights("results", "two")[0]["network"]
    assert torch.equal(body["blocks.0.0.weight"], read_weights(path).tensors["blocks.0.0.weight"])
    assert other["setting"]["init_last_layer"] is False and body["classifier.1.weight"].shape == (2, 144)
    wider = failed("wider", **{**KINDS["images"], "channels": 8}, init_from=source["hash"])
    assert "blocks.0.0.weight is (4, 3, 3, 3) there and (8, 3, 3, 3) here; " in wider and "more" in wider
    assert "init_last_layer" not in wider
    assert failed("none", init_from="0" * 40) == (
        f"init_from: {'0' * 40}: results has no weights of such a run, and no record of it"
    )
    assert failed("none", init_from="no/such.safetensors") == "init_from: no/such.safetensors: no such file"
    with pytest.raises(ConfigError, match=r'init_from: "3f2a" is not allowed; allowed: "hash of 40 digits, or FILE'):
        check_setting({"init_from": "3f2a"})


def failed(exp_name: str, **values: Any) -> str:
    """Do a run that fails; return what it says."""
    with pytest.raises(AssertionError):
        trained(exp_name, **values)
    digest = setting_hash(check_setting({"epochs": 2, "batch_size": 32, **values}))
    return json.loads(Path("results/running", f"{exp_name}-{digest}.json").read_text())["error"]


def test_runs_whose_first_weights_have_changed_since_are_outdated(folder: Path):
    source = trained("before", **KINDS["mlp"], seed=1)
    path = weights_file(Path("results"), "before", source["hash"])
    values = {**KINDS["mlp"], "epochs": 2, "batch_size": 32, "init_from": source["hash"]}
    trained("after", **values)
    sweep = expand_config({"experiments": {"after": values}})

    def lines() -> list[str]:
        return find_outdated(sweep, Path("results")).lines(["config.yaml"], {})

    assert lines() == []
    before, kept = path.read_bytes(), read_weights(path)
    write_weights(path, Weights({name: tensor + 1 for name, tensor in kept.tensors.items()}, kept.about))
    assert lines()[0] == (
        f"1 of 1 finished runs were made with other weights than init_from {source['hash'][:8]} has now"
    )
    path.unlink()
    assert lines() == []  # nobody knows
    path.write_bytes(before)


def test_a_sweep_makes_the_runs_that_others_begin_with_first_and_keeps_their_weights(project: Project):
    defaults = {"epochs": 1, "train_size": 200, "n_layer": 1, "hid_dim": 8}
    first = setting_hash(check_setting({**defaults, "lr": 0.1}))
    config = {
        "save": "none",
        "keep_state": True,
        "defaults": defaults,
        "experiments": {
            "tune": {"init_from": first, "lr": 0.01},
            "first": {"grid": {"lr": [0.1, 0.2]}},
        },
    }
    project.configure(config)
    done = project.snakemake("tune")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(project.records()) == 2
    assert [path.stem for path in (project.results / "weights").glob("*.safetensors")] == [f"first-{first}"]
    assert len(list((project.results / "weights").glob("*-*.pt"))) == 2
    assert [record["exp_name"] for record in project.records().values() if "init_from" in record["provenance"]] == [
        "tune"
    ]

    weights_file(project.results, "first", first).unlink()
    project.configure({**config, "experiments": {"tune": {"init_from": first, "lr": 0.03}}})
    done = project.snakemake()
    assert (
        done.returncode
        and (
            f"error: init_from: the weights of results/first-{first}.json are not kept; to make them: python"
            f" scripts/sweep.py weights {first[:12]}"
        )
        in done.stderr
    )
    assert "Traceback" not in done.stderr and len(project.records()) == 2


@pytest.mark.parametrize("name", ["mlp", "best", "own"])
def test_more_epochs_continue_a_finished_run_whose_state_was_kept_and_end_the_same(
    folder: Path, capfd: pytest.CaptureFixture[str], name: str
):
    schedules = {
        "mlp": {"lr_schedule": "exponential", "optimizer": "adam"},
        "own": {"lr_schedule": "step", "lr_step": 1},
    }
    values = {**KINDS[name], **schedules.get(name, {})}
    direct = trained(name, results=f"direct-{name}", **{**values, "epochs": 6})
    two = trained(name, results=f"more-{name}", keep_state=True, **{**values, "epochs": 2})
    trained(name, results=f"more-{name}", keep_state=True, **{**values, "epochs": 4})
    capfd.readouterr()
    more = trained("more", results=f"more-{name}", **{**values, "epochs": 6})
    said = capfd.readouterr().out
    assert "continuing the run" in said and "after its 4 epochs" in said and "epoch 5/6" in said
    assert "epoch 4/6" not in said
    assert outcome({**more, "exp_name": name}) == outcome(direct)
    assert more["provenance"]["continues"] != two["hash"] and "continues" not in direct["provenance"]
    assert (
        not list(Path(f"more-{name}/running").glob("*.pt"))
        and len(list(Path(f"more-{name}/weights").glob("*.pt"))) == 2
    )
    assert all(
        torch.equal(tensor, load_weights(f"direct-{name}", name)[0]["network"][key])
        for key, tensor in load_weights(f"more-{name}", "more")[0]["network"].items()
    )


def test_a_run_that_would_not_be_in_that_state_starts_from_the_beginning_and_says_why(
    folder: Path, capfd: pytest.CaptureFixture[str]
):
    values = {"results": "anew", "n_layer": 1, "hid_dim": 8}
    short = trained("cosine", keep_state=True, **values, lr_schedule="cosine")["hash"][:12]
    trained("cosine", **values, epochs=3, lr_schedule="cosine")
    assert (
        f"lr_schedule cosine has other learning rates over 3 epochs than over 2: the run {short} is not continued,"
        " training starts from the beginning" in capfd.readouterr().out
    )
    constant = trained("constant", keep_state=True, **values)["hash"]
    path = state_file(Path("anew"), "constant", constant)
    kept = path.read_bytes()
    for fault, content in {"cannot be read (": kept[: len(kept) // 2], "is of another setting": cosine_state()}.items():
        path.write_bytes(content)
        record = trained(f"after-{len(fault)}", **values, epochs=3)
        for found in Path("anew").glob(f"after-*-{record['hash']}.json"):
            found.unlink()
        assert f"{path} {fault}" in capfd.readouterr().out and "continues" not in record["provenance"]
        assert path.read_bytes() == content  # it is the user's
    path.write_bytes(kept)
    assert trained("last", **values, epochs=3)["provenance"]["continues"] == constant


def cosine_state() -> bytes:
    return next(Path("anew/weights").glob("cosine-*.pt")).read_bytes()


def test_what_keeps_a_state_is_said_in_the_config_and_changes_no_hash():
    experiments = {"experiments": {"a": {"lr": 0.1}}}
    sweep, plain = expand_config({"keep_state": True, **experiments}), expand_config(experiments)
    assert sweep.keep_state and not plain.keep_state and list(sweep.records()) == list(plain.records())
    with pytest.raises(ConfigError, match="keep_state: 3 is not allowed; allowed: true, false"):
        expand_config({"keep_state": 3, **experiments})


@pytest.mark.parametrize("moment", ["half", "whole", "renamed", "noted"])
def test_a_run_killed_while_it_writes_its_weights_leaves_nothing_half_there(folder: Path, moment: str):
    results = Path(f"killed-{moment}")
    undisturbed = trained("mlp", results="undisturbed", **KINDS["mlp"])
    path = weights_file(results, "mlp", undisturbed["hash"])
    child = os.fork()
    if not child:
        _kill_at(moment)
        trained("mlp", results=str(results), **KINDS["mlp"])
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert not list(results.glob("*.json"))
    assert list_weights(results) == ([path] if moment in ("renamed", "noted") else [])
    left = path.with_name(f"{path.name}.tmp")
    assert left.exists() == (moment in ("half", "whole"))
    if moment == "half":
        assert left.stat().st_size < 1000
    assert outcome(trained("mlp", results=str(results), **KINDS["mlp"])) == outcome(undisturbed)
    there = read_weights(path).tensors
    expected = load_weights("undisturbed", "mlp")[0]["network"]
    assert all(torch.equal(there[name], tensor) for name, tensor in expected.items()) and len(there) == len(expected)
    assert not list(results.rglob("*.tmp")) and load_model(results, "mlp")[1].record


def _kill_at(moment: str) -> None:
    """Have this process killed when its weights are half written, whole, renamed, or noted."""

    def kill(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def half(path: Path, data: bytes) -> None:
        path.with_name(f"{path.name}.tmp").write_bytes(data[:500])
        kill()

    def replace(self: Path, target: Path) -> Path:
        return kill() if target.suffix == ".safetensors" else renamed(self, target)

    renamed = Path.replace
    if moment == "half":
        weights_module.write_atomic = half
    elif moment == "whole":
        Path.replace = replace
    elif moment == "renamed":
        weights_module._note = kill
    else:
        run_module.write_json = lambda path, *_, **__: kill() if path.parent.name.startswith("killed") else None


def test_weights_of_another_run_than_the_record_are_not_trusted(folder: Path):
    record = trained("mlp", results="stale", **KINDS["mlp"])
    record["provenance"]["code"] = "0123456789ab"  # it was made again with other code
    write_json(Path("stale", f"mlp-{record['hash']}.json"), record)
    with pytest.raises(RecordError, match=r"is of another run than .*, which was made with other code"):
        load_model("stale", "mlp")


def predicted(results: str, run: str, data: Path | None, ensemble: bool = False) -> pd.DataFrame:
    assert predict(Path(results), run, data, Path("out.csv"), ensemble, "cpu", False) == 0
    return pd.read_csv("out.csv", dtype={"class": str, "labels": str})


def test_new_data_are_predicted_as_the_training_data_were_read(folder: Path, capfd: pytest.CaptureFixture[str]):
    from PIL import Image

    record = trained("images", results="new", **KINDS["images"])
    whole = predicted("new", "images", None)
    assert f"test_acc {record['final']['test_acc']:.4f}, computed from the weights" in capfd.readouterr().out
    truth = load_splits(Path(data_file("new", record["setting"])), record["setting"])
    names = np.array(truth.classes)[truth.test_y]
    assert (whole["class"] == names).mean() == record["final"]["test_acc"]
    np.testing.assert_allclose(whole[["p_cat", "p_dog", "p_emu"]].sum(1), 1, rtol=1e-5)

    Path("shots/deep").mkdir(parents=True)
    pixels = truth.test_x[:].permute(0, 2, 3, 1).numpy()
    for i in range(3):
        Image.fromarray(pixels[i]).save(f"shots/{'deep/' * (i == 2)}{i}.png")
    np.savez("few.npz", x=pixels[:3])
    columns = ["class", "probability", "p_cat", "p_dog", "p_emu"]
    from_files, from_array = predicted("new", "images", Path("shots")), predicted("new", "images", Path("few.npz"))
    assert from_files["file"].tolist() == ["0.png", "1.png", "deep/2.png"] and from_array["row"].tolist() == [0, 1, 2]
    pd.testing.assert_frame_equal(from_files[columns], whole[columns][:3])
    pd.testing.assert_frame_equal(from_array[columns], whole[columns][:3])
    pd.testing.assert_frame_equal(
        predicted("new", "images", Path("shots/1.png"))[columns], whole[columns][1:2].reset_index(drop=True)
    )

    before = Path("out.csv").read_bytes()
    np.savez("small.npz", x=pixels[:, :5])
    Path("shots/deep/3.png").write_bytes(b"torn")
    for data, why in (
        ("small.npz", r"has shape \(N, 3, 5, 12\); this model takes \(N, 3, 12, 12\)"),
        ("none.csv", "no such file or folder"),
        ("shots", r"3.png: is not a readable image"),
        ("net_here.py", "is of no kind that can be read"),
    ):
        with pytest.raises(ConfigError, match=why):
            predicted("new", "images", Path(data))
    assert Path("out.csv").read_bytes() == before


def test_columns_of_a_table_are_taken_by_their_names(folder: Path):
    chance = np.random.default_rng(0)
    table = pd.DataFrame(chance.normal(size=(90, 3)), columns=["a", "b", "c"])
    table["kind"] = np.where(table["a"] > table["b"], "up", "down")
    table.to_csv("table.csv", index=False)
    record = trained("table", results="new", dataset="csv", data_path="table.csv", target="kind", hid_dim=8)
    table.to_csv("plain.csv", index=False)
    table[["c", "kind", "a", "b"]].assign(id=1).to_csv("other.csv", index=False)
    plain = predicted("new", "table", Path("plain.csv"))
    assert list(plain) == ["row", "class", "probability", "p_down", "p_up"] and len(plain) == 90
    pd.testing.assert_frame_equal(predicted("new", record["hash"][:9], Path("other.csv")), plain)
    table.drop(columns="b").to_csv("less.csv", index=False)
    with pytest.raises(ConfigError, match="has no column 'b'; the model takes a, b, c"):
        predicted("new", "table", Path("less.csv"))


def test_an_ensemble_is_the_mean_of_its_seeds(folder: Path, capfd: pytest.CaptureFixture[str]):
    records = [trained("seeds", results="seeds", **KINDS["mlp"], seed=seed) for seed in range(3)]
    alone = [predicted("seeds", record["hash"], None) for record in records]
    capfd.readouterr()
    both = predicted("seeds", records[0]["hash"], None, ensemble=True)
    columns = [name for name in both if name.startswith("p_")]
    np.testing.assert_allclose(both[columns], sum(one[columns] for one in alone) / 3, atol=1e-6)
    splits = load_splits(Path(data_file("seeds", records[0]["setting"])), records[0]["setting"])
    accuracy = (both["class"].astype(int) == splits.test_y.numpy()).mean()
    accuracies = [record["final"]["test_acc"] for record in records]
    told = capfd.readouterr().out
    assert f"test_acc {accuracy:.4f} of 3 seeds together; alone {min(accuracies):.4f} to {max(accuracies):.4f}" in told
    assert f"gains {accuracy - sum(accuracies) / 3:+.4f}" in told
    weights_file(Path("seeds"), "seeds", records[1]["hash"]).unlink()
    with pytest.raises(ConfigError, match=f"1 of 3 seeds were not kept .*weights {records[1]['hash'][:12]}"):
        predicted("seeds", records[0]["hash"], None, ensemble=True)


@pytest.mark.parametrize("name", ["half", "images", "own"])
def test_an_exported_model_computes_what_it_does_in_torch(folder: Path, capfd: pytest.CaptureFixture[str], name: str):
    import onnxruntime

    record = trained(name, results="exported", **KINDS[name])
    model, info = load_model("exported", name)
    raw = load_splits(Path(data_file("results", record["setting"])), record["setting"]).test_x[:]
    for alone in (False, True):
        assert export_model(Path("exported"), name, "onnx", alone, Path("net.onnx"), False) == 0
        assert f"net.onnx: {record['hash'][:12]} as onnx, takes " in capfd.readouterr().out
        session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
        given = model.normalise(raw) if alone else raw
        found = torch.from_numpy(session.run(None, {"input": given.numpy()})[0])
        torch.testing.assert_close(found, model(raw).detach(), rtol=1e-4, atol=1e-5)
        about = json.loads(session.get_modelmeta().custom_metadata_map["dlsweep"])
        assert about["classes"] == info.classes and about["raw"] is alone
        Path("net.onnx").unlink()

    assert export_model(Path("exported"), name, "torch_export", False, None, False) == 0
    exported = torch.export.load(f"{name}-{record['hash'][:12]}.pt2").module()
    torch.testing.assert_close(exported(raw), model(raw), rtol=1e-5, atol=1e-6)


def test_an_exported_model_that_differs_or_cannot_be_made_leaves_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch):
    from dlsweep.commands import export_model as module

    trained("mlp", results="unlike", **KINDS["mlp"])
    arguments = (Path("unlike"), "mlp", "onnx", False, Path("unlike.onnx"), False)
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ConfigError, match=r"needs onnx, onnxscript, onnxruntime.* -r requirements-export\.txt$"):
            export_model(*arguments)

    def off(program: Any, about: str) -> Any:
        return b"", lambda x: program.module()(x) * 1.001

    monkeypatch.setitem(module.FORMATS, "onnx", (off, ".onnx"))
    with pytest.raises(ConfigError, match=r"its outputs differ from torch's by .*; nothing is written"):
        export_model(*arguments)

    def fails(program: Any, about: str) -> Any:
        raise RuntimeError("no such operator")

    monkeypatch.setitem(module.FORMATS, "onnx", (fails, ".onnx"))
    with pytest.raises(ConfigError, match=r"cannot be exported as onnx: RuntimeError: no such operator"):
        export_model(*arguments)
    assert not list(Path().glob("unlike.onnx*"))
