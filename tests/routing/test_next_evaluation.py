"""What to measure next: against nested simulation, and what must hold for any plan."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from known_truth import SKILLS, certain_population, conditional
from scipy.stats import norm
from stand_in import StandInProfile

from skillinfer_bayes import Task
from skillinfer_bayes.exceptions import (
    ConfigError,
    InputError,
    MetadataError,
    UnknownAgentError,
    UnknownSkillError,
)
from skillinfer_bayes.history.table import History
from skillinfer_bayes.routing.compare import compare
from skillinfer_bayes.routing.next_evaluation import METHODS, next_evaluations
from skillinfer_bayes.routing.utility import Utility
from skillinfer_bayes.testing import fake_population, simulate_history

TASK = Task({"code": 1.0, "math": 0.5})
GIVEN = {"a": {"math": 104.0}, "b": {"math": 101.0}, "c": {}, "d": {"math": 90.0, "prose": 99.0}}
N_DRAWS = 4000


@pytest.fixture(scope="module")
def population():
    return certain_population(N_DRAWS)


@pytest.fixture(scope="module")
def agents(population):
    return {name: population.profile(name).observe_many(known) for name, known in GIVEN.items()}


def task_moments(population, known):
    """Mean and variance of the task's score, and of what measuring each skill would add to it."""
    mean, cov = conditional(population, known)
    weights = np.array([1 / 3, 2 / 3, 0.0])
    error = (0.05 * population.scales.spread) ** 2
    gain = (cov @ weights) ** 2 / (np.diag(cov) + error)
    return float(weights @ mean), float(weights @ cov @ weights), gain


