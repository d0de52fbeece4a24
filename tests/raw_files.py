"""Tiny data sets in the files that the real ones come in: pickled batches in a tar, gzipped IDX, MATLAB."""

import gzip
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
from scipy.io import savemat

DATASETS = ("mnist", "fashion_mnist", "kmnist", "cifar10", "cifar100", "svhn")


def images(n: int, n_classes: int, channels: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, C, H, W), uint8, and labels (N,). The brightness tells the class; the first row of the first
    channel is 255, so that a reader that mixes up the axes is found out."""
    labels = np.arange(n) % n_classes
    noise = np.random.default_rng(n).integers(0, 50, (n, channels, size, size))
    x = (noise + 2 * labels[:, None, None, None]).astype(np.uint8)
    x[:, 0, 0] = 255
    return x, labels


def write_raw(dataset: str, folder: Path, n_train: int = 300, n_test: int = 100) -> None:
    """Write the files that a user would put in place in the raw folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write = {"cifar10": write_cifar10, "cifar100": write_cifar100, "svhn": write_svhn}
    if dataset in write:
        write[dataset](folder, n_train, n_test)
    else:
        name = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}[dataset]
        write_idx(folder / name / "raw", n_train, n_test)


def write_idx(folder: Path, n_train: int, n_test: int) -> None:
    """The four gzipped IDX files of MNIST and its successors."""
    folder.mkdir(parents=True)
    for part, n in (("train", n_train), ("t10k", n_test)):
        x, labels = images(n, 10, 1, 28)
        for name, array in ((f"{part}-images-idx3-ubyte", x[:, 0]), (f"{part}-labels-idx1-ubyte", labels)):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
            (folder / f"{name}.gz").write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0))


def write_cifar10(folder: Path, n_train: int, n_test: int) -> None:
    """cifar-10-python.tar.gz: five training batches, each image one row of 3,072 bytes."""
    files: dict[str, dict] = {"batches.meta": {"label_names": [f"class {i}" for i in range(10)]}}
    for name, n in ({f"data_batch_{i}": n_train // 5 for i in range(1, 6)} | {"test_batch": n_test}).items():
        x, labels = images(n, 10, 3, 32)
        files[name] = {"batch_label": name, "labels": labels.tolist(), "data": x.reshape(n, -1)}
    _write_tar(folder / "cifar-10-python.tar.gz", "cifar-10-batches-py", files)


def write_cifar100(folder: Path, n_train: int, n_test: int) -> None:
    """cifar-100-python.tar.gz: images as in CIFAR-10, with a fine and a coarse label."""
    files: dict[str, dict] = {"meta": {"fine_label_names": [f"fine {i}" for i in range(100)]}}
    for name, n in (("train", n_train), ("test", n_test)):
        x, labels = images(n, 100, 3, 32)
        coarse = (labels // 5).tolist()
        files[name] = {"fine_labels": labels.tolist(), "coarse_labels": coarse, "data": x.reshape(n, -1)}
    _write_tar(folder / "cifar-100-python.tar.gz", "cifar-100-python", files)


def _write_tar(path: Path, folder: str, files: dict[str, dict]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            data = pickle.dumps(content, protocol=2)
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def write_svhn(folder: Path, n_train: int, n_test: int) -> None:
    """train_32x32.mat and test_32x32.mat: images (32, 32, 3, N), labels (N, 1) in which 10 means the digit 0."""
    for part, n in (("train", n_train), ("test", n_test)):
        x, labels = images(n, 10, 3, 32)
        stored = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
        savemat(folder / f"{part}_32x32.mat", {"X": x.transpose(2, 3, 1, 0), "y": stored})
