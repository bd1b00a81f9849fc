"""Choosing measurements: the arrays behind it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from skillinfer_bayes.routing.planning import (
    Candidates,
    Step,
    best_others,
    by_ratio,
    plan_by_moments,
    plan_by_regret,
    rate_by_regret,
)

VALUES = arrays(
    np.float64, array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=6),
    elements=st.integers(-3, 3).map(float),
)  # fmt: skip


def candidates(seed, costs, *, lift=0.0):
    """One agent with as many independent skills as costs; the task is their mean."""
    rng = np.random.default_rng(seed)
    skills = rng.standard_normal((3000, len(costs)))
    scores = skills + 0.1 * rng.standard_normal(skills.shape)
    return Candidates(
        value=lift + skills.mean(axis=1),
        skills=skills / len(costs),
        scores=scores,
        working=scores,
        positions=np.arange(len(costs)),
        costs=np.array(costs, dtype=float),
    )


@given(VALUES)
def test_best_others_equal_a_loop(values):
    found = best_others(values)
    for agent in range(values.shape[1]):
        assert (found[:, agent] == np.delete(values, agent, axis=1).max(axis=1)).all()


def test_without_others_there_is_no_best():
    assert (best_others(np.ones((3, 1))) == -np.inf).all()


def test_sorted_by_ratio_and_stable():
    steps = [Step(0, 0, 2.0, 1.0), Step(0, 1, 1.0, 0.5), Step(1, 0, 1.0, 2.0)]
    assert by_ratio(steps) == [steps[2], steps[0], steps[1]]


@given(
    st.lists(st.floats(0.5, 3.0), min_size=1, max_size=4),
    st.floats(0.4, 9.0),
    st.sampled_from(["regret", "shrinkage", "information", "variance"]),
)
def test_a_plan_can_be_paid_and_repeats_nothing(costs, budget, method):
    drawn = [candidates(1, costs), candidates(2, costs, lift=0.1)]
    if method == "regret":
        steps = plan_by_regret(drawn, budget, 0.0)
    else:
        steps = plan_by_moments(drawn, method, budget, 0.0)
    assert sum(step.cost for step in steps) <= budget * (1.0 + 1e-6)
    assert len({(step.agent, step.skill) for step in steps}) == len(steps)
    assert all(step.gain >= 0.0 for step in steps)
    assert bool(steps) == (budget >= min(costs))


def test_gains_of_a_batch_add_up_to_what_it_is_worth():
    drawn = [candidates(1, [1.0, 1.0]), candidates(2, [1.0, 1.0])]
    steps = plan_by_regret(drawn, 4.0, 0.0)
    values = np.stack([one.value for one in drawn], axis=1)
    regret = values.max(axis=1).mean() - values.mean(axis=0).max()
    assert sum(step.gain for step in steps) == pytest.approx(regret, rel=0.05)


def test_a_single_rating_is_the_first_step_of_a_plan():
    drawn = [candidates(1, [1.0, 1.0]), candidates(2, [1.0, 1.0], lift=0.2)]
    assert rate_by_regret(drawn)[0] == pytest.approx(plan_by_regret(drawn, 1.0, 0.0)[0])


def test_money_that_runs_out_goes_to_what_can_be_paid():
    drawn = [candidates(1, [1.0, 5.0]), candidates(2, [1.0, 5.0])]
    steps = plan_by_regret(drawn, 2.5, 0.0)
    assert [step.cost for step in steps] == [1.0, 1.0]