class TestRegret:
    def test_single_gains_equal_the_knowledge_gradient(self, population, agents):
        plan = next_evaluations(agents, TASK)
        moments = {name: task_moments(population, known) for name, known in GIVEN.items()}
        best = max(mean for mean, _, _ in moments.values())
        for row in plan.table.itertuples():
            mean, _, gains = moments[row.agent]
            others = max(moments[name][0] for name in GIVEN if name != row.agent)
            sd = np.sqrt(gains[SKILLS.index(row.skill)])
            z = (mean - others) / sd
            truth = others + sd * (z * norm.cdf(z) + norm.pdf(z)) - best
            assert row.gain == pytest.approx(truth, abs=0.02 + 0.1 * truth)

    def test_single_gains_equal_nested_conditioning(self):
        """Draws that differ, and a link: condition on what may be measured, and look."""
        simulation = simulate_history(40, 5, random_seed=3)
        population = fake_population(simulation.scores, draws=1000, tails="agent")
        table = simulation.complete.head(4).copy()
        table.iloc[:, 2:] = np.nan
        task = {"skill_2": 1.0, "skill_3": 1.0, "skill_4": 0.3}
        profiles = population.profiles(table)
        plan = next_evaluations(profiles, task)
        now = profiles.match_scores(task)["score"]
        drawn = profiles.draws(kind="score")
        nodes = (np.arange(25) + 0.5) / 25
        for row in plan.table.iloc[::2].itertuples():
            scores = drawn.sel(agent=row.agent, skill=row.skill).values.reshape(-1)
            rows = pd.concat([table.loc[[row.agent]]] * len(nodes), ignore_index=True)
            rows[row.skill] = np.quantile(scores, nodes)
            rows.index = rows.index.map(str)
            means = population.profiles(rows).match_scores(task)["score"].to_numpy()
            means = means - means.mean() + now[row.agent]
            truth = np.maximum(means, now.drop(row.agent).max()).mean() - now.max()
            assert row.gain == pytest.approx(truth, abs=0.002 + 0.1 * truth)

    def test_regret_now_is_that_of_the_comparison(self, agents):
        plan = next_evaluations(agents, TASK)
        assert plan.expected_regret == pytest.approx(compare(TASK, agents).regret)
        assert (plan.table["gain"] <= plan.expected_regret + 1e-9).all()

    def test_a_batch_that_measures_all_but_removes_the_regret(self, agents):
        plan = next_evaluations(agents, TASK, budget=100.0)
        assert plan.table["gain"].sum() == pytest.approx(plan.expected_regret, rel=0.08)
        assert not plan.table.duplicated(["agent", "skill"]).any()
        assert (plan.table["gain"] > 0.0).all()
        assert "d" not in set(plan.table["agent"].head(3))  # which is far behind

    def test_a_batch_does_not_measure_the_same_thing_twice(self):
        """Code and its near copy: once one is known, the other tells nothing."""
        covariance = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.999], [0.0, 0.999, 1.0]])
        population = certain_population(2000, covariance=covariance)
        pair = {name: population.profile(name) for name in ("x", "y")}
        plan = next_evaluations(pair, {"code": 1.0}, budget=2.0)
        assert sorted(plan.table["agent"]) == ["x", "y"]

    def test_looks_ahead_where_one_measurement_changes_nothing(self):
        """A sum of two skills, far behind: only both together can bring it to the front."""
        population = certain_population(4000, covariance=np.eye(3))
        ahead = dict(zip(SKILLS, population.scales.location + 20.0, strict=True))
        pair = {
            "known": population.profile("known").observe_many(ahead),
            "new": population.profile("new"),
        }
        task = {"math": 1.0, "code": 1.0}
        assert next_evaluations(pair, task, budget=1.0).table.empty
        together = next_evaluations(pair, task, budget=2.0)
        assert len(together.table) == 2
        assert together.table["gain"].iloc[0] < 0.1 * together.table["gain"].iloc[1]

    def test_cost_decides_between_equals(self, population):
        pair = {name: population.profile(name) for name in ("x", "y")}
        costs = pd.DataFrame({"code": [5.0, 1.0], "math": [5.0, 5.0]}, index=["x", "y"])
        plan = next_evaluations(pair, TASK, costs=costs)
        assert tuple(plan.table.loc[0, ["agent", "skill"]]) == ("y", "code")
        assert set(plan.table["skill"]) == {"code", "math"}

    def test_utility_moves_the_attention(self, agents):
        metadata = {name: {"cost_per_1k": 50.0 * (name in "ab")} for name in agents}
        plan = next_evaluations(
            agents, TASK, utility=Utility(cost=1.0), metadata=metadata, budget=2.0
        )
        assert set(plan.table["agent"]) <= {"c", "d"}
        found = compare(TASK, agents, utility=Utility(cost=1.0), metadata=metadata)
        assert plan.expected_regret == pytest.approx(found.regret)

    def test_says_when_measuring_is_worth_nothing(self, population):
        profile = population.profile
        clear = {
            "best": profile("best").observe_many(dict.fromkeys(SKILLS, 120.0)),
            "worst": profile("worst").observe_many({"math": 60.0, "code": 60.0}),
        }
        plan = next_evaluations(clear, TASK, budget=5.0)
        assert not plan.worth_measuring
        assert plan.table.empty
        assert plan.cost == 0.0
        assert "no measurement is worth its cost" in plan.verdict
        single = next_evaluations(clear, TASK)
        assert not single.worth_measuring
        assert single.verdict.endswith("choosing now is 0, and none can lower it enough")

    @pytest.mark.parametrize("options", [{}, {"budget": 5.0}, {"task": None}])
    def test_says_when_nothing_is_left_to_measure(self, population, agents, options):
        known = dict.fromkeys(SKILLS, 100.0)
        full = {name: population.profile(name).observe_many(known) for name in ("x", "y")}
        for given, more in ((full, {}), (agents, {"skills": []}), (agents, {"costs": {}})):
            plan = next_evaluations(given, **({"task": TASK} | options | more))
            assert not plan.worth_measuring
            assert plan.table.empty
            assert plan.verdict.startswith("nothing can be measured: every skill was observed")
        assert next_evaluations(full, repeat=True).worth_measuring

    @pytest.mark.parametrize("task", [TASK, None])
    def test_says_when_the_budget_pays_for_nothing(self, agents, task):
        plan = next_evaluations(agents, task, budget=0.5, costs={"math": 2.0, "code": 1.5})
        assert not plan.worth_measuring
        assert plan.verdict == "the budget of 0.5 pays for nothing: the cheapest costs 1.5"

    def test_a_price_on_measuring(self, agents):
        free = next_evaluations(agents, TASK, budget=10.0)
        floor = float(free.table["gain_per_cost"].iloc[0]) * 2.0
        dear = next_evaluations(agents, TASK, budget=10.0, min_gain_per_cost=floor)
        assert dear.table.empty
        single = next_evaluations(agents, TASK, min_gain_per_cost=floor)
        assert not single.worth_measuring
        assert floor < single.expected_regret
        assert "several together may be, which a `budget` would show" in single.verdict
        dearer = next_evaluations(agents, TASK, min_gain_per_cost=floor * 2.0)
        assert "several" not in dearer.verdict

    def test_one_agent_leaves_nothing_to_choose(self, agents):
        plan = next_evaluations({"a": agents["a"]}, TASK, budget=3.0)
        assert plan.expected_regret == 0.0
        assert not plan.worth_measuring
        single = next_evaluations({"a": agents["a"]}, TASK)
        assert single.verdict.endswith("choosing now is 0, and none can lower it enough")


