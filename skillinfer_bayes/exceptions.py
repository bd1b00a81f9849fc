"""Errors and warnings of the package.

::

    SkillinferError
    ├── InputError (also ValueError)         an argument cannot be used; the message says what can
    │   ├── HistoryError                     the history table
    │   ├── ScoreError                       an observed score, its item count or standard error
    │   ├── ThresholdError                   a threshold outside the scale
    │   ├── TaskError                        a task's weights
    │   ├── MetadataError                    metadata that does not fit the profiles
    │   ├── ConstraintError                  a hard limit that cannot be read or used
    │   ├── ConfigError                      priors, sampler settings, other options
    │   ├── UnknownSkillError (also KeyError)
    │   └── UnknownAgentError (also KeyError)
    ├── PopulationFileError                  a file that is not a readable population
    │   └── PopulationVersionError           written by a newer version of the package
    ├── PopulationMismatchError              a profile that belongs to another population
    ├── SamplingError                        the sampler could not run
    ├── DecisionError                        no usable decision from the orchestrating model
    ├── DatasetError                         public data that cannot be had, or is not as expected
    └── MissingDependencyError (also ImportError)

    SkillinferWarning (UserWarning)
    ├── ConvergenceWarning                   the fit should not be trusted yet
    ├── HistoryWarning                       part of a history was left out or looks wrong
    ├── ObservationWarning                   an observation that is possible but surprising
    ├── FallbackWarning                      a decision that was made without the model
    └── VoteWarning                          a decision by fewer votes than asked for
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

#: Warnings are shown where the package was called, and not at a line of its own.
PACKAGE_FOLDER = str(Path(__file__).parent)


class SkillinferError(Exception):
    """Base class of every error that the package raises on purpose."""


class InputError(SkillinferError, ValueError):
    """An argument cannot be used."""


class HistoryError(InputError):
    """The history table cannot be used as it is."""


class ScoreError(InputError):
    """An observed score, its item count or its standard error cannot be used."""


class ThresholdError(InputError):
    """A threshold lies outside the scale that it is compared with."""


class TaskError(InputError):
    """A task's weights cannot be used."""


class MetadataError(InputError):
    """Metadata and profiles do not name the same agents."""


class ConstraintError(InputError):
    """A hard limit cannot be read or used."""


class ConfigError(InputError):
    """A prior, a sampler setting or another option cannot be used."""


class UnknownSkillError(InputError, KeyError):
    """A name is not a skill of the population."""

    def __str__(self) -> str:  # KeyError would show the message's repr
        return str(self.args[0]) if self.args else ""


class UnknownAgentError(InputError, KeyError):
    """A name is not one of the agents at hand."""

    def __str__(self) -> str:  # KeyError would show the message's repr
        return str(self.args[0]) if self.args else ""


class PopulationFileError(SkillinferError):
    """A file does not hold a population that this version can read."""


class PopulationVersionError(PopulationFileError):
    """A file was written by a newer version of the package."""


class PopulationMismatchError(SkillinferError):
    """A profile was made with another population."""


class SamplingError(SkillinferError):
    """The sampler could not produce draws."""


class DecisionError(SkillinferError):
    """The orchestrating model gave no usable decision.

    Attributes
    ----------
    reply : str or None
        What the model answered, word for word; None when there was no answer.
    record : mapping or None
        The audit record of the whole attempt, as plain data with the keys of `Decision.to_dict`;
        None where a single reply was read.
    """

    def __init__(
        self, message: str, *, reply: str | None = None, record: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.reply = reply
        self.record = record


class DatasetError(SkillinferError):
    """Public data cannot be downloaded, or is not what it was."""


class MissingDependencyError(SkillinferError, ImportError):
    """An optional dependency is not installed."""


class SkillinferWarning(UserWarning):
    """Base class of the package's warnings."""


class ConvergenceWarning(SkillinferWarning):
    """The sampler's diagnostics say that the fit should not be trusted yet."""


class HistoryWarning(SkillinferWarning):
    """Part of a history was left out, or looks wrong."""


class ObservationWarning(SkillinferWarning):
    """An observation is possible but surprising."""


class FallbackWarning(SkillinferWarning):
    """The orchestrating model gave no usable answer, so the profiles alone decided."""


class VoteWarning(SkillinferWarning):
    """A request failed, so a decision was made by fewer votes than asked for."""


def closest_match_hint(name: object, known: Iterable[str], *, limit: int = 8) -> str:
    """Suggest what an unknown name may have meant.

    Parameters
    ----------
    name : object
        The name that was not found.
    known : iterable of str
        The names that exist.
    limit : int, default 8
        How many known names to list when none is close.

    Returns
    -------
    str
        ``did you mean 'math'?`` or ``known names: 'math', 'code', ...``.
    """
    names = [str(item) for item in known]
    folded = {item.casefold(): item for item in reversed(names)}
    close = difflib.get_close_matches(str(name).casefold(), list(folded), n=1, cutoff=0.6)
    if close:
        return f"did you mean {folded[close[0]]!r}?"
    shown = ", ".join(repr(item) for item in names[:limit])
    more = ", ..." if len(names) > limit else ""
    return f"known names: {shown}{more}"
