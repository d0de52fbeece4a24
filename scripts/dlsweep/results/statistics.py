"""What numbers of several runs say: which setting is best, the interval of a mean, whether a difference is real.

Tables, figures, captions, pages and live views all ask here, so that they say the same. numpy and scipy are loaded by
the functions that need them: `status` only ranks, and must start at once.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlsweep.config.metrics import Range

if TYPE_CHECKING:
    import numpy as np

CONFIDENCE = 0.95
FEWEST_RUNS = 3  # that have a confidence interval; that of two is 13 standard errors wide

# -- which setting is best -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Standing:
    """A setting's place: the mean over all its runs, in which a diverged run has the worst value."""

    label: str
    mean: float
    sd: float  # with n - 1; NaN for one run
    n: int
    n_diverged: int

    @property
    def all_diverged(self) -> bool:
        """Whether there is no run to judge the setting by."""
        return self.n_diverged == self.n


def _score(value: float | None, diverged: bool, better: str, within: Range) -> float:
    """Return what a run counts when settings are ranked: its value, or the worst possible one if it diverged.

    `better` is `max` or `min`. Without this rule a setting would be ranked by the runs that survived, or by a value
    from before the loss became NaN.
    """
    if diverged or value is None or not math.isfinite(value):
        return within[0] if better == "max" else within[1]
    return float(value)


def rank(runs: Iterable[tuple[str, float | None, bool]], better: str, within: Range) -> list[Standing]:
    """Return the settings of runs, the best first.

    `runs` are (label, value, diverged) each; `better` is `max` or `min`, `within` the metric's range. Settings are
    ordered by the mean over all their runs; those of which every run diverged come last. Where the means are equal, the
    setting with the smaller share of diverged runs is first, then the one that was named first.
    """
    scores: dict[str, list[float]] = {}
    n_diverged: dict[str, int] = {}
    for label, value, diverged in runs:
        scores.setdefault(label, []).append(_score(value, diverged, better, within))
        n_diverged[label] = n_diverged.get(label, 0) + bool(diverged)
    found = [Standing(label, *_mean_and_sd(of), len(of), n_diverged[label]) for label, of in scores.items()]
    sign = -1 if better == "max" else 1
    return sorted(found, key=lambda one: (one.all_diverged, sign * one.mean, one.n_diverged / one.n))


def _mean_and_sd(values: list[float]) -> tuple[float, float]:
    mean = math.fsum(values) / len(values)
    if len(values) < 2 or not math.isfinite(mean):
        return mean, math.nan
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


# -- the interval of a mean ----------------------------------------------------------------------------------------


