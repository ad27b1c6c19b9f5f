"""Find the cases of a dataset below a folder, as its recipe describes them."""

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from converters.core.errors import InputError
from converters.core.naming import natural_key
from converters.masks import lld_mmri as cuboids
from converters.masks.case_source import CaseSource
from converters.masks.deeplesion import BoxRow, read_table
from converters.masks.lld_mmri import Cuboid
from converters.recipes.name_rules import ORGAN, Names, listed
from converters.recipes.recipe import Recipe
from converters.recipes.templates import CASE, PATIENT, template_pattern

_PUBLISHED = {"1": "train", "2": "val", "3": "test"}


def find_cases(recipe: Recipe, root: Path) -> list[CaseSource]:
    """List the cases below `root` in natural order of their id.

    Raises:
        InputError: no such folder, no case in it, two files claiming one case, or no structure with
            a name of the recipe's.
    """
    if not root.is_dir():
        raise InputError(
            root, "is not a folder", "give the folder that holds the dataset with --root"
        )
    paths = _relative_paths(root)
    image_pattern = template_pattern(recipe.image)
    matches = [
        (m, path)
        for path in paths
        if (m := image_pattern.fullmatch(path)) and recipe.holds(m["case"])
    ]
    if not matches:
        raise InputError(
            root,
            f"holds no scan like `{recipe.image}`, which is where recipe `{recipe.name}` looks",
            "check --root (links that leave it are not followed), or write a recipe of your own",
        )
    table = None if CASE in recipe.mask else _table(recipe, root, paths)
    if table and recipe.mask_kind == "cuboids":  # the table says which series are wanted
        matches = [(m, path) for m, path in matches if m["case"] in table[1]]
        if not matches:
            phase = f" of phase `{recipe.phase}`" if recipe.phase else ""
            raise InputError(table[0], f"names no series{phase} that is here", "check the recipe")
    masks = _Masks(recipe, root, paths)
    person = {case: group[0] for group in recipe.patients for case in group}
    candidates: dict[str, list[tuple[Mapping[str, str], str]]] = defaultdict(list)
    for match, path in matches:
        names = match.groupdict()
        candidates[_named(recipe.case_id, names, root / path)].append((names, path))
    cases: dict[str, CaseSource] = {}
    for case_id, scans in candidates.items():
        captured, path = _only_scan(recipe, root, case_id, scans)
        if PATIENT in recipe.image:
            patient_id = _named(PATIENT, captured, root / path)
        else:
            group = {"case": person.get(captured["case"], captured["case"])}
            patient_id = _named(recipe.case_id, group, root / path)
        key = captured["case"] if recipe.mask_kind == "cuboids" else _stem(path)
        rows = tuple(table[1].get(key, ())) if table else ()
        mask, parts = masks.of(case_id, captured)
        if table:
            mask, parts = table[0] if rows else None, ()
        cases[case_id] = CaseSource(
            case_id,
            patient_id,
            image=root / path,
            mask=mask,
            parts=parts,
            rows=rows,
            mask_kind=recipe.mask_kind,
            rescale=recipe.rescale,
        )
    if recipe.mask_kind == "structures":
        _check_names(recipe, root, masks)
    return sorted(cases.values(), key=lambda case: natural_key(case.case_id))


def published_split(cases: Sequence[CaseSource]) -> dict[str, str]:
    """Read the split that a table of boxes was published with: patient → train, val or test.

    Raises:
        InputError: it states none for some case, or puts one patient on two sides.
    """
    result: dict[str, str] = {}
    for case in cases:
        if case.mask is None:  # to be reported with the cases that fail
            continue
        codes = {row.published for row in case.rows} or {""}
        split = _PUBLISHED.get(codes.pop())
        if split is None or codes:
            raise InputError(
                case.mask or case.image,
                f"does not state one published split for case `{case.case_id}`",
                "give weights with --split, or lists with --split-file",
            )
        if result.setdefault(case.patient_id, split) != split:
            raise InputError(
                case.mask or case.image,
                f"puts patient `{case.patient_id}` into both {result[case.patient_id]} and {split}",
                "check that the recipe captures {patient}",
            )
    return result


