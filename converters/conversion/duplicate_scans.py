"""Find one scan under two names before anything is converted, without reading every scan."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress

from converters.conversion.case import CaseState, hash_scan
from converters.core.errors import InputError
from converters.masks.annotations import scan_files
from converters.masks.case_source import CaseSource

SAMPLE = 1 << 16  # bytes from the middle of a file: voxels, not header


def check_duplicates(cases: Sequence[CaseState]) -> list[str]:
    """Refuse one scan on two sides of the split; return a warning for each that is on one.

    Scans are the same byte for byte. Only those of one size and with one sample in common are
    hashed in full.

    Args:
        cases: those that could be read, with their splits.

    Raises:
        InputError: one scan would be on two sides.
    """
    groups = [list(cases)]
    for key in (_sizes, _samples, hash_scan):
        groups = [part for group in groups for part in _same_key(group, key)]
    warnings = []
    for group in groups:
        if len({case.patient_id for case in group}) < 2:
            continue
        listed = ", ".join(f"{case.case_id} ({case.split})" for case in group)
        if len({case.split for case in group}) > 1:
            raise InputError(
                group[1].source.image,
                f"is one and the same scan under two patients on two sides: {listed}",
                "remove one of them, or list them as one patient under `patients` in the recipe",
            )
        warnings.append(f"one and the same scan under two patients: {listed}")
    return warnings


def _same_key(
    cases: Iterable[CaseState], key: Callable[[CaseSource], Hashable]
) -> list[list[CaseState]]:
    """Group cases that share a key; what cannot be read is left to the conversion to report."""
    by_key: dict[Hashable, list[CaseState]] = defaultdict(list)
    for case in cases:
        with suppress(OSError, InputError):
            by_key[key(case.source)].append(case)
    return [group for group in by_key.values() if len(group) > 1]


def _sizes(source: CaseSource) -> Hashable:
    """Sizes of the scan's file, or of all files of its folder, whose headers take long to read."""
    files = source.image.iterdir() if source.image.is_dir() else [source.image]
    return tuple(sorted(file.stat().st_size for file in files))


def _samples(source: CaseSource) -> Hashable:
    files = scan_files(source)
    middle = files[len(files) // 2]
    with middle.open("rb") as stream:
        stream.seek(max(0, middle.stat().st_size // 2 - SAMPLE // 2))
        return stream.read(SAMPLE)
