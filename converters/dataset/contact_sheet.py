"""Draw suspected pairs of scans side by side at matching levels, for a human to judge."""

import csv
import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from converters.core.errors import InputError
from converters.core.files import write_text
from converters.core.images import write_png
from converters.core.output_folder import atomic_folder, check_output
from converters.dataset.keypoints import TOLERANCE_MM
from converters.dataset.same_patient import Scan, Suspicion

TABLE = "suspicions.csv"
COLUMNS = 4
PANEL = 320  # px
HEADER = 24  # px, above each row


def write_suspicions(suspicions: Sequence[Suspicion], out: Path, overwrite: bool = False) -> None:
    """Write one picture a pair, and `suspicions.csv`.

    Args:
        suspicions: as `same_patient` finds them.
        out: folder to make.
        overwrite: replace an earlier one.

    Raises:
        InputError: something lies at `out` that is not to be replaced.
    """
    check_out(out, overwrite)
    with atomic_folder(out) as work:
        for number, suspicion in enumerate(suspicions, start=1):
            write_png(work / picture_name(number, suspicion), draw_pair(suspicion))
        write_text(work / TABLE, _table(suspicions))


def check_out(out: Path, overwrite: bool) -> None:
    """Refuse to write where something else lies.

    Raises:
        InputError: something else lies there.
    """
    check_output(out, overwrite, "an earlier check", (out / TABLE).is_file())


def picture_name(number: int, suspicion: Suspicion) -> str:
    """Return the file name of a pair's picture; the number keeps pairs apart and in order."""
    return f"{number:03d}_{suspicion.first.case}_{suspicion.second.case}.png"


def _table(suspicions: Sequence[Suspicion]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(
        ["first", "first_split", "second", "second_split", "two_sides", "likeness", "agreeing",
         "scale", "shift_mm", "picture"]
    )  # fmt: skip
    for number, s in enumerate(suspicions, start=1):
        table.writerow(
            [s.first.case, s.first.split, s.second.case, s.second.split, int(s.two_sides),
             f"{s.likeness.score:.3f}", s.likeness.agreeing, f"{s.likeness.scale:.3f}",
             f"{s.likeness.shift_mm:.0f}", picture_name(number, s)]
        )  # fmt: skip
    return text.getvalue()


def draw_pair(suspicion: Suspicion) -> NDArray[np.uint8]:
    """Draw the first case above the second at up to four levels that match.

    Returns:
        ``(rows, columns)`` grey.
    """
    a, b = suspicion.first, suspicion.second
    matching = _matching_levels(suspicion)
    rows = []
    for scan, chosen in ((a, [k for k, _ in matching]), (b, [k for _, k in matching])):
        panels = [_panel(scan, k) for k in chosen]
        panels += [np.zeros((PANEL, PANEL), np.uint8)] * (COLUMNS - len(panels))
        row = np.hstack(panels)
        header = np.zeros((HEADER, row.shape[1]), np.uint8)
        heights = ", ".join(f"{scan.heights[k]:.0f}" for k in chosen)
        _write(header, f"{scan.case} ({scan.split}), at {heights} mm")
        rows += [header, row]
    footer = np.zeros((HEADER, rows[0].shape[1]), np.uint8)
    _write(footer, f"likeness {suspicion.likeness.score:.3f}: a suspicion, no proof")
    return np.vstack([*rows, footer])


def _matching_levels(suspicion: Suspicion) -> list[tuple[int, int]]:
    """Choose slices, spread over what both cases show, that lie at one level of the body."""
    a, b, alike = suspicion.first, suspicion.second, suspicion.likeness
    heights_b = np.asarray(b.heights)
    pairs = []
    for k, height in enumerate(a.heights):
        distance = np.abs(heights_b - (alike.stretch * height + alike.shift_mm))
        if distance.min() < TOLERANCE_MM:
            pairs.append((k, int(distance.argmin())))
    inside = np.linspace(0, len(pairs) - 1, COLUMNS + 2)[1:-1] if len(pairs) > COLUMNS else None
    return [pairs[round(n)] for n in inside] if inside is not None else pairs


def _panel(scan: Scan, index: int) -> NDArray[np.uint8]:
    """Fit one slice into a square without distortion; black if it cannot be read."""
    panel = np.zeros((PANEL, PANEL), np.uint8)
    with suppress(InputError):
        pixels = scan.read(index)
        extent = np.array([pixels.shape[1] * scan.spacing[0], pixels.shape[0] * scan.spacing[1]])
        width, height = np.maximum(1, np.round(PANEL * extent / extent.max())).astype(int).tolist()
        fitted = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        top, left = (PANEL - height) // 2, (PANEL - width) // 2
        panel[top : top + height, left : left + width] = fitted
    return panel


def _write(strip: NDArray[np.uint8], text: str) -> None:
    cv2.putText(strip, text, (6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1, cv2.LINE_AA)
