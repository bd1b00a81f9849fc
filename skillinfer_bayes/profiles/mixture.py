"""Summaries of a mixture of Gaussians, one component per posterior draw; arrays only.

Components come first: (S, ...). They count alike unless weights are given, (S, A, 1), which add up
to one for each agent. A monotone link carries quantiles and tail probabilities over to
scores exactly; moments of scores need Gauss-Hermite quadrature (Abramowitz and Stegun (1964),
formula 25.4.46) within each component.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

type FloatArray = NDArray[np.float64]

QUADRATURE_NODES = 15
MAX_STEPS = 60
TOLERANCE = 1e-10
_SQRT_2PI = float(np.sqrt(2.0 * np.pi))


def gauss_hermite(n_nodes: int = QUADRATURE_NODES) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights for expectations under the standard normal."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n_nodes)
    return nodes, weights / weights.sum()


def average(values: FloatArray, weight: FloatArray | None) -> FloatArray:
    """Average over components."""
    averaged: FloatArray = values.mean(axis=0) if weight is None else (weight * values).sum(axis=0)
    return averaged


def mixture_moments(
    mean: FloatArray,
    sd: FloatArray,
    backward: Callable[[FloatArray], FloatArray],
    weight: FloatArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of `backward(x)`, x being the mixture.

    Parameters
    ----------
    mean, sd : arrays of shape (S, A, K), sd broadcastable
    backward : callable
        Elementwise map to scores.
    weight : array of shape (S, A, 1), optional

    Returns
    -------
    mean, sd : arrays of shape (A, K)
    """
    first = np.zeros(mean.shape[1:])
    second = np.zeros(mean.shape[1:])
    centre = backward(average(mean, weight))
    for node, share in zip(*gauss_hermite(), strict=True):
        deviation = backward(mean + sd * node) - centre
        first += share * average(deviation, weight)
        second += share * average(deviation**2, weight)
    return centre + first, np.sqrt(np.maximum(second - first**2, 0.0))


def mixture_cdf(
    at: FloatArray, mean: FloatArray, sd: FloatArray, weight: FloatArray | None = None
) -> FloatArray:
    """Probability that the mixture lies below `at`; `at` (A, K), components (S, A, K)."""
    return average(ndtr(_standardise(at, mean, sd)), weight)


def _standardise(at: FloatArray, mean: FloatArray, sd: FloatArray) -> FloatArray:
    """(at - mean) / sd, with a component of no width read as a step at its mean."""
    with np.errstate(divide="ignore", invalid="ignore"):
        z: FloatArray = (at - mean) / sd
    return np.nan_to_num(z, nan=0.0, posinf=np.inf, neginf=-np.inf)


def mixture_quantile(
    probability: float, mean: FloatArray, sd: FloatArray, weight: FloatArray | None = None
) -> FloatArray:
    """Quantile of the mixture: Newton's method, kept inside a bracket that halves when it errs.

    Parameters
    ----------
    probability : float
        Between 0 and 1, both excluded.
    mean, sd : arrays of shape (S, A, K), sd broadcastable
    weight : array of shape (S, A, 1), optional

    Returns
    -------
    array of shape (A, K)
    """
    z = float(ndtri(probability))
    ends = mean + sd * z  # the mixture's quantile lies between its components' quantiles
    low, high = ends.min(axis=0), ends.max(axis=0)
    middle = average(mean, weight)
    total_sd = np.sqrt(average(sd**2 + (mean - middle) ** 2, weight))
    guess = np.clip(middle + z * total_sd, low, high)
    for _ in range(MAX_STEPS):
        excess = mixture_cdf(guess, mean, sd, weight) - probability
        low = np.where(excess <= 0.0, guess, low)
        high = np.where(excess >= 0.0, guess, high)
        step = excess / _density(guess, mean, sd, weight)
        newton = guess - step
        inside = np.isfinite(newton) & (newton > low) & (newton < high)
        following = np.where(inside, newton, 0.5 * (low + high))
        moved = np.abs(following - guess)
        guess = following
        if not (moved > TOLERANCE * (1.0 + np.abs(guess))).any():
            break
    return guess


def _density(
    at: FloatArray, mean: FloatArray, sd: FloatArray, weight: FloatArray | None
) -> FloatArray:
    z = _standardise(at, mean, sd)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        heights = np.exp(-0.5 * z * z) / (sd * _SQRT_2PI)
    density = average(np.nan_to_num(heights, nan=0.0, posinf=0.0), weight)
    return np.maximum(density, 1e-300)
