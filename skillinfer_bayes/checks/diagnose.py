"""Everything that can be checked of a fitted population, in one report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from skillinfer_bayes.checks.diagnostics import (
    MAX_RHAT,
    MIN_BFMI,
    MIN_ESS,
    Convergence,
    identified_quantities,
)
from skillinfer_bayes.checks.duplicates import find_duplicates
from skillinfer_bayes.checks.leave_out import adjusted, leave_one_score_out, uniformity
from skillinfer_bayes.checks.loo import leave_one_agent_out, priors_of
from skillinfer_bayes.checks.options import check_count
from skillinfer_bayes.checks.predictive import posterior_predictive, prior_predictive
from skillinfer_bayes.checks.replicates import spread_draws
from skillinfer_bayes.checks.report import Diagnosis, Line
from skillinfer_bayes.checks.sensitivity import ALL, CONFLICT, STRONG, prior_sensitivity
from skillinfer_bayes.fit_options import read_settings
from skillinfer_bayes.history.cells import read_flag
from skillinfer_bayes.inference.design import Design
from skillinfer_bayes.profiles.evidence import Evidence, evidence_of_history
from skillinfer_bayes.profiles.reweighting import FEWEST_DRAWS
from skillinfer_bayes.profiles.surprise import surprise
from skillinfer_bayes.routing.labels import one_line

if TYPE_CHECKING:
    from skillinfer_bayes.inference.posterior import Posterior
    from skillinfer_bayes.inference.priors import Priors, SamplerSettings
    from skillinfer_bayes.population import Population

ALPHA = 0.01
FALSE_DISCOVERIES = 0.05
MAX_MCSE = 0.1
MAX_AT_DEPTH = 0.01
TREE_DEPTH = 10
NAMED = 5
FEWEST_DRAWS_KEPT = 500
MOST_OPERATIONS = 2e9


class Found:
    """Lines and tables of a report in the making."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.tables: dict[str, pd.DataFrame] = {}

    def add(self, check: str, bad: bool, value: str, advice: str, *, fatal: bool = False) -> None:
        """Note a check; the advice is kept only where it is needed."""
        verdict = ("fail" if fatal else "look") if bad else "ok"
        self.lines.append(Line(check, verdict, value, advice if bad else ""))  # type: ignore[arg-type]

    def skip(self, checks: Sequence[str], why: str) -> None:
        """Note checks that are not available."""
        self.lines += [Line(check, "skipped", f"not available {why}") for check in checks]


def diagnose(
    population: Population,
    *,
    refit: bool = False,
    n_replicates: int = 2000,
    settings: SamplerSettings | Mapping[str, Any] | None = None,
    random_seed: int = 0,
) -> Diagnosis:
    """Check a fit: did it converge, does the model fit, which rows are odd, what did the prior do.

    Parameters
    ----------
    population : Population
    refit : bool, default False
        Fit again without each agent for which importance sampling cannot stand in.
    n_replicates : int, default 2000
        Tables to simulate from prior and posterior.
    settings : SamplerSettings or mapping, optional
        Of the refits. Default: the population's own.
    random_seed : int, default 0
        Of the simulated tables.

    Returns
    -------
    Diagnosis

    Raises
    ------
    ConfigError
        If an option cannot be used.
    SamplingError
        If a refit could not run.
    """
    check_count("n_replicates", 100, n_replicates)
    check_count("random_seed", 0, random_seed)
    refit = read_flag("refit", refit)
    how = None if settings is None else read_settings(settings)
    found = Found()
    evidence = evidence_of_history(population.history)
    priors = priors_of(population)
    _converged(found, population)
    rng = np.random.default_rng(random_seed)
    _prior_predictive(found, population, evidence, priors, n_replicates, rng)
    _posterior_predictive(found, population, evidence, n_replicates, rng)
    population = _affordable(population, evidence)
    _agents(found, population, evidence, refit, how)
    _scores(found, population, evidence)
    _duplicates(found, population, evidence)
    _sensitivity(found, population, evidence, priors)
    return Diagnosis(tuple(found.lines), found.tables)


def _affordable(population: Population, evidence: Evidence) -> Population:
    """Keep part of the draws where a density of every row under every draw takes minutes."""
    per_draw = float((evidence.observed.sum(axis=1) ** 3).sum())
    wanted = max(FEWEST_DRAWS_KEPT, int(MOST_OPERATIONS / max(per_draw, 1.0)))
    return replace(population, posterior=spread_draws(population.posterior, wanted))


