"""Cross-validate by patient over a whole dataset folder; no picture is copied."""

from collections import Counter
from dataclasses import fields
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from converters.core.errors import InputError, ParameterError
from converters.dataset.folder import Dataset
from converters.dataset.split import Split, load_split
from converters.dataset.stratify import SPLITS, deal_patients

VAL_SHARE = 0.2  # of the patients that are not tested on


class Fold(BaseModel):
    """One round of a cross-validation by patient.

    Attributes:
        number: which one, from 1.
        of: how many there are.
        seed: deals the patients.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int = Field(ge=1)
    of: int = Field(ge=2)
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _number_exists(self) -> Self:
        if self.number > self.of:
            raise ValueError(f"there is no fold {self.number} of {self.of}")
        return self

    def __str__(self) -> str:
        """Format the fold for people: `2 of 5, dealt with seed 0`."""
        return f"{self.number} of {self.of}, dealt with seed {self.seed}"


def parse_fold(text: str, seed: int) -> Fold:
    """Read `I/K`: fold I of K.

    Raises:
        InputError: the text is no fold.
    """
    number, slash, of = text.partition("/")
    try:
        if not slash:
            raise ValueError
        return Fold(number=int(number), of=int(of), seed=seed)
    except ValueError as error:
        raise ParameterError(
            "fold", f"`{text}` is no fold", "write for example 2/5: the second of five"
        ) from error


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
    real = pooled.select([k for k, synthetic in enumerate(pooled.synthetic) if not synthetic])
    strata: dict[str, frozenset[int]] = {}
    boxes: Counter[str] = Counter()
    for patient, truth in zip(real.patient_ids, real.truth, strict=True):
        strata[patient] = strata.get(patient, frozenset()).union(truth.label.tolist())
        boxes[patient] += len(truth)
    if len(strata) < fold.of + 2:
        raise ParameterError(
            "folds",
            f"{fold.of} folds need at least {fold.of + 2} patients, and there are {len(strata)}",
            "ask for fewer" if len(strata) > 3 else "add patients",
        )
    part_of = deal_patients(strata, [1] * fold.of, fold.seed, boxes)
    tested = {patient for patient, part in part_of.items() if part == fold.number - 1}
    others = {patient: classes for patient, classes in strata.items() if patient not in tested}
    is_val = deal_patients(others, [1 - VAL_SHARE, VAL_SHARE], fold.seed, boxes)
    name_of = {patient: "val" if is_val[patient] else "train" for patient in others}
    name_of |= dict.fromkeys(tested, "test")
    chosen: dict[str, list[int]] = {name: [] for name in SPLITS}
    for k, patient in enumerate(pooled.patient_ids):
        name = name_of.get(patient, "train")
        if name == "train" or not pooled.synthetic[k]:
            chosen[name].append(k)
    return {name: pooled.select(indices, name) for name, indices in chosen.items()}


def _pool(dataset: Dataset) -> Split:
    splits = [load_split(dataset, n) for n in SPLITS if dataset.annotations(n)["images"]]
    if not splits:
        raise InputError(dataset.folder, "has no images", "convert again")
    columns: dict[str, list[Any]] = {
        column.name: [value for split in splits for value in getattr(split, column.name)]
        for column in fields(Split)
        if column.name != "name"
    }
    columns["image_ids"] = list(range(1, len(columns["image_ids"]) + 1))  # each file's begin at 1
    return Split(name="pooled", **columns)
