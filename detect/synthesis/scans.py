"""Read one case of a source, grow lesions into it, and write the scans."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from converters.conversion.case import hash_mask
from converters.core.errors import InputError, ParameterError, nearest
from converters.imaging.hashing import hash_contents
from converters.imaging.nifti import write_nifti
from converters.imaging.read import check_same_grid
from converters.imaging.volume import Volume
from converters.masks.annotations import read_classes, read_scan
from converters.masks.case_source import CaseSource
from converters.recipes.name_rules import ORGAN
from converters.recipes.recipe import Recipe
from detect.synthesis.grow import Grown, grow_lesions
from detect.synthesis.labelling import KIND_LABELS, ORGAN_LABEL, real_labels
from detect.synthesis.organ import Mask, measure_organ
from detect.synthesis.place import GAP_MM

OnlyNormal = Literal["cases", "slices"]

_FEWEST_SLICES = 3  # fewer are no volume to grow in


class Request(BaseModel):
    """Hold what was asked for; the scans depend on all of it.

    Attributes:
        recipe: of the source, with the one organ that lesions grow in.
        output: recipe of the scans to be written, without who is who; `made` in the file.
        kinds: that grow.
        lesions: fewest and most a scan.
        copies: scans of each case.
        only_normal: leave out cases, or slices, with lesions of the source; None: keep them.
        resample_mask: put masks onto the grid of their scan.
        seed: of everything random.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    recipe: Recipe
    output: Recipe = Field(alias="made")
    kinds: list[str]
    lesions: tuple[int, int]
    copies: int
    only_normal: OnlyNormal | None
    resample_mask: bool
    seed: int


class LesionRecord(BaseModel):
    """One lesion that grew.

    Attributes:
        kind: name.
        diameter_mm: of the ball of its volume.
        centre_mm: patient mm, LPS.
        voxels: of its mask.
    """

    model_config = ConfigDict(extra="forbid")

    kind: str
    diameter_mm: float
    centre_mm: tuple[float, float, float]
    voxels: int


