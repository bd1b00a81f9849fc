"""The likelihood Op against a computation that knows nothing of it."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal, multivariate_t

from skillinfer_bayes.history.measurement import WorkingData
from skillinfer_bayes.inference.likelihood import (
    FEWEST_LANES,
    LANES,
    StudentRows,
    student_rows,
    student_rows_op,
)
from skillinfer_bayes.inference.rows import DEFAULT_ERROR_VAR, Rows, collapse_rows

N_AGENTS, N_SKILLS = 14, 5
GAUSSIAN = np.array(np.inf)


def evaluate(mean, covariance, rows: Rows, nu: np.ndarray = GAUSSIAN):
    return student_rows(spread_out(mean, rows), covariance, nu, *rows[:-2])


def log_density(mean, covariance, values, error_var, nu: float = np.inf) -> float:
    """Sum of the agents' log densities, one scipy call each."""
    total = 0.0
    for row, errors in zip(values, error_var, strict=True):
        seen = np.flatnonzero(~np.isnan(row))
        if len(seen):
            block = covariance[np.ix_(seen, seen)] + np.diag(errors[seen])
            if np.isinf(nu):
                total += multivariate_normal.logpdf(row[seen], mean[seen], block)
            else:
                total += multivariate_t.logpdf(row[seen], mean[seen], block, df=nu)
    return total


@pytest.fixture
def mean(rng) -> np.ndarray:
    return rng.standard_normal(N_SKILLS)


@pytest.fixture
def covariance(rng) -> np.ndarray:
    root = rng.standard_normal((N_SKILLS, N_SKILLS))
    return root @ root.T / N_SKILLS + 0.3 * np.eye(N_SKILLS)


@pytest.fixture(params=["complete", "holes", "one pattern each"])
def values(rng, request) -> np.ndarray:
    table = rng.standard_normal((N_AGENTS, N_SKILLS))
    if request.param == "holes":
        # three patterns, so that most rows have company
        table[:6, 1] = np.nan
        table[6:9, [0, 3]] = np.nan
        table[9:10, [0, 1, 2, 4]] = np.nan
    elif request.param == "one pattern each":
        table[:, 0] = np.nan
        for agent in range(N_AGENTS):
            bits = [bool(agent + 1 & 1 << bit) for bit in range(N_SKILLS - 1)]
            table[agent, 1:][~np.array(bits)] = np.nan
    return table


@pytest.fixture(params=["collapsed", "a row per agent", "errors per cell"])
def measured(rng, request, values) -> tuple[np.ndarray, np.ndarray, Rows]:
    """Values, error variances of every cell, and the rows made of them."""
    if request.param == "errors per cell":
        errors = rng.uniform(0.01, 0.5, values.shape)
        return values, errors, collapse_rows(WorkingData(values, errors))
    errors = np.full(values.shape, DEFAULT_ERROR_VAR)
    keep = request.param == "a row per agent"
    return values, errors, collapse_rows(WorkingData(values, None), keep_agents=keep)


def spread_out(mean: np.ndarray, rows: Rows) -> np.ndarray:
    return np.ascontiguousarray(np.broadcast_to(mean, rows.values.shape))


def test_log_density_equals_scipy_row_by_row(mean, covariance, measured) -> None:
    values, errors, rows = measured
    logp, *_ = evaluate(mean, covariance, rows)
    assert float(logp) == pytest.approx(log_density(mean, covariance, values, errors), abs=1e-8)


def test_gradients_equal_finite_differences_of_scipy(mean, covariance, measured) -> None:
    values, errors, rows = measured
    _, by_mean, by_covariance, _ = evaluate(mean, covariance, rows)
    expected = approx_fprime(mean, lambda at: log_density(at, covariance, values, errors), 1e-7)
    np.testing.assert_allclose(by_mean.sum(axis=0), expected, rtol=1e-4, atol=1e-4)
    for a, b in [(0, 0), (2, 2), (1, 3), (4, 2)]:
        step = np.zeros_like(covariance)
        step[a, b] = step[b, a] = 1e-6
        ends = [log_density(mean, covariance + way * step, values, errors) for way in (1.0, -1.0)]
        slope = (ends[0] - ends[1]) / 2e-6
        both = by_covariance[a, b] + (by_covariance[b, a] if a != b else 0.0)
        assert both == pytest.approx(slope, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("nu", [0.7, 4.0, 60.0])
def test_student_rows_equal_scipy_and_their_slopes_its_differences(
    rng, mean, covariance, values, nu
) -> None:
    errors = rng.uniform(0.01, 0.5, values.shape)
    rows = collapse_rows(WorkingData(values, errors))
    logp, by_mean, by_covariance, by_nu = evaluate(mean, covariance, rows, np.array(nu))
    assert float(logp) == pytest.approx(log_density(mean, covariance, values, errors, nu), abs=1e-8)
    expected = approx_fprime(mean, lambda at: log_density(at, covariance, values, errors, nu), 1e-7)
    np.testing.assert_allclose(by_mean.sum(axis=0), expected, rtol=1e-4, atol=1e-4)
    step = np.zeros_like(covariance)
    step[1, 3] = step[3, 1] = 1e-6
    ends = [log_density(mean, covariance + way * step, values, errors, nu) for way in (1.0, -1.0)]
    both = by_covariance[1, 3] + by_covariance[3, 1]
    assert both == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-4)
    ends = [log_density(mean, covariance, values, errors, nu + way * 1e-5) for way in (1.0, -1.0)]
    assert float(by_nu) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("n_agents", [LANES - 1, LANES, LANES + FEWEST_LANES - 1, 2 * LANES + 9])
