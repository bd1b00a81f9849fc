"""Mixtures over posterior draws and latent classes, for many agents at once; compiled.

Given draw s and class c everything is Gaussian. So skill k of an agent with measurements y has the
density

    sum_sc r_sc(y) / S  Normal(b_sck + g_sk . (y - y0), v_sck),

r_sc being the responsibilities (McLachlan and Peel (2000), Finite Mixture Models,
doi:10.1002/0471721182, section 2.8). Classes are summed out, none is drawn. Components of about
the same mean and width are put together into one Gaussian that keeps their weight, mean and
variance, the nearest Gaussian in the sense of Kullback and Leibler (Runnalls (2007),
doi:10.1109/TAES.2007.4383588). Some fifty are left, and they are narrow against what they add
up to.

The innermost loops run over agents, which makes vector instructions of them. Distances are in
double precision, weights and what is summed up in single precision, relative to the agent's own
average.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from skillinfer_bayes.profiles.class_bins import Components
from skillinfer_bayes.profiles.mixture_kernel import (
    Shares,
    exp_below,
    interval,
    moments,
    share_moments,
)

type Doubles = NDArray[np.float64]
type Singles = NDArray[np.float32]
type Counts = NDArray[np.int64]

_FAST = {"contract", "nsz"}
_TINY, _ZERO, _ONE = np.float32(1e-30), np.float32(0.0), np.float32(1.0)


@numba.njit(cache=True, error_model="numpy", fastmath=_FAST)
def class_weights(
    values: Doubles,
    roots: Doubles,
    centre: Doubles,
    constant: Doubles,
    log_scale: Doubles,
    keep: float,
    weight: Singles,
) -> Counts:
    """Weights of all components for a block of agents.

    Parameters
    ----------
    values : array of shape (m, a)
    roots : array of shape (S, m, m)
        Inverse Cholesky factors of the measurements' covariance.
    centre : array of shape (S, C, m)
        Whitened means of the classes.
    constant, log_scale : arrays of shape (S, C)
    keep : float
        Components of less than this share of their draw, for each agent, are left out.
    weight : array of shape (S C, a)
        Receives the weights, adding up to one for each agent.

    Returns
    -------
    array of shape (n,)
        Positions of the components that are kept, draw by draw.
    """
    n_draws, n_classes, m = centre.shape
    n_agents = weight.shape[1]
    white = np.empty((m, n_agents))
    term = np.empty((n_classes, n_agents))
    best = np.empty(n_agents)
    total = np.empty(n_agents, dtype=np.float32)
    kept = np.empty(n_draws * n_classes, dtype=np.int64)
    n_kept = 0
    least = np.float32(keep / n_draws)
    for s in range(n_draws):
        for i in range(m):
            row = white[i]
            row[:] = 0.0
            for j in range(i + 1):
                x = roots[s, i, j]
                for a in range(n_agents):
                    row[a] += x * values[j, a]
        best[:] = -math.inf
        for c in range(n_classes):
            row = term[c]
            row[:] = 0.0
            for i in range(m):
                x = centre[s, c, i]
                for a in range(n_agents):
                    distance = white[i, a] - x
                    row[a] += distance * distance
            factor = -0.5 * math.exp(-2.0 * log_scale[s, c])
            for a in range(n_agents):
                row[a] = constant[s, c] + factor * row[a]
                best[a] = max(best[a], row[a])
        total[:] = _ZERO
        for c in range(n_classes):
            out = weight[s * n_classes + c]
            for a in range(n_agents):
                out[a] = exp_below(np.float32(term[c, a] - best[a]))
                total[a] += out[a]
        for a in range(n_agents):
            total[a] = _ONE / (total[a] * np.float32(n_draws))
        for c in range(n_classes):
            out = weight[s * n_classes + c]
            most = _ZERO
            for a in range(n_agents):
                out[a] *= total[a]
                most = max(most, out[a])
            if most >= least:
                kept[n_kept] = s * n_classes + c
                n_kept += 1
    return kept[:n_kept]


@numba.njit(cache=True, error_model="numpy", fastmath=_FAST)
def _add_up(
    kept: Counts,
    n_classes: int,
    away: Singles,
    gain: Singles,
    base: Singles,
    variance: Singles,
    weight: Singles,
    which: NDArray[np.int32],
    sums: Singles,
) -> None:
    """Add one skill's components to their bins' weights and first two moments, (B, 3, a)."""
    m, n_agents = away.shape
    pull = np.zeros(n_agents, dtype=np.float32)
    last = -1
    for at in kept:
        s = at // n_classes
        if s != last:
            last = s
            pull[:] = _ZERO
            for j in range(m):
                slope = gain[s, j]
                for a in range(n_agents):
                    pull[a] += slope * away[j, a]
        into, part, mean, spread = sums[which[at]], weight[at], base[at], variance[at]
        for a in range(n_agents):
            here = mean + pull[a]
            moment = part[a] * here
            into[0, a] += part[a]
            into[1, a] += moment
            into[2, a] += moment * here + part[a] * spread


@numba.njit(cache=True, error_model="numpy", fastmath=_FAST)
def _to_gaussians(sums: Singles, keep: float) -> int:
    """Turn sums (B, 3, a) into weights, means and sds; bins of little weight are left out.

    Returns how many are left; they come first.
    """
    n_agents = sums.shape[2]
    total = np.zeros(n_agents, dtype=np.float32)
    least, kept = np.float32(keep), 0
    for b in range(len(sums)):
        most = _ZERO
        for a in range(n_agents):
            most = max(most, sums[b, 0, a])
        if most < least:
            continue
        for a in range(n_agents):
            weight = sums[b, 0, a]
            total[a] += weight
            one_over = _ONE / max(weight, _TINY)
            mean = sums[b, 1, a] * one_over
            spread = sums[b, 2, a] * one_over - mean * mean
            sums[kept, 0, a] = weight
            sums[kept, 1, a] = mean
            sums[kept, 2, a] = np.float32(math.sqrt(max(spread, _TINY)))
        kept += 1
    for a in range(n_agents):
        total[a] = _ONE / total[a]
    for b in range(kept):
        for a in range(n_agents):
            sums[b, 0, a] *= total[a]
    return kept


@numba.njit(cache=True, error_model="numpy", fastmath=_FAST)
def summarise_block(
    weight: Singles,
    kept: Counts,
    away: Singles,
    own: Singles,
    parts: Components,
    shares: Shares,
    level: float,
    z: float,
    keep: float,
) -> Singles:
    """Moments and interval ends of a block of agents.

    Parameters
    ----------
    weight : array of shape (S C, a)
    kept : array of shape (n,)
        As `class_weights` gives them.
    away : array of shape (m, a)
        Measurements less y0.
    own : array of shape (K, a)
        What all that is returned is relative to, shares excepted.
    parts : Components
    shares : Shares
    level, z : float
        Probability below the lower end and above the upper one; its normal quantile.
    keep : float
        Bins of less weight than this for each agent are left out.

    Returns
    -------
    array of shape (4, K, a)
        Mean, sd, lower and upper end. The first two are of the share where the skill is bounded.
    """
    n_skills, n_agents = own.shape
    n_classes = parts.base.shape[1] // parts.gain.shape[1]
    result = np.empty((4, n_skills, n_agents), dtype=np.float32)
    for k in range(n_skills):
        mean, sd, lower, upper = result[0, k], result[1, k], result[2, k], result[3, k]
        sums = np.zeros((parts.n_bins[k], 3, n_agents), dtype=np.float32)
        _add_up(
            kept,
            n_classes,
            away,
            parts.gain[k],
            parts.base[k],
            parts.variance[k],
            weight,
            parts.which[k],
            sums,
        )
        mixture = sums[: _to_gaussians(sums, keep)]
        moments(mixture, mean, sd)
        interval(mixture, level, z, mean, sd, lower, upper)
        if shares.bounded[k]:
            share_moments(mixture, own[k], k, shares, mean, sd)
    return result
