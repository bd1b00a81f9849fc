"""The likelihood of latent classes against a computation that knows nothing of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode
from scipy.optimize import approx_fprime
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from skillinfer_bayes.history.measurement import WorkingData
from skillinfer_bayes.inference.likelihood import student_rows
from skillinfer_bayes.inference.likelihood_classes import class_rows, class_rows_op
from skillinfer_bayes.inference.rows import CLASS_DATA, Rows, collapse_rows

N_AGENTS, N_SKILLS, N_CLASSES = 14, 4, 3


class Parameters(NamedTuple):
    """What is differentiated by, in the order of the kernel's arguments."""

    mean: np.ndarray
    shift: np.ndarray
    log_weight: np.ndarray
    log_scale: np.ndarray
    covariance: np.ndarray


def data_of(rows: Rows) -> list[np.ndarray]:
    return [getattr(rows, name) for name in CLASS_DATA]


def evaluate(at: Parameters, rows: Rows) -> tuple[np.ndarray, ...]:
    return class_rows(*at, *data_of(rows))


def log_density(at: Parameters, rows: Rows) -> float:
    """Sum of the rows' log densities, one scipy call for each row and class."""
    total = 0.0
    for row, mean in enumerate(at.mean):
        seen = np.flatnonzero(rows.observed[row])
        terms = at.log_weight.copy()
        if len(seen):
            block = at.covariance[np.ix_(seen, seen)] + np.diag(rows.error_var[row, seen])
            for c, scale in enumerate(np.exp(at.log_scale)):
                centre = (mean + at.shift[c])[seen]
                terms[c] += multivariate_normal.logpdf(
                    rows.values[row, seen], centre, scale**2 * block
                )
        total += logsumexp(terms)
    return float(total)


@pytest.fixture
def at(rng) -> Parameters:
    root = rng.standard_normal((N_SKILLS, N_SKILLS))
    return Parameters(
        0.3 * rng.standard_normal((N_AGENTS, N_SKILLS)),
        rng.standard_normal((N_CLASSES, N_SKILLS)),
        np.log(rng.dirichlet(np.ones(N_CLASSES))),
        0.4 * rng.standard_normal(N_CLASSES),
        root @ root.T / N_SKILLS + 0.3 * np.eye(N_SKILLS),
    )


@pytest.fixture(params=["complete", "holes", "one pattern each"])
def values(rng, request) -> np.ndarray:
    table = rng.standard_normal((N_AGENTS, N_SKILLS))
    if request.param == "holes":
        # four patterns, so that most rows have company, and a row without any score
        table[:6, 1] = np.nan
        table[6:9, [0, 3]] = np.nan
        table[9, :] = np.nan
    elif request.param == "one pattern each":
        for agent in range(N_AGENTS):
            bits = [bool(agent + 1 & 1 << bit) for bit in range(N_SKILLS)]
            table[agent][~np.array(bits)] = np.nan
    return table


@pytest.fixture(params=["one error", "errors per skill", "errors per cell"])
def rows(rng, request, values) -> Rows:
    """One row per agent, those of a pattern together; only errors per cell part them again."""
    errors = None
    if request.param == "errors per skill":
        errors = np.broadcast_to(rng.uniform(0.01, 0.5, N_SKILLS), values.shape).copy()
    elif request.param == "errors per cell":
        errors = rng.uniform(0.01, 0.5, values.shape)
    return collapse_rows(WorkingData(values, errors), keep_agents=True)


def slopes(at: Parameters, name: str, density: Callable[[Parameters], float]) -> np.ndarray:
    """Finite differences by one parameter, of its shape."""
    start = getattr(at, name)

    def moved(flat: np.ndarray) -> float:
        return density(at._replace(**{name: flat.reshape(start.shape)}))

    return approx_fprime(start.ravel(), moved, 1e-7).reshape(start.shape)


def test_log_density_equals_scipy_row_by_row(at, rows) -> None:
    assert float(evaluate(at, rows)[0]) == pytest.approx(log_density(at, rows), abs=1e-8)


@pytest.mark.parametrize("name", ["mean", "shift", "log_weight", "log_scale"])
def test_gradients_equal_finite_differences_of_scipy(at, rows, name) -> None:
    got = evaluate(at, rows)[1 + Parameters._fields.index(name)]
    expected = slopes(at, name, lambda moved: log_density(moved, rows))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_the_covariances_gradient_equals_finite_differences_of_scipy(at, rows) -> None:
    by_covariance = evaluate(at, rows)[5]
    np.testing.assert_allclose(by_covariance, by_covariance.T, rtol=1e-10)
    for a, b in zip(*np.tril_indices(N_SKILLS), strict=True):
        step = np.zeros_like(at.covariance)
        step[a, b] = step[b, a] = 1e-6
        ends = [
            log_density(at._replace(covariance=at.covariance + way * step), rows)
            for way in (1.0, -1.0)
        ]
        both = by_covariance[a, b] + (by_covariance[b, a] if a != b else 0.0)
        assert both == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("values", ["holes"], indirect=True)
