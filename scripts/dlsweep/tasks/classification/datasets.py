"""Readers of data sets: from downloaded or placed files to one dict of tensors. Only the prepare rule comes here.

A loader (named in registry.py) is called as `loader(name, setting, raw_folder)` and returns a dict:
`x_train` (N, C, H, W), (N, C, L) or (N, D), uint8 in 0..255 or float32; `y_train` (N,) int64 counting from 0, or
(N, K) uint8 labels of 0 and 1, or (N, K) float32 numbers; `x_val`, `y_val`, `x_test`, `y_test` likewise, where the data
has such splits of its own; `classes`, a list of names, where they have names. It raises ConfigError naming the file and
what is wrong with it. See docs/data.md.
"""

from __future__ import annotations

import pickle
import shutil
import socket
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlsweep.config.files import own_path
from dlsweep.config.identity import Setting
from dlsweep.config.modules import source_file
from dlsweep.config.names import nearest
from dlsweep.config.registry import entry
from dlsweep.errors import ConfigError
from dlsweep.locks import acquire
from dlsweep.tasks.classification.image_files import FileImage, Place, read_all
from dlsweep.tasks.own_code import call_fault, own_object, what_happened

Content = dict[str, Any]

SPLITS = ("train", "val", "test")
DOWNLOAD_TIMEOUT = 60  # seconds without a byte; a machine behind a silent firewall would wait for ever


def load_digits(name: str, setting: Setting, raw_folder: Path) -> Content:
    """Return the 1,797 handwritten digits that come with scikit-learn: 8x8 grey values in [0, 1], no test split."""
    # Read from its file: the first run waits for this, and importing scikit-learn takes a hundred times as long.
    path = str(distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz"))
    table = torch.from_numpy(np.loadtxt(path, dtype=np.float32, delimiter=","))  # 64 grey values of 16, and the digit
    return {
        "x_train": table[:, :-1].reshape(-1, 1, 8, 8) / 16,
        "y_train": table[:, -1].long(),
        "classes": [str(digit) for digit in range(10)],
    }


# -- torchvision ---------------------------------------------------------------------------------------------------


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
        print(f"warning: used as they are, though their checksums are not the published ones: {_listed(others)}")


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
    files = _listed(raw_folder / file for file in source.files)
    return f"{files}: do not hold {name} ({type(error).__name__}: {error})"


# -- the user's own data -------------------------------------------------------------------------------------------


def _data_path(setting: Setting) -> Path:
    path = own_path(setting["data_path"])
    if not path.exists():
        raise ConfigError(f"data_path: {path}: no such file or folder")
    return path


def load_npz(name: str, setting: Setting, raw_folder: Path) -> Content:
    """Return the arrays of an .npz file: x_train, y_train, and if there are any x_val, y_val, x_test, y_test, classes.

    x is (N, D) for vectors, (N, H, W) for grey images, (N, C, H, W) or (N, H, W, C) for images with channels: the
    last, where the last axis has 1, 3 or 4 entries and the second has not, else the second. uint8 stays, any
    other number becomes float32. y is what the loss takes: (N,) or (N, 1), integers that count from 0; (N, K) of 0 and
    1, labels of which an image may have several; or (N,) or (N, K), numbers to predict.
    """
    path = _data_path(setting)
    return _from_arrays(_read_npz(path), setting, str(path))


def _from_arrays(arrays: Mapping[str, np.ndarray], setting: Setting, path: str) -> Content:
    """The tensors of arrays by name; `path` says in messages where they come from."""
    wanted = entry("loss", setting["loss"]).targets
    if "classes" in arrays and wanted == "numbers":
        raise ConfigError(f"{path}: names classes, but loss {setting['loss']} takes numbers; allowed: cross_entropy")
    known = [f"{axis}_{split}" for split in SPLITS for axis in "xy"]
    for key in arrays:
        if key not in known and key.startswith(("x_", "y_")):
            raise ConfigError(f"{path}: has an array {key!r}; known are {_listed(known)}.{nearest(key, known)}")
    content: Content = {}
    for split in SPLITS:
        x, y = f"x_{split}", f"y_{split}"
        if x in arrays or y in arrays or split == "train":
            for key in (x, y):
                if key not in arrays:
                    raise ConfigError(f"{path}: has no array {key!r}; it has {_listed(arrays) or 'none'}")
            content[x] = _images(arrays[x], f"{path}: {x}", setting.get("series", False))
            content[y] = read_targets(arrays[y], wanted, f"{path}: {y}")
    if "classes" in arrays:
        content["classes"] = [str(label) for label in np.atleast_1d(arrays["classes"])]
    return content


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):
        raise ConfigError(
            f"{path}: is no .npz file, or is truncated; write it with numpy.savez(path, x_train=..., ...)"
        )
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        if "Object arrays" in str(error):
            raise ConfigError(f"{path}: holds Python objects; save arrays of numbers, all images of one size") from None
        raise ConfigError(f"{path}: is damaged ({error})") from None


