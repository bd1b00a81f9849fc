"""What the priors do to the conclusions: power-scaling sensitivity.

Each prior, and the likelihood, is raised to a power a little off one and the posterior follows by
importance weights; ArviZ measures how far each conclusion moves. Conclusions that move with prior
and likelihood alike (0.05 and more) say that the two disagree (Kallioinen et al. (2024),
doi:10.1007/s11222-023-10366-5).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import halfnorm, norm

from skillinfer_bayes.checks.leave_out_cells import scaled_log_density
from skillinfer_bayes.checks.loo import log_likelihood
from skillinfer_bayes.inference.design import Design
from skillinfer_bayes.inference.posterior import Classes, Posterior
from skillinfer_bayes.inference.priors import Priors
from skillinfer_bayes.profiles.cells import CellConditioner
from skillinfer_bayes.profiles.evidence import Evidence

type FloatArray = NDArray[np.float64]

SENSITIVE = 0.05
ERROR_VAR = 1e-4
CONFLICT, STRONG, FINE = "prior and data disagree", "the prior decides", "fine"
ALL = "all priors"


def prior_sensitivity(
    posterior: Posterior, priors: Priors, evidence: Evidence, design: Design
) -> pd.DataFrame:
    """Measure how the conclusions react to each prior.

    Parameters
    ----------
    posterior : Posterior
    priors : Priors
        Resolved; what the posterior was fitted with.
    evidence : Evidence
        The history's own.
    design : Design
        The history's.

    Returns
    -------
    DataFrame
        One row per prior, "all priors" last, and conclusion: `prior`, `conclusion` ("mean",
        "log sd", "mean correlation" or "prediction"), `skill`, `prior_sensitivity`,
        `likelihood_sensitivity` and `diagnosis`.
    """
    import arviz_stats

    parts = log_priors(posterior, priors, design)
    tree = _tree(posterior, parts, evidence)
    likelihood = _by_conclusion(arviz_stats.psense(tree, group="likelihood"))
    tables = []
    for name in (*parts, ALL):
        chosen = None if name == ALL else [name]
        found = arviz_stats.psense(tree, group="prior", group_var_names=chosen)
        table = _by_conclusion(found).rename(columns={"value": "prior_sensitivity"})
        table["likelihood_sensitivity"] = likelihood["value"]
        table.insert(0, "prior", name)
        tables.append(table)
    result = pd.concat(tables, ignore_index=True)
    strong = result["prior_sensitivity"] >= SENSITIVE
    moved = result["likelihood_sensitivity"] >= SENSITIVE
    result["diagnosis"] = np.select([strong & moved, strong], [CONFLICT, STRONG], FINE)
    return result


def log_priors(posterior: Posterior, priors: Priors, design: Design) -> dict[str, FloatArray]:
    """Log prior density of each part of the model under every draw, up to constants, (S,) each.

    Of a hierarchy the top level counts: the loadings and the skills' own scales follow what is
    learned of their centre and spread, and scaling them too would measure how much they shrink.
    So it is for the means of latent classes, whose weights have a flat prior.
    """
    parts: dict[str, FloatArray] = {}
    apart = posterior.hyperparameter("class_sd")
    if not posterior.by_class or apart is not None:
        parts["means"] = _log_prior_of_centre(posterior, priors, apart)
    flat = priors.eta == 1.0  # nothing to scale
    if priors.has_omega and posterior.mean.shape[1] > 1 and not flat:
        parts["correlations (eta)"] = (priors.eta - 1.0) * _log_det_omega(posterior)
    general = posterior.hyperparameter("general")
    if general is not None:
        one, other = (
            norm.logpdf(general, mean, priors.general_sd)
            for mean in (priors.general_mean, -priors.general_mean)
        )
        parts["general factor"] = np.logaddexp(one, other)
    log_mean = posterior.hyperparameter("own_log_mean")
    log_spread = posterior.hyperparameter("own_log_spread")
    if log_mean is not None and log_spread is not None:
        scales = norm.logpdf(log_mean, priors.own_log_centre, priors.own_log_sd)
        parts["scales"] = scales + halfnorm.logpdf(log_spread, scale=priors.own_spread_sd)
        skill_spread = posterior.hyperparameter("skill_spread")
        if skill_spread is not None:
            parts["scales"] += halfnorm.logpdf(skill_spread, scale=priors.skill_spread_sd)
    centre_agents = posterior.hyperparameter("centre_agents")
    if centre_agents is not None:
        log_agents = np.log(centre_agents)
        parts["weight of the factors"] = norm.logpdf(
            log_agents, priors.centre_log_mean, priors.centre_log_sd
        )
    if posterior.by_cell:
        noise = posterior.agent_noise_sd
        parts["noise of agents"] = halfnorm.logpdf(noise, scale=priors.agent_noise_sd)
    if posterior.classes is not None and apart is not None:
        widths = norm.logpdf(np.log(posterior.classes.scales), 0.0, priors.class_scale_sd)
        distance = halfnorm.logpdf(apart, scale=priors.class_sd)
        parts["classes"] = distance + widths.sum(axis=1)
    if np.isfinite(posterior.nu).all():
        log_nu = np.log(posterior.nu)
        parts["tails"] = norm.logpdf(log_nu, priors.nu_log_mean, priors.nu_log_sd)
    if design.groups:
        parts["groups"] = halfnorm.logpdf(posterior.group_sd, scale=priors.group_sd)
    if design.covariates:
        effects = posterior.effects[:, : len(design.covariates)] / priors.covariate_sd
        parts["covariates"] = -0.5 * (effects**2).sum(axis=(1, 2))
    return parts


def _log_prior_of_centre(
    posterior: Posterior, priors: Priors, apart: FloatArray | None
) -> FloatArray:
    """Log prior density of the population's mean, with classes that of their centre, (S,).

    As in the model, it is that of the mean in units of Sigma, and says nothing of Sigma itself: a
    power of the normal density of the mean would also be a prior of Sigma's determinant.

    The centre itself is not kept, but given C class means about it, e apart, it is normal with
    variance v = 1 / (1 / s^2 + C / e^2) times Sigma, about v C / e^2 times their mean, s being its
    prior sd. Given is its expected log density: how the log weight of a draw, the centre
    integrated out, begins to change with the power.
    """
    mean, variance = posterior.mean, 0.0
    if posterior.classes is not None and apart is not None:
        of_mean = apart**2 / posterior.classes.means.shape[1]
        share = priors.mean_sd**2 / (priors.mean_sd**2 + of_mean)
        mean = share[:, None] * posterior.classes.means.mean(axis=1)
        variance = share * of_mean
    root = np.linalg.cholesky(posterior.row_covariance)
    white = np.linalg.solve(root, mean[:, :, None])[:, :, 0]
    square = (white**2).sum(axis=1) + mean.shape[1] * variance
    return np.asarray(-0.5 * square / priors.mean_sd**2)


def _log_det_omega(posterior: Posterior) -> FloatArray:
    """Log determinant of Omega = D^-1 (Sigma - Lambda Lambda') D^-1, (S,)."""
    loadings = posterior.loadings
    own = posterior.row_covariance - loadings @ np.swapaxes(loadings, 1, 2)
    log_det: FloatArray = np.linalg.slogdet(own)[1] - 2.0 * np.log(posterior.own_sd).sum(axis=1)
    return log_det


def conclusions(posterior: Posterior) -> dict[str, FloatArray]:
    """Give what users take from a fit, under every draw: (S, K), the mean correlation (S,).

    The prediction is that of each skill for an agent one spread above the mean in all others.
    """
    mean, covariance = posterior.mean, posterior.covariance
    n_skills = mean.shape[1]
    sd = np.sqrt(np.einsum("skk->sk", covariance))
    found = {"mean": mean, "log sd": np.log(sd)}
    if n_skills > 1:
        correlation = covariance / (sd[:, :, None] * sd[:, None, :])
        found["mean correlation"] = correlation[:, *np.tril_indices(n_skills, -1)].mean(axis=1)
        found["prediction"] = _predicted(posterior)
    return found


def _predicted(posterior: Posterior) -> FloatArray:
    """Conditional mean of each skill where all others were measured one spread up, (S, K)."""
    n_draws, n_skills = posterior.mean.shape
    one, ones = posterior.row_covariance, np.ones((n_draws, 1))
    classes = posterior.classes or Classes(posterior.mean[:, None, :], one, ones, ones)
    precision = np.linalg.inv(one + ERROR_VAR * np.eye(n_skills))
    own = np.einsum("skk->sk", precision)[:, None, :]
    residual = 1.0 - classes.means
    pulled = residual @ precision
    predicted = classes.means - (pulled - own * residual) / own
    # squared distance of the others from each class, (S, C, 1) less (S, C, K)
    quad = (pulled * residual).sum(axis=2, keepdims=True) - pulled**2 / own
    weight, scale = classes.weights[:, :, None], classes.scales[:, :, None]
    terms = np.log(weight) - (n_skills - 1) * np.log(scale) - 0.5 * quad / scale**2
    return np.asarray((softmax(terms, axis=1) * predicted).sum(axis=1))


def _tree(posterior: Posterior, parts: dict[str, FloatArray], evidence: Evidence) -> xr.DataTree:
    shape = (posterior.n_chains, posterior.n_draws)
    dims = ("chain", "draw")
    coords = {"chain": np.arange(shape[0]), "draw": np.arange(shape[1])}

    def unflat(values: FloatArray) -> FloatArray:
        return values.reshape(*shape, *values.shape[1:])

    drawn = {
        name: ((*dims, "skill") if values.ndim == 2 else dims, unflat(values))
        for name, values in conclusions(posterior).items()
    }
    total = _log_likelihood_of_all(posterior, evidence)
    return xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset(drawn, coords={**coords, "skill": list(posterior.skills)}),
            "log_prior": xr.Dataset(
                {name: (dims, unflat(values)) for name, values in parts.items()}, coords=coords
            ),
            "log_likelihood": xr.Dataset({"rows": (dims, unflat(total))}, coords=coords),
        }
    )


def _log_likelihood_of_all(posterior: Posterior, evidence: Evidence) -> FloatArray:
    """Log density of the history, (S,); with tails "cell" given noise levels and cell scales."""
    if not posterior.by_cell:
        return np.asarray(log_likelihood(posterior, evidence).sum(axis=1))
    total = np.zeros(len(posterior.mean))
    for _, row in CellConditioner(posterior).scaled_rows(evidence):
        total += scaled_log_density(row)
    return total


def _by_conclusion(found: xr.Dataset) -> pd.DataFrame:
    """One row per conclusion and skill."""
    rows = []
    for name, values in found.data_vars.items():
        skills = values["skill"].values if "skill" in values.dims else [""]
        rows += [
            (str(name), str(skill), float(value))
            for skill, value in zip(skills, np.atleast_1d(values.values), strict=True)
        ]
    return pd.DataFrame(rows, columns=["conclusion", "skill", "value"])
