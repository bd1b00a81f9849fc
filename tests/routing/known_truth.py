"""Populations whose posterior is a single known Gaussian, so that profiles have closed forms."""

from __future__ import annotations

import numpy as np
import pandas as pd

from skillinfer_bayes import History, Population
from skillinfer_bayes.testing import population_of_draws

SKILLS = ["math", "code", "prose"]
MEAN = np.array([0.2, -0.1, 0.0])
COVARIANCE = np.array([[1.0, 0.6, 0.2], [0.6, 0.9, -0.1], [0.2, -0.1, 1.1]])


def certain_population(n_draws: int = 2000, *, covariance: np.ndarray = COVARIANCE) -> Population:
    """Three unbounded skills; every draw has the same mean and covariance, working scale."""
    rng = np.random.default_rng(7)
    scores = pd.DataFrame(100.0 + 10.0 * rng.standard_normal((30, 3)), columns=SKILLS)
    scores.index = [f"old_{row}" for row in range(30)]
    history = History.from_dataframe(scores, scale="unbounded")
    shape = (2, n_draws // 2)
    means = np.broadcast_to(MEAN, (*shape, 3)).copy()
    return population_of_draws(history, means, np.broadcast_to(covariance, (*shape, 3, 3)).copy())


def conditional(population: Population, given: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """Mean (3,) and covariance (3, 3) of a new agent's skills, score units."""
    scales, error = population.scales, 0.05**2
    at = [SKILLS.index(name) for name in given]
    mean, cov = MEAN, COVARIANCE
    if at:
        y = (np.array(list(given.values())) - scales.location[at]) / scales.spread[at]
        gain = COVARIANCE[:, at] @ np.linalg.inv(
            COVARIANCE[np.ix_(at, at)] + error * np.eye(len(at))
        )
        mean, cov = MEAN + gain @ (y - MEAN[at]), COVARIANCE - gain @ COVARIANCE[at]
    unit = scales.spread
    return scales.location + unit * mean, cov * np.outer(unit, unit)
