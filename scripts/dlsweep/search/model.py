"""The points that a model of the results proposes, by Optuna's samplers: tpe, gp, cmaes.

Each round is asked for with a study of its own in memory, seeded by the search and the round, so it depends on the
results of earlier rounds alone: not on the order in which they came, nor on where a sampler was interrupted. That of
cmaes, which has a state, is led through all rounds again; that takes milliseconds.
"""

from __future__ import annotations

import contextlib
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlsweep.config.axes import Dimension, fraction
from dlsweep.config.files import Values
from dlsweep.errors import ConfigError
from dlsweep.search.history import Trial

if TYPE_CHECKING:
    import optuna

LEAST_SOURCE = 10  # trials: cmaes begins where their best tenth is, else in the middle
MOST_ASKED = 100  # times for one point, until it is one that is allowed and not tried yet


def propose(
    method: str,
    dimensions: Mapping[str, Dimension],
    seed: int,
    first: Sequence[Trial],
    rounds: Sequence[Sequence[Trial]],
    n: int,
    normal: Callable[[Values], Values],
    accept: Callable[[Values, bool], bool],
) -> list[Values]:
    """Return n points to try after `first`, which the config decided, and the `rounds` that were proposed since.

    `normal` gives a point the values that a setting has. `accept(point, is_last)` says whether it is taken; else
    another one is asked for, `is_last` where that is done no more. Raises ConfigError where none is taken.
    """
    with _quiet():
        asker = _Asker(dimensions, normal, accept)
        if method == "cmaes":
            return _by_cmaes(asker, seed, first, rounds, n)
        study = _study(_sampler(method, _seed(seed, len(rounds))))
        for trial in (*first, *(trial for one in rounds for trial in one)):
            study.add_trial(_told(trial, dimensions))
        return [asker.ask(study)[1] for _ in range(n)]


def _by_cmaes(
    asker: _Asker, seed: int, first: Sequence[Trial], rounds: Sequence[Sequence[Trial]], n: int
) -> list[Values]:
    """The evolution strategy begins where the points of the config were good, and goes through its rounds again."""
    import optuna

    source = [_told(trial, asker.dimensions) for trial in first if math.isfinite(trial.value)]
    good = source if len(source) >= LEAST_SOURCE else None
    study = _study(optuna.samplers.CmaEsSampler(seed=_seed(seed, 0), n_startup_trials=0, source_trials=good))
    for one in rounds:
        asked = [asker.ask(study) for _ in one]
        for (trial, point), known in zip(asked, one, strict=True):
            if point != known.point:
                raise ConfigError(
                    f"cmaes proposes {point} where this search had {known.point}; it began with another version of"
                    " optuna or cmaes than the one that is installed: install that one, or choose another seed"
                )
            study.tell(trial, min(known.value, sys.float_info.max))
    return [asker.ask(study)[1] for _ in range(n)]


@dataclass(frozen=True)
class _Asker:
    """Asks a study for points."""

    dimensions: Mapping[str, Dimension]
    normal: Callable[[Values], Values]
    accept: Callable[[Values, bool], bool]

    def ask(self, study: optuna.Study) -> tuple[optuna.trial.Trial, Values]:
        """Ask until a point is taken; those that are not count as failed, which teaches the sampler nothing."""
        import optuna

        for left in reversed(range(MOST_ASKED)):
            trial = study.ask({key: _distribution(dimension) for key, dimension in self.dimensions.items()})
            point = self.normal({key: _value(one, trial.params[key]) for key, one in self.dimensions.items()})
            if self.accept(point, left == 0):
                return trial, point
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        raise ConfigError(f"{MOST_ASKED} proposals on end are excluded")


def _sampler(method: str, seed: int) -> optuna.samplers.BaseSampler:
    import optuna

    if method == "gp":
        import torch

        torch.set_num_threads(1)  # the order of sums, and so the last bit, depends on it
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=0)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=0, multivariate=True)


def _study(sampler: optuna.samplers.BaseSampler) -> optuna.Study:
    import optuna

    return optuna.create_study(sampler=sampler)


def _told(trial: Trial, dimensions: Mapping[str, Dimension]) -> optuna.trial.FrozenTrial:
    import optuna

    return optuna.trial.create_trial(
        params={key: _param(dimension, trial.point[key]) for key, dimension in dimensions.items()},
        distributions={key: _distribution(dimension) for key, dimension in dimensions.items()},
        value=trial.value,
    )


def _distribution(dimension: Dimension) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if dimension.values:
        return CategoricalDistribution(list(range(len(dimension.values))))  # by number: lists are no category
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _param(dimension: Dimension, value: Any) -> Any:
    return dimension.values.index(value) if dimension.values else value


def _value(dimension: Dimension, param: Any) -> Any:
    if dimension.values:
        return dimension.values[param]
    return int(param) if dimension.whole else float(dimension.within(param))


def _seed(seed: int, number: int) -> int:
    """A seed of 32 bits for one round."""
    return int(fraction(f"{seed}/round {number}") * 2**32)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what Optuna says of each trial, and of what is experimental in it."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
