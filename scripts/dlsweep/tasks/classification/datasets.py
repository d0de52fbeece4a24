"""Readers of data sets: from files to one dict of tensors. Only the prepare rule comes here, and to what is beside it:
downloads.py, tables.py, image_folder.py.

A loader (named in registry.py) is called as `loader(name, setting, raw_folder)` and returns a dict:
`x_train` (N, C, H, W), (N, C, L) or (N, D), uint8 in 0..255 or float32; `y_train` (N,) int64 counting from 0, or
(N, K) uint8 labels of 0 and 1, or (N, K) float32 numbers; `x_val`, `y_val`, `x_test`, `y_test` likewise, where the data
has such splits of its own; `classes`, a list of names, where they have names. It raises ConfigError naming the file and
what is wrong with it. See docs/reference/data.md.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dlsweep.config.identity import Setting
from dlsweep.config.metrics import SPLITS
from dlsweep.config.modules import source_file
from dlsweep.config.names import nearest
from dlsweep.config.registry import entry
from dlsweep.errors import ConfigError
from dlsweep.tasks.classification.source_files import Content, data_path, listed
from dlsweep.tasks.classification.targets import read_targets
from dlsweep.tasks.own_code import call_fault, own_object, what_happened


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


def load_npz(name: str, setting: Setting, raw_folder: Path) -> Content:
    """Return the arrays of an .npz file: x_train, y_train, and if there are any x_val, y_val, x_test, y_test, classes.

    x is (N, D) for vectors, (N, H, W) for grey images, (N, C, H, W) or (N, H, W, C) for images with channels: the
    last, where the last axis has 1, 3 or 4 entries and the second has not, else the second. uint8 stays, any
    other number becomes float32. y is what the loss takes: (N,) or (N, 1), integers that count from 0; (N, K) of 0 and
    1, labels of which an image may have several; or (N,) or (N, K), numbers to predict.
    """
    path = data_path(setting)
    return _from_arrays(read_npz(path), setting, str(path))


def _from_arrays(arrays: Mapping[str, np.ndarray], setting: Setting, path: str) -> Content:
    """The tensors of arrays by name; `path` says in messages where they come from."""
    wanted = entry("loss", setting["loss"]).targets
    if "classes" in arrays and wanted == "numbers":
        raise ConfigError(f"{path}: names classes, but loss {setting['loss']} takes numbers; allowed: cross_entropy")
    known = [f"{axis}_{split}" for split in SPLITS for axis in "xy"]
    for key in arrays:
        if key not in known and key.startswith(("x_", "y_")):
            raise ConfigError(f"{path}: has an array {key!r}; known are {listed(known)}.{nearest(key, known)}")
    content: Content = {}
    for split in SPLITS:
        x, y = f"x_{split}", f"y_{split}"
        if x in arrays or y in arrays or split == "train":
            for key in (x, y):
                if key not in arrays:
                    raise ConfigError(f"{path}: has no array {key!r}; it has {listed(arrays) or 'none'}")
            content[x] = read_images(arrays[x], f"{path}: {x}", setting.get("series", False))
            content[y] = read_targets(arrays[y], wanted, f"{path}: {y}")
    if "classes" in arrays:
        content["classes"] = [str(label) for label in np.atleast_1d(arrays["classes"])]
    return content


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file. Raises ConfigError where it is none, damaged, or holds Python objects."""
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


LONG = 8  # times as long as high: rather channels of time series than a grey image


def read_images(array: np.ndarray, where: str, series: bool) -> Tensor:
    """Return an array as data of one of the shapes that a loader returns: uint8 stays, else float32.

    Raises ConfigError, naming `where`, for another shape or type.
    """
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
