"""The last linear layer of a PyTorch network, watched while it is trained."""

from typing import Any

import numpy as np

from nc_jax.bridges.head import find_head
from nc_jax.bridges.pytorch import Recorder, unwrapped
from nc_jax.bridges.rows import on_host


class TorchWatch:
    """Features and classifiers of a network in training, without an additional forward pass.

    A hook keeps the latest input of the last ``nn.Linear``; the layer is found at the first
    use of :attr:`features`. Close the watch, or use it as a context
    manager, to remove the hook. In ``DistributedDataParallel`` every process sees its own
    samples.
    """

    def __init__(self, module: Any, layer: str | None = None):
        """Sets the hooks and runs nothing.

        Args:
            module: an ``nn.Module``.
            layer: the path of the last linear layer; found by default.

        Raises:
            ImportError: PyTorch is not installed.
            TypeError, ValueError: ``module`` is not an ``nn.Module``, or hooks do not see its
                forward pass: it is compiled, or in ``DataParallel`` on several devices.
        """
        self._module, self._layer = unwrapped(module), layer
        if hasattr(module, "_orig_mod") or len(getattr(module, "device_ids", None) or ()) > 1:
            raise ValueError(
                "module must run eagerly in one process per device, got a compiled module or "
                "DataParallel; let it return its features and pass these to the logger"
            )
        self._head: Any = None
        self._latest: Any = None
        self._handle: Any = None
        self._recorder = Recorder(self._module)

    @property
    def features(self) -> Any:
        """The inputs [..., p] of the last layer when it last ran, without gradients.

        Raises:
            ValueError: no forward pass was run; the last layer was not found, and what to do
                about it; or the watch is closed.
        """
        if self._head is None:
            if self._recorder.result is None:
                raise ValueError("run a batch through the module before using its features")
            calls, result = self._recorder.calls, self._recorder.result
            found = find_head(calls, result, self._layer, "nn.Linear")
            self._head, self._latest = found.layer, found.inputs
            self._recorder.close()
            self._handle = self._head.register_forward_hook(self._keep, with_kwargs=True)
        if self._latest is None:
            raise ValueError("this watch is closed; features must be used before")
        return self._latest

    @property
    def classifiers(self) -> np.ndarray:
        """The current W [K, p], float32.

        Raises:
            ValueError: the layer is not known before the first :attr:`features`.
        """
        if self._head is None:
            raise ValueError("use features once before classifiers: this finds the layer")
        return on_host(self._head.weight)

    def close(self) -> None:
        """Removes the hooks and forgets the features."""
        self._recorder.close()
        if self._handle is not None:
            self._handle.remove()
            self._latest = None

    def _keep(self, layer: Any, arguments: Any, named: Any, outputs: Any) -> None:
        # A single hook, on this layer: in a fast training step every other would be felt.
        self._latest = (arguments[0] if arguments else named["input"]).detach()

    def __enter__(self) -> "TorchWatch":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
