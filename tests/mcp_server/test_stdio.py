"""A whole session over standard input and output, with the command that users put into clients."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import mcp

from skillinfer_bayes import demo

TASK = {"math": 1.0, "reasoning": 0.8, "code": 0.3}
SESSION = [
    ("list_populations", {}),
    ("load_population", {"path": "pop.nc"}),
    ("population_summary", {"population": "pop"}),
    ("list_skills", {"population": "pop", "search": "math"}),
    *(
        ("create_profile", {"name": name, "population": "pop", "observations": dict(scores)})
        for name, scores in demo.OBSERVATIONS.items()
    ),
    ("observe", {"profile": "mistral-large", "skill": "code", "score": 0.7, "n_items": 100}),
    ("observe_many", {"profile": "mistral-large", "observations": {"math": 0.7}}),
    ("predict", {"profile": "claude-3.5"}),
    ("most_uncertain", {"profile": "claude-3.5", "k": 2}),
    ("profile_summary", {"profile": "claude-3.5"}),
    ("list_profiles", {}),
    ("match_task", {"profile": "gpt-4o", "task": TASK, "threshold": 0.8}),
    ("rank_agents", {"task": TASK, "threshold": 0.8}),
    ("compare_agents", {"task": TASK}),
    ("next_evaluations", {"task": TASK, "budget": 2.0}),
    ("routing_prompt", {"task": TASK, "description": "A lemma", "reply": "json"}),
    ("save_profile", {"profile": "gpt-4o", "path": "gpt.json"}),
    ("delete_profile", {"profile": "gpt-4o"}),
    ("load_profile", {"path": "gpt.json", "population": "pop"}),
]
FAILING = [
    ("load_population", {"path": "../pop.nc"}),
    ("load_profile", {"path": "../secret.json", "population": "pop"}),
    ("save_profile", {"profile": "gpt-4o", "path": "/x.json"}),
    ("observe", {"profile": "gpt-4o", "skill": "maths", "score": 0.5}),
    ("observe", {"profile": "gpt-4o", "skill": "math", "score": "x"}),
    ("observe", {}),
    ("no_such_tool", {}),
]


def parameters(folder):
    arguments = ["-W", "error", "-m", "skillinfer_bayes.cli", "mcp", "--folder", str(folder)]
    return mcp.StdioServerParameters(command=sys.executable, args=arguments)


def test_a_whole_session(folder, tmp_path):
    log = tmp_path / "stderr.txt"

    async def talk():
        results = []
        with log.open("w") as errors:
            transport = mcp.stdio_client(parameters(folder), errlog=errors)
            async with mcp.Client(transport, read_timeout_seconds=120) as client:
                tools = {tool.name for tool in (await client.list_tools()).tools}
                assert {name for name, _ in SESSION} == tools
                for name, arguments in SESSION:
                    results.append((name, await client.call_tool(name, arguments)))
                failed = [await client.call_tool(*one) for one in FAILING]
                alive = await client.call_tool("list_profiles", {})
        return results, failed, alive

    results, failed, alive = asyncio.run(talk())
    for name, result in results:
        assert not result.is_error, (name, result.content)
        assert json.loads(result.content[0].text) == result.structured_content
    for result in failed:
        assert result.is_error
        assert "Traceback" not in result.content[0].text
    assert {row["name"] for row in alive.structured_content["profiles"]} == set(demo.OBSERVATIONS)
    by_name = dict(results)
    assert by_name["rank_agents"].structured_content["agents"][0]["agent"] == "gpt-4o"
    assert by_name["load_profile"].structured_content["observations"] == demo.OBSERVATIONS["gpt-4o"]
    assert '"confidence"' in by_name["routing_prompt"].structured_content["prompt"]
    assert "Traceback" not in log.read_text("utf-8")


def test_it_ends_when_the_client_hangs_up(folder):
    command = parameters(folder)
    done = subprocess.run(
        [command.command, *command.args], input=b"", capture_output=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"")


def test_noise_on_the_line_is_survived(folder):
    command = parameters(folder)
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    noise = (
        b"\xff\xfe not json\n{}\n" + b"[" * 10_000 + b"\n" + json.dumps(request).encode() + b"\n"
    )
    done = subprocess.run(
        [command.command, *command.args], input=noise, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0
    [line] = done.stdout.splitlines()
    assert json.loads(line)["id"] == 1
