"""The compiled loop behind `CellConditioner.log_density`; imported when first needed.

The integrand is the joint density of an agent's m scores, its r factors f (less what covariates and
groups do to them) and its standardised log noise z::

    u_j = residual_j - Lambda_j f,   v_j = D_j^2 exp(2 noise_sd z) + s2_j,   q_j = u_j^2 / v_j
    log joint = sum_j log t_nu(u_j; 0, sqrt(v_j)) + log N(f; 0, prior_var I) + log N(z; 0, 1)

It falls off like a Gaussian and the proposal like a Student-t, so that the weights are bounded.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

type FloatArray = NDArray[np.float64]

MOST_STEPS, MOST_HALVINGS = 200, 20
CLOSE = 1e-6
# smallest conditional precision of the proposal, in units of the prior's
FLATTEST = 0.2
# of the proposal: tails for a mode that is not Gaussian, and a little width to spare
DEGREES, WIDER = 6.0, 1.1
LOG_2PI = math.log(2.0 * math.pi)


@numba.njit(cache=True)
def _root(matrix: FloatArray, least: float, root: FloatArray) -> bool:
    """Cholesky factor of a small matrix into `root`; False where a pivot is below `least`."""
    size = len(matrix)
    for i in range(size):
        for j in range(i + 1):
            left = matrix[i, j]
            for k in range(j):
                left -= root[i, k] * root[j, k]
            if j < i:
                root[i, j] = left / root[j, j]
            elif left > least:
                root[i, i] = math.sqrt(left)
            else:
                return False
    return True


@numba.njit(cache=True)
def _back(root: FloatArray, vector: FloatArray) -> None:
    """Solve root' x = vector in place."""
    for i in range(len(vector) - 1, -1, -1):
        for k in range(i + 1, len(vector)):
            vector[i] -= root[k, i] * vector[k]
        vector[i] /= root[i, i]


@numba.njit(cache=True)
def _solve(root: FloatArray, vector: FloatArray) -> None:
    """Solve root root' x = vector in place."""
    for i in range(len(vector)):
        for k in range(i):
            vector[i] -= root[i, k] * vector[k]
        vector[i] /= root[i, i]
    _back(root, vector)


@numba.njit(cache=True)
def _log_joint(
    point: FloatArray,
    loadings: FloatArray,
    prior_var: float,
    nu: float,
    noise_sd: float,
    residual: FloatArray,
    own_var: FloatArray,
    error_var: FloatArray,
) -> float:
    """Log density at (f, z), less what does not depend on the point."""
    m, rank = loadings.shape
    level = math.exp(2.0 * noise_sd * point[rank])
    scales, squares = 0.0, 0.0
    for c in range(m):
        u = residual[c]
        for p in range(rank):
            u -= loadings[c, p] * point[p]
        variance = own_var[c] * level + error_var[c]
        scales += math.log(variance)
        squares += math.log1p(u * u / (nu * variance))
    prior = float(point[rank]) ** 2
    for p in range(rank):
        prior += point[p] ** 2 / prior_var
    return -0.5 * (prior + scales + (nu + 1.0) * squares)


@numba.njit(cache=True)
def _curvature(
    point: FloatArray,
    loadings: FloatArray,
    prior_var: float,
    nu: float,
    noise_sd: float,
    residual: FloatArray,
    own_var: FloatArray,
    error_var: FloatArray,
    gradient: FloatArray,
    observed: FloatArray,
    expected: FloatArray,
) -> None:
    """Gradient of the log density, and its negative Hessian, observed and expected."""
    m, rank = loadings.shape
    z = point[rank]
    level = math.exp(2.0 * noise_sd * z)
    observed[:, :] = 0.0
    expected[:, :] = 0.0
    for p in range(rank):
        gradient[p] = -point[p] / prior_var
        observed[p, p] = expected[p, p] = 1.0 / prior_var
    gradient[rank] = -z
    observed[rank, rank] = expected[rank, rank] = 1.0
    for c in range(m):
        u = residual[c]
        for p in range(rank):
            u -= loadings[c, p] * point[p]
        variance = own_var[c] * level + error_var[c]
        q = u * u / variance
        # of log v, twice noise_sd times this is the derivative in z
        share = own_var[c] * level / variance
        weight = (nu + 1.0) / (nu + q)
        bend = weight * (nu - q) / (nu + q) / variance
        flat = (nu + 1.0) / (nu + 3.0) / variance
        cross = 2.0 * noise_sd * share * weight * nu * u / (variance * (nu + q))
        for p in range(rank):
            gradient[p] += loadings[c, p] * weight * u / variance
            observed[rank, p] += cross * loadings[c, p]
            for k in range(p + 1):
                product = loadings[c, p] * loadings[c, k]
                observed[p, k] += bend * product
                expected[p, k] += flat * product
        gradient[rank] += noise_sd * share * (weight * q - 1.0)
        both = 2.0 * noise_sd**2 * share
        steep = share * weight * nu * q / (nu + q)
        observed[rank, rank] += both * (steep - (1.0 - share) * (weight * q - 1.0))
        expected[rank, rank] += both * share * nu / (nu + 3.0)


