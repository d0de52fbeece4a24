"""Model cards: a page of Markdown beside each file of weights, for whoever finds it without the sweep.

What such a page holds follows Mitchell et al. 2019, Model Cards for Model Reporting, as far as a record knows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
import yaml

from dlsweep.config.metrics import is_number
from dlsweep.config.paths import card_file, weights_file
from dlsweep.files import write_atomic
from dlsweep.results.columns import Columns
from dlsweep.results.schema import Record

MADE_WITH = ("torch", "device", "python", "git_commit", "code", "data", "init_from", "finished")


def write_cards(
    results: Path, records: Iterable[Record], summary: pd.DataFrame, board: pd.DataFrame, known: Mapping[str, Columns]
) -> None:
    """Write the card of each run whose weights are there, and remove those whose weights are gone."""
    settings = board.set_index(["exp_name", "label"])
    labels = summary.set_index(["exp_name", "hash"])["label"]
    for record in records:
        exp_name, digest = record["exp_name"], record["hash"]
        if weights_file(results, exp_name, digest).exists():
            label = labels[exp_name, digest]
            text = card(record, label, settings.loc[(exp_name, label)], known[exp_name]).encode()
            path = card_file(results, exp_name, digest)
            if not path.exists() or path.read_bytes() != text:  # with save: all they are many, and few change
                write_atomic(path, text)
    for path in card_file(results, "", "").parent.glob("*-*.md"):
        if not weights_file(results, *path.stem.rpartition("-")[::2]).exists():
            path.unlink()


def card(record: Record, label: str, row: pd.Series, columns: Columns) -> str:
    """Return the card of a run; `row` is that of its setting in the leaderboard."""
    exp_name, digest = record["exp_name"], record["hash"]
    report = columns.objective.report
    values = {name: value for name, value in record["final"].items() if is_number(value)}
    over_runs = columns.text(report, row[report], row[f"{report}_low"], row[f"{report}_high"])
    made = {key: record["provenance"].get(key) for key in MADE_WITH}
    n_parameters = record["model"]["n_parameters"]
    size = f", a model of {n_parameters:,} parameters" if n_parameters else ""
    lines = [
        f"# {exp_name}: {label}",
        "",
        f"The weights of run `{digest}`{size}.",
        "",
        "## What it can do",
        "",
        "| of this run | |",
        "|---|---:|",
        *(f"| {name} | {value:.4g} |" for name, value in values.items()),
        "",
        f"Over the {row['n']:.0f} runs of its setting, {columns.in_words(report)} is {over_runs}.",
        f"{columns.interval_doc}.",
        "",
        "## How it was made",
        "",
        "```yaml",
        yaml.safe_dump(dict(record["setting"]), sort_keys=False).strip(),
        "```",
        "",
        *(f"- {key}: {value}" for key, value in made.items() if value is not None),
        "",
        "## How to use it, and to make it again",
        "",
        "```bash",
        f"python scripts/sweep.py predict {digest[:12]} DATA --output predictions.csv",
        f"python scripts/sweep.py weights {digest[:12]}",
        "```",
        "",
    ]
    return "\n".join(lines)
