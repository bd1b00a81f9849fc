"""Compile a PyMC model for nutpie, into functions that a later process finds on disk.

`nutpie.compile_pymc_model` puts two C callbacks around the functions that PyTensor compiles.
PyTensor keeps its own on disk. numba cannot keep nutpie's, because they refer to arrays made at run
time, so every process compiles them anew, for longer than a table of a hundred agents takes to
sample. The callbacks here do the same work and refer to nothing but the function that they call, so
numba stores them beside PyTensor's, under a name made from PyTensor's own key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numba
import numpy as np
import pandas as pd
import pymc as pm
import pytensor
import pytensor.tensor as pt
from numba import carray  # type: ignore[attr-defined]
from numpy.typing import NDArray
from nutpie.compile_pymc import CompiledPyMCModel, address_as_void_pointer, make_user_data
from pymc.pytensorf import compile as compile_graph
from pymc.pytensorf import join_nonshared_inputs
from pytensor.graph import rewrite_graph
from pytensor.link.numba.cache import CACHED_SRC_FUNCTIONS, compile_numba_function_src

#: Half the width of the box around the origin of the unconstrained space where chains start.
JITTER = 1.0

_Size, _Data = numba.types.uint64, numba.types.voidptr
_Pointer: Any = numba.types.CPointer(numba.types.float64)  # type: ignore[no-untyped-call]
_LOGP_TYPE = numba.types.int64(_Size, _Pointer, _Pointer, _Pointer, _Data)
_EXPAND_TYPE = numba.types.int64(_Size, _Size, _Pointer, _Pointer, _Data)

# To nutpie 0 is success, a positive number rejects the step, a negative one stops the chain.
_LOGP_SOURCE = """
def skillinfer_logp(_, point_, gradient_, logp_, data_):
    try:
        point = carray(point_, ({n_dim},))
{unpack}
        value, slope = kernel(point, {arguments})
        gradient = carray(gradient_, ({n_dim},))
        gradient[...] = slope
        logp = carray(logp_, (1,))
        logp[0] = value.item()
        if not np.all(np.isfinite(gradient)):
            return 3
        if not np.isfinite(logp[0]):
            return 4
    except Exception:
        return 1
    return 0
"""
_EXPAND_SOURCE = """
def skillinfer_expand(_, __, point_, expanded_, data_):
    try:
        point = carray(point_, ({n_dim},))
{unpack}
        (values,) = kernel(point, {arguments})
        expanded = carray(expanded_, ({n_expanded},))
        expanded[...] = values
    except Exception:
        return -2
    return 0
