"""Compute FROC of linked findings: lesions found at given numbers of false findings a scan.

A reader is disturbed by findings, not by boxes: a vessel that looks like a lesion on five slices is
five false boxes and one false finding, and a flash of noise is none where `min_boxes` drops it.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from converters.core.boxes import Boxes
from converters.dataset.split import Split
from detect.evaluation.findings.match import SIZES_AT, LinkedFroc, match_linked
from detect.evaluation.findings.tubes import Scan, scans_of, tubes_of
from detect.evaluation.froc import PER_SCAN
from detect.evaluation.lesion_table import DIAMETERS_MM, in_range
from detect.evaluation.lesions import LesionDiameter
from detect.linking.linking import Linking, link

BOXES_A_SCAN = tuple(2 ** (k / 3) for k in range(-6, 19))
"""At the confidences that so many boxes a scan reach, from 1/4 to 64, boxes are linked anew."""


def linked_froc(split: Split, detections: Sequence[Boxes], linking: Linking) -> LinkedFroc:
    """Link the boxes of a split at falling confidences, until there are too many false findings.

    Args:
        split: pictures and truth.
        detections: on each of its pictures.
        linking: how.
    """
    confidences = _confidences(detections, len(set(split.case_ids)))
    scans = list(scans_of(split, detections, confidences[-1] if confidences else np.inf))
    diameters = np.concatenate([np.zeros(0), *(scan.diameters_mm for scan in scans)])
    tried = [(np.inf, 0.0, np.zeros(len(diameters), bool))]
    for confidence in confidences:
        false, detected = _at(confidence, scans, linking)
        tried.append((confidence, false / len(scans), detected))
        if false > PER_SCAN[-1] * len(scans):
            break
    best = [_best(tried, rate) for rate in PER_SCAN]
    sensitivity = [detected.mean() if len(detected) else np.nan for _, _, detected in best]
    _, _, detected = _best(tried, SIZES_AT)
    return LinkedFroc(
        PER_SCAN,
        [float(value) for value in sensitivity],
        [confidence for confidence, _, _ in best],
        float(np.mean(sensitivity)),
        [
            _of_size(detected[in_range(diameters, low, high)], low, high)
            for low, high in pairwise(DIAMETERS_MM)
        ],
    )


_Tried = tuple[float, float, NDArray[np.bool_]]  # confidence, false findings a scan, found lesions


def _confidences(detections: Sequence[Boxes], scans: int) -> list[float]:
    """Scores that the wanted numbers of boxes reach, falling."""
    falling = -np.sort(-np.concatenate([np.zeros(0), *(boxes.score for boxes in detections)]))
    places = [max(round(count * scans), 1) - 1 for count in BOXES_A_SCAN]
    return list(
        dict.fromkeys(float(falling[min(k, len(falling) - 1)]) for k in places if len(falling))
    )


def _at(
    confidence: float, scans: Sequence[Scan], linking: Linking
) -> tuple[int, NDArray[np.bool_]]:
    """Count the false findings, and say which lesions are found."""
    false, parts = 0, [np.zeros(0, bool)]
    for scan in scans:
        stack = scan.above(confidence)
        hits, _, _ = match_linked(scan.lesions, tubes_of(link(stack, linking), stack))
        detected = np.zeros(len(scan.lesions), bool)
        detected[[lesion for lesion in hits if lesion >= 0]] = True
        parts.append(detected)
        false += hits.count(-1)
    return false, np.concatenate(parts)


def _best(tried: Sequence[_Tried], rate: float) -> _Tried:
    """Take what finds most with at most so many false findings a scan; the surest of equals."""
    return max((row for row in tried if row[1] <= rate), key=lambda row: row[2].sum())


def _of_size(detected: NDArray[np.bool_], low: float, high: float) -> LesionDiameter:
    share = float(detected.mean()) if len(detected) else float("nan")
    return LesionDiameter(len(detected), int(detected.sum()), share, low, high)
