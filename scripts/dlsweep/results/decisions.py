"""What an experiment decides: the best setting, what cannot be told apart from it, what never learned, what to do next.

Leaderboard, captions, page and terminal all say what is found here, in words first; the numbers are those of the
leaderboard.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dlsweep.config.axes import Dimension
from dlsweep.config.dotted import value_of
from dlsweep.config.hyperparameters import Hyperparameter
from dlsweep.config.identity import Setting
from dlsweep.config.labels import format_value
from dlsweep.config.plan import Plan
from dlsweep.config.replicates import without_replicates
from dlsweep.results.columns import Columns
from dlsweep.results.leaderboard import by_repetition, compare_settings
from dlsweep.results.splits import Splits
from dlsweep.results.statistics import (
    FEWEST_RUNS,
    MOST_SEEDS,
    ONE_RUN,
    PAIRED,
    SIGNIFICANT,
    seeds_needed,
)

BEST, TIED, WORSE, BETTER = "best", "tied", "worse", "better"
UNTESTED, DIVERGED = "untested", "diverged"

FEWEST_VALUES = 3  # of a hyper-parameter that has an edge worth a note: one of two values is always at one
NEAR = 0.1  # of a range: a search that finds its best so close to an end may find better ones beyond it
MOST_STEPS = 4  # that the tried values are taken for, where the next one is proposed
DIGITS = 3  # of a number in a sentence
NAMED = 2  # settings that a sentence names before it only counts


@dataclass(frozen=True)
class Place:
    """One setting, its seeds together.

    `verdict` compares it with the best, the setting that validation chose: TIED cannot be told apart from it, WORSE and
    BETTER are clearly so, UNTESTED had no test (`test` says why), DIVERGED has only runs that diverged. `learned` is
    False where no run is better than a constant prediction, None where the records do not tell. `selected` is the mean
    over all `n_runs` of what settings are selected by; mean, interval and difference from the best are of what they are
    reported by, over the `n` runs that have it. `p_value` is the leaderboard's `p_holm`: like the interval it is about
    other seeds. `p_images` and the interval from `images_low` to `images_high` are about other test images. What is
    unknown is NaN.
    """

    label: str
    verdict: str
    learned: bool | None
    n: int
    n_runs: int
    n_diverged: int
    selected: float
    mean: float
    low: float
    high: float
    difference: float
    p_value: float
    test: str
    p_images: float = math.nan
    images_low: float = math.nan
    images_high: float = math.nan


@dataclass(frozen=True)
class Seeds:
    """How many seeds each of the first two needs to be told apart, of which there are `have`.

    `paired` where both have the same seeds, else `unpaired`; None: more than MOST_SEEDS, or nothing to tell it from.
    """

    have: int
    paired: int | None
    unpaired: int | None
    are_paired: bool

    @property
    def needed(self) -> int | None:
        """The number for the seeds as they are."""
        return self.paired if self.are_paired else self.unpaired


@dataclass(frozen=True)
class Edge:
    """The best setting has the smallest or the largest value of a hyper-parameter: `at` says which.

    `beyond` is the value to try next.
    """

    key: str
    value: float
    at: str
    beyond: float = field(default=math.nan, compare=False)


@dataclass(frozen=True)
class Decision:
    """What one experiment's finished runs say; `places` are its settings in the order of the leaderboard."""

    known: Columns
    places: tuple[Place, ...]
    n_runs: int
    n_diverged: int
    seeds: Seeds | None = None
    edges: tuple[Edge, ...] = ()
    test_order: str = ""
    n_images: int = 0
    """Test images of the best setting, of which its runs' predictions are kept."""
    tuning: tuple[Mapping[str, Any], ...] = ()
    """How each was tuned before, of an experiment with `compare`: the rows of its table."""
    n_left_out: int = 0
    """Runs of a search that did not start, since its hours are spent."""
    most_runs: int = 0
    """Of a race over seeds, how many runs it would have had if nothing could be told apart."""

    @property
    def best(self) -> Place | None:
        """The setting that validation chose; None where no run is finished, or every run diverged."""
        return next((place for place in self.places if place.verdict == BEST), None)

    def of(self, verdict: str) -> list[Place]:
        """Return the settings of a verdict."""
        return [place for place in self.places if place.verdict == verdict]

    @property
    def tied(self) -> list[Place]:
        """The settings that cannot be told apart from the best."""
        return self.of(TIED)

    @property
    def worse(self) -> list[Place]:
        """The settings that are clearly worse than the best."""
        return self.of(WORSE)

    @property
    def better(self) -> list[Place]:
        """The settings that are clearly better, as reported, than what validation chose."""
        return self.of(BETTER)

    @property
    def untested(self) -> list[Place]:
        """The settings that cannot be compared with the best."""
        return self.of(UNTESTED)

    @property
    def diverged(self) -> list[Place]:
        """The settings of which every run diverged."""
        return self.of(DIVERGED)

    @property
    def never_learned(self) -> list[Place]:
        """The settings that ended, but no better than a constant prediction."""
        return [place for place in self.places if place.learned is False]

    @property
    def notes(self) -> list[str]:
        """What to know beside the answer: where to go on, and what its uncertainty leaves out."""
        return [*_tuned_edges(self), *_edge_notes(self), *_order_note(self), *_interval_note(self)]


