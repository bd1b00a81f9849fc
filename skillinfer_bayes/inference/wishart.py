"""Draw the mean and covariance that structure "factor_iw" integrates out.

Given the centre Psi of the prior, how many agents n0 it counts for, and N rows of sum t, with
kappa, C and M as in `likelihood_wishart`, both are conjugate (Gelman et al. (2013), Bayesian Data
Analysis, third edition, section 3.6, ISBN 978-1-4398-4095-5)::

    Sigma ~ InverseWishart(n0 + K + 1 + N, M),   mu ~ Normal(t / kappa, Sigma / kappa)

Without rows that is the prior: t = 0, M = n0 Psi, kappa = 1 / s^2.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import invwishart

type FloatArray = NDArray[np.float64]

#: Variables of the model that say what mu and Sigma are given the rest, with their dims.
CONJUGATE: dict[str, tuple[str, ...]] = {
    "wishart_df": (),
    "wishart_scale": ("skill", "skill_bis"),
    "mean_centre": ("skill",),
    "mean_agents": (),
}


def draw_mean_and_covariance(
    df: FloatArray,
    scale: FloatArray,
    centre: FloatArray,
    agents: FloatArray,
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray]:
    """Draw one mean and covariance per entry.

    Parameters
    ----------
    df : array of shape (S,)
        Degrees of freedom, above K - 1.
    scale : array of shape (S, K, K)
        M.
    centre : array of shape (S, K)
    agents : array of shape (S,)
        kappa.
    rng : numpy.random.Generator

    Returns
    -------
    mean, covariance : arrays of shape (S, K) and (S, K, K)
    """
    covariance, mean = np.empty_like(scale), np.empty_like(centre)
    for at, (one_df, one_scale) in enumerate(zip(df, scale, strict=True)):
        covariance[at] = invwishart.rvs(one_df, one_scale, random_state=rng)
        root = np.linalg.cholesky(covariance[at])
        mean[at] = centre[at] + root @ rng.standard_normal(len(root)) / math.sqrt(agents[at])
    return mean, covariance


def with_populations(draws: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    """Draw mu and Sigma given what was sampled.

    Parameters
    ----------
    draws : Dataset with dims (chain, draw, ...)
        Holds the variables of `CONJUGATE`, with whatever dims of K skills.
    rng : numpy.random.Generator

    Returns
    -------
    Dataset
        With `mu` (chain, draw, skill) and `covariance` (chain, draw, skill, skill_bis) instead.
    """
    chain_draw = draws["wishart_df"].shape
    df, scale, centre, agents = (
        draws[name].values.reshape(-1, *draws[name].shape[2:]) for name in CONJUGATE
    )
    drawn = draw_mean_and_covariance(df, scale, centre, agents, rng)
    dims = draws["wishart_scale"].dims
    mean, covariance = (one.reshape(*chain_draw, *one.shape[1:]) for one in drawn)
    draws = draws.drop_vars(list(CONJUGATE))
    return draws.assign(mu=(dims[:-1], mean), covariance=(dims, covariance))
