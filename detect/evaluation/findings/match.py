"""Match findings that were linked through slices to the true 3D lesions.

A finding or lesion is a *tube*: one rectangle on each of its slices, as thick as the slice. Slices
that a link bridges without a box are no part of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.core.jsonable import name_range_ends, to_jsonable
from detect.evaluation.lesions import LesionDiameter

HIT_IOU = 0.1  # of volumes, as nnDetection's lesion level (Baumgartner et al., MICCAI 2021)
COVERED = 0.5  # share of the smaller tube that must lie in the larger one

RULE = (
    "by falling score, a finding hits the free lesion of its class with the highest 3D IoU, from"
    f" {HIT_IOU:g} on (tubes of the boxes); split: a finding that hits none, while at least half of"
    " it lies in one of its class; merge: a finding that holds at least half of two lesions or"
    " more, of whatever class"
)


@dataclass(frozen=True)
class Tube:
    """A finding or a true lesion of one scan.

    Attributes:
        label: class index.
        score: of the finding; 1 for the truth.
        boxes: (x1, y1, x2, y2) px on each of its slices, by slice.
    """

    label: int
    score: float
    boxes: Mapping[int, NDArray[np.float64]]


@dataclass(frozen=True)
class Linked:
    """Counts over scans, and the rates they give; NaN for 0/0.

    Attributes:
        lesions: true ones.
        findings: linked ones.
        hits: findings that hit a lesion, one each.
        splits: findings that are a further part of a lesion.
        merges: findings that hold two lesions or more.
        average_precision: area under precision over recall as the score falls, without
            interpolation; equal scores go together.
    """

    lesions: int
    findings: int
    hits: int
    splits: int
    merges: int
    average_precision: float

    @property
    def precision(self) -> float:
        """Hits among the findings."""
        return self.hits / self.findings if self.findings else float("nan")

    @property
    def recall(self) -> float:
        """Hits among the lesions."""
        return self.hits / self.lesions if self.lesions else float("nan")

    @property
    def f1(self) -> float:
        """Harmonic mean of the two; NaN where there is nothing to find and nothing found."""
        both = self.findings + self.lesions
        return 2 * self.hits / both if both else float("nan")

    def to_json(self) -> dict[str, float | int | None]:
        """Counts and rates; None for NaN."""
        rates = {name: getattr(self, name) for name in ("precision", "recall", "f1")}
        values = {**rates, **asdict(self)}
        return {name: None if value != value else value for name, value in values.items()}


SIZES_AT = 1.0  # false findings a scan


@dataclass(frozen=True)
class LinkedFroc:
    """Sensitivity over lesions at numbers of false findings a scan; NaN without lesions.

    Attributes:
        false_positives: false findings a scan, rising.
        sensitivity: at each of them: the highest at a confidence that leaves at most so many.
        confidence: that one, from which boxes are linked; infinity: that of no findings.
        mean: of the sensitivities.
        by_diameter: at `SIZES_AT`, by longest axial diameter.
    """

    false_positives: Sequence[float]
    sensitivity: Sequence[float]
    confidence: Sequence[float]
    mean: float
    by_diameter: Sequence[LesionDiameter]

    @property
    def at_one(self) -> float:
        """Sensitivity at `SIZES_AT`."""
        return self.sensitivity[list(self.false_positives).index(SIZES_AT)]

    def to_json(self) -> dict[str, Any]:
        """For `metrics.json`."""
        rows = [name_range_ends(asdict(row)) for row in self.by_diameter]
        content = {key: value for key, value in vars(self).items() if key != "by_diameter"}
        return dict(to_jsonable({**content, "by_diameter_mm": rows}))


def match_linked(truth: Sequence[Tube], findings: Sequence[Tube]) -> tuple[list[int], int, int]:
    """Match the findings of one scan to its lesions by `RULE`.

    Returns:
        the lesion that each finding hits, -1 for none; the number of splits; that of merges.
    """
    common = _common(findings, truth)
    size = np.array([_volume(f) for f in findings])
    true_size = np.array([_volume(t) for t in truth])
    union = size[:, None] + true_size[None] - common
    iou = common / np.where(union > 0, union, 1)
    same = np.array([[f.label == t.label for t in truth] for f in findings], bool)
    same = same.reshape(common.shape)
    wanted = np.where(same & (iou >= HIT_IOU), iou, 0.0)

    hit = [-1] * len(findings)
    for f in sorted(range(len(findings)), key=lambda f: -findings[f].score):
        if wanted[f].any():
            hit[f] = int(wanted[f].argmax())
            wanted[:, hit[f]] = 0
    inside = (same & (common > 0) & (common >= COVERED * size[:, None])).any(axis=1)
    held = ((common > 0) & (common >= COVERED * true_size[None])).sum(axis=1)
    splits = int((inside & (np.array(hit, np.int64) < 0)).sum())
    return hit, splits, int((held >= 2).sum())


def score_linked(truth: Sequence[Sequence[Tube]], findings: Sequence[Sequence[Tube]]) -> Linked:
    """Score the findings of a set of scans.

    Args:
        truth, findings: of each scan, those without any included, in the same order.
    """
    scores, hits, splits, merges = [], [], 0, 0
    for lesions_of_scan, findings_of_scan in zip(truth, findings, strict=True):
        hit, split, merge = match_linked(lesions_of_scan, findings_of_scan)
        scores += [f.score for f in findings_of_scan]
        hits += [h >= 0 for h in hit]
        splits, merges = splits + split, merges + merge
    lesions = sum(map(len, truth))
    ap = _average_precision(np.array(scores), np.array(hits, bool), lesions)
    return Linked(lesions, len(hits), sum(hits), splits, merges, ap)


def _average_precision(score: NDArray[np.float64], hit: NDArray[np.bool_], lesions: int) -> float:
    if not lesions:
        return float("nan")
    order = np.argsort(-score, kind="stable")
    falling, hits = score[order], np.cumsum(hit[order])
    last = np.ones(len(score), bool)  # of its score
    last[:-1] = falling[1:] != falling[:-1]
    area, before = 0.0, 0
    for k in np.flatnonzero(last):
        area += (hits[k] - before) / lesions * hits[k] / (k + 1)
        before = hits[k]
    return float(area)


def _volume(tube: Tube) -> float:
    return sum(float((b[2] - b[0]) * (b[3] - b[1])) for b in tube.boxes.values())


def _common(findings: Sequence[Tube], truth: Sequence[Tube]) -> NDArray[np.float64]:
    """Volume ``(findings, lesions)`` that they share, slice by slice."""
    common = np.zeros((len(findings), len(truth)))
    on_slice = _by_slice(truth)
    for z, indices in _by_slice(findings).items():
        if z in on_slice:
            lesions = on_slice[z]
            a = np.array([findings[f].boxes[z] for f in indices])[:, None]
            b = np.array([truth[t].boxes[z] for t in lesions])[None]
            sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
            common[np.ix_(indices, lesions)] += np.prod(np.clip(sides, 0, None), axis=2)
    return common


def _by_slice(tubes: Sequence[Tube]) -> dict[int, list[int]]:
    indices: dict[int, list[int]] = {}
    for k, tube in enumerate(tubes):
        for z in tube.boxes:
            indices.setdefault(z, []).append(k)
    return indices
