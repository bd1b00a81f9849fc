"""The public surface: changing it should be a decision, not an accident."""

from __future__ import annotations

import inspect

import pytest

import skillinfer_bayes

PUBLIC = [
    "Comparison",
    "Decision",
    "Eligibility",
    "EvaluationPlan",
    "History",
    "MatchResult",
    "Population",
    "Priors",
    "Profile",
    "Profiles",
    "SamplerSettings",
    "Scale",
    "Skill",
    "SkillinferError",
    "SkillinferWarning",
    "Task",
    "Utility",
    "apply_constraints",
    "build_prompt",
    "calibration",
    "compare",
    "estimate_tokens",
    "held_out",
    "held_out_cells",
    "learning_curve",
    "next_evaluations",
    "orchestrate",
    "orchestrate_async",
    "parse_constraint",
    "parse_decision",
    "rank_agents",
    "sbc",
    "summarise_held_out",
]


def test_exported_names() -> None:
    assert sorted(skillinfer_bayes.__all__) == PUBLIC
    assert set(PUBLIC) <= set(dir(skillinfer_bayes))


@pytest.mark.parametrize("name", PUBLIC)
def test_every_name_is_there_and_says_what_it_is(name: str) -> None:
    exported = getattr(skillinfer_bayes, name)
    assert exported.__name__ == name
    assert inspect.getdoc(exported)


def test_a_name_that_is_not_exported_is_not_there() -> None:
    with pytest.raises(AttributeError, match=r"attribute Populations"):
        _ = skillinfer_bayes.Populations


@pytest.mark.parametrize("name", [name for name in PUBLIC if not name.startswith("Skillinfer")])
def test_signatures_name_every_argument(name: str) -> None:
    exported = getattr(skillinfer_bayes, name)
    calls = [exported]
    if inspect.isclass(exported):
        members = inspect.getmembers(exported, inspect.isroutine)
        calls = [call for key, call in members if not key.startswith("_")]
        calls = [call for call in calls if "skillinfer" in str(getattr(call, "__module__", ""))]
    for call in calls:
        for parameter in inspect.signature(call).parameters.values():
            assert parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD), call
