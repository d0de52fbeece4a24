"""What a classifier predicted on the test split, kept beside its record: the file, how it is written and read.

`results/predictions/<exp>-<hash>.npz` (config.paths.predictions_file) has four arrays: `label` (N,), the predicted
class of each test image in the order of the split, and `target` (N,), the true one, both uint8 or, of more than 256
classes, uint16; `probability` (N,) float16, which the model gave to the predicted class; `split`, a digest of the test
split. Two runs can be compared image by image only where that is the same.

`rank` (N,) uint8 says how many classes got a higher probability than the true one, at most 255: it is 0 where the model
is right, and below 5 where one of its five best guesses is. Older files do not have it.

Of images there are two more: `shown` (M,), the places in the split of the most confident mistakes, at most MOST_SHOWN,
and `images` (M, H, W, C) uint8, these images, of one or three channels, at most MOST_PIXELS high and wide.
"""

from __future__ import annotations

import hashlib
import math
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dlsweep.config.paths import predictions_file
from dlsweep.errors import RecordError
from dlsweep.files import atomic_file

MOST_SHOWN = 16
MOST_PIXELS = 64


@dataclass(frozen=True)
class Predictions:
    """Of each test image the predicted class, its probability and the true class; all are (N,).

    `rank` (N,) is the place of the true class among the guesses, from 0. `images` (M, H, W, C) uint8 are the most
    confident mistakes, `shown` (M,) their places. What is not kept is None.
    """

    label: np.ndarray
    probability: np.ndarray
    target: np.ndarray
    split: str
    rank: np.ndarray | None = None
    shown: np.ndarray | None = None
    images: np.ndarray | None = None

    @property
    def correct(self) -> np.ndarray:
        """Whether each image is classified correctly, (N,) bool."""
        right: np.ndarray = self.label == self.target
        return right

    def worst(self, most: int) -> np.ndarray:
        """Return the places of the images that are classified wrongly with the highest probability, worst first."""
        wrong = np.flatnonzero(~self.correct)
        places: np.ndarray = wrong[np.argsort(-self.probability[wrong].astype(float), kind="stable")][:most]
        return places

    def with_mistakes(self, x: np.ndarray) -> Predictions:
        """Return them with the images of the most confident mistakes, out of those of the test split, (N, C, H, W).

        Of other data than images of one or three channels, they are returned as they are.
        """
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            return self
        shown = self.worst(MOST_SHOWN)
        return replace(self, shown=shown.astype(np.int64), images=small_images(x[shown]))


