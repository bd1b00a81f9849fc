"""The Gaussian likelihood of table rows with empty cells, as one PyTensor Op.

Row i of the history has observed skills J. With the latent skills integrated out,

    y_iJ ~ Normal(mean_iJ, Sigma_JJ + diag(s2_iJ)),

whose log density is summed over rows. A graph that spells this out grows with the number of
distinct J; one Op whose gradient is written by hand does not, compiles once, and takes new data
of any size. Rows that share J and have no error of their own arrive as count, mean and scatter, so
that their cost does not depend on how many they are.

The gradient is the standard one for a Gaussian log density (Petersen and Pedersen (2012), The
Matrix Cookbook, sections 8.1 and 9.1): with A = Sigma_JJ + diag(s2), r = y - mean and C the
scatter about the mean of n rows,

    d/d mean  = n A^-1 r
    d/d Sigma = (A^-1 (n r r' + C) A^-1 - n A^-1) / 2
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.gradient import DisconnectedType
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import register_funcify_default_op_cache_key

_LOG_2PI = math.log(2.0 * math.pi)
_CACHE_VERSION = 1


@numba.njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _invert(a: NDArray[np.float64], inverse: NDArray[np.float64], m: int) -> float:
    """Overwrite `inverse[:m, :m]` with the inverse of a[:m, :m]; return log det, NaN if not PD."""
    log_det = 0.0
    for i in range(m):  # a becomes its own lower Cholesky factor
        for j in range(i + 1):
            total = a[i, j]
            for k in range(j):
                total -= a[i, k] * a[j, k]
            if i == j:
                if not total > 0.0:
                    return math.nan
                a[i, i] = math.sqrt(total)
                log_det += math.log(total)
            else:
                a[i, j] = total / a[j, j]
    for j in range(m):  # row j of the upper triangle of a becomes column j of L^-1
        pivot = 1.0 / a[j, j]
        for i in range(j + 1, m):
            total = -a[i, j] * pivot
            for k in range(j + 1, i):
                total -= a[i, k] * a[j, k]
            a[j, i] = total / a[i, i]
    for j in range(m):
        a[j, j] = 1.0 / a[j, j]
    for i in range(m):  # A^-1 = L^-T L^-1; a[i, i:] holds column i of L^-1
        for j in range(i + 1):
            total = 0.0
            for k in range(i, m):
                total += a[i, k] * a[j, k]
            inverse[i, j] = total
            inverse[j, i] = total
    return log_det


@numba.njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def gaussian_rows(
    mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
    values: NDArray[np.float64],
    observed: NDArray[np.int8],
    error_var: NDArray[np.float64],
    count: NDArray[np.float64],
    scatter: NDArray[np.float64],
    scatter_row: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Log density of the rows and its gradient; see the module's text for the formulas."""
    n_rows, n_skills = values.shape
    grad_mean = np.zeros((n_rows, n_skills))
    grad_cov = np.zeros((n_skills, n_skills))
    index = np.empty(n_skills, dtype=np.int64)
    work = np.empty((n_skills, n_skills))
    inverse = np.empty((n_skills, n_skills))
    residual = np.empty(n_skills)
    alpha = np.empty(n_skills)
    logp = 0.0
    log_det = 0.0
    m = 0
    for row in range(n_rows):
        same = row > 0
        if same:
            for k in range(n_skills):
                if observed[row, k] != observed[row - 1, k] or (
                    observed[row, k] and error_var[row, k] != error_var[row - 1, k]
                ):
                    same = False
                    break
        if not same:
            m = 0
            for k in range(n_skills):
                if observed[row, k]:
                    index[m] = k
                    m += 1
            for a in range(m):
                for b in range(a + 1):
                    work[a, b] = covariance[index[a], index[b]]
                work[a, a] += error_var[row, index[a]]
            log_det = _invert(work, inverse, m)
            if math.isnan(log_det):
                return np.asarray(-math.inf), grad_mean, grad_cov
        n = count[row]
        for a in range(m):
            residual[a] = values[row, index[a]] - mean[row, index[a]]
        quad = 0.0
        for a in range(m):
            total = 0.0
            for b in range(m):
                total += inverse[a, b] * residual[b]
            alpha[a] = total
            quad += total * residual[a]
            grad_mean[row, index[a]] = n * total
        logp -= 0.5 * n * (m * _LOG_2PI + log_det + quad)
        for a in range(m):
            for b in range(m):
                grad_cov[index[a], index[b]] += 0.5 * n * (alpha[a] * alpha[b] - inverse[a, b])
        if scatter_row[row] >= 0:
            block = np.empty((m, m))
            precision = inverse[:m, :m].copy()
            for a in range(m):
                for b in range(m):
                    block[a, b] = scatter[scatter_row[row], index[a], index[b]]
            product = np.dot(precision, block)
            for a in range(m):
                logp -= 0.5 * product[a, a]
            pulled = np.dot(product, precision)
            for a in range(m):
                for b in range(m):
                    grad_cov[index[a], index[b]] += 0.5 * pulled[a, b]
    return np.asarray(logp), grad_mean, grad_cov


class GaussianRows(Op):  # type: ignore[misc]
    """Log density of table rows under a Gaussian, with the gradient computed alongside.

    Inputs: mean (row, skill), covariance (skill, skill), values (row, skill), observed (row,
    skill) as int8, error_var (row, skill), count (row,), scatter (block, skill, skill) and
    scatter_row (row,), the block of each row or -1. Outputs: the log density (scalar) and its
    gradients with respect to mean and covariance.
    """

    __props__ = ()

    def make_node(self, *inputs: Any) -> Any:
        """Build the node that holds the log density and the two gradients."""
        dtypes = ("float64",) * 3 + ("int8",) + ("float64",) * 3 + ("int64",)
        tensors = [
            pt.as_tensor_variable(item).astype(dtype)
            for item, dtype in zip(inputs, dtypes, strict=True)
        ]
        return Apply(self, tensors, [pt.dscalar(), pt.dmatrix(), pt.dmatrix()])

    def perform(self, node: Any, inputs: Any, output_storage: list[list[Any]]) -> None:
        """Evaluate outside a compiled graph."""
        results = gaussian_rows(*(np.ascontiguousarray(item) for item in inputs))
        for storage, result in zip(output_storage, results, strict=True):
            storage[0] = np.asarray(result)

    def infer_shape(self, node: Any, shapes: list[Any]) -> list[Any]:
        """Give the gradients the shapes of what they differentiate by."""
        return [(), shapes[0], shapes[1]]

    def connection_pattern(self, node: Any) -> list[list[bool]]:
        """Only mean and covariance are differentiated, and only through the log density."""
        return [[True, False, False]] * 2 + [[False, False, False]] * 6

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list[Any]:
        """Scale the stored gradients; the node is shared with the forward pass."""
        _, grad_mean, grad_cov = outputs
        data = [DisconnectedType()() for _ in inputs[2:]]
        return [cotangents[0] * grad_mean, cotangents[0] * grad_cov, *data]


gaussian_rows_op = GaussianRows()


@register_funcify_default_op_cache_key(GaussianRows)  # type: ignore[untyped-decorator]
def _numba_gaussian_rows(
    op: GaussianRows, node: Any, **kwargs: Any
) -> tuple[Callable[..., Any], int]:
    return gaussian_rows, _CACHE_VERSION