MOST_LISTED = 10  # names in a message
LONG = 8  # times as long as high: rather channels of time series than a grey image


def _images(array: np.ndarray, where: str, series: bool) -> Tensor:
    if array.dtype.kind not in "buif":
        raise ConfigError(f"{where} is {array.dtype}; allowed: numbers")
    if series and array.ndim != 3:
        raise ConfigError(f"{where} has shape {array.shape}; time series (series: true) are (N, C, L)")
    if not 2 <= array.ndim <= 4:
        raise ConfigError(f"{where} has shape {array.shape}; allowed: (N, D), (N, H, W), (N, C, H, W) or (N, H, W, C)")
    channels = (1, 3, 4)
    if array.ndim == 4 and array.shape[3] in channels and array.shape[1] not in channels:
        array = array.transpose(0, 3, 1, 2)
    elif array.ndim == 3 and not series:
        if max(array.shape[1:]) >= LONG * min(array.shape[1:]):
            height, width = array.shape[1:]
            print(f"warning: {where}: is read as grey images of {height}x{width} pixels; time series need series: true")
        array = array[:, None]
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which is refused
        return torch.from_numpy(np.ascontiguousarray(array, None if array.dtype == np.uint8 else np.float32))


# -- tables --------------------------------------------------------------------------------------------------------


def load_table(name: str, setting: Setting, raw_folder: Path) -> Content:
    """Return the rows of a CSV or Parquet file: the column `target` (or several) to predict, all others as features.

    Text, and for classes any values, become classes in their order; for labels and numbers several columns are allowed.
    Raises ConfigError naming the file, the column and the row, counted from 1 without the header.
    """
    import pandas as pd

    path = _data_path(setting)
    table = _read_table(path, name)
    targets = _target_columns(table, setting["target"], path)
    if len(table) < len(SPLITS):
        n = f"{len(table)} row{'s' * (len(table) != 1)}" if len(table) else "no rows"
        raise ConfigError(f"{path}: has {n}; training, validation and test split need one each at least")
    features = [column for column in table if column not in targets]
    if not features:
        raise ConfigError(f"{path}: has no column but {_listed(targets)}, so there is nothing to predict it from")
    for column in table:
        missing = np.flatnonzero(table[column].isna().to_numpy())
        if len(missing):
            n = f"{len(missing)} rows have" if len(missing) > 1 else "the row has"
            raise ConfigError(
                f"{path}: column {column!r} has no value in row {missing[0] + 1} ({n} none); fill it in, or leave out"
                " the row or the column"
            )
    x = np.stack([_numbers(table[column], path, "features must be numbers") for column in features], 1)
    kind = entry("loss", setting["loss"]).targets
    y = table[targets[0]]
    if kind == "classes" or (not kind and len(targets) == 1 and not pd.api.types.is_numeric_dtype(y)):
        if len(targets) > 1:
            raise ConfigError(f"target: {_listed(targets)}: loss {setting['loss']} takes one column")
        codes, classes = _classes(y, path)
        return {"x_train": torch.from_numpy(x), "y_train": codes, "classes": classes}
    values = np.stack([_numbers(table[column], path, f"loss {setting['loss']} takes numbers") for column in targets], 1)
    content = {"x_train": torch.from_numpy(x), "y_train": read_targets(values, kind, f"{path}: {_listed(targets)}")}
    return {**content, "classes": targets} if kind == "labels" else content


