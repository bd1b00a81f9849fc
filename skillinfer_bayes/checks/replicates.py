"""Tables that a population would produce, on the working scale; no sampler needed.

Correlation matrices of the LKJ prior come from the onion method (Lewandowski, Kurowicka and Joe
(2009), doi:10.1016/j.jmva.2009.04.008). The model is written out in
`skillinfer_bayes.inference.model`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from skillinfer_bayes.inference.design import Design
from skillinfer_bayes.inference.posterior import DIMS, Posterior
from skillinfer_bayes.inference.priors import Priors
from skillinfer_bayes.inference.wishart import draw_mean_and_covariance
from skillinfer_bayes.profiles.evidence import Evidence
from skillinfer_bayes.profiles.latent_classes import draw_classes

type FloatArray = NDArray[np.float64]


def prior_population(
    skills: Sequence[str],
    priors: Priors,
    n_draws: int,
    rng: np.random.Generator,
    design: Design | None = None,
    typical: FloatArray | None = None,
    n_scores: FloatArray | None = None,
) -> Posterior:
    """Draw populations from the prior.

    Parameters
    ----------
    skills : sequence of K str
    priors : Priors
        Resolved.
    n_draws : int
    rng : numpy.random.Generator
    design : Design, optional
        Covariates and groups. Default: none.
    typical : array of shape (K,), optional
        A typical skill's spread on the working scale of each skill, for tails "cell". Default: 1.
    n_scores : array of shape (K,), optional
        Scores that set each skill's unit, for other tails. Default: so many that it is no guess.

    Returns
    -------
    Posterior
        Independent draws, in one chain.
    """
    n_skills = len(skills)
    rank = 0 if priors.covariance == "lkj" else (priors.rank or 0)
    scale = np.ones((n_draws, 1))
    drawn: dict[str, FloatArray] = {}
    if priors.tails == "cell":
        spread = priors.skill_spread_sd * np.abs(rng.standard_normal((n_draws, 1)))
        scale = np.exp(spread * rng.standard_normal((n_draws, n_skills)))
        scale = scale if typical is None else scale * typical
        drawn["agent_noise_sd"] = priors.agent_noise_sd * np.abs(rng.standard_normal(n_draws))
    elif rank and n_scores is not None:
        log_scale = priors.unit_log_sd / np.sqrt(n_scores)
        scale = np.exp(log_scale * rng.standard_normal((n_draws, n_skills)))
    log_mean = rng.normal(priors.own_log_centre, priors.own_log_sd, (n_draws, 1))
    log_spread = priors.own_spread_sd * np.abs(rng.standard_normal((n_draws, 1)))
    own = scale * np.exp(log_mean + log_spread * rng.standard_normal((n_draws, n_skills)))
    root = np.broadcast_to(np.eye(n_skills), (n_draws, n_skills, n_skills))
    if priors.has_omega:
        root = lkj_roots(n_skills, priors.eta, n_draws, rng)
    root = own[:, :, None] * root
    general = rng.normal(priors.general_mean, priors.general_sd, n_draws)
    loadings = priors.loading_sd * rng.standard_normal((n_draws, n_skills, rank))
    loadings[:, :, :1] += general[:, None, None]
    loadings = scale[:, :, None] * loadings
    shift = priors.mean_sd * rng.standard_normal((n_draws, n_skills))
    factor_shift = priors.mean_sd * rng.standard_normal((n_draws, rank))
    drawn["mu"] = np.einsum("skj,sj->sk", root, shift)
    drawn["mu"] += np.einsum("skr,sr->sk", loadings, factor_shift)
    drawn["own_sd"] = own
    if rank:
        drawn["loadings"] = loadings
    if priors.tails == "class":
        drawn |= _classes(drawn["mu"], loadings, root, priors, rng)
    elif priors.tails != "cell":
        drawn["covariance"] = root @ np.swapaxes(root, 1, 2)
        drawn["covariance"] += loadings @ np.swapaxes(loadings, 1, 2)
    if priors.covariance == "factor_iw":
        drawn |= _about_centre(drawn["covariance"], priors, rng)
    if priors.tails in ("agent", "cell"):
        drawn["nu"] = np.exp(rng.normal(priors.nu_log_mean, priors.nu_log_sd, n_draws))
    if design is not None and design.n_columns:
        drawn |= _effects(design, priors, rank, n_draws, rng)
    return _as_posterior(skills, drawn)


def _about_centre(
    centre: FloatArray, priors: Priors, rng: np.random.Generator
) -> dict[str, FloatArray]:
    """Mean and covariance from the inverse-Wishart about a centre (S, K, K)."""
    n_draws, n_skills = centre.shape[:2]
    agents = np.exp(rng.normal(priors.centre_log_mean, priors.centre_log_sd, n_draws))
    mean, covariance = draw_mean_and_covariance(
        agents + n_skills + 1.0,
        agents[:, None, None] * centre,
        np.zeros((n_draws, n_skills)),
        np.full(n_draws, priors.mean_sd**-2),
        rng,
    )
    return {"mu": mean, "covariance": covariance}


def _classes(
    centre: FloatArray,
    loadings: FloatArray,
    root: FloatArray,
    priors: Priors,
    rng: np.random.Generator,
) -> dict[str, FloatArray]:
    """Latent classes about a centre (S, K), and mean and covariance of all of them together."""
    n_draws, n_skills, rank = loadings.shape
    size = (n_draws, priors.n_classes)
    weights = rng.dirichlet(np.ones(priors.n_classes), n_draws)
    apart = priors.class_sd * np.abs(rng.standard_normal((n_draws, 1, 1)))
    shift = rng.standard_normal((*size, rank)) @ np.swapaxes(loadings, 1, 2)
    shift += rng.standard_normal((*size, n_skills)) @ np.swapaxes(root, 1, 2)
    means = centre[:, None, :] + apart * shift
    scales = np.exp(priors.class_scale_sd * rng.standard_normal(size))
    within = root @ np.swapaxes(root, 1, 2) + loadings @ np.swapaxes(loadings, 1, 2)
    mu = np.einsum("sc,sck->sk", weights, means)
    off = means - mu[:, None, :]
    between = np.einsum("sc,sck,scj->skj", weights, off, off)
    return {
        "class_means": means,
        "class_covariance": within,
        "class_weights": weights,
        "class_scales": scales,
        "mu": mu,
        "covariance": (weights * scales**2).sum(axis=1)[:, None, None] * within + between,
    }


def _effects(
    design: Design, priors: Priors, rank: int, n_draws: int, rng: np.random.Generator
) -> dict[str, FloatArray]:
    """Effects (S, P + G, r) of covariates and groups, and the groups' spread (S,)."""
    drawn: dict[str, FloatArray] = {}
    sd = np.full((n_draws, design.n_columns, 1), priors.covariate_sd)
    if design.groups:
        group_sd = priors.group_sd * np.abs(rng.standard_normal(n_draws))
        sd[:, len(design.covariates) :] = group_sd[:, None, None]
        drawn["group_sd"] = group_sd
    drawn["effects"] = sd * rng.standard_normal((n_draws, design.n_columns, rank))
    return drawn