def _converged(found: Found, population: Population) -> None:
    tree = population.posterior.tree
    verdict = population.convergence
    mcse = _relative_mcse(tree)
    found.tables["convergence"] = pd.DataFrame(
        {**verdict.to_dict(), "problems": "; ".join(verdict.problems), "mcse": mcse}, index=[0]
    )
    sizes = f"{verdict.n_chains} chains of {verdict.n_draws} draws"
    found.add(
        "R-hat",
        not verdict.rhat < MAX_RHAT,
        f"{verdict.rhat:.3f} at worst ({one_line(verdict.worst)}), {sizes}",
        _advice(verdict, "R-hat"),
        fatal=True,
    )
    for name, size in (("bulk ESS", verdict.ess_bulk), ("tail ESS", verdict.ess_tail)):
        found.add(
            name,
            not size > MIN_ESS,
            f"{size:.0f} at least",
            _advice(verdict, "effective sample size"),
            fatal=True,
        )
    found.add(
        "MCSE",
        not mcse <= MAX_MCSE,
        f"{mcse:.3f} posterior sds at most",
        f"the Monte Carlo error of a mean is above {MAX_MCSE:g} posterior sds: raise `draws`",
    )
    found.add(
        "divergences",
        verdict.divergences > 0,
        f"{verdict.divergences}",
        _advice(verdict, "divergent"),
        fatal=True,
    )
    stats = tree.children["sample_stats"].to_dataset()
    if "energy" in stats:
        advice = _advice(verdict, "E-BFMI")
        found.add("E-BFMI", not verdict.bfmi > MIN_BFMI, f"{verdict.bfmi:.2f}", advice, fatal=True)
    else:
        found.skip(["E-BFMI"], "from this sampler")
    _tree_depth(found, stats)


def _tree_depth(found: Found, stats: xr.Dataset) -> None:
    name = next((name for name in ("depth", "tree_depth") if name in stats), None)
    if name is None:
        found.skip(["tree depth"], "from this sampler")
        return
    depth = stats[name].values
    share = float((depth >= TREE_DEPTH).mean())
    found.add(
        "tree depth",
        share > MAX_AT_DEPTH,
        f"{int(depth.max())} at most; {share:.1%} of transitions at the limit of {TREE_DEPTH}",
        "long trajectories: the fit is slow rather than wrong; raise `tune`, or give narrower "
        "priors",
    )


def _advice(verdict: Convergence, about: str) -> str:
    return next((text for text in verdict.problems if about in text), "")


def _relative_mcse(tree: xr.DataTree) -> float:
    """Largest Monte Carlo standard error of a mean in units of the posterior sd."""
    import arviz_stats

    values = identified_quantities(tree.children["posterior"].to_dataset())
    with np.errstate(divide="ignore", invalid="ignore"):  # NaN is a finding
        error = arviz_stats.mcse(values, method="mean")["value"]
        sd = values["value"].std(("chain", "draw"), skipna=False)
        return float((error / sd).max(skipna=False))


def _prior_predictive(
    found: Found,
    population: Population,
    evidence: Evidence,
    priors: Priors | None,
    n_replicates: int,
    rng: np.random.Generator,
) -> None:
    check = "prior predictive"
    if priors is None:
        found.skip([check], "because the population does not say its priors")
        return
    table = prior_predictive(
        priors, population.history, evidence, n_replicates=n_replicates, rng=rng
    )
    found.tables["prior_predictive"] = table
    off = table[table["p"] < ALPHA]
    value = "; ".join(
        f"{row.statistic} {row.observed:.2f} (prior {row.lower:.2f} to {row.upper:.2f})"
        for row in table.itertuples()
    )
    found.add(
        check,
        len(off) > 0,
        value,
        f"the prior hardly allows the history's {_listed(off['statistic'])}: look at the prior "
        "sensitivity below, and widen the priors that matter",
    )


def _posterior_predictive(
    found: Found,
    population: Population,
    evidence: Evidence,
    n_replicates: int,
    rng: np.random.Generator,
) -> None:
    table = posterior_predictive(
        population.posterior, population.history, evidence, n_replicates=n_replicates, rng=rng
    )
    table["p_adjusted"] = table.groupby("statistic")["p"].transform(
        lambda p: adjusted(p.to_numpy())
    )
    found.tables["posterior_predictive"] = table
    off = table[table["p_adjusted"] < FALSE_DISCOVERIES]
    value = f"{len(table)} statistics of the history, {len(off)} unlike the simulated tables"
    if len(off):
        named = [
            f"{row.statistic} of {one_line(row.skill)}" if row.skill else row.statistic
            for row in off.sort_values("p").itertuples()
        ]
        value += f": {_listed(named)}"
    found.add(
        "posterior predictive",
        len(off) > 0,
        value,
        "look at these columns: a skewness or a share at a bound that the model cannot make "
        "points to a wrong `scale` (link, bounds, chance level) or missing `n_items`",
    )


