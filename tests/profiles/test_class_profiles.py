"""Profiles of latent classes: groups, many agents, weights of draws, and files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from class_populations import (
    AGENTS,
    ERROR_VAR,
    N_SKILLS,
    Draws,
    class_population,
    draw_classes,
    evidence_of,
    mixture_of,
    moments_of,
    some_values,
)
from latent_class_examples import repeated
from row_conditioning import (
    agrees_alone_and_in_a_table,
    components_of,
    draws_of,
    history_of,
)
from scipy import stats

from skillinfer_bayes import History, Population
from skillinfer_bayes.exceptions import PopulationFileError
from skillinfer_bayes.inference.posterior import CLASS_DIMS
from skillinfer_bayes.inference.rows import DEFAULT_ERROR_VAR
from skillinfer_bayes.profiles.rows import RowConditioner


class TestGroupsAndCovariates:
    N_DRAWS = 40

    @pytest.fixture
    def draws(self, rng) -> Draws:
        return draw_classes(rng, self.N_DRAWS, N_SKILLS)

    @pytest.fixture
    def others(self, rng) -> dict[str, np.ndarray]:
        """Loadings, effects of a covariate and three groups, and the groups' spread."""
        return {
            "loadings": 0.5 * rng.standard_normal((self.N_DRAWS, N_SKILLS, 2)),
            "effects": rng.standard_normal((self.N_DRAWS, 4, 2)),
            "group_sd": rng.uniform(0.3, 1.0, self.N_DRAWS),
        }

    @pytest.fixture
    def population(self, draws, others) -> Population:
        years = pd.DataFrame({"year": 2015.0 + np.arange(12)})
        history = history_of(N_SKILLS, groups=["a", "b", "c"] * 4, covariates=years)
        return class_population(history, draws, **others)

    def shift(self, others, column: int) -> np.ndarray:
        """Lambda B' x of an agent of 2024 in a group, written out."""
        years = (2024.0 - 2020.5) / np.std(np.arange(12), ddof=1)
        pull = years * others["effects"][:, 0] + others["effects"][:, column]
        return np.einsum("skr,sr->sk", others["loadings"], pull)

    def test_what_is_known_moves_all_classes(self, rng, draws, others, population) -> None:
        rows, unknown = population._context.design.read(AGENTS, ["b", "c", "a"], {"year": 2024.0})
        values = some_values(rng)
        got = components_of(population, evidence_of(values, design=rows, unknown_group=unknown))
        for agent, column in enumerate((2, 3, 1)):
            moved = draws.moved(self.shift(others, column))
            alone = components_of(
                class_population(history_of(N_SKILLS), moved),
                evidence_of(values[agent : agent + 1]),
            )
            for one, other in zip(got, alone, strict=True):
                np.testing.assert_allclose(one[:, agent], other[:, 0], atol=1e-9)

    @pytest.fixture
    def wide(self, rng, population) -> tuple[Draws, np.ndarray, Population]:
        """One draw over and over, and the covariance that an unknown group adds."""
        n_draws = 40_000
        one = draw_classes(rng, 1, N_SKILLS)
        loadings = 0.5 * rng.standard_normal((1, N_SKILLS, 2))
        many = class_population(
            population.history,
            one.repeated(n_draws),
            loadings=np.repeat(loadings, n_draws, axis=0),
            effects=np.zeros((n_draws, 4, 2)),
            group_sd=np.full(n_draws, 0.8),
        )
        return one, 0.64 * loadings[0] @ loadings[0].T, many

    def test_an_unknown_group_adds_the_groups_own_spread(self, rng, wide) -> None:
        """To every class the same, whatever its scale."""
        one, pull, many = wide
        rows, unknown = many._context.design.read(AGENTS, "new", {"year": 2020.5})
        assert unknown.all()
        values = some_values(rng)
        evidence = evidence_of(values, design=rows, unknown_group=unknown)
        means, sds = components_of(many, evidence)
        for agent, row in enumerate(values):
            mean, covariance = moments_of(*mixture_of(one, row, pull))
            spread = np.sqrt(np.diag(covariance))
            np.testing.assert_allclose(means[:, agent].mean(axis=0), mean, atol=0.01)
            within = (sds[:, agent] ** 2).mean(axis=0) + means[:, agent].var(axis=0)
            np.testing.assert_allclose(np.sqrt(within), spread, rtol=0.01)

    def test_no_class_is_drawn_for_means_and_intervals(self, rng, wide) -> None:
        """The moments of one draw, to the last digits."""
        one, pull, many = wide
        population = replace(many, posterior=repeated(many.posterior, 1))
        values = some_values(rng)
        for group, extra in (("a", 0.0), ("new", pull)):
            rows, unknown = population._context.design.read(AGENTS, group, {"year": 2020.5})
            evidence = evidence_of(values, design=rows, unknown_group=unknown)
            found = RowConditioner(population.posterior).all_classes(evidence, np.zeros(N_SKILLS))
            for agents, means, sds, weights in found:
                for position, agent in enumerate(agents):
                    mean, covariance = moments_of(*mixture_of(one, values[agent], extra))
                    weight, at = weights[:, position], means[:, position]
                    np.testing.assert_allclose((weight * at).sum(axis=0), mean, atol=1e-4)
                    variance = (weight * (sds[:, 0] ** 2 + (at - mean) ** 2)).sum(axis=0)
                    np.testing.assert_allclose(variance, np.diag(covariance), rtol=1e-4)

    def test_draws_of_an_unknown_group_have_its_spread(self, rng, wide) -> None:
        one, pull, many = wide
        rows, unknown = many._context.design.read(AGENTS, None, {"year": 2020.5})
        values = some_values(rng)
        draws = draws_of(many, evidence_of(values, design=rows, unknown_group=unknown))
        for agent, row in enumerate(values):
            mean, covariance = moments_of(*mixture_of(one, row, pull))
            spread = np.sqrt(np.diag(covariance))
            off = (draws[:, agent].mean(axis=0) - mean) / (spread / np.sqrt(len(draws)))
            assert (np.abs(off) < 5).all()
            got = np.cov(draws[:, agent].T) / np.outer(spread, spread)
            np.testing.assert_allclose(got, covariance / np.outer(spread, spread), atol=0.04)

    def test_the_density_of_an_unknown_group_has_its_spread(self, rng, wide) -> None:
        one, pull, many = wide
        rows, unknown = many._context.design.read(AGENTS, None, {"year": 2020.5})
        values = some_values(rng)
        conditioner = RowConditioner(many.posterior)
        evidence = evidence_of(values, design=rows, unknown_group=unknown)
        got = conditioner.log_density(evidence)[0]
        weights, _, covariances = mixture_of(one, np.full(N_SKILLS, np.nan), pull)
        for agent, row in enumerate(values[:2]):  # nothing is measured of the third
            seen = np.flatnonzero(~np.isnan(row))
            errors = np.diag(ERROR_VAR[seen])
            density = sum(
                weights[c]
                * stats.multivariate_normal.pdf(
                    row[seen],
                    one.means[0, c, seen],
                    covariances[c][np.ix_(seen, seen)] + one.scales[0, c] ** 2 * errors,
                )
                for c in range(len(weights))
            )
            expected = np.log(density) + 0.5 * len(seen) * np.log(2.0 * np.pi)
            assert got[agent] == pytest.approx(expected, abs=1e-8)

    def test_the_density_takes_off_what_is_known(self, rng, draws, others, population) -> None:
        rows, unknown = population._context.design.read(AGENTS, ["b", "c", "a"], {"year": 2024.0})
        values = some_values(rng)
        evidence = evidence_of(values, design=rows, unknown_group=unknown)
        got = RowConditioner(population.posterior).log_density(evidence)
        for agent, column in enumerate((2, 3, 1)):
            moved = draws.moved(self.shift(others, column))
            expected = [
                moved.responsibilities(s, values[agent], ERROR_VAR)[1] for s in range(self.N_DRAWS)
            ]
            # up to the constant that all draws share
            np.testing.assert_allclose(np.ptp(got[:, agent] - expected), 0.0, atol=1e-8)

    def test_agents_get_the_same_numbers_alone_and_in_a_table(self, population) -> None:
        agrees_alone_and_in_a_table(population)