# -- deciding ------------------------------------------------------------------------------------------------------


def decisions(
    plan: Plan,
    summary: pd.DataFrame,
    board: pd.DataFrame,
    known: Mapping[str, Columns],
    tuning: pd.DataFrame | None = None,
) -> dict[str, Decision]:
    """Return what each experiment of a plan decides, in the plan's order, from the summary of its finished runs.

    `board` is their leaderboard, `known` are the columns of each as its runs have them, `tuning` says how what is
    compared was tuned.
    """

    def of(table: pd.DataFrame, exp_name: str) -> pd.DataFrame:
        return table[table["exp_name"] == exp_name]

    decided = {
        exp_name: replace(
            decide(of(summary, exp_name), known[exp_name], experiment.varies, of(board, exp_name)),
            most_runs=experiment.most_runs,
            n_left_out=experiment.search.left_out(Path(plan.results)) if experiment.search else 0,
        )
        for exp_name, experiment in plan.experiments.items()
    }
    if tuning is None:
        return decided
    return {
        exp_name: replace(one, tuning=tuple(of(tuning, exp_name).to_dict("records")))
        for exp_name, one in decided.items()
    }


def decide(
    part: pd.DataFrame,
    known: Columns,
    varies: Mapping[str, list[Any]] | None = None,
    board: pd.DataFrame | None = None,
) -> Decision:
    """Return what one experiment's part of the summary decides; `varies` are the values that its config names.

    `board` is its part of the leaderboard, where that is made already.

    The best is the setting that validation chose, and every other one is compared with it by the metric that is
    reported: `compare_with_first`, corrected by Holm's method. So the settings that are not clearly worse hold the
    truly best one with 95 % confidence: the subset selection of Gupta (1965, Technometrics 7), which Hsu (1981, Annals
    of Statistics 9) calls multiple comparisons with the best. Their and Dunnett's (1955) critical values pool the
    spread of all settings, which differs widely in a sweep; the tests here do not (docs/reference/methods.md).
    """
    n_diverged = int((part["status"] == "diverged").sum())
    if part.empty:
        return Decision(known, (), 0, 0)
    board = compare_settings(part, known) if board is None else board
    places = tuple(_places(part, known, board))
    found = Decision(known, places, len(part), n_diverged)
    if found.best is None:
        return found
    return Decision(
        known,
        places,
        len(part),
        n_diverged,
        _seeds_for_the_first_two(part, known, places),
        tuple(edges_of(part, known, found.best.label, varies or {})),
        _other_first(found),
        _n_images(board),
    )


def _n_images(board: pd.DataFrame) -> int:
    """The test images that the best setting's predictions are of."""
    if "n_images" not in board:
        return 0
    return int(board["n_images"].fillna(0).iat[0])


