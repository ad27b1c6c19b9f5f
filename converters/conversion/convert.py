"""Convert scans with masks into a dataset folder, in two passes.

The first pass reads the masks; then the split and the slices are chosen; the second reads the
scans. Until the end everything lies in `OUT.partial`, so that a run that was killed goes on where
it stopped.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path
from statistics import fmean
from typing import Literal, TypeVar

from converters.conversion.case import (
    CaseAnalysis,
    CaseState,
    CaseWritten,
    analyse_case,
    hash_mask,
    hash_scan,
    write_case,
)
from converters.conversion.duplicate_scans import check_duplicates
from converters.conversion.gather import Cases, gather
from converters.conversion.sources import published_split
from converters.conversion.workspace import Workspace
from converters.conversion.write_dataset import describe
from converters.core.errors import InputError, ParameterError
from converters.core.open_pool import open_pool
from converters.core.output_folder import is_free, write_errors
from converters.core.pool import Pool, as_input_error, run_all
from converters.core.progress import progress
from converters.dataset.manifest import (
    FILE_NAME,
    Manifest,
    Request,
    read_manifest,
    tool_versions,
)
from converters.dataset.negatives import DEFAULT, Policy, choose_negatives, parse_policies
from converters.dataset.stratify import SPLITS, read_split_file, split_patients
from converters.recipes.catalog import find_recipe
from converters.recipes.recipe import Recipe

TRAIN = SPLITS[0]
RESUME = "make room or check the rights, then run the same command again: it resumes"
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class ConvertResult:
    """The outcome of a conversion.

    Attributes:
        manifest: of the dataset.
        errors: one for each case that could not be read.
        left_out: case → why the recipe leaves it out.
        warnings: one for each scan that has two names.
        up_to_date: the same dataset lay at `out` already and nothing was done.
    """

    manifest: Manifest
    errors: list[InputError]
    left_out: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    up_to_date: bool = False


def convert(
    recipe: Recipe | str | Path,
    root: str | Path,
    out: str | Path,
    *,
    more: Sequence[tuple[Recipe | str | Path, str | Path]] = (),
    split: Sequence[float] | Literal["published"] = (0.7, 0.15, 0.15),
    split_file: str | Path | None = None,
    negatives: str = DEFAULT,
    min_size_mm: float = 0.0,
    resample_mask: bool = False,
    seed: int = 0,
    workers: int = 1,
    scheduler: str | None = None,
    overwrite: bool = False,
) -> ConvertResult:
    """Convert scans with masks into a dataset folder; the README shows its layout.

    Args:
        recipe: how the source lies on disk and what its labels mean: a recipe, the name of one of
            `detect datasets`, or a YAML file.
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
    out = Path(out)
    sources = [
        (source if isinstance(source, Recipe) else find_recipe(str(source)), Path(folder))
        for source, folder in [(recipe, root), *more]
    ]
    if scheduler is not None:  # no worker has this process's working folder
        sources = [(source, path.absolute()) for source, path in sources]
    gathered = gather(sources)
    main, cases = gathered.recipes[0], gathered.cases
    named = None
    weights = () if isinstance(split, str) else tuple(split)
    if split_file:
        named = read_split_file(Path(split_file), {c.case_id: c.patient_id for c in cases})
    elif split == "published":
        named = published_split([case.source for case in cases])
    elif len(weights) != len(SPLITS) or not all(0 <= s < inf for s in weights) or sum(weights) <= 0:
        raise ParameterError(
            "split", "needs three weights of 0 or more", "use for example 70,15,15"
        )
    if not 0 <= min_size_mm < inf:
        raise ParameterError("min_size_mm", "is not a size of 0 or more", "use 0 to keep every box")
    request = Request(
        recipe=main,
        more=gathered.recipes[1:],
        negatives=parse_policies(negatives),
        split=_named_lists(named) if named else dict(zip(SPLITS, weights, strict=True)),
        min_size_mm=min_size_mm,
        seed=seed,
        resample_mask=resample_mask,
    )
    work = Workspace(out)
    sees = [*(path for _, path in sources), work.plan]
    pool = open_pool(min(workers, len(cases)), scheduler, tool_versions(), sees)
    try:
        if not is_free(out):
            if not overwrite:
                return _accept_existing(out, request, gathered, pool)
            if not (out / FILE_NAME).is_file():
                raise InputError(out, "exists and is no dataset", "give another folder with --out")
        with write_errors(out, RESUME), work.lock():
            work.open(request, [case.source for case in cases])
            _analyse(cases, request, work, pool)
            readable = [case for case in cases if case.error is None]
            if not any(case.analysis.components for case in readable):
                work.discard()  # there is nothing to resume
                _raise_if_all_failed(cases)
                raise InputError(
                    root,
                    f"no mask holds a lesion ({main.mask_kind}: {_sought(main)})",
                    "check the classes of the recipe",
                )
            split_of = named or _deal(readable, weights, seed)
            for case in readable:  # a patient of synthetic cases alone is trained on
                case.split = split_of.get(case.patient_id, TRAIN)
            unused = _beside_train(cases)
            cases = [case for case in cases if case.case_id not in unused]
            readable = [case for case in cases if case.error is None]
            _choose_slices(readable, request.negatives, seed)
            warnings = check_duplicates(readable)
            work.choose(readable)
            _write(readable, work, pool)
            _raise_if_all_failed(cases)
            work.sweep([case for case in readable if case.error is None])
            manifest = describe(work.content, request, cases)
            work.publish()
    finally:
        if pool is not None:
            pool.close()
    errors = [case.error for case in cases if case.error]
    return ConvertResult(manifest, errors, gathered.left_out | unused, warnings)


