"""How unusual an agent's scores are: closed forms, and uniform where the model is right."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from latent_class_examples import density, of_classes, repeated, with_classes
from scipy.stats import chi2, f, kstest

from skillinfer_bayes import History, Population
from skillinfer_bayes.checks.replicates import replicate
from skillinfer_bayes.exceptions import ScoreError
from skillinfer_bayes.profiles import rows as rows_module
from skillinfer_bayes.profiles import surprise as surprise_module
from skillinfer_bayes.profiles.evidence import Evidence
from skillinfer_bayes.profiles.extrapolation import CAUTION, SURPRISING, caution
from skillinfer_bayes.profiles.reweighting import smoothed_weights
from skillinfer_bayes.profiles.surprise import surprise
from skillinfer_bayes.testing import fake_population, simulate_history


def _evidence(values: np.ndarray, error_var: float = 0.01) -> Evidence:
    names = tuple(map(str, range(len(values))))
    return Evidence(names, values, np.full(values.shape, error_var), values)


def _population(tails: str, scores: pd.DataFrame | None = None, **size: int) -> Population:
    if tails == "class":
        return with_classes(fake_population(scores, **size))
    return fake_population(scores, tails=tails, **size)


@pytest.mark.parametrize("tails", ["normal", "agent"])
def test_one_draw_has_a_closed_form(tails: str) -> None:
    posterior = fake_population(tails=tails, chains=1, draws=1).posterior
    values = np.full((1, 6), np.nan)
    values[0, [1, 4]] = [1.5, -2.0]
    seen = np.array([1, 4])
    system = posterior.covariance[0][np.ix_(seen, seen)] + 0.01 * np.eye(2)
    gap = values[0, seen] - posterior.mean[0, seen]
    q = gap @ np.linalg.solve(system, gap)
    expected = chi2.sf(q, 2) if tails == "normal" else f.sf(q / 2, 2, posterior.nu[0])
    assert surprise(posterior, _evidence(values))[0] == pytest.approx(expected)


def test_one_draw_of_classes_is_judged_by_where_agents_are_dense() -> None:
    one = with_classes(fake_population(chains=1, draws=1)).posterior
    seen, error_var = np.array([1, 4]), np.array([0.01, 0.01])
    offsets = [[0.0, 0.0], [0.3, -0.2], [0.8, 0.5], [-1.2, 1.2], [6.0, 6.0]]
    places = one.classes.means[0, [0, 1, 2, 0, 1]][:, seen] + offsets
    values = np.full((5, 6), np.nan)
    values[:, seen] = places
    found = surprise(repeated(one, 4000), _evidence(values))
    line = np.linspace(-15.0, 15.0, 601)
    grid = np.stack(np.meshgrid(line, line), axis=-1)
    law = density(grid, one, 0, seen, error_var)
    assert law.sum() * (line[1] - line[0]) ** 2 == pytest.approx(1.0, abs=1e-6)
    here = density(places, one, 0, seen, error_var)
    expected = np.array([law[law <= level].sum() / law.sum() for level in here])
    assert expected.min() < 0.1 < 0.5 < expected.max()
    # at least four standard errors of 4000 simulated agents
    np.testing.assert_allclose(found, expected, atol=0.032)


def test_between_two_classes_is_an_odd_place_to_be() -> None:
    population = fake_population(chains=1, draws=400)
    shape = (1, 400)
    two = of_classes(
        population,
        weights=np.full((*shape, 2), 0.5),
        means=np.broadcast_to(np.array([[-3.0], [3.0]]), (*shape, 2, 6)).copy(),
        scales=np.ones((*shape, 2)),
        covariance=np.broadcast_to(0.25 * np.eye(6), (*shape, 6, 6)).copy(),
    ).posterior
    middle, one, other = surprise(two, _evidence(np.array([[0.0], [-3.0], [3.0]]) * np.ones(6)))
    assert middle < 0.01
    assert min(one, other) > 0.9


def test_what_a_group_adds_to_its_agents_does_not_surprise() -> None:
    scores = simulate_history(60, 4, rank=1, bounded=False, random_seed=1).scores
    history = History.from_dataframe(scores, groups=["x", "y"] * 30)
    posterior = repeated(with_classes(fake_population(history)).posterior, 500)
    values = np.random.default_rng(2).standard_normal((6, 4))
    plain = Evidence(
        tuple("abcdef"), values, np.full((6, 4), 0.01), values, design=np.zeros((6, 2))
    )
    pull = posterior.effects[0, 1] @ posterior.loadings[0].T
    assert np.abs(pull).max() > 0.2
    moved = replace(plain, values=values + pull, design=np.tile([0.0, 1.0], (6, 1)))
    np.testing.assert_allclose(surprise(posterior, moved), surprise(posterior, plain))


@pytest.mark.parametrize("tails", ["normal", "agent", "cell", "class"])
def test_it_is_uniform_over_the_population_s_own_agents(tails: str) -> None:
    # all draws alike, so that the truth is the whole posterior
    posterior = one = _population(tails, chains=1, draws=1).posterior
    if tails in ("cell", "class"):
        posterior = repeated(one, 2000)
    values = np.zeros((1500, 6))
    values[::2, 3] = np.nan
    table = replicate(one, _evidence(values), np.random.default_rng(3))[0]
    found = surprise(posterior, _evidence(table))
    assert kstest(found, "uniform").pvalue > 0.01


@pytest.mark.parametrize("tails", ["normal", "agent", "cell", "class"])
def test_profiles_and_tables_say_the_same(tails: str) -> None:
    scores = simulate_history(60, 4, rank=1, bounded=False, random_seed=1).scores
    population = _population(tails, scores)
    table = pd.DataFrame(
        {"skill_0": [0.2, 40.0, np.nan], "skill_1": [0.1, -40.0, np.nan]},
        index=["usual", "odd", "new"],
    )
    profiles = population.profiles(table)
    found = profiles.surprise
    assert found.index.tolist() == ["usual", "odd", "new"]
    assert found["new"] == 1.0
    assert found["usual"] > 0.2
    assert found["odd"] < 0.01
    for agent in table.index:
        assert profiles[agent].surprise == pytest.approx(found[agent])


def test_observing_more_changes_it_and_a_bad_score_does_not() -> None:
    profile = fake_population().profile()
    assert profile.surprise == 1.0
    usual = profile.observe("skill_0", 0.5).surprise
    assert 0.0 < usual < 1.0
    with pytest.raises(ScoreError):
        profile.observe("skill_1", 7.0)
    assert profile.surprise == usual
    assert profile.observe("skill_1", 0.999).surprise != usual


def test_a_profile_that_extrapolates_says_so_where_it_is_shown() -> None:
    profile = fake_population().profile("odd")
    odd = {"skill_0": 0.999, "skill_1": 0.001, "skill_2": 0.999, "skill_3": 0.001}
    assert "caution" not in repr(profile.observe("skill_4", 0.5))
    assert repr(profile.observe_many(odd)).endswith(f"; caution: {CAUTION})")
    given = profile.to_dict()
    assert given["surprise"] == profile.surprise < SURPRISING
    assert json.loads(profile.to_json())["surprise"] == profile.surprise


def test_the_words_begin_below_one_in_a_hundred() -> None:
    assert caution(SURPRISING) == caution(1.0) == ""
    assert caution(0.0099) == caution(0.0) == CAUTION


@pytest.mark.parametrize("tails", ["normal", "class"])
def test_many_agents_are_judged_as_each_alone(tails: str, monkeypatch) -> None:
    population = _population(tails, simulate_history(30, 4, missing=0.3, random_seed=1).scores)
    whole = population.completed().surprise
    monkeypatch.setattr(surprise_module, "CHUNK_AGENTS", 7)
    monkeypatch.setattr(rows_module, "CHUNK_CELLS", 1)
    pd.testing.assert_series_equal(population.completed().surprise, whole)


def test_an_unknown_group_is_less_surprising() -> None:
    scores = simulate_history(60, 4, rank=1, bounded=False, random_seed=1).scores
    history = History.from_dataframe(scores, groups=["x", "y"] * 30)
    population = fake_population(history)
    high = dict.fromkeys(history.skills, 3.0)
    known = population.profile(group="x").observe_many(high).surprise
    assert population.profile(group="new").observe_many(high).surprise > known


def test_smoothed_weights_grow_with_the_density() -> None:
    # continuous ratios, as every fit gives them
    ratio = np.random.default_rng(0).standard_normal((2000, 1))
    weights, khat = smoothed_weights(ratio)
    plain = np.exp(ratio) / np.exp(ratio).sum()
    np.testing.assert_allclose(weights.sum(axis=0), 1.0)
    assert np.corrcoef(weights[:, 0], plain[:, 0])[0, 1] > 0.99
    # a standard normal draw weighed by exp(x) has mean 1
    assert (weights * ratio).sum() == pytest.approx(1.0, abs=0.15)
    assert khat[0] < 0.7


def test_the_largest_weights_are_smoothed() -> None:
    # the mean of exp(ratio) is infinite
    ratio = np.random.default_rng(0).exponential(1.0, (1000, 1))
    ratio[0] = 14.0
    weights, khat = smoothed_weights(ratio)
    plain = np.exp(ratio[:, 0]) / np.exp(ratio).sum()
    assert khat[0] > 0.7
    assert plain[0] > 0.9
    assert weights[0, 0] < 0.8 * plain[0]
    smallest = np.argsort(ratio[:, 0])[:500]
    kept = weights[smallest, 0] / plain[smallest]
    np.testing.assert_allclose(kept, kept[0])


def test_reweighting_follows_the_scores() -> None:
    # draws disagree on where skill 1 is and agree on all else
    population = fake_population(
        simulate_history(12, 2, rank=1, bounded=False, random_seed=1).scores, draws=1000
    )
    high = {"skill_0": 3.0}
    plain = population.profile().observe_many(high)
    weighed = population.profile(reweight=True).observe_many(high)
    mean = population.posterior.mean[:, 0]
    from skillinfer_bayes.profiles.reweighting import resample
    from skillinfer_bayes.profiles.rows import RowConditioner

    density = RowConditioner(population.posterior).log_density(weighed._evidence)
    chosen = mean[resample(density).draws[:, 0]]
    assert chosen.mean() > mean.mean()
    assert weighed.mean("skill_1") != plain.mean("skill_1")
