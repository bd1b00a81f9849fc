"""Choosing measurements under a budget: greedy, each given what those before it would tell.

The value of several measurements is not concave: one alone may be worth nothing where three of
the same agent change the choice (Frazier and Powell (2010), doi:10.1287/deca.1100.0190). So the
plan for regret looks some measurements of an agent ahead, takes the agent whose next few gain
most per unit of cost together, and makes the first of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skillinfer_bayes.profiles.preposterior import (
    ForwardPath,
    expected_best,
    information_gains,
    measured_covariance,
    posterior_means,
    variance_reductions,
)

type FloatArray = NDArray[np.float64]
type IntArray = NDArray[np.intp]

LOOK_AHEAD = 5
# Gains of less than this share of the values' spread are rounding.
NEGLIGIBLE = 1e-9
# A budget that costs add up to exactly must not fail by rounding.
SLACK = 1.0 + 1e-9


class Candidates(NamedTuple):
    """Joint draws of one agent, and what can be measured of it.

    value : (S,), the task's score or utility; without a task empty
    skills : (S, K), what each brings to the task's score; without a task, in common units
    scores : (S, m), simulated measurements, in common units
    working : (S, m), the same on the working scale
    positions : (m,), which skills they measure
    costs : (m,)
    """

    value: FloatArray
    skills: FloatArray
    scores: FloatArray
    working: FloatArray
    positions: IntArray
    costs: FloatArray


class Step(NamedTuple):
    """One measurement: positions of agent and skill, cost, and what it adds."""

    agent: int
    skill: int
    cost: float
    gain: float


def by_ratio(steps: Sequence[Step]) -> list[Step]:
    """Sort by gain per unit of cost, the highest first; equal ones keep their order."""
    return sorted(steps, key=lambda step: -step.gain / step.cost)


def rate_by_regret(drawn: Sequence[Candidates]) -> list[Step]:
    """Rate every measurement on its own by how much it lowers the expected regret."""
    now = np.array([one.value.mean() for one in drawn])
    tiny = _rounding(drawn)
    steps = []
    others = best_others(now[None])[0]
    for agent, one in enumerate(drawn):
        means = posterior_means(one.working, one.value)
        gains = np.maximum(means, others[agent]).mean(axis=0) - now.max()
        steps += _steps(agent, one, np.where(gains > tiny, gains, 0.0))
    return by_ratio(steps)


def _rounding(drawn: Sequence[Candidates]) -> float:
    return NEGLIGIBLE * max(float(one.value.std()) for one in drawn)


def plan_by_regret(drawn: Sequence[Candidates], budget: float, floor: float) -> list[Step]:
    """Choose a batch that lowers the expected regret of the choice.

    Parameters
    ----------
    drawn : sequence of Candidates
    budget : float
        Most that the batch may cost.
    floor : float
        Stop where no further measurements gain more than this per unit of cost.

    Returns
    -------
    list of Step
        In the order chosen.
    """
    paths = [ForwardPath(one.working, one.value, one.costs) for one in drawn]
    done = np.zeros(len(drawn), dtype=int)
    means = np.stack([path.means[0] for path in paths], axis=1)
    best, steps = expected_best(means), list[Step]()
    tiny = _rounding(drawn)
    cheapest = min((one.costs.min() for one in drawn if len(one.costs)), default=np.inf)
    budget *= SLACK
    while budget >= cheapest:
        others = best_others(means)
        ratios = [
            _best_ratio(path, int(done[agent]), others[:, agent], best + tiny, budget)
            for agent, path in enumerate(paths)
        ]
        agent = int(np.argmax(ratios))
        if not ratios[agent] > floor:
            break
        path, one = paths[agent], drawn[agent]
        position = path.order[done[agent]]
        done[agent] += 1
        means[:, agent] = path.means[done[agent]]
        before, best = best, expected_best(means)
        cost = float(one.costs[position])
        budget -= cost
        gain = max(best - before, 0.0)
        steps.append(Step(agent, int(one.positions[position]), cost, gain))
    return steps


def _best_ratio(
    path: ForwardPath, done: int, others: FloatArray, best: float, budget: float
) -> float:
    """Highest gain per unit of cost of the next one, two ... measurements that can be paid."""
    path.afford(budget, done)
    path.extend(done + LOOK_AHEAD)
    ratio, cost = 0.0, 0.0
    for length in range(done, min(done + LOOK_AHEAD, len(path.order))):
        cost += float(path.costs[path.order[length]])
        if cost > budget:
            break
        gain = float(np.maximum(path.means[length + 1], others).mean()) - best
        ratio = max(ratio, gain / cost)
    return ratio


def best_others(means: FloatArray) -> FloatArray:
    """Highest value of each draw among the other agents, (S, A); minus infinity without others."""
    if means.shape[1] == 1:
        return np.full_like(means, -np.inf)
    second, first = np.partition(means, -2, axis=1)[:, -2:].T
    leads = np.arange(means.shape[1]) == means.argmax(axis=1)[:, None]
    highest: FloatArray = np.where(leads, second[:, None], first[:, None])
    return highest


class _Moments:
    """Covariance of one agent's target, skills and measurements, as measurements come in."""

    def __init__(self, one: Candidates) -> None:
        skills, n_scores = one.skills, one.scores.shape[1]
        # without a task the skills themselves are the targets
        has_task = bool(one.value.size)
        target = np.column_stack([one.value, skills[:, one.positions]]) if has_task else skills
        joint = np.concatenate([target, one.scores], axis=1)
        self.covariance = np.atleast_2d(np.cov(joint, rowvar=False))
        self.targets = np.arange(1 if has_task else target.shape[1])
        self.own = 1 + np.arange(n_scores) if has_task else one.positions
        self.asked = target.shape[1] + np.arange(n_scores)
        self.left = np.ones(n_scores, dtype=bool)

    def gains(self, method: str) -> FloatArray:
        """Rate what each measurement would add, (m,); nothing for those that were taken."""
        if method == "variance":
            gains = np.diag(self.covariance)[self.own]
        else:
            gains = RATES[method](self.covariance, self.targets, self.asked)
        return np.where(self.left, np.maximum(gains, 0.0), 0.0)

    def take(self, position: int) -> None:
        """Count a measurement as made."""
        self.covariance = measured_covariance(self.covariance, int(self.asked[position]))
        self.left[position] = False


