"""What a run is measured by: every metric and every column of a run that a config may name.

A metric is `<split>_<family>`, such as val_mae, or a name of its own. A run of the built-in classification has the
metrics of METRICS; one of an own task has those that it logs, of which is known what `metric_column` says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dlsweep.config.hyperparameters import HYPERPARAMETERS, Hyperparameter

Range = tuple[float, float]
"""The least and the greatest value that a metric can have."""

UNBOUNDED: Range = (-math.inf, math.inf)
POSITIVE: Range = (0.0, math.inf)
FRACTION: Range = (0.0, 1.0)


@dataclass(frozen=True)
class Column:
    """One column. `type` is int, float, bool, str or object (what its values are); `title` names it on an axis
    (default: its own name).

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

_EPOCHS_RUN = {
    "epochs_run": Column(
        int, "Epochs trained; fewer than `epochs` where the run stopped early or diverged.", "epochs", "", POSITIVE
    ),
}

MEASURED: Mapping[str, Column] = {
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
}
"""What a run of the built-in classification measures."""

COSTS: Mapping[str, Column] = {
    "n_parameters": _count("Trainable parameters.", "", "parameters"),
    "total_seconds": _positive("Wall time of the run's last process, start included.", "s", "total time"),
    "train_seconds": _positive("Time of the epochs, validation included.", "s", "training time"),
    "seconds_per_epoch": _positive("`train_seconds` / `epochs_run`.", "s", "time per epoch"),
    "samples_per_second": Column(
        float, "Training images per second of `train_seconds`.", "images/s", "throughput", POSITIVE
    ),
    "resumed": _count("How often the run went on from a checkpoint.", "", "resumed"),
}
"""What a run of any task costs."""

METRICS: Mapping[str, Column] = {**_EPOCHS_RUN, **MEASURED, **COSTS}

_TYPES: dict[type, type] = {list: str, dict: str}  # as JSON text


def hyperparameter_columns(hyperparameters: Mapping[str, Hyperparameter]) -> dict[str, Column]:
    """Return the columns of a task's hyper-parameters."""
    return {key: Column(_TYPES.get(h.type, h.type), h.doc, h.unit) for key, h in hyperparameters.items()}


_LABEL = Column(str, "What the experiment varies, seeds aside, and its `version`: equal for the runs of one setting.")
_STATUS = Column(str, "`finished`, `stopped_early`, or `diverged`: a loss became NaN or infinite.")
_LEARNED = Column(
    bool,
    "Whether it predicts the test split better than a constant: than the most frequent class (binomial test at 1 %), or"
    " with a positive R²; empty where the record does not tell.",
)
_ORIGIN = {
    "code": Column(str, "Digest of your own model's code, with all that it imports of your own files."),
    "data": Column(str, "Digest of the data that it was trained on: a set that changed in between has two."),
    "version": Column(str, "The run's code or data, where those of its experiment have more than one."),
    "outdated": Column(str, "What has changed since the run: `code`, `data`, `code and data`; else empty."),
    "device": Column(str, "The device that trained it."),
    "host": Column(str, "The machine that trained it."),
}


def columns_of_runs(
    hyperparameters: Mapping[str, Column], measured: Mapping[str, Column], has_images: bool = True
) -> dict[str, Column]:
    """Return the columns of summary.csv, where runs have these hyper-parameters and measure this.

    Without images there is nothing to know of their data and of how many are trained a second.
    """
    columns = {
        **KEYS,
        "label": _LABEL,
        **hyperparameters,
        "status": _STATUS,
        "learned": _LEARNED,
        **_EPOCHS_RUN,
        **measured,
        **COSTS,
        **_ORIGIN,
    }
    left_out = () if has_images else ("samples_per_second", "data")
    return {name: column for name, column in columns.items() if name not in left_out}


SUMMARY: Mapping[str, Column] = columns_of_runs(hyperparameter_columns(HYPERPARAMETERS), MEASURED)

EPOCH_METRICS: Mapping[str, Column] = {
    **_LAST,
    "lr": _positive("Learning rate of the epoch's last step.", "", "learning rate"),
    "seconds": _positive("Time of the epoch, validation included.", "s", "time per epoch"),
    "grad_norm": _positive("Mean norm of the gradient; empty without `log_gradients`.", "", "gradient norm"),
}


