"""Map the values of a scan to 8-bit grey, in the same way for training and for inference."""

from functools import lru_cache
from typing import Annotated, Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator


class Window(BaseModel):
    """A display window.

    Attributes:
        level: centre, in HU.
        width: full width, in HU; [level - width/2, level + width/2] maps to 0…255.

    >>> Window(level=60, width=200).apply(np.array([-1000, -40, 60, 160, 3000], np.int16)).tolist()
    [0, 0, 128, 255, 255]
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: float = Field(allow_inf_nan=False)
    width: float = Field(gt=0, allow_inf_nan=False)

    def __str__(self) -> str:
        """For people: `level 60, width 200 HU`."""
        return f"level {self.level:g}, width {self.width:g} HU"

    def apply(self, hu: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Map HU of any shape to 0…255: linear, clipped, rounded to the nearest (half to even)."""
        if hu.dtype == np.int16 and hu.size:  # a look-up a voxel; the table is the formula itself
            bits = np.ascontiguousarray(hu).view(np.uint16).reshape(1, -1)
            return np.asarray(cv2.LUT(bits, _table(self)), np.uint8).reshape(hu.shape)
        return self._map(hu.astype(np.float64))

    def _map(self, hu: NDArray[np.float64]) -> NDArray[np.uint8]:
        # Multiplied first: whole HU and windows then round where they do on paper.
        scaled = (hu - (self.level - self.width / 2)) * 255.0 / self.width
        return np.rint(np.clip(scaled, 0.0, 255.0)).astype(np.uint8)


@lru_cache(maxsize=16)
def _table(window: Window) -> NDArray[np.uint8]:
    """Return the grey of every int16, in the order of the uint16 bit patterns."""
    every_hu = np.arange(-32768, 32768, dtype=np.float64)
    return window._map(np.roll(every_hu, 32768))


class Percentiles(BaseModel):
    """A window for values without a unit, as in MR: from one percentile of the body to another.

    Attributes:
        percentiles: the low and the high one, of the voxels of the scan's body (`find_body`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    percentiles: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(le=100)]]

    def __str__(self) -> str:
        """For people: `percentiles 1 to 99 of the body`."""
        low, high = self.percentiles
        return f"percentiles {low:g} to {high:g} of the body"

    @model_validator(mode="after")
    def _ascend(self) -> Self:
        low, high = self.percentiles
        if not low < high:
            raise ValueError(f"the low percentile {low:g} is not below the high one {high:g}")
        return self

    def of(self, values: NDArray[np.integer | np.floating]) -> Window:
        """Return the window over these values (linear between ranks, as numpy's default).

        >>> print(Percentiles(percentiles=(1, 99)).of(np.arange(101)))
        level 50, width 98 HU
        """
        low, high = (float(v) for v in np.percentile(values, self.percentiles))
        # A scan of one value throughout has no contrast to show: any width will do.
        return Window(level=(low + high) / 2, width=(high - low) or 1.0)


def _kind(value: Any) -> str:
    by_rank = isinstance(value, Percentiles) or (isinstance(value, dict) and "percentiles" in value)
    return "Percentiles" if by_rank else "Window"


AnyWindow = Annotated[
    Annotated[Window, Tag("Window")] | Annotated[Percentiles, Tag("Percentiles")],
    Discriminator(_kind),
]
"""`{level: 60, width: 200}` or `{percentiles: [1, 99]}`."""
