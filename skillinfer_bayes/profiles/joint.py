"""Draws of several agents at once, as joint draws: what comparisons between agents need.

Given the population, agents are independent. `Profiles.draws` lends every agent the same random
numbers, which takes noise out of differences between means, but makes agents with the same
skills observed move together: whether one beats another must not be read off those draws. Here
agents share the posterior draw and nothing else. An agent's numbers are seeded by the population
and its name, so they do not depend on which other agents are in the table: but for profiles that
weigh the posterior draws, which are then weighed by the scores of all of them together.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from skillinfer_bayes.exceptions import (
    PACKAGE_FOLDER,
    InputError,
    ObservationWarning,
    PopulationMismatchError,
)
from skillinfer_bayes.inference.posterior import Posterior
from skillinfer_bayes.profiles.context import Context
from skillinfer_bayes.profiles.engine import Kind
from skillinfer_bayes.profiles.evidence import Evidence
from skillinfer_bayes.profiles.profile import Profile
from skillinfer_bayes.profiles.profiles import Profiles
from skillinfer_bayes.profiles.reweighting import LARGEST_KHAT, resample
from skillinfer_bayes.profiles.task import Task

type FloatArray = NDArray[np.float64]


class Member(NamedTuple):
    """One agent of a comparison."""

    agent: str
    evidence: Evidence
    context: Context

    def draws(self, *kinds: Kind) -> tuple[FloatArray, ...]:
        """Joint draws of the agent's skills, score units, (S, K) for each kind asked for.

        A draw of kind "score" measures the draw of kind "skill" at the same index.
        """
        posterior = self.context.posterior
        text = f"{posterior.seed}:{self.agent}".encode("utf-8", "surrogatepass")
        seed = int.from_bytes(hashlib.sha256(text).digest()[:8])
        # made anew each time: an engine keeps its random numbers, which for many agents is a lot
        engine = replace(self.context.engine, posterior=_Reseeded(posterior.tree, seed))
        return tuple(engine.draws(self.evidence, kind=kind)[:, 0] for kind in kinds)


class Members(NamedTuple):
    """Agents that can be compared, and the population that they share."""

    context: Context
    members: tuple[Member, ...]

    @property
    def agents(self) -> list[str]:
        """Names of the A agents."""
        return [member.agent for member in self.members]

    def label(self, values: FloatArray, name: str) -> xr.DataArray:
        """Put names on draws (S, A) or (S, A, K): dims (chain, draw, agent) and skill."""
        posterior = self.context.posterior
        shape = (posterior.n_chains, posterior.n_draws, *values.shape[1:])
        dims = ("chain", "draw", "agent", "skill")[: len(shape)]
        coords: dict[str, Any] = {
            "chain": np.arange(shape[0]),
            "draw": np.arange(shape[1]),
            "agent": self.agents,
        }
        if len(shape) == 4:
            coords["skill"] = list(self.context.skills)
        return xr.DataArray(values.reshape(shape), dims=dims, coords=coords, name=name)


def read_members(profiles: Mapping[str, Any]) -> Members:
    """Take the population and the evidence out of profiles.

    Parameters
    ----------
    profiles : mapping of str to Profile, or Profiles
        At least one, all of one population.

    Returns
    -------
    Members

    Raises
    ------
    InputError
        If there is no profile, or one that a `Population` did not make.
    PopulationMismatchError
        If the profiles belong to several populations.

    Warns
    -----
    ObservationWarning
        If the scores of all profiles together weigh the posterior draws too unevenly.
    """
    given: object = profiles
    if not isinstance(given, Mapping) or not len(given):
        found = "an empty one" if isinstance(given, Mapping) else type(given).__name__
        raise InputError(
            f"`profiles` must be a mapping with at least one profile, got {found}; make profiles "
            "with a Population"
        )
    if isinstance(profiles, Profiles):
        context, whole = profiles._context, profiles._evidence
        evidences = {
            agent: whole.take(slice(row, row + 1)) for row, agent in enumerate(whole.agents)
        }
    else:
        context, evidences = _contents(profiles)
    if any(evidence.reweight for evidence in evidences.values()):
        context, evidences = _weighed_together(context, evidences)
    members = (Member(agent, evidence, context) for agent, evidence in evidences.items())
    return Members(context, tuple(members))


def _weighed_together(
    context: Context, evidences: Mapping[str, Evidence]
) -> tuple[Context, dict[str, Evidence]]:
    """Take the posterior draws that the scores of all agents that weigh them favour.

    What agents share is one population, so that one of them cannot have other draws than the rest.
    """
    weighing = [evidence for evidence in evidences.values() if evidence.reweight]
    log_density = sum(context.engine.log_density(evidence) for evidence in weighing)
    found = resample(np.asarray(log_density))
    if found.khat[0] > LARGEST_KHAT:
        warnings.warn(
            f"the scores of {len(weighing)} agents together weigh the posterior draws too unevenly "
            f"(k-hat {found.khat[0]:.2f}, at most {LARGEST_KHAT} can be trusted); compare fewer of "
            "them, or make the profiles without `reweight`",
            ObservationWarning,
            skip_file_prefixes=(PACKAGE_FOLDER,),
        )
    weighed = replace(context, posterior=context.posterior.take(found.draws[:, 0]))
    return weighed, {agent: replace(one, reweight=False) for agent, one in evidences.items()}


def _contents(profiles: Mapping[str, Any]) -> tuple[Context, dict[str, Evidence]]:
    contexts: list[Context] = []
    evidences: dict[str, Evidence] = {}
    for agent, profile in profiles.items():
        if not isinstance(profile, Profile):
            raise InputError(
                f"`profiles` must hold profiles that a Population made, got "
                f"{type(profile).__name__} for {agent!r}; use `Population.profile`"
            )
        contexts.append(profile._context)
        if profile.population_id != contexts[0].population_id:
            raise PopulationMismatchError(
                f"`profiles` must be of one population, got {contexts[0].population_id} and, for "
                f"{agent!r}, {profile.population_id}; make them anew from one population"
            )
        evidences[agent] = profile._evidence
    return contexts[0], evidences


def joint_draws(profiles: Mapping[str, Any], *, kind: Kind = "skill") -> xr.DataArray:
    """Joint draws of agents and skills, dims (chain, draw, agent, skill), score units.

    Unlike `Profiles.draws`, agents share posterior draws but no random numbers, so that any event
    that involves several agents has its posterior probability.

    Parameters
    ----------
    profiles : mapping of str to Profile, or Profiles
    kind : {"skill", "score"}, default "skill"
        The latent skill, or a score that would be measured.

    Raises
    ------
    InputError, PopulationMismatchError
        As `read_members`.
    """
    group = read_members(profiles)
    values = np.stack([member.draws(kind)[0] for member in group.members], axis=1)
    return group.label(values, "score" if kind == "score" else "skill_level")


def task_draws(group: Members, task: Task | Mapping[str, float], *, kind: Kind) -> xr.DataArray:
    """Joint draws of the match score of every agent, dims (chain, draw, agent).

    Raises
    ------
    UnknownSkillError, TaskError
        If the task does not fit the population.
    """
    context = group.context
    weights = context.weights(task)
    columns = [context.task_scores(member.draws(kind)[0], weights) for member in group.members]
    return group.label(np.stack(columns, axis=1), "match_score")


@dataclass(frozen=True, eq=False)
class _Reseeded(Posterior):
    """The same draws, and other random numbers for predictions."""

    own_seed: int = 0

    @property
    def seed(self) -> int:
        """Seed of the random numbers that predictions use."""
        return self.own_seed
