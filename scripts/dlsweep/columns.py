"""Every column of every table once: type, unit, range and a sentence. Loads neither torch nor pandas.

The tables are built in this order, figures check the names they are given against it, and docs/tables.md is
derived from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .hyperparameters import HYPERPARAMETERS
from .records import MOST_CLASSES, MOST_CONFUSIONS
from .statistics import FRACTION, INTERVAL_DOC, POSITIVE, UNBOUNDED, Range


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


_C = Column


def _count(doc: str, unit: str = "", title: str = "") -> Column:
    return Column(int, doc, unit, title, POSITIVE)


def _positive(doc: str, unit: str = "", title: str = "") -> Column:
    return Column(float, doc, unit, title, POSITIVE)


def _loss(doc: str, title: str = "") -> Column:
    return Column(float, doc, "nats", title, POSITIVE, "min")


def _accuracy(doc: str, title: str = "") -> Column:
    return Column(float, doc, "", title, FRACTION, "max")


_KEYS = {
    "exp_name": _C(str, "The experiment."),
    "hash": _C(str, "The setting's hash; with `exp_name` it names one record."),
}

_LAST = {
    "train_loss": _loss("Mean cross-entropy on the training split, during the epoch.", "train loss"),
    "train_acc": _accuracy("Accuracy on the training split, during the epoch.", "train accuracy"),
    "val_loss": _loss("Mean cross-entropy on the validation split, after the epoch.", "val loss"),
    "val_acc": _accuracy("Accuracy on the validation split, after the epoch.", "val accuracy"),
}

METRICS: Mapping[str, Column] = {
    "epochs_run": _C(
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
    "generalization_gap": _C(
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
    "samples_per_second": _C(
        float, "Training images per second of `train_seconds`.", "images/s", "throughput", POSITIVE
    ),
    "resumed": _count("How often the run went on from a checkpoint.", "", "resumed"),
}

_TYPES: dict[type, type] = {list: str, dict: str}  # as JSON text

SUMMARY: Mapping[str, Column] = {
    **_KEYS,
    "label": _C(str, "What the experiment varies, seeds aside, and its `version`: equal for the runs of one setting."),
    **{key: _C(_TYPES.get(hyper.type, hyper.type), hyper.doc, hyper.unit) for key, hyper in HYPERPARAMETERS.items()},
    "status": _C(str, "`finished`, `stopped_early`, or `diverged`: a loss became NaN or infinite."),
    **METRICS,
    "code": _C(str, "Digest of your own model's code, with all that it imports of your own files."),
    "data": _C(str, "Digest of the data that it was trained on: a set that changed in between has two."),
    "version": _C(str, "The run's code or data, where those of its experiment have more than one."),
    "outdated": _C(str, "What has changed since the run: `code`, `data`, `code and data`; else empty."),
    "device": _C(str, "The device that trained it."),
    "host": _C(str, "The machine that trained it."),
}

EPOCH_METRICS: Mapping[str, Column] = {
    **_LAST,
    "lr": _positive("Learning rate of the epoch's last step.", "", "learning rate"),
    "seconds": _positive("Time of the epoch, validation included.", "s", "time per epoch"),
    "grad_norm": _positive("Mean norm of the gradient; empty without `log_gradients`.", "", "gradient norm"),
}

EPOCHS: Mapping[str, Column] = {**_KEYS, "epoch": _C(int, "The epoch, from 1."), **EPOCH_METRICS}

GRADIENTS: Mapping[str, Column] = {
    **_KEYS,
    "epoch": _C(int, "The epoch, from 1."),
    "layer": _C(int, "The layer with weights, from 1 at the input."),
    "name": _C(str, "The layer's name in the model."),
    "gradient": _C(
        float, "Mean absolute gradient of its weights, over the epoch's steps.", "", "mean |gradient|", POSITIVE
    ),
}

CONFUSION: Mapping[str, Column] = {
    **_KEYS,
    "true": _C(int, "The class of the test images.", "", "true class"),
    "predicted": _C(int, "The class that the model gives them.", "", "predicted class"),
    "count": _C(int, "How many test images.", "images"),
}

SELECTED_BY, REPORTED = "tested_val_acc", "test_acc"
"""The metric that settings are ranked by, and the one that they are reported by."""

LEADERBOARD: Mapping[str, Column] = {
    "exp_name": _KEYS["exp_name"],
    "rank": _C(int, "1 is the best mean `val_acc`; settings of which every run diverged come last."),
    "label": SUMMARY["label"],
    "n": _C(int, "Runs of the setting: its seeds.", "runs"),
    "n_diverged": _C(int, "Those that diverged.", "runs"),
    "n_tested": _C(
        int, "Those that have a test accuracy; a diverged run has one only with `test_weights: best`.", "runs"
    ),
    "n_outdated": _C(int, "Those whose code or data have changed since.", "runs"),
    "outdated": _C(str, "What has changed: `code`, `data`, `code and data`."),
    "val_acc": _C(float, "Mean `tested_val_acc` of all runs; a diverged one counts as 0, whatever it had before."),
    "val_acc_sd": _C(float, "Its standard deviation over seeds; empty for one run."),
    "test_acc": _C(float, "Mean `test_acc` of the `n_tested` runs."),
    "test_acc_sd": _C(float, "Its standard deviation over seeds; empty for one run."),
    "test_acc_low": _C(float, f"Low end of the {INTERVAL_DOC}; empty for one run."),
    "test_acc_high": _C(float, "High end of it."),
    "test_loss": _C(float, "Mean `test_loss` of the same runs.", "nats"),
    "difference": _C(float, "`test_acc` minus that of rank 1."),
    "test": _C(
        str,
        "How `test_acc` is compared with rank 1's: `paired` t-test over the same seeds, `welch` where the seeds"
        " differ; or why no test is possible: `fewer than two results`, `neither varies`, `all seeds differ alike`.",
    ),
    "p_value": _C(float, "Two-sided p-value of that test; empty where none is possible."),
    "p_holm": _C(float, "The same, corrected for the number of comparisons in the experiment (Holm)."),
}

TABLES: Mapping[str, tuple[str, Mapping[str, Column]]] = {
    "summary": ("One row per record.", SUMMARY),
    "epochs": ("One row per record and epoch.", EPOCHS),
    "gradients": ("One row per record, epoch and layer, where `log_gradients` is set.", GRADIENTS),
    "confusion": (
        "The confusion matrix of each experiment's best run: of its best setting (leaderboard), the run with the best"
        f" `tested_val_acc`. Of more than {MOST_CLASSES} classes it holds the most frequent confusions only, at most"
        f" {MOST_CONFUSIONS}, and no class beside itself.",
        CONFUSION,
    ),
    "leaderboard": ("One row per setting, its seeds together, best first.", LEADERBOARD),
}

SPLITS = ("train", "val", "test")
FAMILIES: Mapping[str, str] = {"acc": "accuracy", "loss": "loss (nats)"}
"""Metrics that stand for one column per split: `acc` is train_acc, val_acc and test_acc."""


def metric(name: str) -> Column:
    """Return the column of a metric of a run, an epoch or a layer; of a family that of its test split."""
    return {**GRADIENTS, **METRICS, **EPOCH_METRICS}[f"test_{name}" if name in FAMILIES else name]


def axis_title(name: str) -> str:
    """Return a column's title with its unit, for an axis."""
    if name in FAMILIES:
        return FAMILIES[name]
    columns = {**CONFUSION, **GRADIENTS, **EPOCH_METRICS, **SUMMARY}
    column = columns.get(name, Column(str, ""))
    title = column.title or name
    return f"{title} ({column.unit})" if column.unit and column.unit != title else title


