"""Cross-validation by patient over a whole dataset folder; no picture is copied."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from converters.core.errors import InputError
from converters.dataset.coco import detections_to_coco
from converters.dataset.folder import Dataset
from converters.dataset.split import Split, load_split
from converters.dataset.stratify import SPLITS, deal_patients
from detect.detectors.card import Fold

VAL_SHARE = 0.2  # of the patients that are not tested on


def fold_splits(dataset: Dataset, fold: Fold) -> dict[str, Split]:
    """Pool train, val and test of a dataset and split them anew, by patient.

    The patients are dealt to as many parts as there are folds, each class, the normals and the
    boxes spread alike; the fold's own part is `test`. Of the others every fifth patient, dealt
    likewise, is `val`, and the rest is `train`. Every patient is tested on in exactly one of the
    folds. Synthetic cases are for `train` only, those of its patients.

    Args:
        dataset: converted with one negatives policy for all its splits.
        fold: which one of how many, and the seed that deals the patients.

    Returns:
        train, val and test. Image ids count through the pooled pictures, so that they mean the same
        in each fold.

    Raises:
        InputError: the splits were sampled differently, or there are too few patients.
    """
    policies = dataset.manifest.request.negatives
    if len({str(policy) for policy in policies.values()}) > 1:
        listed = ",".join(f"{name}={policies[name]}" for name in SPLITS)
        raise InputError(
            dataset.folder,
            f"holds other negatives in each split ({listed}), so its splits cannot be pooled",
            "convert with `--negatives all`",
        )
    pooled = _pool(dataset)
    real = pooled.select([k for k, made_up in enumerate(pooled.synthetic) if not made_up])
    strata: dict[str, frozenset[int]] = {}
    boxes: Counter[str] = Counter()
    for patient, truth in zip(real.patient_ids, real.truth, strict=True):
        strata[patient] = strata.get(patient, frozenset()).union(truth.label.tolist())
        boxes[patient] += len(truth)
    if len(strata) < fold.of + 2:
        raise InputError(
            "--folds",
            f"{fold.of} folds need at least {fold.of + 2} patients, and there are {len(strata)}",
            "ask for fewer" if len(strata) > 3 else "add patients",
        )
    part_of = deal_patients(strata, [1] * fold.of, fold.seed, boxes)
    tested = {patient for patient, part in part_of.items() if part == fold.number - 1}
    others = {patient: own for patient, own in strata.items() if patient not in tested}
    is_val = deal_patients(others, [1 - VAL_SHARE, VAL_SHARE], fold.seed, boxes)
    name_of = {patient: "val" if is_val[patient] else "train" for patient in others}
    name_of |= dict.fromkeys(tested, "test")
    chosen: dict[str, list[int]] = {name: [] for name in SPLITS}
    for k, (patient, made_up) in enumerate(zip(pooled.patient_ids, pooled.synthetic, strict=True)):
        name = name_of.get(patient, "train")
        if name == "train" or not made_up:
            chosen[name].append(k)
    return {name: pooled.select(indices, name) for name, indices in chosen.items()}


def _pool(dataset: Dataset) -> Split:
    splits = [load_split(dataset, n) for n in SPLITS if dataset.annotations(n)["images"]]
    if not splits:
        raise InputError(dataset.folder, "has no images", "convert again")
    columns: dict[str, list[Any]] = {
        one.name: [value for split in splits for value in getattr(split, one.name)]
        for one in fields(Split)
        if one.name != "name"
    }
    columns["image_ids"] = list(range(1, len(columns["image_ids"]) + 1))  # each file's begin at 1
    return Split(name="pooled", **columns)


def split_to_coco(split: Split, classes: Sequence[str]) -> dict[str, Any]:
    """Write a split's truth as COCO does, for other evaluators; ids are the split's own."""
    boxes = detections_to_coco(split.truth, split.image_ids)
    return {
        "images": [
            {
                "id": split.image_ids[k],
                "file_name": split.paths[k].name,
                "width": split.sizes[k][1],
                "height": split.sizes[k][0],
                "case_id": split.case_ids[k],
                "patient_id": split.patient_ids[k],
                "slice_index": split.slice_indices[k],
            }
            for k in range(len(split))
        ],
        "annotations": [
            {
                "id": number,
                "image_id": box["image_id"],
                "category_id": box["category_id"],
                "bbox": box["bbox"],
                "area": box["bbox"][2] * box["bbox"][3],
                "iscrowd": 0,
            }
            for number, box in enumerate(boxes, start=1)
        ],
        "categories": [{"id": k, "name": name} for k, name in enumerate(classes, start=1)],
    }
