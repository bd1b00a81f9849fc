"""Leave-one-agent-out cross-validation, by importance sampling and by refitting.

The elpd of an agent is the log density of its scores, working scale, under a fit that has not
seen them (Vehtari, Gelman and Gabry (2017), doi:10.1007/s11222-016-9696-4). ArviZ smooths the
weights and reports how far they can be trusted; the agents with bad weights are left out in
earnest. Refits use the very same scaled scores: a `History` without the agent would scale the rest
anew, and densities on two scales do not compare.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from skillinfer_bayes.exceptions import ConfigError
from skillinfer_bayes.history.measurement import WorkingData
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.design import Design
from skillinfer_bayes.inference.posterior import Posterior
from skillinfer_bayes.inference.priors import Priors, SamplerSettings
from skillinfer_bayes.inference.rows import collapse_rows
from skillinfer_bayes.profiles.evidence import Evidence, evidence_of_history
from skillinfer_bayes.profiles.rows import RowConditioner
from skillinfer_bayes.profiles.surprise import tail_probabilities

if TYPE_CHECKING:
    from skillinfer_bayes.population import Population

type FloatArray = NDArray[np.float64]
type Refit = Callable[[int], Posterior]

# a smoothed tail needs five draws and is a fifth of them at most
FEWEST_DRAWS = 30
LOG_2PI, LOG_PI = float(np.log(2.0 * np.pi)), float(np.log(np.pi))


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """How well each agent is predicted by a fit without it.

    Parameters
    ----------
    agents : DataFrame indexed by agent
        `elpd`, `khat` (0 where refitted), `refitted`, and `p`, the posterior predictive
        probability of a row at least as far from the population's mean under the fit without it.
    elpd, se : float
        Sum over agents and its standard error.
    p_loo : float
        Effective number of parameters.
    good_k : float
        Largest k-hat at which the weights can be trusted, for this number of draws.
    """

    agents: pd.DataFrame
    elpd: float
    se: float
    p_loo: float
    good_k: float

    @property
    def bad(self) -> list[str]:
        """Agents whose terms cannot be trusted."""
        return [str(name) for name in self.agents.index[self.agents["khat"] > self.good_k]]


def leave_one_agent_out(
    population: Population,
    *,
    refit: bool | str = False,
    settings: SamplerSettings | None = None,
) -> LeaveOneOut:
    """Estimate how well agents are predicted without their own row.

    Parameters
    ----------
    population : Population
        Tails "normal" or "agent".
    refit : bool or "all", default False
        Leave the agents with bad weights out in earnest, or every agent.
    settings : SamplerSettings, optional
        Of the refits. Default: the population's own.

    Returns
    -------
    LeaveOneOut

    Raises
    ------
    ConfigError
        If the tails are "cell", whose density has no closed form, if there are fewer than 30
        draws, or if the population does not say with which priors it was fitted and `refit`
        needs them.
    SamplingError
        If a refit could not run.
    """
    import arviz_stats

    if refit not in (True, False, "all"):
        raise ConfigError(f"`refit` must be True, False or 'all', got {refit!r}")
    posterior = population.posterior
    if posterior.by_cell:
        raise ConfigError(
            "leaving agents out needs tails 'normal' or 'agent', got 'cell', whose density has no "
            "closed form"
        )
    n_draws = len(posterior.mean)
    if n_draws < FEWEST_DRAWS:
        raise ConfigError(
            f"leaving agents out needs at least {FEWEST_DRAWS} draws, got {n_draws}; raise `draws`"
        )
    evidence = evidence_of_history(population.history)
    tree = _likelihood_tree(posterior, evidence)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Estimated shape parameter")  # reported
        found = arviz_stats.loo(tree, pointwise=True)
    weights = np.exp(_flat(found.log_weights))
    tails = tail_probabilities(posterior, evidence)
    p = (weights * tails).sum(axis=0) / weights.sum(axis=0)
    refitted = np.zeros(len(p), dtype=bool)
    if refit:
        refitted = np.ones(len(p), bool) if refit == "all" else found.pareto_k.values > found.good_k
        fit = refitter(population, settings)
        fits = {int(agent): fit(int(agent)) for agent in np.flatnonzero(refitted)}
        found = arviz_stats.reloo(
            _wrapper(tree, evidence, fits),
            loo_orig=found,
            pointwise=True,
            k_threshold=-np.inf if refit == "all" else found.good_k,
        )
        for agent, without in fits.items():
            one = evidence.take(slice(agent, agent + 1))
            p[agent] = tail_probabilities(without, one).mean()
    table = pd.DataFrame(
        {
            "elpd": found.elpd_i.values,
            "khat": found.pareto_k.values,
            "refitted": refitted,
            "p": p,
        },
        index=pd.Index(list(evidence.agents), name="agent"),
    )
    return LeaveOneOut(
        table, float(found.elpd), float(found.se), float(found.p), float(found.good_k)
    )


def log_likelihood(posterior: Posterior, evidence: Evidence) -> FloatArray:
    """Log density of each agent's row, working scale, all constants included, (S, A)."""
    per_score = LOG_PI if np.isfinite(posterior.nu).all() else LOG_2PI
    missing = 0.5 * per_score * evidence.observed.sum(axis=1)
    density: FloatArray = RowConditioner(posterior).log_density(evidence) - missing
    return density


