"""Pictures of one or three channels as the three planes that every network takes."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray


def three_planes(pictures: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    """Stack pictures of one size into a batch ``(n, 3, rows, columns)``, 0…255.

    Args:
        pictures: ``(rows, columns)`` grey, which becomes three equal planes, or
            ``(rows, columns, 3)``, whose channels become the planes in their order.
    """
    stack = np.stack(pictures)
    if stack.ndim == 3:
        return torch.from_numpy(stack[:, None].repeat(3, axis=1))
    return torch.from_numpy(np.ascontiguousarray(stack.transpose(0, 3, 1, 2)))
