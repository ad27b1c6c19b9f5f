"""Measure an organ before lesions grow in it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from converters.masks.labels import foreground
from detect.synthesis.patch import Array, Box, Mm
from detect.synthesis.texture import Noise, measure_noise

Mask = NDArray[np.bool_]

_VESSEL_HU = 25.0  # above the parenchyma: "much brighter"
_VESSEL_BLUR_MM = 1.2  # takes the noise away and leaves vessels of some 3 mm
_VESSEL_MM3 = 30.0  # smaller bright spots are noise
_SURFACE_MM = 2.0  # below the surface the neighbours' HU no longer show
_SLOW_MM = 5.0  # what varies more slowly is not noise
_NOISE_BLOCK_MM = 60.0  # noise is measured on a block of such sides: more tells no more


@dataclass(frozen=True)
class Organ:
    """Hold an organ without lesions, and the look of its parenchyma.

    All arrays are cut to `box`.

    Attributes:
        box: the voxels of the volume that hold the organ.
        step: voxel size in mm along slice, row, column.
        inside: voxels of the organ, its vessels included, without lesions.
        lesions: voxels of lesions that were there already.
        depth: mm from a voxel to the nearest that is not the organ.
        from_vessel: mm from a voxel to the nearest much brighter vessel.
        level: median HU of the parenchyma.
        blood: HU of its bright vessels, `level` + 60 where it shows none.
        noise: of the parenchyma.
        limits: lowest and highest HU that the scan can hold.
    """

    box: Box
    step: Mm
    inside: Mask
    lesions: Mask
    depth: Array
    from_vessel: Array
    level: float
    blood: float
    noise: Noise
    limits: tuple[float, float]


def measure_organ(
    hu: NDArray[np.generic], organ: Mask, spacing: Mm, avoid: Mask | None = None
) -> Organ | None:
    """Measure an organ once; lesions can then be grown in it many times.

    Args:
        hu: ``(slices, rows, columns)`` HU.
        organ: its voxels.
        spacing: voxel size in mm along (column, row, slice), as `Volume.spacing`.
        avoid: voxels of lesions that are there already; they are not organ.

    Returns:
        None where the mask is empty.
    """
    free = organ if avoid is None else organ & ~avoid
    tight = foreground(free.view(np.uint8))
    if tight[0].stop == 0:
        return None
    box = tuple(
        slice(max(s.start - 1, 0), min(s.stop + 1, n)) for s, n in zip(tight, hu.shape, strict=True)
    )
    step = (spacing[2], spacing[1], spacing[0])
    inside = np.ascontiguousarray(free[box])
    values = np.asarray(hu[box], np.float32)
    # What lies beyond the scan is not known to be organ: no slice at its end cuts a lesion.
    depth = _distance(np.pad(inside, 1), step)[1:-1, 1:-1, 1:-1]
    deep = depth > _SURFACE_MM
    if not deep.any():
        deep = inside
    level = float(np.median(values[deep]))
    smooth = ndimage.gaussian_filter(values, [_VESSEL_BLUR_MM / s for s in step])
    spread = 1.4826 * float(np.median(np.abs(smooth[deep] - np.median(smooth[deep]))))
    bright = inside & (smooth > level + max(_VESSEL_HU, 3 * spread))
    vessels = _large(bright, _VESSEL_MM3 / float(np.prod(step)))
    parenchyma = deep & ~vessels
    core = _deepest_block(depth, step)
    noise = measure_noise(_fast(values[core], parenchyma[core], step), parenchyma[core])
    blood = float(np.percentile(values[vessels], 75)) if vessels.any() else level + 60
    return Organ(
        box=(box[0], box[1], box[2]),
        step=step,
        inside=inside,
        lesions=np.zeros_like(inside) if avoid is None else np.ascontiguousarray(avoid[box]),
        depth=depth,
        from_vessel=_distance(~vessels, step) if vessels.any() else np.full_like(depth, np.inf),
        level=level,
        blood=max(blood, level + 40),
        noise=noise,
        limits=(float(hu.min()), float(hu.max())),
    )


def _fast(values: Array, where: Mask, step: Mm) -> Array:
    """Subtract from HU their mean over the neighbourhood, of which only `where` counts."""
    sigmas = [_SLOW_MM / size for size in step]
    total = ndimage.gaussian_filter(np.where(where, values, np.float32(0)), sigmas)
    weight = ndimage.gaussian_filter(where.astype(np.float32), sigmas)
    return np.asarray(values - total / np.maximum(weight, 1e-3), np.float32)


def _distance(mask: Mask, step: Mm) -> Array:
    return np.asarray(ndimage.distance_transform_edt(mask, sampling=step), np.float32)


def _large(mask: Mask, voxels: float) -> Mask:
    labels, count = ndimage.label(mask)
    if not count:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray((sizes >= voxels)[labels])


def _deepest_block(depth: Array, step: Mm) -> Box:
    middle = np.unravel_index(int(depth.argmax()), depth.shape)
    halves = [max(int(_NOISE_BLOCK_MM / 2 / size), 2) for size in step]
    cut = [slice(max(int(m) - h, 0), int(m) + h + 1) for m, h in zip(middle, halves, strict=True)]
    return cut[0], cut[1], cut[2]
