"""Data sets, splits and what users are told about bad data."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from dlsweep.data import Splits, load_splits, mean_std, normalise, prepare, save
from dlsweep.hyperparameters import ConfigError, check_setting

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "digits.pt"
    prepare(check_setting({}), path, Path("data"))
    return path


def tensors(splits: Splits) -> list[torch.Tensor]:
    return [value for value in vars(splits).values() if isinstance(value, torch.Tensor)]


def write(path: Path, n_per_class: list[int], own_test: bool = False) -> Path:
    """A prepared file in which every image holds its own index."""
    y = torch.cat([torch.full((n,), label) for label, n in enumerate(n_per_class)])
    y = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(1))]
    content = {"x_train": torch.arange(len(y)).float().view(-1, 1), "y_train": y}
    if own_test:
        content |= {"x_test": -1 - content["x_train"][:20], "y_test": y[:20]}
    save({**content, "classes": [str(label) for label in range(len(n_per_class))]}, path)
    return path


def setting(**values: Any) -> dict[str, Any]:
    return check_setting(values)


def test_digits(digits: Path) -> None:
    splits = load_splits(digits, setting())
    assert splits.in_shape == (1, 8, 8) and splits.n_classes == 10 and splits.classes[3] == "3"
    assert len(splits.test_y) == 359 and len(splits.val_y) == 288 and len(splits.train_y) == 1150
    assert splits.train_x.dtype == torch.float32 and splits.train_x.max() == 1
    start = time.perf_counter()
    load_splits(digits, setting())
    assert time.perf_counter() - start < 0.1  # about 3 ms on an idle machine


def test_same_splits_bit_for_bit(digits: Path) -> None:
    first, second = (load_splits(digits, setting()) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(tensors(first), tensors(second), strict=True))
    other = load_splits(digits, setting(split_seed=1))
    assert not torch.equal(first.test_x, other.test_x)


def test_statistics_are_of_the_training_split(digits: Path) -> None:
    splits = load_splits(digits, setting())
    assert splits.mean == pytest.approx(splits.train_x.double().mean().item(), rel=1e-6)
    assert splits.std == pytest.approx(splits.train_x.double().std(correction=0).item(), rel=1e-6)
    x = normalise(splits.train_x, splits.mean, splits.std)
    assert abs(x.mean()) < 1e-5 and abs(x.std() - 1) < 1e-3


def test_uint8_is_scaled_and_a_constant_channel_is_left_alone() -> None:
    x = torch.stack([torch.randint(256, (50, 4, 4)), torch.full((50, 4, 4), 51)], 1).to(torch.uint8)
    mean, std = mean_std(x)
    scaled = x.double() / 255
    assert torch.allclose(mean.double(), scaled.mean((0, 2, 3)), rtol=1e-6)
    assert torch.allclose(std[:1].double(), scaled[:, :1].std((0, 2, 3), correction=0), rtol=1e-6)
    normal = normalise(x, mean, std)
    assert normal.dtype == torch.float32 and abs(normal[:, 1]).max() < 1e-6


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"val_size": 5000}, "val_size: 5000 images of 1438 cannot be had; allowed: 1 to 1437 images"),
        ({"test_size": 1797}, "test_size: 1797 images of 1797"),
        ({"train_size": 1151}, "train_size: 1151 images of 1150 cannot be had; allowed: 1 to 1150"),
        ({"train_size": 0.0001}, "train_size: 0.0001 (0 images)"),
        ({"train_size": 10.5}, "train_size: 10.5 is not allowed"),
        ({"train_size": 8}, "no image of class"),
    ],
)
def test_sizes_that_cannot_be_had(digits: Path, values: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_splits(digits, setting(**values))
    assert message in str(error.value)


def test_command_line(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "scripts" / "prepare.py"), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    done = run("--dataset=digits", "--output=new/digits.pt")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["digits.pt"]
    wrong = run("--dataset=digit", "--output=other.pt")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: dataset:") and "Did you mean 'digits'?" in wrong.stderr
    assert not (tmp_path / "other.pt").exists()
    assert "--image-size" in run("--help").stdout
