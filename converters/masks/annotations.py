"""Read the lesions of a case from labels, structures, SEG, RTSTRUCT or boxes.

Everything that reads a mask goes through here and comes out as the same lesions and components.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters.core.errors import InputError
from converters.imaging.png_stack import picture_files, read_pictures
from converters.imaging.read import (
    open_scan,
    read_grid,
    read_mask,
    read_volume,
    same_grid,
    source_files,
)
from converters.imaging.resample import nearest
from converters.imaging.volume import Volume
from converters.masks import label_png as label_pictures
from converters.masks.case_source import CaseSource
from converters.masks.class_masks import ClassMasks, resampled
from converters.masks.components import Component, Lesion, find_lesions
from converters.masks.deeplesion import BoxRow, read_boxes, spacing_of
from converters.masks.labels import classes_of, numbers
from converters.masks.lld_mmri import NOTE, Cuboid, find_cuboids
from converters.recipes.name_rules import ORGAN
from converters.recipes.recipe import Recipe


@dataclass(frozen=True)
class Annotations:
    """Hold the lesions that the masks of a case mark.

    Attributes:
        shape: slices, rows, columns.
        affine: canonical voxel (column, row, slice) to patient mm, LPS.
        lesions, components: as `find_lesions` gives them, of all sizes.
        shown: ``(slices, rows, columns)``, voxels of organs and lesions.
        negative_slices: slices known to be without a lesion voxel.
        files: what says so, as `mask_files` gives it.
        notes: what a user ought to know, a line each.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    lesions: list[Lesion]
    components: list[Component]
    shown: NDArray[np.bool_]
    negative_slices: list[int]
    files: list[tuple[str, Path]]
    notes: list[str]


def read_annotations(recipe: Recipe, case: CaseSource, resample: bool) -> Annotations:
    """Read a case's masks and find its lesions.

    Args:
        recipe: says what is in the mask.
        case: where it lies.
        resample: put a mask on another grid onto the scan's, by nearest neighbour.

    Raises:
        InputError: no mask, an unreadable one, or one that does not fit the recipe or the scan.
    """
    mask = _mask_of(recipe, case)
    if case.mask_kind == "boxes":
        return _of_boxes(recipe, case, mask)
    if case.mask_kind == "labels":
        return _of_labels(recipe, case, mask, resample)
    if case.mask_kind == "cuboids":
        return _of_cuboids(recipe, case, mask)
    return _of_classes(case, _read_classes(recipe, case, resample))


def read_classes(recipe: Recipe, case: CaseSource, resample: bool) -> ClassMasks:
    """Read which voxels are of which class, and which of the organs (`names.ORGAN`).

    Args:
        recipe, case, resample: as for `read_annotations`.

    Raises:
        InputError: as `read_annotations`, or there are boxes only.
    """
    mask = _mask_of(recipe, case)
    if case.mask_kind in ("boxes", "cuboids"):
        raise InputError(mask, "holds boxes, which are no masks", "use a dataset with voxel masks")
    if case.mask_kind != "labels":
        return _read_classes(recipe, case, resample)
    grid, notes = _read_labels(recipe, case, mask, resample)
    labels: NDArray[np.unsignedinteger] = grid.array  # type: ignore[assignment]
    roles = recipe.class_of_label | dict.fromkeys(recipe.organ_labels, ORGAN)
    masks = ClassMasks(grid, notes=notes)
    for role in sorted(set(roles.values())):
        members = dict.fromkeys((number for number, r in roles.items() if r == role), 0)
        masks.inside[role] = classes_of(labels, members).view(np.bool_)
    return masks


def _mask_of(recipe: Recipe, case: CaseSource) -> Path:
    if case.mask is None:
        raise InputError(
            case.image,
            f"has no mask like `{recipe.mask}`",
            "add the mask (all zero for a normal case) or remove the scan",
        )
    return case.mask


def read_scan(case: CaseSource) -> tuple[Volume, list[Path]]:
    """Read the scan of a case; return it and the files that it was read from, sorted.

    Raises:
        InputError: whatever is wrong with it.
    """
    if case.mask_kind != "boxes":
        opened = open_scan(case.image)
        return read_volume(opened), source_files(opened)
    rows = [row for row in case.rows if isinstance(row, BoxRow)]
    spacing = spacing_of(case.mask, rows) or (1.0, 1.0, 1.0)
    volume = Volume(
        array=read_pictures(case.image, case.rescale),
        affine=np.diag([*spacing, 1.0]),
        to_file=np.eye(4),
        modality="CT",
    )
    return volume, scan_files(case)


def scan_files(case: CaseSource) -> list[Path]:
    """List the files that make up the scan of a case, sorted.

    Raises:
        InputError: they cannot be determined.
    """
    if case.mask_kind == "boxes":
        return list(picture_files(case.image).values())
    return source_files(case.image)


def mask_files(case: CaseSource) -> list[tuple[str, Path]]:
    """List the files that make up the masks of a case, each with the name that its path gives.

    Raises:
        InputError: they cannot be determined.
    """
    if case.mask is None or case.rows:
        return []
    if case.mask_kind in ("labels", "structures"):
        parts = case.parts or (("", case.mask),)
        return [
            (name, file)
            for name, path in parts
            for file in label_pictures.files(path) or source_files(path)
        ]
    if case.mask_kind == "boxes":
        return [("", case.mask)]
    from converters.masks import dicom_seg, rtstruct
    from converters.masks.dicom_objects import objects_of, read_scan

    reader = dicom_seg if case.mask_kind == "seg" else rtstruct
    paths = [path for _, path in case.parts]
    objects = objects_of(read_scan(case.image), paths, reader.KIND)
    return [("", item.path) for item in objects]