def _places(part: pd.DataFrame, known: Columns, board: pd.DataFrame) -> Iterator[Place]:
    report = known.objective.report
    by_label = part.groupby("label")["learned"] if "learned" in part else ()
    learned = {label: _learned(values) for label, values in by_label}  # agg would make NumPy's False of False
    for row in board.to_dict("records"):
        all_diverged = row["n_diverged"] == row["n"]
        yield Place(
            label=row["label"],
            verdict=_verdict(all_diverged, row["rank"], row["p_holm"], row["difference"], known.reported_better),
            learned=None if all_diverged else learned.get(row["label"]),
            n=row["n_tested"],
            n_runs=row["n"],
            n_diverged=row["n_diverged"],
            selected=row[known.ranked],
            mean=row[report],
            low=row[f"{report}_low"],
            high=row[f"{report}_high"],
            difference=row["difference"],
            p_value=row["p_holm"],
            test=row["test"] if isinstance(row["test"], str) else "",
            **{name: row[name] for name in ("p_images", "images_low", "images_high") if name in row},
        )


def _verdict(all_diverged: bool, rank: int, p_value: float, difference: float, better: str) -> str:
    if all_diverged:
        return DIVERGED
    if rank == 1:
        return BEST
    if math.isnan(p_value):
        return UNTESTED
    if p_value >= SIGNIFICANT:
        return TIED
    return BETTER if (difference > 0) == (better == "max") else WORSE


def _learned(values: pd.Series) -> bool | None:
    """Of the runs of a setting: False where none has learned, None where that is known of none."""
    known = [bool(value) for value in values.dropna()]
    return any(known) if known else None


def _seeds_for_the_first_two(part: pd.DataFrame, known: Columns, places: tuple[Place, ...]) -> Seeds | None:
    """How many seeds would tell the first two apart, by the same test; None where they are, or nothing can be told."""
    if len(places) < 2 or places[1].verdict != TIED or known.splits.keys:
        return None  # more splits of the same data help only so far
    # Where the others are clearly worse, Holm's method tests those that are left at this level.
    level = SIGNIFICANT / sum(place.verdict == TIED for place in places)
    values = by_repetition(part, known.objective.report, [place.label for place in places[:2]])
    both = values[np.isfinite(values).all(axis=1)]
    are_paired = places[1].test == PAIRED
    difference, have = abs(places[1].difference), min(places[0].n, places[1].n)
    sds = np.nanstd(values, axis=0, ddof=1)
    paired = seeds_needed(difference, float(np.std(both[:, 1] - both[:, 0], ddof=1)), level) if are_paired else None
    unpaired = seeds_needed(difference, float(np.sqrt(np.mean(sds**2))), level, paired=False)

    def more(needed: int | None) -> int | None:
        # The test has just been made with those that there are: by luck it can miss what it has the power for.
        return needed if needed is None else max(needed, have + 1)

    return Seeds(have, more(paired), more(unpaired), are_paired)


def edges_of(part: pd.DataFrame, known: Columns, best: str, varies: Mapping[str, list[Any]]) -> Iterator[Edge]:
    """Yield what the best setting, by its label, has at the edge of what was tried, and could have beyond it.

    The values are compared among the settings that are like the best in all that is not a number.
    """
    keys = [key for key in without_replicates(varies) if key in part and not key.endswith("seed")]
    row = part[part["label"] == best].iloc[0]
    numbers = {key: pd.to_numeric(part[key], errors="coerce") for key in keys if _is_number(row[key])}
    alike = pd.Series(True, part.index)
    for key in keys:
        if key not in numbers:
            alike &= (part[key] == row[key]) | (part[key].isna() & pd.isna(row[key]))
    for key, values in numbers.items():
        tried = sorted(values[alike].dropna().unique())
        if len(tried) < FEWEST_VALUES:
            continue
        hyper, value = known.hyperparameters.get(key), float(row[key])
        beyond_all = part.loc[alike, key].astype(str).isin(hyper.choices).any() if hyper else False  # full: no number
        if value == tried[0] and (hyper is None or hyper.low is None or value > hyper.low):
            yield Edge(key, value, "smallest", _next_value(tried[::-1], hyper))
        elif value == tried[-1] and not beyond_all and (hyper is None or hyper.high is None or value < hyper.high):
            yield Edge(key, value, "largest", _next_value(tried, hyper))


