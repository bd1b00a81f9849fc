"""Conditioning of Gaussians against dense algebra, and its laws on random inputs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from row_conditioning import conditional_covariance, conditional_means
from scipy.stats import multivariate_normal

from skillinfer_bayes.profiles.conditioning import (
    SMALL_SYSTEM,
    condition,
    solve_spd,
)

N_SKILLS = 6


def gaussians(rng: np.random.Generator, n_draws: int, n_skills: int = N_SKILLS):
    """Means (S, K) and well-conditioned covariances (S, K, K)."""
    root = rng.standard_normal((n_draws, n_skills, n_skills))
    covariance = root @ np.swapaxes(root, 1, 2) / n_skills + 0.2 * np.eye(n_skills)
    return rng.standard_normal((n_draws, n_skills)), covariance


@st.composite
def cases(draw: st.DrawFn):
    """Draws of a population, observed skills in any order, errors, values of two agents."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mean, covariance = gaussians(rng, draw(st.integers(1, 4)))
    order = draw(st.permutations(range(N_SKILLS)))
    observed = np.array(order[: draw(st.integers(0, N_SKILLS))], dtype=np.intp)
    error_var = rng.uniform(0.01, 1.0, len(observed))
    return mean, covariance, observed, error_var, rng.standard_normal((2, len(observed)))


def posterior_of(mean, covariance, observed, error_var, values):
    """Means (S, A, K) and covariances (S, K, K) after conditioning."""
    given_ = condition(covariance, observed, error_var)
    return conditional_means(mean, given_, values), conditional_covariance(covariance, given_)


@pytest.mark.parametrize("m", [1, 3, SMALL_SYSTEM, SMALL_SYSTEM + 1, 12])
def test_equals_the_dense_conditional_of_one_draw(rng, m) -> None:
    mean, covariance = gaussians(rng, 1, n_skills=12)
    observed = rng.permutation(12)[:m]
    error_var = rng.uniform(0.01, 0.5, m)
    values = rng.standard_normal((3, m))
    means, variances = posterior_of(mean, covariance, observed, error_var, values)
    # precision form: information adds up
    design = np.eye(12)[observed]
    precision = np.linalg.inv(covariance[0]) + design.T @ np.diag(1 / error_var) @ design
    expected = np.linalg.inv(precision)
    np.testing.assert_allclose(variances[0], expected, atol=1e-8)
    for agent in range(3):
        pull = design.T @ (values[agent] / error_var) + np.linalg.solve(covariance[0], mean[0])
        np.testing.assert_allclose(means[0, agent], expected @ pull, atol=1e-8)


def test_densities_chain_as_scipy_says(rng) -> None:
    """p(theta, y) / p(y) is the conditional density, whatever theta."""
    mean, covariance = gaussians(rng, 1)
    observed, error_var = np.array([4, 1]), np.array([0.1, 0.3])
    values = rng.standard_normal((1, 2))
    means, variances = posterior_of(mean, covariance, observed, error_var, values)
    block = covariance[0][np.ix_(observed, observed)] + np.diag(error_var)
    evidence = multivariate_normal.logpdf(values[0], mean[0, observed], block)
    for theta in rng.standard_normal((5, N_SKILLS)):
        joint = multivariate_normal.logpdf(theta, mean[0], covariance[0])
        joint += multivariate_normal.logpdf(values[0], theta[observed], np.diag(error_var))
        conditional = multivariate_normal.logpdf(theta, means[0, 0], variances[0])
        assert conditional == pytest.approx(joint - evidence, abs=1e-8)


def test_variances_are_the_diagonal_of_the_covariance(rng) -> None:
    _, covariance = gaussians(rng, 3)
    given_ = condition(covariance, np.array([0, 5]), np.array([0.1, 0.2]))
    full = conditional_covariance(covariance, given_)
    np.testing.assert_allclose(given_.variance, np.einsum("skk->sk", full), atol=1e-12)


@given(cases())
def test_observing_nothing_leaves_the_marginal(case) -> None:
    mean, covariance, *_ = case
    nothing = np.array([], dtype=np.intp)
    means, after = posterior_of(mean, covariance, nothing, np.array([]), np.empty((2, 0)))
    np.testing.assert_array_equal(means, np.stack([mean, mean], axis=1))
    np.testing.assert_allclose(after, covariance, rtol=1e-12, atol=1e-14)


@given(cases())
def test_observing_everything_without_noise_gives_the_data(case) -> None:
    mean, covariance, *_ = case
    everything = np.arange(N_SKILLS)
    values = np.linspace(-2.0, 2.0, 2 * N_SKILLS).reshape(2, N_SKILLS)
    given_ = condition(covariance, everything, np.zeros(N_SKILLS))
    means = conditional_means(mean, given_, values)
    np.testing.assert_allclose(means, np.broadcast_to(values, means.shape), atol=1e-7)
    np.testing.assert_allclose(given_.variance, 0.0, atol=1e-7)


@given(cases(), st.permutations(range(N_SKILLS)))
def test_permuting_skills_commutes(case, order) -> None:
    mean, covariance, observed, error_var, values = case
    means, after = posterior_of(mean, covariance, observed, error_var, values)
    order = np.array(order)
    place = np.argsort(order)
    moved = posterior_of(
        mean[:, order],
        covariance[:, order][:, :, order],
        place[observed],
        error_var,
        values,
    )
    np.testing.assert_allclose(moved[0], means[:, :, order], atol=1e-8)
    np.testing.assert_allclose(moved[1], after[:, order][:, :, order], atol=1e-8)


@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_observations_leaves_no_trace(case, random) -> None:
    mean, covariance, observed, error_var, values = case
    shuffled = list(range(len(observed)))
    random.shuffle(shuffled)
    first = posterior_of(mean, covariance, observed, error_var, values)
    second = posterior_of(
        mean, covariance, observed[shuffled], error_var[shuffled], values[:, shuffled]
    )
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)


@given(cases())
def test_observing_never_adds_variance(case) -> None:
    _, covariance, observed, error_var, _ = case
    given_ = condition(covariance, observed, error_var)
    marginal = np.einsum("skk->sk", covariance)
    assert (given_.variance <= marginal * (1 + 1e-12)).all()
    assert (given_.variance >= 0).all()
    assert (given_.variance[:, observed] <= error_var + 1e-12).all()


@given(cases())
def test_one_after_the_other_equals_all_at_once(case) -> None:
    mean, covariance, observed, error_var, values = case
    joint_means, joint = posterior_of(mean, covariance, observed, error_var, values)
    for agent in range(len(values)):
        at, spread = mean, covariance
        for position in range(len(observed)):
            one = slice(position, position + 1)
            means, spread = posterior_of(
                at, spread, observed[one], error_var[one], values[agent : agent + 1, one]
            )
            at = means[:, 0]
        np.testing.assert_allclose(at, joint_means[:, agent], atol=1e-7)
        np.testing.assert_allclose(spread, joint, atol=1e-7)


@pytest.mark.parametrize("m", [1, 2, SMALL_SYSTEM, SMALL_SYSTEM + 2])
def test_solve_equals_numpy_and_leaves_its_inputs(rng, m) -> None:
    _, system = gaussians(rng, 4, n_skills=m)
    right = rng.standard_normal((4, m, 3))
    kept = system.copy(), right.copy()
    np.testing.assert_allclose(
        solve_spd(system, right), np.linalg.solve(system, right), rtol=1e-8, atol=1e-10
    )
    np.testing.assert_array_equal(system, kept[0])
    np.testing.assert_array_equal(right, kept[1])
