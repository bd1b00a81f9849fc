"""The hierarchical model of how skills move together; builds it, never samples it.

On the working scale, for agents i, skills j and shared factors k::

    theta_i = mu + Lambda f_i + u_i                  latent skills of agent i
    f_i ~ Normal(0, I),   u_i ~ Normal(0, D Omega D),   Omega ~ LKJ(eta)
    y_ij ~ Normal(theta_ij, s_ij)                    what was measured
    Lambda_j1 ~ Normal(g, tau),   Lambda_jk ~ Normal(0, tau),   log D_j ~ Normal(m, s)

tau is given, not learned: a handful of agents says little about it, and a learned one put
divergences into every fit of eight agents by five skills.

f and u are integrated out: y_iJ ~ Normal(mu_J, Sigma_JJ + diag(s2_iJ)) for the observed skills J,
with Sigma = Lambda Lambda' + D Omega D. Empty cells are never imputed; that they are empty is
taken to say nothing about the score that is not there (missing at random; Rubin (1976), Inference
and missing data, doi:10.1093/biomet/63.3.581).

The LKJ prior is Lewandowski, Kurowicka and Joe (2009), doi:10.1016/j.jmva.2009.04.008. A general
factor on which all skills load is Spearman's (1904), doi:10.2307/1412107.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.likelihood import gaussian_rows_op
from skillinfer_bayes.inference.priors import Priors
from skillinfer_bayes.inference.rows import Rows, rows_of

type Tensor = Any


def build_model(history: History, priors: Priors | None = None) -> pm.Model:
    """Build the model of a history.

    Parameters
    ----------
    history : History
        Of N agents and K skills.
    priors : Priors, optional
        Default: `Priors()`.

    Returns
    -------
    pymc.Model
        Dims `skill`, `skill_bis` and `factor`; the deterministic variable `covariance` (skill,
        skill_bis) is Sigma, `mu` (skill) the population mean. The rows of the history are
        `pm.Data`, so the compiled model takes another history of as many skills.
    """
    return build_model_of_rows(rows_of(history), history.skills, priors or Priors())


def build_model_of_rows(rows: Rows, skills: Sequence[str], priors: Priors) -> pm.Model:
    """Build the model from rows that are already on the working scale."""
    priors = priors.resolve(len(skills))
    factors = range(priors.rank or 0) if priors.covariance != "lkj" else range(0)
    coords = {"skill": list(skills), "skill_bis": list(skills), "factor": list(factors)}
    with pm.Model(coords=coords) as model:
        data = {name: pm.Data(name, array) for name, array in rows._asdict().items()}
        root = _own_root(len(skills), priors)
        shift = root @ pm.Normal("own_shift", 0.0, priors.mean_sd, dims="skill")
        sigma = root @ root.T
        if len(factors):
            loadings = _loadings(len(factors), priors)
            shift = shift + loadings @ pm.Normal("factor_shift", 0.0, priors.mean_sd, dims="factor")
            sigma = sigma + loadings @ loadings.T
        mu = pm.Deterministic("mu", shift, dims="skill")
        covariance = pm.Deterministic("covariance", sigma, dims=("skill", "skill_bis"))
        mean = pt.broadcast_to(mu, data["values"].shape)
        logp, *_ = gaussian_rows_op(mean, covariance, *data.values())
        pm.Potential("scores", logp)
    return model


def _own_root(n_skills: int, priors: Priors) -> Tensor:
    """Root of D Omega D: what each skill does on its own, and with its neighbours."""
    log_mean = pm.Normal("own_log_mean", priors.own_log_mean, priors.own_log_sd)
    log_spread = pm.HalfNormal("own_log_spread", priors.own_spread_sd)
    offset = pm.Normal("own_offset", 0.0, 1.0, dims="skill")
    own_sd = pm.Deterministic("own_sd", pt.exp(log_mean + log_spread * offset), dims="skill")
    if priors.covariance == "factor":
        return pt.diag(own_sd)
    omega_chol = pm.LKJCorr("omega_chol", n=n_skills, eta=priors.eta)
    return own_sd[:, None] * omega_chol


def _loadings(rank: int, priors: Priors) -> Tensor:
    """Lambda: a general factor of mean loading g, and others that pull either way."""
    general = pm.Normal("general", priors.general_mean, priors.general_sd)
    offset = pm.Normal("loading_offset", 0.0, 1.0, dims=("skill", "factor"))
    first = np.eye(rank)[0]
    spread = priors.loading_sd * offset
    return pm.Deterministic("loadings", general * first + spread, dims=("skill", "factor"))
