"""The model of covariance "factor", sampled in numpy: posteriors for tests in seconds.

Every parameter is a function of standard normals, so elliptical slice sampling (Murray, Adams and
MacKay (2010), Elliptical slice sampling, PMLR 9) needs neither gradients nor tuning. Many walkers
move at once. Written without the package's own likelihood, of which it is so a check.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy.special import gammaln, logsumexp

from skillinfer_bayes.history.measurement import DEFAULT_ERROR_SD
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.posterior import Posterior, attach_history
from skillinfer_bayes.inference.priors import Priors
from skillinfer_bayes.population import Population

CHAINS = 4


class Model:
    """Parameters (W, ...) of W walkers as functions of standard normals (W, d)."""

    def __init__(self, n_skills: int, priors: Priors) -> None:
        assert priors.covariance == "factor"
        self.k, self.r, self.priors = n_skills, priors.rank, priors
        self.n_parameters = 2 * n_skills + self.r + n_skills * self.r + 4

    def parameters(self, x: np.ndarray) -> dict[str, np.ndarray]:
        k, r, p = self.k, self.r, self.priors
        own_shift, own_offset, rest = np.split(x, [k, 2 * k], axis=1)
        factor_shift, offset, last = np.split(rest, [r, r + k * r], axis=1)
        general = p.general_mean + p.general_sd * last[:, 0]
        log_mean = p.own_log_centre + p.own_log_sd * last[:, 1]
        log_spread = p.own_spread_sd * np.abs(last[:, 2])
        own = np.exp(log_mean[:, None] + log_spread[:, None] * own_offset)
        loadings = p.loading_sd * offset.reshape(-1, k, r)
        loadings[:, :, 0] += general[:, None]
        mean = p.mean_sd * (own * own_shift + np.einsum("wkr,wr->wk", loadings, factor_shift))
        covariance = loadings @ np.swapaxes(loadings, 1, 2)
        covariance[:, np.arange(k), np.arange(k)] += own**2
        found = {
            "mu": mean,
            "covariance": covariance,
            "loadings": loadings,
            "own_sd": own,
            "general": general,
            "own_log_mean": log_mean,
            "own_log_spread": log_spread,
        }
        if p.tails == "agent":
            found["nu"] = np.exp(p.nu_log_mean + p.nu_log_sd * last[:, 3])
        return found

    def log_likelihood(self, x: np.ndarray, tables: np.ndarray) -> np.ndarray:
        """Of complete tables (W, N, K), one per walker, up to a constant."""
        found = self.parameters(x)
        system = found["covariance"] + DEFAULT_ERROR_SD**2 * np.eye(self.k)
        root = np.linalg.cholesky(system)
        residual = np.swapaxes(tables - found["mu"][:, None, :], 1, 2)
        quad = (np.linalg.solve(root, residual) ** 2).sum(axis=1)
        half_log_det = np.log(np.einsum("wkk->wk", root)).sum(axis=1)
        if self.priors.tails == "normal":
            return -0.5 * quad.sum(axis=1) - tables.shape[1] * half_log_det
        nu = found["nu"][:, None]
        constant = gammaln(0.5 * (nu + self.k)) - gammaln(0.5 * nu) - 0.5 * self.k * np.log(nu)
        density = constant - 0.5 * (nu + self.k) * np.log1p(quad / nu)
        return density.sum(axis=1) - tables.shape[1] * half_log_det


def sample(
    tables: np.ndarray,
    priors: Priors,
    *,
    walkers: int = 48,
    warmup: int = 600,
    steps: int = 1000,
    thin: int = 10,
    random_seed: int = 0,
) -> list[dict[str, np.ndarray]]:
    """Draws (walkers, steps / thin, ...) of the posterior of each of B tables (B, N, K)."""
    rng = np.random.default_rng(random_seed)
    model = Model(tables.shape[2], priors)
    each = np.repeat(tables, walkers, axis=0)
    x = rng.standard_normal((len(each), model.n_parameters))
    height = model.log_likelihood(x, each)
    kept = []
    for step in range(warmup + steps):
        other = rng.standard_normal(x.shape)
        bar = height + np.log(rng.random(len(x)))
        angle = rng.uniform(0.0, 2.0 * np.pi, len(x))
        low, high = angle - 2.0 * np.pi, angle.copy()
        todo = np.arange(len(x))
        while todo.size:
            turn = angle[todo, None]
            proposal = x[todo] * np.cos(turn) + other[todo] * np.sin(turn)
            found = model.log_likelihood(proposal, each[todo])
            taken = found > bar[todo]
            # the others still need the old point
            done = todo[taken]
            x[done], height[done] = proposal[taken], found[taken]
            todo = todo[~taken]
            low[todo] = np.where(angle[todo] < 0.0, angle[todo], low[todo])
            high[todo] = np.where(angle[todo] >= 0.0, angle[todo], high[todo])
            angle[todo] = rng.uniform(low[todo], high[todo])
        if step >= warmup and (step - warmup) % thin == 0:
            kept.append(model.parameters(x))
    drawn = {name: np.stack([part[name] for part in kept], axis=1) for name in kept[0]}
    size = len(tables)
    return [
        {name: np.split(values, size)[table] for name, values in drawn.items()}
        for table in range(size)
    ]


def row_density(drawn: dict[str, np.ndarray], row: np.ndarray) -> float:
    """Log posterior predictive density of a complete row (K,), default errors, Student-t."""
    flat = {name: values.reshape(-1, *values.shape[2:]) for name, values in drawn.items()}
    k, nu = len(row), flat["nu"]
    system = flat["covariance"] + DEFAULT_ERROR_SD**2 * np.eye(k)
    gap = row - flat["mu"]
    quad = np.einsum("si,sij,sj->s", gap, np.linalg.inv(system), gap)
    terms = gammaln(0.5 * (nu + k)) - gammaln(0.5 * nu) - 0.5 * k * np.log(nu * np.pi)
    terms -= 0.5 * np.linalg.slogdet(system)[1] + 0.5 * (nu + k) * np.log1p(quad / nu)
    return float(logsumexp(terms) - np.log(len(terms)))


def as_dataset(drawn: dict[str, np.ndarray], skills: tuple[str, ...]) -> xr.Dataset:
    """Draws of many walkers as four chains."""
    dims = {
        "mu": ("skill",),
        "covariance": ("skill", "skill_bis"),
        "loadings": ("skill", "factor"),
        "own_sd": ("skill",),
    }
    variables = {
        name: (
            ("chain", "draw", *dims.get(name, ())),
            # neighbours in a chain are different walkers, as independent as draws can be
            values.reshape(CHAINS, -1, *values.shape[1:])
            .swapaxes(1, 2)
            .reshape(CHAINS, -1, *values.shape[2:]),
        )
        for name, values in drawn.items()
    }
    n_draws = variables["mu"][1].shape[1]
    coords = {"chain": np.arange(CHAINS), "draw": np.arange(n_draws)}
    return xr.Dataset(variables, coords=coords | {"skill": list(skills), "skill_bis": list(skills)})


def fit(histories: Sequence[History], priors: Priors, **options: int) -> list[Population]:
    """Fit complete histories of one size, without measurement errors of their own."""
    first = histories[0]
    priors = priors.resolve(first.n_skills, int(first.observed.sum()))
    tables = np.stack([history.working().values for history in histories])
    assert not np.isnan(tables).any()
    return [
        _population(history, as_dataset(drawn, history.skills), priors)
        for history, drawn in zip(histories, sample(tables, priors, **options), strict=True)
    ]


def _population(history: History, draws: xr.Dataset, priors: Priors) -> Population:
    shape = ("chain", "draw")
    sizes = (draws.sizes["chain"], draws.sizes["draw"])
    stats = xr.Dataset(
        {
            "diverging": (shape, np.zeros(sizes, dtype=bool)),
            "energy": (shape, np.random.default_rng(0).standard_normal(sizes)),
            "depth": (shape, np.full(sizes, 4)),
        },
        coords={name: draws[name] for name in shape},
    )
    tree = attach_history(draws, stats, history)
    return Population(history, Posterior(tree), {"priors": priors.to_dict()})
