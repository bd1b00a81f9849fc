"""Against the truth: known parameters are recovered, and conditioning agrees with refitting."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from skillinfer_bayes import History, Population, Priors, SamplerSettings
from skillinfer_bayes.inference.posterior import Posterior
from skillinfer_bayes.inference.rows import DEFAULT_ERROR_VAR
from skillinfer_bayes.inference.sampling import sample_posterior
from skillinfer_bayes.profiles.conditioning import condition, conditional_means
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


def predicted(
    posterior: Posterior, observed: np.ndarray, values: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and sd of an agent's skills (K,), and the mean's Monte Carlo standard error."""
    errors = np.full(len(observed), DEFAULT_ERROR_VAR)
    given = condition(posterior.covariance, observed, errors)
    means = conditional_means(posterior.mean, given, values[None, :])[:, 0]
    mean = weights @ means
    between = weights @ (means - mean) ** 2
    # a fifth of the draws' number is well below their effective number
    n_effective = 1.0 / np.sum(weights**2) / 5
    return mean, np.sqrt(weights @ given.variance + between), np.sqrt(between / n_effective)


def test_conditioning_agrees_with_a_refit_that_has_the_agents_row() -> None:
    history = History.from_dataframe(simulate_history(60, 5, random_seed=21).scores)
    observed, scores = np.array([1, 3]), np.array([0.85, 0.3])
    row = np.full(5, np.nan)
    row[observed] = scores
    # the same scales: otherwise the two priors would differ
    joint = replace(
        history,
        agents=(*history.agents, "newcomer"),
        values=np.vstack([history.values, row]),
    )
    settings = SamplerSettings(draws=2000, random_seed=9)
    before, after = (
        Posterior(sample_posterior(table, Priors(), settings, progressbar=False))
        for table in (history, joint)
    )
    values = history.scales.to_working(row)[observed]

    # what the row itself says about the population enters as a weight per draw
    residual = values - before.mean[:, observed]
    block = before.covariance[:, observed][:, :, observed] + DEFAULT_ERROR_VAR * np.eye(2)
    solved = np.linalg.solve(block, residual[:, :, None])[:, :, 0]
    log_weights = -0.5 * (np.sum(residual * solved, axis=1) + np.linalg.slogdet(block)[1])
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    even = np.full(len(weights), 1.0 / len(weights))

    mean, sd, error = predicted(before, observed, values, weights)
    expected, expected_sd, expected_error = predicted(after, observed, values, even)
    assert (np.abs(mean - expected) < 4 * np.hypot(error, expected_error)).all()
    np.testing.assert_allclose(sd, expected_sd, rtol=0.03)

    # without the weights the row's own say is left out: little, among sixty agents
    plain, plain_sd, _ = predicted(before, observed, values, even)
    assert (np.abs(plain - expected) < 0.1 * expected_sd + 4 * expected_error).all()
    np.testing.assert_allclose(plain_sd, expected_sd, rtol=0.1)
