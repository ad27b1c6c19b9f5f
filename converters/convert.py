"""Convert scans with masks into a dataset folder: two passes, resumable, whole or not at all.

Pass one reads the masks; then the split and the slices are chosen; pass two reads the scans. Until
the end everything lies in `OUT.partial`, so that a run that was killed goes on where it stopped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from statistics import fmean

from converters.case import CaseAnalysis, CaseWritten, analyse_case, hash_files, write_case
from converters.describe import describe
from converters.errors import InputError
from converters.manifest import FILE_NAME, FailedCase, Manifest, Request, read_manifest
from converters.negatives import DEFAULT, Policy, choose_negatives, parse_policies
from converters.progress import progress
from converters.recipe import Recipe
from converters.sources import CaseSource, find_cases
from converters.split import SPLITS, read_split_file, split_patients
from converters.workers import run_all
from converters.workspace import Workspace


@dataclass(frozen=True)
class ConvertResult:
    """What a conversion did.

    Attributes:
        manifest: of the dataset.
        errors: one for each case that was left out.
        up_to_date: the same dataset was there already and nothing was done.
    """

    manifest: Manifest
    errors: list[InputError]
    up_to_date: bool = False


def convert(
    recipe: Recipe,
    root: Path,
    out: Path,
    *,
    split: Sequence[float] = (0.7, 0.15, 0.15),
    split_file: Path | None = None,
    negatives: str = DEFAULT,
    min_size_mm: float = 0.0,
    seed: int = 0,
    workers: int = 1,
    overwrite: bool = False,
    quiet: bool = False,
) -> ConvertResult:
    """Write a dataset folder (README, "On disk").

    Args:
        recipe: how the source lies on disk and what its labels mean.
        root: folder of the source.
        out: folder to make.
        split: weights of train, val and test patients.
        split_file: named lists instead of weights.
        negatives: policy for slices without a lesion, see `parse_policies`.
        min_size_mm: drop boxes with a smaller longest axial diameter; 0 keeps all.
        seed: of the split and of the draw of negatives.
        workers: processes; the bytes do not depend on it.
        overwrite: replace another dataset at `out`.
        quiet: no progress bar.

    Raises:
        InputError: the request or the source is wrong as a whole. One bad case is left out and
            listed in the result instead.
    """
    cases = find_cases(recipe, root)
    policies = parse_policies(negatives)
    if len(split) != len(SPLITS) or not all(0 <= s < inf for s in split) or sum(split) <= 0:
        raise InputError("--split", "needs three weights of 0 or more", "use for example 70,15,15")
    if not 0 <= min_size_mm < inf:
        raise InputError("--min-size-mm", "is not a size of 0 or more", "use 0 to keep every box")
    named = split_file and read_split_file(split_file, {c.case_id: c.patient_id for c in cases})
    request = Request(
        recipe=recipe,
        negatives=policies,
        split=_named_lists(named) if named else dict(zip(SPLITS, split, strict=True)),
        min_size_mm=min_size_mm,
        seed=seed,
    )
    work = Workspace(out)
    try:
        if out.is_file() or (out.exists() and any(out.iterdir())):
            if not overwrite:
                return _already_there(out, request, cases, workers)
            if not (out / FILE_NAME).is_file():
                raise InputError(out, "exists and is no dataset", "give another folder with --out")
        work.open(request, cases)
        errors: dict[str, InputError] = {}
        analyses = _analyse(cases, recipe, min_size_mm, work, workers, quiet, errors)
        if not any(a.components for a in analyses.values()):
            work.discard()  # there is nothing to resume
            _raise_if_all_failed(errors, cases)
            raise InputError(
                root,
                f"no mask holds a lesion (labels {sorted(recipe.class_of_label)})",
                "check the class labels of the recipe",
            )
        split_of = named or split_patients(_strata(analyses), split, seed)
        slices = _choose_slices(analyses, policies, split_of, seed)
        work.choose(split_of, slices)
        done = _write_slices(
            cases, analyses, slices, split_of, recipe, work, workers, quiet, errors
        )
        _raise_if_all_failed(errors, cases)
        written = [analyses[c.case_id] for c in cases if c.case_id in done]
        failed = [_failed(c, errors[c.case_id]) for c in cases if c.case_id in errors]
        work.sweep((split_of[a.patient_id], a.case_id, slices[a.case_id]) for a in written)
        manifest = describe(work.dataset, request, written, slices, split_of, done, failed)
        work.publish()
    except OSError as error:
        raise InputError(
            error.filename or out,
            f"cannot be written ({error.strerror or error})",
            "make room or check the rights, then run the same command again: it resumes",
        ) from error
    return ConvertResult(manifest, [errors[f.id] for f in failed])


def _named_lists(named: dict[str, str]) -> dict[str, list[str]]:
    return {s: sorted(p for p, own in named.items() if own == s) for s in SPLITS}


def _already_there(
    out: Path, request: Request, cases: Sequence[CaseSource], workers: int
) -> ConvertResult:
    """Accept a finished dataset of the same request and sources; refuse anything else."""
    different = InputError(
        out, "exists and holds something else", "give another folder with --out, or --overwrite"
    )
    if not (out / FILE_NAME).is_file():
        raise different
    manifest = read_manifest(out)
    known = {c.id: (c.image_sha256, c.mask_sha256) for c in manifest.cases}
    failed = {f.id for f in manifest.failed}
    if manifest.request != request or set(known) | failed != {c.case_id for c in cases}:
        raise different
    for case, hashes in run_all(_hash_case, [c for c in cases if c.case_id in known], workers):
        if hashes != known[case.case_id]:
            raise different
    if failed:
        raise InputError(
            out,
            f"exists, without the cases that could not be read: {', '.join(sorted(failed))}",
            "mend or remove them and use --overwrite",
        )
    return ConvertResult(manifest, [], up_to_date=True)


def _hash_case(case: CaseSource) -> tuple[str, str]:
    return hash_files(case.image), hash_files(case.mask) if case.mask else ""


def _analyse(
    cases: Sequence[CaseSource],
    recipe: Recipe,
    min_size_mm: float,
    work: Workspace,
    workers: int,
    quiet: bool,
    errors: dict[str, InputError],
) -> dict[str, CaseAnalysis]:
    """Pass one; returns case → analysis in the order of the cases."""
    found = {case.case_id: work.analysed(case.case_id) for case in cases}
    todo = [case for case in cases if found[case.case_id] is None]
    with progress("masks", len(todo), quiet) as advance:
        for case, result in run_all(partial(analyse_case, recipe, min_size_mm), todo, workers):
            advance(case.case_id)
            if isinstance(result, CaseAnalysis):
                work.keep_analysis(result)
                found[case.case_id] = result
            else:
                errors[case.case_id] = _users_fault(result)
    return {case_id: analysis for case_id, analysis in found.items() if analysis is not None}


def _users_fault(error: Exception) -> InputError:
    """Let one bad case pass into the list; anything else than the user's input ends the run."""
    if isinstance(error, InputError):
        return error
    raise error


