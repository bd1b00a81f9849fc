"""Who may be chosen, and why the others may not."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from known_truth import certain_population, conditional
from scipy.stats import norm
from stand_in import StandInProfile

from skillinfer_bayes.exceptions import (
    ConstraintError,
    InputError,
    MetadataError,
    ThresholdError,
    UnknownSkillError,
)
from skillinfer_bayes.routing.constraint_grammar import MetadataLimit, ObservedSkills
from skillinfer_bayes.routing.constraints import apply_constraints
from skillinfer_bayes.testing import fake_population

METADATA = {
    "a": {"latency_ms": 900, "cost": 0.004, "vendor": "Alpha", "local": True},
    "b": {"latency_ms": 1000.0, "cost": None, "vendor": "Beta", "local": False},
    "c": {"latency_ms": "fast", "vendor": "Alpha"},
}


@pytest.fixture(scope="module")
def population():
    return certain_population(400)


@pytest.fixture(scope="module")
def agents(population):
    given = {"a": {"math": 110.0}, "b": {"math": 100.0, "code": 101.0}, "c": {}}
    return {name: population.profile(name).observe_many(known) for name, known in given.items()}


class TestMetadata:
    @pytest.mark.parametrize(
        ("text", "eligible"),
        [
            ("latency_ms < 1000", ["a"]),
            ("latency_ms <= 1000", ["a", "b"]),
            ("latency_ms > 900", ["b"]),
            ("latency_ms != 900", ["b"]),
            ("cost <= 0.004", ["a"]),
            ('vendor == "Alpha"', ["a", "c"]),
            ('vendor != "Alpha"', ["b"]),
            ("local == true", ["a"]),
            ("local == 1", []),
        ],
    )
    def test_limits(self, agents, text, eligible):
        assert list(apply_constraints(text, agents, METADATA).eligible) == eligible

    def test_every_reason_is_told(self, agents):
        found = apply_constraints(["latency_ms < 950", "cost < 0.01"], agents, METADATA)
        assert dict(found.excluded) == {
            "b": (
                "needs latency_ms < 950; it is 1000.0",
                "needs cost < 0.01; it is not known",
            ),
            "c": (
                "needs latency_ms < 950; it is 'fast', which is not a number",
                "needs cost < 0.01; it is not known",
            ),
        }

    def test_what_is_not_known_excludes(self, agents):
        metadata = {"a": {"cost": float("nan")}, "b": {"cost": 0.1}}
        assert apply_constraints("cost < 1", agents, metadata).eligible == ("b",)

    def test_a_key_that_nobody_has_is_an_error(self, agents):
        with pytest.raises(MetadataError, match="did you mean 'latency_ms'"):
            apply_constraints("latency < 5", agents, METADATA)
        with pytest.raises(MetadataError, match="pass `metadata`"):
            apply_constraints("latency_ms < 5", agents)
        with pytest.raises(MetadataError, match="must map each agent to a mapping, got 3 for 'a'"):
            apply_constraints("latency_ms < 5", agents, {"a": 3})

    def test_reasons_stay_on_one_line(self, agents):
        metadata = {"a": {"note": "x\nASSIGNED: a"}, "b": {"note": "y"}, "c": {"note": "z"}}
        found = apply_constraints(MetadataLimit("note", "==", "y\nz"), agents, metadata)
        assert set(found.excluded) == {"a", "b", "c"}
        for reasons in found.excluded.values():
            assert "\n" not in reasons[0]
            assert "ASSIGNED:" not in reasons[0]


class TestProbability:
    def test_equals_the_closed_form(self, population, agents):
        mean, cov = conditional(population, {"math": 110.0})
        truth = 1.0 - norm.cdf(104.0, mean[1], cov[1, 1] ** 0.5)
        below, above = (f"P(code > 104) >= {truth + shift:.4f}" for shift in (-0.001, 0.001))
        assert "a" in apply_constraints(below, agents).eligible
        reason = apply_constraints(above, agents).excluded["a"][0]
        assert reason == f"needs {above}; the probability is {truth:.3g}"

    def test_below_is_one_minus_above(self, agents):
        above = apply_constraints("P(code > 101) > 0.5", agents).eligible
        below = apply_constraints("P(code <= 101) < 0.5", agents).eligible
        assert above == below
        assert above

    def test_of_the_task(self, agents):
        task = {"code": 1.0, "math": 1.0}
        p_above = {
            name: one.match_score(task, 103.0).p_above_threshold for name, one in agents.items()
        }
        bar = sorted(p_above.values())[1]
        found = apply_constraints(f"P(task > 103) >= {bar}", agents, task=task)
        assert set(found.eligible) == {name for name, value in p_above.items() if value >= bar}
        with pytest.raises(ConstraintError, match="is about the task, got no `task`"):
            apply_constraints("P(task > 103) >= 0.5", agents)

    def test_of_the_task_in_one_pass(self, population, agents):
        table = pd.DataFrame(
            {"math": [110.0, 100.0, None], "code": [None, 101.0, None]}, index=list("abc")
        )
        texts = ["P(task > 101) >= 0.5", "P(code > 101) >= 0.5", "observed(math)"]
        found = apply_constraints(texts, population.profiles(table), task={"code": 1.0})
        assert found.eligible == apply_constraints(texts, agents, task={"code": 1.0}).eligible
        assert len(found.excluded) == 3 - len(found.eligible)

    def test_at_the_ends_of_the_scale(self):
        population = fake_population()
        skill = population.skills[0].name
        agents = {"new": population.profile()}
        for text in (f"P({skill} >= 0) >= 1", f"P({skill} > 1) <= 0", f"P({skill} < 0) <= 0",
                     f"P({skill} <= 1) >= 1", "P(task >= 0) >= 1"):  # fmt: skip
            assert apply_constraints(text, agents, task={skill: 1.0}).eligible == ("new",), text
        with pytest.raises(ThresholdError, match=r"did you mean 0\.7"):
            apply_constraints(f"P({skill} > 70) > 0.5", agents)
        with pytest.raises(ThresholdError, match=r"between 0 and 1"):
            apply_constraints("P(task >= -1) > 0.5", agents, task={skill: 1.0})

    def test_unknown_skill(self, agents):
        with pytest.raises(UnknownSkillError, match="did you mean 'code'"):
            apply_constraints("P(cod > 100) > 0.5", agents)

    def test_profiles_without_probabilities(self):
        stand_in = {"a": StandInProfile({"code": (0.8, 0.1)})}
        with pytest.raises(InputError, match="must have a method p_above"):
            apply_constraints("P(code > 0.5) > 0.5", stand_in)
        found = apply_constraints("P(task > 0.5) > 0.5", stand_in, task={"code": 1.0})
        assert found.eligible == ("a",)


class TestObserved:
    def test_inferred_skills_exclude(self, agents):
        found = apply_constraints("observed(math, code)", agents)
        assert found.eligible == ("b",)
        assert found.excluded["a"] == ("needs observed(math, code); inferred only: code",)
        assert found.excluded["c"] == ("needs observed(math, code); inferred only: math, code",)

    def test_any_profile_that_knows_its_sources(self):
        stand_in = {"a": StandInProfile({"x": (0.8, 0.1)}, frozenset({"x"})),
                    "b": StandInProfile({"x": (0.8, 0.1)})}  # fmt: skip
        assert apply_constraints(ObservedSkills(("x",)), stand_in).eligible == ("a",)

    def test_unknown_skill(self, agents):
        with pytest.raises(UnknownSkillError, match="did you mean 'math'"):
            apply_constraints("observed(maths)", agents)


class TestResult:
    def test_no_constraints_exclude_nobody(self, agents):
        found = apply_constraints([], agents)
        assert found.eligible == ("a", "b", "c")
        assert not found.excluded

    def test_selects_and_records(self, agents):
        found = apply_constraints(["observed(math)", 'vendor == "Beta"'], agents, METADATA)
        assert found.select(agents) == {"b": agents["b"]}
        assert found.select(METADATA) == {"b": METADATA["b"]}
        record = json.loads(json.dumps(found.to_dict()))
        assert record["eligible"] == ["b"]
        assert record["constraints"] == ["observed(math)", 'vendor == "Beta"']
        with pytest.raises(TypeError):
            found.excluded["a"] = ()

    def test_prints_who_and_why(self, agents):
        found = apply_constraints(["cost <= 0.004", "observed(math)"], agents, METADATA)
        assert str(found) == (
            "1 of 3 agents eligible: a\n"
            "left out: b: needs cost <= 0.004; it is not known\n"
            "left out: c: needs cost <= 0.004; it is not known; "
            "needs observed(math); inferred only: math"
        )

    def test_nobody_may_be_left(self, agents):
        assert apply_constraints("latency_ms < 1", agents, METADATA).eligible == ()

    def test_bad_constraints(self, agents):
        with pytest.raises(ConstraintError, match="must be texts or constraints, got 3"):
            apply_constraints(3, agents)
        with pytest.raises(ConstraintError, match="cannot read the constraint 'be quick'"):
            apply_constraints(["be quick"], agents)
