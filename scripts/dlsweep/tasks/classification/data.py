"""Data sets: read once into one prepared file, which every run memory-maps and splits for itself.

The readers of the single data sets are in datasets.py, which a run never imports.
"""

from __future__ import annotations

import hashlib
import pickle
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlsweep.config.identity import Setting
from dlsweep.config.registry import entry
from dlsweep.errors import ConfigError
from dlsweep.files import atomic_file
from dlsweep.results.versions import look_at_source, note_prepared

Content = dict[str, Any]
"""What a loader returns and a prepared file holds."""


@dataclass(frozen=True)
class Splits:
    """Training, validation and test data on the CPU, as stored: normalise before use.

    `*_x` are (N, C, H, W) or (N, D), uint8 or float32; `*_y` are (N,) int64; `mean` and `std` are (C,) or (D,)
    float32, of the training split only, of pixels in [0, 1] where they are stored as uint8. `digest` is that of
    the whole prepared file.
    """

    train_x: Tensor
    train_y: Tensor
    val_x: Tensor
    val_y: Tensor
    test_x: Tensor
    test_y: Tensor
    mean: Tensor
    std: Tensor
    classes: list[str]
    digest: str = ""

    @property
    def n_classes(self) -> int:
        """The number of classes."""
        return len(self.classes)

    @property
    def in_shape(self) -> tuple[int, ...]:
        """The shape of one image, (C, H, W), or vector, (D,)."""
        return tuple(self.train_x.shape[1:])


# -- the prepared file ---------------------------------------------------------------------------------------------


def prepare(setting: Setting, output: Path, raw_folder: Path) -> None:
    """Read the data set of a setting, check it and write it to `output`, whole or not at all.

    Raises ConfigError, naming the file and what is wrong with it, and OSError where `output` cannot be written.
    """
    name, look = setting["dataset"], look_at_source(setting.get("data_path"))
    content = entry("dataset", name).load()(name, setting, raw_folder)
    source = setting.get("data_path") or name
    check(content, source)
    content.setdefault("classes", [str(label) for label in range(int(content["y_train"].max()) + 1)])
    for key in (key for key in content if key.startswith("x_") and _are_alike(content[key])):
        what = "images" if content[key].ndim > 2 else "vectors"
        print(f"warning: {source}: all {len(content[key])} {what} of {key} are the same; nothing can be learned")
    try:
        before = read(output)["digest"]
    except ConfigError:
        before = None
    save(content, output)
    note_prepared(output, now := digest(content), look)
    if before not in (None, now):
        print(f"warning: {output}: the data have changed; finished runs keep the results of the data before")
    for key in (key for key in content if key.startswith("x_")):
        print(f"{output}: {key} {tuple(content[key].shape)} {_dtype(content[key])}, {len(content['classes'])} classes")


def _are_alike(x: Tensor) -> bool:
    return len(x) > 1 and bool((x[1] == x[0]).all()) and bool((x == x[:1]).all())


def save(content: Content, output: Path) -> None:
    """Write a prepared file with its digest, whole or not at all. Raises OSError."""
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic_file(output) as file:
            torch.save({**content, "digest": digest(content)}, file)
    except RuntimeError as error:  # what torch makes of a full disk
        raise OSError(f"{output}: cannot be written: {error}") from None


def digest(content: Content) -> str:
    """Return 12 hex digits that change with any pixel, label or class name: records and checkpoints name them."""
    sha1 = hashlib.sha1()
    for key, value in sorted(content.items()):
        sha1.update(f"{key} {value if key == 'classes' else (tuple(value.shape), _dtype(value))}".encode())
        sha1.update(b"" if key == "classes" else value.contiguous().numpy())
    return sha1.hexdigest()[:12]


