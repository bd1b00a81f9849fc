"""Draws of several agents at once: shared posterior draws, and nothing else shared."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from example_tables import SKILLS, table_of

from skillinfer_bayes import History, Task
from skillinfer_bayes.exceptions import InputError, PopulationMismatchError
from skillinfer_bayes.history.measurement import DEFAULT_ERROR_SD
from skillinfer_bayes.profiles.joint import joint_draws, read_members, task_draws
from skillinfer_bayes.testing import fake_population

TASK = Task({"reasoning": 1.0, "writing": 0.5})


@pytest.fixture(scope="module", params=["normal", "agent", "cell"])
def long_population(request):
    return fake_population(table_of(60, seed=3), draws=1500, tails=request.param)


def three(population):
    table = table_of(3, seed=9)[["math", "code"]]
    return population.profiles(table)


def test_dims_and_names(population):
    draws = joint_draws(three(population))
    assert draws.dims == ("chain", "draw", "agent", "skill")
    assert list(draws["agent"].values) == ["model_0", "model_1", "model_2"]
    assert list(draws["skill"].values) == SKILLS
    assert draws.name == "skill_level"
    assert joint_draws(three(population), kind="score").name == "score"


def test_each_agent_has_the_draws_of_its_profile(long_population):
    profiles = three(long_population)
    joint, shared = joint_draws(profiles), profiles.draws()
    mean, sd = shared.mean(("chain", "draw")), shared.std(("chain", "draw"))
    error = np.sqrt(2.0 / shared.sizes["draw"] / shared.sizes["chain"])
    assert float((abs(joint.mean(("chain", "draw")) - mean) / sd).max()) < 5 * error
    assert float(abs(joint.std(("chain", "draw")) / sd - 1.0).max()) < 8 * error


def test_agents_are_independent_given_the_population(long_population):
    """With a population this certain, unobserved skills of two agents hardly correlate."""
    profiles = three(long_population)
    unobserved = ["reasoning", "writing", "creativity"]
    joint = joint_draws(profiles).sel(skill=unobserved).values.reshape(-1, 3, 3)
    for skill in range(3):
        off = np.corrcoef(joint[:, :, skill], rowvar=False)[np.triu_indices(3, 1)]
        assert np.abs(off).max() < 0.12
    shared = profiles.draws().sel(skill=unobserved).values.reshape(-1, 3, 3)
    assert np.corrcoef(shared[:, 0, 0], shared[:, 1, 0])[0, 1] > 0.5


def test_agents_share_what_is_uncertain_about_the_population(wide_population):
    """After eight agents the population's mean is vague, and moves all agents together."""
    names = [f"new_{number}" for number in range(12)]
    profiles = wide_population.profiles(pd.DataFrame(index=names, columns=SKILLS, dtype=float))
    joint = joint_draws(profiles).sel(skill="math").values.reshape(-1, len(names))
    off = np.corrcoef(joint, rowvar=False)[np.triu_indices(len(names), 1)]
    assert off.mean() > 0.05


def test_an_agents_draws_do_not_depend_on_the_others(population):
    profiles = three(population)
    one = population.profile("model_1").observe_many(profiles["model_1"].observations)
    alone = joint_draws({"model_1": one})
    whole = joint_draws(profiles)
    backwards = joint_draws({name: profiles[name] for name in reversed(profiles.agents)})
    assert np.allclose(whole.sel(agent=["model_1"]), alone, rtol=0.0, atol=1e-9)
    assert np.allclose(whole.sel(agent="model_2"), backwards.sel(agent="model_2"), atol=1e-9)


def test_a_score_measures_the_skill_of_the_same_draw(long_population):
    profile = long_population.profile("new").observe("math", 0.7)
    group = read_members({"new": profile})
    scales = group.context.scales
    skills, scores = (
        scales.to_working(values) for values in group.members[0].draws("skill", "score")
    )
    inside = (np.abs(skills) < 1.5) & (np.abs(scores) < 1.5)
    error = np.where(inside, scores - skills, np.nan)
    sd = np.nanstd(error, axis=0)
    heavy = long_population.posterior.by_cell or np.isfinite(long_population.posterior.nu).all()
    assert (sd < DEFAULT_ERROR_SD * (2.0 if heavy else 1.1)).all()
    assert (sd > DEFAULT_ERROR_SD * 0.7).all()


def test_a_counted_score_is_a_proportion_around_the_skill():
    scores = (table_of(40, seed=3) * 20).round() / 20
    population = fake_population(History.from_dataframe(scores, n_items=20), draws=500)
    group = read_members({"new": population.profile("new").observe("math", 0.7, n_items=20)})
    skills, measured = group.members[0].draws("skill", "score")
    assert np.allclose(measured * 20, np.round(measured * 20))
    z = (measured - skills) / np.sqrt(np.maximum(skills * (1 - skills), 1e-9) / 20)
    inside = (skills > 0.1) & (skills < 0.9)
    assert abs(z[inside].mean()) < 0.05
    assert 0.6 < z[inside].std() < 1.1  # the engine knows how binomial repeats of items are


def test_task_draws_are_the_weighted_mean_of_joint_draws(population):
    profiles = three(population)
    found = task_draws(read_members(profiles), TASK, kind="skill")
    joint = joint_draws(profiles)
    expected = (joint.sel(skill="reasoning") + 0.5 * joint.sel(skill="writing")) / 1.5
    assert found.dims == ("chain", "draw", "agent")
    assert np.allclose(found.values, expected.values)


def test_profiles_that_cannot_be_compared_are_refused(population, wide_population):
    with pytest.raises(InputError, match="at least one profile, got an empty one"):
        read_members({})
    with pytest.raises(InputError, match="mapping with at least one profile, got list"):
        read_members([population.profile()])
    with pytest.raises(InputError, match=r"got str for 'a'; use `Population\.profile`"):
        read_members({"a": "profile"})
    with pytest.raises(PopulationMismatchError, match="must be of one population"):
        read_members({"a": population.profile(), "b": wide_population.profile()})
