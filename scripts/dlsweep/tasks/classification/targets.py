"""What a model is to predict: classes, several labels at once, or numbers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dlsweep.errors import ConfigError


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
