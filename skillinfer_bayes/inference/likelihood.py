"""The likelihood of table rows with empty cells, as one PyTensor Op.

Row i of the history has observed skills J. With the latent skills integrated out,

    y_iJ ~ t_nu(mean_iJ, A),   A = Sigma_JJ + diag(s2_iJ),

a multivariate Student-t whose limit, nu infinite, is the Gaussian. Its log density is summed over
rows. A graph that spells this out grows with the number of distinct J; one Op whose gradient is
written by hand does not, compiles once, and takes new data of any size. Gaussian rows that share J
and have no error of their own arrive as count, mean and scatter, so that their cost does not
depend on how many they are.

The Student-t density is Kotz and Nadarajah (2004), Multivariate t Distributions and Their
Applications, doi:10.1017/CBO9780511550683, equation 1.1. With r = y - mean, m = |J|,
q = r' A^-1 r, w = (nu + m) / (nu + q) (1 for the Gaussian) and C the scatter about the mean of n
Gaussian rows, the gradient follows from the standard identities (Petersen and Pedersen (2012), The
Matrix Cookbook, sections 8.1 and 9.1):

    d/d mean  = n w A^-1 r
    d/d Sigma = (A^-1 (n w r r' + C) A^-1 - n A^-1) / 2
    d/d nu    = (psi((nu + m) / 2) - psi(nu / 2) - m / nu - log(1 + q / nu) + w q / nu) / 2
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from skillinfer_bayes.inference.density_op import DensityOp
from skillinfer_bayes.inference.triangular import cholesky, invert_lanes

LOG_2PI = math.log(2.0 * math.pi)
#: Systems that are inverted together, and the fewest for which that is the faster way.
LANES, FEWEST_LANES = 32, 4


@numba.njit(cache=True)
def same_system(
    observed: NDArray[np.int8], error_var: NDArray[np.float64], row: int, other: int
) -> bool:
    """Whether two rows have the same skills observed, with the same errors."""
    for k in range(observed.shape[1]):
        if observed[row, k] != observed[other, k] or (
            observed[row, k] and error_var[row, k] != error_var[other, k]
        ):
            return False
    return True


@numba.njit(cache=True)
def list_systems(
    observed: NDArray[np.int8], error_var: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """List runs of rows that share A: first rows, then the number of rows; each |J|; each J."""
    n_rows, n_skills = observed.shape
    first = np.empty(n_rows + 1, dtype=np.int64)
    size = np.zeros(n_rows, dtype=np.int64)
    index = np.zeros((n_rows, n_skills), dtype=np.int64)
    n = 0
    for row in range(n_rows):
        if row == 0 or not same_system(observed, error_var, row, row - 1):
            first[n] = row
            for k in range(n_skills):
                if observed[row, k]:
                    index[n, size[n]] = k
                    size[n] += 1
            n += 1
    first[n] = n_rows
    return first[: n + 1], size[:n], index[:n]


@numba.njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def invert(a: NDArray[np.float64], inverse: NDArray[np.float64], m: int) -> float:
    """Overwrite `inverse[:m, :m]` with the inverse of a[:m, :m]; return log det, NaN if not PD."""
    log_det = cholesky(a, m)
    if math.isnan(log_det):
        return log_det
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


@numba.njit(cache=True)
def digamma(x: float) -> float:
    """Differentiate log gamma, x > 0 (Abramowitz and Stegun (1964), formulas 6.3.5, 6.3.18)."""
    shift = 0.0
    while x < 6.0:
        shift -= 1.0 / x
        x += 1.0
    f = 1.0 / (x * x)
    series = f * (1.0 / 12 - f * (1.0 / 120 - f * (1.0 / 252 - f * (1.0 / 240 - f / 132))))
    return shift + math.log(x) - 0.5 / x - series


@numba.njit(cache=True)
def _student_term(nu: float, m: int, quad: float) -> tuple[float, float, float]:
    """Log density less the determinant's part, the weight w, and the derivative by nu."""
    half = 0.5 * (nu + m)
    tail = math.log1p(quad / nu)
    weight = (nu + m) / (nu + quad)
    logp = math.lgamma(half) - math.lgamma(0.5 * nu) - 0.5 * m * math.log(nu * math.pi)
    slope = digamma(half) - digamma(0.5 * nu) - m / nu - tail + weight * quad / nu
    return logp - half * tail, weight, 0.5 * slope


