"""Which latent class an agent is of, given its scores; arrays only.

Class c of posterior draw s has weight w_c, mean m_c and covariance t_c^2 A about it, A being that
of the measurements, errors included, for a scale of 1. Its responsibility for measurements y is
proportional to w_c Normal(y; m_cJ, t_c^2 A) (McLachlan and Peel (2000), Finite Mixture Models,
doi:10.1002/0471721182, section 2.8).

Given the class, everything is Gaussian again. So an agent's skills are a mixture of Gaussians, one
per posterior draw and class; joint draws carry one draw of the agent's class per posterior draw.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skillinfer_bayes.inference.posterior import Classes

type FloatArray = NDArray[np.float64]


class Drawn(NamedTuple):
    """One class per posterior draw and agent.

    mean : (S, a, K), the classes' means
    scale : (S, a), what multiplies standard deviations
    """

    mean: FloatArray
    scale: FloatArray


def class_terms(
    classes: Classes, root: FloatArray, residual: FloatArray, observed: NDArray[np.intp]
) -> FloatArray:
    """Log of weight times density of each class at an agent's measurements, (S, a, C).

    Parameters
    ----------
    classes : Classes
    root : array of shape (S, m, m)
        Lower Cholesky factors of A.
    residual : array of shape (S, a, m)
        Measurements less what covariates and groups add.
    observed : array of shape (m,)
        Positions of the skills measured.

    Returns
    -------
    array of shape (S, a, C)
        Without the constant -m log(2 pi) / 2.
    """
    weight, log_scale = np.log(classes.weights), np.log(classes.scales)
    terms = np.broadcast_to(weight[:, None, :], (*residual.shape[:2], weight.shape[1]))
    m = len(observed)
    if not m:
        return terms
    white = np.linalg.solve(root, np.swapaxes(residual, 1, 2))
    centre = np.linalg.solve(root, np.swapaxes(classes.means[:, :, observed], 1, 2))
    quad = np.einsum("sma,sma->sa", white, white)[:, :, None]
    quad = quad + np.einsum("smc,smc->sc", centre, centre)[:, None, :]
    quad -= 2.0 * (np.swapaxes(white, 1, 2) @ centre)
    half_log_det = np.log(np.einsum("smm->sm", root)).sum(axis=1)[:, None, None]
    spread = np.exp(-2.0 * log_scale)[:, None, :]
    found: FloatArray = terms - m * log_scale[:, None, :] - half_log_det - 0.5 * quad * spread
    return found


def draw_class(classes: Classes, terms: FloatArray, levels: FloatArray) -> Drawn:
    """Draw a class per posterior draw and agent by inverting its distribution.

    Parameters
    ----------
    classes : Classes
    terms : array of shape (S, a, C)
        As `class_terms` gives them.
    levels : array of shape (S,)
        Between 0 and 1; stratified, so that classes come as often as they are probable.
    """
    return _at_levels(classes, np.exp(terms - terms.max(axis=2, keepdims=True)), levels[:, None])


def _at_levels(classes: Classes, weights: FloatArray, levels: FloatArray) -> Drawn:
    """Classes at levels (S, a or 1) of distributions proportional to `weights` (S, a or 1, C)."""
    below = weights.cumsum(axis=2)
    chosen = (levels[:, :, None] * below[:, :, -1:] > below[:, :, :-1]).sum(axis=2)
    draw = np.arange(len(weights))[:, None]
    return Drawn(classes.means[draw, chosen], classes.scales[draw, chosen])


def draw_classes(classes: Classes, n_agents: int, rng: np.random.Generator) -> Drawn:
    """Draw the classes of agents of whom nothing is known."""
    levels = rng.random((len(classes.weights), n_agents))
    return _at_levels(classes, classes.weights[:, None, :], levels)
