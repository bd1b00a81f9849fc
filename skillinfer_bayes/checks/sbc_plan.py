"""What a simulation-based calibration simulates, checked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skillinfer_bayes.checks.options import check_count, check_share
from skillinfer_bayes.exceptions import ConfigError
from skillinfer_bayes.inference.priors import Priors, SamplerSettings

FEWEST = {"n_agents": 3, "n_skills": 2, "n_observed": 1, "n_simulations": 10, "n_ranks": 10}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is simulated and how it is fitted; parameters as `sbc`."""

    n_agents: int
    n_skills: int
    missing: float
    n_observed: int
    error_sd: float
    n_simulations: int
    n_ranks: int
    priors: Priors
    settings: SamplerSettings
    random_seed: int

    def __post_init__(self) -> None:
        for name, low in FEWEST.items():
            check_count(name, low, getattr(self, name))
        check_count("random_seed", 0, self.random_seed)
        if self.n_observed >= self.n_skills:
            raise ConfigError(
                f"`n_observed` must be below `n_skills`, {self.n_skills}, got {self.n_observed}"
            )
        check_share("missing", self.missing, zero=True)
        error_sd: object = self.error_sd
        number = isinstance(error_sd, int | float) and not isinstance(error_sd, bool)
        if not number or not 0.0 < self.error_sd < np.inf:
            raise ConfigError(f"`error_sd` must be a finite number above 0, got {error_sd!r}")
        if self.n_ranks > self.settings.chains * self.settings.draws:
            raise ConfigError(
                f"`n_ranks` must be at most the {self.settings.chains * self.settings.draws} draws "
                f"of a fit, got {self.n_ranks}; raise `draws` in `settings`"
            )
        if self.resolved.tails == "cell":
            raise ConfigError(
                "`priors` must have tails 'normal', 'agent' or 'class', got 'cell', whose agents "
                "are no rows of one distribution"
            )

    @property
    def skills(self) -> list[str]:
        """Names of the K skills."""
        return [f"skill_{position}" for position in range(self.n_skills)]

    @cached_property
    def resolved(self) -> Priors:
        """Priors as the fit uses them."""
        return self.priors.resolve(self.n_skills, self.n_scores * self.n_skills, self.n_agents)

    @property
    def n_scores(self) -> int:
        """Scores of each skill, on average."""
        return max(1, round((1.0 - self.missing) * self.n_agents))

    def seed_of(self, number: int) -> int:
        """Seed of a fit."""
        return int(np.random.SeedSequence([self.random_seed, number]).generate_state(1)[0])
