"""TorchScript: write a traced network, for programs of others.

`detect` itself never loads one from a bundle: a TorchScript file holds code.
"""

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def to_torchscript(network: torch.nn.Module, side: int) -> bytes:
    """Trace a network; arguments as of `to_onnx`."""
    with warnings.catch_warnings(action="ignore"), torch.no_grad():
        example = torch.zeros(2, 3, side, side)
        traced: Any = torch.jit.trace(  # type: ignore[no-untyped-call]
            network, example, check_trace=False
        )
        file = io.BytesIO()
        torch.jit.save(traced, file)
    return file.getvalue()


class TorchScriptRuntime:
    """A traced network that this process wrote itself; see `Runtime`."""

    def __init__(self, content: bytes) -> None:
        """Load what `to_torchscript` returned."""
        with warnings.catch_warnings(action="ignore"):
            self.network = torch.jit.load(io.BytesIO(content))  # type: ignore[no-untyped-call]

    def __call__(self, batch: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
        """Return the raw outputs."""
        with torch.no_grad():
            raw: Sequence[torch.Tensor] = self.network(torch.from_numpy(batch))
        return [output.numpy() for output in raw]
