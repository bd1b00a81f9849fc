"""The hierarchical model of how skills move together; builds it, never samples it.

On the working scale, for agents i, skills j and shared factors k::

    theta_i = mu + Lambda (B' x_i + f_i) + u_i       latent skills of agent i
    f_i ~ Normal(0, I),   u_i ~ Normal(0, D Omega D),   Omega ~ LKJ(eta)
    y_ij ~ Normal(theta_ij, s_ij)                    what was measured
    Lambda_j1 / c_j ~ Normal(g, tau),   Lambda_jk / c_j ~ Normal(0, tau),   k > 1
    log(D_j / c_j) ~ Normal(m, s),   log c_j ~ Normal(0, 1 / sqrt(n_j))

x_i holds the agent's standardised covariates and its group, B their effects on the factors.
tau is given, not learned: a handful of agents says little about it, and a learned one put
divergences into every fit of eight agents by five skills. A factor has no sign, and a chain keeps
the one that it finds first. So g has the prior of `Priors` with either sign, one as probable as the
other: that leaves the prior of Sigma as it is, and chains of either sign agree.

The unit of the working scale is the spread of a skill's n_j scores in the history, and c_j by how
much that is off: on the log scale by sqrt((kurtosis - 1) / (4 n_j)) (the delta method on O'Neill
(2014), Some useful moment results in sampling problems, doi:10.1080/00031305.2014.966589), which is
1 / sqrt(n_j) for a kurtosis of 5. Structure "lkj", whose D is a skill's whole spread, has no c.

f and u are integrated out: y_iJ ~ Normal(mean_iJ, Sigma_JJ + diag(s2_iJ)) for the observed skills
J, with Sigma = Lambda Lambda' + D Omega D. Empty cells are never imputed; that they are empty is
taken to say nothing about the score that is not there (missing at random; Rubin (1976), Inference
and missing data, doi:10.1093/biomet/63.3.581).

With structure "factor_iw" the factors and independent rests are no more than a centre::

    Sigma ~ InverseWishart(n0 + K + 1, n0 (Lambda Lambda' + D^2)),   mu ~ Normal(0, s^2 Sigma)
    log n0 ~ Normal(...)

so that n0 agents' worth of scores speak for the centre, and the history for its own covariance.
Sigma and mu are integrated out as well (`likelihood_wishart`) and drawn afterwards (`wishart`).
That needs the whole table, so what is not known of it is sampled with the rest: empty cells, which
have no prior but the row's, and the errors of scores that have errors of their own (Tanner and Wong
(1987), doi:10.1080/01621459.1987.10478458).

Agents come in kinds, such as base models and instructed ones, and some break every pattern. With
tails "class" an agent is of latent class c with probability w_c, which is summed out::

    theta_i = mu + m_c + Lambda B' x_i + t_c (Lambda f_i + u_i),   w ~ Dirichlet(1, ..., 1)
    m_c = e (Lambda a_c + D L b_c),   a, b ~ Normal(0, I),   log t_c ~ Normal(0, s)

so classes are drawn like agents, L L' = Omega. There are more of them than needed: those that the
history does not ask for keep their prior, and what is learned is the population that they make up
(Ishwaran and Zarepour (2002), Exact and approximate sum representations for the Dirichlet process,
doi:10.2307/3315951; Fruehwirth-Schnatter (2006), Finite Mixture and Markov Switching Models,
doi:10.1007/978-0-387-35768-3, for the label switching that is harmless here, since nothing is read
off a class). A measurement error is widened by t_c with the rest of its row. From 80 agents on m_c
itself is sampled, which has the same prior but, where scores say much about it, a rounder posterior
(Papaspiliopoulos, Roberts and Skoeld (2007), A general framework for the parametrization of
hierarchical models, doi:10.1214/088342307000000014).

With tails "agent" a row's covariance is divided by chi2_nu / nu, one
draw per agent, which is integrated out too: the row is a multivariate Student-t (Lange, Little and
Taylor (1989), Robust statistical modeling using the t distribution, doi:10.2307/2290063). From 300
agents and 25 per skill on mu itself is sampled, as the m_c are. With tails "cell" (Omega = I) each
score is a Student-t given the factors, which are sampled, and every agent has a noise level a_i:
y_ij ~ t_nu(mean_ij + Lambda_j f_i, sqrt(D_j^2 a_i^2 + s2_ij)).

The LKJ prior is Lewandowski, Kurowicka and Joe (2009), doi:10.1016/j.jmva.2009.04.008. A general
factor on which all skills load is Spearman's (1904), doi:10.2307/1412107.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from skillinfer_bayes.exceptions import ConfigError
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.likelihood import student_rows_op
from skillinfer_bayes.inference.likelihood_cells import student_cells_op
from skillinfer_bayes.inference.likelihood_classes import class_rows_op
from skillinfer_bayes.inference.likelihood_factors import factor_rows_op
from skillinfer_bayes.inference.likelihood_wishart import wishart_rows_op
from skillinfer_bayes.inference.priors import Priors
from skillinfer_bayes.inference.rows import Cells, Rows, Table, model_data, rows_of

type Tensor = Any

CENTRED_CLASSES_FROM = 80
CENTRED_MEAN_FROM, CENTRED_MEAN_FROM_PER_SKILL = 300, 25


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
        Dims `skill`, `skill_bis` and `factor`; the deterministic variable `mu` (skill) is the
        population mean, `covariance` (skill, skill_bis) is Sigma (with tails "cell": `loadings`
        and `own_sd`, of which Sigma is made; with structure "factor_iw" the variables of
        `wishart.CONJUGATE`, of which both are drawn). With tails "class" both are of all classes
        together, and `class_means` (class, skill), `class_covariance` (skill, skill_bis),
        `class_weights` and `class_scales` (class) say what they are made of. The scores are
        `pm.Data`, so the compiled model takes another history of as many skills.

    Raises
    ------
    ConfigError
        If the history has groups or covariates and the structure has no factors for them.
    """
    resolved = (priors or Priors()).resolve_for(history)
    rows = rows_of(history, resolved)
    return build_model_of_rows(rows, history.skills, resolved, len(history.covariate_names))


