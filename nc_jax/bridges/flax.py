"""Features of Flax networks, NNX and Linen: the inputs of the last linear layer.

A forward pass is traced once for each shape of a batch; while it is traced, the calls of
linear layers are recorded, and the compiled program returns the inputs of the last.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from nc_jax.bridges.head import LinearCall, find_head
from nc_jax.bridges.optional import optional
from nc_jax.bridges.rows import on_host, unpack_pair
from nc_jax.bridges.stream import FeatureStream, first_inputs

COMMAND = "pip install 'nc-jax[train]'"

# From the weights of a network and a batch to its output and the calls of its linear layers.
Forward = Callable[[Any, Any], tuple[Any, list[LinearCall]]]


def from_nnx(
    module: Any,
    loader: Iterable[Any],
    layer: str | None = None,
    unpack: Callable[[Any], tuple[Any, Any]] = unpack_pair,
    ignore_index: int | None = None,
    keywords: Mapping[str, Any] | None = None,
) -> FeatureStream:
    """Features, labels, classifiers and bias of a Flax NNX network.

    The features are the inputs of the last ``nnx.Linear``. One batch is run
    immediately to find it. A copy of the network in evaluation mode is run, which shares its
    arrays; the network itself is not changed. A stream uses the weights that the network has
    when the stream is read.

    Args:
        module: an ``nnx.Module``.
        loader: iterable of batches that can be iterated repeatedly. Inputs may be NumPy or JAX
            arrays or PyTorch tensors.
        layer: the path of the last linear layer with dots, as in ``'head.out'``; found by
            default.
        unpack: from a batch to (inputs, labels). Inputs that are a dict are passed to the
            network by name, anything else as its one argument.
        ignore_index: rows with this label are left out; None for none.
        keywords: further arguments of every call, as in ``{'train': False}``.

    Raises:
        ImportError: Flax is not installed.
        TypeError, ValueError: naming the argument; the layer that was not found and what to
            do; an empty loader.
    """
    nnx = optional("flax.nnx", COMMAND)
    if not isinstance(module, nnx.Module):
        raise TypeError(f"module must be a flax.nnx.Module, got {type(module).__name__}")

    def state() -> Any:
        copied = nnx.merge(*nnx.split(module))
        copied.eval()
        return nnx.split(copied)

    graph = state()[0]

    def forward(weights: Any, inputs: Any) -> tuple[Any, list[LinearCall]]:
        copied = nnx.merge(graph, weights)
        paths = {id(part): path for path, part in nnx.iter_modules(copied)}
        with _recorded_nnx(nnx.Linear) as calls:
            result = _called(copied, inputs, keywords)
        named = [(".".join(map(str, paths.get(id(call.layer), ("?",)))), call) for call in calls]
        return result, [call._replace(path=path) for path, call in named]

    found = _found(forward, state()[1], first_inputs(loader, unpack), layer, "nnx.Linear")
    own = {".".join(map(str, path)): part for path, part in nnx.iter_modules(module)}

    def head() -> tuple[Any, Any]:
        linear = own[found]
        bias = linear.bias
        return linear.kernel[...].T, None if bias is None else bias[...]

    features = _compiled(forward, found)
    return FeatureStream(
        lambda inputs: features(state()[1], _arrays(inputs)),
        loader,
        len(head()[0]),
        head,
        unpack,
        ignore_index,
    )


def from_linen(
    module: Any,
    variables: Mapping[str, Any],
    loader: Iterable[Any],
    layer: str | None = None,
    unpack: Callable[[Any], tuple[Any, Any]] = unpack_pair,
    ignore_index: int | None = None,
    keywords: Mapping[str, Any] | None = None,
) -> FeatureStream:
    """Features, labels, classifiers and bias of a Flax Linen network.

    The features are the inputs of the last ``nn.Dense``. One batch is run
    immediately to find it.

    Args:
        module: a ``flax.linen.Module``.
        variables: what ``module.apply`` takes: the collection 'params' and others.
        loader: iterable of batches that can be iterated repeatedly. Inputs may be NumPy or JAX
            arrays or PyTorch tensors.
        layer: the path of the last linear layer in 'params' with dots, as in
            ``'head.Dense_0'``; found by default.
        unpack: from a batch to (inputs, labels). Inputs that are a dict are passed to the
            network by name, anything else as its one argument.
        ignore_index: rows with this label are left out; None for none.
        keywords: more arguments of every call. Linen has no evaluation mode: give
            here the arguments that select it, as in ``{'train': False}``.

    Raises:
        ImportError: Flax is not installed.
        TypeError, ValueError: naming the argument; the layer that was not found and what to
            do; an empty loader.
    """
    linen = optional("flax.linen", COMMAND)
    if not isinstance(module, linen.Module):
        raise TypeError(f"module must be a flax.linen.Module, got {type(module).__name__}")
    if "params" not in variables:
        raise ValueError(f"variables must have the collection 'params', got {list(variables)}")

    def forward(weights: Any, inputs: Any) -> tuple[Any, list[LinearCall]]:
        calls: list[LinearCall] = []

        def record(call: Any, arguments: Any, named: Any, context: Any) -> Any:
            outputs = call(*arguments, **named)
            if isinstance(context.module, linen.Dense) and context.method_name == "__call__":
                own = arguments[0] if arguments else named["inputs"]
                path = ".".join(context.module.path)
                calls.append(LinearCall(path, context.module, own, outputs))
            return outputs

        def apply(*positional: Any, **named: Any) -> Any:
            return module.apply(weights, *positional, **named)

        with linen.intercept_methods(record):
            return _called(apply, inputs, keywords), calls

    found = _found(forward, variables, first_inputs(loader, unpack), layer, "nn.Dense")
    own = variables["params"]
    for name in found.split("."):
        own = own[name]
    features = _compiled(forward, found)
    return FeatureStream(
        lambda inputs: features(variables, _arrays(inputs)),
        loader,
        own["kernel"].shape[1],
        lambda: (own["kernel"].T, own.get("bias")),
        unpack,
        ignore_index,
    )


@contextlib.contextmanager
def _recorded_nnx(linear: Any) -> Iterator[list[LinearCall]]:
    """Records the calls of ``nnx.Linear`` in the context, by replacing its method."""
    calls: list[LinearCall] = []
    original = linear.__call__

    def record(layer: Any, inputs: Any, *arguments: Any, **named: Any) -> Any:
        outputs = original(layer, inputs, *arguments, **named)
        calls.append(LinearCall("", layer, inputs, outputs))
        return outputs

    linear.__call__ = record
    try:
        yield calls
    finally:
        linear.__call__ = original


def _called(network: Callable[..., Any], inputs: Any, keywords: Mapping[str, Any] | None) -> Any:
    named = dict(keywords or {})
    if isinstance(inputs, Mapping):
        return network(**inputs, **named)
    return network(inputs, **named)


def _arrays(inputs: Any) -> Any:
    """The leaves of an input as JAX arrays; PyTorch tensors are copied through the host."""

    def array(leaf: Any) -> jax.Array:
        return jnp.asarray(on_host(leaf) if hasattr(leaf, "detach") else leaf)

    return jax.tree.map(array, dict(inputs) if isinstance(inputs, Mapping) else inputs)


def _found(forward: Forward, weights: Any, inputs: Any, layer: str | None, kind: str) -> str:
    """The path of the last linear layer."""
    result, calls = forward(weights, _arrays(inputs))
    return find_head(calls, result, layer, kind).path


def _compiled(forward: Forward, path: str) -> Callable[[Any, Any], jax.Array]:
    """From weights and a batch to the inputs of a layer; later layers are not run."""

    @jax.jit
    def features(weights: Any, inputs: Any) -> jax.Array:
        _, calls = forward(weights, inputs)
        own = [call.inputs for call in calls if call.path == path]
        if not own:
            raise ValueError(f"the layer {path!r} did not run in every batch")
        return own[-1]

    return features
