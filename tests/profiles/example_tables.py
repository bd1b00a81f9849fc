"""Tables that the tests of profiles share."""

from __future__ import annotations

import numpy as np
import pandas as pd

SKILLS = ["math", "code", "reasoning", "writing", "creativity"]


def table_of(n_agents: int, seed: int) -> pd.DataFrame:
    """Complete 0-1 scores in which all skills but the last rise together."""
    rng = np.random.default_rng(seed)
    ability = rng.standard_normal((n_agents, 1))
    lean = np.array([1.0, 0.9, 0.8, 0.5, -0.3])
    latent = 0.4 + ability * lean + 0.6 * rng.standard_normal((n_agents, len(SKILLS)))
    agents = [f"model_{number}" for number in range(n_agents)]
    return pd.DataFrame(1.0 / (1.0 + np.exp(-latent)), index=agents, columns=SKILLS)
