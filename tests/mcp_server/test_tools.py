"""The tools through the official client, in this process."""

from __future__ import annotations

import asyncio
import json
import sys
import warnings

import jsonschema
import mcp
import pandas as pd
import pytest

from skillinfer_bayes import demo
from skillinfer_bayes.exceptions import (
    InputError,
    MissingDependencyError,
    ObservationWarning,
)
from skillinfer_bayes.mcp_server import build_server
from skillinfer_bayes.mcp_server.session import Session
from skillinfer_bayes.mcp_server.tools import TOOLS, Tools
from skillinfer_bayes.population import Population
from skillinfer_bayes.profiles.task import Task
from skillinfer_bayes.routing.prompt import build_prompt
from skillinfer_bayes.testing import fake_population

TASK = {"math": 1.0, "code": 0.3}
CAUTION = "caution: observed scores are unlike the history's; inferred skills may be far off"


@pytest.fixture
def server(folder):
    return build_server(folder)


@pytest.fixture
def call(server):
    """Call a tool; gives its structured output, checked against its schema."""

    def one(name, /, **arguments):
        async def ask():
            async with mcp.Client(server) as client:
                tools = {tool.name: tool for tool in (await client.list_tools()).tools}
                return tools[name], await client.call_tool(name, arguments)

        tool, result = asyncio.run(ask())
        assert not result.is_error, result.content
        jsonschema.validate(result.structured_content, tool.output_schema)
        return result.structured_content

    return one


def said_of_failure(server, name, arguments):
    async def ask():
        async with mcp.Client(server) as client:
            return await client.call_tool(name, arguments)

    result = asyncio.run(ask())
    assert result.is_error
    return result.content[0].text


@pytest.fixture
def fails(server):
    """Call a tool that must fail; gives the text that the model would read."""
    return lambda name, /, **arguments: said_of_failure(server, name, arguments)


@pytest.fixture(scope="module")
def loaded(saved_population):
    """A server with all agents, for calls that fail."""
    server = build_server(saved_population.parent)

    async def load():
        async with mcp.Client(server) as client:
            given = {"path": saved_population.name, "name": "pop"}
            await client.call_tool("load_population", given)
            for name, scores in demo.OBSERVATIONS.items():
                given = {"name": name, "population": "pop", "observations": dict(scores)}
                await client.call_tool("create_profile", given)

    asyncio.run(load())
    return server


@pytest.fixture
def agents(call):
    call("load_population", path="pop.nc")
    for name, scores in demo.OBSERVATIONS.items():
        call("create_profile", name=name, population="pop", observations=dict(scores))


@pytest.fixture
def direct(folder):
    """The same profiles without a server."""
    population = Population.load(folder / "pop.nc")
    return {
        name: population.profile(name).observe_many(scores)
        for name, scores in demo.OBSERVATIONS.items()
    }


def listed(server):
    async def ask():
        async with mcp.Client(server) as client:
            return client.instructions, (await client.list_tools()).tools

    return asyncio.run(ask())


class TestWhatModelsRead:
    def test_every_tool_is_described_and_typed(self, server):
        instructions, tools = listed(server)
        assert "1. load_population" in instructions
        assert [tool.name for tool in tools] == list(TOOLS)
        for tool in tools:
            assert tool.description.endswith(".")
            assert tool.input_schema["additionalProperties"] is False
            assert tool.output_schema["type"] == "object"
            assert "notes" in tool.output_schema["required"]
            assert tool.annotations.open_world_hint is False
            # some clients do not follow references in what they show to a model
            assert "$ref" not in json.dumps(tool.input_schema)
            assert "SkillinferError" not in json.dumps(tool.model_dump(mode="json"))

    def test_every_method_is_a_tool(self):
        methods = {name for name in vars(Tools) if not name.startswith("_")}
        assert methods == set(TOOLS)

    def test_only_two_tools_can_destroy_something(self):
        assert [name for name, how in TOOLS.items() if how.destructive_hint] == [
            "delete_profile",
            "save_profile",
        ]


