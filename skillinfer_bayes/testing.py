"""For tests and examples: histories simulated from a known truth, and populations without MCMC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from skillinfer_bayes.checks.options import check_count, check_share
from skillinfer_bayes.exceptions import ConfigError, PopulationFileError
from skillinfer_bayes.history.scales import Scale, Scales
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.design import Design
from skillinfer_bayes.inference.posterior import DIMS, Posterior, attach_history
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
        If there are fewer than 3 agents, 1 skill or 1 factor, `missing` is not in [0, 1), or the
        seed is negative.
    """
    check_count("n_agents", 3, n_agents)
    check_count("n_skills", 1, n_skills)
    check_count("rank", 1, rank)
    check_count("random_seed", 0, random_seed)
    check_share("missing", missing, zero=True)
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
    tails: Literal["normal", "agent", "cell"] = "normal",
    random_seed: int = 0,
) -> Population:
    """Make a population whose draws scatter about the history's own moments; instant.

    Means and covariances are drawn around the pairwise moments of the observed scores on the
    working scale, covariances as Wishart matrices divided by `concentration`. Where the history
    has groups or covariates they move one shared factor, at random. Good for tests of everything
    that comes after the fit, and for nothing else.

    Parameters
    ----------
    history : History or DataFrame, optional
        Default: a simulated history of 40 agents and 6 skills.
    chains, draws : int, defaults 2 and 100
    concentration : float, default 200.0
        Degrees of freedom of the Wishart; larger scatters less. At least the number of skills.
    tails : {"normal", "agent", "cell"}, default "normal"
        As in `Priors`; heavy ones have about 5 degrees of freedom.
    random_seed : int, default 0

    Returns
    -------
    Population

    Raises
    ------
    ConfigError
        If `tails` is none of these, there are no draws, or the seed is negative.
    """
    check_count("chains", 1, chains)
    check_count("draws", 1, draws)
    check_count("random_seed", 0, random_seed)
    if tails not in ("normal", "agent", "cell"):
        raise ConfigError(f"`tails` must be 'normal', 'agent' or 'cell', got {tails!r}")
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
    others: dict[str, FloatArray] = {}
    if tails != "normal":
        others["nu"] = 5.0 * np.exp(0.2 * rng.standard_normal(shape))
    n_columns = Design.of(history).n_columns
    if n_columns or tails == "cell":
        others["loadings"], others["own_sd"] = _one_factor(covariances)
    if n_columns:
        others["effects"] = 0.4 * rng.standard_normal((*shape, n_columns, 1))
    if history.groups is not None:
        others["group_sd"] = 0.4 * np.exp(0.2 * rng.standard_normal(shape))
    if tails == "cell":
        others["agent_noise_sd"] = 0.3 * np.exp(0.2 * rng.standard_normal(shape))
        return population_of_draws(history, means, **others)
    return population_of_draws(history, means, covariances, **others)


def _one_factor(covariances: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Give loadings (..., K, 1) on the main direction, and the sds (..., K) that they leave."""
    values, vectors = np.linalg.eigh(covariances)
    main = vectors[..., -1] * np.sqrt(0.8 * values[..., -1:])
    main *= np.where(main.sum(axis=-1, keepdims=True) < 0.0, -1.0, 1.0)
    rest = np.einsum("...kk->...k", covariances) - main**2
    return main[..., None], np.sqrt(rest)


def population_of_draws(
    history: History,
    means: FloatArray,
    covariances: FloatArray | None = None,
    *,
    nu: FloatArray | None = None,
    loadings: FloatArray | None = None,
    own_sd: FloatArray | None = None,
    effects: FloatArray | None = None,
    group_sd: FloatArray | None = None,
    agent_noise_sd: FloatArray | None = None,
) -> Population:
    """Wrap given draws, working scale, as a population.

    Parameters
    ----------
    history : History
    means : array of shape (chains, draws, K)
    covariances : array of shape (chains, draws, K, K), optional
        Left out with a scale per cell, where loadings and own sds say it.
    nu : array of shape (chains, draws), optional
        Degrees of freedom. Default: normal tails.
    loadings : array of shape (chains, draws, K, r), optional
    own_sd : array of shape (chains, draws, K), optional
    effects : array of shape (chains, draws, P + G, r), optional
        Of the history's covariates and groups on the factors.
    group_sd : array of shape (chains, draws), optional
    agent_noise_sd : array of shape (chains, draws), optional
        Makes this a population with a scale per cell, which needs `nu`, `loadings` and `own_sd`.

    Returns
    -------
    Population

    Raises
    ------
    PopulationFileError
        If an array is missing that the others need.
    """
    given = {
        "mu": means,
        "covariance": covariances,
        "loadings": loadings,
        "own_sd": own_sd,
        "nu": nu,
        "effects": effects,
        "group_sd": group_sd,
        "agent_noise_sd": agent_noise_sd,
    }
    sample_dims = ("chain", "draw")
    coords: dict[str, object] = {
        "chain": np.arange(means.shape[0]),
        "draw": np.arange(means.shape[1]),
        "skill": list(history.skills),
        "skill_bis": list(history.skills),
    }
    if effects is None and Design.of(history).n_columns:
        raise PopulationFileError("the history has groups or covariates; give their `effects`")
    if effects is not None:
        coords["effect"] = list(Design.of(history).labels)
    posterior = xr.Dataset(
        {
            name: ((*sample_dims, *DIMS[name]), np.array(values))
            for name, values in given.items()
            if values is not None
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
    return Population(
        history, Posterior(attach_history(posterior, stats, history)), dict(FAKE_SETTINGS)
    )


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
