"""A mask on another grid: by hand, and voxel by voxel."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from converters.imaging.resample import nearest
from converters.imaging.volume import Volume


def at(affine: np.ndarray, *shape: int) -> Volume:
    """An empty grid, ``shape`` being (slices, rows, columns)."""
    return Volume(np.zeros(shape, np.uint8), affine, np.eye(4))


def moved(column: float, row: float, z: float) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, 3] = column, row, z
    return affine


def test_half_a_voxel_goes_up_and_beyond_the_mask_is_background() -> None:
    mask = Volume(np.arange(1, 25, dtype=np.int16).reshape(2, 3, 4), np.eye(4), np.eye(4))
    # columns -0.5…4.5 round to 0…5, rows 0.49… to 0…, slices -1…1
    resampled = nearest(mask, at(moved(-0.5, 0.49, -1), 3, 4, 6))
    expected = np.zeros((3, 4, 6), np.int16)
    expected[1:, :3, :4] = mask.array
    assert resampled.dtype == np.int16
    np.testing.assert_array_equal(resampled, expected)
    below = nearest(mask, at(moved(-0.51, 0, 0), 1, 1, 2))
    assert below.tolist() == [[[0, 1]]]


@pytest.mark.parametrize("angles", [(0, 0, 0), (90, 0, 0), (0, 0, 30), (20, -15, 40)])
def test_every_voxel_takes_the_value_where_its_centre_lies(angles: tuple[int, ...]) -> None:
    rng = np.random.default_rng(4)
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn * (0.8, 1.3, 2.1)
    affine[:3, 3] = [3.1173, 3.6419, 3.8537] - affine[:3, :3] @ [3, 2.5, 2]  # the grid's middle
    mask = Volume(rng.integers(1, 200, (5, 6, 7)).astype(np.uint8), affine, np.eye(4))
    grid = at(np.diag([0.7, 0.9, 1.1, 1.0]), 8, 9, 10)
    resampled = nearest(mask, grid)
    hits = 0
    for z, y, x in np.ndindex(resampled.shape):
        place = np.linalg.solve(affine, grid.affine @ [x, y, z, 1])[:3]
        c, r, s = (round(p) for p in place)  # never just between two voxels
        inside = 0 <= c < 7 and 0 <= r < 6 and 0 <= s < 5
        assert resampled[z, y, x] == (mask.array[s, r, c] if inside else 0)
        hits += inside
    assert 50 < hits < resampled.size


def test_a_tilt_of_a_millionth_of_a_voxel_is_a_tilt() -> None:
    """Over 24 slices it moves by 1.2e-6 columns, and from slice 12 on lies in the next column."""
    tilted = moved(0.5 - 6.02e-7, 0, 0)
    tilted[0, 2] = 5e-8
    mask = Volume(np.tile(np.array([[3, 7]], np.uint8), (24, 1, 1)), np.eye(4), np.eye(4))
    resampled = nearest(mask, at(tilted, 24, 1, 1))
    assert resampled.ravel().tolist() == [3] * 13 + [7] * 11
