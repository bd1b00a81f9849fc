"""Hard limits: which agents may be chosen at all, and why the others may not.

A limit is shown to hold or the agent is out: what is not known excludes. Wishes that a reader
should weigh are no limits; they go to the orchestrating model as text.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from skillinfer_bayes.exceptions import (
    ConstraintError,
    InputError,
    MetadataError,
    ThresholdError,
    closest_match_hint,
)
from skillinfer_bayes.profiles.profile import Profile
from skillinfer_bayes.profiles.task import Skill, Task, as_task
from skillinfer_bayes.routing.constraint_grammar import (
    Constraint,
    MetadataLimit,
    ObservedSkills,
    ProbabilityLimit,
    parse_constraint,
)
from skillinfer_bayes.routing.interfaces import BatchMatcher, ProfileLike, check_profiles
from skillinfer_bayes.routing.labels import agent_label, one_line
from skillinfer_bayes.routing.metadata_values import (
    check_by_agent,
    is_missing,
    is_number,
    plain_value,
    read_decimal,
)

__all__ = [
    "Constraint",
    "Eligibility",
    "MetadataLimit",
    "ObservedSkills",
    "ProbabilityLimit",
    "apply_constraints",
    "parse_constraint",
]

type Metadata = Mapping[str, Mapping[str, object]]

SYMBOLS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


@runtime_checkable
class HasTails(Protocol):
    """A profile that knows how probable levels of a skill are."""

    def p_above(self, skill: str, threshold: float, /) -> float:
        """Return the probability that a skill lies above a threshold."""


@dataclass(frozen=True)
class Eligibility:
    """Who may be chosen, and why the others may not.

    Attributes
    ----------
    eligible : tuple of str
        In the order of the profiles; may be empty.
    excluded : mapping from str to tuple of str
        One reason per limit that the agent does not meet.
    constraints : tuple of Constraint
        The limits, as they were read.
    """

    eligible: tuple[str, ...]
    excluded: Mapping[str, tuple[str, ...]]
    constraints: tuple[Constraint, ...]

    def __str__(self) -> str:
        names = ", ".join(map(agent_label, self.eligible)) or "none"
        total = len(self.eligible) + len(self.excluded)
        lines = [f"{len(self.eligible)} of {total} agents eligible: {names}"]
        for agent, reasons in self.excluded.items():
            lines.append(f"left out: {agent_label(agent)}: {'; '.join(reasons)}")
        return "\n".join(lines)

    def select[P](self, items: Mapping[str, P]) -> dict[str, P]:
        """Keep what belongs to eligible agents: profiles, metadata."""
        return {agent: items[agent] for agent in self.eligible if agent in items}

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain data that JSON can hold."""
        return {
            "eligible": list(self.eligible),
            "excluded": {agent: list(reasons) for agent, reasons in self.excluded.items()},
            "constraints": [str(constraint) for constraint in self.constraints],
        }


def apply_constraints(
    constraints: str | Constraint | Iterable[str | Constraint],
    profiles: Mapping[str, ProfileLike],
    metadata: Metadata | None = None,
    *,
    task: Task | Mapping[str, float] | Mapping[str | Skill, float] | None = None,
) -> Eligibility:
    """Find the agents that meet all limits.

    Parameters
    ----------
    constraints : str, Constraint, or several of them
        Texts are read by `parse_constraint`.
    profiles : mapping of str to Profile, or Profiles
    metadata : mapping of str to mapping, optional
        By agent, for limits on metadata; may name more agents.
    task : Task or mapping of str to float, optional
        For limits on the probability of the task's score, ``P(task > 0.8) >= 0.9``.

    Returns
    -------
    Eligibility

    Raises
    ------
    ConstraintError
        If a text is no constraint, or a limit needs a task and there is none.
    MetadataError
        If no agent has the metadata that a limit is about, or they are not by agent.
    UnknownSkillError, TaskError, ThresholdError
        If a limit or the task does not fit the population.
    InputError
        If `profiles` is no mapping, or a limit is about probabilities and a profile has none.
    PopulationMismatchError
        If the profiles belong to several populations.
    """
    check_profiles(profiles)
    check_by_agent(metadata)
    limits = _read(constraints)
    found = {agent: _facts(metadata, agent) for agent in profiles}
    excluded: dict[str, list[str]] = {agent: [] for agent in profiles}
    for limit in limits:
        match limit:
            case MetadataLimit():
                reasons = _metadata_reasons(limit, found)
            case ProbabilityLimit():
                reasons = _probability_reasons(limit, profiles, task)
            case ObservedSkills():
                reasons = _observed_reasons(limit, profiles)
        for agent, reason in reasons.items():
            excluded[agent].append(one_line(reason))
    return Eligibility(
        eligible=tuple(agent for agent, reasons in excluded.items() if not reasons),
        excluded=MappingProxyType({name: tuple(why) for name, why in excluded.items() if why}),
        constraints=limits,
    )


def _read(constraints: object) -> tuple[Constraint, ...]:
    kinds = (MetadataLimit, ProbabilityLimit, ObservedSkills)
    if isinstance(constraints, str | MetadataLimit | ProbabilityLimit | ObservedSkills):
        constraints = [constraints]
    if not isinstance(constraints, Iterable):
        raise ConstraintError(
            f"`constraints` must be texts or constraints, got {constraints!r}; write for example "
            "['latency_ms < 1000']"
        )
    return tuple(one if isinstance(one, kinds) else parse_constraint(one) for one in constraints)


