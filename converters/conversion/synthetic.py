"""Synthetic cases are there to learn from: nobody is scored on them, and they deal no patients.

A dataset of synthetic cases alone is one like any other.
"""

from collections.abc import Mapping, Set
from typing import TypeVar

from converters.conversion.case import CaseAnalysis
from converters.conversion.gather import Cases

TRAIN = "train"
Value = TypeVar("Value")


def synthetic_cases(gathered: Cases) -> Set[str]:
    """Names of the cases of synthetic recipes; none where there are no others."""
    made_up = {
        case for case, index in gathered.recipe_of.items() if gathered.recipes[index].synthetic
    }
    return made_up if len(made_up) < len(gathered.recipe_of) else set()


def without(values: Mapping[str, Value], synthetic: Set[str]) -> dict[str, Value]:
    """Leave out what belongs to synthetic cases."""
    return {case: value for case, value in values.items() if case not in synthetic}


def complete(split_of: Mapping[str, str], analyses: Mapping[str, CaseAnalysis]) -> dict[str, str]:
    """Add the patients of synthetic cases alone to a split: they are trained on."""
    return {a.patient_id: TRAIN for a in analyses.values()} | dict(split_of)


def not_for_train(
    patient_of: Mapping[str, str], synthetic: Set[str], split_of: Mapping[str, str]
) -> dict[str, str]:
    """Synthetic cases of patients who are not trained on → why they are left out."""
    return {
        case: f"synthetic, and its patient is in {split_of[patient]}"
        for case, patient in patient_of.items()
        if case in synthetic and split_of[patient] != TRAIN
    }
