"""Put the page of a sweep together: results/report.html, from its tables, its figures and its plan.

The templates beside this file are plain HTML, CSS and JavaScript; vendor/ has the one library that the page brings.
"""

from __future__ import annotations

import base64
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import YamlLexer

from dlsweep.config.files import snakemake_options
from dlsweep.config.kinds import FigureSpec
from dlsweep.config.plan import Plan
from dlsweep.files import write_atomic
from dlsweep.report.captions import what_it_shows
from dlsweep.report.contents import figure_stem
from dlsweep.report.figures.headings import Heading, heading_in
from dlsweep.report.page.answers import VERDICTS, answer, in_a_row
from dlsweep.report.page.data import page_data
from dlsweep.report.page.over_data import over_data
from dlsweep.report.pages import SHOWN_RUNS, SHOWN_SETTINGS, best_commands, origins, packages, unfinished_runs
from dlsweep.results.columns import Columns
from dlsweep.results.decisions import decisions
from dlsweep.results.statistics import IMAGES_DOC, p_text, runs_text
from dlsweep.results.tables import fitted_columns, read_tables, read_tables_of_data, remarks
from dlsweep.results.tuning import tuning_cells
from dlsweep.results.versions import outdated_note
from dlsweep.runs.eta import duration

HERE = Path(__file__).parent
VIEWS = ("table", "charts", "parallel", "scatter", "curves", "compare")
SCRIPTS = tuple(f"{name}.js" for name in ("runs", "state", *VIEWS, "main"))
"""In the order in which they are read: each uses those before it."""
MOST_FIGURE_BYTES = 9_000_000
"""Of all figures in the page together; those beyond it are named, and lie beside the page."""


@dataclass(frozen=True)
class Picture:
    """A figure in the page: its name, what is said of it, and its content unless that is too much."""

    name: str
    question: str
    finding: str
    shows: str  # what figures of its kind show
    source: str  # a data: URL; empty where it is left out
    file: str  # beside the page


def write_page(plan: Plan, folder: Path, output: Path, configs: Sequence[str], overrides: Mapping[str, Any]) -> None:
    """Write the page of a plan from the tables and figures in `folder`.

    `configs` and `overrides` are the config files and the changes of them that the plan was made of.
    """
    tables = read_tables(folder, "summary", "epochs", "leaderboard", plan=plan)
    summary = tables["summary"]
    known = fitted_columns(plan, summary, tables["epochs"])
    of_data = read_tables_of_data(folder)
    decided = decisions(plan, summary, tables["leaderboard"], known, of_data["tuning"])
    parts = {exp_name: summary[summary["exp_name"] == exp_name] for exp_name in plan.experiments}
    answers = [answer(name, experiment, decided[name]) for name, experiment in plan.experiments.items()]
    unfinished = unfinished_runs(plan, summary)
    light, dark = HtmlFormatter(nobackground=True), HtmlFormatter(nobackground=True, style="github-dark")
    html = (
        _templates()
        .get_template("page.html")
        .render(
            title=plan.name or in_a_row(list(plan.experiments), most=2),
            heading=plan.name or f"What {len(summary):,} run{'s' if len(summary) != 1 else ''} found",
            answers=answers,
            over_data={name: over_data(name, of_data, columns) for name, columns in known.items()},
            pictures=_pictures(plan, folder, known),
            most_settings=SHOWN_SETTINGS,
            verdicts=VERDICTS,
            scripts=SCRIPTS,
            n_runs=len(summary),
            n_planned=sum(1 for _ in plan.records()),
            n_runs_of={exp_name: len(part) for exp_name, part in parts.items()},
            states=Counter(run["state"] for run in unfinished),
            n_diverged=int((summary["status"] == "diverged").sum()),
            outdated=outdated_note(summary["outdated"].value_counts().to_dict(), len(summary)),
            trained=duration(summary["train_seconds"].sum()),
            devices=list(summary["device"].dropna().unique()),
            data=page_data(plan, summary, tables["epochs"], known),
            remarks=remarks(summary, known),
            command=shlex.join(["snakemake", "--cores", "4", *snakemake_options(configs, overrides)]),
            configs={path: highlight(Path(path).read_text(encoding="utf-8"), YamlLexer(), light) for path in configs},
            code_css=light.get_style_defs("pre"),
            dark_code_css=dark.get_style_defs("pre"),
            origins=origins(plan, summary),
            commands=best_commands(plan, parts, known),
            packages=packages(),
            interval="; or ".join(dict.fromkeys(columns.interval_doc for columns in known.values())),
            unfinished=unfinished[:SHOWN_RUNS],
            n_more_unfinished=max(len(unfinished) - SHOWN_RUNS, 0),
            diverged={name: n for name, part in parts.items() if (n := int((part["status"] == "diverged").sum()))},
        )
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(output, html.encode())


def _templates() -> jinja2.Environment:
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader([HERE / "templates", HERE / "vendor"]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    templates.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":"), "allow_nan": False}
    templates.globals |= {
        "p": p_text,
        "tuning_cells": tuning_cells,
        "runs": runs_text,
        "over_images": IMAGES_DOC,
        "as_is": _as_is,
    }
    return templates


@jinja2.pass_context
def _as_is(context: jinja2.runtime.Context, name: str) -> str:
    """A stylesheet or script as its file has it: no template, and not escaped."""
    loader = context.environment.loader
    assert loader is not None
    return Markup(loader.get_source(context.environment, name)[0])


def _pictures(plan: Plan, folder: Path, known: Mapping[str, Columns]) -> dict[str, list[Picture]]:
    """The figures of each experiment, each with its question and its finding."""
    left = MOST_FIGURE_BYTES
    found: dict[str, list[Picture]] = {exp_name: [] for exp_name in plan.experiments}
    for exp_name, figure in _firsts_first(plan):
        stem = figure_stem(exp_name, figure)
        picture = _smallest(folder, stem)
        if picture is None:
            continue
        source = _data_url(picture) if picture.stat().st_size * 4 / 3 <= left else ""
        left -= len(source)
        name, shows, file = figure.name.replace("_", " "), what_it_shows(figure, known[exp_name]), f"figures/{stem}.png"
        heading = (heading_in(folder / file) if (folder / file).exists() else None) or Heading(name)
        found[exp_name].append(Picture(name, heading.question, heading.finding, shows, source, file))
    return found


def _firsts_first(plan: Plan) -> Iterator[tuple[str, FigureSpec]]:
    """The figures, the first of every experiment before all others."""
    for part in (slice(1), slice(1, None)):
        for exp_name, experiment in plan.experiments.items():
            yield from ((exp_name, figure) for figure in experiment.figures[part])


def _smallest(folder: Path, stem: str) -> Path | None:
    """The file of a figure that the page shows: the SVG, which is sharp at any size, unless the PNG is much smaller."""
    svg, png = (folder / "figures" / f"{stem}.{suffix}" for suffix in ("svg", "png"))
    there = [path for path in (svg, png) if path.exists()]
    if len(there) == 2 and svg.stat().st_size > 1.5 * png.stat().st_size:
        return png
    return there[0] if there else None


def _data_url(path: Path) -> str:
    kind = {".svg": "image/svg+xml", ".png": "image/png"}[path.suffix]
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
