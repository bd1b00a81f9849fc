"""The model's graph: names, dims, finite values, and its data term against scipy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pymc as pm
import pytensor
import pytest
from pytensor.compile.mode import Mode
from scipy import stats
from scipy.special import logsumexp

from skillinfer_bayes.exceptions import ConfigError, HistoryError
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.design import Design
from skillinfer_bayes.inference.model import (
    CENTRED_CLASSES_FROM,
    CENTRED_MEAN_FROM,
    build_model,
    centres_means,
)
from skillinfer_bayes.inference.posterior import CLASS_DIMS
from skillinfer_bayes.inference.priors import Priors
from skillinfer_bayes.inference.rows import DEFAULT_ERROR_VAR, rows_of

# structure and tails
STRUCTURES = [
    ("lkj", "normal"),
    ("factor_lkj", "normal"),
    ("factor", "normal"),
    ("factor_lkj", "agent"),
    ("factor_lkj", "class"),
    ("lkj", "class"),
    ("factor", "cell"),
]
PLAIN = Mode("py", "fast_compile")


@pytest.fixture(scope="module", params=STRUCTURES, ids="-".join)
def model(request, history) -> pm.Model:
    covariance, tails = request.param
    return build_model(history, Priors(covariance=covariance, tails=tails, rank=2, n_classes=3))


@pytest.fixture(scope="module")
def described(scores) -> History:
    """The same agents with two groups and two covariates, and item counts."""
    covariates = pd.DataFrame(
        {"year": 2020.0 + np.arange(20) % 7, "open": [True, False] * 10}, index=scores.index
    )
    return History.from_dataframe(
        scores.round(2), n_items=100, groups=["x", "y", "y", "x"] * 5, covariates=covariates
    )


@pytest.fixture(autouse=True)
def _interpreted():
    # one evaluation of a small graph: compiling it would take longer than all of these tests
    with pytensor.config.change_flags(cxx=""):
        yield


def somewhere(model: pm.Model, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Near the initial point, with no symmetry left."""
    start = model.initial_point()
    return {name: at + 0.2 * rng.standard_normal(at.shape) for name, at in start.items()}


@pytest.fixture
def point(model, rng) -> dict[str, np.ndarray]:
    return somewhere(model, rng)


def evaluated(model: pm.Model, point: dict[str, np.ndarray], *names: str) -> dict[str, np.ndarray]:
    """Values of named variables; those that the model does not have are left out."""
    known = [name for name in names if name in model.named_vars]
    outputs = model.replace_rvs_by_values([model[name] for name in known])
    # not every output depends on every variable
    evaluate = model.compile_fn(
        outputs, inputs=model.value_vars, mode=PLAIN, on_unused_input="ignore"
    )
    return dict(zip(known, evaluate(point), strict=True))


def has_factors(model: pm.Model) -> bool:
    return "loadings" in model.named_vars


def is_by_cell(model: pm.Model) -> bool:
    return "agent_noise_sd" in model.named_vars


def is_by_class(model: pm.Model) -> bool:
    return "class_means" in model.named_vars


def test_variables_carry_named_dims(model, history) -> None:
    dims = model.named_vars_to_dims
    assert tuple(dims["mu"]) == ("skill",)
    assert tuple(dims["own_sd"]) == ("skill",)
    assert tuple(model.coords["skill"]) == history.skills
    assert tuple(model.coords["skill_bis"]) == history.skills
    if not is_by_cell(model):
        assert tuple(dims["covariance"]) == ("skill", "skill_bis")
    if has_factors(model):
        assert tuple(dims["loadings"]) == ("skill", "factor")
        assert tuple(model.coords["factor"]) == (0, 1)
    if is_by_class(model):
        assert {name: tuple(dims[name]) for name in CLASS_DIMS} == CLASS_DIMS
        assert tuple(model.coords["class"]) == (0, 1, 2)


@pytest.mark.parametrize(("covariance", "tails"), STRUCTURES)
def test_each_structure_has_its_parts(history, covariance, tails) -> None:
    model = build_model(history, Priors(covariance=covariance, tails=tails))
    names = set(model.named_vars)
    assert {"mu", "own_sd"} <= names
    assert ("omega_chol" in names) == (covariance != "factor")
    assert ("loadings" in names) == (covariance != "lkj")
    assert ("nu" in names) == (tails in ("agent", "cell"))
    for name in ("class_sd", *CLASS_DIMS):
        assert (name in names) == (tails == "class")
    by_cell = tails == "cell"
    assert ("covariance" in names) == (not by_cell)
    for name in ("agent_noise_sd", "factors", "skill_spread"):
        assert (name in names) == by_cell
    assert not {"effects", "group_sd"} & names


