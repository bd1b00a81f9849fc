"""How well each score was measured: link values with their error variances.

Without item counts or standard errors every score carries the same small error. An item count
turns a bounded score into a binomial proportion; a standard error is carried through the link.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skillinfer_bayes.exceptions import InputError, ScoreError
from skillinfer_bayes.history.links import BoolArray, FloatArray, Links, Scale, as_float
from skillinfer_bayes.history.scales import Scales

# Error of a score about which nothing else is known; the skill's spread is the unit.
DEFAULT_ERROR_SD = 0.05
# Items differ in difficulty and the same ones are asked of everybody, so a repeated score varies
# less than binomial sampling says: by how much was chosen on held-out scores (benchmarks/accuracy).
ITEM_VARIANCE_SHARE = 0.5
# A stated error below this is numerically an exact score and would make covariances singular.
MIN_ERROR_SD = 1e-3
# What single precision may lose of a score, as a share of its scale's width.
SINGLE_PRECISION = 1e-7


class WorkingData(NamedTuple):
    """Scores on the working scale.

    Attributes
    ----------
    values : array of shape (N, K)
        NaN where missing.
    error_var : array of shape (N, K) or None
        Variance of each value's measurement error; None when every cell has the default
        `DEFAULT_ERROR_SD` squared. Missing cells hold the default too.
    """

    values: FloatArray
    error_var: FloatArray | None


def binomial_variance(proportion: ArrayLike, n_items: ArrayLike) -> FloatArray:
    """Variance of a measured proportion, finite and positive at 0 and 1 too.

    The rate is shrunk towards one half as if half a success and half a failure had been seen,
    the mean under the Jeffreys prior (Agresti and Coull (1998), doi:10.2307/2685469, show what
    the unshrunk formula does to intervals near the bounds).

    Parameters
    ----------
    proportion : array
        Successes over items, within [0, 1]; the count need not come out whole.
    n_items : array
        Items, at least 1.

    Returns
    -------
    array
        Of the broadcast shape; NaN where either input is NaN.
    """
    total = np.asarray(n_items, dtype=np.float64)
    rate = shrunk_rate(proportion, total)
    return np.asarray(rate * (1.0 - rate) / total)


def shrunk_rate(proportion: ArrayLike, n_items: ArrayLike) -> FloatArray:
    """Posterior mean of a success rate under the Jeffreys prior, ``(k + 1/2) / (n + 1)``."""
    total = np.asarray(n_items, dtype=np.float64)
    return np.asarray((np.asarray(proportion, dtype=np.float64) * total + 0.5) / (total + 1.0))


def delta_method_variance(stderr: ArrayLike, derivative: ArrayLike) -> FloatArray:
    """First-order variance of a transformed score.

    Parameters
    ----------
    stderr : array
        Standard errors in score units.
    derivative : array
        Change of the transformed score per score unit, at the score.

    Returns
    -------
    array
        ``(stderr * derivative) ** 2``.
    """
    change = np.asarray(stderr, dtype=np.float64) * np.asarray(derivative, dtype=np.float64)
    return np.asarray(np.square(change))


def _binomial_link_variance(scores: FloatArray, n_items: FloatArray, links: Links) -> FloatArray:
    """Variance of the link value of a proportion.

    The delta method is applied at the shrunk rate: at a bound itself the link is so steep that a
    perfect score of few items would say less than one with a mistake. Below chance a score counts
    as one at chance, as its link value does.
    """
    share = links.share_of_items(np.maximum(scores, links.base))
    variance = ITEM_VARIANCE_SHARE * binomial_variance(share, n_items)
    at = links.floor + links.span * shrunk_rate(share, n_items)
    stderr = links.span * np.sqrt(variance)
    return delta_method_variance(stderr, links.derivative(at))


def link_moments(
    scores: ArrayLike,
    scales: Scales,
    n_items: FloatArray | None = None,
    stderr: FloatArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Scores on the link scale with their error variances.

    Parameters
    ----------
    scores : array of shape (A, K)
        Score units, NaN where missing.
    scales : Scales
        Only the links are used, not location and spread.
    n_items, stderr : array of shape (A, K), optional
        NaN where not given; item counts only for bounded skills.

    Returns
    -------
    values, variances : array of shape (A, K)
        Link units. The variance is NaN where nothing says how well the score was measured; a
        standard error of exactly 0 says nothing, since that is what the usual formula yields
        for a score of 0 or 1 whatever the number of items.
    """
    table = np.asarray(scores, dtype=np.float64)
    values = scales.links.forward(table)
    variances = np.full(values.shape, np.nan)
    if stderr is not None:
        known = (stderr > 0) & ~np.isnan(table)
        spread = delta_method_variance(stderr, scales.links.derivative(table))
        variances[known] = spread[known]
    if n_items is not None:
        counted = ~np.isnan(n_items) & ~np.isnan(table) & scales.bounded
        spreads = _binomial_link_variance(table, n_items, scales.links)
        variances = np.where(counted, spreads, variances)
    return values, variances


