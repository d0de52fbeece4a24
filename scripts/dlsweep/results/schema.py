"""The schema of a record, version 1."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from dlsweep.config.identity import Setting

SCHEMA_VERSION = 1
FINISHED = ("finished", "diverged", "stopped_early")
FAILED = "failed"
PRUNED = "pruned"
"""The status of a run that a search has stopped before its end. It is not finished: it can go on."""


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": {**required, **(optional or {})}}


_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_LOSS = {"type": ["number", "null"]}
_SECONDS = {"type": ["number", "null"], "minimum": 0}
_ACCURACY = {"type": ["number", "null"], "minimum": 0, "maximum": 1}

MOST_CLASSES = 100
"""A record holds the whole confusion matrix of up to so many classes; of more the most frequent confusions."""
MOST_CONFUSIONS = 1000
_CONFUSION = {"type": "array", "items": _COUNT, "minItems": 3, "maxItems": 3}  # true class, predicted class, count

EPOCH_SCHEMA = _object(
    {
        "epoch": {"type": "integer", "minimum": 1},
        "train_loss": _LOSS,
        "val_loss": _LOSS,
        "lr": {"type": ["number", "null"]},
        "seconds": {"type": ["number", "null"], "minimum": 0},
    },
    {
        "train_acc": _ACCURACY,
        "val_acc": _ACCURACY,
        "grad_norm": {"type": ["number", "null"]},
        "layer_gradients": {"type": "object"},
    },
)

FINAL_SCHEMA = _object(
    {
        "test_loss": _LOSS,
        "best_epoch": {"type": ["integer", "null"], "minimum": 1},
        "best_val_loss": _LOSS,
    },
    {
        "test_acc": _ACCURACY,
        "best_val_acc": _ACCURACY,
        "tested_train_loss": _LOSS,
        "tested_train_acc": _ACCURACY,
        "per_class_acc": {"type": ["array", "null"]},
        "confusion": {"type": ["array", "null"]},
        "confusions": {"type": ["array", "null"], "maxItems": MOST_CONFUSIONS, "items": _CONFUSION},
    },
)

OWN_EPOCH_SCHEMA = {
    **_object({"epoch": {"type": "integer", "minimum": 1}, "seconds": _SECONDS}),
    "additionalProperties": {"type": ["number", "null"]},  # the metrics
}

TASK_SCHEMA = _object(
    {
        "kind": {"enum": ["function", "command", "imported"]},
        "name": _TEXT,
        "defaults": {"type": "object"},  # of its hyper-parameters, as they were: the hash leaves them out
    }
)
"""The record of an own task says which; that of the built-in classification says nothing."""

RECORD_SCHEMA: dict[str, Any] = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "title": "A record: the finished outcome of one run",
    **_object(
        {
            "schema_version": {"const": SCHEMA_VERSION},
            "exp_name": _TEXT,
            "hash": {"type": "string", "pattern": "^[0-9a-f]{40}$"},
            "setting": {"type": "object"},
            "status": {"enum": list(FINISHED)},
            "epochs": {"type": "array"},
            "final": {"type": "object"},
            "model": _object(
                {"n_parameters": {"type": ["integer", "null"], "minimum": 0}},
                {"source_sha1": {"type": ["string", "null"]}},
            ),
            "timing": _object(
                {
                    "total_seconds": _SECONDS,
                    "train_seconds": _SECONDS,
                    "samples_per_second": {"type": ["number", "null"]},
                    "resumed": _COUNT,
                }
            ),
            "provenance": _object({"command": {}}, {"code": {"type": ["string", "null"]}}),
        },
        {"task": TASK_SCHEMA},
    ),
    "if": {"required": ["task"]},
    "then": {"properties": {"epochs": {"items": OWN_EPOCH_SCHEMA}}},
    "else": {
        "properties": {"epochs": {"items": EPOCH_SCHEMA}, "final": FINAL_SCHEMA},
        # Other losses are of numbers or of several labels, which have metrics of their own.
        "if": {"properties": {"setting": {"properties": {"loss": {"const": "cross_entropy"}}}}},
        "then": {
            "properties": {
                "epochs": {"items": {"required": ["train_acc", "val_acc"]}},
                "final": {"required": ["test_acc", "best_val_acc"]},
            }
        },
    },
}


# -- the same, for those who read and write records ------------------------------------------------------------------

Epoch = dict[str, Any]
"""`epoch`, `seconds` (None where imported), and by its name each metric: a number, or None where it is not finite."""


class TaskName(TypedDict):
    """The task of one's own that made a record, see TASK_SCHEMA."""

    kind: str
    name: str
    defaults: dict[str, Any]


class Model(TypedDict):
    """The size of the model, None where unknown, and the digest of the file of an own one."""

    n_parameters: int | None
    source_sha1: NotRequired[str | None]


class Timing(TypedDict):
    """Seconds of the epochs, and of the whole run; `resumed` counts how often it went on from a checkpoint."""

    total_seconds: NotRequired[float | None]  # a task does not know it
    train_seconds: float | None
    samples_per_second: float | None
    resumed: int


class Outcome(TypedDict):
    """What a task gives of a run that has ended: its part of the record."""

    status: str
    epochs: list[Epoch]
    final: dict[str, Any]
    model: Model
    task: NotRequired[TaskName]


class Begun(TypedDict):
    """What is known of a run when it begins: its part of the record."""

    schema_version: int
    exp_name: str
    hash: str
    setting: Setting


class Record(Begun, Outcome):
    """The finished outcome of one run."""

    timing: Timing
    provenance: dict[str, Any]


@functools.cache
def validator() -> Callable[[Any], Any]:
    """Return the function that checks a record against the schema; compiling it takes milliseconds."""
    import fastjsonschema

    validate: Callable[[Any], Any] = fastjsonschema.compile(RECORD_SCHEMA)
    return validate


DIVERGES = ("loss", "mae", "mse", "rmse", "mape", "huber", "nll", "perplexity")
"""The words in a metric's name that make it an error: one that is not finite says that a run has diverged."""


def is_diverged(epochs: Sequence[Mapping[str, Any]], final: Mapping[str, Any]) -> bool:
    """Say whether a run of an own task has diverged: an error of its last epoch, or of its end, is not finite."""
    last = epochs[-1] if epochs else {}
    return any(
        value is None or (isinstance(value, float) and not math.isfinite(value))
        for name, value in (*last.items(), *final.items())
        if not set(DIVERGES).isdisjoint(name.split("_"))
    )
