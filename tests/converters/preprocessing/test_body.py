"""The body in a scan: phantoms where the answer is known, and real scans."""

from pathlib import Path

import numpy as np
import pytest

from converters.imaging.read import read_mask, read_volume
from converters.imaging.volume import Volume
from converters.preprocessing.body import find_body
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
    body = find_body(volume(signal.astype(np.float32)), "MR")
    assert near(body.region, extent(inside))
    low, high = np.percentile(body.values, (10, 99))
    assert low > 60 * scale and high > 300 * scale


@pytest.mark.parametrize("value", [-1000, 40])
def test_nothing_to_find_is_the_whole_slice(value: int) -> None:
    body = find_body(volume(np.full(bodies.SHAPE, value, np.int16)))
    assert body.region == Region(0, 0, 90, 72) and len(body.values)


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
