"""Links: one skill's bounds and the function that takes its scores to the whole real line."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, SupportsFloat

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skillinfer_bayes.exceptions import ConfigError, closest_match_hint

type FloatArray = NDArray[np.float64]
type BoolArray = NDArray[np.bool_]
type Link = Literal["identity", "logit"]
type ScaleSpec = Scale | str | Sequence[float]

DEFAULT_MARGIN = 0.02
NAMED_BOUNDS = {
    "0-1": (0.0, 1.0),
    "unit": (0.0, 1.0),
    "0-100": (0.0, 100.0),
    "percent": (0.0, 100.0),
}


@dataclass(frozen=True)
class Scale:
    """The bounds and the link of one skill's scores.

    The bounds are widened by `margin` times their distance before the logit is taken, so that
    a score at a bound stays finite; the way back folds the widened part onto the bounds.

    Parameters
    ----------
    link : {"identity", "logit"}
        `"identity"` for unbounded scores, `"logit"` for bounded ones.
    lower, upper : float
        Bounds in score units; infinite for the identity.
    margin : float, default 0.02
        Share of the distance between the bounds, 0 < margin < 0.5; only the logit uses it.
    chance : float, optional
        What guessing scores, lower <= chance < upper: .25 for a choice of four. The link's lower
        end, so that no skill is predicted below it; measured scores below it are accepted and
        say what a score at chance says.

    Raises
    ------
    ConfigError
        If link, bounds and margin do not fit together.
    """

    link: Link
    lower: float = -math.inf
    upper: float = math.inf
    margin: float = DEFAULT_MARGIN
    chance: float | None = None

    def __post_init__(self) -> None:
        if self.link not in ("identity", "logit"):
            raise ConfigError(f"`link` must be 'identity' or 'logit', got {self.link!r}")
        for name in ("lower", "upper", "margin"):
            object.__setattr__(self, name, _bound(name, getattr(self, name)))
        if not 0.0 < self.margin < 0.5:
            raise ConfigError(f"`margin` must be between 0 and 0.5, got {self.margin!r}")
        finite = math.isfinite(self.lower) and math.isfinite(self.upper)
        if self.link == "logit" and not (finite and self.upper - self.lower > 0.0):
            raise ConfigError(
                f"`scale` bounds must be finite with lower < upper, got ({self.lower!r}, "
                f"{self.upper!r}); use 'unbounded' for a skill without bounds"
            )
        if self.chance is not None:
            object.__setattr__(self, "chance", _bound("chance", self.chance))
            if self.link != "logit" or not self.lower <= self.chance < self.upper:
                raise ConfigError(
                    f"`chance` must lie between the bounds of a bounded scale, got {self.chance!r}"
                )
        if self.link == "identity" and (self.lower, self.upper) != (-math.inf, math.inf):
            raise ConfigError(
                f"`scale` with the identity link takes no bounds, got ({self.lower!r}, "
                f"{self.upper!r}); use link 'logit' for bounded scores"
            )

    @classmethod
    def unit(cls) -> Scale:
        """Scores between 0 and 1."""
        return cls("logit", 0.0, 1.0)

    @classmethod
    def percent(cls) -> Scale:
        """Scores between 0 and 100."""
        return cls("logit", 0.0, 100.0)

    @classmethod
    def bounded(cls, lower: float, upper: float, *, chance: float | None = None) -> Scale:
        """Scores between two given bounds, perhaps with what guessing scores."""
        return cls("logit", lower, upper, chance=chance)

    @classmethod
    def multiple_choice(cls, n_choices: int) -> Scale:
        """Scores between 0 and 1 on questions with one right answer among `n_choices`."""
        given: object = n_choices
        if isinstance(given, bool) or not isinstance(given, numbers.Integral) or given < 2:
            raise ConfigError(
                f"`n_choices` must be a whole number of at least 2, got {n_choices!r}"
            )
        return cls("logit", 0.0, 1.0, chance=1 / int(given))

    @classmethod
    def unbounded(cls) -> Scale:
        """Scores without bounds, such as Elo ratings."""
        return cls("identity")

    @classmethod
    def parse(cls, spec: ScaleSpec) -> Scale:
        """Read a scale from the short forms that users write.

        Parameters
        ----------
        spec : Scale, str or pair of float
            `"0-1"` (or `"unit"`), `"percent"` (or `"0-100"`), `"unbounded"`, `(lower, upper)`,
            or a `Scale`, which is returned as it is.

        Raises
        ------
        ConfigError
            If `spec` is none of these.
        """
        if isinstance(spec, Scale):
            return spec
        if isinstance(spec, str):
            return cls._from_name(spec)
        if _is_pair(spec):
            return cls.bounded(*spec)
        raise ConfigError(
            "`scale` must be '0-1', 'percent', 'unbounded', a pair (lower, upper) or a Scale, "
            f"got {spec!r}"
        )

    @classmethod
    def _from_name(cls, name: str) -> Scale:
        if name == "unbounded":
            return cls.unbounded()
        if name in NAMED_BOUNDS:
            return cls.bounded(*NAMED_BOUNDS[name])
        known = [*NAMED_BOUNDS, "unbounded", "auto"]
        raise ConfigError(
            "`scale` must be '0-1', 'percent', 'unbounded' or a pair (lower, upper), "
            f"got {name!r}; {closest_match_hint(name, known)}"
        )

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest score; scores that share them are in the same units."""
        return self.lower, self.upper

    @property
    def width(self) -> float:
        """Distance between the bounds, infinite for an unbounded scale."""
        return self.upper - self.lower

    @property
    def label(self) -> str:
        """A short form for reports: its name where `parse` knows one, else its bounds in words."""
        if self.link == "identity":
            return "unbounded"
        names = {(0.0, 1.0): "0-1", (0.0, 100.0): "percent"}
        name = names.get((self.lower, self.upper), f"({self.lower:g}, {self.upper:g})")
        return name if self.chance is None else f"{name} from chance {self.chance:g}"

    @property
    def tolerance(self) -> float:
        """How far outside the bounds rounding may put a score, in score units."""
        return 1e-9 * self.width if self.link == "logit" else 0.0

    def forward(self, score: ArrayLike) -> FloatArray:
        """Scores to link values, any shape; NaN stays NaN."""
        return Links.of((self,), shape=()).forward(np.asarray(score, dtype=np.float64))

    def backward(self, link_value: ArrayLike) -> FloatArray:
        """Link values to scores within the bounds, any shape; NaN stays NaN."""
        return Links.of((self,), shape=()).backward(np.asarray(link_value, dtype=np.float64))

    def derivative(self, score: ArrayLike) -> FloatArray:
        """Change of the link value per unit of score, at `score`."""
        return Links.of((self,), shape=()).derivative(np.asarray(score, dtype=np.float64))


