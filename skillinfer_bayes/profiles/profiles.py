"""Many agents' profiles at once: a table with its draws, and nothing that changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd
import xarray as xr

from skillinfer_bayes.exceptions import UnknownAgentError, closest_match_hint
from skillinfer_bayes.profiles.context import Context
from skillinfer_bayes.profiles.engine import Kind, Method
from skillinfer_bayes.profiles.evidence import Evidence
from skillinfer_bayes.profiles.profile import Profile
from skillinfer_bayes.profiles.surprise import surprise
from skillinfer_bayes.profiles.tables import (
    draws_array,
    match_frame,
    summary_dataset,
    summary_frame,
)
from skillinfer_bayes.profiles.task import Task


class Profiles(Mapping[str, Profile]):
    """Profiles of A agents, made by `Population.profiles` or `Population.completed`.

    A mapping from agent to `Profile`, in the table's order; each look-up gives a fresh profile,
    so what is observed on it leaves this table as it is. Scores are in the history's units.

    Parameters
    ----------
    context : Context
    evidence : Evidence
        What was measured of each agent.
    """

    def __init__(self, context: Context, evidence: Evidence) -> None:
        self._context = context
        self._evidence = evidence

    @property
    def agents(self) -> tuple[str, ...]:
        """Names of the A agents."""
        return self._evidence.agents

    @property
    def skills(self) -> tuple[str, ...]:
        """Names of the K skills."""
        return self._context.skills

    @property
    def population_id(self) -> str:
        """Identity of the population."""
        return self._context.population_id

    @property
    def normalized(self) -> bool:
        """Whether match scores rescale each skill to 0-1 by the history's range."""
        return self._context.normalize

    def __getitem__(self, agent: str) -> Profile:
        try:
            position = self.agents.index(agent)
        except ValueError:
            hint = closest_match_hint(agent, self.agents)
            raise UnknownAgentError(f"unknown agent {agent!r}; {hint}") from None
        observations = self._evidence.observations_of(position, self.skills)
        evidence = self._evidence
        group, covariates = self._context.design.describe(
            evidence.design[position], bool(evidence.unknown_group[position])
        )
        return Profile(
            self._context,
            agent,
            group=group,
            covariates=covariates,
            reweight=evidence.reweight,
            observations=observations,
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self.agents)

    def __len__(self) -> int:
        return len(self.agents)

    def __contains__(self, agent: object) -> bool:
        return agent in self.agents

    @property
    def surprise(self) -> pd.Series:
        """How unusual each agent's scores are, indexed by agent; see `Profile.surprise`."""
        values = surprise(self._context.posterior, self._evidence)
        return pd.Series(values, index=pd.Index(list(self.agents), name="agent"), name="surprise")

    def to_dataset(
        self, *, ci_prob: float = 0.9, kind: Kind = "skill", method: Method = "auto"
    ) -> xr.Dataset:
        """Summaries as a Dataset.

        Parameters
        ----------
        ci_prob : float, default 0.9
            Mass of the equal-tailed intervals.
        kind : {"skill", "score"}, default "skill"
            The latent skill, or a score that would be measured.
        method : {"auto", "exact", "fast"}, default "auto"
            `"exact"` integrates the mixture over all posterior draws, `"fast"` keeps its first
            four moments or, with latent classes, puts alike components together; `"auto"` is exact
            up to 50 agents, with latent classes up to 10.

        Returns
        -------
        Dataset with dims (agent, skill)
            `mean`, `std`, `lower`, `upper` in score units; `observed` (bool).

        Raises
        ------
        ConfigError
            If an option cannot be used.
        """
        summary = self._context.engine.summarise(
            self._evidence, ci_prob=ci_prob, kind=kind, method=method
        )
        return summary_dataset(self._context, self._evidence, summary)

    def to_dataframe(
        self, *, ci_prob: float = 0.9, kind: Kind = "skill", method: Method = "auto"
    ) -> pd.DataFrame:
        """Summaries as a DataFrame indexed by (agent, skill), with `source`; see `to_dataset`."""
        summary = self._context.engine.summarise(
            self._evidence, ci_prob=ci_prob, kind=kind, method=method
        )
        return summary_frame(self._context, self._evidence, summary)

    def match_scores(
        self,
        task: Task | Mapping[str, float],
        threshold: float | None = None,
        *,
        ci_prob: float = 0.9,
        method: Method = "auto",
    ) -> pd.DataFrame:
        """Match scores of all agents, indexed by agent; see `Profile.match_score`.

        Returns
        -------
        DataFrame
            `score`, `std`, `lower`, `upper` and `p_above_threshold` (NaN without a threshold).
        """
        return match_frame(self._context, self._evidence, task, threshold, ci_prob, method)

    def draws(self, *, kind: Kind = "skill") -> xr.DataArray:
        """Joint posterior predictive draws, dims (chain, draw, agent, skill), score units.

        Every agent uses the same posterior draw and the same random numbers at the same index,
        so differences between agents' skills carry no noise of their own. Scores that are counts of
        items are the exception: each agent has its own luck. So is `reweight=True`, where each
        agent's own scores choose its posterior draws; `compare` weighs them by all agents' scores.
        """
        return draws_array(self._context, self._evidence, kind)

    def __repr__(self) -> str:
        filled = float(self._evidence.observed.mean()) if len(self) else 0.0
        return f"Profiles({len(self)} agents x {len(self.skills)} skills, {filled:.0%} observed)"