def _named_lists(named: dict[str, str]) -> dict[str, list[str]]:
    return {s: sorted(p for p, split in named.items() if split == s) for s in SPLITS}


def _beside_train(cases: Sequence[CaseState]) -> dict[str, str]:
    """Map synthetic cases of patients who are not trained on to why they are left out."""
    return {
        case.case_id: f"synthetic, and its patient is in {case.split}"
        for case in cases
        if case.synthetic and case.split not in ("", TRAIN)
    }


def _accept_existing(
    out: Path, request: Request, gathered: Cases, pool: Pool | None
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
    split_of = {c.patient: c.split for c in manifest.cases}
    for case in gathered.cases:
        case.split = split_of.get(case.patient_id, "")
    unused = _beside_train(gathered.cases)
    expected = {case.case_id for case in gathered.cases} - unused.keys()
    if manifest.request != request or set(known) | failed != expected:
        raise different
    present = [case for case in gathered.cases if case.case_id in known]
    for case, hashes in run_all(_hash_case, present, pool):
        if hashes != known[case.case_id]:
            raise different
    if failed:
        raise InputError(
            out,
            f"exists, without the cases that could not be read: {', '.join(sorted(failed))}",
            "mend or remove them and use --overwrite",
        )
    warnings = check_duplicates(present)
    return ConvertResult(manifest, [], gathered.left_out | unused, warnings, up_to_date=True)


def _hash_case(case: CaseState) -> tuple[str, str]:
    return hash_scan(case.source), hash_mask(case.source)


def _raise_if_all_failed(cases: Sequence[CaseState]) -> None:
    errors = [case.error for case in cases if case.error]
    if len(errors) == len(cases):
        raise errors[0]


def _sought(recipe: Recipe) -> str:
    return ", ".join(str(value) for values in recipe.classes.values() for value in values)


def _analyse(
    cases: Sequence[CaseState], request: Request, work: Workspace, pool: Pool | None
) -> None:
    """Read the masks: the first pass, which sets `analysis` or `error` of every case."""

    def keep(case: CaseState, analysis: CaseAnalysis) -> None:
        work.keep_analysis(analysis)
        case.analysis = analysis

    todo = []
    for case in cases:
        if analysis := work.analysed(case.case_id):
            case.analysis = analysis
        else:
            todo.append(case)
    _run("masks", partial(_analyse_case, request), todo, pool, keep)


def _analyse_case(request: Request, case: CaseState) -> CaseAnalysis:
    return analyse_case(case.recipe, request.min_size_mm, request.resample_mask, case.source)


def _deal(cases: Sequence[CaseState], weights: Sequence[float], seed: int) -> dict[str, str]:
    """Deal the patients of real cases to the splits by the lesions that those show."""
    strata: dict[str, frozenset[int]] = {}
    boxes: Counter[str] = Counter()
    for case in cases:
        if not case.synthetic:
            components, patient = case.analysis.components, case.patient_id
            classes = frozenset(component.label for component in components)
            strata[patient] = strata.get(patient, frozenset()) | classes
            boxes[patient] += len(components)
    return split_patients(strata, weights, seed, boxes)


def _choose_slices(cases: Sequence[CaseState], policies: dict[str, Policy], seed: int) -> None:
    """Choose the slices to write: those with a lesion, and the negatives that the policy asks."""
    with_boxes = [set(case.analysis.components_by_slice()) for case in cases]
    typical = fmean(len(slices) for slices in with_boxes if slices)
    for case, slices in zip(cases, with_boxes, strict=True):
        negatives = choose_negatives(
            policies[case.split],
            case.case_id,
            case.analysis.negative_slices,
            case.analysis.organ_slices,
            len(slices) or typical,
            seed,
        )
        case.slices = sorted(slices.union(negatives))


def _write(cases: Sequence[CaseState], work: Workspace, pool: Pool | None) -> None:
    """Write PNGs and labels: the second pass, which sets `written` or `error` of every case."""

    def keep(case: CaseState, written: CaseWritten) -> None:
        work.keep_done(case.case_id, written)
        case.written = written

    todo = []
    for case in cases:
        if written := work.done(case.case_id):
            case.written = written
        else:
            todo.append(case)
    _run("scans", partial(write_case, work.content), todo, pool, keep)


def _run(
    title: str,
    step: Callable[[CaseState], Outcome],
    todo: Sequence[CaseState],
    pool: Pool | None,
    keep: Callable[[CaseState, Outcome], None],
) -> None:
    """Do one step of every case; keep what it returns, or note why the case cannot be read."""
    with progress(title, len(todo)) as advance:
        for case, outcome in run_all(step, todo, pool):
            advance(case.case_id)
            if isinstance(outcome, Exception):
                case.error = as_input_error(case.source.image, outcome)
            else:
                keep(case, outcome)