def build_model_of_rows(
    rows: Rows | Cells | Table, skills: Sequence[str], priors: Priors, n_covariates: int = 0
) -> pm.Model:
    """Build the model from scores that are already on the working scale.

    Parameters
    ----------
    rows : Rows, Cells or Table
        As `rows_of` gives them for these priors.
    skills : sequence of str
    priors : Priors
        Resolved.
    n_covariates : int, default 0
        How many of the columns of `rows.design` are covariates; the others are groups.
    """
    rank = 0 if priors.covariance == "lkj" else (priors.rank or 0)
    n_columns = rows.design.shape[1]
    if n_columns and not rank:
        raise ConfigError(
            "groups and covariates move the shared factors, which `covariance='lkj'` does not "
            "have; use 'factor_lkj', or leave them out"
        )
    coords = {
        "skill": list(skills),
        "skill_bis": list(skills),
        "factor": list(range(rank)),
        "effect": list(range(n_columns)),
        "class": list(range(priors.n_classes)) if priors.tails == "class" else [],
    }
    with pm.Model(coords=coords) as model:
        data = {name: pm.Data(name, array) for name, array in model_data(rows, priors).items()}
        design = data.pop("design", None)
        nu = _degrees_of_freedom(priors)
        scale = _skill_scale(priors, data)
        root = _own_root(len(skills), priors, scale)
        centred = centres_means(rows, priors)
        shifted = priors.tails == "class" or not (centred or isinstance(rows, Table))
        shift, loadings = 0.0, None
        if shifted:
            shift = root @ pm.Normal("own_shift", 0.0, priors.mean_sd, dims="skill")
        if rank:
            loadings = _loadings(rank, priors, scale)
        if rank and shifted:
            shift = shift + loadings @ pm.Normal("factor_shift", 0.0, priors.mean_sd, dims="factor")
        if priors.tails == "class":
            classes = _classes(shift, loadings, root, priors, centred)
        elif shifted:
            mu = pm.Deterministic("mu", shift, dims="skill")
        elif centred:
            mu = pm.MvNormal("mu", 0.0, priors.mean_sd**2 * _sigma(loadings, root), dims="skill")
        pull = None
        if n_columns:
            pull = design @ _effects(n_columns, n_covariates, rank, priors)
        if priors.tails == "class":
            _class_density(data, classes, loadings, pull)
        elif isinstance(rows, Table):
            _table_density(rows, data, loadings, pull, root, priors)
        elif isinstance(rows, Cells):
            _cell_density(rows, data, mu, loadings, pull, pt.diag(root), nu, priors)
        else:
            _row_density(data, mu, loadings, pull, root, nu, priors)
    return model


def centres_means(rows: Rows | Cells | Table, priors: Priors) -> bool:
    """Whether means are sampled themselves, and not their standardised shifts.

    Those of the classes with tails "class" and many scores of the average skill, the population's
    own with hundreds of rows. Where a gradient costs little, a normal density of as many dimensions
    as skills would be most of it: so normal rows count as what they are collapsed to.
    """
    if priors.tails == "class" and isinstance(rows, Rows):
        return bool(rows.observed.sum() >= CENTRED_CLASSES_FROM * rows.observed.shape[1])
    if priors.covariance == "factor" or not isinstance(rows, Rows):
        return False
    n_rows, n_skills = rows.values.shape
    return bool(n_rows >= max(CENTRED_MEAN_FROM, CENTRED_MEAN_FROM_PER_SKILL * n_skills))


