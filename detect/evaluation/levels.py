"""Measure a set at every level beside boxes: sizes, errors, FROC, lesions, cases, intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from converters.core.jsonable import name_range_ends, to_jsonable
from converters.dataset.provenance import Origins
from detect.evaluation.bootstrap import DRAWS, LEVEL, bootstrap_patients, interval
from detect.evaluation.bootstrap_levels import bootstrap_levels
from detect.evaluation.cases import CaseLevel, case_level, case_table
from detect.evaluation.confusion import Confusion, confusion
from detect.evaluation.curves import Curves, curves
from detect.evaluation.error_split import ErrorRow, error_split
from detect.evaluation.froc import (
    INTERPOLATION,
    PER_IMAGE,
    PER_SCAN,
    SECOND_HITS,
    Froc,
    RuleHits,
    froc,
    hit_rules,
)
from detect.evaluation.lesion_table import concatenated, find_lesions
from detect.evaluation.lesions import (
    LesionLevel,
    LesionShare,
    lesion_level,
    score_of_lesions,
    share,
)
from detect.evaluation.matching import Matches
from detect.evaluation.metrics import Metrics
from detect.evaluation.operating_point import IOU
from detect.evaluation.overlaps import ANY_OVERLAP, find_overlaps
from detect.evaluation.sizes import (
    AreaRow,
    DiameterRow,
    area_of,
    by_coco_area,
    by_diameter,
)

CONVENTIONS = {
    "read_at": "confusion, lesions and cases are read at this confidence; a detection counts if its"
    " score is at least that",
    "diameter": "longest axial diameter of the 3D lesion that a box belongs to, mm, over its boxes"
    " in this set; from <= diameter < to",
    "ap50_by_diameter": "other lesions' boxes are ignored; every detection without a hit counts",
    "area": "COCO's area ranges on the annotations' area, as pycocotools has them",
    "confusion": "rows truth, columns detections; matched by falling score whatever the class",
    "errors": "TIDE (Bolya et al., ECCV 2020), IoU 0.5 and 0.1; count: among all detections that"
    " count for AP; count_at_point: among those at the operating point",
    "reliability": "all detections, precision at IoU 0.5, ten bins of equal width",
    "froc": "classes pooled, each detection judged by its own class; false positives are boxes on"
    " slices; images and scans without a lesion are in the denominator",
    "lesions": "a 3D lesion is found if any of its boxes is hit by a detection of its class",
    "cases": "a case is a scan, also where a patient has several; its score is that of its highest"
    " box, of any class or of one, wherever it lies",
    "macro": "mean over the classes that occur; what is undefined is left out",
    "intervals": "percentiles of draws of patients with replacement; null where undefined",
}


@dataclass(frozen=True)
class FrocLevel:
    """Box-level FROC under the hit rule, per image and per scan, for all and for each class."""

    image: Froc
    scan: Froc
    image_by_class: Mapping[str, Froc]
    scan_by_class: Mapping[str, Froc]


@dataclass(frozen=True)
class Secondary:
    """FROC and lesion sensitivity under another hit rule."""

    rule: str
    image: Froc
    scan: Froc
    lesions: LesionShare


@dataclass(frozen=True)
class Levels:
    """All numbers beside `Metrics`; the sections are described in their own files.

    Attributes:
        confidence: of the operating point that confusion, lesions and cases are read at; None
            without a true box and without a frozen confidence.
        chosen: where it comes from: `frozen` beforehand, or `best_f1` on this very set.
        intervals: 95 % interval of each headline number, NaN where undefined.
        patients, draws, seed: of the bootstrap.
    """

    class_names: Sequence[str]
    confidence: float | None
    chosen: str
    by_diameter: Sequence[DiameterRow]
    by_coco_area: Mapping[str, AreaRow]
    curves: Curves
    confusion: Confusion | None
    errors: Mapping[str, ErrorRow]
    rule: str
    froc: FrocLevel
    secondary: Sequence[Secondary]
    lesions: LesionLevel
    cases: CaseLevel
    intervals: Mapping[str, tuple[float, float]]
    patients: int
    draws: int
    seed: int

    def to_json(self) -> dict[str, object]:
        """The sections as they stand in ``metrics.json``; None for what is undefined."""
        lesions, cases = self.lesions, asdict(self.cases)
        diagnosis, macro = cases.pop("diagnosis"), cases.pop("macro")
        number_of, exact = cases.pop("cases_per_class"), cases.pop("exact_match")
        content = {
            "read_at": {
                "confidence": self.confidence,
                "chosen": self.chosen if self.confidence is not None else None,
            },
            "bootstrap": {
                "unit": "patient",
                "patients": self.patients,
                "draws": self.draws,
                "seed": self.seed,
                "level": LEVEL,
                "kind": "percentile",
            },
            "intervals": {
                name: None if np.isnan(ends).any() else list(ends)
                for name, ends in self.intervals.items()
            },
            "by_diameter_mm": [name_range_ends(asdict(row)) for row in self.by_diameter],
            "by_coco_area": self.by_coco_area,
            "curves": self.curves,
            "confusion": self.confusion
            and {**asdict(self.confusion), "labels": [*self.class_names, "background"]},
            "errors": self.errors,
            "froc": {
                "hit_rule": self.rule,
                "second_hits": SECOND_HITS,
                "interpolation": INTERPOLATION,
                "image": _froc_json(self.froc.image, self.froc.image_by_class),
                "scan": _froc_json(self.froc.scan, self.froc.scan_by_class),
                "secondary": [
                    {
                        "hit_rule": rule.rule,
                        "image": _short(rule.image),
                        "scan": _short(rule.scan),
                        "lesions": rule.lesions,
                    }
                    for rule in self.secondary
                ],
            },
            "lesions": {
                **asdict(lesions.all),
                "by_class": lesions.by_class,
                "by_diameter_mm": [name_range_ends(asdict(row)) for row in lesions.by_diameter],
                "froc_scan": lesions.froc_scan,
            },
            "cases": {
                **cases,
                "diagnosis": {
                    "per_class": {
                        name: {"cases": number_of[name], **rates}
                        for name, rates in diagnosis.items()
                    },
                    "macro": macro,
                    "exact_match": exact,
                },
            },
            "conventions": CONVENTIONS,
        }
        ready: dict[str, object] = to_jsonable(content)
        return ready


def measure_levels(
    matches: Matches,
    metrics: Metrics,
    origins: Origins,
    draws: int = DRAWS,
    seed: int = 0,
) -> Levels:
    """Measure a set at every level.

    Confusion, lesions and cases are read at the frozen confidence, or where there is none at that
    of the best F1 on the set itself, which is optimistic.

    Args:
        matches: of all images.
        metrics: what `measure` gave for them.
        origins: of images and true boxes.
        draws, seed: of the bootstrap over patients.

    Raises:
        ValueError: the origins are not those of the images and true boxes.
    """
    names = [row.name for row in metrics.per_class]
    frozen = metrics.frozen.confidence if metrics.frozen else None
    best = metrics.best_f1.confidence
    confidence = frozen if frozen is not None else None if np.isnan(best) else best
    in_image = find_overlaps(
        matches.xyxy, matches.image, matches.truth_xyxy, matches.truth_image, matches.num_images,
        floor=ANY_OVERLAP,
    )  # fmt: skip
    same = matches.label[in_image.detection] == matches.truth_label[in_image.target]
    same_class = in_image[same & (in_image.iou >= IOU)]
    lesions, table = find_lesions(matches, origins), case_table(matches, origins)
    scans = len(table.patient)
    hits, *others = hit_rules(matches, in_image)

    draw = (confidence, draws, seed)
    of_boxes = bootstrap_patients(matches, origins.patient, frozen, draws, seed)
    of_levels = bootstrap_levels(matches, origins.patient, hits, lesions, table, *draw)
    return Levels(
        class_names=names,
        confidence=confidence,
        chosen="best_f1" if frozen is None else "frozen",
        by_diameter=by_diameter(matches, lesions.diameter_mm[lesions.of_box], best, frozen),
        by_coco_area=by_coco_area(matches, same_class, _areas(matches, origins)),
        curves=curves(matches, names),
        confusion=None if confidence is None else confusion(matches, in_image, confidence),
        errors=error_split(matches, in_image, confidence),
        rule=hits.rule,
        froc=_froc_level(matches, hits, scans, names),
        secondary=[
            Secondary(
                other.rule,
                *_frocs(matches, other, scans),
                share(score_of_lesions(lesions, other), confidence),
            )
            for other in others
        ],
        lesions=lesion_level(lesions, hits, matches.score[hits.false], scans, names, confidence),
        cases=case_level(table, names, confidence),
        intervals={
            name: interval(values) for name, values in (vars(of_boxes) | vars(of_levels)).items()
        },
        patients=len(set(origins.patient)),
        draws=draws,
        seed=seed,
    )


def _areas(matches: Matches, origins: Origins) -> NDArray[np.float64]:
    """COCO's area of each true box; of the rectangle where it is not known."""
    area = concatenated(origins.area, np.float64)
    return np.where(np.isnan(area), area_of(matches.truth_xyxy), area)