@numba.njit(cache=True)
def _climb(
    loadings: FloatArray,
    prior_var: float,
    nu: float,
    noise_sd: float,
    residual: FloatArray,
    own_var: FloatArray,
    error_var: FloatArray,
    point: FloatArray,
    root: FloatArray,
) -> None:
    """Go to a mode, into `point`; the Cholesky factor of the precision there goes into `root`.

    Newton's steps where they lead up, Fisher's scoring elsewhere, which always does if it is short.
    """
    size = len(point)
    gradient, step, tried = np.empty(size), np.empty(size), np.empty(size)
    observed, expected = np.empty((size, size)), np.empty((size, size))
    rest = (loadings, prior_var, nu, noise_sd, residual, own_var, error_var)
    least = FLATTEST / max(prior_var, 1.0)
    point[:] = 0.0
    here = _log_joint(point, *rest)
    for _ in range(MOST_STEPS):
        _curvature(point, *rest, gradient, observed, expected)
        newton = _root(observed, least, root)
        if not newton:
            _root(expected, 0.0, root)
        step[:] = gradient
        _solve(root, step)
        gain = 0.0
        for p in range(size):
            gain += gradient[p] * step[p]
        if gain < CLOSE:
            return
        length, there = 1.0, -math.inf
        for halving in range(MOST_HALVINGS):
            for p in range(size):
                tried[p] = point[p] + length * step[p]
            there = _log_joint(tried, *rest)
            if there > here:
                break
            length *= 0.5
            if newton and halving == 1:
                _root(expected, 0.0, root)
                step[:] = gradient
                _solve(root, step)
                length = 1.0
        if not there > here:
            return
        point[:] = tried
        here = there


@numba.njit(cache=True)
def integrate_row(
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
    n_points: int,
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray]:
    """Log density of an agent's scores under every draw, factors and noise integrated out.

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
    n_points : int
        Pairs of points, on either side of the mode, per integral.
    rng : numpy.random.Generator

    Returns
    -------
    log_density : array of shape (S,)
    error : array of shape (S,)
        Monte Carlo standard error of the density, as a share of it.
    """
    n_draws, rank = loadings.shape[0], loadings.shape[2]
    m, size = len(observed), rank + 1
    own_var, residual, shared = np.empty(m), np.empty(m), np.empty((m, rank))
    mode, root = np.empty(size), np.zeros((size, size))
    step, point = np.empty(size), np.empty(size)
    log_weight = np.empty(n_points)
    result, error = np.empty(n_draws), np.empty(n_draws)
    tail = 0.5 * (DEGREES + size)
    proposal = math.lgamma(tail) - math.lgamma(0.5 * DEGREES)
    proposal -= 0.5 * size * math.log(DEGREES * math.pi) + size * math.log(WIDER)
    for s in range(n_draws):
        for c in range(m):
            j = observed[c]
            own_var[c] = own_sd[s, j] ** 2
            residual[c] = values[c] - mu[s, j]
            for p in range(rank):
                shared[c, p] = loadings[s, j, p]
                residual[c] -= shared[c, p] * pull[s, p]
        rest = (shared, spread[s], nu[s], noise_sd[s], residual, own_var, error_var)
        _climb(*rest, mode, root)
        constant = math.lgamma(0.5 * (nu[s] + 1.0)) - math.lgamma(0.5 * nu[s])
        constant = m * (constant - 0.5 * math.log(nu[s] * math.pi))
        constant -= 0.5 * (rank * math.log(spread[s]) + size * LOG_2PI) + proposal
        for p in range(size):
            constant -= math.log(root[p, p])
        for n in range(n_points):
            length = 0.0
            for p in range(size):
                step[p] = rng.standard_normal()
                length += step[p] ** 2
            stretch = 0.5 * DEGREES / rng.standard_gamma(0.5 * DEGREES)
            away = tail * math.log1p(length * stretch / DEGREES)
            _back(root, step)
            both = WIDER * math.sqrt(stretch)
            for p in range(size):
                step[p] *= both
                point[p] = mode[p] + step[p]
            one = _log_joint(point, *rest)
            for p in range(size):
                point[p] = mode[p] - step[p]
            other = _log_joint(point, *rest)
            high = max(one, other)
            log_weight[n] = away + high + math.log(0.5 * (1.0 + math.exp(min(one, other) - high)))
        highest = log_weight.max()
        total, squares = 0.0, 0.0
        for n in range(n_points):
            weight = math.exp(log_weight[n] - highest)
            total += weight
            squares += weight * weight
        result[s] = constant + highest + math.log(total / n_points)
        variance = max(squares / (total * total) - 1.0 / n_points, 0.0)
        error[s] = math.sqrt(variance * n_points / (n_points - 1.0))
    return result, error
