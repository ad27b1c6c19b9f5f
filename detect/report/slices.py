"""Choose the slices that a report shows, as small pictures within a budget of bytes."""

import base64
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from converters.core.drawing import grey_channel
from converters.dataset.split import Split
from detect.report.findings import Detections, Finding

T = TypeVar("T")
Made = TypeVar("Made")

LONGEST_SIDE = 384  # px
# lossy WebP: at the same size 4 dB nearer to the slice than JPEG on windowed liver CT. Method 2
# takes less than half the time of the usual 4 for a tenth more bytes.
QUALITY, METHOD = 60, 2
BUDGET = 15_000_000  # bytes of pictures in the page: 150 cases stay well under 25 MB
SURROUNDINGS = 6_000_000  # slices with nothing on them, to scroll through, while there is room


def as_data_uri(image: NDArray[np.uint8], longest: int = LONGEST_SIDE) -> str:
    """Encode a slice ``(rows, columns)`` grey, or ``(rows, columns, 3)`` BGR, for an `img`."""
    factor = longest / max(image.shape[:2])
    if factor < 1:
        size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    encoded = io.BytesIO()
    rgb = image if image.ndim == 2 else np.ascontiguousarray(image[..., ::-1])
    Image.fromarray(rgb).save(encoded, "WEBP", quality=QUALITY, method=METHOD)
    return "data:image/webp;base64," + base64.b64encode(encoded.getvalue()).decode()


def encoded(make: Callable[[T], Made], things: Iterable[T]) -> Iterator[tuple[T, Made]]:
    """Yield what is made of each thing, in order, by a thread a core, a few of them ahead.

    Encoding leaves Python's lock, so that threads share the work.
    """
    threads = os.cpu_count() or 1
    rest = iter(things)
    with ThreadPoolExecutor(threads) as pool:
        while chunk := list(islice(rest, 4 * threads)):
            yield from zip(chunk, pool.map(make, chunk), strict=True)


def choose_pictures(
    split: Split,
    detectors: Sequence[Detections],
    worst: Sequence[Finding],
    budget: int = BUDGET,
    surroundings: int = SURROUNDINGS,
) -> dict[int, str]:
    """Encode the pictures of a split that matter most, until the budget is spent.

    First those of the worst findings, then in turns one of each case with truth or a detection at
    an operating point, those with the largest truth first, then the slices around them.

    Returns:
        Picture → data URI, in the order of the split.
    """
    chosen: dict[int, str] = {}
    spent = 0
    matter = [*dict.fromkeys(finding.picture for finding in worst), *_with_boxes(split, detectors)]
    for limit, pictures in ((budget, matter), (surroundings, _around(split, set(matter)))):
        new = dict.fromkeys(k for k in pictures if k not in chosen)
        for k, picture in encoded(lambda k: as_data_uri(grey_channel(split.read(k))), new):
            if spent >= limit:
                break
            chosen[k] = picture
            spent += len(picture)
    return dict(sorted(chosen.items()))


def with_boxes(split: Split, detectors: Sequence[Detections]) -> list[int]:
    """Pictures with truth, or with a detection at the operating point of a detector."""
    return [
        k
        for k, truth in enumerate(split.truth)
        if len(truth)
        or any((detector.boxes[k].score >= detector.confidence).any() for detector in detectors)
    ]


def _with_boxes(split: Split, detectors: Sequence[Detections]) -> Iterator[int]:
    """Those pictures, one of each case in turn."""

    def rank(k: int) -> tuple[float, float, int]:
        xyxy = split.truth[k].xyxy
        area = float(np.prod(xyxy[:, 2:] - xyxy[:, :2], axis=1).sum())
        surest = max(
            (float(detector.boxes[k].score.max(initial=0)) for detector in detectors), default=0.0
        )
        return -area, -surest, k

    return in_turns(sorted(with_boxes(split, detectors), key=rank), split.case_ids.__getitem__)


def _around(split: Split, taken: set[int]) -> Iterator[int]:
    """The other pictures, the nearest to one that matters first; of clean cases the middle."""
    places: dict[str, list[int]] = {}
    whole: dict[str, list[int]] = {}
    for k, case in enumerate(split.case_ids):
        whole.setdefault(case, []).append(split.slice_indices[k])
        if k in taken:
            places.setdefault(case, []).append(split.slice_indices[k])
    middle = {case: [sorted(indices)[len(indices) // 2]] for case, indices in whole.items()}

    def rank(k: int) -> tuple[int, int]:
        near = np.array(places.get(split.case_ids[k], middle[split.case_ids[k]]))
        return int(np.abs(near - split.slice_indices[k]).min()), k

    others = sorted(set(range(len(split))) - taken, key=rank)
    return in_turns(others, split.case_ids.__getitem__)


def in_turns(things: Iterable[T], group: Callable[[T], Any]) -> Iterator[T]:
    """Deal things in turns: the first of each group, in the order of the groups, and so on."""
    groups: dict[Any, list[T]] = {}
    for thing in things:
        groups.setdefault(group(thing), []).append(thing)
    for turn in range(max(map(len, groups.values()), default=0)):
        for key in sorted(groups):
            yield from groups[key][turn : turn + 1]
