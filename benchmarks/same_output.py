"""Show that two checkouts of this project write the same bytes for the same inputs.

Run: ``python benchmarks/same_output.py --before CHECKOUT --after CHECKOUT --data FOLDER --out WORK
[--weights yolov8n.pt]``, FOLDER holding `lits256/`, `sts/` and `lung_nrrd/`. Each checkout is run
by this interpreter, on one core. Both read the scans, datasets and the model of `before`, so that a
difference in one step does not spread to the next.

Prints a table of the files compared and the first difference of each file that differs, and ends
with code 1 if any does. WORK/before is kept and reused while its commit and the commands are the
same (delete it after an upgrade of packages); WORK/after is made afresh. What the commands print
is not compared; it lies in WORK/before/logs and WORK/after/logs.

Files whose bytes differ are compared once more without what may differ:

- text: the folders of work and checkout; a version behind `detect` or `lesion-detect`; the
  `versions` of JSON files; the `seconds` of JSON files and of CSV columns;
- DICOM: `CLOCK`, which highdicom reads from the clock; UIDs under `RANDOM_ROOT`, which it draws at
  random and which are numbered here in order of appearance; `VERSIONS`, and the version of the
  algorithm in an SR. Where the software's versions differ, UIDs under 2.25 are numbered too, since
  they are made from it.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset

PHANTOM = """import sys; from pathlib import Path; from detect.phantom import make_phantom
make_phantom(Path(sys.argv[1]), patients=15)"""
STS = """name: sts
title: Soft-tissue sarcoma CT
image: "{{case}}/CT/image"
mask: "{{case}}/{mask}"
mask_kind: {kind}
classes: {{gtv: {label}}}
window: {{level: 40, width: 400}}
"""
CONVERT = "convert --workers 1 --root"
TRAIN = (
    "train --model yolov8n --data WORK/before/phantom --imgsz 160 --batch 8 --lr 0.002"
    " --device cpu --workers 0"
)
PREDICT = "predict --model WORK/before/bundle --device cpu --confidence 0.01"
LITS = "DATA/lits256/volume-48.nii.gz DATA/lits256/volume-50.nii.gz"
EXPORTS = ("coco", "voc", "yolo", "rfdetr", "cvat", "labelstudio", "createml", "csv")
COMMANDS = {  # name of the output folder → arguments of `detect`, without --out
    "phantom": f"{CONVERT} WORK/before/phantom-scans limt --split 40,30,30",
    "phantom-organs": f"{CONVERT} WORK/before/phantom-scans limt --targets organs"
    " --channels windows --crop body --spacing 2",
    "lits256": f"{CONVERT} DATA/lits256 lits",
    "sts-rtstruct": f"{CONVERT} DATA/sts WORK/sts-rtstruct.yaml",
    "sts-labels": f"{CONVERT} DATA/sts WORK/sts-labels.yaml",
    "synthesize": "synthesize limt --root WORK/before/phantom-scans --workers 1",
    "bundle": f"{TRAIN} --epochs 6",
    "train": f"{TRAIN} --epochs 2 --hard-negatives 0.5",
    "evaluate": "evaluate --model WORK/before/bundle --data WORK/before/phantom --device cpu",
    "predict-files": f"{PREDICT} {LITS} DATA/lung_nrrd/lung1_image.nrrd",
    "predict-dicom": f"{PREDICT} DATA/sts/STS_019/CT/image --dicom-sr --dicom-seg",
    **{f"export-{name}": f"export WORK/before/phantom --to {name}" for name in EXPORTS},
}
CLOCK = ("InstanceCreationDate", "InstanceCreationTime", "ContentDate", "ContentTime",
         "ContributionDateTime")  # fmt: skip
VERSIONS = ("SoftwareVersions", "AlgorithmVersion", "ImplementationVersionName",
            "ImplementationClassUID", "FileMetaInformationGroupLength")  # fmt: skip
ALGORITHM_VERSION = "111003"  # DICOM's code
RANDOM_ROOT = "1.2.826.0.1.3680043.10.511.3."  # highdicom's
SHOWN = 70  # characters of a difference


def plan(data: Path, work: Path, weights: Path | None) -> dict[str, list[str]]:
    """Map each step to the interpreter's arguments, and write the recipes that they name."""
    for kind, mask, label in (
        ("rtstruct", "RTSTRUCT", "GTV_Mass_CT"),
        ("labels", "NIFTI/CT_mask.nii.gz", 1),
    ):
        text = STS.format(kind=kind, mask=mask, label=label)
        (work / f"sts-{kind}.yaml").write_text(text, encoding="utf-8")
    steps = {"phantom-scans": ["-c", PHANTOM]}
    for name, command in COMMANDS.items():
        words = command.split()
        words = [re.sub("^DATA/", f"{data}/", re.sub("^WORK/", f"{work}/", w)) for w in words]
        start = ["--weights", str(weights)] if weights and words[0] == "train" else []
        steps[name] = ["-m", "detect", *words, *start, "--quiet", "--out"]
    return steps


