"""What a record says of its metrics, whichever task made it. Loads neither torch nor pandas."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from dlsweep.config.metrics import SPLITS, Objective, is_number, parts_of
from dlsweep.config.names import nearest
from dlsweep.config.tasks import is_built_in
from dlsweep.results.records import known_epoch
from dlsweep.results.schema import Epoch, Record

_NO_METRICS = ("epoch", "seconds")
_BUILT_IN = ("lr", "grad_norm", "layer_gradients")  # what else an epoch of the built-in task has


def epochs_of(record: Record) -> list[Epoch]:
    """Return a record's epochs; those of the built-in task without accuracies of a loss that is not finite."""
    epochs = record["epochs"]
    return [known_epoch(epoch) for epoch in epochs] if is_built_in(record["setting"]) else epochs


def last_values(record: Record) -> Epoch:
    """Return what a run measured last: of an own task each metric's latest value, which may be of an earlier epoch.

    Of a run that diverged only what its last epoch has: what was measured before says nothing of how it ended.
    """
    epochs = epochs_of(record)
    if is_built_in(record["setting"]) or record.get("status") == "diverged":
        return epochs[-1] if epochs else {}
    return {name: value for epoch in epochs for name, value in epoch.items()}


def tested_value(record: Record, name: str) -> float | None:
    """Return a metric of the weights that are tested: what settings are selected by.

    That is what the task returned at its end, else the last epoch's; with `test_weights: best` the best epoch's.
    """
    setting, final = record["setting"], record["final"]
    if is_built_in(setting) and setting.get("test_weights") == "best" and f"best_{name}" in final:
        name = f"best_{name}"
    value = final[name] if name in final else last_values(record).get(name)
    return value if is_number(value) else None


CHANCE = 0.01  # how often a run that has learned nothing may seem to have


def has_learned(record: Record) -> bool | None:
    """Say whether a run predicts better than a constant does; None where its record does not tell, or it diverged.

    A classifier's correct test images are compared with those of always naming the most frequent class, by the exact
    binomial test (Clopper & Pearson 1934), one-sided at 1 %; both are counted in the confusion matrix. A regression has
    learned where R² is positive: by definition the mean of the test targets has an R² of 0.
    """
    if record["status"] == "diverged":
        return None
    r2 = record["final"].get("test_r2")
    if r2 is not None and is_number(r2):
        return bool(r2 > 0)
    matrix = record["final"].get("confusion")
    if not matrix or not is_confusion(matrix):
        return None
    from scipy.special import bdtrc

    of_class = [sum(row) for row in matrix]
    n, n_correct = sum(of_class), sum(row[i] for i, row in enumerate(matrix))
    if n == 0 or n_correct == 0:
        return False if n else None
    most = max(of_class) / n
    return bool(most < 1 and bdtrc(n_correct - 1, n, most) < CHANCE)  # P(at least so many | constant)


def is_confusion(value: Any) -> bool:
    """Say whether a value is a confusion matrix: a task of your own may call anything so."""
    rows = value if isinstance(value, list) else [None]
    counts = (type(count) is int and count >= 0 for row in rows if isinstance(row, list) for count in row)
    return all(isinstance(row, list) and len(row) == len(rows) for row in rows) and all(counts)


def epoch_metrics(records: Iterable[Record]) -> list[str]:
    """Return the names of the metrics that runs log by the epoch, those of a family together."""
    found: dict[str, None] = {}
    for record in records:
        built_in = is_built_in(record["setting"])
        for epoch in record["epochs"][-1:] if built_in else record["epochs"]:  # built-in ones have the same each time
            found |= {
                name: None
                for name, value in epoch.items()
                if (is_number(value) or value is None) and name not in (*_NO_METRICS, *(_BUILT_IN if built_in else ()))
            }
    return in_order(found)


def run_metrics(records: Iterable[Record]) -> list[str]:
    """Return the names of the metrics that runs have: those of their epochs and the numbers of `final`."""
    records = list(records)
    found = dict.fromkeys(epoch_metrics(records))
    for record in records:
        found |= {name: None for name, value in record["final"].items() if is_number(value)}
    return in_order(found)


def in_order(names: Iterable[str]) -> list[str]:
    """Return metrics in the order of the tables: the families as they come, each by its splits, then the best epoch."""
    names = list(names)
    families = list(dict.fromkeys(parts_of(name).family for name in names))

    def place(name: str) -> tuple[bool, int, int]:
        parts = parts_of(name)
        split = SPLITS.index(parts.split) if parts.split else len(SPLITS)
        return bool(parts.stage), families.index(parts.family), split

    return sorted(dict.fromkeys(names), key=place)


def lacking(exp_name: str, objective: Objective, measured: Collection[str]) -> list[str]:
    """Return a line for each metric of the objective that no run of an experiment has; `measured` are those they have.

    Nothing where there is none at all, as of runs that all diverged.
    """
    if not measured:
        return []
    uses = {objective.report: "settings are reported by it", objective.metric: "settings are selected by it"}
    have = ", ".join(in_order(measured))
    return [
        f"{exp_name}: no run has {name}; {use}. The runs have {have}.{nearest(name, measured)}"
        for name, use in reversed(uses.items())
        if name not in measured
    ]


def numbers_in(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers among some values, by name."""
    return {name: float(value) for name, value in values.items() if is_number(value)}
