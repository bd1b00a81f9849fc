"""Each score against what the agent's other scores say of it: leave-one-score-out.

With measurements y of covariance C = Sigma_JJ + S_J and P = C^-1, score j given the others is
normal about y_j - [P (y - mu)]_j / P_jj with variance 1 / P_jj (Sundararajan and Keerthi (2001),
doi:10.1162/08997660151134343). A Student-t row gives a Student-t with nu + m - 1 degrees of
freedom and that variance times (nu + q_j) / (nu + m - 1), q_j being the squared distance of the
other scores (Ding (2016), doi:10.1080/00031305.2016.1164756). With latent classes it is a mixture
of the classes' normals, weighed by what the other scores say of the class: by weight times density
of all scores, over the score's own given the others.

The draws have seen the score too; they are weighed by the inverse of its density, with the largest
weights cut off (Ionides (2008), doi:10.1198/106186008X320456).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp, ndtr, stdtr
from scipy.stats import false_discovery_control

from skillinfer_bayes.checks.leave_out_cells import LOG_2PI, scaled_score_by_score
from skillinfer_bayes.inference.posterior import Classes, Posterior
from skillinfer_bayes.profiles.cells import CellConditioner
from skillinfer_bayes.profiles.evidence import Evidence, Group
from skillinfer_bayes.profiles.rows import RowConditioner

type FloatArray = NDArray[np.float64]
type IndexArray = NDArray[np.intp]

FEWEST_SCORES = 8
CHUNK_CELLS = 4_000_000


def leave_one_score_out(posterior: Posterior, evidence: Evidence) -> pd.DataFrame:
    """Predict every score from the agent's other scores.

    Parameters
    ----------
    posterior : Posterior
    evidence : Evidence
        The history's own.

    Returns
    -------
    DataFrame
        One row per score: `agent`, `skill`, `pit`, the probability given to a lower score, and
        `log_score`, the log density of the score, working scale.
    """
    pit, density = np.full((2, *evidence.values.shape), np.nan)
    for agents, skills, below, logs in _given_others(posterior, evidence):
        cells = np.ix_(agents, skills)
        pit[cells], density[cells] = _weighed(below, logs)
    agent, skill = np.nonzero(evidence.observed)
    return pd.DataFrame(
        {
            "agent": np.asarray(evidence.agents, dtype=object)[agent],
            "skill": np.asarray(posterior.skills, dtype=object)[skill],
            "pit": pit[agent, skill],
            "log_score": density[agent, skill],
        }
    )


def _given_others(
    posterior: Posterior, evidence: Evidence
) -> Iterator[tuple[IndexArray, IndexArray, FloatArray, FloatArray]]:
    """Agents, skills, and of each score probability below and log density, (S, a, m) each."""
    if posterior.by_cell:
        for agent, row in CellConditioner(posterior).scaled_rows(evidence):
            below, density = scaled_score_by_score(row, posterior.nu)
            yield np.array([agent]), row.observed, below[:, None], density[:, None]
        return
    rows = RowConditioner(posterior)
    for group in evidence.groups():
        if not len(group.observed):
            continue
        wide = len(group.observed)
        if posterior.classes is not None:
            wide = max(wide, posterior.classes.weights.shape[1])
        size = max(1, CHUNK_CELLS // (len(posterior.mean) * wide))
        for start in range(0, len(group.agents), size):
            part = group._replace(
                agents=group.agents[start : start + size],
                values=group.values[start : start + size],
                design=group.design[start : start + size],
            )
            yield part.agents, part.observed, *score_by_score(rows, part)


def score_by_score(rows: RowConditioner, group: Group) -> tuple[FloatArray, FloatArray]:
    """Probability below, and log density of, each score given the others, (S, a, m) each."""
    precision = np.linalg.inv(rows.measured_covariance(group))
    if rows.posterior.classes is not None:
        return _of_classes(rows, group, rows.posterior.classes, precision)
    m = precision.shape[1]
    residual = rows.residuals(group)
    pulled = residual @ precision
    variance = 1.0 / np.einsum("smm->sm", precision)[:, None, :]
    deviation = pulled * variance
    if not rows.heavy:
        z = deviation / np.sqrt(variance)
        return ndtr(z), -0.5 * (z**2 + np.log(2.0 * math.pi * variance))
    nu = rows.posterior.nu[:, None, None]
    quad = np.einsum("sam,sam->sa", residual, pulled)[:, :, None]
    others = np.maximum(quad - deviation * pulled, 0.0)
    degrees = nu + m - 1.0
    scale2 = variance * (nu + others) / degrees
    t2 = deviation**2 / scale2
    constant = gammaln(0.5 * (degrees + 1.0)) - gammaln(0.5 * degrees)
    density = constant - 0.5 * np.log(degrees * math.pi * scale2)
    density = density - 0.5 * (degrees + 1.0) * np.log1p(t2 / degrees)
    return stdtr(degrees, deviation / np.sqrt(scale2)), density


def _of_classes(
    rows: RowConditioner, group: Group, classes: Classes, precision: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Give the same where agents come from latent classes."""
    root = np.sqrt(np.einsum("smm->sm", precision))[:, None, :]
    residual = rows.residuals(group) @ precision / root
    centre = classes.means[:, :, group.observed] @ precision / root
    scale = classes.scales[:, :, None]
    log_norm = np.log(scale / root) + 0.5 * LOG_2PI
    together = rows.class_terms(group)
    below, density = np.empty((2, *residual.shape))
    for agent in range(residual.shape[1]):  # one at a time: there are C numbers per score
        z = (residual[:, agent, None] - centre) / scale
        weight = 0.5 * z**2 + log_norm
        weight += together[:, agent, :, None]
        highest = weight.max(axis=1)
        weight = np.exp(weight - highest[:, None])
        total = weight.sum(axis=1)
        below[:, agent] = (weight * ndtr(z)).sum(axis=1) / total
        density[:, agent] = logsumexp(together[:, agent], axis=1)[:, None] - highest
        density[:, agent] -= np.log(total)
    return below, density


