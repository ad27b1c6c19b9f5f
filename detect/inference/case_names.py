"""Names of cases: they become folders beside the files that a whole run writes."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from converters.imaging.read import SUFFIXES
from detect.inference.find_scans import ScanTask

TAKEN = ("summary.csv", "report.html", "watch.json")


def name_cases(scans: Sequence[ScanTask], folders: bool = False) -> list[ScanTask]:
    """Name scan files by their name without suffix; equal names get a hash of their path, too.

    A name that suits no folder is not given, and the case is named by the hash of its files.

    Args:
        scans: to name; each is returned, in the same order.
        folders: name folders of DICOM series, too.
    """
    stems = [_stem(scan.path, folders) for scan in scans]
    times = Counter(stem.casefold() for stem in stems)
    tasks = []
    for scan, stem in zip(scans, stems, strict=True):
        name = None
        if re.fullmatch(r"\w[\w .,+@=-]*", stem) and stem.casefold() not in TAKEN:
            uid = "" if scan.series is None or scan.series.alone else scan.series.uid
            place = hashlib.sha256(f"{scan.path.resolve()}{uid}".encode()).hexdigest()[:8]
            name = stem if times[stem.casefold()] == 1 else f"{stem}-{place}"
        tasks.append(replace(scan, name=name))
    return tasks


def _stem(scan: Path, folders: bool) -> str:
    if scan.is_dir():
        return scan.resolve().name if folders else ""
    suffix = max((s for s in SUFFIXES if scan.name.lower().endswith(s)), key=len, default="")
    return scan.name[: len(scan.name) - len(suffix)]
