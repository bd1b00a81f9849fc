"""Populations of latent classes whose draws are made up, for tests that need no sampler."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from skillinfer_bayes import History, Population, Priors
from skillinfer_bayes.checks.replicates import lkj_roots
from skillinfer_bayes.inference.posterior import CLASS_DIMS, DIMS, Posterior, attach_history
from skillinfer_bayes.testing import fake_population


def class_draws(
    skills: list[str] | tuple[str, ...],
    *,
    n_classes: int = 3,
    shape: tuple[int, int] = (1, 3),
    random_seed: int = 0,
    wiggle: float = 1.0,
    apart: float = 1.5,
    **numbers: float,
) -> xr.Dataset:
    """Draws that scatter, `wiggle` times as far as usual, about one population of classes.

    `numbers` are the mean `general`, `own_log_mean` and so on of what is kept of the priors.
    """
    rng = np.random.default_rng(random_seed)
    n_draws, n_skills = shape[0] * shape[1], len(skills)

    def around(centre: np.ndarray) -> np.ndarray:
        return centre + 0.2 * wiggle * rng.standard_normal((n_draws, *np.shape(centre)))

    loadings = around(0.5 * rng.standard_normal((n_skills, 2)))
    own = np.exp(around(-0.4 * np.ones(n_skills)))
    root = own[:, :, None] * lkj_roots(n_skills, 4.0, n_draws, rng)
    within = root @ np.swapaxes(root, 1, 2) + loadings @ np.swapaxes(loadings, 1, 2)
    means = around(apart * rng.standard_normal((n_classes, n_skills)))
    weights = np.exp(around(rng.standard_normal(n_classes)))
    weights /= weights.sum(axis=1, keepdims=True)
    scales = np.exp(around(0.5 * rng.standard_normal(n_classes)))
    mu = np.einsum("sc,sck->sk", weights, means)
    second = np.einsum("sc,sck,scj->skj", weights, means, means)
    second += np.einsum("sc,sc,skj->skj", weights, scales**2, within)
    flat = {
        "mu": mu,
        "covariance": second - mu[:, :, None] * mu[:, None, :],
        "loadings": loadings,
        "own_sd": own,
        "class_means": means,
        "class_covariance": within,
        "class_weights": weights,
        "class_scales": scales,
        "class_sd": apart * np.exp(around(np.zeros(()))),
        "general": around(numbers.get("general", 0.4)),
        "own_log_mean": around(numbers.get("own_log_mean", -0.7)),
        "own_log_spread": 0.2 * np.exp(around(np.zeros(()))),
    }
    return xr.Dataset(
        {
            name: (
                ("chain", "draw", *DIMS.get(name, ())),
                values.reshape(*shape, *values.shape[1:]),
            )
            for name, values in flat.items()
        },
        coords={
            "chain": np.arange(shape[0]),
            "draw": np.arange(shape[1]),
            "skill": list(skills),
            "skill_bis": list(skills),
        },
    )


def posterior_of(draws: xr.Dataset) -> Posterior:
    assert set(CLASS_DIMS) <= set(draws.data_vars)
    return Posterior(xr.DataTree.from_dict({"posterior": draws}))


def class_population(history: History, priors: Priors | None = None, **options) -> Population:
    """A population with such draws that says its priors, `Priors(tails="class")` by default."""
    draws = class_draws(history.skills, **options)
    fake = fake_population(history, chains=draws.sizes["chain"], draws=draws.sizes["draw"])
    stats = fake.data.children["sample_stats"].to_dataset()
    chosen = (priors or Priors(tails="class")).resolve(
        history.n_skills, int(history.observed.sum())
    )
    return replace(
        fake,
        posterior=Posterior(attach_history(draws, stats, history)),
        settings={"priors": chosen.to_dict(), "sampler": {"random_seed": 4}},
    )
