"""Profiles with numbers written by hand: what routing reads, and nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from skillinfer_bayes.exceptions import UnknownSkillError
from skillinfer_bayes.profiles.task import MatchResult


@dataclass(frozen=True)
class StandInProfile:
    """Mean and std by skill; independent normals, so that a task's score has a closed form."""

    numbers: dict
    observed: frozenset = frozenset()
    bounds: dict | tuple = (0.0, 1.0)
    descriptions: dict = field(default_factory=dict)
    normalized: bool = False

    @property
    def score_bounds(self):
        return (
            self.bounds
            if isinstance(self.bounds, dict)
            else dict.fromkeys(self.numbers, self.bounds)
        )

    def _number(self, skill):
        if skill not in self.numbers:
            raise UnknownSkillError(f"unknown skill {skill!r}")
        return self.numbers[skill]

    def predict(self, skill, *, ci_prob=0.9, kind="skill"):
        mean, std = self._number(skill)
        source = "observed" if skill in self.observed else "inferred"
        return {"skill": skill, "mean": mean, "std": std, "source": source}

    def match_score(self, task, threshold=None, *, ci_prob=0.9):
        total = sum(task.weights.values())
        parts = [(weight / total, *self._number(skill)) for skill, weight in task.weights.items()]
        score = sum(share * mean for share, mean, _ in parts)
        std = math.sqrt(sum((share * std) ** 2 for share, _, std in parts))
        half = 1.645 * std
        above = None
        if threshold is not None:
            above = 0.5 * math.erfc((threshold - score) / (std * math.sqrt(2)))
        return MatchResult(score, std, score - half, score + half, above)
