"""The tutorial's steps 1 to 3 for real, with nothing changed but the two import lines."""

from __future__ import annotations

import re
import warnings
from types import SimpleNamespace

import pandas as pd
import pytest

import skillinfer_bayes as skillinfer
from skillinfer_bayes import Task

FIT = re.compile(r"    Task fit: (\d\.\d\d) \(P>0\.8 = (\d+)%\)")
SKILL = re.compile(r"    (\w+): (\d\.\d\d) ± (\d\.\d\d) \((observed|inferred)\)")


@pytest.fixture(scope="module")
def tutorial() -> SimpleNamespace:
    """Run the tutorial's code; only a seed is added, and a fit that keeps its warnings."""
    history = pd.DataFrame(
        {
            "math": [0.88, 0.75, 0.70, 0.82, 0.65, 0.90, 0.72, 0.68],
            "code": [0.85, 0.80, 0.65, 0.78, 0.60, 0.88, 0.70, 0.62],
            "reasoning": [0.90, 0.82, 0.75, 0.85, 0.70, 0.92, 0.78, 0.72],
            "writing": [0.80, 0.85, 0.90, 0.75, 0.88, 0.78, 0.82, 0.92],
            "creativity": [0.70, 0.78, 0.85, 0.68, 0.82, 0.65, 0.75, 0.88],
        },
        index=[f"model_{i}" for i in range(8)],
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pop = skillinfer.Population.from_dataframe(
            history, normalize=False, random_seed=20, progressbar=False
        )

    agent_observations = {
        "gpt-4o": {"reasoning": 0.92, "code": 0.89},
        "claude-3.5": {"reasoning": 0.90, "writing": 0.95},
        "llama-3-70b": {"code": 0.78},
        "gemini-pro": {"reasoning": 0.85, "math": 0.88, "code": 0.82},
        "mistral-large": {"writing": 0.80},
    }
    profiles = {name: pop.profile().observe_many(obs) for name, obs in agent_observations.items()}

    agent_metadata = {
        "gpt-4o": {"cost_per_1k": 0.005, "avg_latency_ms": 800, "rate_limit_rpm": 500},
        "claude-3.5": {"cost_per_1k": 0.003, "avg_latency_ms": 600, "rate_limit_rpm": 1000},
        "llama-3-70b": {"cost_per_1k": 0.001, "avg_latency_ms": 1200, "rate_limit_rpm": 200},
        "gemini-pro": {"cost_per_1k": 0.004, "avg_latency_ms": 700, "rate_limit_rpm": 600},
        "mistral-large": {"cost_per_1k": 0.002, "avg_latency_ms": 500, "rate_limit_rpm": 800},
    }

    task = Task(
        {"math": 1.0, "reasoning": 0.8, "code": 0.3},
        "Solve a competition-level math problem that requires writing a Python proof",
    )

    agent_blocks = []
    for name, profile in profiles.items():
        lines = [f"{name}:"]
        lines.append("  Skill profile:")
        for skill in sorted(task.weights, key=lambda s: -task.weights[s]):
            pred = profile.predict(skill)
            source = "observed" if pred["std"] < 0.01 else "inferred"
            lines.append(f"    {skill}: {pred['mean']:.2f} ± {pred['std']:.2f} ({source})")
        result = profile.match_score(task, threshold=0.8)
        lines.append(f"    Task fit: {result.score:.2f} (P>0.8 = {result.p_above_threshold:.0%})")
        meta = agent_metadata[name]
        lines.append(
            f"    Cost: ${meta['cost_per_1k']}/1k tokens, "
            f"Latency: {meta['avg_latency_ms']}ms, "
            f"Rate limit: {meta['rate_limit_rpm']} req/min"
        )
        agent_blocks.append("\n".join(lines))

    return SimpleNamespace(
        pop=pop,
        warnings=caught,
        observations=agent_observations,
        profiles=profiles,
        metadata=agent_metadata,
        task=task,
        blocks=agent_blocks,
    )


def test_the_fit_can_be_trusted(tutorial) -> None:
    verdict = tutorial.pop.convergence
    assert verdict.divergences == 0
    assert verdict.converged, str(verdict)
    assert not tutorial.warnings


def test_every_agent_has_a_whole_profile(tutorial) -> None:
    for name, profile in tutorial.profiles.items():
        table = profile.predict()
        assert len(table) == 5
        assert table[["mean", "std", "lower", "upper"]].notna().all(axis=None)
        assert profile.observed == set(tutorial.observations[name])


def test_cells_printed_as_observed_are_those_given(tutorial) -> None:
    for name, block in zip(tutorial.profiles, tutorial.blocks, strict=True):
        cells = SKILL.findall(block)
        assert [skill for skill, *_ in cells] == ["math", "reasoning", "code"]
        given = tutorial.observations[name]
        for skill, mean, _, source in cells:
            assert source == ("observed" if skill in given else "inferred")
            if skill in given:
                assert float(mean) == given[skill]
        assert len(FIT.findall(block)) == 1


def test_the_built_in_prompt_tells_the_same_apart(tutorial) -> None:
    prompt = skillinfer.build_prompt(tutorial.task, tutorial.profiles, tutorial.metadata)
    for name, block in zip(tutorial.profiles, tutorial.blocks, strict=True):
        start = prompt.index(f"{name}:\n")
        assert SKILL.findall(prompt[start:])[:3] == SKILL.findall(block)


def test_task_fits_are_near_the_tutorials(tutorial) -> None:
    fits = {
        name: profile.match_score(tutorial.task, threshold=0.8).score
        for name, profile in tutorial.profiles.items()
    }
    assert fits["gpt-4o"] == pytest.approx(0.90, abs=0.02)
    assert fits["gemini-pro"] == pytest.approx(0.86, abs=0.01)
    assert fits["claude-3.5"] == pytest.approx(0.85, abs=0.035)
    assert max(fits, key=fits.get) == "gpt-4o"


def test_an_agent_that_breaks_the_pattern_is_less_certain(tutorial) -> None:
    """High reasoning and high writing do not occur together in the history."""
    usual, unusual = (
        profile.std()[[skill for skill in tutorial.task.weights if skill not in profile.observed]]
        for profile in (tutorial.profiles["gpt-4o"], tutorial.profiles["claude-3.5"])
    )
    assert list(usual.index) == ["math"]
    assert list(unusual.index) == ["math", "code"]
    assert unusual.min() > usual.max()


def test_ranking_puts_the_best_fit_first(tutorial) -> None:
    ranking = skillinfer.rank_agents(tutorial.task, tutorial.profiles, threshold=0.8)
    assert ranking["agent"].iloc[0] == "gpt-4o"
    assert ranking["expected_score"].is_monotonic_decreasing