_INTRODUCTION = """\
# Tables

Made by `python scripts/sweep.py schema` from `scripts/dlsweep/columns.py`.
They are in `results/`, or in `results/<name>/` for another config file. `parquet: true` at the top of a config, or
`snakemake --cores 4 --config parquet=true`, writes each as Parquet too. A look at what is finished while a sweep runs:
`snakemake --cores 1 partial` (tables and figures in `results/partial/`).

```python
import pandas as pd

summary, epochs = pd.read_csv("results/summary.csv"), pd.read_csv("results/epochs.csv")
summary.groupby(["exp_name", "label"])["test_acc"].agg(["mean", "std", "size"])
epochs.merge(summary[["exp_name", "hash", "label"]])  # the curves, with the setting's label
```

What `pandas.read_csv` makes of them, without any option:

- An empty cell is missing (NaN): a hyper-parameter that is null (none, off) or does not apply to the setting, or a
  result that there is not (the loss of a diverged epoch). The text `none` stays text.
- Integers are integers, and floats (4 is 4.0) where a value is missing; booleans are booleans, and objects where one is
  missing. Parquet keeps both types.
- A column of numbers in which a setting says a word (`batch_size: full`) is text throughout: `"64"`, `"full"`.
- Lists and mappings (`lr_milestones`, `model_args`) are JSON text.
- Accuracies are fractions in [0, 1]; losses are cross-entropies in nats.
- An experiment whose name looks like something else (`NA`, `2024`) is read as that: give `dtype={"exp_name": str}` and
  `keep_default_na=False, na_values=[""]`, or name it otherwise.

`leaderboard.md` is `leaderboard.csv` for reading. Settings are **selected by validation** accuracy and **reported on
test**: the interval and the comparisons are of the test accuracy, which chose nothing. A diverged run counts when
settings are ranked: its validation accuracy is taken as 0. Its test accuracy is not made up, so a mean over fewer runs
than the setting has is shown with the number of those that diverged.
"""


def tables_page() -> str:
    """Return docs/tables.md."""
    lines = [_INTRODUCTION.rstrip()]
    for name, (doc, columns) in TABLES.items():
        lines += ["", f"## {name}.csv", "", doc, "", "| column | what it is | type | unit |", "|---|---|---|---|"]
        for key, column in columns.items():
            doc = column.doc.replace("|", "\\|")
            lines.append(f"| `{key}` | {doc} | {column.type.__name__} | {column.unit} |")
    return "\n".join(lines) + "\n"
