"""Gather the cases of a conversion: those of one recipe, or of several as one dataset."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

from converters.conversion.case import CaseState
from converters.conversion.sources import find_cases
from converters.core.errors import InputError
from converters.masks.case_source import CaseSource
from converters.recipes.recipe import Recipe
from converters.recipes.templates import CASE


@dataclass(frozen=True)
class Cases:
    """The cases of a conversion.

    Attributes:
        recipes: the one that gives the classes first, then the others in the order given; each with
            the classes in the first's order, or without any.
        cases: of all recipes, in their order.
        left_out: case → why its recipe leaves it out.
    """

    recipes: list[Recipe]
    cases: list[CaseState] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def gather(sources: Sequence[tuple[Recipe, Path]]) -> Cases:
    """Find the cases of one or more recipes below their roots.

    Sets that share people (`shared_patients`) are joined where it is known who is who, so that one
    person stays on one side of a split, and refused where it is not. Cases of synthetic recipes are
    for training only, unless there are no others.

    Raises:
        InputError: as `find_cases`; or the recipes do not go together.
    """
    order = sorted(sources, key=lambda source: not source[0].classes)
    gathered = Cases(_alike([recipe for recipe, _ in order]))
    known: set[str] = set()
    for recipe, (original, root) in zip(gathered.recipes, order, strict=True):
        cases, left_out = sound_cases(original, root)
        gathered.left_out.update(left_out)
        for source in cases:
            if source.case_id in known:
                raise InputError(
                    root,
                    f"holds a second case `{source.case_id}`",
                    "give each recipe a `case_id` of its own, or leave one folder out",
                )
            known.add(source.case_id)
            gathered.cases.append(CaseState(source, recipe))
    if not gathered.cases:
        raise InputError(sources[0][1], "holds faulty cases only", "see `faulty` in the recipe")
    person = _people(gathered)
    real = any(not case.recipe.synthetic for case in gathered.cases)
    for case in gathered.cases:
        case.source = replace(case.source, patient_id=person[case.patient_id])
        case.synthetic = case.recipe.synthetic and real
    return gathered


def sound_cases(recipe: Recipe, root: Path) -> tuple[list[CaseSource], dict[str, str]]:
    """Find the cases of one recipe, and map those that it leaves out to the reason.

    Raises:
        InputError: as `find_cases`.
    """
    faulty = {recipe.case_id.replace(CASE, c): why for c, why in recipe.faulty.items()}
    faulty |= recipe.faulty  # where the recipe captures patients, those
    sound, left_out = [], {}
    for case in find_cases(recipe, root):
        if reason := faulty.get(case.case_id) or faulty.get(case.patient_id):
            left_out[case.case_id] = reason
        else:
            sound.append(case)
    return sound, left_out


def _alike(recipes: Sequence[Recipe]) -> list[Recipe]:
    first = recipes[0]
    if not first.classes:
        raise InputError(
            first.name,
            "names organs and no lesions",
            "use --targets organs, or convert it together with a set that has lesions",
        )
    result = [first]
    for other in recipes[1:]:
        if other.representation.modality != first.representation.modality:
            raise InputError(
                other.name,
                f"is {other.representation.modality}, but `{first.name}` is"
                f" {first.representation.modality}",
                "make a dataset of each",
            )
        if not other.classes and not other.normal:
            raise InputError(
                other.name,
                "marks no lesions, and its scans are not known to be free of them",
                "leave it out, or say in a copy of the recipe what they are free of (`normal`)",
            )
        if other.classes and set(other.classes) != set(first.classes):
            raise InputError(
                other.name,
                f"has classes {', '.join(other.classes)}, but `{first.name}` has"
                f" {', '.join(first.classes)}",
                "merge them with --classes: `lesion` makes one class of all",
            )
        # one dataset has one kind of pictures: those of the recipe that gives the classes
        changed: dict[str, object] = {"representation": first.representation}
        if first.representation.crop == "organ" and not other.organs:
            raise InputError(other.name, "names no organ to crop to", "use --crop body or none")
        if other.classes:
            changed["classes"] = {name: other.classes[name] for name in first.classes}
        result.append(other.model_copy(update=changed))
    return result


def _people(gathered: Cases) -> dict[str, str]:
    """Map each patient to the name of the person, which two sets that share people agree on."""
    patient_of = {case.case_id: case.patient_id for case in gathered.cases}
    person = {patient: patient for patient in patient_of.values()}
    owner: dict[str, str] = {}
    for case in gathered.cases:
        name = case.recipe.name
        if owner.setdefault(case.patient_id, name) != name:
            raise InputError(
                name,
                f"and `{owner[case.patient_id]}` both have a patient `{case.patient_id}`",
                "give each recipe a `case_id` of its own",
            )
    for first, second in combinations(gathered.recipes, 2):
        for name, other_name in _shared_people(first, second):
            if name in patient_of and other_name in patient_of:
                kept, same = person[patient_of[name]], person[patient_of[other_name]]
                person = {p: kept if known == same else known for p, known in person.items()}
    return person


def _shared_people(first: Recipe, second: Recipe) -> Iterator[tuple[str, str]]:
    """Yield the pairs of cases (of the first, of the second recipe) that are one person."""
    for recipe, other, turned in ((first, second, False), (second, first, True)):
        shared: Mapping[str, str] | None = recipe.shared_patients.get(other.name)
        if shared is None:
            continue
        if not shared:
            raise InputError(
                second.name,
                f"and `{first.name}` hold scans of the same people, and nobody knows who is who",
                "leave one out",
            )
        for name, other_name in shared.items():
            pair = recipe.case_id.replace(CASE, name), other.case_id.replace(CASE, other_name)
            yield pair[::-1] if turned else pair
