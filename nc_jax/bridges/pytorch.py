"""Features of a PyTorch network: the inputs of its last linear layer, caught by hooks.

PyTorch 2.6 or newer, for ``torch.compiler.set_stance``.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nc_jax.bridges.head import LinearCall, find_head
from nc_jax.bridges.optional import optional
from nc_jax.bridges.rows import unpack_pair
from nc_jax.bridges.stream import FeatureStream, first_inputs

COMMAND = "pip install torch"


def from_torch(
    module: Any,
    loader: Iterable[Any],
    layer: str | None = None,
    unpack: Callable[[Any], tuple[Any, Any]] = unpack_pair,
    ignore_index: int | None = None,
) -> FeatureStream:
    """Features, labels, classifiers and bias of a PyTorch network.

    The features are the inputs of the last ``nn.Linear``. One batch is run immediately to
    find it; everything else is run when the stream is read. The network runs in evaluation
    mode and without gradients, on the device of its parameters; after each batch every
    submodule is set back to the mode it had. Compiled networks run eagerly.

    Args:
        module: an ``nn.Module``; ``DataParallel`` and ``DistributedDataParallel`` are
            unwrapped.
        loader: iterable of batches that can be iterated repeatedly, such as a ``DataLoader``.
        layer: the path of the last linear layer, as in ``module.named_modules()``; found by
            default.
        unpack: from a batch to (inputs, labels). Inputs that are a dict are passed to the
            network by name, anything else as its one argument.
        ignore_index: rows with this label are left out; None for none.

    Raises:
        ImportError: PyTorch is not installed.
        TypeError, ValueError: naming the argument; the layer that was not found and what to
            do; an empty loader.
    """
    torch = optional("torch", COMMAND)
    module = unwrapped(module)
    if any(torch.nn.parameter.is_lazy(parameter) for parameter in module.parameters()):
        raise ValueError("module has lazy layers without weights; run one batch through it first")
    with Recorder(module) as seen:
        _evaluate(module, first_inputs(loader, unpack))
        found = find_head(seen.calls, seen.result, layer, "nn.Linear")
    head = found.layer

    def features(inputs: Any) -> Any:
        with Recorder(module, head) as seen:
            _evaluate(module, inputs)
            if not seen.calls:
                raise ValueError(f"the layer {found.path!r} did not run in every batch")
            return seen.calls[-1].inputs

    return FeatureStream(
        features,
        loader,
        len(head.weight),
        lambda: (head.weight, head.bias),
        unpack,
        ignore_index,
    )


def unwrapped(module: Any) -> Any:
    """The network inside the wrappers of data parallelism and ``torch.compile``."""
    torch = optional("torch", COMMAND)
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, got {type(module).__name__}")
    wrappers = torch.nn.DataParallel | torch.nn.parallel.DistributedDataParallel
    while True:
        if isinstance(module, wrappers):
            module = module.module
        elif hasattr(module, "_orig_mod"):
            module = module._orig_mod
        else:
            return module


class Recorder:
    """The linear layers that a network ran in its last forward pass, caught by hooks.

    Attributes:
        calls: in the order in which they ran; without outputs if one layer is recorded.
        result: what the network returned; kept only if all linear layers are recorded.
    """

    def __init__(self, module: Any, only: Any = None):
        """Sets the hooks, on all linear layers or on one."""
        linear = optional("torch", COMMAND).nn.Linear
        self.calls: list[LinearCall] = []
        self.result: Any = None
        self._handles = [module.register_forward_pre_hook(self._begin)]
        if only is None:
            self._handles.append(module.register_forward_hook(self._end))
        for path, layer in module.named_modules():
            if isinstance(layer, linear) and (only is None or layer is only):
                hook = self._recorder(path, only is None)
                self._handles.append(layer.register_forward_hook(hook, with_kwargs=True))

    def close(self) -> None:
        """Removes the hooks and what was recorded."""
        for handle in self._handles:
            handle.remove()
        self.calls, self.result = [], None

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self, *_: Any) -> None:
        self.calls.clear()

    def _end(self, module: Any, arguments: Any, result: Any) -> None:
        self.result = result

    def _recorder(self, path: str, with_outputs: bool) -> Callable[..., None]:
        def record(layer: Any, arguments: Any, named: Any, outputs: Any) -> None:
            inputs = arguments[0] if arguments else named["input"]
            outputs = outputs.detach() if with_outputs else None
            self.calls.append(LinearCall(path, layer, inputs.detach(), outputs))

        return record


def _evaluate(module: Any, inputs: Any) -> None:
    """Runs a network in evaluation mode, eagerly and without gradients."""
    torch = optional("torch", COMMAND)
    modes = [(part, part.training) for part in module.modules()]
    device = next((own.device for own in module.parameters()), None)
    module.eval()
    try:
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            inputs = _moved(inputs, device)
            _ = module(**inputs) if isinstance(inputs, Mapping) else module(inputs)
    finally:
        for part, mode in modes:
            part.training = mode


def _moved(inputs: Any, device: Any) -> Any:
    """Tensors of an input, also in tuples, lists and dicts, on a device."""
    if isinstance(inputs, Mapping):
        return {name: _moved(value, device) for name, value in inputs.items()}
    if isinstance(inputs, tuple | list):
        return [_moved(value, device) for value in inputs]
    return inputs.to(device) if hasattr(inputs, "to") else inputs
