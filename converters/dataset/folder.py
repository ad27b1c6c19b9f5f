"""Read a dataset folder back."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from converters.core.errors import InputError, ParameterError
from converters.dataset.manifest import Manifest, read_manifest
from converters.dataset.stratify import SPLITS


@dataclass(frozen=True)
class Dataset:
    """A dataset folder on disk.

    Attributes:
        folder: where it lies.
        manifest: its `dataset.json`.
    """

    folder: Path
    manifest: Manifest

    def annotations(self, split: str) -> dict[str, Any]:
        """Return a split's COCO mapping.

        Raises:
            InputError: no such split, or an unreadable file.
        """
        if split not in SPLITS:
            raise ParameterError("split", f"`{split}` is no split", f"use {', '.join(SPLITS)}")
        path = self.folder / "annotations" / f"instances_{split}.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return {key: content[key] for key in ("images", "annotations", "categories")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(path, f"cannot be read ({error})", "convert again") from error

    def image_path(self, split: str, file_name: str) -> Path:
        """Return where a picture lies; a name that leads out of the folder is refused."""
        if Path(file_name).name != file_name:
            raise InputError(
                self.folder, f"image name `{file_name}` leads out of the folder", "convert again"
            )
        return self.folder / "images" / split / file_name


def open_dataset(folder: str | Path) -> Dataset:
    """Open a dataset folder.

    Raises:
        InputError: the folder is no dataset.
    """
    return Dataset(Path(folder), read_manifest(Path(folder)))


def read_png(path: Path) -> NDArray[np.uint8]:
    """Read an 8-bit picture: ``(rows, columns)``, or ``(rows, columns, 3)`` in red, green, blue.

    A dataset's pictures hold their channels in this order.

    Raises:
        InputError: missing, unreadable or cut short.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "convert again") from error
    pixels = None
    if data.endswith(b"IEND\xaeB`\x82"):  # OpenCV fills the missing rest of a cut picture with grey
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint8:
        raise InputError(path, "is not a whole 8-bit PNG", "convert again")
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return np.asarray(pixels, np.uint8)
