from __future__ import annotations

import numpy as np
import pytest
from example_tables import table_of

from skillinfer_bayes import Population
from skillinfer_bayes.testing import fake_population


@pytest.fixture(scope="session")
def population() -> Population:
    """Five skills on 0-1, sixty agents, 2 x 150 draws; no MCMC."""
    return fake_population(table_of(60, seed=3), draws=150)


@pytest.fixture(scope="session")
def wide_population() -> Population:
    """As `population`, with draws that scatter as after eight agents."""
    return fake_population(table_of(8, seed=5), draws=150, concentration=12)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(31)