def _weighed(below: FloatArray, density: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Average over draws that have not seen the score, (a, m) each."""
    shifted = density.min(axis=0) - density
    weights = np.exp(shifted)
    weights = np.minimum(weights, weights.mean(axis=0) * math.sqrt(len(weights)))
    weights /= weights.sum(axis=0)
    highest = density.max(axis=0)
    mixed = (weights * np.exp(density - highest)).sum(axis=0)
    return (weights * below).sum(axis=0), highest + np.log(mixed)


def uniformity(cells: pd.DataFrame) -> pd.DataFrame:
    """Test each skill's PIT values for uniformity.

    Parameters
    ----------
    cells : DataFrame
        What `leave_one_score_out` returned.

    Returns
    -------
    DataFrame indexed by skill
        `n_scores`; `bias`, the mean PIT less one half (above 0: predictions too low); `spread`,
        the PIT's variance over the uniform's (above 1: predictions too narrow); `p` of the
        order-based test with Cauchy combination that ArviZ has, NaN below 8 scores; `p_adjusted`
        for the number of skills (Benjamini and Hochberg (1995),
        doi:10.1111/j.2517-6161.1995.tb02031.x).
    """
    from arviz_stats.base import array_stats

    rows = []
    for skill, part in cells.groupby("skill", sort=False):
        pit = np.clip(part["pit"].to_numpy(), 1e-12, 1.0 - 1e-12)
        p = np.nan
        if len(pit) >= FEWEST_SCORES:
            p = float(array_stats.uniformity_test(pit)[0])
        rows.append((skill, len(pit), pit.mean() - 0.5, 12.0 * pit.var(), p))
    table = pd.DataFrame(rows, columns=["skill", "n_scores", "bias", "spread", "p"])
    table["p_adjusted"] = adjusted(table["p"].to_numpy())
    return table.set_index("skill")


def adjusted(p: FloatArray) -> FloatArray:
    """P-values that control the share of false discoveries; NaN stays NaN."""
    result, known = np.full(len(p), np.nan), ~np.isnan(p)
    if known.any():
        result[known] = false_discovery_control(np.clip(p[known], 0.0, 1.0))
    return result
