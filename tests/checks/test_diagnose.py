"""The report on fits with one planted fault each, and on one without."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import slice_sampler
import xarray as xr
from made_classes import class_population

from skillinfer_bayes import History, Population, Priors
from skillinfer_bayes.checks.diagnose import _relative_mcse, diagnose
from skillinfer_bayes.checks.diagnostics import Convergence, check_convergence
from skillinfer_bayes.checks.report import Diagnosis
from skillinfer_bayes.exceptions import ConfigError, ConvergenceWarning
from skillinfer_bayes.inference import sampling
from skillinfer_bayes.inference.posterior import Posterior
from skillinfer_bayes.testing import fake_population, simulate_history

PRIORS = Priors(covariance="factor", tails="agent", rank=2)
SIZES = {"walkers": 24, "warmup": 400, "steps": 600, "thin": 6}
CHECKS = [
    "R-hat",
    "bulk ESS",
    "tail ESS",
    "MCSE",
    "divergences",
    "E-BFMI",
    "tree depth",
    "prior predictive",
    "posterior predictive",
    "leave one agent out",
    "outlier agents",
    "leave one score out",
    "outlier scores",
    "duplicated agents",
    "prior sensitivity",
]
OF_THE_SAMPLER = CHECKS[:7]


def _history(scores: pd.DataFrame) -> History:
    return History.from_dataframe(scores, scale="unbounded")


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    return simulate_history(70, 4, rank=1, bounded=False, random_seed=4).scores


@pytest.fixture(scope="module")
def reports(scores: pd.DataFrame) -> dict[str, Diagnosis]:
    """One fit of each table: as simulated, twice on a wrong scale, and with two odd rows."""
    skewed = scores.assign(skill_1=np.exp(2.0 * scores["skill_1"]))
    bounded = scores.assign(skill_1=1.0 / (1.0 + np.exp(-3.0 * scores["skill_1"])))
    rows = scores.copy()
    rows.iloc[5] = rows.iloc[30]
    rows.iloc[9] = [6.0, -6.0, 6.0, -6.0]
    tables = {"clean": scores, "link": skewed, "bounds": bounded, "rows": rows}
    fits = slice_sampler.fit([_history(table) for table in tables.values()], PRIORS, **SIZES)
    return {name: fit.diagnose() for name, fit in zip(tables, fits, strict=True)}


def _about_the_model(report: Diagnosis) -> list[str]:
    """Findings, without those on the chains: the tests' sampler is not what is diagnosed."""
    return [line.check for line in report.problems if line.check not in OF_THE_SAMPLER]


def test_nothing_is_found_where_nothing_is_wrong(reports) -> None:
    report = reports["clean"]
    assert [line.check for line in report.lines] == CHECKS
    # a table of this size leaves the priors felt, which is no fault of the model
    assert set(_about_the_model(report)) <= {"prior sensitivity"}
    assert not any(line.advice for line in report.lines if line.verdict == "ok")
    assert set(report.tables) == {
        "convergence",
        "prior_predictive",
        "posterior_predictive",
        "agents",
        "scores",
        "calibration",
        "duplicates",
        "sensitivity",
    }


def test_a_wrong_link_is_found(reports) -> None:
    report = reports["link"]
    line = report["leave one score out"]
    assert line.verdict == "look"
    assert "skill_1 (bias" in line.value
    assert "`scale`" in line.advice
    found = report.tables["calibration"]
    assert found.index[found["p_adjusted"] < 0.05].tolist() == ["skill_1"]
    assert "skill_1" in report["posterior predictive"].value


def test_bounded_scores_on_an_unbounded_scale_are_found(reports) -> None:
    line = reports["bounds"]["posterior predictive"]
    assert line.verdict == "look"
    assert line.value.endswith("1 unlike the simulated tables: highest of skill_1")
    assert "`scale`" in line.advice


def test_a_duplicated_agent_is_found(reports) -> None:
    line = reports["rows"]["duplicated agents"]
    assert (line.verdict, line.value) == ("look", "agent_5 = agent_30")


def test_an_outlier_agent_is_found(reports) -> None:
    line = reports["rows"]["outlier agents"]
    assert (line.verdict, line.value) == ("look", "1 of 70 agents: agent_9")
    assert reports["rows"].tables["agents"]["p"].idxmin() == "agent_9"


def test_a_prior_that_conflicts_with_the_data_is_found(scores: pd.DataFrame) -> None:
    priors = replace(PRIORS, own_log_mean=1.0, own_log_sd=0.1, own_spread_sd=0.05)
    report = slice_sampler.fit([_history(scores)], priors, **SIZES)[0].diagnose()
    assert report["prior predictive"].verdict == "look"
    assert "mean sd" in report["prior predictive"].advice
    line = report["prior sensitivity"]
    assert line.verdict == "look"
    assert "scales" in line.advice
    table = report.tables["sensitivity"]
    rows = table[(table["prior"] == "scales") & (table["conclusion"] == "log sd")]
    assert "prior and data disagree" in set(rows["diagnosis"])


