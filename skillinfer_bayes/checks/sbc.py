"""Simulation-based calibration: whether fits and predictions recover what the prior draws.

Populations are drawn from the model's prior, a history is simulated from each and fitted, and the
truth is ranked among the fit's draws. If prior, likelihood, sampler and conditioning agree, every
rank is equally likely (Talts et al. (2018), arXiv:1804.06788).

A posterior that ignores the scores gives even ranks too, and so do draws moved by any gain, right
or wrong: truth and draws then miss in the same way. Quantities that look at the scores tell them
apart (Modrak et al. (2023), doi:10.1214/23-BA1404). Here they are the history's log likelihood
and, for a predicted agent, how far its latent skills are from its scores, and its latent skills
counted in the direction in which its scores lie: where it is pulled too little towards its scores,
the truth lies too far on their side.

What a library does here, one does: ArviZ tests the ranks and draws their bands. The loop is our
own, for simuk (0.3.0, the library for PyMC) cannot run it. It replaces the data of observed random
variables, and our model has none: the agents' latent skills are integrated out in a potential, and
`pymc.observe` refuses that. It ranks parameters by name, one at a time, with no access to the
simulated scores, while what is looked at here are predictions of agents given their scores. And it
compiles every fit anew.

Scores go to the sampler on the working scale. A `History` would standardise them by their own
mean and spread, and then the prior would not be what made them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from rich.progress import track

from skillinfer_bayes.checks.diagnostics import identified_quantities
from skillinfer_bayes.checks.hiding import hidden_cells
from skillinfer_bayes.checks.row_density import class_row_log_density, row_log_density
from skillinfer_bayes.checks.sbc_plan import Plan
from skillinfer_bayes.checks.sbc_result import SBCResult
from skillinfer_bayes.fit_options import read_priors, read_settings
from skillinfer_bayes.history.links import Scale
from skillinfer_bayes.history.measurement import DEFAULT_ERROR_SD, WorkingData
from skillinfer_bayes.history.scales import Scales
from skillinfer_bayes.inference.design import Design
from skillinfer_bayes.inference.posterior import Posterior
from skillinfer_bayes.inference.priors import Priors, SamplerSettings
from skillinfer_bayes.inference.rows import rows_of_data
from skillinfer_bayes.profiles.context import Context
from skillinfer_bayes.profiles.profile import Profile

type FloatArray = NDArray[np.float64]

SETTINGS = SamplerSettings(chains=1, cores=1, tune=1000, draws=600)
# where the agent stands in the table, and whether its own scores weigh the draws: those of the
# history's agent are in the posterior already
AGENTS = {
    "history agent": (0, False),
    "new agent": (-1, False),
    "new agent re-weighted": (-1, True),
}


def sbc(
    n_agents: int = 15,
    n_skills: int = 4,
    *,
    missing: float = 0.0,
    n_observed: int = 2,
    error_sd: float = DEFAULT_ERROR_SD,
    n_simulations: int = 300,
    n_ranks: int = 100,
    priors: Priors | Mapping[str, Any] | None = None,
    settings: SamplerSettings | Mapping[str, Any] | None = None,
    random_seed: int = 0,
    progressbar: bool = True,
) -> SBCResult:
    """Check model, sampler and conditioning against truths drawn from the prior.

    Ranked are the population's means, log sds and correlations between skills (where there are
    latent classes, those of all classes together), the log degrees of freedom, the log likelihood
    of the history, and the latent skills of agents that show `n_observed` scores, among their
    profile's draws and by its closed form (`p_above`): one agent whose row is in the history, and a
    new one, with its draws re-weighted by its own scores and without. All are exact Bayes but the
    last: `Population.profile` leaves aside by default what the agent's own scores say about the
    population, so those ranks are even as far as that is little.

    Parameters
    ----------
    n_agents, n_skills : int, defaults 15 and 4
        Size of each simulated history.
    missing : float, default 0.0
        Share of the history's cells to blank at random.
    n_observed : int, default 2
        Scores that the predicted agents show, of the first skills.
    error_sd : float, default 0.05
        Measurement error, working scale.
    n_simulations : int, default 300
        Fits; a few tenths of a second each once the model is compiled.
    n_ranks : int, default 100
        Draws that a truth is ranked among, spread evenly over all draws of a fit.
    priors : Priors or mapping, optional
        Tails "normal", "agent" or "class".
    settings : SamplerSettings or mapping, optional
        Default: one chain of 1,000 tuning and 600 kept iterations. A seed is replaced by one per
        fit.
    random_seed : int, default 0
    progressbar : bool, default True

    Returns
    -------
    SBCResult

    Raises
    ------
    ConfigError
        If an option cannot be used.
    SamplingError
        If the sampler could not run.
    """
    from skillinfer_bayes.inference.sampling import draw_prior

    plan = Plan(
        n_agents=n_agents,
        n_skills=n_skills,
        missing=missing,
        n_observed=n_observed,
        error_sd=error_sd,
        n_simulations=n_simulations,
        n_ranks=n_ranks,
        priors=read_priors(priors),
        settings=read_settings(SETTINGS if settings is None else settings),
        random_seed=random_seed,
    )
    started = time.perf_counter()
    truths = draw_prior(
        plan.skills,
        plan.resolved,
        n_scores=plan.n_scores,
        draws=n_simulations,
        random_seed=plan.seed_of(n_simulations),
    )
    numbers = track(range(n_simulations), "calibration", disable=not progressbar)
    done = [_one_simulation(plan, truths.isel(draw=[number]), number) for number in numbers]
    names, kinds = _names(truths, plan.n_observed)
    return SBCResult(
        ranks=xr.DataArray(
            np.stack([ranks for ranks, _ in done]),
            dims=("simulation", "quantity"),
            coords={"quantity": names, "kind": ("quantity", kinds)},
        ),
        n_ranks=n_ranks,
        divergences=np.array([divergences for _, divergences in done]),
        seconds=time.perf_counter() - started,
        random_seed=random_seed,
    )


def simulate_agents(
    truth: Posterior, n_agents: int, error_sd: float, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Latent skills and measurements (n_agents, K) of agents of a population with a single draw.

    With Student-t rows an agent that is far from the pattern is so with its measurement errors,
    and with latent classes the errors are as wide as the agent's class.
    """
    nu, classes = truth.nu[0], truth.classes
    size = (n_agents, len(truth.skills))
    mean, widening = truth.mean[0], np.ones((n_agents, 1))
    if classes is not None:
        drawn = rng.choice(classes.weights.shape[1], size=n_agents, p=classes.weights[0])
        mean, widening = classes.means[0, drawn], classes.scales[0, drawn, None]
    elif np.isfinite(nu):
        widening = np.sqrt(nu / rng.chisquare(nu, (n_agents, 1)))
    root = np.linalg.cholesky(truth.row_covariance[0])
    latent = mean + widening * (rng.standard_normal(size) @ root.T)
    return latent, latent + widening * error_sd * rng.standard_normal(size)