def test_rows_may_come_in_any_order(rng, at, rows) -> None:
    """Rows of a pattern that lie together share their work; apart they give the same."""
    order = rng.permutation(N_AGENTS)
    shuffled = rows._replace(**{name: getattr(rows, name)[order] for name in CLASS_DATA})
    logp, by_mean, *others = evaluate(at, rows)
    again = evaluate(at._replace(mean=at.mean[order]), shuffled)
    assert float(again[0]) == pytest.approx(float(logp), rel=1e-12)
    np.testing.assert_allclose(again[1], by_mean[order], rtol=1e-9, atol=1e-10)
    for one, other in zip(again[2:], others, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("values", ["complete", "holes"], indirect=True)
def test_one_class_of_scale_one_is_the_gaussian(at, rows) -> None:
    shift = at.shift[:1]
    one = Parameters(at.mean, shift, np.zeros(1), np.zeros(1), at.covariance)
    logp, by_mean, by_shift, by_weight, _, by_covariance = evaluate(one, rows)
    plain = student_rows(at.mean + shift, at.covariance, np.array(np.inf), *rows[:-2])
    assert float(logp) == pytest.approx(float(plain[0]), rel=1e-10)
    np.testing.assert_allclose(by_mean, plain[1], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(by_shift[0], plain[1].sum(axis=0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(by_covariance, plain[2], rtol=1e-9, atol=1e-9)
    assert by_weight == pytest.approx(N_AGENTS)


@pytest.mark.parametrize("values", ["holes"], indirect=True)
def test_a_class_without_weight_is_no_class(at, rows) -> None:
    log_weight = at.log_weight.copy()
    log_weight[1] = -np.inf
    kept = [0, 2]
    fewer = Parameters(at.mean, at.shift[kept], log_weight[kept], at.log_scale[kept], at.covariance)
    got, expected = evaluate(at._replace(log_weight=log_weight), rows), evaluate(fewer, rows)
    for position, (one, other) in enumerate(zip(got, expected, strict=True)):
        of_classes = position in (2, 3, 4)
        np.testing.assert_allclose(one[kept] if of_classes else one, other, atol=1e-10)
        assert not of_classes or not one[1].any()


def test_rows_that_no_class_explains_have_a_density(at) -> None:
    """So far out that the densities themselves are zero in double precision."""
    table = 80.0 + 40.0 * np.arange(N_AGENTS * N_SKILLS, dtype=float).reshape(N_AGENTS, N_SKILLS)
    rows = collapse_rows(WorkingData(table, None), keep_agents=True)
    logp, *gradients = evaluate(at, rows)
    assert float(logp) < -1e4
    assert float(logp) == pytest.approx(log_density(at, rows), rel=1e-10)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("values", ["holes"], indirect=True)
@pytest.mark.parametrize("mode", [Mode("py", "fast_compile"), "NUMBA"], ids=["python", "numba"])
def test_op_gives_the_same_through_pytensor(at, values, mode) -> None:
    rows = collapse_rows(WorkingData(values, None), keep_agents=True)
    parameters = [
        pt.tensor(name, dtype="float64", shape=(None,) * array.ndim)
        for name, array in at._asdict().items()
    ]
    logp = class_rows_op(*parameters, *data_of(rows))[0]
    # scaled, so that a gradient that forgets what comes after the Op is seen
    outputs = [logp, *pt.grad(3.0 * logp, parameters)]
    got = pytensor.function(parameters, outputs, mode=mode)(*at)
    expected = evaluate(at, rows)
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-12)
    for one, other in zip(got[1:], expected[1:], strict=True):
        np.testing.assert_allclose(one, 3.0 * other, rtol=1e-9, atol=1e-9)


def test_a_row_without_any_score_adds_nothing(at) -> None:
    rows = collapse_rows(WorkingData(np.full((2, N_SKILLS), np.nan), None), keep_agents=True)
    logp, by_mean, by_shift, by_weight, by_scale, by_covariance = evaluate(
        at._replace(mean=at.mean[:2]), rows
    )
    assert float(logp) == pytest.approx(0.0, abs=1e-12)
    for gradient in (by_mean, by_shift, by_scale, by_covariance):
        assert not gradient.any()
    # two agents, of a class that only the weights know
    np.testing.assert_allclose(by_weight, 2.0 * np.exp(at.log_weight))


def test_a_matrix_that_is_no_covariance_is_impossible(at, rows) -> None:
    covariance = at.covariance.copy()
    covariance[2, 2] = -1.0
    assert float(evaluate(at._replace(covariance=covariance), rows)[0]) == -np.inf


def test_shapes_are_known_without_computing() -> None:
    rows = collapse_rows(WorkingData(np.zeros((3, 2)), None), keep_agents=True)
    inputs = [pt.dmatrix(), pt.dmatrix(), pt.dvector(), pt.dvector(), pt.dmatrix()]
    outputs = [output.shape for output in class_rows_op(*inputs, *data_of(rows))[1:]]
    shapes = pytensor.function(inputs, outputs, mode=Mode("py", "fast_run"))
    got = shapes(np.zeros((3, 2)), np.zeros((5, 2)), np.zeros(5), np.zeros(5), np.eye(2))
    assert [tuple(shape) for shape in got] == [(3, 2), (5, 2), (5,), (5,), (2, 2)]
