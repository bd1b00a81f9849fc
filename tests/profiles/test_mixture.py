"""Summaries of a mixture of Gaussians against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from skillinfer_bayes import Scale
from skillinfer_bayes.profiles.mixture import (
    gauss_hermite,
    mixture_cdf,
    mixture_moments,
    mixture_quantile,
)


def components(rng: np.random.Generator, n_draws: int = 30):
    """Means (S, 2, 3) and sds (S, 1, 3): two agents, three skills."""
    mean = rng.standard_normal((n_draws, 2, 3)) * [0.1, 1.0, 3.0]
    return mean, rng.uniform(0.2, 1.5, (n_draws, 1, 3))


@given(seed=st.integers(0, 2**32 - 1), probability=st.floats(0.001, 0.999))
def test_quantile_inverts_the_distribution_function(seed, probability) -> None:
    mean, sd = components(np.random.default_rng(seed))
    at = mixture_quantile(probability, mean, sd)
    np.testing.assert_allclose(mixture_cdf(at, mean, sd), probability, atol=1e-9)


def test_components_far_apart_do_not_lose_the_quantile() -> None:
    mean = np.array([[[-50.0]], [[50.0]]])
    sd = np.full((2, 1, 1), 0.01)
    for probability, expected in [(0.25, -50.0), (0.75, 50.0)]:
        at = mixture_quantile(probability, mean, sd)
        np.testing.assert_allclose(at, expected, atol=1e-6)


def test_one_component_is_a_gaussian() -> None:
    mean, sd = np.array([[[0.3]]]), np.array([[[2.0]]])
    assert mixture_quantile(0.95, mean, sd).item() == pytest.approx(norm.ppf(0.95, 0.3, 2.0))
    assert mixture_cdf(np.array([[1.0]]), mean, sd).item() == pytest.approx(norm.cdf(1.0, 0.3, 2.0))


def test_components_without_width_are_steps() -> None:
    mean = np.array([0.0, 1.0, 2.0, 3.0]).reshape(4, 1, 1)
    sd = np.zeros((4, 1, 1))
    below = [mixture_cdf(np.array([[at]]), mean, sd).item() for at in (-1.0, 0.5, 1.5, 9.0)]
    assert below == [0.0, 0.25, 0.5, 1.0]
    assert mixture_quantile(0.6, mean, sd).item() == pytest.approx(2.0, abs=1e-6)


@pytest.mark.parametrize("scale", [Scale.unbounded(), Scale.unit()], ids=["identity", "logit"])
def test_moments_equal_brute_force(rng, scale) -> None:
    mean, sd = components(rng, n_draws=20)
    got_mean, got_sd = mixture_moments(mean, sd, scale.backward)
    draws = scale.backward(mean + sd * rng.standard_normal((20_000, *mean.shape)))
    flat = draws.reshape(-1, 2, 3)
    error = flat.std(axis=0) / np.sqrt(len(flat))
    assert (np.abs(got_mean - flat.mean(axis=0)) < 6 * error).all()
    np.testing.assert_allclose(got_sd, flat.std(axis=0), rtol=0.01)


def test_identity_moments_follow_the_law_of_total_variance(rng) -> None:
    mean, sd = components(rng)
    got_mean, got_sd = mixture_moments(mean, sd, lambda x: x)
    np.testing.assert_allclose(got_mean, mean.mean(axis=0), atol=1e-12)
    total = (sd**2).mean(axis=0) + mean.var(axis=0)
    np.testing.assert_allclose(got_sd, np.sqrt(total), rtol=1e-10)


def test_quadrature_integrates_polynomials_exactly() -> None:
    nodes, weights = gauss_hermite(9)
    moments = [float(weights @ nodes**power) for power in (0, 1, 2, 3, 4, 6)]
    np.testing.assert_allclose(moments, [1, 0, 1, 0, 3, 15], atol=1e-9)
