"""What a score is worth once cost and latency are counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from skillinfer_bayes.exceptions import ConfigError, MetadataError, closest_match_hint
from skillinfer_bayes.routing.metadata_values import check_by_agent, is_finite, plain_value

type FloatArray = NDArray[np.float64]
type UtilityFunction = Callable[[FloatArray, Mapping[str, object]], FloatArray]


@dataclass(frozen=True, kw_only=True)
class Utility:
    """A weighted sum of an agent's match score and its metadata.

    ``score * match score - cost * metadata[cost_key] - latency * metadata[latency_key]``, plus
    the terms of `other`. A weight says how much utility one unit is worth: with match scores on
    0-1, ``latency=0.0001`` gives up a hundredth of a point for 100 ms.

    Parameters
    ----------
    score : float, default 1.0
        Weight of the match score, above 0.
    cost, latency : float, default 0.0
        Utility lost per unit of cost and latency, not negative.
    cost_key, latency_key : str, default "cost_per_1k" and "avg_latency_ms"
        What the metadata call them.
    other : mapping of str to float, optional
        Utility gained (or, if negative, lost) per unit of other metadata.

    Raises
    ------
    ConfigError
        If a weight cannot be used.

    Examples
    --------
    >>> utility = Utility(cost=10.0, latency=0.0001)
    >>> float(utility(np.array(0.8), {"cost_per_1k": 0.005, "avg_latency_ms": 700}))
    0.68
    """

    score: float = 1.0
    cost: float = 0.0
    latency: float = 0.0
    cost_key: str = "cost_per_1k"
    latency_key: str = "avg_latency_ms"
    other: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("score", "cost", "latency"):
            value = _checked_weight(name, getattr(self, name))
            if value < 0.0 or (name == "score" and value == 0.0):
                rule = "above 0" if name == "score" else "not negative: it is subtracted"
                raise ConfigError(f"`{name}` of a utility must be {rule}, got {value!r}")
        for name in ("cost_key", "latency_key"):
            key = getattr(self, name)
            if not isinstance(key, str) or not key.strip():
                raise ConfigError(f"`{name}` of a utility must be a text, got {key!r}")
        if not isinstance(self.other, Mapping):
            raise ConfigError(
                f"`other` of a utility must map metadata keys to weights, got {self.other!r}"
            )
        weights = {key: _checked_weight(f"other[{key!r}]", self.other[key]) for key in self.other}
        object.__setattr__(self, "other", MappingProxyType(weights))

    @property
    def weights(self) -> dict[str, float]:
        """What one unit of each metadata key adds, for the keys that count."""
        total: dict[str, float] = {}
        losses = ((self.cost_key, -self.cost), (self.latency_key, -self.latency))
        for key, weight in (*losses, *self.other.items()):
            if weight:
                total[key] = total.get(key, 0.0) + weight
        return total

    def __call__(self, score: FloatArray, facts: Mapping[str, object]) -> FloatArray:
        """Turn match scores of one agent into utilities.

        Parameters
        ----------
        score : array
            Any shape.
        facts : mapping of str to object
            The agent's metadata.

        Raises
        ------
        MetadataError
            If a number that counts is missing or not finite.
        """
        added = (weight * _number(facts, key) for key, weight in self.weights.items())
        return np.asarray(self.score * score + math.fsum(added))

    def to_dict(self) -> dict[str, Any]:
        """Give every field as plain data."""
        names = ("score", "cost", "latency", "cost_key", "latency_key")
        return {name: getattr(self, name) for name in names} | {"other": dict(self.other)}


def utility_draws(
    scores: xr.DataArray,
    utility: Utility | UtilityFunction,
    metadata: Mapping[str, Mapping[str, object]] | None,
) -> xr.DataArray:
    """Turn draws of match scores into draws of utility.

    Parameters
    ----------
    scores : DataArray with dim agent last
        Draws of the match score.
    utility : Utility or callable
        Called once per agent with the draws and the agent's metadata.
    metadata : mapping of str to mapping, optional
        May name more agents.

    Returns
    -------
    DataArray with the same dims

    Raises
    ------
    ConfigError
        If `utility` cannot be called, fails, or does not give one finite number per draw.
    MetadataError
        If an agent's metadata are missing, or lack a number that counts.
    """
    if not callable(utility):
        raise ConfigError(
            f"`utility` must be a Utility or a function of scores and metadata, got {utility!r}; "
            "write for example Utility(cost=10.0)"
        )
    check_by_agent(metadata)
    # draws are labelled by texts, whatever the profiles' keys are
    known = None if metadata is None else {str(name): metadata[name] for name in metadata}
    agents = [str(name) for name in scores["agent"].values]
    columns = [
        _one_agent(scores.values[..., column], agent, utility, known)
        for column, agent in enumerate(agents)
    ]
    return scores.copy(data=np.stack(columns, axis=-1)).rename("utility")


def _one_agent(
    scores: FloatArray,
    agent: str,
    utility: UtilityFunction,
    metadata: Mapping[str, Mapping[str, object]] | None,
) -> FloatArray:
    facts: Mapping[str, object] = {}
    if metadata is not None:
        given: object = metadata.get(agent)
        if not isinstance(given, Mapping):
            raise MetadataError(
                f"`metadata` must map every agent to a mapping, got {given!r} for {agent!r}; add "
                "the agent's"
            )
        facts = given
    try:
        values = np.asarray(utility(scores, facts), dtype=np.float64)
    except MetadataError as error:
        raise MetadataError(f"agent {agent!r}: {error}") from None
    except Exception as error:
        shown = f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"`utility` must work for every agent, got {shown} for {agent!r}, whose metadata are "
            f"{', '.join(map(repr, facts)) or 'empty'}; change the function or the metadata"
        ) from error
    if values.shape != scores.shape or not np.isfinite(values).all():
        raise ConfigError(
            f"`utility` must give one finite number per draw, shape {scores.shape}, got shape "
            f"{values.shape}, {int((~np.isfinite(values)).sum())} not finite, for agent {agent!r}; "
            "use numpy functions of the whole array"
        )
    return values


def _number(facts: Mapping[str, object], key: str) -> float:
    value = plain_value(facts.get(key))
    if not is_finite(value):
        hint = f"; {closest_match_hint(key, facts)}" if key not in facts and facts else ""
        found = repr(facts[key]) if key in facts else "nothing"
        raise MetadataError(
            f"`metadata` must hold a finite number for {key!r}, which the utility counts, got "
            f"{found}{hint or '; add it, or leave the agent out'}"
        )
    return float(value)  # type: ignore[arg-type]


def _checked_weight(name: str, value: object) -> float:
    if not is_finite(value):
        raise ConfigError(f"`{name}` of a utility must be a finite number, got {value!r}")
    return float(value)  # type: ignore[arg-type]
