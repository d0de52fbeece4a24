"""What came of the slots of searches as a table: also of the runs that a search stopped, which have no record."""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from dlsweep.config.course import LEFT_OUT
from dlsweep.config.dotted import MISSING, value_of
from dlsweep.config.paths import record_name
from dlsweep.config.plan import Plan, PlannedExperiment, PlannedSearch
from dlsweep.config.replicates import without_replicates
from dlsweep.errors import RecordError
from dlsweep.results.columns import TRIALS
from dlsweep.results.frames import make_table
from dlsweep.results.records import read_record
from dlsweep.results.schema import PRUNED, Epoch, Record


def trials_table(plan: Plan, records: Iterable[Record]) -> pd.DataFrame:
    """Return one row per slot that is done, in the order of the slots; `records` are those of the plan."""
    there = {(record["exp_name"], record["hash"]): record for record in records}
    rows = [
        row
        for exp_name, experiment in plan.experiments.items()
        if experiment.search
        for row in _rows(exp_name, experiment, experiment.search, there, Path(plan.results))
    ]
    return make_table({name: [row[name] for row in rows] for name in TRIALS}, TRIALS)


def _rows(
    exp_name: str,
    experiment: PlannedExperiment,
    search: PlannedSearch,
    there: Mapping[tuple[str, str], Record],
    results: Path,
) -> Iterable[dict[str, Any]]:
    spent: defaultdict[str, float] = defaultdict(float)
    for number, slot, content in search.slots(results):
        digest, status = content["hash"], content["status"]
        if status == LEFT_OUT:
            continue
        record = (
            content.get("record") or there.get((exp_name, digest)) or _read(results / record_name(exp_name, digest))
        )
        epochs, seconds = _trained(record, status, search.until[number])
        added = max(seconds - spent[digest], 0.0)  # a run that went on has spent the rest in earlier rounds
        spent[digest] += added
        point = {key: value_of(content["setting"], key) for key in without_replicates(search.swept)}
        yield {
            "exp_name": exp_name,
            "hash": digest,
            "round": number,
            "slot": slot,
            "bracket": search.brackets[number],
            "trial": slot // search.n_seeds[number],
            "point": json.dumps({key: value for key, value in point.items() if value is not MISSING}),
            "status": status,
            "value": content["value"],
            "epochs": epochs[-1]["epoch"] if epochs else None,
            "seconds": added,
        }


def _read(path: Path) -> Record | None:
    """The record of a run that only tuned what is compared; None of one that failed."""
    with contextlib.suppress(RecordError):
        return read_record(path)
    return None


def _trained(record: Record | None, status: str, until: int | None) -> tuple[list[Epoch], float]:
    """The epochs that a slot's run had at its end, and the seconds that they took; of one that failed none are known.

    The record of a slot that paused may be that of the whole run, which another experiment has finished.
    """
    if record is None:
        return [], 0.0
    epochs = record["epochs"]
    if status == PRUNED:
        epochs = [epoch for epoch in epochs if until is None or epoch["epoch"] <= until]
    if len(epochs) == len(record["epochs"]) and (seconds := record["timing"]["train_seconds"]) is not None:
        return epochs, float(seconds)
    return epochs, sum(epoch.get("seconds") or 0.0 for epoch in epochs)
