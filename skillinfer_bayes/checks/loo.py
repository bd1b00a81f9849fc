"""Leave-one-agent-out cross-validation, by importance sampling and by refitting.

The elpd of an agent is the log density of its scores, working scale, under a fit that has not
seen them (Vehtari, Gelman and Gabry (2017), doi:10.1007/s11222-016-9696-4). ArviZ smooths the
weights and reports how far they can be trusted (Vehtari, Simpson, Gelman, Yao and Gabry (2024),
Pareto smoothed importance sampling, JMLR 25(72)); the agents with bad weights are left out in
earnest. Refits use the very same scaled scores: a `History` without the agent would scale the rest
anew, and densities on two scales do not compare.

What belongs to the agent alone, its class, its factors and its noise level, is integrated out of
its density also where the fit sampled it: given them, the density would say how well scores are
predicted once the agent is known (Merkle, Furr and Rabe-Hesketh (2019), Bayesian comparison of
latent variable models: conditional versus marginal likelihoods, doi:10.1007/s11336-019-09679-0).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from skillinfer_bayes.exceptions import ConfigError
from skillinfer_bayes.fit_options import read_settings
from skillinfer_bayes.history.measurement import WorkingData
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.design import Design
from skillinfer_bayes.inference.posterior import Posterior
from skillinfer_bayes.inference.priors import Priors, SamplerSettings
from skillinfer_bayes.inference.rows import rows_of_data
from skillinfer_bayes.profiles.cells import CellConditioner
from skillinfer_bayes.profiles.evidence import Evidence, evidence_of_history
from skillinfer_bayes.profiles.reweighting import FEWEST_DRAWS
from skillinfer_bayes.profiles.rows import RowConditioner
from skillinfer_bayes.profiles.surprise import tail_probabilities

if TYPE_CHECKING:
    from skillinfer_bayes.population import Population

type FloatArray = NDArray[np.float64]
type Refit = Callable[[int], Posterior]

LOG_2PI, LOG_PI = float(np.log(2.0 * np.pi)), float(np.log(np.pi))


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """How well each agent is predicted by a fit without it.

    Parameters
    ----------
    agents : DataFrame indexed by agent
        `elpd`, `khat` (0 where refitted), `refitted`, `p`, the posterior predictive probability
        of a row at least as far from the population's mean under the fit without it, and
        `integral_error`, what the Monte Carlo error of the row's density does to `elpd` (0 where
        the density has a closed form).
    elpd, se : float
        Sum over agents and its standard error.
    p_loo : float
        Effective number of parameters.
    good_k : float
        Largest k-hat at which the weights can be trusted, for this number of draws.
    integral_error : float, default 0.0
        What the errors of the rows' densities do to the sum.
    """

    agents: pd.DataFrame
    elpd: float
    se: float
    p_loo: float
    good_k: float
    integral_error: float = 0.0

    @property
    def bad(self) -> list[str]:
        """Agents whose terms cannot be trusted."""
        return [str(name) for name in self.agents.index[self.agents["khat"] > self.good_k]]


def leave_one_agent_out(
    population: Population,
    *,
    refit: bool | str = False,
    settings: SamplerSettings | Mapping[str, Any] | None = None,
) -> LeaveOneOut:
    """Estimate how well agents are predicted without their own row.

    Parameters
    ----------
    population : Population
    refit : bool or "all", default False
        Leave the agents with bad weights out in earnest, or every agent.
    settings : SamplerSettings or mapping, optional
        Of the refits. Default: the population's own.

    Returns
    -------
    LeaveOneOut

    Raises
    ------
    ConfigError
        If `refit` is none of these, `settings` cannot be used, there are fewer than 30 draws, or
        the population does not say with which priors it was fitted and `refit` needs them.
    SamplingError
        If a refit could not run.
    """
    import arviz_stats

    if refit not in (True, False, "all"):
        raise ConfigError(f"`refit` must be True, False or 'all', got {refit!r}")
    posterior = population.posterior
    n_draws = len(posterior.mean)
    if n_draws < FEWEST_DRAWS:
        raise ConfigError(
            f"leaving agents out needs at least {FEWEST_DRAWS} draws, got {n_draws}; raise `draws`"
        )
    evidence = evidence_of_history(population.history)
    density, error = _log_densities(posterior, evidence)
    tree = _likelihood_tree(posterior, density, evidence.agents)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Estimated shape parameter")  # reported
        found = arviz_stats.loo(tree, pointwise=True)
    weights = np.exp(_flat(found.log_weights))
    tails = tail_probabilities(posterior, evidence)
    p = (weights * tails).sum(axis=0) / weights.sum(axis=0)
    bias, variance = _error_of_elpd(-density, error)
    refitted = np.zeros(len(p), dtype=bool)
    if refit:
        refitted = np.ones(len(p), bool) if refit == "all" else found.pareto_k.values > found.good_k
        fit = refitter(population, settings)
        trees = {}
        for agent in map(int, np.flatnonzero(refitted)):
            without, one = fit(agent), evidence.take(slice(agent, agent + 1))
            density, error = _log_densities(without, one)
            trees[agent] = _likelihood_tree(without, density, one.agents)
            p[agent] = tail_probabilities(without, one).mean()
            bias[agent], variance[agent] = np.ravel(_error_of_elpd(density, error))
        found = arviz_stats.reloo(
            _wrapper(tree, trees),
            loo_orig=found,
            pointwise=True,
            k_threshold=-np.inf if refit == "all" else found.good_k,
        )
    table = pd.DataFrame(
        {
            "elpd": found.elpd_i.values,
            "khat": found.pareto_k.values,
            "refitted": refitted,
            "p": p,
            "integral_error": np.sqrt(bias**2 + variance),
        },
        index=pd.Index(list(evidence.agents), name="agent"),
    )
    return LeaveOneOut(
        agents=table,
        elpd=float(found.elpd),
        se=float(found.se),
        p_loo=float(found.p),
        good_k=float(found.good_k),
        integral_error=float(np.sqrt(bias.sum() ** 2 + variance.sum())),
    )


def log_likelihood(posterior: Posterior, evidence: Evidence) -> FloatArray:
    """Log density of each agent's row, working scale, all constants included, (S, A)."""
    return _log_densities(posterior, evidence)[0]


