"""Convert scans with masks into a dataset folder: two passes, resumable, whole or not at all.

Pass one reads the masks; then the split and the slices are chosen; pass two reads the scans. Until
the end everything lies in `OUT.partial`, so that a run that was killed goes on where it stopped.
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np

from converters.atomic import write_json, write_text
from converters.case import CaseAnalysis, analyse_case, hash_files, write_case
from converters.coco import annotations
from converters.errors import InputError
from converters.manifest import (
    FILE_NAME,
    CaseEntry,
    FailedCase,
    Manifest,
    Request,
    read_manifest,
    tool_versions,
)
from converters.negatives import DEFAULT, choose_negatives, parse_policies
from converters.progress import progress
from converters.recipe import Recipe
from converters.sources import CaseSource, find_cases
from converters.split import SPLITS, read_split_file, split_patients
from converters.workers import run_all
from converters.yolo import write_data_yaml


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
    if len(split) != len(SPLITS) or min(split) < 0 or sum(split) <= 0:
        raise InputError("--split", "needs three weights of 0 or more", "use for example 70,15,15")
    if min_size_mm < 0:
        raise InputError("--min-size-mm", "is negative", "use 0 to keep every box")
    named = split_file and read_split_file(split_file, {c.case_id: c.patient_id for c in cases})
    request = Request(
        recipe=recipe,
        negatives=policies,
        split=_named_lists(named) if named else dict(zip(SPLITS, split, strict=True)),
        min_size_mm=min_size_mm,
        seed=seed,
    )
    if out.exists() and not overwrite:
        return _already_there(out, request, cases, workers)
    if out.exists() and not (out / FILE_NAME).is_file() and any(out.iterdir()):
        raise InputError(out, "exists and is no dataset", "give another folder with --out")

    work = out.with_name(out.name + ".partial")
    try:
        _prepare(work, request, cases)
        errors: dict[str, InputError] = {}
        analyses = _analyse(cases, recipe, min_size_mm, work, workers, quiet, errors)
        if not any(a.components for a in analyses.values()):
            _raise_if_all_failed(errors, cases)
            raise InputError(
                root,
                f"no mask holds a lesion (labels {sorted(recipe.class_of_label)})",
                "check the class labels of the recipe",
            )
        split_of = named or split_patients(_strata(analyses), split, seed)
        slices = {
            case_id: _choose_slices(a, analyses, policies[split_of[a.patient_id]], seed)
            for case_id, a in analyses.items()
        }
        hashes = _write_slices(
            cases, analyses, slices, split_of, recipe, work, workers, quiet, errors
        )
        _raise_if_all_failed(errors, cases)
        written = [analyses[c.case_id] for c in cases if c.case_id in hashes]
        manifest = _finish(work / "dataset", request, written, slices, split_of, hashes, errors)
        if out.exists():
            shutil.rmtree(out)
        (work / "dataset").rename(out)
        shutil.rmtree(work)
    except OSError as error:
        raise InputError(
            error.filename or out,
            f"cannot be written ({error.strerror})",
            "make room or check the rights, then run the same command again: it resumes",
        ) from error
    return ConvertResult(manifest, list(errors.values()))


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
    if manifest.request != request or manifest.failed or set(known) != {c.case_id for c in cases}:
        raise different
    for case, hashes in run_all(_hash_case, cases, workers):
        if hashes != known[case.case_id]:
            raise different
    return ConvertResult(manifest, [], up_to_date=True)


def _hash_case(case: CaseSource) -> tuple[str, str]:
    return hash_files(case.image), hash_files(case.mask) if case.mask else ""


def _prepare(work: Path, request: Request, cases: Sequence[CaseSource]) -> None:
    """Open the working folder; one left by the same request on the same files is kept."""
    stamps = [[c.case_id, *(_stamp(p) for p in (c.image, c.mask) if p is not None)] for c in cases]
    plan = json.dumps([request.model_dump(mode="json"), tool_versions(), stamps], sort_keys=True)
    fingerprint = hashlib.sha256(plan.encode()).hexdigest()
    plan_file = work / "plan"
    if not (plan_file.is_file() and plan_file.read_text() == fingerprint):
        if work.exists():
            shutil.rmtree(work)
        write_text(plan_file, fingerprint)
    for folder in ("analysis", "done"):
        (work / folder).mkdir(exist_ok=True)
    for kind in ("images", "labels"):
        for split in SPLITS:
            (work / "dataset" / kind / split).mkdir(parents=True, exist_ok=True)


def _stamp(path: Path) -> list[int]:
    """Sizes and times of a scan's files, to notice that a source changed between two runs."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    stats = [file.stat() for file in files]
    return [n for s in stats for n in (s.st_size, s.st_mtime_ns)]


def _analyse(
    cases: Sequence[CaseSource],
    recipe: Recipe,
    min_size_mm: float,
    work: Path,
    workers: int,
    quiet: bool,
    errors: dict[str, InputError],
) -> dict[str, CaseAnalysis]:
    def file(case: CaseSource) -> Path:
        return work / "analysis" / f"{case.case_id}.json"

    todo = [case for case in cases if not file(case).is_file()]
    with progress("masks", len(todo), quiet) as advance:
        for case, result in run_all(partial(analyse_case, recipe, min_size_mm), todo, workers):
            advance(case.case_id)
            if isinstance(result, CaseAnalysis):
                write_text(file(case), result.model_dump_json())
            else:
                errors[case.case_id] = _users_fault(result)
    return {
        case.case_id: CaseAnalysis.model_validate_json(file(case).read_bytes())
        for case in cases
        if file(case).is_file()
    }


