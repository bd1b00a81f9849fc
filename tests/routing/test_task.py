from __future__ import annotations

import copy
import dataclasses
import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillinfer_bayes.exceptions import InputError, ScoreError, TaskError
from skillinfer_bayes.profiles.task import MatchResult, Skill, Task, as_task


class TestSkill:
    def test_equals_skills_and_texts_of_the_same_name(self):
        skill = Skill("math", score=0.9)
        assert skill == Skill("math", description="other")
        assert skill == "math"
        assert skill != Skill("code")
        assert skill != 3
        assert {skill: 1}["math"] == 1

    def test_shows_its_name(self):
        assert str(Skill("math")) == "math"
        assert repr(Skill("math")) == "Skill('math')"
        full = Skill("math", score=0.9, description="sums", n_items=10)
        assert repr(full) == "Skill('math', score=0.9, n_items=10, description='sums')"

    def test_does_not_change(self):
        skill = Skill("math")
        with pytest.raises(dataclasses.FrozenInstanceError, match="score"):
            skill.score = 1.0

    def test_replace_and_pickle(self):
        skill = dataclasses.replace(Skill("math", n_items=5), score=0.5)
        assert (skill.score, skill.n_items) == (0.5, 5)
        assert pickle.loads(pickle.dumps(skill)).score == 0.5  # noqa: S301

    def test_accepts_numpy_numbers(self):
        assert Skill("math", score=np.float32(0.5), n_items=np.int64(3)).score == 0.5

    @pytest.mark.parametrize("score", [float("nan"), float("inf"), "0.9", True])
    def test_refuses_a_score_that_is_no_finite_number(self, score):
        with pytest.raises(ScoreError, match=r"`score` of skill 'math' must be a finite number"):
            Skill("math", score=score)

    @pytest.mark.parametrize("n_items", [0, -1, float("nan"), "10", True])
    def test_refuses_item_counts_that_count_nothing(self, n_items):
        with pytest.raises(ScoreError, match=r"`n_items` of skill 'math' must be a positive"):
            Skill("math", n_items=n_items)

    def test_refuses_names_that_are_no_text(self):
        with pytest.raises(InputError, match=r"`name` must use texts as skill names, got 3"):
            Skill(3)
        with pytest.raises(InputError, match=r"`name` must not use a blank skill name, got ' '"):
            Skill(" ")
        with pytest.raises(InputError, match=r"`description` must be a text, got None"):
            Skill("math", description=None)


class TestTask:
    def test_keeps_weights_as_a_plain_dict_in_order(self):
        task = Task({"reasoning": 1, Skill("math"): np.float64(0.5)}, "Prove it")
        assert str(task.weights) == "{'reasoning': 1.0, 'math': 0.5}"
        assert json.loads(json.dumps(task.weights)) == {"reasoning": 1.0, "math": 0.5}
        assert task.description == "Prove it"

    def test_changing_the_argument_or_the_weights_changes_nothing(self):
        given_weights = {"math": 1.0}
        task = Task(given_weights)
        given_weights["code"] = 1.0
        task.weights["code"] = 1.0
        assert task.weights == {"math": 1.0}
        with pytest.raises(dataclasses.FrozenInstanceError, match="description"):
            task.description = "other"

    def test_skills_come_by_importance_and_ties_in_order(self):
        assert Task({"a": 1, "b": 2, "c": 1}).skills == ("b", "a", "c")

    def test_text_forms(self):
        assert str(Task({"math": 1, "code": 0.25})) == "Task(math=1, code=0.25)"
        assert str(Task({"math": 1}, "Prove it")) == "Prove it"
        assert repr(Task({"math": 1})) == "Task({'math': 1.0})"
        assert repr(Task({"math": 1}, "x")) == "Task({'math': 1.0}, 'x')"

    def test_is_a_value(self):
        task = Task({"math": 1}, "x")
        assert task == Task({"math": 1.0}, "x")
        assert hash(task) == hash(copy.deepcopy(task))
        assert pickle.loads(pickle.dumps(task)) == task  # noqa: S301
        assert task != Task({"math": 1})

    def test_as_task(self):
        task = Task({"math": 1})
        assert as_task(task) is task
        assert as_task({"math": 1}) == task

    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            ({}, r"`weights` must name at least one skill, got an empty mapping"),
            (["math"], r"`weights` must be a mapping from skill names to numbers, got list"),
            ({"math": 0.0}, r"greater than zero, got 0.0 for skill 'math'; leave out"),
            ({"math": 1, "code": -1}, r"greater than zero, got -1 for skill 'code'"),
            ({"math": float("nan")}, r"must be finite numbers, got nan for skill 'math'"),
            ({"math": float("inf")}, r"must be finite numbers, got inf for skill 'math'"),
            ({"math": "1"}, r"must be finite numbers, got '1' for skill 'math'"),
            ({"math": None}, r"must be finite numbers, got None"),
            ({"math": True}, r"must be finite numbers, got True"),
            ({1: 1.0}, r"`weights` must use texts as skill names, got 1 \(int\)"),
            ({"": 1.0}, r"`weights` must not use a blank skill name"),
        ],
    )
    def test_refuses_weights_that_make_no_sense(self, weights, message):
        with pytest.raises(TaskError, match=message):
            Task(weights)

    def test_refuses_a_description_that_is_no_text(self):
        with pytest.raises(TaskError, match=r"`description` must be a text, got 3 \(int\)"):
            Task({"math": 1}, 3)

    @given(
        st.dictionaries(
            st.text(min_size=1).filter(str.strip),
            st.floats(min_value=1e-300, allow_infinity=False),
            min_size=1,
        )
    )
    def test_every_good_mapping_survives(self, weights):
        task = Task(weights)
        assert task.weights == weights
        assert list(task.weights) == list(weights)
        assert sorted(task.skills) == sorted(weights)


def test_match_result_has_the_long_names_too():
    result = MatchResult(0.9, 0.1, 0.7, 1.0)
    assert (result.ci_lower, result.ci_upper) == (0.7, 1.0)
    assert result.p_above_threshold is None
    assert tuple(result) == (0.9, 0.1, 0.7, 1.0, None)
