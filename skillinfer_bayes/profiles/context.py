"""What every profile of one population shares."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from skillinfer_bayes.exceptions import TaskError, ThresholdError, UnknownSkillError
from skillinfer_bayes.history.scales import Scales
from skillinfer_bayes.inference.design import Design
from skillinfer_bayes.inference.posterior import Posterior
from skillinfer_bayes.profiles.engine import Engine
from skillinfer_bayes.profiles.task import Skill, Task, as_task

type FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Context:
    """A fitted population, reduced to what profiles need.

    Parameters
    ----------
    population_id : str
        Identity of the fitted population.
    posterior : Posterior
    scales : Scales
    score_items : array of shape (K,)
        Items behind a score that would be measured; NaN where not known.
    design : Design
        How groups and covariates of agents are read.
    normalize : bool
        Whether match scores min-max scale each skill by the history.
    descriptions : mapping from skill to str
    """

    population_id: str
    posterior: Posterior
    scales: Scales
    score_items: FloatArray
    design: Design
    normalize: bool = False
    descriptions: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def engine(self) -> Engine:
        """The engine that conditions on evidence."""
        return Engine(self.posterior, self.scales, self.score_items)

    @property
    def skills(self) -> tuple[str, ...]:
        """Names of the K skills."""
        return self.scales.skills

    def index(self, skill: str | Skill | int) -> int:
        """Position of a skill, by name, `Skill` or position."""
        if isinstance(skill, Skill):
            skill = skill.name
        if isinstance(skill, int):
            if isinstance(skill, bool) or not 0 <= skill < len(self.skills):
                raise UnknownSkillError(
                    f"`skill` must be a position below {len(self.skills)}, got {skill}"
                )
            if str(skill) in self.skills and self.skills[skill] != str(skill):
                raise UnknownSkillError(
                    f"`skill` must be a name where names are numbers, got {skill}, which is the "
                    f"position of {self.skills[skill]!r}; write {str(skill)!r} for the skill"
                )
            return skill
        return self.scales.index(skill)

    def thresholds(self, column: int, threshold: float) -> FloatArray:
        """Spread one skill's threshold over all skills, (K,); of the others, any allowed score.

        Raises
        ------
        ThresholdError
            If the threshold lies outside the skill's scale.
        """
        scales = self.scales
        name = f"skill {self.skills[column]!r}"
        lower, upper = float(scales.lower[column]), float(scales.upper[column])
        at = np.where(np.isfinite(scales.lower), scales.lower, 0.0)
        at[column] = check_threshold(threshold, lower, upper, name)
        return at

    def weights(self, task: Task | Mapping[str, float]) -> FloatArray:
        """Spread a task's weights over all skills, (K,), adding up to 1.

        Raises
        ------
        UnknownSkillError
            If the task names something that is not a skill.
        TaskError
            If the skills that it weighs have different scales and were not normalised.
        """
        given = as_task(task).weights
        weights = np.zeros(len(self.skills))
        for name, weight in given.items():
            weights[self.scales.index(name)] = weight
        used = np.flatnonzero(weights)
        scales = [self.scales.scales[position] for position in used]
        if len({scale.bounds for scale in scales}) > 1 and not self.normalize:
            labels = dict.fromkeys(scale.label for scale in scales)
            raise TaskError(
                f"`task` averages skills on different scales ({', '.join(sorted(labels))}); fit "
                "the history with `normalize=True` to weigh them on a common 0-1 scale"
            )
        weights /= weights.max()  # the sum of huge weights is infinite
        shares: FloatArray = weights / weights.sum()
        return shares

    def to_task_units(self, scores: FloatArray) -> FloatArray:
        """Scores (..., K) in the units that match scores are given in."""
        return self.scales.to_unit(scores) if self.normalize else scores

    def task_scores(self, scores: FloatArray, weights: FloatArray) -> FloatArray:
        """Match scores (...) of skills' scores (..., K); rounding leads none beyond its bounds."""
        found: FloatArray = self.to_task_units(scores) @ weights
        return np.clip(found, *self.task_bounds(weights))

    def task_bounds(self, weights: FloatArray) -> tuple[float, float]:
        """Lowest and highest possible match score."""
        if self.normalize:
            return -np.inf, np.inf
        used = int(np.flatnonzero(weights)[0])
        return float(self.scales.lower[used]), float(self.scales.upper[used])


def check_threshold(threshold: float, lower: float, upper: float, name: str) -> float:
    """Give the threshold back as a float if it lies within the scale.

    Raises
    ------
    ThresholdError
        If it is not a finite number within the bounds.
    """
    given: object = threshold
    is_number = isinstance(given, int | float | np.number) and not isinstance(given, bool)
    # a float32 is compared as a float: its own largest number is smaller
    number = float(threshold) if isinstance(given, np.number) else threshold
    if not is_number or not abs(number) <= sys.float_info.max:
        raise ThresholdError(f"`threshold` must be a finite number, got {threshold!r}")
    if not lower <= threshold <= upper:
        hint = ""
        if upper == 1.0 and 1.0 < threshold <= 100.0:
            hint = f"; did you mean {threshold / 100:g}?"
        raise ThresholdError(
            f"`threshold` must lie between {lower:g} and {upper:g}, the scale of {name}, "
            f"got {threshold!r}{hint}"
        )
    return float(threshold)
