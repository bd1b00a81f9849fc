"""What goes into a profile and what comes out of it: `Skill`, `Task`, `MatchResult`."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

from skillinfer_bayes.exceptions import InputError, ScoreError, TaskError


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Skill:
    """The name of a skill, with a measured score where there is one.

    Two skills are equal when their names are, and a skill equals its own name, so a `Skill` can
    stand wherever a skill's name is expected, dictionary keys included.

    Parameters
    ----------
    name : str
        The skill as the history calls it.
    score : float, optional
        A measured score, in the history's units.
    description : str, default ""
        What the skill measures, for people and for the prompt.
    n_items : float, optional
        How many test items the score is the mean of; it sets the score's measurement error.

    Raises
    ------
    InputError
        If `name` or `description` is not a text, or `name` is blank.
    ScoreError
        If `score` is not a finite number, or `n_items` is not a positive one.

    Examples
    --------
    >>> Skill("math", score=0.88, n_items=500)
    Skill('math', score=0.88, n_items=500)
    >>> Skill("math") == "math"
    True
    """

    name: str
    _: KW_ONLY
    score: float | None = None
    description: str = ""
    n_items: float | None = None

    def __post_init__(self) -> None:
        _check_name("name", self.name, InputError)
        _check_text("description", self.description, InputError)
        if self.score is not None and not _is_finite_number(self.score):
            raise ScoreError(
                f"`score` of skill {self.name!r} must be a finite number or None, "
                f"got {self.score!r}; leave it out if the skill was not measured"
            )
        if self.n_items is not None and not (_is_finite_number(self.n_items) and self.n_items > 0):
            raise ScoreError(
                f"`n_items` of skill {self.name!r} must be a positive number or None, "
                f"got {self.n_items!r}; leave it out if the number of test items is not known"
            )

    def __repr__(self) -> str:
        parts = [repr(self.name)]
        parts += [
            f"{label}={value!r}"
            for label, value in (("score", self.score), ("n_items", self.n_items))
            if value is not None
        ]
        if self.description:
            parts.append(f"description={self.description!r}")
        return f"Skill({', '.join(parts)})"

    def __str__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Skill):
            return self.name == other.name
        if isinstance(other, str):
            return self.name == other
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.name)


@dataclass(frozen=True, init=False, repr=False)
class Task:
    """What a task needs: how much each skill counts.

    Only the weights' proportions matter for the match score; the prompt shows them as given.

    Parameters
    ----------
    weights : mapping of str or Skill to float
        How much each skill counts, greater than zero. The order is kept.
    description : str, default ""
        The task in words, for the prompt.

    Attributes
    ----------
    weights : dict of str to float
        A new dict at every access: changing it does not change the task.
    description : str

    Raises
    ------
    TaskError
        If there is no skill, a skill's name is not a text, or a weight is not a finite number
        greater than zero.

    Examples
    --------
    >>> Task({"math": 1.0, Skill("code"): 0.3}, "Prove a lemma in Python")
    Task({'math': 1.0, 'code': 0.3}, 'Prove a lemma in Python')
    """

    _items: tuple[tuple[str, float], ...]
    description: str

    def __init__(
        self, weights: Mapping[str, float] | Mapping[str | Skill, float], description: str = ""
    ) -> None:
        _check_text("description", description, TaskError)
        object.__setattr__(self, "_items", _checked_weights(weights))
        object.__setattr__(self, "description", description)

    @property
    def weights(self) -> dict[str, float]:
        """Weights by skill name, in the order given."""
        return dict(self._items)

    @property
    def skills(self) -> tuple[str, ...]:
        """Skill names, the most important first; equal weights keep the order given."""
        return tuple(name for name, _ in sorted(self._items, key=lambda item: -item[1]))

    def __repr__(self) -> str:
        shown = f", {self.description!r}" if self.description else ""
        return f"Task({self.weights}{shown})"

    def __str__(self) -> str:
        if self.description:
            return self.description
        return f"Task({', '.join(f'{name}={weight:g}' for name, weight in self._items)})"


class MatchResult(NamedTuple):
    """How well one agent fits one task.

    Attributes
    ----------
    score : float
        Expected weighted mean of the task's skills, in score units ("task fit").
    std : float
        Standard deviation of that weighted mean, in score units.
    lower, upper : float
        Ends of the interval asked for, in score units.
    p_above_threshold : float or None
        Probability that the weighted mean exceeds the threshold; None when none was given.
    """

    score: float
    std: float
    lower: float
    upper: float
    p_above_threshold: float | None = None

    @property
    def ci_lower(self) -> float:
        """Lower end of the interval; the same as `lower`."""
        return self.lower

    @property
    def ci_upper(self) -> float:
        """Upper end of the interval; the same as `upper`."""
        return self.upper


def as_task(task: Task | Mapping[str, float] | Mapping[str | Skill, float]) -> Task:
    """Return `task` itself, or the task that a mapping of weights describes.

    Parameters
    ----------
    task : Task or mapping of str or Skill to float

    Returns
    -------
    Task

    Raises
    ------
    TaskError
        If the weights cannot be used.
    """
    return task if isinstance(task, Task) else Task(task)


def _checked_weights(
    weights: Mapping[str, float] | Mapping[str | Skill, float],
) -> tuple[tuple[str, float], ...]:
    if not isinstance(weights, Mapping):
        raise TaskError(
            "`weights` must be a mapping from skill names to numbers, "
            f"got {type(weights).__name__}; write for example {{'math': 1.0}}"
        )
    if not weights:
        raise TaskError(
            "`weights` must name at least one skill, got an empty mapping; "
            "write for example {'math': 1.0}"
        )
    return tuple(_checked_weight(skill, weight) for skill, weight in weights.items())


def _checked_weight(skill: str | Skill, weight: float) -> tuple[str, float]:
    name = skill.name if isinstance(skill, Skill) else skill
    _check_name("weights", name, TaskError)
    if not _is_finite_number(weight):
        raise TaskError(
            f"`weights` must be finite numbers, got {weight!r} for skill {name!r}; "
            "give a number greater than zero"
        )
    if weight <= 0:
        raise TaskError(
            f"`weights` must be greater than zero, got {weight!r} for skill {name!r}; "
            "leave out a skill that the task does not need"
        )
    return name, float(weight)


def _is_finite_number(value: object) -> bool:
    # A bool is a number to Python; as a score or weight it is far more often a mistake.
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond what a float holds
        return False


def _check_name(argument: str, name: object, error: type[InputError]) -> None:
    if not isinstance(name, str):
        raise error(
            f"`{argument}` must use texts as skill names, got {name!r} "
            f"({type(name).__name__}); write the name as the history's column does"
        )
    if not name.strip():
        raise error(f"`{argument}` must not use a blank skill name, got {name!r}; name the skill")


def _check_text(argument: str, value: object, error: type[InputError]) -> None:
    if not isinstance(value, str):
        raise error(
            f"`{argument}` must be a text, got {value!r} ({type(value).__name__}); "
            "leave it out if there is nothing to say"
        )
