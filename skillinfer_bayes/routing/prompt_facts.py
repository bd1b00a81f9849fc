"""What the prompt can say about each agent: every profile is asked once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from skillinfer_bayes.exceptions import ConfigError
from skillinfer_bayes.profiles.extrapolation import caution
from skillinfer_bayes.profiles.task import MatchResult, Task
from skillinfer_bayes.routing.interfaces import BatchMatcher, ProfileLike

if TYPE_CHECKING:
    import pandas as pd

#: How much of each profile to show: the task's skills, all of them, or so many.
type SkillChoice = Literal["task", "all"] | int

# A certain agent among uncertain ones does not fill the prompt with digits.
MOST_DIGITS = 5


@runtime_checkable
class BatchPredictor(Protocol):
    """A mapping of profiles that can predict all skills of all of its agents at once."""

    def to_dataframe(self) -> pd.DataFrame:
        """Return mean, std and source, indexed by agent and skill."""


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """What the prompt can say about one agent.

    Parameters
    ----------
    name : str
    skills : mapping of str to mapping
        `mean`, `std` and `source` of each skill that may be shown.
    match : MatchResult
        Task fit.
    normalized : bool
        Whether the task fit is rescaled by the history's range.
    metadata : mapping or None
    surprise : float, default 1.0
        Chance that an agent of the history is as unusual in its observed scores.
    """

    name: str
    skills: Mapping[str, Mapping[str, Any]]
    match: MatchResult
    normalized: bool
    metadata: Mapping[str, object] | None
    surprise: float = 1.0

    @property
    def warning(self) -> str:
        """What to say of an agent whose scores the history finds surprising; else nothing."""
        return caution(self.surprise)


def ask_profiles(
    task: Task,
    profiles: Mapping[str, ProfileLike],
    given: Mapping[str, ProfileLike],
    skills: tuple[str, ...],
    threshold: float | None,
) -> tuple[dict[str, dict[str, dict[str, Any]]], dict[str, MatchResult]]:
    """Give every agent's skills and task fit; a table that can do it in one pass is asked once."""
    if not isinstance(profiles, BatchPredictor) or not isinstance(profiles, BatchMatcher):
        rows = {
            name: {skill: dict(profile.predict(skill)) for skill in skills}
            for name, profile in given.items()
        }
        matches = {
            name: profile.match_score(task, threshold=threshold) for name, profile in given.items()
        }
        return rows, matches
    scores = profiles.match_scores(task, threshold=threshold)
    table = profiles.to_dataframe()
    columns = ("mean", "std", "source")
    every: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in given}
    for (name, skill), *values in zip(table.index, *(table[one] for one in columns), strict=True):
        every[name][skill] = dict(zip(columns, values, strict=True))
    rows = {name: {skill: found[skill] for skill in skills} for name, found in every.items()}
    fields = zip(*(scores[one].tolist() for one in MatchResult._fields), strict=True)
    results = (MatchResult(*row) for row in fields)
    if threshold is None:
        results = (row._replace(p_above_threshold=None) for row in results)
    return rows, dict(zip(scores.index, results, strict=True))


def wanted_skills(
    task: Task, profiles: Mapping[str, ProfileLike], skills: SkillChoice
) -> tuple[str, ...]:
    """List the skills to ask for, the task's first; ConfigError if `skills` cannot be used."""
    if skills == "task":
        return task.skills
    is_count = isinstance(skills, int) and not isinstance(skills, bool) and skills >= 1
    if skills != "all" and not is_count:
        raise ConfigError(
            f"`skills` must be 'task', 'all' or a number from 1, got {skills!r}; "
            "'task' shows the skills that the task weighs"
        )
    every = next(iter(profiles.values())).score_bounds
    return (*task.skills, *(skill for skill in every if skill not in task.skills))


def shown_skills(
    task: Task, wanted: tuple[str, ...], facts: Mapping[str, AgentFacts], skills: SkillChoice
) -> tuple[str, ...]:
    """List the skills that may be shown, the task's first, then the most often measured."""
    if not isinstance(skills, int):
        return wanted
    measured = {
        skill: sum(fact.skills[skill]["source"] == "observed" for fact in facts.values())
        for skill in wanted[len(task.skills) :]
    }
    others = sorted(measured, key=lambda skill: -measured[skill])
    # the task's skills are kept even where fewer are shown: they set the task fit's decimals
    return (*task.skills, *others[: max(skills - len(task.skills), 0)])


def decimal_places(
    skill: str, profiles: Mapping[str, ProfileLike], facts: Mapping[str, AgentFacts]
) -> int:
    """Decimal places: two on a 0-1 scale, one on 0-100, none for Elo ratings.

    On smaller scales, and where all that is shown would be zero, so many that two digits of every
    std are seen.
    """
    largest = 0.0
    for name, profile in profiles.items():
        lower, upper = profile.score_bounds[skill]
        width = upper - lower
        size = width if math.isfinite(width) else abs(float(facts[name].skills[skill]["mean"]))
        largest = max(largest, size)
    usual = 2 if largest < 10 else 1 if largest < 1000 else 0
    rows = [fact.skills[skill] for fact in facts.values()]
    numbers = [abs(float(row[part])) for row in rows for part in ("mean", "std")]
    if largest >= 1 and any(round(number, usual) for number in numbers):
        return usual
    return max(usual, _fine_places(numbers, [float(row["std"]) for row in rows]))


def _fine_places(numbers: list[float], stds: list[float]) -> int:
    """Decimal places that show two digits of the smallest std, and not too many of any number."""
    smallest = min((std for std in stds if 0 < std < math.inf), default=0.0)
    if not smallest:
        return 0
    most = max(number for number in numbers if number < math.inf)
    return min(1 - _magnitude(smallest), MOST_DIGITS - _magnitude(most))


def _magnitude(number: float) -> int:
    return math.floor(math.log10(number))
