"""One sweep as the Snakefile sees it. Loads neither torch nor pandas."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import shutil
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlsweep.config.files import CONFIG_FILE, look_beside, override_options
from dlsweep.config.sweep import Sweep, load_sweep
from dlsweep.errors import ConfigError
from dlsweep.files import write_json
from dlsweep.results import redo
from dlsweep.results.named import remember
from dlsweep.results.records import REQUEST, clear_finished, list_records
from dlsweep.results.versions import own_sources
from dlsweep.runs.stopping import PROCESS_VARIABLE
from dlsweep.runs.warm import start as warm
from dlsweep.workflow import internals, surroundings
from dlsweep.workflow.failures import Failures
from dlsweep.workflow.gpus import Gpus
from dlsweep.workflow.jobs import Jobs
from dlsweep.workflow.memory import Memory
from dlsweep.workflow.messages import Messages
from dlsweep.workflow.paths import RESULTS, Paths, check_folders
from dlsweep.workflow.session import claim, still_output_in_notebooks, stop_jobs_on_signals
from dlsweep.workflow.slurm import job_key, jobs_left
from dlsweep.workflow.ticker import Ticker

AT_START = ".start"  # suffix of the plan as a start has written it, until its job takes it over
FOLDER = Path(__file__).resolve().parents[3]
"""Where this pipeline lies; the working folder may be another one."""


@dataclass
class Flow:
    """One sweep as Snakemake sees it."""

    sweep: Sweep
    config_files: list[str]
    overrides: dict[str, Any]
    workflow: Any
    threads: int = 1
    _trainer: Any = None  # the process of the warm trainer
    _ticker: Ticker | None = None
    _jobs_left: dict[str, str] = field(default_factory=dict)  # SLURM's, of an earlier start

    def __post_init__(self) -> None:
        self.paths = Paths(self.sweep)
        self.jobs = Jobs(self.sweep, self.paths, self.config_files, self.workflow)
        self.gpus = Gpus(self.sweep.jobs_per_gpu, self.sweep.gpus_per_run)
        self.memory = Memory(self.paths.results, self.gpus)
        self.messages = Messages(self.sweep, self.paths, self.jobs, self.overrides)

    @classmethod
    def from_snakemake(cls, workflow: Any) -> Flow:
        """Read the config files and --config of this call; end with one message where they are wrong."""
        surroundings.prepare()
        files, overrides = internals.config(workflow)
        files = files or [_default_config()]
        look_beside(files)
        with _ended_by_mistakes():
            sweep = load_sweep(files, overrides).with_decided(Path(RESULTS))
            flow = cls(sweep, files, overrides, workflow)
            check_folders(flow.paths.results, flow.paths.tables_folder)
            surroundings.check_text([exp.settings for exp in flow.sweep.experiments.values()], files[0])
            flow.gpus.limit(workflow)
            flow.memory.limit(workflow)
            if internals.is_main(workflow) and not internals.deployment(workflow):
                surroundings.check_packages(flow.sweep)
        internals.no_backups()
        if internals.is_main(workflow):
            internals.quieten()
            still_output_in_notebooks()
            flow.messages.warn_of_damage()
            surroundings.warn_of_protected([*flow.paths.tables, *flow.paths.figures, flow.paths.html_report])
            flow.messages.warn_of_models()
            flow.messages.warn_of_outdated()
            if not internals.is_dry_run(workflow) and next(list_records(Path(flow.paths.results)), None):
                flow.remember()
        elif internals.does_a_group(workflow):
            warm.start(own_sources(run[2] for run in flow.sweep.records()))
        if internals.submits(workflow):
            flow._jobs_left = jobs_left(Path.cwd())
        return flow

    def experiments(self, workflow: Any) -> list[str]:
        """The experiments, each of which becomes a rule of its own beside those of the Snakefile."""
        for exp_name in self.sweep.experiments:
            if internals.is_rule(workflow, exp_name):
                files = ", ".join(self.config_files)
                sys.exit(
                    f"error: {files}: experiments.{exp_name}: is the name of a rule of the Snakefile; choose another"
                )
        return list(self.sweep.experiments)

    def script(self, name: str) -> str:
        """How a job calls one of the scripts: with the Python that runs Snakemake, whatever stands in PATH.

        Where Snakemake makes an environment for the job, with that one's.
        """
        python = "python" if internals.deployment(self.workflow) else _python()
        return f"{python} {'scripts' if Path.cwd() == FOLDER else shlex.quote(str(FOLDER / 'scripts'))}/{name}"

    def gpus_of_run(self, wildcards: Any) -> int:
        """How many GPUs a run takes on its machine."""
        return self.gpus.of_run(self.jobs.setting_of_job(wildcards))

    def gpus_asked_for(self, wildcards: Any) -> int:
        """How many GPUs a run asks Snakemake for."""
        return self.gpus.to_ask_for(self.jobs.setting_of_job(wildcards))

    def memory_of_run(self, wildcards: Any, attempt: int) -> int:
        """The MB of memory that a run asks Snakemake for."""
        return self.memory.of_run(self.jobs.setting_of_job(wildcards), attempt)

    @property
    def config_arguments(self) -> str:
        """The config files and overrides of this call, as scripts/sweep.py takes them."""
        return shlex.join([*self.config_files, *override_options(self.overrides)])

    def cluster_resources(self, workflow: Any) -> dict[str, Any]:
        """The resources of a run that only a cluster's scheduler needs, beside those of the profile.

        SLURM jobs outlive a Snakemake that was killed. A new job for what one of them still makes waits for its
        end, in the queue: it would wait for the setting's lock otherwise, with a GPU that it does not use.
        """
        options = internals.slurm_options(workflow) if self._jobs_left else None
        if options is None:
            return {}

        def slurm_extra(wildcards: Any) -> str:
            job = self._jobs_left.get(job_key(wildcards))
            return options + (f" --dependency=afterany:{job}" if job else "")

        return {"slurm_extra": slurm_extra}

    def start(self, workflow: Any) -> None:
        """Claim the sweep, make its local runs end with this process, and say what there is to do."""
        self._claim = self._claimed(internals.targets(workflow))
        if internals.touches(workflow):
            return
        jobs = internals.runs_to_do(workflow)
        if internals.is_local(workflow):
            deployment = internals.deployment(workflow)
            if "APPTAINER" not in deployment:  # containers may not see this process
                os.environ[PROCESS_VARIABLE] = str(os.getpid())
            stop_jobs_on_signals()
            internals.no_rate_limit(workflow)
            settings = [self.jobs.setting_of_job(wildcards) for wildcards in jobs]
            if len(jobs) > 1 and not deployment:  # the runs are in this Python
                self._trainer = warm.start(own_sources(settings))
            if jobs:
                with _ended_by_mistakes():
                    self.gpus.check(workflow, settings)
                at_once = min(internals.at_once(workflow, self.threads), self.gpus.slots or len(jobs), len(jobs))
                if remark := self.memory.remark(settings, at_once):
                    print(remark, file=sys.stderr)
        to_do = (self.jobs.setting_of_job(wildcards) for wildcards in jobs)
        if remark := self.memory.disk_remark(to_do, self.sweep.save == "all", self.sweep.keep_state):
            print(remark, file=sys.stderr)
        again = self._request_again(jobs)
        if left := [self._jobs_left[key] for key in map(job_key, jobs) if key in self._jobs_left]:
            waited_for = ", ".join(left)
            print(f"{len(left)} runs are in SLURM jobs of an earlier start; new ones wait for the end of {waited_for}")
        self.remember()
        with contextlib.suppress(OSError):  # else its job writes it, but with the code and data of a later time
            if not (plan := Path(self.jobs.plan_file)).exists():
                plan.parent.mkdir(parents=True, exist_ok=True)
                write_json(plan.with_suffix(AT_START), self.jobs.plan.to_json())
        done = sum(Path(record).exists() for record in self.paths.records) - len(again)
        if jobs:
            internals.shorten_failures(Failures(self.sweep, Path(self.paths.results)).in_short)
            show = functools.partial(internals.show_progress, workflow)
            self._ticker = Ticker(self.sweep, Path(self.paths.results), show)
        n_experiments = len(self.sweep.experiments)
        where = f"{n_experiments} experiment{'s' if n_experiments > 1 else ''}"
        print(f"{len(self.paths.records)} runs in {where}; {done} are finished", flush=True)

    def _request_again(self, jobs: list[Any]) -> list[tuple[str, str]]:
        """Ask train.py for the records of this start that are there and made again, and say so; return them."""
        again = [run for run in dict.fromkeys(map(self.jobs.run_of, jobs)) if run in self.jobs.again]
        for run in again:
            redo.request(Path(self.paths.results), *run)
        if left := [run for run in again if run in self.jobs.requested]:
            print(
                f"{len(left)} records are made again, as an earlier start was asked to (take it back: "
                f"rm {self.paths.results}/running/*{REQUEST})"
            )
        if len(again) > len(left):
            print(f"{len(again) - len(left)} records are made again; each stays until its new one is there")
        if "prepare" in self.jobs.forced[0] and "train" not in self.jobs.forced[0]:
            print("prepared data are made again; finished records stay (-F makes them again, too)")
        return again

    def _claimed(self, targets: Collection[str]) -> Any:
        """The lock of the sweep. Tables of what is finished can be made while the sweep runs."""
        with _ended_by_mistakes():
            surroundings.check_writable(self.paths.results, self.paths.tables_folder, ".snakemake")
            return claim(
                f"{self.paths.tables_folder}/partial" if set(targets) == {"partial"} else self.paths.tables_folder
            )

    def _end(self) -> None:
        if self._ticker:
            self._ticker.stop()
        with contextlib.suppress(ConfigError):  # of a decision that is torn: the next start says so
            self.sweep = self.sweep.with_decided(Path(self.paths.results))
            self.jobs.sweep = self.sweep
            self.messages = Messages(self.sweep, self.paths, self.jobs, self.overrides)
            self.remember()
        clear_finished(Path(self.paths.results))
        self.messages.warn_of_damage()
        if remark := warm.remark(self._trainer):
            print(remark, file=sys.stderr)

    def remember(self) -> None:
        """Note which records this sweep names. Where nothing can be written, the runs say so."""
        with contextlib.suppress(OSError):
            remember(self.sweep, Path(self.paths.results), self.config_files, self.overrides)

    def say_success(self, workflow: Any) -> None:
        """End, and say where to look."""
        self._end()
        internals.end_progress(workflow)
        self.messages.success(workflow)

    def say_error(self) -> None:
        """End, and say which runs are not finished and why."""
        self._end()
        internals.end_progress(self.workflow)
        self.messages.failure(self.script("train.py"))


@contextlib.contextmanager
def _ended_by_mistakes() -> Iterator[None]:
    """End this start with one message where the user has made a mistake."""
    try:
        yield
    except ConfigError as error:
        sys.exit(f"error: {error}")  # to an exception Snakemake adds the lines of code that raised it


def _default_config() -> str:
    """config.yaml of the working folder, or the one that comes with the pipeline."""
    return CONFIG_FILE if Path(CONFIG_FILE).exists() else str(FOLDER / CONFIG_FILE)


def _python() -> str:
    """This Python, by name where that finds it."""
    return "python" if shutil.which("python") == sys.executable else shlex.quote(sys.executable)
