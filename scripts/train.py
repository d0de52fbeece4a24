"""Train one setting and write its record: results/<exp>-<hash>.json.

Every hyper-parameter is an option; those left out have their default. The hash is computed from them.
The run continues from its checkpoint in <output folder>/running/ where there is one.
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

from dlsweep.config.hyperparameters import HYPERPARAMETERS
from dlsweep.config.identity import Setting, check_setting
from dlsweep.errors import ConfigError, RecordError
from dlsweep.runs.run import RunOptions, run_setting
from dlsweep.runs.trial import try_model


def minutes(text: str) -> float | None:
    """Return minutes in seconds; None for 0, which is no limit."""
    return 60 * float(text) or None


@functools.cache
def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp-name", default="by-hand", help="name of the experiment (default: by-hand)")
    parser.add_argument("--data", type=Path, help="the prepared data set (see scripts/prepare.py); must be given")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the record (default: results)")
    parser.add_argument("--hash", help="the hash that the setting must have")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    parser.add_argument("--jobs-per-gpu", type=int, default=1, help="runs that share a GPU (default: 1)")
    parser.add_argument(
        "--gpus-per-run", type=int, default=1, help="GPUs of this run, with a task of your own (default: 1)"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--time-limit", type=minutes, help="minutes; then it stops, after a checkpoint (default: none)")
    parser.add_argument(
        "--check", type=Path, metavar="FILE", help="do not train: try your own model on a few images, then write FILE"
    )
    group = parser.add_argument_group("hyper-parameters")
    for key, hyper in HYPERPARAMETERS.items():
        text = f"{hyper.doc} {hyper.allowed}; default: {json.dumps(hyper.default)}".replace("%", "%%")
        group.add_argument(f"--{key.replace('_', '-')}", dest=f"hp_{key}", metavar="VALUE", help=text)
    return parser


def parse_arguments(arguments: list[str]) -> tuple[argparse.Namespace, Setting]:
    """Return the run options and the complete setting."""
    options = parser().parse_args(arguments)
    if not options.data and not options.check:
        parser().error("the following arguments are required: --data")
    given = {key: getattr(options, f"hp_{key}") for key in HYPERPARAMETERS}
    return options, check_setting({key: _parse(key, text) for key, text in given.items() if text is not None})


def _parse(key: str, text: str) -> object:
    """JSON where the text is JSON (numbers, true, null, lists), else the text itself."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if HYPERPARAMETERS[key].type is str and value is not None else value


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
