"""A profile as plain data: observations are kept, predictions are computed anew when read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skillinfer_bayes.exceptions import InputError, PopulationMismatchError
from skillinfer_bayes.profiles.evidence import Observation

FORMAT = "skillinfer_bayes profile"
FORMAT_VERSION = 1


def profile_to_dict(
    population_id: str,
    agent: str,
    observations: Mapping[str, Sequence[Observation]],
    predictions: Mapping[str, Mapping[str, Any]],
    known: Mapping[str, Any],
) -> dict[str, Any]:
    """Put a profile into plain data that JSON can hold."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "population_id": population_id,
        "agent": agent,
        **{name: value for name, value in known.items() if value is not None},
        "observations": {
            skill: [one.to_dict() for one in measured] for skill, measured in observations.items()
        },
        "predictions": {skill: dict(row) for skill, row in predictions.items()},
    }


def start(given: Mapping[str, Any], population: Any) -> Any:
    """Start a stored profile's agent anew; InputError if this is no profile or no Population."""
    agent, known = agent_of(given), _known_of(given)
    if not hasattr(population, "profile"):
        raise InputError(
            "`population` must be the Population that the profile was made with, got "
            f"{type(population).__name__}; load it with `Population.load`"
        )
    return population.profile(agent=agent, **known)


def agent_of(given: Mapping[str, Any]) -> str:
    """Name of a stored profile's agent; InputError if this is no profile."""
    candidate: object = given  # callers may hold anything that JSON can
    if not isinstance(candidate, Mapping) or candidate.get("format") != FORMAT:
        raise InputError("this is not a profile; give what `Profile.to_dict` returned")
    if given.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"the profile has format version {given.get('format_version')!r}, this version "
            f"reads {FORMAT_VERSION}; make it again or update the package"
        )
    agent = given.get("agent", "agent")
    if not isinstance(agent, str | int) or isinstance(agent, bool):
        raise InputError(f"the profile's 'agent' must be text, got {agent!r}; give it a name")
    return str(agent)


def _known_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Group and covariates of a stored profile; InputError if they are not what they should be."""
    group, covariates = given.get("group"), given.get("covariates")
    if group is not None and not isinstance(group, str):
        raise InputError(f"the profile's 'group' must be text, got {group!r}")
    if covariates is not None and not isinstance(covariates, Mapping):
        raise InputError(
            f"the profile's 'covariates' must map names to numbers, got {covariates!r}"
        )
    reweight = given.get("reweight", False)
    if not isinstance(reweight, bool):
        raise InputError(f"the profile's 'reweight' must be true or false, got {reweight!r}")
    return {"group": group, "covariates": covariates, "reweight": reweight}


def measurements_of(
    given: Mapping[str, Any], population_id: str
) -> dict[str, list[dict[str, float]]]:
    """Give a stored profile's measurements by skill.

    Raises
    ------
    PopulationMismatchError
        If the profile belongs to another population.
    InputError
        If the measurements are not what a profile holds.
    """
    if given.get("population_id") != population_id:
        raise PopulationMismatchError(
            f"the profile belongs to population {given.get('population_id')!r}, not to "
            f"{population_id!r}; load the population that it was made with, or observe its "
            "scores again"
        )
    found = given.get("observations")
    if not isinstance(found, Mapping):
        raise InputError("the profile's 'observations' must map skills to measurements")
    known = {"score", "n_items", "stderr"}
    for skill, measured in found.items():
        if not isinstance(measured, list) or not all(
            isinstance(one, Mapping) and "score" in one and known.issuperset(one)
            for one in measured
        ):
            raise InputError(
                f"the profile's measurements of {skill!r} must be a list of mappings with "
                f"'score' and perhaps 'n_items' or 'stderr', got {measured!r}"
            )
    return {str(skill): [dict(one) for one in measured] for skill, measured in found.items()}


def read_json(source: str | Path) -> dict[str, Any]:
    """Read JSON text (str) or a file of it (Path); InputError if it is not a JSON object."""
    try:
        text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"`source` must be a file of JSON text, got {str(source)!r}: {error}"
        ) from error
    try:
        given = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"`source` must be JSON text, or a Path to a file of it: {error}"
        ) from error
    if not isinstance(given, dict):
        raise InputError("`source` must hold a JSON object; give what `Profile.to_json` wrote")
    return given
