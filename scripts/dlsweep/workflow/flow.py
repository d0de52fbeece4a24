"""What the Snakefile asks: the files, commands and resources of a sweep. Loads neither torch nor pandas."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlsweep.config.axes import refuse_braces
from dlsweep.config.files import BESIDE, CONFIG_FILE, look_beside, override_options, snakemake_options
from dlsweep.config.identity import identity
from dlsweep.config.jobs import prepare_arguments, source_files, train_arguments, twins
from dlsweep.config.paths import data_file, data_name, record_name
from dlsweep.config.sweep import Sweep, load_sweep, plan_digest
from dlsweep.errors import ConfigError
from dlsweep.files import is_torn, write_json
from dlsweep.report.contents import IS_EMPTY, Item, figure_stem, report_items
from dlsweep.results import redo
from dlsweep.results.columns import TABLES
from dlsweep.results.named import remember
from dlsweep.results.records import REQUEST, clear_finished, list_records
from dlsweep.results.versions import Outdated, Present, find_outdated, is_prepared, own_files
from dlsweep.runs import warm
from dlsweep.runs.devices import KNOWN, VISIBLE, Found, complaints, find_devices, find_usable, select_visible
from dlsweep.runs.stopping import PROCESS_VARIABLE
from dlsweep.tasks.classification.own_models import Check, ModelChecks, model_faults
from dlsweep.workflow import internals, surroundings
from dlsweep.workflow.failures import MOST_NAMED, storage_trouble, unfinished
from dlsweep.workflow.session import claim, still_output_in_notebooks, stop_jobs_on_signals
from dlsweep.workflow.slurm import jobs_left

RESULTS = "results"
AT_START = ".start"  # suffix of the plan as a start has written it, until its job takes it over
FOLDER = Path(__file__).resolve().parents[3]
"""Where this pipeline lies; the working folder may be another one."""


@dataclass
class Flow:
    """One sweep as Snakemake sees it."""

    sweep: Sweep
    config_files: list[str]
    overrides: dict[str, Any]
    workflow: Any = None
    results: str = RESULTS
    threads: int = 1
    _is_prepared: dict[str, bool] = field(default_factory=dict)
    _trainer: Any = None  # the process of the warm trainer
    _again: set[tuple[str, str]] = field(default_factory=set)  # records of this DAG that are there and made again

    @classmethod
    def from_snakemake(cls, workflow: Any) -> Flow:
        """Read the config files and --config of this call; end with one message where they are wrong."""
        surroundings.prepare()
        files, overrides = internals.config(workflow)
        files = files or [_default_config()]
        look_beside(files)
        try:
            flow = cls(load_sweep(files, overrides), files, overrides, workflow)
            check_folders(flow.results, flow.tables_folder)
            surroundings.check_text([exp.settings for exp in flow.sweep.experiments.values()], files[0])
        except ConfigError as error:
            sys.exit(f"error: {error}")  # to an exception Snakemake adds the lines of code that raised it
        flow.limit_gpus(workflow)
        internals.no_backups()
        if internals.is_main(workflow):
            internals.quieten()
            still_output_in_notebooks()
            flow.warn_of_damage()
            surroundings.warn_of_protected([*flow.tables, *flow.figures, flow.html_report])
            flow.warn_of_models()
            flow.say_outdated()
            if not internals.is_dry_run(workflow) and next(list_records(Path(flow.results)), None):
                flow.remember()
        elif internals.does_a_group(workflow):
            warm.start()
        return flow

    # -- files ---------------------------------------------------------------------------------------------------

    @property
    def tables_folder(self) -> str:
        """The folder of this sweep's tables and figures."""
        return self.sweep.tables(self.results)

    @property
    def tables(self) -> list[str]:
        """The tables."""
        formats = ("csv", "parquet") if self.sweep.parquet else ("csv",)
        names = [f"{table}.{suffix}" for table in TABLES for suffix in formats]
        return [f"{self.tables_folder}/{name}" for name in (*names, "leaderboard.md")]

    @property
    def figures(self) -> list[str]:
        """The figures, PNG and SVG."""
        return [
            f"{self.tables_folder}/figures/{figure_stem(experiment.name, figure)}.{suffix}"
            for experiment in self.sweep.experiments.values()
            for figure in experiment.figures
            for suffix in ("png", "svg")
        ]

    def report_outputs(self, report: Any) -> list[Any]:
        """What rule `report` makes: the figures, and what Snakemake's report says of them, a category an experiment."""
        shown = [self._shown(report, self.tables_folder, item) for item in self._items()]
        captions = [f"{self.tables_folder}/{item.caption}" for item in self._items() if item.caption]
        svgs = [path for path in self.figures if path.endswith(".svg")]
        return [*shown, *captions, *svgs]

    def partial_items(self, report: Any) -> list[Any]:
        """What is there of the report of the finished runs."""
        there = (item for item in self._items() if Path(self.partial_folder, item.path).exists())
        return [self._shown(report, self.partial_folder, item) for item in there]

    def _items(self) -> list[Item]:
        return list(report_items({name: exp.figures for name, exp in self.sweep.experiments.items()}))

    def _shown(self, report: Any, folder: str, item: Item) -> Any:
        caption = str(Path(folder, item.caption).resolve()) if item.caption else None  # not beside the Snakefile
        return report(f"{folder}/{item.path}", category=item.category, labels={"result": item.name}, caption=caption)

    @property
    def partial_folder(self) -> str:
        """The folder of the tables and figures of what is finished by now."""
        return f"{self.tables_folder}/partial"

    @property
    def html_report(self) -> str:
        """Snakemake's report of the whole sweep."""
        return f"{self.tables_folder}/report.html"

    @property
    def snakemake_command(self) -> str:
        """Snakemake's report on this sweep, to be called by one of its rules with --report.

        With --rerun-incomplete, which runs nothing here: without it, a report refuses a record whose job was killed
        after writing it, although the profile says that such files are complete.
        """
        call = [sys.executable, "-m", "snakemake", "--cores=1", "--rerun-incomplete"]
        lies = [f"--snakefile={FOLDER / 'Snakefile'}", f"--report-stylesheet={FOLDER / 'report/style.css'}"]
        return shlex.join([*call, *lies, *snakemake_options(self.config_files, self.overrides)])

    @functools.cached_property
    def records(self) -> list[str]:
        """Every record that the sweep asks for."""
        return [record for exp_name in self.sweep.experiments for record in self.records_of(exp_name)]

    def experiments(self, workflow: Any) -> list[str]:
        """The experiments, each of which becomes a rule of its own beside those of the Snakefile."""
        for exp_name in self.sweep.experiments:
            if internals.is_rule(workflow, exp_name):
                files = ", ".join(self.config_files)
                sys.exit(
                    f"error: {files}: experiments.{exp_name}: is the name of a rule of the Snakefile; choose another"
                )
        return list(self.sweep.experiments)

    def records_of(self, exp_name: str) -> list[str]:
        """Every record of one experiment."""
        return [self._record(exp_name, digest) for digest in self.sweep.experiments[exp_name].settings]

    def _record(self, exp_name: str, digest: str) -> str:
        return f"{self.results}/{record_name(exp_name, digest)}"

    @functools.cached_property
    def outdated(self) -> Outdated:
        """The finished runs whose code or data have changed since. The Snakemake of a single job does not ask."""
        if not internals.is_main(self.workflow):
            return Outdated({}, {}, 0)
        present = Present(Path(self.results), note=not internals.is_dry_run(self.workflow))
        return find_outdated(self.sweep, Path(self.results), present)

    @functools.cached_property
    def plan(self) -> dict[str, Any]:
        """What the tables and figures need to know. What is outdated is part of it, unless it is made again."""
        return self.sweep.plan(self.results, None if self.sweep.outdated == "redo" else self.outdated.versions)

    @functools.cached_property
    def plan_file(self) -> str:
        """The plan, named after its content: a changed config has a new one, so its tables are made again."""
        return f"{self.tables_folder}/plan/{plan_digest(self.plan)}.json"

    def script(self, name: str) -> str:
        """How a job calls one of the scripts: with the Python that runs Snakemake, whatever stands in PATH.

        Where Snakemake makes an environment for the job, with that one's.
        """
        python = "python" if internals.deployment(self.workflow) else _python()
        return f"{python} {'scripts' if Path.cwd() == FOLDER else shlex.quote(str(FOLDER / 'scripts'))}/{name}"

    # -- jobs ----------------------------------------------------------------------------------------------------

    def train_input(self, wildcards: Any) -> list[str]:
        """What one run waits for: its prepared data, and the record that it is a copy of, if any.

        A finished run has none: when lost or outdated data were made again, Snakemake would make the run again
        after them. Not even with ancient(), which moreover hides from Snakemake that other runs are missing.
        A record that is to be made again has them again.
        """
        run = wildcards.exp, wildcards.hash
        setting = self._setting(*run)
        if Path(self._record(*run)).exists():
            if run not in self._to_redo and not self._is_forced(*run):
                return []
            self._again.add(run)
        twin = self._twins.get(run)
        tried = [check.output(self.results) for check in self.model_checks.of_run(setting)]
        return [self._prepared(setting), *([f"{self.results}/{twin}"] if twin else []), *tried]

    def _prepared(self, setting: dict[str, Any]) -> str:
        """The prepared data of a run, which are made again where the user's own have changed, whatever their time."""
        path, source = data_file(self.results, setting), setting.get("data_path")
        if source and path not in self._is_prepared:
            self._is_prepared[path] = is_prepared(path, source)
            if not self._is_prepared[path]:
                internals.force(self.workflow, {path})
        return path

    @functools.cached_property
    def model_checks(self) -> ModelChecks:
        """What is tried of the users' own models before their runs."""
        return ModelChecks(self.sweep)

    def check_input(self, wildcards: Any) -> list[str]:
        """A check waits for its data, the check of its class, and the user's files: once changed, it is tried again."""
        check = self._check(wildcards.check)
        before = [other.output(self.results) for other in self.model_checks.before(check)]
        data = [self._prepared(check.data)] if check.data else []
        return [*data, *before, *(str(path) for path in own_files(check.model.partition(":")[0]).values())]

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
        files = source_files(self._data_settings[wildcards.data])
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
            if not deletes and "prepare" not in self._forced[0]:
                return []
            paths = dict.fromkeys(data_file(self.results, setting) for setting in settings)
            return [path for path in paths if not deletes or Path(path).exists()]

        return files

    @functools.cached_property
    def _to_redo(self) -> set[tuple[str, str]]:
        """The records that this start makes again though no flag names them.

        Those are the ones with an open request and, where the config asks for it, the outdated ones.
        """
        found = self._requested | (set(self.outdated.runs) if self.sweep.outdated == "redo" else set())
        internals.force(self.workflow, {self._record(*run) for run in found})
        return found

    @functools.cached_property
    def _requested(self) -> set[tuple[str, str]]:
        experiments = self.sweep.experiments
        asked = redo.requested(Path(self.results))
        return {run for run in asked if run[0] in experiments and run[1] in experiments[run[0]].settings}

    @functools.cached_property
    def _forced(self) -> tuple[Collection[str], Collection[str]]:
        return internals.forced(self.workflow)

    def _is_forced(self, exp_name: str, digest: str) -> bool:
        rules, files = self._forced
        return "train" in rules or self._record(exp_name, digest) in files

    @functools.cached_property
    def _twins(self) -> dict[tuple[str, str], str]:
        """Who waits for whose record. All that are made again count where all are surely in the DAG.

        With --until nobody: Snakemake does no job that waits for another one of that rule. Then the lock of the
        setting makes the second one wait.
        """
        if "--until" in internals.options_for_a_part(self.workflow):
            return {}
        whole = not internals.targets(self.workflow)
        existing = list(list_records(Path(self.results)))
        again = {run for run in existing if run in self._to_redo or (whole and self._is_forced(*run))}
        return twins(self.sweep, existing, again)

    def _setting(self, exp_name: str, digest: str) -> dict[str, Any]:
        experiment = self.sweep.experiments.get(exp_name)
        if experiment is None or digest not in experiment.settings:
            internals.stop(f"{record_name(exp_name, digest)}: no setting of {', '.join(self.config_files)}")
        return experiment.settings[digest]

    def train_arguments(self, wildcards: Any, input: Any, output: Any) -> str:
        """The options of scripts/train.py."""
        setting = self._setting(wildcards.exp, wildcards.hash)
        data = input[0] if input else data_file(self.results, setting)
        return train_arguments(wildcards.exp, wildcards.hash, setting, str(data), str(Path(output[0]).parent))

    @functools.cached_property
    def _data_settings(self) -> dict[str, dict[str, Any]]:
        return {data_name(setting): setting for _, _, setting in self.sweep.records()}

    def prepare_arguments(self, data: str) -> str:
        """The options of scripts/prepare.py."""
        return prepare_arguments(self._data_settings[data])

    @property
    def config_arguments(self) -> str:
        """The config files and overrides of this call, as scripts/sweep.py takes them."""
        return shlex.join([*self.config_files, *override_options(self.overrides)])

    # -- GPUs ----------------------------------------------------------------------------------------------------

    @functools.cached_property
    def _gpus(self) -> Found:
        """What the driver says of this machine's GPUs: asked once a start, since it takes time and may hang."""
        hidden = os.environ.get(VISIBLE, "all").strip() in ("", "-1")
        return Found([]) if hidden else find_devices()

    @functools.cached_property
    def gpu_slots(self) -> int:
        """How many runs this machine's GPUs take at once."""
        return len(select_visible(self._gpus.names)) * self.sweep.jobs_per_gpu

    @property
    def gpus_per_run(self) -> int:
        """1 where this machine shows a GPU, else 0. A cluster's profile sets its own."""
        return int(bool(self.gpu_slots or self._gpus.error))

    def limit_gpus(self, workflow: Any) -> None:
        """Have no more runs at once than GPU slots, where they run on this machine and the user has not said."""
        self._gpus_are_pretended = KNOWN in os.environ
        self._limits_gpus = not internals.submits(workflow) and not internals.is_limited(workflow, "gpu")
        if self.gpu_slots and self._limits_gpus:
            internals.limit(workflow, "gpu", self.gpu_slots)
        if self._gpus.names and not internals.submits(workflow):
            os.environ[KNOWN] = ",".join(self._gpus.names)

    def check_gpus(self, workflow: Any) -> None:
        """Let torch try the GPUs; say loudly which it cannot use and why, and leave these out."""
        elsewhere = internals.deployment(workflow)  # the runs have another Python, with another torch
        if self._gpus_are_pretended or elsewhere or not self.gpus_per_run:
            return
        usable = find_usable(self._gpus, Path(".snakemake", "gpus.json"))
        for line in complaints(self._gpus, usable):
            print(line, file=sys.stderr)
        os.environ[KNOWN] = ",".join(self._gpus.names or usable.names)
        os.environ[VISIBLE] = ",".join(usable.names)
        if self._limits_gpus and usable.names != select_visible(self._gpus.names):
            internals.limit_from_now_on(workflow, "gpu", len(usable.names) * self.sweep.jobs_per_gpu or None)

    def cluster_resources(self, workflow: Any) -> dict[str, Any]:
        """The resources of a run that only a cluster's scheduler needs, beside those of the profile.

        SLURM jobs outlive a Snakemake that was killed. A new job for what one of them still makes waits for its
        end, in the queue: it would wait for the setting's lock otherwise, with a GPU that it does not use.
        """
        self._jobs_left = jobs_left(Path.cwd()) if internals.submits(workflow) else {}
        options = internals.slurm_options(workflow) if self._jobs_left else None
        if options is None:
            return {}

        def slurm_extra(wildcards: Any) -> str:
            job = self._jobs_left.get((wildcards.exp, wildcards.hash))
            return options + (f" --dependency=afterany:{job}" if job else "")

        return {"slurm_extra": slurm_extra}

    # -- what the user hears ---------------------------------------------------------------------------------------

    def start(self, workflow: Any) -> None:
        """Claim the sweep, make its local runs end with this process, and say what there is to do."""
        self._claim = self._claimed(internals.targets(workflow))
        if internals.touches(workflow):
            return
        runs = internals.runs_to_do(workflow)
        again = self._request_again(runs)
        if internals.is_local(workflow):
            deployment = internals.deployment(workflow)
            if "APPTAINER" not in deployment:  # containers may not see this process
                os.environ[PROCESS_VARIABLE] = str(os.getpid())
            stop_jobs_on_signals()
            internals.no_rate_limit(workflow)
            if len(runs) > 1 and not deployment:  # the runs are in this Python
                self._trainer = warm.start()
            if runs:
                self.check_gpus(workflow)
        records = set(self.records)
        left = [job for run, job in self._jobs_left.items() if self._record(*run) in records]
        if left:
            jobs = ", ".join(left)
            print(f"{len(left)} runs are in SLURM jobs of an earlier start; new ones wait for the end of {jobs}")
        self.remember()
        with contextlib.suppress(OSError):  # else its job writes it, but with the code and data of a later time
            if not (plan := Path(self.plan_file)).exists():
                plan.parent.mkdir(parents=True, exist_ok=True)
                write_json(plan.with_suffix(AT_START), self.plan)
        done = sum(Path(record).exists() for record in self.records) - len(again)
        print(f"{len(self.records)} runs in {len(self.sweep.experiments)} experiments; {done} are finished", flush=True)

    def _request_again(self, runs: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
        """Ask train.py for the records of this start that are there and made again, and say so; return them."""
        again = [run for run in runs if run in self._again]
        for run in again:
            redo.request(Path(self.results), *run)
        if left := [run for run in again if run in self._requested]:
            print(
                f"{len(left)} records are made again, as an earlier start was asked to (take it back: "
                f"rm {self.results}/running/*{REQUEST})"
            )
        if len(again) > len(left):
            print(f"{len(again) - len(left)} records are made again; each stays until its new one is there")
        if "prepare" in self._forced[0] and "train" not in self._forced[0]:
            print("prepared data are made again; finished records stay (-F makes them again, too)")
        return again

    def _claimed(self, targets: Collection[str]) -> Any:
        """The lock of the sweep. Tables of what is finished can be made while the sweep runs."""
        try:
            surroundings.check_writable(self.results, self.tables_folder, ".snakemake")
            return claim(f"{self.tables_folder}/partial" if set(targets) == {"partial"} else self.tables_folder)
        except ConfigError as error:
            internals.stop(str(error))

    def _end(self) -> None:
        clear_finished(Path(self.results))
        self.warn_of_damage()
        if remark := warm.remark(self._trainer):
            print(remark, file=sys.stderr)

    def remember(self) -> None:
        """Note which records this sweep names. Where nothing can be written, the runs say so."""
        with contextlib.suppress(OSError):
            remember(self.sweep, Path(self.results), self.config_files, self.overrides)

    def say_outdated(self) -> None:
        """Say which code and data have changed since finished runs were made with them."""
        redo = self.sweep.outdated == "redo"
        for line in self.outdated.lines(self.config_files, self.overrides, redo):
            print(line, file=sys.stderr, flush=True)

    def say_success(self, workflow: Any) -> None:
        """Say where to look."""
        self._end()
        if internals.touches(workflow):
            print("Touched the files that are there; no run, table or figure was made.")
            return
        partial = f"snakemake --cores 1 partial makes tables and figures of what is finished: {self.partial_folder}/"
        targets = internals.targets(workflow) - {"all"}
        if options := internals.options_for_a_part(workflow):
            print(f"Done, as far as {' and '.join(options)} goes: {self._progress()}. {partial}")
        elif "partial" in targets:
            print(f"Done: {', '.join(sorted(targets))}. Tables and figures of what is finished: {self.partial_folder}/")
        elif targets:
            print(f"Done: {', '.join(sorted(targets))}. {partial}")
        else:
            folder = self.tables_folder
            log = Path(folder, "logs", "report.log")
            n_empty = log.read_text(errors="replace").count(IS_EMPTY) if log.exists() else 0
            empty = f" ({n_empty} of them could not be drawn, see {log})" if n_empty else ""
            print(f"Done. Tables: {folder}/summary.csv  figures: {folder}/figures/{empty}  report: {self.html_report}")

    def _progress(self) -> str:
        again = redo.requested(Path(self.results))
        records = [(exp_name, digest) for exp_name, digest, _ in self.sweep.records()]
        done = sum(run not in again and Path(self._record(*run)).exists() for run in records)
        return f"{done} of {len(records)} runs are finished"

    def say_error(self) -> None:
        """Say which runs are not finished and why."""
        self._end()
        results = Path(self.results)
        print(unfinished(self.sweep, results, self.train_command, self.script("train.py")), file=sys.stderr)
        if trouble := storage_trouble(Path(self.results)):
            print(trouble, file=sys.stderr)

    def train_command(self, exp_name: str, digest: str) -> str:
        """The command that repeats a run by hand."""
        setting = self._setting(exp_name, digest)
        data = data_file(self.results, setting)
        beside = os.environ[BESIDE]
        variable = f"{BESIDE}={shlex.quote(beside)} " if beside else ""
        options = train_arguments(exp_name, digest, identity(setting), data, self.results)
        return f"{variable}{self.script('train.py')} {options}"

    def warn_of_models(self) -> None:
        """Say what is certainly wrong with the users' own models of the runs that are to be done."""
        own = [(run, setting) for *run, setting in self.sweep.records() if ":" in setting["model"]]
        faults = model_faults([setting for run, setting in own if not Path(self._record(*run)).exists()])
        for fault in faults[:MOST_NAMED]:
            print(f"warning: {fault}", file=sys.stderr)

    def warn_of_damage(self) -> None:
        """Name the records that are there, so that Snakemake makes them no more, but cannot be trusted."""
        bad = {record: "is torn" for record in self.records if Path(record).exists() and is_torn(Path(record))}
        log = Path(self.tables_folder, "logs", "aggregate.log")  # of who read every record whole
        for line in log.read_text(errors="replace").splitlines() if log.exists() else []:
            record, _, fault = line.removeprefix("warning: ").partition(": ")
            if record in self.records and Path(record).exists() and _modified(record) < _modified(log):
                bad.setdefault(record, fault)
        for record, fault in list(bad.items())[:MOST_NAMED]:
            print(f"warning: {record}: {fault}", file=sys.stderr)
        if bad:
            print(f"{len(bad)} records cannot be trusted: see python scripts/sweep.py verify", file=sys.stderr)


def check_folders(*folders: str) -> None:
    """Raise ConfigError where one of the folders that outputs are written to is something else, such as a file."""
    for folder in folders:
        if os.path.lexists(folder) and not Path(folder).is_dir():
            raise ConfigError(f"{folder}: is not a folder, but the results are written there; move it away")


def _default_config() -> str:
    """config.yaml of the working folder, or the one that comes with the pipeline."""
    return CONFIG_FILE if Path(CONFIG_FILE).exists() else str(FOLDER / CONFIG_FILE)


def _python() -> str:
    """This Python, by name where that finds it."""
    return "python" if shutil.which("python") == sys.executable else shlex.quote(sys.executable)


def _modified(path: Path | str) -> float:
    return Path(path).stat().st_mtime
