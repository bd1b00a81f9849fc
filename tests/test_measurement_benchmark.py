"""The benchmark of likelihoods compares what it says that it compares."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pytensor.compile.mode import Mode
from scipy.stats import binom, multivariate_t

from benchmarks.measurement import binomial_model, share_of_variance
from skillinfer_bayes import History, Priors
from skillinfer_bayes.history import measurement
from skillinfer_bayes.inference.sampling import quiet_blas_warning

PLAIN = Mode("py", "fast_compile")


@pytest.fixture
def history() -> History:
    rng = np.random.default_rng(3)
    items = np.full((5, 3), 40)
    scores = pd.DataFrame(rng.binomial(items, 0.7) / items, columns=["code", "maths", "prose"])
    return History.from_dataframe(scores, n_items=items)


@quiet_blas_warning()
def test_counts_are_binomial_given_skills_that_are_rows_of_a_student_t(history) -> None:
    rng = np.random.default_rng(4)
    priors = Priors(tails="agent", rank=1).resolve(3, 15)
    model = binomial_model(history, priors)
    names = ["mu", "covariance", "nu", "latent", "counts", "scores"]
    outputs = model.replace_rvs_by_values([model[name] for name in names])
    evaluate = model.compile_fn(
        outputs, inputs=model.value_vars, mode=PLAIN, on_unused_input="ignore"
    )
    point = model.initial_point()
    totals = []
    for _ in range(2):
        point["latent"] = 0.3 * rng.standard_normal((5, 3))
        values = evaluate(point)
        density = model.compile_logp([model["latent"]], mode=PLAIN)(point)
        found = dict(zip(names, values, strict=True))
        law = multivariate_t(found["mu"], found["covariance"], df=found["nu"])
        assert density == pytest.approx(law.logpdf(point["latent"]).sum(), rel=1e-9)
        assert float(found["scores"]) == 0.0
        rate = history.scales.from_working(point["latent"])
        counts = np.rint(history.values * history.n_items)
        expected = binom.logpmf(counts, history.n_items, rate).sum()
        totals.append(float(found["counts"]) - expected)
    # up to the number of orders of hits and misses, which is constant
    assert totals[0] == pytest.approx(totals[1], abs=1e-8)


def test_a_share_of_the_variance_holds_until_the_end_of_its_block(history) -> None:
    before = history.working().error_var
    with share_of_variance(0.25):
        inside = History.from_dataframe(history.to_dataframe(), n_items=history.n_items).working()
        np.testing.assert_allclose(inside.error_var, 0.5 * before, rtol=0.05)
    assert measurement.ITEM_VARIANCE_SHARE == 0.5


def test_a_table_with_holes_is_refused(history) -> None:
    table = history.to_dataframe()
    table.iloc[0, 0] = np.nan
    items = np.where(table.notna(), 40, np.nan)
    holes = History.from_dataframe(table, n_items=items)
    with pytest.raises(ValueError, match="without holes"):
        binomial_model(holes, Priors(tails="agent").resolve(3, 14))
