"""Every coefficient against figures we did not compute: published examples, and another package's answer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from training.reader_study import agreement
from training.reader_study.bland_altman import limits_of_agreement
from training.reader_study.bootstrap import estimates

NAN = float("nan")
GRADES = (0, 3, 4)

# 12 units, 4 raters, 5 categories: Gwet's cac.raw4raters, which is Krippendorff's (2011) example
GWET = np.array(
    [
        [1, 1, NAN, 1], [2, 2, 3, 2], [3, 3, 3, 3], [3, 3, 3, 3], [2, 2, 2, 2], [1, 2, 3, 4],
        [4, 4, 4, 4], [1, 1, 2, 1], [2, 2, 2, 2], [NAN, 5, 5, 5], [NAN, NAN, 1, 1], [NAN, NAN, 3, NAN],
    ]
)  # fmt: skip
# 31 subjects, 3 raters, drawn; irrCAC 0.4.4 with categories=[0, 3, 4] gives what the tests expect
DRAWN = np.array(
    [
        [4, 4, 4], [4, 4, 4], [3, 3, 3], [3, 3, 3], [0, 0, 0], [0, 3, 3], [3, 3, 3], [0, 4, 0], [0, 0, 0], [4, 4, 4],
        [4, 4, 4], [0, 0, 0], [3, 3, 3], [4, 0, 3], [4, 4, 4], [4, 4, 4], [3, 4, 3], [3, 3, 3], [0, 3, 3], [0, 0, 4],
        [4, 3, 3], [3, 3, 3], [0, 4, 4], [0, 3, 3], [0, 4, 4], [4, 4, 3], [0, 0, 0], [4, 4, 4], [4, 4, 4], [0, 0, 0],
        [4, 3, 4],
    ],
    dtype=float,
)  # fmt: skip
# Shrout & Fleiss 1979, table 2: 6 targets, 4 judges
SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
# Bland & Altman 1986: peak expiratory flow of 17 people by Wright's meter and by the mini meter, first readings, l/min
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def table(counts: list[list[int]], grades: tuple[int, ...] = GRADES) -> np.ndarray:
    """Ratings of two raters that make up a cross table."""
    pairs = [
        (a, b)
        for a, row in zip(grades, counts, strict=True)
        for b, n in zip(grades, row, strict=True)
        for _ in range(n)
    ]
    return np.array(pairs, dtype=float)


# Cohen


def test_kappa_of_the_textbook_s_fifty_grants():
    """20, 5, 10, 15: kappa 0.40 (Wikipedia's and Kirch's example)."""
    assert agreement.cohen(table([[20, 5], [10, 15]], (0, 3)), (0, 3), "unweighted") == pytest.approx(0.40)


def test_kappa_of_fleiss_cohen_and_everitt():
    """Fleiss, Cohen & Everitt 1969: kappa 0.429."""
    ratings = table([[53, 5, 2], [11, 14, 5], [1, 6, 3]], (0, 1, 2))
    ours = agreement.cohen(ratings, (0, 1, 2), "unweighted")
    assert ours == pytest.approx(cohen_kappa_score(ratings[:, 0], ratings[:, 1]))
    assert ours == pytest.approx(0.429, abs=5e-4)


@pytest.mark.parametrize("weighting", ["unweighted", "linear", "quadratic"])
@pytest.mark.parametrize("columns", [(0, 1), (0, 2), (1, 2)])
def test_kappas_are_scikit_learn_s(weighting, columns):
    """Which weighs by place on a scale without gaps: 0 to 4, the values of the grades."""
    ratings = DRAWN[:, columns]
    theirs = cohen_kappa_score(
        ratings[:, 0], ratings[:, 1], labels=range(5), weights=None if weighting == "unweighted" else weighting
    )
    assert agreement.cohen(ratings, GRADES, weighting) == pytest.approx(theirs)
    assert agreement.cohen(ratings, (0, 1, 2, 3, 4), weighting) == pytest.approx(theirs)


def test_kappa_s_standard_error_is_that_of_a_large_bootstrap():
    ratings = np.tile(DRAWN[:, :2], (10, 1))
    error = agreement.cohen_standard_error(ratings, GRADES)
    found = estimates(ratings, {"k": lambda r: agreement.cohen(r, GRADES, "unweighted")}, draws=1500, seed=1)["k"]
    assert found.half_width == pytest.approx(1.96 * error, rel=0.08)


def test_the_half_width_of_31_patients_is_about_a_quarter():
    """What a study of the founding paper's size can say."""
    error = agreement.cohen_standard_error(DRAWN[:, :2], GRADES)
    assert 0.15 < 1.96 * error < 0.30


# Fleiss, Gwet, Krippendorff


def test_fleiss_kappa_of_fleiss_s_own_kind_of_table():
    """10 subjects, 14 raters, 5 categories: 0.210 (Wikipedia's worked example)."""
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    ratings = np.array([np.repeat(np.arange(5), row) for row in counts], dtype=float)
    assert agreement.fleiss(ratings, (0, 1, 2, 3, 4)) == pytest.approx(0.210, abs=5e-4)


