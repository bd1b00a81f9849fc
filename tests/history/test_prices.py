"""Prices of models, against the price list's own words for one of them."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from skillinfer_bayes import Task, build_prompt
from skillinfer_bayes.exceptions import ConfigError, DatasetError, MissingDependencyError
from skillinfer_bayes.history.datasets import prices
from skillinfer_bayes.testing import fake_population

genai_prices = pytest.importorskip("genai_prices")


def test_prices_are_those_of_the_price_list() -> None:
    table = prices(["gpt-4o", "claude-sonnet-4-5"], output_share=0.5)
    assert table.index.name == "agent"
    for name in table.index:
        usage = genai_prices.Usage(input_tokens=1000, output_tokens=1000)
        price = genai_prices.calc_price(usage, name)
        row = table.loc[name]
        np.testing.assert_allclose(row["input_usd_per_million"], float(price.input_price) * 1000)
        np.testing.assert_allclose(row["output_usd_per_million"], float(price.output_price) * 1000)
        np.testing.assert_allclose(row["cost_per_1k"], float(price.total_price) / 2)
        assert row["provider"] == price.provider.id


def test_the_share_of_output_tokens_sets_the_cost() -> None:
    reading = prices(["gpt-4o"], output_share=0).iloc[0]
    writing = prices(["gpt-4o"], output_share=1).iloc[0]
    assert reading["cost_per_1k"] == pytest.approx(reading["input_usd_per_million"] / 1000)
    assert writing["cost_per_1k"] == pytest.approx(writing["output_usd_per_million"] / 1000)
    assert writing["cost_per_1k"] > reading["cost_per_1k"]


def test_unknown_models_are_left_empty() -> None:
    table = prices({"ours": "no such model", "theirs": "gpt-4o"})
    assert list(table.index) == ["ours", "theirs"]
    assert table.loc["ours"].isna().all()
    assert table.loc["theirs", "cost_per_1k"] > 0


def test_prices_go_into_the_prompt() -> None:
    population = fake_population()
    profiles = {"a": population.profile("a").observe("skill_0", 0.5)}
    facts = prices({"a": "gpt-4o"})[["cost_per_1k"]].to_dict("index")
    text = build_prompt(Task({"skill_1": 1.0}), profiles, metadata=facts)
    assert f"Cost: ${facts['a']['cost_per_1k']:g}/1k tokens" in text


@pytest.mark.parametrize("provider", [None, "no such provider"])
def test_no_model_known(provider) -> None:
    with pytest.raises(DatasetError, match="no price is known for 'no such model'"):
        prices(["no such model"], provider=provider)


@pytest.mark.parametrize("models", ["gpt-4o", [], {}, 3, ["gpt-4o", None], {"a": 1}])
def test_models_that_are_no_names(models) -> None:
    with pytest.raises(ConfigError, match="`models` must"):
        prices(models)


@pytest.mark.parametrize("share", [-0.1, 1.1, "half", True, float("nan")])
def test_a_share_that_is_none(share) -> None:
    with pytest.raises(ConfigError, match="`output_share` must be between 0 and 1"):
        prices(["gpt-4o"], output_share=share)


def test_the_price_list_is_missing(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    with pytest.raises(MissingDependencyError, match=r"genai-prices.*\[prices\]"):
        prices(["gpt-4o"])
