"""Each score against the agent's other scores where every score has a scale of its own.

Given the agent's noise level and the scales of its other cells, drawn as in
`skillinfer_bayes.profiles.cells`, its scores but one are Gaussian, and the formulas of
`skillinfer_bayes.checks.leave_out` say where the one lies as far as it is shared. Its own scale is
taken from its prior, an inverse gamma, whose average is the Student-t.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, logsumexp, ndtr

from skillinfer_bayes.profiles.cells import ScaledRow

type FloatArray = NDArray[np.float64]

NODES = 48
LOG_2PI = math.log(2.0 * math.pi)


def scaled_score_by_score(row: ScaledRow, nu: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Probability below, and log density of, each score given the others.

    Parameters
    ----------
    row : ScaledRow
        Of m scores, under S draws.
    nu : array of shape (S,)

    Returns
    -------
    below, density : arrays of shape (S, m)
    """
    precision = np.linalg.inv(row.system)
    given_others = 1.0 / np.einsum("smm->sm", precision)
    deviation = np.einsum("smn,sn->sm", precision, row.residual) * given_others
    shared = np.maximum(given_others - row.variance * row.cell, 0.0)
    scales, weights = scale_nodes(nu)
    below, terms = np.zeros(deviation.shape), np.empty((NODES, *deviation.shape))
    for node in range(NODES):
        variance = shared + row.variance * scales[:, node, None]
        z = deviation / np.sqrt(variance)
        below += weights[node] * ndtr(z)
        terms[node] = math.log(weights[node]) - 0.5 * (z**2 + np.log(variance) + LOG_2PI)
    return below, logsumexp(terms, axis=0)


def scale_nodes(nu: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Scales of a cell, (S, Q), with weights (Q,): quantiles of the inverse gamma of nu / 2.

    Gauss-Legendre in the square root of the probability, so that the wide scales in the tail,
    which decide how unusual an unusual score is, are met often enough.
    """
    at, weight = np.polynomial.legendre.leggauss(NODES)
    root = 0.5 * (at + 1.0)
    half = 0.5 * nu[:, None]
    scales: FloatArray = half / gammaincinv(half, root**2)
    return scales, weight * root


def scaled_log_density(row: ScaledRow) -> FloatArray:
    """Log density of an agent's scores given its noise level and cell scales, (S,)."""
    root = np.linalg.cholesky(row.system)
    white = np.linalg.solve(root, row.residual[:, :, None])[:, :, 0]
    half_log_det = np.log(np.einsum("smm->sm", root)).sum(axis=1)
    size = white.shape[1]
    return np.asarray(-0.5 * ((white**2).sum(axis=1) + size * LOG_2PI) - half_log_det)