@numba.njit(inline="always")
def row_term(nu: float, m: int, log_det: float, quad: float) -> tuple[float, float, float]:
    """Log density of a row, the weight w, and the derivative by nu."""
    if math.isinf(nu):
        return -0.5 * (m * LOG_2PI + log_det + quad), 1.0, 0.0
    term, weight, slope = _student_term(nu, m, quad)
    return term - 0.5 * log_det, weight, slope


@numba.njit(cache=True)
def gather(
    covariance: NDArray[np.float64],
    error_var: NDArray[np.float64],
    index: NDArray[np.int64],
    m: int,
    out: NDArray[np.float64],
) -> None:
    """Make the lower triangle of out[:m, :m] that of A, J being index[:m]."""
    for i in range(m):
        for j in range(i + 1):
            out[i, j] = covariance[index[i], index[j]]
        out[i, i] += error_var[index[i]]


@numba.njit(cache=True)
def gather_lanes(
    covariance: NDArray[np.float64],
    error_var: NDArray[np.float64],
    first: NDArray[np.int64],
    size: NDArray[np.int64],
    index: NDArray[np.int64],
    out: NDArray[np.float64],
) -> int:
    """Put the A of one system after the other into out[:, :, w]; return the largest |J|.

    What lies beyond a system's own |J|, or beyond the last system, is the identity.
    """
    n_systems = min(len(size), out.shape[2])
    widest = int(size[:n_systems].max())
    for i in range(widest):
        for j in range(i + 1):
            for w in range(out.shape[2]):
                out[i, j, w] = 1.0 if i == j else 0.0
                if w < n_systems and i < size[w]:
                    out[i, j, w] = covariance[index[w, i], index[w, j]]
                    if i == j:
                        out[i, j, w] += error_var[first[w], index[w, i]]
    return widest


@numba.njit(cache=True)
def invert_systems(
    covariance: NDArray[np.float64],
    error_var: NDArray[np.float64],
    first: NDArray[np.int64],
    size: NDArray[np.int64],
    index: NDArray[np.int64],
    lanes: NDArray[np.float64],
    inverses: NDArray[np.float64],
    log_dets: NDArray[np.float64],
) -> None:
    """Put the inverses of the first systems' A into inverses[:, :, w], lower triangles at least.

    There are as many as `lanes` takes, which is used up. A log det is not finite where A is not
    positive definite.
    """
    n_systems = min(len(size), lanes.shape[2])
    if n_systems >= FEWEST_LANES:
        widest = gather_lanes(covariance, error_var, first, size, index, lanes)
        invert_lanes(lanes, inverses, log_dets, widest)
        return
    work, inverse = np.empty(covariance.shape), np.empty(covariance.shape)
    for w in range(n_systems):
        m = size[w]
        gather(covariance, error_var[first[w]], index[w], m, work)
        log_dets[w] = invert(work, inverse, m)
        inverses[:m, :m, w] = inverse[:m, :m]


@numba.njit(cache=True)
def take_inverse(
    inverses: NDArray[np.float64], w: int, m: int, inverse: NDArray[np.float64]
) -> None:
    """Make inverse[:m, :m] the symmetric matrix of which inverses[:m, :m, w] has a triangle."""
    for a in range(m):
        for b in range(a + 1):
            inverse[a, b] = inverses[a, b, w]
            inverse[b, a] = inverses[a, b, w]