def _log_densities(posterior: Posterior, evidence: Evidence) -> tuple[FloatArray, FloatArray]:
    """Log density of each agent's row, and the relative error of the density, (S, A) each."""
    if posterior.by_cell:
        return CellConditioner(posterior).log_density(evidence)
    per_score = LOG_PI if np.isfinite(posterior.nu).all() else LOG_2PI
    missing = 0.5 * per_score * evidence.observed.sum(axis=1)
    density: FloatArray = RowConditioner(posterior).log_density(evidence) - missing
    return density, np.zeros(density.shape)


def _error_of_elpd(log_weight: FloatArray, error: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Carry errors of densities over to the log of a weighted mean of them or of their inverses.

    To second order, with the densities' relative errors e and weights W that add up to one: the
    bias is at most sum W e^2 in size, which it is for inverses, and the variance sum W^2 e^2.

    Parameters
    ----------
    log_weight, error : arrays of shape (S, A)

    Returns
    -------
    bias, variance : arrays of shape (A,)
    """
    weights = np.exp(log_weight - log_weight.max(axis=0))
    weights /= weights.sum(axis=0)
    return (weights * error**2).sum(axis=0), (weights**2 * error**2).sum(axis=0)


def refitter(
    population: Population, settings: SamplerSettings | Mapping[str, Any] | None = None
) -> Refit:
    """Give the function that fits the history without one agent, on the population's scale.

    Raises
    ------
    ConfigError
        If the population does not say with which priors it was fitted.
    """
    priors = priors_of(population)
    if priors is None:
        raise ConfigError(
            "`refit` must be False: the population does not say with which priors it was fitted"
        )
    how = read_settings(population.settings.get("sampler") if settings is None else settings)
    history = population.history
    data, design = history.working(), Design.of(history)
    columns = design.of_history(history)

    def fit(agent: int) -> Posterior:
        from skillinfer_bayes.inference.sampling import sample_rows

        kept = np.arange(history.n_agents) != agent
        error_var = None if data.error_var is None else data.error_var[kept]
        others = WorkingData(data.values[kept], error_var)
        rows = rows_of_data(
            others,
            priors,
            columns[kept],
            history.scales.typical,
            # the agent's own scores have set the units, too
            n_scores=history.observed.sum(axis=0).astype(np.float64),
        )
        draws, _ = sample_rows(
            rows, history.skills, priors, _seeded(how, agent), design=design, progressbar=False
        )
        return Posterior(xr.DataTree.from_dict({"posterior": draws}))

    return fit


def priors_of(population: Population) -> Priors | None:
    """Priors that a population was fitted with, resolved; None where it does not say."""
    given: dict[str, Any] | None = population.settings.get("priors")
    if given is None:
        return None
    history: History = population.history
    return Priors.from_dict(given).resolve_for(history)


def _seeded(how: SamplerSettings, agent: int) -> SamplerSettings:
    seed = np.random.SeedSequence([how.random_seed or 0, agent]).generate_state(1)
    return replace(how, random_seed=int(seed[0]))


def _likelihood_tree(
    posterior: Posterior, density: FloatArray, agents: Sequence[str]
) -> xr.DataTree:
    """Group `log_likelihood` of the agents' rows, (S, A), beside the draws, for ArviZ."""
    shape = (posterior.n_chains, posterior.n_draws, len(agents))
    dims = ("chain", "draw", "agent")
    likelihood = xr.Dataset(
        {"row": (dims, density.reshape(shape))},
        coords={
            "chain": np.arange(shape[0]),
            "draw": np.arange(shape[1]),
            "agent": list(agents),
        },
    )
    means = xr.Dataset(
        {"mu": (("chain", "draw", "skill"), posterior.mean.reshape(*shape[:2], -1))},
        coords={name: likelihood[name] for name in ("chain", "draw")},
    )
    return xr.DataTree.from_dict({"posterior": means, "log_likelihood": likelihood})


def _wrapper(tree: xr.DataTree, trees: Mapping[int, xr.DataTree]) -> Any:
    """Tell ArviZ how to get the density of an agent under the fit without it."""
    from arviz_stats import SamplingWrapper

    class Wrapper(SamplingWrapper):  # type: ignore[misc,unused-ignore]
        def sel_observations(self, idx: Any) -> tuple[int, int]:
            return int(idx), int(idx)

        def sample(self, modified_observed_data: int) -> xr.DataTree:
            return trees[modified_observed_data]

        def get_inference_data(self, fitted_model: xr.DataTree) -> xr.DataTree:
            return fitted_model

        def log_likelihood__i(self, excluded_obs: int, idata__i: xr.DataTree) -> xr.DataArray:
            return idata__i.children["log_likelihood"].to_dataset()["row"]

    return Wrapper(None, idata_orig=tree)


def _flat(values: xr.DataArray) -> FloatArray:
    """Draws by agents, (S, A)."""
    ordered = values.transpose("chain", "draw", "agent").values
    return np.asarray(ordered.reshape(-1, ordered.shape[-1]))
