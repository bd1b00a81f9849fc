"""For tests and examples: histories simulated from a known truth, and populations without MCMC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from skillinfer_bayes.exceptions import ConfigError
from skillinfer_bayes.history.scales import Scale, Scales
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.posterior import Posterior, attach_history
from skillinfer_bayes.population import Population

type FloatArray = NDArray[np.float64]

FAKE_SETTINGS = {"note": "fake draws from skillinfer_bayes.testing; no model was fitted"}


@dataclass(frozen=True, eq=False)
class Simulation:
    """A history and the truth that it was simulated from, on the link scale.

    scores : DataFrame of shape (N, K), score units, NaN where hidden
    complete : DataFrame of shape (N, K), the same without holes
    mean : (K,), covariance : (K, K), of the latent skills
    error_sd : float, sd of the measurement error
    """

    scores: pd.DataFrame
    complete: pd.DataFrame
    mean: FloatArray
    covariance: FloatArray
    error_sd: float

    @property
    def correlation(self) -> FloatArray:
        """True correlations between latent skills, (K, K)."""
        sd = np.sqrt(np.diag(self.covariance))
        result: FloatArray = self.covariance / np.outer(sd, sd)
        return result


def simulate_history(
    n_agents: int = 40,
    n_skills: int = 6,
    *,
    rank: int = 2,
    missing: float = 0.0,
    error_sd: float = 0.05,
    bounded: bool = True,
    random_seed: int = 0,
) -> Simulation:
    """Simulate a history from factors with known loadings.

    Parameters
    ----------
    n_agents, n_skills : int, defaults 40 and 6
    rank : int, default 2
        Shared factors; the first one lifts all skills.
    missing : float, default 0.0
        Share of cells hidden at random; every row and column keeps at least two.
    error_sd : float, default 0.05
        Measurement error, link units; the latent skills' sds are near 1.
    bounded : bool, default True
        Scores on 0-1 through a logit, or unbounded scores.
    random_seed : int, default 0

    Returns
    -------
    Simulation

    Raises
    ------
    ConfigError
        If there are fewer than 3 agents or 1 skill, or `missing` is not in [0, 1).
    """
    if n_agents < 3 or n_skills < 1 or not 0.0 <= missing < 1.0:
        raise ConfigError(
            "`n_agents` must be at least 3, `n_skills` at least 1 and `missing` in [0, 1), got "
            f"{n_agents}, {n_skills} and {missing}"
        )
    rng = np.random.default_rng(random_seed)
    loadings = 0.4 * rng.standard_normal((n_skills, rank))
    loadings[:, 0] += 0.6
    own_sd = np.exp(rng.normal(-0.5, 0.2, n_skills))
    covariance = loadings @ loadings.T + np.diag(own_sd**2)
    mean = rng.normal(0.3, 0.4, n_skills)
    latent = rng.multivariate_normal(mean, covariance, size=n_agents, method="cholesky")
    measured = latent + error_sd * rng.standard_normal(latent.shape)
    scale = Scale.unit() if bounded else Scale.unbounded()
    complete = pd.DataFrame(
        scale.backward(measured),
        index=pd.Index([f"agent_{row}" for row in range(n_agents)], name="agent"),
        columns=pd.Index([f"skill_{column}" for column in range(n_skills)], name="skill"),
    )
    hidden = _hidden(complete.shape, missing, rng)
    return Simulation(complete.mask(hidden), complete, mean, covariance, error_sd)


def _hidden(shape: tuple[int, int], missing: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Cells to hide, none of which would leave its row or column with fewer than two."""
    hidden = np.zeros(shape, dtype=bool)
    wanted = round(missing * hidden.size)
    for flat in rng.permutation(hidden.size):
        if wanted == 0:
            break
        row, column = np.unravel_index(flat, shape)
        if (~hidden[row]).sum() > 2 and (~hidden[:, column]).sum() > 2:
            hidden[row, column] = True
            wanted -= 1
    return hidden


def fake_population(
    history: History | pd.DataFrame | None = None,
    *,
    chains: int = 2,
    draws: int = 100,
    concentration: float = 200.0,
    random_seed: int = 0,
) -> Population:
    """Make a population whose draws scatter about the history's own moments; instant.

    Means and covariances are drawn around the pairwise moments of the observed scores on the
    working scale, covariances as Wishart matrices divided by `concentration`. Good for tests of
    everything that comes after the fit, and for nothing else.

    Parameters
    ----------
    history : History or DataFrame, optional
        Default: a simulated history of 40 agents and 6 skills.
    chains, draws : int, defaults 2 and 100
    concentration : float, default 200.0
        Degrees of freedom of the Wishart; larger scatters less. At least the number of skills.
    random_seed : int, default 0

    Returns
    -------
    Population
    """
    if history is None:
        history = simulate_history(random_seed=random_seed).scores
    if isinstance(history, pd.DataFrame):
        history = History.from_dataframe(history)
    rng = np.random.default_rng(random_seed)
    mean, covariance = _moments(history)
    n_skills = history.n_skills
    degrees = int(max(concentration, n_skills + 1))
    chol = np.linalg.cholesky(covariance)
    shape = (chains, draws)
    normal = rng.standard_normal((*shape, degrees, n_skills)) @ chol.T
    covariances = np.swapaxes(normal, -1, -2) @ normal / degrees
    spread = np.sqrt(1.0 / history.n_agents)
    means = mean + spread * (rng.standard_normal((*shape, n_skills)) @ chol.T)
    return population_of_draws(history, means, covariances)


def population_of_draws(history: History, means: FloatArray, covariances: FloatArray) -> Population:
    """Wrap given draws of mean and covariance, working scale, as a population.

    Parameters
    ----------
    history : History
    means : array of shape (chains, draws, K)
    covariances : array of shape (chains, draws, K, K)
    """
    names = list(history.skills)
    coords = {
        "chain": np.arange(means.shape[0]),
        "draw": np.arange(means.shape[1]),
        "skill": names,
        "skill_bis": names,
    }
    sample_dims = ("chain", "draw")
    posterior = xr.Dataset(
        {
            "mu": ((*sample_dims, "skill"), means),
            "covariance": ((*sample_dims, "skill", "skill_bis"), covariances),
        },
        coords=coords,
    )
    energy = np.random.default_rng(0).standard_normal(means.shape[:2])
    stats = xr.Dataset(
        {
            "diverging": (sample_dims, np.zeros(means.shape[:2], dtype=bool)),
            "energy": (sample_dims, energy),
        },
        coords={name: coords[name] for name in sample_dims},
    )
    return Population(history, Posterior(attach_history(posterior, stats, history)), FAKE_SETTINGS)


def _moments(history: History) -> tuple[FloatArray, FloatArray]:
    """Pairwise moments on the working scale, shrunk towards independence to be positive."""
    working = pd.DataFrame(history.working().values)
    mean = working.mean().to_numpy()
    covariance = working.cov(min_periods=3).fillna(0.0).to_numpy(copy=True)
    np.fill_diagonal(covariance, working.var().to_numpy())
    values, vectors = np.linalg.eigh(0.7 * covariance + 0.3 * np.diag(np.diag(covariance)))
    return mean, (vectors * np.maximum(values, 0.02)) @ vectors.T


def unit_scales(skills: tuple[str, ...]) -> Scales:
    """Scales of 0-1 skills whose working scale is the link scale."""
    return Scales(skills, (Scale.unit(),) * len(skills))
