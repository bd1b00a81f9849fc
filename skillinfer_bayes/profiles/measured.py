"""Measured scores of one agent, in the forms that users give them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from skillinfer_bayes.exceptions import ScoreError
from skillinfer_bayes.profiles.context import Context
from skillinfer_bayes.profiles.evidence import Observation
from skillinfer_bayes.profiles.task import Skill


def read_score(
    context: Context,
    skill: str | Skill | int,
    score: float | None = None,
    *,
    n_items: float | None = None,
    stderr: float | None = None,
) -> tuple[str, Observation]:
    """Check one measured score, and give it with the name of its skill.

    Raises
    ------
    UnknownSkillError, ScoreError
        As `Profile.observe`.
    """
    if isinstance(skill, int):
        skill = context.skills[context.index(skill)]
    return Observation.checked(skill, score, context.scales, n_items=n_items, stderr=stderr)


def as_name(key: Any) -> Any:
    """Take a whole number for a skill's name, as tables do; anything else is left as it is."""
    return str(key) if isinstance(key, int | np.integer) and not isinstance(key, bool) else key


def read_scores(
    context: Context,
    observations: Mapping[str, float] | Mapping[Skill, float] | Sequence[Skill],
) -> list[tuple[str, Observation]]:
    """Check several measured scores, given as a mapping or as skills that carry them.

    Raises
    ------
    UnknownSkillError, ScoreError
        As `Profile.observe_many`.
    """
    given: object = observations
    if isinstance(given, Mapping | pd.Series):
        pairs: list[tuple[Any, float | None]] = [(as_name(key), one) for key, one in given.items()]
    elif not isinstance(given, Iterable) or isinstance(given, str):
        raise ScoreError(
            "`observations` must map skills to scores or list `Skill(name, score=...)`, got "
            f"{given!r}"
        )
    else:
        pairs = [(skill, None) for skill in observations]
    for skill, score in pairs:
        if score is None and not isinstance(skill, Skill):
            raise ScoreError(
                "`observations` must map skills to scores or list `Skill(name, score=...)`, "
                f"got {skill!r} without a score"
            )
    return [read_score(context, skill, score) for skill, score in pairs]