@numba.njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _add_scatter(
    scatter: NDArray[np.float64],
    inverse: NDArray[np.float64],
    index: NDArray[np.int64],
    m: int,
    out: NDArray[np.float64],
) -> float:
    """Add the lower triangle of A^-1 C A^-1 / 2 to out[index, index]; return tr(A^-1 C).

    By loops: chains that sample at once wait for each other in a BLAS that has one lock.
    """
    block = np.empty((m, m))
    product = np.zeros((m, m))
    trace = 0.0
    for a in range(m):
        for b in range(m):
            block[a, b] = scatter[index[a], index[b]]
    for a in range(m):
        for k in range(m):
            for b in range(m):
                product[a, b] += inverse[a, k] * block[k, b]
        trace += product[a, a]
    for a in range(m):
        for b in range(a + 1):
            total = 0.0
            for k in range(m):
                total += product[a, k] * inverse[b, k]
            out[index[a], index[b]] += 0.5 * total
    return trace


@numba.njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def student_rows(
    mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
    nu: NDArray[np.float64],
    values: NDArray[np.float64],
    observed: NDArray[np.int8],
    error_var: NDArray[np.float64],
    count: NDArray[np.float64],
    scatter: NDArray[np.float64],
    scatter_row: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Log density of the rows and its gradient; see the module's text for the formulas."""
    n_rows, n_skills = values.shape
    df = nu.item()
    first, size, index = list_systems(observed, error_var)
    n_systems = len(size)
    n_lanes = min(LANES, n_systems)
    lanes = np.empty((n_skills, n_skills, n_lanes))
    inverses = np.empty((n_skills, n_skills, n_lanes))
    log_dets = np.empty(n_lanes)
    inverse = np.empty((n_skills, n_skills))
    residual = np.empty(n_skills)
    alpha = np.empty(n_skills)
    grad_nu = 0.0
    grad_mean = np.zeros((n_rows, n_skills))
    grad_cov = np.zeros((n_skills, n_skills))  # its lower triangle, until the end
    logp = 0.0
    for system in range(n_systems):
        m, skills = size[system], index[system]
        w = system % n_lanes
        if w == 0:
            rest = slice(system, None)
            invert_systems(
                covariance,
                error_var,
                first[rest],
                size[rest],
                index[rest],
                lanes,
                inverses,
                log_dets,
            )
        log_det = log_dets[w]
        if not math.isfinite(log_det):
            return np.asarray(-math.inf), grad_mean, grad_cov, np.asarray(0.0)
        take_inverse(inverses, w, m, inverse)
        for row in range(first[system], first[system + 1]):
            n = count[row]
            for a in range(m):
                residual[a] = values[row, skills[a]] - mean[row, skills[a]]
            quad = 0.0
            for a in range(m):
                total = 0.0
                for b in range(m):
                    total += inverse[a, b] * residual[b]
                alpha[a] = total
                quad += total * residual[a]
            term, weight, slope = row_term(df, m, log_det, quad)
            logp += n * term
            grad_nu += n * slope
            for a in range(m):
                pulled = n * weight * alpha[a]
                grad_mean[row, skills[a]] = pulled
                for b in range(a + 1):
                    grad_cov[skills[a], skills[b]] += 0.5 * (pulled * alpha[b] - n * inverse[a, b])
            if scatter_row[row] >= 0:
                logp -= 0.5 * _add_scatter(scatter[scatter_row[row]], inverse, skills, m, grad_cov)
    for a in range(n_skills):
        for b in range(a):
            grad_cov[b, a] = grad_cov[a, b]
    return np.asarray(logp), grad_mean, grad_cov, np.asarray(grad_nu)


class StudentRows(DensityOp):
    """Log density of table rows under a Student-t, with the gradient computed alongside.

    Inputs: mean (row, skill), covariance (skill, skill), nu (scalar, infinite for the Gaussian),
    values (row, skill), observed (row, skill) as int8, error_var (row, skill), count (row,),
    scatter (block, skill, skill) and scatter_row (row,), the block of each row or -1; a scatter
    needs the Gaussian. Outputs: the log density (scalar) and its gradients with respect to mean,
    covariance and nu.
    """

    kernel = staticmethod(student_rows)
    version = 5
    parameter_ndims = (2, 2, 0)
    data_dtypes = ("float64", "int8", "float64", "float64", "float64", "int64")


student_rows_op = StudentRows()
