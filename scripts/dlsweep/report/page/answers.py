"""What an experiment has found, for a reader who has a minute: its question, the answer, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dlsweep.config.labels import is_grid
from dlsweep.config.names import listed
from dlsweep.config.plan import PlannedExperiment
from dlsweep.config.replicates import without_replicates
from dlsweep.results.columns import Columns
from dlsweep.results.decisions import BEST, BETTER, DIVERGED, TIED, UNTESTED, WORSE, Decision, Place, sentences

VERDICTS = {
    BEST: "best",
    TIED: "cannot be told apart",
    BETTER: "clearly better on test",
    WORSE: "clearly worse",
    UNTESTED: "not compared",
    DIVERGED: "every run diverged",
}
"""A setting beside the best one, in words."""

SHOWN = 8
"""Settings whose intervals stand beside the answer, the best first."""


@dataclass(frozen=True)
class Share:
    """How many settings have one verdict, for the bar that shows how sure the answer is."""

    verdict: str
    words: str
    n: int


@dataclass(frozen=True)
class Mark:
    """A setting's mean and interval, and where they lie on the scale of those beside it, from 0 to 100."""

    place: Place
    at: float
    low: float
    high: float
    is_off: bool
    """Whether the mean lies beyond the scale, so that its end stands for it."""


@dataclass(frozen=True)
class Answer:
    """One experiment on the first screen."""

    name: str
    question: str
    decision: Decision
    headline: str
    certain: list[str]
    """How sure that is, in sentences."""
    notes: list[str]
    """What to know beside it."""
    shares: list[Share]
    marks: list[Mark]
    ends: list[str]
    """Of the scale that the marks are on."""

    @property
    def measure(self) -> str:
        """What is reported, as a reader says it."""
        return self.decision.known.metric_title(self.decision.known.objective.report)

    @property
    def selected(self) -> str:
        """What settings are chosen by, as a reader says it."""
        return self.decision.known.metric_title(self.decision.known.objective.metric)

    @property
    def is_apart(self) -> bool:
        """Whether what is reported has chosen nothing."""
        return self.decision.known.objective.report != self.decision.known.objective.metric

    @property
    def certainty(self) -> str:
        """How sure the best setting is, in a few words."""
        others = [share for share in self.shares if share.verdict != "best"]
        if not others:
            return "nothing to compare it with"
        return "; ".join(f"{share.n} {share.words}" for share in others)

    @property
    def best(self) -> str:
        """The best setting's value with its interval; empty where there is none."""
        return self.reported(self.decision.best, digits=3) if self.decision.best else ""

    def reported(self, place: Place, digits: int = 4, interval: bool = True) -> str:
        """What a setting is reported by."""
        low, high = (place.low, place.high) if interval else (None, None)
        return self.decision.known.text(self.decision.known.objective.report, place.mean, low, high, digits)

    def chosen(self, place: Place) -> str:
        """What a setting is chosen by."""
        return self.decision.known.text(self.decision.known.objective.selected, place.selected)


def answer(exp_name: str, experiment: PlannedExperiment, decision: Decision) -> Answer:
    """Return what one experiment has found."""
    headline, *others = sentences(decision)
    certain = [sentence for sentence in others if sentence not in decision.notes]
    notes = [sentence for sentence in others if sentence in decision.notes]
    asked = question(experiment, decision.known)
    return Answer(exp_name, asked, decision, headline, certain, notes, _shares(decision), *_marks(decision))


def question(experiment: PlannedExperiment, known: Columns) -> str:
    """Return an experiment's question: the one its config asks, else one that follows from what varies."""
    if experiment.question:
        return experiment.question
    objective = experiment.objective
    measure = known.metric_title(objective.report)
    keys = without_replicates(experiment.varies)
    extreme = {"max": "the highest", "min": "the lowest"}.get(objective.better, "the best")
    if not keys:
        return f"Which {measure} does this setting reach?"
    if len(keys) == 1:
        return f"Which {keys[0]} gives {extreme} {measure}?"
    if not is_grid(experiment.settings, experiment.varies):
        return f"Which setting of {in_a_row(keys)} gives {extreme} {measure}?"
    return f"How do {in_a_row(keys)} change the {measure}?"


def in_a_row(words: Sequence[str], most: int = 4) -> str:
    """Return words as a sentence has them: a, b and c."""
    more = [f"{len(words) - most} more"] if len(words) > most else []
    return listed([*words[:most], *more])


def _shares(decision: Decision) -> list[Share]:
    """The settings by verdict, each counted once."""
    asleep = {place.label for place in decision.never_learned}
    counted = [
        (BEST, "best", decision.of(BEST)),
        (TIED, "cannot be told apart from it", [place for place in decision.tied if place.label not in asleep]),
        (BETTER, "clearly better on test", decision.better),
        (WORSE, "clearly worse", [place for place in decision.worse if place.label not in asleep]),
        (UNTESTED, "not compared", [place for place in decision.untested if place.label not in asleep]),
        ("asleep", "never learned", [place for place in decision.never_learned if place.verdict not in (BEST, BETTER)]),
        (DIVERGED, "diverged", decision.diverged),
    ]
    return [Share(verdict, words, len(places)) for verdict, words, places in counted if places]


def _marks(decision: Decision) -> tuple[list[Mark], list[str]]:
    """The first settings on one scale, which what is far off does not stretch; and the ends of the scale."""
    shown = [place for place in decision.places if math.isfinite(place.mean)][:SHOWN]
    if len(shown) < 2:
        return [], []
    ends = [(_or(place.low, place.mean), _or(place.high, place.mean)) for place in shown]
    near = ends[: max(3, 1 + len(decision.tied))]
    least, most = min(low for low, _ in near), max(high for _, high in near)
    margin = 0.08 * (most - least) or 1.0
    report = decision.known.objective.report
    lowest, highest = decision.known.metric(report).within
    least, most = max(least - margin, lowest), min(most + margin, highest)

    def scaled(value: float) -> float:
        return round(min(max(100 * (value - least) / (most - least), 0.0), 100.0), 2)

    beyond = ["≤ " if min(ends)[0] < least else "", "≥ " if max(high for _, high in ends) > most else ""]
    texts = [decision.known.text(report, value, digits=3) for value in (least, most)]
    marks = [
        Mark(place, scaled(place.mean), scaled(low), scaled(high), not least <= place.mean <= most)
        for place, (low, high) in zip(shown, ends, strict=True)
    ]
    return marks, [sign + text for sign, text in zip(beyond, texts, strict=True)]


def _or(value: float, otherwise: float) -> float:
    return value if math.isfinite(value) else otherwise
