"""The steps between checked cells and a history: what to keep, which scales, which spread."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from skillinfer_bayes.exceptions import PACKAGE_FOLDER, HistoryError, HistoryWarning
from skillinfer_bayes.history.cells import check_skill_names
from skillinfer_bayes.history.detection import detect_scales
from skillinfer_bayes.history.facts import constant_columns
from skillinfer_bayes.history.links import BoolArray, FloatArray, Scale, ScaleSpec
from skillinfer_bayes.history.measurement import check_errors, impossible_counts, link_moments
from skillinfer_bayes.history.scales import Scales, check_scores

MIN_AGENTS = 3
# Below this share of the location a spread is rounding noise.
MIN_RELATIVE_SPREAD = 1e-12
# Below this the spread's square, by which variances are divided, vanishes.
MIN_SPREAD = 1e-150
# Weight of the median skill's spread, in scores.
SPREAD_PRIOR_COUNT = 5
SHOWN_NAMES = 5


def find_filled(
    values: FloatArray, agents: Sequence[str], skills: Sequence[str]
) -> tuple[list[int], list[int], tuple[str, ...]]:
    """Find the rows and columns that hold at least one score.

    Parameters
    ----------
    values : array of shape (N, K)
    agents, skills : sequence of str

    Returns
    -------
    rows, columns : list of int
        Positions to keep.
    notes : tuple of str
        What is left out, in words; empty if nothing is.

    Raises
    ------
    HistoryError
        If fewer than three agents have a score.
    """
    observed = ~np.isnan(values)
    rows = np.flatnonzero(observed.any(axis=1)).tolist()
    columns = np.flatnonzero(observed.any(axis=0)).tolist()
    if len(rows) < MIN_AGENTS:
        raise HistoryError(
            f"`scores` must have at least {MIN_AGENTS} agents with scores, got {len(rows)}; "
            "a population cannot be learned from fewer"
        )
    notes = []
    for kind, names, kept in (("agents", agents, rows), ("skills", skills, columns)):
        there = set(kept)
        lost = [name for i, name in enumerate(names) if i not in there]
        if lost:
            shown = ", ".join(map(repr, lost[:SHOWN_NAMES]))
            more = f" and {len(lost) - SHOWN_NAMES} more" if len(lost) > SHOWN_NAMES else ""
            notes.append(f"dropped {kind} without a single score: {shown}{more}")
    return rows, columns, tuple(notes)


def choose_scales(
    values: FloatArray,
    agents: Sequence[str],
    skills: tuple[str, ...],
    spec: ScaleSpec | Mapping[str, ScaleSpec],
) -> Scales:
    """Take the scales that the caller gave and read the others off them and the scores.

    Parameters
    ----------
    values : array of shape (N, K)
    agents, skills : sequence of str
    spec : "auto", scale, or mapping from skill to scale

    Returns
    -------
    Scales
        Location 0 and spread 1 for now.
    """
    by_skill = spec if isinstance(spec, Mapping) else dict.fromkeys(skills, spec)
    given = {
        str(name): Scale.parse(item)
        for name, item in by_skill.items()
        if not (isinstance(item, str) and item == "auto")
    }
    found = detect_scales(values, agents, skills, given)
    return Scales(
        skills,
        tuple((given | found)[name] for name in skills),
        detected=tuple(name in found for name in skills),
    )


def check_scale_names(spec: ScaleSpec | Mapping[str, ScaleSpec], skills: Sequence[str]) -> None:
    """UnknownSkillError if a mapping of scales names a skill that is not there."""
    if isinstance(spec, Mapping):
        check_skill_names("scale", spec, skills)


def check_cells(
    values: FloatArray,
    n_items: FloatArray | None,
    stderr: FloatArray | None,
    scales: Scales,
    agents: tuple[str, ...],
) -> FloatArray:
    """Check scores against their bounds, and item counts and standard errors; all (N, K).

    Returns
    -------
    array of shape (N, K)
        The scores, rounding errors at the bounds removed.

    Raises
    ------
    HistoryError
        Naming the first cell that cannot be used.

    Warns
    -----
    HistoryWarning
        If scores are not possible counts for their number of items.
    """
    checked = check_scores(values, scales, agents, error=HistoryError)
    check_errors(n_items, stderr, scales, agents, error=HistoryError)
    if n_items is not None:
        _warn_impossible(checked, n_items, scales, agents)
    return checked


def _warn_impossible(
    values: FloatArray, n_items: FloatArray, scales: Scales, agents: Sequence[str]
) -> None:
    cells = np.argwhere(impossible_counts(values, n_items, scales))
    if len(cells):
        row, column = (int(i) for i in cells[0])
        warnings.warn(
            f"`n_items` do not fit {len(cells)} of the scores: the first is agent "
            f"{agents[row]!r}, skill {scales.skills[column]!r}, where "
            f"{float(values[row, column])!r} of {n_items[row, column]:g} items is no whole count; "
            "fine for averages of subtasks, otherwise check the counts",
            HistoryWarning,
            skip_file_prefixes=(PACKAGE_FOLDER,),
        )


def warn_constant(covariates: FloatArray | None, names: Sequence[str]) -> None:
    """Warn of covariates (N, P) that are the same for all agents."""
    if covariates is None:
        return
    constant = [
        name for name, same in zip(names, constant_columns(covariates), strict=True) if same
    ]
    if constant:
        warnings.warn(
            f"`covariates` should differ between agents, got {constant} with one value for all, "
            "which teaches nothing: new agents are not moved by them either; leave them out",
            HistoryWarning,
            skip_file_prefixes=(PACKAGE_FOLDER,),
        )


def fit_scales(
    values: FloatArray,
    n_items: FloatArray | None,
    stderr: FloatArray | None,
    scales: Scales,
    *,
    normalize: bool,
) -> Scales:
    """Set location, spread and unit range from the observed scores.

    Parameters
    ----------
    values, n_items, stderr : array of shape (N, K)
        Scores with their item counts or standard errors (None where not given at all).
    scales : Scales
        Whose links and bounds to keep.
    normalize : bool
        Whether the unit range is the observed range of scores, or 0 to 1.

    Returns
    -------
    Scales

    Raises
    ------
    HistoryError
        Naming the skills that have fewer than two distinct scores, or whose spread cannot be
        computed.
    """
    lowest, highest = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    _refuse(lowest == highest, scales, "hold two distinct scores for every skill", lowest, highest)
    linked, _ = link_moments(values, scales, n_items, stderr)
    with np.errstate(over="ignore", invalid="ignore"):
        location, spread = np.nanmean(linked, axis=0), np.nanstd(linked, axis=0, ddof=1)
        usable = np.isfinite(location) & np.isfinite(spread)
        usable &= spread > np.maximum(MIN_RELATIVE_SPREAD * np.abs(location), MIN_SPREAD)
    _refuse(~usable, scales, "differ by an amount that can be computed with", lowest, highest)
    spread = _shrunk_spread(spread, (~np.isnan(values)).sum(axis=0), scales.bounded)
    fitted = replace(scales, location=location, spread=spread)
    return replace(fitted, unit_lower=lowest, unit_upper=highest) if normalize else fitted


def _shrunk_spread(spread: FloatArray, count: NDArray[np.intp], bounded: BoolArray) -> FloatArray:
    """Pull the standard deviations of skills with few scores towards the median skill's.

    Two or three scores say little about how widely a skill spreads. Logits have no units, so
    bounded skills can lend each other theirs: the scaled inverse chi-squared prior of Gelman et
    al. (2013), Bayesian Data Analysis, section 2.6, ISBN 978-1-4398-4095-5.
    """
    if not bounded.any():
        return spread
    pooled = np.median(spread[bounded])
    degrees = count - 1
    total = SPREAD_PRIOR_COUNT * pooled**2 + degrees * spread**2
    return np.where(bounded, np.sqrt(total / (SPREAD_PRIOR_COUNT + degrees)), spread)


def _refuse(
    bad: BoolArray, scales: Scales, rule: str, lowest: FloatArray, highest: FloatArray
) -> None:
    positions = np.flatnonzero(bad)
    if len(positions):
        first = int(positions[0])
        ends = dict.fromkeys([float(lowest[first]), float(highest[first])])
        others = [scales.skills[i] for i in positions[1:6]]
        raise HistoryError(
            f"`scores` must {rule}, got only {' to '.join(map(repr, ends))} for skill "
            f"{scales.skills[first]!r}{f' (also {others})' if others else ''}; drop the skill or "
            "add agents that differ on it"
        )
