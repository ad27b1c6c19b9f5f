"""Time `detect convert` against a short script, and against unpacking and encoding alone.

Run: ``python benchmarks/convert.py``. On generated CTs of 512 x 512 pixels with 150 and with 600
slices, packed as .nii.gz with masks of the liver and of lesions, one run compares

* *script*: nibabel's `get_fdata`, `scipy.ndimage.label` for each slice and class, PIL's PNG;
* *floor*: unpack both files and encode the same pictures, nothing else: no window, no boxes, no
  checksum of the source, not even writing them;
* *ours* with one and with two workers, which also links lesions in 3D, measures them in mm, and
  checks and hashes what it reads.

Every job has a process of its own. The ratios are of processor seconds (user + system, children
included), which a busy machine disturbs least; the wall clock and the load stand beside them. The
memory is the peak of the largest single process, its libraries included.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import numpy as np

SIDE, BASE_SLICES = 512, 24
REFERENCE = 2  # cases for script and floor
WINDOW = (60.0, 300.0)  # level and width of the limt recipe
CLASSES = {2: 0, 3: 1, 4: 2, 5: 3}  # mask label → class index
JOBS = ("script", "floor", "ours, 1 worker", "ours, 2 workers")


def make_scans(root: Path, cases: int, slices: int, seed: int = 0, side: int = SIDE) -> None:
    """Write cases as scanners' converters store them: rows from the back of the patient."""
    from converters.imaging.nifti import write_nifti
    from detect.phantom.cases import make_case

    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    index = next(k for k in range(9) if make_case(seed, k, 64, BASE_SLICES)[1].max() > 1)
    base, base_mask, affine = make_case(seed, index, side, BASE_SLICES)
    affine[:3, 2] /= 5.0  # 1 mm slices
    affine[:3, 3] += affine[:3, 1] * (side - 1)
    affine[:3, 1] *= -1
    there_and_back = np.concatenate([np.arange(BASE_SLICES), np.arange(BASE_SLICES)[::-1]])
    for case in range(cases):
        order = np.resize(np.roll(there_and_back, 5 * case), slices)
        hu = base[order][:, ::-1].copy()
        for layer in hu:  # the phantom's noise is smooth; with this a file packs as a real CT does
            layer += np.rint(rng.normal(0, 3, layer.shape) * (layer > -1000)).astype(np.int16)
        write_nifti(root / "images" / f"{case}.nii.gz", hu, affine)
        write_nifti(root / "masks" / f"{case}.nii.gz", base_mask[order][:, ::-1], affine)


def first_scans(root: Path) -> list[Path]:
    """Return the first REFERENCE scans, for the jobs whose seconds add up."""
    return sorted((root / "images").glob("*.nii.gz"))[:REFERENCE]


def script(root: Path, out: Path) -> None:
    """Convert with a short script of nibabel and OpenCV."""
    import nibabel as nib
    from PIL import Image
    from scipy import ndimage

    low, high = WINDOW[0] - WINDOW[1] / 2, WINDOW[0] + WINDOW[1] / 2
    for path in first_scans(root):
        hu = nib.as_closest_canonical(nib.load(path)).get_fdata()
        mask = nib.as_closest_canonical(nib.load(root / "masks" / path.name)).get_fdata()
        for z in range(hu.shape[2]):
            grey = np.clip((hu[:, :, z] - low) / (high - low), 0, 1) * 255
            name = f"{path.name.removesuffix('.nii.gz')}_{z:04d}"
            Image.fromarray(np.rot90(grey.astype(np.uint8))).save(out / f"{name}.png")
            labels = np.rot90(mask[:, :, z])
            lines = []
            for value, index in CLASSES.items():
                numbered, _ = ndimage.label(labels == value, structure=np.ones((3, 3)))
                for rows, columns in ndimage.find_objects(numbered):
                    w, h = columns.stop - columns.start, rows.stop - rows.start
                    cx, cy = columns.start + w / 2, rows.start + h / 2
                    lines.append(f"{index} {cx / SIDE} {cy / SIDE} {w / SIDE} {h / SIDE}\n")
            (out / f"{name}.txt").write_text("".join(lines))


def ours(root: Path, out: Path, workers: int) -> None:
    """Convert with every slice as a picture."""
    from converters.conversion.convert import convert
    from converters.recipes.catalog import find_recipe

    convert(
        find_recipe("limt"),
        root,
        out / "dataset",
        split=(1, 0, 0),
        negatives="all",
        workers=workers,
    )
    # The workers are children of a server; ended and waited for, it hands on what they used.
    forkserver._forkserver._stop()  # type: ignore[attr-defined]


class Clock:
    """Sum the wall-clock and processor seconds of this process and its children."""

    def __init__(self) -> None:
        """Set all sums to zero."""
        self.wall = self.cpu = 0.0

    def time(self, job: Callable[[], Any]) -> None:
        """Run a job and add what it took."""
        wall, cpu = time.perf_counter(), _cpu()
        job()
        self.wall += time.perf_counter() - wall
        self.cpu += _cpu() - cpu


def _cpu() -> float:
    process, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return process.ru_utime + process.ru_stime + children.ru_utime + children.ru_stime


