"""Time `detect predict` against a script of ultralytics on the same weights and pixels.

Run: ``python benchmarks/predict.py RUN``, RUN being a YOLO of `detect train`; its exports, where it
has any, are timed too. On a generated CT of 512 x 512 x 150 voxels, in one run,

* *yolo*: nibabel's `get_fdata`, a PNG a slice, what `yolo predict source=folder save_txt=True
  save_conf=True` does (it draws every slice, too), and its text files read back: boxes of slices;
* *bare*: the same with `save=False`, so that nothing is drawn;
* *ours*: `detect predict`, which also links lesions, places them in the patient, draws them, and
  writes label volume, tables and report.

Every job is a process of its own and starts from nothing, as a command does: with one scan, and
with several, the models loaded once by both. A last row sets a loop of the shell, which starts
`yolo predict` anew for each scan, beside one `detect predict` of all of them: what a user of today
who has a script for one scan does with many. The ratios of processor seconds (user + system, all
threads) are disturbed least by whatever else runs; the wall clock and the load stand beside them.
Where other programs want the cores, set OMP_NUM_THREADS=1: ultralytics takes one thread by itself,
while torch with more spins when they are held up, and that counts as processor seconds.

Boxes are compared before those steps of ours that only drop some (one finding a place, linking),
and from the same confidence on: theirs, by class, with those of ours of IoU >= 0.99 and a score
within 0.01. Ours has boxes of a second class at one place, where theirs keeps the surest alone.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from convert import Clock, make_scans

SIDE, SLICES = 512, 150
SEVERAL = 3  # scans of one command, for what each further one takes
MARKS = (5, 10, 25, 50)  # scans after which the memory is read
IOU, SCORE = 0.99, 0.01


def to_checkpoint(run: Path, path: Path) -> None:
    """Write the weights of a bundle as a checkpoint of ultralytics."""
    import torch

    from detect.detectors.registry import load_detector

    detector: Any = load_detector(run, "cpu")
    network = detector.network
    network.names = dict(enumerate(detector.spec.classes))
    torch.save({"model": network, "train_args": {"task": "detect"}, "epoch": -1}, path)


# The jobs


def yolo(
    scans: list[Path],
    out: Path,
    weights: Path,
    imgsz: int,
    confidence: float,
    window: Any,
    save: bool,
) -> None:
    """Predict with ultralytics, one scan after the other, and keep the boxes of the first."""
    import nibabel as nib
    from PIL import Image
    from ultralytics import YOLO

    model = YOLO(weights)
    low = window["level"] - window["width"] / 2
    for number, scan in reversed(list(enumerate(scans))):
        png = out / f"png{number}"
        png.mkdir(parents=True)
        hu = nib.as_closest_canonical(nib.load(scan)).get_fdata()
        for z in range(hu.shape[2]):
            grey = np.rint(np.clip((hu[:, :, z] - low) * 255 / window["width"], 0, 255))
            picture = grey.astype(np.uint8)[::-1, ::-1].T  # from RAS to rows from the front
            Image.fromarray(picture).save(png / f"{z:04d}.png")
        model.predict(
            str(png), save=save, save_txt=True, save_conf=True, imgsz=imgsz, conf=confidence,
            device="cpu", verbose=False, project=str(out), name=f"found{number}",
        )  # fmt: skip
        boxes = []
        for text in sorted((out / f"found{number}" / "labels").glob("*.txt")):
            for line in text.read_text().splitlines():
                label, x, y, w, h, score = map(float, line.split())
                sides = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2]) * SIDE
                boxes.append([int(text.stem), *sides, label, score])
    (out / "boxes.json").write_text(json.dumps(boxes))


def all_boxes(run: Path, runtime: str, scan: Path, confidence: float) -> list[list[float]]:
    """Detect our boxes before any is dropped: (slice, x1, y1, x2, y2, class, score)."""
    from converters.imaging.read import read_volume
    from converters.preprocessing.pictures import pictures
    from detect.detectors.exported import load_predictor

    detector = load_predictor(run, "cpu", runtime)
    seen = pictures(read_volume(scan), detector.spec.representation, scan)
    rows = []
    for z in range(len(seen)):
        (boxes,) = detector.predict([seen[z]])
        for xyxy, label, score in zip(boxes.xyxy, boxes.label, boxes.score, strict=True):
            if score >= confidence:
                rows.append([z, *xyxy.tolist(), int(label), float(score)])
    return rows


def agreement(theirs: list[list[float]], ours: list[list[float]]) -> str:
    """Return a text with the number of boxes that both sides share."""
    from converters.core.boxes import iou

    by_slice: dict[int, list[list[float]]] = defaultdict(list)
    for row in ours:
        by_slice[int(row[0])].append(row)
    same, taken, apart = 0, Counter[int](), 0.0
    for row in theirs:
        near = np.array(by_slice[int(row[0])]).reshape(-1, 7)
        fits = iou(np.array([row[1:5]]), near[:, 1:5])[0]
        fits[near[:, 5] != row[5]] = 0
        if len(near) and fits.max() >= IOU and abs(near[fits.argmax(), 6] - row[6]) <= SCORE:
            same += 1
            taken[int(row[0])] += 1
            apart = max(apart, abs(near[fits.argmax(), 6] - row[6]))
    share = 100 * same / max(len(theirs), 1)
    more = len(ours) - same
    return (
        f"{same} of {len(theirs)} boxes the same ({share:.1f} %, scores to {apart:.4f});"
        f" {more} more of ours, second classes of a place"
    )


# Memory


def memory(run: Path, scans: Path, out: Path) -> dict[str, float]:
    """Predict on many scans; returns scans done → resident memory, MiB."""
    from detect.workflows.predict import predict

    seen: dict[str, float] = {}
    over = threading.Event()

    def resident() -> float:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE") / 2**20

    def watch() -> None:
        while not over.wait(0.02):
            done = len(list(out.glob("scan*")))
            for mark in MARKS:
                if done >= mark:
                    seen.setdefault(str(mark), resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    predict(run, [scans], out=out, device="cpu")
    over.set()
    watcher.join()
    seen.setdefault(str(MARKS[-1]), resident())
    status = Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return seen | {"peak": int(peak.split()[1]) / 1024}


# The whole


def measure(words: list[str]) -> tuple[float, float, float, str]:
    """Run a command; returns processor seconds, wall seconds, load and what it printed."""
    clock, printed = Clock(), ""
    load = os.getloadavg()[0]

    def run() -> None:
        nonlocal printed
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, encoding="utf-8")
        printed = done.stdout

    clock.time(run)
    return clock.cpu, clock.wall, load, printed


def generated(folder: Path) -> Path:
    """Make the CT, by a process of its own, so that this one stays small."""
    if not (folder / "scans").is_dir():
        words = ["--make", str(folder / "scans"), "1", str(SLICES), str(SIDE)]
        subprocess.run([sys.executable, __file__, *words], check=True)
    return next((folder / "scans" / "images").glob("*.nii.gz"))


def job(*words: object) -> list[str]:
    """Return the command that runs one job of this script."""
    return [sys.executable, __file__, "--job", *map(str, words)]


def compare(run: Path, folder: Path, confidence: float) -> None:
    """Print seconds, ratios and how the boxes agree."""
    from detect.detectors.card import read_model_card
    from detect.detectors.exported import RUNTIMES, read_exports

    card = read_model_card(run)
    scan = generated(folder)
    to_checkpoint(run, folder / "weights.pt")
    known = read_exports(run, card).exports
    request = {
        "imgsz": card.spec.imgsz, "confidence": confidence,
        "window": card.spec.representation.window.model_dump(mode="json"),
    }  # fmt: skip
    print(
        f"{SIDE} x {SIDE} x {SLICES}, {scan.stat().st_size / 2**20:.0f} MiB packed;"
        f" {card.spec.model} at {card.spec.imgsz} px, confidence {confidence:g},"
        f" {os.cpu_count()} cores"
    )
    several = [folder / f"scan{number}.nii.gz" for number in range(SEVERAL)]
    for path in several:
        shutil.copy(scan, path)
    runtimes = [name for name in RUNTIMES if name == "torch" or name in known]
    print(f"{'':26}{'cpu s':>8}{'ratio':>8}{'wall s':>8}{'ratio':>8}{'load':>6}")
    seconds: dict[tuple[str, int], tuple[float, float]] = {}
    for name in ["yolo", "bare", *runtimes]:
        for count in (1, SEVERAL):
            out = folder / f"{name}-{count}"
            if name in ("yolo", "bare"):
                asked = json.dumps(request | {"save": name == "yolo"})
                words = job("yolo", out, folder / "weights.pt", asked, *several[:count])
            else:
                command = [
                    "-m",
                    "detect",
                    "predict",
                    *several[:count],
                    "--model",
                    run,
                    "--out",
                    out,
                ]
                command += ["--runtime", name, "--confidence", confidence, "--device", "cpu"]
                words = [sys.executable, *map(str, command), "--quiet"]
            cpu, wall, load, _ = measure(words)
            seconds[name, count] = cpu, wall
            row(f"{name}, {count} scan{'s' if count > 1 else ''}", seconds, name, count, load)
        pairs = zip(seconds[name, 1], seconds[name, SEVERAL], strict=True)
        cpu, wall = ((last - first) / (SEVERAL - 1) for first, last in pairs)
        seconds[name, 0] = cpu, wall
        row(f"{name}, each further scan", seconds, name, 0, load)
    by_command(seconds, runtimes)
    boxes = json.loads((folder / "yolo-1" / "boxes.json").read_text())
    for runtime in runtimes:
        ours = all_boxes(run, runtime, scan, confidence)
        print(f"{'ours, ' + runtime:22}{agreement(boxes, ours)}", flush=True)


def by_command(seconds: dict[tuple[str, int], tuple[float, float]], runtimes: list[str]) -> None:
    """Print one command of ours for several scans against a command of theirs for each."""
    print(f"{SEVERAL} scans, theirs with a command each ({SEVERAL} times theirs of 1 scan):")
    cpu, wall = (SEVERAL * value for value in seconds["yolo", 1])
    for name in runtimes:
        ours = seconds[name, SEVERAL]
        print(
            f"{'  ' + name + ', one command':26}{ours[0]:8.1f}{cpu / ours[0]:7.1f}x"
            f"{ours[1]:8.1f}{wall / ours[1]:7.1f}x",
            flush=True,
        )


def row(
    title: str, seconds: dict[tuple[str, int], tuple[float, float]], name: str, count: int,
    load: float,
) -> None:  # fmt: skip
    """Print one row, with the ratio to the same number of scans of theirs."""
    ours, theirs = seconds[name, count], seconds["yolo", count]
    cpu, wall = ours
    ratios = ["", ""]
    if name != "yolo":  # a busy machine can make three scans faster than one
        ratios = [f"{a / b:.1f}x" if b > 0 else "?" for a, b in zip(theirs, ours, strict=True)]
    print(f"{title:26}{cpu:8.1f}{ratios[0]:>8}{wall:8.1f}{ratios[1]:>8}{load:6.1f}", flush=True)


def flat(run: Path, folder: Path) -> None:
    """Print the memory after 5, 10, 25 and 50 scans."""
    many = folder / "many"
    if not many.is_dir():
        subprocess.run(
            [sys.executable, __file__, "--make", str(many), "1", "24", "128"], check=True
        )
        (scan,) = (many / "images").glob("*.nii.gz")
        for number in range(MARKS[-1]):
            shutil.copy(scan, many / f"scan{number:02d}.nii.gz")
        shutil.rmtree(many / "images")
        shutil.rmtree(many / "masks")
    resident = json.loads(
        measure(job("memory", run, many, folder / "many-out"))[3].splitlines()[-1]
    )
    marks = ", ".join(f"{mark}: {resident[str(mark)]:.0f}" for mark in MARKS)
    print(f"\nMiB resident after so many scans: {marks}; peak {resident['peak']:.0f}")


def run_job(words: list[str]) -> None:
    """Run one job in this process."""
    name, *rest = words
    if name == "yolo":
        asked = json.loads(rest[2])
        yolo([Path(path) for path in rest[3:]], Path(rest[0]), Path(rest[1]), **asked)
    else:
        print(json.dumps(memory(Path(rest[0]), Path(rest[1]), Path(rest[2]))))


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--confidence", type=float, default=0.25)
    parser.add_argument("--folder", type=Path, help="keep scans and results here")
    parser.add_argument("--only", choices=("compare", "memory"))
    parser.add_argument("--job", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--make", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        root, cases, slices, side = options.make
        make_scans(Path(root), int(cases), int(slices), side=int(side))
        return
    if options.job:
        run_job(options.job)
        return
    if options.run is None:
        parser.error("give a model folder of `detect train`")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if options.only in (None, "compare"):
            compare(options.run, folder, options.confidence)
        if options.only in (None, "memory"):
            flat(options.run, folder)


if __name__ == "__main__":
    main()