def interval(
    mean: Any, sd: Any, n: Any, least: Any, most: Any, within: Range, overlap: Any = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the low and the high end of the 95 % confidence interval of a mean, for one group or for many at once.

    The arguments describe each group's values: mean, standard deviation (with n - 1), number, least and greatest;
    `within` is the metric's range. It is Student's t interval on the scale that has no bounds, brought back by the
    delta method: of log odds for a metric with two bounds, such as accuracy (method "xlogit" of `svyciprop` in R's
    `survey`; Korn & Graubard 1998, Survey Methodology 24), of logarithms for one with one bound, such as a loss or
    a time, and the scale as it is for one without. So no end leaves the range. Fewer than three values have no
    interval: of two the ends are the values themselves, of one or none NaN. Values that do not vary have no width.

    `overlap` is n_test / n_train where the values are of splits of the same data: these are not independent, so the
    variance of their mean is that of one times 1 / n + n_test / n_train (Nadeau & Bengio 2003, Machine Learning 52).

    Raises ValueError where a value is outside the range.
    """
    import numpy as np
    from scipy.special import stdtrit

    mean, sd, n, least, most = (np.asarray(values, float) for values in (mean, sd, n, least, most))
    bottom, top = within
    outside = (least < bottom) | (most > top)
    if outside.any():
        raise ValueError(f"{least[outside].min()} to {most[outside].max()} leaves the range, {bottom} to {top}")
    with np.errstate(all="ignore"):  # what is not finite is replaced below
        half = stdtrit(np.maximum(n - 1, 1), (1 + CONFIDENCE) / 2) * sd * np.sqrt(1 / n + overlap)
        above, below = mean - bottom, top - mean  # how far the bounds are
        if math.isfinite(bottom) and math.isfinite(top):
            factor = np.exp(half * (top - bottom) / (above * below))  # of the odds
            odds = above / below
            low, high = (bottom + (top - bottom) * o / (1 + o) for o in (odds / factor, odds * factor))
        elif math.isfinite(bottom):
            low, high = bottom + above * np.exp(-half / above), bottom + above * np.exp(half / above)
        elif math.isfinite(top):
            low, high = top - below * np.exp(half / below), top - below * np.exp(-half / below)
        else:
            low, high = mean - half, mean + half
    # Values that differ by less than a float can say have a mean at the bound: they do not vary either.
    point = (least == most) | (mean <= bottom) | (mean >= top)
    low, high = np.where(point, mean, low), np.where(point, mean, high)
    low, high = np.where(n < FEWEST_RUNS, least, low), np.where(n < FEWEST_RUNS, most, high)
    return np.where(n < 2, np.nan, low), np.where(n < 2, np.nan, high)


@dataclass(frozen=True)
class Means:
    """The mean of each mark's values and its interval; `n` counts what the interval is over."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: np.ndarray


def means(values: Any, marks: Any, settings: Any, within: Range, splits: Any = None, overlap: float = 0.0) -> Means:
    """Return the mean of the runs of each mark of a figure, with its `interval`.

    `values` has one number per run, NaN where there is none; `marks` numbers the mark that each run belongs to, from 0,
    and `settings` its setting. A mark of one setting has the interval over its runs. A mark that pools several has the
    interval over settings, by the standard error for clusters (Liang & Zeger 1986, Biometrika 73): the seeds of a
    setting are alike, and more of them tell nothing new of what lies between settings (Hurlbert 1984).

    `splits` numbers the split of the data of each run, where the runs of a setting differ in that: then the interval of
    one setting is over splits, in the same way, with their `overlap`.
    """
    import numpy as np

    values, marks, settings = np.asarray(values, float), np.asarray(marks, int), np.asarray(settings, int)
    n_marks, known = marks.max(initial=-1) + 1, np.isfinite(values)
    each = np.arange(len(values)) if splits is None else np.asarray(splits, int)
    values, marks, settings, each = values[known], marks[known], settings[known], each[known]

    def count(of: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(of, weights, n_marks)

    of_setting = marks * (settings.max(initial=0) + 1) + settings
    pools = count(marks[np.unique(of_setting, return_index=True)[1]]) > 1
    each = marks * (each.max(initial=0) + 1) + each
    unit = np.where(pools[marks], of_setting, -1 - each)  # else each run, or each split, is one
    _, first, unit, size = np.unique(unit, return_index=True, return_inverse=True, return_counts=True)
    mark = marks[first]  # of each unit
    with np.errstate(invalid="ignore", divide="ignore"):  # marks without a value
        mean = count(marks, values) / count(marks)
        n = count(mark)
        middle = np.bincount(unit, values) / size
        weight = size / count(marks)[mark]
        sd = n * np.sqrt(count(mark, (weight * (middle - mean[mark])) ** 2) / (n - 1))
    least, most = np.full(n_marks, np.inf), np.full(n_marks, -np.inf)
    np.minimum.at(least, mark, middle)
    np.maximum.at(most, mark, middle)
    least, most = np.where(n > 0, least, np.nan), np.where(n > 0, most, np.nan)
    return Means(mean, *interval(mean, sd, n, least, most, within, np.where(pools, 0.0, overlap)), n)


def interval_name(n: Iterable[int], *within: Range, over: str = "runs") -> str:
    """Return what the intervals of marks are, each `over` so many runs or settings; empty where there is none.

    `within` are the ranges of their metrics.
    """
    counts = set(n)
    if not counts or max(counts) < 2:
        return ""
    if max(counts) < FEWEST_RUNS:
        return f"range of the two {over}"
    scales = dict.fromkeys(("", "log", "logit")[sum(map(math.isfinite, bounds))] for bounds in within)
    scale = " or ".join(filter(None, scales))
    method = f"t, {scale} scale" if scale else "t"
    return f"{CONFIDENCE:.0%} confidence interval over {over} ({method})" + (
        f"; of two {over} their range" if 2 in counts else ""
    )


INTERVAL = f"{CONFIDENCE:.0%} confidence interval of the mean over runs"
METHOD = "Student's t on the logit scale for accuracies, on the log scale for losses and times; of two runs their range"
INTERVAL_DOC = f"{INTERVAL} ({METHOD})"
"""What stands between brackets, as every table, page and doc says it."""
CORRECTED = "wider than of independent runs, since {} share images (Nadeau & Bengio 2003)"


def interval_doc(over: str = "runs", corrected: bool = False) -> str:
    """Return what stands between brackets where it may be over splits or folds of the data."""
    widened = f"; {CORRECTED.format(over)}" if corrected else ""
    return f"{INTERVAL_DOC.replace('runs', over)[:-1]}{widened})"


def mean_text(
    mean: float | None, low: float | None = None, high: float | None = None, digits: int = 4, fixed: bool = True
) -> str:
    """Return a mean with its interval, where there is one: 0.9123 [0.8900, 0.9310].

    With so many digits after the point or, where they are not `fixed`, so many that count: 1234 [1190, 1281].
    """
    if mean is None or math.isnan(mean):
        return ""
    form = f".{digits}f" if fixed else f"#.{digits}g"
    texts = [f"{value:{form}}".rstrip(".") for value in (mean, low, high) if value is not None]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]" if len(texts) == 3 and low == low else texts[0]


def runs_text(n: int, n_diverged: int) -> str:
    """Return the number of runs, never without those that diverged: 3 (1 diverged)."""
    return f"{n} ({n_diverged} diverged)" if n_diverged else f"{n}"


# -- whether a difference is real ----------------------------------------------------------------------------------

PAIRED, WELCH = "paired", "welch"
RESAMPLED, RESAMPLED_WELCH = "corrected paired", "corrected welch"
ONE_RUN, NO_SPREAD, SAME_DIFFERENCE = "fewer than two results", "neither varies", "all seeds differ alike"
ROUNDING = 1e-12  # relative: two equal differences of floats differ by that

SIGNIFICANT = 0.05
"""A smaller p-value, corrected for the number of comparisons, tells two settings apart."""
POWER = 0.8
MOST_SEEDS = 100  # that are worth proposing

COMPARISON_DOC = (
    "two-sided t-test against rank 1 (paired over the same seeds, else Welch's), corrected for the number of"
    " comparisons (Holm 1979); words instead of a number say why no test is possible"
)


@dataclass(frozen=True)
class Comparisons:
    """Each setting against the first: `test` names the test, or why none is possible ('' for the first itself)."""

    test: list[str]
    p_value: np.ndarray
    p_holm: np.ndarray


COMPARISON_OF_SPLITS_DOC = (
    "two-sided corrected resampled t-test against rank 1 over the same {0} (Nadeau & Bengio 2003; {0} share images, so"
    " they are no independent results), corrected for the number of comparisons (Holm 1979); words instead of a number"
    " say why no test is possible"
)


def compare_with_first(values: np.ndarray, overlap: float = 0.0) -> Comparisons:
    """Test the mean of each column against that of the first.

    `values` has a row per seed and a column per setting, NaN where a setting has no result of a seed. Runs of one seed
    share their split, initialization and order of images, so settings with the same seeds are compared in pairs
    (Student 1908), others by Welch's test (1947). There is no test, and so no p-value, where one of the two has fewer
    than two runs, where neither varies, or where all pairs differ alike: then nothing says how large the difference
    could be by chance. The p-values are corrected by Holm's method (1979).

    With an `overlap` the rows are splits of the same data instead of seeds, which are not independent: n_test / n_train
    of one split is added to the 1 / n of the variance (the corrected resampled t-test of Nadeau & Bengio 2003, Machine
    Learning 52, for folds that are repeated Bouckaert & Frank 2004).
    """
    import numpy as np
    from scipy import stats

    present = np.isfinite(values)
    values = np.where(present, values, np.nan)
    n = present.sum(axis=0)
    few = (n < 2) | (n[:1] < 2)
    same_seeds = (present == present[:, :1]).all(axis=0) & ~few
    still = _vary_by(values) <= 0
    alike = same_seeds & (_vary_by(values - values[:, :1], values) <= 0)
    neither = ~few & still & still[:1] & (alike | ~same_seeds)
    reasons = [few, neither, alike, same_seeds]
    test = np.select(reasons, [ONE_RUN, NO_SPREAD, SAME_DIFFERENCE, PAIRED], WELCH).astype(object)
    test[:1] = ""
    paired, welch = test == PAIRED, test == WELCH
    p_value = np.full(len(test), np.nan)
    wider = np.sqrt(1 + n * overlap)  # than the standard error of n independent values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of differences that are large beside how much they vary
        if paired.any():
            pairs = values[present[:, 0]]
            t = stats.ttest_rel(pairs[:, paired], pairs[:, :1], axis=0).statistic / wider[paired]
            p_value[paired] = 2 * stats.t.sf(np.abs(t), n[paired] - 1)
        if welch.any():
            mean = np.asarray(np.mean(values, axis=0, where=present))
            sd = np.asarray(np.std(values, axis=0, where=present, ddof=1)) * wider
            p_value[welch] = stats.ttest_ind_from_stats(
                mean[welch], sd[welch], n[welch], mean[0], sd[0], n[0], equal_var=False
            ).pvalue
    if overlap:
        test = np.select([paired, welch], [RESAMPLED, RESAMPLED_WELCH], test).astype(object)
    return Comparisons(list(test), p_value, holm(p_value))


def _vary_by(values: np.ndarray, rounded: np.ndarray | None = None) -> np.ndarray:
    """How much more each column's values differ than by the rounding of the numbers that they come from."""
    import numpy as np

    size = np.abs(values if rounded is None else rounded)
    known = np.isfinite(values)
    greatest = np.max(values, axis=0, initial=-np.inf, where=known)
    least = np.min(values, axis=0, initial=np.inf, where=known)
    return np.asarray(greatest - least - ROUNDING * np.max(size, initial=0.0, where=np.isfinite(size)))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return p-values corrected for their number by Holm's method (1979); NaN stays NaN and does not count."""
    import numpy as np
    from statsmodels.stats.multitest import multipletests  # a second to load

    corrected = np.full(len(p_values), np.nan)
    known = ~np.isnan(p_values)
    if known.any():
        corrected[known] = multipletests(p_values[known], method="holm")[1]
    return corrected


IMAGES_DOC = (
    "two-sided randomization test over test images against rank 1 (of one run each McNemar's exact test, 1947),"
    " corrected likewise; it is about other images, not about other seeds"
)


def compare_over_images(right: np.ndarray, n_runs: int, other: np.ndarray, n_other: int) -> float:
    """Return the two-sided p-value of the difference of two settings in accuracy, over the test images.

    `right` says of each image how many of the `n_runs` runs of a setting classify it correctly, (N,), `other` the same
    of another setting. Were the settings alike, the two would be as likely to be the other way round, for each image by
    itself; the p-value is the share of all such exchanges whose difference is as large as the one seen (Fisher 1935;
    Dror et al. 2018, ACL, for comparisons of models). Of one run each it is McNemar's exact test (1947, Psychometrika
    12). It holds for these trained models and other images like these, and says nothing of other seeds.

    The distribution is exact: the product of the images' characteristic functions, cos(k t), inverted by the FFT.
    """
    import numpy as np
    from scipy.fft import next_fast_len

    difference = right.astype(np.int64) * n_other - other.astype(np.int64) * n_runs
    sizes, counts = np.unique(np.abs(difference[difference != 0]), return_counts=True)
    if not len(sizes) or difference.sum() == 0:
        return 1.0
    unit = np.gcd.reduce(sizes)
    sizes, observed = sizes // unit, abs(int(difference.sum())) // unit
    n = next_fast_len(2 * int(sizes @ counts) + 1, real=True)
    angle = np.arange(n // 2 + 1) * (2 * np.pi / n)
    transform = np.ones(len(angle))
    for size, count in zip(sizes, counts, strict=True):
        transform *= np.cos(size * angle) ** int(count)
    probability = np.fft.irfft(transform, n)[: n // 2 + 1]  # of the sums 0, 1, 2, ...
    return float(np.clip(2 * probability[observed:].sum(), 0.0, 1.0))


def interval_over_images(right: np.ndarray, n_runs: int) -> tuple[float, float]:
    """Return the low and the high end of the 95 % confidence interval of a setting's accuracy, over the test images.

    `right` says of each image how many of the `n_runs` runs classify it correctly, (N,). It is Wilson's score interval
    (1927), of several runs with the effective number of images (Kish 1965; Dean & Pagano 2015, Journal of Survey
    Statistics and Methodology 3, for Wilson's): runs that fail on different images say more of an accuracy than one
    run does. It holds for these trained models and other images like these.
    """
    import numpy as np
    from scipy.special import ndtri

    share, n = right / n_runs, float(len(right))
    mean = float(share.mean())
    if 0 < mean < 1 and n > 1:
        n = mean * (1 - mean) / (float(np.var(share)) / len(right))
    z2 = float(ndtri((1 + CONFIDENCE) / 2)) ** 2
    middle, half = mean + z2 / (2 * n), math.sqrt(z2 * (mean * (1 - mean) / n + z2 / (4 * n**2)))
    return max(0.0, (middle - half) / (1 + z2 / n)), min(1.0, (middle + half) / (1 + z2 / n))


def seeds_needed(difference: float, sd: float, level: float = SIGNIFICANT, paired: bool = True) -> int | None:
    """Return how many seeds each of two settings needs for the t-test to tell them apart with a probability of 80 %.

    `difference` is that of their means, should it be the true one, and `sd` the standard deviation of the differences
    of pairs or, where the settings are not `paired`, of the values of one setting (the root of the mean variance of
    both); `level` is where a two-sided p-value counts. From the noncentral t distribution (Cohen 1988, Statistical
    Power Analysis, chapter 2; Colas et al. 2018, arXiv:1806.08295, for seeds of training runs). None: more than
    MOST_SEEDS, or the differences do not vary. With few seeds the difference and its spread are themselves rough, so
    this is a plan for the next runs and says nothing of the present ones (Hoenig & Heisey 2001).
    """
    import numpy as np
    from scipy import stats

    if not (math.isfinite(difference) and math.isfinite(sd) and sd > 0):
        return None
    n = np.arange(2, MOST_SEEDS + 1)
    df, effective = (n - 1, n) if paired else (2 * n - 2, n / 2)
    effect = min(abs(difference) / sd, 30.0)  # no fewer seeds for more; scipy needs seconds then, and gives no number
    shift, critical = effect * np.sqrt(effective), stats.t.isf(level / 2, df)
    wrong_way = np.nan_to_num(stats.nct.cdf(-critical, df, shift))  # too small for scipy where the effect is large
    power = stats.nct.sf(critical, df, shift) + wrong_way
    enough = n[power >= POWER]
    return int(enough[0]) if len(enough) else None


def p_text(p_value: float | None, test: str | None) -> str:
    """Return a p-value as text; where there is none, why."""
    if p_value is None or math.isnan(p_value):
        return test if isinstance(test, str) else ""
    return "< 0.0001" if p_value < 0.0001 else f"{p_value:.4f}"


# -- which hyper-parameters matter ----------------------------------------------------------------------------------

FOLDS, SHUFFLES = 5, 5


@dataclass(frozen=True)
class Importances:
    """What a random forest makes of the results, asked about settings that it was not fitted to."""

    explained: float  # R², the share of the variance that it explains; at most 0 where it knows no better than the mean
    falls: np.ndarray  # (n_inputs, n_folds * SHUFFLES): by how much R² falls when the values of an input are shuffled

    @property
    def trust(self) -> str:
        """How far the falls can be trusted, in words."""
        share = f"R² = {self.explained:.2f} of the variance of settings it was not fitted to"
        if self.explained <= 0:
            return f"The forest predicts no better than the mean ({share}): these importances are not to be trusted"
        if self.explained < 0.3:
            return f"The forest explains {share}: too little to trust the order"
        return f"The forest explains {share}"


def importances(inputs: np.ndarray, target: np.ndarray, settings: np.ndarray) -> Importances:
    """Return the permutation importance (Breiman 2001) of each column of `inputs` for a random forest's prediction.

    `inputs` has a row per run; `target` and `settings` give its result and its setting. The forest is fitted to four
    fifths of the settings and asked about the others, in turn. All seeds of a setting are on one side: if some were on
    each, the forest would know a setting's result by heart, and explain even noise. Needs two settings.
    """
    import numpy as np
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance
    from sklearn.metrics import r2_score
    from sklearn.model_selection import GroupKFold

    folds = GroupKFold(min(FOLDS, len(np.unique(settings))), shuffle=True, random_state=0)
    predicted, falls = np.empty(len(target)), []
    for train, held_out in folds.split(inputs, groups=settings):
        forest = RandomForestRegressor(50, min_samples_leaf=1 if len(target) < 50 else 2, random_state=0)
        forest.fit(inputs[train], target[train])
        predicted[held_out] = forest.predict(inputs[held_out])
        found = permutation_importance(
            forest,
            inputs[held_out],
            target[held_out],
            n_repeats=SHUFFLES,
            random_state=0,
            scoring="neg_mean_squared_error",
        )
        falls.append(found.importances / target.var())
    return Importances(float(r2_score(target, predicted)), np.concatenate(falls, axis=1))


MOST_AVERAGED = 100  # rows over which a prediction is averaged


def partial_dependence(
    inputs: np.ndarray, target: np.ndarray, places: Sequence[int], grids: Sequence[np.ndarray]
) -> np.ndarray:
    """Return what a random forest predicts for each pair of values, the mean over the other inputs as they are.

    That is the partial dependence of Friedman (2001) on the columns `places` of `inputs` (n, n_inputs): x and y, at
    the values of `grids`, x and y. The result is (n_y, n_x). Of many rows MOST_AVERAGED are averaged, drawn at random.
    """
    import numpy as np
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(100, min_samples_leaf=1 if len(target) < 50 else 2, random_state=0)
    forest.fit(inputs, target)
    others = inputs
    if inputs.shape[1] == len(places):
        others = inputs[:1]
    elif len(inputs) > MOST_AVERAGED:
        others = inputs[np.random.default_rng(0).choice(len(inputs), MOST_AVERAGED, replace=False)]
    x, y = (values.ravel() for values in np.meshgrid(*grids))
    asked = np.repeat(others, len(x), axis=0)
    for place, values in zip(places, (x, y), strict=True):
        asked[:, place] = np.tile(values, len(others))
    predicted: np.ndarray = forest.predict(asked).reshape(len(others), len(grids[1]), len(grids[0])).mean(axis=0)
    return predicted
