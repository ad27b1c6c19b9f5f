"""The frame of pictures: worked by hand, by brute force, and there and back."""

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.spatial.transform import Rotation

from converters.core.errors import InputError
from converters.imaging.volume import Volume
from converters.preprocessing.frame import Frame, Region, extent


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
    assert frame.region == Region(10, 20, 50, 80)
    # 2 columns and 4 rows a pixel: its middle is between columns 10 and 11, rows 21 and 22
    assert frame.first_pixel == (10.5, 21.5)


def test_without_resampling_all_stays_whole() -> None:
    frame = Frame.over(Region(7, 3, 70, 60))
    assert frame.box(9, 5, 4, 6) == (2, 2, 4, 6) and isinstance(frame.box(9, 5, 4, 6)[0], int)
    plane = np.arange(90 * 80, dtype=np.int16).reshape(80, 90)
    assert frame.cut(plane).dtype == np.int16
    assert (frame.cut(plane) == plane[3:60, 7:70]).all()


def test_one_axis_alone_may_be_resampled() -> None:
    frame = Frame.over(Region(0, 0, 4, 6), (1.0, 0.5), 1.0)
    assert (frame.width, frame.height) == (4, 3) and frame.resampled
    assert frame.box(1, 2, 1, 2) == (1, 1, 1, 1) and frame.area(4) == 2
    plane = np.array([[0, 8, 2, 4], [2, 0, 4, 4]] * 3, np.int16)
    assert frame.cut(plane).tolist() == [[1, 4, 3, 4]] * 3  # the mean of two rows
    wide = Frame.over(Region(1, 0, 3, 2), (2.0, 1.0), 1.0)
    assert (wide.width, wide.height) == (4, 2) and wide.resampled
    # linear: pixels at columns 0.75, 1.25, 1.75 and 2.25, held at the ends of the region
    assert wide.cut(plane).tolist() == [[8, 6.5, 3.5, 2], [0, 1, 3, 4]]
    assert wide.cut(plane).dtype == np.float32
    assert not Frame.whole((9, 2, 5)).resampled
    assert Frame.whole((9, 2, 5)).region == Region(0, 0, 5, 2)


def test_pixels_of_a_millimetre_where_nothing_else_is_known() -> None:
    frame = Frame.over(Region(0, 0, 10, 18), spacing_mm=2.0)
    assert (frame.width, frame.height) == (5, 9)
    frame = Frame.over(Region(0, 0, 11, 8), spacing_mm=3.0)  # 3.67 and 2.67: the nearest
    assert (frame.width, frame.height) == (4, 3)


def test_a_picture_has_one_pixel_at_least() -> None:
    frame = Frame.over(Region(2, 3, 5, 9), (1.0, 1.0), 50.0)
    assert (frame.width, frame.height) == (1, 1)
    assert frame.cut(np.full((9, 9), 7, np.int16)).tolist() == [[7]]


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("left", 0, -1), ("top", 0, -1), ("columns", 1, 0), ("rows", 1, 0),
        ("width", 1, 0), ("height", 1, 0), ("width", 8192, 8193), ("height", 8192, 8193),
    ],
)  # fmt: skip
def test_limits(field: str, good: int, bad: int) -> None:
    fields = {"left": 2, "top": 2, "columns": 2, "rows": 2, "width": 2, "height": 2}
    assert getattr(Frame(**{**fields, field: good}), field) == good
    with pytest.raises(ValidationError, match=field):
        Frame(**{**fields, field: bad})


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
    shown[0, 4, 10] = shown[2, 12, 3] = shown[1, 7, 8] = True
    region = extent(shown)
    assert region == Region(3, 4, 11, 13)
    assert region.grown(3.0, (1.5, 1.0), shown.shape) == Region(1, 1, 13, 16)
    assert region.grown(100, (1.5, 1.0), shown.shape) == Region(0, 0, 30, 20)


def test_a_margin_is_rounded_up_to_whole_pixels() -> None:
    region, shape = Region(50, 50, 60, 60), (3, 100, 100)
    # 3 / 2 = 1.5 columns and 3 / 1.4 = 2.14 rows
    assert region.grown(3, (2.0, 1.4, 5.0), shape) == Region(48, 47, 62, 63)
    assert region.grown(0, (2.0, 1.4), shape) == region
    # what a division leaves beyond a whole number is no pixel; 1.2 millionths are one
    assert 2.1 / 0.3 > 7
    assert region.grown(2.1, (0.3, 1.0), shape) == Region(43, 47, 67, 63)
    assert region.grown(3.0000012, (1.0, 1.0), shape) == Region(46, 46, 64, 64)


def test_a_picture_larger_than_any_sensible_one_is_refused() -> None:
    for region in (Region(0, 0, 8193, 3), Region(0, 0, 3, 8193)):
        with pytest.raises(InputError, match="more than 8192 on a side"):
            Frame.over(region)
    assert Frame.over(Region(0, 0, 8192, 3)).width == 8192
    assert Frame.over(Region(0, 0, 3, 8192)).height == 8192
    with pytest.raises(InputError, match="pictures of"):
        Frame.over(Region(0, 0, 512, 512), (1000.0, 1000.0), 0.8)