def _read_table(path: Path, kind: str) -> Any:
    import pandas as pd

    try:
        if kind == "parquet":
            table = pd.read_parquet(path)
        else:
            with path.open(encoding="utf-8-sig") as file:
                header = file.readline()
            separator = max(",;\t", key=header.count)
            table = pd.read_csv(path, sep=separator, encoding="utf-8-sig", skipinitialspace=True)
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; save the file as UTF-8") from None
    except (ValueError, OSError) as error:  # of pandas and pyarrow, too
        what = " ".join(str(error).split())
        form = "Parquet" if kind == "parquet" else "CSV"
        raise ConfigError(f"{path}: is not a {form} file that can be read ({what})") from None
    unnamed = [column for column in table if str(column).startswith("Unnamed: ")]
    if unnamed:  # DataFrame.to_csv() writes it
        print(f"warning: {path}: leaves out {len(unnamed)} column without a name, the index")
    table = table.drop(columns=unnamed).reset_index(drop=True)
    return table.set_axis([str(column).strip() for column in table], axis=1)


def _target_columns(table: Any, target: str, path: Path) -> list[str]:
    wanted = [target] if target in table else [name.strip() for name in target.split(",")]
    for name in wanted:
        if name not in table:
            few = _listed(list(table)[:MOST_LISTED]) + (", ..." if len(table.columns) > MOST_LISTED else "")
            hint = nearest(name, list(table))
            raise ConfigError(f"target: {path} has no column {name!r}; it has {few}.{hint}")
        if wanted.count(name) > 1 or list(table).count(name) > 1:
            raise ConfigError(f"target: {name!r} is there twice")
    return wanted


def _numbers(column: Any, path: Path, wanted: str) -> np.ndarray:
    """The values of a column as float32. Raises ConfigError naming the first that is none."""
    import pandas as pd

    numbers: np.ndarray = pd.to_numeric(column, errors="coerce").to_numpy(float, na_value=np.nan)
    if pd.api.types.is_numeric_dtype(column):
        bad = ~np.isfinite(numbers)
    else:  # also numbers that are written as text
        bad = np.isnan(numbers)
        wanted += "; write 0 and 1 for two values, or a column for each (pandas.get_dummies), or leave the column out"
    if bad.any():
        row = int(bad.argmax())
        raise ConfigError(f"{path}: column {column.name!r} has {_shown(column, row)} in row {row + 1}, but {wanted}")
    with np.errstate(over="ignore"):
        return np.asarray(numbers, np.float32)


def _shown(column: Any, row: int) -> str:
    value = column.iloc[row]
    return repr(value.item() if isinstance(value, np.generic) else value)


def _classes(column: Any, path: Path) -> tuple[Tensor, list[str]]:
    """The classes of a column, numbered in the order of their values, and their names."""
    import pandas as pd

    if pd.api.types.is_float_dtype(column) and not (column == column.round()).all():
        row = int((column != column.round()).to_numpy().argmax())
        raise ConfigError(
            f"{path}: column {column.name!r} has {_shown(column, row)} in row {row + 1}, which is no class; write loss:"
            " mse (or mae, huber) to predict numbers"
        )
    values, codes = np.unique(
        column.to_numpy() if column.dtype.kind in "buif" else column.astype(str), return_inverse=True
    )
    if len(values) == 1:
        raise ConfigError(f"{path}: column {column.name!r} has a single class, {values[0]}; there must be at least two")
    if len(values) > len(column) / 2:
        raise ConfigError(
            f"{path}: column {column.name!r} has {len(values)} different values in {len(column)} rows, too many for"
            " classes; write loss: mse (or mae, huber) to predict numbers"
        )
    names = [f"{value:g}" if isinstance(value, float) else str(value) for value in values.tolist()]
    return torch.from_numpy(codes.reshape(-1).astype(np.int64)), names


