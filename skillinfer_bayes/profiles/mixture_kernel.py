"""Moments and quantiles of small mixtures of Gaussians, one for each of many agents; compiled.

A mixture is an array (B, 3, a): weights, means and standard deviations of B components for each of
`a` agents. Everything is in single precision, and the innermost loops run over agents, which makes
vector instructions of them, as long as no division is tested for a zero (`error_model`). The normal
distribution function is formula 26.2.17 of Abramowitz and Stegun (1964), off by 1e-7 at most.
Quantiles are found by Halley's method (Traub (1964), Iterative Methods for the Solution of
Equations, ISBN 978-0-8284-0312-2).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

type Doubles = NDArray[np.float64]
type Singles = NDArray[np.float32]

MAX_STEPS = 60
TOLERANCE = 1e-3  # of the mixture's sd; what is left after a step is of its third power

_FAST = {"contract", "nsz"}
_TINY, _HUGE = np.float32(1e-30), np.float32(1e30)
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
_SIXTH, _TWENTY_FOURTH = np.float32(1.0 / 6.0), np.float32(1.0 / 24.0)
_PART, _LEAST = np.float32(1.0 / 256.0), np.float32(-36.0)
_ROOT = np.float32(1.0 / math.sqrt(2.0 * math.pi))
_P = np.float32(0.2316419)
_B1, _B2, _B3 = np.float32(0.319381530), np.float32(-0.356563782), np.float32(1.781477937)
_B4, _B5 = np.float32(-1.821255978), np.float32(1.330274429)


class Shares(NamedTuple):
    """Skills' scales, as far as moments of scores need them, and a quadrature rule.

    bounded : (K,), whether the score is base + width * share, with a share of
        1/2 + half tanh((slope x + offset) / 2) kept between 0 and 1
    slope, offset, half : (K,)
    nodes, weights : (n,), for expectations under the standard normal
    """

    bounded: NDArray[np.bool_]
    slope: Doubles
    offset: Doubles
    half: Doubles
    nodes: Doubles
    weights: Doubles


@numba.njit(cache=True, error_model="numpy", fastmath=_FAST, inline="always")
def exp_below(x: np.float32) -> np.float32:
    """Exponential of x <= 0 without a branch or a call; relative error 2e-5 where it matters."""
    y = max(x, _LEAST) * _PART
    p = _ONE + y * (_ONE + y * (_HALF + y * (_SIXTH + y * _TWENTY_FOURTH)))
    p *= p
    p *= p
    p *= p
    p *= p
    p *= p
    p *= p
    p *= p
    p *= p
    return p


@numba.njit(cache=True, error_model="numpy", fastmath=_FAST)
def moments(mixture: Singles, mean: Singles, sd: Singles) -> None:
    """Mean and sd (a,) of mixtures (B, 3, a)."""
    mean[:] = _ZERO
    sd[:] = _ZERO
    for b in range(len(mixture)):
        for a in range(len(mean)):
            mean[a] += mixture[b, 0, a] * mixture[b, 1, a]
    for b in range(len(mixture)):
        for a in range(len(mean)):
            off = mixture[b, 1, a] - mean[a]
            sd[a] += mixture[b, 0, a] * (off * off + mixture[b, 2, a] * mixture[b, 2, a])
    for a in range(len(mean)):
        sd[a] = np.float32(math.sqrt(sd[a]))


@numba.njit(cache=True, error_model="numpy", fastmath=_FAST)
def _distribution(mixture: Singles, at: Singles, work: Singles, out: Singles) -> None:
    """Distribution function, density and its slope, (3, a), of mixtures (B, 3, a) at `at` (a,).

    One short loop a step: compilers give up on telling many arrays apart.
    """
    x, height, inverse = work[0], work[1], work[2]
    below, density, slope = out[0], out[1], out[2]
    out[:] = _ZERO
    for b in range(len(mixture)):
        weights, means, sds = mixture[b, 0], mixture[b, 1], mixture[b, 2]
        for a in range(len(at)):
            inverse[a] = _ONE / sds[a]
        for a in range(len(at)):
            x[a] = (at[a] - means[a]) * inverse[a]
        for a in range(len(at)):
            height[a] = weights[a] * _ROOT * exp_below(-_HALF * x[a] * x[a])
        for a in range(len(at)):
            t = _ONE / (_ONE + _P * abs(x[a]))
            tail = height[a] * t * (_B1 + t * (_B2 + t * (_B3 + t * (_B4 + t * _B5))))
            below[a] += weights[a] - tail if x[a] > _ZERO else tail
        for a in range(len(at)):
            part = height[a] * inverse[a]
            density[a] += part
            slope[a] -= part * x[a] * inverse[a]


@numba.njit(cache=True, error_model="numpy", fastmath=_FAST)
def _lower_quantile(
    mixture: Singles, level: float, z: float, mean: Singles, sd: Singles, at: Singles
) -> None:
    """Quantile (a,) of mixtures (B, 3, a) by Halley's method inside a bracket."""
    n_agents = len(at)
    low = np.full(n_agents, _HUGE)
    high = np.full(n_agents, -_HUGE)
    found = np.empty((3, n_agents), dtype=np.float32)
    work = np.empty((3, n_agents), dtype=np.float32)
    normal, wanted, close = np.float32(z), np.float32(level), np.float32(TOLERANCE)
    for b in range(len(mixture)):
        for a in range(n_agents):
            end = mixture[b, 1, a] + normal * mixture[b, 2, a]
            has = mixture[b, 0, a] > _ZERO
            low[a] = min(low[a], end if has else _HUGE)
            high[a] = max(high[a], end if has else -_HUGE)
    for a in range(n_agents):
        at[a] = min(max(mean[a] + normal * sd[a], low[a]), high[a])
    for _ in range(MAX_STEPS):
        _distribution(mixture, at, work, found)
        busy = False
        for a in range(n_agents):
            here, excess = at[a], found[0, a] - wanted
            if excess <= _ZERO:
                low[a] = here
            if excess >= _ZERO:
                high[a] = here
            density = max(found[1, a], _TINY)
            newton = excess / density
            bend = max(_ONE - _HALF * newton * found[2, a] / density, _HALF)
            following = here - newton / bend
            if not low[a] < following < high[a]:
                following = _HALF * (low[a] + high[a])
            at[a] = following
            if abs(following - here) > close * sd[a]:
                busy = True
        if not busy:
            break


