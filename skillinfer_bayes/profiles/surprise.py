"""How surprising an agent's scores are, given what the population does.

With m measurements at squared distance q from the population's mean, in units of their own
covariance, a Gaussian row has q ~ chi-squared(m) and a Student-t row q / m ~ F(m, nu) (Kotz and
Nadarajah (2004), Multivariate t Distributions and Their Applications,
doi:10.1017/CBO9780511550683, section 1.3). Where every score has a scale of its own there is no
such law; there each posterior draw's distance is set against that of one simulated agent (Gelman,
Meng and Stern (1996), Posterior predictive assessment of model fitness via realized
discrepancies, Statistica Sinica 6). With latent classes it is densities that are compared in this
way, for a population of several clusters has no middle to be far from.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, fdtrc

from skillinfer_bayes.inference.posterior import Classes, Posterior
from skillinfer_bayes.profiles.evidence import Evidence, Group
from skillinfer_bayes.profiles.latent_classes import draw_classes
from skillinfer_bayes.profiles.rows import RowConditioner, squared_distances

type FloatArray = NDArray[np.float64]

CHUNK_AGENTS = 256


def surprise(posterior: Posterior, evidence: Evidence) -> FloatArray:
    """Posterior predictive p-value of each agent's measurements taken together.

    Parameters
    ----------
    posterior : Posterior
    evidence : Evidence
        Of A agents.

    Returns
    -------
    array of shape (A,)
        Probability that an agent of the population is at least as far from its mean, with latent
        classes that it lies where agents are no denser; 1 for an agent of whom nothing was
        measured. Small: the profile extrapolates.
    """
    # a probability per draw and agent: of all agents at once it can take gigabytes
    starts = range(0, max(len(evidence.agents), 1), CHUNK_AGENTS)
    chunks = (evidence.take(slice(start, start + CHUNK_AGENTS)) for start in starts)
    return np.concatenate([tail_probabilities(posterior, part).mean(axis=0) for part in chunks])


def tail_probabilities(posterior: Posterior, evidence: Evidence) -> FloatArray:
    """Give the same under each posterior draw, (S, A)."""
    result = np.ones((len(posterior.mean), len(evidence.agents)))
    rows = RowConditioner(posterior)
    for group in evidence.groups():
        m = len(group.observed)
        if not m:
            continue
        if posterior.classes is not None:
            simulated = _simulated_agents(rows, group, posterior.classes)
            theirs = rows.mixture_log_density(group, simulated)
            result[:, group.agents] = theirs <= rows.mixture_log_density(group)
            continue
        root = rows.root(group)
        quad = squared_distances(root, rows.residuals(group))
        if posterior.by_cell:
            simulated = _simulated_deviations(posterior, group)
            result[:, group.agents] = quad <= squared_distances(root, simulated)
        elif rows.heavy:
            result[:, group.agents] = fdtrc(m, posterior.nu[:, None], quad / m)
        else:
            result[:, group.agents] = chdtrc(m, quad)
    return result


def _simulated_agents(rows: RowConditioner, group: Group, classes: Classes) -> FloatArray:
    """One agent per posterior draw, (S, 1, m), of a class of its own; seeded as below.

    Without covariates and groups, which move the simulated agent and the judged one alike.
    """
    rng = np.random.default_rng([rows.posterior.seed, 2])
    drawn = draw_classes(classes, 1, rng)
    root = rows.root(group, drawn.scale[:, 0])
    noise = np.einsum("smn,sn->sm", root, rng.standard_normal(root.shape[:2]))
    return np.asarray(drawn.mean[:, :, group.observed] + (drawn.scale * noise)[:, None, :])


def _simulated_deviations(posterior: Posterior, group: Group) -> FloatArray:
    """One agent per posterior draw, less the mean, (S, 1, m), with a scale per score.

    Seeded by the draws, so that the same agent always gets the same probability.
    """
    rng = np.random.default_rng([posterior.seed, 2])
    n_draws, _, n_factors = posterior.loadings.shape
    factors = rng.standard_normal((n_draws, n_factors))
    if group.unknown_group:
        factors *= np.sqrt(1.0 + posterior.group_sd**2)[:, None]
    shared = np.einsum("skr,sr->sk", posterior.loadings[:, group.observed], factors)
    noise = np.exp(posterior.agent_noise_sd * rng.standard_normal(n_draws))
    own = posterior.own_sd[:, group.observed] * noise[:, None]
    sd = np.sqrt(own**2 + group.error_var)
    heavy = rng.standard_t(posterior.nu[:, None], size=own.shape)
    return np.asarray((shared + sd * heavy)[:, None, :])
