"""Posterior predictive summaries of many agents at once: the engine behind every profile."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from skillinfer_bayes.exceptions import ConfigError
from skillinfer_bayes.history.measurement import DEFAULT_ERROR_SD, ITEM_VARIANCE_SHARE
from skillinfer_bayes.history.scales import Scales
from skillinfer_bayes.inference.posterior import Posterior
from skillinfer_bayes.profiles.cells import CellConditioner
from skillinfer_bayes.profiles.evidence import Evidence
from skillinfer_bayes.profiles.mixture import (
    average,
    gauss_hermite,
    mixture_moments,
    mixture_quantile,
)
from skillinfer_bayes.profiles.moments import (
    fast_pays,
    mixture_cumulants,
    mixture_quantile_of,
    standard_quantile,
)
from skillinfer_bayes.profiles.reweighting import resample
from skillinfer_bayes.profiles.rows import CHUNK_CELLS, RowConditioner

type FloatArray = NDArray[np.float64]
type Kind = Literal["skill", "score"]
type Method = Literal["auto", "exact", "fast"]

FAST_FROM = 50
FAST_CLASSES_FROM = 10
FAST_NODES = 9
SEED_DIGITS = 9


class Summary(NamedTuple):
    """Mean, standard deviation and interval ends in score units, each (A, K)."""

    mean: FloatArray
    std: FloatArray
    lower: FloatArray
    upper: FloatArray


def check_kind(kind: object) -> None:
    """Raise ConfigError unless this is what a prediction can be of."""
    if kind not in ("skill", "score"):
        raise ConfigError(f"`kind` must be 'skill' or 'score', got {kind!r}")


@dataclass(frozen=True, eq=False)
class Engine:
    """Posterior draws and scales, ready to be conditioned on evidence."""

    posterior: Posterior
    scales: Scales
    score_items: FloatArray
    """Items behind a score that would be measured, (K,); NaN where not known."""

    @cached_property
    def conditioner(self) -> RowConditioner | CellConditioner:
        """What turns evidence into Gaussians, one per posterior draw."""
        if self.posterior.by_cell:
            return CellConditioner(self.posterior)
        return RowConditioner(self.posterior)

    def _components(
        self, evidence: Evidence, extra: FloatArray
    ) -> Iterator[tuple[NDArray[np.intp], FloatArray, FloatArray, FloatArray | None]]:
        """Agents, means (S, a, K), sds (S, a or 1, K) and weights (S, a, 1) of the mixture."""
        rows = self.conditioner
        if self.posterior.by_class and isinstance(rows, RowConditioner):
            yield from rows.all_classes(evidence, extra)
            return
        for agents, mean, sd in rows.components(evidence, extra):
            yield agents, mean, sd, None

    def log_density(self, evidence: Evidence) -> FloatArray:
        """Log density of the agents' scores under each posterior draw, (S, A), up to a constant.

        Raises
        ------
        ConfigError
            With a scale per cell, whose density has no closed form.
        """
        if not isinstance(self.conditioner, RowConditioner):
            raise ConfigError(
                "`reweight` must be False for tails 'cell', whose density has no closed form"
            )
        return self.conditioner.log_density(evidence)

    def khat(self, evidence: Evidence) -> FloatArray:
        """Tail shape of the agents' importance weights, (A,)."""
        return resample(self.log_density(evidence)).khat

    def _reweighted(self, evidence: Evidence) -> Iterator[tuple[Engine, Evidence]]:
        """One agent after the other, each with the posterior draws that its own scores favour."""
        for position, index in enumerate(resample(self.log_density(evidence)).draws.T):
            alone = replace(evidence.take(slice(position, position + 1)), reweight=False)
            yield replace(self, posterior=self.posterior.take(index)), alone

    def _extra_var(self, kind: Kind) -> FloatArray:
        """Variance that a new measurement adds to the latent skill, (K,)."""
        check_kind(kind)
        extra = np.full(len(self.scales), DEFAULT_ERROR_SD**2 if kind == "score" else 0.0)
        return np.where(self._counted, 0.0, extra)

    @cached_property
    def _counted(self) -> NDArray[np.bool_]:
        """Skills whose future scores are proportions of a known number of items, (K,)."""
        return ~np.isnan(self.score_items) & self.scales.bounded

    @cached_property
    def _items(self) -> NDArray[np.int64]:
        """Items of each counted skill; a median of two counts may lie between them."""
        return np.floor(self.score_items[self._counted] + 0.5).astype(np.int64)

    @cached_property
    def _more_items(self) -> NDArray[np.int64]:
        """Items whose binomial variance a repeated score of each counted skill has."""
        return np.rint(self._items / ITEM_VARIANCE_SHARE).astype(np.int64)

    def summarise(
        self,
        evidence: Evidence,
        *,
        ci_prob: float = 0.9,
        kind: Kind = "skill",
        method: Method = "auto",
    ) -> Summary:
        """Means, standard deviations and equal-tailed intervals of every agent and skill.

        `"exact"` integrates the mixture over all draws, and all classes where there are latent
        classes. `"fast"` keeps its first four moments, which costs the same for one agent as for a
        thousand with the same skills observed; with latent classes it puts alike components
        together. `"auto"` is exact up to 50 agents, with latent classes up to 10. Covariates,
        groups and re-weighting are exact however many agents there are, and so are sets of observed
        skills that are so large, or have so few agents, that their moments would cost more.
        """
        check_ci_prob(ci_prob)
        if method not in ("auto", "exact", "fast"):
            raise ConfigError(f"`method` must be 'auto', 'exact' or 'fast', got {method!r}")
        if evidence.reweight and evidence.agents:
            how: dict[str, Any] = {"ci_prob": ci_prob, "kind": kind, "method": "exact"}
            each = [engine.summarise(one, **how) for engine, one in self._reweighted(evidence)]
            return Summary(*(np.concatenate(part) for part in zip(*each, strict=True)))
        tails = (0.5 - 0.5 * ci_prob, 0.5 + 0.5 * ci_prob)
        result = Summary(*(np.empty(evidence.values.shape) for _ in range(4)))
        rows = self.conditioner
        few = FAST_CLASSES_FROM if self.posterior.by_class else FAST_FROM
        many = method == "fast" or (method == "auto" and len(evidence.agents) > few)
        if many and not evidence.design.shape[1] and isinstance(rows, RowConditioner):
            fill = self._fill_classes if self.posterior.by_class else self._fill_fast
            fill(rows, result, evidence, tails, kind)
        else:
            self._fill_exact(result, evidence, tails, kind)
        if kind == "score" and self._counted.any():
            self._add_counting_error(result, evidence, tails)
        return result

    def _add_counting_error(
        self, result: Summary, evidence: Evidence, tails: tuple[float, float]
    ) -> None:
        """Turn latent rates into measured proportions: binomial, with steps at the bounds.

        The mean stays; the variance follows from the law of total variance; interval ends come
        from draws, since a proportion of few items is no continuous quantity.
        """
        counted = self._counted
        base, width = self.scales.links.floor[counted], self.scales.links.span[counted]
        rate = (result.mean[:, counted] - base) / width
        variance = (result.std[:, counted] / width) ** 2
        within = np.maximum(rate * (1.0 - rate) - variance, 0.0) / self._more_items
        # where the larger count is odd, half an item is rounded up or down
        odd = 0.5 - 0.5 * (1.0 - 2.0 * rate) ** self._more_items
        within += odd * (0.5 / self._items) ** 2
        result.std[:, counted] = width * np.sqrt(variance + within)
        size = max(1, CHUNK_CELLS // self.posterior.mean.size)
        for start in range(0, len(evidence.agents), size):
            rows = slice(start, start + size)
            scores = self.draws(evidence.take(rows), kind="score")[..., counted]
            ends = np.quantile(scores, tails, axis=0, method="inverted_cdf")
            result.lower[rows, counted], result.upper[rows, counted] = ends

    def _fill_exact(
        self, result: Summary, evidence: Evidence, tails: tuple[float, float], kind: Kind
    ) -> None:
        extra = self._extra_var(kind)
        backward = self.scales.from_working
        for agents, mean, sd, weight in self._components(evidence, extra):
            moments = mixture_moments(mean, sd, backward, weight)
            result.mean[agents], result.std[agents] = moments
            for end, tail in zip((result.lower, result.upper), tails, strict=True):
                end[agents] = backward(mixture_quantile(tail, mean, sd, weight))

    def _fill_fast(
        self,
        conditioner: RowConditioner,
        result: Summary,
        evidence: Evidence,
        tails: tuple[float, float],
        kind: Kind,
    ) -> None:
        nodes, weights = gauss_hermite(FAST_NODES)
        backward = self.scales.from_working
        by_themselves = []
        for group, given in conditioner.groups(evidence):
            rows, heavy = group.agents, conditioner.heavy
            size = (len(rows), len(given.observed), len(self.scales))
            if not fast_pays(*size, heavy=heavy):
                by_themselves.append(rows)
                continue
            widening = conditioner.widening(group, given) if heavy else None
            shape = mixture_cumulants(
                self.posterior.mean, given, group.values, self._extra_var(kind), widening
            )
            standard = np.stack([standard_quantile(z, shape) for z in nodes])
            standard /= np.sqrt(np.einsum("n,nak->ak", weights, standard**2))
            at_nodes = backward(shape.mean + shape.sd * standard)
            mean = np.einsum("n,nak->ak", weights, at_nodes)
            variance = np.einsum("n,nak->ak", weights, (at_nodes - mean) ** 2)
            result.mean[rows], result.std[rows] = mean, np.sqrt(variance)
            for end, tail in zip((result.lower, result.upper), tails, strict=True):
                end[rows] = backward(mixture_quantile_of(tail, shape))
        if by_themselves:
            agents = np.concatenate(by_themselves)
            alone = Summary(*(np.empty((len(agents), len(self.scales))) for _ in range(4)))
            self._fill_exact(alone, evidence.take(agents), tails, kind)
            for whole, part in zip(result, alone, strict=True):
                whole[agents] = part

    def _fill_classes(
        self,
        conditioner: RowConditioner,
        result: Summary,
        evidence: Evidence,
        tails: tuple[float, float],
        kind: Kind,
    ) -> None:
        # not above: it imports numba, which one agent's profile does without
        from skillinfer_bayes.profiles.class_mixture import summarise_group

        extra = self._extra_var(kind)
        for group, given in conditioner.groups(evidence):
            covariance = conditioner.measured_covariance(group)
            blocks = summarise_group(
                conditioner.classes, group, given, covariance, extra, self.scales, tails[0]
            )
            for block in blocks:
                for whole, part in zip(result, block[1:], strict=True):
                    whole[block.agents] = part

    def p_above(self, evidence: Evidence, thresholds: FloatArray, kind: Kind) -> FloatArray:
        """Probability that each skill lies above its threshold (K,) in score units: (A, K)."""
        if evidence.reweight and evidence.agents:
            weighed = self._reweighted(evidence)
            return np.concatenate([each.p_above(one, thresholds, kind) for each, one in weighed])
        at = self.scales.to_working(thresholds)
        result = np.empty(evidence.values.shape)
        for agents, mean, sd, weight in self._components(evidence, self._extra_var(kind)):
            with np.errstate(divide="ignore", invalid="ignore"):
                result[agents] = average(ndtr((mean - at) / sd), weight)
        if kind == "score" and self._counted.any():
            # a share of items is written in decimals, and may differ from itself in the last one
            apart = thresholds + self.scales.tolerance
            above = (self.draws(evidence, kind="score") > apart).mean(axis=0)
            result = np.where(self._counted, above, result)
        links = self.scales.links
        # no skill lies below what guessing scores, and no score but one of few items
        guessed = links.bounded & (thresholds < links.base)
        if kind == "score":
            guessed &= ~self._counted
        result = np.where(guessed, 1.0, result)
        return np.where(thresholds >= self.scales.upper, 0.0, result)

    def draws(self, evidence: Evidence, *, kind: Kind = "skill") -> FloatArray:
        """Joint posterior predictive draws in score units, (S, A, K)."""
        if evidence.reweight and evidence.agents:
            weighed = self._reweighted(evidence)
            return np.concatenate([each.draws(one, kind=kind) for each, one in weighed], axis=1)
        n_draws, n_skills = self.posterior.mean.shape
        result = np.empty((n_draws, len(evidence.agents), n_skills))
        for agents, working in self.conditioner.draws(evidence, self._extra_var(kind)):
            result[:, agents] = self.scales.from_working(working)
        if kind == "score" and self._counted.any():
            for position in range(len(evidence.agents)):
                result[:, position] = self._counted_scores(result[:, position], evidence, position)
        return result

    def _counted_scores(self, scores: FloatArray, evidence: Evidence, position: int) -> FloatArray:
        """Measured proportions given latent scores (S, K) of one agent.

        Seeded by the population and the agent's own measurements, so that an agent gets the same
        numbers alone and in a table.
        """
        links, counted = self.scales.links, self._counted
        # repeated scores are pooled, which may change the last digit; 0.0 is for a negative zero
        known = evidence.values[position].round(SEED_DIGITS) + 0.0
        seed = hashlib.sha256(known.tobytes()).digest()[:8]
        rng = np.random.default_rng([self.posterior.seed, int.from_bytes(seed)])
        items, more = self._items, self._more_items
        # a binomial of more items has the smaller variance; rounding up as often as down gives
        # possible counts back and leaves the mean
        share = rng.binomial(more, links.share_of_items(scores)[:, counted]) / more
        hits = np.floor(share * items + rng.random(share.shape))
        measured = scores.copy()
        measured[:, counted] = links.floor[counted] + links.span[counted] * hits / items
        return measured


def check_ci_prob(ci_prob: float) -> None:
    """Raise ConfigError unless `ci_prob` is a probability strictly between 0 and 1."""
    given: object = ci_prob
    is_number = isinstance(given, int | float | np.number) and not isinstance(given, bool)
    if not is_number or not 0.0 < ci_prob < 1.0:
        hint = f"; did you mean {ci_prob / 100:g}?" if is_number and 1 < ci_prob < 100 else ""
        raise ConfigError(f"`ci_prob` must be between 0 and 1, got {ci_prob!r}{hint}")
