"""Lets JAX samplers evaluate the likelihood; importing this module registers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from pytensor.link.jax.dispatch.basic import jax_funcify

from skillinfer_bayes.inference.likelihood import GaussianRows, gaussian_rows


def _on_host(*arrays: Any) -> tuple[Any, Any, Any]:
    return gaussian_rows(*(np.ascontiguousarray(array) for array in arrays))


@jax_funcify.register(GaussianRows)  # type: ignore[untyped-decorator]
def _jax_gaussian_rows(op: GaussianRows, **kwargs: Any) -> Callable[..., Any]:
    """Call the numba function on the host; its own gradient replaces JAX's."""

    def call(mean: Any, covariance: Any, *data: Any) -> Any:
        shapes = (
            jax.ShapeDtypeStruct((), mean.dtype),
            jax.ShapeDtypeStruct(mean.shape, mean.dtype),
            jax.ShapeDtypeStruct(covariance.shape, covariance.dtype),
        )
        arguments = (mean, covariance, *data)
        return jax.pure_callback(_on_host, shapes, *arguments, vmap_method="sequential")

    def plain(mean: Any, covariance: Any, *data: Any) -> Any:
        return call(mean, covariance, *data)

    def forward(mean: Any, covariance: Any, *data: Any) -> Any:
        result = call(mean, covariance, *data)
        return result, (result[1], result[2], len(data))

    def backward(saved: Any, cotangents: Any) -> Any:
        grad_mean, grad_cov, n_data = saved
        return (cotangents[0] * grad_mean, cotangents[0] * grad_cov, *([None] * n_data))

    rows: Any = jax.custom_vjp(plain)
    rows.defvjp(forward, backward)
    wrapped: Callable[..., Any] = rows
    return wrapped
