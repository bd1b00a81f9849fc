"""Log density of table rows with empty cells, latent skills integrated out; arrays only.

Rows are multivariate Student-t, or Gaussian in the limit (Kotz and Nadarajah (2004), Multivariate t
Distributions and Their Applications, doi:10.1017/CBO9780511550683, equation 1.1).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

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
    for row, (score, variance) in enumerate(zip(values, error_var, strict=True)):
        seen = np.flatnonzero(~np.isnan(score))
        if not seen.size:
            continue
        system = covariance[:, seen[:, None], seen] + np.diag(variance[seen])
        root = np.linalg.cholesky(system)
        white = np.linalg.solve(root, (score[seen] - mean[:, seen])[..., None])[..., 0]
        half_log_det = np.log(np.einsum("smm->sm", root)).sum(axis=1)
        result[:, row] = _standard_density((white**2).sum(axis=1), seen.size, nu) - half_log_det
    return result


def _standard_density(quad: FloatArray, size: int, nu: FloatArray) -> FloatArray:
    """Log density of a standard Student-t vector of `size` entries and squared length `quad`."""
    gaussian = np.isinf(nu)
    finite = np.where(gaussian, 1.0, nu)
    constant = gammaln(0.5 * (finite + size)) - gammaln(0.5 * finite)
    constant -= 0.5 * size * np.log(finite * math.pi)
    student = constant - 0.5 * (finite + size) * np.log1p(quad / finite)
    return np.where(gaussian, -0.5 * (quad + size * LOG_2PI), student)
