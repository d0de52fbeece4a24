"""What a classifier predicted on the test split, kept beside its record: the file, how it is written and read.

`results/predictions/<exp>-<hash>.npz` (config.paths.predictions_file) has four arrays: `label` (N,), the predicted
class of each test image in the order of the split, and `target` (N,), the true one, both uint8 or, of more than 256
classes, uint16; `probability` (N,) float16, which the model gave to the predicted class; `split`, a digest of the test
split. Two runs can be compared image by image only where that is the same.
"""

from __future__ import annotations

import hashlib
import math
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dlsweep.config.paths import predictions_file
from dlsweep.errors import RecordError
from dlsweep.files import atomic_file


@dataclass(frozen=True)
class Predictions:
    """Of each test image the predicted class, its probability and the true class; all are (N,)."""

    label: np.ndarray
    probability: np.ndarray
    target: np.ndarray
    split: str

    @property
    def correct(self) -> np.ndarray:
        """Whether each image is classified correctly, (N,) bool."""
        right: np.ndarray = self.label == self.target
        return right


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
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        np.savez_compressed(
            file,
            label=found.label.astype(kind),
            probability=found.probability.astype(np.float16),
            target=found.target.astype(kind),
            split=np.array(found.split),
        )


def read_predictions(path: Path) -> Predictions:
    """Return a file of predictions. Raises RecordError, naming the file and what is wrong, also where there is none."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = Predictions(file["label"], file["probability"], file["target"], str(file["split"]))
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error):
        raise RecordError(f"{path}: is not a file of predictions, or is damaged") from None
    columns = (found.label, found.probability, found.target)
    if any(column.ndim != 1 or len(column) != len(found.target) for column in columns):
        raise RecordError(f"{path}: has arrays of unlike length: {', '.join(str(column.shape) for column in columns)}")
    if any(column.dtype not in (np.uint8, np.uint16) for column in (found.label, found.target)):
        raise RecordError(f"{path}: has classes that are {found.label.dtype}; allowed: uint8, uint16")
    # A probability that is NaN is refused, too.
    if found.probability.dtype != np.float16 or not ((found.probability >= 0) & (found.probability <= 1)).all():
        raise RecordError(f"{path}: has probabilities that are not float16 from 0 to 1")
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