class TestPopulations:
    def test_load_and_list(self, call):
        before = call("list_populations")
        assert (before["loaded"], before["files"]) == ([], ["pop.nc"])
        loaded = call("load_population", path="pop.nc", name="mine")
        assert (loaded["name"], loaded["n_agents"], loaded["n_skills"]) == ("mine", 8, 5)
        assert loaded["converged"] is False  # these draws are few and made up
        assert loaded["problems"]
        assert call("population_summary", population="mine") == loaded
        assert call("list_populations")["loaded"] == [loaded]

    def test_skills(self, call):
        call("load_population", path="pop.nc")
        found = call("list_skills", population="pop", search="C")
        assert found["total"] == 5
        assert [row["skill"] for row in found["skills"]] == ["code", "creativity"]
        assert found["skills"][0]["lowest"] == 0.0

    def test_errors(self, call, fails, folder):
        (folder / "broken.nc").write_text("no population")
        said = fails("load_population", path="broken.nc")
        assert str(folder) not in said
        assert "broken.nc" in said
        assert "there are: broken.nc, pop.nc" in fails("load_population", path="x.nc")
        assert "there is none yet, use load_population" in fails(
            "population_summary", population="pop"
        )
        call("load_population", path="pop.nc")
        assert "which is a population already" in fails("load_population", path="pop.nc")
        assert "did you mean 'pop'?" in fails("list_skills", population="pops")


class TestProfiles:
    def test_predictions_are_those_of_the_profile(self, call, agents, direct):
        table = direct["claude-3.5"].predict(ci_prob=0.5, kind="score")
        found = call("predict", profile="claude-3.5", ci_prob=0.5, kind="score")
        assert [row["skill"] for row in found["predictions"]] == list(table.index)
        for row in found["predictions"]:
            expected = table.loc[row["skill"]]
            assert row["source"] == expected["source"]
            for name in ("mean", "std", "lower", "upper"):
                assert row[name] == pytest.approx(expected[name])
        some = call("predict", profile="claude-3.5", skills=["math"])["predictions"]
        assert [row["skill"] for row in some] == ["math"]

    def test_most_uncertain(self, call, agents, direct):
        found = call("most_uncertain", profile="gpt-4o", k=2)["predictions"]
        assert [row["skill"] for row in found] == list(direct["gpt-4o"].most_uncertain(2).index)

    def test_observing(self, call, agents):
        found = call("observe", profile="mistral-large", skill="math", score=1, n_items=200)
        assert found["observations"] == {"math": 1.0, "writing": 0.8}
        found = call("observe_many", profile="mistral-large", observations={"code": 0.5})
        assert set(found["observations"]) == {"math", "writing", "code"}
        assert call("profile_summary", profile="mistral-large") == found

    def test_deleting(self, call, fails, agents):
        call("delete_profile", profile="gpt-4o")
        names = [row["name"] for row in call("list_profiles")["profiles"]]
        assert names == [name for name in demo.OBSERVATIONS if name != "gpt-4o"]
        assert "unknown profile 'gpt-4o'" in fails("predict", profile="gpt-4o")

    def test_saving_and_loading(self, call, fails, agents, folder):
        call("save_profile", profile="gpt-4o", path="gpt.json")
        assert json.loads((folder / "gpt.json").read_text("utf-8"))["agent"] == "gpt-4o"
        assert "pass overwrite=true" in fails("save_profile", profile="gpt-4o", path="gpt.json")
        call("save_profile", profile="gpt-4o", path="gpt.json", overwrite=True)
        loaded = call("load_profile", path="gpt.json", population="pop", name="again")
        assert loaded["observations"] == demo.OBSERVATIONS["gpt-4o"]
        assert "which is a profile already" in fails(
            "load_profile", path="gpt.json", population="pop"
        )
        call("save_profile", profile="again", path="again.json")
        call("delete_profile", profile="again")
        assert call("load_profile", path="again.json", population="pop")["name"] == "again"
        assert call("list_profiles")["files"] == ["again.json", "gpt.json"]
        nameless = json.loads((folder / "gpt.json").read_text("utf-8")) | {"agent": None}
        (folder / "gpt.json").write_text(json.dumps(nameless), "utf-8")
        assert "'agent' must be text" in fails("load_profile", path="gpt.json", population="pop")
        (folder / "odd.json").write_text("[1]", "utf-8")
        assert "JSON object" in fails("load_profile", path="odd.json", population="pop")

    def test_a_failed_observation_changes_nothing(self, call, fails, agents):
        before = call("profile_summary", profile="gpt-4o")
        given = {"math": 0.5, "maths": 0.5}
        assert "did you mean 'math'?" in fails("observe_many", profile="gpt-4o", observations=given)
        assert call("profile_summary", profile="gpt-4o") == before
        given = {"math": 7.0}
        fails("create_profile", name="new", population="pop", observations=given)
        assert "unknown profile 'new'" in fails("predict", profile="new")

    @pytest.mark.parametrize("name", ["", "  ", "\ud800"])
    def test_names_that_cannot_be(self, loaded, name):
        given = {"name": name, "population": "pop"}
        assert "`name` must be a text" in said_of_failure(loaded, "create_profile", given)


