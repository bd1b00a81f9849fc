"""What to measure next: which score of which agent would help most for its cost.

Everything is judged before anything is measured, from joint posterior draws of what agents can
do and of the scores that measuring them would give (see `skillinfer_bayes.profiles.preposterior`).
The population is taken as it is: a measurement tells about its own agent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skillinfer_bayes.exceptions import ConfigError, closest_match_hint
from skillinfer_bayes.history.cells import read_flag
from skillinfer_bayes.profiles.context import Context
from skillinfer_bayes.profiles.joint import Member, Members, read_members
from skillinfer_bayes.profiles.task import Skill, Task, as_task
from skillinfer_bayes.routing.interfaces import ProfileLike
from skillinfer_bayes.routing.measurement_costs import Costs, check_number, read_costs
from skillinfer_bayes.routing.orderings import expected_regrets
from skillinfer_bayes.routing.planning import (
    SLACK,
    Candidates,
    Step,
    plan_by_moments,
    plan_by_regret,
    rate_by_moments,
    rate_by_regret,
    told_alone,
)
from skillinfer_bayes.routing.utility import Utility, UtilityFunction, utility_draws

type FloatArray = NDArray[np.float64]
type BoolArray = NDArray[np.bool_]
type Method = Literal["regret", "shrinkage", "information", "variance"]

METHODS: tuple[str, ...] = get_args(Method.__value__)
# How the verdict puts a gain.
GAINS = {
    "regret": "lower the expected regret by {:.2g}",
    "shrinkage": "lower the variance by {:.2g}",
    "information": "tell {:.2g} nats",
    "variance": "measure a variance of {:.2g}",
}

# A plan that is printed ends here.
SHOWN_ROWS = 10


@dataclass(frozen=True, eq=False, repr=False)
class EvaluationPlan:
    """What to measure next, and what that is expected to bring.

    Attributes
    ----------
    table : DataFrame
        A row per measurement, the first one to make first: `agent`, `skill`, `cost`, `gain`,
        `gain_per_cost`. With a budget, a batch: each gain is what the row adds to those above it.
        Without one, every possible measurement, each on its own. Beside the gain, to compare with:
        `variance` and `information`, which the methods of these names would give to the
        measurement alone.
    method : str
        What the gain is: `"regret"` expected reduction of the choice's regret, in the units of
        the match score or the utility; `"shrinkage"` reduction of variance; `"information"` nats;
        `"variance"` variance of what is measured.
    expected_regret : float or None
        Expected regret of choosing now, which measuring can lower by no more than that; None
        without a task.
    worth_measuring : bool
        Whether any measurement is worth its cost.
    verdict : str
        The same in a sentence.
    """

    table: pd.DataFrame
    method: str
    expected_regret: float | None
    worth_measuring: bool
    verdict: str

    @property
    def cost(self) -> float:
        """Cost of all measurements of the table."""
        return float(self.table["cost"].sum())

    def __repr__(self) -> str:
        rows = self.table.head(SHOWN_ROWS).to_string(float_format="{:.4g}".format)
        more = len(self.table) - SHOWN_ROWS
        tail = f"\n... and {more} more" if more > 0 else ""
        return f"{self.verdict}\n{rows}{tail}" if len(self.table) else self.verdict

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain data that JSON can hold."""
        return {
            "method": self.method,
            "expected_regret": self.expected_regret,
            "worth_measuring": self.worth_measuring,
            "verdict": self.verdict,
            "measurements": self.table.to_dict(orient="records"),
        }


