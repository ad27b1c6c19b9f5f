"""Measure how alike two scans are, so that two scans of one person stand out.

Each case is reduced to landmarks: SIFT keypoints (Lowe, IJCV 2004) of axial slices 1 cm apart.
Bones, vessels and organ borders give the same landmarks at another time, in another phase, moved,
rescaled or cropped; the anatomy of somebody else agrees in a few of them only, as with 3D keypoints
(Chauvin et al., NeuroImage 204, 2020).
Two cases are compared by the landmarks that pair up and agree on one movement between the scans.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

LEVEL_MM = 10.0  # distance of the slices that are looked at
PIXEL_MM = 1.5  # finer slices are reduced to this: what is smaller is noise
LONGEST_SIDE = 512  # px; a slice without a believable spacing is reduced to this
PER_LEVEL = 150  # landmarks of a slice
FEW_PER_LEVEL = 50  # of those, the strongest, for a first quick look
SMOOTHING = 1.5  # px, against the noise of narrow windows

TOLERANCE_MM = 12.0  # of a landmark from where the movement puts it: breathing, and slices apart
LARGEST_TURN = 20.0  # degrees, of a landmark and of the patient
LARGEST_SCALE = 4 / 3  # in the plane; spacings can be wrong or lost
LARGEST_STRETCH = 1.25  # along the body
SIZE_OCTAVES = 0.6  # paired landmarks differ less in size
NEAREST_MM = 40.0  # apart, for two landmarks to give a movement
HYPOTHESES = 400
FEWEST = 8  # paired landmarks
# Counted as landmarks that do not pair, so that a chance match of one level is no likeness.
DOUBT = 200


@dataclass(frozen=True)
class Landmarks:
    """The landmarks of one case.

    Attributes:
        descriptor: ``(n, 128)`` float32, of unit length.
        plane: ``(n,)`` complex, column + i row, mm.
        height: ``(n,)`` position along the body, mm.
        octave: ``(n,)`` log2 of the size, mm.
        angle: ``(n,)`` orientation, degrees.
        rank: ``(n,)`` 0 for the strongest of its slice.
    """

    descriptor: NDArray[np.float32]
    plane: NDArray[np.complex128]
    height: NDArray[np.float64]
    octave: NDArray[np.float64]
    angle: NDArray[np.float64]
    rank: NDArray[np.int64]

    def __len__(self) -> int:
        """Count the landmarks."""
        return len(self.height)

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Landmarks":
        """Select landmarks by mask or indices."""
        return Landmarks(
            descriptor=self.descriptor[chosen],
            plane=self.plane[chosen],
            height=self.height[chosen],
            octave=self.octave[chosen],
            angle=self.angle[chosen],
            rank=self.rank[chosen],
        )

    def strongest(self) -> "Landmarks":
        """Select the few strongest of each slice."""
        return self.take(self.rank < FEW_PER_LEVEL)


@dataclass(frozen=True)
class Likeness:
    """The likeness of two cases.

    Attributes:
        score: 0 to 1, the same whichever case comes first but for chance: agreeing landmarks as a
            share of those in the stretch of body that both show, less the benefit of `DOUBT`.
        agreeing: landmarks that pair up and agree.
        stretch, shift_mm: height in the second = stretch * height in the first + shift_mm.
        scale: in the plane, of the second to the first.
    """

    score: float
    agreeing: int = 0
    stretch: float = 1.0
    shift_mm: float = 0.0
    scale: float = 1.0


UNLIKE = Likeness(0.0)


def levels(heights: Iterable[float]) -> list[int]:
    """Choose slices at least `LEVEL_MM` apart.

    Args:
        heights: position of each slice along the body, mm, in any order.

    Returns:
        indices, from the lowest slice up.
    """
    chosen: list[int] = []
    last = -np.inf
    for height, index in sorted((height, index) for index, height in enumerate(heights)):
        if height - last > LEVEL_MM - 1e-3:
            chosen.append(index)
            last = height
    return chosen


def find_landmarks(
    slices: Iterable[tuple[float, NDArray[np.uint8]]], spacing: tuple[float, float]
) -> Landmarks:
    """Find the landmarks of a case.

    Args:
        slices: height, mm, and pixels ``(rows, columns)`` of each level.
        spacing: (column, row), mm.
    """
    sift = cv2.SIFT.create(nfeatures=PER_LEVEL, contrastThreshold=0.03)
    places: list[tuple[float, float, float, float, float, int]] = []
    descriptors = [np.zeros((0, 128), np.float32)]
    for height, pixels in slices:
        small = _reduce(pixels, spacing)
        step = [spacing[k] * pixels.shape[1 - k] / small.shape[1 - k] for k in (0, 1)]
        points, features = sift.detectAndCompute(cv2.GaussianBlur(small, (0, 0), SMOOTHING), None)
        if features is None:
            continue
        order = sorted(
            range(len(points)), key=lambda k: (-points[k].response, points[k].pt, points[k].angle)
        )
        for rank, k in enumerate(order):
            (x, y), size = points[k].pt, points[k].size
            places.append(
                (x * step[0], y * step[1], height, np.log2(size * step[0]), points[k].angle, rank)
            )
        descriptors.append(np.asarray(features, dtype=np.float32)[order])
    descriptor = np.concatenate(descriptors)
    # square roots of shares: Hellinger's distance tells SIFT descriptors apart better than Euclid's
    # (Arandjelovic and Zisserman, CVPR 2012)
    descriptor = np.sqrt(descriptor / np.maximum(descriptor.sum(1, keepdims=True), 1e-9))
    column, row, along, octave, angle, ranks = np.array(places, dtype=float).reshape(-1, 6).T
    return Landmarks(descriptor, column + 1j * row, along, octave, angle, ranks.astype(np.int64))


def _reduce(pixels: NDArray[np.uint8], spacing: tuple[float, float]) -> NDArray[np.uint8]:
    """Shrink a slice to `PIXEL_MM` where it is finer, and to `LONGEST_SIDE` where it is larger."""
    height, width = pixels.shape
    factors = [min(1.0, step / PIXEL_MM) for step in spacing]
    most = LONGEST_SIDE / max(width * factors[0], height * factors[1])
    size = [
        max(1, round(n * f * min(1.0, most))) for n, f in zip((width, height), factors, strict=True)
    ]
    if size == [width, height]:
        return pixels
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def likeness(a: Landmarks, b: Landmarks) -> Likeness:
    """Compare two cases.

    Finds the movement (a shift along the body; in the plane a shift, a scale and a small turn) on
    which most paired landmarks agree, by sampling pairs of them (RANSAC) with a fixed seed.
    """
    in_a, in_b = _mutual(a.descriptor, b.descriptor)
    p, q = a.take(in_a), b.take(in_b)
    alike = np.abs(_turn(q.angle - p.angle)) < LARGEST_TURN
    alike &= np.abs(q.octave - p.octave) < SIZE_OCTAVES
    p, q = p.take(alike), q.take(alike)
    if len(p) < FEWEST:
        return UNLIKE
    best = _sample(p, q)
    if best is None:
        return UNLIKE
    agree = best
    for _ in range(5):  # fit the movement to all that agree, and again while more do
        movement = _fit(p.take(agree), q.take(agree))
        again = movement.explains(p, q)
        if again.sum() <= agree.sum():
            break
        agree = again
    agreeing = int(agree.sum())
    a_in_b = movement.stretch * a.height + movement.shift
    b_in_a = (b.height - movement.shift) / movement.stretch
    shared = min(_within(a_in_b, b.height), _within(b_in_a, a.height))
    return Likeness(
        score=agreeing / (shared + DOUBT),
        agreeing=agreeing,
        stretch=movement.stretch,
        shift_mm=movement.shift,
        scale=abs(movement.turn),
    )


def _mutual(
    a: NDArray[np.float32], b: NDArray[np.float32], rows: int = 4096
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair each descriptor with its nearest in the other case, where both choose each other.

    Args:
        a, b: ``(n, 128)`` and ``(m, 128)``.
        rows: of `a` at a time, which bounds the memory.
    """
    if not len(a) or not len(b):
        none = np.zeros(0, np.int64)
        return none, none
    nearest = np.zeros(len(a), np.int64)
    back = np.zeros(len(b), np.int64)
    closest = np.full(len(b), -np.inf, np.float32)
    for start in range(0, len(a), rows):
        alike = a[start : start + rows] @ b.T
        nearest[start : start + rows] = alike.argmax(1)
        best = alike.argmax(0)
        value = alike[best, np.arange(len(b))]
        better = value > closest
        back[better], closest[better] = best[better] + start, value[better]
    mutual = np.flatnonzero(back[nearest] == np.arange(len(a)))
    return mutual, nearest[mutual]