def predict(
    posterior: Posterior, scores: FloatArray, error_sd: float, *, reweight: bool = False
) -> Profile:
    """Profile of an agent whose scores (K,), NaN where not shown, are on the working scale."""
    skills = posterior.skills
    scales = Scales(skills, (Scale.unbounded(),) * len(skills))
    unknown = np.full(len(skills), np.nan)
    context = Context("simulated", posterior, scales, unknown, Design.without_columns())
    profile = Profile(context, "agent", reweight=reweight)
    for position in map(int, np.flatnonzero(~np.isnan(scores))):
        profile.observe(skills[position], float(scores[position]), stderr=error_sd)
    return profile


def rank_agent(
    profile: Profile, scores: FloatArray, latent: FloatArray, n_ranks: int
) -> NDArray[np.int64]:
    """Rank an agent's latent skills, each counted in the direction in which its scores lie.

    Parameters
    ----------
    profile : Profile
    scores, latent : arrays of shape (K,)
        What was shown, NaN elsewhere, and the truth.
    n_ranks : int

    Returns
    -------
    array of shape (2 K + 1,)
        Ranks among the profile's draws, by its closed form, and of the squared distance from the
        scores among the draws.
    """
    draws = profile.draws(kind="skill").transpose("chain", "draw", "agent", "skill").values
    joint = draws.reshape(-1, len(latent))
    by_draws = rank_truth(latent, joint, n_ranks)
    below = [1.0 - profile.p_above(at, float(value)) for at, value in enumerate(latent)]
    exact = np.minimum(np.floor(np.array(below) * (n_ranks + 1)), n_ranks).astype(np.int64)
    direction = np.where(np.isnan(scores), np.nanmean(scores), scores)
    ranks = np.stack([by_draws, exact])
    directed = np.where(direction > 0.0, ranks, n_ranks - ranks)
    off, off_draws = (np.nansum((one - scores) ** 2, axis=-1) for one in (latent, joint))
    return np.append(directed.reshape(-1), rank_truth(off, off_draws, n_ranks))


