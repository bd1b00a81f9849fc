"""How unusual an agent's scores are: closed forms, and uniform where the model is right."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2, f, kstest

from skillinfer_bayes import History
from skillinfer_bayes.checks.replicates import replicate
from skillinfer_bayes.exceptions import ScoreError
from skillinfer_bayes.profiles import surprise as surprise_module
from skillinfer_bayes.profiles.evidence import Evidence
from skillinfer_bayes.profiles.extrapolation import CAUTION, SURPRISING, caution
from skillinfer_bayes.profiles.reweighting import smoothed_weights
from skillinfer_bayes.profiles.surprise import surprise
from skillinfer_bayes.testing import fake_population, simulate_history


def _evidence(values: np.ndarray, error_var: float = 0.01) -> Evidence:
    names = tuple(map(str, range(len(values))))
    return Evidence(names, values, np.full(values.shape, error_var), values)


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


@pytest.mark.parametrize("tails", ["normal", "agent", "cell"])
def test_it_is_uniform_over_the_population_s_own_agents(tails: str) -> None:
    # all draws alike, so that the truth is the whole posterior
    posterior = fake_population(tails=tails, chains=1, draws=1).posterior
    if tails == "cell":
        draws = posterior.tree.children["posterior"].to_dataset()
        tree = posterior.tree.copy()
        tree["posterior"] = type(tree)(draws.isel(draw=[0] * 2000))
        posterior = type(posterior)(tree)
    values = np.zeros((1500, 6))
    values[::2, 3] = np.nan
    one = fake_population(tails=tails, chains=1, draws=1).posterior
    table = replicate(one, _evidence(values), np.random.default_rng(3))[0]
    found = surprise(posterior, _evidence(table))
    assert kstest(found, "uniform").pvalue > 0.01


@pytest.mark.parametrize("tails", ["normal", "agent", "cell"])
def test_profiles_and_tables_say_the_same(tails: str) -> None:
    population = fake_population(
        simulate_history(60, 4, rank=1, bounded=False, random_seed=1).scores, tails=tails
    )
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


def test_many_agents_are_judged_as_each_alone(monkeypatch) -> None:
    population = fake_population(simulate_history(30, 4, missing=0.3, random_seed=1).scores)
    whole = population.completed().surprise
    monkeypatch.setattr(surprise_module, "CHUNK_AGENTS", 7)
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
