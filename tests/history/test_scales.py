"""Scales and links: exact ways there and back, bounds, checks of single scores."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillinfer_bayes.exceptions import ConfigError, HistoryError, ScoreError, UnknownSkillError
from skillinfer_bayes.history.scales import Scale, Scales, check_score, check_scores

SHARES = st.floats(0.0, 1.0)
LINK_VALUES = st.floats(-1e3, 1e3)


@st.composite
def any_scale(draw):
    if draw(st.booleans()):
        return Scale.unbounded()
    lower = draw(st.floats(-1e4, 1e4))
    width = draw(st.floats(1e-2, 1e4))
    return Scale("logit", lower, lower + width, margin=draw(st.floats(1e-4, 0.4)))


def score_at(scale, share):
    """A score that is valid on the scale, at a share of its width."""
    if scale.link == "identity":
        return 2000.0 * share - 1000.0
    return min(scale.lower + share * scale.width, scale.upper)


def three_scales():
    return Scales(
        ("code", "math", "elo"),
        (Scale.unit(), Scale.percent(), Scale.unbounded()),
        location=[0.3, -0.2, 1200.0],
        spread=[0.7, 1.4, 80.0],
        unit_lower=[0.2, 10.0, 900.0],
        unit_upper=[0.9, 90.0, 1400.0],
        detected=(True, False, True),
    )


@given(any_scale(), SHARES)
def test_backward_undoes_forward(scale, share):
    score = score_at(scale, share)
    assert scale.backward(scale.forward(score)) == pytest.approx(score, rel=1e-9, abs=1e-8)


@given(any_scale(), SHARES, SHARES)
def test_forward_is_increasing(scale, one, other):
    low, high = sorted([score_at(scale, one), score_at(scale, other)])
    assert scale.forward(low) <= scale.forward(high)


@given(any_scale(), LINK_VALUES, LINK_VALUES)
def test_backward_is_increasing_and_keeps_the_bounds(scale, one, other):
    low, high = (float(scale.backward(value)) for value in sorted([one, other]))
    assert scale.lower <= low <= high <= scale.upper


@given(any_scale(), st.floats(0.05, 0.95))
def test_derivative_is_the_slope_of_forward(scale, share):
    score = score_at(scale, share)
    step = 1e-4 * (1.0 if math.isinf(scale.width) else scale.width)
    slope = (scale.forward(score + step) - scale.forward(score - step)) / (2 * step)
    assert scale.derivative(score) == pytest.approx(slope, rel=1e-3)


@given(any_scale())
def test_missing_stays_missing(scale):
    assert np.isnan(scale.forward(math.nan))
    assert np.isnan(scale.backward(math.nan))


@given(
    st.lists(st.tuples(any_scale(), st.floats(-5, 5), st.floats(0.1, 5), SHARES), min_size=1),
)
def test_all_skills_at_once_equal_one_by_one(rows):
    kinds, location, spread, shares = (list(column) for column in zip(*rows, strict=True))
    scales = Scales(tuple(f"s{i}" for i in range(len(rows))), tuple(kinds), location, spread)
    scores = np.array([score_at(scale, share) for scale, share in zip(kinds, shares, strict=True)])
    working = scales.to_working(scores)
    for i, scale in enumerate(kinds):
        alone = (scale.forward(scores[i]) - location[i]) / spread[i]
        assert working[i] == pytest.approx(float(alone), rel=1e-12, abs=1e-12)
        slope = float(scale.derivative(scores[i])) / spread[i]
        assert scales.derivative(scores)[i] == pytest.approx(slope, rel=1e-12)
    np.testing.assert_allclose(scales.from_working(working), scores, rtol=1e-8, atol=1e-7)


def test_bounds_stay_finite_and_symmetric():
    ends = Scale.unit().forward([0.0, 0.5, 1.0])
    assert np.isfinite(ends).all()
    assert ends[0] == pytest.approx(-ends[2])
    assert ends[1] == 0.0


def test_far_link_values_become_the_bounds_exactly():
    scale = Scale.bounded(0.1, 0.7)
    assert scale.backward([-50.0, 50.0, -math.inf, math.inf]).tolist() == [0.1, 0.7, 0.1, 0.7]


def test_leading_dimensions_are_kept():
    scales = three_scales()
    draws = np.zeros((2, 5, 4, 3))
    assert scales.from_working(draws).shape == draws.shape
    np.testing.assert_allclose(scales.to_working(scales.from_working(draws)), draws, atol=1e-12)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("0-1", Scale.unit()),
        ("unit", Scale.unit()),
        ("percent", Scale.percent()),
        ("0-100", Scale.percent()),
        ("unbounded", Scale.unbounded()),
        ((1, 5), Scale.bounded(1.0, 5.0)),
        ([1, 5], Scale.bounded(1.0, 5.0)),
        (Scale.percent(), Scale.percent()),
    ],
)
def test_short_forms(spec, expected):
    assert Scale.parse(spec) == expected


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("precent", r"`scale` must be .* got 'precent'; did you mean 'percent'\?"),
        ((1, 1), r"finite with lower < upper, got \(1.0, 1.0\)"),
        ((2, 1), "finite with lower < upper"),
        ((0, math.inf), "use 'unbounded'"),
        ((0, 10**400), "use 'unbounded'"),
        ((0, math.nan), "`upper` of a scale must be a number, got nan"),
        (("a", 1), "`lower` of a scale must be a number, got 'a'"),
        ((True, 2), "`lower` of a scale must be a number, got True"),
        ((1, 2, 3), r"a pair \(lower, upper\) or a Scale, got \(1, 2, 3\)"),
        (["0-1", (0, 5), "0-1"], r"or a Scale, got \['0-1', \(0, 5\), '0-1'\]"),
        (7, r"or a Scale, got 7"),
        (None, "or a Scale, got None"),
    ],
)
def test_bad_scales(spec, message):
    with pytest.raises(ConfigError, match=message):
        Scale.parse(spec)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("probit",), "`link` must be 'identity' or 'logit', got 'probit'"),
        (("identity", 0.0, 1.0), "identity link takes no bounds"),
        (("logit", 0.0, 1.0, 0.0), "`margin` must be between 0 and 0.5, got 0.0"),
        (("logit", 0.0, 1.0, 0.5), "`margin` must be between 0 and 0.5"),
    ],
)
def test_scales_that_contradict_themselves(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Scale(*arguments)


def test_reports_name_every_scale():
    report = three_scales().describe()
    assert list(report.columns) == ["skill", "scale", "link", "lower", "upper", "detected"]
    assert report["scale"].tolist() == ["0-1", "percent", "unbounded"]
    assert report["detected"].tolist() == [True, False, True]
    assert Scale.bounded(1, 5).label == "(1, 5)"


def test_json_keeps_every_digit():
    scales = three_scales()
    odd = Scales(scales.skills, scales.scales, location=[0.1 + 0.2, 1e-300, -1 / 3])
    for item in (scales, odd):
        text = json.dumps(item.to_dict(), allow_nan=False)
        assert Scales.from_dict(json.loads(text)) == item
    assert scales != odd
    assert hash(scales) == hash(three_scales())


def test_the_sign_of_a_zero_makes_no_other_scales():
    one, other = (Scales(("a",), (Scale.unit(),), location=[zero]) for zero in (0.0, -0.0))
    assert one == other
    assert hash(one) == hash(other)


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1},
        {"spread": [1.0, 1.0]},
        {"spread": [1.0, -1.0, 1.0]},
        {"spread": ["x", 1.0, 1.0]},
        {"location": [math.nan, 0.0, 0.0]},
        {"scales": [{"link": "logit"}] * 3},
        {"scales": []},
    ],
)
def test_damaged_stored_scales(change):
    with pytest.raises(ConfigError, match=r"stored scales|must hold|must be positive"):
        Scales.from_dict(three_scales().to_dict() | change)


def test_min_max_units():
    scales = three_scales()
    np.testing.assert_allclose(scales.to_unit([0.9, 10.0, 1150.0]), [1.0, 0.0, 0.5])
    plain = Scales(scales.skills, scales.scales)
    np.testing.assert_array_equal(plain.to_unit([0.9, 10.0, 1150.0]), [0.9, 10.0, 1150.0])


def test_taking_skills_keeps_their_numbers():
    taken = three_scales().take([2, 0])
    assert taken.skills == ("elo", "code")
    assert taken.location.tolist() == [1200.0, 0.3]
    assert taken.detected == (True, True)
    assert taken["code"] == Scale.unit()


def test_unknown_skill_gets_the_closest_name():
    with pytest.raises(UnknownSkillError, match=r"unknown skill 'maths'; did you mean 'math'\?"):
        three_scales()["maths"]


def test_arrays_cannot_be_written_to():
    location = np.zeros(1)
    scales = Scales(("a",), (Scale.unit(),), location=location)
    location[0] = 9.0
    assert scales.location[0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        scales.spread[0] = 2.0
    for array in vars(scales.links).values():
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


@pytest.mark.parametrize("value", [0, 1, 0.25, np.float32(0.5), np.int64(1), 1 + 1e-12, -1e-12])
def test_good_scores_come_back_within_the_bounds(value):
    score = check_score("code", value, Scale.unit())
    assert type(score) is float
    assert 0.0 <= score <= 1.0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (math.nan, "`score` must be a number, got nan for skill 'code'; leave the skill out"),
        (None, "must be a number, got None for skill 'code'; leave the skill out"),
        (pd.NA, "must be a number, got <NA>"),
        (math.inf, "must be finite, got inf for skill 'code'"),
        (-math.inf, "must be finite, got -inf"),
        (10**400, "must be finite, got inf for skill 'code'"),
        ("0.9", "must be a number, got '0.9' for skill 'code'; convert"),
        (True, "must be a number, got True"),
        (np.True_, "must be a number, got "),
        ([0.5], r"must be a number, got \[0.5\]"),
        (1j, "must be a number, got 1j"),
        (92, r"between 0 and 1, got 92.0 for skill 'code'; did you mean 0.92\?"),
        (-0.1, "between 0 and 1, got -0.1 for skill 'code'; correct it"),
        (192, "between 0 and 1, got 192.0 for skill 'code'; correct it"),
    ],
)
def test_bad_scores(value, message):
    with pytest.raises(ScoreError, match=message):
        check_score("code", value, Scale.unit())


def test_messages_can_name_the_agent_and_the_argument():
    with pytest.raises(HistoryError, match=r"`cell` must .* agent 'a', skill 'elo'"):
        check_score(
            "elo", math.inf, Scale.unbounded(), agent="a", argument="cell", error=HistoryError
        )


def test_tables_of_scores():
    scales = three_scales()
    table = [[0.5, math.nan, 1e6], [1 + 1e-12, 100.0, -5.0]]
    checked = check_scores(table, scales, ["a", "b"])
    assert checked[1, 0] == 1.0
    assert np.isnan(checked[0, 1])
    table[1][1] = 101.0
    with pytest.raises(ScoreError, match=r"between 0 and 100, got 101.0 for agent 'b', skill 'ma"):
        check_scores(table, scales, ["a", "b"])
    table[0][0] = 50.0
    with pytest.raises(ScoreError, match=r"'a', skill 'code'.*0.5\? \(the first of 2 such cells\)"):
        check_scores(table, scales, ["a", "b"])
    with pytest.raises(ScoreError, match="must be finite, got -inf for agent 'a', skill 'elo'"):
        check_scores([[0.5, 1.0, -math.inf]], scales, ["a"])


def test_a_typical_spread_is_the_median_bounded_skills() -> None:
    kinds = (Scale.unit(), Scale.unit(), Scale.percent(), Scale.unbounded())
    scales = Scales(tuple("abcd"), kinds, spread=np.array([0.5, 1.0, 2.0, 30.0]))
    np.testing.assert_allclose(scales.typical, [2.0, 1.0, 0.5, 1.0])
    elo = Scales(("e",), (Scale.unbounded(),), spread=np.array([40.0]))
    np.testing.assert_array_equal(elo.typical, [1.0])
