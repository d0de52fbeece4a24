"""What a run predicted on the test split, and what is said over test images."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from dlsweep.config.paths import predictions_file
from dlsweep.config.plan import Plan
from dlsweep.errors import RecordError
from dlsweep.results.predictions import Predictions, read_predictions, split_digest, write_predictions
from dlsweep.results.records import FINDINGS
from dlsweep.results.tables import write_tables
from fake import TARGET, sweep_with_predictions


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


# -- what is said over test images ---------------------------------------------------------------------------------

NAMES = ["sgd", "adam", "rmsprop", "adagrad"]


def tables_of(plan: Plan, folder: Path) -> tuple[pd.DataFrame, list[str]]:
    """The leaderboard by setting, and what is said."""
    write_tables(plan, folder)
    board = pd.read_csv(folder / "leaderboard.csv").set_index("label")
    board.index = board.index.str.removeprefix("optimizer=")
    return board, json.loads((folder / FINDINGS).read_text())["experiments"]["a"]["sentences"]


def test_one_run_each_is_compared_over_the_test_images(tmp_path: Path):
    wrong = {"sgd": [range(20)], "adam": [range(5, 29)], "rmsprop": [range(10, 60)], "adagrad": [range(0, 200)]}
    board, said = tables_of(sweep_with_predictions(tmp_path, wrong), tmp_path)
    alone = [(5, 9), (10, 40), (0, 180)]  # images that only the first, only the other gets wrong
    p_values = [mcnemar([[0, first], [other, 0]], exact=True).pvalue for first, other in alone]
    assert list(board.index) == ["sgd", "adam", "rmsprop", "adagrad"]
    assert list(board["p_images"][1:]) == pytest.approx(multipletests(p_values, method="holm")[1])
    assert board["p_holm"].isna().all() and (board["n_images"] == 1000).all()
    assert "One run of each setting says nothing of other seeds: use several." in said
    assert (
        "Over the 1000 test images, as trained, clearly worse: optimizer=rmsprop and optimizer=adagrad;"
        " cannot be told apart: optimizer=adam." in said
    )
    assert said[-1] == "With other test images the best may have 0.969 to 0.987 (1000 images)."
    page = (tmp_path / "leaderboard.md").read_text()
    assert "| p over images |" in page and "McNemar's exact test, 1947" in " ".join(page.split())


def test_seeds_and_images_may_say_different_things(tmp_path: Path):
    wrong = {
        "sgd": [range(20), range(21), range(22)],
        # A few images more with each seed, nearly the same ones: told by seeds, but it could be chance.
        "adam": [range(22), range(23), range(25)],
        # Many images more, but not with each seed.
        "rmsprop": [range(19), range(22, 80), range(120)],
    }
    board, said = tables_of(sweep_with_predictions(tmp_path, wrong), tmp_path)
    told_by_seeds, told_over_images = board["p_holm"] < 0.05, board["p_images"] < 0.05
    assert list(told_by_seeds) == [False, True, False] and list(told_over_images) == [False, False, True]
    text = " ".join(said)
    assert "Clearly worse: optimizer=adam." in text
    assert (
        "Over the 1000 test images, optimizer=rmsprop is clearly worse; only other seeds could change that. Over the"
        " 1000 test images, the difference of optimizer=adam could be chance." in text
    )
    assert said[-1].startswith("Intervals and tests cover the seeds; with other test images the best may have 0.96")


def test_what_is_not_of_the_record_or_of_the_same_images_is_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    same = [range(20), range(22), range(18)]
    plan = sweep_with_predictions(tmp_path, dict.fromkeys(NAMES, same))
    by_name: dict[str, list[str]] = {}
    for digest, setting in plan.settings.items():
        by_name.setdefault(setting["optimizer"], []).append(digest)
    of_other_images, torn, missing = (predictions_file(tmp_path, "a", by_name[name][1]) for name in NAMES[1:])
    write_predictions(of_other_images, Predictions(**{**vars(read_predictions(of_other_images)), "split": "b"}))
    torn.write_bytes(torn.read_bytes()[:100])
    missing.unlink()
    board, said = tables_of(plan, tmp_path)
    assert board["p_images"].isna().all() and board["n_images"].notna().tolist() == [True, False, False, False]
    assert said[-1] == "Not compared over images, as predictions of them are missing: 3."
    err = capsys.readouterr().err
    assert f"warning: {torn}: is not a file of predictions, or is damaged; its setting is not compared" in err
    assert err.count("not compared over test images") == 1

    first = predictions_file(tmp_path, "a", by_name["sgd"][0])  # of a record that was made again since
    label = TARGET.copy()
    label[:500] += 1
    write_predictions(first, Predictions(label, np.full(len(label), 0.5), TARGET, "a"))
    board, said = tables_of(plan, tmp_path)
    assert board["n_images"].isna().all() and said[-1].endswith("no predictions of its runs are kept.")
    assert f"warning: {first}: is not of this record, whose test accuracy is 0.9800" in capsys.readouterr().err
