"""What the cases of a run are called: folders beside the files of all of them."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from converters.imaging.read import SUFFIXES
from detect.inference.find_scans import Source

TAKEN = ("summary.csv", "report.html", "watch.json")


def name_cases(scans: Sequence[Source], folders: bool = False) -> dict[Source, str]:
    """Name scan files by their name without suffix; equal names are told apart by their path.

    So with `folders`, folders of DICOM series; else they are left out.

    A name that suits no folder is left out.
    """
    stems = {
        scan: scan.path.resolve().name if scan.path.is_dir() else _stem(scan.path)
        for scan in scans
        if folders or not scan.path.is_dir()
    }
    times = Counter(stem.casefold() for stem in stems.values())
    names: dict[Source, str] = {}
    for scan, stem in stems.items():
        if re.fullmatch(r"\w[\w .,+@=-]*", stem) and stem.casefold() not in TAKEN:
            uid = "" if scan.series is None or scan.series.alone else scan.series.uid
            place = hashlib.sha256(f"{scan.path.resolve()}{uid}".encode()).hexdigest()[:8]
            names[scan] = stem if times[stem.casefold()] == 1 else f"{stem}-{place}"
    return names


def _stem(scan: Path) -> str:
    suffix = max((s for s in SUFFIXES if scan.name.lower().endswith(s)), key=len, default="")
    return scan.name[: len(scan.name) - len(suffix)]
