"""What Snakemake asks of the jobs of a sweep: what they wait for, and their options."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlsweep.config.axes import refuse_braces
from dlsweep.config.course import STOPPED, Course, decision_file, hours_of_left_out, slot_file
from dlsweep.config.identity import Setting
from dlsweep.config.jobs import keeps, prepare_arguments, run_options, source_files, train_arguments, twins
from dlsweep.config.keep import Keep
from dlsweep.config.paths import data_file, data_name, hash_in, init_from, record_name
from dlsweep.config.plan import Plan
from dlsweep.config.registry import entry, own_parts
from dlsweep.config.sweep import Experiment, Sweep
from dlsweep.errors import ConfigError, RecordError
from dlsweep.files import is_torn, read_json
from dlsweep.results import redo
from dlsweep.results.init_from import find_weights_file
from dlsweep.results.records import list_records
from dlsweep.results.versions import Outdated, Present, find_outdated, is_prepared, own_files
from dlsweep.tasks.classification.own_parts import Check, PartChecks
from dlsweep.workflow import internals
from dlsweep.workflow.paths import Paths

READERS = 16  # threads that read a folder of images, at most


@dataclass
class Jobs:
    """The jobs of one sweep."""

    sweep: Sweep
    paths: Paths
    config_files: list[str]
    workflow: Any
    again: set[tuple[str, str]] = field(default_factory=set)  # records of this DAG that are there and made again
    _is_prepared: dict[str, bool] = field(default_factory=dict)

    @functools.cached_property
    def outdated(self) -> Outdated:
        """The finished runs whose code or data have changed since. The Snakemake of a single job does not ask."""
        if not internals.is_main(self.workflow):
            return Outdated({}, {}, 0)
        present = Present(Path(self.paths.results), note=not internals.is_dry_run(self.workflow))
        return find_outdated(self.sweep, Path(self.paths.results), present)

    @functools.cached_property
    def plan(self) -> Plan:
        """What the tables and figures need to know."""
        return self.sweep.plan(self.paths.results, self.outdated.versions)

    @functools.cached_property
    def plan_file(self) -> str:
        """The plan, named after its content: a changed config has a new one, so its tables are made again."""
        return f"{self.paths.tables_folder}/plan/{self.plan.digest}.json"

    def train_input(self, wildcards: Any) -> list[str]:
        """What one run waits for: its prepared data, and the record that it is a copy of, if any.

        A finished run has none: when lost or outdated data were made again, Snakemake would make the run again
        after them. Not even with ancient(), which moreover hides from Snakemake that other runs are missing.
        A record that is to be made again has them again.
        """
        if internals.does_a_group(self.workflow):
            internals.keep_going(self.workflow)
        run = wildcards.exp, wildcards.hash
        setting = self.setting(*run)
        if setting.get("imported"):
            self._refuse_to_train(*run)
        if Path(self.paths.record(*run)).exists():
            if run not in self._to_redo and not self._is_forced(*run):
                return []
            self.again.add(run)
        twin = self._twins.get(run)
        tried = [check.output(self.paths.results) for check in self.model_checks.of_run(setting)]
        waits = [*([f"{self.paths.results}/{twin}"] if twin else self._started_from(setting)), *tried]
        return [*self._prepared(setting), *waits]

    def _started_from(self, setting: Setting) -> list[str]:
        """The record of the run that this one starts from, where this sweep has it and makes it."""
        value = init_from(setting)
        if not value:
            return []
        digest = hash_in(value)
        run = self._run_of_hash.get(digest)
        if run and (digest not in self._on_disk or run in self._to_redo or self._is_forced(*run)):
            return [self.paths.record(*run)]
        try:
            find_weights_file(Path(self.paths.results), value)
        except ConfigError as error:
            sys.exit(f"error: {error}")
        return []

    @functools.cached_property
    def _run_of_hash(self) -> dict[str, tuple[str, str]]:
        return {digest: (exp_name, digest) for exp_name, digest, _ in self.sweep.records()}

    def _refuse_to_train(self, exp_name: str, digest: str) -> None:
        """What was trained elsewhere can be copied from another experiment's record, but not made here."""
        record = self.paths.record(exp_name, digest)
        if Path(record).exists():
            if (exp_name, digest) in self._to_redo or self._is_forced(exp_name, digest):
                sys.exit(f"error: {record}: was imported, so nothing can make it again; leave out what asks for that")
        elif digest not in self._on_disk:
            asked_for = [run for run in self.sweep.records() if run[2].get("imported") and run[1] not in self._on_disk]
            sys.exit(
                f"error: {record}: is not there, and nothing can train it, since it was imported ({len(asked_for)} such"
                f" records are missing). Import them again (sweep.py import), or take their settings out of"
                f" {', '.join(self.config_files)}"
            )

    @functools.cached_property
    def _on_disk(self) -> set[str]:
        """The hashes of the records that are there, of whichever experiment."""
        return {digest for _, digest in list_records(Path(self.paths.results))}

    def _prepared(self, setting: Setting) -> list[str]:
        """The prepared data of a run, which are made again where the user's own have changed, whatever their time.

        An own task has none.
        """
        path = data_file(self.paths.results, setting)
        is_own = path and (setting.get("data_path") or ":" in setting["dataset"])
        if is_own and path not in self._is_prepared:
            self._is_prepared[path] = is_prepared(path, setting)
            if not self._is_prepared[path]:
                internals.force(self.workflow, {path})
        return [path] if path else []

    @functools.cached_property
    def model_checks(self) -> PartChecks:
        """What is tried of the users' own models before their runs."""
        return PartChecks(self.sweep)

    def check_input(self, wildcards: Any) -> list[str]:
        """A check waits for its data, the check of its class, and the user's files: once changed, it is tried again."""
        check = self._check(wildcards.check)
        before = [other.output(self.paths.results) for other in self.model_checks.before(check)]
        data = self._prepared(check.data) if check.data else []
        return [*data, *before, *_code_files(name for _, name in check.parts)]

    def check_arguments(self, name: str, input: Any) -> str:
        """The options of scripts/train.py with which it tries a model."""
        check = self._check(name)
        return check.options(str(input[0]) if check.data else "")

    def _check(self, name: str) -> Check:
        check = self.model_checks.checks.get(name)
        if check is None:
            internals.stop(f"{name}: no model of {', '.join(self.config_files)} is tried under that name")
        return check

    def data_source(self, wildcards: Any) -> list[str]:
        """The user's own files as the input of the prepare rule."""
        setting = self._data_settings[wildcards.data]
        files = [*source_files(setting), *_code_files(own_parts(setting).get("dataset", ()))]
        try:
            for file in files:  # data_path itself has been checked, the folders below it have not
                refuse_braces(file)
        except ConfigError as error:
            sys.exit(f"error: {error}")
        return files

    def data_asked_for(self, *exp_names: str) -> Callable[[Any], list[str]]:
        """The prepared data of these experiments (of all) where they themselves are asked for.

        They are no files that a finished sweep needs: a record that is there has no input (`train_input`). But
        --forcerun prepare makes them again, and --delete-all-output deletes them.
        """
        settings = (
            setting
            for exp_name in exp_names or self.sweep.experiments
            for setting in self.sweep.experiments[exp_name].settings.values()
        )

        def files(wildcards: Any) -> list[str]:
            deletes = internals.on_command_line("--delete-all-output")
            if not deletes and "prepare" not in self.forced[0]:
                return []
            paths = dict.fromkeys(data_file(self.paths.results, setting) for setting in settings)
            return [path for path in paths if path and (not deletes or Path(path).exists())]

        return files

    @functools.cached_property
    def _to_redo(self) -> set[tuple[str, str]]:
        """The records that this start makes again though no flag names them.

        Those are the ones with an open request and, where the config asks for it, the outdated ones.
        """
        found = self.requested | (set(self.outdated.runs) if self.sweep.outdated == "redo" else set())
        slots = {path for path, run in self._known_slots.items() if run in found}
        internals.force(self.workflow, {self.paths.record(*run) for run in found} | slots)
        return found

    @functools.cached_property
    def requested(self) -> set[tuple[str, str]]:
        """The runs of this sweep with an open request to be made again."""
        experiments = self.sweep.experiments
        asked = redo.requested(Path(self.paths.results))
        return {run for run in asked if run[0] in experiments and run[1] in experiments[run[0]].settings}

    @functools.cached_property
    def forced(self) -> tuple[Collection[str], Collection[str]]:
        """The rules and files that the command line has made again."""
        return internals.forced(self.workflow)

    def _is_forced(self, exp_name: str, digest: str) -> bool:
        rules, files = self.forced
        return "train" in rules or self.paths.record(exp_name, digest) in files

    @functools.cached_property
    def _twins(self) -> dict[tuple[str, str], str]:
        """Who waits for whose record. All that are made again count where all are surely in the DAG.

        With --until nobody: Snakemake does no job that waits for another one of that rule. Then the lock of the
        setting makes the second one wait.
        """
        if "--until" in internals.options_for_a_part(self.workflow):
            return {}
        whole = not internals.targets(self.workflow)
        existing = list(list_records(Path(self.paths.results)))
        again = {run for run in existing if run in self._to_redo or (whole and self._is_forced(*run))}
        return twins(self.sweep, existing, again)

    # -- searches --------------------------------------------------------------------------------------------------

    def experiment_of(self, search: str) -> Experiment:
        """The experiment whose search has this name; end with one message where there is none."""
        found = self._searches.get(search)
        if found is None:
            internals.stop(f"{search}: no search of {', '.join(self.config_files)} has that name")
        return found

    @functools.cached_property
    def _searches(self) -> dict[str, Experiment]:
        return {exp.course.name: exp for exp in self.sweep.experiments.values() if exp.course}

    @functools.cached_property
    def _known_slots(self) -> dict[str, tuple[str, str]]:
        """The run of each slot of which that is known by now, by its file."""
        return {
            slot_file(self.paths.results, name, *slot): (experiment.name, digest)
            for name, experiment in self._searches.items()
            if experiment.course
            for slot, (digest, _) in experiment.course.known_runs(Path(self.paths.results)).items()
        }

    def decision_input(self, wildcards: Any) -> list[str]:
        """A decision waits for the results of the rounds before it; one that is there is not made again."""
        course = self._course(wildcards.search)
        number = int(wildcards.round)
        if number >= len(course.rounds) or not course.rounds[number].after:
            internals.stop(f"{course.name}: has no decision for round {number}")
        output = decision_file(self.paths.results, course.name, number)
        if self._may_go_on(course, output):
            internals.force(self.workflow, {output})
        elif Path(output).exists() and not ("search_decide" in self.forced[0] or output in self.forced[1]):
            return []
        return [
            slot_file(self.paths.results, course.name, before, slot)
            for before in course.rounds[number].after
            for slot in range(course.n_slots(before))
        ]

    def slot_input(self, wildcards: Any) -> list[str]:
        """What a slot waits for: the decision of its round, prepared data, and the check of the user's own parts.

        Nothing where it is done, as for a run. It is not done where its record was lost since, or its own file is torn.
        """
        course, number, slot = self._slot(wildcards)
        path = slot_file(self.paths.results, course.name, number, slot)
        decision = decision_file(self.paths.results, course.name, number)
        if self._may_go_on(course, path) or self._may_go_on(course, decision):
            internals.force(self.workflow, {path})
        elif Path(path).exists() and (run := self._known_slots.get(path)):
            is_lost = is_torn(Path(path)) or (run not in self._present and not _has_no_record(path))
            if run in self._to_redo or "search_slot" in self.forced[0] or path in self.forced[1]:
                self.again.add(run)
            elif not is_lost:
                return []
            internals.force(self.workflow, {path})
        elif Path(path).exists() and Path(decision).exists():
            return []  # it had nothing to run
        waits = [decision] if course.rounds[number].after else []
        setting = course.setting_like(number, slot)
        tried = [check.output(self.paths.results) for check in self.model_checks.of_run(setting)]
        waits += self._started_from(setting)
        return [*waits, *(data for one in course.data_settings for data in self._prepared(one)), *tried]

    def _may_go_on(self, course: Course, path: str) -> bool:
        """Say whether what a slot or a round was left out for, by its file, is less than it may have by now."""
        hours = hours_of_left_out(Path(path)) if Path(path).exists() else None
        return hours is not None and (course.max_hours is None or course.max_hours > hours)

    @functools.cached_property
    def _present(self) -> set[tuple[str, str]]:
        return set(list_records(Path(self.paths.results)))

    def slot_arguments(self, wildcards: Any) -> str:
        """The options of scripts/train.py for a slot, whose setting its decision says where the config does not."""
        course, number, slot = self._slot(wildcards)
        exp_name, results = self.experiment_of(wildcards.search).name, self.paths.results
        objective = course.objective
        place = sum(course.n_slots(before) for before in range(number)) + slot
        save = self.sweep.save if self.sweep.save == "all" or course.may_be_best(number) else "none"
        options: dict[str, Any] = {
            "keep_weights": str(Keep(save, objective.metric, objective.better, course.n_alike(number), place)),
            "search_slot": slot_file(results, course.name, number, slot),
            "search_metric": objective.metric,
        }
        if course.max_hours:
            options["search_max_hours"] = course.max_hours
        options |= self._keep_state
        if epochs := course.rounds[number].epochs:
            options["pause_after"] = epochs
        if course.rounds[number].after:
            options["search_decision"] = decision_file(results, course.name, number)
            return run_options({"exp_name": exp_name, "results": results, **options})
        digest, setting = course.static_round(number)[slot]
        data = data_file(results, setting)
        return f"{train_arguments(exp_name, digest, setting, data, results)} {run_options(options)}"

    def run_of(self, wildcards: Any) -> tuple[str, str]:
        """The run of a job that trains, (exp_name, hash); its hash is "" where a search has not decided it yet."""
        if not hasattr(wildcards, "search"):
            return wildcards.exp, wildcards.hash
        path = slot_file(self.paths.results, wildcards.search, int(wildcards.round), int(wildcards.slot))
        return self._known_slots.get(path, (self.experiment_of(wildcards.search).name, ""))

    def _course(self, search: str) -> Course:
        course = self.experiment_of(search).course
        assert course
        return course

    def _slot(self, wildcards: Any) -> tuple[Course, int, int]:
        course, number, slot = self._course(wildcards.search), int(wildcards.round), int(wildcards.slot)
        if number >= len(course.rounds) or slot >= course.n_slots(number):
            internals.stop(f"{course.name}: has no slot {slot} in round {number}")
        return course, number, slot

    # -- settings --------------------------------------------------------------------------------------------------

    def setting_of_job(self, wildcards: Any) -> Setting:
        """The setting of a job that trains; of a search one that it may have."""
        if hasattr(wildcards, "search"):
            course, number, slot = self._slot(wildcards)
            return course.setting_like(number, slot)
        return self.setting(wildcards.exp, wildcards.hash)

    def setting(self, exp_name: str, digest: str) -> Setting:
        """The setting of a run; end with one message where the config has none such."""
        experiment = self.sweep.experiments.get(exp_name)
        if experiment is None or digest not in experiment.settings:
            internals.stop(f"{record_name(exp_name, digest)}: no setting of {', '.join(self.config_files)}")
        return experiment.settings[digest]

    def train_arguments(self, wildcards: Any, input: Any, output: Any) -> str:
        """The options of scripts/train.py."""
        setting = self.setting(wildcards.exp, wildcards.hash)
        data = data_file(self.paths.results, setting)
        if data and input:
            data = input[0]
        keep = run_options({"keep_weights": str(self._keeps[wildcards.exp, wildcards.hash]), **self._keep_state})
        results = str(Path(output[0]).parent)
        return f"{keep} {train_arguments(wildcards.exp, wildcards.hash, setting, str(data), results)}"

    @property
    def _keep_state(self) -> dict[str, Any]:
        return {"keep_state": True} if self.sweep.keep_state else {}

    @functools.cached_property
    def _keeps(self) -> dict[tuple[str, str], Keep]:
        return keeps(self.sweep.save, self.sweep.experiments)

    @functools.cached_property
    def _data_settings(self) -> dict[str, Setting]:
        courses = (experiment.course for experiment in self._searches.values())
        searched = (setting for course in courses if course for setting in course.data_settings)
        return {data_name(setting): setting for setting in (*(one for _, _, one in self.sweep.records()), *searched)}

    def prepare_threads(self, data: str) -> int:
        """How many threads read a data set, as far as there are cores: one, or many where it is of many files."""
        return READERS if entry("dataset", self._data_settings[data]["dataset"]).in_parts else 1

    def prepare_arguments(self, data: str) -> str:
        """The options of scripts/prepare.py."""
        return prepare_arguments(self._data_settings[data])


def _has_no_record(path: str) -> bool:
    """Say whether the run of a slot ended without a record: stopped, or given up."""
    try:
        return read_json(Path(path))["status"] in STOPPED
    except (RecordError, KeyError, TypeError):
        return False


def _code_files(names: Iterable[str]) -> list[str]:
    """The files of the modules of own parts, and of all that they import of the user's own."""
    return [str(path) for path in own_files(*(name.partition(":")[0] for name in names)).values()]
