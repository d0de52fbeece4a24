"""Every column of every table once: type, unit, range and a sentence. Loads neither torch nor pandas.

The tables are built in this order. docs/reference/tables.md describes those of the built-in classification; with own
tasks the columns follow from what they are given and what they log, and `columns.md` beside the tables describes them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from dlsweep.config.hyperparameters import HYPERPARAMETERS, Hyperparameter, with_dotted
from dlsweep.config.kinds import classifies
from dlsweep.config.metrics import (
    CLASSIFICATION,
    EPOCH_METRICS,
    FRACTION,
    KEYS,
    MEASURED,
    METRICS,
    POSITIVE,
    SPLITS_IN_WORDS,
    STANDARD,
    SUMMARY,
    UNBOUNDED,
    Column,
    Objective,
    columns_of_runs,
    hyperparameter_columns,
    in_words,
    metric_column,
    parts_of,
)
from dlsweep.config.plan import Plan, PlannedExperiment
from dlsweep.config.tasks import BUILT_IN
from dlsweep.results.measured import in_order
from dlsweep.results.schema import MOST_CLASSES, MOST_CONFUSIONS
from dlsweep.results.splits import ONE_SPLIT, Splits
from dlsweep.results.statistics import (
    COMPARISON_DOC,
    COMPARISON_OF_SPLITS_DOC,
    IMAGES_DOC,
    INTERVAL_DOC,
    interval_doc,
    mean_text,
)

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

CLASSES: Mapping[str, Column] = {
    **KEYS,
    "class": Column(int, "The class."),
    "n": Column(int, "Test images of it.", "images"),
    "n_predicted": Column(int, "Test images that the model gives it.", "images"),
    "precision": Column(float, "Share of the latter that are of it; empty where there are none.", "", "", FRACTION),
    "recall": Column(
        float, "Share of its images that the model gives it; empty where there are none.", "", "", FRACTION
    ),
    "f1": Column(float, "Harmonic mean of precision and recall.", "", "F1", FRACTION),
    "top5": Column(
        float, "Share of its images of which it is among the model's five best guesses.", "", "top-5", FRACTION
    ),
}

CALIBRATION: Mapping[str, Column] = {
    **KEYS,
    "low": Column(float, "Low end of a bin of confidence, the probability of the predicted class; not in the bin."),
    "high": Column(float, "High end of it."),
    "n": Column(int, "Test images in it.", "images"),
    "confidence": Column(float, "Their mean confidence.", "", "", FRACTION),
    "accuracy": Column(float, "Share of them that are classified correctly.", "", "", FRACTION),
}

MOST_MISTAKES = 100  # that are listed

MISTAKES: Mapping[str, Column] = {
    **KEYS,
    "image": Column(int, "The image's place in the test split, from 0."),
    "true": Column(int, "Its class."),
    "predicted": Column(int, "The class that the model gives it."),
    "probability": Column(float, "The probability that the model gives to that class.", "", "", FRACTION),
}

TRIALS: Mapping[str, Column] = {
    **KEYS,
    "round": Column(int, "The round, from 0."),
    "slot": Column(int, "The slot of the round, from 0."),
    "bracket": Column(int, "The bracket, from 1, where runs pause (halving, hyperband); else empty."),
    "trial": Column(int, "The point of the round, from 0: its seeds, splits and folds have the same."),
    "point": Column(str, "The values that the search has chosen, as JSON."),
    "status": Column(str, "`finished`, `stopped_early`, `diverged`, `pruned` (it paused) or `failed` (for good)."),
    "value": Column(float, "The objective by then; empty where the run diverged or failed."),
    "epochs": Column(int, "The epochs that the run had by then."),
    "seconds": Column(float, "Training time that this slot added.", "s"),
}


# -- one experiment ------------------------------------------------------------------------------------------------

_CLASSIFIED = {name for name in MEASURED if name != "best_epoch"}
"""What only the built-in classification measures; an own task may have a metric of that name."""
_KNOWN: Mapping[str, Column] = {**GRADIENTS, **METRICS, **EPOCH_METRICS}
_FIXED: Mapping[str, Column] = {**CONFUSION, **GRADIENTS, **EPOCHS, **SUMMARY}


@dataclass(frozen=True)
class Columns:
    """What is known of the columns of one experiment: its objective, its hyper-parameters, its metrics.

    `built_in` says that its task is the built-in one, `classifies` that this is the classification, which has the
    metrics of METRICS; `own` is what the config says of its metrics. The families `beyond` have values that leave their
    range, which is none then. `splits` are those of the data that its runs are repeated on.
    """

    objective: Objective = STANDARD
    hyperparameters: Mapping[str, Hyperparameter] = field(default_factory=lambda: HYPERPARAMETERS)
    classifies: bool = True
    own: Mapping[str, Column] = field(default_factory=dict)
    beyond: frozenset[str] = frozenset()
    built_in: bool = True
    splits: Splits = ONE_SPLIT

    @property
    def ranked(self) -> str:
        """The leaderboard's column that settings are ranked by."""
        return self.objective.metric if self.objective.metric != self.objective.report else self.objective.selected

    @property
    def beside(self) -> list[str]:
        """What the leaderboard of a classification shows beside the reported metric."""
        return [name for name in ("test_loss", "test_acc") if name != self.objective.report] if self.classifies else []

    @property
    def counts_images(self) -> bool:
        """Whether the reported metric is the share of test images that are predicted correctly."""
        return self.classifies and self.objective.report == "test_acc"

    @property
    def interval_doc(self) -> str:
        """What stands between brackets."""
        return interval_doc(self.splits.words, self.splits.correction > 0)

    @property
    def comparison_doc(self) -> str:
        """How settings are compared with the best."""
        splits = self.splits
        return COMPARISON_OF_SPLITS_DOC.format(splits.words) if splits.correction else COMPARISON_DOC

    @property
    def worst(self) -> float:
        """What a diverged run counts as when settings are ranked."""
        return self.metric(self.objective.selected).within[0 if self.objective.better == "max" else 1]

    @property
    def reported_better(self) -> str:
        """What is better of what settings are reported by: `max` or `min`."""
        return self.metric(self.objective.report).better or self.objective.better

    def metric(self, name: str) -> Column:
        """Return the column of a metric of a run, an epoch or a layer; of a family that of its test split."""
        if self.classifies and name in CLASSIFICATION:
            name = f"test_{name}"
        for found in (name, name.removeprefix("tested_")):
            if found in _KNOWN and (self.classifies or found not in _CLASSIFIED):
                return _KNOWN[found]
        column = metric_column(name, self.own)
        if parts_of(name).family == self.objective.family:
            column = replace(column, better=column.better or self.objective.better)
        return replace(column, within=UNBOUNDED) if parts_of(name).family in self.beyond else column

    def title(self, name: str) -> str:
        """Return a column's title with its unit, for an axis."""
        if self.classifies and name in CLASSIFICATION:  # not the hyper-parameter of that name
            column = self.metric(name)
        elif name in self.hyperparameters:
            column = hyperparameter_columns({name: self.hyperparameters[name]})[name]
        elif name in _FIXED and name not in HYPERPARAMETERS and (self.classifies or name not in _CLASSIFIED):
            column = _FIXED[name]
        else:
            column = self.metric(name)
        title = self.metric_title(name) if self.classifies and name in CLASSIFICATION else column.title or name
        return f"{title} ({column.unit})" if column.unit and column.unit != title else title

    @property
    def by(self) -> str:
        """What settings are selected by, in words: the validation accuracy."""
        return self.in_words(self.objective.metric)

    @property
    def by_split(self) -> str:
        """The split that they are selected by; the metric itself where it is of none."""
        split = parts_of(self.objective.metric).split
        return SPLITS_IN_WORDS[split] if split else self.by

    def metric_title(self, name: str) -> str:
        """Return a metric's title without its unit: test accuracy."""
        if self.classifies and name in CLASSIFICATION:
            return metric_column(name).title
        return self.metric(name).title or name

    def in_words(self, name: str) -> str:
        """Return a metric as a reader says it: the validation accuracy."""
        return in_words(name, self.own)

    def text(
        self, name: str, mean: float | None, low: float | None = None, high: float | None = None, digits: int = 4
    ) -> str:
        """Return the mean of a metric as text, with its interval where there is one."""
        return mean_text(mean, low, high, digits, fixed=all(map(math.isfinite, self.metric(name).within)))