@numba.njit(cache=True, error_model="numpy", fastmath=_FAST)
def interval(
    mixture: Singles,
    level: float,
    z: float,
    mean: Singles,
    sd: Singles,
    lower: Singles,
    upper: Singles,
) -> None:
    """Find ends (a,) with a probability of `level` beyond each, `z` being its normal quantile.

    The upper one is found as the mirror image's lower one, without subtracting from one.
    """
    _lower_quantile(mixture, level, z, mean, sd, lower)
    mirrored = mixture.copy()
    for b in range(len(mixture)):
        for a in range(len(mean)):
            mirrored[b, 1, a] = -mixture[b, 1, a]
    _lower_quantile(mirrored, level, z, -mean, sd, upper)
    for a in range(len(mean)):
        upper[a] = -upper[a]


@numba.njit(cache=True, error_model="numpy", fastmath=_FAST, inline="always")
def _bend(link: np.float32, half: np.float32) -> np.float32:
    """Give half tanh(link / 2), kept between -1/2 and 1/2."""
    e = exp_below(-abs(link))
    size = min(half * (_ONE - e) / (_ONE + e), _HALF)
    return size if link > _ZERO else -size


@numba.njit(cache=True, error_model="numpy", fastmath=_FAST)
def share_moments(
    mixture: Singles, own: Singles, k: int, shares: Shares, mean: Singles, sd: Singles
) -> None:
    """Put the mean and sd (a,) of skill k's share at own + x for those of x, the mixture.

    By quadrature within each of the mixture's Gaussians.
    """
    n_agents = len(mean)
    steep, start = np.float32(shares.slope[k]), np.float32(shares.offset[k])
    tall = np.float32(shares.half[k])
    centre = np.empty(n_agents, dtype=np.float32)
    middle = np.empty(n_agents, dtype=np.float32)
    width = np.empty(n_agents, dtype=np.float32)
    off = np.empty(n_agents, dtype=np.float32)
    for a in range(n_agents):
        centre[a] = _bend(steep * (own[a] + mean[a]) + start, tall)
    mean[:] = _ZERO
    sd[:] = _ZERO
    for b in range(len(mixture)):
        weights, means, sds = mixture[b, 0], mixture[b, 1], mixture[b, 2]
        for a in range(n_agents):
            middle[a] = steep * (own[a] + means[a]) + start
        for a in range(n_agents):
            width[a] = steep * sds[a]
        for n in range(len(shares.nodes)):
            node, share = np.float32(shares.nodes[n]), np.float32(shares.weights[n])
            for a in range(n_agents):
                off[a] = _bend(middle[a] + node * width[a], tall) - centre[a]
            for a in range(n_agents):
                part = share * weights[a] * off[a]
                mean[a] += part
                sd[a] += part * off[a]
    for a in range(n_agents):
        sd[a] = np.float32(math.sqrt(max(sd[a] - mean[a] * mean[a], _ZERO)))
        mean[a] += centre[a] + _HALF
