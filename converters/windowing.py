"""HU to 8-bit grey: the window, the same for training and for inference."""

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field


class Window(BaseModel):
    """A display window.

    Attributes:
        level: centre, in HU.
        width: full width, in HU; [level - width/2, level + width/2] maps to 0…255.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: float = Field(allow_inf_nan=False)
    width: float = Field(gt=0, allow_inf_nan=False)

    def apply(self, hu: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Map HU of any shape to 0…255: linear, clipped, rounded to the nearest (half to even)."""
        if hu.dtype == np.int16:  # one table look-up a voxel; the table is the formula itself
            every_hu = np.arange(-32768, 32768, dtype=np.float64)
            table = self._map(np.roll(every_hu, 32768))  # ordered as the uint16 bit patterns are
            return np.take(table, hu.view(np.uint16))
        return self._map(hu.astype(np.float64))

    def _map(self, hu: NDArray[np.float64]) -> NDArray[np.uint8]:
        # Multiplied first: whole HU and windows then round where they do on paper.
        scaled = (hu - (self.level - self.width / 2)) * 255.0 / self.width
        return np.rint(np.clip(scaled, 0.0, 255.0)).astype(np.uint8)
