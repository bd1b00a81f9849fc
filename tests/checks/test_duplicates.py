"""Agents that appear twice."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from latent_class_examples import of_classes, with_classes
from scipy.stats import chi2

from skillinfer_bayes import History, Population
from skillinfer_bayes.checks.duplicates import find_duplicates
from skillinfer_bayes.profiles.evidence import Evidence, evidence_of_history
from skillinfer_bayes.testing import fake_population, simulate_history


def _found(scores: pd.DataFrame) -> pd.DataFrame:
    population = fake_population(History.from_dataframe(scores, scale="unbounded"))
    return find_duplicates(population.posterior, evidence_of_history(population.history))


@pytest.fixture
def scores() -> pd.DataFrame:
    return simulate_history(40, 5, missing=0.15, bounded=False, random_seed=3).scores


def test_agents_of_one_population_are_no_duplicates(scores: pd.DataFrame) -> None:
    assert _found(scores).empty


def test_a_copy_is_found(scores: pd.DataFrame) -> None:
    scores.loc["copy"] = scores.iloc[7]
    found = _found(scores)
    assert found[["agent", "agent_bis"]].to_numpy().tolist() == [["agent_7", "copy"]]
    assert found.loc[0, "difference"] == 0.0
    assert found.loc[0, "n_shared"] == scores.iloc[7].notna().sum()


def test_a_second_run_of_the_same_agent_is_found(scores: pd.DataFrame) -> None:
    noise = 0.02 * np.random.default_rng(0).standard_normal(5)
    scores = scores.fillna(0.3)
    scores.loc["rerun"] = scores.iloc[2] + noise
    found = _found(scores)
    assert found[["agent", "agent_bis"]].to_numpy().tolist() == [["agent_2", "rerun"]]
    assert 0.0 < found.loc[0, "difference"] < 0.1
    assert found.loc[0, "p"] < 0.01


def test_agents_that_share_little_are_left_alone(scores: pd.DataFrame) -> None:
    scores.loc["half"] = scores.fillna(0.3).iloc[2].where([True, True, False, False, False])
    assert _found(scores).empty


def test_one_skill_cannot_say(scores: pd.DataFrame) -> None:
    assert _found(scores[["skill_0"]].fillna(1.0).round(0)).empty


@pytest.fixture
def two_tight_classes() -> Population:
    """Forty agents a tenth apart within two classes that are six apart."""
    rng = np.random.default_rng(4)
    side = np.repeat([-3.0, 3.0], 20)[:, None]
    table = pd.DataFrame(side + 0.1 * rng.standard_normal((40, 6)), columns=list("abcdef"))
    history = History.from_dataframe(table.rename(index="agent_{}".format), scale="unbounded")
    population = fake_population(history, chains=1, draws=50)
    shape, values = (1, 50), history.working().values
    within = np.cov((values - np.repeat([values[:20].mean(0), values[20:].mean(0)], 20, 0)).T)
    means = np.stack([values[:20].mean(axis=0), values[20:].mean(axis=0)])
    return of_classes(
        population,
        weights=np.full((*shape, 2), 0.5),
        means=np.broadcast_to(means, (*shape, 2, 6)).copy(),
        scales=np.full((*shape, 2), 2.0),
        covariance=np.broadcast_to(0.25 * within, (*shape, 6, 6)).copy(),
    )


def test_agents_of_one_class_are_close_without_being_the_same(
    two_tight_classes: Population,
) -> None:
    evidence = evidence_of_history(two_tight_classes.history)
    # as one normal population they would be dozens of copies
    as_one = fake_population(two_tight_classes.history)
    assert len(find_duplicates(as_one.posterior, evidence)) > 10
    assert find_duplicates(two_tight_classes.posterior, evidence).empty


def test_a_rerun_is_found_among_agents_of_classes() -> None:
    scores = simulate_history(40, 5, bounded=False, random_seed=3).scores
    scores.loc["rerun"] = scores.iloc[2] + [0.02, -0.01, 0.03, 0.0, -0.02]
    history = History.from_dataframe(scores, scale="unbounded")
    population = with_classes(fake_population(history, chains=1, draws=30))
    evidence = evidence_of_history(history)
    found = find_duplicates(population.posterior, evidence)
    assert found[["agent", "agent_bis"]].to_numpy().tolist() == [["agent_2", "rerun"]]
    stored = population.posterior.tree.children["posterior"].to_dataset().isel(chain=0)
    system = np.zeros((5, 5))
    for draw in range(30):
        one = stored.isel(draw=draw)
        square = float(one["class_weights"].values @ one["class_scales"].values ** 2)
        system += 2.0 * square * one["class_covariance"].values / 30
    system += np.diag(evidence.error_var[2] + evidence.error_var[40])
    gap = evidence.values[2] - evidence.values[40]
    squared = gap @ np.linalg.inv(system) @ gap
    expected = 0.0
    for draw in range(30):
        one = stored.isel(draw=draw)
        weights, scales = one["class_weights"].values, one["class_scales"].values
        for first, second in np.ndindex(3, 3):
            width = (scales[first] ** 2 + scales[second] ** 2) / (2.0 * weights @ scales**2)
            chance = weights[first] * weights[second] / 30
            expected += 41 * 40 / 2 * chance * chi2.cdf(squared / width, 5)
    assert found.loc[0, "p"] == pytest.approx(expected)


def test_agents_of_a_narrow_class_are_no_duplicates() -> None:
    # a third of all agents are five times as close to each other as the rest
    rng = np.random.default_rng(0)
    within = 0.4 + 0.25 * np.eye(6)
    scales = np.array([1.0, 0.2])
    shape, found = (1, 2), 0
    population = fake_population(chains=1, draws=2)
    posterior = of_classes(
        population,
        weights=np.broadcast_to(np.array([0.7, 0.3]), (*shape, 2)).copy(),
        means=np.zeros((*shape, 2, 6)),
        scales=np.broadcast_to(scales, (*shape, 2)).copy(),
        covariance=np.broadcast_to(within, (*shape, 6, 6)).copy(),
    ).posterior
    names = tuple(map(str, range(40)))
    for _ in range(50):
        narrow = (rng.random(40) < 0.3).astype(int)
        table = rng.multivariate_normal(np.zeros(6), within, 40) * scales[narrow][:, None]
        evidence = Evidence(names, table, np.full(table.shape, 1e-6), table)
        found += not find_duplicates(posterior, evidence).empty
    # one in a hundred, and seventy per cent if every agent were as wide
    assert found <= 3