def _sigma(loadings: Tensor, root: Tensor) -> Tensor:
    """Sigma, of what skills do on their own and share."""
    own = root @ root.T
    return own if loadings is None else own + loadings @ loadings.T


def _row_density(
    data: dict[str, Tensor],
    mu: Tensor,
    loadings: Tensor,
    pull: Tensor,
    root: Tensor,
    nu: Tensor,
    priors: Priors,
) -> None:
    """Scores row by row, factors and own parts integrated out."""
    sigma = _sigma(loadings, root)
    covariance = pm.Deterministic("covariance", sigma, dims=("skill", "skill_bis"))
    mean = pt.broadcast_to(mu, data["values"].shape)
    if pull is not None:
        mean = mean + pull @ loadings.T
    if priors.covariance == "factor":
        density = factor_rows_op(mean, loadings, pt.diag(root), nu, *data.values())
    else:
        density = student_rows_op(mean, covariance, nu, *data.values())
    pm.Potential("scores", density[0])


class _Classes(NamedTuple):
    """Means (class, skill), log weights and log scales (class), covariance of scale 1."""

    means: Tensor
    log_weight: Tensor
    log_scale: Tensor
    covariance: Tensor


def _classes(
    centre: Tensor, loadings: Tensor, root: Tensor, priors: Priors, centred: bool
) -> _Classes:
    """Latent classes: what they are, and what they add up to."""
    weight = pm.Dirichlet("class_weights", np.ones(priors.n_classes), dims="class")
    apart = pm.HalfNormal("class_sd", priors.class_sd)
    within = _sigma(loadings, root)
    log_scale = pm.Normal("class_log_scale", 0.0, priors.class_scale_sd, dims="class")
    scale = pm.Deterministic("class_scales", pt.exp(log_scale), dims="class")
    if centred:
        means = pm.MvNormal("class_means", centre, apart**2 * within, dims=("class", "skill"))
    else:
        shift = _class_shifts(loadings, root)
        means = pm.Deterministic("class_means", centre + apart * shift, dims=("class", "skill"))
    within = pm.Deterministic("class_covariance", within, dims=("skill", "skill_bis"))
    mu = pm.Deterministic("mu", weight @ means, dims="skill")
    between = (weight[:, None] * (means - mu)).T @ (means - mu)
    total = pt.sum(weight * scale**2) * within + between
    pm.Deterministic("covariance", total, dims=("skill", "skill_bis"))
    return _Classes(means, pt.log(weight), log_scale, within)


def _class_shifts(loadings: Tensor, root: Tensor) -> Tensor:
    """Where classes lie, as agents do about their mean: (class, skill)."""
    shift = pm.Normal("class_own_shift", 0.0, 1.0, dims=("class", "skill")) @ root.T
    if loadings is None:
        return shift
    return shift + pm.Normal("class_shift", 0.0, 1.0, dims=("class", "factor")) @ loadings.T


def _class_density(
    data: dict[str, Tensor], classes: _Classes, loadings: Tensor, pull: Tensor
) -> None:
    """Scores row by row, factors, own parts and the agent's class integrated out."""
    mean = pt.zeros_like(data["values"]) if pull is None else pull @ loadings.T
    density = class_rows_op(
        mean,
        classes.means,
        classes.log_weight,
        classes.log_scale,
        classes.covariance,
        *data.values(),
    )
    pm.Potential("scores", density[0])


def _cell_density(
    rows: Cells,
    data: dict[str, Tensor],
    mu: Tensor,
    loadings: Tensor,
    pull: Tensor,
    own_sd: Tensor,
    nu: Tensor,
    priors: Priors,
) -> None:
    """Scores one by one, given the agents' factors."""
    n_agents, rank = len(rows.design), priors.rank
    factors = pm.Normal("factors", 0.0, 1.0, shape=(n_agents, rank))
    if pull is not None:
        factors = factors + pull
    noise_sd = pm.HalfNormal("agent_noise_sd", priors.agent_noise_sd)
    noise = pt.exp(noise_sd * pm.Normal("agent_offset", 0.0, 1.0, shape=n_agents))
    cells = student_cells_op(mu, loadings, factors, own_sd, noise, nu, *data.values())
    pm.Potential("scores", cells[0])


