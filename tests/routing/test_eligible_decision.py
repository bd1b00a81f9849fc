"""Decisions over profiles of a population: limits, joint probabilities, utility."""

from __future__ import annotations

import json
import traceback
from types import SimpleNamespace

import pandas as pd
import pytest
from chat_server import Prepared, completion, decided

from skillinfer_bayes import demo
from skillinfer_bayes.exceptions import (
    ConfigError,
    ConstraintError,
    DecisionError,
    FallbackWarning,
    InputError,
    MetadataError,
)
from skillinfer_bayes.profiles.task import Task
from skillinfer_bayes.routing.candidates import Field, evaluate_candidates
from skillinfer_bayes.routing.compare import compare
from skillinfer_bayes.routing.orchestrator import orchestrate
from skillinfer_bayes.routing.prompt import plan_prompt
from skillinfer_bayes.routing.utility import Utility
from skillinfer_bayes.testing import fake_population

pytestmark = pytest.mark.usefixtures("no_settings")
TASK = Task(demo.TASK_WEIGHTS, demo.TASK_DESCRIPTION)


@pytest.fixture(scope="module")
def population():
    history = pd.DataFrame(dict(demo.HISTORY), index=list(demo.HISTORY_AGENTS))
    return fake_population(history)


@pytest.fixture
def agents(population):
    given = demo.OBSERVATIONS
    return {name: population.profile(name).observe_many(given[name]) for name in given}


@pytest.fixture
def decide(server, agents):
    def call(profiles=None, **changes):
        options = {"base_url": server.url, "api_key": "none", "max_retries": 0, "timeout": 5}
        metadata = changes.pop("metadata", demo.METADATA)
        given = agents if profiles is None else profiles
        return orchestrate(TASK, given, metadata, **options, **changes)

    return call


def test_only_eligible_agents_are_offered(server, decide):
    server.answer(decided("gemini-pro"))
    decision = decide(limits=["avg_latency_ms < 800", "observed(math)"])
    assert [one.agent for one in decision.candidates] == ["gemini-pro"]
    reasons = {one.agent: one.reasons for one in decision.exclusions}
    assert set(reasons) == {"gpt-4o", "claude-3.5", "llama-3-70b", "mistral-large"}
    assert len(reasons["gpt-4o"]) == 2
    assert "it is 800" in reasons["gpt-4o"][0]
    prompt = server.bodies[0]["messages"][0]["content"]
    assert "\ngemini-pro:\n" in prompt
    assert "gpt-4o" not in prompt
    listed = server.bodies[0]["response_format"]["json_schema"]["schema"]["properties"]["agent"]
    assert listed["enum"] == ["gemini-pro"]
    record = json.loads(decision.to_json())
    assert record["limits"] == ["avg_latency_ms < 800", "observed(math)"]
    assert len(record["exclusions"]) == 4


def test_an_excluded_agent_cannot_be_chosen(server, decide):
    server.answer(decided("gpt-4o"))
    with pytest.warns(FallbackWarning, match="must name one of the agents, got 'gpt-4o'"):
        decision = decide(limits="avg_latency_ms < 800")
    assert decision.agent in {"claude-3.5", "gemini-pro", "mistral-large"}


def test_nobody_is_eligible(server, decide):
    with pytest.raises(
        DecisionError, match="must leave at least one agent, got none: gpt-4o"
    ) as caught:
        decide(limits=["avg_latency_ms < 100"])
    record = caught.value.record
    assert record["agent"] is None
    assert len(record["exclusions"]) == 5
    assert record["limits"] == ["avg_latency_ms < 100"]
    assert record["problem"] == str(caught.value)
    assert not server.received
    server.answer(decided("gpt-4o"))
    assert record.keys() == decide().to_dict().keys()


@pytest.mark.parametrize("place", ["argument", "environment", "client"])
def test_nobody_is_eligible_and_the_key_stays_out(agents, monkeypatch, place):
    key = "sk-test-0123456789-very-secret"
    options = {"api_key": key} if place == "argument" else {}
    if place == "environment":
        monkeypatch.setenv("OPENAI_API_KEY", key)
    if place == "client":
        options["client"] = SimpleNamespace(api_key=key)
    metadata = {name: {"login": key} for name in agents}
    with pytest.raises(DecisionError, match="must leave at least one agent") as caught:
        orchestrate(TASK, agents, metadata, [f"use {key}"], limits='login == "me"', **options)
    error = caught.value
    assert key not in "".join([*traceback.format_exception(error), repr(error.record)])
    assert error.record["constraints"] == ["use [key]"]
    assert "it is '[key]'" in error.record["exclusions"][0]["reasons"][0]


