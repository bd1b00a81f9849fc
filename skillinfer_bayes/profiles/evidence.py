"""What was measured of agents, on the working scale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skillinfer_bayes.exceptions import ScoreError
from skillinfer_bayes.history.cells import read_flag, read_labels, read_numbers, read_side_table
from skillinfer_bayes.history.measurement import (
    check_errors,
    check_n_items,
    check_stderr,
    working_data,
)
from skillinfer_bayes.history.scales import Scales, check_score, check_scores
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.design import AgentDesign, Design
from skillinfer_bayes.inference.rows import DEFAULT_ERROR_VAR
from skillinfer_bayes.profiles.task import Skill

type FloatArray = NDArray[np.float64]
type IntArray = NDArray[np.intp]


@dataclass(frozen=True)
class Observation:
    """One measurement: a score in the user's units, and its item count or standard error."""

    score: float
    n_items: float | None = None
    stderr: float | None = None

    @classmethod
    def checked(
        cls,
        skill: str | Skill,
        score: float | None,
        scales: Scales,
        *,
        n_items: float | None = None,
        stderr: float | None = None,
    ) -> tuple[str, Observation]:
        """Check a measurement of a skill and give the skill's name with it.

        Raises
        ------
        UnknownSkillError
            If there is no such skill.
        ScoreError
            If the score is missing, not a number or out of bounds, the item count or the
            standard error cannot be used, or both are given.
        """
        if isinstance(skill, Skill):
            score = skill.score if score is None else score
            n_items = skill.n_items if n_items is None else n_items
            skill = skill.name
        scale = scales[skill]
        if score is None:
            raise ScoreError(f"`score` of {skill!r} must be a number, got None; give the score")
        if n_items is not None and stderr is not None:
            raise ScoreError(f"give `n_items` or `stderr` of {skill!r}, not both")
        return skill, cls(
            score=check_score(skill, score, scale),
            n_items=None if n_items is None else check_n_items(skill, n_items, scale),
            stderr=None if stderr is None else check_stderr(skill, stderr),
        )

    def to_dict(self) -> dict[str, float]:
        """Plain data, without what was not given."""
        given = {"score": self.score, "n_items": self.n_items, "stderr": self.stderr}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, eq=False)
class Evidence:
    """Measurements of A agents on K skills, on the working scale.

    values : (A, K), NaN where not observed
    error_var : (A, K), variances of the measurement errors, anything where not observed
    scores : (A, K), the same in the user's units (the mean where measured repeatedly)
    n_items, stderr : (A, K) or None, as given, NaN where not
    design : (A, P), covariates and groups; P = 0 where the population has neither
    unknown_group : (A,), agents of a group that the population does not know
    reweight : whether the scores weigh the posterior draws
    """

    agents: tuple[str, ...]
    values: FloatArray
    error_var: FloatArray
    scores: FloatArray
    n_items: FloatArray | None = None
    stderr: FloatArray | None = None
    design: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    unknown_group: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    reweight: bool = False
    observed: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.agents)
        if len(self.design) != count:
            object.__setattr__(self, "design", np.zeros((count, 0)))
        if len(self.unknown_group) != count:
            object.__setattr__(self, "unknown_group", np.zeros(count, dtype=bool))
        object.__setattr__(self, "observed", ~np.isnan(self.values))

    def groups(self) -> Iterator[Group]:
        """Agents that share observed skills, measurement errors and knowing their group."""
        if not self.agents:
            return
        errors = np.where(self.observed, self.error_var, -1.0)
        errors = np.column_stack([errors, np.where(self.unknown_group, 1.0, -1.0)])
        keys, member = np.unique(errors, axis=0, return_inverse=True)
        order = np.argsort(member.reshape(-1), kind="stable")
        counts = np.bincount(member.reshape(-1), minlength=len(keys))
        for key, agents in zip(keys, np.split(order, np.cumsum(counts)[:-1]), strict=True):
            index = np.flatnonzero(key[:-1] >= 0.0)
            values = self.values[np.ix_(agents, index)]
            design = self.design[agents]
            yield Group(agents, index, key[index], values, design, bool(key[-1] > 0.0))

    def take(self, rows: slice | IntArray) -> Evidence:
        """Evidence of some agents."""
        return Evidence(
            tuple(self.agents[row] for row in np.arange(len(self.agents))[rows]),
            self.values[rows],
            self.error_var[rows],
            self.scores[rows],
            None if self.n_items is None else self.n_items[rows],
            None if self.stderr is None else self.stderr[rows],
            self.design[rows],
            self.unknown_group[rows],
            self.reweight,
        )

    def observations_of(
        self, position: int, skills: Sequence[str]
    ) -> dict[str, tuple[Observation, ...]]:
        """Measurements of one agent, by skill."""
        return {
            skills[column]: (
                Observation(
                    float(self.scores[position, column]),
                    _given(self.n_items, position, column),
                    _given(self.stderr, position, column),
                ),
            )
            for column in map(int, np.flatnonzero(self.observed[position]))
        }


def _given(table: FloatArray | None, row: int, column: int) -> float | None:
    value = np.nan if table is None else table[row, column]
    return None if np.isnan(value) else float(value)


