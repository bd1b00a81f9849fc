"""Real fits, as small as they can be: this module compiles one model for most of its tests."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import nutpie
import pandas as pd
import pytest
import xarray as xr
from pymc.sampling.parallel import ParallelSamplingError

from skillinfer_bayes import History, Population, Priors, SamplerSettings
from skillinfer_bayes.exceptions import (
    ConfigError,
    ConvergenceWarning,
    MissingDependencyError,
    SamplingError,
)
from skillinfer_bayes.inference import kernels, sampling
from skillinfer_bayes.inference.posterior import Posterior
from skillinfer_bayes.inference.sampling import Stopwatch, sample_posterior
from skillinfer_bayes.testing import simulate_history

PRIORS = Priors(covariance="factor", tails="agent", rank=1)
TINY = SamplerSettings(draws=50, tune=50, chains=2, cores=1, target_accept=0.8, random_seed=5)


def simulated(n_agents: int, seed: int, missing: float = 0.0) -> History:
    simulation = simulate_history(n_agents, 3, rank=1, missing=missing, random_seed=seed)
    return History.from_dataframe(simulation.scores)


def fit(history: History, settings: SamplerSettings = TINY, **options: object) -> xr.DataTree:
    return sample_posterior(history, PRIORS, settings, progressbar=False, **options)


@pytest.fixture(scope="module")
def history() -> History:
    return simulated(25, seed=1)


@pytest.fixture(scope="module")
def tree(history: History) -> xr.DataTree:
    return fit(history)


@pytest.fixture
def no_compiling(tree: xr.DataTree, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(kernels, "compile_for_nutpie", refuse)


def test_a_fit_gives_labelled_draws(tree: xr.DataTree, history: History) -> None:
    covariance = tree["posterior/covariance"]
    assert dict(covariance.sizes) == {"chain": 2, "draw": 50, "skill": 3, "skill_bis": 3}
    assert tuple(covariance["skill"].values) == history.skills
    assert tuple(covariance["skill_bis"].values) == history.skills
    assert tree["posterior/loadings"].dims == ("chain", "draw", "skill", "factor")
    assert tree["posterior/nu"].dims == ("chain", "draw")
    assert (np.linalg.eigvalsh(covariance.values) > 0).all()
    stats = tree["sample_stats"]
    assert {"diverging", "energy"} <= set(stats.data_vars)
    assert dict(stats["diverging"].sizes) == {"chain": 2, "draw": 50}
    assert {"observed_data", "constant_data"} <= set(tree.children)


def test_the_same_seed_gives_the_same_draws(
    tree: xr.DataTree, history: History, no_compiling: None
) -> None:
    again, other = fit(history), fit(history, replace(TINY, random_seed=6))
    xr.testing.assert_equal(again["posterior"].to_dataset(), tree["posterior"].to_dataset())
    assert not np.array_equal(other["posterior/mu"].values, tree["posterior/mu"].values)


def test_another_table_is_fitted_without_compiling(tree: xr.DataTree, no_compiling: None) -> None:
    other = simulated(40, seed=2, missing=0.3)
    renamed = History.from_dataframe(other.to_dataframe().rename(columns=str.upper))
    watch = Stopwatch()
    refitted = fit(renamed, stopwatch=watch)
    assert "compile" not in watch.seconds
    assert watch.seconds["sample"] > 0.0
    assert tuple(refitted["posterior/mu"]["skill"].values) == renamed.skills
    assert refitted["observed_data/score"].sizes["agent"] == 40


def test_the_refitted_model_sees_the_new_table(tree: xr.DataTree, no_compiling: None) -> None:
    table = simulated(60, seed=3).to_dataframe()
    opposite = table.assign(skill_1=1.0 - table["skill_1"])
    signs = []
    for scores in (table, opposite):
        covariance = fit(History.from_dataframe(scores))["posterior/covariance"]
        signs.append(np.sign(covariance.mean(("chain", "draw")).values[0, 1:]))
    np.testing.assert_array_equal(signs[0] * signs[1], [-1.0, 1.0])


def test_few_compiled_models_are_kept(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    class Compiled:
        def with_data(self, **_: object) -> Compiled:
            return self

    monkeypatch.setattr(sampling, "_compiled", OrderedDict())
    monkeypatch.setattr(sampling, "MAX_COMPILED", 2)
    monkeypatch.setattr(kernels, "compile_for_nutpie", lambda *_: Compiled())
    rows = sampling.rows_of(history, PRIORS)
    first, second, third = (replace(PRIORS, rank=rank) for rank in (1, 2, 3))
    for priors in (first, second, first, third):
        job = sampling._Job(rows, history.n_skills, 0, priors, TINY)
        sampling._compiled_for(job, Stopwatch())
    assert [key[0] for key in sampling._compiled] == [first, third]


def test_too_few_draws_warn_and_say_what_to_change(
    history: History, tree: xr.DataTree, no_compiling: None
) -> None:
    with pytest.warns(
        ConvergenceWarning, match=r"did not converge: .*effective sample size \d+ .*raise `draws`"
    ) as caught:
        population = Population.from_history(
            history, priors=PRIORS, settings=TINY, progressbar=False
        )
    assert caught[0].filename == __file__
    assert not population.convergence.converged
    assert population.settings["sampler"]["random_seed"] == TINY.random_seed
    assert population.settings["priors"] == PRIORS.resolve(3, 75).to_dict()
    assert population.profile().observe("skill_0", 0.5).predict("skill_1")["std"] > 0.0


def test_a_fit_without_a_seed_records_one(
    history: History, tree: xr.DataTree, no_compiling: None
) -> None:
    settings = replace(TINY, random_seed=None)
    with pytest.warns(ConvergenceWarning, match="effective sample size"):
        first = Population.from_history(
            history, priors=PRIORS, settings=settings, progressbar=False
        )
    recorded = first.settings["sampler"]
    again = fit(history, SamplerSettings.from_dict(recorded))
    np.testing.assert_array_equal(again["posterior/mu"].values, first.data["posterior/mu"].values)


@pytest.mark.parametrize(
    "problem", [RuntimeError, ValueError, lambda said: ParallelSamplingError(said, 0)]
)
def test_a_sampler_that_stops_raises_one_typed_error(
    history: History,
    tree: xr.DataTree,
    monkeypatch: pytest.MonkeyPatch,
    problem: Callable[[str], Exception],
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise problem("bad initial energy")

    monkeypatch.setattr(nutpie, "sample", stop)
    with pytest.raises(
        SamplingError, match="the sampler stopped: bad initial energy; try another `random_seed`"
    ):
        fit(history)


def test_pymc_samples_the_same_model(history: History) -> None:
    settings = replace(TINY, sampler="pymc", draws=40, tune=40)
    tree = fit(history, settings)
    assert dict(tree["posterior/mu"].sizes) == {"chain": 2, "draw": 40, "skill": 3}
    assert tuple(tree["posterior/mu"]["skill"].values) == history.skills
    assert np.isfinite(tree["posterior/covariance"].values).all()
    assert {"diverging", "energy"} <= set(tree["sample_stats"].data_vars)


@pytest.mark.parametrize("sampler", ["nutpie", "pymc"])
def test_a_single_skill_can_be_fitted(sampler: str) -> None:
    history = History.from_dataframe(simulated(4, seed=1).to_dataframe()[["skill_0"]])
    priors = Priors(covariance="lkj", tails="normal")
    tree = sample_posterior(history, priors, replace(TINY, sampler=sampler), progressbar=False)
    assert dict(tree["posterior/mu"].sizes) == {"chain": 2, "draw": 50, "skill": 1}
    assert (Posterior(tree).covariance > 0.0).all()


PER_CELL = Priors(tails="cell", rank=1)


def described(seed: int, missing: float = 0.0) -> History:
    """Fifteen agents with groups and a covariate."""
    table = simulated(15, seed, missing).to_dataframe()
    years = pd.DataFrame({"year": range(15)}, index=table.index)
    return History.from_dataframe(table, groups=["x", "y", "z"] * 5, covariates=years)


@pytest.fixture(scope="module")
def per_cell() -> Population:
    """Everything that a fit can have."""
    history = described(seed=1)
    tree = sample_posterior(history, PER_CELL, TINY, progressbar=False)
    return Population(history, Posterior(tree))


def test_a_scale_per_cell_gives_what_conditioning_needs(per_cell: Population) -> None:
    posterior = per_cell.data["posterior"]
    assert "covariance" not in posterior
    sizes = {"chain": 2, "draw": 50}
    assert dict(posterior["loadings"].sizes) == {**sizes, "skill": 3, "factor": 1}
    assert dict(posterior["effects"].sizes) == {**sizes, "effect": 4, "factor": 1}
    effects = ["covariate: year", "group: x", "group: y", "group: z"]
    assert posterior["effect"].values.tolist() == effects
    for name in ("nu", "group_sd", "agent_noise_sd"):
        assert dict(posterior[name].sizes) == sizes
        assert (posterior[name] > 0).all()
    # the agents' own factors and noise are no part of the population
    assert not {"factors", "agent_offset", "effect_offset"} & set(posterior.data_vars)
    profile = per_cell.profile(group="y", covariates={"year": 20}).observe("skill_0", 0.5)
    assert (profile.std() > 0.0).all()


def test_many_agents_and_few_have_compiled_models_of_their_own() -> None:
    """Classes are parametrised by the number of agents, so one model does not take both tables."""
    priors = Priors(tails="class", rank=1, n_classes=2).resolve(3)
    structures = set()
    for n_agents in (20, 30, 200, 300):
        history = simulate_history(n_agents, 3, random_seed=1).scores
        rows = sampling.rows_of(History.from_dataframe(history), priors)
        structures.add(sampling._Job(rows, 3, 0, priors, TINY).structure)
    assert len(structures) == 2


def test_another_table_of_as_many_agents_is_not_compiled(
    per_cell: Population, no_compiling: None
) -> None:
    tree = sample_posterior(described(seed=2, missing=0.2), PER_CELL, TINY, progressbar=False)
    assert np.isfinite(tree["posterior/nu"].values).all()
    assert not np.array_equal(tree["posterior/mu"].values, per_cell.data["posterior/mu"].values)


def test_numpyro_samples_the_same_model(history: History) -> None:
    pytest.importorskip("numpyro", reason="the extra of that name is not installed")
    tree = fit(history, replace(TINY, sampler="numpyro", draws=40, tune=40))
    assert dict(tree["posterior/mu"].sizes) == {"chain": 2, "draw": 40, "skill": 3}
    assert np.isfinite(tree["posterior/covariance"].values).all()


def test_numpyro_says_what_to_install(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpyro", None)
    with pytest.raises(
        MissingDependencyError, match=r"needs numpyro; .*skillinfer_bayes\[numpyro\]"
    ):
        fit(history, replace(TINY, sampler="numpyro"))


def test_arguments_that_contradict_each_other_are_refused(history: History) -> None:
    with pytest.raises(ConfigError, match=r"`covariance` is 'lkj' but `priors` says 'factor'"):
        Population.from_history(history, priors=PRIORS, covariance="lkj")
    with pytest.raises(ConfigError, match="`random_seed` is 1 but `settings` says 5"):
        Population.from_history(history, settings=TINY, random_seed=1)
    with pytest.raises(ConfigError, match=r"unknown key 'chain' .*did you mean 'chains'\?"):
        Population.from_history(history, settings={"chain": 2})
