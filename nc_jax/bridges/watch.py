"""The last linear layer of a PyTorch network, watched while it is trained."""

from typing import Any

import numpy as np

from nc_jax.bridges.head import find_head
from nc_jax.bridges.pytorch import Recorder, unwrapped
from nc_jax.bridges.rows import on_host


class TorchWatch:
    """Features and classifiers of a network in training, without an additional forward pass.

    A hook keeps the input of the last ``nn.Linear`` in the latest forward pass; the layer is
    found at the first use of :attr:`features`. Close the watch, or use it as a context
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
        self._recorder = Recorder(self._module)

    @property
    def features(self) -> Any:
        """The inputs [..., p] of the last layer in the latest forward pass, without gradients.

        Raises:
            ValueError: no forward pass was run; or the last layer was not found, and what to
                do about it.
        """
        calls = self._recorder.calls
        if self._head is None:
            if self._recorder.result is None:
                raise ValueError("run a batch through the module before using its features")
            found = find_head(calls, self._recorder.result, self._layer, "nn.Linear")
            self._recorder.close()
            self._head, calls = found.layer, [found]
            self._recorder = Recorder(self._module, self._head)
            self._recorder.calls.append(found)
        if not calls:
            raise ValueError("the last linear layer did not run in the latest forward pass")
        return calls[-1].inputs

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
        """Removes the hooks."""
        self._recorder.close()

    def __enter__(self) -> "TorchWatch":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