def _frocs(
    matches: Matches, hits: RuleHits, scans: int, label: int | None = None
) -> tuple[Froc, Froc]:
    """FROC per image and per scan, of one class or of all together."""
    true = slice(None) if label is None else matches.truth_label == label
    false = hits.false if label is None else hits.false & (matches.label == label)
    score, false_score = hits.score[true], matches.score[false]
    return (
        froc(score, false_score, matches.num_images, PER_IMAGE),
        froc(score, false_score, scans, PER_SCAN),
    )


def _froc_level(matches: Matches, hits: RuleHits, scans: int, names: Sequence[str]) -> FrocLevel:
    by_class = [_frocs(matches, hits, scans, label) for label in range(len(names))]
    return FrocLevel(
        *_frocs(matches, hits, scans),
        {name: image for name, (image, _) in zip(names, by_class, strict=True)},
        {name: scan for name, (_, scan) in zip(names, by_class, strict=True)},
    )


def _short(curve: Froc) -> dict[str, object]:
    return {"sensitivity": curve.sensitivity, "mean": curve.mean}


def _froc_json(curve: Froc, by_class: Mapping[str, Froc]) -> dict[str, object]:
    return {
        **vars(curve),
        "by_class": {name: _short(of_class) for name, of_class in by_class.items()},
    }