RATES: dict[str, Callable[[FloatArray, IntArray, IntArray], FloatArray]] = {
    "shrinkage": variance_reductions,
    "information": information_gains,
}


def told_alone(one: Candidates) -> tuple[FloatArray, FloatArray]:
    """Rate each measurement of an agent alone by variance and by information, (m,) each."""
    moments = _Moments(one)
    return moments.gains("variance"), moments.gains("information")


def rate_by_moments(drawn: Sequence[Candidates], method: str) -> list[Step]:
    """Rate every measurement on its own by what it says of the task's score or the profile."""
    steps = []
    for agent, one in enumerate(drawn):
        steps += _steps(agent, one, _Moments(one).gains(method))
    return by_ratio(steps)


def plan_by_moments(
    drawn: Sequence[Candidates], method: str, budget: float, floor: float
) -> list[Step]:
    """Choose a batch by what it says; parameters and result as `plan_by_regret`."""
    moments = [_Moments(one) for one in drawn]
    gains = [one.gains(method) for one in moments]
    budget *= SLACK
    steps: list[Step] = []
    while True:
        ratios = [
            np.where(one.costs <= budget, gain / one.costs, 0.0)
            for one, gain in zip(drawn, gains, strict=True)
        ]
        agent = int(np.argmax([ratio.max(initial=0.0) for ratio in ratios]))
        if not ratios[agent].max(initial=0.0) > floor:
            return steps
        position = int(np.argmax(ratios[agent]))
        one, gain = drawn[agent], float(gains[agent][position])
        cost = float(one.costs[position])
        budget -= cost
        steps.append(Step(agent, int(one.positions[position]), cost, gain))
        moments[agent].take(position)
        gains[agent] = moments[agent].gains(method)


def _steps(agent: int, one: Candidates, gains: FloatArray) -> list[Step]:
    columns = zip(one.positions.tolist(), one.costs.tolist(), gains.tolist(), strict=True)
    return [Step(agent, skill, cost, max(gain, 0.0)) for skill, cost, gain in columns]
