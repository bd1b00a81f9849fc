"""Agents in the order of how well they would do a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import pandas as pd

from skillinfer_bayes.exceptions import ConfigError, closest_match_hint
from skillinfer_bayes.profiles.task import MatchResult, Skill, Task, as_task
from skillinfer_bayes.routing.compare import compare
from skillinfer_bayes.routing.interfaces import BatchMatcher, ProfileLike, check_profiles
from skillinfer_bayes.routing.utility import Utility, UtilityFunction

type By = Literal["expected_score", "p_above", "p_best", "utility"]

COLUMNS = ["agent", "expected_score", "std", "lower", "upper", "p_above_threshold"]
# The column that each criterion sorts by.
CRITERIA = {
    "expected_score": "expected_score",
    "p_above": "p_above_threshold",
    "p_best": "p_best",
    "utility": "expected_utility",
}
CHOICES: tuple[str, ...] = get_args(By.__value__)


def rank_agents(
    task: Task | Mapping[str, float] | Mapping[str | Skill, float],
    profiles: Mapping[str, ProfileLike],
    threshold: float | None = None,
    ci_prob: float = 0.9,
    *,
    by: By = "expected_score",
    utility: Utility | UtilityFunction | None = None,
    metadata: Mapping[str, Mapping[str, object]] | None = None,
) -> pd.DataFrame:
    """Rank agents by what they are expected to do on a task.

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
    by : {"expected_score", "p_above", "p_best", "utility"}, default "expected_score"
        What to sort by: the expected score; the probability of exceeding the threshold; the
        probability of being the best agent; the expected utility.
    utility, metadata : optional
        As `compare`; for `"utility"`, and for `"p_best"` if the best is to be the most useful.

    Returns
    -------
    DataFrame of shape (n_agents, 6 or more)
        `agent`, `expected_score`, `std`, `lower`, `upper` in score units, and
        `p_above_threshold` (NaN without a threshold); `p_best` where that or the utility is the
        criterion, and `expected_utility` where there is one. The best agent first, equal ones by
        name. Without profiles, the same columns and no rows.

    Raises
    ------
    ConfigError
        If `by` is unknown, or needs a threshold or a utility that is not given.
    TaskError
        If the weights cannot be used.
    UnknownSkillError
        If the task needs a skill that the profiles do not have.
    ThresholdError
        If the threshold lies outside the scale of the match score.
    InputError, PopulationMismatchError
        If `profiles` is no mapping, or its profiles belong to several populations.
    InputError, MetadataError
        As `compare`, for the criteria that compare agents.
    """
    check_profiles(profiles)
    _check_criterion(by, threshold, utility)
    wanted = as_task(task)
    table = _match_table(wanted, profiles, threshold, ci_prob)
    if by in ("p_best", "utility"):
        table = _with_comparison(table, wanted, profiles, utility, metadata)
    return table.sort_values([CRITERIA[by], "agent"], ascending=[False, True], ignore_index=True)


def _match_table(
    task: Task, profiles: Mapping[str, ProfileLike], threshold: float | None, ci_prob: float
) -> pd.DataFrame:
    if isinstance(profiles, BatchMatcher):
        scores = profiles.match_scores(task, threshold=threshold, ci_prob=ci_prob)
        table = scores[list(MatchResult._fields)].astype(float).reset_index(drop=True)
        table.insert(0, "agent", [str(name) for name in scores.index])
    else:
        results = {
            name: profile.match_score(task, threshold=threshold, ci_prob=ci_prob)
            for name, profile in profiles.items()
        }
        table = pd.DataFrame(list(results.values()), columns=MatchResult._fields, dtype=float)
        table.insert(0, "agent", list(results))
    return table.set_axis(COLUMNS, axis="columns")


def _with_comparison(
    table: pd.DataFrame,
    task: Task,
    profiles: Mapping[str, ProfileLike],
    utility: Utility | UtilityFunction | None,
    metadata: Mapping[str, Mapping[str, object]] | None,
) -> pd.DataFrame:
    names = ["p_best"] if utility is None else ["p_best", "expected_utility"]
    if not len(table):
        return table.assign(**dict.fromkeys(names, pd.Series(dtype=float)))
    found = compare(task, profiles, utility=utility, metadata=metadata).to_dataframe()
    rows = found.loc[[str(name) for name in table["agent"]]]
    return table.assign(**{name: rows[name].to_numpy() for name in names})


def _check_criterion(by: object, threshold: object, utility: object) -> None:
    if by not in CHOICES:
        hint = closest_match_hint(by, CHOICES)
        raise ConfigError(f"`by` must be one of {', '.join(CHOICES)}, got {by!r}; {hint}")
    if by == "p_above" and threshold is None:
        raise ConfigError("`by='p_above'` needs a `threshold`, got none; pass the score to exceed")
    if by == "utility" and utility is None:
        raise ConfigError(
            "`by='utility'` needs a `utility`, got none; write for example Utility(cost=10.0)"
        )
    if utility is not None and by not in ("p_best", "utility"):
        raise ConfigError(
            f"`utility` must be left out when sorting by {by!r}, got {utility!r}; use by='utility'"
        )