def next_evaluations(
    profiles: Mapping[str, ProfileLike],
    task: Task | Mapping[str, float] | Mapping[str | Skill, float] | None = None,
    budget: float | None = None,
    costs: Costs = 1.0,
    *,
    method: Method | None = None,
    utility: Utility | UtilityFunction | None = None,
    metadata: Mapping[str, Mapping[str, object]] | None = None,
    skills: Sequence[str] | None = None,
    repeat: bool = False,
    min_gain_per_cost: float = 0.0,
) -> EvaluationPlan:
    """Find the measurements that help most for their cost.

    Parameters
    ----------
    profiles : mapping of str to Profile, or Profiles
        The agents that can be chosen, of one population.
    task : Task or mapping of str or Skill to float, optional
        The decision to improve. Without one the whole profiles are to become narrower.
    budget : float, optional
        Most that a batch may cost. The batch is built greedily, each measurement given what those
        before it would tell; where one measurement alone cannot change the choice, several of an
        agent are looked at together. Without a budget, all possible measurements are rated one
        by one.
    costs : float, mapping from skill to float, or DataFrame of agents by skills; default 1.0
        What measurements cost, above 0. Skills that a mapping or a DataFrame leaves out, and
        cells that are NaN, cannot be measured.
    method : {"regret", "shrinkage", "information", "variance"}, optional
        `"regret"`, the default with a task: expected reduction of the expected regret of the
        choice. `"shrinkage"`, the default without: expected reduction of the variance of the
        task's score, or of all skills. `"information"`: about the task's score, or the profile.
        `"variance"`: the variance that the measured skill has, or brings to the task's score.
        Without a task, skills on different scales count in units of their spread in the history.
    utility, metadata : optional
        As `compare`; for `"regret"`.
    skills : sequence of str, optional
        The skills that can be measured. Default: all.
    repeat : bool, default False
        Whether skills that were observed can be measured again.
    min_gain_per_cost : float, default 0.0
        A measurement whose gain is not above this times its cost is not worth making.

    Returns
    -------
    EvaluationPlan

    Raises
    ------
    InputError, PopulationMismatchError
        If the profiles cannot be used.
    UnknownSkillError, UnknownAgentError, TaskError
        If a name or the task does not fit the population.
    ConfigError
        If an option cannot be used.
    MetadataError
        If the utility needs metadata that are missing.

    References
    ----------
    .. [1] Raiffa and Schlaifer (1961). Applied Statistical Decision Theory. Harvard.
    .. [2] Frazier, Powell and Dayanik (2008). A knowledge-gradient policy for sequential
       information collection. doi:10.1137/070693424
    .. [3] Frazier and Powell (2010). Paradoxes in learning and the marginal value of
       information. doi:10.1287/deca.1100.0190
    """
    chosen = _check_method(method, task, utility)
    most = np.inf if budget is None else check_number("budget", budget)
    floor = check_number("min_gain_per_cost", min_gain_per_cost, zero=True)
    group = read_members(profiles)
    prices = read_costs(costs, group)
    again = read_flag("repeat", repeat)
    prices[~_measurable(group, skills, repeat=again)] = np.nan
    weights = None if task is None else group.context.weights(as_task(task))
    pairs = zip(group.members, prices, strict=True)
    drawn = [_candidates(member, row, weights) for member, row in pairs]
    regret = None
    if weights is not None:
        drawn, regret = _valued(drawn, group, utility, metadata)
    if chosen == "regret":
        steps = rate_by_regret(drawn) if budget is None else plan_by_regret(drawn, most, floor)
    elif budget is None:
        steps = rate_by_moments(drawn, chosen)
    else:
        steps = plan_by_moments(drawn, chosen, most, floor)
    table = _table(steps, drawn, group)
    worth = bool(len(table)) and (
        budget is not None or bool((table["gain"] > floor * table["cost"]).any())
    )
    obstacle = _obstacle(prices, budget)
    if obstacle:
        verdict = obstacle
    else:
        batch = budget is not None
        verdict = _verdict(table, chosen, regret, worth=worth, batch=batch, floor=floor)
    return EvaluationPlan(table, chosen, regret, worth, verdict)


def _candidates(member: Member, prices: FloatArray, weights: FloatArray | None) -> Candidates:
    """Draw one agent's skills and the scores that measuring them would give."""
    context = member.context
    skills, scores = member.draws("skill", "score")
    positions = np.flatnonzero(~np.isnan(prices))
    unit = _units(context)
    parts = skills / unit if weights is None else context.to_task_units(skills) * weights
    return Candidates(
        value=np.empty(0) if weights is None else parts.sum(axis=1),
        skills=parts,
        scores=scores[:, positions] / unit[positions],
        working=context.scales.to_working(scores)[:, positions],
        positions=positions,
        costs=prices[positions],
    )


def _units(context: Context) -> FloatArray:
    """Score units by which skills are divided to be added up, (K,)."""
    scales = context.scales
    if len({item.bounds for item in scales.scales}) == 1:
        return np.ones(len(scales))
    centre = scales.from_working(np.zeros(len(scales)))
    unit: FloatArray = 1.0 / scales.derivative(centre)
    return unit


def _valued(
    drawn: list[Candidates],
    group: Members,
    utility: Utility | UtilityFunction | None,
    metadata: Mapping[str, Mapping[str, object]] | None,
) -> tuple[list[Candidates], float]:
    """Draws with utilities in place of match scores, and the expected regret of choosing now."""
    values = np.stack([one.value for one in drawn], axis=1)
    if utility is not None:
        labelled = utility_draws(group.label(values, "match_score"), utility, metadata)
        values = labelled.values.reshape(values.shape)
        drawn = [one._replace(value=own) for one, own in zip(drawn, values.T, strict=True)]
    return drawn, float(expected_regrets(values).min())


