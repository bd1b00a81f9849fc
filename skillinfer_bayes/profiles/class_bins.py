"""Where a set of observed skills puts the Gaussians of all draws and classes; compiled.

For skill k of an agent with measurements y of a set of skills, draw s and class c have

    Normal(b_sck + g_sk . (y - y0), v_sck),

with y0 the agents' average. Components of about the same b and v share a bin.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from skillinfer_bayes.inference.triangular import inverse_root

type Doubles = NDArray[np.float64]
type Singles = NDArray[np.float32]
type Ints = NDArray[np.int32]

MEAN_STEP = 0.7  # between components' means, in units of their sd
LEAST_STEP = 0.1  # the same, in units of the sd between components
WIDTH_STEP = 0.35  # between components' log variances
MAX_WIDTHS = 24
MAX_MEANS = 60  # on either side of the average

_FAST = {"contract", "nsz"}
_LEAST_VARIANCE = 1e-30


class Components(NamedTuple):
    """The Gaussians of a group of agents by skill, with their bins.

    offset : (K,), average of the components' means at y0
    slope : (m, K), average gain
    gain : (K, S, m), less the average
    base, variance : (K, S C), means at y0 less the average, and variances
    which : (K, S C), each component's bin; n_bins : (K,)
    """

    offset: Doubles
    slope: Doubles
    gain: Singles
    base: Singles
    variance: Singles
    which: Ints
    n_bins: NDArray[np.int64]


@numba.njit(cache=True, error_model="numpy", fastmath=_FAST)
def inverse_roots(system: Doubles) -> Doubles:
    """Inverse lower Cholesky factors of positive definite matrices (S, m, m).

    What stands above the diagonal means nothing.
    """
    roots = system.copy()
    for s in range(len(roots)):
        inverse_root(roots[s], roots.shape[1])
    return roots


@numba.njit(cache=True, error_model="numpy", fastmath=_FAST)
def whitened(roots: Doubles, vectors: Doubles) -> Doubles:
    """Inverse roots (S, m, m) times C vectors of each draw, (S, C, m)."""
    n_draws, n_classes, m = vectors.shape
    result = np.zeros((n_draws, n_classes, m))
    for s in range(n_draws):
        for c in range(n_classes):
            for i in range(m):
                for j in range(i + 1):
                    result[s, c, i] += roots[s, i, j] * vectors[s, c, j]
    return result


@numba.njit(cache=True, error_model="numpy", fastmath=_FAST)
def _bins_of_skill(base: Singles, log_variance: Singles, share: Doubles, which: Ints) -> int:
    """Put one skill's components in bins, `which` (S C,); return how many there are."""
    mean, square, top = 0.0, 0.0, -math.inf
    for i in range(len(base)):
        mean += share[i] * base[i]
        square += share[i] * base[i] * base[i]
        top = max(top, log_variance[i])
    between = math.sqrt(max(square - mean * mean, 0.0))
    per_step = np.empty(MAX_WIDTHS)
    for width in range(MAX_WIDTHS):
        sd = math.exp(0.5 * (top - WIDTH_STEP * (width + 0.5)))
        per_step[width] = 1.0 / max(MEAN_STEP * sd, LEAST_STEP * between, 1e-300)
    number = np.full((MAX_WIDTHS, 2 * MAX_MEANS + 1), -1, dtype=np.int32)
    used = 0
    for i in range(len(base)):
        width, column = MAX_WIDTHS - 1, 0  # where NaN ends up
        below = (top - log_variance[i]) / WIDTH_STEP
        if below < MAX_WIDTHS - 1:
            width = int(below)
        place = (base[i] - mean) * per_step[width] + MAX_MEANS + 0.5
        if place >= 2 * MAX_MEANS:
            column = 2 * MAX_MEANS
        elif place > 0.0:
            column = int(place)
        if number[width, column] < 0:
            number[width, column] = used
            used += 1
        which[i] = number[width, column]
    return used


@numba.njit(cache=True, error_model="numpy", fastmath=_FAST)
def components(
    means: Doubles,
    gain: Doubles,
    residual: Doubles,
    variance: Doubles,
    log_scale: Doubles,
    share: Doubles,
) -> Components:
    """Components by skill, and the bins that they are put in.

    Parameters
    ----------
    means : array of shape (S, C, K)
        Of the classes.
    gain : array of shape (S, m, K)
    residual : array of shape (S, C, m)
        Distances from the classes' means to y0.
    variance : array of shape (S, K)
        Variances for a scale of 1.
    log_scale, share : arrays of shape (S, C)
        What multiplies standard deviations; prior weights, adding up to one.
    """
    n_draws, n_classes, n_skills = means.shape
    m = gain.shape[1]
    moved, offset, slope = means.copy(), np.zeros(n_skills), np.zeros((m, n_skills))
    for s in range(n_draws):
        for j in range(m):
            for k in range(n_skills):
                slope[j, k] += gain[s, j, k] / n_draws
        for c in range(n_classes):
            row = moved[s, c]
            for j in range(m):
                x = residual[s, c, j]
                for k in range(n_skills):
                    row[k] += gain[s, j, k] * x
            for k in range(n_skills):
                offset[k] += share[s, c] * row[k]
    size = n_draws * n_classes
    gains = np.empty((n_skills, n_draws, m), dtype=np.float32)
    base = np.empty((n_skills, size), dtype=np.float32)
    variances = np.empty((n_skills, size), dtype=np.float32)
    logs = np.empty(size, dtype=np.float32)
    which = np.empty((n_skills, size), dtype=np.int32)
    n_bins = np.empty(n_skills, dtype=np.int64)
    square, flat_share = np.exp(2.0 * log_scale), share.reshape(-1)
    for k in range(n_skills):
        for s in range(n_draws):
            for j in range(m):
                gains[k, s, j] = gain[s, j, k] - slope[j, k]
            log_variance = math.log(max(variance[s, k], _LEAST_VARIANCE))
            for c in range(n_classes):
                at = s * n_classes + c
                base[k, at] = moved[s, c, k] - offset[k]
                variances[k, at] = square[s, c] * variance[s, k]
                logs[at] = log_variance + 2.0 * log_scale[s, c]
        n_bins[k] = _bins_of_skill(base[k], logs, flat_share, which[k])
    return Components(offset, slope, gains, base, variances, which, n_bins)