def test_too_few_draws_are_found() -> None:
    report = fake_population(chains=2, draws=15).diagnose(n_replicates=100)
    assert report["bulk ESS"].verdict == report["tail ESS"].verdict == "fail"
    assert "raise `draws`" in report["bulk ESS"].advice
    assert not report.ok
    assert report.problems[0].verdict == "fail"


@pytest.mark.parametrize("shape", [(1, 4), (2, 5), (1, 200)])
def test_hardly_any_draws_still_give_a_report(shape: tuple[int, int]) -> None:
    chains, draws = shape
    report = fake_population(chains=chains, draws=draws).diagnose(n_replicates=100)
    assert report["bulk ESS"].verdict == "fail"
    assert str(report)


def _with_stats(population: Population, **stats: np.ndarray) -> Population:
    tree = population.data
    old = tree.children["sample_stats"].to_dataset()
    new = old.drop_vars([name for name in stats if name in old])
    dims = ("chain", "draw")
    new = new.assign({name: (dims, values) for name, values in stats.items()})
    tree["sample_stats"] = xr.DataTree(new)
    return replace(population, posterior=Posterior(tree))


def test_divergences_energy_and_tree_depth_are_reported() -> None:
    population = fake_population(chains=4, draws=300)
    diverging = np.zeros((4, 300), dtype=bool)
    diverging[0, :7] = True
    energy = np.cumsum(np.random.default_rng(0).standard_normal((4, 300)), axis=1)
    depth = np.full((4, 300), 10)
    report = _with_stats(population, diverging=diverging, energy=energy, depth=depth).diagnose(
        n_replicates=100
    )
    assert (report["divergences"].verdict, report["divergences"].value) == ("fail", "7")
    assert "target_accept" in report["divergences"].advice
    assert report["E-BFMI"].verdict == "fail"
    assert report["tree depth"].verdict == "look"
    assert "100.0%" in report["tree depth"].value


def test_a_scale_per_cell_leaves_no_check_of_the_model_out() -> None:
    population = replace(
        fake_population(tails="cell", chains=4, draws=300),
        settings={"priors": Priors(covariance="factor", tails="cell").to_dict()},
    )
    report = population.diagnose(n_replicates=100)
    skipped = {line.check for line in report.lines if line.verdict == "skipped"}
    assert skipped == {"tree depth"}
    line = report["leave one agent out"]
    assert re.match(
        r"elpd -\d+\.\d \(se \d+\.\d, error of the integrals \d\.\d\d\), p_loo", line.value
    )
    table = report.tables["agents"]
    assert table["elpd"].sum() == pytest.approx(float(line.value.split()[1]), abs=0.1)
    assert (table["integral_error"] > 0.0).all()
    assert report["outlier agents"].verdict == "ok"
    json.dumps(report.to_dict(), allow_nan=False)


def test_latent_classes_leave_no_check_of_the_model_out() -> None:
    scores = simulate_history(25, 4, missing=0.1, bounded=False, random_seed=6).scores
    history = _history(scores)
    population = class_population(history, shape=(4, 150), wiggle=0.3, random_seed=1)
    report = population.diagnose(n_replicates=100)
    skipped = {line.check for line in report.lines if line.verdict == "skipped"}
    assert skipped == {"tree depth"}
    assert "classes " in report["prior sensitivity"].value
    assert "elpd" in report["leave one agent out"].value
    json.dumps(report.to_dict(), allow_nan=False)


def test_without_priors_the_rest_is_checked() -> None:
    report = fake_population(chains=4, draws=300).diagnose(n_replicates=100)
    for check in ("prior predictive", "prior sensitivity"):
        assert report[check].verdict == "skipped"
        assert "does not say its priors" in report[check].value


def test_the_report_is_reproducible() -> None:
    population = fake_population(chains=2, draws=100)
    first, second = (population.diagnose(n_replicates=100).to_dict() for _ in range(2))
    assert first == second


def test_names_cannot_change_the_report() -> None:
    scores = simulate_history(20, 3, bounded=False, random_seed=3).scores
    evil = "x\nR-hat  ok  1.000 <script>"
    scores.loc[evil] = scores.iloc[0]
    report = fake_population(_history(scores)).diagnose(n_replicates=100)
    assert report["duplicated agents"].verdict == "look"
    assert sum(text.startswith("R-hat") for text in str(report).splitlines()) == 1
    assert "<script>" not in report._repr_html_()


def test_options_that_cannot_be_used() -> None:
    population = fake_population()
    with pytest.raises(ConfigError, match="`n_replicates` must be a whole number of at least 100"):
        population.diagnose(n_replicates=10)
    with pytest.raises(ConfigError, match="`random_seed`"):
        population.diagnose(random_seed=-1)
    with pytest.raises(ConfigError, match="`refit` must be True or False, got 'yes'"):
        population.diagnose(refit="yes")
    with pytest.raises(ConfigError, match="unknown key 'drews'"):
        diagnose(population, settings={"drews": 5})


