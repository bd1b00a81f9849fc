"""Conditioning a population of shared factors where every score has a scale of its own.

For each posterior draw the agent's noise level a and cell scales w are drawn given its scores by
Gibbs sampling (Geweke (1993), Bayesian treatment of the independent Student-t linear model,
doi:10.1002/jae.3950080504); given them, every skill is Gaussian, with the factors integrated out.

The density of the scores themselves is an integral over factors and noise level, here by importance
sampling about its mode (Shephard and Pitt (1997), Likelihood analysis of non-Gaussian measurement
time series, doi:10.1093/biomet/84.3.653; with a Student-t as the proposal and the error from the
weights as in Geweke (1989), Bayesian inference in econometric models using Monte Carlo integration,
doi:10.2307/1913710).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skillinfer_bayes.inference.posterior import Posterior
from skillinfer_bayes.profiles.evidence import Evidence

type FloatArray = NDArray[np.float64]

SWEEPS = 12
# in pairs on either side of the mode; the error of an integral is about 0.06 at 6 factors
POINTS = 64


class ScaledRow(NamedTuple):
    """An agent's m scores under every draw, Gaussian given the noise level and cell scales.

    observed : (m,), positions of the skills
    residual : (S, m), scores less what is expected of them
    system : (S, m, m), their covariance
    variance : (S, m), of what is not shared, the measurement's included, before the cell's scale
    cell : (S, m), the cells' scales
    """

    observed: NDArray[np.intp]
    residual: FloatArray
    system: FloatArray
    variance: FloatArray
    cell: FloatArray


@dataclass(frozen=True, eq=False)
class CellConditioner:
    """Posterior draws of the population, ready to be conditioned on evidence."""

    posterior: Posterior

    def _agents(
        self, evidence: Evidence
    ) -> Iterator[tuple[NDArray[np.intp], tuple[FloatArray, FloatArray, FloatArray]]]:
        """Each agent, with means, variances and joint draws of its skills, (S, K) each."""
        from skillinfer_bayes.profiles.cell_gibbs import sample_agent

        for agent in range(len(evidence.agents)):
            yield np.array([agent]), sample_agent(*self._given(evidence, agent))

    def _given(
        self,
        evidence: Evidence,
        agent: int,
        effort: tuple[int, np.random.Generator] | None = None,
    ) -> tuple[Any, ...]:
        """Everything that the draws, or the density, of one agent depend on."""
        posterior = self.posterior
        if effort is None:
            effort = SWEEPS, np.random.default_rng(posterior.seed)  # every agent shares its numbers
        observed = np.flatnonzero(evidence.observed[agent])
        return (
            posterior.mean,
            posterior.loadings,
            posterior.own_sd,
            posterior.nu,
            posterior.agent_noise_sd,
            evidence.design[agent] @ posterior.effects,
            self._spread(evidence, agent),
            observed,
            evidence.values[agent, observed],
            evidence.error_var[agent, observed],
            *effort,
        )

    def _spread(self, evidence: Evidence, agent: int) -> FloatArray:
        """Prior variance of an agent's factors, (S,)."""
        spread = np.ones(len(self.posterior.mean))
        if evidence.unknown_group[agent]:
            spread = spread + self.posterior.group_sd**2
        return spread

    def scaled_rows(self, evidence: Evidence) -> Iterator[tuple[int, ScaledRow]]:
        """Each agent with scores, its noise level and cell scales drawn given them."""
        from skillinfer_bayes.profiles.cell_gibbs import sample_scales

        for agent in range(len(evidence.agents)):
            observed = np.flatnonzero(evidence.observed[agent])
            if not len(observed):
                continue
            residual, variance, cell = sample_scales(*self._given(evidence, agent))
            shared = self.posterior.loadings[:, observed]
            shared = shared * np.sqrt(self._spread(evidence, agent))[:, None, None]
            system = shared @ np.swapaxes(shared, 1, 2)
            diagonal = np.arange(len(observed))
            system[:, diagonal, diagonal] += variance * cell
            yield agent, ScaledRow(observed, residual, system, variance, cell)

    def log_density(self, evidence: Evidence) -> tuple[FloatArray, FloatArray]:
        """Log density of each agent's scores, its factors and its noise level integrated out.

        Parameters
        ----------
        evidence : Evidence
            Of A agents.

        Returns
        -------
        log_density : array of shape (S, A)
            Working scale, all constants included; 0 for an agent without scores.
        error : array of shape (S, A)
            Monte Carlo standard error of the density, as a share of it. Errors of different draws
            and agents are independent.
        """
        from skillinfer_bayes.profiles.cell_integral import integrate_row

        shape = (len(self.posterior.mean), len(evidence.agents))
        density, error = np.zeros(shape), np.zeros(shape)
        for agent in map(int, np.flatnonzero(evidence.observed.any(axis=1))):
            effort = POINTS, np.random.default_rng([self.posterior.seed, 3, agent])
            density[:, agent], error[:, agent] = integrate_row(
                *self._given(evidence, agent, effort)
            )
        return density, error

    def components(
        self, evidence: Evidence, extra_var: FloatArray
    ) -> Iterator[tuple[NDArray[np.intp], FloatArray, FloatArray]]:
        """Agents, means (S, 1, K) and sds (S, 1, K) of the mixture; `extra_var` (K,) is added."""
        for agents, (mean, variance, _) in self._agents(evidence):
            yield agents, mean[:, None, :], np.sqrt(variance + extra_var)[:, None, :]

    def draws(
        self, evidence: Evidence, extra_var: FloatArray
    ) -> Iterator[tuple[NDArray[np.intp], FloatArray]]:
        """Joint draws, working scale, (S, 1, K)."""
        # not the sampler's own numbers, which would tie the error to the skill
        rng = np.random.default_rng([self.posterior.seed, 4])
        fresh = np.sqrt(extra_var) * rng.standard_normal(self.posterior.mean.shape)
        for agents, (_, _, joint) in self._agents(evidence):
            yield agents, (joint + fresh)[:, None, :]
