"""What routing needs from a profile: the least that ranking and the prompt can work with.

Written as protocols, so that anything that can predict a skill and score a task can be routed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from skillinfer_bayes.exceptions import InputError, PopulationMismatchError
from skillinfer_bayes.profiles.task import MatchResult, Task

if TYPE_CHECKING:
    import pandas as pd


class ProfileLike(Protocol):
    """One agent's skills."""

    @property
    def descriptions(self) -> Mapping[str, str]:
        """What the skills measure, for those that have a description."""

    @property
    def score_bounds(self) -> Mapping[str, tuple[float, float]]:
        """Lowest and highest possible score of each skill; infinite where there is none."""

    def predict(self, skill: str, /) -> Mapping[str, Any]:
        """Return mean, std and source ("observed" or "inferred") of one skill."""

    def match_score(
        self, task: Task, threshold: float | None = None, *, ci_prob: float = 0.9
    ) -> MatchResult:
        """Return how well the agent fits a task."""


@runtime_checkable
class BatchMatcher(Protocol):
    """A mapping of profiles that can score a task for all of its agents at once."""

    def match_scores(
        self, task: Task, threshold: float | None = None, *, ci_prob: float = 0.9
    ) -> pd.DataFrame:
        """Return score, std, lower, upper and p_above_threshold, indexed by agent."""


@runtime_checkable
class HasNormalized(Protocol):
    """A profile that says whether match scores are rescaled by the history's range."""

    @property
    def normalized(self) -> bool:
        """Whether 0 and 1 stand for the lowest and highest scores of the history."""


@runtime_checkable
class HasSurprise(Protocol):
    """A profile that says how unusual its observed scores are."""

    @property
    def surprise(self) -> float:
        """Chance that an agent of the history is as unusual; 1 without observed scores."""


@runtime_checkable
class HasPopulation(Protocol):
    """A profile that says which population it belongs to."""

    @property
    def population_id(self) -> str:
        """Identity of the population."""


def check_profiles(profiles: Mapping[str, ProfileLike]) -> None:
    """Check that profiles are given by agent, and that their scores can be compared.

    Parameters
    ----------
    profiles : mapping of str to Profile
        May be empty. Those that do not say which population they are of can go with any other.

    Raises
    ------
    InputError
        If it is no mapping, or something in it is no profile.
    PopulationMismatchError
        If the profiles belong to several populations.
    """
    given: object = profiles
    if not isinstance(given, Mapping):
        raise InputError(
            f"`profiles` must map agents to profiles, got {type(profiles).__name__}; write for "
            "example {'agent-a': population.profile()}"
        )
    if isinstance(profiles, BatchMatcher):  # scored together, so of one population
        return
    first: str | None = None
    for agent, profile in profiles.items():
        if not hasattr(profile, "match_score"):
            raise InputError(
                f"`profiles` must hold profiles, got {type(profile).__name__} for {agent!r}; use "
                "`Population.profile`"
            )
        found = profile.population_id if isinstance(profile, HasPopulation) else None
        first = found if first is None else first
        if found is not None and found != first:
            raise PopulationMismatchError(
                f"`profiles` must be of one population, got {first} and, for {agent!r}, {found}; "
                "make them anew from one population"
            )


def surprise_of(profile: ProfileLike) -> float:
    """Tell how unusual a profile's observed scores are.

    Parameters
    ----------
    profile : ProfileLike
        A profile that does not say so is taken not to be unusual at all.

    Returns
    -------
    float
        Probability; small is unusual.
    """
    return float(profile.surprise) if isinstance(profile, HasSurprise) else 1.0


def is_normalized(profile: ProfileLike) -> bool:
    """Tell whether a profile's match scores are rescaled by the history's range.

    Parameters
    ----------
    profile : ProfileLike
        A profile that does not say so is taken to use the skills' own units.

    Returns
    -------
    bool
    """
    return isinstance(profile, HasNormalized) and profile.normalized