def _measurable(group: Members, skills: Sequence[str] | None, *, repeat: bool) -> BoolArray:
    """Which cells may be measured, (A, K)."""
    context = group.context
    given: object = skills
    if isinstance(given, str):
        raise ConfigError(f"`skills` must be a list of names, got {skills!r}; write [{skills!r}]")
    if given is not None and not isinstance(given, Iterable):
        raise ConfigError(
            f"`skills` must be a list of names, got {skills!r}; leave it out to measure any"
        )
    asked = np.full(len(context.skills), skills is None)
    asked[[context.index(name) for name in (() if skills is None else skills)]] = True
    observed = np.concatenate([member.evidence.observed for member in group.members])
    allowed: BoolArray = asked & (~observed | repeat)
    return allowed


def _table(steps: Sequence[Step], drawn: Sequence[Candidates], group: Members) -> pd.DataFrame:
    agents, skills = group.agents, group.context.skills
    told = {agent: _told(drawn[agent]) for agent in {step.agent for step in steps}}
    alone = [told[step.agent][step.skill] for step in steps]
    columns = {
        "agent": pd.Series([agents[step.agent] for step in steps], dtype="str"),
        "skill": pd.Series([skills[step.skill] for step in steps], dtype="str"),
        "cost": pd.Series([step.cost for step in steps], dtype=float),
        "gain": pd.Series([step.gain for step in steps], dtype=float),
    }
    table = pd.DataFrame(columns)
    return table.assign(
        gain_per_cost=table["gain"] / table["cost"],
        variance=pd.Series([variance for variance, _ in alone], dtype=float),
        information=pd.Series([information for _, information in alone], dtype=float),
    )


def _told(one: Candidates) -> dict[int, tuple[float, float]]:
    """Find what each of an agent's measurements has of variance and information, by skill."""
    pairs = zip(*(rated.tolist() for rated in told_alone(one)), strict=True)
    return dict(zip(one.positions.tolist(), pairs, strict=True))


def _obstacle(prices: FloatArray, budget: float | None) -> str | None:
    """Why no measurement can be made at all, whatever it would tell; None where one can."""
    known = prices[~np.isnan(prices)]
    if not len(known):
        return (
            "nothing can be measured: every skill was observed, or is left out of `skills` or "
            "`costs`; `repeat=True` would allow measuring again"
        )
    cheapest = float(known.min())
    if budget is not None and cheapest > budget * SLACK:
        return f"the budget of {budget:g} pays for nothing: the cheapest costs {cheapest:g}"
    return None


def _verdict(
    table: pd.DataFrame,
    method: str,
    regret: float | None,
    *,
    worth: bool,
    batch: bool,
    floor: float,
) -> str:
    """Whether measuring is worth its cost, in a sentence."""
    if worth:
        first = table.iloc[0]
        gain = float(table["gain"].sum() if batch else first["gain"])
        if method == "regret" and regret is not None:
            gain = min(gain, regret)  # which few draws can exceed by their noise
        many = f"{len(table)} measurements" if batch and len(table) > 1 else "this"
        cost = f"{table['cost'].sum() if batch else first['cost']:g}"
        begin = f"measure {first['skill']!r} of {first['agent']!r} first"
        return f"{begin}; {many}, at a cost of {cost}, should {GAINS[method].format(gain)}"
    if method == "regret" and regret is not None:
        known = f"the expected regret of choosing now is {regret:.2g}"
        if batch:
            return f"no measurement is worth its cost: {known}, and none would lower it enough"
        if regret <= floor * float(table["cost"].min()):
            return f"no measurement is worth its cost: {known}, and none can lower it enough"
        return (
            f"no single measurement is worth its cost: {known}; several together may be, which a "
            "`budget` would show"
        )
    return f"no measurement gains more than {floor:g} per unit of cost"


def _check_method(method: object, task: object, utility: object) -> str:
    if method is None:
        method = "shrinkage" if task is None else "regret"
    if not isinstance(method, str) or method not in METHODS:
        hint = closest_match_hint(method, METHODS)
        raise ConfigError(f"`method` must be one of {', '.join(METHODS)}, got {method!r}; {hint}")
    if method == "regret" and task is None:
        raise ConfigError(
            "`method='regret'` needs a `task`, got none; pass one, or use 'shrinkage' to narrow "
            "the whole profile"
        )
    if utility is not None and method != "regret":
        raise ConfigError(
            f"`utility` must be left out for the method {method!r}, got {utility!r}; it changes "
            "which choice is best, which only 'regret' looks at"
        )
    return method
