"""Which files Snakemake's report shows, and what is written next to the tables for it. Loads no pandas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dlsweep.config.kinds import FigureSpec
from dlsweep.config.plan import Plan

FOLDER = "report"
OVERVIEW = f"{FOLDER}/overview.rst"  # the first page: report/overview.rst takes it from the page on provenance
CONFIG_PAGE = f"{FOLDER}/config.html"
PROVENANCE_PAGE = f"{FOLDER}/provenance.html"
EMPTY_FIGURES = "logs/empty_figures.json"  # those that could not be drawn, a line each that says why


def figure_stem(exp_name: str, figure: FigureSpec) -> str:
    """Return the name of a figure's files, without suffix."""
    return f"{exp_name}-{figure.name}"


def planned_figures(plan: Plan) -> Iterator[tuple[str, FigureSpec]]:
    """Yield the experiment and the figure for each figure of a plan."""
    for exp_name, experiment in plan.experiments.items():
        for figure in experiment.figures:
            yield exp_name, figure


def caption_file(stem: str) -> str:
    """Return the caption of a figure, by the stem of the figure's name."""
    return f"{FOLDER}/{stem}.rst"


def leaderboard_page(exp_name: str) -> str:
    """Return the leaderboard of an experiment."""
    return f"{FOLDER}/leaderboard-{exp_name}.html"


@dataclass(frozen=True)
class Item:
    """One file that the report shows: its path in the tables' folder, its category, its name, its caption's path."""

    path: str
    category: str
    name: str
    caption: str | None = None


def report_items(figures: Mapping[str, list[FigureSpec]]) -> Iterator[Item]:
    """Yield what the report shows, of the figures of each experiment."""
    for exp_name, specs in figures.items():
        yield Item(leaderboard_page(exp_name), exp_name, "leaderboard")
        for figure in specs:
            stem = figure_stem(exp_name, figure)
            yield Item(f"figures/{stem}.png", exp_name, figure.name.replace("_", " "), caption_file(stem))
    yield Item(CONFIG_PAGE, "config and provenance", "config")
    yield Item(PROVENANCE_PAGE, "config and provenance", "provenance", OVERVIEW)
