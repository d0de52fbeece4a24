"""The data sets that torchvision downloads, or that someone has placed where it looks for them."""

from __future__ import annotations

import pickle
import shutil
import socket
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlsweep.config.identity import Setting
from dlsweep.errors import ConfigError
from dlsweep.locks import acquire
from dlsweep.tasks.classification.source_files import Content, listed

DOWNLOAD_TIMEOUT = 60  # seconds without a byte; a machine behind a silent firewall would wait for ever


@dataclass(frozen=True)
class _Source:
    """Where a torchvision data set comes from; paths are below the raw folder, checksums are torchvision's md5.

    `archives` maps what is downloaded to its (URL, checksum), `files` what is read to its checksum or None;
    `reader` is the torchvision class, without checksums of its own: a user's re-packed copy is read as well.
    `arguments` are those of the class for the training and the test split; `read_one` reads a single file.
    """

    downloader: Callable[..., Any]
    reader: Callable[..., Any]
    arguments: tuple[Mapping[str, Any], Mapping[str, Any]]
    archives: Mapping[Path, tuple[str, str]]
    files: Mapping[Path, str | None]
    read_one: Callable[[Path], Any]


def _mnist(dataset: Any) -> _Source:
    from torchvision.datasets.mnist import read_sn3_pascalvincent_tensor

    folder = Path(dataset.__name__, "raw")
    return _Source(
        downloader=dataset,
        reader=dataset,  # torchvision knows no checksums of the unpacked files
        arguments=({"train": True}, {"train": False}),
        archives={folder / name: (dataset.mirrors[0] + name, md5) for name, md5 in dataset.resources},
        files={folder / name.removesuffix(".gz"): None for name, _ in dataset.resources},
        read_one=read_sn3_pascalvincent_tensor,
    )


def _cifar(dataset: Any) -> _Source:
    batches, meta = [*dataset.train_list, *dataset.test_list], dataset.meta
    unchecked = {
        "train_list": [(name, None) for name, _ in dataset.train_list],
        "test_list": [(name, None) for name, _ in dataset.test_list],
        "meta": {**meta, "md5": None},
    }
    return _Source(
        downloader=dataset,
        reader=type(dataset.__name__, (dataset,), unchecked),
        arguments=({"train": True}, {"train": False}),
        archives={Path(dataset.filename): (dataset.url, dataset.tgz_md5)},
        files={Path(dataset.base_folder, name): md5 for name, md5 in [*batches, (meta["filename"], meta["md5"])]},
        read_one=lambda path: pickle.loads(path.read_bytes(), encoding="latin1"),
    )


def _svhn(dataset: Any) -> _Source:
    from scipy.io import loadmat

    parts = {split: dataset.split_list[split] for split in ("train", "test")}
    unchecked = {split: [url, name, None] for split, (url, name, _) in parts.items()}
    return _Source(
        downloader=dataset,
        reader=type(dataset.__name__, (dataset,), {"split_list": unchecked}),
        arguments=({"split": "train"}, {"split": "test"}),
        archives={Path(name): (url, md5) for url, name, md5 in parts.values()},
        files={Path(name): md5 for _, name, md5 in parts.values()},
        read_one=loadmat,
    )


def _source(name: str) -> _Source:
    from torchvision import datasets

    sources: dict[str, tuple[Callable[[Any], _Source], Any]] = {
        "mnist": (_mnist, datasets.MNIST),
        "fashion_mnist": (_mnist, datasets.FashionMNIST),
        "kmnist": (_mnist, datasets.KMNIST),
        "cifar10": (_cifar, datasets.CIFAR10),
        "cifar100": (_cifar, datasets.CIFAR100),
        "svhn": (_svhn, datasets.SVHN),
    }
    describe, dataset = sources[name]
    return describe(dataset)


def load_torchvision(name: str, setting: Setting, raw_folder: Path) -> Content:
    """Return a data set of torchvision, uint8 (N, C, H, W), with its own test split.

    What is missing in the raw folder is unpacked from its archive there, or downloaded. A file that is there is
    read as it is; where its checksum is not torchvision's, a warning says so.
    """
    source = _source(name)
    _put_in_place(name, source, raw_folder)
    _warn_of_other_checksums(source.files, raw_folder)
    try:
        train, test = (source.reader(raw_folder, **arguments) for arguments in source.arguments)
    except Exception as error:  # reading a torn pickle, IDX or .mat file can raise almost anything
        raise ConfigError(_unreadable(name, source, raw_folder, error)) from None
    classes = getattr(train, "classes", range(10))
    return {
        "x_train": _pixels(train),
        "y_train": _targets(train),
        "x_test": _pixels(test),
        "y_test": _targets(test),
        "classes": [str(label).partition(" - ")[0] for label in classes],  # mnist has "0 - zero"
    }