def edges_of_ranges(
    setting: Setting, settings: Iterable[Setting], ranges: Mapping[str, Dimension], known: Columns
) -> Iterator[Edge]:
    """Yield what a setting has near an end of the ranges that were searched, and could have beyond it.

    It is near in the first or last tenth, and, where nothing beyond it is among the settings that were tried, fifth.
    """
    for key, dimension in ranges.items():
        value, hyper = value_of(setting, key), known.hyperparameters.get(key)
        if not _is_number(value) or not all(map(_is_number, dimension.values)):
            continue
        spread = np.geomspace if dimension.log else np.linspace
        tried = sorted({*dimension.values}) or spread(dimension.low, dimension.high, MOST_STEPS + 1).tolist()
        low, high, at = np.log([tried[0], tried[-1], value]) if dimension.log else (tried[0], tried[-1], value)
        if len(tried) < FEWEST_VALUES or low == high:
            continue
        position = (at - low) / (high - low)
        values = sorted({value_of(one, key) for one in settings if _is_number(value_of(one, key))})
        is_last = len(values) >= FEWEST_VALUES and value == values[0 if position < 0.5 else -1]
        is_edge = position in (0, 1) if dimension.values else min(position, 1 - position) <= NEAR * (1 + is_last)
        limit = None if hyper is None else hyper.low if position < 0.5 else hyper.high
        if is_edge and tried[0 if position < 0.5 else -1] != limit:
            beyond = _next_value(tried[::-1] if position < 0.5 else tried, hyper)
            yield Edge(key, value, "smallest" if position < 0.5 else "largest", beyond)


def _next_value(tried: list[float], hyper: Hyperparameter | None) -> float:
    """The value after the last of those that were tried, as far from it as these are from each other."""
    values = np.asarray(tried, float)
    steps = min(len(values) - 1, MOST_STEPS)  # random values are not a grid
    gaps, ratios = np.diff(values), np.abs(np.diff(np.log(values))) if (values > 0).all() else None
    found = values[-1] + (values[-1] - values[0]) / steps
    if ratios is not None and ratios.std() / ratios.mean() <= np.abs(gaps.std() / gaps.mean()):
        found = values[-1] * (values[-1] / values[0]) ** (1 / steps)
    if hyper is None:
        return float(f"{found:.2g}")
    low, high = (end if end is not None else other for end, other in ((hyper.low, -math.inf), (hyper.high, math.inf)))
    if found <= low and hyper.open_low:
        found = (low + values[-1]) / 2
    found = min(max(found, low), high)
    return float(round(found)) if hyper.type is int else float(f"{found:.2g}")


def _is_number(value: Any) -> bool:
    if isinstance(value, (bool, np.bool_)):
        return False
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def _other_first(decision: Decision) -> str:
    """The setting that is first by what is reported, where that is not the one that validation chose."""
    known = decision.known
    tested = [place for place in decision.places if place.verdict != DIVERGED and not math.isnan(place.mean)]
    if not tested or decision.best is None or math.isnan(decision.best.mean):
        return ""
    sign = 1 if known.reported_better == "max" else -1
    first = max(tested, key=lambda place: sign * place.mean)
    return first.label if sign * (first.mean - decision.best.mean) > 0 else ""


def findings(plan: Plan, decided: Mapping[str, Decision]) -> dict[str, Any]:
    """Return what is decided, ready for JSON, for those who load no pandas."""
    return {
        "plan": plan.digest,
        "experiments": {
            exp_name: {
                "question": plan.experiments[exp_name].question,
                "finding": " ".join(_in_short(decision)),
                "sentences": sentences(decision),
                "planned": len(plan.experiments[exp_name].settings),
                "runs": decision.n_runs,
                "diverged": decision.n_diverged,
            }
            for exp_name, decision in decided.items()
        },
    }


# -- in words ------------------------------------------------------------------------------------------------------


def paragraphs(question: str, decision: Decision) -> list[str]:
    """Return the question of an experiment, where it has one, and its answer."""
    return [*([question] if question else []), " ".join(sentences(decision))]


def sentences(decision: Decision) -> list[str]:
    """Return what an experiment decides in plain words, the most important first."""
    return [
        *_first(decision),
        *_tuned_in_words(decision),
        *_raced_in_words(decision),
        *_left_out_in_words(decision),
        *_others_in_words(decision),
        *_diverged_in_words(decision),
        *_seeds_in_words(decision),
        *decision.notes,
    ]


