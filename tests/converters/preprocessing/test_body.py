"""The body in a scan: phantoms where the answer is known, and real scans."""

from pathlib import Path

import numpy as np
import pytest

from converters.imaging.read import read_mask, read_volume
from converters.imaging.volume import Volume
from converters.preprocessing.body import _filled, _odd, _threshold, find_body
from converters.preprocessing.frame import Region, extent
from tests.helpers import bodies

PIXELS = 3  # px; the search is on a grid of about two, and opening takes the tips of an ellipse


def volume(array: np.ndarray) -> Volume:
    return Volume(array, bodies.AFFINE, np.eye(4))


def near(region: Region, expected: Region | None) -> bool:
    assert expected is not None
    return bool(np.abs(np.subtract(region, expected)).max() <= PIXELS)


def test_neither_air_nor_table_nor_specks() -> None:
    hu, _ = bodies.scan((50, 34, 8))
    hu[3, 5:8, 5:8] = 500
    body = find_body(volume(hu))
    assert near(body.region, extent(bodies.body()))
    assert body.values.min() > -300


def test_lungs_are_inside_and_a_second_leg_is_kept() -> None:
    hu, _ = bodies.scan((50, 34, 8))
    hu[:, 28:40, 40:60] = -850
    whole = find_body(volume(hu))
    assert (whole.values < -700).any()  # filled
    hu[:, 20:50, 4:20] = 40
    assert near(find_body(volume(hu)).region, extent(bodies.body() | (hu == 40)))


def test_a_windowed_scan_whose_air_reads_minus_200() -> None:
    hu, _ = bodies.scan((50, 34, 8))
    assert near(find_body(volume(np.clip(hu, -200, 160))).region, extent(bodies.body()))


@pytest.mark.parametrize("scale", [1.0, 1e-3, 40.0])
def test_mr_of_any_scale_with_bright_fat(scale: float) -> None:
    rng = np.random.default_rng(0)
    inside = bodies.body()
    signal = np.where(inside, 100.0, 0.0)
    _, row, column = np.indices(bodies.SHAPE)
    place = np.stack([column, row], axis=-1) - bodies.BODY_CENTRE
    rim = inside & (((place / (bodies.BODY_RADII - 4)) ** 2).sum(axis=-1) > 1)
    signal[rim] = 420
    signal = np.abs(signal + rng.normal(0, 6, signal.shape)) * scale
    result = find_body(volume(signal.astype(np.float32)), "MR")
    assert near(result.region, extent(inside))
    low, high = np.percentile(result.values, (10, 99))
    assert low > 60 * scale and high > 300 * scale


@pytest.mark.parametrize("value", [-1000, 40])
def test_nothing_to_find_is_the_whole_slice(value: int) -> None:
    result = find_body(volume(np.full(bodies.SHAPE, value, np.int16)))
    assert result.region == Region(0, 0, 90, 72) and len(result.values)


# By hand, in pixels so large that nothing is averaged or opened


def blocks(
    shape: tuple[int, ...], *parts: tuple[tuple[slice, ...], int], spacing: tuple[float, ...] = ()
) -> Volume:
    """Air, and parts of one value each."""
    array = np.full(shape, -1000, np.int16)
    for place, value in parts:
        array[place] = value
    return Volume(array, np.diag([*(spacing or (10.0, 10.0, 10.0)), 1.0]), np.eye(4))


def test_tissue_is_what_is_above_minus_300() -> None:
    place = np.s_[:, 2:4, 3:6]
    result = find_body(blocks((2, 6, 8), (place, -299)))
    assert result.region == Region(3, 2, 6, 4) and result.values.tolist() == [-299] * 12
    assert find_body(blocks((2, 6, 8), (place, -300))).region == Region(0, 0, 8, 6)
    windowed = np.maximum(blocks((2, 6, 8), (place, 1)).array, 0)  # air of 0 is air
    result = find_body(Volume(windowed, np.diag([10.0, 10, 10, 1]), np.eye(4)))
    assert result.region == Region(3, 2, 6, 4)


def test_a_part_of_two_hundredths_of_the_largest_is_a_leg_and_a_smaller_one_is_none() -> None:
    large = (np.s_[:, :5, :10], 40)  # 2 x 50 voxels
    for leg, kept in ((np.s_[:, 8, 12], True), (np.s_[:1, 8, 12], False)):
        region = find_body(blocks((2, 11, 15), large, (leg, 40))).region
        assert region == (Region(0, 0, 13, 9) if kept else Region(0, 0, 10, 5))
    # touching at a corner only is no connection, over a face it is one
    assert find_body(blocks((2, 11, 15), large, (np.s_[:1, 5, 10], 40))).region[2:] == (10, 5)
    assert find_body(blocks((2, 11, 15), large, (np.s_[:1, 4, 10], 40))).region[2:] == (11, 5)


def test_nothing_but_air_keeps_every_voxel() -> None:
    result = find_body(blocks((2, 6, 8)))
    assert result.region == Region(0, 0, 8, 6) and result.values.tolist() == [-1000] * 96


