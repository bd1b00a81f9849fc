"""Who can be chosen, and whom the profiles alone would choose."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol, runtime_checkable

from skillinfer_bayes.exceptions import DecisionError
from skillinfer_bayes.profiles.profile import Profile
from skillinfer_bayes.profiles.task import Task
from skillinfer_bayes.routing.compare import compare
from skillinfer_bayes.routing.constraints import Constraint, apply_constraints
from skillinfer_bayes.routing.decision import Candidate, Exclusion
from skillinfer_bayes.routing.interfaces import HasPopulation, ProfileLike, check_profiles
from skillinfer_bayes.routing.labels import agent_label
from skillinfer_bayes.routing.prompt_agents import AgentTexts
from skillinfer_bayes.routing.prompt_facts import AgentFacts
from skillinfer_bayes.routing.prompt_metadata import check_metadata
from skillinfer_bayes.routing.records import plain
from skillinfer_bayes.routing.utility import Utility, UtilityFunction

# What a decision's record says about the software that made it.
RECORDED_PACKAGES = ("skillinfer-bayes", "numpy", "openai", "pandas", "scipy", "xarray")


@runtime_checkable
class HasObservations(Protocol):
    """A profile that says which scores were measured."""

    @property
    def observations(self) -> Mapping[str, float]:
        """Measured score of each observed skill."""


@dataclass(frozen=True, slots=True)
class Field:
    """Who can be chosen, who not, and in which order the profiles prefer them.

    Parameters
    ----------
    profiles : mapping of str to Profile
        Of the eligible agents.
    metadata : mapping of str to mapping, or None
        Of the eligible agents.
    exclusions : tuple of Exclusion
    limits : tuple of str
        The hard limits as they were read.
    """

    profiles: Mapping[str, ProfileLike]
    metadata: Mapping[str, Mapping[str, object]] | None
    exclusions: tuple[Exclusion, ...] = ()
    limits: tuple[str, ...] = ()


def find_eligible(
    task: Task,
    profiles: Mapping[str, ProfileLike],
    metadata: Mapping[str, Mapping[str, object]] | None,
    limits: str | Constraint | Iterable[str | Constraint],
) -> Field:
    """Leave out the agents that do not keep the hard limits.

    Parameters
    ----------
    task : Task
    profiles : mapping of str to Profile
    metadata : mapping of str to mapping, optional
    limits : str, Constraint, or several of them

    Returns
    -------
    Field
        Everybody, where there are no limits.

    Raises
    ------
    ConstraintError, MetadataError, InputError, PopulationMismatchError
        As `skillinfer_bayes.routing.constraints.apply_constraints`.
    """
    check_profiles(profiles)
    wanted = limits if isinstance(limits, str) or not isinstance(limits, Iterable) else [*limits]
    check_metadata(metadata, profiles)
    if wanted == []:
        return Field(profiles, metadata)
    found = apply_constraints(wanted, profiles, metadata, task=task)
    return Field(
        found.select(profiles),
        None if metadata is None else found.select(metadata),
        tuple(Exclusion(agent, reasons) for agent, reasons in found.excluded.items()),
        tuple(map(str, found.constraints)),
    )


def eligible_or_error(field: Field) -> Field:
    """Give the field back if anybody is eligible.

    Raises
    ------
    DecisionError
        If the limits exclude everybody; it says what keeps out the first.
    """
    if field.exclusions and not field.profiles:
        first = field.exclusions[0]
        raise DecisionError(
            f"the limits must leave at least one agent, got none: {agent_label(first.agent)} "
            f"{first.reasons[0]}, and so on; relax a limit"
        )
    return field


def evaluate_candidates(
    task: Task,
    field: Field,
    agents: AgentTexts,
    utility: Utility | UtilityFunction | None,
    quantile: float | None,
) -> tuple[Candidate, ...]:
    """Say what each candidate is worth, the one that the profiles would choose first.

    Profiles of a population are compared by their joint draws; others, and only where no utility
    is asked for, by their expected scores.

    Parameters
    ----------
    task : Task
    field : Field
        With at least one agent.
    agents : AgentTexts
        What the profiles say about the task.
    utility, quantile
        As in `skillinfer_bayes.routing.compare.compare`.

    Returns
    -------
    tuple of Candidate
        The best first, equal ones by name.

    Raises
    ------
    InputError, ConfigError, MetadataError, PopulationMismatchError
        As `compare`.
    """
    profiles = field.profiles
    known = all(isinstance(profile, Profile) for profile in profiles.values())
    comparison = None
    if known or utility is not None or quantile is not None:
        comparison = compare(
            task, profiles, utility=utility, metadata=field.metadata, quantile=quantile
        )
    found = {name: _candidate(agents.facts[name], profile) for name, profile in profiles.items()}
    worth = {name: candidate.score for name, candidate in found.items()}
    if comparison is not None:
        parts = (comparison.p_best, comparison.expected_regret, comparison.expected)
        for at, name in enumerate(comparison.agents):
            p_best, regret, expected = (float(part.values[at]) for part in parts)
            found[name] = replace(
                found[name],
                p_best=p_best,
                expected_regret=regret,
                utility=None if utility is None else expected,
            )
            if utility is not None or quantile is not None:
                worth[name] = float(comparison.criterion.values[at])
    order = sorted(found, key=lambda name: (-worth[name], name))
    return tuple(found[name] for name in order)


def _candidate(facts: AgentFacts, profile: ProfileLike) -> Candidate:
    observed = dict(profile.observations) if isinstance(profile, HasObservations) else {}
    return Candidate(
        facts.name,
        float(facts.match.score),
        float(facts.match.std),
        facts.match.p_above_threshold,
        observations=observed,
        metadata=plain(facts.metadata or {}),
    )


def population_of(profiles: Mapping[str, ProfileLike]) -> str | None:
    """Give the identity of the population that all profiles belong to, where they say so."""
    ids = {
        profile.population_id if isinstance(profile, HasPopulation) else None
        for profile in profiles.values()
    }
    return ids.pop() if len(ids) == 1 else None


def recorded_utility(utility: Utility | UtilityFunction | None) -> dict[str, Any] | None:
    """Give a utility's weights, or the name of the function; None without one."""
    if utility is None:
        return None
    if isinstance(utility, Utility):
        return utility.to_dict()
    return {"function": str(getattr(utility, "__qualname__", type(utility).__qualname__))}


def recorded_versions() -> dict[str, str]:
    """Give the versions of Python, this package and the libraries that it uses."""
    found = {"python": platform.python_version()}
    for name in RECORDED_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
