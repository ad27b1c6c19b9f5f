"""The data of the case browser, and the pictures of the worst findings for paper."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.dataset.split import Split
from converters.preprocessing.windowing import AnyWindow
from detect.report.box_rows import rows, xywh
from detect.report.colours import ON_DARK
from detect.report.findings import Detections, find_worst
from detect.report.gallery import choose, figure
from detect.report.slices import BUDGET, choose_pictures, with_boxes

LOWEST = 0.05  # detections below it, and below the operating point, are noise to a reader
MOST_DETECTIONS = 60_000  # in a page


@dataclass(frozen=True)
class Browser:
    """Data of the case browser, and the findings that are shown without a script.

    Attributes:
        data: JSON-ready content for the script.
        gallery: the worst ones with picture and boxes, for print.
        shown: pictures in the page.
        with_boxes: pictures of the split with truth or a detection at an operating point, and how
            many of them are in the page.
        total: pictures of the split.
        floor: detections from this score on are in the page.
    """

    data: dict[str, Any]
    gallery: list[dict[str, Any]]
    shown: int
    with_boxes: tuple[int, int]
    total: int
    floor: float


def browse(
    split: Split,
    classes: Sequence[str],
    detectors: Sequence[Detections],
    *,
    window: AnyWindow | None = None,
    budget: int = BUDGET,
) -> Browser:
    """Choose pictures, findings and boxes of a split for the case browser.

    Args:
        split: pictures and truth.
        classes: names.
        detectors: one or more, matched to the truth.
        window: of the pictures, to be named beside them.
        budget: bytes of pictures.
    """
    worst = find_worst(split, classes, detectors)
    pictures = choose_pictures(split, detectors, worst, budget)
    floor = _floor(detectors, pictures)
    place = {k: number for number, k in enumerate(pictures)}
    cases = sorted({split.case_ids[k] for k in pictures})
    whole: dict[str, int] = {}
    for case in split.case_ids:
        whole[case] = whole.get(case, 0) + 1
    slices = [
        {
            "case": cases.index(split.case_ids[k]),
            "slice": split.slice_indices[k],
            "size": split.sizes[k][::-1],
            "picture": picture,
            "truth": rows(split.truth[k]),
            "found": [_detection_rows(detector, k, floor) for detector in detectors],
        }
        for k, picture in pictures.items()
    ]
    findings = [
        {
            "slice": place[finding.picture],
            "kind": finding.kind,
            "text": finding.text,
            "case": split.case_ids[finding.picture],
            "index": split.slice_indices[finding.picture],
            "box": xywh(finding.box),
            "detector": finding.detector,
        }
        for finding in worst
        if finding.picture in place
    ]
    marked = with_boxes(split, detectors)
    data = {
        "classes": list(classes),
        "colours": [ON_DARK[k % len(ON_DARK)] for k in range(len(classes))],
        "detectors": [
            {"name": detector.name, "confidence": detector.confidence} for detector in detectors
        ],
        "floor": floor,
        "sides": True,
        "window": str(window or ""),
        "cases": [{"name": case, "slices": whole[case]} for case in cases],
        "slices": slices,
        "findings": findings,
    }
    shown = [finding for finding in worst if finding.picture in place]
    return Browser(
        data=data,
        gallery=[
            {"number": k, **figure(shown[k], split, detectors, pictures[shown[k].picture])}
            for k in choose(shown)
        ],
        shown=len(pictures),
        with_boxes=(sum(k in place for k in marked), len(marked)),
        total=len(split),
        floor=floor,
    )


def _floor(detectors: Sequence[Detections], pictures: dict[int, str]) -> float:
    """Lowest score of the detections in the page."""
    lowest = min([LOWEST, *(detector.confidence for detector in detectors)])
    scores = np.concatenate(
        [np.zeros(0), *(detector.boxes[k].score for detector in detectors for k in pictures)]
    )
    scores = np.sort(scores[scores >= lowest])[::-1]
    return lowest if len(scores) <= MOST_DETECTIONS else float(scores[MOST_DETECTIONS - 1])


def _detection_rows(detector: Detections, picture: int, floor: float) -> list[list[float]]:
    """Rows of x, y, width, height, class, score, place of the true box that is hit or -1."""
    boxes = detector.boxes[picture]
    kept = boxes.score >= floor
    kept_rows = rows(boxes[kept])
    scores, hits = boxes.score[kept].tolist(), detector.hit[picture][kept].tolist()
    # scores are not rounded: none may change sides of the confidence it is compared with
    return [[*row, score, hit] for row, score, hit in zip(kept_rows, scores, hits, strict=True)]
