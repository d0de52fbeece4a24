"""Data sets, splits and what users are told about bad data."""

import functools
import gzip
import hashlib
import os
import re
import shutil
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.datasets
import torch
from PIL import Image

from conftest import LIMIT, ROOT, Project
from dlsweep.config.identity import check_setting
from dlsweep.config.sweep import expand_config
from dlsweep.errors import ConfigError
from dlsweep.tasks.classification import image_files, image_folder
from dlsweep.tasks.classification.data import Splits, load_splits, prepare, save
from dlsweep.tasks.classification.datasets import load_digits
from dlsweep.tasks.classification.images import Images, Rows, mean_std
from raw_files import DATASETS, write_raw


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "digits.pt"
    prepare(check_setting({}), path, Path("data"))
    return path


def tensors(splits: Splits) -> list[torch.Tensor]:
    values = (value[:] if isinstance(value, Rows) else value for value in vars(splits).values())
    return [value for value in values if isinstance(value, torch.Tensor)]


def normalise(rows: Rows, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    return Images(rows, mean, std, torch.device("cpu"), torch.contiguous_format)[:]


def refused(path: Path, **values: Any) -> str:
    """What the user is told when these data are prepared; nothing may be written."""
    with pytest.raises(ConfigError) as error:
        prepare(setting(**values), path / "never.pt", path)
    assert not list(path.glob("never.pt*"))
    return str(error.value)


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
    assert splits.in_shape == (1, 8, 8) and splits.n_outputs == 10 and splits.classes[3] == "3"
    assert len(splits.test_y) == 359 and len(splits.val_y) == 288 and len(splits.train_y) == 1150
    assert splits.train_x.dtype == torch.float32 and splits.train_x[:].max() == 1
    content, theirs = load_digits("digits", setting(), Path()), sklearn.datasets.load_digits()
    assert torch.equal(content["x_train"][:, 0], torch.from_numpy(theirs.images).float() / 16)
    assert content["y_train"].tolist() == theirs.target.tolist()


def test_same_splits_bit_for_bit(digits: Path) -> None:
    first, second = (load_splits(digits, setting()) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(tensors(first), tensors(second), strict=True))
    other = load_splits(digits, setting(split_seed=1))
    assert not torch.equal(first.test_x[:], other.test_x[:])


def test_statistics_are_of_the_training_split(digits: Path) -> None:
    splits = load_splits(digits, setting())
    assert splits.mean == pytest.approx(splits.train_x[:].double().mean().item(), rel=1e-6)
    assert splits.std == pytest.approx(splits.train_x[:].double().std(correction=0).item(), rel=1e-6)
    x = normalise(splits.train_x, splits.mean, splits.std)
    assert abs(x.mean()) < 1e-5 and abs(x.std() - 1) < 1e-3


def test_uint8_is_scaled_and_a_constant_channel_is_left_alone() -> None:
    x = torch.stack([torch.randint(256, (50, 4, 4)), torch.full((50, 4, 4), 51)], 1).to(torch.uint8)
    mean, std = mean_std(Rows(x))
    scaled = x.double() / 255
    assert torch.allclose(mean.double(), scaled.mean((0, 2, 3)), rtol=1e-6)
    assert torch.allclose(std[:1].double(), scaled[:, :1].std((0, 2, 3), correction=0), rtol=1e-6)
    normal = normalise(Rows(x), mean, std)
    assert normal.dtype == torch.float32 and abs(normal[:, 1]).max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_feature_that_is_constant_in_training_keeps_its_distance_in_other_splits(dtype: torch.dtype) -> None:
    train = torch.tensor([[0, 10, 3], [0, 20, 3]], dtype=dtype)
    mean, std = mean_std(Rows(train))
    other = normalise(Rows(torch.tensor([[255, 20, 3]], dtype=dtype)), mean, std)
    assert std[0] == std[2] == 1
    assert other.tolist() == [[pytest.approx(1 if dtype == torch.uint8 else 255), pytest.approx(1), 0]]


def test_a_feature_far_from_zero_is_not_taken_for_a_constant_one() -> None:
    """As time stamps are: their variance is lost in the difference of two mean squares."""
    x = torch.stack([1.6e9 + 128 * torch.arange(20.0), torch.full((20,), 1.6e9)], 1)
    _, std = mean_std(Rows(x))
    assert std[0] == pytest.approx(x[:, 0].double().std(correction=0).item(), rel=1e-6) and std[1] == 1


def test_folds_are_stratified_and_each_image_is_in_one(tmp_path: Path) -> None:
    path = write(tmp_path / "data.pt", [23, 11, 8])
    folds = [load_splits(path, setting(n_folds=5, fold=fold, split_seed=3)) for fold in range(5)]
    tested = torch.cat([splits.test_x[:].flatten() for splits in folds])
    assert sorted(tested.tolist()) == list(range(42))
    counts = torch.stack([torch.bincount(splits.test_y, minlength=3) for splits in folds])
    assert (counts.amax(0) - counts.amin(0)).max() <= 1 and counts.sum(1).tolist() == [9, 9, 8, 8, 8]
    for splits in folds:
        parts = [part[:].flatten().tolist() for part in (splits.train_x, splits.val_x, splits.test_x)]
        assert sorted(parts[0] + parts[1] + parts[2]) == list(range(42))
        assert len(parts[1]) == round(0.2 * (42 - len(parts[2])))
    other = load_splits(path, setting(n_folds=5, split_seed=4))
    assert not torch.equal(other.test_x[:], folds[0].test_x[:])
    with pytest.raises(ConfigError, match="n_folds: 43 folds of 42 images"):
        load_splits(path, setting(n_folds=43))
    with pytest.raises(ConfigError, match="n_folds: the data has a test split of its own"):
        load_splits(write(tmp_path / "own.pt", [23, 11], own_test=True), setting(n_folds=5))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"val_size": 5000}, "val_size: 5000 images of 1438 is not possible; allowed: 1 to 1437 images"),
        ({"test_size": 1797}, "test_size: 1797 images of 1797"),
        ({"train_size": 1151}, "train_size: 1151 images of 1150 is not possible; allowed: 1 to 1150"),
        ({"train_size": 0.0001}, "train_size: 0.0001 (0 images)"),
        ({"train_size": 10.5}, "train_size: 10.5 is not allowed"),
        ({"train_size": 8}, "no image of class"),
    ],
)
def test_sizes_that_cannot_be_had(digits: Path, values: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_splits(digits, setting(**values))
    assert message in str(error.value)


@pytest.mark.parametrize("own_test", [False, True])
def test_splits_are_disjoint_stratified_and_nested(tmp_path: Path, own_test: bool) -> None:
    n_per_class = [200, 100, 37]
    path = write(tmp_path / "data.pt", n_per_class, own_test)
    n = sum(n_per_class)
    earlier: set[float] = set()
    first = load_splits(path, setting(split_seed=3, train_size=20))
    for train_size in (20, 21, 50, 100, 0.9, None):
        splits = load_splits(path, setting(split_seed=3, train_size=train_size))
        train, val, test = (set(x.flatten().tolist()) for x in (splits.train_x[:], splits.val_x[:], splits.test_x[:]))
        assert earlier <= train and not train & val and not train & test and not val & test
        assert torch.equal(splits.val_x[:], first.val_x[:]) and torch.equal(splits.test_x[:], first.test_x[:])
        counts = torch.bincount(splits.train_y, minlength=3)
        expected = torch.tensor(n_per_class) * len(splits.train_y) / n
        assert (counts - expected).abs().max() <= 2
        earlier = train
    assert len(splits.val_y) == round(0.2 * (n if own_test else n - round(0.2 * n)))
    assert len(train) + len(val) + (0 if own_test else len(test)) == n
    assert own_test == (splits.test_x[:].max() < 0).item()


# -- torchvision ---------------------------------------------------------------------------------------------------


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.mark.parametrize("dataset", DATASETS)
def test_files_of_torchvision(tmp_path: Path, dataset: str, offline: None, capsys: pytest.CaptureFixture[str]) -> None:
    write_raw(dataset, tmp_path / "raw")
    prepare(setting(dataset=dataset), tmp_path / "first.pt", tmp_path / "raw")
    assert "their checksums are not the published ones" in capsys.readouterr().out
    for archive in [*tmp_path.rglob("*.gz")]:
        archive.unlink()
    prepare(setting(dataset=dataset), tmp_path / "data.pt", tmp_path / "raw")  # from what was unpacked
    assert (tmp_path / "data.pt").read_bytes() == (tmp_path / "first.pt").read_bytes()
    splits = load_splits(tmp_path / "data.pt", setting(dataset=dataset))
    assert splits.in_shape == ((1, 28, 28) if "mnist" in dataset else (3, 32, 32))
    assert splits.n_outputs == (100 if dataset == "cifar100" else 10)
    assert [len(y) for y in (splits.train_y, splits.val_y, splits.test_y)] == [240, 60, 100]
    for x, y in (
        (splits.train_x[:], splits.train_y),
        (splits.val_x[:], splits.val_y),
        (splits.test_x[:], splits.test_y),
    ):
        assert x.dtype == torch.uint8 and (x[:, 0, 0] == 255).all() and (x[:, 0, 1:] < 255).all()
        assert (x[:, :, 1:].double().mean((1, 2, 3)) - 24.5 - 2 * y).abs().max() < 3
    names = {"mnist": "3", "fashion_mnist": "Dress", "kmnist": "tsu", "svhn": "3", "cifar10": "class 3"}
    assert splits.classes[3] == names.get(dataset, "fine 3")


@pytest.mark.parametrize("dataset", DATASETS)
def test_what_is_missing_offline(tmp_path: Path, dataset: str, offline: None) -> None:
    message = refused(tmp_path, dataset=dataset)
    assert message.startswith(f"{dataset}: cannot be downloaded (")
    write_raw(dataset, tmp_path / "other")
    for file in (tmp_path / "other").rglob("*.*"):
        assert f"{tmp_path / file.relative_to(tmp_path / 'other')}  from http" in message


@pytest.mark.parametrize(
    ("dataset", "file"),
    [
        ("mnist", "MNIST/raw/t10k-labels-idx1-ubyte.gz"),
        ("kmnist", "KMNIST/raw/train-images-idx3-ubyte"),
        ("cifar10", "cifar-10-python.tar.gz"),
        ("cifar10", "cifar-10-batches-py/data_batch_4"),
        ("cifar100", "cifar-100-python/meta"),
        ("svhn", "test_32x32.mat"),
    ],
)
@pytest.mark.parametrize("kept", [0, 0.5])
def test_truncated_files(tmp_path: Path, dataset: str, file: str, kept: float, offline: None) -> None:
    path = tmp_path / file
    write_raw(dataset, tmp_path)
    if not path.exists():  # it is made by a first preparation
        prepare(setting(dataset=dataset), tmp_path / "first.pt", tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    assert refused(tmp_path, dataset=dataset).startswith(f"{path}: is truncated or damaged")
    path.write_bytes(whole)
    prepare(setting(dataset=dataset), tmp_path / "again.pt", tmp_path)


def test_files_of_something_else(tmp_path: Path) -> None:
    write_raw("cifar10", tmp_path)
    prepare(setting(dataset="cifar10"), tmp_path / "first.pt", tmp_path)
    batch = tmp_path / "cifar-10-batches-py" / "data_batch_2"
    shutil.copy(batch.with_name("batches.meta"), batch)
    assert "do not hold cifar10 (KeyError: 'data')" in refused(tmp_path, dataset="cifar10")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that MNIST is downloaded from, with checksums of the files in it."""
    import torchvision

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None: ...

    folder = tmp_path / "server"
    write_raw("mnist", folder)
    folder = folder / "MNIST" / "raw"
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    mnist = torchvision.datasets.MNIST
    monkeypatch.setattr(mnist, "mirrors", [f"http://127.0.0.1:{httpd.server_port}/"])
    checksums = [(name, hashlib.md5((folder / name).read_bytes()).hexdigest()) for name, _ in mnist.resources]
    monkeypatch.setattr(mnist, "resources", checksums)
    yield folder
    httpd.shutdown()
    httpd.server_close()


def test_download(tmp_path: Path, server: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = tmp_path / "raw"
    damaged = server / "t10k-images-idx3-ubyte.gz"
    whole = damaged.read_bytes()
    damaged.write_bytes(gzip.compress(b"not what was published"))
    assert "cannot be downloaded" in (message := refused(raw, dataset="mnist")) and "corrupted" in message
    assert not (raw / "MNIST").exists()

    damaged.write_bytes(whole)
    prepare(setting(dataset="mnist"), tmp_path / "data.pt", raw)
    assert "warning" not in capsys.readouterr().out
    assert len(load_splits(tmp_path / "data.pt", setting(dataset="mnist")).test_y) == 100
    assert sorted(path.name for path in (raw / "MNIST" / "raw").iterdir()) == sorted(
        name for path in server.iterdir() for name in (path.name, path.stem)
    )
    assert not list(raw.glob(".download*"))

    # What the user has put there stays: a download fills only the gaps.
    own = raw / "MNIST" / "raw" / "train-images-idx3-ubyte"
    changed = bytearray(own.read_bytes())
    changed[-1] ^= 1
    own.write_bytes(changed)
    for path in own.parent.glob("t10k*"):
        path.unlink()
    prepare(setting(dataset="mnist"), tmp_path / "data.pt", raw)
    assert own.read_bytes() == changed


# -- npz -----------------------------------------------------------------------------------------------------------

Y = np.arange(60) % 3
X = np.random.default_rng(0).integers(0, 256, (60, 3, 5, 7)).astype(np.uint8)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (X, X),
        (X.transpose(0, 2, 3, 1), X),
        (np.asfortranarray(X[:, 0]), X[:, :1]),
        (X[:, :1].transpose(0, 2, 3, 1), X[:, :1]),
        (X.reshape(60, -1), X.reshape(60, -1)),
        (X.astype(np.int64), X.astype(np.float32)),
        (X.astype(">f8") / 3, (X / 3).astype(np.float32)),
        (X.astype(np.float16), X.astype(np.float32)),
        (X > 99, (X > 99).astype(np.float32)),
        (X[:, :, :3, :3], X[:, :, :3, :3]),  # both could be channels: the second axis, as in torch
    ],
)
def test_npz_layouts(tmp_path: Path, x: np.ndarray, expected: np.ndarray) -> None:
    np.savez_compressed(tmp_path / "mine.npz", x_train=x, y_train=Y.astype(np.uint8), note="any other array")
    prepare(setting(dataset="npz", data_path=str(tmp_path / "mine.npz")), tmp_path / "data.pt", tmp_path)
    content = torch.load(tmp_path / "data.pt", weights_only=True)
    assert content["x_train"].numpy().dtype == expected.dtype
    np.testing.assert_array_equal(content["x_train"], expected)
    assert content["y_train"].dtype == torch.int64 and content["classes"] == ["0", "1", "2"]


def test_npz_with_its_own_splits(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    classes = np.array(["cat", "dog", "owl"])
    np.savez(path, x_train=X, y_train=Y[:, None], x_val=X[:9], y_val=Y[:9], x_test=X[:6], y_test=Y[:6], classes=classes)
    values = setting(dataset="npz", data_path=str(path))
    prepare(values, tmp_path / "data.pt", tmp_path)
    splits = load_splits(tmp_path / "data.pt", values)
    assert [len(y) for y in (splits.train_y, splits.val_y, splits.test_y)] == [60, 9, 6]
    assert splits.classes == ["cat", "dog", "owl"]


NAN = X.astype(np.float32)
NAN[7, 1, 2, 3] = np.nan


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": X[:50], "y_train": Y}, "x_train has 50 images, but y_train has 60 labels"),
        ({"x_train": NAN, "y_train": Y}, "x_train has NaN or infinite values, the first in x_train[7]"),
        ({"x_train": X * 1e60, "y_train": Y}, "x_train has NaN or infinite values"),
        ({"x_train": X, "y_train": Y.astype(float)}, "y_train is float64; labels are integers that count from 0"),
        ({"x_train": X, "y_train": Y.astype(str)}, "y_train is <U21; labels are integers"),
        ({"x_train": X, "y_train": np.eye(3, dtype=int)[Y]}, "y_train has shape (60, 3) and is one-hot"),
        ({"x_train": X, "y_train": Y - 1}, "y_train has label -1"),
        ({"x_train": X, "y_train": Y + 1}, "no image of class 0 is in y_train, of classes 0 to 3; labels count from 0"),
        ({"x_train": X, "y_train": Y * 2}, "no image of class 1 is in y_train, of classes 0 to 4"),
        ({"x_train": X, "y_train": Y * 0}, "has a single class"),
        ({"x_train": X, "y_train": Y, "classes": ["a", "b"]}, "has label 2, but names only 2 classes"),
        ({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y + 1}, "no image of class 3 is in y_train"),
        ({"x_train": X, "y_train": Y, "x_test": X[:, :2], "y_test": Y}, "x_test has shape (60, 2, 5, 7), but x_train"),
        ({"x_train": X, "y_train": Y, "x_test": X / 2, "y_test": Y}, "x_test is float32, but x_train is uint8"),
        ({"x_train": X, "y_train": Y, "x_test": X}, "has no array 'y_test'; it has x_train, y_train, x_test"),
        ({"x_train": X, "y_train": Y, "x_valid": X}, "has an array 'x_valid'; known are x_train, y_train, x_val"),
        ({"images": X, "labels": Y}, "has no array 'x_train'; it has images, labels"),
        ({"x_train": X[:0], "y_train": Y[:0]}, "x_train is empty, its shape is (0, 3, 5, 7)"),
        ({"x_train": Y, "y_train": Y}, "x_train has shape (60,); allowed: (N, D), (N, H, W), (N, C, H, W)"),
        ({"x_train": X.astype(str), "y_train": Y}, "x_train is <U3; allowed: numbers"),
        ({"x_train": np.array([[1], [1, 2]], object), "y_train": Y}, "holds Python objects"),
    ],
)
def test_npz_that_is_wrong(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays)
    told = refused(tmp_path, dataset="npz", data_path=str(path))
    assert told.startswith(f"{path}: ") and message in told


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda whole: whole[:-100], "is no .npz file, or is truncated"),
        (lambda whole: b"", "is no .npz file, or is truncated"),
        (lambda whole: b"x,y\n1,2\n", "is no .npz file, or is truncated"),
        (lambda whole: whole[:500] + bytes(100) + whole[600:], "is damaged (Bad CRC-32"),
    ],
)
def test_npz_that_is_damaged(tmp_path: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, x_train=X, y_train=Y)
    path.write_bytes(damage(path.read_bytes()))
    assert refused(tmp_path, dataset="npz", data_path=str(path)).startswith(f"{path}: {message}")


@pytest.mark.parametrize("dataset", ["npz", "image_folder"])
def test_data_path_that_is_wrong(tmp_path: Path, dataset: str) -> None:
    missing = f"data_path: is missing; dataset {dataset} needs it"
    assert missing in refused(tmp_path, dataset=dataset)
    with pytest.raises(ConfigError, match=f"experiments.own.{missing}"):  # before any job
        expand_config({"experiments": {"own": {"grid": {"dataset": ["digits", dataset]}}}})
    assert "data_path: no/such: no such file" in refused(tmp_path, dataset=dataset, data_path="no/such")
    wrong_kind = tmp_path if dataset == "npz" else Path(__file__)
    assert refused(tmp_path, dataset=dataset, data_path=str(wrong_kind)).startswith(f"{wrong_kind}: ")


# -- image folder --------------------------------------------------------------------------------------------------


def draw(folder: Path, name: str, colour: Any, mode: str = "RGB", size: tuple[int, int] = (12, 8)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(folder / name)
    return folder / name


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    root = tmp_path / "animals"
    for i in range(6):
        draw(root / "cat", f"{i}.PNG", (250, 0, i))
        draw(root / "dog", f"{i}.jpg", (0, 250, i), size=(20, 30))
    return root


def test_image_folder(animals: Path) -> None:
    (animals / ".ipynb_checkpoints").mkdir()
    (animals / "cat" / "labels.txt").write_text("no image")
    (animals / "README.md").write_text("no class")
    values = setting(dataset="image_folder", data_path=str(animals), image_size=10)
    prepare(values, animals.parent / "data.pt", animals)
    splits = load_splits(animals.parent / "data.pt", values)
    assert splits.classes == ["cat", "dog"] and splits.in_shape == (3, 10, 10)
    assert splits.train_x.dtype == torch.uint8
    assert torch.equal(splits.train_x[:][:, 0].amin((1, 2)) > 200, splits.train_y == 0)
    assert torch.equal(splits.train_x[:][:, 1].amin((1, 2)) > 200, splits.train_y == 1)


def test_image_folder_with_its_own_splits_in_grey(tmp_path: Path) -> None:
    for split, n in (("train", 8), ("val", 3), ("test", 2)):
        for i in range(n):
            draw(tmp_path / "grey" / split / "a", f"{i}.png", 0, "L")
            draw(tmp_path / "grey" / split / "b", f"{i}.png", 40_000, "I;16")
    values = setting(dataset="image_folder", data_path=str(tmp_path / "grey"), image_size=4)
    prepare(values, tmp_path / "data.pt", tmp_path)
    splits = load_splits(tmp_path / "data.pt", values)
    assert splits.in_shape == (1, 4, 4)
    assert [len(y) for y in (splits.train_y, splits.val_y, splits.test_y)] == [16, 6, 4]
    assert torch.equal(splits.test_x[:][:, 0, 0, 0].long(), splits.test_y * (40_000 // 256))


def test_a_folder_of_images_is_read_on_where_it_was_ended(
    animals: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By several threads, as by one: the same file, and no image is read twice."""
    values, output = setting(dataset="image_folder", data_path=str(animals), image_size=10), animals.parent / "data.pt"
    prepare(values, output, animals)
    once = output.read_bytes()
    output.unlink()
    read, seen = image_folder._read_image, []

    def ended_after_nine(path: Path, size: int) -> Any:
        seen.append(path)
        if len(seen) == 9 and not output.exists():
            raise KeyboardInterrupt
        return read(path, size)

    monkeypatch.setattr(image_files, "TOGETHER", 4)
    monkeypatch.setattr(image_folder, "_read_image", ended_after_nine)
    with pytest.raises(KeyboardInterrupt):
        prepare(values, output, animals)
    partial = output.with_suffix(".partial")
    with (partial / image_files.JOURNAL).open("a") as journal:
        journal.write('{"mode": "R')  # torn
    prepare(values, output, animals, threads=3)
    assert output.read_bytes() == once and not partial.exists()
    assert "8 of 12 images have been read by an earlier start" in capsys.readouterr().out
    assert len(seen) <= 9 + 3 + 4  # of the four that were read together, and not kept, again

    shutil.copytree(animals / "cat", animals / "bird")  # other files: all are read again
    seen.clear()
    prepare(values, output, animals, threads=2)
    assert len(seen) == 18


def test_photos_are_turned_as_the_camera_says(animals: Path) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:2] = 255  # bright at the top of the sensor; orientation 6 means the top is at the right
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(animals / "cat" / "0.PNG", exif=exif)
    values = setting(dataset="image_folder", data_path=str(animals), image_size=8)
    prepare(values, animals.parent / "data.pt", animals)
    x = torch.load(animals.parent / "data.pt", weights_only=True)["x_train"][0]
    assert (x[:, :, 6:] == 255).all() and (x[:, :, :6] == 0).all()


def test_image_folder_that_is_wrong(animals: Path) -> None:
    def told() -> str:
        return refused(animals.parent, dataset="image_folder", data_path=str(animals))

    photo = animals / "dog" / "3.jpg"
    whole = photo.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no picture at all"):
        photo.write_bytes(content)
        assert told().startswith(f"{photo}: is not a readable image (")
    photo.write_bytes(whole)
    (animals / "owl").mkdir()
    assert told().startswith(f"{animals / 'owl'}: has no images; allowed are .bmp")

    shutil.rmtree(animals / "owl")
    for split in ("train", "valid"):
        shutil.copytree(animals / "cat", animals / split / "cat")
        shutil.copytree(animals / "dog", animals / split / "dog")
    shutil.rmtree(animals / "cat")
    shutil.rmtree(animals / "dog")
    assert told() == f"{animals / 'valid'}: beside train only val and test are allowed. Did you mean 'val'?"
    (animals / "valid").rename(animals / "val")
    (animals / "val" / "dog").rename(animals / "val" / "dogs")
    assert told() == f"{animals / 'val' / 'dogs'}: is not a class of {animals / 'train'}. Did you mean 'dog'?"
    shutil.rmtree(animals / "val" / "cat")
    shutil.rmtree(animals / "val" / "dogs")
    assert told() == f"{animals / 'val'}: has no images"
    shutil.rmtree(animals / "train")
    shutil.rmtree(animals / "val")
    assert told() == f"{animals}: has no folders; it needs one per class"


def ramps(folder: Path, as_stored: Callable[[np.ndarray], np.ndarray], suffix: str) -> list[np.ndarray]:
    """Write two classes of 8 x 8 images whose grey values, integers from 0 to 255, rise in different directions."""
    ramp = np.arange(64).reshape(8, 8) * 4
    for name, image in (("a", ramp), ("b", ramp[::-1])):
        (folder / name).mkdir(parents=True)
        Image.fromarray(as_stored(image)).save(folder / name / f"0{suffix}")
    return [ramp, ramp[::-1]]


@pytest.mark.parametrize(
    ("as_stored", "scale", "suffix"),
    [
        (lambda image: (image / 255).astype(np.float32), 1 / 255, ".tif"),  # floating point in [0, 1]
        (lambda image: (image - 100).astype(np.float32), None, ".tif"),
        (lambda image: image.astype(np.uint16), 1, ".png"),  # 8 bits in a file of 16
        (lambda image: (image * 16).astype(np.uint16), 16, ".tif"),  # 12 bits, of a microscope
        (lambda image: np.where(image > 250, 65535, image).astype(np.uint16), None, ".png"),  # one bright spot
        (lambda image: (image * 1000).astype(np.int32), 1000, ".tif"),
    ],
)
def test_images_of_more_than_8_bits_keep_what_they_show(
    tmp_path: Path, as_stored: Callable[[np.ndarray], np.ndarray], scale: float | None, suffix: str
) -> None:
    shown = ramps(tmp_path / "deep", as_stored, suffix)
    values = setting(dataset="image_folder", data_path=str(tmp_path / "deep"), image_size=8)
    prepare(values, tmp_path / "data.pt", tmp_path)
    x = torch.load(tmp_path / "data.pt", weights_only=True)["x_train"]
    assert x.dtype == torch.float32 and x.shape == (2, 1, 8, 8)
    for found, image in zip(x[:, 0].double().numpy(), shown, strict=True):
        assert len(np.unique(found)) == 64
        if scale:
            np.testing.assert_allclose(found / scale, image, rtol=1e-6)


def write_16_bit_colours(path: Path, pixels: np.ndarray) -> None:
    """A PNG of (H, W, 3) uint16, which PIL cannot write."""
    height, width, _ = pixels.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def test_images_that_would_lose_what_they_show_are_refused_by_name(animals: Path) -> None:
    def told() -> str:
        return refused(animals.parent, dataset="image_folder", data_path=str(animals), image_size=8)

    photo = animals / "dog" / "9.png"
    ramp = np.arange(64, dtype=np.uint8).reshape(8, 8)
    icon = np.zeros((8, 8, 4), np.uint8)
    icon[..., 3] = ramp
    Image.fromarray(icon).save(photo)
    assert told().startswith(f"{photo}: shows something only by its transparency")
    Image.fromarray(ramp.astype(np.uint16)).save(photo)
    assert told().startswith(f"{photo}: is an image of more than 8 bits (values in all such images: 0 to 63)")
    assert f"{animals / 'cat' / '0.PNG'} is of 8 bits" in told()
    write_16_bit_colours(photo, np.stack([ramp] * 3, -1).astype(np.uint16))
    assert told().startswith(f"{photo}: is a colour image of 16 bits a channel")
    photo = photo.rename(photo.with_suffix(".tif"))
    Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(photo)
    assert told() == f"{photo}: has NaN or infinite pixels"


def test_colour_tables_inks_and_transparency_beside_colours_are_read(animals: Path) -> None:
    """Palette images, CMYK, RGBA with colours of its own, and 16 bits a channel that are used."""
    colours = Image.fromarray(np.indices((8, 8)).sum(0, dtype=np.uint8)[..., None] * np.uint8([16, 8, 1]))
    expected = np.asarray(colours).transpose(2, 0, 1)
    folder = animals / "cat"
    colours.convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "a.png")
    colours.convert("CMYK").save(folder / "b.tif")
    colours.convert("RGBA").save(folder / "c.png")
    write_16_bit_colours(folder / "d.png", np.asarray(colours).astype(np.uint16) * 257)
    values = setting(dataset="image_folder", data_path=str(animals), image_size=8)
    prepare(values, animals.parent / "data.pt", animals)
    x = torch.load(animals.parent / "data.pt", weights_only=True)["x_train"]
    for image in x[6:10]:
        np.testing.assert_allclose(image.double(), expected, atol=8)


