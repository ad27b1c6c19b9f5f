"""Write 8-bit PNGs."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from converters.core.files import atomic_file


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write an 8-bit picture, ``(rows, columns)`` grey or ``(rows, columns, 3)`` BGR.

    OpenCV's default run-length strategy is about twice as fast and smaller on windowed CT than any
    explicit compression level; `imencode` shows a full disk as an error, `imwrite` does not.
    """
    with atomic_file(path) as temporary:  # a cluster may have two workers at one case
        temporary.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
