"""Which case of a dataset a file from another tool belongs to, told by its name."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from converters.errors import InputError
from converters.reading import SUFFIXES
from converters.recipe import CASE, Recipe, template_pattern


def files_by_case(
    files: Sequence[Path], root: Path, cases: Sequence[str], recipe: Recipe
) -> dict[str, Path]:
    """Assign each file to a case.

    A file is named by the case (`lits-7.nii.gz`), by what the recipe captures (`7.nii.gz`), like
    the scan or the mask that the dataset was made from (`volume-7.nii.gz`), or lies alone in a
    folder named in one of these ways.

    Args:
        files: below `root`.
        root: folder of the files.
        cases: ids of every case in the dataset.
        recipe: of the dataset.

    Raises:
        InputError: a file of no case, or two of one.
    """
    before, after = recipe.case_id.split(CASE)
    names = {case[len(before) : len(case) - len(after)]: case for case in cases}
    names |= {case: case for case in cases}
    found: dict[str, Path] = {}
    for file in files:
        case = next((names[n] for n in _names(file, root, recipe) if n in names), None)
        if case is None:
            raise InputError(
                file,
                "is of no case of the dataset",
                f"name it like its case, for example {cases[0]}.nii.gz",
            )
        if case in found:
            raise InputError(file, f"is a second volume of case {case}", "keep one of them")
        found[case] = file
    return found


def _names(file: Path, root: Path, recipe: Recipe) -> Iterator[str]:
    """Yield what a file may be called, the likeliest first."""
    yield _stem(file.name)
    for template in (recipe.image, recipe.mask):
        for pattern, text in (
            (template_pattern(template.rpartition("/")[2]), file.name),
            (template_pattern(template), file.relative_to(root).as_posix()),
        ):
            match = pattern.fullmatch(text)
            if match and "case" in match.groupdict():
                yield match["case"]
    for folder in file.relative_to(root).parents:
        yield folder.name


def _stem(name: str) -> str:
    suffix = "|".join(re.escape(s) for s in sorted(SUFFIXES, key=len, reverse=True))
    return re.sub(f"(?i:{suffix})$", "", name)
