"""Boxes and lesions against a slow, independent calculation."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from converters.conversion.case import analyse_case
from converters.conversion.sources import find_cases
from converters.imaging.nifti import write_nifti
from converters.masks.components import decode_rle, encode_rle, find_lesions, longest_diameter
from tests.helpers import tiny

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


@pytest.mark.parametrize(
    ("drawn", "mm"),
    [
        (["...#", "####"], (4, 1)),  # from the left edge of one pixel to the right edge of another
        (["####", "...#"], (4, 1)),
        (["###"], (3, 0)),  # on the first row of the slice alone
        (["..#.", ".##.", "#.##", "...#"], (1, 4)),
        (["...##", "..#..", "##..."], (5, 2)),
    ],
)
def test_diameters_of_drawn_components(drawn: list[str], mm: tuple[int, int]) -> None:
    """Square pixels of 1 mm: the longest way is so far across and down."""
    mask = np.array([[[2 * (pixel == "#") for pixel in row] for row in drawn]], np.uint8)
    (component,) = find_lesions(mask, CLASSES, (1.0, 1.0, 1.0))[1]
    assert component.diameter_mm == pytest.approx(np.hypot(*mm))


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


def test_all_figures_of_two_lesions_by_hand() -> None:
    """Pixels of 0.5 x 2 mm, slices of 3 mm: 1 mm² and 3 mm³ a voxel."""
    mask = np.zeros((5, 6, 9), np.uint8)
    mask[1, 1, 1:4] = 2  # 3 pixels in a row, and 1 above the last, one slice up
    mask[2, 1:3, 3] = 2
    mask[2, 4, 7] = 2
    lesions, components = find_lesions(mask, CLASSES, SPACING)
    assert [vars(lesion) for lesion in lesions] == [
        {
            "lesion_id": 1, "label": 0, "voxels": 5, "volume_mm3": 15.0, "first_slice": 1,
            "last_slice": 2, "max_axial_diameter_mm": 4.0,
        },
        {
            "lesion_id": 2, "label": 0, "voxels": 1, "volume_mm3": 3.0, "first_slice": 2,
            "last_slice": 2, "max_axial_diameter_mm": 2.0,
        },
    ]  # fmt: skip
    assert [(c.slice_index, c.x, c.y, c.width, c.height, c.area) for c in components] == [
        (1, 1, 1, 3, 1, 3), (2, 3, 1, 1, 2, 2), (2, 7, 4, 1, 1, 1),
    ]  # fmt: skip
    assert [c.area_mm2 for c in components] == [3.0, 2.0, 1.0]
    # from the top of the first pixel to the bottom of the last one: 1 mm across, 2 mm down
    assert components[0].diameter_mm == pytest.approx(np.hypot(1.0, 2.0))
    assert components[1].diameter_mm == 4.0


def test_boxes_come_by_slice_class_row_and_column_and_lesions_by_class_and_first_voxel() -> None:
    mask = np.zeros((3, 8, 8), np.uint8)
    for z, y, x, value in [
        (0, 6, 6, 3), (0, 1, 5, 3), (0, 1, 1, 2), (1, 4, 0, 2), (0, 4, 3, 2), (2, 0, 7, 2),
    ]:  # fmt: skip
        mask[z, y, x] = value
    lesions, components = find_lesions(mask, CLASSES, SPACING)
    assert [(c.slice_index, c.label, c.y, c.x, c.lesion_id) for c in components] == [
        (0, 0, 1, 1, 1), (0, 0, 4, 3, 2), (0, 1, 1, 5, 5), (0, 1, 6, 6, 6), (1, 0, 4, 0, 3),
        (2, 0, 0, 7, 4),
    ]  # fmt: skip
    assert [lesion.label for lesion in lesions] == [0, 0, 0, 0, 1, 1]


def test_boxes_of_one_row_come_by_column_and_of_one_corner_by_lesion() -> None:
    mask = np.zeros((1, 5, 5), np.uint8)
    mask[0, 0, [0, 4]] = mask[0, 4, 2] = 2
    mask[0, 0, 2] = 3
    components = find_lesions(mask, {2: 0, 3: 0}, SPACING)[1]
    assert [(c.x, c.y) for c in components] == [(0, 0), (2, 0), (4, 0), (2, 4)]


@pytest.mark.parametrize(
    ("pixels", "counts"),
    [
        ([], [12]),
        ([(0, 0)], [0, 1, 11]),  # row, column of 3 rows and 4 columns; runs go down the columns
        ([(1, 0)], [1, 1, 10]),
        ([(2, 0), (0, 1)], [2, 2, 8]),
        ([(0, 1)], [3, 1, 8]),
        ([(0, 1), (2, 1)], [3, 1, 1, 1, 6]),
        ([(2, 3)], [11, 1]),
    ],
)
def test_runs_by_hand(pixels: list[tuple[int, int]], counts: list[int]) -> None:
    rows, columns = np.array(pixels, np.int64).reshape(-1, 2).T
    rle = encode_rle(rows, columns, 3, 4)
    packed = coco_mask.frPyObjects({"counts": counts, "size": [3, 4]}, 3, 4)
    assert rle == packed["counts"].decode("ascii")
    assert np.argwhere(decode_rle(rle, 3, 4)).tolist() == sorted(map(list, pixels))


def test_boxes_of_less_than_3_mm_are_counted_as_small(tmp_path: Path) -> None:
    """Pixels of 1 mm: n in a row are n mm long."""
    mask = np.zeros((3, 12, 8), np.uint8)
    for row, length in ((1, 1), (3, 2), (5, 3), (7, 4)):
        mask[1, row, 1 : 1 + length] = 1
    write_nifti(tmp_path / "a-scan.nii", mask.astype(np.int16), np.eye(4))
    write_nifti(tmp_path / "a-mask.nii", mask, np.eye(4))
    recipe = tiny.recipe(tmp_path)
    (case,) = find_cases(recipe, tmp_path)
    analysis = analyse_case(recipe, 0, False, case)
    assert (analysis.small, analysis.dropped, len(analysis.components)) == (2, 0, 4)
    analysis = analyse_case(recipe, 2.0, False, case)
    assert (analysis.small, analysis.dropped, len(analysis.components)) == (2, 1, 3)


def test_no_lesion_is_no_lesion() -> None:
    assert find_lesions(np.zeros((2, 3, 4), np.uint8), CLASSES, SPACING) == ([], [])
