"""What a score is worth once cost and latency are counted."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from skillinfer_bayes.exceptions import ConfigError, MetadataError
from skillinfer_bayes.routing.utility import Utility, utility_draws

FACTS = {"cost_per_1k": 0.005, "avg_latency_ms": 700, "rate_limit_rpm": 500}
NUMBERS = st.floats(0.0, 100.0)


def draws(*agents):
    values = np.linspace(0.0, 1.0, 4 * len(agents)).reshape(1, 4, len(agents))
    coords = {"agent": list(agents)}
    return xr.DataArray(values, dims=("chain", "draw", "agent"), coords=coords, name="match_score")


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_is_a_weighted_sum(score, cost, latency, price, seconds):
    utility = Utility(cost=cost, latency=latency, cost_key="usd", latency_key="s")
    found = utility(np.array([score]), {"usd": price, "s": seconds})
    assert found[0] == pytest.approx(score - cost * price - latency * seconds, abs=1e-6)


def test_other_metadata_can_add_and_take():
    utility = Utility(score=2.0, cost=10.0, other={"rate_limit_rpm": 0.001, "cost_per_1k": -5.0})
    assert utility.weights == {"cost_per_1k": -15.0, "rate_limit_rpm": 0.001}
    assert utility(np.array([0.5]), FACTS)[0] == pytest.approx(1.0 - 0.075 + 0.5)


def test_what_counts_nothing_need_not_be_there():
    assert Utility()(np.array([0.7]), {})[0] == 0.7
    assert utility_draws(draws("a"), Utility(), None).values == pytest.approx(draws("a").values)


def test_each_agent_has_its_own_metadata():
    metadata = {"b": {"cost_per_1k": 2.0}, "a": {"cost_per_1k": 1.0}, "unused": {}}
    found = utility_draws(draws("a", "b"), Utility(cost=0.1), metadata)
    assert found.name == "utility"
    assert found.dims == ("chain", "draw", "agent")
    assert found.values == pytest.approx(draws("a", "b").values - np.array([0.1, 0.2]))


def test_a_function_sees_all_draws_and_the_metadata():
    seen = []

    def function(score, facts):
        seen.append((score.shape, facts["cost_per_1k"]))
        return np.sqrt(score)

    found = utility_draws(draws("a"), function, {"a": FACTS})
    assert seen == [((1, 4), 0.005)]
    assert found.values == pytest.approx(np.sqrt(draws("a").values))


def test_plain_data_and_no_change():
    other = {"rate_limit_rpm": 0.1}
    utility = Utility(cost=1.0, other=other)
    other["rate_limit_rpm"] = 5.0
    assert json.loads(json.dumps(utility.to_dict()))["other"] == {"rate_limit_rpm": 0.1}
    with pytest.raises(TypeError):
        utility.other["rate_limit_rpm"] = 1.0
    with pytest.raises(AttributeError):
        utility.cost = 2.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score": 0.0}, "`score` of a utility must be above 0"),
        ({"cost": -1.0}, "`cost` of a utility must be not negative: it is subtracted"),
        ({"latency": float("nan")}, "`latency` of a utility must be a finite number"),
        ({"cost": True}, "`cost` of a utility must be a finite number"),
        ({"cost": 10**400}, "`cost` of a utility must be a finite number"),
        ({"cost_key": " "}, "`cost_key` of a utility must be a text"),
        ({"other": [("a", 1.0)]}, "`other` of a utility must map"),
        ({"other": {"a": "1"}}, r"`other\['a'\]` of a utility must be a finite number"),
    ],
)
def test_weights_that_cannot_be_used(options, message):
    with pytest.raises(ConfigError, match=message):
        Utility(**options)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "0.005", True])
def test_a_number_that_counts_must_be_known(value):
    with pytest.raises(MetadataError, match=r"agent 'a': .* finite number for 'cost_per_1k'"):
        utility_draws(draws("a"), Utility(cost=1.0), {"a": {"cost_per_1k": value}})


def test_a_misspelt_key_gets_a_hint():
    with pytest.raises(MetadataError, match="did you mean 'cost_per_1k'"):
        utility_draws(draws("a"), Utility(cost=1.0, cost_key="cost_per_1K"), {"a": FACTS})


def test_every_agent_needs_metadata():
    with pytest.raises(MetadataError, match="got None for 'b'"):
        utility_draws(draws("a", "b"), Utility(cost=1.0), {"a": FACTS})
    with pytest.raises(MetadataError, match="got 3 for 'a'"):
        utility_draws(draws("a"), Utility(cost=1.0), {"a": 3})


@pytest.mark.parametrize(
    ("function", "shown"),
    [
        (lambda score, facts: score - facts["cost"], "KeyError: 'cost' for 'b', .* 'usd'; change"),
        (lambda score: score, "TypeError: .* for 'a', whose metadata are 'cost', 'usd'"),
        (lambda score, facts: "dear", "ValueError: could not convert .*'dear'"),
    ],
)
def test_a_function_that_fails_says_for_whom(function, shown):
    metadata = {"a": {"cost": 1.0, "usd": 2.0}, "b": {"usd": 2.0}}
    with pytest.raises(ConfigError, match=f"must work for every agent, got {shown}") as caught:
        utility_draws(draws("a", "b"), function, metadata)
    assert isinstance(caught.value.__cause__, KeyError | TypeError | ValueError)


def test_functions_that_cannot_be_used():
    with pytest.raises(ConfigError, match="`utility` must be a Utility or a function"):
        utility_draws(draws("a"), 0.5, None)
    with pytest.raises(
        ConfigError, match=r"one finite number per draw, shape \(1, 4\), got shape \(\)"
    ):
        utility_draws(draws("a"), lambda score, facts: 1.0, None)
    with (
        np.errstate(divide="ignore"),
        pytest.raises(ConfigError, match=r"one finite number per draw, .* [1-4] not finite"),
    ):
        utility_draws(draws("a"), lambda score, facts: np.log(score), None)
