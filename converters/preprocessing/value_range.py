"""Measure the range of values in a scan, which tells HU from other values."""

import numpy as np

from converters.imaging.volume import Volume

GRID = 128  # voxels a side that are looked at on each slice: many enough for percentiles
AIR_HU, METAL_HU = -1024, 3071  # what CT scanners write; padding lies below it, implants above
PERCENTILES = (1, 99)


def value_range(volume: Volume) -> tuple[float, float]:
    """Return the 1st and 99th percentile of a CT's values, air included.

    True HU have air around the body, near -1000. What was rescaled to 0…1 or 0…255, lost its
    intercept (0 for air) or was cut to a window has not. Padding counts as air and implants as
    bone, and both are too few or too far out to move the percentiles of a normal scan.
    """
    step = max(min(volume.array.shape[1:]) // GRID, 1)
    seen = np.clip(volume.array[:, ::step, ::step], AIR_HU, METAL_HU)
    low, high = np.percentile(seen, PERCENTILES).tolist()
    return low, high