def is_number(value: Any) -> bool:
    """Say whether a value is a number, as one of a record that gets a column: true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# -- any metric ----------------------------------------------------------------------------------------------------

SPLITS = ("train", "val", "test")
SPLITS_IN_WORDS = {"train": "training", "val": "validation", "test": "test"}


def _family(title: str, better: str, within: Range = POSITIVE, unit: str = "") -> Column:
    return Column(float, "", unit, title, within, better)


KNOWN_FAMILIES: Mapping[str, Column] = {
    "acc": _family("accuracy", "max", FRACTION),
    "accuracy": _family("accuracy", "max", FRACTION),
    "loss": _family("loss", "min"),
    "error": _family("error", "min"),
    "mae": _family("MAE", "min"),
    "mse": _family("MSE", "min"),
    "rmse": _family("RMSE", "min"),
    "mape": _family("MAPE", "min"),
    "huber": _family("Huber loss", "min"),
    "nll": _family("NLL", "min", UNBOUNDED),  # a density may be greater than 1
    "perplexity": _family("perplexity", "min", (1.0, math.inf)),
    "r2": _family("R²", "max", (-math.inf, 1.0)),
    "f1": _family("F1", "max", FRACTION),
    "precision": _family("precision", "max", FRACTION),
    "recall": _family("recall", "max", FRACTION),
    "auroc": _family("AUROC", "max", FRACTION),
    "auc": _family("AUC", "max", FRACTION),
    "ap": _family("AP", "max", FRACTION),
    "iou": _family("IoU", "max", FRACTION),
    "dice": _family("Dice", "max", FRACTION),
    "bleu": _family("BLEU", "max", (0.0, 100.0)),
}
"""What is known of metrics by the name of their family; `top5_acc` and `f1_macro` are like what is known in them."""

CLASSIFICATION = ("acc", "loss")
"""The families of the built-in classification: each has a column for every split in METRICS."""


@dataclass(frozen=True)
class Parts:
    """A metric's name taken apart: `best_val_mae` is of the stage best, the split val and the family mae.

    The stage is `best` for the best epoch, `tested` for the weights that are tested, else empty.
    """

    stage: str
    split: str
    family: str


def parts_of(name: str) -> Parts:
    """Return the parts of a metric's name; a name that has no split is a family of its own."""
    for stage in ("tested", "best"):
        rest = name.removeprefix(f"{stage}_")
        split, _, family = rest.partition("_")
        if rest != name and (stage == "tested" or (split in SPLITS and family)):
            break
    else:
        stage, rest = "", name
    split, _, family = rest.partition("_")
    return Parts(stage, split, family) if split in SPLITS and family else Parts(stage, "", rest)


COLUMNS = (*(name for name in SUMMARY if name not in HYPERPARAMETERS), "epoch", "seconds")
"""The names of columns of the tables, but for the built-in task's hyper-parameters."""


def is_taken(name: str) -> bool:
    """Say whether no task can measure anything of this name, since a column of the tables has it already."""
    parts = parts_of(name)
    return parts.stage == "tested" or (name in COLUMNS and not parts.split and name != "best_epoch")


def metric_column(name: str, own: Mapping[str, Column] | None = None) -> Column:
    """Return what is known of a metric or a family; `own` is what the config says of some of them.

    What nothing is known of has no direction and no bounds.
    """
    own = own or {}
    parts = parts_of(name)
    known = _known(parts.family) or Column(float, "", title=parts.family)
    said = next((own[key] for key in (name, f"{parts.split}_{parts.family}", parts.family) if key in own), known)
    split = "best val" if (parts.stage, parts.split) == ("best", "val") else parts.split
    return replace(
        said,
        title=f"{split} {known.title}".strip(),
        within=known.within if said.within == UNBOUNDED else said.within,
        better=said.better or known.better,
    )


def _known(family: str) -> Column | None:
    """What is known of a family, or of the last word in its name that anything is known of."""
    if family in KNOWN_FAMILIES:
        return KNOWN_FAMILIES[family]
    words = family.split("_")
    word = next((word for word in reversed(words) if word in KNOWN_FAMILIES), None)
    if word is None:
        return None
    known = KNOWN_FAMILIES[word]
    return replace(known, title=" ".join(known.title if one == word else one for one in words))


def in_words(name: str, own: Mapping[str, Column] | None = None) -> str:
    """Return a metric as a reader says it: `val_mae` is the validation MAE."""
    parts = parts_of(name)
    title = metric_column(parts.family, own).title
    return f"{SPLITS_IN_WORDS[parts.split]} {title}" if parts.split else title


@dataclass(frozen=True)
class Objective:
    """What is best: the metric that settings are selected by, and the one that they are reported by.

    `better` is `max` or `min`; the reported metric chooses nothing.
    """

    metric: str = "val_acc"
    better: str = "max"
    report: str = "test_acc"

    @property
    def selected(self) -> str:
        """The column of the summary that settings are selected by: that of the weights that are tested."""
        return f"tested_{self.metric}"

    @property
    def family(self) -> str:
        """The metrics that belong together: `mae` for val_mae; a name without a split stands alone."""
        return parts_of(self.metric).family

    def to_json(self) -> dict[str, str]:
        """Return it as the plan has it: `Objective(**objective)` reads that."""
        return {"metric": self.metric, "better": self.better, "report": self.report}


STANDARD = Objective()
"""That of the built-in classification, where the config says nothing else."""


# -- what a config says of its metrics -----------------------------------------------------------------------------


def own_metric(better: str = "", range: list[float | None] | None = None, unit: str = "", doc: str = "") -> Column:
    """Return the column that an entry of the config's `metrics` describes; null is an end that is not bounded."""
    low, high = range or (None, None)
    within = (-math.inf if low is None else float(low), math.inf if high is None else float(high))
    return Column(float, doc, unit, "", within, better)


def own_metric_to_json(column: Column) -> dict[str, Any]:
    """Return what `own_metric` takes, ready for JSON."""
    within = [end if math.isfinite(end) else None for end in column.within]
    return {"better": column.better, "range": within, "unit": column.unit, "doc": column.doc}
