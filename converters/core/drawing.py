"""Draw boxes on slices: truth in green, predictions coloured by class, with a score."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from converters.core.boxes import Boxes

SHORTEST_SIDE = 512  # px; smaller slices are enlarged, so that the writing can be read
TRUTH = (0, 200, 0)  # BGR
# BGR, distinguishable with the common colour-vision deficiencies (after Okabe and Ito, 2008)
CLASS_COLOURS = [(0, 159, 230), (233, 180, 86), (167, 121, 204), (66, 228, 240), (0, 94, 213)]


def grey_channel(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture that people can view: the middle one of three channels."""
    return image if image.ndim == 2 else np.ascontiguousarray(image[..., 1])


def draw(
    image: NDArray[np.uint8],
    predictions: Boxes,
    class_names: Sequence[str],
    truth: Boxes | None = None,
) -> NDArray[np.uint8]:
    """Draw boxes on a slice.

    Args:
        image: ``(rows, columns)`` grey, or ``(rows, columns, 3)``, whose middle channel is shown.
        predictions: drawn with class and score.
        class_names: in order of the class index.
        truth: drawn in green with the class, below the box.

    Returns:
        ``(rows * k, columns * k, 3)`` BGR, with the whole factor k that makes it large enough.
    """
    image = grey_channel(image)
    factor = max(1, -(-SHORTEST_SIDE // min(image.shape)))
    size = (image.shape[1] * factor, image.shape[0] * factor)
    large = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    canvas = np.asarray(cv2.cvtColor(large, cv2.COLOR_GRAY2BGR), dtype=np.uint8)
    if truth is not None:
        for xyxy, label in zip(truth.xyxy, truth.label, strict=True):
            _box(canvas, xyxy * factor, class_names[label], TRUTH, below=True)
    for k in np.argsort(predictions.score, kind="stable"):  # the surest on top
        label = int(predictions.label[k])
        text = f"{class_names[label]} {predictions.score[k]:.2f}"
        colour = CLASS_COLOURS[label % len(CLASS_COLOURS)]
        _box(canvas, predictions.xyxy[k] * factor, text, colour, below=False)
    return canvas


def _box(
    canvas: NDArray[np.uint8],
    xyxy: NDArray[np.float64],
    text: str,
    colour: tuple[int, int, int],
    below: bool,
) -> None:
    x1, y1, x2, y2 = (round(float(v)) for v in xyxy)
    cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, 2, cv2.LINE_AA)
    (width, height), descent = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
    x = min(max(x1, 0), canvas.shape[1] - width)
    y = y2 + height + 5 if below else y1 - 6
    y = min(max(y, height), canvas.shape[0] - descent)
    # a dark plate and no outline: OpenCV 5 sets thicker letters wider, and the two drift apart
    cv2.rectangle(canvas, (x, y - height), (x + width, y + descent), (0, 0, 0), cv2.FILLED)
    cv2.putText(canvas, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)
