"""The frame of pictures: worked by hand, by brute force, and there and back."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from converters.core.errors import InputError
from converters.imaging.volume import Volume
from converters.preprocessing.frame import LARGEST_SIDE, Frame, Region, extent


def random_frame(rng: np.random.Generator) -> Frame:
    left, top = rng.integers(0, 200, 2)
    region = Region(int(left), int(top), int(left + rng.integers(3, 300)), int(top + 57))
    return Frame.over(region, (0.71, 0.93, 2.0), float(rng.uniform(0.4, 2.5)))


def test_a_crop_at_half_the_pixels_by_hand() -> None:
    frame = Frame.over(Region(10, 20, 50, 80), (1.0, 0.5, 3.0), 2.0)
    assert (frame.width, frame.height) == (20, 15)
    assert frame.spacing((1.0, 0.5, 3.0)) == (2.0, 2.0, 3.0)
    # columns 12 and 13, rows 24 to 31: the second pixel across, the second and third down
    assert frame.box(12, 24, 2, 8) == (1.0, 1.0, 1.0, 2.0)
    assert frame.to_picture(np.array([[12.0, 24, 14, 32]])).tolist() == [[1, 1, 2, 3]]
    assert frame.to_slice(np.array([[0.0, 0, 20, 15]])).tolist() == [[10, 20, 50, 80]]
    assert frame.area(16) == 2.0


def test_without_resampling_all_stays_whole() -> None:
    frame = Frame.over(Region(7, 3, 70, 60))
    assert frame.box(9, 5, 4, 6) == (2, 2, 4, 6) and isinstance(frame.box(9, 5, 4, 6)[0], int)
    plane = np.arange(90 * 80, dtype=np.int16).reshape(80, 90)
    assert frame.cut(plane).dtype == np.int16
    assert (frame.cut(plane) == plane[3:60, 7:70]).all()


def test_pixels_to_voxels_to_mm_and_back() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        frame = random_frame(rng)
        affine = np.eye(4)
        turn = Rotation.from_euler("xyz", rng.uniform(-20, 20, 3), degrees=True).as_matrix()
        affine[:3, :3] = turn * (0.71, 0.93, 2.0)
        affine[:3, 3] = rng.uniform(-300, 300, 3)
        volume = Volume(np.zeros((1, 1, 1)), affine, np.eye(4))
        corners = rng.uniform(0, 1, (50, 2, 2)) * (frame.width, frame.height)
        boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        on_slice = frame.to_slice(boxes)
        back = []
        for x, y in ((0, 1), (2, 3)):
            voxels = np.column_stack([on_slice[:, [x, y]] - 0.5, np.full(50, 12.0)])
            back.append(volume.from_patient(volume.to_patient(voxels))[:, :2] + 0.5)
        again = frame.to_picture(np.concatenate(back, axis=1))
        assert np.abs(again - boxes).max() < 1e-9


def test_resampling_keeps_every_place() -> None:
    """The value of a ramp at the middle of a pixel equals its place by the frame."""
    rng = np.random.default_rng(2)
    row, column = np.indices((260, 500)).astype(np.float64)
    for _ in range(30):
        frame = random_frame(rng)
        middles = np.arange(frame.width) + 0.5, np.arange(frame.height) + 0.5
        xyxy = np.zeros((max(map(len, middles)), 4))
        xyxy[: frame.width, 0], xyxy[: frame.height, 1] = middles
        places = frame.to_slice(xyxy) - 0.5
        across, down = frame.cut(column), frame.cut(row)
        # Beyond the first and last pixel's middle there is nothing to interpolate between. The
        # mean over an area takes a pixel for constant, which moves a ramp by up to 1/8 px.
        np.testing.assert_allclose(across[1, 2:-2], places[: frame.width, 0][2:-2], atol=0.125)
        np.testing.assert_allclose(down[2:-2, 1], places[: frame.height, 1][2:-2], atol=0.125)


def test_masks_by_brute_force() -> None:
    rng = np.random.default_rng(3)
    mask = rng.random((90, 130)) < 0.4
    frame = Frame.over(Region(11, 5, 111, 75), (0.8, 0.8), 1.1)
    cut = frame.cut_mask(mask)
    assert cut.shape == (frame.height, frame.width)
    for y in range(frame.height):
        for x in range(frame.width):
            column = int(11 + (x + 0.5) * 100 / frame.width)
            row = int(5 + (y + 0.5) * 70 / frame.height)
            assert cut[y, x] == mask[row, column]


def test_margin_and_extent() -> None:
    shown = np.zeros((3, 20, 30), bool)
    assert extent(shown) is None
    shown[0, 4, 10] = shown[2, 12, 3] = True
    region = extent(shown)
    assert region == Region(3, 4, 11, 13)
    assert region.grown(3.0, (1.5, 1.0), shown.shape) == Region(1, 1, 13, 16)
    assert region.grown(100, (1.5, 1.0), shown.shape) == Region(0, 0, 30, 20)


def test_a_picture_larger_than_any_sensible_one_is_refused() -> None:
    with pytest.raises(InputError, match="pictures of"):
        Frame.over(Region(0, 0, 512, 512), (1000.0, 1000.0), 0.8)
    assert Frame.over(Region(0, 0, LARGEST_SIDE, 3)).width == LARGEST_SIDE
