"""RTSTRUCT contours: filling against other calculations, turned scans, and wrong files."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Outline
from PIL import Image, ImageDraw
from pydicom import dcmread

from converters.conversion.sources import find_cases
from converters.core.errors import InputError
from converters.imaging.read import read_mask, read_volume
from converters.masks import rtstruct
from converters.masks.annotations import read_annotations
from converters.masks.dicom_objects import read_scan
from converters.masks.rtstruct import fill_even_odd
from tests.helpers import dicom_masks
from tests.helpers.dicom_masks import recipe, write_rtstruct, write_scan
from tests.helpers.dicom_series import SECRETS

SQUARE = np.array([[1, 1], [5, 1], [5, 4], [1, 4]], float)


def test_a_square_on_voxel_centres_by_hand() -> None:
    expected = np.zeros((6, 7), bool)
    expected[1:4, 1:5] = True  # 4 x 3 voxels of area 1, as the polygon's area is
    np.testing.assert_array_equal(fill_even_odd([SQUARE], 6, 7), expected)
    np.testing.assert_array_equal(fill_even_odd([SQUARE[::-1]], 6, 7), expected)


def test_a_contour_within_another_is_a_hole_and_so_is_the_inside_of_a_keyhole() -> None:
    inner = np.array([[2, 2], [4, 2], [4, 3], [2, 3]], float)
    expected = fill_even_odd([SQUARE], 6, 7)
    expected[2, 2:4] = False
    np.testing.assert_array_equal(fill_even_odd([SQUARE, inner], 6, 7), expected)
    slanted = np.concatenate([SQUARE, SQUARE[:1], inner[:1], inner[::-1], SQUARE[:1]])
    np.testing.assert_array_equal(fill_even_odd([slanted], 6, 7), expected)


def exact(polygon: np.ndarray, x: int, y: int) -> bool:
    """Fill a polygon by crossing a ray to the left, in rational numbers."""
    inside = False
    corners = [(Fraction(float(a)), Fraction(float(b))) for a, b in polygon]
    for (xa, ya), (xb, yb) in zip(corners, corners[1:] + corners[:1], strict=True):
        if (ya <= y) != (yb <= y):
            inside ^= xa + (y - ya) * (xb - xa) / (yb - ya) <= x
    return inside


@pytest.mark.parametrize("seed", range(6))
def test_tangled_polygons_against_rational_numbers(seed: int) -> None:
    """Fill polygons with corners on quarters of a voxel: many centres lie on outlines."""
    rng = np.random.default_rng(seed)
    polygon = rng.integers(-12, 52, (9, 2)) / 4
    expected = np.array([[exact(polygon, x, y) for x in range(11)] for y in range(9)])
    np.testing.assert_array_equal(fill_even_odd([polygon], 9, 11), expected)


@pytest.mark.parametrize("seed", range(4))
def test_smooth_polygons_against_matplotlib(seed: int) -> None:
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 6000))  # more edges than are taken at once
    radius = 20 + 8 * np.sin(5 * angle + rng.uniform(0, 6))
    polygon = np.stack([30 + radius * np.cos(angle), 25 + radius * np.sin(angle)], axis=1)
    y, x = np.mgrid[:52, :60]
    expected = Outline(polygon).contains_points(np.stack([x, y], axis=-1).reshape(-1, 2))
    np.testing.assert_array_equal(fill_even_odd([polygon], 52, 60), expected.reshape(52, 60))


def rotated(degrees: float, axis: int) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(3)
    a, b = [k for k in range(3) if k != axis]
    turn[[a, a, b, b], [a, b, a, b]] = c, -s, s, c
    return turn


@pytest.mark.parametrize(
    "turn",
    [
        np.eye(3),
        np.diag([-1.0, 1, -1]),
        np.diag([-1.0, -1, 1]),
        rotated(90, 2),
        rotated(12, 2),
        rotated(9, 0),
        rotated(-7, 1) @ rotated(15, 2),
    ],
    ids=["straight", "feet first", "prone", "on the side", "in plane", "tilted", "oblique"],
)
def test_contours_land_on_the_voxels_that_they_enclose(tmp_path: Path, turn: np.ndarray) -> None:
    """Contours land on the voxels of a turned scan whose centres they enclose."""
    shape, origin = (6, 24, 30), np.array([-10.0, 20.0, 30.0])
    spacing = np.array([0.5, 0.75, 2.0])
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    outer = np.stack([7 + 4.6 * np.cos(angle), 8 + 5.1 * np.sin(3 * angle + 1)], axis=1)
    inner = np.stack([7 + 1.3 * np.cos(angle), 8 + 1.9 * np.sin(angle)], axis=1)
    y, x = np.mgrid[: shape[1], : shape[2]]
    centres = np.stack([x * spacing[0], y * spacing[1]], axis=-1).reshape(-1, 2)
    inside = Outline(outer).contains_points(centres) ^ Outline(inner).contains_points(centres)
    truth = np.zeros(shape, bool)
    truth[1:4] = inside.reshape(shape[1:])
    assert 50 < truth[1].sum() < 500

    orientation = (*turn[:, 0], *turn[:, 1])
    step = tuple(turn[:, 2] * spacing[2])
    write_scan(tmp_path / "scan", truth, orientation=orientation, step=step)
    contours = [
        origin + np.column_stack([points, np.full(len(points), z * spacing[2])]) @ turn.T
        for z in (1, 2, 3)
        for points in (outer, inner)
    ]
    write_rtstruct(tmp_path / "rs.dcm", {"GTV 1": contours, "Bone": contours[:1]})
    masks = rtstruct.read(
        recipe("rtstruct", {"tumour": "gtv*"}), read_scan(tmp_path / "scan"), [tmp_path / "rs.dcm"]
    )
    planted = read_volume(tmp_path / "scan").array > dicom_masks.LOW + 50 - 1024
    np.testing.assert_array_equal(masks.inside[0], planted)
    assert list(masks.inside) == [0]


def box(z: float, x: float = -9.0, y: float = 21.0) -> np.ndarray:
    return np.array([[x, y, z], [x + 2, y, z], [x + 2, y + 3, z], [x, y + 3, z]])


def read(folder: Path, classes: dict[str, object] | None = None):
    scan = folder / "scan"
    write_scan(scan, np.zeros((5, 16, 12), bool))
    return rtstruct.read(
        recipe("rtstruct", classes or {"tumour": "gtv"}), read_scan(scan), [folder / "rs.dcm"]
    )


def test_contours_between_slices_are_left_out_and_reported(tmp_path: Path) -> None:
    write_rtstruct(tmp_path / "rs.dcm", {"GTV": [box(32.0), box(33.0), box(34.1)]})
    masks = read(tmp_path)
    assert masks.inside[0].any(axis=(1, 2)).tolist() == [False, True, True, False, False]
    assert "contours between two slices were left out: 1" in masks.notes


def test_rois_of_one_class_are_united_and_classes_overlap(tmp_path: Path) -> None:
    write_rtstruct(
        tmp_path / "rs.dcm",
        {"GTV a": [box(32.0)], "gtv B": [box(32.0, x=-8.0)], "node": [box(32.0)], "empty": []},
    )
    masks = read(tmp_path, {"tumour": "GTV *", "node": ["node", "empty"]})
    assert masks.inside[0].sum() == 6 * 4 and masks.inside[1].sum() == 4 * 4


def test_the_structure_set_that_refers_to_the_scan_is_taken(tmp_path: Path) -> None:
    files = write_scan(tmp_path / "scan", np.zeros((5, 16, 12), bool))
    series = dcmread(files[0]).SeriesInstanceUID
    write_rtstruct(tmp_path / "scan" / "a.dcm", {"GTV": [box(34.0)]})
    write_rtstruct(tmp_path / "scan" / "b.dcm", {"GTV": [box(36.0)]}, series)
    (case,) = find_cases(recipe("rtstruct", {"tumour": "gtv"}), tmp_path)
    marks = read_annotations(recipe("rtstruct", {"tumour": "gtv"}), case, False)
    assert [c.slice_index for c in marks.components] == [3] and marks.notes == []
    assert marks.files == [("", tmp_path / "scan" / "b.dcm")]
    (tmp_path / "scan" / "b.dcm").unlink()
    marks = read_annotations(recipe("rtstruct", {"tumour": "gtv"}), case, False)
    assert [c.slice_index for c in marks.components] == [2]
    assert marks.notes == ["no reference to the scan resolves: contours were placed by position"]


def wrong(folder: Path, rois: dict[str, list[np.ndarray]], **more: str) -> str:
    folder.mkdir()
    write_rtstruct(folder / "rs.dcm", rois, **more)
    with pytest.raises(InputError) as caught:
        read(folder)
    line = str(caught.value)
    assert "Doe" not in line and not any(secret in line for secret in SECRETS)
    return line


def test_what_can_be_wrong_with_it(tmp_path: Path) -> None:
    good = [box(32.0)]
    message = wrong(tmp_path / "a", {"GTV1": good, "Jane Doe liver": good, "spleen": good})
    assert "there are `GTV1`, `spleen`." in message
    assert "outside the scan" in wrong(tmp_path / "b", {"GTV": [*good, box(50.0)]})
    assert "outside the scan" in wrong(tmp_path / "c", {"GTV": [*good, box(32.0, x=90.0)]})
    assert "all lie between" in wrong(tmp_path / "d", {"GTV": [box(33.0)]})
    assert "1 POINT" in wrong(tmp_path / "e", {"GTV": good}, kind="POINT")
    assert "1 unnamed" in wrong(tmp_path / "f", {"GTV": good}, kind="DOE_JANE")
    assert "not parallel" in wrong(tmp_path / "g", {"GTV": [good[0][:, [0, 2, 1]] + [0, -10, 10]]})
    assert "list of points" in wrong(tmp_path / "h", {"GTV": [good[0].ravel()[:7]]})
    (tmp_path / "i").mkdir()
    write_rtstruct(tmp_path / "i" / "rs.dcm", {"GTV": good})
    whole = (tmp_path / "i" / "rs.dcm").read_bytes()
    (tmp_path / "i" / "rs.dcm").write_bytes(whole[: len(whole) - 150])
    with pytest.raises(InputError):
        read(tmp_path / "i")


@pytest.mark.realdata
def test_real_sarcomas_from_contours_and_from_nifti(realdata: Path) -> None:
    index = "019 15 47 025 15 47 008 19 51 042 17 49 002 16 48 003 20 51 024 23 55 012 21 53 "
    index += "041 21 53 035 31 63 032 22 54 015 25 57"
    words = index.split()
    expected = {
        f"STS_{name}": (int(marked), int(slices))
        for name, marked, slices in zip(words[::3], words[1::3], words[2::3], strict=True)
    }
    layout = {"image": "{case}/CT/image", "patients": []}
    drawn = recipe("rtstruct", {"gtv": "GTV_Mass_CT"}, mask="{case}/RTSTRUCT", **layout)
    labelled = recipe("labels", {"gtv": 1}, mask="{case}/NIFTI/CT_mask.nii.gz", **layout)
    cases = zip(
        find_cases(drawn, realdata / "sts"), find_cases(labelled, realdata / "sts"), strict=True
    )
    for case, other in cases:
        truth = read_mask(other.mask).array > 0  # type: ignore
        marked, slices = expected.pop(case.case_id)
        marks = read_annotations(labelled, other, False)
        assert {c.slice_index for c in marks.components} == set(
            np.flatnonzero(truth.any(axis=(1, 2)))
        )
        assert (len({c.slice_index for c in marks.components}), marks.shape[0]) == (marked, slices)
        scan = read_scan(case.image)
        filled = rtstruct.read(drawn, scan, [path for _, path in case.parts]).inside[0]
        assert abs(int(filled.any(axis=(1, 2)).sum()) - marked) <= 1
        dice = 2 * (filled & truth).sum() / (filled.sum() + truth.sum())
        assert dice >= 0.999  # filled at voxel centres, as the mask was
    assert expected == {}


@pytest.mark.realdata
def test_a_real_folder_of_slices_and_contours(realdata: Path) -> None:
    """A real series gives the 2256 voxels whose centres lie inside its contours.

    The 2453 voxels of its index include those that the outlines touch.
    """
    chosen = recipe("rtstruct", {"gtv": "GTV-1"}, image="pat_{case}", mask="pat_{case}")
    (case,) = find_cases(chosen, realdata / "rtstruct_mixed")
    marks = read_annotations(chosen, case, False)
    assert marks.shape[0] == 41 and len({c.slice_index for c in marks.components}) == 7
    (path,) = (path for _, path in marks.files)
    grid = read_scan(case.image).grid
    centres = outlines = 0
    y, x = np.mgrid[: marks.shape[1], : marks.shape[2]]
    for contour in dcmread(path).ROIContourSequence[0].ContourSequence:
        points = grid.from_patient(np.array(contour.ContourData, float).reshape(-1, 3))[:, :2]
        centres += Outline(points).contains_points(np.stack([x, y], -1).reshape(-1, 2)).sum()
        picture = Image.new("1", marks.shape[:0:-1])
        ImageDraw.Draw(picture).polygon([tuple(p) for p in points], fill=1, outline=1)
        outlines += np.asarray(picture).sum()
    assert sum(lesion.voxels for lesion in marks.lesions) == centres == 2256
    assert outlines == 2453
