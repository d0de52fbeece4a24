"""What the user hears of a sweep beside Snakemake's own lines."""

from __future__ import annotations

import functools
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlsweep.config.files import BESIDE, CONFIG_FILE, override_options
from dlsweep.config.identity import identity
from dlsweep.config.jobs import train_arguments
from dlsweep.config.paths import data_file
from dlsweep.config.sweep import Sweep
from dlsweep.errors import RecordError
from dlsweep.files import is_torn, read_json
from dlsweep.report.contents import EMPTY_FIGURES
from dlsweep.results import redo
from dlsweep.results.records import DAMAGED
from dlsweep.tasks.classification.own_parts import has_own_parts, part_faults
from dlsweep.workflow import internals
from dlsweep.workflow.failures import MOST_NAMED, chosen_before, given_up, left_out, storage_trouble, unfinished
from dlsweep.workflow.jobs import Jobs
from dlsweep.workflow.paths import Paths
from dlsweep.workflow.view import findings


@dataclass(frozen=True)
class Messages:
    """The messages of one sweep."""

    sweep: Sweep
    paths: Paths
    jobs: Jobs
    overrides: dict[str, Any]

    def warn_of_outdated(self) -> None:
        """Say which code and data have changed since finished runs were made with them."""
        are_redone = self.sweep.outdated == "redo"
        for line in self.jobs.outdated.lines(self.jobs.config_files, self.overrides, are_redone):
            print(line, file=sys.stderr, flush=True)

    def warn_of_models(self) -> None:
        """Say what is certainly wrong with the users' own models of the runs that are to be done."""
        own = [(run, setting) for *run, setting in self.sweep.records() if has_own_parts(setting)]
        faults = part_faults([setting for run, setting in own if not Path(self.paths.record(*run)).exists()])
        for fault in faults[:MOST_NAMED]:
            print(f"warning: {fault}", file=sys.stderr)

    def warn_of_damage(self) -> None:
        """Name the records that are there, so that Snakemake makes them no more, but cannot be trusted."""
        records = dict.fromkeys((*self.paths.records, *self.paths.known_records))
        bad = {record: f"{record}: is torn" for record in records if Path(record).exists() and is_torn(Path(record))}
        damaged = Path(self.paths.tables_folder, DAMAGED)  # of who read every record whole
        for record, fault in _read(damaged, {}).items():
            if record in records and Path(record).exists() and _modified(record) < _modified(damaged):
                bad.setdefault(record, fault)
        for fault in list(bad.values())[:MOST_NAMED]:
            print(f"warning: {fault}", file=sys.stderr)
        if bad:
            print(f"{len(bad)} records cannot be trusted: see python scripts/sweep.py verify", file=sys.stderr)

    def success(self, workflow: Any) -> None:
        """Say what was found, and where to look."""
        if internals.touches(workflow):
            print("Touched the files that are there; no run, table or figure was made.")
            return
        results = Path(self.paths.results)
        for line in [*given_up(self.sweep, results), *chosen_before(self.sweep, results)]:
            print(f"warning: {line}", file=sys.stderr)
        for line in left_out(self.sweep, results):
            print(line)
        finished = f"of what is finished: {self.paths.partial_folder}/"
        partial = f"snakemake --cores 1 partial makes tables and figures {finished}"
        targets = internals.targets(workflow) - {"all"}
        if options := internals.options_for_a_part(workflow):
            print(f"Done, as far as {' and '.join(options)} goes: {self._progress()}. {partial}")
        elif "partial" in targets:
            self._findings(self.paths.partial_folder)
            print(f"Done: {', '.join(sorted(targets))}. Tables and figures {finished}")
        elif targets:
            print(f"Done: {', '.join(sorted(targets))}. {partial}")
        else:
            folder, html = self.paths.tables_folder, self.paths.html_report
            self._findings(folder)
            n_empty = len(_read(Path(folder, EMPTY_FIGURES), []))
            empty = f" ({n_empty} of them could not be drawn, see {folder}/logs/report.log)" if n_empty else ""
            print(f"Done. Tables: {folder}/summary.csv  figures: {folder}/figures/{empty}  report: {html}")

    def _findings(self, folder: str) -> None:
        """Say what each experiment has found, in a line, where the tables in a folder are those of this config."""
        for line in findings(Path(folder), self.jobs.plan.digest):
            print(line)

    def _progress(self) -> str:
        again = {self.paths.record(*run) for run in redo.requested(Path(self.paths.results))}
        records = self.paths.records
        done = sum(record not in again and Path(record).exists() for record in records)
        return f"{done} of {len(records)} runs are finished"

    def failure(self, script: str) -> None:
        """Say which runs are not finished and why."""
        results = Path(self.paths.results)
        command = functools.partial(self._train_command, script)
        print(unfinished(self.sweep, results, command, script, self._release_command), file=sys.stderr)
        if trouble := storage_trouble(results):
            print(trouble, file=sys.stderr)

    def _train_command(self, script: str, exp_name: str, digest: str) -> str:
        """The command that repeats a run by hand."""
        setting = self.jobs.setting(exp_name, digest)
        data = data_file(self.paths.results, setting)
        beside = os.environ[BESIDE]
        variable = f"{BESIDE}={shlex.quote(beside)} " if beside else ""
        options = train_arguments(exp_name, digest, identity(setting), data, self.paths.results)
        return f"{variable}{script} {options}"

    def _release_command(self, digest: str) -> str:
        """The command that has a search go on without a run."""
        configs = [*self.jobs.config_files, *override_options(self.overrides)]
        options = [] if configs == [CONFIG_FILE] else configs
        return shlex.join(["python", "scripts/sweep.py", "give-up", digest, *options])


def _read(path: Path, otherwise: Any) -> Any:
    try:
        return read_json(path)
    except RecordError:  # none yet, or torn
        return otherwise


def _modified(path: Path | str) -> float:
    return Path(path).stat().st_mtime
