"""The fast path's moments are exact on the working scale, its quantiles close."""

from __future__ import annotations

import numpy as np
import pytest
from row_conditioning import conditional_means
from scipy import stats

from skillinfer_bayes.profiles.conditioning import condition
from skillinfer_bayes.profiles.mixture import mixture_quantile
from skillinfer_bayes.profiles.moments import (
    MAX_EXCESS_KURTOSIS,
    MAX_SKEWNESS,
    Cumulants,
    Widening,
    mixture_cumulants,
    mixture_quantile_of,
)


@pytest.fixture(params=[0, 1, 3], ids="{} observed".format)
def case(rng, request):
    """Cumulants, and the mixture's own means (S, A, K) and sds (S, 1, K)."""
    return case_of(rng, request.param)


@pytest.fixture(
    params=[(4, 0), (5, 1), (5, 3), (12, 1), (12, 3)],
    ids="nu about {0[0]}, m={0[1]}".format,
)
def widened(rng, request):
    """As `case`, with Student-t rows; sds (S, A, K)."""
    nu, m = request.param
    return case_of(rng, m, nu)


def case_of(rng, m, about=np.inf):
    n_draws, n_skills = 400, 5
    root = rng.standard_normal((n_skills, n_skills)) / 2 + np.eye(n_skills)
    scattered = root + 0.1 * rng.standard_normal((n_draws, n_skills, n_skills))
    covariance = scattered @ np.swapaxes(scattered, 1, 2)
    mean = 0.2 * rng.standard_normal((n_draws, n_skills))
    given = condition(covariance, np.arange(m), np.full(m, 0.05))
    values = rng.standard_normal((7, m))
    extra = np.linspace(0.0, 0.2, n_skills)
    means = conditional_means(mean, given, values)
    variance = (given.variance + extra)[:, None, :]
    if np.isinf(about):
        cumulants = mixture_cumulants(mean, given, values, extra)
        return cumulants, means, np.sqrt(variance)
    nu = about * np.exp(0.2 * rng.standard_normal(n_draws))
    chi2 = stats.chi2.ppf((rng.permutation(n_draws) + 0.5) / n_draws, nu + m)
    precision = np.linalg.inv(covariance[:, :m, :m] + 0.05 * np.eye(m))
    cumulants = mixture_cumulants(mean, given, values, extra, Widening(nu, chi2, precision))
    residual = values[None] - mean[:, None, :m]
    distance = np.einsum("sam,smn,san->sa", residual, precision, residual)
    factor = (nu[:, None] + distance) / chi2[:, None]
    return cumulants, means, np.sqrt(variance * factor[:, :, None])


def test_mean_and_sd_are_exact(case) -> None:
    cumulants, means, sd = case
    np.testing.assert_allclose(cumulants.mean, means.mean(axis=0), atol=1e-10)
    total = means.var(axis=0) + (sd**2).mean(axis=0)
    np.testing.assert_allclose(cumulants.sd, np.sqrt(total), atol=1e-10)


def test_skewness_and_kurtosis_are_exact_where_they_are_moderate(case) -> None:
    cumulants, means, sd = case
    centred = means - means.mean(axis=0)
    variance = (centred**2 + sd**2).mean(axis=0)
    third = (centred**3 + 3 * centred * sd**2).mean(axis=0) / variance**1.5
    fourth = (centred**4 + 6 * centred**2 * sd**2 + 3 * sd**4).mean(axis=0) / variance**2 - 3
    kept = (np.abs(third) < 0.6) & (fourth > 0) & (fourth < 2)
    assert kept.mean() > 0.5
    np.testing.assert_allclose(cumulants.skewness[kept], third[kept], atol=1e-9)
    np.testing.assert_allclose(cumulants.excess_kurtosis[kept], fourth[kept], atol=1e-9)


@pytest.mark.parametrize("probability", [0.05, 0.25, 0.5, 0.9])
def test_quantiles_are_close(case, probability) -> None:
    cumulants, means, sd = case
    exact = mixture_quantile(probability, means, sd)
    fast = mixture_quantile_of(probability, cumulants)
    assert (np.abs(fast - exact) < 0.01 * cumulants.sd).all()


def test_heavy_tails_leave_four_moments_exact(widened) -> None:
    cumulants, means, sd = widened
    np.testing.assert_allclose(cumulants.mean, means.mean(axis=0), atol=1e-10)
    centred = means - means.mean(axis=0)
    variance = (centred**2 + sd**2).mean(axis=0)
    np.testing.assert_allclose(cumulants.sd, np.sqrt(variance), atol=1e-10)
    third = (centred**3 + 3 * centred * sd**2).mean(axis=0) / variance**1.5
    fourth = (centred**4 + 6 * centred**2 * sd**2 + 3 * sd**4).mean(axis=0) / variance**2 - 3
    np.testing.assert_allclose(
        cumulants.skewness, np.clip(third, -MAX_SKEWNESS, MAX_SKEWNESS), atol=1e-9
    )
    np.testing.assert_allclose(
        cumulants.excess_kurtosis, np.clip(fourth, 0.0, MAX_EXCESS_KURTOSIS), atol=1e-9
    )


@pytest.mark.parametrize(
    "widened",
    [(5, 1), (5, 3), (12, 0), (12, 3)],
    ids="nu about {0[0]}, m={0[1]}".format,
    indirect=True,
)
@pytest.mark.parametrize("probability", [0.05, 0.25, 0.5, 0.75, 0.95])
def test_interval_ends_are_close_for_heavy_tails(widened, probability) -> None:
    cumulants, means, sd = widened
    exact = mixture_quantile(probability, means, sd)
    fast = mixture_quantile_of(probability, cumulants)
    # four moments say less about the tails than they do for Gaussian rows
    assert (np.abs(fast - exact) < 0.05 * cumulants.sd).all()


@pytest.mark.parametrize("nu", [5.0, 7.0, 12.0, 60.0])
def test_quantiles_without_skewness_are_those_of_a_student_t(nu) -> None:
    excess = np.array([[6.0 / (nu - 4.0)]])
    alone = Cumulants(np.array([[2.0]]), np.array([[3.0]]), np.zeros((1, 1)), excess)
    for probability in (0.005, 0.05, 0.25, 0.5, 0.9):
        expected = 2.0 + 3.0 * stats.t.ppf(probability, nu) * np.sqrt((nu - 2.0) / nu)
        found = mixture_quantile_of(probability, alone)
        assert found == pytest.approx(np.array([[expected]]), abs=0.002)


def test_no_agents_are_no_problem(rng) -> None:
    covariance = np.broadcast_to(np.eye(3), (10, 3, 3))
    given = condition(covariance, np.array([1]), np.array([0.1]))
    cumulants = mixture_cumulants(np.zeros((10, 3)), given, np.empty((0, 1)), np.zeros(3))
    assert cumulants.mean.shape == (0, 3)
