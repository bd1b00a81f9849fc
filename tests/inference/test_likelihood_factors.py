"""The likelihood of rows that share factors only against the one that takes any covariance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from numpy.typing import NDArray
from pytensor.compile.mode import Mode
from scipy.optimize import approx_fprime

from skillinfer_bayes.history.measurement import WorkingData
from skillinfer_bayes.inference.likelihood import student_rows
from skillinfer_bayes.inference.likelihood_factors import factor_rows, factor_rows_op
from skillinfer_bayes.inference.rows import Rows, collapse_rows

N_AGENTS, N_SKILLS, RANK = 14, 6, 2


class Point(NamedTuple):
    mean: NDArray[np.float64]
    loadings: NDArray[np.float64]
    own_sd: NDArray[np.float64]
    nu: NDArray[np.float64]

    def spread_out(self, rows: Rows) -> Point:
        """With a mean for each row."""
        mean = np.ascontiguousarray(np.broadcast_to(self.mean, rows.values.shape))
        return self._replace(mean=mean)

    def dense(self) -> NDArray[np.float64]:
        return self.loadings @ self.loadings.T + np.diag(self.own_sd**2)


def somewhere(rng: np.random.Generator, nu: float = np.inf, rank: int = RANK) -> Point:
    return Point(
        rng.standard_normal(N_SKILLS),
        rng.standard_normal((N_SKILLS, rank)),
        rng.uniform(0.2, 1.5, N_SKILLS),
        np.array(nu),
    )


@pytest.fixture(params=["complete", "a row per agent", "holes", "errors per cell"])
def rows(rng, request) -> Rows:
    """Collapsed and single rows, next to others of the same skills or alone."""
    table = rng.standard_normal((N_AGENTS, N_SKILLS))
    if request.param in ("holes", "errors per cell"):
        table[:6, 1] = np.nan
        table[6:9, [0, 3]] = np.nan
        table[9:10, [0, 1, 2, 4, 5]] = np.nan
        table[10] = np.nan
    if request.param != "errors per cell":
        keep = request.param == "a row per agent"
        return collapse_rows(WorkingData(table, None), keep_agents=keep)
    errors = rng.uniform(0.01, 0.5, table.shape)
    errors[:3] = errors[0]
    return collapse_rows(WorkingData(table, errors))


def log_density(point: Point, rows: Rows) -> float:
    spread = point.spread_out(rows)
    return float(student_rows(spread.mean, point.dense(), point.nu, *rows[:-2])[0])


@pytest.mark.parametrize("rank", [1, 3, N_SKILLS + 1])
def test_the_density_is_that_of_the_covariance(rng, rows, rank) -> None:
    point = somewhere(rng, rank=rank)
    logp, *_ = factor_rows(*point.spread_out(rows), *rows[:-2])
    assert float(logp) == pytest.approx(log_density(point, rows), abs=1e-9)


@pytest.mark.parametrize(
    ("nu", "rows"),
    [
        (0.8, "a row per agent"),
        (4.0, "errors per cell"),
        (np.inf, "complete"),
        (np.inf, "holes"),
        (np.inf, "errors per cell"),
    ],
    indirect=["rows"],
)
def test_the_slopes_are_differences_of_the_other_density(rng, rows, nu) -> None:
    point = somewhere(rng, nu)
    logp, by_mean, *slopes = factor_rows(*point.spread_out(rows), *rows[:-2])
    assert float(logp) == pytest.approx(log_density(point, rows), abs=1e-9)
    names = [name for name in Point._fields if name != "nu" or np.isfinite(nu)]
    for name, slope in zip(names, [by_mean.sum(axis=0), *slopes], strict=False):
        start = getattr(point, name)

        def at(flat, name=name, shape=start.shape) -> float:
            return log_density(point._replace(**{name: flat.reshape(shape)}), rows)

        expected = approx_fprime(start.ravel(), at, 1e-7).reshape(start.shape)
        np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("mode", [Mode("py", "fast_compile"), "NUMBA"], ids=["python", "numba"])
def test_op_gives_the_same_through_pytensor(rng, mode) -> None:
    rows = collapse_rows(WorkingData(rng.standard_normal((4, N_SKILLS)), None), keep_agents=True)
    point = somewhere(rng, 5.0)
    at = [pt.dvector("mean"), pt.dmatrix("loadings"), pt.dvector("own_sd"), pt.dscalar("nu")]
    spread = pt.broadcast_to(at[0], rows.values.shape)
    logp, *_ = factor_rows_op(spread, *at[1:], *rows[:-2])
    # scaled, so that a gradient that forgets what comes after the Op is seen
    outputs = [logp, *pytensor.grad(3.0 * logp, at)]
    got = pytensor.function(at, outputs, mode=mode)(*point[:3], 5.0)
    expected, by_mean, *slopes = factor_rows(*point.spread_out(rows), *rows[:-2])
    np.testing.assert_allclose(got[0], expected, rtol=1e-12)
    for ours, slope in zip(got[1:], [by_mean.sum(axis=0), *slopes], strict=True):
        np.testing.assert_allclose(ours, 3.0 * slope, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_loadings_that_are_no_numbers_are_impossible(rng, rows, broken) -> None:
    point = somewhere(rng)
    point.loadings[2, 1] = broken
    logp, *slopes = factor_rows(*point.spread_out(rows), *rows[:-2])
    assert float(logp) == -np.inf
    assert all(np.isfinite(slope).all() for slope in slopes)
