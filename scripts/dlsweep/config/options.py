"""The options of scripts/train.py and scripts/prepare.py: what a run is called with, and how a value is read.

Loads neither torch nor pandas.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlsweep.config.hyperparameters import Hyperparameter
from dlsweep.config.keep import Keep


def minutes(text: str) -> float | None:
    """Return minutes in seconds; None for 0, which is no limit."""
    return 60 * float(text) or None


def _is_true(text: str) -> bool:
    return text == "true"


@dataclass(frozen=True)
class RunOption:
    """An option of a run that is no hyper-parameter: it decides no result and changes no hash.

    `read` makes its value of its text; `built_in` says that only the built-in task has it.
    """

    doc: str
    default: Any = None
    read: Callable[[str], Any] = str
    built_in: bool = False


RUN_OPTIONS: Mapping[str, RunOption] = {
    "exp_name": RunOption("name of the experiment", "by-hand"),
    "results": RunOption("folder of the record", Path("results"), Path),
    "hash": RunOption("the hash that the setting must have"),
    "device": RunOption("auto, cpu, cuda, cuda:1, mps", "auto"),
    "jobs_per_gpu": RunOption("runs that share a GPU", 1, int),
    "gpus_per_run": RunOption("GPUs of this run, with a task of your own", 1, int),
    "threads": RunOption("CPU threads", 1, int),
    "time_limit": RunOption("minutes; then it stops, after a checkpoint", read=minutes),
    "keep_weights": RunOption("all, none, or what Snakemake says for save: best", "all", Keep.of_text),
    "keep_state": RunOption("true: keep what the run needs to be continued for more epochs", False, _is_true),
    "pause_after": RunOption("the epoch after which the run ends for now and keeps its checkpoint", read=int),
    "search_slot": RunOption("of a search: the file that says what came of the run", read=Path),
    "search_decision": RunOption("of a search: the file that says the setting of that slot", read=Path),
    "search_metric": RunOption("of a search: what it decides by"),
    "search_max_hours": RunOption("of a search: hours of its training after which no run starts", read=float),
    "search_attempt": RunOption("of a search: 1, or more where this start has tried the slot before", 1, int),
    "data": RunOption("the prepared data set (see scripts/prepare.py); must be given", read=Path, built_in=True),
    "check": RunOption(
        "do not train: try your own code on a few images, then write this file", read=Path, built_in=True
    ),
}
"""No parameter of an own task has one of these names."""


def add_run_options(parser: argparse.ArgumentParser, is_built_in: bool) -> None:
    """Give a parser the options of a run. Those that a task does not have are not read, and have their default."""
    for name, option in RUN_OPTIONS.items():
        if option.built_in and not is_built_in:
            parser.set_defaults(**{name: option.default})
            continue
        standard = "" if option.default is None else f" (default: {option.default})"
        metavar = {int: "N", minutes: "MINUTES", Path: "PATH"}.get(option.read, "TEXT")
        text = f"{option.doc}{standard}"
        parser.add_argument(_name(name), type=option.read, default=option.default, metavar=metavar, help=text)


def add_hyperparameters(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, hyperparameters: Mapping[str, Hyperparameter]
) -> None:
    """Give a parser an option for each hyper-parameter; `given_values` reads them."""
    for key, hyper in hyperparameters.items():
        standard = "must be given" if hyper.required else f"default: {json.dumps(hyper.default, ensure_ascii=False)}"
        text = f"{hyper.doc} {hyper.allowed}; {standard}".strip().replace("%", "%%")
        parser.add_argument(_name(key), dest=f"hp_{key}", metavar="VALUE", help=text)


def given_values(options: argparse.Namespace, hyperparameters: Mapping[str, Hyperparameter]) -> dict[str, Any]:
    """Return the values of those hyper-parameters that a command line gives; they are not checked."""
    texts = {key: getattr(options, f"hp_{key}") for key in hyperparameters}
    return {key: value_of_text(text, hyperparameters[key]) for key, text in texts.items() if text is not None}


def _name(key: str) -> str:
    return f"--{key.replace('_', '-')}"


# -- values as text ------------------------------------------------------------------------------------------------


def value_of_text(text: str, hyper: Hyperparameter) -> Any:
    """Return the value that an option says.

    It is JSON where the text is JSON (numbers, true, null, lists), else the text itself. Of a key that takes text only
    null is JSON, where that is allowed, and with it "null" in quotes.
    """
    if hyper.type is str and not (hyper.nullable and text.strip('"\\') == "null"):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def as_said(values: Mapping[str, Any], hyperparameters: Mapping[str, Hyperparameter]) -> dict[str, Any]:
    """Return values of which text is in quotes, as in JSON, where it would be read as anything else: "1e-3", "null"."""
    return {
        key: json.dumps(value, ensure_ascii=False)
        if isinstance(value, str) and key in hyperparameters and value_of_text(value, hyperparameters[key]) != value
        else value
        for key, value in values.items()
    }
