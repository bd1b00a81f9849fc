"""Populations of latent classes without MCMC, and their law in SciPy's terms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import multivariate_normal

from skillinfer_bayes import Population
from skillinfer_bayes.inference.posterior import CLASS_DIMS, Posterior

type FloatArray = NDArray[np.float64]


def with_classes(population: Population, n_classes: int = 3, random_seed: int = 7) -> Population:
    """Make classes about a population's means, of its covariances, narrow and wide ones."""
    draws = population.posterior.tree.children["posterior"].to_dataset()
    mean, covariance = draws["mu"].values, draws["covariance"].values
    rng = np.random.default_rng(random_seed)
    size = (*mean.shape[:2], n_classes)
    return of_classes(
        population,
        weights=rng.dirichlet(np.full(n_classes, 3.0), size[:2]),
        means=mean[:, :, None] + 1.5 * rng.standard_normal((*size, mean.shape[2])),
        scales=np.exp(0.5 * rng.standard_normal(size)),
        covariance=0.5 * covariance,
    )


def of_classes(
    population: Population,
    *,
    weights: FloatArray,
    means: FloatArray,
    scales: FloatArray,
    covariance: FloatArray,
) -> Population:
    """Put given classes, (chain, draw, ...) each, in place of a population's draws."""
    tree = population.posterior.tree.copy()
    draws = tree.children["posterior"].to_dataset().drop_vars(["mu", "covariance"])
    total = np.empty_like(covariance)
    for at in np.ndindex(weights.shape[:2]):
        total[at] = (weights[at] * scales[at] ** 2).sum() * covariance[at]
        total[at] += np.cov(means[at].T, aweights=weights[at], ddof=0)
    given = {
        "class_means": means,
        "class_covariance": covariance,
        "class_weights": weights,
        "class_scales": scales,
    }
    for name, values in given.items():
        draws[name] = (("chain", "draw", *CLASS_DIMS[name]), values)
    draws["mu"] = (("chain", "draw", "skill"), np.einsum("...c,...ck->...k", weights, means))
    draws["covariance"] = (("chain", "draw", "skill", "skill_bis"), total)
    tree["posterior"] = xr.DataTree(draws)
    return replace(population, posterior=Posterior(tree))


def repeated(posterior: Posterior, times: int) -> Posterior:
    """Repeat the first draw, so that it is the whole posterior."""
    tree = posterior.tree.copy()
    draws = tree.children["posterior"].to_dataset()
    tree["posterior"] = xr.DataTree(draws.isel(chain=[0], draw=[0] * times))
    return Posterior(tree)


def density(
    at: FloatArray,
    posterior: Posterior,
    draw: int,
    seen: NDArray[np.intp],
    error_var: FloatArray,
    shift: FloatArray | float = 0.0,
) -> FloatArray:
    """Density of measurements (..., m) of some skills under one draw, from its stored classes."""
    stored = posterior.tree.children["posterior"].to_dataset().isel(chain=0, draw=draw)
    within = stored["class_covariance"].values[np.ix_(seen, seen)] + np.diag(error_var)
    total: FloatArray = np.zeros(np.shape(at)[:-1])
    for weight, mean, scale in zip(
        stored["class_weights"].values,
        stored["class_means"].values,
        stored["class_scales"].values,
        strict=True,
    ):
        law = multivariate_normal(mean[seen] + shift, scale**2 * within)
        total = total + weight * law.pdf(at)
    return total
