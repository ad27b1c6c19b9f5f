from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from detect.phantom import CLASSES, make_case, make_phantom
from detect.phantom.cases import classes_of

HCC, METASTASIS, CYST, HEMANGIOMA = CLASSES.values()
SIZE, SLICES, PATIENTS = 96, 24, 20

Case = tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.float64]]


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [make_case(7, index, SIZE, SLICES) for index in range(PATIENTS)]


def _values(cases: list[Case], label: int) -> list[tuple[float, NDArray[np.int16]]]:
    """Per patient with a class: the liver's median HU, and the lesions' HU."""
    return [
        (float(np.median(hu[mask == 1])), hu[mask == label])
        for hu, mask, _ in cases
        if (mask == label).any()
    ]


def _eroded(mask: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    kernel = np.ones((3, 3), np.uint8)
    return np.stack([cv2.erode(m.astype(np.uint8), kernel, iterations=steps) > 0 for m in mask])


def _files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        make_phantom(tmp_path / name, patients=2, seed=seed, size=64, slices=8)
    a, b, c = (_files(tmp_path / name) for name in "abc")
    assert sorted(a) == [
        f"{folder}/phantom-{number:04d}.nii.gz"
        for folder in ("images", "masks")
        for number in (1, 2)
    ]
    assert a == b
    assert all(a[name] != c[name] for name in a)


def test_a_patient_does_not_depend_on_the_others(tmp_path: Path) -> None:
    make_phantom(tmp_path / "few", patients=2, size=64, slices=6)
    make_phantom(tmp_path / "more", patients=3, size=64, slices=6)
    few, more = _files(tmp_path / "few"), _files(tmp_path / "more")
    assert {name: more[name] for name in few} == few
    assert len(more) == len(few) + 2


def test_files_read_back_with_their_geometry(tmp_path: Path) -> None:
    make_phantom(tmp_path, patients=2, seed=1, size=64, slices=8)
    for index in range(2):
        hu, mask, affine = make_case(1, index, 64, 8)
        name = f"phantom-{index + 1:04d}.nii.gz"
        for folder, expected in (("images", hu), ("masks", mask)):
            image = sitk.ReadImage(str(tmp_path / folder / name))
            stored = sitk.GetArrayFromImage(image)
            assert stored.dtype == expected.dtype
            np.testing.assert_array_equal(stored, expected)
            direction = np.reshape(image.GetDirection(), (3, 3))
            np.testing.assert_allclose(
                direction * image.GetSpacing(), affine[:3, :3], rtol=1e-5, atol=1e-4
            )
            np.testing.assert_allclose(image.GetOrigin(), affine[:3, 3], atol=1e-2)


def test_field_of_view_does_not_depend_on_the_number_of_pixels() -> None:
    for size in (64, 128):
        affine = make_case(0, 0, size, 4)[2]
        assert affine[0, 0] * size == pytest.approx(350)
        assert affine[2, 2] == 5


def test_labels_and_air_and_bone(cases: list[Case]) -> None:
    for hu, mask, affine in cases:
        assert hu.dtype == np.int16 and mask.dtype == np.uint8
        assert hu.shape == mask.shape == (SLICES, SIZE, SIZE) and affine.shape == (4, 4)
        assert set(np.unique(mask)) <= {0, 1, *CLASSES.values()}
        assert hu.min() >= -1024 and hu.max() < 600
        assert -1015 < hu[:, :4, :4].mean() < -985  # a corner is air
        assert (hu > 150).mean() > 0.005  # bone and arterial blood
        assert 40 < np.median(hu[mask == 1]) < 90


def test_orientation(cases: list[Case]) -> None:
    for hu, mask, _ in cases:
        slices, _, columns = np.nonzero(mask)
        assert columns.mean() < 0.42 * SIZE  # the patient's right is on the left
        assert slices.mean() > 0.35 * SLICES
        bone = np.nonzero((hu > 150)[:, :, int(0.45 * SIZE) : int(0.55 * SIZE)])[1]
        assert bone.mean() > 0.55 * SIZE  # the spine is behind
        lung = (hu < -700) & (np.abs(np.arange(SIZE) - SIZE / 2) < 0.3 * SIZE)
        middle = lung[:, int(0.35 * SIZE) : int(0.7 * SIZE)]
        assert middle[-3:].sum() > middle[:3].sum()  # the last slice is the highest


def test_lesions_lie_in_the_liver(cases: list[Case]) -> None:
    for _, mask, _ in cases:
        lesion = mask > 1
        if not lesion.any():
            continue
        # Voxels around a lesion are liver for the greater part: some lesions touch its capsule.
        around = np.stack(
            [cv2.dilate(m.astype(np.uint8), np.ones((3, 3), np.uint8)) for m in lesion]
        )
        ring = (around > 0) & ~lesion
        assert (mask[ring] == 1).mean() > 0.6
        assert lesion.sum() < 0.3 * (mask > 0).sum()


def test_lesions_of_two_classes_never_touch(cases: list[Case]) -> None:
    for _, mask, _ in cases:
        for label in CLASSES.values():
            grown = np.stack(
                [cv2.dilate((m == label).astype(np.uint8), np.ones((3, 3), np.uint8)) for m in mask]
            )
            assert not ((grown > 0) & (mask > 1) & (mask != label)).any()


def test_classes_are_balanced_and_a_fifth_is_normal() -> None:
    drawn = [classes_of(seed, index) for seed in range(4) for index in range(50)]
    assert sum(not labels for labels in drawn) == len(drawn) / 5
    assert {len(labels) for labels in drawn} == {0, 1, 2}
    counts = Counter(label for labels in drawn for label in labels)
    assert set(counts) == set(CLASSES.values())
    assert max(counts.values()) < 1.3 * min(counts.values())


def test_every_class_among_the_first_five_patients(cases: list[Case]) -> None:
    for index, (_, mask, _) in enumerate(cases):
        assert set(np.unique(mask[mask > 1])) == set(classes_of(7, index))
    first = np.concatenate([np.unique(mask) for _, mask, _ in cases[:5]])
    assert set(first) == {0, 1, *CLASSES.values()}


def test_cysts_hold_water(cases: list[Case]) -> None:
    core = [hu[_eroded(mask == CYST, 1)] for hu, mask, _ in cases]
    core = [values for values in core if values.size > 20]
    assert core
    for values in core:
        assert -5 < values.mean() < 25


def test_hcc_enhances_beyond_the_liver(cases: list[Case]) -> None:
    regions = _values(cases, HCC)
    assert regions
    for liver, values in regions:
        # Not all of it: a capsule and a necrotic core stay dark.
        assert 25 < np.percentile(values, 75) - liver < 95


def test_metastases_have_a_bright_rim_around_a_dark_centre(cases: list[Case]) -> None:
    seen = 0
    for hu, mask, _ in cases:
        lesion = mask == METASTASIS
        centre, edge = _eroded(lesion, 2), lesion & ~_eroded(lesion, 1)
        if centre.sum() < 10:
            continue
        seen += 1
        assert 15 < hu[centre].mean() < 60
        assert hu[edge].mean() > hu[centre].mean() + 20
        assert hu[centre].mean() < np.median(hu[mask == 1])
    assert seen


def test_hemangiomas_have_bright_nodules_at_the_edge_of_a_dark_lake(cases: list[Case]) -> None:
    regions = _values(cases, HEMANGIOMA)
    assert regions
    for liver, values in regions:
        assert np.percentile(values, 25) < liver
        assert np.percentile(values, 97) > liver + 50
    for hu, mask, _ in cases:
        lesion = mask == HEMANGIOMA
        centre = _eroded(lesion, 3)
        if centre.sum() >= 10:
            assert (hu[lesion & ~centre] > 130).mean() > (hu[centre] > 130).mean()
