"""Keys that are words of agents' names or of the contract: blanked in texts, never in names."""

from __future__ import annotations

import json
import traceback
from types import SimpleNamespace

import pytest
from chat_server import decided
from stand_in import StandInProfile

from skillinfer_bayes.exceptions import DecisionError, FallbackWarning
from skillinfer_bayes.profiles.task import Task
from skillinfer_bayes.routing.chat_options import ChatOptions
from skillinfer_bayes.routing.orchestrator import orchestrate

pytestmark = pytest.mark.usefixtures("no_settings")

WORD = "lm-studio"
NAMES = ("lm-studio/qwen3", "other")
TASK = Task({"reasoning": 1.0})


@pytest.fixture
def decide(server):
    def call(key=WORD, **options):
        profiles = {
            name: StandInProfile({"reasoning": (0.5 + at / 10, 0.1)}, frozenset({"reasoning"}))
            for at, name in enumerate(reversed(NAMES))
        }
        options = {"base_url": server.url, "api_key": key, "max_retries": 0} | options
        return orchestrate(TASK, profiles, **options)

    return call


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("name", NAMES)
def test_an_agent_whose_name_has_the_key_can_be_chosen(server, decide, form, name):
    answer = decided(name, f"Well, {WORD}.", risks=[f"{WORD} may stop"])
    if form == "text":
        answer["choices"][0]["message"]["content"] = f"Well, {WORD}.\nASSIGNED: {name}"
    server.answer(answer)
    decision = decide(answer_form=form)
    assert decision.agent == name
    assert decision.bayes_choice == NAMES[0]
    assert [one.agent for one in decision.candidates] == list(NAMES)
    assert sorted(decision.votes[0].order) == sorted(NAMES)
    assert (decision.agreement, len(decision.votes[0].attempts)) == (1, 1)
    assert decision.reasoning == "Well, [key]."
    said = (decision.reply, decision.votes[0].attempts[0].reply, *decision.risks)
    assert not [text for text in said if WORD in text]


def test_a_key_that_is_a_word_of_the_contract(server, decide):
    server.answer(decided("other", "My reasoning is short."))
    decision = decide("reasoning")
    assert decision.agent == "other"
    assert decision.reasoning == "My [key] is short."
    assert decision.case.weights == {"reasoning": 1.0}
    assert json.loads(decision.to_json())["task"]["weights"] == {"reasoning": 1.0}


def test_excluded_agents_keep_their_names(server):
    client = SimpleNamespace(api_key=WORD)
    profiles = {name: StandInProfile({"reasoning": (0.5, 0.1)}) for name in NAMES}
    metadata = {name: {"login": WORD} for name in NAMES}
    with pytest.raises(DecisionError, match="must leave at least one agent") as caught:
        orchestrate(TASK, profiles, metadata, limits='login == "me"', client=client)
    found = caught.value.record["exclusions"]
    assert [one["agent"] for one in found] == list(NAMES)
    assert all(WORD not in one["reasons"][0] for one in found)


@pytest.mark.parametrize("padding", [0, 170, 190])
def test_no_part_of_a_key_is_shown_where_a_reply_is_cut(server, decide, padding):
    key = "sk-test-0123456789-very-secret"
    server.answer(decided("x" * padding + key))
    with pytest.warns(FallbackWarning, match="must name one of the agents"):
        decision = decide(key)
    with pytest.raises(DecisionError) as caught:
        decide(key, fallback=False)
    sent = json.dumps([body["messages"] for body in server.bodies])
    shown = [decision.to_json(), sent, *traceback.format_exception(caught.value)]
    assert not [text for text in shown if key[:8] in text]


def test_options_do_not_show_their_key() -> None:
    options = ChatOptions("model", None, None, "sk-secret", 500, None, None)
    assert options.api_key == "sk-secret"
    assert "sk-secret" not in repr(options)
