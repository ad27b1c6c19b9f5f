"""The public datasets that a user can name: what they hold, and how to convert them."""

from collections.abc import Iterator
from textwrap import fill

from rich.box import SIMPLE_HEAD
from rich.table import Table

from converters.recipes.catalog import find_recipe
from converters.recipes.recipe import Recipe, load_recipe
from datasets_yaml import recipe_files

_KEY_WIDTH = 10
_KINDS = {
    "labels": "label volume",
    "structures": "volume a structure",
    "seg": "DICOM-SEG",
    "rtstruct": "RTSTRUCT",
    "boxes": "boxes",
    "cuboids": "3D boxes",
}


def datasets_table() -> Table:
    """List every recipe with its classes and licence."""
    table = Table(
        box=SIMPLE_HEAD,
        caption="Organs in brackets: with --targets organs. `detect datasets NAME` says more.",
    )
    table.caption_justify = "left"
    for column in ("name", "title", "modality", "classes", "masks", "licence"):
        table.add_column(column, overflow="fold")
    for file in recipe_files().values():
        recipe = load_recipe(file)
        table.add_row(
            recipe.name,
            recipe.title,
            recipe.modality,
            ", ".join(recipe.classes) or f"[{len(recipe.organs)} organs]",
            _kind(recipe),
            recipe.licence,
        )
    return table


def describe_dataset(name: str) -> str:
    """Describe one recipe, with the commands that convert it and train on it.

    Raises:
        InputError: no such recipe, or one with a fault.
    """
    recipe = find_recipe(name)
    lines = [f"{recipe.name}: {recipe.title}"]
    lines += [
        fill(
            value,
            width=100,
            initial_indent=f"  {key:{_KEY_WIDTH}}",
            subsequent_indent=" " * (2 + _KEY_WIDTH),
            break_long_words=False,
            break_on_hyphens=False,
        )
        for key, value in _facts(recipe)
        if value
    ]
    return "\n".join([*lines, "", *(f"    {command}" for command in commands(name, recipe))])


def commands(name: str, recipe: Recipe) -> list[str]:
    """The commands from the unpacked dataset to a trained model."""
    root, out = recipe.name.upper().replace("-", "_"), f"data/{recipe.name}"
    targets = "" if recipe.classes else " --targets organs"
    lines = [
        f"detect convert {name} --root {root} --out {out}{targets}",
        f"detect check {out}",
        f"detect train --model yolov8n --data {out}",
    ]
    lines += [
        f"detect convert {name} --root {root} --out {out}-{merging} --classes {merging}"
        for merging in recipe.merges
    ]
    if recipe.normal and not recipe.classes:
        lines.append(f"detect convert lits {name} --root LITS --root {root} --out data/lits-{name}")
    return lines


def _kind(recipe: Recipe) -> str:
    return _KINDS[recipe.mask_kind]


def _facts(recipe: Recipe) -> Iterator[tuple[str, str]]:
    yield "modality", recipe.modality
    yield "pictures", recipe.describe()
    yield "classes", ", ".join(recipe.classes)
    for merging, groups in recipe.merges.items():
        made = ", ".join(f"{new} = {' + '.join(old)}" for new, old in groups.items())
        yield "merging", f"{merging}: {made}"
    yield "organs", ", ".join(recipe.organs)
    yield "normal", recipe.normal
    yield "scans", recipe.image
    yield "masks", f"{recipe.mask} ({_kind(recipe)})"
    yield "layout", recipe.layout
    for group in recipe.patients:
        yield "patients", f"{', '.join(group)} are one person"
    for other, pairs in recipe.shared_patients.items():
        known = f"{len(pairs)} are grouped" if pairs else "who is who is unknown: not to be mixed"
        yield "shared", f"people with {other}: {known}"
    for reason in dict.fromkeys(recipe.faulty.values()):
        cases = [case for case, why in recipe.faulty.items() if why == reason]
        yield "left out", f"{', '.join(cases)}: {reason}"
    yield "licence", recipe.licence
    yield "citation", recipe.citation
    yield "source", recipe.source
    yield "tried", recipe.tried
