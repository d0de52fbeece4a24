"""What a classifier gets wrong."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import precision_recall_fscore_support, top_k_accuracy_score

from dlsweep.config.kinds import FigureSpec
from dlsweep.config.paths import predictions_file
from dlsweep.report.figures import drawing
from dlsweep.report.figures.data import Undrawable
from dlsweep.results.mistakes import calibration_error, class_scores, confident_mistakes, reliability
from dlsweep.results.predictions import Predictions, read_predictions, small_images, write_predictions
from dlsweep.results.tables import write_tables
from fake import fake_sweep, sweep_with_predictions


def some_predictions() -> Predictions:
    """Of 4 classes: one is never predicted, one has no image; the more sure it is, the more often it is right."""
    generator = np.random.default_rng(0)
    target = generator.choice([0, 1, 3], 500).astype(np.uint8)
    probability = generator.uniform(0.2, 1, 500).astype(np.float16)
    probability[:5] = [0.6, 1, 0.4, 0.2, 1]  # also at the ends of bins
    label = np.where(generator.random(500) < probability, target, generator.choice([0, 1, 2], 500)).astype(np.uint8)
    label[label == 3] = 2
    return Predictions(label, probability, target, "a")


def test_precision_recall_and_f1_are_those_of_scikit_learn():
    found, scores = some_predictions(), class_scores(some_predictions())
    precision, recall, f1, n = precision_recall_fscore_support(
        found.target, found.label, labels=range(4), zero_division=np.nan
    )
    np.testing.assert_allclose(scores[["precision", "recall", "f1", "n"]], np.transpose([precision, recall, f1, n]))
    assert scores["precision"].isna().tolist() == [False, False, False, True]
    assert scores["recall"].isna().tolist() == [False, False, True, False]


def test_the_top_5_accuracy_is_that_of_scikit_learn(tmp_path: Path):
    generator = np.random.default_rng(0)
    scores, target = generator.normal(size=(500, 12)).astype(np.float32), generator.integers(0, 12, 500)
    rank = (scores > scores[np.arange(500), target][:, None]).sum(1)
    found = Predictions(scores.argmax(1), np.full(500, 0.5), target, "a", rank)
    write_predictions(tmp_path / "a.npz", found)
    table = class_scores(read_predictions(tmp_path / "a.npz"))
    for one in range(12):
        its = target == one
        expected = top_k_accuracy_score(target[its], scores[its], k=5, labels=range(12))
        assert table["top5"][one] == pytest.approx(expected)
    assert class_scores(some_predictions())["top5"].isna().all()  # of an older file


def test_the_reliability_diagram_is_that_of_scikit_learn():
    found = some_predictions()
    bins = reliability(found)
    accuracy, confidence = calibration_curve(found.correct, found.probability.astype(float), n_bins=15)
    np.testing.assert_allclose(bins[["accuracy", "confidence"]], np.transpose([accuracy, confidence]))
    assert bins["n"].sum() == 500 and ((bins["low"] < bins["confidence"]) & (bins["confidence"] <= bins["high"])).all()


def test_the_calibration_error_is_that_of_its_definition():
    # By hand: 3 images of confidence 0.9, of which 1 is right, and 1 of confidence 0.5 that is right.
    found = Predictions(np.array([1, 1, 1, 0]), np.array([0.9, 0.9, 0.9, 0.5]), np.array([1, 0, 0, 0]), "a")
    assert calibration_error(reliability(found)) == pytest.approx((3 * abs(1 / 3 - 0.9) + 0.5) / 4)
    assert np.isnan(calibration_error(reliability(Predictions(*[np.zeros(0, int)] * 3, "a"))))


def test_the_most_confident_mistakes_come_first():
    found = some_predictions()
    mistakes = confident_mistakes(found)
    assert len(mistakes) == 100 and mistakes["probability"].is_monotonic_decreasing
    assert (found.target[mistakes["image"]] != found.label[mistakes["image"]]).all()
    others = np.setdiff1d(np.flatnonzero(~found.correct), mistakes["image"])
    assert found.probability[others].max() <= mistakes["probability"].min()


def test_the_images_of_the_most_confident_mistakes_are_kept_small_and_drawn(tmp_path: Path):
    plan = sweep_with_predictions(tmp_path, {"sgd": [range(40)]})
    (digest,) = plan.settings
    path, images = predictions_file(tmp_path, "a", digest), np.zeros((1000, 1, 100, 70), np.uint8)
    images[:, 0, :, :2] = np.arange(1000)[:, None, None] % 200
    found = replace(read_predictions(path), probability=np.linspace(0.5, 1, 1000).astype(np.float16))
    write_predictions(path, found.with_mistakes(images))
    kept = read_predictions(path)
    assert kept.shown.tolist() == list(range(39, 23, -1)) and kept.images.shape == (16, 50, 35, 1)
    assert (kept.images[:, :, 0, 0] == kept.shown[:, None]).all() and (kept.images[:, :, 1:] == 0).all()
    write_tables(plan, tmp_path)
    tables = drawing.load(tmp_path, plan)["a"]
    assert tables.mistakes["image"].tolist()[:16] == kept.shown.tolist()
    figure, _ = drawing.draw_one("a", FigureSpec("mistakes", "mistakes"), tables)
    first = figure.axes[0]
    assert first.get_title() == "9, taken for 10\n0.520" and (first.images[0].get_array()[:, 0] == 39).all()
    text = " ".join(" ".join(one.get_text() for one in figure.texts).split())
    assert "Surest: class 9, taken for 10 with probability 0.520." in text and "The 16 of 40 wrong test images" in text
    drawing.plt.close("all")


def test_images_of_any_kind_become_small_ones_of_bytes():
    x = np.random.default_rng(0).normal(size=(5, 3, 8, 6)).astype(np.float32)
    small = small_images(x)
    assert small.shape == (5, 8, 6, 3) and (small.min(), small.max()) == (0, 255)
    np.testing.assert_allclose(small / 255 * (x.max() - x.min()) + x.min(), x.transpose(0, 2, 3, 1), atol=0.02)
    assert small_images(np.full((2, 1, 1, 1000), 7, np.uint8)).shape == (2, 1, 62, 1)
    assert small_images(x[:0]).shape == (0, 8, 6, 3)
    one = Predictions(np.array([1]), np.array([0.5], np.float16), np.array([0]), "a")
    assert one.with_mistakes(np.zeros((1, 9))) is one and one.with_mistakes(np.zeros((1, 2, 8, 8))) is one


def test_tables_and_figures_are_of_the_best_run_and_say_where_nothing_is_kept(tmp_path: Path):
    plan = sweep_with_predictions(tmp_path, {"sgd": [range(20), range(30)], "adam": [range(60), range(70)]})
    write_tables(plan, tmp_path)
    classes, bins, mistakes = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("classes", "calibration", "mistakes"))
    assert classes["n"].sum() == bins["n"].sum() == 1000 and len(mistakes) == 20  # of the first seed of sgd
    assert set(mistakes["image"]) == set(range(20)) and (mistakes["predicted"] == mistakes["true"] + 1).all()
    assert set(classes["hash"]) == set(bins["hash"]) == set(mistakes["hash"]) and classes["hash"].nunique() == 1
    tables = drawing.load(tmp_path, plan)["a"]
    figure, _ = drawing.draw_one("a", FigureSpec("calibration", "calibration"), tables)
    text = " ".join(" ".join(one.get_text() for one in figure.texts).split())
    assert "Mean confidence 0.500, accuracy 0.980: under-confident by 0.480." in text
    assert "Expected calibration error 0.480 in 15 bins" in text
    figure, _ = drawing.draw_one("a", FigureSpec("classes", "classes"), tables)
    (f1,) = (line for line in figure.axes[0].lines if line.get_label() == "F1")
    np.testing.assert_allclose(f1.get_xdata(), sorted(classes["f1"]))

    with pytest.raises(Undrawable, match="no images of the mistakes are kept"):
        drawing.draw_one("a", FigureSpec("mistakes", "mistakes"), tables)

    old = fake_sweep({"defaults": {"epochs": 3}, "experiments": {"a": {}}}, tmp_path / "old")
    write_tables(old, tmp_path / "old")
    tables = drawing.load(tmp_path / "old", old)["a"]
    for kind in ("classes", "calibration", "mistakes"):
        with pytest.raises(Undrawable, match="no predictions of the best run are kept"):
            drawing.draw_one("a", FigureSpec(kind, kind), tables)
    drawing.plt.close("all")