def load_own(name: str, setting: Setting, raw_folder: Path) -> Content:
    """Return what the user's own function `module:function` returns, called with `dataset_args`.

    Arrays (x_train, y_train) or (x_train, y_train, x_test, y_test), or a dict of them by the names that an .npz file
    has.
    """
    arguments = setting["dataset_args"]
    function = own_object("dataset", name)
    if fault := call_fault(function, **arguments):
        raise ConfigError(f"dataset_args: {name}({', '.join(arguments)}): {fault}; it is called with these alone")
    file = source_file(name)
    try:
        found = function(**arguments)
    except Exception as error:
        where = f" ({file})" if file else ""
        raise ConfigError(f"dataset: {name}{where}: {what_happened(error, file)}") from None
    if isinstance(found, (tuple, list)) and len(found) in (2, 4):
        found = dict(zip(("x_train", "y_train", "x_test", "y_test"), found, strict=False))
    if not isinstance(found, Mapping):
        what = f"{type(found).__name__} of {len(found)}" if isinstance(found, (tuple, list)) else type(found).__name__
        raise ConfigError(
            f"dataset: {name} returns a {what}; allowed: arrays (x_train, y_train) or (x_train, y_train, x_test,"
            " y_test), or a dict of them"
        )
    return _from_arrays({key: np.asarray(value) for key, value in found.items()}, setting, f"dataset: {name}")


# -- targets -------------------------------------------------------------------------------------------------------


def read_targets(array: np.ndarray, wanted: str, where: str) -> Tensor:
    """Return targets of the kind that is wanted: classes (N,) int64, labels (N, K) uint8, or numbers (N, K) float32.

    "" is what they look like: integers are classes, several of 0 and 1 an image are labels, all else are numbers.
    Raises ConfigError, naming `where` and how to convert them, where they are of another kind.
    """
    if array.dtype.kind not in "buif":
        classes = "labels are integers that count from 0: save np.unique(y, return_inverse=True)[1]"
        raise ConfigError(f"{where} is {array.dtype}; {classes if wanted in ('', 'classes') else 'allowed: numbers'}")
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] == 0):
        raise ConfigError(f"{where} has shape {array.shape}; allowed: (N,), one label an image, or (N, K)")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    whole = array.dtype.kind in "bui" or bool((array == np.round(array)).all())
    flags = whole and bool(((array == 0) | (array == 1)).all())
    kind = wanted or _looks_like(array, flags)
    if kind == "classes":
        if array.ndim == 1 and array.dtype.kind in "bui":
            return torch.from_numpy(array.astype(np.int64))
        raise ConfigError(f"{where} {_no_classes(array, whole, flags)}")
    if kind == "labels" and not flags:
        bad = array[~((array == 0) | (array == 1))][0]
        raise ConfigError(f"{where} has the value {bad:g}; loss binary_cross_entropy takes labels of 0 and 1")
    columns = array.reshape(len(array), -1)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which is refused
        return torch.from_numpy(np.ascontiguousarray(columns, np.uint8 if kind == "labels" else np.float32))


def _looks_like(array: np.ndarray, flags: bool) -> str:
    if array.ndim == 1 and array.dtype.kind in "bui":
        return "classes"
    return "labels" if flags and array.ndim == 2 else "numbers"


def _no_classes(array: np.ndarray, whole: bool, flags: bool) -> str:
    """Say why an array holds no classes, and what its owner can do."""
    shape, numbers = f"has shape {array.shape}", "write loss: mse (or mae, huber) to predict numbers"
    if array.ndim == 2 and flags and bool((array.sum(1) == 1).all()):
        return f"{shape} and is one-hot; labels are integers that count from 0: save y.argmax(1)"
    if array.ndim == 2 and flags:
        return f"{shape}, with several labels an image; write loss: binary_cross_entropy"
    if array.ndim == 2:
        return f"{shape}; allowed: (N,), one label an image; for probabilities save y.argmax(1), or {numbers}"
    if whole:
        return f"is {array.dtype}; labels are integers that count from 0: save y.astype(np.int64), or {numbers}"
    return f"is {array.dtype}; labels are integers that count from 0: {numbers}"


IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def load_image_folder(name: str, setting: Setting, raw_folder: Path, place: Place) -> Content:
    """Return the images of a folder with a folder per class, or with train/ and val/ or test/ that have those.

    Images are turned as their EXIF data says, and resized, not cropped, to `image_size` x `image_size`: one channel
    where all are grey, else three. They are uint8, but float32 where 8 bits would lose what grey images of more bits
    show. Hidden files and folders and those that are no images are passed over.
    """
    root = _data_path(setting)
    folders = _folders(root)
    splits = [split for split in SPLITS if split in folders] if "train" in folders else []
    if splits and len(splits) != len(folders):
        other = next(folder for folder in folders if folder not in splits)
        raise ConfigError(f"{root / other}: beside train only val and test are allowed.{nearest(other, SPLITS)}")
    classes = _folders(root / "train" if splits else root)
    if not classes:
        raise ConfigError(f"{root}: has no folders; it needs one per class")
    content: Content = {}
    files: dict[str, list[Path]] = {}
    for split in splits or ["train"]:
        folder = root / split if splits else root
        for other in _folders(folder):
            if other not in classes:
                raise ConfigError(f"{folder / other}: is no class of {root / 'train'}.{nearest(other, classes)}")
        images = [(path, label) for label, name in enumerate(classes) for path in _image_files(folder / name)]
        if not images:
            raise ConfigError(f"{folder}: has no images")
        files[split] = [path for path, _ in images]
        content[f"y_{split}"] = torch.tensor([label for _, label in images])
    pixels = _read_images(files, setting["image_size"], place)
    return {**content, **{f"x_{split}": torch.from_numpy(x) for split, x in pixels.items()}, "classes": classes}


def _folders(folder: Path) -> list[str]:
    """The names of the visible folders in a folder, sorted."""
    try:
        return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read: {error.strerror}") from None


def _image_files(folder: Path) -> list[Path]:
    """The images in the folder of a class, sorted; a class may be missing in val and test, but not be empty."""
    if not folder.exists():
        return []
    images = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not path.name.startswith(".")
    )
    if not images:
        raise ConfigError(f"{folder}: has no images; allowed are {_listed(IMAGE_SUFFIXES)}")
    return images


HALF = 2**15  # what uses 16 bits reaches further; what does not has fewer bits, or a range of its own
FEW_LEVELS = 16  # what is left of an image's grey values when it is cut down to 8 bits


def _read_images(files: Mapping[str, list[Path]], size: int, place: Place) -> dict[str, np.ndarray]:
    """Return the images of each split, (N, C, size, size): uint8, or float32 where that is needed."""
    mapped, images = read_all(files, size, place, _read_image)
    pixels: dict[str, np.ndarray] = dict(mapped)
    found = dict(zip((path for paths in files.values() for path in paths), images, strict=True))
    deep = {path: image for path, image in found.items() if image.mode[0] in "IF"}  # of more than 8 bits of grey
    colours = {path: image for path, image in found.items() if image.cut}  # of 16 bits a channel
    is_grey = all(image.is_grey for image in images)
    usual = next((path for path in found if path not in deep), None)  # the first of 8 bits
    several = [path for path, image in found.items() if image.has_more]
    if several:
        print(f"warning: of {len(several)} files with several images only the first is used: {several[0]}, ...")
    if colours and max(image.high for image in colours.values()) < 128:
        raise ConfigError(
            f"{next(iter(colours))}: is a colour image of 16 bits a channel, of which the upper 8 can be read, and its"
            " content is in the lower ones; save the images with 8 bits a channel"
        )
    if deep:
        scale = _scale(deep, usual)
        whole = scale == 256 and not any(image.squeezed for image in deep.values())
        for split, paths in files.items():
            x = pixels[split] if whole else pixels[split].astype(np.float32)
            for i in (i for i, path in enumerate(paths) if path in deep):
                x[i] = _read_deep(paths[i], size, scale, whole)
            pixels[split] = x
    return {split: np.ascontiguousarray(x[:, :1]) for split, x in pixels.items()} if is_grey else pixels


