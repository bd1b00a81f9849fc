"""The demonstration's data: a small history, five new agents, what they cost, and a task.

The numbers are those of the tutorial that defined the workflow. Plain Python, so that reading
them loads nothing.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

#: Models that were measured on every skill: one list per skill, one entry per model.
HISTORY: Final = MappingProxyType(
    {
        "math": (0.88, 0.75, 0.70, 0.82, 0.65, 0.90, 0.72, 0.68),
        "code": (0.85, 0.80, 0.65, 0.78, 0.60, 0.88, 0.70, 0.62),
        "reasoning": (0.90, 0.82, 0.75, 0.85, 0.70, 0.92, 0.78, 0.72),
        "writing": (0.80, 0.85, 0.90, 0.75, 0.88, 0.78, 0.82, 0.92),
        "creativity": (0.70, 0.78, 0.85, 0.68, 0.82, 0.65, 0.75, 0.88),
    }
)
#: Names of the models in `HISTORY`.
HISTORY_AGENTS: Final = tuple(f"model_{number}" for number in range(8))

#: The few scores that each new agent comes with.
OBSERVATIONS: Final = MappingProxyType(
    {
        "gpt-4o": {"reasoning": 0.92, "code": 0.89},
        "claude-3.5": {"reasoning": 0.90, "writing": 0.95},
        "llama-3-70b": {"code": 0.78},
        "gemini-pro": {"reasoning": 0.85, "math": 0.88, "code": 0.82},
        "mistral-large": {"writing": 0.80},
    }
)

#: What each new agent costs and how fast it answers.
METADATA: Final = MappingProxyType(
    {
        "gpt-4o": {"cost_per_1k": 0.005, "avg_latency_ms": 800, "rate_limit_rpm": 500},
        "claude-3.5": {"cost_per_1k": 0.003, "avg_latency_ms": 600, "rate_limit_rpm": 1000},
        "llama-3-70b": {"cost_per_1k": 0.001, "avg_latency_ms": 1200, "rate_limit_rpm": 200},
        "gemini-pro": {"cost_per_1k": 0.004, "avg_latency_ms": 700, "rate_limit_rpm": 600},
        "mistral-large": {"cost_per_1k": 0.002, "avg_latency_ms": 500, "rate_limit_rpm": 800},
    }
)

#: How much each skill counts for the task.
TASK_WEIGHTS: Final = MappingProxyType({"math": 1.0, "reasoning": 0.8, "code": 0.3})
#: The task in words.
TASK_DESCRIPTION: Final = (
    "Work out a mathematics olympiad problem and check the proof with a Python program"
)
#: The score that the task fit is compared with.
THRESHOLD: Final = 0.8

#: What else the decision should respect.
CONSTRAINTS: Final = (
    "The answer is needed quickly: prefer agents that respond in under 1000ms",
    "The budget is moderate: take the most expensive agent only if it is clearly the best fit",
    "Where a skill that matters is inferred and not observed, say what risk that adds",
)
