"""What is written above a figure: the question that it answers, and what it shows.

The files of a figure have both in their metadata, as `Title` and `Description`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from dlsweep.config.kinds import SPENT, FigureSpec
from dlsweep.config.labels import format_value
from dlsweep.config.metrics import SPLITS, parts_of
from dlsweep.config.names import listed
from dlsweep.report.figures.data import Tables, Undrawable, spent_by
from dlsweep.report.figures.searches import (
    STOPPED,
    Trials,
    contour_data,
    contour_keys,
    history_data,
    in_words,
    rungs_data,
    trials_of,
)
from dlsweep.report.figures.tuning import chosen_in_words, tuning_data
from dlsweep.results.decisions import decide, sentences

NEARLY = 0.95  # of the best value there is: a curve that is there has learned nearly all
FEWEST_GOOD = 3  # settings between whose values good ones are said to lie
MOST_RANGES = 4  # hyper-parameters of which that is said
MOST_LETTERS = 300  # of what was chosen for each
MANY_CLASSES = 10  # more of them have a top-5 accuracy worth knowing
LATER_WORSE = 0.1  # of its best value: a loss that ends this much higher has risen again


@dataclass(frozen=True)
class Heading:
    """The title of a figure, a question, and what the figure finds, which may be nothing."""

    question: str
    finding: str = ""


def heading_of(tables: Tables, spec: FigureSpec) -> Heading:
    """Return what is written above a figure of these tables."""
    if tables.summary.empty:
        return Heading(tables.question or f"{spec.name.replace('_', ' ')}")
    return _HEADINGS[spec.kind](tables, spec)


def heading_in(png: Path) -> Heading | None:
    """Return what is written above a figure, as its file says; None where it does not: an earlier version made it."""
    with Image.open(png) as image:
        said = image.info
    return Heading(str(said["Title"]), str(said.get("Description", ""))) if "Title" in said else None


def _title(tables: Tables, name: str) -> str:
    return tables.columns.metric_title(name) if name else ""


def _answer(tables: Tables) -> str:
    decision = tables.decision or decide(tables.summary, tables.columns)
    return " ".join(sentences(decision)[:2])


def _settings(tables: Tables, spec: FigureSpec) -> Heading:
    """Bars, points, lines and the like: the answer of the experiment, or how the splits compare."""
    objective, y = tables.columns.objective, spec.y
    groups = ["setting" if name == "label" else name for name in dict.fromkeys(spec.groups) if name != "version"]
    by = f" by {listed(groups)}" if groups else ""
    if y == objective.report:
        how = f"How does {_title(tables, y)} depend on {listed(groups)}?" if groups else f"{_title(tables, y)}?"
        return Heading(tables.question or _begun(how), _answer(tables))
    if y == objective.family and f"train_{y}" in tables.summary and objective.report in tables.summary:
        return Heading(_begun(f"{listed(list(SPLITS))} {_title(tables, y)}{by}"), _largest_gap(tables, y))
    return Heading(_begun(f"{_title(tables, y)}{by}"), _extremes(tables, y))


def _begun(text: str) -> str:
    """A sentence begins with a capital."""
    return f"{text[:1].upper()}{text[1:]}"


def _largest_gap(tables: Tables, family: str) -> str:
    report = tables.columns.objective.report
    means = tables.summary.groupby("label")[[f"train_{family}", report]].mean(numeric_only=True)
    gap = (means[f"train_{family}"] - means[report]).abs().dropna()
    if gap.empty or not math.isfinite(gap.max()):
        return ""
    apart = tables.columns.text(report, gap.max(), digits=3)
    where = f", with {gap.idxmax()}" if len(gap) > 1 else ""
    return f"Train and {parts_of(report).split or _title(tables, report)} are {apart} apart at most{where}."


def _extremes(tables: Tables, y: str) -> str:
    """The settings of which the mean of a metric is the highest and the lowest."""
    column = y if y in tables.summary else f"test_{y}"
    if column not in tables.summary or not pd.api.types.is_numeric_dtype(tables.summary[column]):
        return ""
    means = tables.summary.groupby("label")[column].mean().replace([np.inf, -np.inf], np.nan).dropna()
    if len(means) < 2 or means.max() == means.min():
        return ""
    ends = [
        f"{word}: {label}, {tables.columns.text(column, means[label], digits=3)}"
        for word, label in (("Highest", means.idxmax()), ("lowest", means.idxmin()))
    ]
    return f"{'; '.join(ends)}."


def _heatmap(tables: Tables, spec: FigureSpec) -> Heading:
    better = tables.columns.metric(spec.hue).better
    question = f"Where is {_title(tables, spec.hue)} {'lowest' if better == 'min' else 'highest'}?"
    return Heading(_begun(question), _extremes(tables, spec.hue))


def _curves(tables: Tables, spec: FigureSpec) -> Heading:
    family, split = parts_of(spec.y).family, parts_of(spec.y).split
    column = spec.y if split or spec.y in tables.epochs else f"val_{spec.y}"
    better = tables.columns.metric(column).better
    over = {"updates": "updates", "seconds": "seconds"}.get(spec.axes.get("x", ""), "epochs")
    if column not in tables.epochs or not better:
        return Heading(_begun(f"{_title(tables, spec.y)} over the {over}"))
    runs = tables.epochs[["hash", "epoch", column]].dropna()
    if better == "min":
        question = "Does it over-fit?" if split in ("", "val") else "Does it still fall?"
        return Heading(f"{question} {_begun(_title(tables, spec.y))} over the {over}", _risen(tables, runs, column))
    return Heading(
        f"How fast does it learn? {_begun(_title(tables, family if not split else spec.y))} over the {over}",
        _first_there(tables, runs, column),
    )


def _risen(tables: Tables, runs: pd.DataFrame, column: str) -> str:
    """How many runs end with a clearly higher loss than they had."""
    finished = tables.summary.loc[tables.summary["status"] != "diverged", "hash"]
    by_run = runs[runs["hash"].isin(finished)].sort_values("epoch", kind="stable").groupby("hash")[column]
    if not by_run.ngroups:
        return ""
    n = int((by_run.last() > (1 + LATER_WORSE) * by_run.min()).sum())
    what, of = _title(tables, column), f"{n or 'no'} of {by_run.ngroups} runs"
    return _begun(f"in {of} {what} ends more than {LATER_WORSE:.0%} above its lowest.")


def _first_there(tables: Tables, runs: pd.DataFrame, column: str) -> str:
    """The setting whose mean is the first to be nearly as good as the best mean there is at the end."""
    means = runs.merge(tables.summary[["hash", "label"]], on="hash").groupby(["label", "epoch"])[column].mean()
    if means.empty or means.index.get_level_values("label").nunique() < 2:
        return ""
    last = means.groupby("label").last().max()
    there = means[means >= NEARLY * last]
    if last <= 0 or there.empty:
        return ""
    first = there.index.get_level_values("epoch").min()
    labels = [label for label, epoch in there.index if epoch == first]
    best = max(labels, key=lambda label: means[label, first])
    others = f" ({len(labels) - 1} others in the same)" if len(labels) > 1 else ""
    passes = tables.columns.text(column, NEARLY * last, digits=2)
    return f"{_begun(_title(tables, column))} passes {passes} first with {best}: in epoch {first}{others}."


def _budget(tables: Tables, spec: FigureSpec) -> Heading:
    """Which setting is the first to be nearly as good as the best there is, by each measure of what it has spent."""
    y, hue = spec.y if spec.y in tables.epochs else f"val_{spec.y}", spec.hue
    question = f"Which {'setting' if hue == 'label' else hue} is best after as many epochs, updates or seconds?"
    if y not in tables.epochs or tables.columns.metric(y).better != "max":
        return Heading(question)
    runs = tables.epochs[["hash", "epoch", y]].merge(tables.summary[["hash", hue]], on="hash")
    means = runs.groupby([hue, "epoch"], dropna=False)[y].mean()
    passed = NEARLY * means.groupby(hue).last().max()
    there = means[means >= passed].reset_index().groupby(hue)["epoch"].min()
    if not passed > 0 or there.empty:
        return Heading(question)
    found = []
    for over in SPENT:
        try:
            spent = spent_by(tables, over).rename("spent").reset_index()
        except Undrawable:
            continue
        by = spent.merge(tables.summary[["hash", hue]], on="hash").groupby([hue, "epoch"], dropna=False)["spent"].mean()
        costs = {value: by[value, epoch] for value, epoch in there.items()}
        first = min(costs, key=lambda value: costs[value])
        name = format_value(first) if hue == "label" else f"{hue}={format_value(first)}"
        amount = f"{costs[first]:.2g}" if over == "seconds" else f"{costs[first]:,.0f}"
        found.append(f"in {'epochs' if over == 'epoch' else over} by {name} ({amount})")
    reached = f"{_begun(_title(tables, y))} {tables.columns.text(y, passed, digits=2)} is reached first"
    return Heading(question, f"{reached} {', '.join(found)}.")


def _scatter(tables: Tables, spec: FigureSpec) -> Heading:
    x, y = tables.columns.title(spec.x).split(" (")[0], _title(tables, spec.y)
    numbers = tables.summary[[spec.x, spec.y]].apply(pd.to_numeric, errors="coerce").dropna()
    finding = ""
    if len(numbers) > 2 and (numbers.nunique() > 1).all():
        rho = numbers[spec.x].rank().corr(numbers[spec.y].rank())  # Spearman's
        ways = "hardly changes" if abs(rho) < 0.2 else "rises" if rho > 0 else "falls"
        finding = f"{_begun(y)} {ways} with {x}: rank correlation {rho:.2f} over {len(numbers)} runs."
    return Heading(f"Does {y} go with {x}?", finding)


def _parallel(tables: Tables, spec: FigureSpec) -> Heading:
    return Heading("Which values do the best settings share?", _answer(tables))


def _history(tables: Tables, spec: FigureSpec) -> Heading:
    question, found, trials = "Does the search still find better settings?", *_trials(tables)
    if trials is None or found is None:
        return Heading(question)
    data = history_data(trials)
    spent, what = (data["epochs"], "epochs") if trials.pauses else (data["runs"], "runs")
    first = int((data["best"] == data["best"].iat[-1]).to_numpy().argmax())
    objective = tables.columns.objective.metric
    best = tables.columns.text(objective, data["best"].iat[-1], digits=3)
    half = data.loc[spent <= spent.iat[-1] / 2, "best"].dropna()
    before = (
        f"; after half of them it was {tables.columns.text(objective, half.iat[-1], digits=3)}" if len(half) else ""
    )
    setting = in_words(trials.rows.iloc[first], trials.keys)
    where = f"after {spent.iat[first]:,.0f} of {spent.iat[-1]:,.0f} {what}"
    return Heading(
        question, f"Best {_title(tables, objective)}: {best}, found {where}{f' ({setting})' * bool(setting)}{before}."
    )


def _trials(tables: Tables) -> tuple[pd.Series | None, Trials | None]:
    """What an experiment has tried, and the best of it; nothing where there is none."""
    try:
        trials = trials_of(tables)
    except Undrawable:
        return None, None
    return trials.best(), trials


def _rungs(tables: Tables, spec: FigureSpec) -> Heading:
    question, best, trials = "Which settings were stopped, and when?", *_trials(tables)
    if trials is None or best is None or not trials.pauses:
        return Heading(question)
    rows = rungs_data(trials)
    last = rows.sort_values("rung").groupby(["bracket", "setting"]).tail(1)
    stopped = last[last["status"] == STOPPED].groupby("epochs").size()
    ends = listed([f"{n} after epoch {epochs:.0f}" for epochs, n in stopped.items()])
    counts = f"{len(last)} settings began" + (f"; stopped were {ends}" if len(stopped) else "")
    at = rows[rows["order"] == best["order"]].iloc[0]
    n = int((last["bracket"] == at["bracket"]).sum())
    place = f"The best was number {at['rank']:.0f} of {n} at its first rung" if len(stopped) and n > 1 else ""
    return Heading(question, " ".join(f"{part}." for part in (counts, place) if part))


def _slices(tables: Tables, spec: FigureSpec) -> Heading:
    """Between which values the best settings lie."""
    question, best, trials = "Where do good settings lie?", *_trials(tables)
    if trials is None or best is None:
        return Heading(question)
    known = trials.last.dropna(subset=["value"])
    n = max(FEWEST_GOOD, round(len(known) / 4))
    if len(known) < 2 * n:
        return Heading(question, f"The best has {in_words(best, trials.keys)}.")
    good = known.nlargest(n, "value") if trials.better == "max" else known.nsmallest(n, "value")
    ranges = [f"{key} {_range(good[key])}" for key in trials.keys[:MOST_RANGES]]
    return Heading(question, f"The best {n} of {len(trials.last)} settings have {', '.join(ranges)}.")


def _tuning(tables: Tables, spec: FigureSpec) -> Heading:
    """What each was chosen with."""
    what = tables.tuned[0] if len(tables.tuned) == 1 else "what is tuned"
    try:
        data = tuning_data(tables)
    except Undrawable:
        return Heading(f"How much does {what} matter to each?")
    chosen = chosen_in_words(data)
    found = f"Chosen: {chosen}." if len(chosen) <= MOST_LETTERS else ""
    return Heading(f"How much does {what} matter to each {data.compared}?", found)


def _range(values: pd.Series) -> str:
    """From the least to the greatest of numbers; words by their number."""
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values) and values.notna().all():
        low, high = format_value(float(values.min())), format_value(float(values.max()))
        return low if low == high else f"{low} to {high}"
    counts = values.map(format_value).value_counts()
    return " or ".join(str(word) for word in counts.index[:3])


def _contour(tables: Tables, spec: FigureSpec) -> Heading:
    try:
        x, y = contour_keys(tables, spec)
        data = contour_data(tables, replace(spec, name=""))
    except Undrawable:
        return Heading("Which two values go together?")
    better, objective = tables.columns.objective.better, tables.columns.objective.metric
    at = data.predicted.argmax() if better == "max" else data.predicted.argmin()
    row, column = np.unravel_index(at, data.predicted.shape)
    places = [f"{x}={data.text_x(int(column))}", f"{y}={data.text_y(int(row))}"]
    value = tables.columns.text(objective, float(data.predicted[row, column]), digits=3)
    word = "highest" if better == "max" else "lowest"
    return Heading(
        f"Which {x} goes with which {y}?",
        f"Predicted {word} near {' '.join(places)}: {_title(tables, objective)} {value}.",
    )


def _importance(tables: Tables, spec: FigureSpec) -> Heading:
    trials = _trials(tables)[1] if len(tables.trials) else None
    y = tables.columns.objective.metric if trials and trials.pauses else spec.y
    return Heading(f"Which hyper-parameters does {_title(tables, y)} depend on?")


def _gap(tables: Tables, spec: FigureSpec) -> Heading:
    family = spec.y or tables.columns.objective.family
    question, names = "Which settings over-fit?", [f"train_{family}", f"val_{family}"]
    if tested := [name for name in (f"tested_train_{family}", f"tested_val_{family}") if name in tables.summary]:
        names = tested if len(tested) == 2 and tables.summary[tested].notna().all(axis=None) else names
    if not set(names) <= {*tables.summary}:
        return Heading(question)
    means = tables.summary.groupby("label")[names].mean()
    gap = (means[names[0]] - means[names[1]]).abs().dropna()
    if len(gap) < 2 or not np.isfinite(gap).all():
        return Heading(question)
    found = [
        f"{label} ({tables.columns.text(names[1], gap[label], digits=3)})" for label in (gap.idxmax(), gap.idxmin())
    ]
    return Heading(question, f"Training and validation differ most with {found[0]}, least with {found[1]}.")


def _speed(tables: Tables, spec: FigureSpec) -> Heading:
    question = f"What does {spec.x} change in speed and in {_title(tables, tables.columns.objective.report)}?"
    if "samples_per_second" not in tables.summary:
        return Heading(_begun(question))
    speeds = tables.summary.groupby(spec.x, dropna=False)["samples_per_second"].mean().dropna()
    if len(speeds) < 2 or not speeds.min() > 0:
        return Heading(_begun(question))
    fast, slow = (f"{spec.x}={format_value(value)}" for value in (speeds.idxmax(), speeds.idxmin()))
    times = f"{speeds.max() / speeds.min():.2g}"
    return Heading(_begun(question), f"{fast} trains {float(times):g} times as many images per second as {slow}.")


def _gradients(tables: Tables, spec: FigureSpec) -> Heading:
    question = "Do gradients reach the first layer?"
    if tables.gradients.empty:
        return Heading(question)
    first = tables.gradients[(tables.gradients["epoch"] == 1) & (tables.gradients["gradient"] > 0)]
    first = first.merge(tables.summary[["hash", "label"]], on="hash")
    means = np.exp(np.log(first["gradient"]).groupby([first["label"], first["layer"]]).mean())
    if means.empty:
        return Heading(question)
    by_label = means.groupby("label")
    ratio = by_label.first() / by_label.last()
    if len(ratio) < 2:
        return Heading(question)
    worst = ratio.idxmin()
    return Heading(
        question, f"Least with {worst}: at first its gradient is {ratio[worst]:.1g} times that of the last layer."
    )


def _confusion(tables: Tables, spec: FigureSpec) -> Heading:
    wrong = tables.confusion[tables.confusion["true"] != tables.confusion["predicted"]]
    if wrong.empty or not wrong["count"].max() > 0:
        return Heading("Which classes are confused?")
    most = wrong.loc[wrong["count"].idxmax()]
    of = tables.confusion.loc[tables.confusion["true"] == most["true"], "count"].sum()
    return Heading(
        "Which classes are confused?",
        f"Most often {most['true']}, taken for {most['predicted']}: {most['count']} of its {of} test images.",
    )


def _classes(tables: Tables, spec: FigureSpec) -> Heading:
    question, scores = "Which classes does it get wrong?", tables.classes.dropna(subset=["f1"])
    if len(scores) < 2:
        return Heading(question)
    ends = (scores.loc[scores["f1"].idxmin()], scores.loc[scores["f1"].idxmax()])
    worst, best = (f"class {one['class']:.0f} (F1 {one['f1']:.3f})" for one in ends)
    found = f"Worst: {worst}; best: {best}. Mean F1 over the classes: {scores['f1'].mean():.3f}."
    n = tables.classes["n"]
    if len(n) > MANY_CLASSES and tables.classes.loc[n > 0, "top5"].notna().all():
        found += f" Top-5 accuracy: {(tables.classes['top5'] * n).sum() / n.sum():.3f}."
    return Heading(question, found)


def _calibration(tables: Tables, spec: FigureSpec) -> Heading:
    question, bins = "Can its probabilities be trusted?", tables.calibration
    if bins.empty:
        return Heading(question)
    sure, right = (float(np.average(bins[name], weights=bins["n"])) for name in ("confidence", "accuracy"))
    way = "under" if sure < right else "over"
    return Heading(
        question, f"Mean confidence {sure:.3f}, accuracy {right:.3f}: {way}-confident by {abs(sure - right):.3f}."
    )


def _mistakes(tables: Tables, spec: FigureSpec) -> Heading:
    question, found = "What does it get wrong, and is sure of?", tables.mistakes
    if found.empty:
        return Heading(question)
    worst = found.iloc[0]
    return Heading(
        question,
        f"Surest: class {worst['true']:.0f}, taken for {worst['predicted']:.0f} with probability"
        f" {worst['probability']:.3f}.",
    )


_HEADINGS: dict[str, Callable[[Tables, FigureSpec], Heading]] = {
    **dict.fromkeys(("bars", "points", "box", "strip", "violin", "line"), _settings),
    "heatmap": _heatmap,
    "curves": _curves,
    "budget": _budget,
    "scatter": _scatter,
    "parallel": _parallel,
    "importance": _importance,
    "history": _history,
    "rungs": _rungs,
    "slices": _slices,
    "tuning": _tuning,
    "contour": _contour,
    "gap": _gap,
    "speed": _speed,
    "gradients": _gradients,
    "confusion": _confusion,
    "classes": _classes,
    "calibration": _calibration,
    "mistakes": _mistakes,
}
