from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from converters.core.errors import InputError
from converters.imaging.orientation import canonical

PATH = Path("scan.nii")


def unique(shape: tuple[int, int, int]) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape)


def oriented(volume) -> bool:
    return all(volume.affine[axis, axis] > 0 for axis in range(3))


def test_identity_is_only_transposed_and_not_copied() -> None:
    stored = unique((5, 7, 9))
    volume = canonical(stored.T, np.diag([1.0, 2.0, 3.0, 1.0]), PATH, "CT")
    assert np.shares_memory(volume.array, stored)
    np.testing.assert_array_equal(volume.array, stored)
    np.testing.assert_array_equal(volume.to_file, np.eye(4))
    assert (volume.spacing, volume.modality) == ((1.0, 2.0, 3.0), "CT")


@given(
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    order=st.permutations(range(3)),
    signs=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    spacing=st.tuples(*[st.floats(0.2, 6)] * 3),
    angles=st.tuples(*[st.floats(-25, 25)] * 3),
    origin=hnp.arrays(np.float64, 3, elements=st.floats(-500, 500)),
)
@settings(max_examples=150, deadline=None)
def test_canonical_file_and_patient_agree(shape, order, signs, spacing, angles, origin) -> None:
    matrix = np.zeros((3, 3))
    for axis in range(3):
        matrix[order[axis], axis] = signs[axis]
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ matrix * spacing
    affine[:3, 3] = origin
    stored = unique(shape)
    volume = canonical(stored, affine, PATH)

    assert volume.array.flags.c_contiguous
    assert set(np.unique(volume.to_file[:3, :3])) <= {-1.0, 0.0, 1.0}
    slices, rows, columns = np.indices(volume.array.shape).reshape(3, -1)
    voxels = np.stack([columns, rows, slices], axis=1).astype(float)
    in_file = volume.to_file_voxels(voxels)
    np.testing.assert_array_equal(in_file, np.rint(in_file))
    np.testing.assert_array_equal(
        stored[tuple(in_file.astype(int).T)], volume.array[slices, rows, columns]
    )
    for array in (stored.copy(), np.asfortranarray(stored)):  # as readers hand it over: the latter
        again = canonical(array, affine, PATH, in_place=True)
        np.testing.assert_array_equal(again.array, volume.array)
        assert again.array.flags.c_contiguous

    patient = in_file @ affine[:3, :3].T + affine[:3, 3]
    np.testing.assert_allclose(volume.to_patient(voxels), patient, atol=1e-9)
    np.testing.assert_allclose(volume.from_patient(patient), voxels, atol=1e-7)
    if max(map(abs, angles)) < 15:  # beyond, three turns together may change the closest axis
        assert oriented(volume)
        np.testing.assert_allclose(
            np.array(volume.spacing), np.array(spacing)[np.argsort(order)], rtol=1e-9
        )


def test_flips_alone_need_no_second_volume() -> None:
    stored = unique((5, 7, 9))
    expected = stored[::-1, :, ::-1].copy()
    volume = canonical(stored.T, np.diag([-1.0, 1.0, -1.0, 1.0]), PATH, in_place=True)
    assert np.shares_memory(volume.array, stored)
    np.testing.assert_array_equal(volume.array, expected)


def test_an_oblique_scan_keeps_its_obliquity() -> None:
    turn = Rotation.from_euler("x", 20, degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-0.7, 0.7, 3.0])
    volume = canonical(unique((4, 5, 6)), affine, PATH)
    np.testing.assert_allclose(volume.affine[:3, :3], turn @ np.diag([0.7, 0.7, 3.0]), atol=1e-12)
    np.testing.assert_array_equal(volume.to_file[0], [-1, 0, 0, 3])


def test_each_axis_is_assigned_once_when_two_are_closest_to_the_same() -> None:
    # 45 degrees about every axis in turn: greedy choice would name one file axis twice
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [45, 45, 45], degrees=True).as_matrix()
    to_file = canonical(unique((2, 3, 4)), affine, PATH).to_file[:3, :3]
    np.testing.assert_array_equal(np.abs(to_file).sum(axis=0), [1, 1, 1])
    np.testing.assert_array_equal(np.abs(to_file).sum(axis=1), [1, 1, 1])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (((0, 1), 0.1), "sheared geometry: its axes are 5.71 degrees off"),
        (((0, 0), 0.0), "voxels of 0 x 1 x 1 mm"),
        (((1, 1), np.nan), "not finite"),
        (((2, 3), np.inf), "not finite"),
        (((2, 2), 1e6), "outside 0.001 to 1000 mm"),
    ],
)
def test_impossible_geometry_is_refused(change, problem) -> None:
    affine = np.eye(4)
    affine[change[0]] = change[1]
    with pytest.raises(InputError, match=problem) as caught:
        canonical(unique((2, 2, 2)), affine, PATH)
    assert str(caught.value).startswith("scan.nii: ")


@pytest.mark.parametrize(("cosine", "refused"), [(0.0009, False), (0.0011, True)])
def test_rounding_in_the_header_is_not_shear(cosine: float, refused: bool) -> None:
    affine = np.eye(4)
    affine[0, 1] = cosine
    if refused:
        with pytest.raises(InputError, match=r"0\.06 degrees off a right angle"):
            canonical(unique((2, 2, 2)), affine, PATH)
    else:
        assert canonical(unique((2, 2, 2)), affine, PATH).affine[0, 1] == cosine


@pytest.mark.parametrize(
    ("size", "refused"), [(0.001, False), (1000, False), (0.00099, True), (1000.5, True)]
)
def test_voxels_of_a_micrometre_to_a_metre(size: float, refused: bool) -> None:
    affine = np.diag([1, size, 1, 1.0])
    if refused:
        with pytest.raises(InputError, match=r"outside 0\.001 to 1000 mm"):
            canonical(unique((2, 2, 2)), affine, PATH)
    else:
        assert canonical(unique((2, 2, 2)), affine, PATH).spacing == (1, size, 1)


def test_parallel_axes_are_90_degrees_off_though_the_cosine_of_some_rounds_above_1() -> None:
    for direction in np.random.default_rng(0).uniform(0.1, 1, (40, 3)):
        affine = np.eye(4)
        affine[:3, 0] = affine[:3, 1] = direction
        with pytest.raises(InputError, match=r"90\.00 degrees off"):
            canonical(unique((2, 2, 2)), affine, PATH)


def test_no_affine_of_another_shape_and_no_negative_zero() -> None:
    with pytest.raises(InputError, match="not finite"):
        canonical(unique((2, 2, 2)), np.eye(3), PATH)
    affine = canonical(unique((1, 1, 1)), np.diag([-1.0, -1.0, 1.0, 1.0]), PATH).affine
    np.testing.assert_array_equal(affine, np.eye(4))
    assert not np.signbit(affine).any()
