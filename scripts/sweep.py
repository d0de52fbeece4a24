"""Look at a sweep before, while and after it runs."""

import sys

sys.path.insert(0, __file__.rpartition("/")[0])  # PYTHONSAFEPATH leaves it out

import argparse
import inspect
import os
from collections.abc import Callable
from pathlib import Path

from dlsweep.commands import (
    derived,
    explain,
    export_model,
    give_up,
    live,
    orphans,
    plan,
    predict,
    show,
    verify,
    weights,
)
from dlsweep.commands.importing import import_from
from dlsweep.config.files import CONFIG_FILE, look_beside, parse_override
from dlsweep.config.sweep import load_sweep
from dlsweep.errors import ConfigError, RecordError
from dlsweep.results.export import WRITERS, export
from dlsweep.results.import_runs import CONFIG
from dlsweep.workflow.paths import RESULTS, check_folders


def build_parser() -> argparse.ArgumentParser:
    """Return the command line: a block for each command, whose function takes the options that it names."""
    parser = argparse.ArgumentParser(prog="sweep.py", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, call: Callable[..., int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=call.__doc__)
        added.set_defaults(call=call)
        return added

    table = command("show", show.show_table, "a table of the experiments: runs, their states, what varies, time left")
    table.add_argument("--json", dest="as_json", action="store_true", help="as JSON")
    add_config_options(table)

    status = command("status", live.status, "where the runs stand, the time left, the best settings so far")
    status.add_argument("--json", dest="as_json", action="store_true", help="as JSON")
    add_config_options(status)

    watch = command("watch", live.watch, "a live view of the running settings, until the sweep ends")
    watch.add_argument(
        "--wait",
        type=float,
        default=live.WAIT,
        metavar="SECONDS",
        help="how long to wait for the sweep to start (default: %(default)g)",
    )
    add_config_options(watch)

    one = command("explain", explain.explain_run, "one run: its setting, where it comes from, its command, its files")
    one.add_argument("run", metavar="hash", help="the beginning of its hash, or its record's name")
    add_config_options(one)

    diff = command("diff", explain.diff_runs, "in what two runs differ: setting and results")
    diff.add_argument("run", metavar="hash", help="the beginning of a hash, or a record's name")
    diff.add_argument("other", metavar="hash", help="that of the other run")
    add_config_options(diff)

    others = command("orphans", orphans.list_orphans, "the records that no setting of the config names")
    others.add_argument("--delete", action="store_true", help="delete them")
    others.add_argument(
        "--unknown", action="store_true", help="with --delete: also those that no config is known to have named"
    )
    add_config_options(others)

    giving_up = command("give-up", give_up.give_up_run, "let a search go on without a run that is killed in each start")
    giving_up.add_argument("run", metavar="hash", help="the beginning of its hash")
    add_config_options(giving_up)

    remaking = command("weights", weights.weights, "the weights of a run that were not kept, by training it again")
    remaking.add_argument("runs", nargs="+", metavar="hash", help="the beginning of its hash, or its record's name")
    add_device_option(remaking)
    add_results_option(remaking)

    predicting = command("predict", predict.predict, "what a trained model says of new data, as CSV")
    predicting.add_argument("run", help="an experiment, whose best run is meant, or the beginning of a hash")
    predicting.add_argument(
        "data",
        nargs="?",
        type=Path,
        help=".npz, CSV or Parquet file, image, folder of images (default: the test split)",
    )
    predicting.add_argument(
        "--output", type=Path, default=Path("predictions.csv"), metavar="FILE", help="default: %(default)s"
    )
    predicting.add_argument(
        "--ensemble",
        action="store_true",
        help="the mean over all seeds of the run's setting; says what it gains on test",
    )
    predicting.add_argument("--trust", action="store_true", help="let the file of weights name whose code is called")
    add_device_option(predicting)
    add_results_option(predicting)

    exported = command("export-model", export_model.export_model, "a trained model as a file for ONNX or torch.export")
    exported.add_argument("run", help="an experiment, whose best run is meant, or the beginning of a hash")
    exported.add_argument("--format", choices=export_model.FORMATS, default="onnx", help="default: %(default)s")
    exported.add_argument("--raw", action="store_true", help="the network alone: it takes data that are normalised")
    exported.add_argument("--output", type=Path, metavar="FILE", help="default: named after the run, in this folder")
    exported.add_argument("--trust", action="store_true", help="let the file of weights name whose code is called")
    add_results_option(exported)

    importing = command("import", import_from, "results that were made elsewhere, as records")
    importing.add_argument("source", type=Path, help="CSV or JSON file, or folder of JSON files; it is only read")
    importing.add_argument("--experiment", metavar="NAME", help="their experiment (default: as the file is named)")
    importing.add_argument(
        "--objective", default="", metavar="METRIC", help="selects settings: val_mae, or with its direction score=max"
    )
    for option, text in {
        "--parameters": "the columns that are hyper-parameters (default: all that are nothing else by their heading)",
        "--metrics": "columns that are metrics though their heading does not tell",
        "--ignore": "columns to leave out",
        "--percent": "metrics that are percentages",
    }.items():
        several: list[str] | None = None if option == "--parameters" else []
        importing.add_argument(option, nargs="+", action="extend", default=several, metavar="COLUMN", help=text)
    add_key_values(importing, "--rename", "other names for columns: OLD=NEW")
    importing.add_argument("--run", metavar="COLUMN", help="the column that tells runs apart, where each has many rows")
    importing.add_argument("--epoch", metavar="COLUMN", help="the column that counts the epochs")
    importing.add_argument("--output", type=Path, default=CONFIG, help="the config to write (default: %(default)s)")
    add_key_values(importing, "--setting", "of the lecture's results: what they do not say, such as dataset=cifar10")
    add_results_option(importing)

    exporting = command("export", export, "the records for TensorBoard or MLflow to read")
    exporting.add_argument("format", choices=WRITERS, help="the tool; its library must be installed")
    exporting.add_argument(
        "--output", type=Path, metavar="FOLDER", help="default: a folder of that name in the results"
    )
    add_config_options(exporting)

    planning = command("plan", plan.write_plan, "write what the tables and figures need to know of the config")
    planning.add_argument("--output", type=Path, required=True, help="the plan file")
    add_config_options(planning)

    check = command(
        "verify", verify.verify_records, "check every record in the results folder; say which to redo, and how"
    )
    add_config_options(check)

    command("schema", derived.write_schemas, "write schemas/ and the derived pages of docs/ from the code")
    return parser


def add_config_options(command: argparse.ArgumentParser) -> None:
    """Add what says which sweep a command looks at; a function can name `sweep`, `results`, `configs`, `overrides`."""
    command.add_argument("configs", nargs="*", default=[CONFIG_FILE], help=f"config files (default: {CONFIG_FILE})")
    add_key_values(command, "--config", "changes of the config, as Snakemake's --config takes them")
    add_results_option(command)


def add_results_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--results", type=Path, default=RESULTS, help=f"folder of the records (default: {RESULTS})")


def add_device_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: %(default)s)")


def add_key_values(command: argparse.ArgumentParser, option: str, text: str) -> None:
    command.add_argument(
        option, nargs="+", action="extend", type=parse_override, default=[], metavar="KEY=VALUE", help=text
    )


def main() -> int:
    try:
        options = build_parser().parse_args()
        if "configs" in options:
            look_beside(options.configs)
            options.overrides = dict(options.config)
            options.sweep = load_sweep(options.configs, options.overrides).with_decided(options.results)
        if "results" in options:
            check_folders(str(options.results))
        named = inspect.signature(options.call).parameters
        status: int = options.call(**{name: getattr(options, name) for name in named})
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # `... | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ConfigError, RecordError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
