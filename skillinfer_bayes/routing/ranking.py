"""Agents in the order of their expected score on a task."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from skillinfer_bayes.profiles.task import MatchResult, Skill, Task, as_task
from skillinfer_bayes.routing.interfaces import BatchMatcher, ProfileLike

COLUMNS = ["agent", "expected_score", "std", "lower", "upper", "p_above_threshold"]


def rank_agents(
    task: Task | Mapping[str, float] | Mapping[str | Skill, float],
    profiles: Mapping[str, ProfileLike],
    threshold: float | None = None,
    ci_prob: float = 0.9,
) -> pd.DataFrame:
    """Rank agents by their expected score on a task.

    Parameters
    ----------
    task : Task or mapping of str or Skill to float
        How much each skill counts.
    profiles : mapping of str to Profile
        Profile by agent; a `Profiles` is scored in one pass.
    threshold : float, optional
        Score that an agent should exceed, in score units.
    ci_prob : float, default 0.9
        Probability mass of the interval from `lower` to `upper`.

    Returns
    -------
    DataFrame of shape (n_agents, 6)
        `agent`, `expected_score`, `std`, `lower`, `upper` in score units, and
        `p_above_threshold` (NaN without a threshold); the best agent first, agents with the same
        expected score by name. Without profiles, the same columns and no rows.

    Raises
    ------
    TaskError
        If the weights cannot be used.
    UnknownSkillError
        If the task needs a skill that the profiles do not have.
    ThresholdError
        If the threshold lies outside the scale of the match score.
    """
    wanted = as_task(task)
    if isinstance(profiles, BatchMatcher):
        scores = profiles.match_scores(wanted, threshold=threshold, ci_prob=ci_prob)
        table = scores[list(MatchResult._fields)].astype(float).reset_index(drop=True)
        table.insert(0, "agent", [str(name) for name in scores.index])
    else:
        results = {
            name: profile.match_score(wanted, threshold=threshold, ci_prob=ci_prob)
            for name, profile in profiles.items()
        }
        table = pd.DataFrame(list(results.values()), columns=MatchResult._fields, dtype=float)
        table.insert(0, "agent", list(results))
    table = table.set_axis(COLUMNS, axis="columns")
    return table.sort_values(
        ["expected_score", "agent"], ascending=[False, True], ignore_index=True
    )
