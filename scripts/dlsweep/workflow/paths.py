"""Where a sweep's records, tables, figures and reports lie."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlsweep.config.course import slot_file
from dlsweep.config.paths import record_name
from dlsweep.config.sweep import Sweep
from dlsweep.errors import ConfigError
from dlsweep.report.contents import Item, figure_stem, report_items
from dlsweep.results.columns import TABLES

RESULTS = "results"


@dataclass(frozen=True)
class Paths:
    """The files of one sweep, relative to the working folder."""

    sweep: Sweep
    results: str = RESULTS

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

    def report_outputs(self, mark: Any) -> list[Any]:
        """What rule `report` makes: the figures, and what Snakemake's report says of them, a category an experiment.

        `mark` is Snakemake's report(), which says that its report shows a file.
        """
        shown = [self._shown(mark, item) for item in self._items()]
        captions = [f"{self.tables_folder}/{item.caption}" for item in self._items() if item.caption]
        svgs = [path for path in self.figures if path.endswith(".svg")]
        return [*shown, *captions, *svgs]

    def _items(self) -> list[Item]:
        return list(report_items({name: exp.figures for name, exp in self.sweep.experiments.items()}))

    def _shown(self, mark: Any, item: Item) -> Any:
        folder = self.tables_folder
        caption = str(Path(folder, item.caption).resolve()) if item.caption else None  # not beside the Snakefile
        return mark(f"{folder}/{item.path}", category=item.category, labels={"result": item.name}, caption=caption)

    @property
    def partial_folder(self) -> str:
        """The folder of the tables and figures of what is finished by now."""
        return f"{self.tables_folder}/partial"

    @property
    def html_report(self) -> str:
        """The page of the whole sweep."""
        return f"{self.tables_folder}/report.html"

    @functools.cached_property
    def records(self) -> list[str]:
        """Every record that the sweep asks for; of a search in rounds what came of its slots."""
        return [record for exp_name in self.sweep.experiments for record in self.records_of(exp_name)]

    @property
    def known_records(self) -> list[str]:
        """The records that the sweep asks for, as far as their names are known."""
        return [self.record(exp_name, digest) for exp_name, digest, _ in self.sweep.records()]

    def records_of(self, exp_name: str) -> list[str]:
        """Every record of one experiment; of a search in rounds what came of its slots, whose records nobody knows."""
        if course := self.sweep.experiments[exp_name].course:
            return [slot_file(self.results, course.name, *slot) for slot in course.slots()]
        return [self.record(exp_name, digest) for digest in self.sweep.experiments[exp_name].settings]

    def record(self, exp_name: str, digest: str) -> str:
        """The record of one run."""
        return f"{self.results}/{record_name(exp_name, digest)}"


def check_folders(*folders: str) -> None:
    """Raise ConfigError where one of the folders that outputs are written to is something else, such as a file."""
    for folder in folders:
        if os.path.lexists(folder) and not Path(folder).is_dir():
            raise ConfigError(f"{folder}: is not a folder, but the results are written there; move it away")
