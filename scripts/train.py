"""Train one setting and write its record: results/<exp>-<hash>.json.

Every hyper-parameter is an option; those left out have their default. The hash is computed from them.
The run continues from its checkpoint in <output folder>/running/ where there is one.

A task of your own is named by --train=MODULE:FUNCTION or --command=TEXT; add --help to see its options.
"""

import sys

sys.path.insert(0, __file__.rpartition("/")[0])  # PYTHONSAFEPATH leaves it out

if __name__ == "__main__":  # before anything else is loaded
    from dlsweep.runs.warm.handover import hand_over

    hand_over()

import argparse
import functools
import shlex
from dataclasses import fields
from pathlib import Path

from dlsweep.config.identity import Setting, check_setting
from dlsweep.config.jobs import setting_options
from dlsweep.config.options import add_hyperparameters, add_run_options, given_values
from dlsweep.config.paths import data_file
from dlsweep.config.tasks import BUILT_IN, Task, is_task_name, task_of
from dlsweep.errors import ConfigError, RecordError
from dlsweep.runs.run import RunOptions, run_setting
from dlsweep.runs.slots import leave_out, run_slot, setting_of_slot, skip
from dlsweep.runs.trial import try_model

OWN = ("train", "command")  # the words of tasks that can be run


@functools.cache
def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line of the built-in task."""
    return parser_of(BUILT_IN)


def parser_of(task: Task) -> argparse.ArgumentParser:
    """Return the parser of the command line, with an option for each hyper-parameter of a task."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add_run_options(parser, task is BUILT_IN)
    parser.add_argument("--train", metavar="MODULE:FUNCTION", help="your own training: a function")
    parser.add_argument("--command", metavar="TEXT", help="your own training: a command, with its options in braces")
    add_hyperparameters(parser.add_argument_group(f"hyper-parameters of {task}"), task.hyperparameters)
    return parser


def parse_arguments(arguments: list[str]) -> tuple[argparse.Namespace, Setting]:
    """Return the run options and the complete setting."""
    task = _task_of(arguments)
    parsing = parser() if task is BUILT_IN else parser_of(task)
    options = parsing.parse_args(arguments)
    if task is BUILT_IN and not options.data and not options.check:
        parsing.error("the following arguments are required: --data")
    named = {key: name for key in OWN if (name := getattr(options, key))}
    return options, check_setting({**named, **given_values(options, task.hyperparameters)})


def _task_of(arguments: list[str]) -> Task:
    """Return the task that a command line names: it decides what the other options are."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for key in OWN:
        first.add_argument(f"--{key}")
    named = {key: name for key, name in vars(first.parse_known_args(arguments)[0]).items() if name}
    if len(named) > 1:
        raise ConfigError(f"--{' and --'.join(named)}: a run has one task; give one of them")
    for key, name in named.items():
        if not is_task_name(key, name):
            raise ConfigError(f"--{key}: {name} is not allowed; allowed: MODULE:FUNCTION, such as my_training:train")
    return task_of(named)


def decided_arguments(arguments: list[str]) -> list[str] | None:
    """Return the arguments with the setting that a search has decided for its slot, in place of --search-decision.

    None where there is nothing to run, which the slot's file then says.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in ("--search-decision", "--search-slot", "--results"):
        first.add_argument(option, type=Path)
    found, _ = first.parse_known_args(arguments)
    if found.search_decision is None:
        return arguments
    setting = setting_of_slot(found.search_decision, found.search_slot)
    if setting is None:
        skip(found.search_slot)
        return None
    data = data_file(str(found.results), setting)
    return [*arguments, *setting_options(setting), *([f"--data={data}"] if data else [])]


def main() -> int:
    try:
        arguments = decided_arguments(sys.argv[1:])
        if arguments is None:
            return 0
        options, setting = parse_arguments(arguments)
        if options.check:
            return try_model(setting, options.data, options.check, options.threads, options.time_limit)
        command = shlex.join(["python", *sys.argv])
        run_options = RunOptions(**{field.name: getattr(options, field.name) for field in fields(RunOptions)})
        if not options.search_slot:
            return run_setting(run_options, setting, command)
        hours = options.search_max_hours
        if hours and leave_out(options.search_slot, run_options, setting, hours):
            return 0
        return run_slot(
            options.search_slot, run_options, setting, options.search_metric, command, options.search_attempt
        )
    except (ConfigError, RecordError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