class TestTasks:
    def test_match_and_rank(self, call, agents, direct):
        found = call("match_task", profile="gpt-4o", task=TASK, threshold=0.8)
        expected = direct["gpt-4o"].match_score(TASK, 0.8)
        assert found["score"] == pytest.approx(expected.score)
        assert found["p_above_threshold"] == pytest.approx(expected.p_above_threshold)
        ranking = call("rank_agents", task=TASK)["agents"]
        assert len(ranking) == 5
        assert [row["score"] for row in ranking] == sorted(
            (row["score"] for row in ranking), reverse=True
        )
        assert {row["p_above_threshold"] for row in ranking} == {None}
        some = call("rank_agents", task=TASK, profiles=["gpt-4o", "gemini-pro"])["agents"]
        assert {row["agent"] for row in some} == {"gpt-4o", "gemini-pro"}

    def test_compare(self, call, agents):
        found = call("compare_agents", task=TASK)
        assert sum(row["p_best"] for row in found["agents"]) == pytest.approx(1.0)
        assert found["choice"] == found["agents"][0]["agent"] == found["indistinguishable"][0]
        assert found["expected_regret"] == pytest.approx(found["agents"][0]["expected_regret"])
        facts = {name: dict(row) for name, row in demo.METADATA.items()}
        limited = call(
            "compare_agents",
            task=TASK,
            metadata=facts,
            limits=["avg_latency_ms <= 700"],
            cost_weight=1000.0,
        )
        assert {row["agent"] for row in limited["agents"]} == {
            "claude-3.5",
            "gemini-pro",
            "mistral-large",
        }
        assert {row["agent"] for row in limited["excluded"]} == {"gpt-4o", "llama-3-70b"}
        assert limited["choice"] == "mistral-large"

    def test_next_evaluations(self, call, agents):
        found = call("next_evaluations", task=TASK, budget=2.0, costs={"math": 1.0, "code": 1.5})
        assert found["measurements"]
        assert sum(row["cost"] for row in found["measurements"]) <= 2.0
        assert {row["skill"] for row in found["measurements"]} <= {"math", "code"}
        assert found["verdict"]
        assert all(row["information"] > 0.0 for row in found["measurements"])
        all_rows = call("next_evaluations", most=1000)["measurements"]
        whole = call("next_evaluations", most=3)
        assert whole["expected_regret"] is None
        assert len(whole["measurements"]) == 3
        cut = f"these are the first 3 of {len(all_rows)} measurements; `most` sets how many"
        assert cut in whole["notes"]

    def test_prompt(self, call, agents, direct):
        facts = {name: dict(row) for name, row in demo.METADATA.items()}
        found = call(
            "routing_prompt",
            task=TASK,
            description="Prove it",
            metadata=facts,
            constraints=["be quick"],
            threshold=0.8,
            skills=1,
            reply="json",
        )
        task = Task(TASK, "Prove it")
        options = {"skills": 1, "reply": "json"}
        assert found["prompt"] == build_prompt(task, direct, facts, ["be quick"], 0.8, **options)
        assert found["estimated_tokens"] > 100
        assert found["agents"] == list(demo.OBSERVATIONS)

    @pytest.mark.parametrize(
        ("tool", "arguments", "said"),
        [
            ("match_task", {"profile": "gpt-4o", "task": {}}, "at least one skill"),
            ("match_task", {"profile": "gpt-4o", "task": {"math": -1}}, "greater than zero"),
            ("match_task", {"profile": "gpt", "task": TASK}, "did you mean 'gpt-4o'?"),
            ("match_task", {"profile": "gpt-4o", "task": TASK, "threshold": 80}, "mean 0.8?"),
            ("rank_agents", {"task": {"maths": 1}}, "did you mean 'math'?"),
            ("rank_agents", {"task": TASK, "profiles": []}, "at least one profile"),
            ("rank_agents", {"task": TASK, "profiles": ["gpt-4o"] * 2}, "each profile once"),
            ("compare_agents", {"task": TASK, "limits": ["be fast"]}, "be fast"),
            ("compare_agents", {"task": TASK, "cost_weight": 1.0}, "metadata"),
            ("compare_agents", {"task": TASK, "quantile": 50}, "between 0 and 1"),
            (
                "compare_agents",
                {"task": TASK, "metadata": dict(demo.METADATA) | {"gpt-5": {}}},
                "did you mean 'gpt-4o'?",
            ),
            ("compare_agents", {"task": TASK, "metadata": {"gpt-4o": {}}}, "got nothing for"),
            (
                "compare_agents",
                {
                    "task": TASK,
                    "metadata": {name: {"cost_per_1k": 10**400} for name in demo.OBSERVATIONS},
                    "cost_weight": 1.0,
                },
                "must hold a finite number for 'cost_per_1k'",
            ),
            ("next_evaluations", {"costs": {"math": 10**400}}, "valid number"),
            (
                "compare_agents",
                {"task": TASK, "limits": ["observed(math)"], "profiles": ["gpt-4o"]},
                "must leave at least one agent",
            ),
            ("next_evaluations", {"task": TASK, "budget": -1.0}, "`budget`"),
            ("next_evaluations", {"most": 0}, "greater than or equal to 1"),
            ("routing_prompt", {"task": TASK, "token_budget": 3}, "`token_budget`"),
            ("routing_prompt", {"task": TASK, "metadata": {"x": {}}}, "`metadata`"),
            ("predict", {"profile": "gpt-4o", "ci_prob": 90.0}, "`ci_prob`"),
            ("most_uncertain", {"profile": "gpt-4o", "k": 0}, "`k` must be"),
            ("observe", {"profile": "gpt-4o", "skill": "math", "score": 7.0}, "math"),
        ],
    )
    def test_bad_values_are_tool_errors(self, loaded, tool, arguments, said):
        text = said_of_failure(loaded, tool, arguments)
        assert said in text
        assert "Traceback" not in text

    @pytest.mark.parametrize(
        ("tool", "arguments", "said"),
        [
            ("observe", {"profile": "gpt-4o", "skill": "math"}, "score"),
            ("observe", {"profile": "gpt-4o", "skill": "math", "score": "high"}, "valid number"),
            ("observe", {"profile": "gpt-4o", "skill": "math", "score": True}, "valid number"),
            ("observe", {"profile": 3, "skill": "math", "score": 0.5}, "valid string"),
            ("match_task", {"profile": "gpt-4o", "task": TASK, "treshold": 0.8}, "not permitted"),
            ("match_task", {"profile": "gpt-4o", "task": ["math"]}, "valid dictionary"),
            ("predict", {"profile": "gpt-4o", "kind": "guess"}, "'skill' or 'score'"),
            ("list_populations", {"verbose": True}, "not permitted"),
        ],
    )
    def test_arguments_of_the_wrong_kind_are_tool_errors(self, loaded, tool, arguments, said):
        assert said in said_of_failure(loaded, tool, arguments)


