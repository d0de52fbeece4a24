"""Data sets: read once into one prepared file, which every run memory-maps and splits for itself.

The readers of the single data sets (datasets.py and what the registry names beside it) are never imported by a run.
"""

from __future__ import annotations

import hashlib
import pickle
import shutil
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlsweep.config.identity import Setting
from dlsweep.config.registry import LOSSES, entry
from dlsweep.errors import ConfigError
from dlsweep.files import atomic_file
from dlsweep.results.versions import look_at_source, note_prepared
from dlsweep.tasks.classification.image_files import Place
from dlsweep.tasks.classification.images import Rows, mean_std
from dlsweep.tasks.classification.mapped import read_mapped
from dlsweep.tasks.classification.source_files import Content, listed

"""What a loader returns and a prepared file holds."""


@dataclass(frozen=True)
class Splits:
    """Training, validation and test data on the CPU, as stored: normalise before use.

    `*_x` are (N, C, H, W), (N, C, L) or (N, D), uint8 or float32; `*_y` are classes (N,) int64, labels (N, K) uint8 of
    0 and 1, or numbers (N, K) float32; `mean` and `std` are (C,) or (D,) float32, of the training split only, of pixels
    in [0, 1] where they are stored as uint8. `classes` names the classes or labels. `digest` is that of the whole
    prepared file.
    """

    train_x: Rows
    train_y: Tensor
    val_x: Rows
    val_y: Tensor
    test_x: Rows
    test_y: Tensor
    mean: Tensor
    std: Tensor
    classes: list[str]
    digest: str = ""

    @property
    def kind(self) -> str:
        """What the targets are: classes, labels or numbers."""
        return kind_of(self.train_y)

    @property
    def n_outputs(self) -> int:
        """What a model has to return for each image: a logit for each class or label, or each of the numbers."""
        return len(self.classes) if self.kind == "classes" else self.train_y.shape[1]

    @property
    def in_shape(self) -> tuple[int, ...]:
        """The shape of one image, (C, H, W), time series, (C, L), or vector, (D,)."""
        return tuple(self.train_x.shape[1:])


def about_data(data: Splits) -> dict[str, Any]:
    """Return what a model needs to know to take raw images of such data, as JSON has it: float32 is kept exactly."""
    return {
        "kind": data.kind,
        "in_shape": list(data.in_shape),
        "stored": _dtype(data.train_x),
        "n_outputs": data.n_outputs,
        "classes": data.classes,
        "mean": data.mean.tolist(),
        "std": data.std.tolist(),
    }


def kind_of(y: Tensor) -> str:
    """Return what targets are, by their type: classes, labels or numbers."""
    return {torch.int64: "classes", torch.uint8: "labels"}.get(y.dtype, "numbers")


# -- the prepared file ---------------------------------------------------------------------------------------------


def prepare(setting: Setting, output: Path, raw_folder: Path, threads: int = 1) -> None:
    """Read the data set of a setting, check it and write it to `output`, whole or not at all.

    Images in files are read by so many threads, and kept beside `output` until it is there.
    Raises ConfigError, naming the file and what is wrong with it, and OSError where `output` cannot be written.
    """
    name, look = setting["dataset"], look_at_source(setting)
    source_entry, place = entry("dataset", name), Place(output.with_suffix(".partial"), threads)
    content = source_entry.load()(name, setting, raw_folder, *([place] if source_entry.in_parts else []))
    source = setting.get("data_path") or name
    check(content, source, setting["loss"])
    content.setdefault("classes", _class_names(content["y_train"]))
    for key in (key for key in content if (key.startswith("x_") or key == "y_train") and _are_alike(content[key])):
        what = "targets" if key == "y_train" else "vectors" if content[key].ndim == 2 else "images"
        print(f"warning: {source}: all {len(content[key])} {what} of {key} are the same; nothing can be learned")
    try:
        before = read(output)["digest"]
    except ConfigError:
        before = None
    save(content, output)
    shutil.rmtree(place.folder, ignore_errors=True)
    n_outputs = len(content["classes"]) if kind_of(content["y_train"]) == "classes" else content["y_train"].shape[1]
    n, *in_shape = content["x_train"].shape
    note_prepared(output, now := digest(content), look, (n, in_shape, n_outputs))
    if before not in (None, now):
        print(f"warning: {output}: the data have changed; finished runs keep the results of the data before")
    for key in (key for key in content if key.startswith("x_")):
        print(f"{output}: {key} {tuple(content[key].shape)} {_dtype(content[key])}, {_described(content)}")