@pytest.mark.parametrize("spoilt", [1.0, np.nan, np.inf])
def test_draws_that_have_no_diagnostics_are_not_converged(spoilt: float) -> None:
    rng = np.random.default_rng(1)
    mean = rng.standard_normal((4, 600, 3))
    rows = rng.standard_normal((4, 600, 40, 3))
    covariance = np.swapaxes(rows, -1, -2) @ rows / 40
    posterior = xr.Dataset(
        {
            "mu": (("chain", "draw", "skill"), mean),
            "covariance": (("chain", "draw", "skill", "skill_bis"), covariance),
        },
        coords={"skill": ["a", "b", "c"], "skill_bis": ["a", "b", "c"]},
    )
    energy = rng.standard_normal((4, 600))
    stats = xr.Dataset({"energy": (("chain", "draw"), energy)})
    fine = xr.DataTree.from_dict({"posterior": posterior, "sample_stats": stats})
    assert check_convergence(fine).converged
    tree = fine.copy(deep=True)
    tree["posterior"]["mu"].values[..., 1] = spoilt
    verdict = check_convergence(tree)
    assert not verdict.converged
    assert "R-hat nan of mean of 'b'" in verdict.problems[0]
    assert np.isnan(_relative_mcse(tree))
    stuck = fine.copy(deep=True)
    stuck["sample_stats"]["energy"].values[2] = 1.0
    assert "E-BFMI nan" in check_convergence(stuck).problems[0]


def test_an_unknown_effective_sample_size_is_no_large_one() -> None:
    verdict = Convergence(1.0, 900.0, np.nan, 1.0, 0, "mean of 'a'", 4, 500)
    assert np.isnan(verdict.ess)
    assert verdict.problems == (
        "effective sample size nan is not above 400: raise `draws` to 1000",
    )


@pytest.mark.slow
def test_a_divergent_funnel_is_found() -> None:
    scores = simulate_history(9, 10, rank=2, bounded=False, random_seed=5).scores
    textbook = Priors(covariance="lkj", eta=1.0, tails="normal", own_log_sd=4.0, own_spread_sd=4.0)
    how = {"draws": 500, "tune": 500, "target_accept": 0.8, "random_seed": 2}
    with pytest.warns(ConvergenceWarning, match="divergent"):
        population = Population.from_dataframe(
            scores, priors=textbook, settings=how, progressbar=False
        )
    line = population.diagnose()["divergences"]
    assert line.verdict == "fail"
    assert int(line.value) > 10
    assert "target_accept" in line.advice


@pytest.mark.slow
def test_a_fit_with_too_few_draws_is_found(scores: pd.DataFrame) -> None:
    options = {"priors": PRIORS, "random_seed": 1, "progressbar": False}
    with pytest.warns(ConvergenceWarning, match="raise `draws` to"):
        hurried = Population.from_history(
            _history(scores), settings={"draws": 30, "tune": 500, "chains": 2}, **options
        )
    patient = Population.from_history(_history(scores), settings={"draws": 1000}, **options)
    found, fine = hurried.diagnose(n_replicates=100), patient.diagnose(n_replicates=100)
    for check in ("bulk ESS", "tail ESS", "R-hat"):
        assert (found[check].verdict, fine[check].verdict) == ("fail", "ok")
    for check in ("bulk ESS", "tail ESS"):
        assert "raise `draws` to" in found[check].advice
    assert (found["MCSE"].verdict, fine["MCSE"].verdict) == ("look", "ok")
    assert "2 chains of 30 draws" in found["R-hat"].value


def test_an_agent_that_the_fit_leans_on_is_left_out_in_earnest(monkeypatch) -> None:
    table = simulate_history(20, 3, rank=1, bounded=False, random_seed=4).scores
    table.iloc[9] = [6.0, -6.0, 6.0]
    normal = replace(PRIORS, tails="normal")
    population = slice_sampler.fit([_history(table)], normal, **SIZES)[0]
    values = population.history.working().values
    left_out = []

    def sample_rows(rows, skills, priors, settings, *, design, progressbar):
        left_out.append(values.sum(axis=0) - rows.n_agents @ rows.values)
        drawn = slice_sampler.sample(np.delete(values, 9, axis=0)[None], priors, **SIZES)[0]
        return slice_sampler.as_dataset(drawn, skills), None

    monkeypatch.setattr(sampling, "sample_rows", sample_rows)
    weighed, exact = (population.diagnose(n_replicates=100, refit=refit) for refit in (False, True))
    line = weighed["leave one agent out"]
    assert line.verdict == "look"
    assert "1 above 0.70, 0 refitted" in line.value
    assert "the fit leans on agent_9: run `diagnose(refit=True)`" in line.advice
    line = exact["leave one agent out"]
    assert (line.verdict, line.advice) == ("ok", "")
    assert "0 above 0.70, 1 refitted" in line.value
    before, after = (report.tables["agents"] for report in (weighed, exact))
    assert before.index[before["khat"] > 0.7].tolist() == ["agent_9"]
    assert after.index[after["refitted"]].tolist() == ["agent_9"]
    # a fit that has not seen it finds it less likely by far than the weights say
    assert after.loc["agent_9", "elpd"] < before.loc["agent_9", "elpd"] - 5.0
    np.testing.assert_allclose(np.array(left_out), values[[9]])
