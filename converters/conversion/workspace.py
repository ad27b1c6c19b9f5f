"""The working folder of a conversion: what a run that was killed leaves, the next one takes up."""

import glob
import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from converters.conversion.case import CaseAnalysis, CaseWritten, image_name
from converters.core.files import write_text
from converters.dataset.manifest import Request, tool_versions
from converters.dataset.stratify import SPLITS
from converters.imaging.read import ITK_SUFFIXES
from converters.masks.case_source import CaseSource


class Workspace:
    """`OUT.partial`, which becomes `OUT` in one step when all is done.

    It holds `plan` (a fingerprint of the request and the sources), `analysis/` (pass one), `chosen`
    (the split and the slices), `done/` (cases that pass two finished) and `dataset-*/`, named by
    the plan: what a cluster's workers still write for another one must not end up in this.
    """

    def __init__(self, out: Path) -> None:
        """Name the folder; nothing is touched yet."""
        self.out = out.absolute()
        self.folder = self.out.with_name(f"{self.out.name}.partial")
        self.plan = self.folder / "plan"
        self.dataset = self.folder  # until it is opened

    def open(self, request: Request, cases: Sequence[CaseSource]) -> None:
        """Keep what the same request on the same files left there; clear anything else away."""
        stamps = [_stamps(case) for case in cases]
        plan = [request.model_dump(mode="json"), tool_versions(), stamps]
        fingerprint = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()
        self.dataset = self.folder / f"dataset-{fingerprint[:16]}"
        # No dataset below: a run was killed just after it had published it.
        if not self.dataset.is_dir() or not _holds(self.plan, fingerprint):
            self.discard()
            for kind in ("images", "labels"):
                for split in SPLITS:
                    (self.dataset / kind / split).mkdir(parents=True)
            write_text(self.plan, fingerprint)

    def analysed(self, case_id: str) -> CaseAnalysis | None:
        """What pass one found in a case; None if it has not finished it."""
        file = self.folder / "analysis" / f"{case_id}.json"
        return CaseAnalysis.model_validate_json(file.read_bytes()) if file.is_file() else None

    def keep_analysis(self, analysis: CaseAnalysis) -> None:
        """Note that pass one finished a case."""
        file = self.folder / "analysis" / f"{analysis.case_id}.json"
        write_text(file, analysis.model_dump_json())

    def choose(self, split_of: Mapping[str, str], slices: Mapping[str, Sequence[int]]) -> None:
        """Forget pass two if it worked on another split or on other slices.

        A mask that could not be read the last time and now can shifts both.
        """
        chosen = json.dumps([split_of, slices], sort_keys=True)
        if not _holds(self.folder / "chosen", chosen):
            shutil.rmtree(self.folder / "done", ignore_errors=True)
            write_text(self.folder / "chosen", chosen)

    def done(self, case_id: str) -> CaseWritten | None:
        """What pass two settled for a case that it finished, else None."""
        file = self.folder / "done" / f"{case_id}.json"
        return CaseWritten.model_validate_json(file.read_bytes()) if file.is_file() else None

    def keep_done(self, case_id: str, written: CaseWritten) -> None:
        """Note that pass two finished a case."""
        write_text(self.folder / "done" / f"{case_id}.json", written.model_dump_json())

    def sweep(self, written: Iterable[tuple[str, str, Sequence[int]]]) -> None:
        """Remove from the dataset all but the pictures and labels of (split, case, slices).

        Killed runs leave temporary files, and cases that failed half-way leave pictures.
        """
        keep = set()
        for split, case_id, slices in written:
            for z in slices:
                name = image_name(case_id, z)
                keep.add(self.dataset / "images" / split / name)
                keep.add((self.dataset / "labels" / split / name).with_suffix(".txt"))
        for file in list(self.dataset.rglob("*")):
            if file not in keep and not file.is_dir():
                file.unlink()

    def publish(self) -> None:
        """Put the dataset at `OUT`, in place of what was there, and remove the working folder."""
        if self.out.exists():
            replaced = self.folder / "replaced"
            shutil.rmtree(replaced, ignore_errors=True)
            self.out.rename(replaced)
        self.dataset.rename(self.out)
        self.discard()

    def discard(self) -> None:
        """Remove the working folder; the plan first, so that half of it is never taken up."""
        self.plan.unlink(missing_ok=True)
        if self.folder.exists():
            shutil.rmtree(self.folder)


def _holds(file: Path, text: str) -> bool:
    return file.is_file() and file.read_text(encoding="utf-8") == text


def _stamps(case: CaseSource) -> list[Any]:
    """What tells whether the sources of a case changed between two runs."""
    masks = case.parts or (("", case.mask),)
    own = [[name, _stamp(path)] for name, path in masks] if not case.rows else []
    return [case.case_id, case.patient_id, _stamp(case.image), own, [repr(r) for r in case.rows]]


def _stamp(path: Path | None) -> list[int]:
    """Sizes and times of a scan's files."""
    if path is None:
        return []
    try:
        if path.is_dir():
            files = list(path.iterdir())
        elif path.suffix.lower() in ITK_SUFFIXES:  # detached data lie beside their header
            files = list(path.parent.glob(f"{glob.escape(path.stem)}*"))
        else:
            files = [path]
        stats = [file.stat() for file in sorted(files)]
    except OSError:  # reading it will say what is wrong
        return []
    return [n for s in stats for n in (s.st_size, s.st_mtime_ns)]
