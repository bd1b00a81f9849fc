"""Agents compared on a task: who is best, how sure that is, and what a wrong choice would cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from skillinfer_bayes.exceptions import ConfigError
from skillinfer_bayes.profiles.engine import Kind
from skillinfer_bayes.profiles.joint import read_members, task_draws
from skillinfer_bayes.profiles.task import Skill, Task, as_task
from skillinfer_bayes.routing.interfaces import ProfileLike
from skillinfer_bayes.routing.metadata_values import is_number
from skillinfer_bayes.routing.orderings import (
    expected_ranks,
    expected_regrets,
    first_places,
    p_ahead,
)
from skillinfer_bayes.routing.utility import Utility, UtilityFunction, utility_draws

type FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Joint draws of what each agent is worth on a task, and all that follows from them.

    Made by `compare`; does not change. Equal agents share what they win: in a draw in which two
    are equal, each counts as ahead by half.

    Parameters
    ----------
    values : DataArray with dims (chain, draw, agent)
        Match scores, or utilities where a utility was given.
    quantile : float, optional
        The choice is the agent whose value at this quantile is the highest; without it, the one
        with the highest expected value.
    """

    values: xr.DataArray
    quantile: float | None = None

    @cached_property
    def _flat(self) -> FloatArray:
        return np.asarray(self.values.values, dtype=np.float64).reshape(-1, len(self.agents))

    def _label(self, values: FloatArray, name: str) -> xr.DataArray:
        return xr.DataArray(values, dims="agent", coords={"agent": self.agents}, name=name)

    @cached_property
    def agents(self) -> list[str]:
        """Names of the A agents, in the order of the profiles."""
        return [str(name) for name in self.values["agent"].values]

    @cached_property
    def expected(self) -> xr.DataArray:
        """Expected value of each agent, dims (agent)."""
        return self._label(self._flat.mean(axis=0), f"expected_{self.values.name}")

    @cached_property
    def p_best(self) -> xr.DataArray:
        """Probability that each agent is the best, dims (agent); adds up to 1."""
        return self._label(first_places(self._flat).mean(axis=0), "p_best")

    @cached_property
    def p_better(self) -> xr.DataArray:
        """Probability that `agent` is better than `agent_bis`; one half on the diagonal."""
        coords = {"agent": self.agents, "agent_bis": self.agents}
        dims = ("agent", "agent_bis")
        return xr.DataArray(p_ahead(self._flat), dims=dims, coords=coords, name="p_better")

    @cached_property
    def expected_rank(self) -> xr.DataArray:
        """Expected place, 1 the best, dims (agent)."""
        return self._label(expected_ranks(self.p_better.values), "expected_rank")

    @cached_property
    def expected_regret(self) -> xr.DataArray:
        """What choosing each agent is expected to lose against the best one, dims (agent)."""
        return self._label(expected_regrets(self._flat), "expected_regret")

    @cached_property
    def criterion(self) -> xr.DataArray:
        """What the choice maximises: the expected value, or its quantile; dims (agent)."""
        if self.quantile is None:
            return self.expected
        return self._label(np.quantile(self._flat, self.quantile, axis=0), "quantile")

    @cached_property
    def choice(self) -> str:
        """The agent with the highest criterion; of equal ones the first by name."""
        return self.agents[self._order[0]]

    @cached_property
    def _order(self) -> list[int]:
        """Positions of the agents, the best by the criterion first, equal ones by name."""
        keys = list(zip(-self.criterion.values, self.agents, strict=True))
        return sorted(range(len(keys)), key=keys.__getitem__)

    @property
    def p_wrong(self) -> float:
        """Probability that another agent than the choice is the best."""
        return float(1.0 - self.p_best.sel(agent=self.choice))

    @property
    def regret(self) -> float:
        """Expected regret of the choice: the most that knowing everything could be worth."""
        return float(self.expected_regret.sel(agent=self.choice))

    def indistinguishable(self, prob: float = 0.95) -> list[str]:
        """List the choice and the agents that it cannot be told apart from, the best first.

        Parameters
        ----------
        prob : float, default 0.95
            How probable it must be that the choice is better than an agent for the two to count
            as told apart; at least one half.

        Raises
        ------
        ConfigError
            If `prob` is not between one half and 1.
        """
        if not is_number(prob) or not 0.5 <= prob < 1.0:
            raise ConfigError(f"`prob` must be at least 0.5 and below 1, got {prob!r}")
        ahead = self.p_better.sel(agent=self.choice).values
        first, *others = self._order
        return [self.agents[row] for row in (first, *(row for row in others if ahead[row] < prob))]

    def sample(self, random_seed: int | None = None) -> str:
        """Draw an agent with the probability that it is the best, to explore.

        Parameters
        ----------
        random_seed : int, optional
            Default: a fresh one, so that each call may give another agent.

        Returns
        -------
        str

        Raises
        ------
        ConfigError
            If `random_seed` cannot be used.

        References
        ----------
        .. [1] Thompson (1933). On the likelihood that one unknown probability exceeds another in
           view of the evidence of two samples. doi:10.1093/biomet/25.3-4.285
        """
        rng = _generator(random_seed)
        drawn = self._flat[rng.integers(len(self._flat))]
        best = np.flatnonzero(drawn == drawn.max())
        return self.agents[int(rng.choice(best))]

    def to_dataframe(self) -> pd.DataFrame:
        """Give one row per agent, the best by the criterion first.

        Returns
        -------
        DataFrame indexed by agent
            The expected value (`expected_match_score` or `expected_utility`), `std`, `p_best`,
            `expected_rank`, `expected_regret`, and `quantile` where the choice is by one.
        """
        parts = [self.expected, self.p_best, self.expected_rank, self.expected_regret]
        columns = {str(part.name): part.values for part in parts}
        table = pd.DataFrame(columns, index=pd.Index(self.agents, name="agent"))
        table.insert(1, "std", self._flat.std(axis=0))
        if self.quantile is not None:
            table["quantile"] = self.criterion.values
        return table.iloc[self._order]

    def to_dict(self) -> dict[str, Any]:
        """Give the summary as plain data that JSON can hold, without draws."""
        table = self.to_dataframe()
        return {
            "choice": self.choice,
            "value": str(self.values.name),
            "quantile": self.quantile,
            "p_wrong": self.p_wrong,
            "expected_regret": self.regret,
            "indistinguishable": self.indistinguishable(),
            "agents": {str(name): row for name, row in table.to_dict(orient="index").items()},
        }

    def __str__(self) -> str:
        table = self.to_dataframe().to_string(float_format="{:.4g}".format)
        return f"{self!r}\n{table}"

    def __repr__(self) -> str:
        many = len(self.agents)
        return (
            f"Comparison({many} agent{'s' * (many != 1)}, choice: {self.choice!r}, P(wrong) = "
            f"{self.p_wrong:.2f}, expected regret {self.regret:.3g})"
        )