def _facts(metadata: Metadata | None, agent: str) -> dict[str, object]:
    """Give an agent's metadata by the texts of their keys, as limits name them."""
    facts = (metadata or {}).get(agent, {})
    if not isinstance(facts, Mapping):
        raise MetadataError(
            f"`metadata` must map each agent to a mapping, got {facts!r} for {agent!r}; write for "
            "example {'cost_per_1k': 0.005}"
        )
    return {str(key): value for key, value in facts.items()}


def _metadata_reasons(
    limit: MetadataLimit, found: Mapping[str, Mapping[str, object]]
) -> dict[str, str]:
    known = list(dict.fromkeys(key for facts in found.values() for key in facts))
    if limit.key not in known:
        hint = closest_match_hint(limit.key, known) if known else "pass `metadata`"
        raise MetadataError(
            f"the constraint {str(limit)!r} needs metadata {limit.key!r}, got none for any agent; "
            f"{hint}"
        )
    reasons = {}
    for agent, facts in found.items():
        problem = _metadata_problem(limit, facts.get(limit.key))
        if problem:
            reasons[agent] = f"needs {limit}; {problem}"
    return reasons


def _metadata_problem(limit: MetadataLimit, value: object) -> str | None:
    """Why a value does not meet a limit; None where it does."""
    value = plain_value(value)
    if is_missing(value):
        return "it is not known"
    numeric = is_number(limit.value)
    if numeric and isinstance(value, str):
        value = read_decimal(value)
    same_kind = is_number(value) if numeric else isinstance(value, type(limit.value))
    if not same_kind:
        wanted = "a number" if numeric else type(limit.value).__name__
        return f"it is {_shown(value)}, which is not {wanted}"
    return None if SYMBOLS[limit.comparison](value, limit.value) else f"it is {_shown(value)}"


def _probability_reasons(
    limit: ProbabilityLimit, profiles: Mapping[str, ProfileLike], task: Any
) -> dict[str, str]:
    above = (
        _p_skill(limit, limit.skill, profiles) if limit.skill else _p_task(limit, profiles, task)
    )
    holds, reasons = SYMBOLS[limit.bound], {}
    for agent, p_above in above.items():
        probability = 1.0 - p_above if limit.comparison.startswith("<") else p_above
        if not holds(probability, limit.probability):
            reasons[agent] = f"needs {limit}; the probability is {probability:.3g}"
    return reasons


def _p_skill(
    limit: ProbabilityLimit, skill: str, profiles: Mapping[str, ProfileLike]
) -> dict[str, float]:
    result = {}
    for agent, profile in profiles.items():
        if not isinstance(profile, HasTails):
            raise InputError(
                f"`profiles` must have a method p_above for the constraint {str(limit)!r}, got "
                f"{type(profile).__name__} for {agent!r}; use `Population.profile`"
            )
        result[agent] = _upper_side(limit, partial(profile.p_above, skill), 1.0)
    return result


def _p_task(
    limit: ProbabilityLimit, profiles: Mapping[str, ProfileLike], task: Any
) -> dict[str, float]:
    if task is None:
        raise ConstraintError(
            f"the constraint {str(limit)!r} is about the task, got no `task`; pass it, or put the "
            "name in double quotes if it is a skill's"
        )
    wanted = as_task(task)

    def of_all(threshold: float) -> dict[str, float]:
        if isinstance(profiles, BatchMatcher):
            column = profiles.match_scores(wanted, threshold)["p_above_threshold"]
            return {str(agent): float(value) for agent, value in column.items()}
        matches = {name: one.match_score(wanted, threshold) for name, one in profiles.items()}
        return {name: float(one.p_above_threshold or 0.0) for name, one in matches.items()}

    return _upper_side(limit, of_all, dict.fromkeys(profiles, 1.0))


def _upper_side[P](limit: ProbabilityLimit, p_above: Callable[[float], P], certain: P) -> P:
    """Probability of exceeding the threshold, or of reaching it where that is what counts."""
    if limit.comparison in (">", "<="):
        return p_above(limit.threshold)
    try:
        return p_above(math.nextafter(limit.threshold, -math.inf))
    except ThresholdError:
        p_above(limit.threshold)  # raises unless the threshold is the scale's lower end
        return certain


def _observed_reasons(limit: ObservedSkills, profiles: Mapping[str, ProfileLike]) -> dict[str, str]:
    reasons = {}
    for agent, profile in profiles.items():
        missing = [skill for skill in limit.skills if not _is_observed(profile, skill)]
        if missing:
            reasons[agent] = f"needs {limit}; inferred only: {', '.join(missing)}"
    return reasons


def _is_observed(profile: ProfileLike, skill: str) -> bool:
    if isinstance(profile, Profile) and skill in profile.skills:
        return skill in profile.observed
    return bool(profile.predict(skill)["source"] == "observed")


def _shown(value: object) -> str:
    return one_line(repr(str(value)) if isinstance(value, str) else str(value))
