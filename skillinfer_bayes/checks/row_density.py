"""Log density of table rows with empty cells, latent skills integrated out; arrays only.

Rows are multivariate Student-t, or Gaussian in the limit (Kotz and Nadarajah (2004), Multivariate t
Distributions and Their Applications, doi:10.1017/CBO9780511550683, equation 1.1), or come from a
finite mixture of Gaussians, each row as wide as its class.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp

type FloatArray = NDArray[np.float64]

LOG_2PI = math.log(2.0 * math.pi)


def row_log_density(
    mean: FloatArray,
    covariance: FloatArray,
    nu: FloatArray,
    values: FloatArray,
    error_var: FloatArray,
) -> FloatArray:
    """Log density of every row under every draw of the population.

    Parameters
    ----------
    mean : array of shape (S, K)
    covariance : array of shape (S, K, K)
    nu : array of shape (S,)
        Degrees of freedom; infinite for Gaussian rows.
    values : array of shape (N, K)
        NaN where not observed.
    error_var : array of shape (N, K)
        Variances of the measurement errors.

    Returns
    -------
    array of shape (S, N)
        0 for a row without any score.
    """
    result = np.zeros((len(mean), len(values)))
    distances = _distances(mean[:, None, :], covariance, values, error_var)
    for row, size, quad, half_log_det in distances:
        result[:, row] = _standard_density(quad[:, 0], size, nu) - half_log_det
    return result


def class_row_log_density(
    means: FloatArray,
    covariance: FloatArray,
    weights: FloatArray,
    scales: FloatArray,
    values: FloatArray,
    error_var: FloatArray,
) -> FloatArray:
    """Log density of every row where agents come from latent classes, summed over the classes.

    Parameters
    ----------
    means : array of shape (S, C, K)
    covariance : array of shape (S, K, K)
        Of a class of scale 1.
    weights, scales : arrays of shape (S, C)
        A scale multiplies standard deviations, those of the errors too.
    values, error_var : arrays of shape (N, K)
        As `row_log_density`.

    Returns
    -------
    array of shape (S, N)
        0 for a row without any score.
    """
    result = np.zeros((len(means), len(values)))
    gaussian = np.full(scales.shape, np.inf)
    for row, size, quad, half_log_det in _distances(means, covariance, values, error_var):
        density = _standard_density(quad / scales**2, size, gaussian) - size * np.log(scales)
        result[:, row] = logsumexp(density, axis=1, b=weights) - half_log_det
    return result


def _distances(
    means: FloatArray, covariance: FloatArray, values: FloatArray, error_var: FloatArray
) -> Iterator[tuple[int, int, FloatArray, FloatArray]]:
    """Of each row with scores, how far it is from every mean in units of its covariance.

    Yields
    ------
    row, size : int
        Position of the row, and how many scores it has.
    quad : array of shape (S, C)
        Squared distances from means (S, C, K).
    half_log_det : array of shape (S,)
        Half the log determinant of the scores' covariance.
    """
    for row, (score, variance) in enumerate(zip(values, error_var, strict=True)):
        seen = np.flatnonzero(~np.isnan(score))
        if not seen.size:
            continue
        system = covariance[:, seen[:, None], seen] + np.diag(variance[seen])
        root = np.linalg.cholesky(system)
        away = np.swapaxes(score[seen] - means[:, :, seen], 1, 2)
        white = np.linalg.solve(root, away)
        half_log_det = np.log(np.einsum("smm->sm", root)).sum(axis=1)
        yield row, seen.size, (white**2).sum(axis=1), half_log_det


def _standard_density(quad: FloatArray, size: int, nu: FloatArray) -> FloatArray:
    """Log density of a standard Student-t vector of `size` entries and squared length `quad`."""
    gaussian = np.isinf(nu)
    finite = np.where(gaussian, 1.0, nu)
    constant = gammaln(0.5 * (finite + size)) - gammaln(0.5 * finite)
    constant -= 0.5 * size * np.log(finite * math.pi)
    student = constant - 0.5 * (finite + size) * np.log1p(quad / finite)
    return np.where(gaussian, -0.5 * (quad + size * LOG_2PI), student)