def floor(root: Path, pictures: Path, clock: Clock) -> None:
    """Unpack and encode; the pictures are read before the clock starts."""
    import cv2

    cv2.setNumThreads(1)
    for path in first_scans(root):
        case = path.name.removesuffix(".nii.gz")
        pixels = [
            cv2.imread(str(picture), cv2.IMREAD_UNCHANGED)
            for picture in sorted(pictures.glob(f"{case}_z*.png"))
        ]
        voxels = SIDE * SIDE * len(pixels)
        clock.time(partial(_unpack, path, 2 * voxels + 352))
        clock.time(partial(_unpack, root / "masks" / path.name, voxels + 352))
        clock.time(partial(_encode, pixels))


def _unpack(source: Path, size: int) -> None:
    """Unpack a file into one array of a known size, by the fastest way known here."""
    from isal import isal_zlib

    target, done = np.empty(size, np.uint8).data, 0
    unpacker, packed = isal_zlib.decompressobj(31), b""
    with source.open("rb") as stream:
        while not unpacker.eof:
            packed = packed or stream.read(1 << 20)
            piece = unpacker.decompress(packed, 1 << 20)
            packed = unpacker.unconsumed_tail
            target[done : done + len(piece)] = piece
            done += len(piece)
    assert done == size


def _encode(pixels: list[np.ndarray]) -> None:
    import cv2

    for picture in pixels:
        cv2.imencode(".png", picture)


def run_job(job: str, root: Path, out: Path) -> dict[str, float]:
    """Run one job in this process, which should do nothing else."""
    clock = Clock()
    if job == "floor":
        floor(root, out, clock)
    elif job == "script":
        import nibabel  # noqa: F401  (libraries are loaded before the clock starts)
        import PIL.Image  # noqa: F401
        import scipy.ndimage  # noqa: F401

        clock.time(lambda: script(root, out))
    else:
        clock.time(lambda: ours(root, out, int(job.split()[1])))
    cases = len(first_scans(root) if job in JOBS[:2] else list((root / "images").iterdir()))
    return {"wall": clock.wall / cases, "cpu": clock.cpu / cases, "peak": _peak() / 1024}


def _peak() -> int:
    """Return the peak memory of this process, or of a child if that is larger, in KiB."""
    status = Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return max(int(peak.split()[1]), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)


def measure(job: str, root: Path, out: Path) -> dict[str, float]:
    """Run one job in a process of its own."""
    words = [sys.executable, __file__, "--job", job, str(root), str(out)]
    load = os.getloadavg()[0]
    done = subprocess.run(words, check=True, capture_output=True, encoding="utf-8")
    return {**json.loads(done.stdout), "load": load}


def compare(folder: Path, cases: int, slices: int, repeats: int) -> None:
    """Print the table for scans of one size."""
    root = folder / f"scans-{slices}"
    if not root.is_dir():  # in a process of its own too: children inherit the parent's peak
        words = [sys.executable, __file__, "--make", str(root), str(cases), str(slices)]
        subprocess.run(words, check=True)
    packed = sum(p.stat().st_size for p in (root / "images").iterdir()) / cases / 2**20
    volume = SIDE * SIDE * slices * 2 / 2**20
    best: dict[str, dict[str, float]] = {}
    for _ in range(repeats):
        for job in (JOBS[2], JOBS[3], JOBS[0], JOBS[1]):  # the floor needs our pictures
            with tempfile.TemporaryDirectory(dir=folder) as out:
                place = Path(out) if job != "floor" else folder / "pictures"
                result = measure(job, root, place)
                if job == JOBS[2]:
                    pictures = Path(out) / "dataset/images/train"
                    keep = folder / "pictures"
                    if keep.is_dir():
                        for file in keep.iterdir():
                            file.unlink()
                        keep.rmdir()
                    pictures.rename(keep)
            if job not in best or result["cpu"] < best[job]["cpu"]:
                best[job] = result
    print(
        f"\n{cases} cases of {slices} slices, {volume:.0f} MiB each, {packed:.0f} MiB packed"
        f" ({packed / volume:.2f}); seconds are of one case"
    )
    head = ("cpu s", "script", "floor", "wall s", "load", "peak MiB", "volumes")
    print(" " * 16 + "".join(f"{name:>10}" for name in head))
    for job in JOBS:
        r = best[job]
        row = (
            f"{r['cpu']:.2f}",
            f"{best['script']['cpu'] / r['cpu']:.1f}x",
            f"{r['cpu'] / best['floor']['cpu']:.2f}x",
            f"{r['wall']:.2f}",
            f"{r['load']:.1f}",
            f"{r['peak']:.0f}",
            f"{r['peak'] / volume:.2f}x",
        )
        print(f"{job:16}" + "".join(f"{value:>10}" for value in row))
    single, pair = best[JOBS[2]], best[JOBS[3]]
    print(
        f"two workers against one: {single['wall'] / pair['wall']:.2f}x as fast on the wall clock,"
        f" {pair['cpu'] / single['cpu']:.2f}x the processor seconds"
    )


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--slices", type=int, nargs="+", default=[150, 600])
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keep the generated scans here")
    parser.add_argument("--job", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--make", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make_scans(Path(options.make[0]), int(options.make[1]), int(options.make[2]))
        return
    if options.job:
        job, root, out = options.job
        print(json.dumps(run_job(job, Path(root), Path(out))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for slices in options.slices:
            compare(folder, options.cases, slices, options.repeats)


if __name__ == "__main__":
    main()
