"""All skills' scales together: vectorised transforms, checks of scores, a table for reports.

Two steps, both per skill::

    score --link--> link value --centre and scale--> working value

The link is a logit for bounded scores and the identity for unbounded ones; the history's own
mean and standard deviation centre and scale what comes out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from skillinfer_bayes.exceptions import (
    ConfigError,
    InputError,
    ScoreError,
    UnknownSkillError,
    closest_match_hint,
)
from skillinfer_bayes.history.links import (
    BoolArray,
    FloatArray,
    Links,
    Scale,
    ScaleSpec,
    as_float,
    is_number,
)

__all__ = ["Scale", "ScaleSpec", "Scales", "check_score", "check_scores"]

ARRAY_DEFAULTS = {"location": 0.0, "spread": 1.0, "unit_lower": 0.0, "unit_upper": 1.0}


def _not_given() -> FloatArray:
    """Stand for an array that `Scales` fills with its default."""
    return np.empty(0)


@dataclass(frozen=True, eq=False)
class Scales:
    """The scales of all skills, with the history's location and spread on the link scale.

    All arrays have shape (K,), one entry per skill, and cannot be written to.

    Parameters
    ----------
    skills : tuple of str
        Names, in the history's order.
    scales : tuple of Scale
        Bounds and link per skill.
    location, spread : array of shape (K,), optional
        Mean and standard deviation (ddof 1) of the observed history, link units; a bounded
        skill's standard deviation is pulled towards the median one, as if that had been seen in
        five more scores. Default 0 and 1, which makes the working scale the link scale.
    unit_lower, unit_upper : array of shape (K,), optional
        Score units that `to_unit` maps to 0 and 1. Default 0 and 1 (no change).
    detected : tuple of bool, optional
        Whether a scale was read off the scores (True) or given by the caller. Default False.

    Raises
    ------
    ConfigError
        If lengths differ, an array is not finite, or a spread is not positive.
    """

    skills: tuple[str, ...]
    scales: tuple[Scale, ...]
    location: FloatArray = field(default_factory=_not_given)
    spread: FloatArray = field(default_factory=_not_given)
    unit_lower: FloatArray = field(default_factory=_not_given)
    unit_upper: FloatArray = field(default_factory=_not_given)
    detected: tuple[bool, ...] = ()
    links: Links = field(init=False, repr=False)

    def __post_init__(self) -> None:
        count = len(self.skills)
        object.__setattr__(self, "skills", tuple(self.skills))
        object.__setattr__(self, "scales", tuple(self.scales))
        object.__setattr__(self, "detected", tuple(self.detected) or (False,) * count)
        for name, default in ARRAY_DEFAULTS.items():
            given = getattr(self, name)
            array = np.array(given, dtype=float) if np.size(given) else np.full(count, default)
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        self._check(count)
        object.__setattr__(self, "links", Links.of(self.scales))

    def _check(self, count: int) -> None:
        if len(self.scales) != count or len(self.detected) != count:
            raise ConfigError(f"`scales` must hold one Scale per skill, got {len(self.scales)}")
        for name in ARRAY_DEFAULTS:
            array = getattr(self, name)
            if array.shape != (count,) or not np.isfinite(array).all():
                raise ConfigError(f"`{name}` must hold {count} finite numbers, got {array!r}")
        if not (self.spread > 0).all() or not (self.unit_upper > self.unit_lower).all():
            raise ConfigError("`spread` and the unit range of every skill must be positive")

    def __len__(self) -> int:
        return len(self.skills)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Scales):
            return NotImplemented
        return self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        # equal scales may differ in the sign of a zero
        location = (self.location + 0.0).tobytes()
        return hash((self.skills, self.scales, location, self.spread.tobytes()))

    def __getitem__(self, skill: str) -> Scale:
        return self.scales[self.index(skill)]

    def index(self, skill: str) -> int:
        """Position of a skill; UnknownSkillError with the closest name if there is none."""
        try:
            return self.skills.index(skill)
        except ValueError:
            hint = closest_match_hint(skill, self.skills)
            raise UnknownSkillError(f"unknown skill {skill!r}; {hint}") from None

    @property
    def lower(self) -> FloatArray:
        """Lower bounds in score units, (K,); -inf where unbounded."""
        return self.links.lower

    @property
    def upper(self) -> FloatArray:
        """Upper bounds in score units, (K,); inf where unbounded."""
        return self.links.upper

    @property
    def tolerance(self) -> FloatArray:
        """How far rounding may move a score, in score units, (K,); 0 where unbounded."""
        return np.array([item.tolerance for item in self.scales])

    @property
    def bounded(self) -> BoolArray:
        """True where the link is a logit, (K,)."""
        return self.links.bounded

    def to_working(self, scores: ArrayLike) -> FloatArray:
        """Scores (..., K) to working values; NaN stays NaN."""
        link_value = self.links.forward(np.asarray(scores, dtype=np.float64))
        return (link_value - self.location) / self.spread

    def from_working(self, working: ArrayLike) -> FloatArray:
        """Working values (..., K) to scores within the bounds; increasing; NaN stays NaN."""
        values = np.asarray(working, dtype=np.float64)
        return self.links.backward(values * self.spread + self.location)

    def derivative(self, scores: ArrayLike) -> FloatArray:
        """Change of the working value per unit of score, at `scores` (..., K)."""
        return self.links.derivative(np.asarray(scores, dtype=np.float64)) / self.spread

    def to_unit(self, scores: ArrayLike) -> FloatArray:
        """Scores (..., K) min-max scaled by the history; unchanged without `normalize`."""
        values = np.asarray(scores, dtype=np.float64)
        return (values - self.unit_lower) / (self.unit_upper - self.unit_lower)

    @property
    def typical(self) -> FloatArray:
        """The median bounded skill's spread on the working scale of each skill, (K,).

        Logits have no units, so bounded skills can be compared; for the others, whose scores
        have, it is their own spread: 1.
        """
        if not self.bounded.any():
            return np.ones(len(self))
        return np.where(self.bounded, np.median(self.spread[self.bounded]) / self.spread, 1.0)

    def take(self, positions: Sequence[int]) -> Scales:
        """Keep some skills only, in the given order."""
        chosen = list(positions)
        arrays = {name: getattr(self, name)[chosen] for name in ARRAY_DEFAULTS}
        return Scales(
            tuple(self.skills[i] for i in chosen),
            tuple(self.scales[i] for i in chosen),
            detected=tuple(self.detected[i] for i in chosen),
            **arrays,
        )

    def describe(self) -> pd.DataFrame:
        """One row per skill: skill, scale (short form), link, lower, upper, detected."""
        return pd.DataFrame(
            {
                "skill": list(self.skills),
                "scale": [item.label for item in self.scales],
                "link": [item.link for item in self.scales],
                "lower": self.lower,
                "upper": self.upper,
                "detected": list(self.detected),
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Write as lists, strings and finite floats, so that JSON keeps every digit."""
        return {
            "skills": list(self.skills),
            "scales": [_scale_to_dict(item) for item in self.scales],
            "detected": [bool(item) for item in self.detected],
            **{name: getattr(self, name).tolist() for name in ARRAY_DEFAULTS},
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Scales:
        """Inverse of `to_dict`; ConfigError if a key is missing, unknown or malformed."""
        expected = {"skills", "scales", "detected", *ARRAY_DEFAULTS}
        if set(stored) != expected:
            raise ConfigError(f"stored scales must have the keys {sorted(expected)}")
        try:
            return cls(
                skills=tuple(str(name) for name in stored["skills"]),
                scales=tuple(_scale_from_dict(item) for item in stored["scales"]),
                detected=tuple(bool(item) for item in stored["detected"]),
                **{name: np.array(stored[name], dtype=float) for name in ARRAY_DEFAULTS},
            )
        except (TypeError, ValueError, KeyError) as error:
            raise ConfigError(f"stored scales cannot be read: {error}") from error


def _scale_to_dict(scale: Scale) -> dict[str, Any]:
    return {
        "link": scale.link,
        # JSON has no infinities
        "lower": scale.lower if math.isfinite(scale.lower) else str(scale.lower),
        "upper": scale.upper if math.isfinite(scale.upper) else str(scale.upper),
        "margin": scale.margin,
        **({} if scale.chance is None else {"chance": scale.chance}),
    }


def _scale_from_dict(stored: Mapping[str, Any]) -> Scale:
    return Scale(
        stored["link"],
        float(stored["lower"]),
        float(stored["upper"]),
        float(stored["margin"]),
        chance=stored.get("chance"),
    )


def _is_missing(value: object) -> bool:
    return value is None or value is pd.NA or value is pd.NaT


def _place(skill: str, agent: str | None) -> str:
    return f"skill {skill!r}" if agent is None else f"agent {agent!r}, skill {skill!r}"


def _bounds_fix(skill: str, value: float, scale: Scale) -> str:
    """Say what to do about a score outside its bounds."""
    smaller = value / 100.0
    if (scale.lower, scale.upper) == (0.0, 1.0) and 1.0 < value <= 100.0:
        return f"did you mean {smaller:g}?"
    return (
        "correct it, or fit the history with a scale that allows it, "
        f"such as scale={{{skill!r}: 'unbounded'}}"
    )


def check_score(
    skill: str,
    value: object,
    scale: Scale,
    *,
    agent: str | None = None,
    argument: str = "score",
    error: type[InputError] = ScoreError,
) -> float:
    """Check one score against its scale.

    Parameters
    ----------
    skill : str
        The skill's name, for the message.
    value : object
        The score in the scale's units; a real number, not a bool.
    scale : Scale
    agent : str, optional
        The agent's name, for the message.
    argument : str, default "score"
        What the caller's argument is called.
    error : type of InputError, default ScoreError
        What to raise.

    Returns
    -------
    float
        The score; one that rounding put just outside a bound is returned on the bound.

    Raises
    ------
    ScoreError
        If the score is missing, not a number, infinite, or outside the bounds.
    """
    place = _place(skill, agent)
    if _is_missing(value) or (is_number(value) and math.isnan(as_float(value))):  # type: ignore[arg-type]
        fix = "leave the skill out if it was not measured"
        raise error(f"`{argument}` must be a number, got {value} for {place}; {fix}")
    if not is_number(value):
        fix = "convert it to a number"
        raise error(f"`{argument}` must be a number, got {value!r} for {place}; {fix}")
    number = as_float(value)  # type: ignore[arg-type]
    if math.isinf(number):
        fix = "correct it, or leave the skill out"
        raise error(f"`{argument}` must be finite, got {number} for {place}; {fix}")
    slack = scale.tolerance
    if not scale.lower - slack <= number <= scale.upper + slack:
        raise error(
            f"`{argument}` must be between {scale.lower:g} and {scale.upper:g}, got {number!r} "
            f"for {place}; {_bounds_fix(skill, number, scale)}"
        )
    return min(max(number, scale.lower), scale.upper)


def check_scores(
    table: ArrayLike,
    scales: Scales,
    agents: Sequence[str],
    *,
    argument: str = "scores",
    error: type[InputError] = ScoreError,
) -> FloatArray:
    """Check many agents' scores at once; NaN means not observed.

    Parameters
    ----------
    table : array of shape (A, K)
        Scores in score units, columns in the order of `scales.skills`.
    scales : Scales
    agents : sequence of str
        A names, for the message.
    argument : str, default "scores"
        What the caller's argument is called.
    error : type of InputError, default ScoreError
        What to raise.

    Returns
    -------
    array of shape (A, K)
        A new array; scores that rounding put just outside a bound lie on the bound.

    Raises
    ------
    ScoreError
        Naming the first cell that is infinite or outside its bounds, and how many there are.
    """
    values = np.array(table, dtype=np.float64)
    slack = scales.tolerance
    outside = (values < scales.lower - slack) | (values > scales.upper + slack)
    offending = np.argwhere(outside | np.isinf(values))
    if len(offending):
        row, column = (int(i) for i in offending[0])
        _raise_for_cell(
            values[row, column], scales, column, agents[row], len(offending), argument, error
        )
    return np.clip(values, scales.lower, scales.upper)


def _raise_for_cell(
    value: float,
    scales: Scales,
    column: int,
    agent: str,
    count: int,
    argument: str,
    error: type[InputError],
) -> None:
    skill, scale = scales.skills[column], scales.scales[column]
    try:
        check_score(skill, float(value), scale, agent=agent, argument=argument, error=error)
    except error as problem:
        more = f" (the first of {count} such cells)" if count > 1 else ""
        raise error(f"{problem}{more}") from None
