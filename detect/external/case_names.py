"""Assign files of another tool to the cases of a dataset by their names."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from converters.core.errors import InputError
from converters.imaging.read import SUFFIXES
from converters.recipes.recipe import Recipe
from converters.recipes.templates import CASE, template_pattern


def files_by_case(
    files: Sequence[Path], root: Path, cases: Sequence[str], recipes: Sequence[Recipe]
) -> dict[str, Path]:
    """Assign each file to a case.

    A file is named by the case (`lits-7.nii.gz`), by what the recipe captures (`7.nii.gz`), like
    the scan or the mask that the dataset was made from (`volume-7.nii.gz`), or lies alone in a
    folder named in one of these ways.

    Args:
        files: below `root`.
        root: folder of the files.
        cases: ids of every case in the dataset.
        recipes: of the dataset.

    Raises:
        InputError: a file of no case, or two of one.
    """
    known = set(cases)
    by_case: dict[str, Path] = {}
    for file in files:
        names = (name for recipe in recipes for name in _names(file, root, recipe))
        case = next((name for name in names if name in known), None)
        if case is None:
            raise InputError(
                file,
                "is of no case of the dataset",
                f"name it like its case, for example {cases[0]}.nii.gz",
            )
        if case in by_case:
            raise InputError(file, f"is a second volume of case {case}", "keep one of them")
        by_case[case] = file
    return by_case


def _names(file: Path, root: Path, recipe: Recipe) -> Iterator[str]:
    """Yield what the case of a file may be called, the likeliest first."""
    relative = file.relative_to(root)
    yield from _as_named(_stem(file.name), recipe)
    for template in (recipe.image, recipe.mask):
        for part, text in (
            (template.rpartition("/")[2], file.name),
            (template, relative.as_posix()),
        ):
            if match := template_pattern(part).fullmatch(text):
                name = recipe.case_id
                for key, value in match.groupdict().items():
                    name = name.replace(f"{{{key}}}", value)
                yield name
    for folder in relative.parents:
        yield from _as_named(folder.name, recipe)


def _as_named(name: str, recipe: Recipe) -> Iterator[str]:
    """Take a name for that of the case, then for what the recipe captures."""
    yield name
    yield recipe.case_id.replace(CASE, name)


def _stem(name: str) -> str:
    suffix = "|".join(re.escape(s) for s in sorted(SUFFIXES, key=len, reverse=True))
    return re.sub(f"(?i:{suffix})$", "", name)