def test_data_that_are_all_alike_are_told_on_the_console(project: Project) -> None:
    np.savez(project.folder / "mine.npz", x_train=np.ones((60, 5)), y_train=Y)
    data = {"dataset": "npz", "data_path": "mine.npz", "epochs": 1, "n_layer": 1, "hid_dim": 4}
    project.configure({"experiments": {"own": {**data, "figures": []}}})
    done = project.snakemake("own")
    told = "warning: mine.npz: all 60 vectors of x_train are the same; nothing can be learned"
    assert told in done.stdout + done.stderr


# -- the prepared file and the command line ------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"no data", {"x_train": torch.zeros(3)}])
def test_prepared_file_that_is_damaged(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "data.pt"
    torch.save(content, path) if isinstance(content, dict) else path.write_bytes(content)
    with pytest.raises(ConfigError, match="is damaged; delete it, and the next start prepares it again"):
        load_splits(path, setting())


def test_changed_data_repeat_no_finished_run(project: Project) -> None:
    def configure(lr: list[float]) -> None:
        data = {"dataset": "npz", "data_path": "mine.npz", "epochs": 1, "n_layer": 1, "hid_dim": 4}
        project.configure({"experiments": {"own": {**data, "grid": {"lr": lr}, "figures": []}}})

    configure([0.1])
    done = project.snakemake()
    assert done.returncode != 0
    assert "error: data_path: mine.npz: no such file" in done.stdout + done.stderr
    np.savez(project.folder / "mine.npz", x_train=X, y_train=Y)
    assert project.snakemake().returncode == 0
    (prepared,) = (project.results / "data").glob("*.pt")
    (record,) = project.records().values()
    assert record["provenance"]["data"] == torch.load(prepared, weights_only=True)["digest"]

    np.savez(project.folder / "mine.npz", x_train=255 - X, y_train=Y)
    later = time.time() + 1
    os.utime(project.folder / "mine.npz", (later, later))
    assert not {"prepare", "train"} & set(project.planned())
    configure([0.1, 0.2])
    planned = project.planned()
    assert planned["prepare"] == planned["train"] == planned["aggregate"] == 1
    done = project.run("python", "scripts/prepare.py", "--dataset=npz", "--data-path=mine.npz", f"--output={prepared}")
    assert "the data have changed; finished runs keep the results" in done.stdout


def test_a_run_imports_no_reader() -> None:
    code = "import sys, dlsweep.runs.run, dlsweep.tasks.classification.training; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    readers = {f"dlsweep.tasks.classification.{name}" for name in ("datasets", "downloads", "image_folder", "tables")}
    assert not ({"sklearn", "torchvision", "scipy", "PIL", "pandas"} | readers) & set(done.stdout.split())


def test_command_line(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "scripts" / "prepare.py"), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT)

    done = run("--dataset=digits", "--output=new/digits.pt")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "new").iterdir() if path.suffix == ".pt"] == ["digits.pt"]
    wrong = run("--dataset=digit", "--output=other.pt")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: dataset:") and "Did you mean 'digits'?" in wrong.stderr
    assert not (tmp_path / "other.pt").exists()
    assert "--image-size" in run("--help").stdout


def test_a_data_set_is_one_function_and_one_line(tmp_path: Path) -> None:
    """As docs/reference/data.md has it."""
    function, line = re.findall(
        r"```python\n(def .*?|    \"moons.*?)```", (ROOT / "docs/reference/data.md").read_text(), re.S
    )
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    library = tmp_path / "scripts" / "dlsweep"
    loaders, registry = library / "tasks/classification/datasets.py", library / "config/registry.py"
    loaders.write_text(loaders.read_text() + function)
    registry.write_text(registry.read_text().replace("DATASETS = {\n", "DATASETS = {\n" + line))
    command = [sys.executable, "scripts/prepare.py", "--dataset=moons", "--output=moons.pt"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    splits = load_splits(tmp_path / "moons.pt", setting())
    assert splits.in_shape == (2,) and splits.classes == ["upper", "lower"] and len(splits.test_y) == 200