def _table_density(
    table: Table,
    data: dict[str, Tensor],
    loadings: Tensor,
    pull: Tensor,
    root: Tensor,
    priors: Priors,
) -> None:
    """Scores of a whole table, mean and covariance integrated out; what they are given the rest."""
    n_agents, n_skills = data["n_agents"], len(table.total)
    rows = _latent_rows(table, data)
    if pull is not None:
        rows = rows - pull @ loadings.T
    log_centre = pm.Normal("log_centre_agents", priors.centre_log_mean, priors.centre_log_sd)
    centre_agents = pm.Deterministic("centre_agents", pt.exp(log_centre))
    mean_agents = pm.Deterministic("mean_agents", n_agents + priors.mean_sd**-2)
    total = data["total"] + rows.sum(axis=0)
    scatter = data["products"] + rows.T @ rows - pt.outer(total, total) / mean_agents
    scale = centre_agents * _sigma(loadings, root) + scatter
    pm.Deterministic("mean_centre", total / mean_agents, dims="skill")
    pm.Deterministic("wishart_scale", scale, dims=("skill", "skill_bis"))
    pm.Deterministic("wishart_df", centre_agents + n_skills + 1.0 + n_agents)
    density = wishart_rows_op(loadings, pt.diag(root), centre_agents, scatter, n_agents)
    pm.Potential("scores", density[0])


def _latent_rows(table: Table, data: dict[str, Tensor]) -> Tensor:
    """Latent skills of the rows that have empty cells, or cells with errors of their own."""
    rows = data["values"]
    n_empty, n_unsure = len(table.empty_row), len(table.unsure_row)
    if n_empty:
        empty = pm.Flat("empty", shape=n_empty)
        rows = pt.set_subtensor(rows[data["empty_row"], data["empty_skill"]], empty)
    if n_unsure:
        error = data["unsure_sd"] * pm.Normal("error", 0.0, 1.0, shape=n_unsure)
        rows = pt.inc_subtensor(rows[data["unsure_row"], data["unsure_skill"]], error)
    return rows


def _degrees_of_freedom(priors: Priors) -> Tensor:
    """Nu of the Student-t; infinite for normal rows."""
    if priors.tails in ("normal", "class"):
        return pt.constant(np.inf)
    log_nu = pm.Normal("log_nu", priors.nu_log_mean, priors.nu_log_sd)
    return pm.Deterministic("nu", pt.exp(log_nu))


def _skill_scale(priors: Priors, data: dict[str, Tensor]) -> Tensor:
    """Give what the loadings and own sds of a skill are measured in; takes its data from `data`.

    The unit of the working scale is the spread of the history's scores, which is as wrong as few
    scores make it. Two scores can lie close together by chance; so with tails "cell" it is no guess
    at all, and the prior is centred on a typical skill's.
    """
    if priors.covariance == "lkj":
        return pt.ones(())
    offset = pm.Normal("skill_offset", 0.0, 1.0, dims="skill")
    if priors.tails == "cell":
        spread = pm.HalfNormal("skill_spread", priors.skill_spread_sd)
        return data.pop("typical") * pt.exp(spread * offset)
    return pt.exp(priors.unit_log_sd / pt.sqrt(data.pop("n_scores")) * offset)


def _own_root(n_skills: int, priors: Priors, scale: Tensor) -> Tensor:
    """Root of D Omega D: what each skill does on its own, and with its neighbours."""
    log_mean = pm.Normal("own_log_mean", priors.own_log_centre, priors.own_log_sd)
    log_spread = pm.HalfNormal("own_log_spread", priors.own_spread_sd)
    offset = pm.Normal("own_offset", 0.0, 1.0, dims="skill")
    own = scale * pt.exp(log_mean + log_spread * offset)
    own_sd = pm.Deterministic("own_sd", own, dims="skill")
    if not priors.has_omega or n_skills == 1:
        return pt.diag(own_sd)
    omega_chol = pm.LKJCorr("omega_chol", n=n_skills, eta=priors.eta)
    return own_sd[:, None] * omega_chol


def _loadings(rank: int, priors: Priors, scale: Tensor) -> Tensor:
    """Lambda: a general factor of mean loading g, and others that pull either way."""
    either_sign = np.array([priors.general_mean, -priors.general_mean])
    general = pm.NormalMixture("general", np.full(2, 0.5), either_sign, priors.general_sd)
    offset = pm.Normal("loading_offset", 0.0, 1.0, dims=("skill", "factor"))
    first = np.eye(rank)[0]
    loadings = scale[:, None] * (general * first + priors.loading_sd * offset)
    return pm.Deterministic("loadings", loadings, dims=("skill", "factor"))


def _effects(n_columns: int, n_covariates: int, rank: int, priors: Priors) -> Tensor:
    """B: what covariates and groups do to the factors; groups share a spread that is learned."""
    offset = pm.Normal("effect_offset", 0.0, 1.0, dims=("effect", "factor"))
    sd = priors.covariate_sd
    if n_columns > n_covariates:
        group_sd = pm.HalfNormal("group_sd", priors.group_sd)
        is_covariate = np.arange(n_columns)[:, None] < n_covariates
        sd = pt.where(is_covariate, priors.covariate_sd, group_sd)
    return pm.Deterministic("effects", sd * offset, dims=("effect", "factor"))
