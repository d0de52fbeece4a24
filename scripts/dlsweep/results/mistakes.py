"""What a classifier gets wrong, from its predictions of the test split: by class, by confidence, image by image."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dlsweep.results.columns import MOST_MISTAKES
from dlsweep.results.predictions import Predictions

TOP = 5  # guesses
BINS = 15  # of confidence, as Guo et al. have them


def class_scores(found: Predictions) -> pd.DataFrame:
    """Return one row per class: its images `n`, those that were given it, precision, recall, F1 and top-5 accuracy.

    What would be a division by zero is NaN: the precision of a class that no image was given, the recall of one that
    no image has. So is top-5 accuracy where the rank of the true class is not kept.
    """
    n_classes = 1 + int(max(found.label.max(initial=0), found.target.max(initial=0)))
    n, given = (np.bincount(values, minlength=n_classes) for values in (found.target, found.label))
    right = np.bincount(found.target[found.correct], minlength=n_classes)
    near = np.full(n_classes, np.nan)
    if found.rank is not None:
        near = np.bincount(found.target[found.rank < TOP], minlength=n_classes).astype(float)
    with np.errstate(invalid="ignore"):
        scores = {"precision": right / given, "recall": right / n, "f1": 2 * right / (n + given), "top5": near / n}
    return pd.DataFrame({"class": np.arange(n_classes), "n": n, "n_predicted": given, **scores})


def reliability(found: Predictions) -> pd.DataFrame:
    """Return one row per bin of confidence that has images: its ends, `n`, mean confidence and accuracy.

    The confidence is the probability of the predicted class. The bins are `BINS` of equal width, each without its low
    end (Guo et al. 2017, On calibration of modern neural networks, ICML).
    """
    ends = np.linspace(0, 1, BINS + 1)
    confidence = found.probability.astype(float)
    of_bin = np.searchsorted(ends[1:-1], confidence)
    n = np.bincount(of_bin, minlength=BINS)
    sums = {
        "confidence": np.bincount(of_bin, confidence, BINS),
        "accuracy": np.bincount(of_bin, found.correct, BINS),
    }
    there = n > 0
    means = {name: values[there] / n[there] for name, values in sums.items()}
    return pd.DataFrame({"low": ends[:-1][there], "high": ends[1:][there], "n": n[there], **means})


def calibration_error(bins: pd.DataFrame) -> float:
    """Return the expected calibration error of `reliability`'s bins: the mean over images of |accuracy - confidence|.

    It is that of Guo et al. (2017), from Naeini et al. (2015, AAAI). NaN without images.
    """
    n = bins["n"].sum()
    return float((bins["n"] * (bins["accuracy"] - bins["confidence"]).abs()).sum() / n) if n else float("nan")


def confident_mistakes(found: Predictions) -> pd.DataFrame:
    """Return the images that are classified wrongly with the highest probability, at most MOST_MISTAKES, worst first.

    `image` is the place in the test split, from 0.
    """
    worst = found.worst(MOST_MISTAKES)
    return pd.DataFrame(
        {
            "image": worst,
            "true": found.target[worst],
            "predicted": found.label[worst],
            "probability": found.probability[worst].astype(float),
        }
    )
