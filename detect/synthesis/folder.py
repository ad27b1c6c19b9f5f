"""Write the folder of synthetic scans by way of `OUT.partial`."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from converters.conversion.case import hash_mask, hash_scan
from converters.core.errors import InputError
from converters.core.files import write_text
from converters.core.output_folder import ResumableFolder
from converters.dataset.manifest import tool_versions
from converters.masks.case_source import CaseSource
from detect.synthesis.scans import CaseRecord, Request

FILE_NAME = "synthesis.json"


class Synthesis(BaseModel):
    """Record the origin of a folder of synthetic scans, as its `synthesis.json`.

    Attributes:
        request: what was asked for.
        cases: of the source, with what was made of each.
        failed: case → what was wrong with it.
    """

    model_config = ConfigDict(extra="forbid")

    request: Request
    cases: list[CaseRecord]
    failed: dict[str, str]


class Workplace(ResumableFolder):
    """The `OUT.partial` of a synthesis: `done/` holds a record of each finished case."""

    def __init__(self, out: Path) -> None:
        """Name the folders; nothing is touched yet."""
        super().__init__(out.absolute(), "scans")

    def open(self, request: Request) -> None:
        """Keep what the same request left there; clear anything else away."""
        self.resume(f"{request.model_dump_json(by_alias=True)}\n{tool_versions()}\n")
        for name in ("images", "masks"):
            (self.content / name).mkdir(exist_ok=True)

    def done(self, case: CaseSource) -> CaseRecord | None:
        """Return the record of a case from an earlier run, if its files are still the same."""
        file = self.staging / "done" / f"{case.case_id}.json"
        if not file.is_file():
            return None
        record = CaseRecord.model_validate_json(file.read_bytes())
        return record if is_unchanged(record, case) else None

    def keep(self, record: CaseRecord) -> None:
        """Note that a case is done."""
        write_text(self.staging / "done" / f"{record.case_id}.json", record.model_dump_json())

    def sweep(self, names: Sequence[str]) -> None:
        """Remove scans of other names: of killed runs, and of cases that failed half-way."""
        wanted = {f"{name}.nii.gz" for name in names}
        for kind in ("images", "masks"):
            for file in list((self.content / kind).iterdir()):
                if file.name not in wanted:
                    file.unlink()


def is_unchanged(record: CaseRecord, case: CaseSource) -> bool:
    """Check whether a record was made of the files of a case."""
    try:
        return (record.image_sha256, record.mask_sha256) == (hash_scan(case), hash_mask(case))
    except InputError:  # reading it will say what is wrong
        return False


def read_synthesis(out: Path) -> Synthesis | None:
    """Read the `synthesis.json` of a folder; return None where there is none."""
    try:
        return Synthesis.model_validate_json((out / FILE_NAME).read_bytes())
    except (OSError, ValidationError):
        return None