class TestFiles:
    @pytest.mark.parametrize("path", ["../secret.json", "/etc/hosts.json", "link.json", "a.txt"])
    def test_paths_outside(self, call, fails, agents, folder, path):
        (folder / "link.json").symlink_to("../secret.json")
        for text in (
            fails("load_profile", path=path, population="pop"),
            fails("save_profile", profile="gpt-4o", path=path, overwrite=True),
        ):
            assert "`path` must" in text
            assert "do not read" not in text
        assert (folder.parent / "secret.json").read_text("utf-8").startswith('{"secret"')
        assert "`path` must" in fails("load_population", path=path)


def test_warnings_come_as_notes(call, monkeypatch):
    listing = Session.list_populations

    def warned(self):
        warnings.warn("this score is surprising", ObservationWarning, stacklevel=2)
        return listing(self)

    monkeypatch.setattr(Session, "list_populations", warned)
    assert call("list_populations")["notes"] == ["this score is surprising"]


def test_a_crash_is_a_tool_error_that_tells_nothing(call, fails, monkeypatch, caplog):
    def crash(self):
        raise RuntimeError("a secret of the server")

    monkeypatch.setattr(Session, "list_populations", crash)
    assert "secret" not in fails("list_populations")
    assert "a secret of the server" in caplog.text
    assert call("list_profiles")["profiles"] == []


