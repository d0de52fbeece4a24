"""What the best run gets wrong: by class, and by how sure it is."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.ticker import MaxNLocator

from dlsweep.config.kinds import MOST_BARS, FigureSpec
from dlsweep.report.figures.data import Drawing, Tables, Undrawable
from dlsweep.report.figures.notes import best_run_note, diverged_note, sentences
from dlsweep.results.mistakes import BINS, calibration_error

NONE_KEPT = "no predictions of the best run are kept"
SCORES = {"precision": "v", "recall": "^", "f1": "o"}


def classes(tables: Tables, spec: FigureSpec) -> Drawing:
    """Precision, recall and F1 of each class, the worst first; of many classes the worst ones."""
    if tables.classes.empty:
        raise Undrawable(NONE_KEPT)
    data = tables.classes.sort_values("f1", kind="stable").head(MOST_BARS)
    figure, ax = plt.subplots(figsize=(5, 0.9 + 0.22 * len(data)))
    rows = np.arange(len(data))
    ax.hlines(rows, data[list(SCORES)].min(axis=1), data[list(SCORES)].max(axis=1), color="0.75", linewidth=1)
    for (name, marker), colour in zip(SCORES.items(), sns.color_palette("colorblind"), strict=False):
        title = "F1" if name == "f1" else name
        ax.plot(data[name], rows, marker, color=colour, label=title, markersize=5, alpha=0.9)
    ax.set_yticks(rows, [f"{one} ({n})" for one, n in zip(data["class"], data["n"], strict=True)])
    ax.invert_yaxis()
    ax.set(xlabel="precision, recall, F1", ylabel="class (test images)")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    n = len(tables.classes)
    few = f"The {len(data)} of {n} classes with the lowest F1" if n > len(data) else ""
    return figure, sentences(best_run_note(tables), few, diverged_note(tables.summary, ""))


def calibration(tables: Tables, spec: FigureSpec) -> Drawing:
    """The accuracy of the images in each bin of confidence beside their mean confidence, and how many there are."""
    bins = tables.calibration
    if bins.empty:
        raise Undrawable(NONE_KEPT)
    figure, (ax, below) = plt.subplots(
        2, 1, figsize=(4, 4.6), sharex=True, gridspec_kw={"height_ratios": [3, 1], "hspace": 0.1}
    )
    colour, other = sns.color_palette("colorblind")[:2]
    width = bins["high"] - bins["low"]
    ax.bar(bins["low"], bins["accuracy"], width, align="edge", color=colour, edgecolor="white", label="accuracy")
    ax.plot([0, 1], [0, 1], "--", color="0.35", linewidth=1, label="as sure as right")
    ax.plot(
        bins["confidence"], bins["confidence"], "_", color=other, markersize=11, markeredgewidth=2, label="confidence"
    )
    ax.vlines(
        bins["confidence"],
        bins[["accuracy", "confidence"]].min(axis=1),
        bins[["accuracy", "confidence"]].max(axis=1),
        color=other,
        linewidth=1,
    )
    ax.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    below.bar(bins["low"], bins["n"], width, align="edge", color="0.6", edgecolor="white")
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    below.set(xlabel="confidence: probability of the predicted class", ylabel="test images")
    error = f"Expected calibration error {calibration_error(bins):.3f} in {BINS} bins (Guo et al. 2017)"
    few = "A bar of few images says little"
    return figure, sentences(best_run_note(tables), error, few, diverged_note(tables.summary, ""))


def mistakes(tables: Tables, spec: FigureSpec) -> Drawing:
    """The images of the most confident mistakes, the surest first, each with its class and what it was taken for."""
    if tables.mistakes.empty:
        raise Undrawable(NONE_KEPT if tables.classes.empty else "the best run makes no mistake on the test split")
    shown = tables.mistakes[tables.mistakes["image"].isin(list(tables.images))]
    if shown.empty:
        raise Undrawable("no images of the mistakes are kept: the data are none, or the run is of an earlier version")
    columns = min(len(shown), 4)
    rows = -(-len(shown) // columns)
    space = {"hspace": 0.4, "wspace": 0.1}  # of the two lines above each image
    figure, axes = plt.subplots(rows, columns, figsize=(1.5 * columns, 1.9 * rows), squeeze=False, gridspec_kw=space)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, (_, one) in zip(axes.flat, shown.iterrows(), strict=False):
        image = tables.images[int(one["image"])]
        grey = image.shape[2] == 1
        ax.imshow(image[:, :, 0] if grey else image, cmap="gray" if grey else None, interpolation="nearest")
        ax.set_title(f"{one['true']:.0f}, taken for {one['predicted']:.0f}\n{one['probability']:.3f}", fontsize="small")
    classes = tables.classes
    wrong = int(classes["n"].sum()) - round(float((classes["recall"] * classes["n"]).sum()))
    which = f"The {len(shown)} of {wrong} wrong test images with the highest probability of the wrong class"
    which = f"All {wrong} wrong test images" if wrong == len(shown) else which
    return figure, sentences(best_run_note(tables), which, diverged_note(tables.summary, ""))
