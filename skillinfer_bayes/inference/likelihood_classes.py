"""The likelihood of table rows whose agents come from latent classes, as one PyTensor Op.

Row i of the history has observed skills J, and its agent is of class c with probability w_c. With
the latent skills and the class summed out, and A = Sigma_JJ + diag(s2_iJ),

    y_iJ ~ sum_c w_c Normal(mean_iJ + shift_cJ, scale_c^2 A),

a finite mixture of normals of one shape (McLachlan and Peel (2000), Finite Mixture Models,
doi:10.1002/0471721182, section 3.8). With A = L L', z = L^-1 (y - mean), zeta_c = L^-1 shift_c,
d_c = z - zeta_c, responsibilities r_c and rho_c = r_c / scale_c^2, the gradient of the log density
is

    d/d mean       = L^-T sum_c rho_c d_c
    d/d shift_c    = L^-T rho_c d_c
    d/d log w_c    = r_c
    d/d log scale_c = r_c (d_c' d_c / scale_c^2 - |J|)
    d/d Sigma      = L^-T (sum_c rho_c d_c d_c' - I) L^-1 / 2

summed over rows. All classes share A's factor, so a class costs two products of a vector and little
else; the outer products are expanded about z, which leaves one per row whatever the classes.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from skillinfer_bayes.inference.density_op import DensityOp
from skillinfer_bayes.inference.likelihood import LOG_2PI, gather, list_systems
from skillinfer_bayes.inference.triangular import inverse_root

_FAST = {"reassoc", "contract", "nsz"}


@numba.njit(cache=True, fastmath=_FAST)
def _whiten(
    root: NDArray[np.float64],
    m: int,
    vector: NDArray[np.float64],
    index: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    """out[:m] = L^-1 vector[index]."""
    for i in range(m):
        total = 0.0
        for j in range(i + 1):
            total += root[i, j] * vector[index[j]]
        out[i] = total


@numba.njit(cache=True, fastmath=_FAST)
def _unwhiten_into(
    root: NDArray[np.float64],
    m: int,
    vector: NDArray[np.float64],
    index: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    """out[index] += L^-T vector[:m]."""
    for j in range(m):
        total = 0.0
        for i in range(j, m):
            total += root[i, j] * vector[i]
        out[index[j]] += total


@numba.njit(cache=True, fastmath=_FAST)
def _add_covariance_slope(
    root: NDArray[np.float64],
    m: int,
    outer: NDArray[np.float64],
    index: NDArray[np.int64],
    work: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """out[index, index] += L^-T outer L^-1 / 2; `outer` symmetric, its lower triangle given."""
    for i in range(m):
        for j in range(i):
            outer[j, i] = outer[i, j]
    for i in range(m):  # work = outer L^-1
        for j in range(m):
            total = 0.0
            for k in range(j, m):
                total += outer[i, k] * root[k, j]
            work[i, j] = total
    for i in range(m):
        for j in range(i + 1):
            total = 0.0
            for k in range(i, m):
                total += root[k, i] * work[k, j]
            out[index[i], index[j]] += 0.5 * total
            if i != j:
                out[index[j], index[i]] += 0.5 * total


@numba.njit(cache=True, fastmath=_FAST)
def class_rows(
    mean: NDArray[np.float64],
    shift: NDArray[np.float64],
    log_weight: NDArray[np.float64],
    log_scale: NDArray[np.float64],
    covariance: NDArray[np.float64],
    values: NDArray[np.float64],
    observed: NDArray[np.int8],
    error_var: NDArray[np.float64],
) -> tuple[
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
]:
    """Log density of the rows and its gradient; see the module's text for the formulas."""
    n_rows, n_skills = values.shape
    n_classes = len(log_weight)
    grad_mean = np.zeros((n_rows, n_skills))
    grad_shift = np.zeros((n_classes, n_skills))
    grad_weight = np.zeros(n_classes)
    grad_scale = np.zeros(n_classes)
    grad_cov = np.zeros((n_skills, n_skills))
    first, size, skills = list_systems(observed, error_var)
    root = np.empty((n_skills, n_skills))
    outer = np.zeros((n_skills, n_skills))
    work = np.empty((n_skills, n_skills))
    residual = np.empty(n_skills)
    z = np.empty(n_skills)
    pull = np.empty(n_skills)
    zeta = np.empty((n_classes, n_skills))
    zeta_pull = np.zeros((n_classes, n_skills))
    total_rho = np.zeros(n_classes)
    quad = np.empty(n_classes)
    term = np.empty(n_classes)
    inverse_square = np.exp(-2.0 * log_scale)
    logp = 0.0
    for system in range(len(size)):
        m, index = size[system], skills[system]
        gather(covariance, error_var[first[system]], index, m, root)
        log_det = inverse_root(root, m)
        if math.isnan(log_det):
            return (
                np.asarray(-math.inf),
                grad_mean,
                grad_shift,
                grad_weight,
                grad_scale,
                grad_cov,
            )
        outer[:m, :m] = 0.0
        total_rho[:] = 0.0
        zeta_pull[:, :m] = 0.0
        for c in range(n_classes):
            _whiten(root, m, shift[c], index, zeta[c])
        for row in range(first[system], first[system + 1]):
            for a in range(m):
                residual[index[a]] = values[row, index[a]] - mean[row, index[a]]
            _whiten(root, m, residual, index, z)
            best = -math.inf
            for c in range(n_classes):
                total = 0.0
                for a in range(m):
                    distance = z[a] - zeta[c, a]
                    total += distance * distance
                quad[c] = total * inverse_square[c]
                term[c] = log_weight[c] - m * log_scale[c] - 0.5 * quad[c]
                best = max(best, term[c])
            total = 0.0
            for c in range(n_classes):
                term[c] = math.exp(term[c] - best)
                total += term[c]
            logp += best + math.log(total) - 0.5 * (m * LOG_2PI + log_det)
            rho_sum = 0.0
            pull[:m] = 0.0
            for c in range(n_classes):
                responsibility = term[c] / total
                if responsibility == 0.0:
                    continue
                grad_weight[c] += responsibility
                grad_scale[c] += responsibility * (quad[c] - m)
                rho = responsibility * inverse_square[c]
                rho_sum += rho
                total_rho[c] += rho
                for a in range(m):
                    zeta_pull[c, a] += rho * z[a]
                    pull[a] += rho * zeta[c, a]
            for a in range(m):  # sum of rho d d', less what the classes' own shifts give
                for b in range(a + 1):
                    outer[a, b] += rho_sum * z[a] * z[b] - z[a] * pull[b] - pull[a] * z[b]
            for a in range(m):
                pull[a] = rho_sum * z[a] - pull[a]
            _unwhiten_into(root, m, pull, index, grad_mean[row])
        for c in range(n_classes):
            if total_rho[c] == 0.0:
                continue
            for a in range(m):
                for b in range(a + 1):
                    outer[a, b] += total_rho[c] * zeta[c, a] * zeta[c, b]
                zeta_pull[c, a] -= total_rho[c] * zeta[c, a]
            _unwhiten_into(root, m, zeta_pull[c], index, grad_shift[c])
        for a in range(m):
            outer[a, a] -= first[system + 1] - first[system]
        _add_covariance_slope(root, m, outer, index, work, grad_cov)
    return np.asarray(logp), grad_mean, grad_shift, grad_weight, grad_scale, grad_cov


class ClassRows(DensityOp):
    """Log density of table rows under latent classes, with the gradient computed alongside.

    Inputs: mean (row, skill), shift (class, skill), log weight (class,), log scale (class,),
    covariance (skill, skill), values (row, skill), observed (row, skill) as int8 and error_var
    (row, skill). Outputs: the log density (scalar) and its gradients with respect to the first
    five.
    """

    kernel = staticmethod(class_rows)
    version = 3
    parameter_ndims = (2, 2, 1, 1, 2)
    data_dtypes = ("float64", "int8", "float64")


class_rows_op = ClassRows()