def _only_scan(
    recipe: Recipe, root: Path, case_id: str, scans: Sequence[tuple[Mapping[str, str], str]]
) -> tuple[Mapping[str, str], str]:
    """Choose the scan of a case among its folders, as archives lay out studies."""
    if len(scans) > 1 and all((root / path).is_dir() for _, path in scans):
        from converters.imaging.dicom import series as dicom

        modality = recipe.representation.modality
        scans = [s for s in scans if dicom.modality(root / s[1]) == modality] or scans
    if len(scans) > 1:
        raise InputError(
            root / scans[1][1], f"is a second scan of case `{case_id}`", "keep one of the two"
        )
    return scans[0]


class _Masks:
    """The masks below a root, by the case and person that their paths capture."""

    def __init__(self, recipe: Recipe, root: Path, paths: Sequence[str]) -> None:
        self.recipe, self.root = recipe, root
        self.names = Names(recipe)
        self.keys = [key for key in (CASE, PATIENT) if key in recipe.mask]
        self.paths: dict[tuple[str, ...], list[tuple[str, str]]] = defaultdict(list)
        pattern = template_pattern(recipe.mask)
        for path in paths:
            if m := pattern.fullmatch(path):
                name = m.groupdict().get("structure", "")
                if not name.startswith("."):
                    self.paths[self._key(m.groupdict())].append((name, path))

    def of(
        self, case_id: str, captured: Mapping[str, str]
    ) -> tuple[Path | None, tuple[tuple[str, Path], ...]]:
        """Return the first mask of a case and, unless it is one volume, all of them."""
        masks = self.paths.get(self._key(captured), [])
        if not masks:
            return None, ()
        kind = self.recipe.mask_kind
        if kind in ("labels", "boxes") and len(masks) > 1:
            raise InputError(
                self.root / masks[1][1],
                f"is a second mask of case `{case_id}`",
                "keep one of the two files",
            )
        if kind in ("labels", "boxes"):
            return self.root / masks[0][1], ()
        if kind == "structures":
            # none of them is read if none is named, but one must say what grid a normal case has
            masks = [(n, p) for n, p in masks if self.names.role(n) is not None] or masks[:1]
        parts = tuple((name, self.root / path) for name, path in masks)
        return parts[0][1], parts

    def _key(self, captured: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(captured[key[1:-1]] for key in self.keys)


def _check_names(recipe: Recipe, root: Path, masks: _Masks) -> None:
    """Refuse a recipe whose classes name no structure in any case."""
    names = {name for group in masks.paths.values() for name, _ in group}
    roles = {masks.names.role(name) for name in names}
    if names and recipe.classes and not roles - {None, ORGAN}:
        wanted = ", ".join(f"`{name}`" for group in recipe.classes.values() for name in group)
        raise InputError(
            root,
            f"holds no structure named {wanted} in any case; there are {listed(recipe, names)}",
            "correct the names under classes in the recipe",
        )


def _table(
    recipe: Recipe, root: Path, paths: Sequence[str]
) -> tuple[Path, Mapping[str, Sequence[BoxRow | Cuboid]]]:
    """Read the only table of boxes; returns its path, and its rows by series or picture."""
    pattern = template_pattern(recipe.mask)
    tables = [root / path for path in paths if pattern.fullmatch(path)]
    if len(tables) != 1:
        raise InputError(
            root,
            f"holds {len(tables) or 'no'} tables like `{recipe.mask}`",
            "put the dataset's one table of boxes there",
        )
    if recipe.mask_kind == "cuboids":
        return tables[0], cuboids.read_table(tables[0], recipe.phase)
    return tables[0], read_table(tables[0])


def _stem(path: str) -> str:
    """Return the name of a picture without its suffix, or of a folder of pictures."""
    return re.sub(r"\.(png|jpe?g)$", "", path.rsplit("/", 1)[-1], flags=re.IGNORECASE)


def _named(template: str, captured: Mapping[str, str], path: Path) -> str:
    """Fill a template with what was captured; the result must suit a file name."""
    name = template
    for key in (CASE, PATIENT):
        name = name.replace(key, captured.get(key[1:-1], key))
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise InputError(
            path,
            f"the case name `{name}` has characters that do not suit a file name",
            "rename it to letters, digits, dot, dash and underscore",
        )
    return name


def _relative_paths(root: Path) -> list[str]:
    """List every file and folder below `root` as a POSIX path, without links that leave it."""
    home = root.resolve()
    paths: list[str] = []
    for folder, folders, files in os.walk(root):  # does not descend into links
        paths += [
            path.relative_to(root).as_posix()
            for path in (Path(folder, name) for name in (*folders, *files))
            if not path.is_symlink() or path.resolve().is_relative_to(home)
        ]
    return sorted(paths)
