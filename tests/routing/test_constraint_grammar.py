"""Hard limits as texts: what is read, what reads back, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from skillinfer_bayes.exceptions import ConstraintError
from skillinfer_bayes.routing.constraint_grammar import (
    COMPARISONS,
    MetadataLimit,
    ObservedSkills,
    ProbabilityLimit,
    parse_constraint,
)

NAMES = st.one_of(
    st.sampled_from(["latency_ms", "task", "P", "observed", "MATH Lvl 5", 'a"b\\c', "3", "true"]),
    st.text(min_size=1, max_size=12).filter(str.strip),
)
FLOATS = st.floats(-1e6, 1e6)
SIGNS = st.sampled_from(COMPARISONS)
LIMITS = st.one_of(
    st.builds(MetadataLimit, NAMES, SIGNS, FLOATS),
    st.builds(
        MetadataLimit,
        NAMES,
        st.sampled_from(["==", "!="]),
        st.one_of(st.text(), st.booleans(), FLOATS),
    ),
    st.builds(
        ProbabilityLimit, st.one_of(st.none(), NAMES), SIGNS, FLOATS, SIGNS, st.floats(0.0, 1.0)
    ),
    st.builds(ObservedSkills, st.lists(NAMES, min_size=1, max_size=3).map(tuple)),
)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("latency_ms < 1000", MetadataLimit("latency_ms", "<", 1000.0)),
        ("cost_per_1k<=0.004", MetadataLimit("cost_per_1k", "<=", 0.004)),
        ("  rate.limit-rpm >= 5e2 ", MetadataLimit("rate.limit-rpm", ">=", 500.0)),
        ('organisation == "Open AI"', MetadataLimit("organisation", "==", "Open AI")),
        ('"Mean latency" != 3', MetadataLimit("Mean latency", "!=", 3.0)),
        ("on_premises == TRUE", MetadataLimit("on_premises", "==", True)),
        ("P < 3", MetadataLimit("P", "<", 3.0)),
        ("P(code > 0.7) >= 0.9", ProbabilityLimit("code", ">", 0.7, ">=", 0.9)),
        ('p( "MATH Lvl 5"<=-1 )<0.5', ProbabilityLimit("MATH Lvl 5", "<=", -1.0, "<", 0.5)),
        ("P(task > 0.8) >= 0.9", ProbabilityLimit(None, ">", 0.8, ">=", 0.9)),
        ('P("task" > 0.8) >= 0.9', ProbabilityLimit("task", ">", 0.8, ">=", 0.9)),
        ("observed(code, math)", ObservedSkills(("code", "math"))),
        ('Observed("a, b")', ObservedSkills(("a, b",))),
    ],
)
def test_reads(text, limit):
    assert parse_constraint(text) == limit


@given(LIMITS)
@example(ProbabilityLimit("Task", ">", 0.5, ">", 0.5))
def test_what_is_shown_reads_back(limit):
    assert parse_constraint(str(limit)) == limit


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        limit = parse_constraint(text)
    except ConstraintError:
        return
    assert parse_constraint(str(limit)) == limit


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "ends where a name should be"),
        ("prefer cheap agents", "has 'cheap' where a comparison should be"),
        ("latency_ms", "ends where a comparison should be"),
        ("latency_ms <", "ends where a value should be"),
        ("latency_ms < fast", "has 'fast' where a number should be"),
        ("latency_ms < 1000 ms", "goes on after its end, at 'ms'"),
        ("latency_ms < nan", "has 'nan' where a number should be"),
        ("500 < latency_ms < 1000", "has 'latency_ms' where a number should be"),
        ("P(code > 0.7", r"ends where '\)' should be"),
        ("P(code) > 0.7", r"has '\)' where a comparison should be"),
        ("P(code == 0.7) > 0.7", "a comparison must be one of < <= > >= here, got '=='"),
        ("observed()", r"has '\)' where a name should be"),
        ("observed(code math)", r"has 'math' where '\)' should be"),
        ('key == "open', "has something unreadable at '\"open'"),
        ("key < 1; drop", "where a number should be"),
        ("x" * 1001, "is longer than 1000 characters"),
    ],
)
def test_what_cannot_be_read_shows_the_grammar_or_the_reason(text, problem):
    with pytest.raises(ConstraintError, match=problem) as caught:
        parse_constraint(text)
    assert "cannot" in str(caught.value)
    assert len(str(caught.value)) < 800


@pytest.mark.parametrize("given_value", [None, 3, b"a < 1", ["a < 1"]])
def test_only_texts_are_read(given_value):
    with pytest.raises(ConstraintError, match=r"a constraint must be a text, got .*; write KEY"):
        parse_constraint(given_value)


def test_a_probability_in_per_cent_gets_a_hint():
    with pytest.raises(ConstraintError, match=r"between 0 and 1, got 90; did you mean 0\.9\?"):
        parse_constraint("P(code > 0.7) >= 90")


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: MetadataLimit("", "<", 1.0), "`key` of a limit must be a text"),
        (lambda: MetadataLimit("a", "<", "b"), "a comparison must be one of == != here"),
        (lambda: MetadataLimit("a", "=", 1.0), "a comparison must be one of"),
        (lambda: MetadataLimit("a", "<", float("inf")), "must be a finite number"),
        (lambda: MetadataLimit("a", "==", None), "`value` of a limit must be a number"),
        (lambda: ProbabilityLimit("a", ">", "x", ">", 0.5), "must be a finite number, got 'x'"),
        (lambda: ProbabilityLimit(3, ">", 0.5, ">", 0.5), "`skill` of a limit must be a text"),
        (lambda: ProbabilityLimit("a", ">", 0.5, ">", -0.5), "between 0 and 1"),
        (lambda: ObservedSkills(()), "at least one name"),
        (lambda: ObservedSkills("code"), "must be a tuple"),
    ],
)
def test_limits_made_by_hand_are_checked(make, problem):
    with pytest.raises(ConstraintError, match=problem):
        make()
