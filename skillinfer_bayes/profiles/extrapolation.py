"""From when on a profile extrapolates, and the words for it: the same in every report."""

from __future__ import annotations

# below this chance an agent's observed scores are unlike anything in the history
SURPRISING = 0.01
CAUTION = "observed scores are unlike the history's; inferred skills may be far off"


def caution(surprise: float) -> str:
    """Say what to mind of an agent whose scores the history finds surprising.

    Parameters
    ----------
    surprise : float
        Chance that an agent of the population is as unusual, as `Profile.surprise`.

    Returns
    -------
    str
        Empty where there is nothing to mind.
    """
    return CAUTION if surprise < SURPRISING else ""
