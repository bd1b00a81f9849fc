"""Who comes first among agents whose values are uncertain; joint draws in, arrays out.

All arrays are (S, A): draw by agent. In a draw in which agents are equal, each counts as ahead of
the other by half, and the best ones share the first place; so probabilities always add up to one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

type FloatArray = NDArray[np.float64]


def first_places(values: FloatArray) -> FloatArray:
    """Share of each draw's first place that goes to each agent, (S, A); rows add up to 1."""
    best = values == values.max(axis=1, keepdims=True)
    shares: FloatArray = best / best.sum(axis=1, keepdims=True)
    return shares


def p_ahead(values: FloatArray) -> FloatArray:
    """Probability that the row's agent is ahead of the column's, (A, A).

    A matrix and its transpose add up to 1; the diagonal is one half.
    """
    count = values.shape[1]
    result = np.full((count, count), 0.5)
    for agent in range(count - 1):
        gap = values[:, agent, None] - values[:, agent + 1 :]
        ahead = (gap > 0.0).mean(axis=0) + 0.5 * (gap == 0.0).mean(axis=0)
        result[agent, agent + 1 :] = ahead
        result[agent + 1 :, agent] = 1.0 - ahead
    return result


def expected_ranks(ahead: FloatArray) -> FloatArray:
    """Turn `p_ahead` into the expected place of each agent, 1 the best, (A,).

    An agent's place is one more than the number of those ahead of it.
    """
    ranks: FloatArray = 0.5 + ahead.sum(axis=0)
    return ranks


def expected_regrets(values: FloatArray) -> FloatArray:
    """How much better than each agent the best one is on average, (A,); never negative.

    The smallest of them is the expected value of perfect information (Raiffa and Schlaifer
    (1961), Applied Statistical Decision Theory, section 4.5).
    """
    regrets: FloatArray = (values.max(axis=1, keepdims=True) - values).mean(axis=0)
    return regrets
