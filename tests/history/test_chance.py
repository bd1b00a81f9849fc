"""Skills with a chance level: multiple choice at one in four."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from skillinfer_bayes import History, Scale
from skillinfer_bayes.exceptions import ConfigError
from skillinfer_bayes.history.measurement import working_data
from skillinfer_bayes.history.scales import Scales
from skillinfer_bayes.testing import fake_population

CHOICE = Scale.multiple_choice(4)


@pytest.fixture
def history() -> History:
    rng = np.random.default_rng(3)
    scores = rng.uniform(0.3, 0.9, (12, 3))
    scores[0, 0] = 0.21  # unlucky
    table = pd.DataFrame(scores, [f"a{i}" for i in range(12)], ["quiz", "code", "math"])
    return History.from_dataframe(table.round(2), scale={"quiz": CHOICE}, n_items=100)


def test_scores_below_chance_are_accepted_and_kept(history) -> None:
    assert history.values[0, 0] == 0.21
    assert np.isfinite(history.working().values).all()


def test_a_score_below_chance_says_what_one_at_chance_says() -> None:
    assert CHOICE.forward(0.21) == CHOICE.forward(0.25)
    assert CHOICE.forward(0.26) > CHOICE.forward(0.25)


@pytest.mark.parametrize("n_items", [20, 2000])
def test_below_chance_the_error_is_that_of_chance(n_items) -> None:
    scores = np.array([[0.25], [0.22], [0.05], [0.0]])
    counts = np.full(scores.shape, float(n_items))
    values, variances = working_data(scores, Scales(("quiz",), (CHOICE,)), counts)
    assert variances is not None
    assert np.ptp(values) == 0.0
    assert np.ptp(variances) == 0.0


def test_no_skill_is_predicted_below_chance(history) -> None:
    population = fake_population(history)
    profile = population.profile().observe("quiz", 0.2, n_items=100).observe("math", 0.3)
    assert (profile.draws().sel(skill="quiz") >= 0.25).all()
    assert profile.interval("quiz")[0] >= 0.25
    assert profile.p_above("quiz", 0.2) == 1.0


def test_a_measured_score_may_fall_below_chance(history) -> None:
    population = fake_population(history)
    profile = population.profile().observe("quiz", 0.25, n_items=100)
    scores = profile.draws(kind="score").sel(skill="quiz")
    assert (scores < 0.25).any()
    np.testing.assert_allclose(scores * 100, np.rint(scores * 100))


def test_item_counts_are_shares_of_all_questions() -> None:
    with_chance = Scales(("quiz",), (CHOICE,))
    plain = Scales(("quiz",), (Scale.unit(),))
    items = np.array([[100.0]])
    errors = []
    for scales in (with_chance, plain):
        data = working_data(np.array([[0.6]]), scales, items)
        # the delta method is applied at the shrunk rate
        slope = float(scales.scales[0].derivative(60.5 / 101))
        errors.append(float(data.error_var[0, 0]) / slope**2)
    assert errors[0] == pytest.approx(errors[1])


def test_scales_survive_storage() -> None:
    scales = Scales(("quiz", "code"), (CHOICE, Scale.unit()))
    assert Scales.from_dict(scales.to_dict()) == scales
    assert "chance 0.25" in CHOICE.label


@pytest.mark.parametrize("chance", [-0.1, 1.0, np.nan, "x"])
def test_a_chance_level_outside_the_bounds_is_refused(chance) -> None:
    with pytest.raises(ConfigError, match="chance"):
        Scale("logit", 0.0, 1.0, chance=chance)


def test_a_chance_level_needs_bounds() -> None:
    with pytest.raises(ConfigError, match="bounded scale"):
        Scale("identity", chance=0.25)


def test_any_whole_number_of_choices_will_do() -> None:
    assert Scale.multiple_choice(np.int64(4)) == CHOICE


@pytest.mark.parametrize("n_choices", [1, 2.5, True, "four"])
def test_multiple_choice_needs_two_choices(n_choices) -> None:
    with pytest.raises(ConfigError, match="n_choices"):
        Scale.multiple_choice(n_choices)
