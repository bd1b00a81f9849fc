from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.sampling import quiet_blas_warning
from skillinfer_bayes.testing import simulate_history


@pytest.fixture(autouse=True)
def _quiet_blas() -> Iterator[None]:
    # the C backend advises on BLAS the first time that it is asked; fits silence it likewise
    with quiet_blas_warning():
        yield


@pytest.fixture(scope="session")
def scores() -> pd.DataFrame:
    """Twenty agents by four skills, a fifth of the cells empty."""
    return simulate_history(20, 4, missing=0.2, random_seed=4).scores


@pytest.fixture(scope="session")
def history(scores: pd.DataFrame) -> History:
    return History.from_dataframe(scores)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)
