from __future__ import annotations

import threading

import pytest
from chat_server import Server
from stand_in import StandInProfile

from skillinfer_bayes.profiles.task import Task


@pytest.fixture
def task():
    return Task(
        {"math": 1.0, "reasoning": 0.8, "code": 0.3},
        "Solve a competition-level math problem that requires writing a Python proof",
    )


@pytest.fixture
def profiles():
    return {
        "gpt-4o": StandInProfile(
            {"code": (0.89, 0.004), "math": (0.893, 0.04), "reasoning": (0.92, 0.004)},
            frozenset({"code", "reasoning"}),
        ),
        "claude-3.5": StandInProfile(
            {"code": (0.81, 0.042), "math": (0.82, 0.038), "reasoning": (0.9, 0.004)},
            frozenset({"reasoning"}),
        ),
        "gemini-pro": StandInProfile(
            {"code": (0.82, 0.004), "math": (0.88, 0.004), "reasoning": (0.85, 0.004)},
            frozenset({"code", "math", "reasoning"}),
        ),
    }


@pytest.fixture
def metadata():
    return {
        "gpt-4o": {"cost_per_1k": 0.005, "avg_latency_ms": 800, "rate_limit_rpm": 500},
        "claude-3.5": {"cost_per_1k": 0.003, "avg_latency_ms": 600, "rate_limit_rpm": 1000},
        "gemini-pro": {"cost_per_1k": 0.004, "avg_latency_ms": 700, "rate_limit_rpm": 600},
    }


@pytest.fixture
def constraints():
    return [
        "The task is latency-sensitive: prefer agents under 1000ms",
        "Budget is moderate: avoid the most expensive option unless clearly the best fit",
        'If an agent\'s key skills are "inferred" rather than "observed", note the added risk',
    ]


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.release.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def no_settings(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID"):
        monkeypatch.delenv(name, raising=False)
