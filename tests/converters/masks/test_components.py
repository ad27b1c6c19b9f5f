"""Boxes and lesions against a slow, independent calculation."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from converters.masks.components import decode_rle, encode_rle, find_lesions, longest_diameter

MASKS = arrays(np.uint8, (4, 6, 7), elements=st.sampled_from([0, 0, 0, 1, 2, 3]))
CLASSES = {2: 0, 3: 1}
SPACING = (0.5, 2.0, 3.0)


def flood(cells: set[tuple[int, ...]]) -> list[set[tuple[int, ...]]]:
    """Find connected components, diagonals included, by walking from cell to cell."""
    left, components = set(cells), []
    while left:
        queue = [left.pop()]
        component = set(queue)
        while queue:
            cell = queue.pop()
            for step in product((-1, 0, 1), repeat=len(cell)):
                near = tuple(a + b for a, b in zip(cell, step, strict=True))
                if near in left:
                    left.remove(near)
                    component.add(near)
                    queue.append(near)
        components.append(component)
    return components


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_lesions_and_boxes_equal_a_flood_fill(mask: np.ndarray) -> None:
    lesions, components = find_lesions(mask, CLASSES, SPACING)
    expected, expected_boxes = set(), set()
    for value, label in CLASSES.items():
        for lesion in flood({tuple(map(int, c)) for c in np.argwhere(mask == value)}):
            zs = [z for z, _, _ in lesion]
            expected.add((label, len(lesion), min(zs), max(zs)))
            for z in set(zs):
                for part in flood({(y, x) for q, y, x in lesion if q == z}):
                    ys, xs = zip(*part, strict=True)
                    box = (min(xs), min(ys), max(xs) - min(xs) + 1, max(ys) - min(ys) + 1)
                    expected_boxes.add((label, z, *box, len(part)))
    assert {(r.label, r.voxels, r.first_slice, r.last_slice) for r in lesions} == expected
    assert {
        (c.label, c.slice_index, c.x, c.y, c.width, c.height, c.area) for c in components
    } == expected_boxes
    assert sum(r.voxels for r in lesions) == int(np.isin(mask, list(CLASSES)).sum())
    assert [r.lesion_id for r in lesions] == list(range(1, len(lesions) + 1))


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_rles_rasterise_back_to_the_mask(mask: np.ndarray) -> None:
    _, components = find_lesions(mask, {1: 0, 2: 1, 3: 0}, SPACING)
    back = np.zeros(mask.shape, int)
    for c in components:
        pixels = decode_rle(c.rle, *mask.shape[1:])
        assert not back[c.slice_index][pixels].any()
        back[c.slice_index][pixels] = c.label + 1
    assert (back == np.array([0, 1, 2, 1])[mask]).all()


@settings(max_examples=60, deadline=None)
@given(arrays(bool, (7, 5)).filter(np.any))
def test_rle_is_what_pycocotools_encodes(pixels: np.ndarray) -> None:
    rows, columns = np.nonzero(pixels)
    expected = coco_mask.encode(np.asfortranarray(pixels.astype(np.uint8)))["counts"]
    assert encode_rle(rows, columns, *pixels.shape) == expected.decode("ascii")


@pytest.mark.parametrize(
    ("pixels", "mm"),
    [
        ([(3, 4)], 2.0),  # (column, row) at 0.5 x 2 mm: a pixel is as long as its longer side
        ([(c, 0) for c in range(6)], np.hypot(2.5, 2.0)),  # a corner of the outline to the other
        ([(0, r) for r in range(4)], 8.0),
    ],
)
def test_diameter_by_hand(pixels: list[tuple[int, int]], mm: float) -> None:
    columns, rows = np.array(pixels).T
    assert longest_diameter(columns, rows, 0.5, 2.0) == pytest.approx(mm)


@settings(max_examples=40, deadline=None)
@given(arrays(bool, (6, 6)).filter(np.any))
def test_diameter_equals_every_pair_of_edge_midpoints(pixels: np.ndarray) -> None:
    rows, columns = np.nonzero(pixels)
    points = [
        ((c + a) * 0.7, (r + b) * 1.3)
        for r, c in zip(rows, columns, strict=True)
        for a, b in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5))
    ]
    longest = max(np.hypot(p[0] - q[0], p[1] - q[1]) for p in points for q in points)
    assert longest_diameter(columns, rows, 0.7, 1.3) == pytest.approx(longest)


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_a_box_has_the_diameter_of_all_its_pixels(mask: np.ndarray) -> None:
    for c in find_lesions(mask, CLASSES, SPACING)[1]:
        rows, columns = np.nonzero(decode_rle(c.rle, *mask.shape[1:]))
        assert c.diameter_mm == longest_diameter(columns, rows, *SPACING[:2])


def test_lesions_far_from_the_corner_and_beside_other_labels() -> None:
    mask = np.zeros((9, 40, 50), np.uint8)
    mask[2:8, 5:39, 3:49] = 7  # an organ, which is no lesion
    mask[4, 30:33, 40:45] = 3
    mask[6, 20, 10:12] = 2
    lesions, components = find_lesions(mask, CLASSES, SPACING)
    assert [(r.lesion_id, r.label, r.first_slice, r.last_slice) for r in lesions] == [
        (1, 0, 6, 6), (2, 1, 4, 4),
    ]  # fmt: skip
    assert [(c.lesion_id, c.x, c.y, c.width, c.height) for c in components] == [
        (2, 40, 30, 5, 3), (1, 10, 20, 2, 1),
    ]  # fmt: skip


def test_no_lesion_is_no_lesion() -> None:
    assert find_lesions(np.zeros((2, 3, 4), np.uint8), CLASSES, SPACING) == ([], [])
