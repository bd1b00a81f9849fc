"""What measurements cost: one number, a number per skill, or a table of agents by skills."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skillinfer_bayes.exceptions import ConfigError, UnknownAgentError, closest_match_hint
from skillinfer_bayes.profiles.joint import Members
from skillinfer_bayes.routing.metadata_values import is_finite

type FloatArray = NDArray[np.float64]
type Costs = float | Mapping[str, float] | pd.DataFrame

# With smaller costs a gain per unit of cost would not be a number.
SMALLEST_COST = 1e-100


def read_costs(costs: object, group: Members) -> FloatArray:
    """Read what every measurement costs.

    Parameters
    ----------
    costs : float, mapping from skill to float, or DataFrame of agents by skills
    group : Members

    Returns
    -------
    array of shape (A, K)
        NaN where a cell cannot be measured.

    Raises
    ------
    UnknownSkillError, UnknownAgentError
        If a name does not fit the population, or an agent has no row.
    ConfigError
        If a cost is not a finite number above 0, or a name comes more than once.
    """
    result = np.full((len(group.members), len(group.context.skills)), np.nan)
    if isinstance(costs, pd.DataFrame):
        table = _by_agent(costs, [str(name) for name in group.agents])
        for name, column in table.items():
            result[:, group.context.index(str(name))] = [
                np.nan if pd.isna(cost) else _check_cost(f"costs[{name!r}]", cost)
                for cost in column
            ]
    elif isinstance(costs, Mapping):
        for name, cost in costs.items():
            result[:, group.context.index(name)] = _check_cost(f"costs[{name!r}]", cost)
    else:
        result[:] = _check_cost("costs", costs)
    return result


def _by_agent(costs: pd.DataFrame, agents: list[str]) -> pd.DataFrame:
    """Rows of a table of costs in the order of the agents, each by its name as a text."""
    table = costs.set_axis(costs.index.map(str)).set_axis(costs.columns.map(str), axis="columns")
    for names, what in ((table.index, "agent"), (table.columns, "skill")):
        if not names.is_unique:
            twice = names[names.duplicated()][0]
            raise ConfigError(
                f"`costs` must have every {what} once, got {twice!r} more than once; keep one"
            )
    for name in agents:
        if name not in table.index:
            hint = closest_match_hint(name, table.index)
            raise UnknownAgentError(
                f"`costs` must have a row for every agent, got none for {name!r}; {hint}"
            )
    return table.loc[agents]


def _check_cost(name: str, value: object) -> float:
    cost = check_number(name, value)
    if cost < SMALLEST_COST:
        raise ConfigError(
            f"`{name}` must be at least {SMALLEST_COST:g}, got {value!r}; for what is free, write "
            "a small cost such as 0.001"
        )
    return cost


def check_number(name: str, value: object, *, zero: bool = False) -> float:
    """Give a finite number above 0 back as a float; ConfigError for anything else.

    Parameters
    ----------
    name : str
        The argument, for the message.
    value : object
    zero : bool, default False
        Whether 0 is allowed.
    """
    number = float(value) if is_finite(value) else -1.0  # type: ignore[arg-type]
    if number < 0.0 or (number == 0.0 and not zero):
        rule = "not negative" if zero else "above 0"
        raise ConfigError(f"`{name}` must be a finite number {rule}, got {value!r}; change it")
    return number
