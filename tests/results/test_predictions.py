"""What a run predicted on the test split, and what is said over test images."""

from pathlib import Path

import numpy as np
import pytest

from dlsweep.errors import RecordError
from dlsweep.results.predictions import Predictions, read_predictions, split_digest, write_predictions


def test_predictions_come_back_as_they_were_written(tmp_path: Path):
    generator = np.random.default_rng(0)
    for n_classes, kind in ((10, np.uint8), (1000, np.uint16)):
        label, target = generator.integers(n_classes, size=(2, 2000))
        path = tmp_path / "predictions" / f"{n_classes}.npz"
        write_predictions(path, Predictions(label, generator.random(2000), target, "0123456789ab"))
        found = read_predictions(path)
        assert (found.label == label).all() and (found.target == target).all() and found.split == "0123456789ab"
        assert found.label.dtype == found.target.dtype == kind and found.probability.dtype == np.float16
        assert (found.correct == (label == target)).all()
        before = path.read_bytes()
        write_predictions(path, found)
        assert path.read_bytes() == before and len(before) < 2000 * 8


def test_a_split_is_another_with_any_pixel_class_or_order():
    x, y = np.arange(24, dtype=np.uint8).reshape(6, 4), np.array([0, 0, 1, 1, 0, 1])
    other = x.copy()
    other[5, 3] += 1
    digests = [split_digest(x, y), split_digest(other, y), split_digest(x[::-1], y), split_digest(x, 1 - y)]
    digests += [split_digest(x.reshape(6, 2, 2), y)]
    assert len(set(digests)) == 5 and split_digest(x.copy(), y.copy()) == digests[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is not a file of predictions, or is damaged"),
        (b"PK\x03\x04 torn", "is not a file of predictions, or is damaged"),
        ({"label": np.zeros(3, np.uint8)}, "is not a file of predictions"),
        ({"label": np.zeros(3, np.uint8), "target": np.zeros(2, np.uint8)}, r"has arrays of unlike length: \(3,\)"),
        ({"label": np.zeros(3), "target": np.zeros(3, np.uint8)}, "has classes that are float64"),
        ({"label": np.array([{}] * 3), "target": np.zeros(3, np.uint8)}, "is not a file of predictions"),
        ({"probability": np.full(3, np.nan, np.float16)}, "has probabilities that are not"),
    ],
)
def test_damaged_predictions_are_named(tmp_path: Path, content: object, message: str):
    path = tmp_path / "a.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        whole = {"probability": np.ones(3, np.float16), "split": "a", "target": np.zeros(3, np.uint8)}
        if len(content) == 1 and "label" in content:
            whole.pop("target")
        else:
            whole["label"] = np.zeros(3, np.uint8)
        np.savez_compressed(path, **{**whole, **content})
    with pytest.raises(RecordError, match=message) as error:
        read_predictions(path)
    assert str(error.value).startswith(str(path))


def test_torn_predictions_are_named(tmp_path: Path):
    path = tmp_path / "a.npz"
    label = np.arange(500) % 10
    write_predictions(path, Predictions(label, np.random.default_rng(0).random(500), label, "a"))
    whole = path.read_bytes()
    for end in (10, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:end])
        with pytest.raises(RecordError, match="damaged"):
            read_predictions(path)
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 0xFF
    path.write_bytes(bytes(flipped))
    with pytest.raises(RecordError, match="damaged"):
        read_predictions(path)