def test_a_number_beyond_a_float_is_a_tool_error_that_says_so(fails, monkeypatch):
    monkeypatch.setattr(Session, "list_populations", lambda self: float(10**400))
    assert "numbers must be below 1e308" in fails("list_populations")


def test_calls_at_the_same_time(server):
    async def ask():
        async with mcp.Client(server) as client:
            await client.call_tool("load_population", {"path": "pop.nc"})
            given = {"name": "a", "population": "pop"}
            await client.call_tool("create_profile", given)
            calls = [
                client.call_tool("observe", {"profile": "a", "skill": skill, "score": 0.5})
                for skill in ("math", "code", "reasoning", "writing") * 3
            ]
            return await asyncio.gather(*calls)

    results = asyncio.run(ask())
    assert not any(result.is_error for result in results)
    assert max(len(result.structured_content["observations"]) for result in results) == 4


def test_without_the_sdk(folder, monkeypatch):
    monkeypatch.delitem(sys.modules, "skillinfer_bayes.mcp_server.tools")
    monkeypatch.setitem(sys.modules, "mcp.server", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'skillinfer-bayes\[mcp\]'"):
        build_server(folder)


def test_no_folder(tmp_path):
    with pytest.raises(InputError, match="`folder` must be an existing folder"):
        build_server(tmp_path / "no")


def test_a_population_that_did_not_converge_is_noted(call):
    assert call("load_population", path="pop.nc")["converged"] is False
    for name in ("a", "b"):
        made = call("create_profile", name=name, population="pop", observations={"math": 0.8})
    shown = [made, call("predict", profile="a"), call("match_task", profile="a", task=TASK)]
    for tool in ("rank_agents", "compare_agents", "next_evaluations", "routing_prompt"):
        shown.append(call(tool, task=TASK))
    for result in shown:
        [note] = result["notes"]
        assert note.startswith("the fit of population 'pop' should not be trusted yet: R-hat")


def test_a_profile_that_extrapolates_says_so(call, folder):
    history = pd.DataFrame(dict(demo.HISTORY), index=list(demo.HISTORY_AGENTS))
    fake_population(history, chains=4, draws=500).save(folder / "many_draws.nc")
    call("load_population", path="many_draws.nc", name="pop")
    usual, odd = {"math": 0.8}, {"math": 0.99, "code": 0.01, "reasoning": 0.99}
    for name, scores in (("usual", usual), ("odd", odd)):
        made = call("create_profile", name=name, population="pop", observations=scores)
        shown = call("predict", profile=name, skills=["writing"])
        widest = call("most_uncertain", profile=name, k=1)
        matched = call("match_task", profile=name, task=TASK)
        for result in (made, shown, widest, matched):
            assert result["notes"] == ([CAUTION] if name == "odd" else [])
    for tool in ("rank_agents", "compare_agents", "next_evaluations"):
        assert call(tool, task=TASK)["notes"] == [f"odd: {CAUTION}"]
        assert call(tool, task=TASK, profiles=["usual"])["notes"] == []
