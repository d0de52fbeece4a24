"""Train one setting and write its record: results/<exp>-<hash>.json.

Every hyper-parameter is an option; those left out have their default. The hash is computed from them.
The run continues from its checkpoint in <output folder>/running/ where there is one.

A task of your own is named by --train=MODULE:FUNCTION or --command=TEXT; add --help to see its options.
"""

import sys

sys.path.insert(0, __file__.rpartition("/")[0])  # PYTHONSAFEPATH leaves it out

if __name__ == "__main__":  # before anything else is loaded
    from dlsweep.runs.handover import hand_over

    hand_over()

import argparse
import functools
import json
import shlex
from dataclasses import fields
from pathlib import Path

from dlsweep.config.hyperparameters import Hyperparameter
from dlsweep.config.identity import Setting, check_setting
from dlsweep.config.tasks import BUILT_IN, Task, is_task_name, task_of
from dlsweep.errors import ConfigError, RecordError
from dlsweep.runs.run import RunOptions, run_setting
from dlsweep.runs.trial import try_model

OWN = ("train", "command")  # the words of tasks that can be run


def minutes(text: str) -> float | None:
    """Return minutes in seconds; None for 0, which is no limit."""
    return 60 * float(text) or None


@functools.cache
def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line of the built-in task."""
    return parser_of(BUILT_IN)


def parser_of(task: Task) -> argparse.ArgumentParser:
    """Return the parser of the command line, with an option for each hyper-parameter of a task."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--exp-name", default="by-hand", help="name of the experiment (default: by-hand)")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the record (default: results)")
    parser.add_argument("--hash", help="the hash that the setting must have")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    parser.add_argument("--jobs-per-gpu", type=int, default=1, help="runs that share a GPU (default: 1)")
    parser.add_argument(
        "--gpus-per-run", type=int, default=1, help="GPUs of this run, with a task of your own (default: 1)"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--time-limit", type=minutes, help="minutes; then it stops, after a checkpoint (default: none)")
    parser.add_argument("--train", metavar="MODULE:FUNCTION", help="your own training: a function")
    parser.add_argument("--command", metavar="TEXT", help="your own training: a command, with its options in braces")
    parser.set_defaults(data=None, check=None)
    if task is BUILT_IN:
        parser.add_argument("--data", type=Path, help="the prepared data set (see scripts/prepare.py); must be given")
        parser.add_argument(
            "--check",
            type=Path,
            metavar="FILE",
            help="do not train: try your own code on a few images, then write FILE",
        )
    group = parser.add_argument_group(f"hyper-parameters of {task}")
    for key, hyper in task.hyperparameters.items():
        standard = "must be given" if hyper.required else f"default: {json.dumps(hyper.default, ensure_ascii=False)}"
        text = f"{hyper.doc} {hyper.allowed}; {standard}".strip().replace("%", "%%")
        group.add_argument(f"--{key.replace('_', '-')}", dest=f"hp_{key}", metavar="VALUE", help=text)
    return parser


def parse_arguments(arguments: list[str]) -> tuple[argparse.Namespace, Setting]:
    """Return the run options and the complete setting."""
    task = _task_of(arguments)
    parsing = parser() if task is BUILT_IN else parser_of(task)
    options = parsing.parse_args(arguments)
    if task is BUILT_IN and not options.data and not options.check:
        parsing.error("the following arguments are required: --data")
    given = {key: getattr(options, f"hp_{key}") for key in task.hyperparameters}
    named = {key: getattr(options, key) for key in OWN}
    values = {key: _parse(text, task.hyperparameters[key]) for key, text in given.items() if text is not None}
    return options, check_setting({**{key: name for key, name in named.items() if name}, **values})


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


def _parse(text: str, hyper: Hyperparameter) -> object:
    """JSON where the text is JSON (numbers, true, null, lists), else the text itself."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if hyper.type is str and value is not None else value


def main() -> int:
    try:
        options, setting = parse_arguments(sys.argv[1:])
        if options.check:
            return try_model(setting, options.data, options.check, options.threads, options.time_limit)
        command = shlex.join(["python", *sys.argv])
        run_options = RunOptions(**{field.name: getattr(options, field.name) for field in fields(RunOptions)})
        return run_setting(run_options, setting, command)
    except (ConfigError, RecordError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
