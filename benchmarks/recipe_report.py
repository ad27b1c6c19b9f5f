"""Pool, score and compare what `recipe.py` has trained; trains nothing.

Run: ``python benchmarks/recipe_report.py DATASET --out OUT --arm stock --arm recipe --arm … --seed
0 --seed 1``, with the DATASET and the OUT of `recipe.py`. The first two arms are what all are
compared with.

Prints for each arm and seed mAP50 with its interval over patients, sensitivity at one false
positive an image, and lesions found at one false-positive box a scan and at one false finding a
scan (boxes linked through the slices) by their diameter; then, over all seeds together, the paired
difference to the first arm and to the second, with p. A patient's slices are drawn together, of all
seeds.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from converters.core.boxes import Boxes
from converters.dataset.coco import detections_from_coco
from converters.dataset.folder import Dataset, open_dataset
from converters.dataset.folds import Fold, fold_splits
from converters.dataset.split import Split
from detect.detectors.card import OperatingPoint
from detect.detectors.operating_rule import Rule
from detect.evaluation.detected import Detected
from detect.evaluation.lesions import LesionDiameter
from detect.evaluation.matching import Matches, match
from detect.evaluation.operating_choice import choose
from detect.evaluation.paired import compare_paired
from detect.workflows.write_evaluation import write_evaluation


def detections_file(out: Path, arm: str, fold: Fold) -> Path:
    """Return the file of an arm's detections on a fold's test patients."""
    return out / f"{arm}-seed{fold.seed}-{fold.number}.json"


def report(out: Path, of: int, dataset: Dataset, arms: list[str], seeds: list[int]) -> None:
    """Pool the folds of each seed, score all arms and compare them.

    Args:
        out: where the detections lie.
        of: number of folds.
        dataset: that was cross-validated.
        arms: the first two are what all are compared with.
        seeds: of the folds and trainings.
    """
    folds = [[Fold(number=k, of=of, seed=seed) for k in range(1, of + 1)] for seed in seeds]
    missing = [
        name
        for name in arms
        for seed_folds in folds
        for fold in seed_folds
        if not detections_file(out, name, fold).exists()
    ]
    if missing:
        print(f"not all trained yet: {', '.join(dict.fromkeys(missing))}")
        return
    tests = [[fold_splits(dataset, fold)["test"] for fold in seed_folds] for seed_folds in folds]
    matches: dict[str, Matches] = {}
    for name in arms:
        truth, detections = [], []
        for seed_folds, parts in zip(folds, tests, strict=True):
            boxes = _pooled(out, name, seed_folds, parts, dataset)
            _print_row(out, name, seed_folds[0].seed, _joined(parts), boxes, dataset)
            truth += _joined(parts).truth
            detections += boxes
        matches[name] = match(truth, detections, len(dataset.manifest.class_names))
    patients = [patient for parts in tests for part in parts for patient in part.patient_ids]
    print(f"all seeds, {len(set(patients))} patients:")
    for name in arms:
        comparisons = []
        for first in arms[:2]:
            gain = compare_paired(matches[first], matches[name], patients)["map50"]
            ratio = gain.second / gain.first if gain.first else float("nan")
            comparisons.append(
                f"against {first} x{ratio:.2f}, {gain.difference:+.3f}"
                f" ({gain.low:+.3f} to {gain.high:+.3f}), p {gain.p:.3f}"
            )
        print(f"{name:20} mAP50 {gain.second:.3f}; {'; '.join(comparisons)}")


def _pooled(
    out: Path, arm: str, folds: list[Fold], tests: list[Split], dataset: Dataset
) -> list[Boxes]:
    boxes: list[Boxes] = []
    for fold, test in zip(folds, tests, strict=True):
        source = detections_file(out, arm, fold)
        content = json.loads(source.read_text(encoding="utf-8"))
        boxes += detections_from_coco(
            content, test.image_ids, len(dataset.manifest.class_names), source
        )
    return boxes


def _print_row(
    out: Path, arm: str, seed: int, pooled: Split, detections: list[Boxes], dataset: Dataset
) -> None:
    classes = dataset.manifest.class_names
    choice = choose(
        match(pooled.truth, detections, len(classes)), len(set(pooled.case_ids)),
        Rule("fp-per-scan", 1),
    )  # fmt: skip
    point = choice and OperatingPoint(confidence=choice.confidence, rule="1 FP a scan, on test")
    result = write_evaluation(
        out / f"evaluation-{arm}-seed{seed}",
        Detected(
            name=arm,
            split=pooled,
            boxes=detections,
            classes=classes,
            window=dataset.manifest.request.recipe.representation.shown_window,
            facts={"predictions": {"name": arm, "form": "of the folds", "score": None}},
            point=point,
        ),
        pictures=12,
    )
    low, high = result.levels.intervals["map50"]
    image = result.levels.froc.image
    at_one = image.sensitivity[list(image.false_positives).index(1.0)]
    lesions = result.levels.lesions
    lesion_text = f"{lesions.all.found:g}/{lesions.all.total}{_sizes(lesions.by_diameter)}"
    if result.linked:
        rows = result.linked.froc.by_diameter
        hits = sum(row.found for row in rows)
        lesion_text += f"; at 1 false finding a scan {hits:g}{_sizes(rows)}"
    print(
        f"{arm:20} seed {seed} mAP50 {result.metrics.map50:.3f} ({low:.3f} to {high:.3f}), mAP50-95"
        f" {result.metrics.map50_95:.3f}, sensitivity at 1 FP an image {at_one:.3f}, lesions at"
        f" 1 FP a scan {lesion_text}"
    )


def _sizes(rows: Sequence[LesionDiameter]) -> str:
    parts = [f"{row.low:g}-{row.high:g} mm {row.found:g}/{row.total}" for row in rows]
    return f" ({', '.join(parts)})"


def _joined(folds: list[Split]) -> Split:
    columns = {
        field.name: [value for fold in folds for value in getattr(fold, field.name)]
        for field in fields(Split)
        if field.name != "name"
    }
    return Split(name="test", **columns)


def main() -> None:
    """Report the results in the folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seed", type=int, action="append")
    parser.add_argument("--arm", action="append", required=True)
    options = parser.parse_args()
    report(options.out, options.folds, open_dataset(options.data), options.arm, options.seed or [0])


if __name__ == "__main__":
    main()
