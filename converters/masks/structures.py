"""Read masks of one binary volume a structure, in which any value but 0 is inside."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from converters.imaging.read import check_same_grid, read_volume, same_grid
from converters.imaging.resample import nearest
from converters.imaging.volume import Volume
from converters.masks.class_masks import ClassMasks
from converters.recipes.name_rules import Names
from converters.recipes.recipe import Recipe


def read(recipe: Recipe, parts: Sequence[tuple[str, Path]], scan: Volume | None) -> ClassMasks:
    """Read the structures that a recipe names; those of one class are united.

    Args:
        recipe: names them.
        parts: name and path of each, at least one.
        scan: grid to resample them onto where they are not on it; without it they must be on one
            grid with each other.

    Raises:
        InputError: one is unreadable, or on another grid than the others.
    """
    names = Names(recipe)
    before = after = 0
    masks = ClassMasks(scan) if scan is not None else None
    for name, path in parts:
        role = names.role(name)
        stored = read_volume(path)
        structure = replace(stored, array=stored.array != 0)
        masks = masks or ClassMasks(structure)
        if scan is not None and not same_grid(structure, scan):
            moved = replace(scan, array=nearest(structure, scan))
            if role is not None:
                before += int(np.count_nonzero(structure.array))
                after += int(np.count_nonzero(moved.array))
            structure = moved
        check_same_grid(structure, masks.grid, path, parts[0][1])
        if role is not None:
            masks.of(role)[...] |= structure.array.astype(np.bool_, copy=False)
    if masks is None:
        raise ValueError("a case of structures has at least one")
    if before or after:
        masks.resampled(before, after)
    return masks