def _warn_of_other_checksums(files: Mapping[Path, str | None], raw_folder: Path) -> None:
    from torchvision.datasets.utils import check_integrity

    others = [
        str(raw_folder / file) for file, md5 in files.items() if md5 and not check_integrity(raw_folder / file, md5)
    ]
    if others:
        print(f"warning: used as they are, though their checksums are not the published ones: {listed(others)}")


def _pixels(dataset: Any) -> Tensor:
    x = torch.as_tensor(dataset.data)
    if x.ndim == 3:
        return x.unsqueeze(1)
    return (x.permute(0, 3, 1, 2) if x.shape[-1] == 3 else x).contiguous()


def _targets(dataset: Any) -> Tensor:
    return torch.as_tensor(dataset.labels if hasattr(dataset, "labels") else dataset.targets)


def _put_in_place(name: str, source: _Source, raw_folder: Path) -> None:
    """Unpack or download what is missing; a file is there whole or not at all, and none is replaced."""
    if _missing(source, raw_folder):
        raw_folder.mkdir(parents=True, exist_ok=True)
        with acquire(raw_folder / f".{name}.lock"):  # another sweep may want it as well
            damaged = _unpack(source, raw_folder)
            if _missing(source, raw_folder):
                _download(name, source, raw_folder, damaged)


def _missing(source: _Source, raw_folder: Path) -> list[Path]:
    return [file for file in source.files if not (raw_folder / file).exists()]


def _unpack(source: _Source, raw_folder: Path) -> list[str]:
    """Unpack the archives that are there; return what is wrong with those that cannot be unpacked."""
    from torchvision.datasets.utils import extract_archive

    archives = [file for file in source.archives if file not in source.files and (raw_folder / file).exists()]
    _warn_of_other_checksums({file: source.archives[file][1] for file in archives}, raw_folder)
    damaged = []
    for archive in archives:
        path = raw_folder / archive
        with tempfile.TemporaryDirectory(dir=raw_folder, prefix=".unpack-") as folder:
            unpacked = Path(folder, archive)
            unpacked.parent.mkdir(parents=True, exist_ok=True)
            try:
                extract_archive(path, unpacked.parent)
                for file in source.files:
                    if Path(folder, file).exists():
                        source.read_one(Path(folder, file))
            except Exception as error:  # gzip, tarfile and pickle have a dozen between them
                damaged.append(f"{path}: is truncated or damaged ({str(error) or type(error).__name__})")
            else:
                _move(source, Path(folder), raw_folder)
    return damaged


def _download(name: str, source: _Source, raw_folder: Path, damaged: list[str]) -> None:
    """Download with torchvision, which checks the checksums and goes on where an earlier download stopped."""
    folder = raw_folder / f".download-{name}"
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        for arguments in source.arguments:
            source.downloader(folder, download=True, **arguments)
    except Exception as error:  # URLError, RuntimeError, OSError, of a proxy, a checksum, a full disk
        reason = " ".join(str(error).split())
        wanted = "".join(f"\n  {raw_folder / archive}  from {url}" for archive, (url, _) in source.archives.items())
        raise ConfigError(
            "".join(f"{problem}\n" for problem in damaged) + f"{name}: cannot be downloaded ({reason}).\n"
            f"Without internet, put these files in place and start again:{wanted}"
        ) from None
    finally:
        socket.setdefaulttimeout(timeout)
    _move(source, folder, raw_folder)
    shutil.rmtree(folder)


def _move(source: _Source, folder: Path, raw_folder: Path) -> None:
    for file in {**source.files, **source.archives}:
        if (folder / file).exists() and not (raw_folder / file).exists():
            (raw_folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).replace(raw_folder / file)


def _unreadable(name: str, source: _Source, raw_folder: Path, error: Exception) -> str:
    """Say which file it is that cannot be read."""
    for file in source.files:
        try:
            source.read_one(raw_folder / file)
        except Exception as reason:
            return (
                f"{raw_folder / file}: is truncated or damaged ({str(reason) or type(reason).__name__});"
                " delete it, and the next start unpacks or downloads it again"
            )
    files = listed(raw_folder / file for file in source.files)
    return f"{files}: do not hold {name} ({type(error).__name__}: {error})"
