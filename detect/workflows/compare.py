"""Compare two evaluated detectors on the same patients."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from converters.core.errors import InputError
from converters.core.files import write_json
from converters.dataset.coco import detections_from_coco, truth_from_coco
from detect.evaluation.bootstrap import DRAWS
from detect.evaluation.matching import Matches, match
from detect.evaluation.paired import EXACT_PATIENTS, Difference, compare_paired


@dataclass(frozen=True)
class Comparison:
    """Two detectors side by side.

    Attributes:
        names: of the two.
        split: that both were scored on.
        patients, images: how many.
        confidences: frozen; None where a detector has none.
        numbers: map50, map50_95, precision, recall, f1.
    """

    names: tuple[str, str]
    split: str
    patients: int
    images: int
    confidences: tuple[float | None, float | None]
    numbers: dict[str, Difference]

    @property
    def is_exact(self) -> bool:
        """Tell whether p counts every way of swapping."""
        return self.patients <= EXACT_PATIENTS

    def to_json(self) -> dict[str, Any]:
        """Everything, unrounded; None for what is undefined."""
        return {
            "schema": "detect-comparison/1",
            "first": self.names[0],
            "second": self.names[1],
            "split": self.split,
            "patients": self.patients,
            "images": self.images,
            "confidences": list(self.confidences),
            "numbers": {
                name: {
                    key: None if math.isnan(value) else value
                    for key, value in (asdict(row) | {"difference": row.difference}).items()
                }
                for name, row in self.numbers.items()
            },
            "p_is_exact": self.is_exact,
            "draws": DRAWS,
        }


@dataclass(frozen=True)
class _Evaluation:
    """Content of a folder of `detect evaluate`."""

    folder: Path
    name: str
    split: str
    confidence: float | None
    truth: dict[str, Any]
    matches: Matches


def compare(
    first: Path,
    second: Path,
    *,
    out: Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> Comparison:
    """Compare two folders of `detect evaluate`.

    Args:
        first, second: scored on the same pictures and boxes.
        out: JSON file to write.
        seed: of the draws.
        overwrite: replace what lies at `out`.

    Raises:
        InputError: no such folders, or of different pictures, truth or classes.
    """
    if out is not None and out.exists() and not (overwrite and out.is_file()):
        raise InputError(out, "exists", "give another --out, or --overwrite a file")
    a, b = _read(first), _read(second)
    if a.split != b.split:
        raise InputError(
            second, f"was scored on {b.split}, and {first} on {a.split}", "evaluate on one split"
        )
    for key, what in (("categories", "classes"), ("images", "pictures"), ("annotations", "boxes")):
        if a.truth.get(key) != b.truth.get(key):
            raise InputError(
                second, f"was scored on other {what} than {first}", "evaluate on one dataset"
            )
    try:
        images = sorted(a.truth["images"], key=lambda image: int(image["id"]))
        patients = [str(image["patient_id"]) for image in images]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            first, f"does not name the patients ({error})", "evaluate again"
        ) from error
    confidences = a.confidence, b.confidence
    result = Comparison(
        (a.name, b.name),
        a.split,
        len(set(patients)),
        len(patients),
        confidences,
        compare_paired(a.matches, b.matches, patients, confidences, seed=seed),
    )
    if out is not None:
        write_json(out, result.to_json())
    return result


def _read(folder: Path) -> _Evaluation:
    metrics, truth, predictions = (
        _json(folder, name) for name in ("metrics.json", "annotations.json", "predictions.json")
    )
    ids, boxes = truth_from_coco(truth, folder / "annotations.json")
    classes = max(1, len(truth["categories"]))
    detections = detections_from_coco(predictions, ids, classes, folder / "predictions.json")
    try:
        source = metrics["predictions"]["name"] if "predictions" in metrics else None
        name = source or metrics["model"]["spec"]["model"]
        point = metrics["operating_point"]
        confidence = None if point is None else float(point["confidence"])
        return _Evaluation(
            folder, str(name), str(metrics["split"]), confidence, truth,
            match(boxes, detections, classes),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            folder / "metrics.json", f"is not that of an evaluation ({error})", "evaluate again"
        ) from error


def _json(folder: Path, name: str) -> Any:
    try:
        return json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            folder, f"is no evaluation: it has no {name}", "make one with `detect evaluate`"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(folder / name, f"cannot be read ({error})", "evaluate again") from error
