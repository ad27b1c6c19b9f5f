"""Find scans of one person under two names: by id, by the hash of the file, and by looking."""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from converters.core.errors import InputError
from converters.core.progress import progress
from converters.dataset.folder import Dataset, open_dataset, read_png
from converters.dataset.keypoints import Landmarks, Likeness, find_landmarks, levels, likeness
from converters.dataset.stratify import SPLITS

# Two cases this alike are suspected to be one person; benchmarks/same_patient.py measures it.
SUSPECT = 0.075
WORTH_A_LOOK = SUSPECT / 2  # after the quick look at the strongest landmarks
# Where everybody is alike (phantoms, narrow crops), a pair must also stand out from the median
# pair; among few pairs that median may itself be one person.
STANDS_OUT = 2.5
MANY_PAIRS = 45
FARTHEST_MM = 1e5  # a height beyond this is no height


@dataclass(frozen=True)
class Scan:
    """One case of a dataset, by its pictures.

    Attributes:
        case, patient: names.
        split: train, val or test.
        pictures: of its slices, from the lowest up.
        heights: position of each along the body, mm.
        spacing: (column, row), mm.
    """

    case: str
    patient: str
    split: str
    pictures: list[Path]
    heights: list[float]
    spacing: tuple[float, float]

    def read(self, index: int) -> NDArray[np.uint8]:
        """Read one slice, ``(rows, columns)``; of three channels the middle one.

        Raises:
            InputError: missing or damaged.
        """
        pixels = read_png(self.pictures[index])
        return pixels if pixels.ndim == 2 else pixels[:, :, pixels.shape[2] // 2]


@dataclass(frozen=True)
class Suspicion:
    """Two cases under two names that look like one person; it is no proof.

    Attributes:
        first, second: the cases.
        likeness: how alike they are.
        two_sides: one of them may teach a model what the other tests.
    """

    first: Scan
    second: Scan
    likeness: Likeness
    two_sides: bool

    def __str__(self) -> str:
        """Format the suspicion as one line."""
        a, b = self.first, self.second
        return (
            f"suspected to be one patient: {a.case} ({a.split}) and {b.case} ({b.split}),"
            f" likeness {self.likeness.score:.3f}"
        )


@dataclass(frozen=True)
class SamePatient:
    """The outcome of a search for one person under two names.

    Attributes:
        certain: one line for each person or scan that is on two sides for certain.
        suspicions: by looking; those across two sides first, then the most alike.
        notes: one line for each thing that is worth knowing and no fault.
        pairs: pairs of cases that were compared by looking.
    """

    certain: list[str] = field(default_factory=list)
    suspicions: list[Suspicion] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pairs: int = 0


def same_patient(folder: Path, other: Path | None = None, *, look: bool = True) -> SamePatient:
    """Search a dataset, or a pair of them, for one person under two names.

    Within one dataset a pair of cases on two sides of the split is a problem, a pair in one split
    is not. Between two datasets every shared person is a problem: models are trained on the one
    and tested on the other.

    Args:
        folder: dataset.
        other: compare the cases of `folder` with those of this dataset, not with each other.
        look: compare the pictures too.

    Raises:
        InputError: no dataset.
    """
    dataset = open_dataset(folder)
    result = SamePatient()
    second = open_dataset(other) if other is not None else None
    known: set[tuple[str, str]] = set()
    if second is None:
        _same_files(dataset, result)
    else:
        known = _shared(dataset, second, result)
    if not look:
        return result
    scans = scans_of(dataset)
    if second is None:
        pairs = [(a, b) for a, b in combinations(scans, 2) if a.patient != b.patient]
    else:
        pairs = [
            (a, b)
            for a, b in product(scans, scans_of(second))
            if (a.patient, b.patient) not in known
        ]
    suspicions = [
        Suspicion(a, b, alike, two_sides=second is not None or a.split != b.split)
        for a, b, alike in alike_pairs(pairs)
    ]
    suspicions.sort(key=lambda s: (not s.two_sides, -s.likeness.score))
    return replace(result, suspicions=suspicions, pairs=len(pairs))


def _same_files(dataset: Dataset, result: SamePatient) -> None:
    """Find one scan under several names in a dataset."""
    by_hash = defaultdict(list)
    for case in dataset.manifest.cases:
        by_hash[case.image_sha256].append(case)
    for cases in by_hash.values():
        if len(cases) < 2:
            continue
        listed = ", ".join(f"{case.id} ({case.split})" for case in cases)
        if len({case.split for case in cases}) > 1:
            result.certain.append(f"one and the same scan is on two sides: {listed}")
        else:
            result.notes.append(f"one and the same scan has several names: {listed}")


def _shared(first: Dataset, second: Dataset, result: SamePatient) -> set[tuple[str, str]]:
    """Find shared people of two datasets by hash or id; returns pairs of patients that are one."""
    by_hash = defaultdict(list)
    for case in second.manifest.cases:
        by_hash[case.image_sha256].append(case)
    certain = set()
    for case in first.manifest.cases:
        for copy in by_hash[case.image_sha256]:
            certain.add((case.patient, copy.patient))
            result.certain.append(
                f"one and the same scan is in both: {case.id} ({case.split})"
                f" and {copy.id} ({copy.split})"
            )
    names = {case.patient for case in first.manifest.cases}
    same_numbering = bool(_recipes(first) & _recipes(second))
    for patient in sorted(names & {case.patient for case in second.manifest.cases}):
        if (patient, patient) in certain:
            continue
        if same_numbering:
            certain.add((patient, patient))
            result.certain.append(f"patient {patient} is in both")
        else:
            result.notes.append(f"both have a patient {patient}, but by two recipes' numbering")
    return certain


def _recipes(dataset: Dataset) -> set[str]:
    request = dataset.manifest.request
    return {recipe.name for recipe in (request.recipe, *request.more)}


def scans_of(dataset: Dataset) -> list[Scan]:
    """List the cases with their pictures, in the order of the manifest."""
    images: dict[str, list[tuple[float, Path, tuple[float, float]]]] = defaultdict(list)
    for split in SPLITS:
        for image in dataset.annotations(split)["images"]:
            try:
                height = float(image["position_mm"][2])
                spacing = (float(image["spacing_mm"][0]), float(image["spacing_mm"][1]))
                name, case = str(image["file_name"]), str(image["case_id"])
            except (KeyError, TypeError, ValueError, IndexError) as error:
                source = dataset.folder / "annotations" / f"instances_{split}.json"
                raise InputError(source, f"is damaged ({error})", "convert again") from error
            if not abs(height) < FARTHEST_MM or not all(1e-3 < s < 1e3 for s in spacing):
                height, spacing = 0.0, (1.0, 1.0)
            images[case].append((height, dataset.image_path(split, name), spacing))
    return [
        Scan(
            case=case.id,
            patient=case.patient,
            split=case.split,
            pictures=[path for _, path, _ in slices],
            heights=[height for height, _, _ in slices],
            spacing=slices[0][2],
        )
        for case in dataset.manifest.cases
        if (slices := sorted(images[case.id]))
    ]


def alike_pairs(pairs: Sequence[tuple[Scan, Scan]]) -> list[tuple[Scan, Scan, Likeness]]:
    """Compare pairs of cases by their pictures; returns the suspiciously alike pairs."""
    scans = {id(scan): scan for pair in pairs for scan in pair}
    landmarks_of: dict[int, Landmarks] = {}
    with progress("landmarks", len(scans)) as advance:
        for key, scan in scans.items():
            landmarks_of[key] = landmarks(scan)
            advance(scan.case)
    few = {key: every.strongest() for key, every in landmarks_of.items()}
    compared = []
    with progress("compare", len(pairs)) as advance:
        for a, b in pairs:
            alike = likeness(few[id(a)], few[id(b)])
            if alike.score >= WORTH_A_LOOK:
                alike = likeness(landmarks_of[id(a)], landmarks_of[id(b)])
            compared.append((a, b, alike))
            advance(a.case)
    threshold = SUSPECT
    if len(compared) >= MANY_PAIRS:
        threshold = max(threshold, STANDS_OUT * median(alike.score for *_, alike in compared))
    return [pair for pair in compared if pair[2].score >= threshold]


def landmarks(scan: Scan) -> Landmarks:
    """Find the landmarks of a case; slices that cannot be read are passed over."""
    slices = []
    for k in levels(scan.heights):
        with suppress(InputError):  # `check` names them
            slices.append((scan.heights[k], scan.read(k)))
    return find_landmarks(slices, scan.spacing)
