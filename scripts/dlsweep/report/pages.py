"""What Snakemake's report shows beside the figures: captions, leaderboards, config and provenance.

The templates are in report/. Each file is written next to the tables, so a report of a part of the runs has its own.
"""

from __future__ import annotations

import importlib.metadata
import json
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import YamlLexer

from dlsweep.config.files import snakemake_options
from dlsweep.config.paths import record_name
from dlsweep.config.plan import Plan
from dlsweep.files import read_json, write_atomic
from dlsweep.report.captions import captions, finding
from dlsweep.report.contents import CONFIG_PAGE, OVERVIEW, PROVENANCE_PAGE, caption_file, leaderboard_page
from dlsweep.results.columns import Columns
from dlsweep.results.leaderboard import best_run, has_images, leaderboard_notes
from dlsweep.results.statistics import p_text, runs_text
from dlsweep.results.tables import fitted_columns, read_tables, remarks
from dlsweep.results.versions import outdated_note
from dlsweep.runs.eta import duration
from dlsweep.runs.states import run_state

TEMPLATES = Path(__file__).parents[3] / "report"
SHOWN_SETTINGS = 200  # of a leaderboard
SHOWN_RUNS = 200  # of those that are not finished


def write_pages(plan: Plan, folder: Path, configs: Sequence[str], overrides: Mapping[str, Any]) -> None:
    """Write the captions and pages of a plan from the tables in `folder` and the records.

    `configs` and `overrides` are the config files and the changes of them that the plan was made of.
    """
    tables = read_tables(folder, "summary", "epochs", "leaderboard", plan=plan)
    summary, board = tables["summary"], tables["leaderboard"]
    known = fitted_columns(plan, summary, tables["epochs"])
    templates = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True)
    templates.globals |= {"p": p_text, "runs": runs_text}
    formatter = HtmlFormatter(nobackground=True)

    def write(path: str, template: str, **content: Any) -> None:
        text = templates.get_template(template).render(**content)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / path, (as_rst(text) if path.endswith(".rst") else text).encode())

    compared = {exp_name: board[board["exp_name"] == exp_name] for exp_name in known}
    boards = {
        exp_name: [_with_texts(row, columns) for row in compared[exp_name].to_dict("records")]
        for exp_name, columns in known.items()
    }
    parts = {exp_name: summary[summary["exp_name"] == exp_name] for exp_name in plan.experiments}
    findings = {exp_name: finding(part, known[exp_name], compared[exp_name]) for exp_name, part in parts.items()}
    unfinished = unfinished_runs(plan, summary)
    for exp_name, rows in boards.items():
        write(
            leaderboard_page(exp_name),
            "leaderboard.html",
            title=exp_name,
            finding=findings[exp_name],
            columns=known[exp_name],
            rows=rows[:SHOWN_SETTINGS],
            n_more=max(len(rows) - SHOWN_SETTINGS, 0),
            over_images=has_images(compared[exp_name]),
            notes=leaderboard_notes(known[exp_name], has_images(compared[exp_name])),
        )
    for stem, text in captions(plan, findings, known).items():
        write(caption_file(stem), "caption.html", text=text)
    write(
        CONFIG_PAGE,
        "config.html",
        title="Config",
        command=shlex.join(["snakemake", "--cores", "4", *snakemake_options(configs, overrides)]),
        files={path: highlight(Path(path).read_text(encoding="utf-8"), YamlLexer(), formatter) for path in configs},
        css=formatter.get_style_defs("pre"),
    )
    write(
        PROVENANCE_PAGE,
        "provenance.html",
        title="Provenance",
        origins=origins(plan, summary),
        unfinished=unfinished[:SHOWN_RUNS],
        n_more=max(len(unfinished) - SHOWN_RUNS, 0),
        commands=best_commands(plan, parts, known),
        packages=packages(),
    )
    write(
        OVERVIEW,
        "overview.html",
        title=plan.name or "The sweep",
        n_runs=len(summary),
        n_planned=sum(1 for _ in plan.records()),
        states=Counter(run["state"] for run in unfinished),
        n_diverged=int((summary["status"] == "diverged").sum()),
        outdated=outdated_note(summary["outdated"].value_counts().to_dict(), len(summary)),
        trained=duration(summary["train_seconds"].sum()),
        devices=summary["device"].dropna().unique(),
        experiments={name: {"n_runs": len(parts[name]), **(rows[0] if rows else {})} for name, rows in boards.items()},
        columns=next(iter(known.values())) if len({of.objective for of in known.values()}) == 1 else None,
        known=known,
        remarks=remarks(summary, known),
        interval="; or ".join(dict.fromkeys(of.interval_doc for of in known.values())),
    )


def _with_texts(row: dict[str, Any], columns: Columns) -> dict[str, Any]:
    """A row of a leaderboard with its metrics as texts: `selected` and `reported`."""
    report, ranked = columns.objective.report, columns.ranked
    reported = columns.text(report, row[report], row[f"{report}_low"], row[f"{report}_high"])
    return {**row, "selected": columns.text(ranked, row[ranked]), "reported": reported}


def as_rst(html: str) -> str:
    """Return HTML as what Snakemake takes for a caption: reStructuredText that is a Jinja template."""
    lines = [f"   {line}" for line in html.replace("{", "&#123;").splitlines()]
    return "\n".join([".. raw:: html", "", *lines, ""])


def unfinished_runs(plan: Plan, summary: pd.DataFrame) -> list[dict[str, str]]:
    """Return the runs of a plan that have no row in the summary: their record, their state, and why."""
    finished = set(zip(summary["exp_name"], summary["hash"], strict=True))
    runs = [run_state(Path(plan.results), *record) for record in plan.records() if record not in finished]
    return [{"run": record_name(run.exp_name, run.digest), "state": run.state, "why": run.error} for run in runs]


def _records(plan: Plan, runs: pd.DataFrame) -> Iterable[dict[str, Any]]:
    for exp_name, digest in zip(runs["exp_name"], runs["hash"], strict=True):
        yield read_json(Path(plan.results) / record_name(exp_name, digest))


def origins(plan: Plan, summary: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the machines, versions and commits that made the records, with the number of runs and the time of each."""
    found: dict[str, dict[str, Any]] = {}
    for record in _records(plan, summary):
        known = record["provenance"]
        commit = (known.get("git_commit") or "")[:10] + (" with changes" if known.get("git_dirty") else "")
        origin = {**{key: known.get(key, "") for key in ("host", "device", "python", "torch")}, "commit": commit}
        begin, end = (known.get(key, "")[:16].replace("T", " ") for key in ("started", "finished"))
        row = found.setdefault(json.dumps(origin), {"runs": 0, **origin, "from (UTC)": begin, "to (UTC)": end})
        row["runs"] += 1
        row["from (UTC)"], row["to (UTC)"] = min(row["from (UTC)"], begin), max(row["to (UTC)"], end)
    return list(found.values())


def best_commands(plan: Plan, parts: Mapping[str, pd.DataFrame], known: Mapping[str, Columns]) -> dict[str, str]:
    """Return the command that makes the best run of each experiment again."""
    runs = (best_run(part, known[exp_name]) for exp_name, part in parts.items())
    best = pd.DataFrame([run for run in runs if run is not None])
    if best.empty:
        return {}
    return {record["exp_name"]: record["provenance"]["command"] for record in _records(plan, best)}


def packages() -> list[dict[str, str]]:
    """Return the packages of this Python with their versions."""
    versions = {dist.metadata["Name"]: dist.version for dist in importlib.metadata.distributions()}
    return [{"package": name, "version": versions[name]} for name in sorted(versions, key=str.lower)]