def columns_of(experiment: PlannedExperiment, own: Mapping[str, Column]) -> Columns:
    """Return what is known of an experiment's columns; `own` is what the config says of its metrics."""
    task = experiment.task
    return Columns(
        experiment.objective,
        with_dotted(task.hyperparameters, experiment.varies),
        classifies(experiment.settings.values()),
        own,
        built_in=task is BUILT_IN,
    )


def all_columns(plan: Plan) -> dict[str, Columns]:
    """Return what is known of the columns of each experiment of a plan."""
    return {exp_name: columns_of(experiment, plan.metrics) for exp_name, experiment in plan.experiments.items()}


# -- a whole sweep -------------------------------------------------------------------------------------------------


def summary_columns(known: Collection[Columns], metrics: Iterable[str] = ()) -> dict[str, Column]:
    """Return the columns of summary.csv for experiments of which this is known; `metrics` are those of their runs.

    Sweeps of the built-in classification have SUMMARY, whatever their runs measured. Others have the hyper-parameters
    of their tasks, and what their runs measured in place of what the classification does.
    """
    keys: dict[str, Column] = {}
    for of in known:
        for key, column in hyperparameter_columns(of.hyperparameters).items():
            keys[key] = column if key not in keys else _of_both(keys[key], column)
    fixed = dict(MEASURED) if any(of.classifies for of in known) else {}
    used = {name for of in known for name in (of.objective.metric, of.objective.report, of.objective.selected)}
    own = in_order([*metrics, *sorted(used)])
    measured = fixed | {name: _described(name, known) for name in own if name not in keys and name not in fixed}
    return columns_of_runs(keys, measured, has_images=any(of.built_in for of in known))


