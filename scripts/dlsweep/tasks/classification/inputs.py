"""New data for a trained model to predict: arrays, tables, image files, as its training data were read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dlsweep.config.files import own_path
from dlsweep.errors import ConfigError
from dlsweep.tasks.classification.datasets import read_images, read_npz
from dlsweep.tasks.classification.image_folder import IMAGE_SUFFIXES, read_8_bits
from dlsweep.tasks.classification.source_files import listed
from dlsweep.tasks.classification.tables import as_numbers, read_table

if TYPE_CHECKING:
    from dlsweep.tasks.classification.trained import TrainedModel

TABLES = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".parquet": "parquet"}
AT_ONCE = 512  # image files

Part = tuple[list[str], Tensor]
"""The names of some inputs, the files' or their places counted from 0, and the raw data (N, *in_shape)."""


def read_inputs(path: Path, model: TrainedModel) -> Iterator[Part]:
    """Yield what a model is to predict: of an .npz file, a table, an image, or a folder of images, in parts.

    Raises ConfigError naming the file where it cannot be read, or is not what the model takes.
    """
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder")
    suffix = path.suffix.lower()
    if path.is_dir() or suffix in IMAGE_SUFFIXES:
        yield from _images(path, model)
    elif suffix == ".npz":
        yield _numbered(_array(path, model), path, model)
    elif suffix in TABLES:
        yield _numbered(_rows(path, TABLES[suffix], model), path, model)
    else:
        allowed = listed([".npz", *TABLES, *IMAGE_SUFFIXES])
        raise ConfigError(f"{path}: is of no kind that can be read; allowed: a folder of images, or {allowed}")


def _numbered(x: Tensor, path: Path, model: TrainedModel) -> Part:
    if tuple(x.shape[1:]) != model.in_shape:
        raise ConfigError(f"{path}: has shape {_shape(x.shape[1:])}; this model takes {_shape(model.in_shape)}")
    if not len(x):
        raise ConfigError(f"{path}: has no rows")
    bad = ~x.flatten(1).isfinite().all(1)
    if bool(bad.any()):
        raise ConfigError(f"{path}: has NaN or infinite values in row {int(bad.int().argmax())}, counted from 0")
    if (there := str(x.dtype).removeprefix("torch.")) != model.stored:
        scale = "its values are divided by 255" if there == "uint8" else "its values are taken as they are"
        print(f"warning: {path}: is {there}, and the training data were {model.stored}; {scale}")
    return [str(i) for i in range(len(x))], x


def _shape(shape: Any) -> str:
    return f"({', '.join(map(str, ('N', *shape)))})"


def _array(path: Path, model: TrainedModel) -> Tensor:
    """The array of an .npz file that is meant: x, its only one, or x_test."""
    arrays = read_npz(path)
    name = next((name for name in ("x", "x_test") if name in arrays), next(iter(arrays), "x"))
    if name not in ("x", "x_test") and len(arrays) > 1:
        raise ConfigError(f"{path}: has no array x or x_test; it has {listed(arrays)}")
    if name not in arrays:
        raise ConfigError(f"{path}: has no arrays")
    return read_images(arrays[name], f"{path}: {name}", len(model.in_shape) == 2)


def _rows(path: Path, kind: str, model: TrainedModel) -> Tensor:
    """The features of a table, in the order of the training table where that is still there."""
    table, setting = read_table(path, kind), model.setting
    target = setting.get("target") or ""
    targets = [target] if target in table else [name.strip() for name in target.split(",")]
    names = [name for name in table if name not in targets]
    if known := _known_features(model, targets):
        missing = [name for name in known if name not in table]
        if missing:
            raise ConfigError(f"{path}: has no column {missing[0]!r}; the model takes {listed(known)}")
        names = known
    elif len(names) != model.in_shape[0]:
        raise ConfigError(f"{path}: has {len(names)} features; the model takes {model.in_shape[0]}")
    for name in names:
        missing_values = np.flatnonzero(table[name].isna().to_numpy())
        if len(missing_values):
            raise ConfigError(f"{path}: column {name!r} has no value in row {missing_values[0] + 1}")
    return torch.from_numpy(np.stack([as_numbers(table[name], path, "features must be numbers") for name in names], 1))


def _known_features(model: TrainedModel, targets: list[str]) -> list[str]:
    """The features of the table that the model was trained on; none where it was none, or is not there."""
    setting = model.setting
    if setting["dataset"] not in ("csv", "parquet"):
        return []
    path = own_path(setting["data_path"])
    if not path.exists():
        print(f"warning: {path}: is not there, so columns are taken in their order, not by their names")
        return []
    return [name for name in read_table(path, setting["dataset"]) if name not in targets]


def _images(path: Path, model: TrainedModel) -> Iterator[Part]:
    """Image files, turned and resized as those of an image folder are; a folder is looked through to its depth."""
    shape = model.in_shape
    if len(shape) != 3 or shape[1] != shape[2] or shape[0] not in (1, 3):
        raise ConfigError(f"{path}: image files are (N, 1, S, S) or (N, 3, S, S); this model takes {_shape(shape)}")
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if _is_image(file, path))
    if not files:
        raise ConfigError(f"{path}: has no images; allowed are {listed(IMAGE_SUFFIXES)}")
    if model.stored != "uint8":
        print(f"warning: {path}: the training data were {model.stored}; black counts as 0 here, white as 1")
    for start in range(0, len(files), AT_ONCE):
        some = files[start : start + AT_ONCE]
        x = np.stack([read_8_bits(file, shape[1], shape[0] == 1) for file in some])
        yield [str(file.relative_to(path) if path.is_dir() else file) for file in some], torch.from_numpy(x)


def _is_image(file: Path, folder: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return file.suffix.lower() in IMAGE_SUFFIXES and not is_hidden and file.is_file()