class TestOtherMethods:
    def test_shrinkage_without_a_task_equals_conditioning(self, population, agents):
        plan = next_evaluations(agents)
        assert plan.method == "shrinkage"
        assert plan.expected_regret is None
        for row in plan.table.itertuples():
            known = GIVEN[row.agent]
            before = np.trace(conditional(population, known)[1])
            after = np.trace(conditional(population, {**known, row.skill: 100.0})[1])
            assert row.gain == pytest.approx(before - after, rel=0.12)

    def test_shrinkage_of_the_task(self, population, agents):
        plan = next_evaluations(agents, TASK, method="shrinkage")
        for row in plan.table.itertuples():
            gain = task_moments(population, GIVEN[row.agent])[2][SKILLS.index(row.skill)]
            assert row.gain == pytest.approx(gain, abs=1.0, rel=0.12)

    def test_information_of_the_task(self, population, agents):
        plan = next_evaluations(agents, TASK, method="information")
        for row in plan.table.itertuples():
            _, variance, gains = task_moments(population, GIVEN[row.agent])
            truth = -0.5 * np.log1p(-gains[SKILLS.index(row.skill)] / variance)
            assert row.gain == pytest.approx(truth, abs=0.05, rel=0.1)

    def test_variance_is_the_skills_own(self, population, agents):
        plan = next_evaluations(agents, method="variance")
        for row in plan.table.itertuples():
            truth = conditional(population, GIVEN[row.agent])[1]
            place = SKILLS.index(row.skill)
            assert row.gain == pytest.approx(truth[place, place], rel=0.12)

    def test_a_task_leaves_out_the_variance_of_other_skills(self, agents):
        plan = next_evaluations(agents, TASK, method="variance", budget=100.0)
        assert "prose" not in set(plan.table["skill"])

    def test_skills_on_different_scales_count_alike(self):
        rng = np.random.default_rng(4)
        scores = pd.DataFrame({"elo": 1000 + 300 * rng.standard_normal(40), "code": rng.random(40)})
        population = fake_population(scores.rename(index=str), draws=500)
        plan = next_evaluations({"new": population.profile("new")}, method="variance")
        assert 0.1 < plan.table["gain"].min() / plan.table["gain"].max() <= 1.0