@pytest.mark.parametrize(
    ("covariance", "tails"),
    [("lkj", "normal"), ("factor_lkj", "agent"), ("factor_lkj", "class"), ("factor", "cell")],
)
def test_a_single_skill_has_no_correlations(scores, rng, covariance, tails) -> None:
    history = History.from_dataframe(scores.iloc[:, :1].dropna())
    priors = Priors(covariance=covariance, tails=tails, rank=1, n_classes=3)
    model = build_model(history, priors)
    assert "omega_chol" not in model.named_vars
    point = somewhere(model, rng)
    assert np.isfinite(model.compile_logp(mode=PLAIN)(point))
    assert np.isfinite(model.compile_dlogp(mode=PLAIN)(point)).all()


def test_a_table_is_no_history(scores) -> None:
    with pytest.raises(HistoryError, match="`history` must be a History, got DataFrame; make one"):
        build_model(scores)


def test_auto_builds_factors_and_lkj_with_classes_for_few_skills(history) -> None:
    model = build_model(history)
    names = set(model.named_vars)
    assert {"omega_chol", "loadings", *CLASS_DIMS} <= names
    assert not {"nu", "agent_noise_sd"} & names
    assert len(model.coords["class"]) == Priors().n_classes


def test_density_and_gradient_are_finite_at_the_start(model) -> None:
    start = model.initial_point()
    assert np.isfinite(model.compile_logp(mode=PLAIN)(start))
    gradient = model.compile_dlogp(mode=PLAIN)(start)
    assert np.isfinite(gradient).all()
    assert gradient.any()


def row_density(values, error_var, means, covariance, nu) -> float:
    """Sum of the agents' log densities: one scipy call each."""
    total = 0.0
    for row, errors, mean in zip(values, error_var, means, strict=True):
        seen = np.flatnonzero(~np.isnan(row))
        block = covariance[np.ix_(seen, seen)] + np.diag(errors[seen])
        if nu is None:
            total += stats.multivariate_normal.logpdf(row[seen], mean[seen], block)
        else:
            total += stats.multivariate_t.logpdf(row[seen], mean[seen], block, df=float(nu))
    return total


def class_density(values, error_var, pulls, got) -> float:
    """Sum of the agents' log densities: one scipy call for each agent and class."""
    total = 0.0
    for row, errors, pull in zip(values, error_var, pulls, strict=True):
        seen = np.flatnonzero(~np.isnan(row))
        block = got["class_covariance"][np.ix_(seen, seen)] + np.diag(errors[seen])
        terms = [
            np.log(weight)
            + stats.multivariate_normal.logpdf(row[seen], (mean + pull)[seen], scale**2 * block)
            for weight, mean, scale in zip(
                got["class_weights"], got["class_means"], got["class_scales"], strict=True
            )
        ]
        total += logsumexp(terms)
    return total


def cell_density(values, error_var, means, own_sd, noise, nu) -> float:
    """Sum of the scores' log densities: one scipy call each."""
    total = 0.0
    for agent, skill in np.argwhere(~np.isnan(values)):
        sd = np.hypot(own_sd[skill] * noise[agent], np.sqrt(error_var[agent, skill]))
        total += stats.t.logpdf(values[agent, skill], float(nu), means[agent, skill], sd)
    return total


def expected_density(history: History, got: dict[str, np.ndarray]) -> float:
    """What the model's data term should be, from values of its variables."""
    values, error_var = history.working()
    if error_var is None:
        error_var = np.full(values.shape, DEFAULT_ERROR_VAR)
    pulls = np.zeros(values.shape)
    if "effects" in got:
        design = Design.of(history).of_history(history)
        pulls = design @ got["effects"] @ got["loadings"].T
    if "class_means" in got:
        return class_density(values, error_var, pulls, got)
    means = got["mu"] + pulls
    if "agent_noise_sd" in got:
        means = means + got["factors"] @ got["loadings"].T
        noise = np.exp(got["agent_noise_sd"] * got["agent_offset"])
        return cell_density(values, error_var, means, got["own_sd"], noise, got["nu"])
    return row_density(values, error_var, means, got["covariance"], got.get("nu"))


PARTS = ("mu", "covariance", "loadings", "own_sd", "nu", "effects")
CELL_PARTS = ("factors", "agent_noise_sd", "agent_offset")
DATA_TERM = (*PARTS, *CELL_PARTS, *CLASS_DIMS, "scores")