def compare(
    task: Task | Mapping[str, float] | Mapping[str | Skill, float],
    profiles: Mapping[str, ProfileLike],
    *,
    utility: Utility | UtilityFunction | None = None,
    metadata: Mapping[str, Mapping[str, object]] | None = None,
    quantile: float | None = None,
    kind: Kind = "skill",
) -> Comparison:
    """Compare agents on a task by joint posterior draws.

    Agents share the posterior draw of the population and are independent given it, as the model
    has them. Numbers carry the draws' Monte Carlo error: for a probability about
    ``0.5 / sqrt(n)`` at most with n effective draws, which are fewer than the posterior's draws
    where these are correlated.

    Parameters
    ----------
    task : Task or mapping of str or Skill to float
        How much each skill counts.
    profiles : mapping of str to Profile, or Profiles
        Of one population. Pass the eligible agents only (see `apply_constraints`).
    utility : Utility or callable, optional
        What a match score is worth given an agent's metadata. Default: the match score itself.
    metadata : mapping of str to mapping, optional
        Cost, latency and so on by agent, for the utility.
    quantile : float, optional
        Between 0 and 1. Choose by this quantile of the value instead of its expectation: 0.1 is
        cautious, since it compares what agents reach with probability 0.9.
    kind : {"skill", "score"}, default "skill"
        Compare latent skills, or scores that would be measured.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError, PopulationMismatchError
        If there are no profiles, or they do not belong together.
    UnknownSkillError, TaskError
        If the task does not fit the population.
    ConfigError
        If an option cannot be used.
    MetadataError
        If the utility needs metadata that are missing.
    """
    if quantile is not None and not (is_number(quantile) and 0.0 < quantile < 1.0):
        hint = (
            f"; did you mean {quantile / 100:g}?"
            if is_number(quantile) and 1 < quantile < 100
            else ""
        )
        raise ConfigError(f"`quantile` must be between 0 and 1, got {quantile!r}{hint}")
    wanted = as_task(task)
    values = task_draws(read_members(profiles), wanted, kind=kind)
    if utility is not None:
        values = utility_draws(values, utility, metadata)
    values.values.setflags(write=False)
    return Comparison(values, None if quantile is None else float(quantile))


def _generator(random_seed: int | None) -> np.random.Generator:
    try:
        return np.random.default_rng(random_seed)
    except (TypeError, ValueError):
        raise ConfigError(
            f"`random_seed` must be a whole number from 0, got {random_seed!r}; leave it out for "
            "a fresh one"
        ) from None
