"""What is known of an agent besides its scores, as numbers that move its shared factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skillinfer_bayes.exceptions import InputError
from skillinfer_bayes.history.facts import constant_columns, find_groups, read_covariates
from skillinfer_bayes.history.table import History

type FloatArray = NDArray[np.float64]


class AgentDesign(NamedTuple):
    """Rows of the design of A agents.

    rows : (A, P + G), standardised covariates, then one column per group of the history
    unknown_group : (A,), True where the model has groups and the agent's is not among them
    """

    rows: FloatArray
    unknown_group: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Design:
    """How covariates and groups become columns: P covariates, then G groups.

    Covariates are centred and scaled by the history's own mean and standard deviation, so that
    the prior of their effects has the same meaning whatever their units. One that never differs in
    the history has spread 0, and moves nobody.
    """

    covariates: tuple[str, ...]
    centre: FloatArray
    spread: FloatArray
    groups: tuple[str, ...]

    @classmethod
    def of(cls, history: History) -> Design:
        """Read the columns off a history."""
        groups = () if history.groups is None else tuple(sorted(set(history.groups)))
        if history.covariates is None:
            return cls((), np.zeros(0), np.ones(0), groups)
        centre = history.covariates.mean(axis=0)
        constant = constant_columns(history.covariates)
        spread = np.where(constant, 0.0, history.covariates.std(axis=0, ddof=1))
        for array in (centre, spread):
            array.setflags(write=False)
        return cls(history.covariate_names, centre, spread, groups)

    @classmethod
    def without_columns(cls) -> Design:
        """Say that nothing is known of agents besides their scores."""
        return cls((), np.zeros(0), np.ones(0), ())

    @property
    def n_columns(self) -> int:
        """Number of columns, P + G."""
        return len(self.covariates) + len(self.groups)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the columns, by kind."""
        kinds = [("covariate", name) for name in self.covariates]
        kinds += [("group", name) for name in self.groups]
        return tuple(f"{kind}: {name}" for kind, name in kinds)

    def agents(
        self, covariates: FloatArray | None, groups: Sequence[str | None] | None, n_agents: int
    ) -> AgentDesign:
        """Rows of A agents.

        Parameters
        ----------
        covariates : array of shape (A, P) or None
            Complete; None only where the history has none.
        groups : sequence of A str or None
            A group that the history does not have, or None, is unknown: the agent's effect is
            then one more draw of the groups' distribution.
        n_agents : int
            A.
        """
        rows = np.zeros((n_agents, self.n_columns))
        if covariates is not None and self.covariates:
            columns = rows[:, : len(self.covariates)]
            np.divide(covariates - self.centre, self.spread, out=columns, where=self.spread > 0)
        unknown = np.zeros(n_agents, dtype=bool)
        if self.groups:
            given = [None] * n_agents if groups is None else list(groups)
            column = {name: len(self.covariates) + i for i, name in enumerate(self.groups)}
            for agent, name in enumerate(given):
                if name in column:
                    rows[agent, column[name]] = 1.0
                else:
                    unknown[agent] = True
        return AgentDesign(rows, unknown)

    def read(
        self, agents: tuple[str, ...], groups: Any = None, covariates: Any = None
    ) -> AgentDesign:
        """Rows of agents described as a user does.

        Parameters
        ----------
        agents : tuple of A str
        groups : str, mapping or Series by agent, or sequence of A, optional
            One str stands for all agents; a missing or new group is unknown.
        covariates : DataFrame indexed by agent, or mapping from covariate to number, optional
            Every covariate of the history; a mapping stands for all agents.

        Raises
        ------
        InputError
            If the population has no groups or covariates and some are given, if a covariate is
            missing, or if the groups are not those of the agents.
        """
        if groups is not None and not self.groups:
            raise InputError(
                f"`groups` must be left out, got {groups!r}: the population was fitted without "
                "groups; give `groups=` to the history"
            )
        return self.agents(
            self._read_covariates(covariates, agents), _read_groups(groups, agents), len(agents)
        )

    def _read_covariates(self, given: Any, agents: tuple[str, ...]) -> FloatArray | None:
        if given is None and not self.covariates:
            return None
        if isinstance(given, Mapping | pd.DataFrame) and not self.covariates and list(given):
            raise InputError(
                f"`covariates` must be left out, got {list(given)}: the population was fitted "
                "without covariates; give `covariates=` to the history"
            )
        if isinstance(given, Mapping):
            # read once, and whatever the agents are called
            row = self._read_covariates(pd.DataFrame([dict(given)], index=["any"]), ("any",))
            return None if row is None else np.repeat(row, len(agents), axis=0)
        names = () if given is None else tuple(map(str, getattr(given, "columns", ())))
        lacking = [name for name in self.covariates if name not in names]
        extra = [name for name in names if name not in self.covariates]
        if lacking or extra:
            typical = dict(zip(self.covariates, self.centre.tolist(), strict=True))
            raise InputError(
                f"`covariates` must be {list(self.covariates)}, which the population was fitted "
                f"with; missing {lacking}, unexpected {extra}. Impute what is not known, for "
                f"example with the history's means: {typical}"
            )
        values, found = read_covariates(given, agents, InputError)
        if values is None:
            return None
        return values[:, [found.index(name) for name in self.covariates]]

    def describe(
        self, row: FloatArray, unknown_group: bool
    ) -> tuple[str | None, dict[str, float] | None]:
        """Group and covariates of an agent, as a user would give them."""
        n_covariates = len(self.covariates)
        group = None
        if self.groups and not unknown_group:
            group = self.groups[int(np.argmax(row[n_covariates:]))]
        if not n_covariates:
            return group, None
        values = self.centre + self.spread * row[:n_covariates]
        return group, dict(zip(self.covariates, values.tolist(), strict=True))

    def of_history(self, history: History) -> FloatArray:
        """Rows of the history's own agents, (N, P + G)."""
        return self.agents(history.covariates, history.groups, history.n_agents).rows


def plain_facts(group: object, covariates: object) -> tuple[str | None, dict[str, Any] | None]:
    """Group and covariates of one agent as plain data.

    Raises
    ------
    InputError
        If the group is not text, or the covariates do not map names to anything.
    """
    if group is not None and not isinstance(group, str):
        raise InputError(f"`group` must be text, got {group!r}")
    if covariates is None:
        return group, None
    if not isinstance(covariates, Mapping | pd.Series):
        raise InputError(f"`covariates` must map names to numbers, got {covariates!r}")
    return group, {
        str(name): value.item() if isinstance(value, np.generic) else value
        for name, value in covariates.items()
    }


def _read_groups(given: Any, agents: tuple[str, ...]) -> list[str | None] | None:
    """One group, or None for an unknown one, per agent."""
    if given is None:
        return None
    if isinstance(given, str):
        return [given] * len(agents)
    return find_groups(given, agents, error=InputError)