def run(steps: dict[str, list[str]], checkout: Path, folder: Path) -> list[str]:
    """Run steps by a checkout, each into a folder of its name; return those that failed."""
    (folder / "logs").mkdir(parents=True)
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    failed = []
    for name, arguments in steps.items():
        print(f"{folder.name:6} {name:18}", end="", flush=True)
        command = [sys.executable, *arguments, str(folder / name)]
        log, used = folder / "logs" / f"{name}.txt", sum(os.times()[2:4])
        with log.open("w") as stream:
            done = subprocess.run(
                command, cwd=checkout, env=environment, stdout=stream, stderr=subprocess.STDOUT
            )
        print(f"{sum(os.times()[2:4]) - used:6.1f} s of a core", flush=True)
        if done.returncode:
            failed.append(name)
            text = log.read_text(errors="replace").strip()
            print(f"  failed with code {done.returncode}: {text.rpartition(chr(10))[2]} ({log})")
    return failed


def run_before(steps: dict[str, list[str]], checkout: Path, folder: Path) -> None:
    """Run all steps by the earlier checkout; keep its folder if commit and commands are equal."""
    head = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    commit = subprocess.run(head, check=True, capture_output=True, text=True).stdout.strip()
    origin, complete = json.dumps([commit, steps], indent=1), folder / "complete.json"
    if complete.is_file() and complete.read_text() == origin:
        print(f"before: {folder} is reused, from commit {commit}")
        return
    shutil.rmtree(folder, ignore_errors=True)
    if failed := run(steps, checkout, folder):
        sys.exit(f"the checkout before failed at {', '.join(failed)}: there is nothing to compare")
    complete.write_text(origin)


def plain_text(name: str, content: bytes, places: dict[str, str]) -> str | None:
    """Return a text file without what may differ; None for a binary file."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    for place, word in places.items():
        text = text.replace(place, word)
    text = re.sub(r"\b(lesion-)?detect v?\d+(\.\w+)+", "detect VERSION", text)
    if name.endswith(".json"):
        text = re.sub(r'"versions": ?\{[^{}]*\}', '"versions": {}', text)
        text = re.sub(r'("seconds": ?)[\d.e+-]+', r'\1"SECONDS"', text)
    header = text.partition("\n")[0].split(",")
    if name.endswith(".csv") and "seconds" in header:
        rows, column = [line.split(",") for line in text.splitlines()], header.index("seconds")
        text = "\n".join(",".join([*r[:column], "SECONDS", *r[column + 1 :]]) for r in rows)
    return text


def flat_json(content: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the values of a JSON document by their paths of keys."""
    if not isinstance(content, dict | list) or not content:
        yield key, repr(content)
        return
    pairs = content.items() if isinstance(content, dict) else enumerate(content)
    for name, value in pairs:
        yield from flat_json(value, f"{key}.{name}")


def flat_dicom(
    dataset: Dataset, uids: dict[str, str], roots: tuple[str, ...], key: str = ""
) -> Iterator[tuple[str, str]]:
    """Yield the values of a DICOM object by their paths of keywords, without what may differ."""
    concept = dataset.get("ConceptNameCodeSequence") or [Dataset()]
    version = ("TextValue",) if concept[0].get("CodeValue") == ALGORITHM_VERSION else ()
    for element in dataset:
        name, value = element.keyword or str(element.tag), element.value
        if element.VR == "SQ":
            for number, item in enumerate(value):
                yield from flat_dicom(item, uids, roots, f"{key}{name}[{number}].")
        elif name not in CLOCK + VERSIONS + version:
            text = sha256(value).hexdigest() if isinstance(value, bytes) else str(value)
            if element.VR == "UI" and text.startswith(roots):
                text = uids.setdefault(text, f"UID {len(uids) + 1}")
            yield key + name, text


