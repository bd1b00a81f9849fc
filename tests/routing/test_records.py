from __future__ import annotations

import dataclasses
import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillinfer_bayes.routing.decision import Attempt, Candidate, Case, Decision, Exclusion, Vote
from skillinfer_bayes.routing.records import plain, record_to_json

VOTES = (
    Vote(("a", "b"), "prompt 1", (Attempt("json", "{", "malformed"), Attempt("json", "ok")), "a"),
    Vote(("b", "a"), "prompt 2", (Attempt("text", None, "failed"),)),
)
CASE = Case(
    {"math": 1.0},
    "a task",
    0.8,
    ("be quick",),
    ("cost < 1",),
    (Candidate("a", 0.9, 0.1, 0.8, observations={"math": 0.9}),),
    (Exclusion("c", ("too slow", "too dear")),),
    "0123456789abcdef",
    {"python": "3.12"},
)
DECISION = Decision(
    "a", "because", "ok", "prompt 1", "m", bayes_choice="b", random_seed=3, votes=VOTES, case=CASE
)


def test_the_record_holds_everything():
    record = json.loads(DECISION.to_json())
    assert record == DECISION.to_dict()
    assert record["population_id"] == "0123456789abcdef"
    assert record["task"] == {"weights": {"math": 1.0}, "description": "a task"}
    assert record["exclusions"] == [{"agent": "c", "reasons": ["too slow", "too dear"]}]
    assert record["candidates"][0]["observations"] == {"math": 0.9}
    assert [vote["order"] for vote in record["votes"]] == [["a", "b"], ["b", "a"]]
    assert record["votes"][0]["attempts"][0]["problem"] == "malformed"
    assert (record["agreement"], record["agrees_with_bayes"]) == (0.5, False)
    assert (record["random_seed"], record["model"], record["fallback"]) == (3, "m", False)
    assert record["limits"] == ["cost < 1"]


def test_no_field_is_left_out_of_the_record():
    record = DECISION.to_dict()
    for kind, shown in ((Decision, record), (Vote, record["votes"][0])):
        names = {field.name for field in dataclasses.fields(kind)} - {"case"}
        assert names <= shown.keys()
    assert {field.name for field in dataclasses.fields(Case)} - {"weights", "description"} <= (
        record.keys()
    )


def test_a_decision_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError, match="agent"):
        DECISION.agent = "b"
    assert pickle.loads(pickle.dumps(DECISION)) == DECISION  # noqa: S301


def test_a_decision_of_which_little_is_known():
    decision = Decision("a", "because", "reply", "prompt", "m")
    assert (decision.agreement, decision.agrees_with_bayes) == (None, None)
    assert (decision.candidates, decision.exclusions) == ((), ())
    assert json.loads(decision.to_json())["task"] == {"weights": None, "description": None}


def test_the_time_does_not_count_when_comparing():
    assert dataclasses.replace(DECISION, decided_at="2026-01-01T00:00:00+00:00") == DECISION


def test_prints_the_outcome_and_the_disagreement():
    candidates = (Candidate("b", 0.95, 0.1, p_best=0.7), Candidate("a", 0.9, 0.1, p_best=0.3))
    decision = dataclasses.replace(
        DECISION,
        reasoning="cheap\n\x1b[2Jand good",
        confidence=0.8,
        risks=("new",),
        case=dataclasses.replace(CASE, candidates=candidates),
    )
    assert str(decision) == (
        "a, chosen by m (confidence 0.8, 50% of 2 votes)\n"
        "cheap\n"
        "\\x1b[2Jand good\n"
        "risk: new\n"
        "the profiles alone would choose b (expected score 0.95, best with probability 70%)\n"
        "left out: c: too slow; too dear"
    )


def test_prints_that_it_is_a_fallback():
    decision = Decision(
        "a", "No answer.", "", "p", "m", fallback=True, problem="HTTP 500", bayes_choice="a"
    )
    assert str(decision) == "a, chosen by the profiles alone: HTTP 500\nNo answer."
    assert str(Decision("a b:", "Why.", "", "p", "m")) == '"a b:", chosen by m\nWhy.'


def test_to_json_writes_the_file(tmp_path):
    path = tmp_path / "audit.json"
    text = DECISION.to_json(path)
    assert path.read_text("utf-8") == text + "\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (float("nan"), "nan"),
        (np.float32("inf"), "inf"),
        ({1}, [1]),
        ({3: (1, 2)}, {"3": [1, 2]}),
        (b"x", "b'x'"),
        (np.array([1, 2]), "[1 2]"),
    ],
)
def test_plain(value, expected):
    found = plain(value)
    assert found == expected
    assert type(found) is type(expected)


def test_plain_of_a_list_that_holds_itself():
    endless = [1]
    endless.append(endless)
    assert "[...]" in json.dumps(plain(endless))


@given(st.text(st.characters(), max_size=20))
def test_any_text_survives(text):
    written = record_to_json({"text": text, text: 1})
    written.encode()
    assert json.loads(written)["text"] == (1 if text == "text" else text)
