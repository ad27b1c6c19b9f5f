"""Pictures of one or three channels as the three planes that every network takes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def three_planes(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Stack pictures of one size into a batch ``(n, 3, rows, columns)`` in [0, 1].

    Args:
        pictures: ``(rows, columns)`` grey, which becomes three equal planes, or
            ``(rows, columns, 3)``, whose channels become the planes in their order.
    """
    stack = np.stack(pictures)
    planes = stack[:, None] if stack.ndim == 3 else stack.transpose(0, 3, 1, 2)
    shape = len(stack), 3, *stack.shape[1:3]
    return np.ascontiguousarray(np.broadcast_to(planes / np.float32(255), shape))
