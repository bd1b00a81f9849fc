"""The compiled loop behind `skillinfer_bayes.profiles.cells`; imported when first needed."""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

type FloatArray = NDArray[np.float64]

NOISE_NODES = 17
NOISE_REACH = 3.0


@numba.njit(cache=True)
def _factor_posterior(
    loadings: FloatArray,
    prior_var: float,
    residual: FloatArray,
    variance: FloatArray,
    observed: NDArray[np.int64],
    centre: FloatArray,
    root: FloatArray,
) -> None:
    """Posterior of the factors: mean into `centre`, and a root of the covariance into `root`."""
    rank = loadings.shape[1]
    precision = np.eye(rank) / prior_var
    pull = np.zeros(rank)
    for c in range(len(observed)):
        for p in range(rank):
            weighted = loadings[observed[c], p] / variance[c]
            pull[p] += weighted * residual[c]
            for q in range(rank):
                precision[p, q] += weighted * loadings[observed[c], q]
    chol = np.linalg.cholesky(precision)
    inverse = np.linalg.inv(chol)
    root[:, :] = inverse.T
    centre[:] = inverse.T @ (inverse @ pull)


@numba.njit(cache=True)
def _draw_noise(
    rng: np.random.Generator,
    noise_sd: float,
    own_sd: FloatArray,
    error_var: FloatArray,
    cell: FloatArray,
    left: FloatArray,
) -> float:
    """Draw log a given residuals, on a grid; its prior is Normal(0, noise_sd)."""
    if len(left) == 0:
        return float(noise_sd * rng.standard_normal())
    log_weight = np.empty(NOISE_NODES)
    step = 2.0 * NOISE_REACH / (NOISE_NODES - 1)
    for node in range(NOISE_NODES):
        z = step * node - NOISE_REACH
        level = math.exp(2.0 * noise_sd * z)
        total = z * z
        for c in range(len(left)):
            variance = own_sd[c] ** 2 * level + error_var[c]
            total += math.log(variance) + left[c] ** 2 / (variance * cell[c])
        log_weight[node] = -0.5 * total
    weight = np.exp(log_weight - log_weight.max())
    target = rng.random() * weight.sum()
    passed = 0.0
    node = -1
    while passed < target and node < NOISE_NODES - 1:
        node += 1
        passed += weight[node]
    return float(noise_sd * (step * (node + rng.random() - 0.5) - NOISE_REACH))


@numba.njit(cache=True)
def _settle(
    loadings: FloatArray,
    prior_var: float,
    nu: float,
    noise_sd: float,
    residual: FloatArray,
    own: FloatArray,
    error_var: FloatArray,
    observed: NDArray[np.int64],
    sweeps: int,
    rng: np.random.Generator,
    cell: FloatArray,
    variance_of: FloatArray,
    left: FloatArray,
    centre: FloatArray,
    root: FloatArray,
) -> float:
    """Draw the cells' scales, into `cell`, and give log a; the factors' posterior is as above."""
    m, rank = len(observed), loadings.shape[1]
    cell[:] = 1.0
    log_a = 0.0
    for sweep in range(sweeps + 1):
        level = math.exp(2.0 * log_a)
        for c in range(m):
            variance_of[c] = (own[c] ** 2 * level + error_var[c]) * cell[c]
        _factor_posterior(loadings, prior_var, residual, variance_of, observed, centre, root)
        if sweep == sweeps:
            break
        factors = centre + root @ rng.standard_normal(rank)
        for c in range(m):
            j = observed[c]
            left[c] = residual[c]
            for p in range(rank):
                left[c] -= loadings[j, p] * factors[p]
            rate = 0.5 * (nu + left[c] ** 2 * cell[c] / variance_of[c])
            cell[c] = rate / rng.standard_gamma(0.5 * (nu + 1.0))
        log_a = _draw_noise(rng, noise_sd, own, error_var, cell, left)
    return log_a


