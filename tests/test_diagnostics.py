"""The convergence verdict on chains with one planted problem each."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from skillinfer_bayes.checks.diagnostics import (
    MAX_CORRELATIONS,
    check_convergence,
    identified_quantities,
    warn_unless_converged,
)
from skillinfer_bayes.exceptions import ConvergenceWarning

SKILLS = ["a", "b", "c"]


class Chains:
    """Independent draws of three skills' mean and covariance; tests spoil them."""

    def __init__(self, n_chains: int = 4, n_draws: int = 600) -> None:
        rng = np.random.default_rng(12)
        self.rng = rng
        self.shape = (n_chains, n_draws)
        self.mu = rng.standard_normal((*self.shape, 3))
        rows = rng.standard_normal((*self.shape, 40, 3))
        self.covariance = np.swapaxes(rows, -1, -2) @ rows / 40
        self.diverging = np.zeros(self.shape, dtype=bool)
        self.energy: np.ndarray | None = rng.standard_normal(self.shape)
        self.others: dict[str, np.ndarray] = {}

    def tree(self) -> xr.DataTree:
        dims = ("chain", "draw")
        coords = {"chain": range(self.shape[0]), "draw": range(self.shape[1])}
        posterior = xr.Dataset(
            {
                "mu": ((*dims, "skill"), self.mu),
                "covariance": ((*dims, "skill", "skill_bis"), self.covariance),
                **{name: (dims, values) for name, values in self.others.items()},
            },
            coords={**coords, "skill": SKILLS, "skill_bis": SKILLS},
        )
        stats = xr.Dataset({"diverging": (dims, self.diverging)}, coords=coords)
        if self.energy is not None:
            stats["energy"] = (dims, self.energy)
        return xr.DataTree.from_dict({"posterior": posterior, "sample_stats": stats})

    def verdict(self):
        return check_convergence(self.tree())

    def slow(self, memory: float) -> np.ndarray:
        """A chain that forgets slowly."""
        noise = self.rng.standard_normal(self.shape)
        values = np.empty(self.shape)
        values[:, 0] = noise[:, 0]
        for step in range(1, self.shape[1]):
            fresh = np.sqrt(1 - memory**2) * noise[:, step]
            values[:, step] = memory * values[:, step - 1] + fresh
        return values


@pytest.fixture
def chains() -> Chains:
    return Chains()


@pytest.mark.parametrize("known", [None, {}, {"rhat": 1.0}, "converged", 5])
def test_what_is_no_verdict_is_not_taken_for_one(chains, known) -> None:
    kept = replace(chains.verdict(), divergences=3)
    assert check_convergence(chains.tree(), kept.to_dict()) == kept
    assert check_convergence(chains.tree(), known) == chains.verdict()


def test_independent_chains_are_fine(chains) -> None:
    verdict = chains.verdict()
    assert verdict.converged, verdict.problems
    assert verdict.problems == ()
    assert str(verdict).startswith("converged: R-hat 1.0")
    assert (verdict.n_chains, verdict.n_draws) == (4, 600)
    warn_unless_converged(verdict)


def test_a_mean_that_differs_between_chains(chains) -> None:
    chains.mu[0, :, 1] += 1.0
    verdict = chains.verdict()
    assert verdict.rhat > 1.05
    assert verdict.worst == "mean of 'b'"
    assert re.search(r"R-hat 1\.\d+ of mean of 'b' .*raise `tune`", verdict.problems[0])


def test_a_scale_that_differs_between_chains(chains) -> None:
    grow = np.array([1.0, 1.0, 1.4])
    chains.covariance[2] *= np.outer(grow, grow)
    verdict = chains.verdict()
    assert verdict.worst == "log sd of 'c'"
    assert not verdict.converged


def test_a_correlation_that_differs_between_chains(chains) -> None:
    flip = np.array([1.0, 1.0, -1.0])
    chains.covariance += 0.5
    chains.covariance[0] *= np.outer(flip, flip)
    verdict = chains.verdict()
    assert verdict.worst.startswith("correlation of")
    assert "'c'" in verdict.worst
    assert not verdict.converged


def test_divergences_are_counted(chains) -> None:
    chains.diverging[1, [3, 8, 9]] = True
    verdict = chains.verdict()
    assert verdict.divergences == 3
    assert verdict.problems == (
        "3 divergent transitions: raise `target_accept` (0.99), or give narrower priors",
    )


def test_slow_chains_ask_for_more_draws(chains) -> None:
    chains.mu[..., 0] = chains.slow(0.9)
    verdict = chains.verdict()
    assert verdict.ess_bulk < 400
    advice = next(text for text in verdict.problems if "effective sample size" in text)
    assert int(re.search(r"raise `draws` to (\d+)", advice)[1]) > 600


def test_energy_that_creeps(chains) -> None:
    chains.energy = np.cumsum(0.1 * chains.rng.standard_normal(chains.shape), axis=1)
    verdict = chains.verdict()
    assert verdict.bfmi < 0.3
    assert verdict.problems[0].startswith(f"E-BFMI {verdict.bfmi:.2f} is not above 0.3")