def _as_posterior(skills: Sequence[str], drawn: dict[str, FloatArray]) -> Posterior:
    coords: dict[str, Any] = {"skill": list(skills), "skill_bis": list(skills)}
    variables = {
        name: (("chain", "draw", *DIMS[name]), values[None]) for name, values in drawn.items()
    }
    dataset = xr.Dataset(variables)
    dataset = dataset.assign_coords({k: v for k, v in coords.items() if k in dataset.dims})
    return Posterior(xr.DataTree.from_dict({"posterior": dataset}))


def lkj_roots(n: int, eta: float, n_draws: int, rng: np.random.Generator) -> FloatArray:
    """Cholesky factors (n_draws, n, n) of correlation matrices drawn from LKJ(eta)."""
    roots = np.zeros((n_draws, n, n))
    roots[:, 0, 0] = 1.0
    for row in range(1, n):
        # the squared length of the row before its diagonal
        length = rng.beta(0.5 * row, eta + 0.5 * (n - 1 - row), n_draws)
        direction = rng.standard_normal((n_draws, row))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        roots[:, row, :row] = np.sqrt(length)[:, None] * direction
        roots[:, row, row] = np.sqrt(1.0 - length)
    return roots


def replicate(posterior: Posterior, evidence: Evidence, rng: np.random.Generator) -> FloatArray:
    """Simulate one table per draw, with the holes and measurement errors of a given one.

    Parameters
    ----------
    posterior : Posterior
        Of S draws.
    evidence : Evidence
        Of N agents; their measurements only say where the holes are.
    rng : numpy.random.Generator

    Returns
    -------
    array of shape (S, N, K)
        Working scale, NaN where nothing was measured.
    """
    n_draws, n_skills = posterior.mean.shape
    shape = (n_draws, len(evidence.agents), n_skills)
    mean, scale = np.broadcast_to(posterior.mean[:, None, :], shape), None
    if posterior.classes is not None:
        mean, scale = draw_classes(posterior.classes, shape[1], rng)
    if evidence.design.shape[1]:
        pull = evidence.design @ posterior.effects
        mean = mean + pull @ np.swapaxes(posterior.loadings, 1, 2)
    error_sd = np.sqrt(np.where(evidence.observed, evidence.error_var, 0.0))
    if posterior.by_cell:
        deviation = _by_cell(posterior, error_sd, shape, rng)
    else:
        root = np.linalg.cholesky(posterior.row_covariance)
        deviation = rng.standard_normal(shape) @ np.swapaxes(root, 1, 2)
        deviation += error_sd * rng.standard_normal(shape)
        nu = posterior.nu[:, None]
        if np.isfinite(nu).all():
            scale = np.sqrt(nu / rng.chisquare(nu, shape[:2]))
        if scale is not None:
            deviation *= scale[:, :, None]
    return np.where(evidence.observed, mean + deviation, np.nan)


def _by_cell(
    posterior: Posterior,
    error_sd: FloatArray,
    shape: tuple[int, int, int],
    rng: np.random.Generator,
) -> FloatArray:
    """Deviations of agents where every score has a scale of its own."""
    loadings = posterior.loadings
    factors = rng.standard_normal((*shape[:2], loadings.shape[2]))
    noise = np.exp(posterior.agent_noise_sd[:, None] * rng.standard_normal(shape[:2]))
    sd = np.hypot(posterior.own_sd[:, None, :] * noise[:, :, None], error_sd)
    heavy = rng.standard_t(posterior.nu[:, None, None], size=shape)
    return np.asarray(factors @ np.swapaxes(loadings, 1, 2) + sd * heavy)


def spread_draws(posterior: Posterior, n_draws: int) -> Posterior:
    """Keep about `n_draws` draws, evenly spread over every chain; all if there are no more."""
    step = max(1, posterior.n_chains * posterior.n_draws // n_draws)
    if step == 1:
        return posterior
    draws = posterior.tree.children["posterior"].to_dataset().isel(draw=slice(None, None, step))
    return Posterior(xr.DataTree.from_dict({"posterior": draws}))