def test_fleiss_kappa_is_irrcac_s():
    assert agreement.fleiss(DRAWN, GRADES) == pytest.approx(0.59167545, abs=1e-8)


def test_gwet_s_ac2_is_irrcac_s():
    assert agreement.gwet_ac2(DRAWN, GRADES) == pytest.approx(0.60670374, abs=1e-8)
    assert agreement.gwet_ac2(DRAWN, (0, 1, 2, 3, 4)) == pytest.approx(0.62079511, abs=1e-8)
    assert agreement.gwet_ac2(GWET, (1, 2, 3, 4, 5)) == pytest.approx(0.91400072, abs=1e-8)


def test_with_two_grades_ac2_is_ac1_and_stands_where_kappa_falls():
    """Quadratic weights of two grades are none, and chance agreement is 2p(1-p) (Gwet 2008)."""
    ratings = table([[118, 5], [2, 0]], (0, 4))
    p = (2 * 118 + 5 + 2) / (2 * 125)
    expected = 2 * p * (1 - p)
    assert agreement.gwet_ac2(ratings, (0, 4)) == pytest.approx((118 / 125 - expected) / (1 - expected))
    assert agreement.cohen(ratings, (0, 4), "unweighted") < 0.05
    assert agreement.gwet_ac2(ratings, (0, 4)) > 0.9


def test_krippendorff_s_alpha_of_his_own_example():
    """Krippendorff 2011, "Computing Krippendorff's alpha-reliability": ordinal 0.815 for this table."""
    assert agreement.krippendorff_alpha(GWET, (1, 2, 3, 4, 5)) == pytest.approx(0.815, abs=5e-4)


def test_alpha_does_not_mind_grades_that_nobody_gave():
    assert agreement.krippendorff_alpha(DRAWN, GRADES) == pytest.approx(
        agreement.krippendorff_alpha(DRAWN, (0, 1, 2, 3, 4))
    )


def test_alpha_s_definition_computed_by_hand():
    """Ordinal distances from the marginals; observed and expected disagreement as in the paper."""
    values, counts = np.unique(DRAWN, return_counts=True)
    n = counts.sum()

    def distance(a, b):
        low, high = sorted((int(np.searchsorted(values, a)), int(np.searchsorted(values, b))))
        return (counts[low : high + 1].sum() - (counts[low] + counts[high]) / 2) ** 2

    observed = sum(distance(a, b) for row in DRAWN for i, a in enumerate(row) for j, b in enumerate(row) if i != j) / 2
    pairs = [(a, b) for i, a in enumerate(DRAWN.ravel()) for j, b in enumerate(DRAWN.ravel()) if i != j]
    expected = sum(distance(a, b) for a, b in pairs) / (n - 1)
    assert agreement.krippendorff_alpha(DRAWN, GRADES) == pytest.approx(1 - observed / expected)


# ICC


def test_iccs_of_shrout_and_fleiss():
    """Their table 4: ICC(2,1) .29, ICC(3,1) .71. Intervals by McGraw & Wong's formulas: .02-.76, .34-.95."""
    found = agreement.icc(SHROUT_FLEISS)
    assert found.absolute == pytest.approx(0.29, abs=5e-3)
    assert found.consistency == pytest.approx(0.71, abs=5e-3)
    assert found.absolute_interval == pytest.approx((0.02, 0.76), abs=1e-2)
    assert found.consistency_interval == pytest.approx((0.34, 0.95), abs=1e-2)


def test_iccs_by_their_mean_squares():
    """Two-way analysis of variance written out (Shrout & Fleiss 1979)."""
    n, k = DRAWN.shape
    grand = DRAWN.mean()
    rows = k * ((DRAWN.mean(axis=1) - grand) ** 2).sum() / (n - 1)
    columns = n * ((DRAWN.mean(axis=0) - grand) ** 2).sum() / (k - 1)
    rest = ((DRAWN - DRAWN.mean(axis=1, keepdims=True) - DRAWN.mean(axis=0) + grand) ** 2).sum() / ((n - 1) * (k - 1))
    found = agreement.icc(DRAWN)
    assert found.absolute == pytest.approx((rows - rest) / (rows + (k - 1) * rest + k * (columns - rest) / n))
    assert found.consistency == pytest.approx((rows - rest) / (rows + (k - 1) * rest))


def test_a_reader_who_is_always_one_higher_is_consistent_but_does_not_agree():
    ratings = np.array([[0, 1], [1, 2], [2, 3], [3, 4]], dtype=float)
    found = agreement.icc(ratings)
    assert found.consistency == pytest.approx(1.0)
    assert found.absolute < 0.85


# Proportions and differences


@pytest.mark.parametrize(("count", "of"), [(0, 7), (1, 7), (11, 12), (31, 31), (15, 31)])
def test_wilson_s_interval_is_scipy_s(count, of):
    theirs = stats.binomtest(count, of).proportion_ci(0.95, method="wilson")
    assert agreement.wilson(count, of) == pytest.approx((theirs.low, theirs.high))


