"""Lets JAX samplers evaluate the likelihood; importing this module registers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from pytensor.link.jax.dispatch.basic import jax_funcify

from skillinfer_bayes.inference.likelihood import StudentRows, student_rows

N_PARAMETERS = 3


def _through_host(compiled: Callable[..., Any]) -> Callable[..., Any]:
    """Call a numba function on the host; its own gradients replace JAX's.

    Its first three arguments are the parameters, and it returns the log density with the gradient
    by each of them.
    """

    def on_host(*arrays: Any) -> Any:
        return compiled(*(np.ascontiguousarray(array).reshape(array.shape) for array in arrays))

    def call(*arguments: Any) -> Any:
        dtype = arguments[0].dtype
        shapes = [(), *(np.shape(argument) for argument in arguments[:N_PARAMETERS])]
        results = tuple(jax.ShapeDtypeStruct(shape, dtype) for shape in shapes)
        return jax.pure_callback(on_host, results, *arguments, vmap_method="sequential")

    def forward(*arguments: Any) -> Any:
        result = call(*arguments)
        return result, (result[1:], len(arguments) - N_PARAMETERS)

    def backward(saved: Any, cotangents: Any) -> Any:
        gradients, n_data = saved
        return (*(cotangents[0] * gradient for gradient in gradients), *([None] * n_data))

    density: Any = jax.custom_vjp(call)
    density.defvjp(forward, backward)
    wrapped: Callable[..., Any] = density
    return wrapped


@jax_funcify.register(StudentRows)  # type: ignore[untyped-decorator]
def _jax_student_rows(op: StudentRows, **kwargs: Any) -> Callable[..., Any]:
    return _through_host(student_rows)
