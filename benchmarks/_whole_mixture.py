"""Profiles under latent classes, with every class of every draw counted by its weight."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import ndtr, softmax

from skillinfer_bayes.population import Population
from skillinfer_bayes.profiles.latent_classes import class_terms
from skillinfer_bayes.profiles.mixture import gauss_hermite
from skillinfer_bayes.profiles.rows import RowConditioner

HALVINGS = 40
TAILS = {"lower": 0.05, "upper": 0.95}


def whole_mixture(population: Population, table: pd.DataFrame) -> xr.Dataset:
    """Means and ends of 90 % intervals; a tenth of a second an agent."""
    evidence = population.profiles(table)._evidence
    conditioner, backward = RowConditioner(population.posterior), population.scales.from_working
    classes = conditioner.classes
    found = {name: np.empty(evidence.values.shape) for name in ("mean", *TAILS)}
    for group, given in conditioner.groups(evidence):
        root, residual = conditioner.root(group), conditioner.residuals(group)
        terms = class_terms(classes, root, residual, group.observed)
        weights = softmax(terms, axis=2) / len(terms)
        sd = classes.scales[:, :, None] * np.sqrt(given.variance)[:, None, :]
        for row, agent in enumerate(group.agents):
            away = group.values[row] - classes.means[:, :, group.observed]
            mean = classes.means + away @ given.gain
            weight = weights[:, row]
            found["mean"][agent] = sum(
                share * np.einsum("sc,sck->k", weight, backward(mean + node * sd))
                for node, share in zip(*gauss_hermite(), strict=True)
            )
            for name, tail in TAILS.items():
                found[name][agent] = backward(_quantile(tail, weight, mean, sd))
    return xr.Dataset({name: (("agent", "skill"), values) for name, values in found.items()})


def _quantile(tail: float, weight: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    low, high = (mean - 4.0 * sd).min(axis=(0, 1)), (mean + 4.0 * sd).max(axis=(0, 1))
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        below = np.einsum("sc,sck->k", weight, ndtr((middle - mean) / sd))
        low, high = np.where(below < tail, middle, low), np.where(below < tail, high, middle)
    return middle
