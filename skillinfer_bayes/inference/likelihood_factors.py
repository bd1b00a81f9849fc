"""The likelihood of table rows where skills share factors and nothing else, as one PyTensor Op.

With structure "factor" the own parts of skills are independent, so a row's covariance

    A = L L' + V,   L = Lambda_J,   V = diag(D_J^2 + s2_iJ),

is a diagonal one and as many more directions as there are factors, r. With U = V^-1 L and
M = I + L' U the inverse and determinant of an m by m matrix become those of an r by r one
(Woodbury; Petersen and Pedersen (2012), The Matrix Cookbook, equations 156 and 24):

    A^-1 = V^-1 - T U',   T = U M^-1 = A^-1 L,   log |A| = log |V| + log |M|

The density and its gradient are those of `likelihood`, at a cost of m r^2 a row and not m^3. With
alpha = A^-1 (y - mean), z = L' alpha and G the gradient with respect to A,

    d/d Lambda = 2 G L = n (w alpha z' - T) + A^-1 C T
    d/d D_j^2  = G_jj  = (n (w alpha_j^2 - (A^-1)_jj) + (A^-1 C A^-1)_jj) / 2
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from skillinfer_bayes.inference.density_op import DensityOp
from skillinfer_bayes.inference.likelihood import StudentRows, invert, list_systems, row_term

type FloatArray = NDArray[np.float64]

_FAST = {"reassoc", "contract", "nsz"}


@numba.njit(cache=True, fastmath=_FAST)
def solve_system(
    shared: FloatArray, variance: FloatArray, system: tuple[FloatArray, ...], m: int
) -> float:
    """Fill U and T, both (r, m), and M^-1 of a system; return log |A|, NaN if it is not PD."""
    scaled, weighted, inner, inverse = system
    rank = len(shared)
    log_det = 0.0
    for a in range(m):
        log_det += math.log(variance[a])
    for p in range(rank):
        for a in range(m):
            scaled[p, a] = shared[p, a] / variance[a]
    for p in range(rank):
        for q in range(p + 1):
            total = 0.0
            for a in range(m):
                total += scaled[p, a] * shared[q, a]
            inner[p, q] = total
        inner[p, p] += 1.0
    log_det += invert(inner, inverse, rank)
    for p in range(rank):
        weighted[p, :m] = 0.0
        for q in range(rank):
            factor = inverse[p, q]
            for a in range(m):
                weighted[p, a] += factor * scaled[q, a]
    return log_det


@numba.njit(cache=True, fastmath=_FAST)
def _add_scatter(
    block: FloatArray,
    variance: FloatArray,
    system: tuple[FloatArray, ...],
    by_shared: FloatArray,
    by_own: FloatArray,
    m: int,
) -> float:
    """Add the gradient of what collapsed rows vary about their mean, C; return tr(A^-1 C)."""
    scaled, weighted, _, inverse = system
    rank = len(inverse)
    scaled = scaled[:, :m].copy()
    pushed = np.dot(scaled, block)  # (C U)'
    solved = np.dot(inverse, pushed)  # (C T)'
    middle = np.dot(pushed, scaled.T)  # U' C U
    across = np.dot(solved, scaled.T)  # T' C U
    trace = 0.0
    for a in range(m):
        diagonal = block[a, a] / variance[a]
        trace += diagonal
        diagonal /= variance[a]
        for p in range(rank):
            trace -= weighted[p, a] * pushed[p, a]
            pulled = solved[p, a] / variance[a]
            diagonal -= 2.0 * pushed[p, a] * weighted[p, a] / variance[a]
            for q in range(rank):
                pulled -= weighted[q, a] * across[p, q]
                diagonal += weighted[p, a] * middle[p, q] * weighted[q, a]
            by_shared[p, a] += pulled
        by_own[a] += diagonal
    return trace


@numba.njit(cache=True, fastmath=_FAST)
def factor_rows(
    mean: FloatArray,
    loadings: FloatArray,
    own_sd: FloatArray,
    nu: FloatArray,
    values: FloatArray,
    observed: NDArray[np.int8],
    error_var: FloatArray,
    count: FloatArray,
    scatter: FloatArray,
    scatter_row: NDArray[np.int64],
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    """Log density of the rows and its gradient; see the module's text for the formulas."""
    n_rows, n_skills = values.shape
    rank = loadings.shape[1]
    df = nu.item()
    by_mean, by_loadings = np.zeros((n_rows, n_skills)), np.zeros((n_skills, rank))
    by_own_sd, by_nu = np.zeros(n_skills), 0.0
    first, size, skills = list_systems(observed, error_var)
    variance, residual, alpha = np.empty(n_skills), np.empty(n_skills), np.empty(n_skills)
    shared, by_shared = np.empty((rank, n_skills)), np.empty((rank, n_skills))
    by_own, along, solved = np.empty(n_skills), np.empty(rank), np.empty(rank)
    scaled, weighted = np.empty((rank, n_skills)), np.empty((rank, n_skills))
    inner, inverse = np.empty((rank, rank)), np.empty((rank, rank))
    system = (scaled, weighted, inner, inverse)
    logp = 0.0
    for run in range(len(size)):
        m, index = size[run], skills[run]
        for a in range(m):
            variance[a] = own_sd[index[a]] ** 2 + error_var[first[run], index[a]]
            for p in range(rank):
                shared[p, a] = loadings[index[a], p]
        log_det = solve_system(shared, variance, system, m)
        if math.isnan(log_det):
            nothing = np.zeros_like(by_mean), np.zeros_like(by_loadings), np.zeros_like(own_sd)
            return np.asarray(-math.inf), *nothing, np.asarray(0.0)
        by_shared[:, :m] = 0.0
        by_own[:m] = 0.0
        n_agents = 0.0
        for row in range(first[run], first[run + 1]):
            n = count[row]
            n_agents += n
            quad = 0.0
            for a in range(m):
                residual[a] = values[row, index[a]] - mean[row, index[a]]
                alpha[a] = residual[a] / variance[a]
            for p in range(rank):
                total = 0.0
                for a in range(m):
                    total += scaled[p, a] * residual[a]
                along[p] = total
            for p in range(rank):
                total = 0.0
                for q in range(rank):
                    total += inverse[p, q] * along[q]
                solved[p] = total
                for a in range(m):
                    alpha[a] -= total * scaled[p, a]
            for a in range(m):
                quad += residual[a] * alpha[a]
            term, weight, slope = row_term(df, m, log_det, quad)
            logp += n * term
            by_nu += n * slope
            for a in range(m):
                alpha[a] *= n * weight
                by_mean[row, index[a]] = alpha[a]
            for p in range(rank):
                for a in range(m):
                    by_shared[p, a] += alpha[a] * solved[p]
            for a in range(m):
                by_own[a] += alpha[a] * alpha[a] / (n * weight)
            if scatter_row[row] >= 0:
                block = np.empty((m, m))
                for a in range(m):
                    for b in range(m):
                        block[a, b] = scatter[scatter_row[row], index[a], index[b]]
                logp -= 0.5 * _add_scatter(block, variance, system, by_shared, by_own, m)
        for a in range(m):
            explained = 0.0
            for p in range(rank):
                explained += weighted[p, a] * shared[p, a]
                by_loadings[index[a], p] += by_shared[p, a] - n_agents * weighted[p, a]
            precision = (1.0 - explained) / variance[a]
            by_own_sd[index[a]] += (by_own[a] - n_agents * precision) * own_sd[index[a]]
    return np.asarray(logp), by_mean, by_loadings, by_own_sd, np.asarray(by_nu)


class FactorRows(DensityOp):
    """Log density of table rows that share factors only, with the gradient computed alongside.

    Inputs: mean (row, skill), loadings (skill, factor), own_sd (skill,), nu (scalar, infinite for
    the Gaussian); then the data of `StudentRows`. Outputs: the log density (scalar) and its
    gradients by the first four.
    """

    kernel = staticmethod(factor_rows)
    version = 2
    parameter_ndims = (2, 2, 1, 0)
    data_dtypes = StudentRows.data_dtypes


factor_rows_op = FactorRows()
