"""Run the verbs on datasets: convert, synthesize, check, export, datasets."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from converters.core.errors import InputError
from detect.cli.options import Out, Overwrite, Quiet, Scheduler, Seed, Workers
from detect.cli.printing import list_errors, show


def convert(
    recipe: Annotated[
        list[str], typer.Argument(help="Names that `detect datasets` lists, or YAML files.")
    ],
    root: Annotated[
        list[Path],
        typer.Option(help="Read scans and masks from this folder; give one for each recipe."),
    ],
    out: Out,
    targets: Annotated[str, typer.Option(help="Draw boxes around lesions or organs.")] = "lesions",
    classes: Annotated[
        str | None,
        typer.Option(
            help="Merge classes: `lesion` makes one of all; or name a merging of the recipe, or"
            " write new=old+old,…"
        ),
    ] = None,
    negatives: Annotated[
        str,
        typer.Option(
            help="Keep all or none of the slices without a lesion, or so many for each slice with"
            " one; by split as train=1,val=all,test=all."
        ),
    ] = "train=1,val=all,test=all",
    split: Annotated[
        str,
        typer.Option(
            help="Share the patients among train, val and test by these weights, or take the"
            " `published` split."
        ),
    ] = "70,15,15",
    split_file: Annotated[
        Path | None,
        typer.Option(
            help="Read the split from a YAML or JSON file with lists train, val and test."
        ),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(
            help="Use a window LEVEL,WIDTH in HU, or percentiles LOW%,HIGH% of the values in the"
            " body."
        ),
    ] = None,
    channels: Annotated[
        str | None,
        typer.Option(
            help="Make grey pictures (gray), or three channels: adjacent:MM takes the slices MM"
            " below and above, windows takes three windows."
        ),
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(
            help="Crop to the body or the organ, or none. A crop to the organ needs masks: such"
            " models can be evaluated, but not predict."
        ),
    ] = None,
    spacing: Annotated[
        float | None,
        typer.Option(help="Resample pixels to this size in mm; 0 keeps the pixels of the scan."),
    ] = None,
    min_size_mm: Annotated[
        float, typer.Option(help="Drop boxes whose longest diameter in mm is smaller.")
    ] = 0.0,
    resample_mask: Annotated[
        bool,
        typer.Option(
            "--resample-mask", help="Resample masks on another grid to the grid of their scan."
        ),
    ] = False,
    seed: Seed = 0,
    workers: Workers = 2,
    scheduler: Scheduler = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> int:
    """Convert scans with masks into a dataset folder of pictures and boxes."""
    from converters.conversion.convert import convert as run
    from converters.recipes.catalog import find_recipe, wanted_recipe, with_pictures

    if len(root) != len(recipe):
        raise InputError("--root", f"is given {len(root)} times", "give one for each recipe")
    recipes = [with_pictures(find_recipe(name), window, channels, crop, spacing) for name in recipe]
    wanted = [wanted_recipe(chosen, targets, classes) for chosen in recipes]
    first, *more = zip(wanted, root, strict=True)
    result = run(
        *first,
        out,
        more=more,
        split="published" if split == "published" else _numbers("--split", split),
        split_file=split_file,
        negatives=negatives,
        min_size_mm=min_size_mm,
        resample_mask=resample_mask,
        seed=seed,
        workers=workers,
        scheduler=scheduler,
        overwrite=overwrite,
    )
    cases = result.manifest.cases
    if result.manifest.request.recipe.representation.crop == "organ":
        show("Organ crops need a mask: a model trained on them can be scored, not predict.")
    for warning in result.warnings:
        show(f"warning: {warning}")
    if result.up_to_date:
        show(f"{out}: up to date")
    show(
        f"{out}: {len(cases)} cases of {len({c.patient for c in cases})} patients,"
        f" {sum(c.slices for c in cases)} slices,"
        f" {sum(sum(c.boxes.values()) for c in cases)} boxes"
        f" ({sum(c.small_boxes for c in cases)} under 3 mm,"
        f" {sum(c.dropped_boxes for c in cases)} dropped),"
        f" {sum(sum(c.lesions.values()) for c in cases)} lesions"
    )
    for case, reason in result.left_out.items():
        show(f"  {case} left out: {reason}")
    for note, count in Counter(note for c in cases for note in c.notes).items():
        first_case = next(c.id for c in cases if note in c.notes)
        show(f"{first_case}{f' and {count - 1} more cases' if count > 1 else ''}: {note}")
    return list_errors(result.errors)


def synthesize(
    recipe: Annotated[str, typer.Argument(help="A name of `detect datasets`, or a YAML file.")],
    root: Annotated[Path, typer.Option(help="Read the scans and masks from this folder.")],
    out: Out,
    kinds: Annotated[
        str, typer.Option(help="Grow these lesions, with commas between.")
    ] = "hcc,metastasis,cyst,hemangioma",
    lesions: Annotated[
        str, typer.Option(metavar="LOW,HIGH", help="Grow between LOW and HIGH lesions a scan.")
    ] = "1,6",
    copies: Annotated[int, typer.Option(help="Make this many scans of each case.")] = 1,
    organ: Annotated[
        str | None, typer.Option(help="Grow in this organ [the recipe's only one, or liver].")
    ] = None,
    only_normal: Annotated[
        str | None,
        typer.Option(
            metavar="cases|slices",
            help="Use only cases, or runs of slices, without lesions of their own [keep them].",
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Merge real and synthetic classes: `lesion`, or new=old+old,…"),
    ] = None,
    resample_mask: Annotated[
        bool,
        typer.Option(
            "--resample-mask", help="Resample masks on another grid to the grid of their scan."
        ),
    ] = False,
    seed: Seed = 0,
    workers: Workers = 2,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> int:
    """Grow lesions in the organs of scans, and write scans, masks and a recipe to convert them."""
    from converters.recipes.catalog import find_recipe
    from detect.workflows.synthesize import synthesize as run

    result = run(
        find_recipe(recipe),
        root,
        out,
        organ=organ,
        kinds=[name.strip() for name in kinds.split(",") if name.strip()],
        lesions=_range(lesions),
        copies=copies,
        only_normal=only_normal,
        classes=classes,
        resample_mask=resample_mask,
        seed=seed,
        workers=workers,
        overwrite=overwrite,
    )
    if result.up_to_date:
        show(f"{out}: up to date")
    for reason, count in Counter(result.left_out.values()).items():
        first = next(case for case, why in result.left_out.items() if why == reason)
        more = f" and {count - 1} more cases" if count > 1 else ""
        show(f"{first}{more} left out: {reason}")
    grown = ", ".join(f"{count} {kind}" for kind, count in sorted(result.lesions.items()))
    show(f"{out}: {result.scans} scans with {sum(result.lesions.values())} new lesions ({grown})")
    show(f"To make a dataset of them: detect convert {result.recipe} --root {out} --out DATASET")
    return list_errors(result.errors)


def check(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder.")],
    other: Annotated[
        Path | None,
        typer.Argument(help="Another dataset folder, to search for patients that are in both."),
    ] = None,
    look: Annotated[
        bool,
        typer.Option(
            "--look/--no-look",
            help="Compare the pictures of cases to find one person under two names.",
        ),
    ] = True,
    out: Annotated[
        Path | None,
        typer.Option(help="Draw the suspected pairs side by side into this new folder."),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="End with exit code 1 for suspicions across two sides, too."),
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> int:
    """Audit the files, boxes, classes and patients of a dataset, or of two."""
    from converters.dataset.audit import check as run
    from converters.dataset.contact_sheet import check_out, write_suspicions
    from converters.dataset.same_patient import same_patient

    if out is not None:
        check_out(out, overwrite)
    folders = [dataset] if other is None else [dataset, other]
    problems = [problem for folder in folders for problem in run(folder)]
    search = same_patient(dataset, other, look=look)
    problems += search.certain
    for line in [*problems, *search.notes, *map(str, search.suspicions)]:
        show(line)
    if out is not None:
        write_suspicions(search.suspicions, out, overwrite)
    across = sum(s.two_sides for s in search.suspicions)
    verdict = f"{len(problems)} problems" if problems else "sound"
    if search.suspicions:
        verdict += (
            f"; {len(search.suspicions)} of {search.pairs} pairs of cases suspected to be one"
            f" patient, {across} of them on two sides; that is no proof: look at them"
            f" {f'in {out}' if out else 'with --out FOLDER'}"
        )
    show(f"{' and '.join(map(str, folders))}: {verdict}")
    return 1 if problems or (strict and across) else 0


def export(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET|RUN", help="Dataset folder, or model bundle of `detect train`."
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            help="Write a dataset as coco, yolo, voc, rfdetr, cvat, labelstudio, createml or csv."
            " Write a model as onnx, openvino or torchscript."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Make this folder; a model is exported into its bundle.")
    ] = None,
    link: Annotated[
        bool, typer.Option("--link", help="Hard-link the pictures instead of copying them.")
    ] = False,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Quantise for OpenVINO, and measure the loss of accuracy."),
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Compare and quantise a model on this dataset [default: phantom slices]."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier export.")
    ] = False,
    quiet: Quiet = False,
) -> int:
    """Write a dataset in another tool's layout, or a model for another runtime."""
    from detect.workflows.export import export as run
    from detect.workflows.export_model import ExportModelResult, render_export

    result = run(source, to, out, link=link, int8=int8, data=data, overwrite=overwrite)
    if isinstance(result, ExportModelResult):
        for path in result.files:
            show(f"{path}: sha256 {result.export.sha256[path.name]}")
        show(render_export(result))
        return 0
    show(
        f"{out}: {result.images} images ({result.negatives} without a box), {result.boxes} boxes;"
        " README.txt says how to read them"
    )
    return 0


def datasets(
    name: Annotated[
        str | None, typer.Argument(help="A recipe to describe, with the commands to run.")
    ] = None,
) -> int:
    """List the known public datasets, or describe one."""
    from converters.recipes.catalog import describe_dataset
    from detect.cli.tables import datasets_table

    show(describe_dataset(name) if name else datasets_table())
    return 0


def _range(text: str) -> tuple[int, int]:
    low, _, high = text.partition(",")
    try:
        return int(low), int(high or low)
    except ValueError as error:
        raise InputError("--lesions", f"`{text}` is no range", "write for example 1,6") from error


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(
            option, f"`{text}` is not numbers", "write for example 70,15,15"
        ) from error
