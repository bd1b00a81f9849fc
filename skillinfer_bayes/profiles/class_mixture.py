"""The fast path for many agents under latent classes: the whole mixture, thinned.

Four moments say little of a predictive with a hump per class. So for each set of observed skills
the Gaussians of all draws and classes are sorted into bins, and what an agent's bins hold is
summed up; see `class_kernel`, which numba compiles. Only this path imports it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from skillinfer_bayes.history.scales import Scales
from skillinfer_bayes.inference.posterior import Classes
from skillinfer_bayes.profiles.class_bins import (
    Components,
    components,
    inverse_roots,
    whitened,
)
from skillinfer_bayes.profiles.class_kernel import class_weights, summarise_block
from skillinfer_bayes.profiles.conditioning import Conditional
from skillinfer_bayes.profiles.evidence import Group
from skillinfer_bayes.profiles.mixture import gauss_hermite
from skillinfer_bayes.profiles.mixture_kernel import Shares

type FloatArray = NDArray[np.float64]

BLOCK = 64
NODES = 21
LEAST_WEIGHT = 1e-5


class Block(NamedTuple):
    """Summaries of some agents of a group in score units.

    agents : (a,), positions in the evidence
    mean, sd, lower, upper : (a, K)
    """

    agents: NDArray[np.intp]
    mean: FloatArray
    sd: FloatArray
    lower: FloatArray
    upper: FloatArray


def components_of(
    classes: Classes, given: Conditional, origin: FloatArray, extra_var: FloatArray
) -> Components:
    """Components for agents that share a set of observed skills.

    Parameters
    ----------
    classes : Classes
    given : Conditional
    origin : array of shape (m,)
        Measurements that components are put in bins at.
    extra_var : array of shape (K,)
        Added to every component's variance, before a class's scale.
    """
    return components(
        classes.means,
        np.ascontiguousarray(given.gain),
        origin - classes.means[:, :, given.observed],
        given.variance + extra_var,
        np.log(classes.scales),
        classes.weights / len(classes.weights),
    )


def shares_of(scales: Scales) -> Shares:
    """Scales as the kernel reads them."""
    half = 0.5 + scales.links.margin
    nodes, weights = gauss_hermite(NODES)
    return Shares(scales.links.bounded, scales.spread, scales.location, half, nodes, weights)


def summarise_group(
    classes: Classes,
    group: Group,
    given: Conditional,
    covariance: FloatArray,
    extra_var: FloatArray,
    scales: Scales,
    tail: float,
) -> Iterator[Block]:
    """Means, standard deviations and interval ends of a group, block by block.

    Parameters
    ----------
    classes : Classes
    group : Group
        Its agents have no covariates and groups.
    given : Conditional
    covariance : array of shape (S, m, m)
        Of the measurements, errors included, for a class of scale 1.
    extra_var : array of shape (K,)
        Added to every component's variance, before a class's scale.
    scales : Scales
    tail : float
        Probability below the lower end and above the upper one.
    """
    origin = group.values.mean(axis=0)
    parts = components_of(classes, given, origin, extra_var)
    roots = inverse_roots(covariance)
    centre = whitened(roots, np.ascontiguousarray(classes.means[:, :, group.observed]))
    log_scale = np.log(classes.scales)
    constant = np.log(classes.weights) - len(origin) * log_scale
    shares, z = shares_of(scales), float(ndtri(tail))
    keep = min(LEAST_WEIGHT, 1e-3 * tail)
    n_agents = len(group.agents)
    for rows in np.array_split(np.arange(n_agents), -(-n_agents // BLOCK)):
        values = np.ascontiguousarray(group.values[rows].T)
        weight = np.empty((classes.weights.size, len(rows)), dtype=np.float32)
        kept = class_weights(values, roots, centre, constant, log_scale, keep, weight)
        away = values - origin[:, None]
        own = parts.offset[:, None] + parts.slope.T @ away
        small = (away.astype(np.float32), own.astype(np.float32))
        found = summarise_block(weight, kept, *small, parts, shares, tail, z, keep)
        yield _in_scores(group.agents[rows], own, found.astype(np.float64), scales)


def _in_scores(
    agents: NDArray[np.intp], own: FloatArray, found: FloatArray, scales: Scales
) -> Block:
    """Turn what the kernel found, (4, K, a), into score units."""
    links = scales.links
    mean, sd, lower, upper = np.swapaxes(found, 1, 2)
    at = scales.from_working(np.stack([mean, lower, upper]) + own.T)
    return Block(
        agents,
        np.where(links.bounded, links.base + links.width * mean, at[0]),
        np.where(links.bounded, links.width, scales.spread) * sd,
        at[1],
        at[2],
    )
