"""The callbacks that nutpie calls, against the same model compiled by PyMC."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pymc as pm
import pytest
from numpy.typing import NDArray

from skillinfer_bayes import History, Priors
from skillinfer_bayes.inference.kernels import JITTER, compile_for_nutpie
from skillinfer_bayes.inference.model import build_model
from skillinfer_bayes.inference.posterior import KEPT
from skillinfer_bayes.inference.rows import model_data, rows_of
from skillinfer_bayes.testing import simulate_history

STRUCTURES = {
    "lkj": Priors(covariance="lkj", tails="normal"),
    "factor_lkj": Priors(covariance="factor_lkj", tails="agent", rank=2),
    "factor": Priors(covariance="factor", tails="cell", rank=1),
    "factor_iw": Priors(covariance="factor_iw", rank=1),
    "classes": Priors(covariance="factor_lkj", tails="class", rank=2, n_classes=3),
}


def history(seed: int, groups: bool = False) -> History:
    simulation = simulate_history(12, 3, rank=1, missing=0.2, random_seed=seed)
    described = {"groups": ["a", "b"] * 6} if groups else {}
    return History.from_dataframe(simulation.scores, **described)


@pytest.fixture(params=list(STRUCTURES))
def model(request: pytest.FixtureRequest) -> pm.Model:
    priors = STRUCTURES[request.param]
    return build_model(history(1, groups=request.param != "lkj"), priors)


def unravel(model: pm.Model, point: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The flat point as PyMC wants it, in the order of the model's variables."""
    values = {}
    for name, start in model.initial_point().items():
        values[name] = point[: start.size].reshape(start.shape)
        point = point[start.size :]
    assert point.size == 0
    return values


def pointer(array: NDArray[np.float64]) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_double))


def evaluate(compiled: Any, point: NDArray[np.float64]) -> tuple[int, float, NDArray[np.float64]]:
    """Status, log density and gradient, asked for as nutpie asks."""
    gradient, logp = np.zeros_like(point), np.zeros(1)
    status = compiled.compiled_logp_func.ctypes(
        point.size, pointer(point), pointer(gradient), pointer(logp), compiled.user_data.ctypes.data
    )
    return status, float(logp[0]), gradient


def expand(compiled: Any, point: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    flat = np.zeros(compiled.n_expanded)
    status = compiled.compiled_expand_func.ctypes(
        point.size, flat.size, pointer(point), pointer(flat), compiled.user_data.ctypes.data
    )
    assert status == 0
    values, at = {}, 0
    for name, shape in compiled.shapes.items():
        size = int(np.prod(shape))
        values[name] = flat[at : at + size].reshape(shape)
        at += size
    assert at == flat.size
    return values


@pytest.fixture
def at_random() -> Callable[[int], NDArray[np.float64]]:
    return lambda size: np.random.default_rng(8).normal(0.0, 0.7, size)


def test_the_density_and_its_gradient_are_the_models(model, at_random) -> None:
    compiled = compile_for_nutpie(model, KEPT)
    point = at_random(compiled.n_dim)
    status, logp, gradient = evaluate(compiled, point)
    named = unravel(model, point)
    assert status == 0
    assert logp == pytest.approx(float(model.compile_logp()(named)), rel=1e-10)
    np.testing.assert_allclose(gradient, model.compile_dlogp()(named), rtol=1e-8, atol=1e-10)


def test_draws_keep_the_models_variables(model, at_random) -> None:
    compiled = compile_for_nutpie(model, (*KEPT, "not in the model"))
    point = at_random(compiled.n_dim)
    found = expand(compiled, point)
    assert set(found) == set(KEPT) & set(model.named_vars)
    values = model.replace_rvs_by_values([model[name] for name in found])
    wanted = model.compile_fn(values, inputs=model.value_vars, on_unused_input="ignore")
    for name, value in zip(found, wanted(unravel(model, point)), strict=True):
        np.testing.assert_allclose(found[name], value, rtol=1e-10)


@pytest.mark.parametrize("structure", list(STRUCTURES))
def test_other_data_change_the_density_without_compiling(structure, at_random) -> None:
    priors = STRUCTURES[structure].resolve(3, 36)
    first, second = (history(seed, groups=structure != "lkj") for seed in (1, 2))
    compiled = compile_for_nutpie(build_model(first, priors), KEPT)
    refed = compiled.with_data(**model_data(rows_of(second, priors), priors))
    point = at_random(compiled.n_dim)
    other = build_model(second, priors)
    wanted = float(other.compile_logp()(unravel(other, point)))
    assert evaluate(refed, point)[1] == pytest.approx(wanted, rel=1e-10)
    assert evaluate(compiled, point)[1] != pytest.approx(wanted, rel=1e-3)


def test_a_model_compiled_before_is_loaded(model) -> None:
    compile_for_nutpie(model, KEPT)
    again = compile_for_nutpie(model, KEPT)
    assert again.compiled_logp_func.cache_hits == 1
    assert again.compiled_expand_func.cache_hits == 1


@pytest.mark.slow
def test_what_is_loaded_gives_the_draws_of_what_was_compiled(tmp_path) -> None:
    """To the last bit, in two processes, the first of which finds nothing stored."""
    program = """if True:
        from skillinfer_bayes import Population
        from skillinfer_bayes.testing import simulate_history
        history = simulate_history(20, 12, random_seed=1).scores
        settings = {"draws": 100, "tune": 100, "chains": 2, "random_seed": 1}
        population = Population.from_dataframe(history, settings=settings, progressbar=False)
        print(population.posterior.draws_hash)
    """
    environment = {**os.environ, "PYTENSOR_FLAGS": f"base_compiledir={tmp_path}"}
    first, second = (
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for _ in range(2)
    )
    assert first == second != ""


def test_what_is_stored_belongs_to_one_model(at_random) -> None:
    """Two models of the same shapes that differ in a prior's number only."""
    one, two = (
        build_model(history(1), Priors(covariance="lkj", tails="normal", own_log_sd=sd))
        for sd in (0.3, 0.6)
    )
    point = None
    for model in (one, two):
        compiled = compile_for_nutpie(model, KEPT)
        point = at_random(compiled.n_dim)
        wanted = float(model.compile_logp()(unravel(model, point)))
        assert evaluate(compiled, point)[1] == pytest.approx(wanted, rel=1e-10)


def test_a_density_that_is_not_finite_rejects_the_step(model) -> None:
    compiled = compile_for_nutpie(model, KEPT)
    status, _, _ = evaluate(compiled, np.full(compiled.n_dim, 1e3))
    assert status > 0


def test_chains_start_apart_and_near_the_origin(model) -> None:
    compiled = compile_for_nutpie(model, KEPT)
    first, again, other = (compiled.initial_point_func(seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.abs(np.stack([first, other])).max() <= JITTER
    assert evaluate(compiled, first)[0] == 0
