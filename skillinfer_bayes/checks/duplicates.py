"""Agents that appear twice: rows of a history that are closer than two agents would be."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import chdtr

from skillinfer_bayes.inference.posterior import Posterior
from skillinfer_bayes.profiles.evidence import Evidence

type FloatArray = NDArray[np.float64]

FEWEST_SHARED = 3
NEAR = 0.1
EXACT = 1e-9
ALPHA = 0.01
MOST_DRAWS = 200


def find_duplicates(posterior: Posterior, evidence: Evidence) -> pd.DataFrame:
    """Find pairs of agents that are likely the same one.

    The difference of two agents' shared scores has twice the covariance of one row. A pair is
    reported when its squared distance in these units is so small that fewer than one pair in a
    hundred tables of this size would be as close, and its scores differ by less than a tenth of a
    skill's spread; or when all shared scores are equal. Latent classes are taken to have one mean,
    which makes no pair look closer than it is, and keep their weights and scales.

    Parameters
    ----------
    posterior : Posterior
    evidence : Evidence
        The history's own, of N agents.

    Returns
    -------
    DataFrame
        One row per pair: `agent`, `agent_bis`, `n_shared` scores, `difference` (root mean square,
        working scale) and `p` that some pair of the table would be as close. Pairs with fewer
        than three shared scores are left out, unless there are fewer skills.
    """
    values, names = evidence.values, evidence.agents
    n_agents, n_skills = values.shape
    covariance = _covariance(posterior)
    widening, share = _widening(posterior)
    n_pairs = max(n_agents * (n_agents - 1) // 2, 1)
    fewest = min(FEWEST_SHARED, max(n_skills, 2))
    rows = []
    for first in range(n_agents - 1):
        difference = values[first + 1 :] - values[first]
        shared = (~np.isnan(difference)).sum(axis=1)
        total = np.nansum(difference**2, axis=1)
        close = np.flatnonzero((shared >= fewest) & (total <= NEAR**2 * shared))
        for offset in map(int, close):
            second = first + 1 + offset
            gap = difference[offset]
            seen = np.flatnonzero(~np.isnan(gap))
            error = evidence.error_var[first, seen] + evidence.error_var[second, seen]
            system = 2.0 * covariance[np.ix_(seen, seen)] + np.diag(error)
            quad = float(gap[seen] @ np.linalg.solve(system, gap[seen]))
            p = min(1.0, n_pairs * float(chdtr(len(seen), quad / widening) @ share))
            if p < ALPHA or np.abs(gap[seen]).max() <= EXACT:
                size = float(np.sqrt(total[offset] / len(seen)))
                rows.append((names[first], names[second], len(seen), size, p))
    columns = ["agent", "agent_bis", "n_shared", "difference", "p"]
    return pd.DataFrame(rows, columns=columns).sort_values("p", kind="stable", ignore_index=True)


def _covariance(posterior: Posterior) -> FloatArray:
    """Posterior mean of the covariance of a row, (K, K); with classes, about the class's mean."""
    covariance, classes = posterior.row_covariance, posterior.classes
    if classes is not None:
        inflation = (classes.weights * classes.scales**2).sum(axis=1)
        covariance = inflation[:, None, None] * covariance
    return np.asarray(covariance.mean(axis=0))


def _widening(posterior: Posterior) -> tuple[FloatArray, FloatArray]:
    """Squared widths of two agents' difference, over their mean, and their probabilities.

    Classes differ in scale: agents of a narrow one are closer than agents are on the whole.
    """
    if posterior.classes is None:
        return np.ones(1), np.ones(1)
    step = max(1, len(posterior.mean) // MOST_DRAWS)
    weights, square = posterior.classes.weights[::step], posterior.classes.scales[::step] ** 2
    mean = (weights * square).sum(axis=1)[:, None, None]
    widening = 0.5 * (square[:, :, None] + square[:, None, :]) / mean
    share = weights[:, :, None] * weights[:, None, :] / len(weights)
    return widening.ravel(), share.ravel()