def refitter(population: Population, settings: SamplerSettings | None = None) -> Refit:
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
    how = settings or SamplerSettings.from_dict(population.settings.get("sampler", {}))
    history = population.history
    data, design = history.working(), Design.of(history)
    columns = design.of_history(history)

    def fit(agent: int) -> Posterior:
        from skillinfer_bayes.inference.sampling import sample_rows

        kept = np.arange(history.n_agents) != agent
        error_var = None if data.error_var is None else data.error_var[kept]
        rows = collapse_rows(
            WorkingData(data.values[kept], error_var),
            keep_agents=priors.tails == "agent",
            design=columns[kept],
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
    return Priors.from_dict(given).resolve(history.n_skills, int(history.observed.sum()))


def _seeded(how: SamplerSettings, agent: int) -> SamplerSettings:
    seed = np.random.SeedSequence([how.random_seed or 0, agent]).generate_state(1)
    return replace(how, random_seed=int(seed[0]))


def _likelihood_tree(posterior: Posterior, evidence: Evidence) -> xr.DataTree:
    """Group `log_likelihood` of the agents' rows beside the draws, for ArviZ."""
    shape = (posterior.n_chains, posterior.n_draws, len(evidence.agents))
    values = log_likelihood(posterior, evidence).reshape(shape)
    dims = ("chain", "draw", "agent")
    likelihood = xr.Dataset(
        {"row": (dims, values)},
        coords={
            "chain": np.arange(shape[0]),
            "draw": np.arange(shape[1]),
            "agent": list(evidence.agents),
        },
    )
    means = xr.Dataset(
        {"mu": (("chain", "draw", "skill"), posterior.mean.reshape(*shape[:2], -1))},
        coords={name: likelihood[name] for name in ("chain", "draw")},
    )
    return xr.DataTree.from_dict({"posterior": means, "log_likelihood": likelihood})


def _wrapper(tree: xr.DataTree, evidence: Evidence, fits: dict[int, Posterior]) -> Any:
    """Tell ArviZ how to get the density of an agent under the fit without it."""
    from arviz_stats import SamplingWrapper

    class Wrapper(SamplingWrapper):  # type: ignore[misc,unused-ignore]
        def sel_observations(self, idx: Any) -> tuple[int, int]:
            return int(idx), int(idx)

        def sample(self, modified_observed_data: int) -> Posterior:
            return fits[modified_observed_data]

        def get_inference_data(self, fitted_model: Posterior) -> Posterior:
            return fitted_model

        def log_likelihood__i(self, excluded_obs: int, idata__i: Posterior) -> xr.DataArray:
            one = evidence.take(slice(excluded_obs, excluded_obs + 1))
            likelihood = _likelihood_tree(idata__i, one).children["log_likelihood"]
            return likelihood.to_dataset()["row"]

    return Wrapper(None, idata_orig=tree)


def _flat(values: xr.DataArray) -> FloatArray:
    """Draws by agents, (S, A)."""
    ordered = values.transpose("chain", "draw", "agent").values
    return np.asarray(ordered.reshape(-1, ordered.shape[-1]))
