"""Measurement error: the moments against numerical integration, the checks of what is given."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillinfer_bayes.exceptions import HistoryError, ScoreError
from skillinfer_bayes.history.measurement import (
    DEFAULT_ERROR_SD,
    ITEM_VARIANCE_SHARE,
    MIN_ERROR_SD,
    binomial_variance,
    check_errors,
    check_n_items,
    check_stderr,
    delta_method_variance,
    impossible_counts,
    link_moments,
    working_data,
)
from skillinfer_bayes.history.scales import Scale, Scales

UNIT = Scales(("code",), (Scale.unit(),), location=[0.4], spread=[0.8])
MIXED = Scales(("code", "elo"), (Scale.unit(), Scale.unbounded()), spread=[1.0, 50.0])


@given(st.integers(0, 500), st.integers(0, 500))
def test_binomial_variance_is_positive_symmetric_and_falls_with_items(hits, misses):
    total = max(hits + misses, 1)
    share = hits / total
    variance = float(binomial_variance(share, total))
    assert variance > 0
    assert float(binomial_variance(1 - share, total)) == pytest.approx(variance, rel=1e-9)
    assert float(binomial_variance(share, 10 * total)) < variance


def test_binomial_variance_approaches_the_textbook_formula():
    assert binomial_variance(0.3, 1e7) == pytest.approx(0.3 * 0.7 / 1e7, rel=1e-5)


def test_a_perfect_score_of_few_items_is_no_spike():
    _, few = working_data([[1.0]], UNIT, n_items=np.array([[16.0]]))
    _, many = working_data([[1.0]], UNIT, n_items=np.array([[1600.0]]))
    assert few is not None
    assert many is not None
    assert few[0, 0] > 0.5
    assert few[0, 0] > 20 * many[0, 0]


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.95])
def test_many_items_leave_the_score_where_it_was(share):
    values, variance = working_data([[share]], UNIT, n_items=np.array([[1e6]]))
    assert UNIT.from_working(values)[0, 0] == pytest.approx(share, abs=1e-5)
    assert variance is not None
    # in score units the error is the share of the binomial one that repeats show
    slope = UNIT.derivative([[share]])[0, 0]
    sd = math.sqrt(variance[0, 0]) / slope
    binomial = share * (1 - share) / 1e6
    assert sd == pytest.approx(math.sqrt(ITEM_VARIANCE_SHARE * binomial), rel=1e-5)


def test_item_counts_work_on_other_bounds():
    percent = Scales(("code",), (Scale.percent(),), location=[0.4], spread=[0.8])
    items = np.array([[40.0]])
    for one, other in zip(
        working_data([[0.75]], UNIT, items), working_data([[75.0]], percent, items), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_without_errors_there_is_no_table_of_them():
    values, variance = working_data([[0.2], [math.nan]], UNIT)
    assert variance is None
    np.testing.assert_allclose(values, UNIT.to_working([[0.2], [math.nan]]))


def test_cells_without_an_error_get_the_default():
    scores = np.array([[0.2, 1000.0], [math.nan, 1100.0]])
    stderr = np.array([[math.nan, 10.0], [0.1, math.nan]])
    values, variance = working_data(scores, MIXED, stderr=stderr)
    default = DEFAULT_ERROR_SD**2
    np.testing.assert_allclose(variance, [[default, (10 / 50) ** 2], [default, default]])
    np.testing.assert_allclose(values, MIXED.to_working(scores))


def test_standard_errors_go_through_the_link():
    _, variance = link_moments([[0.3]], UNIT, stderr=np.array([[0.02]]))
    step = 1e-6
    slope = (Scale.unit().forward(0.3 + step) - Scale.unit().forward(0.3 - step)) / (2 * step)
    assert variance[0, 0] == pytest.approx((0.02 * float(slope)) ** 2, rel=1e-6)
    assert delta_method_variance(0.02, slope) == pytest.approx(variance[0, 0], rel=1e-6)


def test_a_standard_error_of_zero_says_nothing_and_a_tiny_one_has_a_floor():
    _, variance = working_data([[1.0], [0.5]], UNIT, stderr=np.array([[0.0], [1e-12]]))
    np.testing.assert_allclose(variance, [[DEFAULT_ERROR_SD**2], [MIN_ERROR_SD**2]])


@pytest.mark.parametrize("value", [1, 164, 164.0, np.int32(7)])
def test_good_item_counts(value):
    assert check_n_items("code", value, Scale.unit()) == float(value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "`n_items` must be a whole number from 1 on, got 0 for skill 'code'"),
        (-3, "whole number from 1 on, got -3"),
        (2.5, "whole number from 1 on, got 2.5"),
        (math.nan, "`n_items` must be a finite number, got nan"),
        (math.inf, "`n_items` must be a finite number, got inf"),
        (10**400, "`n_items` must be a finite number, got inf"),
        ("16", "`n_items` must be a finite number, got '16'"),
        (True, "`n_items` must be a finite number, got True"),
    ],
)
def test_bad_item_counts(value, message):
    with pytest.raises(ScoreError, match=message):
        check_n_items("code", value, Scale.unit())


def test_item_counts_need_bounds():
    with pytest.raises(ScoreError, match=r"left out for skill 'elo', got 16: .* pass stderr"):
        check_n_items("elo", 16, Scale.unbounded())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-0.1, "`stderr` must be zero or positive, got -0.1 for skill 'code'"),
        (math.nan, "`stderr` must be a finite number, got nan"),
        ("x", "`stderr` must be a finite number, got 'x'"),
    ],
)
def test_bad_standard_errors(value, message):
    assert check_stderr("code", 0) == 0.0
    with pytest.raises(ScoreError, match=message):
        check_stderr("code", value)


@pytest.mark.parametrize(
    ("n_items", "stderr", "message"),
    [
        ([[0.0, math.nan]], None, "`n_items` must be a whole .* got 0.0 for agent 'a', skill 'co"),
        ([[1.5, math.nan]], None, "`n_items` must be a whole number"),
        ([[math.inf, math.nan]], None, "`n_items` must be a whole number from 1 on, got inf"),
        ([[4.0, 4.0]], None, "`n_items` must be left out for a skill without bounds .*'elo'"),
        (None, [[-1.0, 0.0]], "`stderr` must be finite and not negative, got -1.0 for agent 'a'"),
        (None, [[math.inf, 0.0]], "`stderr` must be finite and not negative, got inf"),
        ([[4.0, math.nan]], [[0.1, 1.0]], "`stderr` must be left out where `n_items` is given"),
    ],
)
def test_bad_error_tables(n_items, stderr, message):
    tables = [None if table is None else np.array(table) for table in (n_items, stderr)]
    with pytest.raises(HistoryError, match=message):
        check_errors(*tables, MIXED, ("a",), error=HistoryError)


def test_counts_are_possible_up_to_rounding():
    items = np.array([[3.0, math.nan]] * 3)
    rounded = np.array([[0.3333, 1000.0], [0.6667, 1.0], [1.0, 2.0]])
    assert not impossible_counts(rounded, items, MIXED).any()
    wrong = np.array([[0.3333, 1000.0], [0.5, 1.0], [math.nan, 2.0]])
    assert impossible_counts(wrong, items, MIXED).tolist() == [
        [False, False],
        [True, False],
        [False, False],
    ]


@pytest.mark.parametrize(("scale", "top"), [(Scale.unit(), 1.0), (Scale.percent(), 100.0)])
def test_single_precision_is_no_impossible_count(scale, top):
    scores = (top * np.array([[0.637], [0.27], [0.041], [0.9]], dtype="float32")).astype(float)
    scales = Scales(("code",), (scale,))
    assert not impossible_counts(scores, np.full((4, 1), 1000.0), scales).any()
    few = impossible_counts(scores, np.full((4, 1), 100.0), scales)
    assert few.ravel().tolist() == [True, False, True, False]
