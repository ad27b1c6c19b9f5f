"""Turn pictures into boxes, whatever runs the network in between."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from converters.core.boxes import Boxes
from detect.detectors.card import ModelSpec

# Runs a network: ``(n, 3, side, side)`` in [0, 1] → its raw outputs.
Runtime = Callable[[NDArray[np.float32]], Sequence[NDArray[np.float32]]]


class Steps(Protocol):
    """The steps of a family around its network; they need neither weights nor torch.

    Attributes:
        spec: of the model.
        outputs: names of the raw outputs, in their order.
    """

    spec: ModelSpec
    outputs: tuple[str, ...]

    def __init__(self, spec: ModelSpec) -> None:
        """Prepare for a model."""

    def inputs(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Make the network's input ``(n, 3, side, side)`` in [0, 1] of pictures of any size."""

    def decode(
        self, raw: Sequence[NDArray[np.float32]], sizes: Sequence[tuple[int, int]]
    ) -> list[Boxes]:
        """Turn raw outputs into boxes; see `Predictor.predict`.

        Args:
            raw: as named by `outputs`.
            sizes: (height, width) of each picture, px.
        """


def find_boxes(steps: Steps, runtime: Runtime, images: Sequence[NDArray[np.uint8]]) -> list[Boxes]:
    """Find boxes on pictures of any size; see `Predictor.predict`."""
    if not images:
        return []
    raw = runtime(steps.inputs(images))
    return steps.decode(raw, [(image.shape[0], image.shape[1]) for image in images])


@dataclass(frozen=True)
class Exported:
    """A trained model that only predicts, in any runtime; see `Predictor`."""

    steps: Steps
    runtime: Runtime

    @property
    def spec(self) -> ModelSpec:
        """The identity of the model."""
        return self.steps.spec

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Boxes]:
        """Find boxes; see `Predictor.predict`."""
        return find_boxes(self.steps, self.runtime, images)


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