"""


def compile_for_nutpie(model: pm.Model, var_names: Sequence[str]) -> CompiledPyMCModel:
    """Compile the log density of a model, its gradient, and the variables that draws keep.

    Parameters
    ----------
    model : pymc.Model
        Each variable has dims or a static shape, and the data are `pm.Data`.
    var_names : sequence of str
        Variables to keep; those that the model lacks are left out.

    Returns
    -------
    nutpie.compile_pymc.CompiledPyMCModel
        What `nutpie.sample` takes; its `with_data` exchanges the data without compiling.
    """
    kept = [name for name in var_names if name in model.named_vars]
    shapes = [_shape(model, model[name]) for name in kept]
    origin = {
        model.rvs_to_values[variable].name: np.zeros(
            _shape(model, variable, model.rvs_to_values[variable])
        )
        for variable in model.free_RVs
    }
    n_dim = sum(value.size for value in origin.values())
    n_expanded = sum(prod(shape) for shape in shapes)
    density, expand = _functions(model, kept, origin)
    data = _SharedData([*density.get_shared(), *expand.get_shared()])
    return CompiledPyMCModel(
        compiled_logp_func=_callback(density, data, _LOGP_SOURCE, _LOGP_TYPE, n_dim),
        compiled_expand_func=_callback(
            expand, data, _EXPAND_SOURCE, _EXPAND_TYPE, n_dim, n_expanded
        ),
        initial_point_func=_start_near_origin(n_dim),
        shared_data=data.arrays,
        shared_var_keys=data.keys,
        user_data=make_user_data(data.keys, data.arrays),
        n_expanded=n_expanded,
        shape_info=(kept, None, shapes),
        logp_func=density,
        expand_func=expand,
        reparameterized_names=[],
        dims={name: model.named_vars_to_dims.get(name, ()) for name in kept},
        _n_dim=n_dim,
        _shapes=dict(zip(kept, shapes, strict=True)),
        _coords={name: pd.Index(labels) for name, labels in model.coords.items()}
        | {"unconstrained_parameter": pd.RangeIndex(n_dim)},
    )


def _shape(model: pm.Model, variable: Any, value: Any = None) -> tuple[int, ...]:
    """Shape of a variable, or of its value where that is another one, without compiling."""
    static = (variable if value is None else value).type.shape
    if None not in static:
        return tuple(static)
    return tuple(len(model.coords[dim]) for dim in model.named_vars_to_dims[variable.name])


def _functions(
    model: pm.Model, kept: Sequence[str], origin: dict[str, NDArray[np.float64]]
) -> tuple[Any, Any]:
    """Log density with its gradient, and the kept variables, as functions of one flat point."""
    values = model.value_vars
    logp = rewrite_graph(model.logp(), include=["canonicalize", "stabilize"])
    gradient = pt.concatenate([slope.ravel() for slope in pt.grad(logp, values)])
    variables = model.replace_rvs_by_values([model[name] for name in kept])
    flat = pt.concatenate([variable.ravel() for variable in variables])
    compiled = []
    for outputs in ([logp, gradient], [flat]):
        joined, point = join_nonshared_inputs(origin, outputs=outputs, inputs=values)
        # with fast maths on, a function's last digits depend on what was compiled before it
        with model, pytensor.config.change_flags(numba__fastmath=False):
            compiled.append(compile_graph([point], joined, mode="NUMBA"))
    return compiled[0], compiled[1]


def _start_near_origin(n_dim: int) -> Callable[[int], NDArray[np.float64]]:
    def start(seed: int) -> NDArray[np.float64]:
        return np.random.default_rng(seed).uniform(-JITTER, JITTER, n_dim)

    return start


class _SharedData:
    """The model's data in the order in which nutpie lays out their addresses and shapes.

    nutpie hands each callback one block of words: the addresses of all arrays, their sizes, and
    their shapes.
    """

    def __init__(self, variables: Sequence[Any]) -> None:
        distinct = dict.fromkeys(variables)
        self.keys = {variable: f"data_{at}" for at, variable in enumerate(distinct)}
        self.arrays = {
            key: np.array(variable.get_value(), order="C", copy=True)
            for variable, key in self.keys.items()
        }
        for array in self.arrays.values():
            array.flags.writeable = False

    def unpack(self, variables: Sequence[Any]) -> str:
        """Lines of source that make arrays of the words in `data_`."""
        names = list(self.keys.values())
        first = np.cumsum([2 * len(names), *(self.arrays[name].ndim for name in names)])
        lines = [f"words = carray(data_, ({first[-1]},), np.uint64)"]
        for variable in variables:
            name = self.keys[variable]
            at, array = names.index(name), self.arrays[name]
            shape = "".join(f"int(words[{first[at] + axis}]), " for axis in range(array.ndim))
            lines.append(f"{name} = carray(address(words[{at}]), ({shape}), np.{array.dtype})")
        return "\n".join(" " * 8 + line for line in lines)


def _callback(
    function: Any, data: _SharedData, source: str, signature: Any, n_dim: int, n_expanded: int = 0
) -> Any:
    """Put a C callback around a compiled function; numba loads it if it was stored before."""
    shared = function.get_shared()
    text = source.format(
        unpack=data.unpack(shared),
        arguments=", ".join(data.keys[variable] for variable in shared),
        n_dim=n_dim,
        n_expanded=n_expanded,
    )
    kernel = function.vm.jit_fn
    key = CACHED_SRC_FUNCTIONS.get(kernel.py_func)  # None where PyTensor does not store it
    if key is not None:
        key = hashlib.sha256(f"{key}{text}".encode()).hexdigest()
    names = {
        "__name__": __name__,  # numba stores a function with the module that its names are from
        "np": np,
        "carray": carray,
        "address": address_as_void_pointer,
        "kernel": kernel,
    }
    name = text.split("(", 1)[0].split()[-1]
    callback = compile_numba_function_src(text, name, names, cache_key=key)
    return numba.cfunc(signature, cache=key is not None)(callback)
