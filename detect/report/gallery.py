"""Pictures of single findings, that stand in the page without a script and in print."""

from collections.abc import Sequence
from typing import Any

from converters.dataset.split import Split
from detect.report.box_rows import rows, xywh
from detect.report.colours import ON_DARK
from detect.report.findings import Detections, Finding

MOST = 12  # findings: a page or two on paper


def choose(worst: Sequence[Finding]) -> list[int]:
    """Places of the worst of both kinds: half and half, where there are enough of both."""
    missed = [k for k, finding in enumerate(worst) if finding.kind == "missed"]
    others = [k for k, finding in enumerate(worst) if finding.kind != "missed"]
    missed = missed[: max(MOST // 2, MOST - len(others))]
    return missed + others[: MOST - len(missed)]


def figure(
    finding: Finding, split: Split, detectors: Sequence[Detections], picture: str
) -> dict[str, Any]:
    """Describe a finding with its picture and the boxes around it, those of its own detector."""
    k, detector = finding.picture, detectors[finding.detector]
    counts = detector.boxes[k].score >= detector.confidence
    boxes, hit, hit_truth = (
        detector.boxes[k][counts],
        detector.hit[k][counts],
        detector.hit_truth(k),
    )
    size = split.sizes[k][::-1]
    return {
        "case": split.case_ids[k],
        "index": split.slice_indices[k],
        "text": finding.text,
        "picture": picture,
        "size": size,
        "box": xywh(finding.box),
        "view": around(xywh(finding.box), size),
        "truth": [
            {"box": row[:4], "missed": b not in hit_truth}
            for b, row in enumerate(rows(split.truth[k]))
        ],
        "found": [
            {"box": row[:4], "colour": int(row[4]) % len(ON_DARK), "hit": bool(hit[b] >= 0)}
            for b, row in enumerate(rows(boxes))
        ],
    }


def around(box: Sequence[float], size: Sequence[int]) -> list[float]:
    """Left, top, width and height of a square around a box: half the slice, so that it is seen."""
    x, y, width, height = box
    side = min(max(max(size) / 2, 1.5 * width, 1.5 * height), *size)
    corner = (
        min(max(low + length / 2 - side / 2, 0), whole - side)
        for low, length, whole in ((x, width, size[0]), (y, height, size[1]))
    )
    return [round(v, 1) for v in (*corner, side, side)]
