"""One scan under two names, found before anything is converted, without reading every scan."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress

from converters.conversion.case import hash_scan
from converters.core.errors import InputError
from converters.masks.annotations import scan_files
from converters.masks.case_source import CaseSource

SAMPLE = 1 << 16  # bytes from the middle of a file: voxels, not header


def find_twins(cases: Sequence[CaseSource]) -> list[list[CaseSource]]:
    """Group the cases whose scans are byte for byte the same and whose patients are not.

    Only scans of one size and with one sample in common are hashed in full. What cannot be read is
    passed over: converting it will say why.
    """
    groups = [list(cases)]
    for key in (_sizes, _samples, hash_scan):
        groups = [part for group in groups for part in _apart(group, key)]
    return [group for group in groups if len({case.patient_id for case in group}) > 1]


def _apart(
    cases: Iterable[CaseSource], key: Callable[[CaseSource], Hashable]
) -> list[list[CaseSource]]:
    """Group cases of one key, less those that are alone."""
    by_key: dict[Hashable, list[CaseSource]] = defaultdict(list)
    for case in cases:
        with suppress(OSError, InputError):
            by_key[key(case)].append(case)
    return [group for group in by_key.values() if len(group) > 1]


def _sizes(case: CaseSource) -> Hashable:
    """Of the file, or of all files of a folder: to read a series' headers would take long."""
    files = case.image.iterdir() if case.image.is_dir() else [case.image]
    return tuple(sorted(file.stat().st_size for file in files))


def _samples(case: CaseSource) -> Hashable:
    files = scan_files(case)
    middle = files[len(files) // 2]
    with middle.open("rb") as stream:
        stream.seek(max(0, middle.stat().st_size // 2 - SAMPLE // 2))
        return stream.read(SAMPLE)


def check_twins(
    twins: Sequence[Sequence[CaseSource]], split_of: Mapping[str, str], written: Iterable[str]
) -> list[str]:
    """Refuse one scan on two sides of the split; returns a warning for each that is on one.

    Args:
        twins: of `find_twins`.
        split_of: patient → split.
        written: cases that could be read.

    Raises:
        InputError: one scan would be on two sides.
    """
    known = set(written)
    warnings = []
    for group in twins:
        cases = [case for case in group if case.case_id in known]
        if len({case.patient_id for case in cases}) < 2:
            continue
        listed = ", ".join(f"{case.case_id} ({split_of[case.patient_id]})" for case in cases)
        if len({split_of[case.patient_id] for case in cases}) > 1:
            raise InputError(
                cases[1].image,
                f"is one and the same scan under two patients on two sides: {listed}",
                "remove one of them, or list them as one patient under `patients` in the recipe",
            )
        warnings.append(f"one and the same scan under two patients: {listed}")
    return warnings
