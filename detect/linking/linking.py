"""Link the boxes of neighbouring slices into 3D lesions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from converters.core.boxes import Boxes, iou

SAME_PLACE_IOU = 0.5  # boxes of two classes on one slice that overlap more are one finding
TOP = 3  # boxes in the mean of the score rule `top`


class Linking(BaseModel):
    """Parameters by which boxes become lesions.

    Attributes:
        iou: from this overlap on boxes continue each other. A lesion's outline moves and tapers
            from slice to slice, so the default is well below the 0.5 of a hit.
        max_distance: boxes that overlap less continue each other too if their centres are nearer
            than this, in mean sides (roots of the areas) of the two; 0: overlap alone decides.
        max_gap: slices in between on which the detector may have missed the lesion.
        min_boxes: findings of fewer boxes are dropped.
        score: of a lesion, from the boxes of its class: the highest, or the mean of the three
            highest (of all where there are fewer).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    iou: float = Field(0.2, gt=0, le=1)
    max_distance: float = Field(0, ge=0, le=4)
    max_gap: int = Field(1, ge=0, le=100)
    min_boxes: int = Field(1, ge=1, le=100)
    score: Literal["max", "top"] = "max"


DEFAULT = Linking()


@dataclass(frozen=True)
class LinkedLesion:
    """Boxes on one or more slices that are one lesion.

    Attributes:
        label: class index with the largest sum of scores.
        score: of the boxes of that class, by the score rule of the linking.
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


def class_agnostic_nms(boxes: Boxes) -> Boxes:
    """Drop each box that overlaps a surer one by more than `SAME_PLACE_IOU`, of any class."""
    order = np.argsort(-boxes.score, kind="stable")
    kept: list[int] = []
    for k in order:
        overlaps = iou(boxes.xyxy[k : k + 1], boxes.xyxy[kept])[0]
        if not (overlaps > SAME_PLACE_IOU).any():
            kept.append(int(k))
    return boxes[np.array(kept, dtype=np.int64)]


def link(slices: Sequence[Boxes], linking: Linking = DEFAULT) -> list[LinkedLesion]:
    """Link boxes over slices, surest lesion first.

    Going up, each box continues the chain that is still open and whose last box overlaps it best,
    or else is nearest; a chain takes one box a slice. The class is voted on at the end, so that a
    lesion whose class wavers stays one.

    Args:
        slices: boxes of each canonical slice, as they are to be reported.
        linking: the parameters. A scan of fewer slices than `min_boxes` keeps what is on all.
    """
    chains: list[list[tuple[int, int]]] = []
    for z, boxes in enumerate(slices):
        if not len(boxes):
            continue
        open_chains = [c for c in chains if z - c[-1][0] <= linking.max_gap + 1]
        last = np.array([slices[c[-1][0]].xyxy[c[-1][1]] for c in open_chains]).reshape(-1, 4)
        surest = np.argsort(-boxes.score, kind="stable")  # first among equals
        closeness = _closeness(last, boxes.xyxy[surest], linking)
        taken: set[int] = set()
        for flat in np.argsort(-closeness, axis=None, kind="stable"):
            c, rank = np.unravel_index(flat, closeness.shape)
            if np.isneginf(closeness[c, rank]):
                break
            b = int(surest[rank])
            if b not in taken and open_chains[c][-1][0] < z:
                open_chains[c].append((z, b))
                taken.add(b)
        chains += [[(z, int(b))] for b in surest if b not in taken]
    fewest = min(linking.min_boxes, len(slices))
    lesions = [_lesion(chain, slices, linking) for chain in chains if len(chain) >= fewest]
    return sorted(lesions, key=lambda lesion: (-lesion.score, *lesion.members[0]))


def only_linked(
    slices: Sequence[Boxes], lesions: Sequence[LinkedLesion]
) -> tuple[list[Boxes], list[LinkedLesion]]:
    """Leave out boxes that are in no lesion, and renumber the members of the lesions."""
    members = {member for lesion in lesions for member in lesion.members}
    kept = [[b for b in range(len(boxes)) if (z, b) in members] for z, boxes in enumerate(slices)]
    left = [boxes[np.array(b, dtype=np.int64)] for boxes, b in zip(slices, kept, strict=True)]
    renumbered = [
        replace(lesion, members=[(z, kept[z].index(b)) for z, b in lesion.members])
        for lesion in lesions
    ]
    return left, renumbered


def _closeness(
    a: NDArray[np.float64], b: NDArray[np.float64], linking: Linking
) -> NDArray[np.float64]:
    """Rate how well every box of `b` continues each of `a`: IoU, else -distance, else -inf."""
    overlap = iou(a, b)
    centre_a, centre_b = ((x[:, :2] + x[:, 2:]) / 2 for x in (a, b))
    side_a, side_b = (np.sqrt(np.prod(x[:, 2:] - x[:, :2], axis=1)) for x in (a, b))
    side = (side_a[:, None] + side_b[None]) / 2
    apart = np.linalg.norm(centre_a[:, None] - centre_b[None], axis=2)
    near = apart < linking.max_distance * side
    distance = apart / np.where(side > 0, side, 1)
    return np.where(overlap >= linking.iou, overlap, np.where(near, -distance, -np.inf))


def _lesion(
    chain: list[tuple[int, int]], slices: Sequence[Boxes], linking: Linking
) -> LinkedLesion:
    labels = np.array([slices[z].label[b] for z, b in chain])
    scores = np.array([slices[z].score[b] for z, b in chain])
    corners = np.array([slices[z].xyxy[b] for z, b in chain])
    label = int(np.bincount(labels, weights=scores).argmax())
    falling = -np.sort(-scores[labels == label])
    return LinkedLesion(
        label=label,
        score=float(falling[: TOP if linking.score == "top" else 1].mean()),
        members=chain,
        low=np.array([*corners[:, :2].min(axis=0), chain[0][0]]),
        high=np.array([*corners[:, 2:].max(axis=0), chain[-1][0] + 1.0]),
    )
