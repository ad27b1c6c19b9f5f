"""Splits: by patient, spread over classes and normals, the same every time."""

import json
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.core.errors import InputError
from converters.dataset.negatives import choose_negatives, parse_policies
from converters.dataset.stratify import SPLITS, deal_patients, read_split_file, split_patients

STRATA = {f"p{i}": frozenset({i % 4}) if i % 5 else frozenset() for i in range(40)}


def test_every_class_and_the_normals_are_spread() -> None:
    split = split_patients(STRATA, (0.5, 0.25, 0.25), seed=1)
    assert set(split) == set(STRATA)
    for stratum in (*(frozenset({k}) for k in range(4)), frozenset()):
        counts = [
            sum(split[p] == s for p, classes in STRATA.items() if classes == stratum)
            for s in SPLITS
        ]
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


# patient → (its class, or -1 for a normal one; its boxes)
PATIENTS = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=4),
    st.tuples(st.integers(-1, 2), st.integers(1, 300)),
    min_size=2,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(PATIENTS, st.integers(2, 6), st.integers(0, 99))
def test_folds(patients: dict[str, tuple[int, int]], folds: int, seed: int) -> None:
    strata = {p: frozenset({c} - {-1}) for p, (c, _) in patients.items()}
    boxes = {p: n if strata[p] else 0 for p, (_, n) in patients.items()}
    part_of = deal_patients(strata, [1] * folds, seed, boxes)
    # each patient is in one fold, and tested on once; the order does not matter
    assert set(part_of) == set(patients) and set(part_of.values()) <= set(range(folds))
    backwards = {p: strata[p] for p in reversed(strata)}
    assert deal_patients(backwards, [1] * folds, seed, boxes) == part_of
    # each class within one patient of fair, as long as no fold had to be filled up
    for stratum in set(strata.values()):
        counts = [
            sum(part_of[p] == k for p, classes in strata.items() if classes == stratum)
            for k in range(folds)
        ]
        if len(patients) >= 4 * folds:
            assert max(counts) - min(counts) <= 1, counts
    # evening out the boxes leaves the classes alone and never makes it worse
    plain = deal_patients(strata, [1] * folds, seed)

    def per_fold(parts: dict[str, int], k: int) -> list[frozenset[int]]:
        return sorted((strata[p] for p, part in parts.items() if part == k), key=sorted)

    def unevenness(parts: dict[str, int]) -> int:
        return sum(sum(boxes[p] for p in parts if parts[p] == k) ** 2 for k in range(folds))

    assert all(per_fold(plain, k) == per_fold(part_of, k) for k in range(folds))
    assert unevenness(part_of) <= unevenness(plain)


def test_boxes_are_evened_out() -> None:
    strata = {f"p{i}": frozenset({0}) for i in range(12)}
    boxes = {f"p{i}": 2**i for i in range(8)} | {f"p{i}": 60 for i in range(8, 12)}

    def spread(parts: dict[str, int]) -> int:
        totals = [sum(boxes[p] for p in parts if parts[p] == k) for k in range(3)]
        return sum((3 * total - sum(totals)) ** 2 for total in totals)

    part_of = deal_patients(strata, [1, 1, 1], 0, boxes)
    assert spread(part_of) < spread(deal_patients(strata, [1, 1, 1], 0)) / 10
    for p, q in combinations(strata, 2):  # no two patients that change places make it better
        swapped = part_of | {p: part_of[q], q: part_of[p]}
        assert spread(swapped) >= spread(part_of)


PATIENT_OF = {"c1": "p1", "c2": "p1", "c3": "p3"}


def lists(folder: Path, content: object) -> Path:
    path = folder / "lists.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_named_lists_of_cases_or_patients(tmp_path: Path) -> None:
    path = lists(tmp_path, {"train": ["c1"], "test": ["p3"]})
    assert read_split_file(path, PATIENT_OF) == {"p1": "train", "p3": "test"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"train": ["c1", "nobody"]}, "nobody"),
        ({"train": ["c1"], "val": ["c2"], "test": ["c3"]}, "p1"),
        ({"train": ["c1"]}, "p3"),
        (["c1"], "mapping"),
    ],
)
def test_wrong_lists(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
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