def _class_names(y: Tensor) -> list[str]:
    """The names of classes or labels that have none; numbers need none."""
    if kind_of(y) == "numbers":
        return []
    return [str(label) for label in range(int(y.max()) + 1 if y.ndim == 1 else y.shape[1])]


def _described(content: Content) -> str:
    y, kind = content["y_train"], kind_of(content["y_train"])
    n = len(content["classes"]) if kind == "classes" else y.shape[1]
    what = {"classes": "classes", "labels": "labels", "numbers": "numbers to predict"}[kind]
    return f"{n} {what if n > 1 else 'number to predict' if kind == 'numbers' else what.removesuffix('s')}"


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


def check(content: Content, source: str, loss: str = "cross_entropy") -> None:
    """Raise ConfigError naming `source` where shapes, dtypes, pixels or targets of loaded data are wrong.

    The targets must be of the kind that the loss takes.
    """
    x_train, y_train = content["x_train"], content["y_train"]
    kind, wanted = kind_of(y_train), entry("loss", loss).targets
    if wanted and kind != wanted:
        fits = listed(name for name, choice in LOSSES.items() if choice.targets == kind)
        raise ConfigError(f"{source}: has {kind}, but loss {loss} takes {wanted}; allowed for these data: {fits}")
    for part in ("train", "val", "test"):
        if f"x_{part}" not in content:
            continue
        x, y = content[f"x_{part}"], content[f"y_{part}"]
        if x.ndim not in (2, 3, 4) or x.dtype not in (torch.uint8, torch.float32):
            raise ConfigError(
                f"{source}: x_{part} has shape {tuple(x.shape)} and is {_dtype(x)};"
                " allowed: (N, D), (N, C, L) or (N, C, H, W), uint8 or float32"
            )
        if y.ndim != (1 if kind == "classes" else 2) or y.dtype != TARGET_TYPES[kind]:
            shape = "(N,)" if kind == "classes" else "(N, K)"
            raise ConfigError(
                f"{source}: y_{part} has shape {tuple(y.shape)} and is {_dtype(y)}; allowed: {shape},"
                f" {str(TARGET_TYPES[kind]).removeprefix('torch.')}"
            )
        if len(x) != len(y):
            raise ConfigError(f"{source}: x_{part} has {len(x)} images, but y_{part} has {len(y)} labels")
        if x.numel() == 0:
            raise ConfigError(f"{source}: x_{part} is empty, its shape is {tuple(x.shape)}")
        for key, value, first in (("x", x, x_train), ("y", y, y_train)):
            if value.shape[1:] != first.shape[1:]:
                shape = f"(N, {listed(first.shape[1:])})"
                raise ConfigError(f"{source}: {key}_{part} has shape {tuple(value.shape)}, but {key}_train has {shape}")
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                bad = (~torch.isfinite(value)).flatten(1).any(1).nonzero()[0].item()
                name = f"{key}_{part}"
                raise ConfigError(f"{source}: {name} has NaN or infinite values, the first in {name}[{bad}]")
        if x.dtype != x_train.dtype:
            raise ConfigError(f"{source}: x_{part} is {_dtype(x)}, but x_train is {_dtype(x_train)}")
        if kind == "classes" and y.min() < 0:
            raise ConfigError(f"{source}: y_{part} has label {y.min()}; labels are integers that count from 0")
        if kind == "labels" and y.max() > 1:
            raise ConfigError(f"{source}: y_{part} has the value {y.max()}; allowed: 0 and 1, whether a label is there")
    if kind == "classes":
        _check_classes(content, source)
    elif kind == "labels" and len(content.get("classes", ())) not in (0, y_train.shape[1]):
        raise ConfigError(f"{source}: has {y_train.shape[1]} labels, but names {len(content['classes'])}")