def test_systems_that_are_inverted_together_are_none_the_worse(
    rng, mean, covariance, n_agents
) -> None:
    values = rng.standard_normal((n_agents, N_SKILLS))
    values[rng.random(values.shape) < 0.3] = np.nan
    errors = rng.uniform(0.01, 0.5, values.shape)
    rows = collapse_rows(WorkingData(values, errors))
    logp, by_mean, by_covariance, _ = evaluate(mean, covariance, rows, np.array(4.0))
    expected = log_density(mean, covariance, values, errors, 4.0)
    assert float(logp) == pytest.approx(expected, rel=1e-12)
    alone = [evaluate_row(mean, covariance, rows, row) for row in range(n_agents)]
    np.testing.assert_allclose(by_mean, [one[1][0] for one in alone], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(by_covariance, sum(one[2] for one in alone), rtol=1e-9, atol=1e-12)


def evaluate_row(mean, covariance, rows: Rows, row: int):
    """One row by itself, which is inverted by itself."""
    only = [part[row : row + 1] for part in (rows.values, rows.observed, rows.error_var)]
    rest = (rows.n_agents[:1], rows.scatter, rows.scatter_row[:1])
    return student_rows(mean[None], covariance, np.array(4.0), *only, *rest)


def test_student_rows_approach_the_gaussian(mean, covariance, values) -> None:
    rows = collapse_rows(WorkingData(values, None), keep_agents=True)
    wide, *_ = evaluate(mean, covariance, rows, np.array(1e7))
    gaussian, *_ = evaluate(mean, covariance, rows)
    assert float(wide) == pytest.approx(float(gaussian), rel=1e-4)


@pytest.mark.parametrize("values", ["holes"], indirect=True)
@pytest.mark.parametrize("mode", [Mode("py", "fast_compile"), "NUMBA"], ids=["python", "numba"])
def test_op_gives_the_same_through_pytensor(mean, covariance, values, mode) -> None:
    rows = collapse_rows(WorkingData(values, None), keep_agents=True)
    at_mean, at_covariance, at_nu = pt.dvector("mean"), pt.dmatrix("covariance"), pt.dscalar("nu")
    spread = pt.broadcast_to(at_mean, rows.values.shape)
    logp, *_ = student_rows_op(spread, at_covariance, at_nu, *rows[:-2])
    # scaled, so that a gradient that forgets what comes after the Op is seen
    parameters = [at_mean, at_covariance, at_nu]
    outputs = [logp, *pytensor.grad(3.0 * logp, parameters)]
    got = pytensor.function(parameters, outputs, mode=mode)(mean, covariance, 5.0)
    logp, by_mean, by_covariance, by_nu = evaluate(mean, covariance, rows, np.array(5.0))
    np.testing.assert_allclose(got[3], 3.0 * by_nu, rtol=1e-9)
    np.testing.assert_allclose(got[0], logp, rtol=1e-12)
    np.testing.assert_allclose(got[1], 3.0 * by_mean.sum(axis=0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(got[2], 3.0 * by_covariance, rtol=1e-9, atol=1e-9)


def test_a_row_without_any_score_adds_nothing(mean, covariance) -> None:
    values = np.full((2, N_SKILLS), np.nan)
    rows = collapse_rows(WorkingData(values, None))
    logp, by_mean, by_covariance, _ = evaluate(mean, covariance, rows)
    assert float(logp) == 0.0
    assert not by_mean.any()
    assert not by_covariance.any()


def test_a_matrix_that_is_no_covariance_is_impossible(mean, covariance, values) -> None:
    rows = collapse_rows(WorkingData(values, None))
    covariance[1, 1] = -1.0
    logp, *_ = evaluate(mean, covariance, rows)
    assert float(logp) == -np.inf


def test_shapes_are_known_without_computing() -> None:
    rows = collapse_rows(WorkingData(np.zeros((3, 2)), None))
    inputs = [pt.dmatrix(), pt.dmatrix(), pt.dscalar(), *rows[:-2]]
    outputs = [output.shape for output in student_rows_op(*inputs)[1:]]
    shapes = pytensor.function(inputs[:3], outputs, mode=Mode("py", "fast_run"))
    got = shapes(np.zeros((1, 2)), np.eye(2), 3.0)
    assert [tuple(shape) for shape in got] == [(1, 2), (2, 2), ()]


def test_a_kernel_that_changed_is_not_taken_for_the_one_compiled_before() -> None:
    class Changed(StudentRows):
        version = StudentRows.version + 1

    assert StudentRows().__props__ == ("version",)
    assert StudentRows()._props() != Changed()._props()