def test_wilson_s_interval_of_newcombe():
    """Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662."""
    assert agreement.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_limits_of_agreement_of_bland_and_altman():
    """Lancet 1986: mean difference -2.1, SD 38.8, limits -79.7 and 75.5; intervals -22.0 to 17.8 and 40.9 to 110.1."""
    found = limits_of_agreement(np.array([MINI, WRIGHT], dtype=float).T)
    assert found.pairs == 17
    assert found.bias == pytest.approx(-2.1, abs=0.05)
    assert found.standard_deviation == pytest.approx(38.8, abs=0.05)
    # the paper multiplies by 2 and rounds; 1.96 in its 1999 successor
    assert (found.lower, found.upper) == pytest.approx((-2.1 - 1.96 * 38.8, -2.1 + 1.96 * 38.8), abs=0.2)
    assert found.bias_interval == pytest.approx((-22.0, 17.8), abs=0.1)
    halves = [(high - low) / 2 for low, high in (found.lower_interval, found.upper_interval)]
    assert halves == pytest.approx([34.6, 34.6], abs=1.0)  # the paper's sqrt(3 s^2 / n) is an approximation


# What cannot be computed


@pytest.mark.parametrize("name", ["unweighted", "linear", "quadratic"])
def test_where_all_ratings_are_the_same_kappa_is_undefined(name):
    same = np.full((9, 2), 4.0)
    assert np.isnan(agreement.cohen(same, GRADES, name))
    assert np.isnan(agreement.fleiss(same, GRADES))
    assert np.isnan(agreement.krippendorff_alpha(same, GRADES))
    assert np.isnan(agreement.icc(same).absolute)
    assert agreement.gwet_ac2(same, GRADES) == 1.0  # its chance agreement is 0 there: the paradox it was made for
    assert agreement.accuracy(same) == 1.0


def test_perfect_agreement_is_one():
    perfect = np.repeat(DRAWN[:, :1], 3, axis=1)
    for weighting in ("unweighted", "linear", "quadratic"):
        assert agreement.cohen(perfect[:, :2], GRADES, weighting) == pytest.approx(1)
    for coefficient in (agreement.fleiss, agreement.gwet_ac2, agreement.krippendorff_alpha):
        assert coefficient(perfect, GRADES) == pytest.approx(1)
    assert agreement.icc(perfect).absolute == 1


def test_without_a_subject_everything_is_undefined():
    nobody = np.full((4, 2), NAN)
    figures = [agreement.accuracy(nobody), agreement.cohen(nobody, GRADES, "linear"), agreement.fleiss(nobody, GRADES),
               agreement.gwet_ac2(nobody, GRADES), agreement.krippendorff_alpha(nobody, GRADES),
               agreement.icc(nobody).consistency, *agreement.wilson(0, 0)]  # fmt: skip
    assert np.isnan(figures).all()


# Bootstrap


def test_the_bootstrap_s_interval_of_a_mean_is_that_of_theory():
    values = np.random.default_rng(4).normal(10, 2, (200, 1))
    found = estimates(values, {"mean": lambda t: float(t.mean())}, draws=3000, seed=1)["mean"]
    half = 1.96 * values.std(ddof=1) / np.sqrt(200)
    assert found.half_width == pytest.approx(half, rel=0.06)
    assert found.low < found.value < found.high


def test_the_bootstrap_is_scipy_s():
    ratings = DRAWN[:, :2]
    found = estimates(ratings, {"a": agreement.accuracy}, draws=4000, seed=2)["a"]
    same = (ratings[:, 0] == ratings[:, 1]).astype(float)
    theirs = stats.bootstrap((same,), np.mean, n_resamples=4000, method="percentile", rng=3).confidence_interval
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.033)  # one patient of 31


def test_patients_are_drawn_whole_not_ratings():
    """Columns that always agree agree in every draw; and draws that never differ are no interval."""
    seen = []
    ratings = np.repeat(DRAWN[:, :1], 2, axis=1)
    found = estimates(ratings, {"a": lambda r: seen.append(agreement.accuracy(r)) or 1.0}, draws=50, seed=1)["a"]
    assert set(seen) == {1.0}
    assert found.value == 1.0 and np.isnan([found.low, found.high, found.half_width]).all()


def test_draws_without_a_figure_are_counted_and_without_enough_there_is_no_interval():
    ratings = np.array([[4, 4], [4, 4], [0, 4]], dtype=float)
    found = estimates(ratings, {"k": lambda r: agreement.cohen(r, GRADES, "unweighted")}, draws=400, seed=1)["k"]
    assert found.undefined_draws == pytest.approx(8 / 27, abs=0.08)  # the odd patient was never drawn
    rare = estimates(ratings, {"k": lambda r: NAN if len(np.unique(r[:, 0])) > 1 else 1.0}, draws=400, seed=1)["k"]
    assert np.isnan(rare.low)