def test_data_term_equals_scipy(model, history, point) -> None:
    got = evaluated(model, point, *DATA_TERM)
    assert float(got["scores"]) == pytest.approx(expected_density(history, got), abs=1e-8)


@pytest.mark.parametrize(
    ("covariance", "tails"),
    [("factor_lkj", "normal"), ("factor", "agent"), ("factor", "class"), ("factor", "cell")],
)
def test_groups_and_covariates_move_the_data_term_as_scipy_says(
    described, rng, covariance, tails
) -> None:
    priors = Priors(covariance=covariance, tails=tails, rank=2, covariate_sd=0.7)
    model = build_model(described, priors)
    got = evaluated(model, somewhere(model, rng), *DATA_TERM, "group_sd", "effect_offset")
    assert tuple(model.named_vars_to_dims["effects"]) == ("effect", "factor")
    assert float(got["scores"]) == pytest.approx(expected_density(described, got), abs=1e-8)
    # two covariates of a fixed prior sd, then two groups that share one that is learned
    sd = np.array([0.7, 0.7, got["group_sd"], got["group_sd"]])
    np.testing.assert_allclose(got["effects"], sd[:, None] * got["effect_offset"])


@pytest.mark.parametrize("model", STRUCTURES[:-1], ids="-".join, indirect=True)
def test_covariance_is_the_sum_of_its_parts(model, point) -> None:
    got = evaluated(model, point, "covariance", "class_covariance", "own_sd", "loadings")
    # with classes, of those of scale 1
    covariance = got.get("class_covariance", got["covariance"])
    np.testing.assert_allclose(covariance, covariance.T, rtol=1e-12)
    assert (np.linalg.eigvalsh(covariance) > 0).all()
    own = covariance
    if has_factors(model):
        own = covariance - got["loadings"] @ got["loadings"].T
    np.testing.assert_allclose(np.diag(own), got["own_sd"] ** 2, rtol=1e-10)
    independent = np.allclose(own, np.diag(np.diag(own)), atol=1e-12)
    assert independent == ("omega_chol" not in model.named_vars)


@pytest.mark.parametrize("covariance", ["factor_lkj", "lkj", "factor"])
def test_classes_are_drawn_like_agents_and_add_up(history, rng, covariance) -> None:
    """m_c = m + e (Lambda a_c + D L b_c), and the moments of a mixture, written out."""
    model = build_model(history, Priors(covariance=covariance, tails="class", rank=2, n_classes=4))
    root_parts = ("own_sd", "omega_chol", "loadings")
    deviations = ("own_shift", "factor_shift", "class_own_shift", "class_shift", "class_sd")
    point = somewhere(model, rng)
    got = evaluated(
        model, point, *root_parts, *deviations, *CLASS_DIMS, "class_log_scale", "mu", "covariance"
    )
    root = np.diag(got["own_sd"]) @ got.get("omega_chol", np.eye(4))
    loadings = got.get("loadings", np.zeros((4, 0)))
    centre = root @ got["own_shift"] + loadings @ got.get("factor_shift", np.zeros(0))
    for c in range(4):
        away = root @ got["class_own_shift"][c]
        if "class_shift" in got:
            away = away + loadings @ got["class_shift"][c]
        expected = centre + got["class_sd"] * away
        np.testing.assert_allclose(got["class_means"][c], expected, rtol=1e-9)
    within = root @ root.T + loadings @ loadings.T
    np.testing.assert_allclose(got["class_covariance"], within, rtol=1e-9)
    np.testing.assert_allclose(got["class_scales"], np.exp(got["class_log_scale"]))
    weights, means = got["class_weights"], got["class_means"]
    assert weights.sum() == pytest.approx(1.0)
    second = sum(
        weights[c] * (got["class_scales"][c] ** 2 * within + np.outer(means[c], means[c]))
        for c in range(4)
    )
    mu = sum(weights[c] * means[c] for c in range(4))
    np.testing.assert_allclose(got["mu"], mu, rtol=1e-9)
    np.testing.assert_allclose(got["covariance"], second - np.outer(mu, mu), rtol=1e-8)


