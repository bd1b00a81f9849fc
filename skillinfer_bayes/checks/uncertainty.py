"""How a profile narrows while scores come in, one after the other."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from skillinfer_bayes.exceptions import InputError
from skillinfer_bayes.profiles.measured import as_name
from skillinfer_bayes.profiles.profile import Profile


def uncertainty_path(
    profile: Profile, observations: Mapping[str, float] | pd.Series
) -> pd.DataFrame:
    """Take in scores one at a time and record every skill after each.

    Parameters
    ----------
    profile : Profile
        Where to start; it stays as it is.
    observations : mapping or Series from skill to score
        In the order in which the scores arrive.

    Returns
    -------
    DataFrame
        One row per step and skill: `step` (0 before any of the scores), `added` (the skill that
        the step measured, "" at step 0), `skill`, `mean` and `std` in score units, and
        `observed`, whether the skill has been measured by then.

    Raises
    ------
    InputError
        If there are no observations, or they are no mapping.
    UnknownSkillError, ScoreError
        As `Profile.observe`.
    """
    given: object = observations  # callers may hold anything
    if not isinstance(given, Mapping | pd.Series):
        raise InputError(f"`observations` must map skills to scores, got {given!r}")
    if len(given) == 0:
        raise InputError("`observations` must map at least one skill to a score, got none")
    growing = profile.copy()
    parts = [_step(growing, 0, "")]
    for step, (key, score) in enumerate(observations.items(), start=1):
        skill = as_name(key)
        growing.observe(skill, score)
        parts.append(_step(growing, step, str(skill)))
    return pd.concat(parts, ignore_index=True)


def _step(profile: Profile, step: int, added: str) -> pd.DataFrame:
    table = profile.predict()
    return pd.DataFrame(
        {
            "step": step,
            "added": added,
            "skill": list(profile.skills),
            "mean": table["mean"].to_numpy(),
            "std": table["std"].to_numpy(),
            "observed": table["source"].to_numpy() == "observed",
        }
    )