def check(content: Content, source: str) -> None:
    """Raise ConfigError naming `source` where shapes, dtypes, pixels or labels of loaded data are wrong."""
    shape, dtype = content["x_train"].shape[1:], content["x_train"].dtype
    for part in ("train", "val", "test"):
        if f"x_{part}" not in content:
            continue
        x, y = content[f"x_{part}"], content[f"y_{part}"]
        if x.ndim not in (2, 4) or x.dtype not in (torch.uint8, torch.float32):
            raise ConfigError(
                f"{source}: x_{part} has shape {tuple(x.shape)} and is {_dtype(x)};"
                " allowed: (N, D) or (N, C, H, W), uint8 or float32"
            )
        if y.ndim != 1 or y.dtype != torch.int64:
            raise ConfigError(f"{source}: y_{part} has shape {tuple(y.shape)} and is {_dtype(y)}; allowed: (N,), int64")
        if len(x) != len(y):
            raise ConfigError(f"{source}: x_{part} has {len(x)} images, but y_{part} has {len(y)} labels")
        if x.numel() == 0:
            raise ConfigError(f"{source}: x_{part} is empty, its shape is {tuple(x.shape)}")
        if x.shape[1:] != shape:
            raise ConfigError(f"{source}: x_{part} has shape {tuple(x.shape)}, but x_train has (N, {_listed(shape)})")
        if x.dtype != dtype:
            raise ConfigError(f"{source}: x_{part} is {_dtype(x)}, but x_train is {_dtype(content['x_train'])}")
        if x.is_floating_point() and not bool(torch.isfinite(x).all()):
            bad = (~torch.isfinite(x)).flatten(1).any(1).nonzero()[0].item()
            raise ConfigError(f"{source}: x_{part} has NaN or infinite values, the first in x_{part}[{bad}]")
        if y.min() < 0:
            raise ConfigError(f"{source}: y_{part} has label {y.min()}; labels are integers that count from 0")
    _check_classes(content, source)


def _check_classes(content: Content, source: str) -> None:
    present = content["y_train"].unique()
    last = max(int(content[key].max()) for key in ("y_train", "y_val", "y_test") if key in content)
    n_classes = len(content["classes"]) if "classes" in content else last + 1
    if last >= n_classes:
        raise ConfigError(f"{source}: has label {last}, but names only {n_classes} classes")
    if len(present) < n_classes:
        missing = next(i for i in range(n_classes) if i >= len(present) or present[i] != i)
        hint = "; labels count from 0" if missing == 0 else ""
        raise ConfigError(f"{source}: no image of class {missing} is in y_train, of classes 0 to {n_classes - 1}{hint}")
    if n_classes < 2:
        raise ConfigError(f"{source}: has a single class; there must be at least two")


def _listed(items: Any) -> str:
    return ", ".join(str(item) for item in items)