def test_the_record_has_probabilities_and_regrets(server, decide, agents, population):
    server.answer(decided("gemini-pro"))
    decision = decide(threshold=0.8)
    comparison = compare(TASK, agents)
    assert decision.bayes_choice == comparison.choice == decision.candidates[0].agent
    for one in decision.candidates:
        assert one.p_best == pytest.approx(float(comparison.p_best.sel(agent=one.agent)))
        assert one.expected_regret == pytest.approx(
            float(comparison.expected_regret.sel(agent=one.agent))
        )
        assert one.utility is None
        assert one.observations == demo.OBSERVATIONS[one.agent]
        assert one.metadata == demo.METADATA[one.agent]
    assert sum(one.p_best for one in decision.candidates) == pytest.approx(1.0)
    assert decision.case.population_id == population.population_id


def test_utility_moves_the_bayes_choice(server, decide):
    server.answer(decided("gpt-4o"))
    free, dear = decide(), decide(utility=Utility(cost=1000.0))
    assert free.bayes_choice == "gpt-4o"
    assert dear.bayes_choice == "llama-3-70b"
    assert dear.agrees_with_bayes is False
    best = dear.candidates[0]
    assert best.utility == pytest.approx(best.score - 1.0, abs=0.02)


def twice(score, facts):
    return 2.0 * score


@pytest.mark.parametrize(
    ("options", "utility", "quantile"),
    [
        ({}, None, None),
        ({"utility": Utility(cost=2.0), "quantile": 0.1}, Utility(cost=2.0).to_dict(), 0.1),
        ({"utility": twice}, {"function": "twice"}, None),
    ],
)
def test_the_record_says_what_the_bayes_choice_maximises(
    server, decide, options, utility, quantile
):
    server.answer(decided("gpt-4o"))
    record = json.loads(decide(**options).to_json())
    assert (record["utility"], record["quantile"]) == (utility, quantile)


def test_fallback_is_the_best_utility_and_says_so(server, decide):
    server.answer(b"oops", status=500, kind="text/plain")
    with pytest.warns(FallbackWarning, match="'llama-3-70b' was chosen without the model"):
        decision = decide(utility=Utility(cost=1000.0))
    assert decision.agent == "llama-3-70b"
    assert "expected utility" in decision.reasoning
    assert "best with probability" in decision.reasoning


def test_a_cautious_choice(decide, server, agents):
    server.answer(decided("gpt-4o"))
    expected = compare(TASK, agents, quantile=0.01).choice
    assert decide(quantile=0.01).bayes_choice == expected


def test_a_table_of_profiles(server, decide, population):
    table = pd.DataFrame.from_dict({**demo.OBSERVATIONS}, orient="index")
    server.answer(decided("claude-3.5"))
    decision = decide(population.profiles(table), limits=["cost_per_1k <= 0.004"])
    assert decision.agent == "claude-3.5"
    assert [one.agent for one in decision.exclusions] == ["gpt-4o"]
    assert decision.candidates[0].observations


def test_a_name_that_utf_8_does_not_know(server, decide, population):
    agents = {"\ud800": population.profile(), "b": population.profile()}
    server.script(Prepared({"error": {"message": "no"}}, status=400), completion("?"))
    with pytest.warns(FallbackWarning, match="chosen without the model"):
        decision = decide(agents, metadata=None)
    assert json.loads(decision.to_json())["bayes_choice"] in agents


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"limits": ["fast please"]}, ConstraintError, "fast please"),
        ({"limits": ["speed < 3"]}, MetadataError, "needs metadata 'speed'"),
        ({"limits": 3}, ConstraintError, "got 3"),
        ({"utility": 3}, ConfigError, "`utility` must be"),
        ({"quantile": 5}, ConfigError, "`quantile` must be between 0 and 1"),
        (
            {"limits": ["avg_latency_ms < 800"], "metadata": {**demo.METADATA, "gpt": {}}},
            MetadataError,
            "must name only agents that have a profile, got 'gpt'",
        ),
    ],
)
def test_bad_input(server, decide, change, error, message):
    with pytest.raises(error, match=message):
        decide(**change)
    assert not server.received


def test_a_utility_needs_a_populations_profiles(server, task, profiles):
    options = {"base_url": server.url, "api_key": "none", "utility": Utility()}
    with pytest.raises(InputError, match="profiles that a Population made"):
        orchestrate(task, profiles, **options)


def test_limits_on_profiles_of_another_kind(server, task, profiles):
    server.answer(decided("gemini-pro"))
    options = {"base_url": server.url, "api_key": "none", "limits": ["observed(math)"]}
    decision = orchestrate(task, profiles, **options)
    assert [one.agent for one in decision.candidates] == ["gemini-pro"]
    assert decision.candidates[0].p_best is None


def test_the_bayes_choice_has_the_highest_expected_score(population) -> None:
    """Draws of two agents that are nearly alike can say the opposite of their expectations."""
    for number in range(10):
        close = {
            f"good {number}": population.profile().observe("math", 0.801),
            f"less {number}": population.profile().observe("math", 0.8),
        }
        task = Task({"code": 1.0})
        agents = plan_prompt(task, close).agents
        found = evaluate_candidates(task, Field(close, None), agents, None, None)
        assert [one.agent for one in found] == list(close)
        assert found[0].score > found[1].score


def test_an_empty_text_is_no_limit(decide) -> None:
    with pytest.raises(ConstraintError):
        decide(limits="")
