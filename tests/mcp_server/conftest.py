from __future__ import annotations

import pandas as pd
import pytest

from skillinfer_bayes import demo
from skillinfer_bayes.testing import fake_population


@pytest.fixture(scope="session")
def saved_population(tmp_path_factory):
    path = tmp_path_factory.mktemp("fitted") / "population.nc"
    history = pd.DataFrame(dict(demo.HISTORY), index=list(demo.HISTORY_AGENTS))
    fake_population(history).save(path)
    return path


@pytest.fixture
def folder(tmp_path, saved_population):
    """The folder that a server may use, with a population, beside a secret that it may not."""
    (tmp_path / "secret.json").write_text('{"secret": "do not read"}', "utf-8")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "pop.nc").write_bytes(saved_population.read_bytes())
    return inside
