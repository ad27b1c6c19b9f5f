"""Map between a picture and its canonical slice.

Coordinates along an axis are *edges*, as boxes use them: pixel n reaches from n to n + 1, so a box
over the whole pixels a…b reaches from a to b + 1, and the middle of pixel n is at n + 0.5.
Canonical *voxel* coordinates (`volume.py`) are whole in the middle: voxel = edge - 0.5.
"""

from pathlib import Path
from typing import NamedTuple, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from converters.core.errors import InputError

LARGEST_SIDE = 8192  # px; a header that claims metres of voxels must not ask for all the memory


class Region(NamedTuple):
    """A rectangle of whole pixels of the canonical slices: edges, so `right - left` columns."""

    left: int
    top: int
    right: int
    bottom: int

    def grown(self, mm: float, spacing: tuple[float, ...], shape: tuple[int, ...]) -> "Region":
        """Add a margin, rounded up to whole pixels, as far as the slice reaches.

        Args:
            mm: on each side.
            spacing: along (column, row, …), mm.
            shape: (…, rows, columns).
        """
        x, y = (int(np.ceil(mm / size - 1e-6)) for size in spacing[:2])
        return Region(
            max(self.left - x, 0),
            max(self.top - y, 0),
            min(self.right + x, shape[-1]),
            min(self.bottom + y, shape[-2]),
        )


def extent(shown: NDArray[np.bool_]) -> Region | None:
    """Return the smallest region that holds what ``(slices, rows, columns)`` shows on any slice."""
    flat = np.logical_or.reduce(shown, axis=0)
    rows, columns = np.flatnonzero(flat.any(axis=1)), np.flatnonzero(flat.any(axis=0))
    if not len(rows):
        return None
    return Region(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


class Frame(BaseModel):
    """A picture as a rectangle of whole pixels of the canonical slice, stretched to its own size.

    The edges of picture and rectangle coincide: picture x maps to ``left + x * columns / width``,
    and y likewise. Both ways are exact in float64 but for the last bits.

    Attributes:
        left, top: first canonical column and row.
        columns, rows: canonical pixels covered.
        width, height: of the picture, px; equal to columns and rows where nothing is resampled.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    left: int = Field(ge=0)
    top: int = Field(ge=0)
    columns: int = Field(ge=1)
    rows: int = Field(ge=1)
    width: int = Field(ge=1, le=LARGEST_SIDE)
    height: int = Field(ge=1, le=LARGEST_SIDE)

    @classmethod
    def whole(cls, shape: tuple[int, ...]) -> Self:
        """Return the frame of a slice as it is; `shape` ends in rows, columns."""
        return cls.over(Region(0, 0, shape[-1], shape[-2]))

    @classmethod
    def over(
        cls,
        region: Region,
        spacing: tuple[float, ...] = (1.0, 1.0),
        spacing_mm: float | None = None,
        source: Path | str = "scan",
    ) -> Self:
        """Frame a region, resampled to square pixels of `spacing_mm`, if asked.

        The picture gets the whole number of pixels that comes closest, and its edges stay on those
        of the region: over its width the spacing is off by less than half a pixel (`spacing` tells
        the true one).

        Args:
            region: to show.
            spacing: of the canonical slice along (column, row, …), mm.
            spacing_mm: asked for; None keeps the pixels.
            source: named in errors.

        Raises:
            InputError: the picture would be larger than `LARGEST_SIDE`.
        """
        columns, rows = region.right - region.left, region.bottom - region.top
        width, height = columns, rows
        if spacing_mm is not None:
            width = max(round(columns * spacing[0] / spacing_mm), 1)
            height = max(round(rows * spacing[1] / spacing_mm), 1)
        if max(width, height) > LARGEST_SIDE:
            raise InputError(
                source,
                f"would give pictures of {width}x{height} px, more than {LARGEST_SIDE} on a side",
                "check its voxel size, or use a coarser --spacing",
            )
        return cls(
            left=region.left, top=region.top, columns=columns, rows=rows, width=width, height=height
        )

    @property
    def resampled(self) -> bool:
        """Return whether picture pixels differ from canonical ones."""
        return (self.width, self.height) != (self.columns, self.rows)

    @property
    def region(self) -> Region:
        """Return the rectangle that it shows of the canonical slice, px."""
        return Region(self.left, self.top, self.left + self.columns, self.top + self.rows)

    @property
    def first_pixel(self) -> tuple[float, float]:
        """Return the middle of the picture's first pixel as canonical voxel (column, row)."""
        x, y = self.columns / self.width / 2, self.rows / self.height / 2
        return self.left + x - 0.5, self.top + y - 0.5

    def spacing(self, canonical: tuple[float, ...]) -> tuple[float, ...]:
        """Return the pixel size of the picture in mm, from that of the volume (column, row, …)."""
        x, y, *others = canonical
        return x * self.columns / self.width, y * self.rows / self.height, *others

    def to_picture(self, xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map boxes ``(n, 4)`` from edges of the canonical slice to edges of the picture, px.

        >>> frame = Frame.over(Region(10, 20, 110, 120), spacing=(0.5, 0.5), spacing_mm=1.0)
        >>> frame.to_picture(np.array([[30.0, 40.0, 50.0, 60.0]])).tolist()
        [[10.0, 10.0, 20.0, 20.0]]
        """
        return np.asarray((xyxy - self._offset) * (self._size / self._covered))

    def to_slice(self, xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map boxes ``(n, 4)`` from edges of the picture to edges of the canonical slice, px."""
        return np.asarray(xyxy * (self._covered / self._size) + self._offset)

    def box(
        self, x: float, y: float, width: float, height: float
    ) -> tuple[float, float, float, float]:
        """Map a box from the canonical slice; whole pixels stay so where nothing is resampled."""
        x, y = x - self.left, y - self.top
        if not self.resampled:
            return x, y, width, height
        across, down = self.width / self.columns, self.height / self.rows
        return x * across, y * down, width * across, height * down

    def area(self, pixels: int) -> float:
        """Map an area in canonical pixels to one in pixels of the picture."""
        if not self.resampled:
            return pixels
        return pixels * (self.width * self.height) / (self.columns * self.rows)

    @property
    def _offset(self) -> NDArray[np.float64]:
        return np.array([self.left, self.top] * 2, np.float64)

    @property
    def _covered(self) -> NDArray[np.float64]:
        return np.array([self.columns, self.rows] * 2, np.float64)

    @property
    def _size(self) -> NDArray[np.float64]:
        return np.array([self.width, self.height] * 2, np.float64)

    def cut(self, plane: NDArray[np.generic]) -> NDArray[np.generic]:
        """Take the picture's values ``(height, width)`` from a canonical slice.

        Unchanged where nothing is resampled; else float32, averaged over the area along an axis
        that shrinks (no detail folds over) and linear along one that grows.
        """
        cut = plane[self.top : self.top + self.rows, self.left : self.left + self.columns]
        if not self.resampled:
            return cut
        values = cut.astype(np.float32)
        for size, shrinks in (
            ((self.width, self.rows), self.width < self.columns),
            ((self.width, self.height), self.height < self.rows),
        ):
            kind = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            values = cv2.resize(values, size, interpolation=kind).astype(np.float32, copy=False)
        return values

    def cut_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Take a mask's part: for each picture pixel the canonical pixel that holds its middle."""
        rows = self.top + ((np.arange(self.height) + 0.5) * self.rows / self.height).astype(int)
        columns = self.left + ((np.arange(self.width) + 0.5) * self.columns / self.width).astype(
            int
        )
        return np.asarray(mask[np.ix_(rows, columns)])