def _turn(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((degrees + 180) % 360 - 180)


def _sample(p: Landmarks, q: Landmarks) -> NDArray[np.bool_] | None:
    """Return which pairs agree with the best of many movements, each given by two pairs."""
    u, w = np.random.default_rng(0).integers(0, len(p), (2, 8 * HYPOTHESES))
    apart = np.abs(p.plane[u] - p.plane[w]) > NEAREST_MM
    u, w = u[apart], w[apart]
    turn = (q.plane[u] - q.plane[w]) / (p.plane[u] - p.plane[w])
    shift = q.height - p.height
    sensible = _in_plane_sensible(turn) & (np.abs(shift[u] - shift[w]) < 1.5 * TOLERANCE_MM)
    u, w, turn = u[sensible][:HYPOTHESES], w[sensible][:HYPOTHESES], turn[sensible][:HYPOTHESES]
    if not len(u):
        return None
    along = (shift[u] + shift[w]) / 2
    across = (q.plane[u] + q.plane[w] - turn * (p.plane[u] + p.plane[w])) / 2
    agree = np.abs(shift[None] - along[:, None]) < TOLERANCE_MM
    # only those that agree along the body need be looked at in the plane
    k, n = np.nonzero(agree)
    agree[k, n] = np.abs(q.plane[n] - turn[k] * p.plane[n] - across[k]) < TOLERANCE_MM
    return np.asarray(agree[agree.sum(1).argmax()])


def _in_plane_sensible(turn: NDArray[np.complex128]) -> NDArray[np.bool_]:
    scale = np.abs(turn)
    return np.asarray(
        (scale > 1 / LARGEST_SCALE)
        & (scale < LARGEST_SCALE)
        & (np.abs(np.angle(turn, deg=True)) < LARGEST_TURN)
    )


@dataclass(frozen=True)
class _Movement:
    """A movement from scan to scan.

    `turn` scales and turns the plane; `stretch` and `shift` move heights.
    """

    turn: complex
    across: complex
    stretch: float
    shift: float

    def explains(self, p: Landmarks, q: Landmarks) -> NDArray[np.bool_]:
        """Return a mask of the pairs that lie where the movement puts them."""
        plane = np.abs(q.plane - self.turn * p.plane - self.across) < TOLERANCE_MM
        height = np.abs(q.height - self.stretch * p.height - self.shift) < TOLERANCE_MM
        return np.asarray(plane & height)


def _fit(p: Landmarks, q: Landmarks) -> _Movement:
    """Fit by least squares; without a turn or a stretch where there is too little to tell."""
    centred = p.plane - p.plane.mean()
    moment = float((np.abs(centred) ** 2).sum())
    turn = complex((np.conj(centred) * q.plane).sum() / moment) if moment else 1.0 + 0j
    if not _in_plane_sensible(np.array([turn]))[0]:
        turn = 1.0 + 0j
    stretch = 1.0
    if np.ptp(p.height) > 2 * NEAREST_MM:
        stretch = float(np.polyfit(p.height, q.height, 1)[0])
        stretch = min(max(stretch, 1 / LARGEST_STRETCH), LARGEST_STRETCH)
    return _Movement(
        turn=turn,
        across=complex(q.plane.mean() - turn * p.plane.mean()),
        stretch=stretch,
        shift=float(q.height.mean() - stretch * p.height.mean()),
    )


def _within(heights: NDArray[np.float64], others: NDArray[np.float64]) -> int:
    """Count the landmarks at heights that the other case shows too."""
    low, high = others.min() - TOLERANCE_MM, others.max() + TOLERANCE_MM
    return int(((heights >= low) & (heights <= high)).sum())