@numba.njit(cache=True)
def sample_agent(
    mu: FloatArray,
    loadings: FloatArray,
    own_sd: FloatArray,
    nu: FloatArray,
    noise_sd: FloatArray,
    pull: FloatArray,
    spread: FloatArray,
    observed: NDArray[np.int64],
    values: FloatArray,
    error_var: FloatArray,
    sweeps: int,
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Gaussian components and joint draws of one agent's skills.

    Parameters
    ----------
    mu, own_sd : arrays of shape (S, K)
    loadings : array of shape (S, K, r)
    nu, noise_sd : arrays of shape (S,)
    pull : array of shape (S, r)
        Prior mean of the factors.
    spread : array of shape (S,)
        Prior variance of the factors.
    observed, values, error_var : arrays of shape (m,)
    sweeps : int
        Gibbs sweeps per posterior draw.
    rng : numpy.random.Generator

    Returns
    -------
    mean, variance, draw : arrays of shape (S, K)
    """
    n_draws, n_skills, rank = loadings.shape
    m = len(observed)
    mean = np.empty((n_draws, n_skills))
    variance = np.empty((n_draws, n_skills))
    joint = np.empty((n_draws, n_skills))
    centre, root = np.empty(rank), np.empty((rank, rank))
    residual, left, variance_of = np.empty(m), np.empty(m), np.empty(m)
    own, cell = np.empty(m), np.empty(m)
    for s in range(n_draws):
        for c in range(m):
            j = observed[c]
            own[c] = own_sd[s, j]
            residual[c] = values[c] - mu[s, j]
            for p in range(rank):
                residual[c] -= loadings[s, j, p] * pull[s, p]
        log_a = _settle(
            loadings[s],
            spread[s],
            nu[s],
            noise_sd[s],
            residual,
            own,
            error_var,
            observed,
            sweeps,
            rng,
            cell,
            variance_of,
            left,
            centre,
            root,
        )
        level = math.exp(2.0 * log_a)
        factors = centre + root @ rng.standard_normal(rank)
        for k in range(n_skills):
            base, shared, moved = mu[s, k], 0.0, 0.0
            for p in range(rank):
                base += loadings[s, k, p] * (pull[s, p] + centre[p])
                moved += loadings[s, k, p] * (factors[p] - centre[p])
                along = 0.0
                for q in range(rank):
                    along += loadings[s, k, q] * root[q, p]
                shared += along * along
            widened = 0.5 * nu[s] / rng.standard_gamma(0.5 * nu[s])
            rest = own_sd[s, k] ** 2 * level * widened
            mean[s, k] = base
            variance[s, k] = shared + rest
            joint[s, k] = base + moved + math.sqrt(rest) * rng.standard_normal()
        for c in range(m):
            # the part of a residual that is the agent's own, not the measurement's
            k = observed[c]
            share = own[c] ** 2 * level * cell[c] / variance_of[c]
            rest = share * error_var[c] * cell[c]
            base, shared, moved = mu[s, k], 0.0, 0.0
            for p in range(rank):
                base += loadings[s, k, p] * (pull[s, p] + centre[p])
                moved += loadings[s, k, p] * (factors[p] - centre[p])
                along = 0.0
                for q in range(rank):
                    along += loadings[s, k, q] * root[q, p]
                shared += along * along
            mean[s, k] = base + share * (values[c] - base)
            variance[s, k] = (1.0 - share) ** 2 * shared + rest
            draw = mean[s, k] + (1.0 - share) * moved
            joint[s, k] = draw + math.sqrt(rest) * rng.standard_normal()
    return mean, variance, joint


@numba.njit(cache=True)
def sample_scales(
    mu: FloatArray,
    loadings: FloatArray,
    own_sd: FloatArray,
    nu: FloatArray,
    noise_sd: FloatArray,
    pull: FloatArray,
    spread: FloatArray,
    observed: NDArray[np.int64],
    values: FloatArray,
    error_var: FloatArray,
    sweeps: int,
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Draw what makes an agent's scores Gaussian; parameters as `sample_agent`.

    Returns
    -------
    residual, variance, cell : arrays of shape (S, m)
        Scores less what is expected without them; variances of what is not shared, the
        measurement's included; and the cells' scales, by which these are multiplied.
    """
    n_draws, rank = loadings.shape[0], loadings.shape[2]
    m = len(observed)
    residuals, variances = np.empty((n_draws, m)), np.empty((n_draws, m))
    cells = np.empty((n_draws, m))
    centre, root = np.empty(rank), np.empty((rank, rank))
    left, variance_of, own = np.empty(m), np.empty(m), np.empty(m)
    for s in range(n_draws):
        for c in range(m):
            j = observed[c]
            own[c] = own_sd[s, j]
            residuals[s, c] = values[c] - mu[s, j]
            for p in range(rank):
                residuals[s, c] -= loadings[s, j, p] * pull[s, p]
        log_a = _settle(
            loadings[s],
            spread[s],
            nu[s],
            noise_sd[s],
            residuals[s],
            own,
            error_var,
            observed,
            sweeps,
            rng,
            cells[s],
            variance_of,
            left,
            centre,
            root,
        )
        level = math.exp(2.0 * log_a)
        for c in range(m):
            variances[s, c] = own[c] ** 2 * level + error_var[c]
    return residuals, variances, cells
