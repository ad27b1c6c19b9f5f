"""The data of the case browser, and the pictures of the worst findings for paper."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.windowing import Window
from detect.boxes import Boxes
from detect.dataset import Split
from detect.report.colours import ON_DARK
from detect.report.findings import Detections, Finding, find_worst
from detect.report.slices import BUDGET, choose_pictures, with_boxes

LOWEST = 0.05  # detections below it, and below the operating point, are noise to a reader
MOST_DETECTIONS = 60_000  # in a page
IN_PRINT = 12  # findings that stand in the page without the browser


@dataclass(frozen=True)
class Browser:
    """What the page's script needs, and what can be said without it.

    Attributes:
        data: JSON-ready content for the script.
        worst: findings whose picture is in the page, JSON-ready: those of `data`.
        gallery: the worst ones with picture and boxes, for print.
        shown: pictures in the page.
        with_boxes: pictures of the split with truth or a detection at an operating point, and how
            many of them are in the page.
        total: pictures of the split.
        floor: detections from this score on are in the page.
    """

    data: dict[str, Any]
    worst: list[dict[str, Any]]
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
    window: Window | None = None,
    lesions: Sequence[NDArray[np.int64]] | None = None,
    diameters: Sequence[NDArray[np.float64]] | None = None,
    budget: int = BUDGET,
) -> Browser:
    """Choose pictures, findings and boxes of a split for the case browser.

    Args:
        split: pictures and truth.
        classes: names.
        detectors: one or more, matched to the truth.
        window: of the pictures, to be named beside them.
        lesions: of each picture the lesion of each true box, below 0 where it is not known.
        diameters: of each picture the diameter of each true box, mm.
        budget: bytes of pictures.
    """
    worst = find_worst(split, classes, detectors, lesions, diameters)
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
            "truth": _rows(split.truth[k]),
            "found": [_found(one, k, floor) for one in detectors],
        }
        for k, picture in pictures.items()
    ]
    findings = [
        {
            "slice": place[one.picture],
            "kind": one.kind,
            "text": one.text,
            "case": split.case_ids[one.picture],
            "index": split.slice_indices[one.picture],
            "box": _xywh(one.box),
        }
        for one in worst
        if one.picture in place
    ]
    marked = with_boxes(split, detectors)
    data = {
        "classes": list(classes),
        "colours": [ON_DARK[k % len(ON_DARK)] for k in range(len(classes))],
        "detectors": [{"name": one.name, "confidence": one.confidence} for one in detectors],
        "floor": floor,
        "sides": True,
        "window": _window(window),
        "cases": [{"name": case, "slices": whole[case]} for case in cases],
        "slices": slices,
        "findings": findings,
    }
    shown_worst = [one for one in worst if one.picture in place]
    return Browser(
        data=data,
        worst=findings,
        gallery=_gallery(split, classes, detectors, shown_worst, findings, pictures),
        shown=len(pictures),
        with_boxes=(sum(k in place for k in marked), len(marked)),
        total=len(split),
        floor=floor,
    )


def _floor(detectors: Sequence[Detections], pictures: dict[int, str]) -> float:
    """Lowest score of the detections in the page."""
    lowest = min([LOWEST, *(one.confidence for one in detectors)])
    scores = np.concatenate(
        [np.zeros(0), *(one.boxes[k].score for one in detectors for k in pictures)]
    )
    scores = np.sort(scores[scores >= lowest])[::-1]
    return lowest if len(scores) <= MOST_DETECTIONS else float(scores[MOST_DETECTIONS - 1])


def _found(one: Detections, picture: int, floor: float) -> list[list[float]]:
    """Rows of x, y, width, height, class, score, place of the true box that is hit or -1."""
    boxes = one.boxes[picture]
    kept = boxes.score >= floor
    rows = _rows(boxes[kept])
    scores, hits = boxes.score[kept].tolist(), one.hit[picture][kept].tolist()
    # scores are not rounded: none may change sides of the confidence it is compared with
    return [[*row, score, hit] for row, score, hit in zip(rows, scores, hits, strict=True)]


def _rows(boxes: Boxes) -> list[list[float]]:
    return [
        [*_xywh(tuple(xyxy)), label]
        for xyxy, label in zip(boxes.xyxy.tolist(), boxes.label.tolist(), strict=True)
    ]


def _xywh(box: Sequence[float]) -> list[float]:
    x1, y1, x2, y2 = box
    return [round(v, 1) for v in (x1, y1, x2 - x1, y2 - y1)]


def _window(window: Window | None) -> str:
    return f"level {window.level:g}, width {window.width:g} HU" if window else ""


def _gallery(
    split: Split,
    classes: Sequence[str],
    detectors: Sequence[Detections],
    worst: Sequence[Finding],
    findings: Sequence[dict[str, Any]],
    pictures: dict[int, str],
) -> list[dict[str, Any]]:
    """The worst of both kinds, as many of each as there is room for."""
    kinds = [k for k, one in enumerate(worst) if one.kind == "missed"]
    others = [k for k, one in enumerate(worst) if one.kind != "missed"]
    half = IN_PRINT // 2
    missed = kinds[: max(half, IN_PRINT - len(others))]
    chosen = missed + others[: IN_PRINT - len(missed)]
    gallery = []
    for number in chosen:
        one = worst[number]
        k = one.picture
        detector = detectors[0]
        counts = detector.boxes[k].score >= detector.confidence
        own, hit, found = detector.boxes[k][counts], detector.hit[k][counts], detector.found(k)
        gallery.append(
            {
                "number": number,
                "picture": pictures[k],
                "size": split.sizes[k][::-1],
                "view": _view(one.box, split.sizes[k][::-1]),
                "truth": [
                    {"box": row[:4], "missed": b not in found}
                    for b, row in enumerate(_rows(split.truth[k]))
                ],
                "found": [
                    {"box": row[:4], "colour": row[4] % len(ON_DARK), "hit": int(hit[b]) >= 0}
                    for b, row in enumerate(_rows(own))
                ],
                **findings[number],
            }
        )
    return gallery


def _view(box: tuple[float, float, float, float], size: tuple[int, int]) -> list[float]:
    """Left, top, width and height of a square around a box: half the slice, so that it is seen."""
    x1, y1, x2, y2 = box
    side = min(max(max(size) / 2, 1.5 * (x2 - x1), 1.5 * (y2 - y1)), *size)
    corner = (
        min(max((low + high - side) / 2, 0), whole - side)
        for low, high, whole in ((x1, x2, size[0]), (y1, y2, size[1]))
    )
    return [round(v, 1) for v in (*corner, side, side)]
