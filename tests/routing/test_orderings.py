"""Who comes first, against loops over draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from skillinfer_bayes.routing.orderings import (
    expected_ranks,
    expected_regrets,
    first_places,
    p_ahead,
)

# Few different values, so that ties are common.
VALUES = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.integers(-2, 2).map(float),
)


def brute_force(values):
    """P(best), P(A > B), expected rank and regret, one draw and one pair at a time."""
    n_draws, count = values.shape
    best, ahead = np.zeros(count), np.zeros((count, count))
    rank, regret = np.zeros(count), np.zeros(count)
    for draw in values.tolist():
        winners = [agent for agent in range(count) if draw[agent] == max(draw)]
        for agent in range(count):
            best[agent] += (agent in winners) / len(winners)
            regret[agent] += max(draw) - draw[agent]
            higher = sum(other > draw[agent] for other in draw)
            same = sum(other == draw[agent] for other in draw)
            rank[agent] += 1 + higher + (same - 1) / 2
            for other in range(count):
                ahead[agent, other] += (draw[agent] > draw[other]) + 0.5 * (
                    draw[agent] == draw[other]
                )
    return best / n_draws, ahead / n_draws, rank / n_draws, regret / n_draws


@given(VALUES)
def test_equal_brute_force(values):
    best, ahead, rank, regret = brute_force(values)
    assert first_places(values).mean(axis=0) == pytest.approx(best)
    assert p_ahead(values) == pytest.approx(ahead)
    assert expected_ranks(p_ahead(values)) == pytest.approx(rank)
    assert expected_regrets(values) == pytest.approx(regret)


@given(VALUES)
def test_probabilities_add_up(values):
    count = values.shape[1]
    ahead = p_ahead(values)
    assert first_places(values).sum(axis=1) == pytest.approx(1.0)
    assert ahead + ahead.T == pytest.approx(1.0)
    assert expected_ranks(ahead).sum() == pytest.approx(count * (count + 1) / 2)
    assert (expected_regrets(values) >= 0.0).all()


@given(VALUES, st.randoms(use_true_random=False))
def test_the_order_of_agents_does_not_matter(values, random):
    order = list(range(values.shape[1]))
    random.shuffle(order)
    assert first_places(values[:, order]) == pytest.approx(first_places(values)[:, order])
    assert p_ahead(values[:, order]) == pytest.approx(p_ahead(values)[np.ix_(order, order)])


def test_agents_that_are_always_equal_share_everything():
    values = np.repeat(np.random.default_rng(0).standard_normal((50, 1)), 4, axis=1)
    assert first_places(values).mean(axis=0).tolist() == [0.25] * 4
    assert (p_ahead(values) == 0.5).all()
    assert expected_ranks(p_ahead(values)).tolist() == [2.5] * 4
    assert expected_regrets(values).tolist() == [0.0] * 4
