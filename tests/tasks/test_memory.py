"""What a run needs, told before it starts, against the models as they are and files as they are prepared."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from conftest import Project
from dlsweep.config.identity import check_setting
from dlsweep.tasks.classification import data as data_module
from dlsweep.tasks.classification import images
from dlsweep.tasks.classification.data import load_splits, prepare, read
from dlsweep.tasks.classification.memory import (
    Data,
    describe_data,
    evaluated_at_once,
    kept_bytes,
    needed,
    size_of,
    worth_lowering,
)
from dlsweep.tasks.classification.models import build_model
from dlsweep.workflow import memory as workflow_memory
from dlsweep.workflow.memory import Memory

CIFAR = (3, 32, 32)
MODELS: list[tuple[dict[str, Any], tuple[int, ...]]] = [
    ({"hid_dim": 50, "n_layer": 3, "batch_norm": True, "dropout": 0.1}, CIFAR),
    ({"n_layer": 1}, (7,)),
    ({"model": "cnn", "channels": 8, "batch_norm": True, "dropout": 0.2, "kernel_size": 5}, CIFAR),
    ({"model": "cnn", "channels": 4, "n_block": 2, "n_conv": 3}, (3, 40)),
    ({"model": "vgg11", "batch_norm": True}, CIFAR),
    ({"model": "vgg19", "dropout": 0.5}, (1, 64, 64)),
    ({"model": "resnet20"}, CIFAR),
    ({"model": "resnet56"}, (1, 27, 27)),
    ({"model": "resnet18"}, CIFAR),
    ({"model": "resnet34"}, (3, 224, 224)),
    ({"model": "resnet50"}, (3, 96, 96)),
]


@pytest.mark.parametrize(("values", "in_shape"), MODELS, ids=str)
def test_the_size_of_a_model_is_known_before_it_is_built(values: dict[str, Any], in_shape: tuple[int, ...]) -> None:
    setting, returned = check_setting(values), []
    with torch.device("meta"):
        model = build_model(setting, in_shape, 10)
        for layer in model.modules():
            if not list(layer.children()) and not isinstance(layer, (nn.Flatten, nn.Identity)):
                layer.register_forward_hook(lambda layer, x, y: returned.append(y.numel() // len(y)))
        model(torch.zeros(2, *in_shape))
    size = size_of(setting, in_shape, 10)
    assert size and size.parameters == sum(weight.numel() for weight in model.parameters())
    assert max(size.layers) == max(returned)
    if "resnet" in setting["model"]:  # what is not a layer of theirs is no module: sums, some activations
        assert 0.8 < sum(size.layers) / sum(returned) < 2
    else:
        assert list(size.layers) == returned


def test_wide_layers_are_evaluated_with_fewer_images_at_once() -> None:
    """Two features and a thousand hidden units once took 8.5 GB."""
    wide = check_setting({"hid_dim": 1000})
    rows = evaluated_at_once(2, size_of(wide, (2,), 10))
    assert rows > 1000 and rows * 1000 * 4 <= 2**28
    assert evaluated_at_once(3072, size_of(check_setting({}), CIFAR, 10)) == 682  # as ever: records stay the same
    assert evaluated_at_once(2, None) == 2**20  # of one's own model nothing is known


def test_what_is_known_of_data_before_and_after_they_are_prepared(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (40, 8, 9, 3), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", x_train=images, y_train=np.arange(40) % 4)
    setting = check_setting({"dataset": "npz", "data_path": str(tmp_path / "mine.npz")})
    prepared = tmp_path / "mine.pt"
    before = describe_data(setting, prepared)
    assert before and (before.n, before.in_shape) == (40, (3, 8, 9))
    prepare(setting, prepared, tmp_path)
    assert describe_data(setting, prepared) == Data(40, (3, 8, 9), 4)
    assert describe_data(check_setting({"dataset": "my_data:load"})) is None
    assert describe_data({**setting, "data_path": "not there.npz"}) is None
    assert describe_data(check_setting({"dataset": "cifar10"})) == Data(50_000, CIFAR, 10)


def test_what_is_worth_lowering_stands_in_the_order_of_what_it_brings() -> None:
    data = Data(50_000, CIFAR, 10)
    by_weights = check_setting({"hid_dim": 20_000, "n_layer": 4, "optimizer": "adam"})
    assert worth_lowering(by_weights, data)[:2] == ["hid_dim", "n_layer"]
    by_images = check_setting({"model": "cnn", "batch_size": 4096})
    assert worth_lowering(by_images, data)[:2] == ["batch_size", "channels"]
    assert worth_lowering(check_setting({"batch_size": "full", "model": "cnn"}), data)[0] == "batch_size"
    small, large = needed(check_setting({}), data), needed(by_images, data)
    assert small and large and small.host < 500e6 and large.host > 5e9


def test_weights_that_would_fill_the_disk_are_told_before_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    memory = Memory(str(tmp_path), SimpleNamespace(slots=0))  # type: ignore[arg-type]
    adam = check_setting({"optimizer": "adam", "hid_dim": 1000, "test_weights": "best"})
    n_bytes = 4 * sum(weight.numel() for weight in build_model(adam, (1, 8, 8), 10).parameters())
    assert kept_bytes(adam, Data(100, (1, 8, 8), 10), weights=True, state=False) == n_bytes
    assert kept_bytes(adam, Data(100, (1, 8, 8), 10), weights=True, state=True) == 5 * n_bytes
    assert kept_bytes(check_setting({"model": "my_nets:Net"}), None, True, True) == 0  # nobody knows
    monkeypatch.setattr(workflow_memory.shutil, "disk_usage", lambda _: SimpleNamespace(free=60 * n_bytes))
    assert memory.disk_remark([adam] * 100, weights=False, states=False) == ""
    assert memory.disk_remark([adam] * 30, weights=True, states=False) == ""
    told = memory.disk_remark([adam] * 31, weights=True, states=False)
    assert told.startswith(f"warning: save: all will keep about 0.3 GB in {tmp_path}/weights, where 0.5 GB are free; ")
    assert "save: all and keep_state: true will" in memory.disk_remark([adam] * 7, weights=True, states=True)
    monkeypatch.setattr(workflow_memory.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**13))
    assert "about 10." in memory.disk_remark([adam] * (10**10 // n_bytes + 1), weights=True, states=False)


def test_no_more_runs_start_than_fit_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow_memory, "free_memory", lambda: 1000)
    workflow = SimpleNamespace(
        global_resources={"_cores": 8}, resource_settings=SimpleNamespace(nodes=None), is_main_process=True
    )
    memory = Memory(str(tmp_path), SimpleNamespace(slots=0))  # type: ignore[arg-type]
    memory.limit(workflow)
    assert workflow.global_resources["mem_mb"] == 1000
    small, large = check_setting({}), check_setting({"model": "vgg16", "batch_size": 4096, "dataset": "cifar10"})
    assert 0 < memory.of_run(small) <= 500
    assert memory.remark([small] * 2, 2) == ""
    assert "a run needs up to 0.5 GB: 2 of 8 such runs go at once" in memory.remark([small] * 8, 8)
    assert "it may fail. Lower batch_size (now 4096)" in memory.remark([small, large], 2)
    own = check_setting({"model": "my_nets:Net"})
    assert memory.of_run(own) == 0  # nobody knows
    workflow.resource_settings.nodes = 100
    memory.limit(workflow)
    assert memory.of_run(small) == memory.of_run(own) == 4000 < memory.of_run(large)  # of a cluster


def test_snakemake_is_told_what_each_run_needs(project: Project) -> None:
    models = {"grid": {"model": ["mlp", "vgg11"], "batch_size": [64, 1024]}}
    project.configure({"defaults": {"dataset": "cifar10"}, "experiments": {"e": models}})
    done = project.snakemake("-n", "--workflow-profile", "none", cores=8)
    assert done.returncode == 0, done.stderr
    told = re.findall(r"rule train:.*?mem_mb=(\d+)", done.stdout + done.stderr, re.DOTALL)
    assert len(told) == 4 and len(set(told)) >= 3 and max(map(int, told)) > 2000


def test_the_images_of_a_file_larger_than_memory_can_be_mapped(tmp_path: Path) -> None:
    """torch.load(mmap=True) maps it so that it could be written to, which the kernel refuses."""
    path = tmp_path / "data.pt"
    np.savez(
        tmp_path / "mine.npz", x_train=np.ones((20, 4), np.uint8) * np.arange(20)[:, None], y_train=np.arange(20) % 2
    )
    setting = check_setting({"dataset": "npz", "data_path": str(tmp_path / "mine.npz")})
    prepare(setting, path, tmp_path)
    content = read(path)
    flags = [line.split()[1] for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(path))]
    assert flags and all(flag == "r--s" for flag in flags)
    assert torch.equal(content["x_train"], torch.load(path, weights_only=True)["x_train"])
    content["y_train"].add_(1)  # targets are given to the user's code, which may write to them
    assert torch.equal(load_splits(path, setting).train_y, load_splits(path, setting).train_y)
    assert data_module.digest({k: v for k, v in read(path).items() if k != "digest"}) == content["digest"]


def test_rows_that_a_device_holds_are_those_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "BLOCK_VALUES", 1)
    stored = torch.arange(400, dtype=torch.uint8)[:, None].expand(400, 7).contiguous()
    rows = images.Rows(stored, torch.randperm(400)[:333])
    held = images._held(rows, torch.device("cpu"))
    assert held.chosen is None and torch.equal(held.stored, rows[:])
