"""Agents that appear twice."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from skillinfer_bayes import History
from skillinfer_bayes.checks.duplicates import find_duplicates
from skillinfer_bayes.profiles.evidence import evidence_of_history
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