def comparisons(decision: Decision) -> list[str]:
    """Return how the other settings compare with the best, in sentences."""
    return [*_others_in_words(decision), *_seeds_in_words(decision)]


def _others_in_words(decision: Decision) -> list[str]:
    if decision.best is None:
        return []
    return [
        *_compared_in_words(decision),
        *([f"Clearly worse: {_these(decision.worse, count=True)}."] if decision.worse else []),
        *_untested_in_words(decision),
        *_images_in_words(decision),
        *_learned_in_words(decision),
    ]


def _in_short(decision: Decision) -> list[str]:
    """The answer for one line of a terminal."""
    said = [*_first(decision)]
    if decision.best is not None:
        said += [*_compared_in_words(decision), *_learned_in_words(decision)]
    return [*said, *_missing_in_words(decision), *_tuned_edges(decision)]


def _first(decision: Decision) -> list[str]:
    if decision.n_runs == 0:
        return ["No run is finished."]
    if decision.best is None:
        return [f"{_all(decision.n_runs, 'run')} diverged."]
    return [_best_in_words(decision, decision.best)]


def _tuned_in_words(decision: Decision) -> list[str]:
    """How much tuning each of what is compared got."""
    if not decision.tuning or decision.best is None:
        return []
    n_settings: dict[str, int] = {}
    for row in decision.tuning:
        n_settings[row["label"]] = max(n_settings.get(row["label"], 0), row["n_settings"])
    least, most = min(n_settings.values()), max(n_settings.values())
    n_runs, epochs = (sum(row[key] for row in decision.tuning) for key in ("n", "epochs"))
    spent = f"{n_runs} runs{f', {epochs} epochs' if epochs else ''}"
    splits = decision.known.splits
    by_itself = f"by itself, on each {splits.words[:-1]} separately," if splits.keys else "by itself"
    if most == 1:
        return [f"Nothing was tuned: each had one setting alone ({spent})."]
    if least == most:
        how = f"the best of {most} settings by {decision.known.by}"
    elif len(n_settings) <= MOST_STEPS:
        of_each = (f"{label} with {n} setting{'s' if n > 1 else ''}" for label, n in n_settings.items())
        how = f"by {decision.known.by}: {', '.join(of_each)}"
    else:
        how = f"the best of {least} to {most} settings by {decision.known.by}"
    lost = dict.fromkeys(row["label"] for row in decision.tuning if row["chosen"] and pd.isna(row["selected"]))
    return [
        f"Each was tuned {by_itself} with other seeds, {how} ({spent}).",
        *(f"No setting that {label} was tuned with gave a result, so the first is reported." for label in lost),
        *_missing_in_words(decision),
    ]


def _missing_in_words(decision: Decision) -> Iterator[str]:
    """Which runs that were to report have no record: no mean may leave them out unsaid."""
    n_missing: Counter[str] = Counter()
    for row in decision.tuning:
        n_missing[row["label"]] += row["n_missing"]
    there = {place.label for place in decision.places}
    for label, n in n_missing.items():
        if n:
            what = "its mean is that of the others" if label in there else "it has no place"
            yield f"{n} run{'s' if n > 1 else ''} of {label} {'were' if n > 1 else 'was'} given up: {what}."


def _raced_in_words(decision: Decision) -> list[str]:
    """How many runs a race over seeds has saved."""
    if not decision.most_runs or decision.best is None:
        return []
    return [f"A race over seeds: {decision.n_runs} of {decision.most_runs} runs were needed."]


def _left_out_in_words(decision: Decision) -> list[str]:
    if not decision.n_left_out:
        return []
    runs = "1 run was" if decision.n_left_out == 1 else f"{decision.n_left_out} runs were"
    return [f"{runs} left out, since the hours of the search are spent (max_hours)."]


