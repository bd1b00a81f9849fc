"""Priors and sampler settings as users give them: objects, plain data, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from skillinfer_bayes.exceptions import ConfigError
from skillinfer_bayes.inference.priors import Covariance, Priors, SamplerSettings


def read_priors(
    priors: Priors | Mapping[str, Any] | None, covariance: Covariance | None = None
) -> Priors:
    """Give priors as an object, with the structure put in if it was given on its own.

    Raises
    ------
    ConfigError
        If an option cannot be used, or priors and `covariance` contradict each other.
    """
    chosen = priors if isinstance(priors, Priors) else Priors.from_dict(priors or {})
    if covariance is None:
        return chosen
    if priors is not None and chosen.covariance not in ("auto", covariance):
        raise ConfigError(
            f"`covariance` is {covariance!r} but `priors` says {chosen.covariance!r}; give one"
        )
    return replace(chosen, covariance=covariance)


def read_settings(
    settings: SamplerSettings | Mapping[str, Any] | None, random_seed: int | None = None
) -> SamplerSettings:
    """Give sampler settings as an object, with the seed put in if it was given on its own.

    Raises
    ------
    ConfigError
        If an option cannot be used, or settings and `random_seed` contradict each other.
    """
    how = (
        settings
        if isinstance(settings, SamplerSettings)
        else SamplerSettings.from_dict(settings or {})
    )
    if random_seed is None:
        return how
    if how.random_seed not in (None, random_seed):
        raise ConfigError(
            f"`random_seed` is {random_seed} but `settings` says {how.random_seed}; give one"
        )
    return replace(how, random_seed=random_seed)
