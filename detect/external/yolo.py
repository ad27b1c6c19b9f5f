"""Detections in YOLO's label files, as `yolo predict save_txt save_conf` writes them."""

from pathlib import Path

import numpy as np

from converters.core.boxes import Boxes
from converters.core.errors import InputError
from converters.dataset.split import Split


def read_yolo_labels(folder: Path, split: Split, num_classes: int) -> list[Boxes]:
    """Read one file a picture, named like it: lines `class cx cy width height confidence`.

    The class is an index from 0, places and sizes are fractions of the picture. A picture without a
    file has no detection: the tool writes none.

    Returns:
        the boxes of each picture of the split.

    Raises:
        InputError: a file of no picture of the split, or a line that is not such a line.
    """
    index = {picture.stem: k for k, picture in enumerate(split.paths)}
    boxes = [Boxes.empty() for _ in split.paths]
    for file in sorted(folder.iterdir()):
        if file.name.startswith("."):
            continue
        k = index.get(file.stem)
        if k is None or file.suffix != ".txt":
            raise InputError(
                file,
                f"is not the label file of a picture of {split.name}",
                "give a folder with the label files of this very split alone, or another --split",
            )
        boxes[k] = _read_file(file, split.sizes[k], num_classes)
    return boxes


def _read_file(file: Path, size: tuple[int, int], num_classes: int) -> Boxes:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(file, f"cannot be read ({error})", "predict again") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            problem, row = _read_line(line, num_classes)
            if problem:
                raise InputError(
                    file,
                    f"line {number} {problem}",
                    "each line is `class cx cy width height confidence`, as YOLO's save_txt with"
                    " save_conf writes it",
                )
            rows.append(row)
    table = np.array(rows, np.float64).reshape(-1, 6)
    height, width = size
    centre, extent = table[:, 1:3] * (width, height), table[:, 3:5] * (width, height)
    xyxy = np.concatenate([centre - extent / 2, centre + extent / 2], axis=1)
    return Boxes(xyxy, table[:, 0].astype(np.int64), table[:, 5])


def _read_line(line: str, num_classes: int) -> tuple[str, tuple[float, ...]]:
    """Return what is wrong with a line, or nothing, and its six numbers."""
    words = line.split()
    if len(words) == 5:
        return "has no confidence", ()
    try:
        label, (cx, cy, width, height, score) = int(words[0]), map(float, words[1:])
    except ValueError:
        return "is not a class and five numbers", ()
    if not 0 <= label < num_classes:
        return f"has the class {label}, and the dataset's are 0 to {num_classes - 1}", ()
    # boxes may stick out of the picture; pixels in place of fractions may not pass
    if not (-1 <= cx <= 2 and -1 <= cy <= 2 and 0 <= width <= 2 and 0 <= height <= 2):
        return "has a box that is not in fractions of the picture", ()
    if not 0 <= score <= 1:
        return f"has the confidence {words[5]}, not a number from 0 to 1", ()
    return "", (label, cx, cy, width, height, score)