def _agents(
    found: Found,
    population: Population,
    evidence: Evidence,
    refit: bool,
    settings: SamplerSettings | None,
) -> None:
    posterior = population.posterior
    reason = _few(posterior)
    if reason:
        found.skip(["leave one agent out"], reason)
        table = pd.DataFrame(
            {"p": surprise(posterior, evidence)},
            index=pd.Index(list(evidence.agents), name="agent"),
        )
    else:
        result = leave_one_agent_out(population, refit=refit, settings=settings)
        table = result.agents.copy()
        n_refits = int(table["refitted"].sum())
        spread = f"se {result.se:.1f}"
        if posterior.by_cell:
            spread += f", error of the integrals {result.integral_error:.2f}"
        found.add(
            "leave one agent out",
            len(result.bad) > 0,
            f"elpd {result.elpd:.1f} ({spread}), p_loo {result.p_loo:.1f}, largest "
            f"k-hat {table['khat'].max():.2f}, {len(result.bad)} above {result.good_k:.2f}, "
            f"{n_refits} refitted",
            f"the fit leans on {_listed(result.bad)}: run `diagnose(refit=True)` for exact "
            "terms, at a fit each, and check these rows",
        )
    table["p_adjusted"] = adjusted(table["p"].to_numpy())
    found.tables["agents"] = table
    odd = table[table["p_adjusted"] < FALSE_DISCOVERIES].sort_values("p")
    found.add(
        "outlier agents",
        len(odd) > 0,
        f"{len(odd)} of {len(table)} agents" + (f": {_listed(odd.index)}" if len(odd) else ""),
        "their rows do not follow the pattern of the others: check for swapped columns, units and "
        "failed runs; profiles of agents like them extrapolate",
    )


def _scores(found: Found, population: Population, evidence: Evidence) -> None:
    checks = ["leave one score out", "outlier scores"]
    cells = leave_one_score_out(population.posterior, evidence)
    cells["p"] = 2.0 * np.minimum(cells["pit"], 1.0 - cells["pit"])
    cells["p_adjusted"] = adjusted(cells["p"].to_numpy())
    by_skill = uniformity(cells)
    found.tables |= {"scores": cells, "calibration": by_skill}
    off = by_skill[by_skill["p_adjusted"] < FALSE_DISCOVERIES].sort_values("p")
    value = f"{len(off)} of {len(by_skill)} skills mis-calibrated"
    if len(off):
        named = [
            f"{one_line(str(name))} (bias {row.bias:+.2f}, spread {row.spread:.2f})"
            for name, row in zip(off.index, off.itertuples(), strict=True)
        ]
        value += f": {_listed(named)}"
    found.add(
        checks[0],
        len(off) > 0,
        value,
        "predictions of these skills claim too much or too little: check their `scale` (a bounded "
        "or skewed score on an unbounded scale?), their `n_items` or `stderr`",
    )
    odd = cells[cells["p_adjusted"] < FALSE_DISCOVERIES].sort_values("p")
    named = [f"{one_line(row.agent)} / {one_line(row.skill)}" for row in odd.itertuples()]
    found.add(
        checks[1],
        len(odd) > 0,
        f"{len(odd)} of {len(cells)} scores" + (f": {_listed(named)}" if named else ""),
        "far from what the agent's other scores say: check them at the source",
    )


def _duplicates(found: Found, population: Population, evidence: Evidence) -> None:
    table = find_duplicates(population.posterior, evidence)
    found.tables["duplicates"] = table
    named = [f"{one_line(row.agent)} = {one_line(row.agent_bis)}" for row in table.itertuples()]
    found.add(
        "duplicated agents",
        len(table) > 0,
        _listed(named) if named else "none",
        "the fit counts the same agent twice: keep one of each, or give them a group",
    )


def _sensitivity(
    found: Found, population: Population, evidence: Evidence, priors: Priors | None
) -> None:
    check = "prior sensitivity"
    posterior = population.posterior
    reason = _few(posterior)
    if reason:
        found.skip([check], reason)
        return
    if priors is None:
        found.skip([check], "because the population does not say its priors")
        return
    design = Design.of(population.history)
    table = prior_sensitivity(posterior, priors, evidence, design)
    found.tables["sensitivity"] = table
    parts = table[table["prior"] != ALL]
    largest = parts.groupby("prior", sort=False)["prior_sensitivity"].max()
    value = ", ".join(f"{name} {size:.2f}" for name, size in largest.items())
    off = parts[parts["diagnosis"].isin([CONFLICT, STRONG])]
    found.add(
        check,
        len(off) > 0,
        f"largest change of a conclusion per prior: {value}",
        f"{_listed(dict.fromkeys(off['prior']))} move conclusions: see "
        "`tables['sensitivity']`; give these priors more room, or more agents",
    )


def _few(posterior: Posterior) -> str:
    """Say that there are too few draws to be weighed; nothing where there are enough."""
    if len(posterior.mean) < FEWEST_DRAWS:
        return f"for fewer than {FEWEST_DRAWS} draws"
    return ""


def _listed(names: object) -> str:
    """Write some names on one line."""
    shown = [one_line(str(name)) for name in names]  # type: ignore[attr-defined]
    more = len(shown) - NAMED
    return ", ".join(shown[:NAMED]) + (f" and {more} more" if more > 0 else "")
