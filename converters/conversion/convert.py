"""Convert scans with masks into a dataset folder: two passes, resumable, whole or not at all.

Pass one reads the masks; then the split and the slices are chosen; pass two reads the scans. Until
the end everything lies in `OUT.partial`, so that a run that was killed goes on where it stopped.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path
from statistics import fmean
from typing import Literal

from converters.conversion.case import (
    CaseAnalysis,
    CaseWritten,
    analyse_case,
    hash_mask,
    hash_scan,
    write_case,
)
from converters.conversion.duplicate_scans import check_twins, find_twins
from converters.conversion.gather import Cases, gather
from converters.conversion.sources import published_split
from converters.conversion.synthetic import complete, not_for_train, synthetic_cases, without
from converters.conversion.workspace import Workspace
from converters.conversion.write_dataset import describe
from converters.core.errors import InputError
from converters.core.open_pool import open_pool
from converters.core.pool import Pool, run_all, users_fault
from converters.core.progress import progress
from converters.dataset.manifest import (
    FILE_NAME,
    FailedCase,
    Manifest,
    Request,
    read_manifest,
    tool_versions,
)
from converters.dataset.negatives import DEFAULT, Policy, choose_negatives, parse_policies
from converters.dataset.stratify import SPLITS, read_split_file, split_patients
from converters.masks.case_source import CaseSource
from converters.recipes.recipe import Recipe


@dataclass(frozen=True)
class ConvertResult:
    """What a conversion did.

    Attributes:
        manifest: of the dataset.
        errors: one for each case that could not be read.
        left_out: case → why the recipe leaves it out.
        warnings: one for each scan that is there under two names.
        up_to_date: the same dataset was there already and nothing was done.
    """

    manifest: Manifest
    errors: list[InputError]
    left_out: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    up_to_date: bool = False


def convert(
    recipe: Recipe,
    root: Path,
    out: Path,
    *,
    more: Sequence[tuple[Recipe, Path]] = (),
    split: Sequence[float] | Literal["published"] = (0.7, 0.15, 0.15),
    split_file: Path | None = None,
    negatives: str = DEFAULT,
    min_size_mm: float = 0.0,
    resample_mask: bool = False,
    seed: int = 0,
    workers: int = 1,
    scheduler: str | None = None,
    overwrite: bool = False,
) -> ConvertResult:
    """Write a dataset folder (README, "On disk").

    Args:
        recipe: how the source lies on disk and what its labels mean.
        root: folder of the source.
        out: folder to make.
        more: further recipes with their roots, for one dataset of all; see `gather`.
        split: weights of train, val and test patients, or the split published with the data.
        split_file: named lists instead of weights.
        negatives: policy for slices without a lesion, see `parse_policies`.
        min_size_mm: drop boxes with a smaller longest axial diameter; 0 keeps all.
        resample_mask: put masks on another grid onto the scan's, by nearest neighbour.
        seed: of the split and of the draw of negatives.
        workers: processes; the bytes do not depend on it.
        scheduler: address of a dask scheduler whose workers take the place of `workers`; they see
            the sources and `out` under the same paths.
        overwrite: replace another dataset at `out`.

    Raises:
        InputError: the request or the source is wrong as a whole. One bad case is left out and
            listed in the result instead.
    """
    sources = [(recipe, root), *more]
    if scheduler is not None:  # no worker has this process's working folder
        sources = [(one, path.absolute()) for one, path in sources]
    gathered = gather(sources)
    recipe, cases = gathered.recipes[0], gathered.cases
    synthetic = synthetic_cases(gathered)
    policies = parse_policies(negatives)
    named = None
    weights = () if isinstance(split, str) else tuple(split)
    if split_file:
        named = read_split_file(split_file, {c.case_id: c.patient_id for c in cases})
    elif split == "published":
        named = published_split(cases)
    elif len(weights) != len(SPLITS) or not all(0 <= s < inf for s in weights) or sum(weights) <= 0:
        raise InputError("--split", "needs three weights of 0 or more", "use for example 70,15,15")
    if not 0 <= min_size_mm < inf:
        raise InputError("--min-size-mm", "is not a size of 0 or more", "use 0 to keep every box")
    request = Request(
        recipe=recipe,
        more=gathered.recipes[1:],
        negatives=policies,
        split=_named_lists(named) if named else dict(zip(SPLITS, weights, strict=True)),
        min_size_mm=min_size_mm,
        seed=seed,
        resample_mask=resample_mask,
    )
    work = Workspace(out)
    sees = [*(path for _, path in sources), work.plan]
    pool = open_pool(min(workers, len(cases)), scheduler, tool_versions(), sees)
    try:
        if out.is_file() or (out.exists() and any(out.iterdir())):
            if not overwrite:
                return _already_there(out, request, gathered, pool)
            if not (out / FILE_NAME).is_file():
                raise InputError(out, "exists and is no dataset", "give another folder with --out")
        work.open(request, cases)
        errors: dict[str, InputError] = {}
        analyses = _analyse(gathered, request, work, pool, errors)
        if not any(a.components for a in analyses.values()):
            work.discard()  # there is nothing to resume
            _raise_if_all_failed(errors, cases)
            raise InputError(
                root,
                f"no mask holds a lesion ({recipe.mask_kind}: {_sought(recipe)})",
                "check the classes of the recipe",
            )
        split_of = named or _deal(without(analyses, synthetic), weights, seed)
        split_of = complete(split_of, analyses)
        patient_of = {case_id: a.patient_id for case_id, a in analyses.items()}
        unused = not_for_train(patient_of, synthetic, split_of)
        cases = [case for case in cases if case.case_id not in unused]
        analyses = without(analyses, unused.keys())
        slices = _choose_slices(analyses, policies, split_of, seed)
        warnings = check_twins(find_twins(cases), split_of, analyses)
        work.choose(split_of, slices)
        done = _write_slices(cases, analyses, slices, split_of, recipe, work, pool, errors)
        _raise_if_all_failed(errors, cases)
        written = [analyses[c.case_id] for c in cases if c.case_id in done]
        failed = [_failed(c, errors[c.case_id]) for c in cases if c.case_id in errors]
        work.sweep((split_of[a.patient_id], a.case_id, slices[a.case_id]) for a in written)
        manifest = describe(
            work.dataset, request, written, slices, split_of, done, failed, synthetic
        )
        work.publish()
    except OSError as error:
        raise InputError(
            error.filename or out,
            f"cannot be written ({error.strerror or error})",
            "make room or check the rights, then run the same command again: it resumes",
        ) from error
    finally:
        if pool is not None:
            pool.close()
    left_out = gathered.left_out | unused
    return ConvertResult(manifest, [errors[f.id] for f in failed], left_out, warnings)


def _named_lists(named: dict[str, str]) -> dict[str, list[str]]:
    return {s: sorted(p for p, own in named.items() if own == s) for s in SPLITS}


def _already_there(
    out: Path, request: Request, gathered: Cases, pool: Pool | None
) -> ConvertResult:
    """Accept a finished dataset of the same request and sources; refuse anything else."""
    different = InputError(
        out, "exists and holds something else", "give another folder with --out, or --overwrite"
    )
    if not (out / FILE_NAME).is_file():
        raise different
    manifest, cases = read_manifest(out), gathered.cases
    known = {c.id: (c.image_sha256, c.mask_sha256) for c in manifest.cases}
    failed = {f.id for f in manifest.failed}
    split_of = {c.patient: c.split for c in manifest.cases}
    patient_of = {case.case_id: case.patient_id for case in cases if case.patient_id in split_of}
    unused = not_for_train(patient_of, synthetic_cases(gathered), split_of)
    expected = {case.case_id for case in cases} - unused.keys()
    if manifest.request != request or set(known) | failed != expected:
        raise different
    for case, hashes in run_all(_hash_case, [c for c in cases if c.case_id in known], pool):
        if hashes != known[case.case_id]:
            raise different
    if failed:
        raise InputError(
            out,
            f"exists, without the cases that could not be read: {', '.join(sorted(failed))}",
            "mend or remove them and use --overwrite",
        )
    warnings = check_twins(find_twins(cases), split_of, known)
    left_out = gathered.left_out | unused
    return ConvertResult(manifest, [], left_out, warnings, up_to_date=True)


def _hash_case(case: CaseSource) -> tuple[str, str]:
    return hash_scan(case), hash_mask(case)


def _analyse_one(request: Request, todo: tuple[Recipe, CaseSource]) -> CaseAnalysis:
    recipe, case = todo
    return analyse_case(recipe, request.min_size_mm, request.resample_mask, case)


def _analyse(
    gathered: Cases,
    request: Request,
    work: Workspace,
    pool: Pool | None,
    errors: dict[str, InputError],
) -> dict[str, CaseAnalysis]:
    """Pass one; returns case → analysis in the order of the cases."""
    found = {case.case_id: work.analysed(case.case_id) for case in gathered.cases}
    todo = [
        (gathered.recipes[gathered.recipe_of[case.case_id]], case)
        for case in gathered.cases
        if found[case.case_id] is None
    ]
    with progress("masks", len(todo)) as advance:
        for (_, case), result in run_all(partial(_analyse_one, request), todo, pool):
            advance(case.case_id)
            if isinstance(result, CaseAnalysis):
                work.keep_analysis(result)
                found[case.case_id] = result
            else:
                errors[case.case_id] = users_fault(case.image, result)
    return {case_id: analysis for case_id, analysis in found.items() if analysis is not None}


def _raise_if_all_failed(errors: dict[str, InputError], cases: Sequence[CaseSource]) -> None:
    if len(errors) >= len(cases):
        raise errors[cases[0].case_id]


def _sought(recipe: Recipe) -> str:
    return ", ".join(str(value) for values in recipe.classes.values() for value in values)


def _failed(case: CaseSource, error: InputError) -> FailedCase:
    problem = error.problem.replace(str(case.image), "the scan").replace(str(case.mask), "the mask")
    for _, path in case.parts:
        problem = problem.replace(str(path), "a mask")
    return FailedCase(id=case.case_id, problem=problem)


def _deal(analyses: dict[str, CaseAnalysis], weights: Sequence[float], seed: int) -> dict[str, str]:
    """Deal the patients to the splits by the lesions that these cases show."""
    strata: dict[str, frozenset[int]] = {}
    boxes: Counter[str] = Counter()
    for a in analyses.values():
        own = frozenset(c.label for c in a.components)
        strata[a.patient_id] = strata.get(a.patient_id, frozenset()) | own
        boxes[a.patient_id] += len(a.components)
    return split_patients(strata, weights, seed, boxes)


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
    pool: Pool | None,
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
    with progress("scans", len(todo)) as advance:
        for item, result in run_all(partial(_write, recipe), todo, pool):
            advance(item.case.case_id)
            if isinstance(result, CaseWritten):
                work.keep_done(item.case.case_id, result)
                found[item.case.case_id] = result
            else:
                errors[item.case.case_id] = users_fault(item.case.image, result)
    return {case_id: written for case_id, written in found.items() if written is not None}
