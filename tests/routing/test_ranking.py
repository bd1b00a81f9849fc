from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from stand_in import StandInProfile

from skillinfer_bayes.exceptions import TaskError, UnknownSkillError
from skillinfer_bayes.routing.ranking import COLUMNS, rank_agents


class Batch(dict):
    """Scores all agents at once, as a Profiles does, and refuses to be walked one by one."""

    def match_scores(self, task, threshold=None, *, ci_prob=0.9):
        results = {
            name: self[name].match_score(task, threshold=threshold, ci_prob=ci_prob)
            for name in self
        }
        table = pd.DataFrame.from_dict(results, orient="index", columns=results["gpt-4o"]._fields)
        return table[["p_above_threshold", "upper", "lower", "std", "score"]].rename_axis("agent")

    def items(self):
        pytest.fail("ranked one by one although the table can score all at once")


def test_best_agent_first(task, profiles):
    table = rank_agents(task, profiles, 0.8)
    assert list(table.columns) == COLUMNS
    assert list(table["agent"]) == ["gpt-4o", "gemini-pro", "claude-3.5"]
    assert list(table.index) == [0, 1, 2]
    best = profiles["gpt-4o"].match_score(task, threshold=0.8)
    assert tuple(table.iloc[0, 1:]) == pytest.approx(tuple(best))


def test_accepts_a_mapping_of_weights(task, profiles):
    pd.testing.assert_frame_equal(rank_agents(task.weights, profiles), rank_agents(task, profiles))


def test_without_a_threshold_there_is_no_probability(task, profiles):
    table = rank_agents(task, profiles)
    assert table["p_above_threshold"].isna().all()
    assert table["p_above_threshold"].dtype == np.float64


def test_equal_scores_are_sorted_by_name():
    same = {name: StandInProfile({"math": (0.5, 0.1)}) for name in ("b", "c", "a")}
    better = {"z": StandInProfile({"math": (0.6, 0.1)})}
    assert list(rank_agents({"math": 1}, same | better)["agent"]) == ["z", "a", "b", "c"]


def test_interval_mass_is_passed_on(task):
    class Recorder(StandInProfile):
        def match_score(self, task, threshold=None, *, ci_prob=0.9):
            assert (threshold, ci_prob) == (0.8, 0.5)
            return super().match_score(task, threshold)

    profile = Recorder({"math": (0.5, 0.1), "reasoning": (0.5, 0.1), "code": (0.5, 0.1)})
    assert len(rank_agents(task, {"a": profile}, 0.8, ci_prob=0.5)) == 1


@pytest.mark.parametrize("threshold", [None, 0.8])
def test_a_batch_is_scored_in_one_pass(task, profiles, threshold):
    pd.testing.assert_frame_equal(
        rank_agents(task, Batch(profiles), threshold), rank_agents(task, profiles, threshold)
    )


def test_no_profiles_give_no_rows(task):
    table = rank_agents(task, {})
    assert list(table.columns) == COLUMNS
    assert table.empty


def test_errors_come_through(profiles):
    with pytest.raises(TaskError, match="at least one skill"):
        rank_agents({}, profiles)
    with pytest.raises(UnknownSkillError, match="unknown skill 'maths'"):
        rank_agents({"maths": 1}, profiles)
