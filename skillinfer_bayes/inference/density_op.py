"""PyTensor Ops whose gradient is computed along with the log density, by one numba function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytensor.tensor as pt
from pytensor.gradient import DisconnectedType
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import register_funcify_default_op_cache_key


class DensityOp(Op):  # type: ignore[misc]
    """Log density (scalar) of data given parameters, with its gradient by each parameter.

    The inputs are the parameters, then the data; the outputs the log density and the gradients, of
    the parameters' shapes. Only the log density is differentiated, and only by the parameters.
    """

    # PyTensor finds what it compiled before by the class and these
    __props__ = ("version",)

    #: Takes all inputs as arrays and returns all outputs as arrays.
    kernel: ClassVar[Callable[..., tuple[np.ndarray, ...]]]
    #: Raised when `kernel` changes, so that what was compiled before is not used.
    version: ClassVar[int]
    #: Numbers of axes of the parameters, which are float64, and the data's types.
    parameter_ndims: ClassVar[tuple[int, ...]]
    data_dtypes: ClassVar[tuple[str, ...]]

    def make_node(self, *inputs: Any) -> Any:
        """Build the node that holds the log density and its gradients."""
        dtypes = ("float64",) * len(self.parameter_ndims) + self.data_dtypes
        tensors = [
            pt.as_tensor_variable(item).astype(dtype)
            for item, dtype in zip(inputs, dtypes, strict=True)
        ]
        gradients = [pt.tensor(dtype="float64", shape=(None,) * n) for n in self.parameter_ndims]
        return Apply(self, tensors, [pt.dscalar(), *gradients])

    def perform(self, node: Any, inputs: Any, output_storage: list[list[Any]]) -> None:
        """Evaluate outside a compiled graph."""
        results = type(self).kernel(*(np.ascontiguousarray(item) for item in inputs))
        for storage, result in zip(output_storage, results, strict=True):
            storage[0] = np.asarray(result)

    def infer_shape(self, node: Any, shapes: list[Any]) -> list[Any]:
        """Give the gradients the shapes of what they differentiate by."""
        return [(), *shapes[: len(self.parameter_ndims)]]

    def connection_pattern(self, node: Any) -> list[list[bool]]:
        """Only the parameters are differentiated, and only through the log density."""
        n_parameters = len(self.parameter_ndims)
        return [
            [position < n_parameters] + [False] * n_parameters
            for position in range(len(node.inputs))
        ]

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list[Any]:
        """Scale the stored gradients; the node is shared with the forward pass."""
        data = [DisconnectedType()() for _ in inputs[len(self.parameter_ndims) :]]
        return [*(cotangents[0] * gradient for gradient in outputs[1:]), *data]


@register_funcify_default_op_cache_key(DensityOp)  # type: ignore[untyped-decorator]
def _numba_density(op: DensityOp, node: Any, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    return type(op).kernel, op.version
