"""Posterior predictive summaries of many agents at once: the engine behind every profile."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
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
    cornish_fisher,
    cornish_fisher_quantile,
    mixture_cumulants,
)
from skillinfer_bayes.profiles.reweighting import Resampled, resample
from skillinfer_bayes.profiles.rows import CHUNK_CELLS, RowConditioner

type FloatArray = NDArray[np.float64]
type Kind = Literal["skill", "score"]
type Method = Literal["auto", "exact", "fast"]

FAST_FROM = 50
FAST_CLASSES_FROM = 10
FAST_NODES = 9


class Summary(NamedTuple):
    """Mean, standard deviation and interval ends in score units, each (A, K)."""

    mean: FloatArray
    std: FloatArray
    lower: FloatArray
    upper: FloatArray


@dataclass(frozen=True, eq=False)
class Engine:
    """Posterior draws and scales, ready to be conditioned on evidence."""

    posterior: Posterior
    scales: Scales
    score_items: FloatArray
    """Items behind a score that would be measured, (K,); NaN where not known."""
    _last_resampled: dict[str, Any] = field(default_factory=dict, repr=False)

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
        by_class = self.posterior.by_class and not evidence.reweight
        if by_class and isinstance(rows, RowConditioner):
            yield from rows.all_classes(evidence, extra)
            return
        for agents, mean, sd in rows.components(evidence, extra):
            if not evidence.reweight:
                yield agents, mean, sd, None
                continue
            index = self._resampled(evidence).draws[:, agents, None]
            wide = np.broadcast_to(sd, mean.shape)
            yield (
                agents,
                np.take_along_axis(mean, index, axis=0),
                np.take_along_axis(wide, index, axis=0),
                None,
            )

    def _resampled(self, evidence: Evidence) -> Resampled:
        """Draws that the agents' own scores favour."""
        if not isinstance(self.conditioner, RowConditioner):
            raise ConfigError(
                "`reweight` must be False for tails 'cell', whose density has no closed form"
            )
        if self._last_resampled.get("key") is not evidence:
            self._last_resampled["key"] = evidence
            self._last_resampled["value"] = resample(self.conditioner.log_density(evidence))
        found: Resampled = self._last_resampled["value"]
        return found

    def khat(self, evidence: Evidence) -> FloatArray:
        """Tail shape of the agents' importance weights, (A,)."""
        return self._resampled(evidence).khat

    def _extra_var(self, kind: Kind) -> FloatArray:
        """Variance that a new measurement adds to the latent skill, (K,)."""
        if kind not in ("skill", "score"):
            raise ConfigError(f"`kind` must be 'skill' or 'score', got {kind!r}")
        extra = np.full(len(self.scales), DEFAULT_ERROR_SD**2 if kind == "score" else 0.0)
        return np.where(self._counted, 0.0, extra)

    @cached_property
    def _counted(self) -> NDArray[np.bool_]:
        """Skills whose future scores are proportions of a known number of items, (K,)."""
        return ~np.isnan(self.score_items) & self.scales.bounded

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
        groups and re-weighting are exact however many agents there are.
        """
        check_ci_prob(ci_prob)
        if method not in ("auto", "exact", "fast"):
            raise ConfigError(f"`method` must be 'auto', 'exact' or 'fast', got {method!r}")
        tails = (0.5 - 0.5 * ci_prob, 0.5 + 0.5 * ci_prob)
        result = Summary(*(np.empty(evidence.values.shape) for _ in range(4)))
        rows = self.conditioner
        few = FAST_CLASSES_FROM if self.posterior.by_class else FAST_FROM
        many = method == "fast" or (method == "auto" and len(evidence.agents) > few)
        plain = not evidence.design.shape[1] and not evidence.reweight
        if many and plain and isinstance(rows, RowConditioner):
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
        within = np.maximum(rate * (1.0 - rate) - variance, 0.0)
        within *= ITEM_VARIANCE_SHARE / self.score_items[counted]
        # half of the doubled counts are odd, and half an item is rounded away
        within += 0.5 * (0.5 / self.score_items[counted]) ** 2
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
        for group, given in conditioner.groups(evidence):
            rows = group.agents
            widening = conditioner.widening(group, given) if conditioner.heavy else None
            shape = mixture_cumulants(
                self.posterior.mean, given, group.values, self._extra_var(kind), widening
            )
            at_nodes = np.stack([backward(cornish_fisher(z, shape)) for z in nodes])
            mean = np.einsum("n,nak->ak", weights, at_nodes)
            variance = np.einsum("n,nak->ak", weights, (at_nodes - mean) ** 2)
            result.mean[rows], result.std[rows] = mean, np.sqrt(variance)
            for end, tail in zip((result.lower, result.upper), tails, strict=True):
                end[rows] = backward(cornish_fisher_quantile(tail, shape))

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
        at = self.scales.to_working(thresholds)
        result = np.empty(evidence.values.shape)
        for agents, mean, sd, weight in self._components(evidence, self._extra_var(kind)):
            with np.errstate(divide="ignore", invalid="ignore"):
                result[agents] = average(ndtr((mean - at) / sd), weight)
        if kind == "score" and self._counted.any():
            above = (self.draws(evidence, kind="score") > thresholds).mean(axis=0)
            result = np.where(self._counted, above, result)
        links = self.scales.links
        if kind == "skill":  # no skill lies below what guessing scores
            result = np.where(links.bounded & (thresholds < links.base), 1.0, result)
        return np.where(thresholds >= self.scales.upper, 0.0, result)

    def draws(self, evidence: Evidence, *, kind: Kind = "skill") -> FloatArray:
        """Joint posterior predictive draws in score units, (S, A, K)."""
        n_draws, n_skills = self.posterior.mean.shape
        result = np.empty((n_draws, len(evidence.agents), n_skills))
        for agents, working in self.conditioner.draws(evidence, self._extra_var(kind)):
            if evidence.reweight:
                index = self._resampled(evidence).draws[:, agents, None]
                working = np.take_along_axis(working, index, axis=0)
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
        seed = hashlib.sha256(evidence.values[position].tobytes()).digest()[:8]
        rng = np.random.default_rng([self.posterior.seed, int.from_bytes(seed)])
        items = np.rint(self.score_items[counted])
        # a binomial of more items has the smaller variance; rounding gives possible counts back
        more = np.rint(items / ITEM_VARIANCE_SHARE).astype(np.int64)
        share = rng.binomial(more, links.share_of_items(scores)[:, counted]) / more
        hits = np.rint(share * items)
        measured = scores.copy()
        measured[:, counted] = links.floor[counted] + links.span[counted] * hits / items
        return measured


def check_ci_prob(ci_prob: float) -> None:
    """Raise ConfigError unless `ci_prob` is a probability strictly between 0 and 1."""
    given: object = ci_prob
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    if not is_number or not 0.0 < ci_prob < 1.0:
        hint = f"; did you mean {ci_prob / 100:g}?" if is_number and 1 < ci_prob < 100 else ""
        raise ConfigError(f"`ci_prob` must be between 0 and 1, got {ci_prob!r}{hint}")
