"""Metadata as numpy, pandas and `decimal` hold them: judged and shown like Python's own."""

from __future__ import annotations

import enum
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from stand_in import StandInProfile

from skillinfer_bayes.exceptions import ConstraintError, MetadataError
from skillinfer_bayes.routing.constraints import (
    MetadataLimit,
    apply_constraints,
    parse_constraint,
)
from skillinfer_bayes.routing.prompt import build_prompt
from skillinfer_bayes.routing.utility import Utility

AGENTS = {name: StandInProfile({"math": (0.5, 0.1)}) for name in "abc"}
TASK = {"math": 1.0}


def eligible(limit, *values):
    metadata = {name: {"fact": value} for name, value in zip("abc", values, strict=True)}
    return apply_constraints(limit, AGENTS, metadata).eligible


@pytest.mark.parametrize(
    ("limit", "values"),
    [
        ("fact == true", (np.True_, np.False_, pd.NA)),
        ('fact == "x"', (np.str_("x"), np.str_("y"), pd.NaT)),
        ("fact <= 0.1", (Decimal("0.1"), Decimal("0.2"), Decimal("sNaN"))),
        ("fact < 3", (np.int64(2), np.float32(3), np.float64("nan"))),
        ("fact < 3", (2, 10**400, None)),
    ],
)
def test_limits(limit, values):
    assert eligible(limit, *values) == ("a",)


class Region(enum.StrEnum):
    EU = "eu"


class Place(str, enum.Enum):  # noqa: UP042
    EU = "eu"


@pytest.mark.parametrize("text", [np.str_("eu"), Region.EU, Place.EU])
def test_texts_of_other_classes(text):
    assert str(MetadataLimit("fact", "==", text)) == 'fact == "eu"'
    assert eligible(MetadataLimit("fact", "==", text), "eu", text, "us") == ("a", "b")
    assert eligible('fact != "us"', text, "us", None) == ("a",)
    shown = build_prompt(TASK, {"a": AGENTS["a"]}, {"a": {"fact": text}})
    assert "\n  Fact: eu\n" in shown


@pytest.mark.parametrize(
    ("value", "values"),
    [
        (Decimal("0.0055"), (0.0055, 0.006, "0.0056")),
        (np.float64(0.5), (0.5, 0.6, None)),
        (np.float32(0.5), (0.5, 0.6, None)),
        (np.int64(3), (3, 4, None)),
        (np.True_, (True, False, 1)),
    ],
)
def test_limit_values_of_other_classes(value, values):
    limit = MetadataLimit("fact", "==", value)
    assert type(limit.value) in (float, bool)
    assert eligible(limit, *values) == ("a",)
    assert parse_constraint(str(limit)) == limit


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("Infinity"), pd.NA, None])
def test_limit_values_that_are_not_known(value):
    with pytest.raises(ConstraintError):
        MetadataLimit("fact", "==", value)


def test_keys_that_are_no_texts():
    metadata = {"a": {2024: 1}, "b": {2024: 3}, "c": {}}
    assert apply_constraints("2024 < 2", AGENTS, metadata).eligible == ("a",)


def test_numbers_that_a_file_keeps_as_they_are_written():
    """A price column with 2.50 in it is one of texts, as a version's with 3.10 is."""
    metadata = {"a": {"price": "2.50"}, "b": {"price": " 10.00"}, "c": {"price": "1 e3"}}
    found = apply_constraints("price < 5", AGENTS, metadata)
    assert found.eligible == ("a",)
    assert found.excluded["b"] == ("needs price < 5; it is 10.0",)
    assert found.excluded["c"] == ("needs price < 5; it is '1 e3', which is not a number",)
    assert apply_constraints('price == "2.50"', AGENTS, metadata).eligible == ("a",)


@pytest.mark.parametrize("written", ["1E-06", ".5", "5.", "-2e+0", "4.9e0"])
def test_numbers_as_spreadsheets_write_them(written):
    metadata = {"a": {"price": written}, "b": {"price": "1e3"}, "c": {"price": "1e999"}}
    found = apply_constraints("price <= 5", AGENTS, metadata)
    assert found.eligible == ("a",)
    assert found.excluded["b"] == ("needs price <= 5; it is 1000.0",)
    assert "it is '1e999', which is not a number" in found.excluded["c"][0]


def test_reasons():
    metadata = {"a": {"fact": np.str_("x")}, "b": {"fact": np.True_}, "c": {"fact": pd.NA}}
    found = apply_constraints("fact < 3", AGENTS, metadata).excluded
    assert [reasons[0].split("; ")[1] for reasons in found.values()] == [
        "it is 'x', which is not a number",
        "it is True, which is not a number",
        "it is not known",
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (np.True_, "yes"),
        (np.False_, "no"),
        (pd.NA, "unknown"),
        (pd.NaT, "unknown"),
        (Decimal("NaN"), "unknown"),
        (Decimal("1e-7"), "0.0000001"),
        (Decimal("12"), "12"),
    ],
)
@pytest.mark.parametrize("compact", [False, True])
def test_shown_in_the_prompt(value, shown, compact):
    text = build_prompt(TASK, {"a": AGENTS["a"]}, {"a": {"fact": value}}, compact=compact)
    assert (f"\t{shown}\n" if compact else f"  Fact: {shown}\n") in text


def test_a_cost_with_its_unit():
    text = build_prompt(TASK, {"a": AGENTS["a"]}, {"a": {"cost_per_1k": Decimal("0.005")}})
    assert "Cost: $0.005/1k tokens" in text
    with pytest.raises(MetadataError, match="must not be negative"):
        build_prompt(TASK, {"a": AGENTS["a"]}, {"a": {"cost_per_1k": Decimal(-1)}})


def test_a_utility_counts_a_decimal():
    utility = Utility(cost=10.0)
    assert utility(np.array(0.8), {"cost_per_1k": Decimal("0.01")}) == pytest.approx(0.7)
    with pytest.raises(MetadataError, match=r"finite number for 'cost_per_1k'.*got <NA>"):
        utility(np.array(0.8), {"cost_per_1k": pd.NA})
