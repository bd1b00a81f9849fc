"""Scores of predictions against numerical integration and closed forms."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from skillinfer_bayes.checks.scores import DrawnForecast, NormalForecast, load
from skillinfer_bayes.exceptions import MissingDependencyError

MEAN, SD = np.array([[0.4, 0.7]]), np.array([[0.1, 0.3]])
SCORES = np.array([[0.55, 0.1]])


@pytest.fixture(scope="module")
def draws() -> np.ndarray:
    # quantiles rather than random numbers: the draws' distribution is then the normal itself
    levels = (np.arange(20_000) + 0.5) / 20_000
    return MEAN + SD * norm.ppf(levels)[:, None, None]


def integrated_crps(score: float, mean: float, sd: float) -> float:
    def gap(at: float) -> float:
        return (norm.cdf(at, mean, sd) - float(at >= score)) ** 2

    return quad(gap, mean - 12 * sd, score)[0] + quad(gap, score, mean + 12 * sd)[0]


def test_crps_is_the_integral(draws) -> None:
    expected = [
        [integrated_crps(*cell) for cell in zip(SCORES[0], MEAN[0], SD[0], strict=True)],
    ]
    assert NormalForecast(MEAN, SD).crps(SCORES) == pytest.approx(np.array(expected), rel=1e-6)
    assert DrawnForecast(draws, MEAN, SD).crps(SCORES) == pytest.approx(
        np.array(expected), rel=1e-3
    )


def test_draws_are_the_predictive_distribution_itself() -> None:
    # half the mass at 0 and half at 1: the integral of (1/2 - 0)^2 and (1/2 - 1)^2
    two = DrawnForecast(np.array([[[0.0]], [[1.0]]]), np.array([[0.5]]), np.array([[0.5]]))
    assert two.crps(np.array([[0.5]])) == pytest.approx(0.25)


def test_log_score_is_minus_the_log_density(draws) -> None:
    expected = -norm.logpdf(SCORES, MEAN, SD)
    assert NormalForecast(MEAN, SD).log_score(SCORES) == pytest.approx(expected)
    assert DrawnForecast(draws, MEAN, SD).log_score(SCORES) == pytest.approx(expected, abs=0.05)


def test_scores_far_off_are_bad_and_finite(draws) -> None:
    far = SCORES + 1e3
    normal, drawn = NormalForecast(MEAN, SD), DrawnForecast(draws, MEAN, SD, span=2.0)
    assert normal.log_score(far) == pytest.approx(-norm.logpdf(far, MEAN, SD))
    # a density of one draw in all of them, over the span
    assert drawn.log_score(far) == pytest.approx(np.log(20_001 * 2.0))
    for forecast in (normal, drawn):
        assert forecast.crps(far) == pytest.approx(far - MEAN, rel=1e-2)


def test_draws_without_spread_are_scored_too() -> None:
    stuck = DrawnForecast(np.ones((50, 1, 2)), np.ones((1, 2)), np.zeros((1, 2)), 0.01, span=1e9)
    scores = np.array([[1.0, 0.98]])
    assert stuck.crps(scores) == pytest.approx(np.array([[0.0, 0.02]]))
    assert stuck.log_score(scores) == pytest.approx(-norm.logpdf(scores, 1.0, 0.01), abs=0.05)
    sure = NormalForecast(np.ones((1, 2)), np.zeros((1, 2)))
    assert sure.crps(scores) == pytest.approx(np.array([[0.0, 0.02]]), abs=1e-6)
    assert np.isfinite(sure.log_score(scores)).all()


@pytest.mark.parametrize("ci_prob", [0.5, 0.9])
def test_intervals_hold_their_mass(draws, ci_prob) -> None:
    expected = norm.interval(ci_prob, MEAN, SD)
    for forecast in (NormalForecast(MEAN, SD), DrawnForecast(draws, MEAN, SD)):
        assert np.array(forecast.interval(ci_prob)) == pytest.approx(np.array(expected), abs=1e-3)


def test_intervals_end_where_scores_do() -> None:
    lower, upper = NormalForecast(MEAN, SD, 0.3, 0.8).interval(0.95)
    assert lower.min() == 0.3
    assert upper.max() == 0.8


def test_reported_intervals_win(draws) -> None:
    own = (MEAN - 1.0, MEAN + 1.0)
    forecast = DrawnForecast(draws, MEAN, SD, intervals={0.9: own})
    assert forecast.interval(0.9) is own
    assert forecast.interval(0.8)[0] == pytest.approx(norm.ppf(0.1, MEAN, SD), abs=1e-3)


def test_probabilities_below_tell_ties_apart(draws) -> None:
    low, high = NormalForecast(MEAN, SD).below(SCORES)
    assert low == pytest.approx(norm.cdf(SCORES, MEAN, SD))
    assert (low == high).all()
    steps = DrawnForecast(np.array([0.0, 0.5, 0.5, 1.0])[:, None, None], MEAN, SD)
    assert [float(side[0, 0]) for side in steps.below(np.array([[0.5]]))] == [0.25, 0.75]


def test_a_missing_library_says_what_to_install(monkeypatch) -> None:
    def refuse(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(
        MissingDependencyError, match=r"needs sklearn.*skillinfer_bayes\[validation"
    ):
        load("sklearn.impute")
