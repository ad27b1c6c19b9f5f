"""Write `lesions.nii.gz`: the boxes of lesions as labels on the voxels of the scan's file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters.core.boxes import Boxes
from converters.imaging.nifti import write_nifti
from converters.imaging.volume import Volume
from detect.linking.linking import LinkedLesion

LABEL_FILE = "lesions.nii.gz"
MOST_LABELS = int(np.iinfo(np.uint16).max)

Region = tuple[slice, slice, slice]  # file voxels (k, j, i): of a DICOM series slice, row, column


def file_extent(
    volume: Volume, low: NDArray[np.float64], high: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Map corners in canonical voxel edges (column, row, slice) to the file's edges (i, j, k).

    Edge 0 is the outer side of voxel 0, and so half a voxel before its centre.
    """
    ends = volume.to_file_voxels(np.array([low, high]) - 0.5) + 0.5
    return ends.min(axis=0), ends.max(axis=0)


def file_shape(volume: Volume) -> tuple[int, int, int]:
    """Return the extent of the file along (i, j, k)."""
    extent = np.abs(volume.to_file[:3, :3]) @ volume.array.shape[::-1]
    i, j, k = (int(size) for size in extent)
    return i, j, k


def regions(volume: Volume, boxes: Sequence[Boxes], lesion: LinkedLesion) -> list[Region]:
    """Return the file voxels of a lesion's boxes: those whose centre lies inside, at least one.

    Args:
        volume: the scan.
        boxes: of each canonical slice, in px.
        lesion: made of some of them.
    """
    shape = np.array(file_shape(volume))
    boxes_in_file: list[Region] = []
    for z, b in lesion.members:
        x1, y1, x2, y2 = boxes[z].xyxy[b]
        low, high = file_extent(volume, np.array([x1, y1, z]), np.array([x2, y2, z + 1.0]))
        start, stop = np.ceil(low - 0.5), np.ceil(high - 0.5)
        thin = stop <= start
        start[thin] = np.floor((low + high) / 2)[thin]
        start = start.clip(0, shape - 1).astype(int)
        stop = np.maximum(stop.clip(0, shape).astype(int), start + 1)
        i, j, k = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
        boxes_in_file.append((k, j, i))
    return boxes_in_file


def write_label_volume(
    path: Path, volume: Volume, boxes: Sequence[Boxes], lesions: Sequence[LinkedLesion]
) -> None:
    """Write a NIfTI on the voxels of the scan's file: 0, or the `lesion_id` of the box there.

    Where boxes overlap, the surer lesion counts. The labels are uint8, or uint16 where there are
    more than 255 lesions. Of more than 65,535 lesions the least sure ones are left out.

    Args:
        path: `.nii.gz`.
        volume: the scan.
        boxes: of each canonical slice, in px.
        lesions: surest first.
    """
    kind = np.uint8 if len(lesions) <= np.iinfo(np.uint8).max else np.uint16
    labels: NDArray[np.integer] = np.zeros(file_shape(volume)[::-1], kind)
    for number, lesion in reversed(list(enumerate(lesions[:MOST_LABELS], start=1))):
        for region in regions(volume, boxes, lesion):
            labels[region] = number
    write_nifti(path, labels, volume.affine @ np.linalg.inv(volume.to_file))
