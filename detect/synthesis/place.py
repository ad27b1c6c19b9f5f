"""Draw the place and the size of a lesion."""

import numpy as np
from scipy.stats import norm

from detect.synthesis.organ import Mask, Organ

MEDIAN_MM, LOG_SIGMA, LARGEST_MM = 13.0, 0.6, 60.0
"""Diameters of balls of equal volume, log-normal. Fitted to the 79 lesions of 20 training cases of
LiTS (Bilic et al., Medical Image Analysis 2023) at 256 x 256 pixels: median 12.2 mm and deviation
of the logarithm 0.64 over lesions, 13.5 mm and 0.66 where each case weighs the same.
"""

GAP_MM = 3.0  # between lesions


def draw_diameter(rng: np.random.Generator, smallest: float) -> float:
    """Draw a diameter in mm from the log-normal, cut off at `smallest` and at `LARGEST_MM`."""
    low, high = (norm.cdf(np.log(d / MEDIAN_MM) / LOG_SIGMA) for d in (smallest, LARGEST_MM))
    return float(MEDIAN_MM * np.exp(LOG_SIGMA * norm.ppf(rng.uniform(low, high))))


def draw_centre(
    rng: np.random.Generator, organ: Organ, taken: Mask, radius: float
) -> tuple[float, float, float] | None:
    """Draw a centre, in voxels of the organ's box, that leaves a lesion most of its room.

    Not nearer to the organ's surface than 0.3 radii (what reaches beyond it is cut off) nor to a
    bright vessel than 0.7. None where there is no such place.
    """
    free = (organ.depth >= 0.3 * radius + 1) & (organ.from_vessel >= 0.7 * radius) & ~taken
    places = np.flatnonzero(free)
    where, shift = rng.random(), rng.uniform(-0.5, 0.5, 3)
    if not len(places):
        return None
    at = np.unravel_index(int(places[int(where * len(places))]), free.shape)
    z, y, x = (float(i) + float(s) for i, s in zip(at, shift, strict=True))
    return z, y, x
