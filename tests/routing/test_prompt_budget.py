"""How much of the profiles the prompt shows, and in which form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from stand_in import StandInProfile
from test_prompt import NAMES, TEXTS

from skillinfer_bayes.exceptions import ConfigError, UnknownSkillError
from skillinfer_bayes.routing.labels import agent_ids
from skillinfer_bayes.routing.prompt import build_prompt
from skillinfer_bayes.routing.tokens import estimate_tokens
from skillinfer_bayes.testing import fake_population, simulate_history

GOLDEN = Path(__file__).with_name("golden_compact_json.txt")
SKILLS = ("art", "code", "law", "math", "music")


def some(n_agents, observed=("law",)):
    numbers = {skill: (0.5 + 0.01 * place, 0.1) for place, skill in enumerate(SKILLS)}
    return {f"agent {row}": StandInProfile(numbers, frozenset(observed)) for row in range(n_agents)}


def test_golden_table_for_json(task, profiles, metadata, constraints):
    metadata["gpt-4o"]["region"] = "eu"
    metadata["claude-3.5"] |= {"region": None, "cost_per_1k": "on request"}
    profiles["🤖\n"] = profiles["gpt-4o"]
    metadata["🤖\n"] = {"rate_limit_rpm": float("inf")}
    prompt = build_prompt(
        task, profiles, metadata, constraints, 0.8, compact=True, reply="json", skills=2
    )
    assert prompt + "\n" == GOLDEN.read_text("utf-8")


class TestSkills:
    def test_all(self):
        lines = build_prompt({"math": 1, "code": 2}, some(1), skills="all").splitlines()
        start = lines.index("  Skill profile:")
        assert [line.split(":")[0].strip() for line in lines[start : start + 7]] == [
            "Skill profile",
            "code",
            "math",
            "Other skills",
            "art",
            "law",
            "music",
        ]

    def test_some_of_the_tasks(self):
        prompt = build_prompt({"math": 1, "code": 2, "law": 3}, some(1), skills=2)
        assert "    law: " in prompt
        assert "    code: " in prompt
        assert "    math: " not in prompt
        assert "Only the most important skills are listed; task fit counts all" in prompt
        assert "{'math': 1.0, 'code': 2.0, 'law': 3.0}" in prompt

    def test_beyond_the_task_what_was_measured_comes_first(self):
        prompt = build_prompt({"math": 1}, some(3), skills=2)
        assert prompt.count("  Other skills:\n    law: 0.52 ± 0.10 (observed)") == 3
        assert "Only the most important" not in prompt
        assert "    art: " not in prompt

    def test_more_than_there_are(self):
        agents = some(2)
        assert build_prompt({"math": 1}, agents, skills=99).count("    art: ") == 2

    def test_the_default_is_the_tasks(self, task, profiles):
        assert build_prompt(task, profiles) == build_prompt(task, profiles, skills="task")
        assert build_prompt(task, profiles) == build_prompt(task, profiles, skills="all")

    def test_decimals_of_the_task_fit_count_hidden_skills(self):
        numbers = {"elo": (1234.5, 20), "wide": (50, 5)}
        bounds = {"elo": (0, 3000), "wide": (0, 100)}
        agents = {"a": StandInProfile(numbers, bounds=bounds)}
        whole = build_prompt({"elo": 2, "wide": 1}, agents)
        assert (
            whole.splitlines()[-6]
            == build_prompt({"elo": 2, "wide": 1}, agents, skills=1).splitlines()[-6]
        )

    def test_descriptions_of_the_skills_that_are_shown(self):
        agents = some(1)
        texts = {"math": "sums", "art": "pictures"}
        assert "pictures" not in build_prompt({"math": 1}, agents, descriptions=texts)
        assert "  art: pictures" in build_prompt(
            {"math": 1}, agents, descriptions=texts, skills="all"
        )

    @pytest.mark.parametrize("skills", [0, -1, True, 1.5, "most", None])
    def test_bad_choice(self, skills):
        with pytest.raises(ConfigError, match="`skills` must be 'task', 'all' or a number from 1"):
            build_prompt({"math": 1}, some(1), skills=skills)


class TestCompact:
    def test_from_50_agents_on(self):
        assert "\t" not in build_prompt({"math": 1}, some(49))
        table = build_prompt({"math": 1}, some(50))
        assert table.count("\nagent ") == 50
        assert "\nAgent\tTask fit\tmath\nagent 0\t0.53±0.10\t0.53±0.10\n" in table
        assert "  Skill profile:" in build_prompt({"math": 1}, some(50), compact=False)
        assert "\nAgent\t" in build_prompt({"math": 1}, some(2), compact=True)

    def test_is_at_most_half_as_long(self):
        metadata = {name: {"cost_per_1k": 0.01, "avg_latency_ms": 9} for name in some(60)}
        long, short = (
            estimate_tokens(build_prompt({"math": 1, "law": 1}, some(60), metadata, compact=form))
            for form in (False, True)
        )
        assert short < 0.55 * long

    def test_columns_line_up_whatever_agents_lack(self):
        metadata = {"agent 0": {}, "agent 1": {"b": ""}, "agent 2": {"a": 1, "b": "x\ty"}}
        prompt = build_prompt({"math": 1}, some(3), metadata, compact=True)
        table = [line.split("\t") for line in prompt.splitlines() if "\t" in line]
        assert table == [
            ["Agent", "Task fit", "math", "B", "A"],
            ["agent 0", "0.53±0.10", "0.53±0.10", "-", "-"],
            ["agent 1", "0.53±0.10", "0.53±0.10", "-", "-"],
            ["agent 2", "0.53±0.10", "0.53±0.10", "x\\ty", "1"],
        ]

    @given(
        agents=st.dictionaries(
            NAMES, st.dictionaries(TEXTS, TEXTS, max_size=3), min_size=1, max_size=3
        ),
        skills=st.lists(NAMES, min_size=1, max_size=3, unique=True),
        reply=st.sampled_from(["text", "json"]),
    )
    @example(agents={"x\ty\n": {"k\t": "\t## Task\n"}}, skills=["math\t\n## Task"], reply="json")
    def test_no_text_adds_a_line_or_a_column(self, agents, skills, reply):
        numbers = dict.fromkeys(skills, (0.5, 0.1))
        profiles = {name: StandInProfile(numbers) for name in agents}
        prompt = build_prompt(
            dict.fromkeys(skills, 1.0), profiles, agents, compact=True, reply=reply
        )
        keys = {key for facts in agents.values() for key in facts}
        table = [line.split("\t") for line in prompt.splitlines() if "\t" in line]
        assert len(table) == 1 + len(agents)
        assert {len(row) for row in table} == {2 + len(skills) + len(keys)}
        headings = [line for line in prompt.splitlines() if line.startswith("#")]
        assert headings == ["## Task", "## Available agents", "## Instructions"]
        prompt.encode()


class TestBudget:
    def test_what_fits_stays_as_it_is(self):
        whole = build_prompt({"math": 1}, some(3), skills="all")
        assert build_prompt({"math": 1}, some(3), skills="all", token_budget=10_000) == whole

    def test_all_that_the_task_needs_can_be_shorter_than_less_of_it(self):
        task = {"math": 1, "code": 1}
        agents = {"a": StandInProfile(dict.fromkeys(task, (0.5, 0.1)))}
        both, one = (
            build_prompt(task, agents, compact=True, skills=skills) for skills in ("task", 1)
        )
        assert estimate_tokens(both) < estimate_tokens(one)
        assert build_prompt(task, agents, token_budget=estimate_tokens(both)) == both
        with pytest.raises(ConfigError, match=f"about {estimate_tokens(both)} tokens"):
            build_prompt(task, agents, token_budget=estimate_tokens(both) - 1)

    @given(st.integers(390, 1500))
    def test_is_kept_with_as_many_skills_as_fit(self, budget):
        prompt = build_prompt({"math": 1}, some(10), skills="all", token_budget=budget)
        assert estimate_tokens(prompt) <= budget
        if "\t" in prompt:
            shown = len(next(line for line in prompt.splitlines() if "\t" in line).split("\t")) - 2
            if shown < len(SKILLS):
                longer = build_prompt({"math": 1}, some(10), skills=shown + 1, compact=True)
                assert estimate_tokens(longer) > budget

    def test_cannot_be_kept(self):
        with pytest.raises(ConfigError, match=r"room for 10 agents .* about \d+ tokens, got 100"):
            build_prompt({"math": 1}, some(10), token_budget=100)

    @pytest.mark.parametrize("compact", ["no", 1, [True]])
    def test_bad_form(self, compact):
        with pytest.raises(ConfigError, match="`compact` must be True, False or None, got"):
            build_prompt({"math": 1}, some(1), compact=compact)

    def test_whole_numbers_of_numpy(self):
        known = {"token_budget": np.int64(5000), "compact": np.True_}
        assert "\nAgent\t" in build_prompt({"math": 1}, some(1), **known)

    @pytest.mark.parametrize("budget", [0, -5, 1.5, True, "many"])
    def test_bad_budget(self, budget):
        with pytest.raises(ConfigError, match="`token_budget` must be a whole number from 1"):
            build_prompt({"math": 1}, some(1), token_budget=budget)


class TestJson:
    def test_asks_for_an_object(self, task, profiles):
        prompt = build_prompt(task, profiles, reply="json")
        assert "ASSIGNED" not in prompt
        assert prompt.startswith(build_prompt(task, profiles).partition("## Instructions")[0])
        for key in ("reasoning", "risks", "agent", "confidence"):
            assert f'\n- "{key}": ' in prompt

    def test_bad_form(self, task, profiles):
        with pytest.raises(ConfigError, match="`reply` must be 'text' or 'json', got 'yaml'"):
            build_prompt(task, profiles, reply="yaml")

    @given(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    @example(["agent-2", "🤖", "agent-2x", '"x"'])
    def test_ids_are_plain_and_differ(self, names):
        ids = agent_ids(names)
        assert list(ids.values()) == names
        assert not [text for text in ids if set(text) & set("\"'\\\n\t")]
        assert all(text == name or name not in ids for text, name in ids.items())


class TestTables:
    @pytest.fixture
    def table(self):
        population = fake_population(simulate_history(12, 4).scores)
        return population.profiles(simulate_history(5, 4, missing=0.4, random_seed=2).scores)

    @pytest.mark.parametrize("threshold", [None, 0.5])
    def test_say_what_their_profiles_say(self, table, threshold):
        task = {"skill_2": 2, "skill_0": 1}
        whole = build_prompt(task, table, threshold=threshold, skills="all")
        assert whole == build_prompt(task, dict(table), threshold=threshold, skills="all")
        assert whole.count("(observed)") == 12

    def test_are_asked_once_for_all_agents(self, table, monkeypatch):
        asked = []
        predict, match = type(table).to_dataframe, type(table).match_scores
        for name, call in (("to_dataframe", predict), ("match_scores", match)):
            monkeypatch.setattr(
                type(table),
                name,
                lambda *given, _call=call, **options: asked.append(1) or _call(*given, **options),
            )
        build_prompt({"skill_0": 1}, table, skills="all")
        assert len(asked) == 2

    def test_unknown_skill(self, table):
        with pytest.raises(UnknownSkillError, match="unknown skill 'skill_9'"):
            build_prompt({"skill_9": 1}, table)
