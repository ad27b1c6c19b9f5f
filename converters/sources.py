"""Find the cases of a dataset below a folder, as its recipe describes them."""

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from converters.errors import InputError
from converters.recipe import CASE, Recipe, template_pattern


@dataclass(frozen=True)
class CaseSource:
    """Where one case lies.

    Attributes:
        case_id: name of the case in the dataset.
        patient_id: name of the person; cases of one person share it.
        image: the scan.
        mask: its label volume; None where the recipe's path matches nothing.
    """

    case_id: str
    patient_id: str
    image: Path
    mask: Path | None


def find_cases(recipe: Recipe, root: Path) -> list[CaseSource]:
    """List the cases below `root` in natural order of their id.

    Raises:
        InputError: no such folder, no case in it, or two files claiming one case.
    """
    if not root.is_dir():
        raise InputError(
            root, "is not a folder", "give the folder that holds the dataset with --root"
        )
    paths = _relative_paths(root)
    image_pattern = template_pattern(recipe.image)
    found = [(m["case"], path) for path in paths if (m := image_pattern.fullmatch(path))]
    matches = [(captured, path) for captured, path in found if recipe.holds(captured)]
    if not matches:
        raise InputError(
            root,
            f"holds no scan like `{recipe.image}`, which is where recipe `{recipe.name}` looks",
            "check --root (links that leave it are not followed), or write a recipe of your own",
        )

    masks: dict[str, list[str]] = defaultdict(list)
    mask_pattern = template_pattern(recipe.mask)
    for path in paths:
        if m := mask_pattern.fullmatch(path):
            masks[m["case"]].append(path)
    person = {case: group[0] for group in recipe.patients for case in group}
    cases: dict[str, CaseSource] = {}
    for captured, path in matches:
        case_id = recipe.case_id.replace(CASE, captured)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", case_id):
            raise InputError(
                root / path,
                f"the case name `{case_id}` has characters that do not suit a file name",
                "rename it to letters, digits, dot, dash and underscore",
            )
        if case_id in cases:
            raise InputError(
                root / path, f"is a second scan of case `{case_id}`", "keep one of the two files"
            )
        own = masks.get(captured, [])
        if len(own) > 1:
            raise InputError(
                root / own[1], f"is a second mask of case `{case_id}`", "keep one of the two files"
            )
        cases[case_id] = CaseSource(
            case_id=case_id,
            patient_id=recipe.case_id.replace(CASE, person.get(captured, captured)),
            image=root / path,
            mask=root / own[0] if own else None,
        )
    return sorted(cases.values(), key=lambda case: natural_key(case.case_id))


def natural_key(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key under which `case-9` comes before `case-10`."""
    return tuple(
        (0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name)
    )


def _relative_paths(root: Path) -> list[str]:
    """Every file and folder below `root` as a POSIX path, without links that leave it."""
    home = root.resolve()
    found: list[str] = []
    for folder, folders, files in os.walk(root):  # does not descend into links
        found += [
            path.relative_to(root).as_posix()
            for path in (Path(folder, name) for name in (*folders, *files))
            if not path.is_symlink() or path.resolve().is_relative_to(home)
        ]
    return sorted(found)
