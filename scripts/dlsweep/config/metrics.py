"""What a run is measured by: every metric and every column of a run that a config may name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from dlsweep.config.hyperparameters import HYPERPARAMETERS

Range = tuple[float, float]
"""The least and the greatest value that a metric can have."""

UNBOUNDED: Range = (-math.inf, math.inf)
POSITIVE: Range = (0.0, math.inf)
FRACTION: Range = (0.0, 1.0)


@dataclass(frozen=True)
class Column:
    """One column. `type` is int, float, bool or str; `title` names it on an axis (default: its own name).

    `within` are the least and the greatest value that it can have; `better` is `max` or `min` for what a run is to be
    good at, of which a diverged run has the worst value.
    """

    type: type
    doc: str
    unit: str = ""
    title: str = ""
    within: Range = UNBOUNDED
    better: str = ""


def _count(doc: str, unit: str = "", title: str = "") -> Column:
    return Column(int, doc, unit, title, POSITIVE)


def _positive(doc: str, unit: str = "", title: str = "") -> Column:
    return Column(float, doc, unit, title, POSITIVE)


def _loss(doc: str, title: str = "") -> Column:
    return Column(float, doc, "nats", title, POSITIVE, "min")


def _accuracy(doc: str, title: str = "") -> Column:
    return Column(float, doc, "", title, FRACTION, "max")


KEYS = {
    "exp_name": Column(str, "The experiment."),
    "hash": Column(str, "The setting's hash; with `exp_name` it names one record."),
}

_LAST = {
    "train_loss": _loss("Mean cross-entropy on the training split, during the epoch.", "train loss"),
    "train_acc": _accuracy("Accuracy on the training split, during the epoch.", "train accuracy"),
    "val_loss": _loss("Mean cross-entropy on the validation split, after the epoch.", "val loss"),
    "val_acc": _accuracy("Accuracy on the validation split, after the epoch.", "val accuracy"),
}

METRICS: Mapping[str, Column] = {
    "epochs_run": Column(
        int, "Epochs trained; fewer than `epochs` where the run stopped early or diverged.", "epochs", "", POSITIVE
    ),
    **{name: replace(c, doc=f"Last epoch: {c.doc[0].lower()}{c.doc[1:]}") for name, c in _LAST.items()},
    "test_loss": _loss("Mean cross-entropy on the test split, once, after training.", "test loss"),
    "test_acc": _accuracy("Accuracy on the test split; empty where the run diverged.", "test accuracy"),
    "best_epoch": _count("The epoch that is best on the validation split, by `monitor`.", "", "best epoch"),
    "best_val_loss": _loss("`val_loss` of the best epoch.", "best val loss"),
    "best_val_acc": _accuracy("`val_acc` of the best epoch.", "best val accuracy"),
    "tested_val_acc": _accuracy(
        "`val_acc` of the weights that are tested (`test_weights`): what settings are selected by.", "val accuracy"
    ),
    "tested_train_loss": _loss(
        "Mean cross-entropy on the training split of the weights that are tested, without dropout and augmentation;"
        " empty in records of versions that did not measure it.",
        "train loss of the tested weights",
    ),
    "tested_train_acc": _accuracy(
        "Accuracy on the training split of the weights that are tested, without dropout and augmentation; empty in"
        " records of versions that did not measure it.",
        "train accuracy of the tested weights",
    ),
    "generalization_gap": Column(
        float,
        "`tested_train_acc` - `tested_val_acc`; where `tested_train_acc` is empty, `train_acc` - `val_acc` of the last"
        " epoch.",
        "",
        "train - val accuracy",
    ),
    "n_parameters": _count("Trainable parameters.", "", "parameters"),
    "total_seconds": _positive("Wall time of the run's last process, start included.", "s", "total time"),
    "train_seconds": _positive("Time of the epochs, validation included.", "s", "training time"),
    "seconds_per_epoch": _positive("`train_seconds` / `epochs_run`.", "s", "time per epoch"),
    "samples_per_second": Column(
        float, "Training images per second of `train_seconds`.", "images/s", "throughput", POSITIVE
    ),
    "resumed": _count("How often the run went on from a checkpoint.", "", "resumed"),
}

_TYPES: dict[type, type] = {list: str, dict: str}  # as JSON text

SUMMARY: Mapping[str, Column] = {
    **KEYS,
    "label": Column(
        str, "What the experiment varies, seeds aside, and its `version`: equal for the runs of one setting."
    ),
    **{
        key: Column(_TYPES.get(hyper.type, hyper.type), hyper.doc, hyper.unit) for key, hyper in HYPERPARAMETERS.items()
    },
    "status": Column(str, "`finished`, `stopped_early`, or `diverged`: a loss became NaN or infinite."),
    **METRICS,
    "code": Column(str, "Digest of your own model's code, with all that it imports of your own files."),
    "data": Column(str, "Digest of the data that it was trained on: a set that changed in between has two."),
    "version": Column(str, "The run's code or data, where those of its experiment have more than one."),
    "outdated": Column(str, "What has changed since the run: `code`, `data`, `code and data`; else empty."),
    "device": Column(str, "The device that trained it."),
    "host": Column(str, "The machine that trained it."),
}

SELECTED_BY, REPORTED = "tested_val_acc", "test_acc"
"""What is best: the metric that settings are selected by, in the direction of its column, and the one that they are
reported by, which chooses nothing."""

EPOCH_METRICS: Mapping[str, Column] = {
    **_LAST,
    "lr": _positive("Learning rate of the epoch's last step.", "", "learning rate"),
    "seconds": _positive("Time of the epoch, validation included.", "s", "time per epoch"),
    "grad_norm": _positive("Mean norm of the gradient; empty without `log_gradients`.", "", "gradient norm"),
}

SPLITS = ("train", "val", "test")
FAMILIES: Mapping[str, str] = {"acc": "accuracy", "loss": "loss (nats)"}
"""Metrics that stand for one column per split: `acc` is train_acc, val_acc and test_acc."""
