from __future__ import annotations

import json
import time

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from skillinfer_bayes.exceptions import DecisionError
from skillinfer_bayes.routing.contract import KEYS, read_reply, repair_request, reply_schema
from skillinfer_bayes.routing.deliberation import candidate_orders

IDS = {"gpt-4o": "gpt-4o", "agent-2": "🤖", "c d": "c d"}
NUMBERS = st.one_of(st.floats(-1, 2), st.integers(-1, 2), st.booleans(), st.none())
OBJECTS = st.fixed_dictionaries(
    {},
    optional={
        "reasoning": st.one_of(st.text(max_size=5), st.none()),
        "risks": st.one_of(st.lists(st.one_of(st.text(max_size=3), NUMBERS), max_size=2), NUMBERS),
        "agent": st.sampled_from([*IDS, "evil", "", None]),
        "confidence": NUMBERS,
        "more": st.none(),
    },
)
GOOD = {"reasoning": "r", "risks": [], "agent": "c d", "confidence": 1}


class TestReadReply:
    @given(OBJECTS)
    @example(GOOD)
    def test_accepts_what_the_schema_accepts(self, reply):
        schema = reply_schema(list(IDS))
        by_schema = jsonschema.Draft202012Validator(schema).is_valid(reply)
        try:
            choice = read_reply(json.dumps(reply), IDS, "json")
        except DecisionError:
            # what strict schemas cannot say: a text that is not blank, a number from 0 to 1
            kept = by_schema and reply["reasoning"].strip() and 0 <= reply["confidence"] <= 1
            assert not kept
            return
        assert by_schema
        assert choice.agent == IDS[reply["agent"]]
        assert choice.confidence == reply["confidence"]
        assert choice.risks == tuple(reply["risks"])

    @given(st.text(st.characters(), max_size=40), st.sampled_from(["json", "text"]))
    @example('{"a":' * 5000, "json")
    @example("9" * 5000, "json")
    @example("ASSIGNED: 🤖", "json")
    @example("<think>ASSIGNED: gpt-4o", "text")
    def test_never_fails_untyped(self, text, form):
        error = None
        try:
            choice = read_reply(text, IDS, form)
        except DecisionError as caught:
            error = caught
        if error is None:
            assert choice.agent in IDS.values()
        else:
            assert error.reply == text
            assert len(str(error)) < 1500

    @pytest.mark.parametrize("label", ["json", ""])
    def test_an_endless_fence_takes_no_time(self, label):
        before = time.perf_counter()
        for blank in ("\n", " \n", "\n```"):
            with pytest.raises(DecisionError, match="must be one JSON object"):
                read_reply(f"```{label}\n{blank * (1_000_000 // len(blank))}x", IDS, "json")
        assert time.perf_counter() - before < 0.5

    def test_a_thought_that_does_not_end_decides_nothing(self):
        for form in ("json", "text"):
            with pytest.raises(DecisionError, match="does not end them"):
                read_reply("<think>\nfor speed\nASSIGNED: c d\nbut it does not", IDS, form)

    def test_thoughts_that_the_chat_template_opened(self):
        reply = f"ASSIGNED: 🤖 would be fast\n</think>\n{json.dumps(GOOD)}"
        assert read_reply(reply, IDS, "json").agent == "c d"
        assert read_reply("hm\n</think>\nwell\nASSIGNED: c d", IDS, "text").reasoning == "well"
        about = GOOD | {"reasoning": "says </think> itself"}
        assert read_reply(json.dumps(about), IDS, "json").reasoning == "says </think> itself"

    @pytest.mark.parametrize("start", ["```json\n", " ```json \r\n\n", "```\n"])
    def test_fences_are_taken_off(self, start):
        assert read_reply(f"{start}{json.dumps(GOOD)}\n``` \n", IDS, "json").agent == "c d"

    @pytest.mark.parametrize("agent", ["agent-2", "🤖", '"🤖"'])
    def test_ids_labels_and_names_are_understood(self, agent):
        assert read_reply(json.dumps(GOOD | {"agent": agent}), IDS, "json").agent == "🤖"
        assert read_reply(f"ASSIGNED: {agent}", IDS, "json").agent == "🤖"

    def test_ids_mean_nothing_where_names_were_shown(self):
        with pytest.raises(DecisionError, match="got 'agent-2'"):
            read_reply("ASSIGNED: agent-2", IDS, "text")


class TestSchema:
    def test_is_strict(self):
        schema = reply_schema(["a", "b"])
        assert schema["additionalProperties"] is False
        assert schema["required"] == list(schema["properties"]) == list(KEYS)
        assert schema["properties"]["agent"]["enum"] == ["a", "b"]
        # what servers' strict modes are known to refuse
        assert not {"minimum", "maximum", "minLength", "pattern"} & set(str(schema).split("'"))

    @pytest.mark.parametrize("ids", [[f"a{n}" for n in range(501)], ["x" * 8000]])
    def test_very_long_lists_are_left_to_the_check(self, ids):
        assert "enum" not in reply_schema(ids)["properties"]["agent"]
        with pytest.raises(DecisionError, match="must name one of the agents"):
            read_reply(json.dumps(GOOD | {"agent": "evil"}), {one: one for one in ids}, "json")


@pytest.mark.parametrize("form", ["json", "text"])
def test_the_repair_request_repeats_the_problem_as_data(form):
    text = repair_request("got 'x\nASSIGNED: evil'" + "y" * 2000, list(IDS), form)
    assert "got 'x\\nASSIGNED\\: evil'" in text
    assert len(text) < 1000
    assert text.startswith("Your reply could not be used: ")


class TestOrders:
    @given(st.integers(1, 8), st.integers(1, 30), st.one_of(st.none(), st.integers(0, 99)))
    def test_every_order_has_every_agent(self, n_agents, votes, seed):
        agents = [f"a{row}" for row in range(n_agents)]
        orders = candidate_orders(agents, votes, seed)
        assert len(orders) == votes
        assert all(sorted(order) == agents for order in orders)
        assert orders == candidate_orders(agents, votes, seed)
        if seed is None:
            assert list(orders[0]) == agents

    @given(st.integers(1, 6), st.integers(1, 3), st.integers(0, 9))
    def test_every_agent_stands_in_every_place_equally_often(self, n_agents, rounds, seed):
        agents = [f"a{row}" for row in range(n_agents)]
        orders = candidate_orders(agents, rounds * n_agents, seed)
        for place in range(n_agents):
            shown = [order[place] for order in orders]
            assert {shown.count(agent) for agent in agents} == {rounds}

    def test_two_votes_turn_the_list_by_half(self):
        assert candidate_orders(["a", "b", "c", "d"], 2, None)[1] == ("c", "d", "a", "b")
