"""Conditioning every posterior draw of the population on observed skills; arrays only.

For draw s with mean mu and covariance Sigma, observed skills J, measurements y and error
variances S_J, the conditional of a Gaussian is (Bishop (2006), Pattern Recognition and Machine
Learning, section 2.3.1, ISBN 978-0-387-31073-2)::

    gain      G_s = Sigma[:, J] (Sigma[J, J] + diag(S_J))^-1
    mean      m_s = mu + G_s (y - mu[J])
    variance  V_s = Sigma - G_s Sigma[J, :]

Joint draws follow Matheron's rule: a draw theta of the population and a simulated measurement
theta_J + e are moved by the same gain, theta + G_s (y - theta_J - e), which has the conditional's
law (Journel and Huijbregts (1978), Mining Geostatistics, ISBN 0-12-391050-1). One theta and one e
for all agents make comparisons between agents use common random numbers.
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


def conditional_means(mean: FloatArray, given: Conditional, values: FloatArray) -> FloatArray:
    """Conditional means of A agents that share a set of observed skills.

    Parameters
    ----------
    mean : array of shape (S, K)
    given : Conditional
    values : array of shape (A, m)
        Measurements of the skills in `given.observed`.

    Returns
    -------
    array of shape (S, A, K)
    """
    residual = values[None, :, :] - mean[:, None, given.observed]
    return mean[:, None, :] + residual @ given.gain


def conditional_covariance(covariance: FloatArray, given: Conditional) -> FloatArray:
    """Conditional covariances, (S, K, K)."""
    full = covariance - np.swapaxes(given.gain, 1, 2) @ covariance[:, given.observed, :]
    symmetric: FloatArray = 0.5 * (full + np.swapaxes(full, 1, 2))
    return symmetric


def matheron_draws(
    theta: FloatArray, error: FloatArray, given: Conditional, values: FloatArray
) -> FloatArray:
    """One joint draw of all skills per posterior draw and agent.

    Parameters
    ----------
    theta : array of shape (S, K)
        A draw of the population per posterior draw.
    error : array of shape (S, m)
        A draw of the measurement errors of the observed skills.
    given : Conditional
    values : array of shape (A, m)

    Returns
    -------
    array of shape (S, A, K)
    """
    simulated = theta[:, given.observed] + error
    residual = values[None, :, :] - simulated[:, None, :]
    return theta[:, None, :] + residual @ given.gain


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
