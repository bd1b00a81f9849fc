"""Conditioning every posterior draw of the population on observed skills; arrays only.

For draw s with mean mu and covariance Sigma, observed skills J, measurements y and error
variances S_J, the conditional of a Gaussian is (Bishop (2006), Pattern Recognition and Machine
Learning, section 2.3.1, ISBN 978-0-387-31073-2)::

    gain      G_s = Sigma[:, J] (Sigma[J, J] + diag(S_J))^-1
    mean      m_s = mu + G_s (y - mu[J])
    variance  V_s = Sigma - G_s Sigma[J, :]
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

type FloatArray = NDArray[np.float64]
type IntArray = NDArray[np.intp]

SMALL_SYSTEM = 8


class Conditional(NamedTuple):
    """What does not depend on the measured values.

    observed : (m,), positions J of the observed skills
    gain : (S, m, K), transposed gains
    variance : (S, K), conditional variances
    """

    observed: IntArray
    gain: FloatArray
    variance: FloatArray


def condition(covariance: FloatArray, observed: IntArray, error_var: FloatArray) -> Conditional:
    """Gains and conditional variances for one set of observed skills.

    Parameters
    ----------
    covariance : array of shape (S, K, K)
    observed : array of shape (m,)
        Observed skills, each once; m may be 0.
    error_var : array of shape (m,)
        Variances of the measurement errors.

    Returns
    -------
    Conditional
    """
    rows = covariance[:, observed, :]
    prior_variance = np.einsum("skk->sk", covariance)
    if not len(observed):
        return Conditional(observed, rows, prior_variance.copy())
    system = rows[:, :, observed] + np.diag(error_var)
    gain = solve_spd(system, rows)
    variance = prior_variance - np.einsum("smk,smk->sk", rows, gain)
    return Conditional(observed, gain, np.maximum(variance, 0.0))


def solve_spd(system: FloatArray, right: FloatArray) -> FloatArray:
    """Solve S symmetric positive definite systems (S, m, m) for right sides (S, m, K).

    LAPACK's overhead per matrix outweighs the work on a few observed skills; there the
    elimination runs over all draws at once.
    """
    m = system.shape[1]
    if m > SMALL_SYSTEM:
        solution: FloatArray = np.linalg.solve(system, right)
        return solution
    left, solved = system.copy(), right.copy()
    for pivot in range(m):
        scale = 1.0 / left[:, pivot, pivot]
        for row in range(m):
            if row == pivot:
                continue
            factor = left[:, row, pivot] * scale
            left[:, row, pivot:] -= factor[:, None] * left[:, pivot, pivot:]
            solved[:, row] -= factor[:, None] * solved[:, pivot]
        left[:, pivot, pivot:] *= scale[:, None]
        solved[:, pivot] *= scale[:, None]
    return solved
