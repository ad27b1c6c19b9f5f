"""Run a network with torch as it is."""

import numpy as np
import torch
from numpy.typing import NDArray


class TorchRuntime:
    """A network of tensors in and out; see `Runtime`."""

    def __init__(self, network: torch.nn.Module, device: torch.device) -> None:
        """Run `network`, which is in evaluation mode and on `device`."""
        self.network = network
        self.device = device

    def __call__(self, batch: NDArray[np.float32]) -> tuple[torch.Tensor, ...]:
        """Return the raw outputs, on the device."""
        with torch.no_grad():
            raw: tuple[torch.Tensor, ...] = self.network(torch.from_numpy(batch).to(self.device))
        return raw