@pytest.mark.parametrize(
    ("across", "down", "kept"),
    [(10, 6, True), (8, 6, False), (10, 4, False), (9, 5, False)],
)
def test_thinner_than_10_mm_is_no_body(across: int, down: int, kept: bool) -> None:
    """Pixels of 1 x 2 mm are averaged to 2 x 2, of 1 x 4 to 2 x 4: there 5 by 3 are needed."""
    place = np.s_[:, 12 : 12 + 2 * down : 1, 20 : 20 + across]
    region = find_body(blocks((2, 40, 60), (place, 40), spacing=(1.0, 2.0, 5.0))).region
    whole = Region(0, 0, 60, 40)
    assert region == (Region(20, 12, 20 + across, 12 + 2 * down) if across >= 10 else whole)
    place = np.s_[:, 12 : 12 + down // 2, 20 : 20 + across]
    region = find_body(blocks((2, 40, 60), (place, 40), spacing=(1.0, 4.0, 5.0))).region
    assert region == (Region(20, 12, 20 + across, 12 + down // 2) if kept else whole)


def test_pixels_are_averaged_to_nearly_2_mm() -> None:
    """Of 0.7 mm, 3 x 3 are nearest; of 1.695 mm one, and 10 mm are 5.9 of them: 5 are needed."""
    place = np.s_[:, 12:36, 15:45]
    result = find_body(blocks((2, 60, 90), (place, 40), spacing=(0.7, 0.7, 5.0)))
    assert result.region == Region(15, 12, 45, 36) and len(result.values) < 2 * 8 * 10
    assert (result.values == 40).all()
    place = np.s_[:, 12:18, 15:20]
    result = find_body(blocks((2, 60, 90), (place, 40), spacing=(1.695, 1.695, 5.0)))
    assert result.region == Region(15, 12, 20, 18)


def test_pixels_that_no_grid_divides() -> None:
    """91 columns become 46 of 1.978, and 41 rows 21 of 1.952: the region is rounded outwards."""
    place = np.s_[:, 16:30, 20:50]
    result = find_body(blocks((1, 41, 91), (place, 1000), spacing=(1.0, 1.0, 5.0)))
    # column 10 begins at 19.8 and 24 ends at 49.5; 27 % of column 25 is tissue, -451 HU: air.
    # Row 8 begins at 15.6; 37 % of row 15 is tissue, -268 HU, and it ends at 31.2.
    assert result.region == Region(19, 15, 50, 32)


def test_a_kernel_has_an_odd_number_of_pixels() -> None:
    expected = {1e-9: 1, 0.2: 1, 1: 1, 1.9: 1, 2.1: 3, 2.5: 3, 3.9: 3, 4.1: 5, 5: 5, 5.9: 5, 6.1: 7}
    assert {pixels: _odd(pixels) for pixels in expected} == expected


def test_what_is_enclosed_is_filled_and_a_bay_is_not() -> None:
    drawn = [
        "#####..##.",
        "#...#.#...",
        "#...#.#...",
        "#####..##.",
    ]
    plane = np.array([[pixel == "#" for pixel in row] for row in drawn])
    filled = plane.copy()
    filled[1:3, 1:4] = True
    assert (_filled(plane) == filled).all()
    edge = np.ones((3, 3), bool)
    edge[0, 1] = False  # open at the picture's edge
    assert (_filled(edge) == edge).all()


def otsu(grey: np.ndarray) -> int:
    """The level that sets two classes furthest apart, by trying all."""
    values = grey.ravel().astype(float)

    def between(level: int) -> float:
        low, high = values[values <= level], values[values > level]
        if not len(low) or not len(high):
            return 0.0
        return len(low) * len(high) * (low.mean() - high.mean()) ** 2

    return max(range(256), key=between)


@pytest.mark.parametrize(("scale", "lowest"), [(1.0, 0.0), (1e-4, 0.0), (300.0, -70.0)])
def test_mr_is_cut_by_otsus_rule_on_the_square_roots(scale: float, lowest: float) -> None:
    tenths = np.array([k for k in range(2551) if k % 10 != 5])  # of a grey; none between two
    tenths = np.repeat(tenths, np.where(abs(tenths - 700) < 300, 3, 1))
    tenths = tenths[len(tenths) % 2 == 0 :]  # an odd number of values
    roots = tenths / 2550
    values = (roots**2 * scale + lowest).astype(np.float32)
    grey = (tenths + 5) // 10
    level = otsu(grey)
    assert 60 < level < 190
    assert ((values > _threshold(values, "MR")) == (grey > level)).all()


def test_mr_of_one_value_throughout() -> None:
    result = find_body(Volume(np.full((2, 3, 4), 7, np.uint16), np.eye(4), np.eye(4)), "MR")
    assert result.region == Region(0, 0, 4, 3)


@pytest.mark.realdata
def test_real_tables_go_and_no_lesion_is_cut(realdata: Path) -> None:
    """A third of the picture is air or table on these; every lesion is inside, without a margin."""
    share = []
    for number in (0, 4, 23, 40, 48):
        scan = read_volume(realdata / "lits256" / f"volume-{number}.nii.gz")
        mask = read_mask(realdata / "lits256" / f"segmentation-{number}.nii.gz")
        left, top, right, bottom = find_body(scan).region
        liver = extent(mask.array > 0)
        assert liver and left <= liver.left and top <= liver.top
        assert liver.right <= right and liver.bottom <= bottom
        share.append((right - left) * (bottom - top) / mask.array[0].size)
    assert max(share) < 0.8 and min(share) < 0.45
    for patient in sorted((realdata / "sts").glob("STS_*")):
        scan = read_volume(patient / "CT" / "image")
        mask = read_mask(patient / "NIFTI" / "CT_mask.nii.gz")
        left, top, right, bottom = find_body(scan).region
        lesion = extent(mask.array > 0)
        assert lesion and left <= lesion.left and top <= lesion.top, patient.name
        assert lesion.right <= right and lesion.bottom <= bottom, patient.name
    series = find_body(read_volume(realdata / "dicom_jpeg2000")).region
    assert series.bottom < 430  # the table lies below row 430
