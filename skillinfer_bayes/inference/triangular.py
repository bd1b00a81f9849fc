"""Cholesky factors of small matrices, compiled; for the kernels of likelihoods and profiles."""

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
