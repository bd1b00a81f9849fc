"""The fast path for many agents: exact moments of the mixture, approximate shape.

For one set of observed skills the conditional mean of skill k in draw s is linear in the
measurements, m_s = b_s . x with x = (1, y). The mixture's first four moments are therefore
polynomials in y whose coefficients are averages over draws: computed once per set, they serve
every agent that shares it, and no array of (draws x agents) is made. Under Student-t rows the
variance of a component is a quadratic in y too. Quantiles follow from the cumulants: a Student-t of
the mixture's kurtosis, bent by the terms in its skewness of the expansion of Cornish and Fisher
(1938), doi:10.2307/1400905, whose own term for the kurtosis misses the quartiles of a Student-t of
six degrees of freedom by an eighth of an sd. With latent classes four moments say too little; see
`class_mixture`.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

from skillinfer_bayes.profiles.conditioning import Conditional

type FloatArray = NDArray[np.float64]

# beyond these the quantiles are no longer monotone over the central 99.8 %
MAX_SKEWNESS = 0.6
MAX_EXCESS_KURTOSIS = 6.0
BLOCK_DRAWS = 128
KURTOSES = np.linspace(0.0, MAX_EXCESS_KURTOSIS, 241)
# features that one agent's own moments are worth, and numbers that the averages may hold
FEATURES_OF_AN_AGENT = 140
MOST_AVERAGES = 2**25


class Cumulants(NamedTuple):
    """Mean, sd, skewness and excess kurtosis of the mixture, each (A, K)."""

    mean: FloatArray
    sd: FloatArray
    skewness: FloatArray
    excess_kurtosis: FloatArray


class Widening(NamedTuple):
    """Student-t rows: component s has its variance times (nu_s + q_s(y)) / chi2_s.

    nu, chi2 : (S,)
    precision : (S, m, m), of the measurements; q_s(y) is the squared distance under it
    """

    nu: FloatArray
    chi2: FloatArray
    precision: FloatArray


def mixture_cumulants(
    mean: FloatArray,
    given: Conditional,
    values: FloatArray,
    extra_var: FloatArray,
    widening: Widening | None = None,
) -> Cumulants:
    """Cumulants of the mixture for A agents that share a set of observed skills.

    Parameters
    ----------
    mean : array of shape (S, K)
        Population means.
    given : Conditional
    values : array of shape (A, m)
    extra_var : array of shape (K,)
        Added to every component's variance, before widening.
    widening : Widening, optional
        Default: Gaussian rows.

    Returns
    -------
    Cumulants
    """
    centre = values.mean(axis=0) if len(values) else np.zeros(len(given.observed))
    n_draws, n_skills = mean.shape
    away = centre - mean[:, given.observed]
    start = mean + np.einsum("sm,smk->sk", away, given.gain)
    offset = start.mean(axis=0)
    linear = np.concatenate([(start - offset)[:, None, :], given.gain], axis=1)
    first, second = np.triu_indices(linear.shape[1])
    variance = (given.variance + extra_var)[:, None, :]
    factor = np.ones((n_draws, 1, 1))
    if widening is not None:
        factor = _distance_polynomial(away, widening)[:, first, second]
        factor = (factor / widening.chi2[:, None])[:, :, None]
    # block by block: of all draws at once the features are fresh megabytes for every set of skills
    averages: FloatArray = np.zeros(())
    for at in range(0, n_draws, BLOCK_DRAWS):
        part = slice(at, at + BLOCK_DRAWS)
        steps = linear[part]
        ones = np.ones((len(steps), 1, n_skills))
        pairs = steps[:, first] * steps[:, second]
        parts = [ones, steps, variance[part] * factor[part], pairs]
        features = np.ascontiguousarray(np.concatenate(parts, axis=1).transpose(2, 1, 0))
        averages = averages + features @ features.transpose(0, 2, 1)
    averages = averages / n_draws
    sizes = (linear.shape[1], factor.shape[1])
    return _evaluate(averages, offset, values - centre, sizes, (first, second))


def _distance_polynomial(away: FloatArray, widening: Widening) -> FloatArray:
    """Symmetric coefficients (S, m + 1, m + 1) of nu + q in x = (1, y - centre)."""
    n_draws, m = away.shape
    pulled = np.einsum("smn,sn->sm", widening.precision, away)
    coefficients = np.empty((n_draws, m + 1, m + 1))
    coefficients[:, 0, 0] = widening.nu + np.einsum("sm,sm->s", away, pulled)
    coefficients[:, 0, 1:] = coefficients[:, 1:, 0] = pulled
    coefficients[:, 1:, 1:] = widening.precision
    return coefficients


def _evaluate(
    averages: FloatArray,
    offset: FloatArray,
    values: FloatArray,
    sizes: tuple[int, int],
    pairs: tuple[NDArray[np.intp], NDArray[np.intp]],
) -> Cumulants:
    """Polynomials of the mixture's moments at each agent's measurements."""
    first, second = pairs
    n_linear, n_var = sizes
    x = np.concatenate([np.ones((len(values), 1)), values], axis=1)
    double = x[:, first] * x[:, second] * np.where(first == second, 1.0, 2.0)
    at_one, at_linear = 0, slice(1, 1 + n_linear)
    at_var = slice(1 + n_linear, 1 + n_linear + n_var)
    at_pairs = slice(1 + n_linear + n_var, None)
    # a variance without slopes has the constant as its only term, which is the first pair
    terms = double[:, :n_var]
    m1 = x @ averages[:, at_linear, at_one].T
    var = terms @ averages[:, at_var, at_one].T
    m2 = double @ averages[:, at_pairs, at_one].T
    m1v = np.einsum("kap,ap->ak", x @ averages[:, at_linear, at_var], terms)
    m2v = np.einsum("kap,ap->ak", double @ averages[:, at_pairs, at_var], terms)
    v2 = np.einsum("kap,ap->ak", terms @ averages[:, at_var, at_var], terms)
    m3 = np.einsum("kap,ap->ak", x @ averages[:, at_linear, at_pairs], double)
    m4 = np.einsum("kap,ap->ak", double @ averages[:, at_pairs, at_pairs], double)
    raw2, raw3 = m2 + var, m3 + 3.0 * m1v
    raw4 = m4 + 6.0 * m2v + 3.0 * v2
    central2 = np.maximum(raw2 - m1**2, np.finfo(float).tiny)
    central3 = raw3 - 3.0 * m1 * raw2 + 2.0 * m1**3
    central4 = raw4 - 4.0 * m1 * raw3 + 6.0 * m1**2 * raw2 - 3.0 * m1**4
    sd = np.sqrt(central2)
    skewness = np.clip(central3 / (central2 * sd), -MAX_SKEWNESS, MAX_SKEWNESS)
    excess = np.clip(central4 / central2**2 - 3.0, 0.0, MAX_EXCESS_KURTOSIS)
    return Cumulants(offset + m1, sd, skewness, excess)


def fast_pays(n_agents: int, n_observed: int, n_skills: int, *, heavy: bool) -> bool:
    """Whether moments of a set of observed skills cost less than the mixture of its agents.

    All pairs of features, of which there are some m^2 / 2 for m observed skills and m^2 under
    Student-t rows, are averaged over the draws; the mixture takes a hundred passes for each agent.
    """
    pairs = (n_observed + 1) * (n_observed + 2) // 2
    n_features = 1 + (n_observed + 1) + pairs + (pairs if heavy else 1)
    cheap = n_features**2 <= FEATURES_OF_AN_AGENT**2 * n_agents
    return cheap and n_skills * n_features**2 <= MOST_AVERAGES


def standard_quantile(z: float, cumulants: Cumulants) -> FloatArray:
    """Quantile of the standardised mixture at that of the normal, `z`: (A, K)."""
    skew = cumulants.skewness
    tailed = np.interp(cumulants.excess_kurtosis, KURTOSES, _student_quantiles(float(z)))
    bent = (z * z - 1.0) * skew / 6.0 - (2.0 * z**3 - 5.0 * z) * skew**2 / 36.0
    return np.asarray(tailed + bent)


@cache
def _student_quantiles(z: float) -> FloatArray:
    """Quantiles of Student-t variables of variance 1 and the excess kurtoses `KURTOSES`."""
    nu = 4.0 + 6.0 / KURTOSES[1:]
    heavy = stdtrit(nu, ndtr(z)) * np.sqrt((nu - 2.0) / nu)
    return np.concatenate([[z], heavy])


def mixture_quantile_of(probability: float, cumulants: Cumulants) -> FloatArray:
    """Approximate quantile of the mixture, (A, K)."""
    standard = standard_quantile(float(ndtri(probability)), cumulants)
    return np.asarray(cumulants.mean + cumulants.sd * standard)
