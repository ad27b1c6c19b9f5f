"""Run `detect synthesize`: grow lesions in the organs of other scans."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from converters.conversion.gather import sound_cases
from converters.core.errors import InputError, ParameterError
from converters.core.files import write_json, write_text
from converters.core.open_pool import open_pool
from converters.core.output_folder import is_free, write_errors
from converters.core.pool import as_input_error, run_all
from converters.core.progress import progress
from converters.masks.case_source import CaseSource
from converters.recipes.recipe import Recipe
from detect.synthesis.folder import FILE_NAME, Synthesis, Workplace, is_unchanged, read_synthesis
from detect.synthesis.kinds import KINDS
from detect.synthesis.labelling import (
    choose_organ,
    output_recipe,
    recipe_text,
    with_organ,
    with_patients,
)
from detect.synthesis.scans import CaseRecord, OnlyNormal, Request, check_kinds, synthesize_case

RECIPE_FILE = "recipe.yaml"
_MOST = 100  # lesions a scan, and copies: more is a slip of the hand


@dataclass(frozen=True)
class SynthesizeResult:
    """Hold the scans that were made.

    Attributes:
        recipe: file that reads the scans.
        cases: of the source.
        errors: one for each case that could not be used.
        left_out: case → why.
        up_to_date: the same scans were there already and nothing was done.
    """

    recipe: Path
    cases: list[CaseRecord]
    errors: list[InputError]
    left_out: dict[str, str] = field(default_factory=dict)
    up_to_date: bool = False

    @property
    def lesions(self) -> Counter[str]:
        """Count the lesions that grew by their kind."""
        scans = (scan for case in self.cases for scan in case.scans)
        return Counter(lesion.kind for scan in scans for lesion in scan.lesions)

    @property
    def scans(self) -> int:
        """Count the scans that were made."""
        return sum(len(case.scans) for case in self.cases)


def synthesize(
    recipe: Recipe,
    root: Path,
    out: Path,
    *,
    organ: str | None = None,
    kinds: Sequence[str] = tuple(KINDS),
    lesions: tuple[int, int] = (1, 6),
    copies: int = 1,
    only_normal: str | None = None,
    classes: str | None = None,
    resample_mask: bool = False,
    seed: int = 0,
    workers: int = 1,
    overwrite: bool = False,
) -> SynthesizeResult:
    """Grow lesions in every case of a source; write scans, masks and the recipe that reads them.

    OUT appears whole or not at all, and a run that was stopped goes on. Scans of one patient stay
    of one patient, also beside the source itself (`shared_patients` in the recipe).

    Args:
        recipe: of the source; it must name the organ.
        root: folder of the source.
        out: folder to make.
        organ: that lesions grow in; None: the only one there is, or the liver.
        kinds: names in `KINDS`.
        lesions: fewest and most a scan.
        copies: scans made of each case, each with lesions of its own.
        only_normal: `cases`: leave out cases that have lesions; `slices`: make scans of the runs of
            slices without; None: keep real lesions, with their classes.
        classes: merging of the real and the synthetic classes, see `merge_classes`.
        resample_mask: put masks on another grid onto the scan's, by nearest neighbour.
        seed: of everything random.
        workers: processes; the bytes do not depend on it.
        overwrite: replace other synthetic scans at `out`.

    Raises:
        InputError: the request or the source is wrong as a whole. One bad case is left out and
            listed in the result instead.
    """
    request = _request(
        recipe, organ, kinds, lesions, copies, only_normal, classes, resample_mask, seed
    )
    cases, left_out = sound_cases(recipe, root)
    if not cases:
        raise InputError(root, "holds faulty cases only", "see `faulty` in the recipe")
    if not is_free(out):
        before = read_synthesis(out)
        if before and not overwrite and _same(before, request, cases):
            return SynthesizeResult(out / RECIPE_FILE, before.cases, [], left_out, up_to_date=True)
        if not overwrite:
            raise InputError(
                out, "exists and holds something else", "give another --out, or --overwrite"
            )
        if not before:
            raise InputError(out, "exists and holds no synthetic scans", "give another --out")
    work = Workplace(out)
    remedy = "make room or check the rights, then run the same command again: it resumes"
    with write_errors(out, remedy), work.lock():
        work.open(request)
        records, errors = _run(request, cases, work, workers)
        written = [records[case.case_id] for case in cases if case.case_id in records]
        if not any(record.scans for record in written):
            work.discard()  # there is nothing to resume
            if errors:
                raise next(iter(errors.values()))
            raise InputError(root, "holds no case without lesions", "leave out --only-normal cases")
        scans = {scan.name: record.case_id for record in written for scan in record.scans}
        patients = {record.case_id: record.patient_id for record in written}
        output = with_patients(request.output, recipe, scans, patients)
        failed = {name: error.problem for name, error in errors.items()}
        content = Synthesis(request=request, cases=written, failed=_named(failed, cases))
        write_text(work.content / RECIPE_FILE, recipe_text(output))
        write_json(work.content / FILE_NAME, content.model_dump(mode="json", by_alias=True))
        work.sweep(list(scans))
        work.publish()
    left_out |= {record.case_id: record.left_out for record in written if record.left_out}
    return SynthesizeResult(out / RECIPE_FILE, written, list(errors.values()), left_out)


def _request(
    recipe: Recipe,
    organ: str | None,
    kinds: Sequence[str],
    lesions: tuple[int, int],
    copies: int,
    only_normal: str | None,
    classes: str | None,
    resample_mask: bool,
    seed: int,
) -> Request:
    if recipe.representation.modality != "CT":
        raise InputError(
            recipe.name, f"is {recipe.representation.modality}", "use CT: lesions grow in HU"
        )
    if only_normal not in (None, "cases", "slices"):
        raise ParameterError("only_normal", f"`{only_normal}` is unknown", "use cases or slices")
    low, high = lesions
    if not (0 <= low <= high <= _MOST and high > 0):
        raise ParameterError("lesions", f"{low},{high} is no range", "write for example 1,6")
    if not 1 <= copies <= _MOST:
        raise ParameterError("copies", f"{copies} is not 1 to {_MOST}", "use for example 1")
    if not recipe.classes and not recipe.normal:
        raise InputError(
            recipe.name,
            "marks no lesions, and its scans are not known to be free of them",
            "leave it out, or say in a copy of the recipe what they are free of (`normal`)",
        )
    chosen = choose_organ(recipe, organ)
    wanted = check_kinds(kinds)
    normal: OnlyNormal | None = only_normal  # type: ignore[assignment]
    return Request(
        recipe=with_organ(recipe, chosen),
        output=output_recipe(recipe, chosen, wanted, not only_normal, classes),
        kinds=wanted,
        lesions=lesions,
        copies=copies,
        only_normal=normal,
        resample_mask=resample_mask,
        seed=seed,
    )


def _same(before: Synthesis, request: Request, cases: Sequence[CaseSource]) -> bool:
    """Check whether a folder holds just what would be made; no case of it may have failed."""
    known = {record.case_id: record for record in before.cases}
    return (
        before.request == request
        and not before.failed
        and set(known) == {case.case_id for case in cases}
        and all(is_unchanged(known[case.case_id], case) for case in cases)
    )


def _run(
    request: Request, cases: Sequence[CaseSource], work: Workplace, workers: int
) -> tuple[dict[str, CaseRecord], dict[str, InputError]]:
    """Return the records by case and the errors by case, in the order of the cases."""
    results: dict[str, Any] = {case.case_id: work.done(case) for case in cases}
    todo = [case for case in cases if results[case.case_id] is None]
    pool = open_pool(min(workers, len(todo)), None, {}, [])
    try:
        with progress("scans", len(todo)) as advance:
            step = partial(synthesize_case, request, work.content)
            for case, result in run_all(step, todo, pool):
                advance(case.case_id)
                if isinstance(result, CaseRecord):
                    work.keep(result)
                    results[case.case_id] = result
                else:
                    results[case.case_id] = as_input_error(case.image, result)
    finally:
        if pool is not None:
            pool.close()
    return (
        {name: item for name, item in results.items() if isinstance(item, CaseRecord)},
        {name: item for name, item in results.items() if isinstance(item, InputError)},
    )


def _named(failed: dict[str, str], cases: Sequence[CaseSource]) -> dict[str, str]:
    """Return the problems by case without the paths of this machine."""
    result = {}
    for case in cases:
        if case.case_id in failed:
            text = failed[case.case_id].replace(str(case.image), "the scan")
            result[case.case_id] = text.replace(str(case.mask), "the mask")
    return result
