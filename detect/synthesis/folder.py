"""The folder of synthetic scans, and `OUT.partial`, where it comes to be."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from converters.conversion.case import hash_mask, hash_scan
from converters.core.errors import InputError
from converters.core.files import write_text
from converters.dataset.manifest import tool_versions
from converters.masks.case_source import CaseSource
from detect.synthesis.scans import CaseRecord, Request

FILE_NAME = "synthesis.json"


class Synthesis(BaseModel):
    """How a folder of synthetic scans came about; kept in it as `synthesis.json`.

    Attributes:
        request: what was asked for.
        cases: of the source, with what was made of each.
        failed: case → what was wrong with it.
    """

    model_config = ConfigDict(extra="forbid")

    request: Request
    cases: list[CaseRecord]
    failed: dict[str, str]


class Workplace:
    """`OUT.partial`: the request, a record of each finished case, and `scans/`, the later OUT."""

    def __init__(self, out: Path) -> None:
        """Name the folder; nothing is touched yet."""
        self.out = out.absolute()
        self.folder = self.out.with_name(f"{self.out.name}.partial")
        self.scans = self.folder / "scans"

    def open(self, request: Request) -> None:
        """Keep what the same request left there; clear anything else away."""
        plan = self.folder / "plan"
        text = f"{request.model_dump_json()}\n{tool_versions()}\n"
        if not (
            plan.is_file() and plan.read_text(encoding="utf-8") == text and self.scans.is_dir()
        ):
            self.discard()
            write_text(plan, text)
        for name in ("images", "masks"):
            (self.scans / name).mkdir(parents=True, exist_ok=True)

    def done(self, case: CaseSource) -> CaseRecord | None:
        """What an earlier run made of a case, if its files are still the same."""
        file = self.folder / "done" / f"{case.case_id}.json"
        if not file.is_file():
            return None
        record = CaseRecord.model_validate_json(file.read_bytes())
        return record if is_of(record, case) else None

    def keep(self, record: CaseRecord) -> None:
        """Note that a case is done."""
        write_text(self.folder / "done" / f"{record.case_id}.json", record.model_dump_json())

    def publish(self, names: Sequence[str]) -> None:
        """Put the scans of these names at OUT, in place of what was there; leave nothing else."""
        wanted = {f"{name}.nii.gz" for name in names}
        for kind in ("images", "masks"):
            for file in list((self.scans / kind).iterdir()):
                if file.name not in wanted:  # of killed runs, and of cases that failed half-way
                    file.unlink()
        if self.out.exists():
            replaced = self.folder / "replaced"
            if replaced.exists():
                shutil.rmtree(replaced)
            self.out.rename(replaced)
        self.scans.rename(self.out)
        self.discard()

    def discard(self) -> None:
        """Remove the working folder."""
        if self.folder.exists():
            shutil.rmtree(self.folder)


def is_of(record: CaseRecord, case: CaseSource) -> bool:
    """Whether a record was made of these files."""
    try:
        return (record.image_sha256, record.mask_sha256) == (hash_scan(case), hash_mask(case))
    except InputError:  # reading it will say what is wrong
        return False


def read_synthesis(out: Path) -> Synthesis | None:
    """Read what a folder holds; None where it holds no synthetic scans."""
    try:
        return Synthesis.model_validate_json((out / FILE_NAME).read_bytes())
    except (OSError, ValidationError):
        return None
