"""What the prompt says of agents whose scores the history finds surprising."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from stand_in import StandInProfile

from skillinfer_bayes import Task, build_prompt
from skillinfer_bayes.routing.interfaces import surprise_of
from skillinfer_bayes.testing import fake_population

TASK = Task({"math": 1.0}, "prove it")


@dataclass(frozen=True)
class Surprising(StandInProfile):
    surprise: float = 1.0


def _profiles(**surprise: float) -> dict:
    return {name: Surprising({"math": (0.5, 0.1)}, surprise=p) for name, p in surprise.items()}


def test_a_surprising_agent_is_marked_in_its_block() -> None:
    text = build_prompt(TASK, _profiles(odd=0.004, usual=0.4))
    block, rest = text.split("odd:")[1].split("usual:")
    assert "\n  Caution: observed scores are unlike the history's" in block
    assert "Caution" not in rest


def test_without_one_nothing_changes() -> None:
    assert build_prompt(TASK, _profiles(a=0.01, b=1.0)) == build_prompt(
        TASK, {name: StandInProfile({"math": (0.5, 0.1)}) for name in "ab"}
    )


def test_the_compact_table_has_a_column_only_then() -> None:
    text = build_prompt(TASK, _profiles(odd=0.004, usual=0.4), compact=True)
    header, odd, usual = (line.split("\t") for line in text.splitlines() if "\t" in line)
    assert header[-1] == "Caution"
    assert odd[-1].startswith("observed scores are unlike")
    assert usual[-1] == "-"
    assert "Caution" not in build_prompt(TASK, _profiles(a=0.4), compact=True)


def test_profiles_say_it_themselves() -> None:
    population = fake_population()
    task = Task({"skill_5": 1.0})
    odd = population.profile().observe_many(
        {"skill_0": 0.999, "skill_1": 0.001, "skill_2": 0.999, "skill_3": 0.001}
    )
    assert odd.surprise < 0.01
    text = build_prompt(task, {"odd": odd, "new": population.profile()})
    assert text.count("Caution") == 1


def test_a_profile_that_does_not_say_is_not_surprising() -> None:
    assert surprise_of(StandInProfile({"math": (0.5, 0.1)})) == 1.0
    with pytest.raises(TypeError):
        surprise_of(Surprising({"math": (0.5, 0.1)}, surprise=None))
