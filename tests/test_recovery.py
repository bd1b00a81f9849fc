"""Against the truth: known parameters are recovered, and conditioning agrees with refitting."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.special import gammaln, logsumexp

from skillinfer_bayes import History, Population, Priors, SamplerSettings, Scale
from skillinfer_bayes.history.measurement import WorkingData
from skillinfer_bayes.inference.design import Design
from skillinfer_bayes.inference.posterior import Posterior
from skillinfer_bayes.inference.rows import DEFAULT_ERROR_VAR, rows_of_data
from skillinfer_bayes.inference.sampling import sample_posterior, sample_rows
from skillinfer_bayes.profiles.evidence import Evidence
from skillinfer_bayes.profiles.rows import RowConditioner
from skillinfer_bayes.testing import Simulation, simulate_history

pytestmark = [
    pytest.mark.slow,
    # coverage over many fits is what is looked at here, not each fit's verdict
    pytest.mark.filterwarnings("ignore:the fit did not converge"),
]


def coverage_of(simulation: Simulation, settings: SamplerSettings) -> tuple[float, float]:
    """Share of correlations and of means that their 90 % intervals hold."""
    history = History.from_dataframe(simulation.scores, scale="unbounded")
    population = Population.from_history(history, settings=settings, progressbar=False)
    scales, posterior = population.scales, population.posterior
    sd = np.sqrt(np.einsum("skk->sk", posterior.covariance))
    correlation = posterior.covariance / (sd[:, :, None] * sd[:, None, :])
    mean = posterior.mean * scales.spread + scales.location
    below = np.tril_indices(history.n_skills, -1)
    shares = []
    for draws, truth in [
        (correlation[:, *below], simulation.correlation[below]),
        (mean, simulation.mean),
    ]:
        lower, upper = np.quantile(draws, [0.05, 0.95], axis=0)
        shares.append(float(((lower <= truth) & (truth <= upper)).mean()))
    return shares[0], shares[1]


@pytest.mark.parametrize(
    ("n_agents", "n_skills", "missing"),
    [(200, 6, 0.0), (40, 12, 0.4)],
    ids=["many agents", "few agents and many holes"],
)
def test_intervals_cover_at_their_rate(n_agents, n_skills, missing) -> None:
    settings = SamplerSettings(draws=400, tune=500, chains=2, random_seed=2)
    shares = [
        coverage_of(
            simulate_history(
                n_agents, n_skills, missing=missing, bounded=False, random_seed=100 + repeat
            ),
            settings,
        )
        for repeat in range(16)
    ]
    correlations, means = np.mean(shares, axis=0)
    # intervals of one fit move together: the bands are three standard errors of 16 fits
    assert 0.83 < correlations < 0.97
    assert 0.80 < means < 0.98


N_SKILLS, OBSERVED, SCORES = 5, np.array([1, 3]), np.array([0.85, 0.3])
JOINT_SETTINGS = SamplerSettings(draws=1500, random_seed=9)
YEAR = 2024.0


def log_density(posterior: Posterior, evidence: Evidence) -> np.ndarray:
    """Log density of an agent's scores under each draw, up to a constant."""
    pull = (evidence.design @ posterior.effects @ np.swapaxes(posterior.loadings, 1, 2))[:, 0]
    residual = (evidence.values[0] - pull)[:, OBSERVED]
    between = np.zeros(())
    if evidence.unknown_group[0]:
        spread = (posterior.group_sd[:, None, None] * posterior.loadings)[:, OBSERVED]
        between = spread @ np.swapaxes(spread, 1, 2)
    m, nu, classes = len(OBSERVED), posterior.nu, posterior.classes
    within = posterior.row_covariance[:, OBSERVED[:, None], OBSERVED]
    within = within + DEFAULT_ERROR_VAR * np.eye(m)
    if classes is not None:
        terms = [
            np.log(classes.weights[:, c])
            + normal_log_density(
                residual - classes.means[:, c, OBSERVED],
                classes.scales[:, c, None, None] ** 2 * within + between,
            )
            for c in range(classes.weights.shape[1])
        ]
        return logsumexp(terms, axis=0)
    residual = residual - posterior.mean[:, OBSERVED]
    if np.isinf(nu).any():
        return normal_log_density(residual, within + between)
    quad, log_det = quad_and_log_det(residual, within + between)
    constant = gammaln(0.5 * (nu + m)) - gammaln(0.5 * nu) - 0.5 * m * np.log(nu)
    return constant - 0.5 * log_det - 0.5 * (nu + m) * np.log1p(quad / nu)