class TestAnyMethod:
    @pytest.mark.parametrize("method", METHODS)
    def test_stays_within_the_budget_and_measures_nothing_twice(self, agents, method):
        costs = {"math": 1.0, "code": 2.0, "prose": 0.7}
        plan = next_evaluations(agents, TASK, budget=4.0, costs=costs, method=method)
        assert 0.0 < plan.cost <= 4.0 + 1e-9
        assert not plan.table.duplicated(["agent", "skill"]).any()
        for row in plan.table.itertuples():
            assert row.skill not in GIVEN[row.agent]
            assert row.cost == costs[row.skill]
            assert row.gain_per_cost == pytest.approx(row.gain / row.cost)

    @pytest.mark.parametrize("method", METHODS)
    def test_every_candidate_is_rated_without_a_budget(self, agents, method):
        plan = next_evaluations(agents, TASK, method=method)
        assert len(plan.table) == sum(3 - len(known) for known in GIVEN.values())
        assert plan.table["gain_per_cost"].is_monotonic_decreasing
        assert (plan.table["gain"] >= 0.0).all()

    @pytest.mark.parametrize("task", [TASK, None])
    def test_variance_and_information_stand_beside_the_gain(self, agents, task):
        cells = ["agent", "skill"]
        plan = next_evaluations(agents, task, budget=3.0)
        for name in ("variance", "information"):
            alone = next_evaluations(agents, task, method=name).table.set_index(cells)
            assert (alone[name] == alone["gain"]).all()
            shown = plan.table.set_index(cells)[name]
            assert np.allclose(shown, alone.loc[shown.index, "gain"], rtol=1e-12, atol=0.0)
        assert (plan.table["variance"] > 0.0).any()

    def test_a_budget_that_costs_use_up_exactly(self, agents):
        plan = next_evaluations(agents, budget=0.3, costs=0.1)
        assert len(plan.table) == 3

    def test_repeats_only_if_asked_for(self, agents):
        known = set(map(tuple, next_evaluations(agents).table[["agent", "skill"]].to_numpy()))
        assert ("a", "math") not in known
        table = next_evaluations(agents, repeat=True).table
        assert len(table) == 12
        again = table.set_index(["agent", "skill"])["gain"]
        # what was measured well can hardly become narrower
        assert again["a", "math"] < 0.05 * again["a", "code"]

    @pytest.mark.parametrize("repeat", [1, 0, 2, "no", None])
    def test_flags_are_true_or_false(self, agents, repeat):
        with pytest.raises(ConfigError, match="`repeat` must be True or False, got"):
            next_evaluations(agents, repeat=repeat)

    def test_skills_that_can_be_measured(self, agents):
        assert set(next_evaluations(agents, skills=["prose"]).table["skill"]) == {"prose"}
        assert next_evaluations(agents, skills=[]).table.empty
        costs = pd.DataFrame({"prose": [1.0, np.nan, 1.0, 1.0]}, index=list("abcd"))
        assert set(next_evaluations(agents, costs=costs).table["agent"]) == {"a", "c"}

    def test_budget_and_costs_come_third_and_fourth(self, agents):
        costs = {"math": 1.0, "code": 2.0}
        plan = next_evaluations(agents, TASK, 3.0, costs)
        named = next_evaluations(agents, TASK, budget=3.0, costs=costs)
        pd.testing.assert_frame_equal(plan.table, named.table)

    def test_the_same_every_time_and_for_a_table(self, population, agents):
        first = next_evaluations(agents, TASK, budget=3.0)
        table = pd.DataFrame.from_dict(GIVEN, orient="index")
        second = next_evaluations(population.profiles(table), TASK, budget=3.0)
        pd.testing.assert_frame_equal(first.table, second.table)

    def test_prints_the_verdict_and_ten_rows(self, population, agents):
        plan = next_evaluations(agents, TASK, budget=2.0)
        verdict, header, *rows = repr(plan).splitlines()
        assert verdict == plan.verdict
        assert header.split() == list(plan.table.columns)
        assert len(rows) == 2
        many = {f"new_{row}": population.profile(f"new_{row}") for row in range(4)}
        assert repr(next_evaluations(many, TASK)).endswith("\n... and 2 more")
        nothing = next_evaluations({"a": agents["a"]}, TASK, budget=3.0)
        assert repr(nothing) == nothing.verdict

    def test_a_batch_of_one(self, agents):
        plan = next_evaluations(agents, TASK, budget=1.0)
        assert "of 'c' first; this, at a cost of 1, should lower" in plan.verdict

    def test_plain_data(self, agents):
        record = json.loads(json.dumps(next_evaluations(agents, TASK, budget=2.0).to_dict()))
        assert record["method"] == "regret"
        assert record["worth_measuring"] is True
        assert list(record["measurements"][0]) == [
            "agent",
            "skill",
            "cost",
            "gain",
            "gain_per_cost",
            "variance",
            "information",
        ]
        assert "first; 2 measurements, at a cost of 2, should lower" in record["verdict"]


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"method": "entropy"}, "`method` must be one of regret, shrinkage"),
            ({"method": "regret", "task": None}, "needs a `task`"),
            ({"budget": 0.0}, "`budget` must be a finite number above 0, got 0"),
            ({"budget": float("inf")}, "`budget` must be a finite number"),
            ({"budget": True}, "`budget` must be a finite number"),
            ({"budget": 10**400}, "`budget` must be a finite number"),
            ({"costs": 0.0}, "`costs` must be a finite number above 0"),
            ({"costs": 5e-324}, "`costs` must be at least 1e-100, got 5e-324"),
            ({"costs": {"code": -1.0}}, r"`costs\['code'\]` must be a finite number above 0"),
            ({"costs": "cheap"}, "`costs` must be a finite number above 0, got 'cheap'"),
            (
                {"min_gain_per_cost": -1.0},
                "`min_gain_per_cost` must be a finite number not negative",
            ),
            ({"skills": "code"}, r"`skills` must be a list of names, got 'code'"),
            ({"skills": 5}, "`skills` must be a list of names, got 5; leave it out"),
            (
                {"costs": pd.DataFrame({"code": [1.0] * 5}, index=list("abcda"))},
                "`costs` must have every agent once, got 'a' more than once",
            ),
            (
                {"costs": pd.DataFrame([[1.0, 2.0]] * 4, list("abcd"), ["code", "code"])},
                "`costs` must have every skill once, got 'code' more than once",
            ),
            ({"method": "variance", "utility": Utility()}, "`utility` must be left out"),
        ],
    )
    def test_options(self, agents, options, message):
        with pytest.raises(ConfigError, match=message):
            next_evaluations(agents, **({"task": TASK} | options))

    def test_a_table_of_costs_whose_agents_are_numbers(self, population):
        scores = pd.DataFrame({"math": [110.0, 95.0]}, index=[2, 1])
        costs = pd.DataFrame({"code": [1.0, 3.0]}, index=[1, 2])
        found = next_evaluations(population.profiles(scores), TASK, costs=costs).table
        assert dict(zip(found["agent"], found["cost"], strict=True)) == {"1": 1.0, "2": 3.0}

    def test_skills_in_an_array(self, agents):
        found = next_evaluations(agents, TASK, skills=np.array(["code"])).table
        assert set(found["skill"]) == {"code"}

    def test_names(self, agents):
        with pytest.raises(UnknownSkillError, match="did you mean 'code'"):
            next_evaluations(agents, {"cod": 1.0})
        with pytest.raises(UnknownSkillError, match="did you mean 'code'"):
            next_evaluations(agents, skills=["cod"])
        with pytest.raises(UnknownSkillError, match="did you mean 'code'"):
            next_evaluations(agents, costs={"cod": 1.0})
        with pytest.raises(UnknownAgentError, match="row for every agent, got none for 'b'"):
            next_evaluations(agents, costs=pd.DataFrame({"code": [1.0]}, index=["a"]))
        with pytest.raises(ConfigError, match=r"`costs\['code'\]` must be a finite number above 0"):
            next_evaluations(agents, costs=pd.DataFrame({"code": [-1.0] * 4}, index=list("abcd")))

    def test_profiles_and_metadata(self, agents):
        with pytest.raises(InputError, match="at least one profile"):
            next_evaluations({}, TASK)
        with pytest.raises(InputError, match="must hold profiles that a Population made"):
            next_evaluations({"a": StandInProfile({"code": (0.5, 0.1)})}, TASK)
        with pytest.raises(MetadataError, match="'cost_per_1k'"):
            next_evaluations(agents, TASK, utility=Utility(cost=1.0))


@pytest.mark.parametrize("other_scale", [False, True])
def test_variance_is_what_a_skill_brings_to_the_score(other_scale) -> None:
    scores = simulate_history(40, 4, random_seed=2).scores
    scores["skill_0"] = 0.5 + 0.02 * (scores["skill_0"] - 0.5)
    if other_scale:
        scores["skill_3"] = 1000.0 + 400.0 * scores["skill_3"]
    history = History.from_dataframe(scores, normalize=not other_scale)
    profile = fake_population(history, draws=2000).profile("a")
    task = {"skill_0": 3.0, "skill_1": 1.0}
    table = next_evaluations({"a": profile}, task, method="variance").table.set_index("skill")
    low, high = scores.min(), scores.max()
    for skill, weight in {"skill_0": 0.75, "skill_1": 0.25}.items():
        unit = 1.0 if other_scale else high[skill] - low[skill]
        expected = (weight * profile.predict(skill)["std"] / unit) ** 2
        assert table.at[skill, "gain"] == pytest.approx(expected, rel=0.08)
        assert table.at[skill, "variance"] == table.at[skill, "gain"]
    assert table.at["skill_3", "variance"] == 0.0
