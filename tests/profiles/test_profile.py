"""One agent's profile: what goes in, what comes out, and what is refused."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
import pytest

from skillinfer_bayes import History, Profile, Scale, Skill, Task, build_prompt
from skillinfer_bayes.checks.uncertainty import uncertainty_path
from skillinfer_bayes.exceptions import (
    ConfigError,
    InputError,
    PopulationMismatchError,
    ScoreError,
    TaskError,
    ThresholdError,
    UnknownSkillError,
)
from skillinfer_bayes.testing import fake_population, simulate_history

TASK = Task({"math": 1.0, "reasoning": 0.8, "code": 0.3})


@pytest.fixture
def profile(population) -> Profile:
    return population.profile("newcomer")


def same(one: Profile, other: Profile) -> None:
    pd.testing.assert_frame_equal(one.predict(), other.predict(), check_exact=True)


class TestObserving:
    def test_every_form_says_the_same(self, population) -> None:
        forms = [
            population.profile().observe("code", 0.8),
            population.profile().observe(1, 0.8),
            population.profile().observe(Skill("code", score=0.8)),
            population.profile().observe(Skill("code"), 0.8),
            population.profile().observe_many({"code": 0.8}),
            population.profile().observe_many({Skill("code"): 0.8}),
            population.profile().observe_many([Skill("code", score=0.8)]),
        ]
        for form in forms[1:]:
            same(form, forms[0])

    def test_changes_the_profile_and_returns_it(self, profile) -> None:
        before = profile.mean("math")
        assert profile.observe("code", 0.95) is profile
        assert profile.observe_many({"writing": 0.9}) is profile
        assert profile.observed == {"code", "writing"}
        assert profile.mean("math") > before

    def test_order_leaves_no_trace(self, population) -> None:
        scores = {"math": 0.9, "writing": 0.3, "code": 0.7}
        first, *others = (
            population.profile().observe_many(dict(order))
            for order in itertools.permutations(scores.items())
        )
        for other in others:
            same(other, first)
            assert other.match_score(TASK, 0.5) == first.match_score(TASK, 0.5)

    def test_order_of_repeats_leaves_no_trace(self, population) -> None:
        measured = [(0.7, None), (0.9, 50), (0.8, 200), (0.75, None)]
        first, *others = (population.profile() for _ in itertools.permutations(measured))
        for target, order in zip((first, *others), itertools.permutations(measured), strict=True):
            for score, n_items in order:
                target.observe("math", score, n_items=n_items)
        for other in others:
            same(other, first)

    def test_item_counts_add_up(self, population) -> None:
        twice = population.profile().observe("math", 0.6, n_items=50)
        twice.observe("math", 0.9, n_items=150)
        once = population.profile().observe("math", 0.825, n_items=200)
        np.testing.assert_allclose(twice.mean(), once.mean(), rtol=1e-12)
        np.testing.assert_allclose(twice.std(), once.std(), rtol=1e-10)

    def test_repeats_make_a_score_surer(self, population) -> None:
        once = population.profile().observe("math", 0.8)
        twice = population.profile().observe("math", 0.8).observe("math", 0.8)
        assert twice.std("math") < once.std("math")
        assert twice.observations == {"math": 0.8}

    def test_a_precise_repeat_counts_for_more(self, population) -> None:
        pooled = population.profile().observe("math", 0.5, stderr=0.2)
        pooled.observe("math", 0.8, stderr=0.01)
        assert pooled.mean("math") == pytest.approx(0.8, abs=0.02)

    def test_repeats_are_shown_as_they_count(self, population) -> None:
        profile = population.profile().observe("math", 0.0, n_items=1)
        profile.observe("math", 0.6, n_items=999).observe("code", 0.4).observe("code", 0.5)
        profile.observe("writing", 0.9, stderr=0.001).observe("writing", 0.3, stderr=0.1)
        shown = profile.observations
        assert list(shown) == ["math", "code", "writing"]
        assert shown["math"] == pytest.approx(0.6 * 999 / 1000)
        assert shown["code"] == pytest.approx(0.45)
        assert shown["writing"] == pytest.approx(0.9, abs=0.01)
        for skill in shown:
            assert profile.interval(skill)[0] < shown[skill] < profile.interval(skill)[1]

    def test_numbers_as_keys_are_names(self) -> None:
        scores = simulate_history(30, 4, random_seed=6).scores
        population = fake_population(scores.set_axis([1, 2, 3, 4], axis="columns"))
        new = pd.Series({1: 0.9, np.int64(2): 0.2})
        assert population.profile().observe_many(new).observations == {"1": 0.9, "2": 0.2}
        path = uncertainty_path(population.profile(), {1: 0.9})
        assert path.loc[path["observed"], "skill"].tolist() == path["added"].unique().tolist()[1:]
        for ask in (population.profile().observe, population.profile().p_above):
            with pytest.raises(UnknownSkillError, match="position of '2'; write '1' for the skill"):
                ask(1, 0.5)
        with pytest.raises(UnknownSkillError, match="unknown skill '7'"):
            population.profile().observe_many({7: 0.5})

    def test_more_items_make_a_score_surer(self, population) -> None:
        spreads = [
            population.profile().observe("math", 0.8, n_items=items).std("math")
            for items in (10, 100, 1000)
        ]
        assert spreads == sorted(spreads, reverse=True)
        assert spreads[0] > 2 * spreads[2]

    def test_a_skill_brings_its_item_count(self, population) -> None:
        listed = population.profile().observe_many([Skill("math", score=0.8, n_items=30)])
        same(listed, population.profile().observe("math", 0.8, n_items=30))

    def test_several_are_taken_in_together_or_not_at_all(self, profile) -> None:
        profile.observe("code", 0.7)
        before = profile.predict()
        for bad in ({"math": 0.8, "writing": 7.0}, {"math": 0.8, "wirting": 0.7}):
            with pytest.raises(InputError, match="writing"):
                profile.observe_many(bad)
            assert profile.observations == {"code": 0.7}
            pd.testing.assert_frame_equal(profile.predict(), before)

    def test_nothing_observed_is_the_population(self, profile, population) -> None:
        assert profile.observations == {}
        assert set(profile.predict()["source"]) == {"inferred"}
        profile.observe_many({})
        same(profile, population.profile())


class TestPredicting:
    def test_one_skill_is_a_dict(self, profile) -> None:
        row = profile.observe("code", 0.8).predict("math")
        assert list(row) == ["skill", "mean", "std", "lower", "upper", "source"]
        assert row["skill"] == "math"
        assert 0.0 <= row["lower"] < row["mean"] < row["upper"] <= 1.0

    def test_all_skills_are_a_table(self, profile, population) -> None:
        table = profile.predict()
        assert list(table.columns) == ["mean", "std", "lower", "upper", "source"]
        assert tuple(table.index) == population.history.skills == profile.skills
        assert table.index.name == "skill"
        for skill in profile.skills:
            row = profile.predict(skill)
            assert row == {"skill": skill, **table.loc[skill].to_dict()}
            assert profile.predict(Skill(skill)) == row

    def test_source_tells_what_was_given_not_what_is_certain(self, profile) -> None:
        profile.observe("math", 0.8, n_items=2)
        sources = profile.predict()["source"]
        assert sources["math"] == "observed"
        assert set(sources.drop("math")) == {"inferred"}
        assert profile.predict("math")["std"] > 0.05

    def test_a_table_can_be_changed_without_harm(self, profile) -> None:
        table = profile.predict()
        table["mean"] = 0.0
        assert (profile.predict()["mean"] > 0.0).all()

    def test_mean_and_std_of_one_or_all(self, profile) -> None:
        table = profile.predict()
        pd.testing.assert_series_equal(profile.mean(), table["mean"])
        pd.testing.assert_series_equal(profile.std(), table["std"])
        assert profile.mean("code") == table.loc["code", "mean"]
        assert profile.std(Skill("code")) == table.loc["code", "std"]

    def test_interval_is_that_of_the_prediction(self, profile) -> None:
        row = profile.predict("code", ci_prob=0.5, kind="score")
        assert profile.interval("code", 0.5, kind="score") == (row["lower"], row["upper"])

    def test_p_above_falls_from_one_to_zero(self, profile) -> None:
        chances = [profile.p_above("math", at) for at in (0.0, 0.3, 0.6, 0.9, 1.0)]
        assert chances == sorted(chances, reverse=True)
        assert chances[0] > 0.95
        assert chances[-1] == 0.0

    def test_most_uncertain_comes_first(self, profile) -> None:
        profile.observe("math", 0.8)
        table = profile.most_uncertain(3)
        assert len(table) == 3
        assert table["std"].is_monotonic_decreasing
        assert profile.most_uncertain(99).index[-1] == "math"

    @pytest.mark.parametrize("k", [0, -1, True])
    def test_most_uncertain_needs_a_count(self, profile, k) -> None:
        with pytest.raises(InputError, match="`k` must be a whole number of at least 1, got"):
            profile.most_uncertain(k)

    def test_draws_have_the_four_dims(self, profile) -> None:
        draws = profile.observe("math", 0.8).draws()
        assert draws.dims == ("chain", "draw", "agent", "skill")
        assert list(draws["agent"].values) == ["newcomer"]
        assert float(draws.sel(skill="math").std()) < float(draws.sel(skill="writing").std())

    def test_says_what_it_is(self, profile) -> None:
        assert repr(profile) == "Profile('newcomer', 5 skills, observed: -)"
        assert "observed: math=0.8" in repr(profile.observe("math", 0.8))


class TestMatchScore:
    def test_is_the_weighted_mean_of_the_skills(self, profile) -> None:
        means = profile.observe("code", 0.9).mean()
        weights = pd.Series(TASK.weights) / sum(TASK.weights.values())
        result = profile.match_score(TASK)
        assert result.score == pytest.approx(float((means[weights.index] * weights).sum()))
        assert result.p_above_threshold is None
        assert result.lower < result.score < result.upper

    def test_spread_is_that_of_the_joint_draws(self, profile) -> None:
        draws = profile.observe("code", 0.9).draws().squeeze("agent")
        weighted = sum(
            weight * draws.sel(skill=skill) for skill, weight in TASK.weights.items()
        ) / sum(TASK.weights.values())
        result = profile.match_score(TASK, 0.7)
        assert result.std == pytest.approx(float(weighted.std()))
        assert result.p_above_threshold == pytest.approx(float((weighted > 0.7).mean()))

    def test_only_proportions_of_weights_matter(self, profile) -> None:
        profile.observe("code", 0.9)
        twice = {skill: 2 * weight for skill, weight in TASK.weights.items()}
        one, other = profile.match_score(TASK, 0.5), profile.match_score(twice, 0.5)
        np.testing.assert_allclose(one, other)

    def test_everything_observed_leaves_little_doubt(self, profile) -> None:
        result = profile.observe_many(dict.fromkeys(TASK.weights, 0.9)).match_score(TASK, 0.8)
        assert result.score == pytest.approx(0.9, abs=0.01)
        assert result.std < 0.02
        assert result.p_above_threshold == 1.0

    @pytest.mark.parametrize(
        ("threshold", "message"),
        [
            (80, r"between 0 and 1, the scale of the task's score, got 80; did you mean 0\.8\?"),
            (-0.1, "between 0 and 1, the scale of the task's score, got -0.1"),
            (float("nan"), "must be a finite number, got nan"),
            ("high", "must be a finite number, got 'high'"),
            (True, "must be a finite number, got True"),
            (10**400, "must be a finite number, got 1000"),
        ],
    )
    def test_threshold_lies_on_the_scale(self, profile, threshold, message) -> None:
        with pytest.raises(ThresholdError, match=f"`threshold` .*{message}"):
            profile.match_score(TASK, threshold)

    def test_threshold_of_a_skill_lies_on_its_scale(self, profile) -> None:
        with pytest.raises(ThresholdError, match=r"the scale of skill 'math', got 80; did you"):
            profile.p_above("math", 80)

    def test_weights_may_be_huge(self, profile) -> None:
        huge = profile.match_score({"math": 1e308, "code": 1e308})
        assert huge == profile.match_score({"math": 1.0, "code": 1.0})

    def test_weights_beyond_any_float_are_refused(self, profile) -> None:
        with pytest.raises(TaskError, match="must be finite numbers"):
            profile.match_score({"math": 10**400})

    @pytest.mark.parametrize("task", [{}, {"math": 0.0}, {"math": -1.0}, {"math": np.inf}])
    def test_a_task_needs_positive_weights(self, profile, task) -> None:
        with pytest.raises(TaskError, match="`weights` must"):
            profile.match_score(task)

    def test_a_task_names_skills_of_the_population(self, profile) -> None:
        with pytest.raises(UnknownSkillError, match=r"unknown skill 'maths'; did you mean 'math'"):
            profile.match_score({"maths": 1.0})

    def test_ci_prob_is_checked(self, profile) -> None:
        with pytest.raises(ConfigError, match="`ci_prob` must be between 0 and 1, got 90"):
            profile.match_score(TASK, ci_prob=90)


class TestSkillsOnDifferentScales:
    @pytest.fixture
    def scores(self) -> pd.DataFrame:
        table = simulate_history(30, 3, random_seed=6).scores
        return table.assign(skill_1=100 * table["skill_1"], skill_2=1200 + 300 * table["skill_2"])

    def test_predictions_keep_the_users_units(self, scores) -> None:
        profile = fake_population(scores).profile().observe("skill_2", 1500.0)
        table = profile.predict()
        assert table.loc["skill_2", "mean"] == pytest.approx(1500.0, abs=5.0)
        assert 1.0 < table.loc["skill_1", "mean"] < 100.0
        assert table.loc["skill_0", "mean"] < 1.0
        assert profile.p_above("skill_2", 1200.0) > 0.99

    def test_they_are_not_averaged_as_they_are(self, scores) -> None:
        profile = fake_population(scores).profile()
        with pytest.raises(TaskError, match=r"different scales .*`normalize=True`"):
            profile.match_score({"skill_0": 1.0, "skill_1": 1.0})
        assert profile.match_score({"skill_1": 1.0}).score > 1.0

    def test_normalised_match_scores_use_the_historys_range(self, scores) -> None:
        history = History.from_dataframe(scores, normalize=True)
        profile = fake_population(history).profile()
        profile.observe_many(scores.max().to_dict())
        assert profile.normalized
        result = profile.match_score(dict.fromkeys(scores.columns, 1.0), threshold=0.5)
        assert result.score == pytest.approx(1.0, abs=0.05)
        assert profile.mean("skill_1") > 1.0

    def test_thresholds_of_fewer_bits_are_numbers_too(self, scores) -> None:
        profile = fake_population(scores).profile()
        half = np.float32(0.5)
        assert profile.p_above("skill_0", half) == profile.p_above("skill_0", 0.5)
        for endless in (np.float32("inf"), np.inf):
            with pytest.raises(ThresholdError, match="`threshold` must be a finite number"):
                profile.p_above("skill_2", endless)

    def test_percent_scores_get_no_hint_where_they_belong(self, scores) -> None:
        fake_population(scores).profile().observe("skill_1", 88.0)


class TestSkillsWithChanceLevels:
    @pytest.fixture
    def profile(self) -> Profile:
        scale = {"skill_0": Scale.multiple_choice(4), "skill_1": Scale.multiple_choice(5)}
        scores = 0.3 + 0.7 * simulate_history(30, 3, random_seed=6).scores
        return fake_population(History.from_dataframe(scores, scale=scale)).profile("new")

    def test_are_averaged_with_others_of_the_same_bounds(self, profile) -> None:
        result = profile.match_score({"skill_0": 1.0, "skill_1": 1.0, "skill_2": 2.0}, 0.1)
        means = profile.predict()["mean"].to_numpy()
        assert result.score == pytest.approx(means @ [0.25, 0.25, 0.5], abs=0.01)
        assert 0.9 < result.p_above_threshold <= 1.0
        prompt = build_prompt(Task({"skill_0": 1.0, "skill_2": 1.0}), {"new": profile})
        assert "(0-1 scale)" in prompt
        assert "new:" in prompt


class TestRefusing:
    def test_an_unknown_skill_gets_the_closest_name(self, profile) -> None:
        for ask in (
            lambda: profile.observe("maths", 0.5),
            lambda: profile.predict("maths"),
            lambda: profile.observe_many({"maths": 0.5}),
            lambda: profile.p_above("maths", 0.5),
        ):
            with pytest.raises(UnknownSkillError, match=r"unknown skill 'maths'; did you mean"):
                ask()

    @pytest.mark.parametrize("position", [5, -1, True])
    def test_a_position_is_one_of_the_skills(self, profile, position) -> None:
        with pytest.raises(UnknownSkillError, match="`skill` must be a position below 5, got"):
            profile.predict(position)

    @pytest.mark.parametrize(
        ("score", "message"),
        [
            (88, r"between 0 and 1, got 88.* for skill 'math'; did you mean 0\.88\?"),
            (-0.2, r"between 0 and 1, got -0\.2 for skill 'math'; correct it"),
            (float("nan"), "must be a number, got nan for skill 'math'; leave the skill out"),
            (float("inf"), "must be finite, got inf for skill 'math'"),
            ("0.8", "must be a number, got '0.8' for skill 'math'; convert it"),
            (True, "must be a number, got True"),
            (pd.NA, "must be a number, got <NA>"),
            (None, "must be a number, got None"),
        ],
    )
    def test_a_score_is_a_number_on_the_scale(self, profile, score, message) -> None:
        with pytest.raises(ScoreError, match=message):
            profile.observe("math", score)
        assert profile.observations == {}

    def test_scores_that_are_not_there_are_named(self, profile) -> None:
        with pytest.raises(ScoreError, match=r"got 'math' without a score"):
            profile.observe_many({"math": None})
        with pytest.raises(ScoreError, match=r"got 'math' without a score"):
            profile.observe_many(["math"])
        with pytest.raises(ScoreError, match="`score` of 'math' must be a number, got None"):
            profile.observe_many([Skill("math")])

    @pytest.mark.parametrize("n_items", [0, -5, 2.5, np.inf, np.nan, "10", True])
    def test_an_item_count_is_a_count(self, profile, n_items) -> None:
        with pytest.raises(ScoreError, match=r"`n_items` must be .*got .* for skill 'math'"):
            profile.observe("math", 0.5, n_items=n_items)

    @pytest.mark.parametrize("stderr", [-0.1, np.inf, np.nan, "0.1"])
    def test_a_standard_error_is_not_negative(self, profile, stderr) -> None:
        with pytest.raises(ScoreError, match=r"`stderr` must be .*got .* for skill 'math'"):
            profile.observe("math", 0.5, stderr=stderr)

    def test_one_statement_about_the_error_is_enough(self, profile) -> None:
        with pytest.raises(ScoreError, match="give `n_items` or `stderr` of 'math', not both"):
            profile.observe("math", 0.5, n_items=10, stderr=0.1)


class TestCopiesAndFiles:
    @pytest.fixture
    def known(self, profile) -> Profile:
        profile.observe("math", 0.9, n_items=50).observe("math", 0.8).observe("code", 1.0)
        return profile.observe("writing", 0.3, stderr=0.05)

    def test_a_copy_goes_its_own_way(self, known) -> None:
        before = known.predict()
        copy = known.copy()
        same(copy, known)
        copy.observe("reasoning", 0.2)
        assert known.observed == {"math", "code", "writing"}
        pd.testing.assert_frame_equal(known.predict(), before)
        assert copy.agent == "newcomer"

    def test_json_leads_back_to_the_same_profile(self, known, population) -> None:
        back = Profile.from_json(known.to_json(), population)
        same(back, known)
        assert back.agent == known.agent
        assert back.to_dict() == known.to_dict()

    def test_a_file_leads_back_to_the_same_profile(self, known, population, tmp_path) -> None:
        path = tmp_path / "profile.json"
        assert known.to_json(path) == path.read_text("utf-8").rstrip("\n")
        longest = tmp_path / f"{'x' * 250}.json"
        known.to_json(longest)
        assert sorted(tmp_path.iterdir()) == sorted([path, longest])
        same(Profile.from_json(path, population), known)

    def test_json_is_plain_and_complete(self, known) -> None:
        plain = json.loads(known.to_json())
        assert plain["observations"]["math"] == [{"score": 0.8}, {"score": 0.9, "n_items": 50}]
        assert set(plain["predictions"]) == set(known.skills)
        assert plain["predictions"]["math"]["source"] == "observed"
        assert plain["population_id"] == known.population_id

    def test_another_population_is_refused(self, known, wide_population) -> None:
        with pytest.raises(
            PopulationMismatchError, match=f"{known.population_id}.*{wide_population.population_id}"
        ):
            Profile.from_json(known.to_json(), wide_population)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("no json", "`source` must be JSON text"),
            ("[]", "must hold a JSON object"),
            ("{}", "this is not a profile"),
            ('{"format": "something else"}', "this is not a profile"),
        ],
    )
    def test_what_is_no_profile_is_refused(self, population, text, message) -> None:
        with pytest.raises(InputError, match=message):
            Profile.from_json(text, population)

    def test_a_newer_format_is_refused(self, known, population) -> None:
        with pytest.raises(InputError, match="format version 99, this version reads 1"):
            Profile.from_dict({**known.to_dict(), "format_version": 99}, population)

    @pytest.mark.parametrize(
        "measured", [None, {"math": 0.8}, {"math": [0.8]}, {"math": [{"value": 0.8}]}]
    )
    def test_malformed_measurements_are_refused(self, known, population, measured) -> None:
        with pytest.raises(InputError, match="the profile's"):
            Profile.from_dict({**known.to_dict(), "observations": measured}, population)


class TestWhatCannotBeUsed:
    @pytest.mark.parametrize("k", [2.5, "3", None, True, 0])
    def test_a_number_of_skills(self, profile, k) -> None:
        with pytest.raises(InputError, match="`k` must be a whole number of at least 1"):
            profile.most_uncertain(k)
        assert len(profile.most_uncertain(np.int64(2))) == 2

    @pytest.mark.parametrize("ci_prob", [[0.9], "0.9", 90])
    def test_a_probability(self, profile, ci_prob) -> None:
        with pytest.raises(ConfigError, match="`ci_prob` must be between 0 and 1"):
            profile.predict(ci_prob=ci_prob)
        found = profile.predict("math", ci_prob=np.float32(0.9))["upper"]
        assert found == pytest.approx(profile.predict("math")["upper"], abs=1e-4)

    @pytest.mark.parametrize("observations", [None, 5, "math"])
    def test_observations(self, profile, observations) -> None:
        with pytest.raises(ScoreError, match="`observations` must map skills to scores"):
            profile.observe_many(observations)

    def test_a_series_maps_skills_to_scores(self, population) -> None:
        scores = {"math": 0.8, "code": 0.6}
        series = population.profile().observe_many(pd.Series(scores))
        assert series.mean("reasoning") == population.profile().observe_many(scores).mean(
            "reasoning"
        )

    @pytest.mark.parametrize("flag", ["no", 1, None])
    def test_a_flag(self, population, flag) -> None:
        with pytest.raises(ConfigError, match="`reweight` must be True or False, got"):
            population.profile(reweight=flag)
        with pytest.raises(ConfigError, match="`reweight` must be True or False, got"):
            population.profiles(pd.DataFrame({"math": [0.5]}, index=["a"]), reweight=flag)

    @pytest.mark.parametrize("agent", [("a", "b"), 5, None])
    def test_a_name(self, population, agent) -> None:
        with pytest.raises(InputError, match="`agent` must be a text"):
            population.profile(agent)