class Group(NamedTuple):
    """Agents that share a gain.

    agents : (a,), positions; observed : (m,), skills; error_var : (m,); values : (a, m)
    design : (a, P); unknown_group : whether their group is not among the population's
    """

    agents: IntArray
    observed: IntArray
    error_var: FloatArray
    values: FloatArray
    design: FloatArray
    unknown_group: bool


def evidence_of_one(
    agent: str,
    observations: Mapping[str, Sequence[Observation]],
    scales: Scales,
    design: AgentDesign,
    *,
    reweight: bool = False,
) -> Evidence:
    """Evidence of one agent; repeated measurements of a skill are pooled.

    Item counts add up; other measurements are averaged with inverse variances as weights on the
    working scale.
    """
    shape = (1, len(scales))
    values, error_var = np.full(shape, np.nan), np.full(shape, DEFAULT_ERROR_VAR)
    scores = np.full(shape, np.nan)
    for skill, measured in observations.items():
        column = scales.index(skill)
        value, variance, score = _pooled(measured, column, scales)
        values[0, column], error_var[0, column], scores[0, column] = value, variance, score
    return Evidence((agent,), values, error_var, scores, None, None, *design, reweight)


def _pooled(
    measured: Sequence[Observation], column: int, scales: Scales
) -> tuple[float, float, float]:
    """Precision-weighted mean of one skill's measurements, its variance, and that of the scores."""
    counted = [one for one in measured if one.n_items is not None]
    pooled = [one for one in measured if one.n_items is None]
    if counted:
        items = sum(one.n_items or 0.0 for one in counted)
        hits = sum(one.score * (one.n_items or 0.0) for one in counted)
        pooled.append(Observation(hits / items, n_items=items))
    moments = [_working(one, column, scales) for one in pooled]
    precision = sum(1.0 / variance for _, variance in moments)
    shares = [1.0 / variance / precision for _, variance in moments]
    value = sum(share * value for share, (value, _) in zip(shares, moments, strict=True))
    score = sum(share * one.score for share, one in zip(shares, pooled, strict=True))
    return value, 1.0 / precision, score


def _working(one: Observation, column: int, scales: Scales) -> tuple[float, float]:
    scale = scales.take([column])
    items = None if one.n_items is None else np.array([[one.n_items]])
    stderr = None if one.stderr is None else np.array([[one.stderr]])
    data = working_data(np.array([[one.score]]), scale, items, stderr)
    variance = DEFAULT_ERROR_VAR if data.error_var is None else float(data.error_var[0, 0])
    return float(data.values[0, 0]), max(variance, np.finfo(float).tiny)


def evidence_of_table(
    table: pd.DataFrame,
    scales: Scales,
    design: Design,
    *,
    n_items: Any = None,
    stderr: Any = None,
    groups: Any = None,
    covariates: Any = None,
    reweight: bool = False,
) -> Evidence:
    """Evidence of many agents from a table of scores, columns matched by name.

    Raises
    ------
    UnknownSkillError
        If a column is not a skill of the population.
    ScoreError
        If a cell cannot be used, or an agent or a skill appears twice.
    InputError
        If groups or covariates cannot be used.
    """
    if not isinstance(table, pd.DataFrame):
        kind = type(table).__name__
        raise ScoreError(f"`table` must be a DataFrame of agents by skills, got {kind}")
    agents = read_labels(table.index, "agent", argument="table", error=ScoreError)
    columns = read_labels(table.columns, "skill", argument="table", error=ScoreError)
    positions = [scales.index(name) for name in columns]
    part = scales.take(positions)
    scores = read_numbers(table, "table", agents, columns, error=ScoreError)
    scores = check_scores(scores, part, agents, argument="table")
    sides = [
        read_side_table(given, name, agents, columns)
        for name, given in (("n_items", n_items), ("stderr", stderr))
    ]
    check_errors(sides[0], sides[1], part, agents)
    data = working_data(scores, part, sides[0], sides[1])
    shape = (len(agents), len(scales))
    values, error_var = np.full(shape, np.nan), np.full(shape, DEFAULT_ERROR_VAR)
    values[:, positions] = data.values
    if data.error_var is not None:
        error_var[:, positions] = np.where(np.isnan(scores), DEFAULT_ERROR_VAR, data.error_var)
    wide = np.full(shape, np.nan)
    wide[:, positions] = scores
    counts, errors = (_widened(side, positions, shape) for side in sides)
    known = design.read(agents, groups, covariates)
    weighed = read_flag("reweight", reweight)
    return Evidence(agents, values, error_var, wide, counts, errors, *known, weighed)


def evidence_of_history(history: History) -> Evidence:
    """Evidence of the history's own agents, each its own row."""
    data = history.working()
    errors = np.full(data.values.shape, DEFAULT_ERROR_VAR)
    if data.error_var is not None:
        errors = np.where(np.isnan(data.values), DEFAULT_ERROR_VAR, data.error_var)
    return Evidence(
        history.agents,
        data.values,
        errors,
        history.values,
        history.n_items,
        history.stderr,
        Design.of(history).of_history(history),
    )


def _widened(
    table: FloatArray | None, positions: Sequence[int], shape: tuple[int, int]
) -> FloatArray | None:
    """Put a table's columns where they belong among all skills."""
    if table is None:
        return None
    wide = np.full(shape, np.nan)
    wide[:, positions] = table
    return wide