def quad_and_log_det(residual: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances and log determinants, (S,) each; `residual` (S, m)."""
    solved = np.linalg.solve(covariance, residual[:, :, None])[:, :, 0]
    return np.sum(residual * solved, axis=1), np.linalg.slogdet(covariance)[1]


def normal_log_density(residual: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Up to a constant, (S,)."""
    quad, log_det = quad_and_log_det(residual, covariance)
    return -0.5 * (quad + log_det)


def predicted(
    posterior: Posterior, evidence: Evidence, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and sd of an agent's skills (K,), and the mean's Monte Carlo standard error."""
    ((_, means, sds),) = RowConditioner(posterior).components(evidence, np.zeros(N_SKILLS))
    means, sds = means[:, 0], np.broadcast_to(sds, means.shape)[:, 0]
    if weights is None:
        weights = np.full(len(means), 1.0 / len(means))
    mean = weights @ means
    between = weights @ (means - mean) ** 2
    # a fifth of the draws' number is well below their effective number
    n_effective = 1.0 / np.sum(weights**2) / 5
    return mean, np.sqrt(weights @ sds**2 + between), np.sqrt(between / n_effective)


@lru_cache
def described_history() -> History:
    """Sixty agents whose family and year move their skills."""
    scale, rng = Scale.unit(), np.random.default_rng(5)
    table = simulate_history(60, N_SKILLS, random_seed=21).scores
    family, year = rng.integers(0, 4, 60), 2015.0 + rng.integers(0, 10, 60)
    shift = np.array([-0.8, 0.0, 0.5, 0.9])[family] + 0.15 * (year - year.mean())
    lean = np.array([1.0, 0.8, 0.6, 0.9, 0.2])
    moved = scale.backward(scale.forward(table.to_numpy()) + shift[:, None] * lean)
    return History.from_dataframe(
        pd.DataFrame(moved, index=table.index, columns=table.columns),
        scale="0-1",
        groups=[f"family {number}" for number in family],
        covariates=pd.DataFrame({"year": year}, index=table.index),
    )


MODELS = {tails: Priors(tails=tails) for tails in ("normal", "agent", "class")}
MODELS["inverse Wishart"] = Priors(covariance="factor_iw")


@lru_cache
def fitted(model: str, group: str | None) -> tuple[Posterior, Design]:
    """Fit the history, with the newcomer's partial row in it where a group is given.

    The scales and the standardisation of covariates stay the history's: otherwise the two priors
    would differ.
    """
    history = described_history()
    design = Design.of(history)
    values = history.working().values
    groups, years = list(history.groups), history.covariates
    if group is not None:
        known = group in design.groups
        design = design if known else replace(design, groups=(*design.groups, group))
        row = np.full(N_SKILLS, np.nan)
        row[OBSERVED] = SCORES
        values = np.vstack([values, history.scales.to_working(row)])
        groups, years = [*groups, group], np.vstack([years, [[YEAR]]])
    priors = MODELS[model].resolve(N_SKILLS)
    rows = rows_of_data(
        WorkingData(values, None),
        priors,
        design.agents(years, groups, len(values)).rows,
        n_scores=history.observed.sum(axis=0).astype(float),
    )
    draws = sample_rows(
        rows, history.skills, priors, JOINT_SETTINGS, design=design, progressbar=False
    )
    groups_of_draws = dict(zip(("posterior", "sample_stats"), draws, strict=True))
    return Posterior(xr.DataTree.from_dict(groups_of_draws)), design


def newcomer(design: Design, group: str) -> Evidence:
    """What is known of the new agent, as a design that may not have its group sees it."""
    row = np.full((1, N_SKILLS), np.nan)
    row[0, OBSERVED] = SCORES
    known = design.read(("newcomer",), group, {"year": YEAR})
    return Evidence(
        agents=("newcomer",),
        values=described_history().scales.to_working(row),
        error_var=np.full(row.shape, DEFAULT_ERROR_VAR),
        scores=row,
        design=known.rows,
        unknown_group=known.unknown_group,
    )


def agrees_with_a_refit(
    before: Posterior, seen_before: Evidence, after: Posterior, seen_after: Evidence
) -> None:
    """Check that conditioning says what the fit that has the agent's own row says."""
    # what the row itself says about the population enters as a weight per draw
    log_weights = log_density(before, seen_before)
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    mean, sd, error = predicted(before, seen_before, weights)
    expected, expected_sd, expected_error = predicted(after, seen_after)
    assert (np.abs(mean - expected) < 4 * np.hypot(error, expected_error)).all()
    np.testing.assert_allclose(sd, expected_sd, rtol=0.04)

    # without the weights the row's own say is left out: little, among sixty agents
    plain, plain_sd, _ = predicted(before, seen_before)
    assert (np.abs(plain - expected) < 0.1 * expected_sd + 4 * expected_error).all()
    np.testing.assert_allclose(plain_sd, expected_sd, rtol=0.1)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("group", ["family 2", "a new family"])
def test_conditioning_on_facts_and_scores_agrees_with_a_refit(model, group) -> None:
    before, design = fitted(model, None)
    after, joint_design = fitted(model, group)
    seen = newcomer(design, group)
    assert bool(seen.unknown_group[0]) == (group == "a new family")
    seen_after = newcomer(joint_design, group)
    assert not seen_after.unknown_group[0]
    agrees_with_a_refit(before, seen, after, seen_after)
    # the facts matter: another year would be told apart
    other = replace(seen, design=seen.design - 2.0 * np.eye(1, seen.design.shape[1]))
    shift = predicted(before, other)[0] - predicted(before, seen)[0]
    assert np.abs(shift).max() > 4 * predicted(after, seen_after)[2].max()


@pytest.mark.parametrize("model", MODELS)
def test_conditioning_agrees_with_a_refit_that_has_the_agents_row(model) -> None:
    history = History.from_dataframe(simulate_history(60, N_SKILLS, random_seed=21).scores)
    row = np.full(N_SKILLS, np.nan)
    row[OBSERVED] = SCORES
    # the same scales: otherwise the two priors would differ
    joint = replace(
        history,
        agents=(*history.agents, "newcomer"),
        values=np.vstack([history.values, row]),
    )
    before, after = (
        Posterior(sample_posterior(table, MODELS[model], JOINT_SETTINGS, progressbar=False))
        for table in (history, joint)
    )
    evidence = Evidence(
        agents=("newcomer",),
        values=history.scales.to_working(row)[None],
        error_var=np.full((1, N_SKILLS), DEFAULT_ERROR_VAR),
        scores=row[None],
    )
    agrees_with_a_refit(before, evidence, after, evidence)