def _of_both(column: Column, other: Column) -> Column:
    """The column of two hyper-parameters of one name, of two tasks."""
    if column.type is other.type:
        return column
    kind = float if {column.type, other.type} == {int, float} else object
    return replace(column, type=kind)


def _described(name: str, known: Iterable[Columns]) -> Column:
    """The column of a metric, with a sentence."""
    known = list(known)
    of = next((of for of in known if not of.classifies or of.objective.selected == name), known[0])
    parts, column = parts_of(name), of.metric(name)
    if parts.stage:
        plain = name.removeprefix(f"{parts.stage}_")
        what = "best epoch" if parts.stage == "best" else "weights that are tested: what settings are selected by"
        return replace(column, doc=f"`{plain}` of the {what}.")
    said = f"{of.in_words(name)}.".replace("..", ".")
    return replace(column, doc=column.doc or f"{said[0].upper()}{said[1:]}")


def epoch_columns(known: Collection[Columns], metrics: Iterable[str] = ()) -> dict[str, Column]:
    """Return the columns of epochs.csv; `metrics` are those that runs log by the epoch."""
    classify = any(of.classifies for of in known)
    built_in = any(of.built_in for of in known)
    own = [name for name in metrics if name not in EPOCH_METRICS or (name in _CLASSIFIED and not classify)]
    columns = {name: column for name, column in EPOCHS.items() if classify or name not in _CLASSIFIED}
    last = {name: columns.pop(name) for name in ("lr", "seconds", "grad_norm")}
    kept = {name: column for name, column in last.items() if built_in or name == "seconds" or name in metrics}
    return {**columns, **{name: _described(name, known) for name in own}, **kept}


