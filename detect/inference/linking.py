"""Link the boxes of neighbouring slices into 3D lesions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detect.boxes import Boxes

LINK_IOU = 0.2  # a lesion's outline moves and tapers from slice to slice, so well below a hit's 0.5
MAX_GAP = 1  # slices in between on which the detector may have missed it
SAME_PLACE_IOU = 0.5  # boxes of two classes on one slice that overlap more are one finding


@dataclass(frozen=True)
class LinkedLesion:
    """Boxes on one or more slices that are one lesion.

    Attributes:
        label: class index with the largest sum of scores.
        score: highest score among the boxes of that class.
        members: (slice, index into that slice's boxes), by rising slice.
        low, high: ``(3,)`` corners in canonical voxel edges (column, row, slice): a lesion on
            column 3 of slice 5 alone reaches from 3 to 4 and from 5 to 6.
    """

    label: int
    score: float
    members: list[tuple[int, int]]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @property
    def centre(self) -> NDArray[np.float64]:
        """Centre ``(3,)`` as a canonical voxel coordinate, whole numbers being voxel centres."""
        return (self.low + self.high) / 2 - 0.5


def one_finding_each(boxes: Boxes) -> Boxes:
    """Drop a box where a surer one lies in the same place, whatever their classes."""
    order = np.argsort(-boxes.score, kind="stable")
    kept: list[int] = []
    for k in order:
        overlaps = _iou(boxes.xyxy[k : k + 1], boxes.xyxy[kept])[0]
        if not (overlaps > SAME_PLACE_IOU).any():
            kept.append(int(k))
    return boxes[np.array(kept, dtype=np.int64)]


def link(slices: Sequence[Boxes]) -> list[LinkedLesion]:
    """Link boxes over slices, surest lesion first.

    Going up, each box continues the chain whose last box, at most `MAX_GAP` slices below it,
    overlaps it best; a chain takes one box a slice. The class is voted on at the end, so that a
    lesion whose class wavers stays one.

    Args:
        slices: boxes of each canonical slice, as they are to be reported.
    """
    chains: list[list[tuple[int, int]]] = []
    for z, boxes in enumerate(slices):
        open_chains = [c for c in chains if z - c[-1][0] <= MAX_GAP + 1]
        last = np.array([slices[c[-1][0]].xyxy[c[-1][1]] for c in open_chains]).reshape(-1, 4)
        surest = np.argsort(-boxes.score, kind="stable")  # first among equal overlaps
        overlaps = _iou(last, boxes.xyxy[surest])
        taken: set[int] = set()
        for flat in np.argsort(-overlaps, axis=None, kind="stable"):
            c, rank = np.unravel_index(flat, overlaps.shape)
            if overlaps[c, rank] < LINK_IOU:
                break
            b = int(surest[rank])
            if b not in taken and open_chains[c][-1][0] < z:
                open_chains[c].append((z, b))
                taken.add(b)
        chains += [[(z, int(b))] for b in surest if b not in taken]
    lesions = [_lesion(chain, slices) for chain in chains]
    return sorted(lesions, key=lambda lesion: (-lesion.score, *lesion.members[0]))


def _lesion(chain: list[tuple[int, int]], slices: Sequence[Boxes]) -> LinkedLesion:
    labels = np.array([slices[z].label[b] for z, b in chain])
    scores = np.array([slices[z].score[b] for z, b in chain])
    corners = np.array([slices[z].xyxy[b] for z, b in chain])
    label = int(np.bincount(labels, weights=scores).argmax())
    return LinkedLesion(
        label=label,
        score=float(scores[labels == label].max()),
        members=chain,
        low=np.array([*corners[:, :2].min(axis=0), chain[0][0]]),
        high=np.array([*corners[:, 2:].max(axis=0), chain[-1][0] + 1.0]),
    )


def _iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of every box of `a` with every one of `b`."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=2)
    area_a, area_b = (np.prod(x[:, 2:] - x[:, :2], axis=1) for x in (a, b))
    union = area_a[:, None] + area_b[None] - common
    return np.asarray(common / np.where(union > 0, union, 1))
