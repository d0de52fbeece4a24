"""What the flow uses of Snakemake beyond its documented interface, all in one place.

Seen in Snakemake 9.0.1 to 9.27.1. Any of it may have another name in the next version. So each function here fails
soft: it says once what does not work with this Snakemake, and the sweep goes on without that convenience.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Collection
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_NOTHING: tuple[Collection[str], Collection[str]] = (frozenset(), frozenset())
_told: set[str] = set()


def soft(loss: str, otherwise: Callable[[], T]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Where Snakemake has not what the function asks for, say `loss`, once, and return `otherwise()`."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return function(*args, **kwargs)
            except (AttributeError, ImportError, LookupError, TypeError, ValueError) as error:
                if loss not in _told:
                    _told.add(loss)
                    print(f"warning: with this version of Snakemake {loss} ({error})", file=sys.stderr, flush=True)
                return otherwise()

        return wrapper

    return decorate


def on_command_line(option: str) -> bool:
    """Say whether an option without a value is on the command line, also where it is shortened, as argparse allows."""
    words = (word for word in sys.argv[1:] if word.startswith("--") and len(word) > 4)
    return any(option.startswith(word) for word in words)


# -- which jobs ----------------------------------------------------------------------------------------------------


@soft("records cannot be made again with --forcerun; delete them instead", lambda: _NOTHING)
def forced(workflow: Any) -> tuple[Collection[str], Collection[str]]:
    """Return the names of the rules and the files that are forced by -F, -f, -R. To be called once there is a DAG."""
    return {rule.name for rule in workflow.dag.forcerules}, workflow.dag.forcefiles


@soft("what is outdated or was asked for by an earlier start is not made again; use --forcerun", lambda: None)
def force(workflow: Any, files: Collection[str]) -> None:
    """Have Snakemake make these files though they are there. To be called while the DAG is built."""
    workflow.dag.forcefiles.update(files)


@soft("it is not known which runs there are to do; they train without the warm trainer", list[tuple[str, str]])
def runs_to_do(workflow: Any) -> list[tuple[str, str]]:
    """Return the jobs of rule train that this start does, as (exp_name, hash)."""
    jobs = workflow.dag.needrun_jobs()
    return [(job.wildcards.exp, job.wildcards.hash) for job in jobs if job.rule.name == "train"]


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


def touches(workflow: Any) -> bool:
    """Say whether this is a start with --touch."""
    return bool(getattr(workflow, "touch", False)) or on_command_line("--touch") or "-t" in sys.argv[1:]


@soft("the number of runs at once does not follow the GPUs that torch can use", lambda: None)
def limit_resource(workflow: Any, name: str, amount: int | None) -> None:
    """Have the jobs share so much of a resource from now on; None: as much as they like.

    The scheduler has its own copies of the limits: what is there in all and what is left.
    """
    for amounts in (workflow.scheduler.global_resources, workflow.scheduler.resources):
        amounts[name] = sys.maxsize if amount is None else amount