def is_number(value: object) -> bool:
    """Whether a value is a real number of any class, and no truth value."""
    return isinstance(value, numbers.Real | Decimal) and not isinstance(value, bool | np.bool_)


def as_float(value: SupportsFloat) -> float:
    """Give a number as a float, infinite where it is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf  # type: ignore[operator]


def _is_pair(spec: Sequence[float]) -> bool:
    try:
        return np.ndim(spec) == 1 and len(spec) == 2
    except ValueError:  # items of different lengths
        return False


def _bound(name: str, value: object) -> float:
    number = isinstance(value, int | float | np.number | Decimal) and not isinstance(value, bool)
    bound = as_float(value) if number else math.nan  # type: ignore[arg-type]
    if math.isnan(bound):
        raise ConfigError(f"`{name}` of a scale must be a number, got {value!r}")
    return bound + 0.0  # one zero, not two


@dataclass(frozen=True, eq=False)
class Links:
    """Link arithmetic for many skills at once.

    Arrays of shape (K,), or () for one skill, which cannot be written to.
    """

    bounded: BoolArray
    lower: FloatArray
    upper: FloatArray
    margin: FloatArray
    # finite stand-ins for unbounded skills: their logit is computed and thrown away
    base: FloatArray
    width: FloatArray
    # the range that item counts are shares of; wider than the link's where guessing scores
    floor: FloatArray
    span: FloatArray

    @classmethod
    def of(cls, scales: Sequence[Scale], shape: tuple[int, ...] | None = None) -> Links:
        """Gather the arrays of several skills; `shape=()` for a single one."""
        shape = (len(scales),) if shape is None else shape
        bounded = np.array([item.link == "logit" for item in scales]).reshape(shape)
        lower = np.array([item.lower for item in scales]).reshape(shape)
        upper = np.array([item.upper for item in scales]).reshape(shape)
        margin = np.array([item.margin for item in scales]).reshape(shape)
        chance = [item.lower if item.chance is None else item.chance for item in scales]
        base = np.where(bounded, np.array(chance).reshape(shape), 0.0)
        width = np.where(bounded, upper, 1.0) - base
        floor = np.where(bounded, lower, 0.0)
        span = np.where(bounded, upper, 1.0) - floor
        arrays = (bounded, lower, upper, margin, base, width, floor, span)
        for array in arrays:
            array.setflags(write=False)
        return cls(*arrays)

    def proportion(self, score: FloatArray) -> FloatArray:
        """Position between the link's ends, within [0, 1]."""
        return np.clip((score - self.base) / self.width, 0.0, 1.0)

    def share_of_items(self, score: FloatArray) -> FloatArray:
        """Share of right answers that a score stands for, within [0, 1]."""
        return np.clip((score - self.floor) / self.span, 0.0, 1.0)

    def _widened(self, score: FloatArray) -> FloatArray:
        return (self.proportion(score) + self.margin) / (1.0 + 2.0 * self.margin)

    def _choose(self, logit: FloatArray, identity: FloatArray) -> FloatArray:
        return logit if self.bounded.all() else np.where(self.bounded, logit, identity)

    def forward(self, score: FloatArray) -> FloatArray:
        """Scores (..., K) to link values; scores outside the bounds count as on them."""
        inside = self._widened(score)
        return self._choose(np.log(inside) - np.log1p(-inside), score)

    def backward(self, link_value: FloatArray) -> FloatArray:
        """Link values (..., K) to scores within the bounds."""
        # expit(z) * (1 + 2 margin) - margin, written with the cheaper tanh
        share = np.tanh(0.5 * link_value)
        share *= 0.5 + self.margin
        share += 0.5
        score = self._choose(self.base + self.width * np.clip(share, 0.0, 1.0), link_value)
        # base + width may round past the upper bound
        return np.minimum(score, self.upper)

    def derivative(self, score: FloatArray) -> FloatArray:
        """Link units per score unit, (..., K)."""
        inside = self._widened(score)
        slope = 1.0 / (self.width * (1.0 + 2.0 * self.margin) * inside * (1.0 - inside))
        return self._choose(slope, np.ones_like(score))
