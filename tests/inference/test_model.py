"""The model's graph: names, dims, finite values, and its data term against scipy."""

from __future__ import annotations

import numpy as np
import pymc as pm
import pytensor
import pytest
from pytensor.compile.mode import Mode
from scipy.stats import multivariate_normal

from skillinfer_bayes.inference.model import build_model
from skillinfer_bayes.inference.priors import Priors
from skillinfer_bayes.inference.rows import DEFAULT_ERROR_VAR

STRUCTURES = ["lkj", "factor_lkj", "factor"]
PLAIN = Mode("py", "fast_compile")


@pytest.fixture(scope="module", params=STRUCTURES)
def model(request, history) -> pm.Model:
    return build_model(history, Priors(covariance=request.param, rank=2))


@pytest.fixture(autouse=True)
def _interpreted():
    # one evaluation of a small graph: compiling it would take longer than all of these tests
    with pytensor.config.change_flags(cxx=""):
        yield


@pytest.fixture
def point(model, rng) -> dict[str, np.ndarray]:
    """Somewhere near the initial point, with no symmetry left."""
    start = model.initial_point()
    return {name: at + 0.2 * rng.standard_normal(at.shape) for name, at in start.items()}


def has_factors(model: pm.Model) -> bool:
    return "loadings" in model.named_vars


def test_variables_carry_named_dims(model, history) -> None:
    dims = model.named_vars_to_dims
    assert tuple(dims["mu"]) == ("skill",)
    assert tuple(dims["covariance"]) == ("skill", "skill_bis")
    assert tuple(model.coords["skill"]) == history.skills
    assert tuple(model.coords["skill_bis"]) == history.skills
    if has_factors(model):
        assert tuple(dims["loadings"]) == ("skill", "factor")
        assert tuple(model.coords["factor"]) == (0, 1)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_each_structure_has_its_parts(history, structure) -> None:
    names = set(build_model(history, Priors(covariance=structure)).named_vars)
    assert ("omega_chol" in names) == (structure != "factor")
    assert ("loadings" in names) == (structure != "lkj")
    assert {"mu", "covariance", "own_sd"} <= names


def test_auto_builds_factors_and_lkj_for_few_skills(history) -> None:
    assert {"omega_chol", "loadings"} <= set(build_model(history).named_vars)


def test_density_and_gradient_are_finite_at_the_start(model) -> None:
    start = model.initial_point()
    assert np.isfinite(model.compile_logp(mode=PLAIN)(start))
    gradient = model.compile_dlogp(mode=PLAIN)(start)
    assert np.isfinite(gradient).all()
    assert gradient.any()


def test_data_term_equals_scipy_agent_by_agent(model, history, point) -> None:
    names = ["mu", "covariance", "scores"]
    outputs = model.replace_rvs_by_values([model[name] for name in names])
    # not every output depends on every variable
    evaluate = model.compile_fn(
        outputs, inputs=model.value_vars, mode=PLAIN, on_unused_input="ignore"
    )
    mean, covariance, logp = evaluate(point)
    expected = 0.0
    for row in history.working().values:
        seen = np.flatnonzero(~np.isnan(row))
        block = covariance[np.ix_(seen, seen)] + DEFAULT_ERROR_VAR * np.eye(len(seen))
        expected += multivariate_normal.logpdf(row[seen], mean[seen], block)
    assert float(logp) == pytest.approx(expected, abs=1e-8)


def test_covariance_is_the_sum_of_its_parts(model, point) -> None:
    names = ["covariance", "own_sd", *(["loadings"] if has_factors(model) else [])]
    outputs = model.replace_rvs_by_values([model[name] for name in names])
    evaluate = model.compile_fn(
        outputs, inputs=model.value_vars, mode=PLAIN, on_unused_input="ignore"
    )
    covariance, own_sd, *loadings = evaluate(point)
    np.testing.assert_allclose(covariance, covariance.T, rtol=1e-12)
    assert (np.linalg.eigvalsh(covariance) > 0).all()
    own = covariance - loadings[0] @ loadings[0].T if loadings else covariance
    np.testing.assert_allclose(np.diag(own), own_sd**2, rtol=1e-10)
    independent = np.allclose(own, np.diag(np.diag(own)), atol=1e-12)
    assert independent == ("omega_chol" not in model.named_vars)


def test_the_tables_values_are_data_that_can_be_exchanged(model) -> None:
    tables = {"values", "observed", "error_var", "n_agents", "scatter", "scatter_row"}
    assert tables <= {variable.name for variable in model.data_vars}
