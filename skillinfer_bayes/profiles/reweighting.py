"""Weighing posterior draws by how well each one predicts a new agent's own scores.

The agent's scores also say something about the population. Draw s gets the weight of its density
at the scores; the weights are Pareto-smoothed (Vehtari et al. (2024), Pareto smoothed importance
sampling, Journal of Machine Learning Research 25(72), arXiv:1507.02646) and draws are taken in
proportion to them, by systematic resampling, so that what follows is an unweighted mixture again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

type FloatArray = NDArray[np.float64]

#: Largest shape of the weights' tail that can be trusted (section 3 of the paper above).
LARGEST_KHAT = 0.7
#: A smoothed tail needs five draws and is a fifth of them at most.
FEWEST_DRAWS = 30


class Resampled(NamedTuple):
    """Draws to use instead of all draws.

    draws : (S, A), positions of posterior draws
    khat : (A,), shape of the weights' tail; above 0.7 the weights should not be trusted
    """

    draws: NDArray[np.intp]
    khat: FloatArray


def resample(log_density: FloatArray) -> Resampled:
    """Take draws in proportion to smoothed weights.

    Parameters
    ----------
    log_density : array of shape (S, A)
        Log density of each agent's scores under each posterior draw.

    Returns
    -------
    Resampled
    """
    n_draws, n_agents = log_density.shape
    index = np.empty((n_draws, n_agents), dtype=np.intp)
    levels = (np.arange(n_draws) + 0.5) / n_draws
    weights, khat = smoothed_weights(log_density)
    for agent in range(n_agents):
        if np.ptp(log_density[:, agent]) == 0.0:  # nothing observed: all draws count the same
            index[:, agent] = np.arange(n_draws)
            continue
        passed = np.cumsum(weights[:, agent])
        index[:, agent] = np.minimum(np.searchsorted(passed, levels), n_draws - 1)
    return Resampled(index, khat)


def smoothed_weights(log_ratio: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Pareto-smoothed importance weights.

    Parameters
    ----------
    log_ratio : array of shape (S, A)
        Log of what each draw is to count for, up to a constant per column.

    Returns
    -------
    weights : array of shape (S, A)
        Each column adds up to 1.
    khat : array of shape (A,)
        0 where all ratios, or the largest ones, are equal; infinite where the weights are too
        uneven, or the draws too few, for a tail to be fitted.
    """
    from arviz_stats.base import array_stats  # a second of imports that few users need

    log_weights, khat = log_ratio.copy(), np.zeros(log_ratio.shape[1])
    for column, ratio in enumerate(log_ratio.T):
        if np.ptp(ratio) == 0.0:
            continue
        if len(ratio) < FEWEST_DRAWS:
            khat[column] = np.inf
            continue
        try:
            # the library takes log likelihoods that are to be left out, and turns their sign
            smoothed, shape = array_stats.psislw(-ratio)
        except ValueError:  # the largest weights are all equal: nothing to smooth
            continue
        if np.isnan(shape):
            khat[column] = np.inf
        else:
            log_weights[:, column], khat[column] = smoothed, shape
    weights = np.exp(log_weights - log_weights.max(axis=0))
    return weights / weights.sum(axis=0), khat