def small_images(x: np.ndarray) -> np.ndarray:
    """Return images (N, C, H, W) as (N, H, W, C) uint8, at most MOST_PIXELS high and wide: means of squares of pixels.

    Of floating-point numbers the lowest becomes 0 and the highest 255.
    """
    n, channels, height, width = x.shape
    if x.dtype != np.uint8:
        low, high = (float(x.min()), float(x.max())) if x.size else (0.0, 1.0)
        x = (x - low) * (255 / (high - low or 1.0))
    side = max(1, math.ceil(max(height, width) / MOST_PIXELS))
    rows, columns = min(side, height), min(side, width)
    cut = x[:, :, : height // rows * rows, : width // columns * columns]
    means = cut.reshape(n, channels, height // rows, rows, width // columns, columns).mean((3, 5))
    return np.ascontiguousarray(means.round().astype(np.uint8).transpose(0, 2, 3, 1))


def split_digest(x: np.ndarray, y: np.ndarray) -> str:
    """Return 12 hex digits that change with any image, class or place in a test split, as the data have it."""
    sha1 = hashlib.sha1()
    for values in (x, y):
        sha1.update(f"{values.shape} {values.dtype}".encode())
        sha1.update(np.ascontiguousarray(values).data)
    return sha1.hexdigest()[:12]


def write_predictions(path: Path, found: Predictions) -> None:
    """Write a file of predictions, whole or not at all; the same predictions give the same bytes. Raises OSError."""
    kind = np.uint8 if max(found.label.max(initial=0), found.target.max(initial=0)) < 256 else np.uint16
    rank = {} if found.rank is None else {"rank": np.minimum(found.rank, 255).astype(np.uint8)}
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {
        "label": found.label.astype(kind),
        "probability": found.probability.astype(np.float16),
        "target": found.target.astype(kind),
        "split": np.array(found.split),
        **rank,
    }
    if found.images is not None:
        arrays |= {"shown": found.shown, "images": found.images}
    with atomic_file(path) as file:
        np.savez_compressed(file, **arrays)


def read_predictions(path: Path) -> Predictions:
    """Return a file of predictions. Raises RecordError, naming the file and what is wrong, also where there is none."""
    try:
        with np.load(path, allow_pickle=False) as file:
            kept = {name: file[name] for name in ("rank", "shown", "images") if name in file.files}
            found = Predictions(file["label"], file["probability"], file["target"], str(file["split"]), **kept)
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error):
        raise RecordError(f"{path}: is not a file of predictions, or is damaged") from None
    columns = [found.label, found.probability, found.target, *([] if found.rank is None else [found.rank])]
    if any(column.ndim != 1 or len(column) != len(found.target) for column in columns):
        raise RecordError(f"{path}: has arrays of unlike length: {', '.join(str(column.shape) for column in columns)}")
    if any(column.dtype not in (np.uint8, np.uint16) for column in (found.label, found.target)):
        raise RecordError(f"{path}: has classes that are {found.label.dtype}; allowed: uint8, uint16")
    # A probability that is NaN is refused, too.
    if found.probability.dtype != np.float16 or not ((found.probability >= 0) & (found.probability <= 1)).all():
        raise RecordError(f"{path}: has probabilities that are not float16 from 0 to 1")
    if found.images is not None and found.shown is not None:
        shape, kind = found.images.shape, found.images.dtype
        if len(shape) != 4 or kind != np.uint8 or found.shown.shape != shape[:1] or shape[3] not in (1, 3):
            raise RecordError(f"{path}: has images {shape} {kind} of {found.shown.shape}; allowed: (M, H, W, C) uint8")
    return found


def trusted_predictions(path: Path, accuracy: float) -> Predictions | None:
    """Return the predictions of a record with this test accuracy; None where there are none.

    Raises RecordError where they cannot be read, or are not of that record.
    """
    if not path.exists():
        return None
    found = read_predictions(path)
    if not len(found.target) or not math.isclose(found.correct.mean(), accuracy, abs_tol=0.5 / len(found.target)):
        raise RecordError(f"{path}: is not of this record, whose test accuracy is {accuracy:.4f}")
    return found


# -- of a setting --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Right:
    """How many of the `n_runs` runs of a setting classify each image of a test split correctly, (N,)."""

    counts: np.ndarray
    n_runs: int
    split: str

    def is_comparable(self, other: Right | None) -> bool:
        """Say whether another setting was tested on the same images."""
        return other is not None and self.split == other.split and len(self.counts) == len(other.counts)


Run = tuple[str, str, float]
"""A tested run: the name of its experiment, its hash, its test accuracy."""


def right_of(results: Path, runs: Iterable[Run]) -> tuple[Right | None, list[str]]:
    """Return what the tested runs of one setting classify correctly, and why files cannot be trusted.

    None where any run has no predictions, as older records, or its runs were tested on different images: what holds of
    some of its runs does not hold of the setting. Predictions that are not those of the record are not trusted.
    """
    found: Right | None = None
    for exp_name, digest, accuracy in runs:
        try:
            predictions = trusted_predictions(predictions_file(results, exp_name, digest), accuracy)
        except RecordError as error:
            return None, [str(error)]
        if predictions is None:
            return None, []
        one = Right(predictions.correct.astype(np.int32), 1, predictions.split)
        if found is None:
            found = one
        elif found.is_comparable(one):
            found = Right(found.counts + one.counts, found.n_runs + 1, found.split)
        else:
            return None, []
    return found, []