def rank_truth(truth: FloatArray, draws: FloatArray, n_ranks: int) -> NDArray[np.int64]:
    """Count the draws (S, ...) below the truth (...), among `n_ranks` of them spread evenly."""
    kept = np.linspace(0, len(draws) - 1, n_ranks).round().astype(np.intp)
    return np.asarray((draws[kept] < truth).sum(axis=0))


def _one_simulation(
    plan: Plan, population: xr.Dataset, number: int
) -> tuple[NDArray[np.int64], int]:
    """Ranks (Q,) of one population's quantities, and how many transitions diverged."""
    from skillinfer_bayes.inference.sampling import sample_rows

    rng = np.random.default_rng([plan.random_seed, number])
    truth = _posterior(population)
    latent, values = simulate_agents(truth, plan.n_agents + 1, plan.error_sd, rng)
    # the first agent is of the history, the last one is new
    shown = np.where(np.arange(plan.n_skills) < plan.n_observed, values[[0, -1]], np.nan)
    rows = values[:-1].copy()
    rows[hidden_cells(rows, plan.missing, rng.random(rows.shape))] = np.nan
    rows[0] = shown[0]
    error_var = np.full(rows.shape, plan.error_sd**2)
    own_errors = plan.error_sd != DEFAULT_ERROR_SD
    data = rows_of_data(
        WorkingData(rows, error_var if own_errors else None),
        plan.resolved,
        # the prior of the truths, whatever was hidden
        n_scores=np.full(plan.n_skills, float(plan.n_scores)),
    )
    fitted, stats = sample_rows(
        data,
        plan.skills,
        plan.resolved,
        replace(plan.settings, random_seed=plan.seed_of(number)),
        progressbar=False,
    )
    posterior = _posterior(fitted)
    ranks = [
        rank_truth(
            _of_population(population, rows, error_var)[0],
            _of_population(fitted, rows, error_var),
            plan.n_ranks,
        )
    ]
    for position, reweight in AGENTS.values():
        profile = predict(posterior, shown[position], plan.error_sd, reweight=reweight)
        ranks.append(rank_agent(profile, shown[position], latent[position], plan.n_ranks))
    return np.concatenate(ranks), int(stats["diverging"].sum())


def _of_population(draws: xr.Dataset, rows: FloatArray, error_var: FloatArray) -> FloatArray:
    """Give what identifies a population, and its history's log likelihood, (S, Q)."""
    identified = identified_quantities(draws)["value"].values
    density = _row_densities(_posterior(draws), rows, error_var)
    return np.column_stack([identified.reshape(-1, identified.shape[-1]), density.sum(axis=1)])


def _row_densities(posterior: Posterior, rows: FloatArray, error_var: FloatArray) -> FloatArray:
    """Log density of every row under every draw, (S, N)."""
    if posterior.classes is not None:
        return class_row_log_density(*posterior.classes, rows, error_var)
    return row_log_density(posterior.mean, posterior.covariance, posterior.nu, rows, error_var)


def _names(draws: xr.Dataset, n_observed: int) -> tuple[list[str], list[str]]:
    """Names and kinds of all quantities, in the order of the ranks."""
    names = [str(name) for name in identified_quantities(draws)["quantity"].values]
    names.append("log likelihood")
    kinds = [name.partition(" of '")[0] for name in names]
    for agent in AGENTS:
        for how in ("draws", "closed form"):
            for position, skill in enumerate(map(str, draws["skill"].values)):
                role = "observed" if position < n_observed else "inferred"
                names.append(f"{skill!r} of the {agent}, {role}, {how}")
                kinds.append(f"{agent}, {how}")
        names.append(f"distance of the {agent} from its scores, draws")
        kinds.append(f"{agent}, draws")
    return names, kinds


def _posterior(draws: xr.Dataset) -> Posterior:
    return Posterior(xr.DataTree.from_dict({"posterior": draws}))