def _tuned_edges(decision: Decision) -> list[str]:
    """Where what was chosen lies on the edge of what was tuned: then more tuning may change the answer."""
    n_splits = Counter(row["label"] for row in decision.tuning)
    n_on_edge = Counter(
        (row["label"], row["edge"]) for row in decision.tuning if isinstance(row["edge"], str) and row["edge"]
    )
    names: dict[str, list[str]] = {}
    for (label, edge), n in n_on_edge.items():
        some = f", on {n} of {n_splits[label]} {decision.known.splits.words}," if n < n_splits[label] else ""
        names.setdefault(edge, []).append(f"{label}{some}")
    found = []
    for edge, of in names.items():
        what = f"{len(of)} of the {len(n_splits)} that are compared" if len(of) > NAMED else " and of ".join(of)
        found.append(
            f"The best of {what} lie{'s' if len(of) == 1 else ''} on the edge of what was tuned: {edge} to tune."
        )
    return found


def _compared_in_words(decision: Decision) -> list[str]:
    better = decision.better
    if len(better) == 1:
        return [f"{_these(better)} is clearly better on test.", *_tied_in_words(decision)]
    return [*([f"Clearly better on test: {_these(better)}."] if better else []), *_tied_in_words(decision)]


def _best_in_words(decision: Decision, best: Place) -> str:
    what = f"Best: {best.label}" if len(decision.places) > 1 else "One setting"
    report, selected = decision.known.objective.report, decision.known.objective.selected
    if math.isnan(best.mean):
        value = decision.known.text(selected, best.selected, digits=DIGITS)
        return f"{what}, {decision.known.metric_title(selected)} {value}; no run of it was tested."
    value = decision.known.text(report, best.mean, best.low, best.high, DIGITS)
    return f"{what}, {decision.known.metric_title(report)} {value}."


def _tied_in_words(decision: Decision) -> list[str]:
    others = len(decision.places) - 1 - len(decision.diverged)
    if not decision.tied:
        is_all = others and len(decision.worse) == others
        return ["It is clearly better than every other setting."] if is_all and others > 1 else []
    if len(decision.tied) == others and others > 1:
        return [f"None of the {others} other settings can be told apart from it."]
    return [f"Cannot be told apart from {_these(decision.tied)}."]


def _untested_in_words(decision: Decision) -> list[str]:
    if not decision.untested:
        return []
    if _has_one_run_each(decision):
        if _compared_over_images(decision):
            return ["One run of each setting says nothing of other seeds: use several."]
        return ["With one run of each setting, chance cannot be told from a difference: use several seeds."]
    why = "; ".join(dict.fromkeys(place.test for place in decision.untested))
    return [f"Not tested: {_these(decision.untested, count=True)} ({why})."]


def _has_one_run_each(decision: Decision) -> bool:
    return all(place.n < 2 for place in decision.places) and all(place.test == ONE_RUN for place in decision.untested)


def _compared_over_images(decision: Decision) -> list[Place]:
    return [place for place in decision.places if not math.isnan(place.p_images)]


def _images_in_words(decision: Decision) -> list[str]:
    """What the test over test images says where the one over seeds cannot, or says something else."""
    compared, over = _compared_over_images(decision), f"Over the {decision.n_images} test images"
    if not compared:
        return []
    worse = [place for place in compared if place.p_images < SIGNIFICANT and place.difference < 0]
    better = [place for place in compared if place.p_images < SIGNIFICANT and place.difference > 0]
    if _has_one_run_each(decision):
        alike = [place for place in compared if place not in worse and place not in better]
        found = [
            *([f"clearly worse: {_these(worse, count=True)}"] if worse else []),
            *([f"clearly better: {_these(better, count=True)}"] if better else []),
            *([f"cannot be told apart: {_these(alike, count=True)}"] if alike else []),
        ]
        return [f"{over}, as trained, {'; '.join(found)}."]
    # What is told by seeds and over images is clear, and what by neither is not.
    seen = [place for place in worse if place.verdict in (TIED, UNTESTED)]
    turned = [place for place in better if place.verdict in (TIED, UNTESTED)]
    unsure = [place for place in decision.worse if place.p_images >= SIGNIFICANT]
    found = [
        *([f"{_these(seen)} {_are(seen)} clearly worse; only other seeds could change that"] if seen else []),
        *([f"{_these(turned)} {_are(turned)} clearly better; only other seeds could change that"] if turned else []),
        *([f"the difference of {_these(unsure)} could be chance"] if unsure else []),
    ]
    return [f"{over}, {sentence}." for sentence in found] or [
        f"A test over the {decision.n_images} test images agrees."
    ]