def _of_labels(recipe: Recipe, case: CaseSource, path: Path, resample: bool) -> Annotations:
    mask, notes = _read_labels(recipe, case, path, resample)
    labels: NDArray[np.unsignedinteger] = mask.array  # type: ignore[assignment]
    lesions, components = find_lesions(labels, recipe.class_of_label, mask.spacing)
    shown = classes_of(labels, dict.fromkeys(recipe.organ_labels | set(recipe.class_of_label), 0))
    return _annotations(mask, lesions, components, shown.view(np.bool_), mask_files(case), notes)


def _read_labels(
    recipe: Recipe, case: CaseSource, path: Path, resample: bool
) -> tuple[Volume, list[str]]:
    pictures = label_pictures.files(path)
    mask = label_pictures.read(path, case.image) if pictures else read_mask(path)
    labels: NDArray[np.unsignedinteger] = mask.array  # type: ignore[assignment]
    unknown = sorted(numbers(labels) - recipe.known_labels)
    if unknown:
        raise InputError(
            path,
            f"holds labels {unknown} that recipe `{recipe.name}` does not name",
            "name them under classes, organs or ignore in the recipe",
        )
    notes = []
    if resample:
        grid = read_grid(case.image)
        if not same_grid(mask, grid):
            before = int(np.count_nonzero(labels))
            labels = nearest(mask, grid)  # type: ignore[assignment]
            mask = replace(grid, array=labels)
            notes.append(resampled(before, int(np.count_nonzero(labels))))
    return mask, notes


def _read_classes(recipe: Recipe, case: CaseSource, resample: bool) -> ClassMasks:
    if case.mask_kind == "structures":
        from converters.masks import structures

        grid = read_grid(case.image) if resample else None
        return structures.read(recipe, case.parts, grid)
    from converters.masks import dicom_seg, rtstruct
    from converters.masks.dicom_objects import read_scan

    scan, paths = read_scan(case.image), [path for _, path in case.parts]
    if case.mask_kind == "seg":
        return dicom_seg.read(recipe, scan, paths, resample)
    return rtstruct.read(recipe, scan, paths)


def _of_classes(case: CaseSource, masks: ClassMasks) -> Annotations:
    shown = np.zeros(masks.grid.array.shape, np.bool_)
    for inside in masks.inside.values():
        shown |= inside
    lesion_masks = {role: inside for role, inside in masks.inside.items() if role != ORGAN}
    lesions, components = find_by_class(lesion_masks, masks.grid.spacing)
    # finding the objects that belong to a scan reads all its headers: not twice
    files = [("", path) for path in masks.objects] or mask_files(case)
    return _annotations(masks.grid, lesions, components, shown, files, masks.notes)


def find_by_class(
    inside: Mapping[int, NDArray[np.bool_]], spacing: tuple[float, float, float]
) -> tuple[list[Lesion], list[Component]]:
    """Find lesions class by class, so that those of two classes may overlap.

    Args:
        inside: class index → ``(slices, rows, columns)``.
        spacing: mm along (column, row, slice).

    Returns:
        as `find_lesions`, and equal to it where no voxel is of two classes.
    """
    lesions: list[Lesion] = []
    components: list[Component] = []
    for label in sorted(inside):
        first = len(lesions)
        of_class = find_lesions(inside[label].view(np.uint8), {1: label}, spacing)
        lesions += [replace(item, lesion_id=item.lesion_id + first) for item in of_class[0]]
        components += [replace(item, lesion_id=item.lesion_id + first) for item in of_class[1]]
    components.sort(key=lambda c: (c.slice_index, c.label, c.y, c.x, c.lesion_id))
    return lesions, components


def _annotations(
    grid: Volume,
    lesions: list[Lesion],
    components: list[Component],
    shown: NDArray[np.bool_],
    files: list[tuple[str, Path]],
    notes: list[str],
) -> Annotations:
    slices, rows, columns = shown.shape
    with_lesion = {c.slice_index for c in components}
    negative = [z for z in range(slices) if z not in with_lesion]
    shape = (slices, rows, columns)
    return Annotations(shape, grid.affine, lesions, components, shown, negative, files, notes)


def _of_boxes(recipe: Recipe, case: CaseSource, mask: Path) -> Annotations:
    rows = [row for row in case.rows if isinstance(row, BoxRow)]
    marked = read_boxes(recipe, case.image, mask, rows)
    shown = np.zeros(marked.shape, np.bool_)
    for c in marked.components:
        shown[c.slice_index, c.y : c.y + c.height, c.x : c.x + c.width] = True
    return Annotations(
        shape=marked.shape,
        affine=np.diag([*marked.spacing, 1.0]),
        lesions=marked.lesions,
        components=marked.components,
        shown=shown,
        negative_slices=[],  # the slices beside a marked one may show the lesion too
        files=mask_files(case),
        notes=marked.notes,
    )


def _of_cuboids(recipe: Recipe, case: CaseSource, table: Path) -> Annotations:
    grid = read_grid(case.image)
    rows = [row for row in case.rows if isinstance(row, Cuboid)]
    lesions, components = find_cuboids(recipe, grid, table, rows)
    shown = np.zeros(grid.array.shape, np.bool_)
    for c in components:
        shown[c.slice_index, c.y : c.y + c.height, c.x : c.x + c.width] = True
    return _annotations(grid, lesions, components, shown, mask_files(case), [NOTE])
