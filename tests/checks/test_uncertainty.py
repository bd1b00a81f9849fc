"""The path of a profile whose scores come in one after the other."""

from __future__ import annotations

import pandas as pd
import pytest

from skillinfer_bayes.checks.uncertainty import uncertainty_path
from skillinfer_bayes.exceptions import InputError
from skillinfer_bayes.testing import fake_population


def test_a_series_is_a_mapping() -> None:
    profile = fake_population().profile()
    scores = dict.fromkeys(profile.skills[:2], 0.6)
    pd.testing.assert_frame_equal(
        uncertainty_path(profile, pd.Series(scores)), uncertainty_path(profile, scores)
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (pd.Series(dtype=float), "at least one skill to a score, got none"),
        ({}, "at least one skill to a score, got none"),
        ([0.5], r"`observations` must map skills to scores, got \[0.5\]"),
        (None, "`observations` must map skills to scores, got None"),
    ],
)
def test_what_holds_no_scores(given, message: str) -> None:
    with pytest.raises(InputError, match=message):
        uncertainty_path(fake_population().profile(), given)