def below_and_at(scores: pd.DataFrame, n_agents: int, priors: Priors) -> tuple[pm.Model, pm.Model]:
    """Models of one agent less than so many, and of so many."""
    table = pd.concat([scores] * -(-n_agents // len(scores)), ignore_index=True)
    sizes = (n_agents - 1, n_agents)
    fewer, model = (build_model(History.from_dataframe(table[:n]), priors) for n in sizes)
    return fewer, model


@pytest.mark.parametrize("covariance", ["factor_lkj", "lkj"])
def test_with_many_agents_the_means_of_classes_are_sampled_themselves(
    scores, rng, covariance
) -> None:
    """The law of `class_means` is that of the shifts of the test above, given all else."""
    priors = Priors(covariance=covariance, tails="class", rank=2, n_classes=4)
    complete = scores.fillna(scores.mean())
    fewer, model = below_and_at(complete, CENTRED_CLASSES_FROM, priors)
    free = [{variable.name for variable in one.free_RVs} for one in (fewer, model)]
    assert free[1] - free[0] == {"class_means"}
    assert free[0] - free[1] <= {"class_own_shift", "class_shift"}
    point = somewhere(model, rng)
    deviations = ("own_shift", "factor_shift", "class_sd", "class_means", "class_covariance")
    got = evaluated(model, point, "own_sd", "omega_chol", "loadings", *deviations)
    root = np.diag(got["own_sd"]) @ got["omega_chol"]
    loadings = got.get("loadings", np.zeros((4, 0)))
    centre = root @ got["own_shift"] + loadings @ got.get("factor_shift", np.zeros(0))
    within = root @ root.T + loadings @ loadings.T
    np.testing.assert_allclose(got["class_covariance"], within, rtol=1e-9)
    law = stats.multivariate_normal(centre, got["class_sd"] ** 2 * within)
    found = model.compile_logp([model["class_means"]], mode=PLAIN)(point)
    assert found == pytest.approx(law.logpdf(got["class_means"]).sum(), rel=1e-9)


@pytest.mark.parametrize("covariance", ["factor_lkj", "lkj"])
def test_with_hundreds_of_agents_the_mean_is_sampled_itself(scores, rng, covariance) -> None:
    """The law of `mu` is that of Lambda a + D L b, given all else."""
    priors = Priors(covariance=covariance, tails="agent", rank=2)
    fewer, model = below_and_at(scores, CENTRED_MEAN_FROM, priors)
    free = [{variable.name for variable in one.free_RVs} for one in (fewer, model)]
    assert free[1] - free[0] == {"mu"}
    assert free[0] - free[1] <= {"own_shift", "factor_shift"}
    point = somewhere(model, rng)
    got = evaluated(model, point, "mu", "own_sd", "omega_chol", "loadings")
    root = np.diag(got["own_sd"]) @ got["omega_chol"]
    loadings = got.get("loadings", np.zeros((4, 0)))
    within = root @ root.T + loadings @ loadings.T
    law = stats.multivariate_normal(np.zeros(4), priors.mean_sd**2 * within)
    found = model.compile_logp([model["mu"]], mode=PLAIN)(point)
    assert found == pytest.approx(law.logpdf(got["mu"]), rel=1e-9)


@pytest.mark.parametrize(
    ("n_agents", "n_skills", "itself"), [(300, 12, True), (300, 20, False), (500, 20, True)]
)
def test_many_skills_need_more_agents_for_it(rng, n_agents, n_skills, itself) -> None:
    """With 500 agents by 40 skills it took three times as long as by shifts."""
    history = History.from_dataframe(pd.DataFrame(rng.uniform(size=(n_agents, n_skills))))
    priors = Priors(tails="agent").resolve(n_skills)
    assert centres_means(rows_of(history, priors), priors) == itself


def test_agents_with_holes_count_less_towards_sampling_the_means_of_classes(rng) -> None:
    """A hundred with two scores in five each tell a class's mean no better than forty do."""
    priors = Priors(tails="class").resolve(5)
    table = pd.DataFrame(rng.uniform(size=(240, 5)))
    holes = table.where(np.arange(5) != np.arange(240)[:, None] % 5)
    for n_agents in (99, 100):
        history = History.from_dataframe(holes.iloc[:n_agents])
        assert centres_means(rows_of(history, priors), priors) == (n_agents == 100)
    assert centres_means(rows_of(History.from_dataframe(table.iloc[:80]), priors), priors)


def test_normal_rows_count_as_what_they_are_collapsed_to(rng) -> None:
    priors = Priors(tails="normal").resolve(12)
    table = pd.DataFrame(rng.uniform(size=(600, 12)))
    complete = History.from_dataframe(table)
    holes = History.from_dataframe(table.mask(rng.random(table.shape) < 0.3))
    assert not centres_means(rows_of(complete, priors), priors)
    assert centres_means(rows_of(holes, priors), priors)
    with_errors = History.from_dataframe(table, stderr=np.full(table.shape, 0.02))
    assert centres_means(rows_of(with_errors, priors), priors)


@pytest.mark.parametrize(
    ("covariance", "tails"), [("factor_lkj", "agent"), ("factor_lkj", "class"), ("factor", "cell")]
)
def test_either_sign_of_a_factor_is_as_probable(described, rng, covariance, tails) -> None:
    model = build_model(described, Priors(covariance=covariance, tails=tails, rank=2, n_classes=3))
    point = somewhere(model, rng)
    turned = dict(point)
    for name, value in point.items():
        dims = model.named_vars_to_dims.get(name, ())
        if name == "general":
            turned[name] = -value
        elif "factor" in dims or name == "factors":
            turned[name] = value * np.array([-1.0, 1.0])
    assert {name for name in point if not np.array_equal(point[name], turned[name])} == {
        "general",
        "loading_offset",
        "factor_shift",
        "effect_offset",
        *(["class_shift"] if tails == "class" else []),
        *(["factors"] if tails == "cell" else []),
    }
    logp = model.compile_logp(mode=PLAIN)
    assert logp(turned) == pytest.approx(float(logp(point)), rel=1e-12)


def test_the_tables_values_are_data_that_can_be_exchanged(model) -> None:
    tables = {"values", "observed", "error_var", "n_agents", "scatter", "scatter_row"}
    if is_by_class(model):
        tables = {"values", "observed", "error_var"}
    if is_by_cell(model):
        tables = {"values", "error_var", "skill_of", "agent_of", "typical"}
    elif "loadings" in model.named_vars:
        tables |= {"n_scores"}
    assert tables == {variable.name for variable in model.data_vars}


@pytest.mark.parametrize("given", ["groups", "covariates"])
def test_groups_and_covariates_need_factors_to_move(scores, given) -> None:
    values = {
        "groups": ["x", "y"] * 10,
        "covariates": pd.DataFrame({"year": range(20)}, index=scores.index),
    }
    history = History.from_dataframe(scores, **{given: values[given]})
    with pytest.raises(ConfigError, match=r"which `covariance='lkj'` does not have; use 'factor_"):
        build_model(history, Priors(covariance="lkj"))


@pytest.mark.parametrize("tails", ["normal", "agent", "class"])
@pytest.mark.parametrize("covariance", ["factor", "factor_lkj"])
def test_a_skills_scale_is_as_uncertain_as_few_scores_make_it(scores, covariance, tails) -> None:
    """Loadings and own sd of a skill are stretched by exp(1.5 offset / sqrt(n))."""
    table = scores.copy()
    table.iloc[4:, 0] = np.nan
    table.iloc[11:, 1] = np.nan
    history = History.from_dataframe(table)
    priors = Priors(covariance=covariance, tails=tails, rank=2, unit_log_sd=1.5)
    model = build_model(history, priors)
    start = {**model.initial_point(), "general": np.array(0.7)}
    offset = np.array([1.0, -2.0, 3.0, 0.5])
    plain = evaluated(model, {**start, "skill_offset": np.zeros(4)}, "own_sd", "loadings")
    moved = evaluated(model, {**start, "skill_offset": offset}, "own_sd", "loadings")
    expected = np.exp(1.5 * offset / np.sqrt(table.notna().sum().to_numpy()))
    np.testing.assert_allclose(moved["own_sd"] / plain["own_sd"], expected)
    ratio = moved["loadings"][:, 0] / plain["loadings"][:, 0]
    np.testing.assert_allclose(ratio, expected)


def test_a_sparse_skills_scale_is_centred_on_the_typical_one(scores) -> None:
    """Columns 0 and 1 are the same but for a stretch of the logits."""
    table = scores.copy()
    logits = np.log(table.iloc[:, 0] / (1.0 - table.iloc[:, 0]))
    table.iloc[:, 1] = 1.0 / (1.0 + np.exp(-3.0 * (logits - logits.mean())))
    history = History.from_dataframe(table)
    model = build_model(history, Priors(tails="cell", rank=1))
    start = model.initial_point()
    own = evaluated(model, {**start, "skill_offset": 0.0 * start["skill_offset"]}, "own_sd")
    expected = np.median(history.scales.spread) / history.scales.spread
    np.testing.assert_allclose(own["own_sd"] / own["own_sd"][0], expected / expected[0])
