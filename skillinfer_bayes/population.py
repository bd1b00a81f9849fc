"""The front door: fit a history, then profile agents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
import xarray as xr

from skillinfer_bayes.exceptions import InputError
from skillinfer_bayes.fit_options import read_priors, read_settings
from skillinfer_bayes.history.facts import read_descriptions
from skillinfer_bayes.history.scales import Scales, ScaleSpec
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.design import Design
from skillinfer_bayes.inference.posterior import Posterior
from skillinfer_bayes.inference.priors import Covariance, Priors, SamplerSettings
from skillinfer_bayes.inference.storage import load_population, save_population
from skillinfer_bayes.profiles.context import Context
from skillinfer_bayes.profiles.evidence import evidence_of_history, evidence_of_table
from skillinfer_bayes.profiles.profile import Profile
from skillinfer_bayes.profiles.profiles import Profiles
from skillinfer_bayes.profiles.task import Skill

if TYPE_CHECKING:
    from skillinfer_bayes.checks.diagnostics import Convergence
    from skillinfer_bayes.checks.report import Diagnosis


@dataclass(frozen=True, eq=False)
class Population:
    """A history and the posterior draws of how its skills move together.

    Made by `from_dataframe`, `from_history`, `from_csv`, `from_parquet` or `load`; does not
    change.

    Parameters
    ----------
    history : History
        What was fitted.
    posterior : Posterior
        Draws of the population's mean and covariance.
    settings : mapping
        Priors, sampler settings, seconds per step and verdict, as plain data.
    """

    history: History
    posterior: Posterior
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dataframe(
        cls,
        scores: pd.DataFrame,
        *,
        normalize: bool = False,
        scale: ScaleSpec | Mapping[str, ScaleSpec] = "auto",
        n_items: Any = None,
        stderr: Any = None,
        groups: str | Mapping[str, str] | pd.Series | Sequence[str] | None = None,
        covariates: Sequence[str] | pd.DataFrame | None = None,
        descriptions: Mapping[str, str] | None = None,
        covariance: Covariance | None = None,
        priors: Priors | Mapping[str, Any] | None = None,
        settings: SamplerSettings | Mapping[str, Any] | None = None,
        random_seed: int | None = None,
        progressbar: bool = True,
    ) -> Self:
        """Fit a history given as a table.

        Parameters
        ----------
        scores : DataFrame of shape (n_agents, n_skills)
            Indexed by agent, one column per skill; empty cells allowed.
        normalize : bool, default False
            Min-max scale each skill by the history in match scores, for skills on different
            scales. Scores and predictions stay in the units of `scores` either way.
        scale, n_items, stderr, groups, covariates, descriptions
            As `History.from_dataframe`.
        covariance : {"auto", "lkj", "factor_lkj", "factor", "factor_iw"}, optional
            Short for `priors=Priors(covariance=...)`.
        priors : Priors or mapping, optional
        settings : SamplerSettings or mapping, optional
        random_seed : int, optional
            Short for `settings=SamplerSettings(random_seed=...)`.
        progressbar : bool, default True

        Returns
        -------
        Population

        Raises
        ------
        HistoryError, UnknownSkillError, ConfigError
            If an argument cannot be used.
        SamplingError
            If the sampler could not run.

        Warns
        -----
        ConvergenceWarning
            If the fit should not be trusted yet; it says what to change.
        HistoryWarning
            If empty rows or columns were dropped.
        """
        history = History.from_dataframe(
            scores,
            scale=scale,
            n_items=n_items,
            stderr=stderr,
            normalize=normalize,
            groups=groups,
            covariates=covariates,
            descriptions=descriptions,
        )
        return cls.from_history(
            history,
            covariance=covariance,
            priors=priors,
            settings=settings,
            random_seed=random_seed,
            progressbar=progressbar,
        )

    @classmethod
    def from_csv(
        cls,
        path: str | Path,
        *,
        normalize: bool = False,
        random_seed: int | None = None,
        progressbar: bool = True,
    ) -> Self:
        """Fit a CSV or Parquet file whose first column names the agents.

        For everything else that can be set, make a `History` and use `from_history`.
        """
        history = History.from_csv(path, normalize=normalize)
        return cls.from_history(history, random_seed=random_seed, progressbar=progressbar)

    # one reader tells the formats apart by the file's ending
    from_parquet = from_csv

    @classmethod
    def from_history(
        cls,
        history: History,
        *,
        covariance: Covariance | None = None,
        priors: Priors | Mapping[str, Any] | None = None,
        settings: SamplerSettings | Mapping[str, Any] | None = None,
        random_seed: int | None = None,
        progressbar: bool = True,
    ) -> Self:
        """Fit a history; parameters, errors and warnings as `from_dataframe`."""
        from skillinfer_bayes.checks.diagnostics import check_convergence, warn_unless_converged
        from skillinfer_bayes.inference.sampling import Stopwatch, fresh_seed, sample_posterior

        chosen = read_priors(priors, covariance)
        how = read_settings(settings, random_seed)
        if how.random_seed is None:
            how = replace(how, random_seed=fresh_seed())
        stopwatch = Stopwatch()
        tree = sample_posterior(history, chosen, how, progressbar=progressbar, stopwatch=stopwatch)
        posterior = Posterior(tree)
        verdict = check_convergence(posterior.tree)
        used = {
            "priors": chosen.resolve_for(history).to_dict(),
            "sampler": how.to_dict(),
            "seconds": stopwatch.seconds,
            "convergence": verdict.to_dict(),
        }
        warn_unless_converged(verdict)
        return cls(history, posterior, used)

    @property
    def skills(self) -> list[Skill]:
        """The K skills with their descriptions."""
        texts = self.history.descriptions
        return [Skill(name, description=texts.get(name, "")) for name in self.history.skills]

    @property
    def agents(self) -> tuple[str, ...]:
        """Names of the history's agents."""
        return self.history.agents

    @property
    def scales(self) -> Scales:
        """Scales of the skills."""
        return self.history.scales

    @property
    def data(self) -> xr.DataTree:
        """A copy of all draws and data: groups that ArviZ takes as they are."""
        return self.posterior.tree.copy()

    @property
    def population_id(self) -> str:
        """Identity of history and draws together, 16 hex digits."""
        return self.posterior.draws_hash[:8] + self.history.data_hash[:8]

    @cached_property
    def convergence(self) -> Convergence:
        """Verdict on the fit, as it was found after sampling."""
        from skillinfer_bayes.checks.diagnostics import check_convergence

        return check_convergence(self.posterior.tree, self.settings.get("convergence"))

    def diagnose(
        self,
        *,
        refit: bool = False,
        n_replicates: int = 2000,
        settings: SamplerSettings | Mapping[str, Any] | None = None,
        random_seed: int = 0,
    ) -> Diagnosis:
        """Check the fit, its predictions, its rows and its priors, and say what to do.

        Parameters and errors as `skillinfer_bayes.checks.diagnose.diagnose`.
        """
        from skillinfer_bayes.checks.diagnose import diagnose

        how = None if settings is None else read_settings(settings)
        return diagnose(
            self, refit=refit, n_replicates=n_replicates, settings=how, random_seed=random_seed
        )

    @cached_property
    def _context(self) -> Context:
        return Context(
            population_id=self.population_id,
            posterior=self.posterior,
            scales=self.scales,
            score_items=self.history.typical_items,
            design=Design.of(self.history),
            normalize=self.history.normalize,
            descriptions=self.history.descriptions,
        )

    def profile(
        self,
        agent: str = "agent",
        *,
        group: str | None = None,
        covariates: Mapping[str, float] | None = None,
        reweight: bool = False,
    ) -> Profile:
        """Start the profile of a new agent, of whom nothing is known but the population.

        Parameters
        ----------
        agent : str, default "agent"
            A name for tables and plots.
        group : str, optional
            Family or provider, where the history has groups. Without one, or with one that the
            history does not have, the profile is wider.
        covariates : mapping of str to float, optional
            All of the history's covariates, where it has some.
        reweight : bool, default False
            Let the agent's own scores weigh the posterior draws, by Pareto-smoothed importance
            sampling; exact where the model is right. On small histories of real tables it made
            predictions worse, so it is off. `Profile.khat` says whether the weights hold.

        Raises
        ------
        InputError
            If groups or covariates do not fit the history's.
        """
        return Profile(self._context, agent, group=group, covariates=covariates, reweight=reweight)

    def profiles(
        self,
        table: pd.DataFrame,
        *,
        n_items: Any = None,
        stderr: Any = None,
        groups: Any = None,
        covariates: Any = None,
        reweight: bool = False,
    ) -> Profiles:
        """Profile many agents at once.

        Parameters
        ----------
        table : DataFrame of shape (n_agents, up to n_skills)
            Observed scores, indexed by agent; NaN = not observed. Columns in any order.
        n_items, stderr : DataFrame, mapping by skill, array or number, optional
            Items behind the scores, or their standard errors.
        groups : mapping or Series by agent, or sequence of str, optional
            Family or provider of each agent; None or a new one is allowed, and wider.
        covariates : DataFrame indexed by agent, optional
            All of the history's covariates.
        reweight : bool, default False
            As in `profile`; the Dataset then holds `khat` (agent).

        Returns
        -------
        Profiles

        Raises
        ------
        UnknownSkillError
            If a column is not a skill of the population.
        ScoreError
            If a cell cannot be used.
        InputError
            If groups or covariates do not fit the history's.
        """
        evidence = evidence_of_table(
            table,
            self.scales,
            self._context.design,
            n_items=n_items,
            stderr=stderr,
            groups=groups,
            covariates=covariates,
            reweight=reweight,
        )
        return Profiles(self._context, evidence)

    def completed(self) -> Profiles:
        """Profile the history's own agents, holes filled.

        Each agent is conditioned on its own row, which the posterior already knows.
        """
        return Profiles(self._context, evidence_of_history(self.history))

    def describe_skills(self, descriptions: Mapping[str, str] | Sequence[Skill]) -> Population:
        """Give the population with descriptions of its skills; this one stays as it is.

        Raises
        ------
        UnknownSkillError, InputError
            If a name is not a skill, or the descriptions are neither a mapping nor skills.
        """
        by_name = isinstance(descriptions, Mapping | pd.Series)
        given = descriptions if by_name else _texts_of(descriptions)
        texts = read_descriptions(given, self.history.skills, self.history.skill_descriptions)
        return replace(self, history=replace(self.history, skill_descriptions=texts))

    def correlation(self) -> xr.Dataset:
        """Posterior mean and standard deviation of the correlations between skills.

        Returns
        -------
        Dataset with dims (skill, skill_bis)
            `mean` and `std`, on the working scale.
        """
        covariance = self.posterior.covariance
        sd = np.sqrt(np.einsum("skk->sk", covariance))
        correlation = covariance / (sd[:, :, None] * sd[:, None, :])
        dims, names = ("skill", "skill_bis"), list(self.posterior.skills)
        return xr.Dataset(
            {"mean": (dims, correlation.mean(axis=0)), "std": (dims, correlation.std(axis=0))},
            coords={"skill": names, "skill_bis": names},
        )

    def save(self, path: str | Path) -> None:
        """Write the population to a netCDF file, whole or not at all.

        Raises
        ------
        PopulationFileError
            If the folder does not exist.
        """
        save_population(Path(path), self.history, self.posterior, self.settings)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a population that `save` wrote; needs no PyMC.

        Raises
        ------
        PopulationFileError
            If the file is missing, damaged, or not a population.
        PopulationVersionError
            If a newer version of the package wrote it.
        """
        stored = load_population(Path(path))
        return cls(stored.history, stored.posterior, stored.settings)

    def __repr__(self) -> str:
        rows, columns = self.history.values.shape
        draws = f"{self.posterior.n_chains} x {self.posterior.n_draws} draws"
        return f"Population({self.population_id}, {rows} agents x {columns} skills, {draws})"


def _texts_of(skills: Any) -> dict[str, str]:
    found = list(skills) if isinstance(skills, Iterable) else [skills]
    if not all(isinstance(skill, Skill) for skill in found):
        raise InputError(
            f"`descriptions` must map skills to texts, or hold Skills, got {skills!r}; "
            "write for example {'math': 'Solves equations'}"
        )
    return {skill.name: skill.description for skill in found if skill.description}
