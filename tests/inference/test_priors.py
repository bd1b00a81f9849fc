"""Priors and sampler settings: frozen, strict, and clear about what is wrong."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pandas as pd
import pytest

from skillinfer_bayes.exceptions import ConfigError
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.priors import (
    AGENT_TAILS_UP_TO,
    CELL_TAILS_UP_TO,
    CENTRE_SKILLS_UP_TO,
    CLASS_AGENTS_FROM,
    CLASS_SKILLS_UP_TO,
    CLASS_TAILS_UP_TO,
    DENSE_UP_TO,
    MOST_FACTORS,
    MOST_FACTORS_OF_CENTRE,
    SCORES_PER_FACTOR,
    Priors,
    SamplerSettings,
)

POSITIVE = [
    "eta",
    "mean_sd",
    "general_sd",
    "loading_sd",
    "own_log_sd",
    "own_spread_sd",
    "unit_log_sd",
    "nu_log_sd",
    "group_sd",
    "covariate_sd",
    "skill_spread_sd",
    "class_sd",
    "class_scale_sd",
    "agent_noise_sd",
]


@pytest.mark.parametrize("config", [Priors(), SamplerSettings()], ids=["priors", "settings"])
def test_plain_data_leads_back_to_the_same_config(config) -> None:
    assert type(config).from_dict(config.to_dict()) == config


@pytest.mark.parametrize("config", [Priors(), SamplerSettings()], ids=["priors", "settings"])
def test_a_config_does_not_change(config) -> None:
    with pytest.raises(FrozenInstanceError, match="cannot assign"):
        config.rank = 3


@pytest.mark.parametrize(
    ("cls", "key", "meant"),
    [(Priors, "etta", "eta"), (Priors, "meansd", "mean_sd"), (SamplerSettings, "chain", "chains")],
)
def test_an_unknown_key_is_an_error_with_the_closest_name(cls, key, meant) -> None:
    with pytest.raises(ConfigError, match=rf"unknown key '{key}' .*did you mean '{meant}'\?"):
        cls.from_dict({key: 1})


@pytest.mark.parametrize("given", [5, "factor", [("rank", 2)], None])
def test_a_config_is_read_from_a_mapping(given) -> None:
    message = r"`priors` must be a Priors or a mapping, got .*example {'covariance': 'factor'}"
    with pytest.raises(ConfigError, match=message):
        Priors.from_dict(given)
    with pytest.raises(
        ConfigError, match=r"`settings` must be a SamplerSettings or a mapping, got"
    ):
        SamplerSettings.from_dict(given)


def test_numpy_numbers_become_plain() -> None:
    numpys = {"draws": np.int64(5), "random_seed": np.uint64(7), "target_accept": np.float32(0.5)}
    settings = SamplerSettings(**numpys)
    assert settings == SamplerSettings(draws=5, random_seed=7, target_accept=0.5)
    assert [type(settings.to_dict()[name]) for name in numpys] == [int, int, float]
    priors = Priors(rank=np.int32(2), eta=np.float32(4.0))
    assert json.dumps(priors.to_dict()) == json.dumps(Priors(rank=2, eta=4.0).to_dict())
    with pytest.raises(ConfigError, match="`draws` must be a whole number"):
        SamplerSettings(draws=np.bool_(True))


def test_a_seed_fits_into_64_bits() -> None:
    assert SamplerSettings(random_seed=2**64 - 1).random_seed == 2**64 - 1
    for seed in (2**64, 2**70):
        with pytest.raises(ConfigError, match=f"`random_seed` .* from 0 to .*615, got {seed}"):
            SamplerSettings(random_seed=seed)


@pytest.mark.parametrize(
    "value", [0.0, -1.0, math.nan, math.inf, "1", True, None, np.bool_(True), 10**400]
)
@pytest.mark.parametrize("name", POSITIVE)
def test_scales_must_be_positive_numbers(name, value) -> None:
    with pytest.raises(ConfigError, match=rf"`{name}` must be a finite number above 0, got"):
        Priors(**{name: value})


@pytest.mark.parametrize("value", [math.nan, math.inf, "0"])
@pytest.mark.parametrize("name", ["general_mean", "own_log_mean", "nu_log_mean"])
def test_means_must_be_finite_numbers(name, value) -> None:
    with pytest.raises(ConfigError, match=rf"`{name}` must be a finite number"):
        Priors(**{name: value})


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2"])
@pytest.mark.parametrize("name", ["rank", "n_classes"])
def test_ranks_and_classes_are_counted(name, value) -> None:
    with pytest.raises(ConfigError, match=f"`{name}` must be a whole number of at least 1, got"):
        Priors(**{name: value})


def test_there_is_always_a_number_of_classes() -> None:
    with pytest.raises(ConfigError, match=r"`n_classes` must be a whole number .* got None"):
        Priors(n_classes=None)
    assert Priors(n_classes=1).resolve(4).n_classes == 1


def test_structures_tails_and_samplers_have_names() -> None:
    with pytest.raises(ConfigError, match=r"`tails` must be one of .*did you mean 'normal'\?"):
        Priors(tails="normla")
    with pytest.raises(ConfigError, match=r"`covariance` must be .*did you mean 'factor_lkj'\?"):
        Priors(covariance="factorlkj")
    with pytest.raises(ConfigError, match=r"`sampler` must be .*did you mean 'nutpie'\?"):
        SamplerSettings(sampler="nutpi")


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [("draws", 3, 4), ("tune", 0, 1), ("chains", 0, 1), ("cores", 0, 1), ("random_seed", -1, 0)],
)
def test_counts_have_a_least_value(name, value, least) -> None:
    rule = f"of at least {least}" if name != "random_seed" else "from 0 to "
    message = rf"`{name}` must be a whole number {rule}.*, got {value}"
    with pytest.raises(ConfigError, match=message):
        SamplerSettings(**{name: value})


@pytest.mark.parametrize("value", [0.0, 1.0, 95, -0.5, "0.9"])
def test_target_accept_is_a_probability(value) -> None:
    with pytest.raises(ConfigError, match=r"`target_accept` must be .* got"):
        SamplerSettings(target_accept=value)


def test_auto_depends_on_the_number_of_skills() -> None:
    narrow, wide = Priors().resolve(DENSE_UP_TO), Priors().resolve(DENSE_UP_TO + 1)
    assert (narrow.covariance, wide.covariance) == ("factor_lkj", "factor")
    assert narrow.rank is not None
    assert wide.rank is not None
    assert wide.rank >= narrow.rank


def test_many_skills_with_many_scores_are_about_their_factors() -> None:
    wide = DENSE_UP_TO + 1
    few, many = (Priors().resolve(wide, CELL_TAILS_UP_TO + more) for more in (0, 1))
    assert (few.covariance, few.tails) == ("factor", "cell")
    assert (many.covariance, many.tails, many.rank) == (
        "factor_iw",
        "normal",
        MOST_FACTORS_OF_CENTRE,
    )
    assert Priors(tails="normal").resolve(wide, 100, 2).covariance == "factor_iw"
    assert Priors().resolve(DENSE_UP_TO, CELL_TAILS_UP_TO + 1).covariance == "factor_lkj"
    # more and less than three cells in five empty
    assert Priors().resolve(50, 5_900, 300).covariance == "factor"
    assert Priors().resolve(50, 6_000, 300).covariance == "factor_iw"
    assert Priors().resolve(CENTRE_SKILLS_UP_TO, 10**6).covariance == "factor_iw"
    assert Priors().resolve(CENTRE_SKILLS_UP_TO + 1, 10**6).covariance == "factor"
    assert Priors(tails="normal").resolve(50, 500, 30).covariance == "factor"
    for tails in ("agent", "cell", "class"):
        assert Priors(tails=tails).resolve(wide, 10**6).covariance == "factor"


@pytest.mark.parametrize("tails", ["agent", "cell", "class"])
def test_an_inverse_wishart_has_normal_tails(tails) -> None:
    assert Priors(covariance="factor_iw").resolve(4, 10).tails == "normal"
    with pytest.raises(ConfigError, match=r"needs `tails='normal'`.*; use `covariance='factor'`"):
        Priors(covariance="factor_iw", tails=tails)
    assert Priors(covariance="factor", tails=tails).tails == tails


@pytest.mark.parametrize("covariance", ["lkj", "factor_lkj", "factor", "factor_iw"])
def test_a_given_structure_stays(covariance) -> None:
    assert Priors(covariance=covariance).resolve(60).covariance == covariance


@pytest.mark.parametrize(
    ("covariance", "most", "heavy", "beyond"),
    [
        ("lkj", AGENT_TAILS_UP_TO, "agent", "normal"),
        ("factor_lkj", CLASS_TAILS_UP_TO, "class", "agent"),
        ("factor", CELL_TAILS_UP_TO, "cell", "normal"),
    ],
)
def test_tails_are_heavy_as_long_as_that_is_quick(covariance, most, heavy, beyond) -> None:
    priors = Priors(covariance=covariance)
    n_skills = CLASS_SKILLS_UP_TO
    assert priors.resolve(n_skills).tails == priors.resolve(n_skills, most).tails == heavy
    assert priors.resolve(n_skills, most + 1).tails == beyond
    assert priors.resolve(n_skills, max(most, AGENT_TAILS_UP_TO) + 1).tails == "normal"
    assert Priors(covariance=covariance, tails="agent").resolve(10, most + 1).tails == "agent"


def test_many_skills_have_rows_without_classes() -> None:
    assert Priors().resolve(CLASS_SKILLS_UP_TO).tails == "class"
    assert Priors().resolve(CLASS_SKILLS_UP_TO + 1).tails == "agent"


def test_few_agents_show_no_classes() -> None:
    least = 5 * CLASS_AGENTS_FROM
    assert Priors().resolve(5, least).tails == "class"
    assert Priors().resolve(5, least - 1).tails == "agent"
    assert Priors(tails="class").resolve(5, least - 1).tails == "class"


def test_a_scale_per_cell_needs_independent_rests() -> None:
    assert Priors(tails="cell").resolve(5).covariance == "factor"
    for covariance in ("lkj", "factor_lkj"):
        with pytest.raises(
            ConfigError, match=rf"needs `covariance='factor'`, got '{covariance}'; use `tails='age"
        ):
            Priors(covariance=covariance, tails="cell")


@pytest.mark.parametrize("covariance", ["lkj", "factor_lkj", "factor"])
def test_classes_go_with_any_structure(covariance) -> None:
    priors = Priors(covariance=covariance, tails="class")
    assert priors.resolve(10).tails == priors.resolve(10, 10 * AGENT_TAILS_UP_TO).tails == "class"


@pytest.mark.parametrize("tails", ["normal", "agent", "cell", "class"])
def test_rows_are_kept_apart_where_agents_differ(tails) -> None:
    assert Priors(tails=tails).by_agent == (tails in ("agent", "class"))


def test_few_scores_bear_few_factors() -> None:
    priors = Priors()
    assert priors.resolve(200).rank == MOST_FACTORS
    for factors in (3, 5):
        assert priors.resolve(200, 200 * SCORES_PER_FACTOR * factors).rank == factors
    assert priors.resolve(200, 10).rank == priors.resolve(4).rank


def test_no_more_factors_than_skills() -> None:
    assert Priors(rank=9).resolve(4).rank == 4
    assert Priors(rank=2).resolve(4).rank == 2


def test_resolving_twice_changes_nothing_more() -> None:
    once = replace(Priors(), eta=3.0).resolve(12)
    assert once.resolve(12) == once
    assert once.eta == 3.0


def test_an_own_sd_is_the_whole_one_where_there_are_no_factors() -> None:
    shared, alone = (Priors(covariance=name).resolve(4) for name in ("factor_lkj", "lkj"))
    assert shared.own_log_mean == shared.own_log_centre == -0.7
    assert alone.own_log_mean == alone.own_log_centre == 0.0
    assert Priors(covariance="lkj", own_log_mean=-0.4).resolve(4).own_log_centre == -0.4


def test_a_history_says_how_large_it_is() -> None:
    scores = np.random.default_rng(0).random((300, 50))
    mostly_empty = scores.copy()
    mostly_empty[100:, 4:] = np.nan
    structures = [
        Priors().resolve_for(History.from_dataframe(pd.DataFrame(table))).covariance
        for table in (scores, mostly_empty)
    ]
    assert structures == ["factor_iw", "factor"]