def shared(old: bytes | str, new: bytes | str) -> int:
    """Return the length of the start that two texts share."""
    pairs = enumerate(zip(old, new, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(old), len(new)))


def first_difference(before: dict[str, str], after: dict[str, str]) -> str:
    """Return the first key at which two mappings differ, with both values; empty if none does."""
    for key in [*before, *after]:
        old, new = before.get(key, "(missing)"), after.get(key, "(missing)")
        if old != new:
            start = max(0, shared(old, new) - SHOWN // 2)
            part = slice(start, start + SHOWN)
            return f"{key}: {old[part]!r} became {new[part]!r}"
    return ""


def difference(name: str, before: bytes, after: bytes, places: dict[str, str]) -> str:
    """Return where two files differ first, apart from what may differ; empty if they do not."""
    if name.endswith(".dcm"):
        objects = [dcmread(BytesIO(content)) for content in (before, after)]
        versions = {str(content.get("SoftwareVersions")) for content in objects}
        roots = (RANDOM_ROOT, "2.25.") if len(versions) > 1 else (RANDOM_ROOT,)

        def flat(content: FileDataset) -> dict[str, str]:
            uids: dict[str, str] = {}
            parts = (content.file_meta, content)
            return dict(chain.from_iterable(flat_dicom(part, uids, roots) for part in parts))

        return first_difference(*map(flat, objects))
    old, new = plain_text(name, before, places), plain_text(name, after, places)
    if old is None or new is None:
        return f"byte {shared(before, after)} of {len(before)}, now of {len(after)}"
    if old != new and name.endswith(".json"):
        values = [dict(flat_json(json.loads(text))) for text in (old, new)]
        if key := first_difference(*values):
            return key
    lines = [dict(enumerate(text.splitlines(True), 1)) for text in (old, new)]
    return first_difference(*({f"line {n}": line for n, line in text.items()} for text in lines))


def compare(before: Path, after: Path, places: dict[str, str]) -> tuple[Counter[str], list[str]]:
    """Compare two folders: counts for the table, and a line for each file that differs."""
    counts: Counter[str] = Counter()
    lines = []
    old, new = (
        {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        for folder in (before, after)
    )
    for name in sorted(old | new):
        counts["files"] += 1
        if name not in old or name not in new:
            first = "is new" if name in new else "is missing"
        else:
            contents = (before / name).read_bytes(), (after / name).read_bytes()
            if contents[0] == contents[1]:
                counts["identical"] += 1
                continue
            first = difference(name, *contents, places)
        counts["different" if first else "normalised"] += 1
        lines += [f"{before.name}/{name}: {first}"] if first else []
    return counts, lines


def main() -> None:
    """Run both checkouts and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--before", type=Path, required=True, help="checkout to agree with")
    parser.add_argument("--after", type=Path, required=True, help="checkout to examine")
    parser.add_argument("--data", type=Path, required=True, help="folder of real scans")
    parser.add_argument("--out", type=Path, required=True, help="folder to work in")
    parser.add_argument("--weights", type=Path, help="weight file to train from [scratch]")
    options = parser.parse_args()
    paths = (options.before, options.after, options.data, options.out)
    before, after, data, work = (path.resolve() for path in paths)
    work.mkdir(parents=True, exist_ok=True)
    steps = plan(data, work, options.weights and options.weights.resolve())
    run_before(steps, before, work / "before")
    del steps["bundle"]
    shutil.rmtree(work / "after", ignore_errors=True)
    lines = [f"{name}: the command failed" for name in run(steps, after, work / "after")]

    places = {str(work / name): "WORK" for name in ("before", "after")}
    places |= {str(checkout): "CHECKOUT" for checkout in (before, after)}
    table = {}
    for name in steps:
        table[name], more = compare(work / "before" / name, work / "after" / name, places)
        lines += more
    table["all"] = sum(table.values(), Counter())
    columns = ("files", "identical", "normalised", "different")
    print(f"\n{'step':20}" + "".join(f"{column:>12}" for column in columns))
    for name, counts in table.items():
        print(f"{name:20}" + "".join(f"{counts[column]:12}" for column in columns))
    print("\n".join(["", *lines]) if lines else "\nNo file differs.")
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
