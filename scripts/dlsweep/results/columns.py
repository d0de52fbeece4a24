"""Every column of every table once: type, unit, range and a sentence. Loads neither torch nor pandas.

The tables are built in this order, figures check the names they are given against it, and docs/tables.md is
derived from it.
"""

from __future__ import annotations

from collections.abc import Mapping

from dlsweep.config.metrics import EPOCH_METRICS, FAMILIES, KEYS, METRICS, POSITIVE, SUMMARY, Column
from dlsweep.results.schema import MOST_CLASSES, MOST_CONFUSIONS
from dlsweep.results.statistics import INTERVAL_DOC

EPOCHS: Mapping[str, Column] = {**KEYS, "epoch": Column(int, "The epoch, from 1."), **EPOCH_METRICS}

GRADIENTS: Mapping[str, Column] = {
    **KEYS,
    "epoch": Column(int, "The epoch, from 1."),
    "layer": Column(int, "The layer with weights, from 1 at the input."),
    "name": Column(str, "The layer's name in the model."),
    "gradient": Column(
        float, "Mean absolute gradient of its weights, over the epoch's steps.", "", "mean |gradient|", POSITIVE
    ),
}

CONFUSION: Mapping[str, Column] = {
    **KEYS,
    "true": Column(int, "The class of the test images.", "", "true class"),
    "predicted": Column(int, "The class that the model gives them.", "", "predicted class"),
    "count": Column(int, "How many test images.", "images"),
}

LEADERBOARD: Mapping[str, Column] = {
    "exp_name": KEYS["exp_name"],
    "rank": Column(int, "1 is the best mean `val_acc`; settings of which every run diverged come last."),
    "label": SUMMARY["label"],
    "n": Column(int, "Runs of the setting: its seeds.", "runs"),
    "n_diverged": Column(int, "Those that diverged.", "runs"),
    "n_tested": Column(
        int, "Those that have a test accuracy; a diverged run has one only with `test_weights: best`.", "runs"
    ),
    "n_outdated": Column(int, "Those whose code or data have changed since.", "runs"),
    "outdated": Column(str, "What has changed: `code`, `data`, `code and data`."),
    "val_acc": Column(float, "Mean `tested_val_acc` of all runs; a diverged one counts as 0, whatever it had before."),
    "val_acc_sd": Column(float, "Its standard deviation over seeds; empty for one run."),
    "test_acc": Column(float, "Mean `test_acc` of the `n_tested` runs."),
    "test_acc_sd": Column(float, "Its standard deviation over seeds; empty for one run."),
    "test_acc_low": Column(float, f"Low end of the {INTERVAL_DOC}; empty for one run."),
    "test_acc_high": Column(float, "High end of it."),
    "test_loss": Column(float, "Mean `test_loss` of the same runs.", "nats"),
    "difference": Column(float, "`test_acc` minus that of rank 1."),
    "test": Column(
        str,
        "How `test_acc` is compared with rank 1's: `paired` t-test over the same seeds, `welch` where the seeds"
        " differ; or why no test is possible: `fewer than two results`, `neither varies`, `all seeds differ alike`.",
    ),
    "p_value": Column(float, "Two-sided p-value of that test; empty where none is possible."),
    "p_holm": Column(float, "The same, corrected for the number of comparisons in the experiment (Holm)."),
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
