"""What rows of given draws condition to: shared by tests of Student-t rows and latent classes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from skillinfer_bayes import History, Population
from skillinfer_bayes.inference.posterior import Posterior
from skillinfer_bayes.profiles.conditioning import Conditional
from skillinfer_bayes.profiles.evidence import Evidence
from skillinfer_bayes.profiles.rows import RowConditioner


def conditional_means(mean: np.ndarray, given: Conditional, values: np.ndarray) -> np.ndarray:
    """Conditional means (S, A, K) of agents that share observed skills, measured as (A, m)."""
    residual = values[None, :, :] - mean[:, None, given.observed]
    return mean[:, None, :] + residual @ given.gain


def conditional_covariance(covariance: np.ndarray, given: Conditional) -> np.ndarray:
    """Conditional covariances, (S, K, K)."""
    full = covariance - np.swapaxes(given.gain, 1, 2) @ covariance[:, given.observed, :]
    return 0.5 * (full + np.swapaxes(full, 1, 2))


class Seeded(Posterior):
    """Draws whose random numbers do not depend on them, so that populations can be compared."""

    seed = 5


def history_of(n_skills: int, **known: object) -> History:
    rng = np.random.default_rng(7)
    scores = pd.DataFrame(rng.integers(1, 40, (12, n_skills)) / 40)
    scores.columns = [f"skill_{column}" for column in range(n_skills)]
    return History.from_dataframe(scores, scale="0-1", **known)


def components_of(
    population: Population, evidence: Evidence, extra_var: np.ndarray | float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Means and sds (S, A, K) of the mixture."""
    shape = (len(population.posterior.mean), *evidence.values.shape)
    mean, sd = np.empty(shape), np.empty(shape)
    conditioner = RowConditioner(Seeded(population.posterior.tree))
    extra = np.broadcast_to(extra_var, shape[2:])
    for agents, at, width in conditioner.components(evidence, extra):
        mean[:, agents], sd[:, agents] = at, np.broadcast_to(width, at.shape)
    return mean, sd


def draws_of(population: Population, evidence: Evidence) -> np.ndarray:
    """Joint draws (S, A, K), working scale."""
    draws = np.empty((len(population.posterior.mean), *evidence.values.shape))
    conditioner = RowConditioner(Seeded(population.posterior.tree))
    for agents, values in conditioner.draws(evidence, np.zeros(draws.shape[2])):
        draws[:, agents] = values
    return draws


def agrees_alone_and_in_a_table(population: Population) -> None:
    """Check that agents with groups and years get the same numbers alone and in a table."""
    table = pd.DataFrame({"skill_1": [0.2, 0.9, np.nan]}, index=["one", "other", "third"])
    groups = {"one": "b", "other": "elsewhere"}
    years = pd.DataFrame({"year": [2024.0, 2001.0, 2030.0]}, index=table.index)
    profiles = population.profiles(table, groups=groups, covariates=years)
    for agent in table.index:
        alone = population.profile(
            agent, group=groups.get(agent), covariates={"year": years.loc[agent, "year"]}
        )
        alone.observe_many(table.loc[agent].dropna().to_dict())
        together = profiles.to_dataframe().loc[agent]
        for profile in (alone, profiles[agent]):
            pd.testing.assert_frame_equal(profile.predict(), together, check_exact=False, rtol=1e-9)
        np.testing.assert_allclose(
            alone.draws().values, profiles.draws().sel(agent=[agent]).values, atol=1e-9
        )
