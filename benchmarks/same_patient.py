"""Measure hits, false alarms and seconds of the search for one patient under two names.

Run: ``python benchmarks/same_patient.py DATASET [GROUP ...]`` on a dataset folder converted without
groups of patients, where GROUP lists cases known to be one person, such as
``lits-7,lits-8,lits-9,lits-10``.

Prints the known pairs found, the other pairs suspected and the likeness of both. Then every case is
altered as another scan of the same person would be, and compared with all the cases as they are:
its own is to be found, and nobody else's. Cases of the groups are left out of that, so that it says
something that the groups do not.
"""

import argparse
import time
import zlib
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from converters.dataset.folder import open_dataset
from converters.dataset.keypoints import Landmarks, find_landmarks, levels, likeness
from converters.dataset.same_patient import SUSPECT, WORTH_A_LOOK, Scan, landmarks, scans_of

Stack = tuple[list[float], list[NDArray[np.uint8]], tuple[float, float]]


def read(scan: Scan) -> Stack:
    """Read all slices of a case."""
    return scan.heights, [scan.read(k) for k in range(len(scan.heights))], scan.spacing


def moved(stack: Stack, rng: np.random.Generator) -> Stack:
    """Move a case by 20 px across, 12 px back and 137 mm along, and turn it by 3 degrees."""
    heights, pixels, spacing = stack
    side = pixels[0].shape[::-1]
    matrix = cv2.getRotationMatrix2D((side[0] / 2, side[1] / 2), 3.0, 1.0)
    matrix[:, 2] += (20, 12)
    return [h + 137 for h in heights], [cv2.warpAffine(p, matrix, side) for p in pixels], spacing


def scaled(factor: float) -> Callable[[Stack, np.random.Generator], Stack]:
    """Scale the pixels without a change of the spacing."""

    def change(stack: Stack, rng: np.random.Generator) -> Stack:
        heights, pixels, spacing = stack
        return heights, [cv2.resize(p, None, fx=factor, fy=factor) for p in pixels], spacing

    return change


def phase(stack: Stack, rng: np.random.Generator) -> Stack:
    """Change contrast, window and noise: soft tissue is darker, bright tissue is cut off."""
    heights, pixels, spacing = stack
    curve = np.clip(255 * (np.arange(256) / 230) ** 1.6, 0, 255)
    noisy = [
        np.clip(curve[p] + rng.normal(0, 12, p.shape), 0, 255).astype(np.uint8) for p in pixels
    ]
    return heights, noisy, spacing


def thinned(stack: Stack, rng: np.random.Generator) -> Stack:
    """Keep every second slice, counted from the second."""
    heights, pixels, spacing = stack
    return heights[1::2], pixels[1::2], spacing


def upper_half(stack: Stack, rng: np.random.Generator) -> Stack:
    """Crop along the body."""
    heights, pixels, spacing = stack
    half = len(heights) // 2
    return heights[half:], pixels[half:], spacing


def right_part(stack: Stack, rng: np.random.Generator) -> Stack:
    """Crop in the plane to 70 % of the columns and the rows."""
    heights, pixels, spacing = stack
    rows, columns = (round(0.7 * n) for n in pixels[0].shape)
    return heights, [p[-rows:, :columns].copy() for p in pixels], spacing


def all_at_once(stack: Stack, rng: np.random.Generator) -> Stack:
    """Move, scale by 0.9, change the contrast and keep every second slice."""
    for change in (moved, scaled(0.9), phase, thinned):
        stack = change(stack, rng)
    return stack


CHANGES: dict[str, Callable[[Stack, np.random.Generator], Stack]] = {
    "moved and turned": moved,
    "scaled 0.9": scaled(0.9),
    "scaled 1.1": scaled(1.1),
    "other contrast": phase,
    "every second slice": thinned,
    "upper half": upper_half,
    "cropped in plane": right_part,
    "moved, scaled, contrast, thinned": all_at_once,
}


def altered(scan: Scan, change: Callable[[Stack, np.random.Generator], Stack]) -> Landmarks:
    """Return the landmarks of an altered case; the noise depends on its name alone."""
    heights, pixels, spacing = change(
        read(scan), np.random.default_rng(zlib.crc32(scan.case.encode()))
    )
    return find_landmarks([(heights[k], pixels[k]) for k in levels(heights)], spacing)


def checked_likeness(a: Landmarks, b: Landmarks) -> float:
    """Return the likeness that `detect check` sees: 0 where its first, quick comparison is low."""
    if likeness(a.strongest(), b.strongest()).score < WORTH_A_LOOK:
        return 0.0
    return likeness(a, b).score


def real_pairs(marks: dict[str, Landmarks], known: set[frozenset[str]]) -> None:
    """Print the suspected pairs among the unaltered cases."""
    scores = {
        frozenset(p): likeness(marks[p[0]], marks[p[1]]).score for p in combinations(marks, 2)
    }
    seen = {p for p in scores if checked_likeness(*(marks[case] for case in sorted(p))) >= SUSPECT}
    others = np.array(sorted(s for p, s in scores.items() if p not in known))
    print(f"known pairs: {len(seen & known)} of {len(known)} found", end="")
    print(f", likeness {min(scores[p] for p in known):.3f} and more" if known else "")
    print(
        f"other pairs: {len(seen - known)} of {len(others)} suspected; likeness median"
        f" {np.median(others):.3f}, 99 % below {np.quantile(others, 0.99):.3f}; the highest:"
    )
    for pair in sorted(scores.keys() - known, key=lambda p: -scores[p])[:5]:
        print(f"  {' and '.join(sorted(pair))}: {scores[pair]:.3f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("groups", nargs="*")
    arguments = parser.parse_args()
    groups = [group.split(",") for group in arguments.groups]
    known = {frozenset(pair) for group in groups for pair in combinations(group, 2)}
    scans = scans_of(open_dataset(arguments.dataset))

    start = time.process_time()
    marks = {scan.case: landmarks(scan) for scan in scans}
    middle = time.process_time()
    for a, b in combinations(marks.values(), 2):
        checked_likeness(a, b)
    end = time.process_time()
    pairs = len(marks) * (len(marks) - 1) // 2
    print(f"{len(marks)} cases: landmarks {middle - start:.1f} s CPU;", end=" ")
    print(f"{pairs} pairs: {end - middle:.1f} s CPU\n")
    real_pairs(marks, known)

    grouped = {case for group in groups for case in group}
    alone = [scan for scan in scans if scan.case not in grouped]
    print(f"\n{len(alone)} altered cases, threshold {SUSPECT}:")
    print(f"{'':34}own found  lowest  others suspected  highest")
    for name, change in CHANGES.items():
        same, others = [], []
        for scan in alone:
            changed = altered(scan, change)
            for case in alone:
                score = checked_likeness(changed, marks[case.case])
                (same if case is scan else others).append(score)
        print(
            f"{name:34}{sum(s >= SUSPECT for s in same):4} of {len(same):2}  {min(same):6.3f}"
            f"{sum(s >= SUSPECT for s in others):9} of {len(others):4}  {max(others):7.3f}"
        )


if __name__ == "__main__":
    main()
