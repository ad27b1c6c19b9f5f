"""Run a network with torch as it is."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def channels_last(network: torch.nn.Module) -> torch.nn.Module:
    """Keep a network and what it is given in the layout in which convolutions are fastest."""
    network.to(memory_format=torch.channels_last)
    network.register_forward_pre_hook(_channels_last)
    return network


def _channels_last(_: torch.nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    return (given[0].contiguous(memory_format=torch.channels_last), *given[1:])


class TorchRuntime:
    """A network of tensors in and out; see `Runtime`."""

    def __init__(
        self, network: torch.nn.Module, device: torch.device, half: torch.dtype | None = None
    ) -> None:
        """Run `network`, which is in evaluation mode and on `device`.

        Args:
            network: what decodes boxes in it is kept exact where `half` is given.
            device: where it is.
            half: precision of autocast; None is float32 throughout.
        """
        self.network = network
        self.device = device
        self.half = half

    def __call__(self, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Return the raw outputs.

        Raises:
            MemoryError: the device has not enough.
        """
        try:
            return tuple(output.cpu().numpy() for output in self._outputs(batch))
        except torch.OutOfMemoryError as error:  # for those who know nothing of torch
            raise MemoryError(str(error)) from error

    def _outputs(self, batch: NDArray[np.float32]) -> tuple[torch.Tensor, ...]:
        """Return the raw outputs in float32, on the device."""
        images = torch.from_numpy(batch).to(self.device)
        with torch.no_grad():
            if self.half is not None:
                with torch.autocast(self.device.type, self.half):
                    raw = tuple(output.float() for output in self.network(images))
                if all(output.isfinite().all() for output in raw):
                    return raw
            exact: tuple[torch.Tensor, ...] = self.network(images)
        return exact