def _users_fault(error: Exception) -> InputError:
    """Let one bad case pass into the list; anything else than the user's input ends the run."""
    if isinstance(error, InputError):
        return error
    raise error


def _raise_if_all_failed(errors: dict[str, InputError], cases: Sequence[CaseSource]) -> None:
    if len(errors) >= len(cases):
        raise next(iter(errors.values()))


def _strata(analyses: dict[str, CaseAnalysis]) -> dict[str, frozenset[int]]:
    strata: dict[str, frozenset[int]] = {}
    for a in analyses.values():
        own = frozenset(c.label for c in a.components)
        strata[a.patient_id] = strata.get(a.patient_id, frozenset()) | own
    return strata


def _choose_slices(
    own: CaseAnalysis, analyses: dict[str, CaseAnalysis], policy: str | float, seed: int
) -> list[int]:
    lesion_slices = set(own.components_by_slice())
    typical = fmean(len(a.components_by_slice()) for a in analyses.values() if a.components)
    negatives = choose_negatives(
        policy,
        own.case_id,
        own.negative_slices,
        own.organ_slices,
        len(lesion_slices) if own.components else typical,
        seed,
    )
    return sorted(lesion_slices | set(negatives))


@dataclass(frozen=True)
class _Writing:
    """One case's share of pass two, as it is sent to a worker."""

    case: CaseSource
    analysis: CaseAnalysis
    slices: list[int]
    images: Path
    labels: Path


def _write(recipe: Recipe, todo: _Writing) -> str:
    return write_case(
        todo.case, todo.analysis, todo.slices, recipe.window, todo.images, todo.labels
    )


def _write_slices(
    cases: Sequence[CaseSource],
    analyses: dict[str, CaseAnalysis],
    slices: dict[str, list[int]],
    split_of: dict[str, str],
    recipe: Recipe,
    work: Path,
    workers: int,
    quiet: bool,
    errors: dict[str, InputError],
) -> dict[str, str]:
    """Write every case's PNGs and labels; returns case → hash of the scan."""
    done = {c.case_id: work / "done" / c.case_id for c in cases}
    todo = [
        _Writing(
            case,
            analyses[case.case_id],
            slices[case.case_id],
            work / "dataset" / "images" / split_of[case.patient_id],
            work / "dataset" / "labels" / split_of[case.patient_id],
        )
        for case in cases
        if case.case_id in analyses and not done[case.case_id].is_file()
    ]
    with progress("scans", len(todo), quiet) as advance:
        for item, result in run_all(partial(_write, recipe), todo, workers):
            advance(item.case.case_id)
            if isinstance(result, str):
                write_text(done[item.case.case_id], result)
            else:
                errors[item.case.case_id] = _users_fault(result)
    return {name: file.read_text() for name, file in done.items() if file.is_file()}


def _finish(
    folder: Path,
    request: Request,
    analyses: Sequence[CaseAnalysis],
    slices: dict[str, list[int]],
    split_of: dict[str, str],
    hashes: dict[str, str],
    errors: dict[str, InputError],
) -> Manifest:
    """Write the files that describe the whole dataset."""
    recipe = request.recipe
    for split in SPLITS:
        own = [(a, slices[a.case_id]) for a in analyses if split_of[a.patient_id] == split]
        write_json(folder / "annotations" / f"instances_{split}.json", annotations(recipe, own))
    write_data_yaml(folder / "data.yaml", recipe.class_names)
    _write_lesions(folder / "lesions.csv", recipe.class_names, analyses)
    manifest = Manifest(
        request=request,
        versions=tool_versions(),
        cases=[_entry(a, recipe, split_of, slices, hashes) for a in analyses],
        failed=[FailedCase(id=name, problem=e.problem) for name, e in sorted(errors.items())],
    )
    manifest.write(folder)
    return manifest


def _entry(
    a: CaseAnalysis,
    recipe: Recipe,
    split_of: dict[str, str],
    slices: dict[str, list[int]],
    hashes: dict[str, str],
) -> CaseEntry:
    boxes = Counter(c.label for c in a.components)
    lesions = Counter(lesion.label for lesion in a.lesions)
    return CaseEntry.model_validate(
        {
            "id": a.case_id,
            "patient": a.patient_id,
            "split": split_of[a.patient_id],
            "spacing_mm": np.linalg.norm(np.asarray(a.affine)[:3, :3], axis=0).tolist(),
            "shape": a.shape,
            "affine": a.affine,
            "slices": len(slices[a.case_id]),
            "boxes": {name: boxes[i] for i, name in enumerate(recipe.class_names)},
            "lesions": {name: lesions[i] for i, name in enumerate(recipe.class_names)},
            "small_boxes": a.small,
            "dropped_boxes": a.dropped,
            "image_sha256": hashes[a.case_id],
            "mask_sha256": a.mask_sha256,
        }
    )


def _write_lesions(path: Path, names: Sequence[str], analyses: Sequence[CaseAnalysis]) -> None:
    rows = ["case,lesion_id,class,volume_mm3,max_axial_diameter_mm,first_slice,last_slice"]
    rows += [
        f"{a.case_id},{lesion.lesion_id},{names[lesion.label]},{lesion.volume_mm3:.3f},"
        f"{lesion.max_axial_diameter_mm:.3f},{lesion.first_slice},{lesion.last_slice}"
        for a in analyses
        for lesion in a.lesions
    ]
    write_text(path, "\n".join(rows) + "\n")
