from __future__ import annotations

from collections.abc import Callable

import pytest

from skillinfer_bayes.history.table import History
from skillinfer_bayes.testing import simulate_history

N_ITEMS = 200


@pytest.fixture(scope="session")
def make_history() -> Callable[..., History]:
    """Simulated histories of six skills on 0-1, each score a proportion of 200 items."""

    def make(n_agents: int = 30, missing: float = 0.0, n_skills: int = 6) -> History:
        simulated = simulate_history(n_agents, n_skills, missing=missing, random_seed=2)
        scores = (simulated.scores * N_ITEMS).round() / N_ITEMS
        return History.from_dataframe(scores, n_items=N_ITEMS)

    return make