def _scale(deep: Mapping[Path, FileImage], usual: Path | None) -> int:
    """Return what the values of deep images are divided by, to be like those of 8 bits, `usual` being one of them.

    256 where they use all of 16 bits. Otherwise nobody knows how bright their values are beside those of another kind.
    """
    low, high = min(image.low for image in deep.values()), max(image.high for image in deep.values())
    kinds = {image.mode[:1]: path for path, image in deep.items()}  # I: integers, F: floating point
    if "F" not in kinds and low >= 0 and HALF <= high < 2 * HALF:
        return 256
    if usual or len(kinds) > 1:
        path, other = next(iter(kinds.values())), usual or list(kinds.values())[1]
        raise ConfigError(
            f"{path}: is {_kind(deep[path])} (values in all such images: {low:g} to {high:g}), but {other} is"
            f" {_kind(deep[other]) if other in deep else 'of 8 bits'}, and nothing says how their values compare; save"
            " all images in one format"
        )
    return 1


def _kind(image: FileImage) -> str:
    return "a floating-point image" if image.mode == "F" else "an image of more than 8 bits"


def _is_squeezed(values: np.ndarray) -> bool:
    """Say whether an image, maybe but for a few bright spots, would lose its grey values when it is cut to 8 bits."""
    few = len(np.unique(values // 256))
    return few < FEW_LEVELS and few < len(np.unique(values))


def _read_deep(path: Path, size: int, scale: int, whole: bool) -> np.ndarray:
    """Return a grey image of more than 8 bits as (size, size), uint8 where `whole`, else float32."""
    from PIL import Image, ImageOps

    with Image.open(path) as opened:
        values = np.asarray(ImageOps.exif_transpose(opened))
    values = (values // scale).astype(np.uint8) if whole else values.astype(np.float32) / scale
    return np.asarray(Image.fromarray(values).resize((size, size), Image.Resampling.BILINEAR))


def _read_image(path: Path, size: int) -> FileImage:
    """Read one file. Raises ConfigError naming it where it is no image, or shows what cannot be had of it."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            cut = any(";16" in str(part) for part in opened.tile)
            image = ImageOps.exif_transpose(opened)
            mode = image.mode
            if mode[0] in "IF":
                values = np.asarray(image)
                if not np.isfinite(values).all():
                    raise ConfigError(f"{path}: has NaN or infinite pixels")
                pixels, low, high = None, float(values.min()), float(values.max())
                cut, squeezed = False, _is_squeezed(values)
            else:
                colour = image.convert("RGB")
                lows, highs = zip(*colour.getextrema(), strict=True)
                if (
                    image.has_transparency_data
                    and lows == highs
                    and _has_content(image.convert("RGBA").getchannel("A"))
                ):
                    raise ConfigError(
                        f"{path}: shows something only by its transparency, which is not read; put the image on a"
                        " background of another colour"
                    )
                pixels = np.asarray(colour.resize((size, size), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
                low, high, squeezed = min(lows), max(highs), False
            has_more = opened.format != "MPO" and getattr(opened, "n_frames", 1) > 1  # MPO: a photo and its preview
            is_grey = mode[0] in "IF" or mode in ("1", "L", "LA")
            return FileImage(pixels, mode, is_grey, low, high, cut, squeezed, has_more)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ConfigError(f"{path}: is not a readable image ({error})") from None


def _has_content(channel: Any) -> bool:
    low, high = channel.getextrema()
    return bool(low < high)


def _listed(items: Any) -> str:
    return ", ".join(str(item) for item in items)
