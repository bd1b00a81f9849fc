"""Conditioning a population whose agents are rows of a Gaussian, a Student-t, or latent classes.

With Student-t rows each posterior draw s carries a draw of the agent's chi-squared variable, so
that the conditional of a draw is a Gaussian again and everything downstream is a mixture of
Gaussians. With m measurements at squared distance q = (y - mu_J)' (Sigma_JJ + S_J)^-1 (y - mu_J)
(Ding (2016), On the conditional distribution of the multivariate t distribution,
doi:10.1080/00031305.2016.1164756)::

    theta | y, c ~ Normal(m_s, V_s (nu + q) / c),   c ~ chi-squared(nu + m)

m_s and V_s are the Gaussian's. The c of all draws are a stratified sample, the same for every
agent. What an unknown group adds is taken to be widened with its row, which the model does not do:
with group effects as wide as the factors, standard deviations are up to a seventh too large.

With latent classes each posterior draw carries a draw of the agent's class in the same way where
draws are asked for; means, intervals and probabilities are summed over all classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, gammaln, logsumexp, softmax

from skillinfer_bayes.inference.posterior import Classes, Posterior
from skillinfer_bayes.profiles.conditioning import Conditional, condition, solve_spd
from skillinfer_bayes.profiles.evidence import Evidence, Group
from skillinfer_bayes.profiles.latent_classes import class_terms, draw_class
from skillinfer_bayes.profiles.moments import Widening

type FloatArray = NDArray[np.float64]

CHUNK_CELLS = 2_000_000
# of a class in a posterior draw, below which it is left out
LEAST_SHARE = 1e-5


@dataclass(frozen=True, eq=False)
class RowConditioner:
    """Posterior draws of the population, ready to be conditioned on evidence."""

    posterior: Posterior
    _chi2: dict[int, FloatArray] = field(default_factory=dict)

    @property
    def heavy(self) -> bool:
        """Whether rows are Student-t."""
        return bool(np.isfinite(self.posterior.nu).all())

    def groups(self, evidence: Evidence) -> Iterator[tuple[Group, Conditional]]:
        """Agents that share a gain, with it."""
        for group in evidence.groups():
            yield group, self._given(group)

    def _given(self, group: Group, scale: FloatArray | None = None) -> Conditional:
        covariance = self._covariance(group.unknown_group, scale)
        return condition(covariance, group.observed, group.error_var)

    def _covariance(self, unknown_group: bool, scale: FloatArray | None = None) -> FloatArray:
        """Covariances (S, K, K) of a row; a group that the history lacks adds its own spread.

        With `scale` (S,), of a class, they are in units of its square.
        """
        if not unknown_group:
            return self.posterior.row_covariance
        pull = self._group_sd(scale)[:, None, None] * self.posterior.loadings
        return self.posterior.row_covariance + pull @ np.swapaxes(pull, 1, 2)

    def _group_sd(self, scale: FloatArray | None) -> FloatArray:
        """Give the sd of an unknown group's pull, (S,); classes do not widen it."""
        return self.posterior.group_sd if scale is None else self.posterior.group_sd / scale

    def _mean(self, design: FloatArray) -> FloatArray:
        """Give the means of agents with these designs, (S, A or 1, K), less their classes'."""
        mean = self.posterior.mean[:, None, :]
        if self.posterior.by_class:
            mean = np.zeros_like(mean)
        if not design.shape[1]:
            return mean
        pull = design @ self.posterior.effects
        return mean + pull @ np.swapaxes(self.posterior.loadings, 1, 2)

    def chi2(self, n_measured: int) -> FloatArray:
        """One chi-squared(nu + m) per posterior draw, (S,)."""
        if n_measured not in self._chi2:
            shape = 0.5 * (self.posterior.nu + n_measured)
            self._chi2[n_measured] = 2.0 * gammaincinv(shape, self._levels)
        return self._chi2[n_measured]

    def widening(self, group: Group, given: Conditional) -> Widening:
        """Say what widens a group's conditionals, as a function of the measurements."""
        precision = precision_of(self._covariance(group.unknown_group), given, group)
        return Widening(self.posterior.nu, self.chi2(len(given.observed)), precision)

    @cached_property
    def _levels(self) -> FloatArray:
        """Stratified probabilities in an order that the draws themselves seed."""
        n_draws = len(self.posterior.mean)
        order = np.random.default_rng(self.posterior.seed + 1).permutation(n_draws)
        levels: FloatArray = (order + 0.5) / n_draws
        return levels

    def conditionals(
        self, evidence: Evidence
    ) -> Iterator[tuple[Group, NDArray[np.intp], Conditional, FloatArray, FloatArray]]:
        """Chunks of agents with their conditional.

        Yields
        ------
        group : Group
        rows : (a,), positions of the chunk's agents in the evidence
        given : Conditional
        mean : (S, a, K), conditional means
        widening : (S, a or 1), what variances are multiplied by
        """
        n_draws, n_skills = self.posterior.mean.shape
        classes = self.posterior.classes
        wide = n_skills if classes is None else max(n_skills, classes.weights.shape[1])
        size = max(1, CHUNK_CELLS // (n_draws * wide))
        for group in evidence.groups():
            if group.unknown_group and classes is not None:
                yield from self._one_by_one(group)
                continue
            given = self._given(group)
            precision = root = None
            if self.heavy:
                precision = precision_of(self._covariance(group.unknown_group), given, group)
            elif classes is not None:
                root = self.root(group)
            for start in range(0, len(group.agents), size):
                part = slice(start, start + size)
                mean = self._mean(group.design[part])
                residual = group.values[part][None] - mean[:, :, given.observed]
                widening = np.ones((n_draws, 1))
                if precision is not None:
                    quad = np.einsum("sam,smn,san->sa", residual, precision, residual)
                    c = self.chi2(len(given.observed))
                    widening = (self.posterior.nu[:, None] + quad) / c[:, None]
                elif root is not None and classes is not None:
                    terms = class_terms(classes, root, residual, given.observed)
                    drawn = draw_class(classes, terms, self._levels)
                    mean, widening = mean + drawn.mean, drawn.scale**2
                    residual = residual - drawn.mean[:, :, given.observed]
                yield group, group.agents[part], given, mean + residual @ given.gain, widening

    def _one_by_one(
        self, group: Group
    ) -> Iterator[tuple[Group, NDArray[np.intp], Conditional, FloatArray, FloatArray]]:
        """As `conditionals`, for agents of an unknown group under latent classes.

        A class's scale widens the agents and not the group's pull, so each class has a gain of its
        own, and each agent those of the classes that are drawn for it.
        """
        mean = self._mean(group.design)
        residual = self.residuals(group)
        for position, agent in enumerate(group.agents):
            one = slice(position, position + 1)
            terms = self.class_terms(group, residual[:, one])
            drawn = draw_class(self.classes, terms, self._levels)
            given = self._given(group, drawn.scale[:, 0])
            away = residual[:, one] - drawn.mean[:, :, group.observed]
            where = mean[:, one] + drawn.mean + away @ given.gain
            yield group, np.array([agent]), given, where, drawn.scale**2

    def measured_covariance(self, group: Group, scale: FloatArray | None = None) -> FloatArray:
        """Covariance of a group's measurements, their errors included, (S, m, m).

        With `scale` (S,), of a class, in units of its square.
        """
        covariance = self._covariance(group.unknown_group, scale)
        return covariance[:, group.observed[:, None], group.observed] + np.diag(group.error_var)

    def root(self, group: Group, scale: FloatArray | None = None) -> FloatArray:
        """Cholesky factors of `measured_covariance`, (S, m, m)."""
        return np.linalg.cholesky(self.measured_covariance(group, scale))

    def residuals(self, group: Group) -> FloatArray:
        """Distances of a group's measurements from the means, (S, a, m); with classes, from zero.

        What covariates and groups add is taken off.
        """
        residual: FloatArray = group.values - self._mean(group.design)[:, :, group.observed]
        return residual

    def log_density(self, evidence: Evidence) -> FloatArray:
        """Log density of each agent's measurements under each posterior draw, (S, A).

        Without the terms that are the same for all draws.
        """
        result = np.zeros((len(self.posterior.mean), len(evidence.agents)))
        for group in evidence.groups():
            m = len(group.observed)
            if m and self.posterior.by_class:
                result[:, group.agents] = self.mixture_log_density(group)
            elif m:
                root = self.root(group)
                half_log_det = np.log(np.einsum("smm->sm", root)).sum(axis=1)[:, None]
                quad = squared_distances(root, self.residuals(group))
                result[:, group.agents] = -half_log_det - self._tail(quad, m)
        return result

    def class_terms(self, group: Group, residual: FloatArray | None = None) -> FloatArray:
        """Log of weight times density of each class, (S, a, C); at other residuals if given."""
        at, classes = self.residuals(group) if residual is None else residual, self.classes
        if not group.unknown_group:
            return class_terms(classes, self.root(group), at, group.observed)
        each = [
            class_terms(classes.only(c), self.root(group, scale), at, group.observed)
            for c, scale in enumerate(classes.scales.T)
        ]
        return np.concatenate(each, axis=2)

    @property
    def classes(self) -> Classes:
        """Latent classes of a population that has them."""
        if self.posterior.classes is None:
            raise TypeError("the population has no latent classes")
        return self.posterior.classes

    def mixture_log_density(self, group: Group, residual: FloatArray | None = None) -> FloatArray:
        """Log density of a group's measurements, classes summed out; at other residuals if given.

        (S, a), without the constant -m log(2 pi) / 2.
        """
        at = self.residuals(group) if residual is None else residual
        size = max(1, CHUNK_CELLS // self.classes.weights.size)
        chunks = (at[:, start : start + size] for start in range(0, at.shape[1], size))
        terms = (self.class_terms(group, chunk) for chunk in chunks)
        return np.concatenate([logsumexp(chunk, axis=2) for chunk in terms], axis=1)

    def _tail(self, quad: FloatArray, m: int) -> FloatArray:
        """Minus the log density less the determinant's part, (S, A), up to a constant."""
        if not self.heavy:
            return 0.5 * quad
        nu = self.posterior.nu[:, None]
        gammas = gammaln(0.5 * (nu + m)) - gammaln(0.5 * nu) - 0.5 * m * np.log(nu)
        tail: FloatArray = 0.5 * (nu + m) * np.log1p(quad / nu) - gammas
        return tail

    def components(
        self, evidence: Evidence, extra_var: FloatArray
    ) -> Iterator[tuple[NDArray[np.intp], FloatArray, FloatArray]]:
        """Agents, means (S, a, K) and sds (S, a or 1, K) of the mixture.

        `extra_var` (K,) is the variance of a measurement's error, added before widening.
        """
        for _, rows, given, mean, widening in self.conditionals(evidence):
            variance = (given.variance + extra_var)[:, None, :] * widening[:, :, None]
            yield rows, mean, np.sqrt(variance)

    def all_classes(
        self, evidence: Evidence, extra_var: FloatArray
    ) -> Iterator[tuple[NDArray[np.intp], FloatArray, FloatArray, FloatArray]]:
        """Agents, means (n, a, K), sds (n, 1, K) and weights (n, a, 1): no class is drawn.

        Of all classes of all draws those are left out that weigh next to nothing for these agents.
        """
        classes, n_skills = self.classes, self.posterior.mean.shape[1]
        n_draws, n_classes = classes.weights.shape
        size = max(1, CHUNK_CELLS // (n_draws * n_classes * n_skills))
        for group in evidence.groups():
            given = [self._given(group)] * n_classes
            if group.unknown_group:
                given = [self._given(group, scale) for scale in classes.scales.T]
            variance = np.stack([one.variance for one in given]) + extra_var
            sd = (classes.scales.T[:, :, None] * np.sqrt(variance)).reshape(-1, 1, n_skills)
            residual, centre = self.residuals(group), self._mean(group.design)
            centre = np.broadcast_to(centre, (n_draws, len(group.agents), n_skills))
            for start in range(0, len(group.agents), size):
                part = slice(start, start + size)
                terms = self.class_terms(group, residual[:, part])
                weight = np.moveaxis(softmax(terms, axis=2), 2, 0).reshape(len(sd), -1, 1)
                kept = np.flatnonzero(weight.max(axis=(1, 2)) > LEAST_SHARE)
                mean = np.empty((n_classes, n_draws, weight.shape[1], n_skills))
                for c, one in enumerate(given):
                    at = classes.means[:, None, c]
                    away = residual[:, part] - at[:, :, one.observed]
                    mean[c] = centre[:, part] + at + away @ one.gain
                mean = mean.reshape(len(sd), -1, n_skills)[kept]
                weight = weight[kept]
                yield group.agents[part], mean, sd[kept], weight / weight.sum(axis=0)

    def draws(
        self, evidence: Evidence, extra_var: FloatArray
    ) -> Iterator[tuple[NDArray[np.intp], FloatArray]]:
        """Joint draws, working scale, (S, a, K); the same random numbers for every agent.

        By Matheron's rule: a draw theta of the population and a simulated measurement theta_J + e
        are moved by the same gain, theta + G (y - theta_J - e), which has the conditional's law
        (Journel and Huijbregts (1978), Mining Geostatistics, ISBN 0-12-391050-1).
        """
        theta, shared, error, fresh = self._common_numbers
        for group, rows, given, mean, widening in self.conditionals(evidence):
            deviation = theta
            if group.unknown_group:
                # one agent at a time with classes, and the pull is not widened with the rest
                scale = np.sqrt(widening[:, 0]) if self.posterior.by_class else None
                pull = np.einsum("skr,sr->sk", self.posterior.loadings, shared)
                deviation = theta + self._group_sd(scale)[:, None] * pull
            noise = error[:, group.observed] * np.sqrt(group.error_var)
            simulated = deviation[:, group.observed] + noise
            deviation = deviation - np.einsum("sm,smk->sk", simulated, given.gain)
            deviation = deviation + np.sqrt(extra_var) * fresh
            yield rows, mean + deviation[:, None, :] * np.sqrt(widening)[:, :, None]

    @cached_property
    def _common_numbers(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Deviations of the population (S, K), a group's pull (S, r), two errors (S, K) each.

        Seeded by the draws themselves, so that a population always gives the same numbers.
        """
        rng = np.random.default_rng(self.posterior.seed)
        shape = self.posterior.mean.shape
        chol = np.linalg.cholesky(self.posterior.row_covariance)
        theta = np.einsum("skj,sj->sk", chol, rng.standard_normal(shape))
        error, fresh = rng.standard_normal(shape), rng.standard_normal(shape)
        shared = rng.standard_normal(self.posterior.loadings[:, 0].shape)
        return theta, shared, error, fresh


def squared_distances(root: FloatArray, residual: FloatArray) -> FloatArray:
    """Squared lengths (S, a) of residuals (S, a, m) in units of covariances with these roots."""
    white = np.linalg.solve(root, np.swapaxes(residual, 1, 2))
    return np.asarray(np.einsum("sma,sma->sa", white, white))


def precision_of(covariance: FloatArray, given: Conditional, group: Group) -> FloatArray:
    """Inverse of the covariance of the measurements, (S, m, m)."""
    m = len(given.observed)
    system = covariance[:, given.observed[:, None], given.observed] + np.diag(group.error_var)
    return solve_spd(system, np.broadcast_to(np.eye(m), system.shape))
