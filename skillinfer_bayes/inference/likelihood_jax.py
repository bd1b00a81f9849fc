"""Lets JAX samplers evaluate the likelihood; importing this module registers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from pytensor.link.jax.dispatch.basic import jax_funcify

from skillinfer_bayes.inference.density_op import DensityOp


def _through_host(compiled: Callable[..., Any], n_parameters: int) -> Callable[..., Any]:
    """Call a numba function on the host; its own gradients replace JAX's.

    Its first arguments are the parameters, and it returns the log density with the gradient by each
    of them.
    """

    def on_host(*arrays: Any) -> Any:
        return compiled(*(np.ascontiguousarray(array).reshape(array.shape) for array in arrays))

    def call(*arguments: Any) -> Any:
        dtype = arguments[0].dtype
        shapes = [(), *(np.shape(argument) for argument in arguments[:n_parameters])]
        results = tuple(jax.ShapeDtypeStruct(shape, dtype) for shape in shapes)
        return jax.pure_callback(on_host, results, *arguments, vmap_method="sequential")

    def forward(*arguments: Any) -> Any:
        result = call(*arguments)
        return result, (result[1:], len(arguments) - n_parameters)

    def backward(saved: Any, cotangents: Any) -> Any:
        gradients, n_data = saved
        return (*(cotangents[0] * gradient for gradient in gradients), *([None] * n_data))

    density: Any = jax.custom_vjp(call)
    density.defvjp(forward, backward)
    wrapped: Callable[..., Any] = density
    return wrapped


@jax_funcify.register(DensityOp)  # type: ignore[untyped-decorator]
def _jax_density(op: DensityOp, **kwargs: Any) -> Callable[..., Any]:
    return _through_host(type(op).kernel, len(op.parameter_ndims))
