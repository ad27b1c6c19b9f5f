"""The protocol of everything that predicts, and how many boxes it may return."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from converters.core.boxes import Boxes
from detect.detectors.card import ModelSpec

SCORE_FLOOR = 0.001  # raw detections reach the evaluator down to here …
MAX_DETECTIONS = 300  # … and up to so many an image


class Predictor(Protocol):
    """A model that finds boxes, in any runtime."""

    @property
    def spec(self) -> ModelSpec:
        """The identity of the model."""

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Boxes]:
        """Find boxes.

        Args:
            images: ``(rows, columns)`` grey or ``(rows, columns, 3)``, made as `spec` says.

        Returns:
            For each image its boxes in px of that image, best score first, down to
            `SCORE_FLOOR` and at most `MAX_DETECTIONS`.
        """
