"""The likelihood of table rows whose agents come from latent classes, as one PyTensor Op.

Row i of the history has observed skills J, and its agent is of class c with probability w_c. With
the latent skills and the class summed out, and A = Sigma_JJ + diag(s2_iJ),

    y_iJ ~ sum_c w_c Normal(mean_iJ + shift_cJ, scale_c^2 A),

a finite mixture of normals of one shape (McLachlan and Peel (2000), Finite Mixture Models,
doi:10.1002/0471721182, section 3.8). With r_c = y - mean - shift_c, alpha_c = A^-1 r_c,
q_c = r_c' alpha_c / scale_c^2, responsibilities g_c and rho_c = g_c / scale_c^2, the gradient of
the log density is

    d/d mean        = sum_c rho_c alpha_c
    d/d shift_c     = rho_c alpha_c
    d/d log w_c     = g_c
    d/d log scale_c = g_c (q_c - |J|)
    d/d Sigma       = (sum_c rho_c alpha_c alpha_c' - A^-1) / 2

summed over rows. All classes share A's inverse, so a class costs one product with it and little
else: with p = A^-1 (y - mean), z_c = A^-1 shift_c and z = sum_c rho_c z_c,

    sum_c rho_c alpha_c alpha_c' = (sum_c rho_c p - z) p' - p z' + sum_c rho_c z_c z_c'

whose last term is summed over rows first.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from skillinfer_bayes.inference.density_op import DensityOp
from skillinfer_bayes.inference.likelihood import (
    LANES,
    LOG_2PI,
    invert_systems,
    list_systems,
    take_inverse,
)

_FAST = {"reassoc", "contract", "nsz"}


@numba.njit(cache=True, fastmath=_FAST)
def _multiply(
    inverse: NDArray[np.float64], m: int, vector: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    """out[:m] = A^-1 vector[:m]."""
    for a in range(m):
        total = 0.0
        for b in range(m):
            total += inverse[a, b] * vector[b]
        out[a] = total


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
    first, size, index = list_systems(observed, error_var)
    n_lanes = min(LANES, len(size))
    lanes = np.empty((n_skills, n_skills, n_lanes))
    inverses = np.empty((n_skills, n_skills, n_lanes))
    log_dets = np.empty(n_lanes)
    inverse = np.empty((n_skills, n_skills))
    outer = np.empty((n_skills, n_skills))
    residual = np.empty(n_skills)
    pulled = np.empty(n_skills)
    shift_here = np.empty((n_classes, n_skills))
    shift_pulled = np.empty((n_classes, n_skills))
    centre = np.empty(n_skills)
    total_rho = np.empty(n_classes)
    quad = np.empty(n_classes)
    term = np.empty(n_classes)
    inverse_square = np.exp(-2.0 * log_scale)
    grad_mean = np.zeros((n_rows, n_skills))
    grad_shift = np.zeros((n_classes, n_skills))
    grad_weight = np.zeros(n_classes)
    grad_scale = np.zeros(n_classes)
    grad_cov = np.zeros((n_skills, n_skills))  # its lower triangle, until the end
    logp = 0.0
    for system in range(len(size)):
        m, skills = size[system], index[system]
        w = system % n_lanes
        if (
            w == 0
        ):  # as in `student_rows`: a function of so many arrays costs a third of a small row
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
            return (
                np.asarray(-math.inf),
                grad_mean,
                grad_shift,
                grad_weight,
                grad_scale,
                grad_cov,
            )
        take_inverse(inverses, w, m, inverse)
        for c in range(n_classes):
            for a in range(m):
                shift_here[c, a] = shift[c, skills[a]]
            _multiply(inverse, m, shift_here[c], shift_pulled[c])
        n_here = first[system + 1] - first[system]
        for a in range(m):
            for b in range(a + 1):
                outer[a, b] = -n_here * inverse[a, b]
        total_rho[:] = 0.0
        for row in range(first[system], first[system + 1]):
            for a in range(m):
                residual[a] = values[row, skills[a]] - mean[row, skills[a]]
            _multiply(inverse, m, residual, pulled)
            best = -math.inf
            for c in range(n_classes):
                total = 0.0
                for a in range(m):
                    distance = residual[a] - shift_here[c, a]
                    total += distance * (pulled[a] - shift_pulled[c, a])
                quad[c] = total * inverse_square[c]
                term[c] = log_weight[c] - m * log_scale[c] - 0.5 * quad[c]
                best = max(best, term[c])
            total = 0.0
            for c in range(n_classes):
                term[c] = math.exp(term[c] - best)
                total += term[c]
            logp += best + math.log(total) - 0.5 * (m * LOG_2PI + log_det)
            rho_sum = 0.0
            centre[:m] = 0.0
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
                    centre[a] += rho * shift_pulled[c, a]
                    grad_shift[c, skills[a]] += rho * (pulled[a] - shift_pulled[c, a])
            for a in range(m):
                slope = rho_sum * pulled[a] - centre[a]
                grad_mean[row, skills[a]] = slope
                for b in range(a + 1):
                    outer[a, b] += slope * pulled[b] - pulled[a] * centre[b]
        for c in range(n_classes):
            for a in range(m):
                slope = total_rho[c] * shift_pulled[c, a]
                for b in range(a + 1):
                    outer[a, b] += slope * shift_pulled[c, b]
        for a in range(m):
            for b in range(a + 1):
                grad_cov[skills[a], skills[b]] += 0.5 * outer[a, b]
    for a in range(n_skills):
        for b in range(a):
            grad_cov[b, a] = grad_cov[a, b]
    return np.asarray(logp), grad_mean, grad_shift, grad_weight, grad_scale, grad_cov


class ClassRows(DensityOp):
    """Log density of table rows under latent classes, with the gradient computed alongside.

    Inputs: mean (row, skill), shift (class, skill), log weight (class,), log scale (class,),
    covariance (skill, skill), values (row, skill), observed (row, skill) as int8 and error_var
    (row, skill). Outputs: the log density (scalar) and its gradients with respect to the first
    five.
    """

    kernel = staticmethod(class_rows)
    version = 4
    parameter_ndims = (2, 2, 1, 1, 2)
    data_dtypes = ("float64", "int8", "float64")


class_rows_op = ClassRows()
