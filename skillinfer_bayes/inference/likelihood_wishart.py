"""The likelihood of a whole table under an inverse-Wishart prior, as one PyTensor Op.

With structure "factor_iw" the factor model is the centre of the prior of Sigma and no more::

    Sigma ~ InverseWishart(n0 + K + 1, n0 Psi),   Psi = Lambda Lambda' + D^2,   E(Sigma) = Psi
    mu ~ Normal(0, s^2 Sigma),   z_i ~ Normal(mu, Sigma),   i = 1, ..., N

so n0 is how many agents the centre counts for (Leonard and Hsu (1992), Bayesian inference for a
covariance matrix, doi:10.1214/aos/1176348885, shrink towards structures in another way). mu and
Sigma are integrated out. What is left depends on the rows through their number, sum t and products
P = Z'Z alone, and is a matrix-variate t (Dawid (1981), Some matrix-variate distribution theory,
doi:10.1093/biomet/68.1.265). With kappa = N + 1 / s^2, nu = n0 + K + 1, C = P - t t' / kappa and
M = n0 Psi + C,

    log p = log Gamma_K((nu + N) / 2) - log Gamma_K(nu / 2) + nu / 2 log |n0 Psi|
            - (nu + N) / 2 log |M| - K / 2 log(s^2 kappa) - N K / 2 log(pi)

and the gradient follows from d log |X| = tr(X^-1 dX) (Petersen and Pedersen (2012), The Matrix
Cookbook, section 2.1); Psi^-1 and its determinant come by factors of r by r, as in
`likelihood_factors`. What mu and Sigma are given all this, `wishart` draws after the sampler.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from skillinfer_bayes.inference.density_op import DensityOp
from skillinfer_bayes.inference.likelihood import digamma
from skillinfer_bayes.inference.likelihood_factors import solve_system

type FloatArray = NDArray[np.float64]


@numba.njit(cache=True)
def _invert_large(a: FloatArray) -> tuple[FloatArray, float]:
    """Inverse of a, by LAPACK, and its log determinant, NaN if it is not positive definite."""
    try:
        root = np.linalg.cholesky(a)
    except Exception:  # the only kind that numba catches
        return a, math.nan
    log_det = 2.0 * np.log(np.diag(root)).sum()
    return (np.linalg.inv(a) if math.isfinite(log_det) else a), log_det


@numba.njit(cache=True)
def wishart_rows(
    loadings: FloatArray,
    own_sd: FloatArray,
    centre_agents: FloatArray,
    scatter: FloatArray,
    n_agents: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    """Log density of the rows less its `s`, and its gradient; see the module's text."""
    n_skills, rank = loadings.shape
    n, n0 = n_agents.item(), centre_agents.item()
    df = n0 + n_skills + 1.0
    own_var = own_sd * own_sd
    shared = np.ascontiguousarray(loadings.T)
    centre = np.dot(loadings, shared)
    for k in range(n_skills):
        centre[k, k] += own_var[k]
    weighted = np.empty_like(shared)  # Lambda' Psi^-1
    square = (rank, rank)
    system = (np.empty_like(shared), weighted, np.empty(square), np.empty(square))
    log_det_centre = solve_system(shared, own_var, system, n_skills) + n_skills * math.log(n0)
    inverse, log_det_whole = _invert_large(n0 * centre + scatter)
    if not math.isfinite(log_det_centre + log_det_whole):
        nothing = np.zeros_like(loadings), np.zeros_like(own_sd), np.asarray(0.0)
        return np.asarray(-math.inf), *nothing, np.zeros_like(scatter)
    logp = 0.5 * (df * log_det_centre - (df + n) * log_det_whole - n * n_skills * math.log(math.pi))
    by_df = 0.5 * (log_det_centre - log_det_whole)
    for k in range(n_skills):
        upper, lower = 0.5 * (df + n - k), 0.5 * (df - k)
        logp += math.lgamma(upper) - math.lgamma(lower)
        by_df += 0.5 * (digamma(upper) - digamma(lower))
    by_scatter = -0.5 * (df + n) * inverse
    by_n0 = by_df + 0.5 * df * n_skills / n0 + (by_scatter * centre).sum()
    by_loadings = df * weighted.T + 2.0 * n0 * np.dot(by_scatter, loadings)
    by_own_sd = np.empty(n_skills)
    for k in range(n_skills):
        explained = 0.0
        for p in range(rank):
            explained += weighted[p, k] * shared[p, k]
        precision = (1.0 - explained) / own_var[k]
        by_own_sd[k] = own_sd[k] * (df * precision + 2.0 * n0 * by_scatter[k, k])
    return np.asarray(logp), by_loadings, by_own_sd, np.asarray(by_n0), by_scatter


class WishartRows(DensityOp):
    """Log density of a table whose covariance and mean are integrated out, with its gradient.

    Inputs: loadings (skill, factor), own_sd (skill,), centre_agents (scalar), scatter (skill,
    skill); then n_agents (scalar). Outputs: the log density (scalar) and its gradients by the first
    four. The term in s, which no parameter moves, is left out.
    """

    kernel = staticmethod(wishart_rows)
    version = 3
    parameter_ndims = (2, 1, 0, 2)
    data_dtypes = ("float64",)


wishart_rows_op = WishartRows()
