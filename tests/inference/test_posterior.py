"""Reading draws: names and shapes are checked, and only what matters enters the identity."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from skillinfer_bayes.exceptions import PopulationFileError
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.design import Design
from skillinfer_bayes.inference.posterior import (
    CLASS_DIMS,
    Posterior,
    attach_history,
    tidy_posterior,
)
from skillinfer_bayes.testing import fake_population, population_of_draws


@pytest.fixture(scope="module")
def tree(history) -> xr.DataTree:
    return fake_population(history, chains=2, draws=5).data


def rebuilt(tree: xr.DataTree, posterior: xr.Dataset) -> Posterior:
    groups = {name: group.to_dataset() for name, group in tree.children.items()}
    return Posterior(xr.DataTree.from_dict({**groups, "posterior": posterior}))


@pytest.fixture
def of_classes(tree, rng) -> xr.Dataset:
    """The same draws with three latent classes."""
    arrays = {
        "class_means": rng.standard_normal((2, 5, 3, 4)),
        "class_covariance": 0.5 * tree["posterior/covariance"].values,
        "class_weights": rng.dirichlet(np.ones(3), (2, 5)),
        "class_scales": rng.uniform(0.5, 2.0, (2, 5, 3)),
    }
    named = {name: (("chain", "draw", *CLASS_DIMS[name]), array) for name, array in arrays.items()}
    return tree["posterior"].to_dataset().assign(named)


def test_draws_come_flat_chain_after_chain(tree, history) -> None:
    posterior = Posterior(tree)
    assert posterior.skills == history.skills
    assert (posterior.n_chains, posterior.n_draws) == (2, 5)
    assert posterior.mean.shape == (10, 4)
    assert posterior.covariance.shape == (10, 4, 4)
    np.testing.assert_array_equal(posterior.mean[7], tree["posterior/mu"].values[1, 2])
    second = tree["posterior/covariance"].values[1, 2]
    np.testing.assert_array_equal(posterior.covariance[7], second)


def test_draws_cannot_be_written_to(tree) -> None:
    with pytest.raises(ValueError, match="read-only"):
        Posterior(tree).mean[0, 0] = 1.0


def test_nothing_of_the_tree_can_be_written_to_through_copies(tree) -> None:
    stepped = tree["posterior"].to_dataset().assign(general=(("chain", "draw"), np.zeros((2, 5))))
    copy = rebuilt(tree, stepped).tree.copy()
    variables = [item for group in copy.subtree for item in group.data_vars.values()]
    assert {"general", "diverging", "score"} <= {item.name for item in variables}
    for variable in variables:
        with pytest.raises(ValueError, match="read-only"):
            variable.values[...] = 0


def test_the_callers_arrays_stay_as_they_are(history, rng) -> None:
    means, covariances = rng.standard_normal((2, 5, 4)), np.tile(np.eye(4), (2, 5, 1, 1))
    population = population_of_draws(history, means, covariances)
    assert not population.posterior.mean.flags.writeable
    assert means.flags.writeable
    assert covariances.flags.writeable


@pytest.mark.parametrize("tails", ["normal", "cell"])
def test_covariances_cannot_be_written_to(history, tails) -> None:
    posterior = fake_population(history, draws=5, tails=tails).posterior
    with pytest.raises(ValueError, match="read-only"):
        posterior.covariance[0] = 0.0


def test_a_tree_without_draws_is_refused() -> None:
    with pytest.raises(PopulationFileError, match="no group 'posterior'"):
        Posterior(xr.DataTree())


@pytest.mark.parametrize("name", ["mu", "covariance"])
def test_a_missing_variable_is_named(tree, name) -> None:
    posterior = tree["posterior"].to_dataset().drop_vars(name)
    with pytest.raises(PopulationFileError, match=f"no variable '{name}'"):
        rebuilt(tree, posterior)


def test_what_a_gaussian_population_lacks_is_neutral(tree, history) -> None:
    posterior = Posterior(tree)
    assert not posterior.by_cell
    assert np.isinf(posterior.nu).all()
    assert posterior.loadings.shape == (10, history.n_skills, 0)
    assert posterior.effects.shape == (10, 0, 0)
    np.testing.assert_array_equal(posterior.group_sd, np.zeros(10))


def test_a_scale_per_cell_has_its_own_variables(history) -> None:
    tree = fake_population(history, draws=5, tails="cell").data
    posterior = Posterior(tree)
    assert posterior.by_cell
    assert np.isfinite(posterior.nu).all()
    assert posterior.agent_noise_sd.shape == (10,)
    variance = np.einsum("skk->sk", posterior.covariance)
    parts = (posterior.loadings**2).sum(axis=-1) + posterior.own_sd**2
    np.testing.assert_allclose(variance, parts)
    for name in ("loadings", "own_sd", "nu"):
        with pytest.raises(PopulationFileError, match=f"no variable '{name}'"):
            rebuilt(tree, tree["posterior"].to_dataset().drop_vars(name))


def test_classes_come_flat_chain_after_chain(tree, of_classes) -> None:
    posterior = rebuilt(tree, of_classes)
    assert posterior.by_class
    assert not posterior.by_cell
    classes = posterior.classes
    assert classes is not None
    for array, name in zip(classes, CLASS_DIMS, strict=True):
        assert array.shape[0] == 10
        np.testing.assert_array_equal(array[7], of_classes[name].values[1, 2])
    np.testing.assert_array_equal(posterior.row_covariance, classes.covariance)
    np.testing.assert_array_equal(posterior.covariance, Posterior(tree).covariance)
    assert np.isinf(posterior.nu).all()


def test_without_classes_a_row_has_the_populations_covariance(tree) -> None:
    posterior = Posterior(tree)
    assert not posterior.by_class
    assert posterior.classes is None
    np.testing.assert_array_equal(posterior.row_covariance, posterior.covariance)


@pytest.mark.parametrize("name", ["mu", "covariance", *CLASS_DIMS])
def test_classes_are_all_there_or_none(tree, of_classes, name) -> None:
    with pytest.raises(PopulationFileError, match=f"no variable '{name}'"):
        rebuilt(tree, of_classes.drop_vars(name))


def test_classes_of_other_dims_are_refused(tree, of_classes) -> None:
    turned = of_classes.assign(
        class_means=of_classes["class_means"].transpose("chain", "draw", "skill", "class")
    )
    with pytest.raises(
        PopulationFileError, match=r"'class_means' must have dims \('class', 'skill'\), found"
    ):
        rebuilt(tree, turned)


def test_identity_follows_the_classes(tree, of_classes) -> None:
    hashes = {Posterior(tree).draws_hash, rebuilt(tree, of_classes).draws_hash}
    for name in CLASS_DIMS:
        moved = of_classes.assign({name: 1.01 * of_classes[name]})
        hashes.add(rebuilt(tree, moved).draws_hash)
    assert len(hashes) == 2 + len(CLASS_DIMS)


def test_tidying_keeps_classes_and_counts_them(tree, history, of_classes) -> None:
    raw = of_classes.assign(class_sd=(("chain", "draw"), np.ones((2, 5))))
    raw = raw.assign_coords({"class": list("xyz")})
    sampled = xr.DataTree.from_dict({"posterior": raw, "sample_stats": tree["sample_stats"]})
    tidy, _ = tidy_posterior(sampled, history.skills, Design.of(history))
    assert set(tidy.data_vars) == {"mu", "covariance", "class_sd", *CLASS_DIMS}
    assert list(tidy["class"].values) == [0, 1, 2]


def test_identity_follows_every_variable_that_predictions_need(history) -> None:
    tree = fake_population(history, draws=5, tails="cell").data
    posterior = tree["posterior"].to_dataset()
    hashes = {Posterior(tree).draws_hash}
    for name in ("nu", "loadings", "own_sd", "agent_noise_sd"):
        hashes.add(rebuilt(tree, posterior.assign({name: 1.01 * posterior[name]})).draws_hash)
    assert len(hashes) == 5
    # what is only kept for diagnostics leaves the identity alone
    general = posterior.assign(general=posterior["nu"] * 0.0)
    assert rebuilt(tree, general).draws_hash == Posterior(tree).draws_hash


def test_other_dims_are_refused(tree) -> None:
    posterior = tree["posterior"].to_dataset().transpose("draw", "chain", ...)
    with pytest.raises(PopulationFileError, match=r"'mu' must have dims \('skill',\), found"):
        rebuilt(tree, posterior)


def test_identity_follows_draws_and_names(tree) -> None:
    same = Posterior(tree.copy()).draws_hash
    assert same == Posterior(tree).draws_hash
    posterior = tree["posterior"].to_dataset()
    moved = rebuilt(tree, posterior.assign(mu=posterior["mu"] + 1e-12))
    skills = ["a", *posterior["skill"].values[1:]]
    renamed = rebuilt(tree, posterior.assign_coords(skill=skills))
    assert len({same, moved.draws_hash, renamed.draws_hash}) == 3


def test_tidying_keeps_what_is_known_and_names_the_skills(tree, history) -> None:
    posterior = tree["posterior"].to_dataset().assign(scratch=("draw", np.zeros(5)))
    posterior = posterior.assign_coords(skill=list("0123"), skill_bis=list("0123"))
    stats = tree["sample_stats"].to_dataset().assign(scratch=("draw", np.zeros(5)))
    raw = xr.DataTree.from_dict({"posterior": posterior, "sample_stats": stats})
    tidy, kept = tidy_posterior(raw, ["a", "b", "c", "d"], Design.of(history))
    assert set(tidy.data_vars) == {"mu", "covariance"}
    assert list(tidy["skill"].values) == list(tidy["skill_bis"].values) == ["a", "b", "c", "d"]
    assert set(kept.data_vars) == {"diverging", "energy"}


def test_tidying_names_the_effects(scores) -> None:
    history = History.from_dataframe(scores, groups=["x", "y"] * 10)
    tree = fake_population(history, draws=5, tails="agent").data
    raw = tree["posterior"].to_dataset().drop_vars(["effect", "skill", "skill_bis"])
    sampled = xr.DataTree.from_dict({"posterior": raw, "sample_stats": tree["sample_stats"]})
    tidy, _ = tidy_posterior(sampled, history.skills, Design.of(history))
    assert list(tidy["effect"].values) == ["group: x", "group: y"]
    assert list(tidy["factor"].values) == [0]
    assert set(tidy.data_vars) == set(tree["posterior"].data_vars)


def test_the_tree_holds_the_data_beside_the_draws(tree, history) -> None:
    groups = (tree[name].to_dataset() for name in ("posterior", "sample_stats"))
    attached = attach_history(*groups, history)
    assert set(attached.children) == {
        "posterior",
        "sample_stats",
        "observed_data",
        "constant_data",
    }
    assert attached["observed_data/score"].dims == ("agent", "skill")
    np.testing.assert_array_equal(attached["observed_data/score"].values, history.values)
    np.testing.assert_array_equal(attached["constant_data/spread"].values, history.scales.spread)