def _dtype(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


# -- splits --------------------------------------------------------------------------------------------------------


def load_splits(path: Path, setting: Setting) -> Splits:
    """Return the splits of a prepared file, which is memory-mapped.

    The test split is the data's own or `test_size` of all images, the validation split the data's own or
    `val_size` of the training images that are then left, and the training split the rest or `train_size` of it.
    All are stratified and depend on `split_seed` alone; a smaller `train_size` is a subset of a larger one, and
    validation and test split do not depend on it. The images of a split stand in the order of the file.

    Raises ConfigError where the file is missing or damaged, a size cannot be had, or a class would be missing
    from the training split.
    """
    content = read(path)
    x, y = content["x_train"], content["y_train"]
    rest = torch.randperm(len(y), generator=torch.Generator().manual_seed(setting["split_seed"]))
    if "x_test" in content:
        test_x, test_y = content["x_test"], content["y_test"]
    else:
        test, rest = take(y, rest, "test_size", setting)
        test_x, test_y = x[test], y[test]
    if "x_val" in content:
        val_x, val_y = content["x_val"], content["y_val"]
    else:
        val, rest = take(y, rest, "val_size", setting)
        val_x, val_y = x[val], y[val]
    train, _ = take(y, rest, "train_size", setting)
    train_x, train_y = x[train], y[train]
    classes = content["classes"]
    missing = (torch.bincount(train_y, minlength=len(classes)) == 0).nonzero().flatten().tolist()
    if missing:
        raise ConfigError(_missing([classes[i] for i in missing], len(train), setting))
    return Splits(train_x, train_y, val_x, val_y, test_x, test_y, *mean_std(train_x), classes, content["digest"])


def read(path: Path) -> Content:
    """Return the content of a prepared file, memory-mapped. Raises ConfigError where it is missing or damaged."""
    try:
        content: Content = torch.load(path, mmap=True, weights_only=True)
        content["digest"]  # the last key that prepared files were given
        return content
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such prepared data; scripts/prepare.py makes it") from None
    except (
        RuntimeError,
        ValueError,
        EOFError,
        OSError,
        LookupError,
        TypeError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        zlib.error,
    ):
        raise ConfigError(f"{path}: is damaged; delete it, and the next start prepares it again") from None


def take(y: Tensor, order: Tensor, key: str, setting: Setting) -> tuple[Tensor, Tensor]:
    """Split the shuffled indices `order` into `setting[key]` of them, stratified by the labels `y`, and the rest.

    Every class is spread evenly over (0, 1) and the images with the smallest places are taken (Webster's method
    of apportionment), so that more images always contain fewer: counts rounded per class would not promise that.
    The images taken come back in the order of the file, the rest in the order given.
    """
    count = _count(len(order), key, setting)
    labels = y[order]
    by_class = labels.argsort(stable=True)
    sizes = torch.bincount(labels)
    starts = (sizes.cumsum(0) - sizes)[labels[by_class]]
    place = torch.empty(len(order), dtype=torch.float64)
    place[by_class] = (torch.arange(len(order)) - starts + 0.5).double() / sizes[labels[by_class]]
    taken = torch.zeros(len(order), dtype=torch.bool)
    taken[place.argsort(stable=True)[:count]] = True
    return order[taken].sort().values, order[~taken]


def _count(n: int, key: str, setting: Setting) -> int:
    """The number of images out of `n` that setting[key] asks for. Raises ConfigError where it cannot be had."""
    size = setting[key]
    if size is None:
        return n
    if size >= 1 and size != int(size):
        raise ConfigError(f"{key}: {size:g} is not allowed; allowed: a whole number of images or a fraction below 1")
    count = round(size * n) if size < 1 else int(size)
    # A validation or test split must leave an image to train on.
    most = n if key == "train_size" else n - 1
    if not 1 <= count <= most:
        asked = f"{size:g} ({count} images)" if size < 1 else f"{count} images"
        raise ConfigError(f"{key}: {asked} of {n} cannot be had; allowed: 1 to {most} images")
    return count


def _missing(names: list[str], n_train: int, setting: Setting) -> str:
    few = _listed(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    sizes = _listed(f"{key} {setting[key]}" for key in ("train_size", "val_size", "test_size") if key in setting)
    return (
        f"train_size: no image of class {few} is among the {n_train} of the training split"
        f" (split_seed {setting['split_seed']}, {sizes}); take more training images or a smaller validation split"
    )


# -- normalization -------------------------------------------------------------------------------------------------


def mean_std(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation per channel of (N, C, H, W), or per feature of (N, D), as float32.

    uint8 counts as [0, 1]. Where all values are equal the standard deviation is given as 1, so that dividing by
    it is harmless: another value, in another split, keeps its distance. Summed in float64 by numpy, in one thread:
    torch's sums depend on the number of threads.
    """
    images = x.flatten(2).numpy() if x.ndim > 2 else x.unsqueeze(2).numpy()
    total, squares = 0.0, 0.0
    for chunk in _chunks(images):
        total = total + chunk.sum((0, 2))
        squares = squares + (chunk * chunk).sum((0, 2))
    n = len(images) * images.shape[2]
    mean = torch.as_tensor(total / n)
    variance = torch.as_tensor(squares / n) - mean**2
    scale = 255.0 if x.dtype == torch.uint8 else 1.0
    doubtful = variance <= 1e-12 * mean**2  # the difference of two large numbers: constant, or far away from 0
    if doubtful.any():
        centre = mean.numpy()[:, None]
        exact = torch.as_tensor(sum(((chunk - centre) ** 2).sum((0, 2)) for chunk in _chunks(images)) / n)
        constant = torch.as_tensor((images == images[:1, :, :1]).all((0, 2)))
        variance = torch.where(doubtful, exact, variance).masked_fill(constant, scale**2)
    return (mean / scale).float(), (variance.sqrt() / scale).float()


def _chunks(images: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the images, a thousand at a time, as float64."""
    for start in range(0, len(images), 1024):
        yield images[start : start + 1024].astype("float64")


def normalise(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return float32 `(x - mean) / std` per channel or feature, on the device of `x`; uint8 is scaled to [0, 1]."""
    shape = (1, -1) + (1,) * (x.ndim - 2)
    x = x.float() / 255 if x.dtype == torch.uint8 else x.float()
    return (x - mean.view(shape)).div_(std.view(shape))
