"""Keep the state of a conversion in `OUT.partial`, where a run after a kill takes it up."""

import glob
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from converters.conversion.case import CaseAnalysis, CaseState, CaseWritten
from converters.core.files import write_text
from converters.core.output_folder import ResumableFolder, holds_text
from converters.dataset.manifest import Request, tool_versions
from converters.dataset.stratify import SPLITS
from converters.imaging.read import ITK_SUFFIXES
from converters.masks.case_source import CaseSource


class Workspace(ResumableFolder):
    """The `OUT.partial` of a conversion.

    Beside `dataset-*/`, the later `OUT`, it holds `analysis/` (the first pass), `chosen` (the split
    and the slices) and `done/` (cases that the second pass finished).
    """

    def __init__(self, out: Path) -> None:
        """Name the folders; nothing is touched yet."""
        super().__init__(out.absolute(), "dataset")

    def open(self, request: Request, sources: Sequence[CaseSource]) -> None:
        """Keep what the same request on the same files left, and clear anything else away."""
        stamps = [_stamps(source) for source in sources]
        plan = [request.model_dump(mode="json"), tool_versions(), stamps]
        self.resume(json.dumps(plan, sort_keys=True))
        for kind in ("images", "labels"):
            for split in SPLITS:
                (self.content / kind / split).mkdir(parents=True, exist_ok=True)

    def analysed(self, case_id: str) -> CaseAnalysis | None:
        """Return what the first pass kept of a case, else None."""
        file = self.staging / "analysis" / f"{case_id}.json"
        return CaseAnalysis.model_validate_json(file.read_bytes()) if file.is_file() else None

    def keep_analysis(self, analysis: CaseAnalysis) -> None:
        """Note that the first pass finished a case."""
        file = self.staging / "analysis" / f"{analysis.case_id}.json"
        write_text(file, analysis.model_dump_json())

    def choose(self, cases: Iterable[CaseState]) -> None:
        """Forget the second pass if it worked on another split or on other slices.

        A mask that could not be read the last time and now can shifts both.
        """
        chosen = json.dumps([[case.case_id, case.split, case.slices] for case in cases])
        if not holds_text(self.staging / "chosen", chosen):
            shutil.rmtree(self.staging / "done", ignore_errors=True)
            write_text(self.staging / "chosen", chosen)

    def done(self, case_id: str) -> CaseWritten | None:
        """Return what the second pass kept of a case, else None."""
        file = self.staging / "done" / f"{case_id}.json"
        return CaseWritten.model_validate_json(file.read_bytes()) if file.is_file() else None

    def keep_done(self, case_id: str, written: CaseWritten) -> None:
        """Note that the second pass finished a case."""
        write_text(self.staging / "done" / f"{case_id}.json", written.model_dump_json())

    def sweep(self, written: Iterable[CaseState]) -> None:
        """Remove from the dataset all but the pictures and labels of the cases written.

        Killed runs leave temporary files, and cases that failed half-way leave pictures.
        """
        keep = set()
        for case in written:
            for z in case.slices:
                name = case.image_name(z)
                keep.add(self.content / "images" / case.split / name)
                keep.add((self.content / "labels" / case.split / name).with_suffix(".txt"))
        for file in list(self.content.rglob("*")):
            if file not in keep and not file.is_dir():
                file.unlink()


def _stamps(source: CaseSource) -> list[Any]:
    """Return values that differ if the sources of a case changed between two runs."""
    parts = source.parts or (("", source.mask),)
    masks = [[name, _stamp(path)] for name, path in parts] if not source.rows else []
    rows = [repr(row) for row in source.rows]
    return [source.case_id, source.patient_id, _stamp(source.image), masks, rows]


def _stamp(path: Path | None) -> list[int]:
    """Return sizes and times of the files of a scan or mask."""
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
