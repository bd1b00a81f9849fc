"""Held-out evaluation with populations that need no sampling."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from skillinfer_bayes.checks import fitted, validation
from skillinfer_bayes.checks.fitted import forecast_of, pool
from skillinfer_bayes.checks.learning_curve import learning_curve
from skillinfer_bayes.checks.rivals import RIVALS
from skillinfer_bayes.checks.scores import DrawnForecast, NormalForecast, unrounded
from skillinfer_bayes.checks.splits import Case, agent_cases, cell_cases
from skillinfer_bayes.checks.validation import held_out, held_out_cells, summarise_held_out
from skillinfer_bayes.exceptions import ConfigError, InputError
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference import kernels, sampling
from skillinfer_bayes.testing import fake_population, simulate_history

QUIET = {"progressbar": False, "repeats": 2, "random_seed": 4}


def ours_without_a_fit(case):
    return forecast_of(fake_population(case.history, draws=300, random_seed=case.seed), case)


def one_case(history: History, hidden: float = 0.0) -> Case:
    (case,) = agent_cases(
        history,
        n_history=[15],
        repeats=[0],
        n_test=6,
        share_observed=0.5,
        hidden=[hidden],
        keep_together=None,
        random_seed=0,
    )
    return case


def know_all(case):
    """A forecast that peeks: right everywhere, with an interval that holds the score."""
    exact = case.truth.fillna(0.5).to_numpy()
    return NormalForecast(exact, np.full(exact.shape, 0.1))


def one_up(case):
    exact = case.truth.fillna(0.5).to_numpy()
    return NormalForecast(exact + 1.0, np.full(exact.shape, 0.1), notes={"divergences": 3})


def test_a_row_for_every_score_method_and_setting(make_history) -> None:
    methods = {"ours": ours_without_a_fit, "mean": RIVALS["mean"]}
    cells = held_out(
        make_history(40), n_history=[10, 20], n_test=12, hide=[0.0, 0.4], methods=methods, **QUIET
    )
    assert len(cells) == 2 * 2 * 2 * 2 * 12 * 4
    assert cells.drop(columns=["divergences", "converged", "rhat", "ess"]).notna().all(axis=None)
    assert not cells.duplicated([*validation.CASE, "agent", "skill"]).any()
    for level, wider in (("50", "80"), ("80", "90"), ("90", "95")):
        assert (cells[f"lower_{wider}"] <= cells[f"lower_{level}"] + 0.02).all()
        assert (cells[f"upper_{wider}"] >= cells[f"upper_{level}"] - 0.02).all()
    summary = summarise_held_out(cells)
    assert summary.index.names == ["n_history", "hidden", "method"]
    assert (summary["n_scores"] == 96).all()
    ours, mean = (summary.xs(name, level="method") for name in ("ours", "mean"))
    full = [(10, 0.0), (20, 0.0)]
    assert (ours.loc[full, "crps"] < 0.9 * mean.loc[full, "crps"]).all()
    assert ours.loc[full, "coverage_90"].between(0.75, 0.99).all()


def test_the_same_seed_gives_the_same_table(make_history) -> None:
    options = {"methods": {"ours": ours_without_a_fit}, "n_test": 8, **QUIET}
    one, again = (held_out(make_history(), **options) for _ in range(2))
    pd.testing.assert_frame_equal(one.drop(columns="seconds"), again.drop(columns="seconds"))
    other = held_out(make_history(), **(options | {"random_seed": 5}))
    assert set(other["agent"]) != set(one["agent"])


def test_defaults_use_every_agent(make_history) -> None:
    cells = held_out(make_history(30), methods=["mean"], **QUIET)
    assert set(cells["n_history"]) == {20}
    assert cells.groupby("repeat")["agent"].nunique().tolist() == [10, 10]
    assert set(cells["method"]) == {"mean"}


def test_cells_of_the_table(make_history) -> None:
    history = make_history(40, missing=0.2)
    methods = {"ours": ours_without_a_fit, **RIVALS}
    cells = held_out_cells(history, share=0.2, methods=methods, **QUIET)
    hidden = round(0.2 * history.observed.sum())
    assert cells.groupby(["repeat", "method"]).size().tolist() == [hidden] * 2 * len(methods)
    table = history.to_dataframe()
    assert [
        table.at[agent, skill] for agent, skill in zip(cells.agent, cells.skill, strict=True)
    ] == cells["score"].tolist()
    summary = summarise_held_out(cells, ["method"])
    assert summary.loc["ours", "crps"] < summary.loc["mean", "crps"]


def test_our_forecast_is_what_profiles_report(make_history) -> None:
    case = one_case(make_history())
    population = fake_population(case.history, draws=400)
    forecast = forecast_of(population, case)
    table = population.profiles(case.rows, n_items=case.n_items).to_dataset(kind="score")
    lower, upper = forecast.interval(0.9)
    for own, name in (
        (forecast.mean, "mean"),
        (forecast.std, "std"),
        (lower, "lower"),
        (upper, "upper"),
    ):
        assert (own == table[name].values).all()
    assert forecast.draws.shape == (800, 6, 6)
    assert np.abs(forecast.draws.mean(axis=0) - forecast.mean).max() < 0.03
    # a score that would be measured varies more than the latent skill
    latent = population.profiles(case.rows, n_items=case.n_items).to_dataset(kind="skill")
    assert (forecast.std > latent["std"].values).all()
    assert set(forecast.notes) == {"divergences", "converged", "rhat", "ess"}


def test_what_is_known_of_new_agents_besides_scores_is_used(make_history) -> None:
    scores = make_history().to_dataframe()
    groups = {agent: f"maker {row % 4}" for row, agent in enumerate(scores.index)}
    year = pd.DataFrame(
        {"year": np.linspace(2020.0, 2026.0, 30), "open": np.arange(30.0) % 3}, index=scores.index
    )
    history = History.from_dataframe(scores, groups=groups, covariates=year)
    seen = set()

    def ours(case):
        population = fake_population(case.history, draws=200, random_seed=1)
        for agent, group in zip(case.rows.index, case.groups, strict=True):
            assert group == groups[agent]
        expected = year.loc[case.rows.index]
        pd.testing.assert_frame_equal(case.covariates, expected, check_names=False)
        forecast = forecast_of(population, case)
        table = population.profiles(case.rows, groups=case.groups, covariates=case.covariates)
        expected = table.to_dataset(kind="score")["mean"].values
        np.testing.assert_array_equal(forecast.mean, expected)
        other = forecast_of(population, replace(case, groups=None))
        assert not np.allclose(other.mean, expected)
        seen.add(case.repeat)
        return forecast

    cells = held_out(history, n_test=9, methods={"ours": ours, "mean": RIVALS["mean"]}, **QUIET)
    assert set(cells["method"]) == {"ours", "mean"}
    assert len(seen) == 2
    cells = held_out_cells(
        history,
        methods={"ours": lambda case: forecast_of(fake_population(case.history), case)},
        **QUIET,
    )
    assert cells["mean"].notna().all()


def test_a_group_that_is_only_among_new_agents_is_unknown(make_history) -> None:
    scores = make_history().to_dataframe()
    groups = {agent: f"maker {row // 3}" for row, agent in enumerate(scores.index)}
    history = History.from_dataframe(scores, groups=groups)
    unknown = []

    def ours(case):
        unknown.extend(set(case.groups) - set(case.history.groups))
        return forecast_of(fake_population(case.history), case)

    cells = held_out(history, n_test=9, keep_together=groups, methods={"ours": ours}, **QUIET)
    assert len(unknown) >= 6
    assert cells["mean"].notna().all()


def facts_of(scores: pd.DataFrame) -> dict[str, object]:
    """Everything a history may hold beside scores."""
    rng = np.random.default_rng(2)
    agents, shape = scores.index, scores.shape
    return {
        # scores are counts of 200 items
        "n_items": pd.DataFrame(200 * rng.integers(1, 5, shape), agents, scores.columns),
        "stderr": None,
        "groups": {agent: f"maker {row % 4}" for row, agent in enumerate(agents)},
        "covariates": pd.DataFrame({"year": rng.uniform(2020.0, 2026.0, len(agents))}, agents),
    }


@pytest.mark.parametrize("precision", ["n_items", "stderr"])
def test_pooled_history_has_a_row_for_what_each_new_agent_shows(make_history, precision) -> None:
    scores = make_history().to_dataframe()
    given = facts_of(scores)
    if precision == "stderr":
        given |= {"n_items": None, "stderr": 1.0 / given["n_items"]}
    history = History.from_dataframe(scores, **given)
    case = one_case(history, hidden=0.3)
    blank = case.rows.index[2]
    case.rows.loc[blank] = np.nan
    pooled = pool(case)
    shown = [agent for agent in case.rows.index if agent != blank]
    assert pooled.agents == (*case.history.agents, *shown)
    assert pooled.skills == case.history.skills
    table = pooled.to_dataframe()
    pd.testing.assert_frame_equal(table.iloc[:15], case.history.to_dataframe())
    pd.testing.assert_frame_equal(table.loc[shown], case.rows.loc[shown], check_names=False)
    # nothing that is to be predicted
    assert not (table.loc[shown].notna() & case.truth.loc[shown].notna()).any(axis=None)
    beside = getattr(pooled, precision)
    at = [scores.index.get_loc(agent) for agent in pooled.agents]
    expected = np.where(pooled.observed, getattr(history, precision)[at], np.nan)
    np.testing.assert_array_equal(np.where(pooled.observed, beside, np.nan), expected)
    assert pooled.groups == tuple(given["groups"][agent] for agent in pooled.agents)
    np.testing.assert_array_equal(pooled.covariates, history.covariates[at])
    assert pooled.scales.scales == case.history.scales.scales


def test_pooling_what_is_of_the_history_already_changes_nothing(make_history) -> None:
    (case,) = cell_cases(make_history(), share=0.2, repeats=[0], random_seed=0)
    assert pool(case) is case.history


def test_our_pooled_fit_learns_from_new_agents_and_predicts_the_same_scores(
    make_history, monkeypatch
) -> None:
    learned = []

    def fit(case, priors, settings):
        learned.append(case.history)
        return fake_population(case.history, draws=200, random_seed=1)

    monkeypatch.setattr(fitted, "fit_case", fit)
    cells = held_out(
        make_history(40), n_history=10, n_test=12, methods=["ours", "ours_pooled"], **QUIET
    )
    assert [history.n_agents for history in learned] == [10, 22, 10, 22]
    pair = [part.drop(columns="method") for _, part in cells.groupby("method")]
    keys = ["repeat", "agent", "skill", "score"]
    pd.testing.assert_frame_equal(*[part[keys].reset_index(drop=True) for part in pair])
    assert (pair[0]["mean"].to_numpy() != pair[1]["mean"].to_numpy()).any()


def test_summary_by_hand(make_history) -> None:
    methods = {"right": know_all, "high": one_up, "mean": RIVALS["mean"]}
    cells = held_out(make_history(), n_test=9, methods=methods, **QUIET)
    summary = summarise_held_out(cells, ["method"])
    right, high, mean = (summary.loc[name] for name in methods)
    assert right[["mae", "rmse", "bias"]].tolist() == [0.0, 0.0, 0.0]
    assert right["coverage_50"] == right["coverage_95"] == 1.0
    assert right["width_90"] == pytest.approx(0.2 * 1.6448536)
    assert right["crps"] == pytest.approx(0.1 * 0.2336950, rel=1e-5)
    assert high[["mae", "rmse", "bias"]].tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert high["coverage_95"] == 0.0
    assert high["divergences"] == 6
    assert np.isnan(right["divergences"])
    assert right["rank_correlation"] == high["rank_correlation"] == pytest.approx(1.0)
    assert np.isnan(mean["rank_correlation"])
    assert mean["bias"] == pytest.approx(
        (cells["mean"] - cells["score"])[cells.method == "mean"].mean()
    )


def counted_table(n_items: int, scale: float = 1.0, decimals: int | None = None) -> pd.DataFrame:
    rates = simulate_history(60, 4, random_seed=3).scores
    hits = np.random.default_rng(0).binomial(n_items, rates)
    table = pd.DataFrame(scale * hits / n_items, rates.index, rates.columns)
    return table if decimals is None else table.round(decimals)


@pytest.mark.parametrize(
    ("scale", "decimals"), [(1.0, None), (1.0, 4), (1.0, 3), (100.0, None), (100.0, 2)]
)
def test_proportions_that_a_table_rounds_are_still_steps(scale: float, decimals: int) -> None:
    table = counted_table(24, scale, decimals)
    units = {1.0: "0-1", 100.0: "percent"}[scale]
    history = History.from_dataframe(table, n_items=24, scale=units)
    hits = np.rint(history.values * 24 / scale)
    whole = np.arange(25.0)

    def known_steps(case):
        """Every count once, so that each score has a step of 1 in 25."""
        draws = np.broadcast_to((scale * whole / 24)[:, None, None], (25, *case.truth.shape))
        flat = np.full(case.truth.shape, scale / 2)
        # the interval ends at what is measured
        end = scale * np.rint(case.truth.fillna(0.0).to_numpy() * 24 / scale) / 24
        reported = {0.5: (end, end), 0.9: (end, np.full(end.shape, scale))}
        return DrawnForecast(draws, flat, flat, intervals=reported, counted=True)

    cells = held_out(history, methods={"steps": known_steps}, n_test=20, **QUIET)
    position = [
        hits[history.agents.index(agent), history.skills.index(skill)]
        for agent, skill in zip(cells["agent"], cells["skill"], strict=True)
    ]
    assert cells["p_below"].to_numpy() == pytest.approx(np.array(position) / 25)
    assert (cells["p_not_above"] - cells["p_below"]).to_numpy() == pytest.approx(1 / 25)
    summary = summarise_held_out(cells, ["method"]).iloc[0]
    assert summary["coverage_50"] == summary["coverage_90"] == 1.0
    assert cells["score"].isin(table.to_numpy().ravel()).all()


def test_rounding_changes_no_verdict_on_our_own_forecasts() -> None:
    def cells_of(decimals: int | None) -> pd.DataFrame:
        history = History.from_dataframe(counted_table(24, 1.0, decimals), n_items=24)
        methods = {"ours": ours_without_a_fit}
        return held_out(history, methods=methods, n_test=20, **QUIET)

    for cells in (cells_of(None), cells_of(4)):
        assert (cells["p_not_above"] > cells["p_below"]).mean() > 0.95


def test_only_counted_scores_are_unrounded(make_history) -> None:
    scores = make_history().to_dataframe().to_numpy()
    continuous = History.from_dataframe(make_history().to_dataframe())
    np.testing.assert_array_equal(unrounded(scores, continuous), scores)
    table = counted_table(24, 1.0, 4)
    counts = pd.DataFrame(24.0, table.index, table.columns)
    counts["skill_1"] = np.nan
    history = History.from_dataframe(table, n_items=counts)
    odd = np.array([[0.4167, 0.4167, np.nan, 0.43]])
    np.testing.assert_array_equal(unrounded(odd, history), [[10 / 24, 0.4167, np.nan, 0.43]])


def test_scores_are_unrounded_to_the_items_that_predictions_have() -> None:
    """Between 14 and 15 items lies no count, and both take 15."""
    scores = pd.DataFrame({"a": [0.4, 0.6, 0.8, 0.2] * 2, "b": np.linspace(0.1, 0.8, 8)})
    counts = pd.DataFrame({"a": [14.0, 15.0] * 4, "b": np.nan})
    history = History.from_dataframe(scores, n_items=counts)
    assert history.typical_items[0] == 15.0
    measured = fake_population(history).profile("new").draws(kind="score").sel(skill="a")
    hits = measured.values * 15
    np.testing.assert_allclose(hits, hits.round(), atol=1e-9)
    assert unrounded(np.array([[0.4667, 0.5]]), history)[0, 0] == 7 / 15


def test_rank_correlation_is_spearmans(make_history) -> None:
    cells = held_out(make_history(40), n_test=13, methods=["knn"], share_observed=0.5, **QUIET)
    expected = [
        spearmanr(part["mean"], part["score"]).statistic
        for _, part in cells.groupby(["repeat", "skill"])
        if len(part) > 2
    ]
    summary = summarise_held_out(cells, ["method"])
    assert summary.loc["knn", "rank_correlation"] == pytest.approx(np.mean(expected))
    each = summarise_held_out(cells, ["skill"])["rank_correlation"]
    assert len(each) == 6
    assert each.nunique() == 6


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"methods": ["ourz"]}, "unknown method 'ourz'; did you mean 'ours'"),
        ({"methods": []}, "`methods` must be a list of names"),
        ({"methods": {}}, "`methods` must be a list of names, got {}"),
        ({"methods": {"a": "ours"}}, "`methods` must map names to functions .* 'ours' for 'a'; g"),
        ({"methods": [["ours"]]}, r"unknown method \['ours'\]; did you mean 'ours'"),
        ({"n_history": np.array(5)}, r"`n_history` must be a whole number .*, got array\(5\)"),
        ({"methods": 5}, "`methods` must be a list of names, got 5"),
        ({"n_history": 10.0}, "`n_history` must be a whole number of at least 3, got 10.0"),
        ({"n_history": []}, r"`n_history` must hold at least one value, got \[\]"),
        ({"hide": []}, r"`hide` must hold at least one value, got \[\]"),
        ({"random_seed": "x"}, "`random_seed` must be a whole number of at least 0, got 'x'"),
        ({"random_seed": -1}, "`random_seed` must be a whole number of at least 0, got -1"),
        (
            {"n_test": 28, "methods": ["mean"]},
            "`n_test` must leave at least 3 .*28, which leaves 2 beside",
        ),
        (
            {"keep_together": ["x"] * 30, "methods": ["mean"]},
            "`n_test` must leave at least 3 agents .* leaves 0 beside their relatives; lower it",
        ),
        ({"methods": "ours"}, "`methods` must be a list of names, got 'ours'"),
        ({"n_history": 2}, "`n_history` must be a whole number of at least 3, got 2"),
        ({"repeats": 0}, "`repeats` must be a whole number of at least 1, got 0"),
        ({"n_test": True}, "`n_test` must be a whole number of at least 1, got True"),
        ({"share_observed": 33}, "`share_observed` must be a share between 0 and 1, got 33"),
        ({"hide": [0.0, 1.0]}, "`hide` must be a share between 0 and 1, got 1.0"),
        ({"hide": "a lot"}, "`hide` must be a share between 0 and 1"),
        ({"priors": {"etta": 1.0}}, "unknown key 'etta'"),
        ({"settings": {"drews": 1}}, "unknown key 'drews'"),
    ],
)
def test_bad_options(make_history, changed, message) -> None:
    with pytest.raises(ConfigError, match=message):
        held_out(make_history(), progressbar=False, **changed)


def test_bad_options_of_cells_and_summaries(make_history) -> None:
    with pytest.raises(ConfigError, match="`share` must be a share"):
        held_out_cells(make_history(), share=0.0, progressbar=False)
    cells = held_out(make_history(), methods=["mean"], **QUIET)
    with pytest.raises(ConfigError, match="`by` must name columns; did you mean 'skill'"):
        summarise_held_out(cells, ["skil"])
    for by, message in (
        ([], r"`by` must hold at least one value, got \[\]"),
        (5, "`by` must name columns"),
        (["skill", "skill"], "`by` must name each column once, got"),
    ):
        with pytest.raises(ConfigError, match=message):
            summarise_held_out(cells, by)
    pd.testing.assert_frame_equal(
        summarise_held_out(cells, "skill"), summarise_held_out(cells, ["skill"])
    )
    with pytest.raises(InputError, match="`cells` must be a DataFrame, got NoneType"):
        summarise_held_out(None)
    with pytest.raises(InputError, match="`cells` must have a column 'crps'"):
        summarise_held_out(cells.drop(columns="crps"))
    with pytest.raises(ConfigError, match="`random_seed` must be a whole number"):
        held_out_cells(make_history(), random_seed=-1, progressbar=False)


@pytest.mark.parametrize("by", [["rhat"], ["method", "rhat"]])
def test_missing_values_are_values_of_their_own(make_history, by: list[str]) -> None:
    cells = held_out(make_history(40), methods=["knn"], share_observed=0.5, **QUIET)
    some = cells.assign(rhat=np.where(cells["repeat"] == 0, np.nan, 1.0))
    found = summarise_held_out(some, by)
    known = summarise_held_out(some.fillna({"rhat": 2.0}), by)
    assert found["n_scores"].sum() == len(cells)
    pd.testing.assert_frame_equal(found.reset_index(drop=True), known.reset_index(drop=True))


def test_repeated_settings_count_once(make_history) -> None:
    options = {"methods": ["mean"], **QUIET}
    once = held_out(make_history(), n_history=[10], hide=[0.2], **options)
    twice = held_out(make_history(), n_history=[10, 10], hide=[0.2, 0.2], **options)
    pd.testing.assert_frame_equal(once.drop(columns="seconds"), twice.drop(columns="seconds"))


def test_methods_may_be_a_generator() -> None:
    assert list(validation.pick_methods(name for name in ["mean", "knn"])) == ["mean", "knn"]


def test_numpy_numbers_are_numbers(make_history) -> None:
    plain = {"n_history": 10, "n_test": 8, "repeats": 1, "hide": 0.25, "random_seed": 4}
    numpys = {
        name: np.array(value).astype("f4" if value == 0.25 else "i8")[()]
        for name, value in plain.items()
    }
    one, again = (
        held_out(make_history(), methods=["mean"], progressbar=False, **options)
        for options in (plain, numpys)
    )
    pd.testing.assert_frame_equal(one.drop(columns="seconds"), again.drop(columns="seconds"))


def test_progress_is_shown_when_asked_for(make_history, capsys) -> None:
    held_out(make_history(), methods=["mean"], repeats=1)
    assert "held-out evaluation" in capsys.readouterr().out


@pytest.mark.slow
def test_refits_reuse_the_compiled_model(make_history, monkeypatch) -> None:
    compiled = []
    compile_model = kernels.compile_for_nutpie

    def count(model, *options):
        compiled.append(model)
        return compile_model(model, *options)

    monkeypatch.setattr(kernels, "compile_for_nutpie", count)
    monkeypatch.setattr(sampling, "_compiled", OrderedDict())
    options = {
        "methods": ["ours"],
        "priors": {"covariance": "factor", "rank": 1, "tails": "normal"},
        "settings": {"draws": 30, "tune": 30, "chains": 1, "cores": 1},
        "n_test": 8,
        **QUIET,
    }
    history = make_history(40, n_skills=3)
    cells = held_out(history, n_history=[12, 25], hide=[0.0, 0.3], **options)
    fits = cells.drop_duplicates(validation.CASE)
    assert len(fits) == 8
    assert fits["ess"].notna().all()
    learning_curve(history, n_history=20, n_observed=[0, 1], **options)
    assert len(compiled) == 1


@pytest.mark.slow
def test_real_fits_are_reproducible_and_beat_the_mean(make_history) -> None:
    settings = {"draws": 200, "tune": 300, "chains": 2}
    options = {"methods": ["ours", "mean"], "settings": settings, "n_test": 10, **QUIET}
    one, again = (held_out(make_history(40), **options) for _ in range(2))
    pd.testing.assert_frame_equal(one.drop(columns="seconds"), again.drop(columns="seconds"))
    summary = summarise_held_out(one, ["method"])
    assert summary.loc["ours", "crps"] < 0.9 * summary.loc["mean", "crps"]
    assert summary["divergences"].notna().to_dict() == {"ours": True, "mean": False}