def _are(places: list[Place]) -> str:
    return "is" if len(places) == 1 else "are"


def _learned_in_words(decision: Decision) -> list[str]:
    dull, n = decision.never_learned, len(decision.places)
    if not dull:
        return []
    if len(dull) + len(decision.diverged) == n:
        return ["No setting learned: none is better than a constant prediction."]
    return [f"{len(dull)} of {n} settings never learned."]


def _diverged_in_words(decision: Decision) -> list[str]:
    if not decision.n_diverged or decision.best is None:
        return []
    n = len(decision.places)
    runs = f"{decision.n_diverged} of {decision.n_runs} runs diverged"
    gone = len(decision.diverged)
    return [f"{gone} of {n} settings diverged in every run; {runs}." if gone else f"{runs}."]


def _seeds_in_words(decision: Decision) -> list[str]:
    seeds = decision.seeds
    if seeds is None:
        return []
    if seeds.needed is None:
        return [f"More than {MOST_SEEDS} seeds would be needed to tell the first two apart."]
    more = seeds.needed - seeds.have
    return [f"About {more} more {'seed' if more == 1 else 'seeds'} would settle the first two."]


def _edge_notes(decision: Decision) -> list[str]:
    if not decision.edges:
        return []
    ways = {"smallest": "smaller", "largest": "larger"}
    found = [f"{edge.key}={format_value(edge.value)} is the {edge.at} that was tried" for edge in decision.edges]
    further = " and ".join(
        f"a {ways[edge.at]} {edge.key}, such as {format_value(edge.beyond)}," for edge in decision.edges
    )
    return [f"The best lies on the edge: {' and '.join(found)}; {further} may be better still."]


def _order_note(decision: Decision) -> list[str]:
    if not decision.test_order:
        return []
    return [f"By test alone {decision.test_order} would be first, but test results choose nothing."]


def _interval_note(decision: Decision) -> list[str]:
    """Which uncertainty the numbers cover."""
    best, known = decision.best, decision.known
    if best is None or math.isnan(best.mean):
        return []
    splits = known.splits
    if splits.keys and splits.overlap != 0:
        return [_splits_in_words(splits)]
    covered = _covered(splits, "training and validation data") if splits.keys else "the seeds"
    over_seeds = f"Intervals and tests cover {covered}" if best.n >= FEWEST_RUNS else ""
    if decision.n_images:
        low, high = (
            known.text(known.objective.report, end, digits=DIGITS) for end in (best.images_low, best.images_high)
        )
        images = f"with other test images the best may have {low} to {high} ({decision.n_images} images)"
        said = [f"{over_seeds}; {images}." if over_seeds else f"{images[0].upper()}{images[1:]}."]
        lacking = [place for place in decision.places if place.n and place is not best and math.isnan(place.p_images)]
        if lacking:
            said.append(f"Not compared over images, as predictions of them are missing: {_these(lacking, count=True)}.")
        return said
    if not over_seeds:
        return []
    why = ": no predictions of its runs are kept" if known.counts_images else ""
    return [f"{over_seeds}, not the choice of test data{why}."]


def _covered(splits: Splits, data: str) -> str:
    return f"{'the seeds and ' if splits.covers_seeds else ''}the choice of {data}"


def _splits_in_words(splits: Splits) -> str:
    covered = f"cover {_covered(splits, 'training and test data')}{'' if splits.covers_seeds else ', not the seeds'}"
    if splits.overlap is None:
        return f"Intervals and tests {covered}, but are too certain: how far the splits overlap is not known."
    return f"Intervals and tests are over {splits.words}, corrected for what these share: they {covered}."


def _these(places: list[Place], count: bool = False) -> str:
    """The first settings by name, then how many more; with `count` only how many, where there are more than NAMED."""
    if len(places) <= NAMED:
        return " and ".join(place.label for place in places)
    return f"{len(places)}" if count else f"{places[0].label} and {len(places) - 1} more"


def _all(n: int, noun: str) -> str:
    return f"The only {noun}" if n == 1 else f"All {n} {noun}s"