def working_data(
    scores: ArrayLike,
    scales: Scales,
    n_items: FloatArray | None = None,
    stderr: FloatArray | None = None,
) -> WorkingData:
    """Scores on the working scale with their error variances; arguments as `link_moments`."""
    values, variances = link_moments(scores, scales, n_items, stderr)
    working = (values - scales.location) / scales.spread
    if n_items is None and stderr is None:
        return WorkingData(working, None)
    scaled = np.maximum(variances / np.square(scales.spread), MIN_ERROR_SD**2)
    return WorkingData(working, np.where(np.isnan(scaled), DEFAULT_ERROR_SD**2, scaled))


def check_n_items(skill: str, n_items: object, scale: Scale) -> float:
    """Check the item count of one observation; ScoreError names the skill, value and fix."""
    place = f"for skill {skill!r}"
    if scale.link == "identity":
        raise ScoreError(
            f"`n_items` must be left out {place}, got {n_items!r}: its scores have no bounds, so "
            "they are no proportions; pass stderr instead"
        )
    value = _number("n_items", n_items, place)
    if value < 1 or value != math.floor(value):
        raise ScoreError(f"`n_items` must be a whole number from 1 on, got {n_items!r} {place}")
    return value


def check_stderr(skill: str, stderr: object) -> float:
    """Check the standard error of one observation; ScoreError names the skill and value."""
    place = f"for skill {skill!r}"
    value = _number("stderr", stderr, place)
    if value < 0:
        raise ScoreError(f"`stderr` must be zero or positive, got {stderr!r} {place}")
    return value


def _number(argument: str, value: object, place: str) -> float:
    numeric = isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_)
    number = as_float(value) if numeric else math.nan  # type: ignore[arg-type]
    if not math.isfinite(number):
        raise ScoreError(
            f"`{argument}` must be a finite number, got {number if numeric else value!r} {place}; "
            "leave it out if it is not known"
        )
    return number


def check_errors(
    n_items: FloatArray | None,
    stderr: FloatArray | None,
    scales: Scales,
    agents: tuple[str, ...],
    error: type[InputError] = ScoreError,
) -> None:
    """Check tables of item counts and standard errors, shape (A, K), NaN where not given.

    Raises
    ------
    ScoreError, or what `error` says
        Naming the first cell that is infinite, below 1 item or not whole, negative, a count
        for an unbounded skill, or given both ways.
    """

    def refuse(bad: NDArray[np.bool_], argument: str, table: FloatArray, rule: str) -> None:
        cells = np.argwhere(bad)
        if len(cells):
            row, column = (int(i) for i in cells[0])
            raise error(
                f"`{argument}` must {rule}, got {float(table[row, column])!r} for agent "
                f"{agents[row]!r}, skill {scales.skills[column]!r}"
            )

    if n_items is not None:
        whole = np.isnan(n_items) | ((n_items >= 1) & (n_items == np.floor(n_items)))
        refuse(np.isinf(n_items) | ~whole, "n_items", n_items, "be a whole number from 1 on")
        unbounded = ~np.isnan(n_items) & ~scales.bounded
        rule = "be left out for a skill without bounds (pass stderr instead)"
        refuse(unbounded, "n_items", n_items, rule)
    if stderr is not None:
        refuse((stderr < 0) | np.isinf(stderr), "stderr", stderr, "be finite and not negative")
    if n_items is not None and stderr is not None:
        both = ~np.isnan(n_items) & ~np.isnan(stderr)
        refuse(both, "stderr", stderr, "be left out where `n_items` is given: keep one of the two")


def impossible_counts(scores: FloatArray, n_items: FloatArray, scales: Scales) -> BoolArray:
    """Where a score times its item count is not a whole number, beyond rounding.

    Parameters
    ----------
    scores, n_items : array of shape (A, K)
        NaN where missing.
    scales : Scales

    Returns
    -------
    bool array of shape (A, K)
        A column's scores count as rounded to as many decimals as its longest one shows, and
        as held in single precision.
    """
    columns = zip(scores.T, scales.links.span, strict=True)
    rounding = np.array([_rounding(column, span) for column, span in columns]) / scales.links.span
    hits = scales.links.share_of_items(scores) * n_items
    distance = np.abs(hits - np.round(hits))
    known = ~np.isnan(hits) & scales.bounded
    return known & (distance > (0.5 * rounding + SINGLE_PRECISION) * n_items + 1e-6)


def _rounding(column: FloatArray, span: float) -> float:
    """Find the unit of a column's last decimal."""
    values = column[~np.isnan(column)]
    for decimals in range(10):
        rounded = np.round(values, decimals)
        if np.allclose(rounded, values, rtol=0.0, atol=SINGLE_PRECISION * span):
            return 10.0**-decimals
    return 1e-10
