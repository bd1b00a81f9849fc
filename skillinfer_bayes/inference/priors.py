"""What the model assumes before it sees a history, and how it is sampled.

Both are frozen, changed with `dataclasses.replace`, and read from mappings that may hold no
unknown key. Values are on the working scale, where each skill has mean 0 and spread 1.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from skillinfer_bayes.exceptions import ConfigError, HistoryError, closest_match_hint

if TYPE_CHECKING:
    from skillinfer_bayes.history.table import History

type Covariance = Literal["auto", "lkj", "factor_lkj", "factor", "factor_iw"]
type Tails = Literal["auto", "normal", "agent", "cell", "class"]
type Sampler = Literal["nutpie", "pymc", "numpyro"]

DENSE_UP_TO = 40
SKILLS_PER_FACTOR = 5
FEWEST_FACTORS, MOST_FACTORS = 2, 10
# What a few factors leave out, the inverse-Wishart adds.
MOST_FACTORS_OF_CENTRE = 3
SCORES_PER_FACTOR = 3
OWN_LOG_MEAN, WHOLE_LOG_MEAN = -0.7, 0.0
# Above these numbers of scores heavy tails cost more time than most users would wait.
AGENT_TAILS_UP_TO = 20_000
CELL_TAILS_UP_TO = 5_000
# With more holes the inverse-Wishart gains nothing and takes longer, as it does with more skills,
# all of which each gradient factorises.
LEAST_FILLED, CENTRE_SKILLS_UP_TO = 0.4, 250
CLASS_TAILS_UP_TO, CLASS_SKILLS_UP_TO = 2_000, 8
# Of fewer agents each grouping is an explanation of its own, between which chains hop.
CLASS_AGENTS_FROM = 15
COVARIANCES: tuple[str, ...] = get_args(Covariance.__value__)
TAILS: tuple[str, ...] = get_args(Tails.__value__)
SAMPLERS: tuple[str, ...] = get_args(Sampler.__value__)
# Samplers keep a seed in 64 bits.
LARGEST_SEED = 2**64 - 1


def _from_dict[T](cls: type[T], given: Mapping[str, Any], argument: str, example: str) -> T:
    """Build a frozen config from a mapping; a key that is no field is an error."""
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"`{argument}` must be a {cls.__name__} or a mapping, got {given!r}; write for "
            f"example {example}"
        )
    known = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for key in given:
        if key not in known:
            hint = closest_match_hint(key, known)
            raise ConfigError(f"unknown key {key!r} for {cls.__name__}; {hint}")
    return cls(**given)


def _require(config: object, name: str, *, low: float, strict: bool = False) -> None:
    """Check a number, and keep it as a plain one."""
    value = getattr(config, name)
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    number = float(value) if is_number and not isinstance(value, int) else value
    finite = is_number and abs(number) <= sys.float_info.max
    if not finite or (number <= low if strict else number < low):
        bound = f"above {low:g}" if strict else f"at least {low:g}"
        raise ConfigError(f"`{name}` must be a finite number {bound}, got {value!r}")
    object.__setattr__(config, name, number)


def _require_count(config: object, name: str, *, low: int, most: int | None = None) -> None:
    """Check a whole number, and keep it as a plain one."""
    value = getattr(config, name)
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < low or (most is not None and value > most):
        bound = f"of at least {low}" if most is None else f"from {low} to {most}"
        raise ConfigError(f"`{name}` must be a whole number {bound}, got {value!r}")
    object.__setattr__(config, name, int(value))


def _classes_show(n_skills: int, n_scores: int | None) -> bool:
    """Whether latent classes can be told apart in a history, and quickly."""
    if n_skills > CLASS_SKILLS_UP_TO:
        return False
    return n_scores is None or CLASS_AGENTS_FROM * n_skills <= n_scores <= CLASS_TAILS_UP_TO


def _centre_pays(n_skills: int, n_scores: int | None, n_agents: int | None) -> bool:
    """Whether an inverse-Wishart about the factors is worth its time, given many scores."""
    n_cells = n_skills * (n_agents or 0)
    filled = n_scores is None or n_scores >= LEAST_FILLED * n_cells
    return filled and n_skills <= CENTRE_SKILLS_UP_TO


@dataclass(frozen=True, kw_only=True)
class Priors:
    """Structure and hyperparameters of the covariance between skills.

    The model is written out in `skillinfer_bayes.inference.model`.

    Parameters
    ----------
    covariance : {"auto", "lkj", "factor_lkj", "factor", "factor_iw"}, default "auto"
        `"lkj"`: D Omega D alone. `"factor_lkj"`: shared factors plus D Omega D. `"factor"`: shared
        factors plus independent rests. `"factor_iw"`: an inverse-Wishart about the latter, which
        leaves room for whatever else many scores show; normal tails only. `"auto"`:
        `"factor_lkj"` up to 40 skills; beyond, `"factor_iw"` with more than 5,000 scores (or
        `tails="normal"`), two cells in five filled and at most 250 skills, else `"factor"`.
    tails : {"auto", "normal", "agent", "cell", "class"}, default "auto"
        What may be far from the pattern. `"normal"`: nothing. `"agent"`: all of an agent's skills
        together, which makes its row a multivariate Student-t. `"cell"`: each score on its own,
        and some agents more than others; `"factor"` only. `"class"`: agents come from latent
        classes, each with a mean and a scale of its own, so that the population may be lumpy,
        bent or heavy-tailed. `"auto"`: `"class"` for `"factor_lkj"` with at most 8 skills and
        15 scores or more of the average skill, `"cell"` for `"factor"` and `"agent"` otherwise,
        as long as the history is small enough for it to be quick (2,000 scores for `"class"`,
        5,000 for `"cell"`, 20,000 for `"agent"`); `"normal"` for `"factor_iw"`.
    rank : int, optional
        Number of shared factors. Default: one per five skills, at least 2, at most 10 (3 for
        `"factor_iw"`), and at most one per three scores of the average skill. With fewer factors
        than clusters of skills, chains hop between explanations of the same covariance and mix
        slowly.
    eta : float, default 8.0
        LKJ concentration of Omega; 1 is uniform over correlation matrices, larger values pull
        towards independence.
    mean_sd : float, default 1.5
        Prior sd of each skill's population mean about the history's, in units of the skill's
        spread. A few agents, or a sparse skill that only the best were measured in, say little.
    general_mean, general_sd : float, defaults 0.8 and 0.3
        Normal prior of g, the general factor's mean loading. The sign of a factor means nothing,
        so half of the prior is that of -g.
    loading_sd : float, default 0.3
        tau, the sd of the loadings about g (first factor) or zero (the others).
    own_log_mean : float, optional
        Prior mean of the mean of log D, D being each skill's own sd. Default: -0.7; with
        covariance `"lkj"`, where D is all there is, 0.
    own_log_sd : float, default 0.3
        Prior sd of the same.
    own_spread_sd : float, default 0.2
        Half-normal scale of the sd of log D between skills.
    centre_log_mean, centre_log_sd : float, defaults log 50 and 1
        Normal prior of log n0, covariance `"factor_iw"` only: how many agents' scores the factor
        model counts for, where the history's own covariance counts for its agents.
    unit_log_sd : float, default 1.0
        Prior sd of the log of a skill's scale, times the root of its number of scores: the
        history's own spread is the unit, and as wrong as few scores make it. Not for covariance
        `"lkj"` and tails `"cell"`.
    nu_log_mean, nu_log_sd : float, defaults log 5 and 0.5
        Normal prior of the log degrees of freedom of the Student-t; small means heavy tails.
    group_sd : float, default 0.5
        Half-normal scale of the sd of group effects on the factors.
    covariate_sd : float, default 0.5
        Prior sd of the effect of one standard deviation of a covariate on the factors.
    skill_spread_sd : float, default 0.5
        Half-normal scale of the sd, between skills, of the log of a skill's scale; `"cell"` tails
        only, where few scores say how widely a skill spreads.
    n_classes : int, default 6
        Number of latent classes, tails `"class"` only; more than needed does no harm.
    class_sd : float, default 2.0
        Half-normal scale of the distance between classes, in units of the distance between agents
        of a class.
    class_scale_sd : float, default 0.5
        Prior sd of the log of a class's scale.
    agent_noise_sd : float, default 0.3
        Half-normal scale of the sd, between agents, of log noise; `"cell"` tails only.

    Raises
    ------
    ConfigError
        If a value is of the wrong kind or outside its range.
    """

    covariance: Covariance = "auto"
    tails: Tails = "auto"
    rank: int | None = None
    eta: float = 8.0
    mean_sd: float = 1.5
    general_mean: float = 0.8
    general_sd: float = 0.3
    loading_sd: float = 0.3
    own_log_mean: float | None = None
    own_log_sd: float = 0.3
    own_spread_sd: float = 0.2
    centre_log_mean: float = math.log(50.0)
    centre_log_sd: float = 1.0
    unit_log_sd: float = 1.0
    nu_log_mean: float = math.log(5.0)
    nu_log_sd: float = 0.5
    group_sd: float = 0.5
    covariate_sd: float = 0.5
    skill_spread_sd: float = 0.5
    n_classes: int = 6
    class_sd: float = 2.0
    class_scale_sd: float = 0.5
    agent_noise_sd: float = 0.3

    def __post_init__(self) -> None:
        if self.covariance not in COVARIANCES:
            hint = closest_match_hint(self.covariance, COVARIANCES)
            raise ConfigError(f"`covariance` must be a known structure; {hint}")
        if self.tails not in TAILS:
            hint = closest_match_hint(self.tails, TAILS)
            raise ConfigError(f"`tails` must be one of {', '.join(TAILS)}; {hint}")
        if self.covariance == "factor_iw" and self.tails not in ("auto", "normal"):
            raise ConfigError(
                f"`covariance='factor_iw'` needs `tails='normal'`, got {self.tails!r}; "
                "use `covariance='factor'`"
            )
        if self.tails == "cell" and self.covariance not in ("auto", "factor"):
            raise ConfigError(
                f"`tails='cell'` needs `covariance='factor'`, got {self.covariance!r}; "
                "use `tails='agent'`"
            )
        if self.rank is not None:
            _require_count(self, "rank", low=1)
        _require_count(self, "n_classes", low=1)
        for field in dataclasses.fields(self):
            if field.name == "own_log_mean" and self.own_log_mean is None:
                continue
            if field.name == "eta" or field.name.endswith("_sd"):
                _require(self, field.name, low=0.0, strict=True)
            elif field.name.endswith("_mean"):
                _require(self, field.name, low=-math.inf)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Self:
        """Read priors from a mapping; ConfigError on an unknown key."""
        return _from_dict(cls, given, "priors", "{'covariance': 'factor'}")

    def to_dict(self) -> dict[str, Any]:
        """Give every field as plain data."""
        return dataclasses.asdict(self)

    @property
    def by_agent(self) -> bool:
        """Whether the likelihood needs every agent's row, however many are alike."""
        return self.tails in ("agent", "class")

    @property
    def has_omega(self) -> bool:
        """Whether skills may go together beyond their factors: structures with an LKJ prior."""
        return self.covariance in ("lkj", "factor_lkj")

    @property
    def own_log_centre(self) -> float:
        """`own_log_mean`, or its default for this structure."""
        if self.own_log_mean is not None:
            return self.own_log_mean
        return WHOLE_LOG_MEAN if self.covariance == "lkj" else OWN_LOG_MEAN

    def resolve_for(self, history: History) -> Priors:
        """Replace `"auto"` and a missing rank by what they mean for a history."""
        if not hasattr(history, "observed"):
            raise HistoryError(
                f"`history` must be a History, got {type(history).__name__}; make one with "
                "`History.from_dataframe`"
            )
        n_scores = int(history.observed.sum())
        return self.resolve(history.n_skills, n_scores, history.n_agents)

    def resolve(
        self, n_skills: int, n_scores: int | None = None, n_agents: int | None = None
    ) -> Priors:
        """Replace `"auto"` and a missing rank by what they mean for a history of some size.

        Parameters
        ----------
        n_skills : int
        n_scores : int, optional
            Scores in the history; without it, as for a history of enough agents.
        n_agents : int, optional
            Without it, as for a history without holes.
        """
        covariance, tails, rank = self.covariance, self.tails, self.rank
        if covariance == "auto":
            covariance = "factor"
            if n_skills <= DENSE_UP_TO and tails != "cell":
                covariance = "factor_lkj"
            elif tails in ("auto", "normal"):
                few = tails == "auto" and (n_scores or 0) <= CELL_TAILS_UP_TO
                if not few and _centre_pays(n_skills, n_scores, n_agents):
                    covariance = "factor_iw"
        if tails == "auto" and covariance == "factor_iw":
            tails = "normal"
        elif tails == "auto":
            by_cell = covariance == "factor"
            if (n_scores or 0) > (CELL_TAILS_UP_TO if by_cell else AGENT_TAILS_UP_TO):
                tails = "normal"
            else:
                tails = "cell" if by_cell else "agent"
                if covariance == "factor_lkj" and _classes_show(n_skills, n_scores):
                    tails = "class"
        if rank is None:
            most = MOST_FACTORS_OF_CENTRE if covariance == "factor_iw" else MOST_FACTORS
            rank = min(math.ceil(n_skills / SKILLS_PER_FACTOR), most)
            if n_scores is not None:
                rank = min(rank, n_scores // (SCORES_PER_FACTOR * n_skills))
            rank = max(rank, FEWEST_FACTORS)
        resolved = dataclasses.replace(
            self, covariance=covariance, tails=tails, rank=min(rank, n_skills)
        )
        return dataclasses.replace(resolved, own_log_mean=resolved.own_log_centre)


@dataclass(frozen=True, kw_only=True)
class SamplerSettings:
    """How posterior draws are taken.

    Parameters
    ----------
    sampler : {"nutpie", "pymc", "numpyro"}, default "nutpie"
        `"pymc"` is PyMC's own NUTS; `"numpyro"` needs the extra of that name.
    draws, tune : int, defaults 1000 and 1000
        Kept and discarded iterations per chain.
    chains : int, default 4
    target_accept : float, default 0.9
        Larger takes smaller steps: slower, and safer where divergences appear.
    cores : int, optional
        Chains that run at once. Default: as many as the machine has, at most `chains`.
    random_seed : int, optional
        From 0 to 2**64 - 1; makes the fit reproducible. Default: a fresh one, which the
        population records.

    Raises
    ------
    ConfigError
        If a value is of the wrong kind or outside its range.
    """

    sampler: Sampler = "nutpie"
    draws: int = 1000
    tune: int = 1000
    chains: int = 4
    target_accept: float = 0.9
    cores: int | None = None
    random_seed: int | None = None

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            hint = closest_match_hint(self.sampler, SAMPLERS)
            raise ConfigError(f"`sampler` must be one of {', '.join(SAMPLERS)}; {hint}")
        _require_count(self, "draws", low=4)
        _require_count(self, "tune", low=1)
        _require_count(self, "chains", low=1)
        if self.cores is not None:
            _require_count(self, "cores", low=1)
        if self.random_seed is not None:
            _require_count(self, "random_seed", low=0, most=LARGEST_SEED)
        _require(self, "target_accept", low=0.0, strict=True)
        if not self.target_accept < 1.0:
            raise ConfigError(f"`target_accept` must be below 1, got {self.target_accept!r}")

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Self:
        """Read settings from a mapping; ConfigError on an unknown key."""
        return _from_dict(cls, given, "settings", "{'draws': 2000}")

    def to_dict(self) -> dict[str, Any]:
        """Give every field as plain data."""
        return dataclasses.asdict(self)