def leaderboard_columns(known: Iterable[Columns]) -> dict[str, Column]:
    """Return the columns of leaderboard.csv: those of each experiment's objective, and those that all have."""
    known = list(known)
    boards = list({of.objective: of for of in known}.values())
    one = boards[0].objective if len(boards) == 1 else None
    of_report = f"`{one.report}`" if one else "the reported metric"
    direction = "" if one is None or one.better == "max" else "; lower is better"
    measured: dict[str, Column] = {}
    for of in boards:
        measured |= {name: column for name, column in _board(of).items() if name not in measured}
    return {
        "exp_name": KEYS["exp_name"],
        "rank": Column(
            int,
            f"1 is the best mean {f'`{one.metric}`' if one else 'of the objective'}; settings of which every run"
            " diverged come last.",
        ),
        "label": SUMMARY["label"],
        "n": Column(int, "Runs of the setting: its seeds, splits and folds.", "runs"),
        "n_diverged": Column(int, "Those that diverged.", "runs"),
        "n_tested": Column(int, _N_TESTED if one == STANDARD else f"Those that have {of_report}.", "runs"),
        "n_outdated": Column(int, "Those whose code or data have changed since.", "runs"),
        "outdated": Column(str, "What has changed: `code`, `data`, `code and data`."),
        **measured,
        "difference": Column(float, f"{of_report[0].upper()}{of_report[1:]} minus that of rank 1{direction}."),
        "test": Column(
            str,
            f"How {of_report} is compared with rank 1's: `paired` t-test over the same seeds, `welch` where the seeds"
            " differ; over folds or random splits `corrected paired` and `corrected welch`, after Nadeau & Bengio"
            " (2003); or why no test is possible: `fewer than two results`, `neither varies`, `all seeds differ"
            " alike`.",
        ),
        "p_value": Column(float, "Two-sided p-value of that test; empty where none is possible."),
        "p_holm": Column(float, "The same, corrected for the number of comparisons in the experiment (Holm)."),
        **(_OVER_IMAGES if any(of.counts_images for of in known) else {}),
    }


_OVER_IMAGES: Mapping[str, Column] = {
    "n_images": Column(
        int, "Test images; empty, as the next three, unless all its tested runs have their predictions.", "images"
    ),
    "images_low": Column(float, "Low end of the 95% interval of `test_acc` over test images (Wilson)."),
    "images_high": Column(float, "High end of it."),
    "p_images": Column(float, f"P-value of the {IMAGES_DOC}."),
}


_N_TESTED = "Those that have a test accuracy; a diverged run has one only with `test_weights: best`."


def _board(of: Columns) -> dict[str, Column]:
    """The columns of one objective."""
    report, selected = of.objective.report, of.objective.selected
    unit = of.metric(report).unit
    worst = f"{of.worst:g}" if math.isfinite(of.worst) else "the worst there is"
    return {
        of.ranked: Column(
            float,
            f"Mean `{selected}` of all runs; a diverged one counts as {worst}, whatever it had before.",
            of.metric(selected).unit,
        ),
        f"{of.ranked}_sd": Column(float, "Its standard deviation over seeds; empty for one run."),
        report: Column(float, f"Mean `{report}` of the `n_tested` runs.", unit),
        f"{report}_sd": Column(float, "Its standard deviation over seeds; empty for one run."),
        f"{report}_low": Column(
            float, f"Low end of the {INTERVAL_DOC}; empty for one run. Over folds and splits it is corrected likewise."
        ),
        f"{report}_high": Column(float, "High end of it."),
        **{name: Column(float, f"Mean `{name}` of the same runs.", of.metric(name).unit) for name in of.beside},
    }


