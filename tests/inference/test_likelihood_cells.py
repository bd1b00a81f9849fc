"""The likelihood of single scores against scipy, one call each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from numpy.typing import NDArray
from pytensor.compile.mode import Mode
from scipy.optimize import approx_fprime
from scipy.stats import t

from skillinfer_bayes.inference.likelihood_cells import student_cells, student_cells_op

N_AGENTS, N_SKILLS, RANK, N_SCORES = 6, 5, 2, 21


class Point(NamedTuple):
    mu: NDArray[np.float64]
    loadings: NDArray[np.float64]
    factors: NDArray[np.float64]
    own_sd: NDArray[np.float64]
    noise: NDArray[np.float64]
    nu: NDArray[np.float64]


@pytest.fixture
def data(rng) -> tuple[np.ndarray, ...]:
    cells = rng.permutation(N_AGENTS * N_SKILLS)[:N_SCORES]
    values = rng.standard_normal(N_SCORES)
    return values, rng.uniform(0.01, 0.4, N_SCORES), cells % N_SKILLS, cells // N_SKILLS


def somewhere(rng: np.random.Generator, nu: float) -> Point:
    return Point(
        rng.standard_normal(N_SKILLS),
        rng.standard_normal((N_SKILLS, RANK)),
        rng.standard_normal((N_AGENTS, RANK)),
        rng.uniform(0.3, 1.5, N_SKILLS),
        rng.uniform(0.5, 2.0, N_AGENTS),
        np.array(nu),
    )


def log_density(point: Point, data: tuple[np.ndarray, ...]) -> float:
    total = 0.0
    for value, error_var, j, i in zip(*data, strict=True):
        mean = point.mu[j] + point.loadings[j] @ point.factors[i]
        sd = np.sqrt((point.own_sd[j] * point.noise[i]) ** 2 + error_var)
        total += t.logpdf(value, float(point.nu), mean, sd)
    return total


@pytest.mark.parametrize("nu", [0.8, 4.0, 50.0])
def test_the_density_equals_scipy_and_the_slopes_its_differences(rng, data, nu) -> None:
    point = somewhere(rng, nu)
    logp, *slopes = student_cells(*point, *data)
    assert float(logp) == pytest.approx(log_density(point, data), abs=1e-9)
    for name, slope in zip(Point._fields, slopes, strict=True):
        start = getattr(point, name)

        def at(flat, name=name, shape=start.shape) -> float:
            return log_density(point._replace(**{name: flat.reshape(shape)}), data)

        expected = approx_fprime(start.ravel(), at, 1e-7).reshape(start.shape)
        np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("scale", [1e-40, 1e40])
def test_terms_too_large_or_small_for_a_product_are_added_all_the_same(rng, data, scale) -> None:
    point = somewhere(rng, 5.0)
    values, error_var, *places = data
    point = point._replace(own_sd=scale * point.own_sd)
    data = (values, scale**2 * error_var, *places)
    logp, *slopes = student_cells(*point, *data)
    assert float(logp) == pytest.approx(log_density(point, data), rel=1e-12)
    assert all(np.isfinite(slope).all() for slope in slopes)


def test_a_term_too_large_does_not_make_the_next_product_longer(rng) -> None:
    """Fifteen factors of 1e29 are too large for a float, eight are not."""
    n_scores = 32
    point = somewhere(rng, 5.0)
    skills = np.arange(n_scores, dtype=np.int64) % point.mu.size
    agents = np.arange(n_scores, dtype=np.int64) % len(point.noise)
    error_var = np.where(np.arange(n_scores) % 8 == 0, 1e31, 1e29)
    data = (np.zeros(n_scores), error_var, skills, agents)
    logp, *_ = student_cells(*point, *data)
    assert float(logp) == pytest.approx(log_density(point, data), rel=1e-12)


@pytest.mark.parametrize("mode", [Mode("py", "fast_compile"), "NUMBA"], ids=["python", "numba"])
def test_the_op_gives_the_same_through_pytensor(rng, data, mode) -> None:
    point = somewhere(rng, 5.0)
    parameters = [pt.tensor(dtype="float64", shape=(None,) * part.ndim) for part in point]
    logp = student_cells_op(*parameters, *data)[0]
    # scaled, so that a gradient that forgets what comes after the Op is seen
    outputs = [logp, *pytensor.grad(3.0 * logp, parameters)]
    got = pytensor.function(parameters, outputs, mode=mode)(*point)
    expected, *slopes = student_cells(*point, *data)
    np.testing.assert_allclose(got[0], expected, rtol=1e-12)
    for one, other in zip(got[1:], slopes, strict=True):
        np.testing.assert_allclose(one, 3.0 * other, rtol=1e-9)


def test_no_score_says_nothing(rng) -> None:
    none = np.zeros(0)
    nobody = np.zeros(0, dtype=np.int64)
    logp, *slopes = student_cells(*somewhere(rng, 3.0), none, none, nobody, nobody)
    assert float(logp) == 0.0
    assert not any(slope.any() for slope in slopes)