def test_unknown_energy_is_not_good_energy(chains) -> None:
    chains.energy = None
    assert "E-BFMI nan" in chains.verdict().problems[0]


def test_one_chain_cannot_be_compared() -> None:
    verdict = Chains(n_chains=1, n_draws=2000).verdict()
    assert np.isnan(verdict.rhat)
    assert "(one chain only)" in verdict.problems[0]
    assert "at least 4 chains (now 1)" in verdict.problems[0]


def test_few_draws_are_not_enough() -> None:
    verdict = Chains(n_chains=2, n_draws=50).verdict()
    assert not verdict.converged
    assert any("raise `draws` to" in text for text in verdict.problems)


def test_loadings_may_flip_their_sign(chains) -> None:
    signs = np.array([1.0, -1.0, 1.0, -1.0])[:, None]
    chains.others["loadings"] = signs * (2.0 + chains.rng.standard_normal(chains.shape))
    assert chains.verdict().converged


def test_every_problem_is_named(chains) -> None:
    chains.diverging[0, 0] = True
    chains.mu[0, :, 1] += 3.0
    chains.energy = np.cumsum(0.1 * chains.rng.standard_normal(chains.shape), axis=1)
    verdict = chains.verdict()
    starts = [text.split()[0] for text in verdict.problems]
    assert starts == ["1", "R-hat", "effective", "E-BFMI"]
    assert str(verdict).startswith("NOT converged")
    with pytest.warns(ConvergenceWarning, match=r"did not converge: 1 divergent.*; R-hat") as got:
        warn_unless_converged(verdict)
    assert got[0].filename == __file__


def test_the_verdict_is_plain_data(chains) -> None:
    chains.diverging[0, 0] = True
    plain = json.loads(json.dumps(chains.verdict().to_dict()))
    assert plain["converged"] is False
    assert plain["divergences"] == 1
    assert len(plain["problems"]) == 1


def test_quantities_are_what_the_data_identify(chains) -> None:
    quantities = identified_quantities(chains.tree()["posterior"].to_dataset())
    assert quantities["value"].sizes["quantity"] == 3 + 3 + 3
    last = quantities["value"].sel(quantity="correlation of 'c' and 'b'").values
    block = chains.covariance[..., 1:, 1:]
    expected = block[..., 0, 1] / np.sqrt(block[..., 0, 0] * block[..., 1, 1])
    np.testing.assert_allclose(last, expected)


def test_degrees_of_freedom_that_differ_between_chains(chains) -> None:
    chains.others["nu"] = np.exp(0.3 * chains.rng.standard_normal(chains.shape))
    assert chains.verdict().converged
    chains.others["nu"][0] *= 2.0
    verdict = chains.verdict()
    assert verdict.worst == "log degrees of freedom"
    assert not verdict.converged


def by_cell(chains: Chains, loadings: np.ndarray, own_sd: np.ndarray) -> xr.Dataset:
    """A posterior without covariance: loadings (chain, draw, 3, r) and own sds (chain, draw, 3)."""
    posterior = chains.tree()["posterior"].to_dataset().drop_vars("covariance")
    dims = ("chain", "draw", "skill")
    return posterior.assign(loadings=((*dims, "factor"), loadings), own_sd=(dims, own_sd))


def test_with_a_scale_per_cell_the_same_quantities_come_from_the_parts(chains) -> None:
    loadings = 0.5 * chains.rng.standard_normal((*chains.shape, 3, 2))
    own_sd = np.exp(0.1 * chains.rng.standard_normal((*chains.shape, 3)))
    chains.covariance = loadings @ np.swapaxes(loadings, -1, -2)
    diagonal = np.arange(3)
    chains.covariance[..., diagonal, diagonal] += own_sd**2
    whole = identified_quantities(chains.tree()["posterior"].to_dataset())
    parts = identified_quantities(by_cell(chains, loadings, own_sd))
    xr.testing.assert_allclose(parts, whole)
    # factors may turn and change their sign
    turned = loadings @ np.array([[0.6, 0.8], [0.8, -0.6]])
    xr.testing.assert_allclose(identified_quantities(by_cell(chains, turned, own_sd)), whole)


def test_of_very_many_correlations_a_part_is_taken() -> None:
    n_skills, rng = 70, np.random.default_rng(4)
    names = [f"skill {number}" for number in range(n_skills)]
    covariance = np.broadcast_to(np.eye(n_skills), (1, 2, n_skills, n_skills))
    posterior = xr.Dataset(
        {
            "mu": (("chain", "draw", "skill"), rng.standard_normal((1, 2, n_skills))),
            "covariance": (("chain", "draw", "skill", "skill_bis"), covariance),
        },
        coords={"chain": [0], "draw": [0, 1], "skill": names, "skill_bis": names},
    )
    quantities = [str(name) for name in identified_quantities(posterior)["quantity"].values]
    assert len(quantities) == len(set(quantities)) == 2 * n_skills + MAX_CORRELATIONS
    for name in names:
        assert any(f"{name!r}" in quantity for quantity in quantities if "correlation" in quantity)