LEADERBOARD: Mapping[str, Column] = leaderboard_columns([Columns()])

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
    "classes": ("How well the best run of each experiment tells each class, where its predictions are kept.", CLASSES),
    "calibration": (
        "How often the best run of each experiment is right, by how sure it is: one row per bin of confidence that has"
        " test images.",
        CALIBRATION,
    ),
    "mistakes": (
        "The test images that the best run of each experiment gets wrong with the highest probability: at most"
        f" {MOST_MISTAKES}, the worst first.",
        MISTAKES,
    ),
    "trials": (
        "One row per slot of a [search](search.md) in rounds, with those that were stopped or failed, which have no"
        " record.",
        TRIALS,
    ),
    "leaderboard": ("One row per setting, its seeds together, best first.", LEADERBOARD),
}
"""The tables of the built-in classification."""

_OF_DATA = {
    "exp_name": KEYS["exp_name"],
    "label": Column(str, "What the setting varies, data sets and seeds aside."),
}
AGGREGATES: Mapping[str, Column] = {
    **_OF_DATA,
    "rank": Column(int, "1 is the best interquartile mean or, without one, the greatest probability of improvement."),
    "n_data": Column(int, "Data sets, on each of which the setting has a result.", "data sets"),
    "n": Column(int, "Its runs on them; a diverged one counts as the worst.", "runs"),
    "n_diverged": Column(int, "Those that diverged.", "runs"),
    "iqm": Column(float, "Interquartile mean of the reported metric; empty where the metric has no common scale."),
    "iqm_low": Column(float, "Low end of its 95% bootstrap interval."),
    "iqm_high": Column(float, "High end of it."),
    "improvement": Column(float, "Probability that a run of rank 1 is better than one of this setting; 0.5: neither."),
    "improvement_low": Column(float, "Low end of its 95% bootstrap interval."),
    "improvement_high": Column(float, "High end of it."),
}
PROFILES: Mapping[str, Column] = {
    **_OF_DATA,
    "threshold": Column(float, "A value of the reported metric."),
    "share": Column(float, "Share of the setting's runs that are better; each data set counts alike."),
    "share_low": Column(float, "Low end of its 95% bootstrap interval."),
    "share_high": Column(float, "High end of it."),
}
TUNING: Mapping[str, Column] = {
    "exp_name": KEYS["exp_name"],
    "label": Column(str, "What is compared, as in the leaderboard."),
    "split": Column(str, "The fold or split that it is tuned for; empty where there is one."),
    "n_settings": Column(int, "Settings that it is tried with.", "settings"),
    "n": Column(int, "Runs of them: their seeds.", "runs"),
    "n_diverged": Column(int, "Those that diverged.", "runs"),
    "n_failed": Column(int, "Those that were given up.", "runs"),
    "epochs": Column(int, "Epochs of them all.", "epochs"),
    "seconds": Column(float, "Time that they trained.", "s"),
    "chosen": Column(str, "The values that were chosen, with which it is reported; empty where that is not decided."),
    "selected": Column(float, "Mean of the objective over the runs that it was chosen by."),
    "n_missing": Column(int, "Runs that were to report it, but were given up: no table has them.", "runs"),
    "edge": Column(str, "Which of the values is the smallest or largest that was tried, and what to add to `tune`."),
}
DATA_TABLES: Mapping[str, tuple[str, Mapping[str, Column]]] = {
    "aggregates": (
        "One row per setting, over all data sets, of an experiment that varies `dataset` or `data_path` and something"
        " else. The file is there only where there is such an experiment.",
        AGGREGATES,
    ),
    "profiles": ("The performance profiles of the same settings: one row per setting and threshold.", PROFILES),
    "tuning": (
        "How each was tuned, of experiments with `compare`: one row for each of what is compared. The file is there"
        " only where there is such an experiment.",
        TUNING,
    ),
}
"""The tables that only some sweeps have: of settings over several data sets, and of what was tuned."""


def describe(name: str, doc: str, columns: Mapping[str, Column]) -> list[str]:
    """Return the lines of a page that describe one table."""
    lines = ["", f"## {name}.csv", "", doc, "", "| column | what it is | type | unit |", "|---|---|---|---|"]
    for key, column in columns.items():
        text = column.doc.replace("|", "\\|")
        lines.append(f"| `{key}` | {text} | {column.type.__name__} | {column.unit} |")
    return lines
