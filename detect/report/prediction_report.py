"""The report of `predict`: cases, lesions and overlays, read from the folder of the outputs."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from converters.preprocessing.frame import Frame
from detect.report.gallery import around
from detect.report.page import render_page
from detect.report.slices import BUDGET, as_data_uri, encoded, in_turns

LONGEST_SIDE = 640  # px: the writing in the overlays stays readable
IN_PRINT = 12  # findings that stand in the page without the browser
SCHEMA = "detect-detections/1"


def prediction_report(
    out: Path, failed: int = 0, passed_over: int = 0, budget: int = BUDGET
) -> str:
    """Write the report of all cases that lie in the folder of a prediction.

    Args:
        out: folder of `predict`; its `CASE/detections.json` and `CASE/overlays/` are read.
        failed: scans that could not be processed; their names stay out of the page, since folders
            of DICOM files tend to be named after people.
        passed_over: what was found beside them and is no scan.
        budget: bytes of pictures.
    """
    cases = list(_cases(out))
    classes = sorted({name for case in cases for name in case["classes"]})
    if cases and all(case["classes"] == cases[0]["classes"] for case in cases):
        classes = cases[0]["classes"]  # in the model's order
    slices = _slices(out, cases, classes, budget)
    place = {(s["case"], s["slice"]): number for number, s in enumerate(slices)}
    findings = _findings(cases, classes, place)
    data = {
        "classes": classes,
        "colours": [],
        "detectors": [],
        "floor": 0,
        "sides": True,
        "window": "",
        "cases": [
            {
                "name": case["case"],
                "slices": case["shape"][0],
                "note": "; ".join(case["warnings"]),
            }
            for case in cases
        ],
        "slices": slices,
        "findings": findings,
    }
    return render_page(
        "prediction.html",
        title="Lesions found by detect",
        cases=cases,
        classes=classes,
        models=sorted({(case["model"], case["confidence"]) for case in cases}),
        failed=failed,
        passed_over=passed_over,
        gallery=[
            _figure(number, finding, slices) for number, finding in enumerate(findings[:IN_PRINT])
        ],
        shown=len(slices),
        marked=sum(len({box["slice_index"] for box in case["boxes"]}) for case in cases),
        data=data,
    )


def _cases(out: Path) -> Iterator[dict[str, Any]]:
    """Content of each `detections.json`, by name; what is none of ours is left out."""
    for path in sorted(out.glob("[!.]*/detections.json")):
        try:
            content = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and content.get("schema") == SCHEMA:
            counts = [
                sum(row["class"] == name for row in content["lesions"])
                for name in content["classes"]
            ]
            highest = max((row["score"] for row in content["lesions"]), default=None)
            yield {
                **content,
                "case": path.parent.name,
                "counts": dict(zip(content["classes"], counts, strict=True)),
                "highest": highest,
                "warnings": list(map(str, content.get("warnings", ()))),
            }


def _slices(
    out: Path, cases: Sequence[dict[str, Any]], classes: Sequence[str], budget: int
) -> list[dict[str, Any]]:
    """Overlays, the slices with the surest boxes of each case first, until the budget is spent."""
    boxes: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for number, case in enumerate(cases):
        for box in case["boxes"]:
            boxes.setdefault((number, int(box["slice_index"])), []).append(box)
    surest = {key: max(box["score"] for box in rows) for key, rows in boxes.items()}
    order = sorted(boxes, key=lambda key: (-surest[key], key))
    chosen: dict[tuple[int, int], dict[str, Any]] = {}
    spent = 0

    def picture_of(key: tuple[int, int]) -> str | None:
        case = cases[key[0]]["case"]
        path = out / case / "overlays" / f"{case}_z{key[1]:04d}.png"
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        return None if image is None else as_data_uri(np.asarray(image, np.uint8), LONGEST_SIDE)

    turns = in_turns(order, lambda key: key[0])
    for (number, z), picture in encoded(picture_of, turns):
        if spent >= budget:
            break
        if picture is None:
            continue
        frame = _frame(cases[number])
        spent += len(picture)
        chosen[number, z] = {
            "case": number,
            "slice": z,
            "size": [frame.width, frame.height],
            "picture": picture,
            "truth": [],
            "found": [],
            "listed": [
                [*frame.box(*box["bbox"]), classes.index(box["class"]), box["score"]]
                for box in sorted(boxes[number, z], key=lambda box: -box["score"])
            ],
        }
    return [chosen[key] for key in sorted(chosen)]


def _frame(case: dict[str, Any]) -> Frame:
    """Frame of the overlays of a case on its slices; boxes are those of the slices."""
    frame = case.get("frame")
    return Frame.model_validate(frame) if frame else Frame.whole(case["shape"])


def _findings(
    cases: Sequence[dict[str, Any]], classes: Sequence[str], place: dict[tuple[int, int], int]
) -> list[dict[str, Any]]:
    """Lesions whose surest box is on a slice in the page, the surest lesion first."""
    ranked = []
    for number, case in enumerate(cases):
        for lesion in case["lesions"]:
            boxes = [box for box in case["boxes"] if box["lesion_id"] == lesion["lesion_id"]]
            best = max(boxes, key=lambda box: box["score"], default=None)
            if best is not None and (number, best["slice_index"]) in place:
                ranked.append((-lesion["score"], number, lesion["lesion_id"], lesion, best))
    findings = []
    for _, number, _, lesion, best in sorted(ranked, key=lambda row: row[:3]):
        size = " × ".join(f"{v:.0f}" for v in lesion["size_mm"])
        findings.append(
            {
                "slice": place[number, best["slice_index"]],
                "kind": "lesion",
                "text": f"lesion {lesion['lesion_id']}: {lesion['class']} {lesion['score']:.2f},"
                f" {size} mm" + (" (scan with a warning)" if cases[number]["warnings"] else ""),
                "case": cases[number]["case"],
                "index": best["slice_index"],
                "box": list(_frame(cases[number]).box(*best["bbox"])),
            }
        )
    return findings


def _figure(
    number: int, finding: dict[str, Any], slices: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    shown = slices[finding["slice"]]
    return {
        **finding,
        "number": number,
        "picture": shown["picture"],
        "size": shown["size"],
        "view": around(finding["box"], shown["size"]),
        "truth": [],
        "found": [],
    }
