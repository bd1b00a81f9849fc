"""Profiles that cannot be routed together, or are no mapping: the same errors everywhere."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pandas as pd
import pytest
from stand_in import StandInProfile

from skillinfer_bayes.exceptions import InputError, MetadataError, PopulationMismatchError
from skillinfer_bayes.routing.compare import compare
from skillinfer_bayes.routing.constraints import apply_constraints
from skillinfer_bayes.routing.orchestrator import orchestrate
from skillinfer_bayes.routing.prompt import build_prompt
from skillinfer_bayes.routing.ranking import rank_agents
from skillinfer_bayes.routing.utility import Utility
from skillinfer_bayes.testing import fake_population, simulate_history

TASK = {"skill_0": 1.0}


def client():
    """Make one that never answers."""
    return SimpleNamespace(api_key="none", base_url="http://nowhere/")


CALLS = {
    "rank": lambda profiles: rank_agents(TASK, profiles),
    "limit": lambda profiles: apply_constraints("P(skill_0 > 0.1) > 0", profiles),
    "prompt": lambda profiles: build_prompt(TASK, profiles),
    "decide": lambda profiles: orchestrate(TASK, profiles, client=client()),
    "compare": lambda profiles: compare(TASK, profiles),
}


@pytest.fixture(scope="module")
def populations():
    tables = [simulate_history(30, 3, random_seed=seed).scores for seed in (1, 2)]
    return [fake_population(table) for table in (tables[0], 100.0 * tables[1])]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_of_two_populations(populations, call):
    one, other = populations
    profiles = {"a": one.profile(), "b": one.profile(), "c": other.profile()}
    with pytest.raises(PopulationMismatchError, match=r"one population, got .* for 'c'"):
        call(profiles)


@pytest.mark.parametrize("name", ["rank", "prompt"])
def test_profiles_of_no_population_go_with_any(populations, name):
    own = StandInProfile({"skill_0": (0.5, 0.1)})
    CALLS[name]({"own": own, "a": populations[0].profile(), "other": own})
    with pytest.raises(PopulationMismatchError):
        CALLS[name]({"own": own, "a": populations[0].profile(), "b": populations[1].profile()})


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("kind", ["list", "NoneType", "Profile"])
def test_no_mapping(populations, call, kind):
    profile = populations[0].profile()
    given = {"list": [profile], "NoneType": None, "Profile": profile}[kind]
    with pytest.raises(InputError, match=f"`profiles` must .*mapping|`profiles` must map.*{kind}"):
        call(given)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_no_profiles_inside(call):
    with pytest.raises(InputError, match=r"must hold profiles.* got int for .a.; use"):
        call({"a": 1})


@pytest.mark.parametrize(
    ("metadata", "shown"),
    [
        ([1, 2], "got [1, 2]; write for example"),
        (pd.DataFrame({"cost": [1.0]}, index=["a"]), "got a DataFrame; with a row per agent"),
    ],
    ids=["list", "table"],
)
def test_metadata_that_are_not_by_agent(populations, metadata, shown):
    profiles = {"a": populations[0].profile()}
    utility = Utility(cost=1.0, cost_key="cost")
    for call in (
        lambda: apply_constraints("cost < 2", profiles, metadata),
        lambda: build_prompt(TASK, profiles, metadata),
        lambda: compare(TASK, profiles, utility=utility, metadata=metadata),
        lambda: rank_agents(TASK, profiles, by="utility", utility=utility, metadata=metadata),
    ):
        with pytest.raises(MetadataError, match=re.escape(shown)):
            call()


def test_names_that_are_numbers_are_ranked_by_every_criterion(populations):
    profiles = {1: populations[0].profile("1"), 2: populations[0].profile().observe("skill_1", 0.9)}
    plain = rank_agents(TASK, profiles)
    by_best = rank_agents(TASK, profiles, by="p_best")
    assert set(plain["agent"]) == set(by_best["agent"]) == {1, 2}
    assert by_best["p_best"].sum() == pytest.approx(1.0)
    assert by_best["p_best"].is_monotonic_decreasing
    metadata = {1: {"cost": 0.0}, 2: {"cost": 50.0}}
    utility = Utility(cost=1.0, cost_key="cost")
    by_use = rank_agents(TASK, profiles, by="utility", utility=utility, metadata=metadata)
    assert list(by_use["agent"]) == [1, 2]
