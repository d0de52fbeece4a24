"""All that the flow uses of Snakemake beyond its documented interface.

The names below are those of Snakemake 9.0.1 to 9.27.1; the next version may have others. So each function fails soft:
where a name is gone, it says once what does not work with this Snakemake, and the sweep goes on without that. What must
be known for a sweep to be right is then read from the command line.

Elsewhere only what is documented is used: `workflow.basedir`, `update`, `report`, `rules`, `min_version`, the hooks
(onstart, onsuccess, onerror) and the command line. slurm.py reads what the executor plugin writes into job comments.
"""

from __future__ import annotations

import argparse
import functools
import logging
import os
import signal
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar

from dlsweep.config.files import plain_value, read_value

P = ParamSpec("P")
T = TypeVar("T")

TRAINING_RULES = ("train", "search_slot")
_NOTHING: tuple[Collection[str], Collection[str]] = (frozenset(), frozenset())
_OF_RUNS = tuple(f"{rule}:" for rule in TRAINING_RULES)
_told: set[str] = set()


def soft(loss: str, otherwise: Callable[[], T]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Where Snakemake has not what the function asks for, say `loss`, once, and return `otherwise()`."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return function(*args, **kwargs)
            except (AttributeError, ImportError, LookupError, TypeError, ValueError) as error:
                if loss and loss not in _told:
                    _told.add(loss)
                    print(f"warning: with this version of Snakemake {loss} ({error})", file=sys.stderr, flush=True)
                return otherwise()

        return wrapper

    return decorate


# -- the command line ----------------------------------------------------------------------------------------------


def on_command_line(option: str) -> bool:
    """Say whether an option without a value is on the command line, also where it is shortened, as argparse allows."""
    words = (word for word in sys.argv[1:] if word.startswith("--") and len(word) > 4)
    return any(option.startswith(word) for word in words)


def _values(*options: str) -> list[str]:
    """The values of an option that takes several."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(*options, nargs="*", action="extend", default=[], dest="values")
    return list(parser.parse_known_args(sys.argv[1:])[0].values)


def _named_config() -> tuple[list[str], dict[str, Any]]:
    pairs = (pair.partition("=") for pair in _values("--config", "-C"))
    return _values("--configfile", "--configfiles"), {key: read_value(text) for key, _, text in pairs}


def _names_a_cluster() -> bool:
    return bool(_values("--executor", "-e") or _values("--profile") or os.environ.get("SNAKEMAKE_PROFILE"))


def _is_told_to_be_main() -> bool:
    return not {"remote", "subprocess"} & set(_values("--mode"))


def _named_deployment() -> frozenset[str]:
    words = " ".join(sys.argv[1:]).lower()
    named = {"APPTAINER": ("apptainer", "singularity"), "CONDA": ("conda",)}
    return frozenset(name for name, spelt in named.items() if any(word in words for word in spelt))


# -- this start ----------------------------------------------------------------------------------------------------


@soft("a config file that is named in a profile is not found, only one on the command line", _named_config)
def config(workflow: Any) -> tuple[list[str], dict[str, Any]]:
    """Return the config files and the --config values of this start."""
    settings = workflow.config_settings
    values = {key: plain_value(value) for key, value in settings.config.items()}
    return [str(path) for path in settings.configfiles], values


@soft("", _is_told_to_be_main)
def is_main(workflow: Any) -> bool:
    """Say whether this is the Snakemake that somebody started, not one that it started for a job."""
    return bool(workflow.is_main_process)


def does_a_group(workflow: Any) -> bool:
    """Say whether another Snakemake started this one for several runs (a group, in a job of a cluster).

    Such a Snakemake calls no onstart, and knows its jobs only after the Snakefile is read, but for its command line.
    """
    return not is_main(workflow) and sum(argument.startswith(_OF_RUNS) for argument in sys.argv) > 1


@soft("a run that fails ends the others of its group, until the next start", lambda: None)
def keep_going(workflow: Any) -> None:
    """Have a run that fails stop nothing but itself. To be called while the DAG is built.

    A Snakemake that another one starts reads no profile, and is not told this option.
    """
    workflow.execution_settings.keep_going = True


@soft("SLURM jobs that an earlier start left behind are not waited for", lambda: False)
def submits(workflow: Any) -> bool:
    """Say whether this process has its runs done by a cluster."""
    return is_main(workflow) and workflow.resource_settings.nodes is not None


@soft("the runs of a profile or executor count as jobs of a cluster", lambda: not _names_a_cluster())
def is_local(workflow: Any) -> bool:
    """Say whether the runs are processes of this machine that Snakemake itself starts."""
    return bool(workflow.local_exec)


@soft("", _named_deployment)
def deployment(workflow: Any) -> frozenset[str]:
    """Return where the jobs find their software, if not in this environment: CONDA, APPTAINER, ENV_MODULES."""
    return frozenset(method.name for method in workflow.deployment_settings.deployment_method)


@soft("a target is not told from the whole sweep", frozenset[str])
def targets(workflow: Any) -> frozenset[str]:
    """Return the targets on the command line."""
    return frozenset(workflow.dag_settings.targets)


@soft("the last line may name files that --until, --omit-from or --batch left out", list[str])
def options_for_a_part(workflow: Any) -> list[str]:
    """Return the options of this start that leave out jobs."""
    settings = workflow.dag_settings
    given = {"--until": settings.until, "--omit-from": settings.omit_from, "--batch": settings.batch}
    return [option for option, value in given.items() if value]


def _is_told_to_be_dry() -> bool:
    return on_command_line("--dry-run") or on_command_line("--dryrun") or "-n" in sys.argv[1:]


@soft("", _is_told_to_be_dry)
def is_dry_run(workflow: Any) -> bool:
    """Say whether this is a start with -n."""
    return bool(workflow.output_settings.dryrun)


def touches(workflow: Any) -> bool:
    """Say whether this is a start with --touch."""
    return bool(getattr(workflow, "touch", False)) or on_command_line("--touch") or "-t" in sys.argv[1:]


@soft("an experiment that is called like a rule of the Snakefile is not refused by name", lambda: False)
def is_rule(workflow: Any, name: str) -> bool:
    """Say whether the Snakefile has a rule of this name by now."""
    return bool(workflow.is_rule(name))


# -- which jobs ----------------------------------------------------------------------------------------------------


@soft("records cannot be made again with --forcerun; delete them instead", lambda: _NOTHING)
def forced(workflow: Any) -> tuple[Collection[str], Collection[str]]:
    """Return the names of the rules and the files that are forced by -F, -f, -R. To be called once there is a DAG."""
    return {rule.name for rule in workflow.dag.forcerules}, workflow.dag.forcefiles


@soft("what is outdated or was asked for by an earlier start is not made again; use --forcerun", lambda: None)
def force(workflow: Any, files: Collection[str]) -> None:
    """Have Snakemake make these files though they are there. To be called while the DAG is built."""
    workflow.dag.forcefiles.update(files)


@soft(
    "no run is made again, and there is no warm trainer",
    list[Any],
)
def runs_to_do(workflow: Any) -> list[Any]:
    """Return the wildcards of the jobs that this start does and that train."""
    return [job.wildcards for job in workflow.dag.needrun_jobs() if job.rule.name in TRAINING_RULES]


# -- resources -----------------------------------------------------------------------------------------------------


@soft("no more is known of --resources gpu=", lambda: False)
def is_limited(workflow: Any, name: str) -> bool:
    """Say whether the user has limited a resource."""
    return name in workflow.global_resources


@soft("no more is known of --resources gpu=", lambda: sys.maxsize)
def limit_of(workflow: Any, name: str) -> int:
    """Return what the user has limited a resource to."""
    amount = workflow.global_resources[name]
    return int(getattr(amount, "value", amount))


@soft("runs have as many GPUs as the profile says, not as gpus_per_run", lambda: None)
def take_back_resource(workflow: Any, rule: str, name: str) -> Any:
    """Return what the profile or --set-resources says of a rule's resource, which then is what the rule itself says.

    None where they do not say. To be called before the rule is read.
    """
    settings = workflow.resource_settings
    given = settings.overwrite_resources.get(rule, {})
    if name not in given:
        return None
    settings.overwrite_resources[rule] = type(given)({key: value for key, value in given.items() if key != name})
    vars(settings).pop("_parsed_overwrite_resources", None)  # of newer versions, a copy that is made once
    return getattr(given[name], "value", given[name])


@soft("runs that wait for a GPU count as running", lambda: None)
def limit(workflow: Any, name: str, amount: int) -> None:
    """Have all jobs share so much of a resource. To be called before there is a scheduler."""
    workflow.global_resources[name] = amount


@soft("memory is not compared with the number of runs", lambda: 1)
def at_once(workflow: Any, threads: int) -> int:
    """Return how many runs of so many threads the cores let go at once."""
    return int(workflow.cores or 1) // max(threads, 1)


@soft("runs that wait for a GPU count as running", lambda: None)
def limit_from_now_on(workflow: Any, name: str, amount: int | None) -> None:
    """Have the jobs share so much of a resource from now on; None: as much as they like.

    The scheduler has its own copies of the limits, what is there in all and what is left.
    """
    for amounts in (workflow.scheduler.global_resources, workflow.scheduler.resources):
        amounts[name] = sys.maxsize if amount is None else amount


@soft("local jobs start at Snakemake's limit for clusters, 100 a second", lambda: None)
def no_rate_limit(workflow: Any) -> None:
    """Start local jobs as they come: Snakemake's limit (100 a second) is made for clusters.

    To keep it, Snakemake looks at all open jobs once a second for each job that it has started, ever more often, and
    waits for one second more at its end.
    """
    _ = workflow.scheduler.job_rate_limiter  # raises where it has another name
    workflow.scheduler.job_rate_limiter = None


def _no_options() -> str | None:
    return None


@soft("SLURM jobs that an earlier start left behind are not waited for", _no_options)
def slurm_options(workflow: Any) -> str | None:
    """Return the options that each SLURM job is submitted with; None where jobs go in groups, which share theirs."""
    if workflow.group_settings.overwrite_groups:
        return None
    default = (workflow.resource_settings.default_resources or {}).get("slurm_extra")
    return str(getattr(default, "raw", "")).strip("'\"")


# -- outputs, signals, messages ------------------------------------------------------------------------------------


@soft("a run that fails may have an older version of its record put back", lambda: None)
def no_backups() -> None:
    """Have Snakemake not copy an output aside before its job, nor copy it back where the job fails.

    It does so for what is flagged as update(). The copy back is no rename, so a kill would tear the record; and it
    would undo what another process has made meanwhile. Our outputs are replaced whole or not at all.
    """
    from snakemake import persistence

    classes: list[Any] = [value for value in vars(persistence).values() if isinstance(value, type)]
    if not any("backup" in name for owner in classes for name in vars(owner)):
        return  # an older Snakemake makes no copies
    (owner,) = (owner for owner in classes if "backup_output" in vars(owner))
    owner.backup_output = lambda self, path: None
    owner.restore_output = lambda self, path: False


@soft("a message about outputs that are kept may alarm you needlessly", lambda: None)
def quieten() -> None:
    """Drop what Snakemake says of outputs that it keeps: ours are whole or not there, so it would only alarm."""
    from snakemake.logging import logger

    needless = "--keep-incomplete mode is set"
    logger.addFilter(lambda record: not str(record.msg).startswith(needless))


@soft("the whole log of each run that fails is printed", lambda: None)
def shorten_failures(in_short: Callable[[str], str | None]) -> None:
    """Have Snakemake print what `in_short` says of a failed run, given its log file, and not all that it logged.

    "" has it print nothing, None all as ever. The traceback and the command are in the log.
    """
    from snakemake.logging import logger
    from snakemake_interface_logger_plugins.common import LogEvent

    job_error = LogEvent.JOB_ERROR

    def keep(record: logging.LogRecord) -> bool:
        if str(record.msg).startswith("RuleException:\nCalledProcessError") and "--exp-name=" in str(record.msg):
            return False
        logs = getattr(record, "log", None)
        if (
            getattr(record, "event", None) != job_error
            or getattr(record, "rule_name", "") not in TRAINING_RULES
            or not logs
        ):
            return True
        said = in_short(str(logs[0]))
        if said is None:
            record.log = [log for log in logs if Path(log).exists()]  # a job may be cancelled before it has any
            return True
        record.event, record.msg, record.args = None, said, ()
        return bool(said)

    logger.addFilter(keep)


def _live_displays(workflow: Any) -> list[Any]:
    """The displays of progress bars of the logger that the profile names; its handlers are behind a queue."""
    from snakemake.logging import logger

    manager = getattr(workflow, "logger_manager", None) or sys.modules["snakemake.logging"].logger_manager
    handlers = [*logger.handlers, *getattr(manager.queue_listener, "handlers", ())]
    return [handler.live_display for handler in handlers if hasattr(handler, "live_display")]


@soft("", lambda: False)
def show_progress(workflow: Any, text: str) -> bool:
    """Show a text below Snakemake's progress bars; say whether there are any, as there are in a terminal."""
    from rich.text import Text

    for display in _live_displays(workflow):
        console = display.console
        if display.is_started and console.is_terminal and not console.is_dumb_terminal:
            display.get_renderable().subtitle = Text(text, overflow="ellipsis", no_wrap=True)
            return True
    return False


@soft("", lambda: None)
def end_progress(workflow: Any) -> None:
    """Take Snakemake's progress bars away for good, so that what is printed now stays the last."""
    for display in _live_displays(workflow):
        display.stop()


def stop(message: str) -> NoReturn:
    """End this start with a message."""
    try:
        from snakemake.exceptions import WorkflowError
    except ImportError:
        sys.exit(f"error: {message}")
    raise WorkflowError(message)


def handler_of_scheduler() -> Callable[[int, Any], Any] | None:
    """Return what Snakemake's scheduler does on SIGTERM, to start no more jobs; None where it does nothing."""
    handler = signal.getsignal(signal.SIGTERM)
    return handler if callable(handler) else None