class TestReweighting:
    def test_the_density_is_scipys(self, rng) -> None:
        draws = draw_classes(rng, 30, N_SKILLS)
        population = class_population(history_of(N_SKILLS), draws)
        values = some_values(rng)
        got = population._context.engine.conditioner.log_density(evidence_of(values))
        for agent, row in enumerate(values):
            expected = [draws.responsibilities(s, row, ERROR_VAR)[1] for s in range(30)]
            np.testing.assert_allclose(np.ptp(got[:, agent] - expected), 0.0, atol=1e-8)
        assert not got[:, 2].any()

    def test_scores_choose_between_explanations(self) -> None:
        """Two populations that differ in how common their classes are, and in nothing else."""
        n_draws = 2000
        weights = np.repeat([[0.9, 0.1], [0.2, 0.8]], n_draws // 2, axis=0)
        draws = Draws(
            means=np.repeat([[[-1.0, -1.0], [1.0, 1.0]]], n_draws, axis=0),
            covariance=np.repeat([[[0.5, 0.2], [0.2, 0.5]]], n_draws, axis=0),
            weights=weights,
            scales=np.repeat([[1.0, 1.4]], n_draws, axis=0),
        )
        scores = pd.DataFrame({"a": [-1.0, 0.0, 1.0], "b": [1.0, -1.0, 0.0]}, index=list("xyz"))
        history = History.from_dataframe(scores, scale="unbounded")
        population = class_population(history, draws)
        score, variance = 0.8, 0.5 + DEFAULT_ERROR_VAR
        density = [
            stats.norm.pdf(score, mean, scale * np.sqrt(variance))
            for mean, scale in ((-1.0, 1.0), (1.0, 1.4))
        ]
        centres = [mean + 0.2 / variance * (score - mean) for mean in (-1.0, 1.0)]
        # once with all draws as likely as they were, once weighed by what they say of the score
        totals = [weights[s] @ density for s in (0, -1)]
        within = [weights[s] * density @ centres / (weights[s] @ density) for s in (0, -1)]
        plain = population.profile().observe("a", score)
        assert plain.mean("b") == pytest.approx(np.mean(within), abs=0.03)
        weighed = population.profile(reweight=True).observe("a", score)
        expected = np.average(within, weights=totals)
        assert abs(expected - np.mean(within)) > 0.1
        assert weighed.mean("b") == pytest.approx(expected, abs=0.03)
        assert np.isfinite(weighed.khat)
        sample = weighed.draws().sel(skill="b")
        assert float(sample.mean()) == pytest.approx(expected, abs=0.1)


class TestFiles:
    @pytest.fixture
    def population(self, rng) -> Population:
        others = {
            "loadings": 0.5 * rng.standard_normal((30, N_SKILLS, 2)),
            "effects": rng.standard_normal((30, 3, 2)),
            "group_sd": rng.uniform(0.3, 1.0, 30),
        }
        history = history_of(N_SKILLS, groups=["a", "b", "c"] * 4)
        return class_population(history, draw_classes(rng, 30, N_SKILLS), **others)

    @pytest.mark.parametrize("group", ["b", "a new one"])
    def test_stored_classes_give_the_same_profiles(self, population, tmp_path, group) -> None:
        path = tmp_path / "pop.nc"
        population.save(path)
        after = Population.load(path)
        assert after.population_id == population.population_id
        assert after.posterior.by_class
        profiles = [
            each.profile(group=group).observe("skill_1", 0.4) for each in (population, after)
        ]
        tables = [profile.predict(kind="score") for profile in profiles]
        pd.testing.assert_frame_equal(*tables, check_exact=True)
        np.testing.assert_array_equal(*(profile.draws().values for profile in profiles))

    @pytest.mark.parametrize("name", list(CLASS_DIMS))
    def test_changed_classes_are_noticed(self, population, tmp_path: Path, name) -> None:
        path = tmp_path / "pop.nc"
        population.save(path)
        with h5py.File(path, "a") as file:
            values = file[f"posterior/{name}"][...]
            values.flat[0] *= 0.999
            file[f"posterior/{name}"][...] = values
        with pytest.raises(PopulationFileError, match=r"the draws in .* hash differs"):
            Population.load(path)

    @pytest.mark.parametrize("name", list(CLASS_DIMS))
    def test_a_file_that_lacks_a_variable_is_refused(self, population, tmp_path, name) -> None:
        path = tmp_path / "pop.nc"
        population.save(path)
        with h5py.File(path, "a") as file:
            del file[f"posterior/{name}"]
        with pytest.raises(PopulationFileError, match=f"no variable '{name}'"):
            Population.load(path)