TARGET_TYPES = {"classes": torch.int64, "labels": torch.uint8, "numbers": torch.float32}


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


def _dtype(x: Tensor | Rows) -> str:
    return str(x.dtype).removeprefix("torch.")


# -- splits --------------------------------------------------------------------------------------------------------


def load_splits(path: Path, setting: Setting) -> Splits:
    """Return the splits of a prepared file, which is memory-mapped.

    The test split is the data's own, one of `n_folds` folds, or `test_size` of all images, the validation split the
    data's own or `val_size` of the training images that are then left, and the training split the rest or `train_size`
    of it.
    All are stratified by class, where there are classes, and depend on `split_seed` alone; a smaller `train_size` is a
    subset of a larger one, and validation and test split do not depend on it. The images of a split stand in the order
    of the file.

    Raises ConfigError where the file is missing or damaged, a size cannot be had, or a class would be missing
    from the training split.
    """
    content = read(path)
    x, y = content["x_train"], content["y_train"]
    strata = y if kind_of(y) == "classes" else torch.zeros(len(y), dtype=torch.int64)
    rest = torch.randperm(len(y), generator=torch.Generator().manual_seed(setting["split_seed"]))
    if "x_test" in content:
        if setting.get("n_folds"):
            raise ConfigError(f"n_folds: the data has a test split of its own ({path}), so it has no folds")
        test_x, test_y = Rows(content["x_test"]), content["y_test"]
    elif setting.get("n_folds"):
        test, rest = take_fold(strata, rest, setting["fold"], setting["n_folds"])
        test_x, test_y = Rows(x, test), y[test]
    else:
        test, rest = take(strata, rest, "test_size", setting)
        test_x, test_y = Rows(x, test), y[test]
    if "x_val" in content:
        val_x, val_y = Rows(content["x_val"]), content["y_val"]
    else:
        val, rest = take(strata, rest, "val_size", setting)
        val_x, val_y = Rows(x, val), y[val]
    train, _ = take(strata, rest, "train_size", setting)
    train_x, train_y = Rows(x, train), y[train]
    classes = content["classes"]
    absent = torch.bincount(strata[train], minlength=len(classes) if strata is y else 1) == 0
    if missing := absent.nonzero().flatten().tolist():
        raise ConfigError(_missing([classes[i] for i in missing], len(train), setting))
    return Splits(train_x, train_y, val_x, val_y, test_x, test_y, *mean_std(train_x), classes, content["digest"])


def read(path: Path) -> Content:
    """Return the content of a prepared file, the images memory-mapped: they cannot be written to.

    Raises ConfigError where it is missing or damaged.
    """
    try:
        content = read_mapped(path)
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


def take_fold(y: Tensor, order: Tensor, fold: int, n_folds: int) -> tuple[Tensor, Tensor]:
    """Split the shuffled indices `order` into one of `n_folds` folds, stratified by the labels `y`, and the rest.

    The images of a class are dealt to the folds in turn, class after class, so that two folds differ by one image at
    most, of each class and altogether. Each image is in one fold. The images of the fold come back in the order of the
    file, the rest in the order given.
    """
    if n_folds > len(order):
        raise ConfigError(f"n_folds: {n_folds} folds of {len(order)} images cannot be had")
    dealt = torch.empty(len(order), dtype=torch.int64)
    dealt[y[order].argsort(stable=True)] = torch.arange(len(order)) % n_folds
    return order[dealt == fold].sort().values, order[dealt != fold]


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
        raise ConfigError(f"{key}: {asked} of {n} is not possible; allowed: 1 to {most} images")
    return count


SIZES = ("train_size", "val_size", "test_size", "fold")


def _missing(names: list[str], n_train: int, setting: Setting) -> str:
    few = listed(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    sizes = listed(f"{key} {setting[key]}" for key in SIZES if key in setting)
    return (
        f"train_size: no image of class {few} is among the {n_train} of the training split"
        f" (split_seed {setting['split_seed']}, {sizes}); take more training images or a smaller validation split"
    )
