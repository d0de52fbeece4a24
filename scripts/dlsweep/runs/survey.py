"""What all runs of a sweep do at this moment, from few system calls."""

from __future__ import annotations

import datetime
import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from dlsweep.config.identity import Setting
from dlsweep.config.metrics import Objective, is_number
from dlsweep.config.paths import record_name, running_folder, split_name
from dlsweep.config.sweep import Sweep
from dlsweep.files import read_json
from dlsweep.results.measured import last_values, run_metrics, tested_value
from dlsweep.results.records import REQUEST, read_record
from dlsweep.results.schema import FINISHED, Record
from dlsweep.results.versions import Made, made_with
from dlsweep.runs.states import Run, run_state

# -- many runs, looked at again and again ----------------------------------------------------------------------------


@dataclass(frozen=True)
class RunStatus:
    """What a live view needs to know of one run. A sweep's whole records would not fit in memory."""

    exp_name: str
    digest: str
    setting: Setting
    state: str
    n_epochs: int = 0  # that are done
    last: dict[str, Any] = field(default_factory=dict)  # the last of them, as in the record
    epoch_seconds: float | None = None  # mean time of the latest of them
    n_planned: int | None = None  # epochs, where that is known
    selected: float | None = None  # what its setting is selected by
    reported: float | None = None
    metrics: tuple[str, ...] = ()  # that it has, of a finished run
    seconds: float = 0.0  # of its epochs and, where it was not continued, its start
    started: float | None = None  # start of its last process (Unix time)
    updated: float | None = None  # its end or, while it is running, its latest epoch
    error: str = ""
    made: Made = field(default_factory=dict)  # the code and data of a finished run


class Survey:
    """The runs of a sweep, as often as they are asked for; a finished record is read once."""

    def __init__(self, sweep: Sweep, results: Path) -> None:
        self.sweep, self.results = sweep, results
        self._finished: dict[str, RunStatus] = {}

    def read(self) -> list[RunStatus]:
        """Return every run of the sweep as it is now."""
        records, running = _names(self.results), _names(running_folder(self.results))
        found = []
        ended: dict[str, dict[str, str]] = {}
        for exp_name, digest, setting in self.sweep.records():
            name = record_name(exp_name, digest)
            again = record_name(exp_name, digest).replace(".json", REQUEST) in running
            status = self._finished.get(name) if name in records and not again else None
            if status is None and (name in records or name in running):
                run = run_state(self.results, exp_name, digest, _glance)
                status = _status(run, setting, self.results, self.sweep.experiments[exp_name].objective)
                if status.state in FINISHED and not again:
                    self._finished[name] = status
            if status is None and (course := self.sweep.experiments[exp_name].course):
                if exp_name not in ended:
                    ended[exp_name] = course.without_record(self.results)
                if state := ended[exp_name].get(digest):  # another experiment has finished the setting, and cleared up
                    status = RunStatus(exp_name, digest, setting, state)
            found.append(status or new_run(exp_name, digest, setting))
        return found


def new_run(exp_name: str, digest: str, setting: Setting) -> RunStatus:
    """Return the status of a run that has not begun."""
    return RunStatus(exp_name, digest, setting, "new", n_planned=_n_planned(setting, {}))


def _names(folder: Path) -> set[str]:
    return {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()


def _glance(path: Path) -> Record:
    """A record of which no more is checked than that it is one: ten thousand are read in a second."""
    record: Record = read_json(path)
    try:
        if record["status"] in FINISHED and (record["exp_name"], record["hash"]) == split_name(path):
            return record
    except (KeyError, TypeError):
        pass
    return read_record(path)  # says what is wrong with it


def _status(run: Run, setting: Setting, results: Path, objective: Objective) -> RunStatus:
    record = cast(Record, {"setting": setting, "epochs": [], "final": {}, **run.record})
    epochs = record["epochs"]
    provenance, timing = run.record.get("provenance", {}), run.record.get("timing", {})
    last, is_finished = last_values(record), run.state in FINISHED
    latest = [epoch["seconds"] for epoch in epochs[-5:] if epoch.get("seconds") is not None]
    trained = sum(epoch.get("seconds") or 0.0 for epoch in epochs)
    if is_finished:
        updated = _unix_time(provenance.get("finished"))
    else:
        updated = _changed(running_folder(results) / record_name(run.exp_name, run.digest))
    reported = record["final"].get(objective.report, last.get(objective.report))
    return RunStatus(
        run.exp_name,
        run.digest,
        setting,
        run.state,
        len(epochs),
        last,
        sum(latest) / len(latest) if latest else None,
        _n_planned(setting, record),
        tested_value(record, objective.metric),
        reported if is_number(reported) else None,
        _shared(tuple(run_metrics([record]))) if is_finished else (),
        max(timing.get("total_seconds") or 0.0, trained),
        _unix_time(provenance.get("started")),
        updated,
        run.error,
        made_with(record, setting) if is_finished else {},
    )


def _n_planned(setting: Setting, record: Mapping[str, Any]) -> int | None:
    """The number of epochs that a run is to have: what it says itself, else its hyper-parameter `epochs`."""
    said = record.get("n_epochs", setting.get("epochs"))
    return said if isinstance(said, int) and not isinstance(said, bool) and said > 0 else None


@functools.cache
def _shared(names: tuple[str, ...]) -> tuple[str, ...]:
    """One and the same tuple for the many runs that have the same metrics."""
    return names


def _unix_time(text: str | None) -> float | None:
    return datetime.datetime.fromisoformat(text).timestamp() if text else None


def _changed(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None
