"""Splits: by patient, spread over classes and normals, the same every time."""

import json
from pathlib import Path

import pytest

from converters.errors import InputError
from converters.negatives import choose_negatives, parse_policies
from converters.split import SPLITS, read_split_file, split_patients

STRATA = {f"p{i}": frozenset({i % 4}) if i % 5 else frozenset() for i in range(40)}


def test_every_class_and_the_normals_are_spread() -> None:
    split = split_patients(STRATA, (0.5, 0.25, 0.25), seed=1)
    assert set(split) == set(STRATA)
    for stratum in (*(frozenset({k}) for k in range(4)), frozenset()):
        counts = [sum(split[p] == s for p, own in STRATA.items() if own == stratum) for s in SPLITS]
        whole = sum(counts)
        for count, share in zip(counts, (0.5, 0.25, 0.25), strict=True):
            assert abs(count - share * whole) < 1.01, (stratum, counts)


def test_order_of_patients_does_not_matter_and_the_seed_does() -> None:
    backwards = dict(reversed(STRATA.items()))
    first = split_patients(STRATA, (7, 1, 2), seed=3)
    assert first == split_patients(backwards, (7, 1, 2), seed=3)
    assert first != split_patients(STRATA, (7, 1, 2), seed=4)


def test_few_patients_still_fill_every_split() -> None:
    split = split_patients({p: frozenset({0}) for p in "abc"}, (0.7, 0.15, 0.15), seed=0)
    assert sorted(split.values()) == ["test", "train", "val"]


PATIENT_OF = {"c1": "p1", "c2": "p1", "c3": "p3"}


def lists(folder: Path, content: object) -> Path:
    path = folder / "lists.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_named_lists_of_cases_or_patients(tmp_path: Path) -> None:
    path = lists(tmp_path, {"train": ["c1"], "test": ["p3"]})
    assert read_split_file(path, PATIENT_OF) == {"p1": "train", "p3": "test"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"train": ["c1", "nobody"]}, "nobody"),
        ({"train": ["c1"], "val": ["c2"], "test": ["c3"]}, "p1"),
        ({"train": ["c1"]}, "p3"),
        (["c1"], "mapping"),
    ],
)
def test_wrong_lists(tmp_path: Path, content: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_split_file(lists(tmp_path, content), PATIENT_OF)


def test_negatives_policies() -> None:
    assert parse_policies("all") == dict.fromkeys(SPLITS, "all")
    assert parse_policies("train=0.5,val=all,test=none")["train"] == 0.5
    for wrong in ("some", "-1", "train=1", "nan"):
        with pytest.raises(InputError):
            parse_policies(wrong)


def test_negatives_prefer_the_organ_and_do_not_depend_on_other_cases() -> None:
    every, organ = range(20), range(5, 15)
    assert choose_negatives("all", "a", every, organ, 3, 0) == list(every)
    assert choose_negatives("none", "a", every, organ, 3, 0) == []
    drawn = choose_negatives(2.0, "a", every, organ, 4, 0)
    assert len(drawn) == 8 and set(drawn) <= set(organ)
    assert drawn == choose_negatives(2.0, "a", every, organ, 4, 0)
    assert drawn != choose_negatives(2.0, "b", every, organ, 4, 0)
    assert set(choose_negatives(3.0, "a", every, organ, 4, 0)) > set(organ)