class ScanRecord(BaseModel):
    """One scan that was made.

    Attributes:
        name: of its files, without suffix.
        first_slice: of the source's slices, where it begins.
        wanted: lesions drawn; fewer grew where there was no room.
        lesions: that grew.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    first_slice: int
    wanted: int
    lesions: list[LesionRecord]


class CaseRecord(BaseModel):
    """Record the scans that were made of one case.

    Attributes:
        case_id, patient_id: of the source.
        image_sha256, mask_sha256: of its files.
        left_out: why nothing was made of it, or "".
        scans: that were made.
    """

    model_config = ConfigDict(extra="forbid")

    case_id: str
    patient_id: str
    image_sha256: str
    mask_sha256: str
    left_out: str = ""
    scans: list[ScanRecord] = []


@dataclass(frozen=True)
class _Source:
    scan: Volume
    organ: Mask
    real: NDArray[np.uint8]  # labels of `real_labels`


def synthesize_case(request: Request, folder: Path, case: CaseSource) -> CaseRecord:
    """Write the scans of one case to `folder/images` and `folder/masks`, which exist.

    What grows depends on the request's seed, the case's name and the number of the copy alone.

    Raises:
        InputError: scan or mask cannot be used, or no lesion has room in the organ.
    """
    source, files = _read(request, case)
    record = CaseRecord(
        case_id=case.case_id,
        patient_id=case.patient_id,
        image_sha256=hash_contents(files),
        mask_sha256=hash_mask(case),
    )
    if request.only_normal == "cases" and source.real.any():
        return record.model_copy(update={"left_out": "has lesions of its own"})
    parts = [slice(0, len(source.organ))]
    if request.only_normal == "slices":
        parts = _without_lesions(source)
    for number, part in enumerate(parts, 1):
        suffix = f"-part{number}" if request.only_normal == "slices" else ""
        record.scans.extend(_grow_copies(request, folder, case.case_id, source, part, suffix))
    if not record.scans and request.only_normal == "slices" and source.real.any():
        return record.model_copy(update={"left_out": "no room beside its own lesions"})
    if not record.scans:
        raise InputError(
            case.mask or case.image,
            f"shows no {next(iter(request.recipe.organs))} with room for a lesion",
            "check the organ's label in the recipe, or leave the case out",
        )
    return record


def _read(request: Request, case: CaseSource) -> tuple[_Source, list[Path]]:
    masks = read_classes(request.recipe, case, request.resample_mask)
    scan, files = read_scan(case)
    check_same_grid(masks.grid, scan, case.mask or case.image, case.image)
    if scan.modality not in ("", "CT"):
        raise InputError(
            case.image, f"is {scan.modality}, not CT", "leave it out: lesions are in HU"
        )
    if len(scan.array) < _FEWEST_SLICES:
        raise InputError(
            case.image,
            f"has {len(scan.array)} slices, and lesions grow in volumes",
            f"give scans of {_FEWEST_SLICES} slices or more",
        )
    real = np.zeros(scan.array.shape, np.uint8)
    for index, number in enumerate(real_labels(request.recipe).values()):
        if index in masks.inside:
            real[masks.inside[index]] = number
    return _Source(scan, masks.of(ORGAN) & (real == 0), real), files


def _without_lesions(source: _Source) -> list[slice]:
    """List the runs of slices that show the organ and no lesion, nor the unmarked end of one."""
    step = source.scan.spacing[2]
    marked = source.real.any(axis=(1, 2))
    near = int(GAP_MM // step)
    blocked = np.convolve(marked, np.ones(2 * near + 1), "same") > 0
    free = ~blocked & source.organ.any(axis=(1, 2))
    edges = np.flatnonzero(np.diff(np.r_[0, free.view(np.int8), 0]))
    runs = [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return [run for run in runs if run.stop - run.start >= _FEWEST_SLICES]


def _grow_copies(
    request: Request, folder: Path, case_id: str, source: _Source, part: slice, suffix: str
) -> list[ScanRecord]:
    hu, real = source.scan.array[part], source.real[part]
    affine = source.scan.affine.copy()
    affine[:3, 3] += affine[:3, 2] * part.start
    inside, spacing = source.organ[part], source.scan.spacing
    organ = measure_organ(hu, inside, spacing, real > 0)
    records = []
    for copy in range(1, request.copies + 1):
        name = f"{case_id}-synth{copy}{suffix}"
        # the name and no order: what grows here must not depend on what grew elsewhere
        digest = hashlib.sha256(name.encode()).digest()
        rng = np.random.default_rng([request.seed, int.from_bytes(digest[:8], "little")])
        grown = grow_lesions(hu, organ, spacing, rng, kinds=request.kinds, count=request.lesions)
        if not grown.lesions and request.lesions[0] > 0:
            continue  # no room
        labels = np.where(inside, np.uint8(ORGAN_LABEL), real)
        labels = np.where(grown.labels > 0, grown.labels + np.uint8(ORGAN_LABEL), labels)
        write_nifti(folder / "images" / f"{name}.nii.gz", grown.hu, affine)
        write_nifti(folder / "masks" / f"{name}.nii.gz", labels.astype(np.uint8), affine)
        records.append(
            ScanRecord(
                name=name,
                first_slice=part.start,
                wanted=grown.wanted,
                lesions=_records(grown, affine),
            )
        )
    return records


def _records(grown: Grown, affine: NDArray[np.float64]) -> list[LesionRecord]:
    centres = [
        affine[:3, :3] @ np.asarray(lesion.centre) + affine[:3, 3] for lesion in grown.lesions
    ]
    return [
        LesionRecord(
            kind=lesion.kind,
            diameter_mm=round(lesion.diameter_mm, 2),
            centre_mm=tuple(round(float(mm), 2) for mm in centre),
            voxels=lesion.voxels,
        )
        for lesion, centre in zip(grown.lesions, centres, strict=True)
    ]


def check_kinds(kinds: Sequence[str]) -> list[str]:
    """Sort the kinds by their labels.

    Raises:
        InputError: an unknown one, or none.
    """
    for name in kinds:
        if name not in KIND_LABELS:
            raise ParameterError("kinds", f"`{name}` is no kind", nearest(name, KIND_LABELS))
    if not kinds:
        raise ParameterError("kinds", "names none", f"use {','.join(KIND_LABELS)}")
    return [name for name in KIND_LABELS if name in kinds]
