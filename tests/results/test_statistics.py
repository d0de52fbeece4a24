"""Ranking, intervals, comparisons and importances, against implementations that are not ours."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from scipy.special import expit
from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold, KFold, cross_val_predict
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.power import TTestIndPower, TTestPower
from statsmodels.stats.proportion import proportion_confint

from dlsweep.config.metrics import CLASSIFICATION, EPOCH_METRICS, FRACTION, METRICS, POSITIVE, UNBOUNDED
from dlsweep.results.columns import GRADIENTS, Columns
from dlsweep.results.statistics import (
    compare_over_images,
    compare_with_first,
    importances,
    interval,
    interval_name,
    interval_over_images,
    mean_text,
    means,
    p_text,
    rank,
    seeds_needed,
)

# -- which setting is best -----------------------------------------------------------------------------------------


def order(runs: list[tuple[str, float | None, bool]], better: str = "max", within=FRACTION) -> list[str]:
    return [one.label for one in rank(runs, better, within)]


def test_a_diverged_run_counts_as_the_worst():
    # Two of three runs diverged, from weights that were excellent before: the survivor does not make it the best.
    fragile = [("fragile", 0.99, False), ("fragile", 0.98, True), ("fragile", 0.97, True)]
    solid = [("solid", 0.5, False), ("solid", 0.6, False)]
    first, second = rank([*fragile, *solid], "max", FRACTION)
    assert (first.label, first.mean, first.n_diverged) == ("solid", pytest.approx(0.55), 0)
    assert (second.label, second.mean, second.n_diverged, second.n) == ("fragile", pytest.approx(0.33), 2, 3)
    assert second.sd == pytest.approx(np.std([0.99, 0, 0], ddof=1))
    # A record of an earlier version says that a diverged epoch has an accuracy: that of class 0.
    assert order([("old", 0.91, True), ("old", 0.91, True), ("weak", 0.2, False)]) == ["weak", "old"]
    # A loss has no worst value; one diverged run is as bad as two, but not all of them.
    losses = [("gone", None, True), ("one of two", 0.1, False), ("one of two", None, True), ("whole", 9.0, False)]
    assert order(losses, "min", POSITIVE) == ["whole", "one of two", "gone"]


def test_equal_means_are_told_apart_by_what_diverged_then_by_the_config():
    assert order([("a", 0.0, False), ("b", None, True)]) == ["a", "b"]
    assert order([("b", None, True), ("a", 0.0, False)]) == ["a", "b"]
    assert order([("a", 0.4, False), ("a", None, True), ("b", 0.2, False)]) == ["b", "a"]
    assert order([("b", 0.5, False), ("a", 0.5, False)]) == ["b", "a"]


# -- intervals -----------------------------------------------------------------------------------------------------


def interval_of(values: list[float] | np.ndarray, within: tuple[float, float]) -> tuple[float, float]:
    """The interval of the runs of one setting."""
    marks = np.zeros(len(values), int)
    found = means(values, marks, marks, within)
    return (found.low[0], found.high[0]) if len(values) else (math.nan, math.nan)


def robust_interval(values: np.ndarray, family: sm.families.Family, clusters: np.ndarray | None = None) -> np.ndarray:
    """The interval of a quasi-likelihood model that has only a constant, with a standard error robust to clusters.

    For log odds it is what R's svyciprop calls `logit`; by default each value is its own cluster.
    """
    clusters = np.arange(len(values)) if clusters is None else clusters
    model = sm.GLM(values, np.ones(len(values)), family=family)
    options = {"groups": clusters, "df_correction": True}
    return model.fit(cov_type="cluster", cov_kwds=options, use_t=True).conf_int()[0]


@pytest.mark.parametrize("n", [3, 4, 10])
def test_intervals_against_a_regression_with_only_a_constant(n: int):
    generator = np.random.default_rng(n)
    accuracies, losses, gaps = generator.beta(20, 2, n), generator.gamma(2, 0.1, n), generator.normal(0, 1, n)
    expected = expit(robust_interval(accuracies, sm.families.Binomial()))
    assert interval_of(accuracies, FRACTION) == pytest.approx(expected, rel=1e-6)
    assert interval_of(losses, POSITIVE) == pytest.approx(
        np.exp(robust_interval(losses, sm.families.Poisson())), rel=1e-6
    )
    expected = stats.t.interval(0.95, n - 1, gaps.mean(), stats.sem(gaps))
    assert interval_of(gaps, UNBOUNDED) == pytest.approx(expected)
    # Of other bounds: accuracy in percent, and its complement, which has only an upper bound.
    low, high = interval_of(accuracies, FRACTION)
    assert interval_of(100 * accuracies, (0.0, 100.0)) == pytest.approx((100 * low, 100 * high))
    low, high = interval_of(losses, POSITIVE)
    assert interval_of(1 - losses, (-math.inf, 1.0)) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize("within", [FRACTION, POSITIVE])
def test_no_interval_leaves_the_range(within: tuple[float, float]):
    generator = np.random.default_rng(0)
    groups = generator.beta(0.3, 0.3, (2000, 3)) if within == FRACTION else generator.gamma(0.1, 1, (2000, 3))
    groups = np.concatenate([groups, [[1, 1, 1 - 1e-16], [0, 0, 1], [1, 1, 0], [0, 0, 0], [1, 1, 1], [0.1, 0.1, 0.1]]])
    columns = (groups.mean(1), groups.std(1, ddof=1), np.full(len(groups), 3), groups.min(1), groups.max(1))
    low, high = interval(*columns, within)
    assert (low >= within[0]).all() and (high <= within[1]).all()
    assert (low <= groups.mean(1)).all() and (groups.mean(1) <= high).all()
    assert np.isfinite(low).all() and np.isfinite(high).all()
    for values, *ends in zip(groups[::97], low[::97], high[::97], strict=True):
        assert interval_of(values, within) == pytest.approx(ends)  # one group or many: the same


def test_a_mark_that_pools_settings_has_the_interval_over_settings():
    """Marks of several settings with unlike numbers of seeds, of one setting, and of none, all at once."""
    generator = np.random.default_rng(0)
    marks = np.repeat([0, 1, 2, 3], [12, 4, 6, 1])
    settings = np.array([0] * 5 + [1] * 4 + [2] * 3 + [3] * 4 + [4, 4, 4, 5, 5, 5] + [6])
    values = generator.beta(9, 3, 6)[np.minimum(settings, 5)] + generator.uniform(-0.01, 0.01, len(marks))
    values[-1] = math.nan
    found = means(values, marks, settings, FRACTION)
    assert list(found.n) == [3, 4, 2, 0] and math.isnan(found.mean[3]) and math.isnan(found.low[3])
    for mark, clusters in ((0, settings[:12]), (1, np.arange(4))):
        own = values[marks == mark]
        assert found.mean[mark] == pytest.approx(own.mean())
        expected = expit(robust_interval(own, sm.families.Binomial(), clusters))
        assert (found.low[mark], found.high[mark]) == pytest.approx(expected, rel=1e-6)
    of_two = sorted([values[16:19].mean(), values[19:22].mean()])
    assert [found.low[2], found.high[2]] == pytest.approx(of_two)

    # More seeds of the same settings say no more of what lies between settings.
    between = generator.beta(9, 3, 6)
    wide = means(between, np.zeros(6), np.arange(6), FRACTION)
    seeds = means(np.repeat(between, 5), np.zeros(30), np.repeat(np.arange(6), 5), FRACTION)
    assert (seeds.low[0], seeds.high[0]) == pytest.approx((wide.low[0], wide.high[0]))


def test_the_interval_holds_the_mean_as_often_as_it_says():
    """Three seeds of an accuracy near 1, where the plain t interval goes beyond it."""
    generator, n = np.random.default_rng(0), 20_000
    groups = generator.binomial(360, generator.beta(95, 5, (n, 3))) / 360
    columns = (groups.mean(1), groups.std(1, ddof=1), np.full(n, 3), groups.min(1), groups.max(1))
    low, high = interval(*columns, FRACTION)
    covered = ((low <= 0.95) & (high >= 0.95)).mean()
    assert 0.93 < covered < 0.97
    plain = groups.mean(1) + stats.t.ppf(0.975, 2) * stats.sem(groups, axis=1)
    assert (plain > 1).mean() > 0.2 and (high <= 1).all()


def test_fewer_than_three_runs_have_no_interval():
    assert interval_of([0.9, 0.95], FRACTION) == (0.9, 0.95)
    assert all(map(math.isnan, interval_of([0.9], FRACTION)))
    assert all(map(math.isnan, interval_of([], FRACTION)))
    assert interval_of([0.9, math.nan, 0.95, 0.9], FRACTION) == interval_of([0.9, 0.95, 0.9], FRACTION)
    with pytest.raises(ValueError, match=r"leaves the range, 0\.0 to 1\.0"):
        interval_of([0.9, 1.2, 0.8], FRACTION)
    assert interval_name([1], FRACTION) == ""
    assert interval_name([1, 2], FRACTION) == "range of the two runs"
    assert interval_name([3, 3], FRACTION) == "95% confidence interval over runs (t, logit scale)"
    assert (
        interval_name([2, 3], POSITIVE) == "95% confidence interval over runs (t, log scale); of two runs their range"
    )
    assert interval_name([3], UNBOUNDED, over="settings") == "95% confidence interval over settings (t)"
    assert mean_text(0.9, 0.85, 0.95) == "0.9000 [0.8500, 0.9500]"
    assert mean_text(0.9, math.nan, math.nan, digits=2) == "0.90" and mean_text(math.nan) == mean_text(None) == ""


def test_every_metric_knows_its_range():
    for name, column in {**METRICS, **EPOCH_METRICS, **GRADIENTS}.items():
        if column.type in (int, float) and name not in ("generalization_gap", "epoch", "layer"):
            assert column.within == (FRACTION if name.endswith("acc") else POSITIVE), name
    metric = Columns().metric
    assert metric("generalization_gap").within == UNBOUNDED
    assert [metric(name).within for name in CLASSIFICATION] == [FRACTION, POSITIVE]
    assert (metric("acc").better, metric("val_loss").better, metric("seconds").better) == ("max", "min", "")


# -- comparisons ---------------------------------------------------------------------------------------------------

MISSING = math.nan


@pytest.mark.parametrize(
    ("first", "other", "reason"),
    [
        ([0.9, 0.9], [0.9028, 0.9028], "neither varies"),  # one test image of 360 apart
        ([0.9, 0.9, 0.9], [0.9, 0.9, 0.9], "neither varies"),
        ([0.9, 0.9, MISSING, MISSING], [MISSING, MISSING, 0.8, 0.8], "neither varies"),
        ([0.3, 0.2, 0.9], [0.2, 0.1, 0.8], "all seeds differ alike"),  # by 0.1, but for rounding
        ([0.9], [0.8], "fewer than two results"),
        ([0.9, 0.8], [0.8, MISSING], "fewer than two results"),
        ([0.9, MISSING], [0.8, 0.7], "fewer than two results"),
        ([MISSING, MISSING], [0.8, 0.7], "fewer than two results"),
        ([0.9, math.inf], [0.8, 0.7], "fewer than two results"),
    ],
)
def test_no_p_value_where_no_test_is_possible(first: list[float], other: list[float], reason: str):
    found = compare_with_first(np.array([first, other, other]).T)
    assert found.test == ["", reason, reason]
    assert np.isnan(found.p_value).all() and np.isnan(found.p_holm).all()
    assert p_text(found.p_holm[1], found.test[1]) == reason and p_text(found.p_holm[0], found.test[0]) == ""


def test_comparisons_against_scipy():
    generator = np.random.default_rng(0)
    values = generator.uniform(0.8, 0.9, (8, 5))
    values[4:, 0] = MISSING  # the first has the seeds 0 to 3
    values[4:, 1] = MISSING  # as has the second: pairs
    values[:4, 2] = MISSING  # the third has others
    values[3:, 3] = MISSING  # the fourth has one less
    values[:, 4] = 0.8  # the fifth never varies, the first does
    found = compare_with_first(values)
    assert found.test == ["", "paired", "welch", "welch", "welch"]
    first = values[:4, 0]
    expected = [
        stats.ttest_rel(values[:4, 1], first).pvalue,
        *(stats.ttest_ind(column[~np.isnan(column)], first, equal_var=False).pvalue for column in values.T[2:]),
    ]
    assert found.p_value[1:] == pytest.approx(expected)
    small_first = np.argsort(expected)  # Holm (1979), step by step
    steps = np.maximum.accumulate([min(1, (4 - i) * expected[j]) for i, j in enumerate(small_first)])
    assert found.p_holm[1:][small_first] == pytest.approx(steps)
    assert p_text(1e-9, "welch") == "< 0.0001" and p_text(0.04321, "paired") == "0.0432"


@pytest.mark.parametrize(("effect", "pairs", "each"), [(0.2, None, None), (0.5, 34, 64), (0.8, 15, 26), (1.0, 10, 17)])
def test_seeds_needed_against_published_tables(effect: float, pairs: int | None, each: int | None):
    # Cohen 1988, table 2.4.1, two-sided 5 %, power 80 %; the pairs from G*Power 3 (Faul et al. 2007). 0.2 needs 199.
    assert (seeds_needed(effect, 1.0), seeds_needed(effect, 1.0, paired=False)) == (pairs, each)


@pytest.mark.parametrize("level", [0.05, 0.05 / 7])
@pytest.mark.parametrize("effect", [0.45, 0.7, 1.5, 3.0])
def test_seeds_needed_against_statsmodels(effect: float, level: float):
    for paired, power in ((True, TTestPower()), (False, TTestIndPower())):
        needed = seeds_needed(-effect * 0.01, 0.01, level, paired)
        assert needed == next((n for n in range(2, 101) if power.power(effect, n, level) >= 0.8), None)


def test_no_number_of_seeds_settles_what_does_not_differ_or_vary():
    assert seeds_needed(0.0, 0.1) is None and seeds_needed(1e9, 0.1) == 2
    assert seeds_needed(0.1, 0.0) is None and seeds_needed(0.1, math.nan) is None and seeds_needed(math.nan, 1) is None


# -- over test images ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("only_first", "only_other", "p_value"), [(59, 6, None), (1, 8, 0.0390625), (5, 5, 1.0)])
def test_of_one_run_each_it_is_mcnemars_exact_test(only_first: int, only_other: int, p_value: float | None):
    # 1 of 9: 2 * (1 + 9) / 2**9, by hand.
    first = np.repeat([1, 1, 0, 0], [300, only_first, only_other, 20])
    other = np.repeat([1, 0, 1, 0], [300, only_first, only_other, 20])
    expected = mcnemar([[300, only_first], [only_other, 20]], exact=True).pvalue
    assert p_value is None or expected == pytest.approx(p_value)
    for one, two in ((first, other), (other, first)):
        assert compare_over_images(one, 1, two, 1) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("n_runs", "n_other"), [(1, 1), (3, 3), (2, 3), (4, 2), (5, 1)])
def test_of_several_runs_it_is_the_permutation_test_of_scipy(n_runs: int, n_other: int):
    generator = np.random.default_rng(n_runs)
    right, other = generator.binomial(n_runs, 0.7, 12), generator.binomial(n_other, 0.4, 12)
    difference = n_other * right - n_runs * other  # whole numbers, so that equal sums are equal for scipy, too
    expected = stats.permutation_test(
        (difference,), lambda x, axis: x.sum(axis=axis), permutation_type="samples", n_resamples=np.inf
    )
    assert compare_over_images(right, n_runs, other, n_other) == pytest.approx(expected.pvalue)


def test_of_many_images_it_is_as_a_paired_t_test():
    generator = np.random.default_rng(0)
    easy = generator.beta(9, 1, 10_000)
    right, other = generator.binomial(5, easy), generator.binomial(4, easy * 0.993)
    expected = stats.ttest_rel(right / 5, other / 4).pvalue
    assert compare_over_images(right, 5, other, 4) == pytest.approx(expected, rel=0.02) and 1e-4 < expected < 0.1
    assert compare_over_images(right, 5, right, 5) == 1.0
    assert 0 <= compare_over_images(np.full(10_000, 3), 3, np.zeros(10_000, int), 3) < 1e-12


def test_models_that_are_alike_are_rarely_told_apart_over_images():
    generator, n_images = np.random.default_rng(0), 200
    told = [
        compare_over_images(generator.binomial(n, easy), n, generator.binomial(3, easy), 3) < 0.05
        for n in (2, 3)
        for easy in generator.beta(5, 1, (1000, n_images))
    ]
    assert 0.03 < np.mean(told) < 0.06


def test_the_interval_over_images_is_that_of_wilson():
    for n_right in (0, 1, 200, 349, 359):
        right = np.repeat([1, 0], [n_right, 359 - n_right])
        expected = proportion_confint(n_right, 359, method="wilson")
        for n_runs in (1, 3):  # three runs that are right and wrong on the same images say no more than one
            assert interval_over_images(n_runs * right, n_runs) == pytest.approx(expected, abs=1e-12)


def test_the_interval_over_images_of_several_runs_holds_the_accuracy_of_all_images():
    generator, n_images = np.random.default_rng(0), 359
    easy = generator.beta(9, 0.5, (2000, n_images))  # how likely a model of this setting is right on an image
    right = generator.binomial(3, easy)
    low, high = np.array([interval_over_images(one, 3) for one in right]).T
    assert 0.93 < ((low <= 9 / 9.5) & (high >= 9 / 9.5)).mean() < 0.97
    # As wide as what a bootstrap over images finds.
    drawn = generator.choice(right[0], (4000, n_images)).mean(axis=1) / 3
    assert (low[0], high[0]) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.004)


# -- importances ---------------------------------------------------------------------------------------------------


def test_a_forest_explains_nothing_of_pure_noise():
    """Five seeds of each setting, whose results depend on nothing but the setting's noise: nothing can be predicted."""
    generator = np.random.default_rng(0)
    settings = np.repeat(np.arange(40), 5)
    inputs = generator.uniform(size=(40, 3))[settings]
    target = generator.normal(size=40)[settings] + 0.1 * generator.normal(size=200)
    found = importances(inputs, target, settings)
    assert found.explained <= 0
    assert "no better than the mean" in found.trust and "not to be trusted" in found.trust
    forest = RandomForestRegressor(50, min_samples_leaf=2, random_state=0)
    folds = GroupKFold(5, shuffle=True, random_state=0)
    expected = r2_score(target, cross_val_predict(forest, inputs, target, cv=folds, groups=settings))
    assert found.explained == pytest.approx(expected)
    # What splitting runs instead of settings would say.
    leaking = cross_val_predict(forest, inputs, target, cv=KFold(5, shuffle=True, random_state=0))
    assert r2_score(target, leaking) > 0.9


def test_a_forest_explains_what_there_is_to_explain():
    generator = np.random.default_rng(0)
    settings = np.repeat(np.arange(100), 2)
    inputs = generator.uniform(size=(100, 2))[settings]
    target = inputs[:, 0] + 0.01 * generator.normal(size=200)
    found = importances(inputs, target, settings)
    assert found.explained > 0.9
    share = f"R² = {found.explained:.2f} of the variance of settings it was not fitted to"
    assert found.trust == f"The forest explains {share}"
    assert found.falls.shape == (2, 25)
    matters, noise = found.falls.mean(axis=1)
    assert matters > 1 and abs(noise) < 0.02
