"""Cholesky factors of small matrices, compiled; for the kernels of likelihoods and profiles.

One small matrix leaves a processor's vector units idle, so `invert_lanes` takes many at once, the
last axis counting them, and each step for all of them before the next.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

_FAST = {"reassoc", "contract", "nsz"}


@numba.njit(cache=True, fastmath=_FAST)
def cholesky(a: NDArray[np.float64], m: int) -> float:
    """Make the lower triangle of a[:m, :m] its Cholesky factor; return log det, NaN if not PD."""
    log_det = 0.0
    for i in range(m):
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
    return log_det


@numba.njit(cache=True, fastmath=_FAST)
def inverse_root(a: NDArray[np.float64], m: int) -> float:
    """Overwrite a's lower triangle with that of L^-1; return log det A, NaN if not PD."""
    log_det = cholesky(a, m)
    if math.isnan(log_det):
        return log_det
    for j in range(m):
        a[j, j] = 1.0 / a[j, j]
        for i in range(j + 1, m):
            total = 0.0
            for k in range(j, i):
                total -= a[i, k] * a[k, j]
            a[i, j] = total / a[i, i]
    return log_det


@numba.njit(cache=True, fastmath=_FAST, error_model="numpy")
def invert_lanes(
    a: NDArray[np.float64], inverse: NDArray[np.float64], log_det: NDArray[np.float64], m: int
) -> None:
    """Make the lower triangle of inverse[:m, :m, w] that of the inverse of a[:m, :m, w].

    Lower triangles are read, and `a` is used up. `log_det` becomes that of `a`; it is not finite
    where `a` is not positive definite.
    """
    n = a.shape[2]
    log_det[:] = 0.0
    for j in range(m):
        for k in range(j):
            for i in range(j, m):
                for w in range(n):
                    a[i, j, w] -= a[i, k, w] * a[j, k, w]
        for w in range(n):
            log_det[w] += math.log(a[j, j, w])
            a[j, j, w] = 1.0 / math.sqrt(a[j, j, w])
        for i in range(j + 1, m):
            for w in range(n):
                a[i, j, w] *= a[j, j, w]
    for j in range(m):  # row j of the upper triangle becomes column j of L^-1
        for i in range(j + 1, m):
            for w in range(n):
                a[j, i, w] = -a[i, j, w] * a[j, j, w]
        for k in range(j + 1, m):
            for w in range(n):
                a[j, k, w] *= a[k, k, w]
            for i in range(k + 1, m):
                for w in range(n):
                    a[j, i, w] -= a[i, k, w] * a[j, k, w]
    for i in range(m):  # A^-1 = L^-T L^-1
        for j in range(i + 1):
            for w in range(n):
                inverse[i, j, w] = a[i, i, w] * a[j, i, w]
        for k in range(i + 1, m):
            for j in range(i + 1):
                for w in range(n):
                    inverse[i, j, w] += a[i, k, w] * a[j, k, w]
