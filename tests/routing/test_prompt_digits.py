"""How many digits the prompt shows of skills on scales of any size."""

from __future__ import annotations

import math

import pytest
from stand_in import StandInProfile

from skillinfer_bayes.routing.prompt import build_prompt

FREE = (-math.inf, math.inf)


def shown(bounds, *numbers):
    profiles = {
        f"agent-{at}": StandInProfile({"loss": pair}, bounds=bounds)
        for at, pair in enumerate(numbers)
    }
    text = build_prompt({"loss": 1.0}, profiles)
    lines = [line.strip() for line in text.splitlines() if line.endswith("(inferred)")]
    return [line.removeprefix("loss: ").removesuffix(" (inferred)") for line in lines]


@pytest.mark.parametrize("bounds", [(0.0, 0.1), FREE, (0.0, 1.0), (0.0, 100.0)])
def test_small_units(bounds):
    found = shown(bounds, (0.0031, 0.0004), (0.0029, 0.0012))
    assert found == ["0.00310 ± 0.00040", "0.00290 ± 0.00120"]


def test_the_task_fit_has_the_same_digits():
    text = build_prompt({"loss": 1.0}, {"a": StandInProfile({"loss": (0.0031, 0.0004)})})
    assert "Task fit: 0.00310 ± 0.00040" in text


@pytest.mark.parametrize(
    ("bounds", "number", "text"),
    [
        ((0.0, 1.0), (0.892, 0.0004), "0.89 ± 0.00"),
        ((0.0, 1.0), (0.0031, 0.04), "0.00 ± 0.04"),
        ((0.0, 100.0), (61.23, 0.004), "61.2 ± 0.0"),
        (FREE, (1203.4, 0.2), "1203 ± 0"),
        ((0.0, 0.5), (0.25, 0.3), "0.25 ± 0.30"),
    ],
)
def test_usual_scales_have_their_usual_digits(bounds, number, text):
    assert shown(bounds, number) == [text]


@pytest.mark.parametrize("std", [0.0, math.nan, math.inf])
def test_a_std_that_tells_nothing(std):
    assert shown((0.0, 0.1), (0.031, std))[0].startswith("0.03 ±")
    assert shown((0.0, 0.1), (0.031, 0.004), (0.031, std))[0] == "0.0310 ± 0.0040"


def test_a_certain_agent_does_not_fill_the_prompt_with_digits():
    found = shown((0.0, 0.1), (0.031, 1e-12), (0.031, 0.004))
    assert found == ["0.0310000 ± 0.0000000", "0.0310000 ± 0.0040000"]