def _raise_if_all_failed(errors: dict[str, InputError], cases: Sequence[CaseSource]) -> None:
    if len(errors) >= len(cases):
        raise errors[cases[0].case_id]


def _failed(case: CaseSource, error: InputError) -> FailedCase:
    problem = error.problem.replace(str(case.image), "the scan").replace(str(case.mask), "the mask")
    return FailedCase(id=case.case_id, problem=problem)


def _strata(analyses: dict[str, CaseAnalysis]) -> dict[str, frozenset[int]]:
    strata: dict[str, frozenset[int]] = {}
    for a in analyses.values():
        own = frozenset(c.label for c in a.components)
        strata[a.patient_id] = strata.get(a.patient_id, frozenset()) | own
    return strata


def _choose_slices(
    analyses: dict[str, CaseAnalysis],
    policies: dict[str, Policy],
    split_of: dict[str, str],
    seed: int,
) -> dict[str, list[int]]:
    """Case → slices to write: those with a lesion, and the negatives that the policy asks for."""
    with_boxes = {case_id: set(a.components_by_slice()) for case_id, a in analyses.items()}
    typical = fmean(len(own) for own in with_boxes.values() if own)
    slices = {}
    for case_id, a in analyses.items():
        own = with_boxes[case_id]
        negatives = choose_negatives(
            policies[split_of[a.patient_id]],
            case_id,
            a.negative_slices,
            a.organ_slices,
            len(own) or typical,
            seed,
        )
        slices[case_id] = sorted(own.union(negatives))
    return slices


@dataclass(frozen=True)
class _Writing:
    """One case's share of pass two, as it is sent to a worker."""

    case: CaseSource
    analysis: CaseAnalysis
    slices: list[int]
    images: Path
    labels: Path


def _write(recipe: Recipe, todo: _Writing) -> CaseWritten:
    return write_case(
        todo.case, todo.analysis, todo.slices, recipe.representation, todo.images, todo.labels
    )


def _write_slices(
    cases: Sequence[CaseSource],
    analyses: dict[str, CaseAnalysis],
    slices: dict[str, list[int]],
    split_of: dict[str, str],
    recipe: Recipe,
    work: Workspace,
    workers: int,
    quiet: bool,
    errors: dict[str, InputError],
) -> dict[str, CaseWritten]:
    """Write every case's PNGs and labels; returns case → what that settled."""
    found = {case_id: work.done(case_id) for case_id in analyses}
    todo = [
        _Writing(
            case,
            analyses[case.case_id],
            slices[case.case_id],
            work.dataset / "images" / split_of[case.patient_id],
            work.dataset / "labels" / split_of[case.patient_id],
        )
        for case in cases
        if case.case_id in analyses and found[case.case_id] is None
    ]
    with progress("scans", len(todo), quiet) as advance:
        for item, result in run_all(partial(_write, recipe), todo, workers):
            advance(item.case.case_id)
            if isinstance(result, CaseWritten):
                work.keep_done(item.case.case_id, result)
                found[item.case.case_id] = result
            else:
                errors[item.case.case_id] = _users_fault(result)
    return {case_id: written for case_id, written in found.items() if written is not None}
