"""DICOM SEG as highdicom writes it, against the truth planted in the scan's own pixels."""

from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import RLELossless, generate_uid

from converters.core.errors import InputError
from converters.masks.annotations import find_by_class, read_annotations, read_scan
from tests.helpers import dicom_masks
from tests.helpers.dicom_masks import describe, recipe, source, write_scan, write_seg
from tests.helpers.dicom_series import SECRETS

SHAPE = (5, 7, 9)  # no frame fills whole bytes


def blob(seed: int, share: float = 0.3) -> np.ndarray:
    truth = np.random.default_rng(seed).random(SHAPE) < share
    truth[2, 3, 4] = True
    return truth


def read_masks(scan: Path, mask: Path, classes: dict[str, object], resample: bool = False):
    from converters.masks import dicom_seg
    from converters.masks.dicom_objects import read_scan

    return dicom_seg.read(recipe("seg", classes), read_scan(scan), [mask], resample)


def planted(scan: Path, mask: Path) -> np.ndarray:
    return read_scan(source(scan, mask, "seg"))[0].array > (dicom_masks.LOW + 50 - 1024)


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
@pytest.mark.parametrize(
    "orientation", [(1, 0, 0, 0, 1, 0), (-1, 0, 0, 0, 1, 0), (0, -1, 0, 1, 0, 0)]
)
def test_every_kind_on_a_turned_scan(tmp_path: Path, kind: str, orientation) -> None:
    truth = blob(1)
    step = tuple(2.0 * np.cross(orientation[:3], orientation[3:]))
    files = write_scan(tmp_path / "scan", truth, orientation=orientation, step=step)
    pixels = truth.astype(np.uint8)
    more = {}
    if kind == "FRACTIONAL":  # below, at and above one half of 200
        pixels = np.where(truth, np.where(blob(2), 0.5, 0.9), np.where(blob(3), 0.49, 0.0))
        more = {"max_fractional_value": 200}
    write_seg(tmp_path / "seg.dcm", files, pixels, ["Tumour"], kind, **more)
    masks = read_masks(tmp_path / "scan", tmp_path / "seg.dcm", {"lesion": "tumour"})
    np.testing.assert_array_equal(masks.inside[0], planted(tmp_path / "scan", tmp_path))
    assert masks.inside[0].sum() == truth.sum()


def stack(truth: np.ndarray, spacing: tuple[float, ...], origin: tuple[float, ...]) -> hd.Volume:
    """Slices, rows and columns along z, y and x."""
    dx, dy, dz = spacing
    affine = np.array([[0, 0, dx, 0], [0, dy, 0, 0], [dz, 0, 0, 0], [0, 0, 0, 1.0]])
    affine[:3, 3] = origin
    return hd.Volume(truth.astype(np.uint8), affine, "PATIENT", dicom_masks.FRAME)


@pytest.mark.parametrize(
    ("axes", "flips"),
    [
        ((0, 1, 2), (0,)), ((0, 1, 2), (1,)), ((0, 1, 2), (2,)), ((0, 2, 1), ()),
        ((1, 0, 2), (0, 1, 2)), ((2, 1, 0), (1,)), ((1, 2, 0), (2,)), ((2, 0, 1), (0, 1)),
    ],
)  # fmt: skip
def test_frames_of_any_orientation_land_on_the_scan(tmp_path: Path, axes, flips) -> None:
    truth = blob(4)
    files = write_scan(tmp_path / "scan", truth)
    volume = stack(truth, (0.5, 0.75, 2.0), (-10.0, 20.0, 30.0))
    volume = volume.permute_spatial_axes(list(axes))
    if flips:
        volume = volume.flip_spatial(list(flips))
    write_seg(tmp_path / "seg.dcm", files, volume, ["Tumour"])
    masks = read_masks(tmp_path / "scan", tmp_path / "seg.dcm", {"lesion": "tumour"})
    np.testing.assert_array_equal(masks.inside[0], planted(tmp_path / "scan", tmp_path))


def test_overlapping_segments_keep_their_own_voxels(tmp_path: Path) -> None:
    first, second, third = blob(5), blob(6), blob(7)
    files = write_scan(tmp_path / "scan", first)
    write_seg(
        tmp_path / "seg.dcm",
        files,
        np.stack([first, second, third], axis=-1).astype(np.uint8),
        ["Cyst 1", "Tumour", "CYST 2"],
    )
    case = source(tmp_path / "scan", tmp_path / "seg.dcm", "seg")
    marks = read_annotations(recipe("seg", {"tumour": "tumour", "cyst": "cyst*"}), case, False)
    masks = read_masks(
        tmp_path / "scan", tmp_path / "seg.dcm", {"tumour": "tumour", "cyst": "cyst*"}
    )
    np.testing.assert_array_equal(masks.inside[0], second)
    np.testing.assert_array_equal(masks.inside[1], first | third)
    assert (second & (first | third)).any()
    by_class = {
        k: sum(lesion.voxels for lesion in marks.lesions if lesion.label == k) for k in (0, 1)
    }
    assert by_class == {0: second.sum(), 1: (first | third).sum()}
    assert [lesion.lesion_id for lesion in marks.lesions] == list(range(1, len(marks.lesions) + 1))


def test_lesions_class_by_class_equal_those_of_a_label_volume() -> None:
    from converters.masks.components import find_lesions

    labels = np.random.default_rng(8).choice(3, SHAPE, p=[0.7, 0.2, 0.1]).astype(np.uint8)
    spacing = (0.5, 0.75, 2.0)
    inside = {k: labels == k + 1 for k in (1, 0)}
    assert find_by_class(inside, spacing) == find_lesions(labels, {1: 0, 2: 1}, spacing)


def test_a_segment_may_be_named_by_the_meaning_of_its_code(tmp_path: Path) -> None:
    truth = blob(9)
    files = write_scan(tmp_path / "scan", truth)
    write_seg(tmp_path / "seg.dcm", files, truth.astype(np.uint8), ["Segment 1"])
    masks = read_masks(tmp_path / "scan", tmp_path / "seg.dcm", {"lesion": "neoplasm"})
    assert masks.inside[0].sum() == truth.sum()


def test_in_the_folder_of_the_slices_the_one_that_refers_to_the_scan_is_taken(
    tmp_path: Path,
) -> None:
    truth, other = blob(10), blob(11)
    files = write_scan(tmp_path / "scan", truth)
    foreign = write_scan(tmp_path / "foreign", other)
    write_seg(tmp_path / "scan" / "b.dcm", files, truth.astype(np.uint8), ["Tumour"])
    write_seg(tmp_path / "scan" / "a.dcm", foreign, other.astype(np.uint8), ["Tumour"])
    masks = read_masks(tmp_path / "scan", tmp_path / "scan", {"lesion": "tumour"})
    np.testing.assert_array_equal(masks.inside[0], truth)


def test_several_objects_of_one_scan_are_united(tmp_path: Path) -> None:
    first, second = blob(12, 0.1), blob(13, 0.1)
    files = write_scan(tmp_path / "scan", first)
    for name, pixels in (("a", first), ("b", second)):
        write_seg(
            tmp_path / "scan" / f"{name}.dcm", files, pixels.astype(np.uint8), [f"Nodule {name}"]
        )
    masks = read_masks(tmp_path / "scan", tmp_path / "scan", {"lesion": "nodule*"})
    np.testing.assert_array_equal(masks.inside[0], first | second)


def test_packed_frames_are_read(tmp_path: Path) -> None:
    truth = blob(14)
    files = write_scan(tmp_path / "scan", truth)
    write_seg(tmp_path / "seg.dcm", files, truth.astype(np.uint8), ["Tumour"], "LABELMAP")
    seg = dcmread(tmp_path / "seg.dcm")
    seg.compress(RLELossless, encoding_plugin="pydicom")
    seg.save_as(tmp_path / "seg.dcm")
    masks = read_masks(tmp_path / "scan", tmp_path / "seg.dcm", {"lesion": "tumour"})
    np.testing.assert_array_equal(masks.inside[0], truth)


def test_a_coarser_segmentation_is_resampled_only_when_asked(tmp_path: Path) -> None:
    import SimpleITK as sitk

    files = write_scan(tmp_path / "scan", np.zeros((6, 8, 10), bool))
    coarse = np.random.default_rng(15).random((3, 5, 6)) < 0.5
    volume = stack(coarse, (0.9, 1.3, 4.1), (-9.3, 20.2, 30.4))
    write_seg(tmp_path / "seg.dcm", files, volume, ["Tumour"])
    arguments = (tmp_path / "scan", tmp_path / "seg.dcm", {"lesion": "tumour"})
    with pytest.raises(InputError, match="--resample-mask"):
        read_masks(*arguments)
    masks = read_masks(*arguments, resample=True)

    image = sitk.GetImageFromArray(coarse.astype(np.uint8))
    image.SetOrigin((-9.3, 20.2, 30.4))
    image.SetSpacing((0.9, 1.3, 4.1))
    expected = sitk.Resample(
        image, (10, 8, 6), sitk.Transform(), sitk.sitkNearestNeighbor,
        (-10.0, 20.0, 30.0), (0.5, 0.75, 2.0), np.eye(3).ravel().tolist(), 0,
    )  # fmt: skip
    np.testing.assert_array_equal(masks.inside[0], sitk.GetArrayFromImage(expected))
    assert masks.notes == [
        "the mask was resampled onto the scan's grid: "
        f"{coarse.sum()} voxels became {masks.inside[0].sum()}"
    ]


def wrong(tmp_path: Path, edit=None, classes=None, frame: str = "") -> str:
    truth = blob(16)
    files = write_scan(tmp_path / "scan", truth)
    write_seg(tmp_path / "seg.dcm", files, truth.astype(np.uint8), ["Tumour"], edit=edit)
    if frame:
        write_scan(tmp_path / "other", truth, frame=frame)
    scan = tmp_path / ("other" if frame else "scan")
    with pytest.raises(InputError) as caught:
        read_masks(scan, tmp_path / "seg.dcm", classes or {"lesion": "tumour"})
    line = str(caught.value)
    assert not any(secret in line for secret in SECRETS) and "1.2." not in line
    return line


def test_what_can_be_wrong_with_it(tmp_path: Path) -> None:
    def shift(ds) -> None:
        for group in ds.PerFrameFunctionalGroupsSequence:
            place = group.PlanePositionSequence[0]
            x, y, z = place.ImagePositionPatient
            place.ImagePositionPatient = [x, y, z + 4.0]

    def name_the_patient(ds) -> None:
        ds.SegmentSequence[0].SegmentLabel = "liver of Jane Doe"

    def cut(ds) -> None:
        ds.PixelData = ds.PixelData[:8]

    def overstate(ds) -> None:
        ds.NumberOfFrames = 1_000_000

    def strip(ds) -> None:
        del ds.PerFrameFunctionalGroupsSequence

    assert "`Tumour`" in wrong(tmp_path / "a", classes={"lesion": "tumor"})
    assert "frame of reference" in wrong(tmp_path / "b", frame=generate_uid())
    assert "outside the scan" in wrong(tmp_path / "c", shift)
    assert "there are none" in wrong(tmp_path / "d", name_the_patient, {"lesion": "x"})
    assert "cut short" in wrong(tmp_path / "e", cut)
    assert "number of frames" in wrong(tmp_path / "f", overstate)
    assert "damaged" in wrong(tmp_path / "g", strip)
    truth = blob(17)
    write_scan(tmp_path / "h", truth)
    with pytest.raises(InputError, match="holds no DICOM SEG"):
        read_masks(tmp_path / "h", tmp_path / "h", {"lesion": "tumour"})


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["liver", "partial_overlaps"])
def test_real_segments_are_those_that_highdicom_reads(realdata: Path, name: str) -> None:
    file = realdata / "dicom_seg" / f"{name}.dcm"
    expected = hd.seg.segread(file).get_volume(combine_segments=False).array
    labels = [str(item.SegmentLabel) for item in dcmread(file).SegmentSequence]
    case = source(realdata / "dicom_seg" / "ct-3slice", file, "seg")
    marks = read_annotations(recipe("seg", {label: label for label in labels}), case, False)
    voxels = [
        sum(lesion.voxels for lesion in marks.lesions if lesion.label == k)
        for k in range(len(labels))
    ]
    assert voxels == expected.sum(axis=(0, 1, 2)).tolist()
    if name == "partial_overlaps":
        assert voxels == [9602, 11888, 10743, 6693, 4713]


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["noppv", "ppv5"])
def test_real_sparse_label_maps(realdata: Path, tmp_path: Path, name: str) -> None:
    file = realdata / "dicom_seg" / f"sparse-labelmap-{name}.dcm"
    seg = dcmread(file)
    places = [
        g.PlanePositionSequence[0].ImagePositionPatient
        for g in seg.PerFrameFunctionalGroupsSequence
    ]
    truth = np.zeros((5, seg.Rows, seg.Columns), bool)  # 2.5 mm apart, from one below the first

    def here(number: int, ds):
        ds.PixelSpacing = [0.7, 0.7]
        ds.FrameOfReferenceUID = seg.FrameOfReferenceUID
        return ds

    from tests.helpers.dicom_series import write_series

    origin = (float(places[0][0]), float(places[0][1]), float(places[0][2]) - 2.5)
    write_series(tmp_path / "scan", np.full(truth.shape, 1000), here, origin, (0, 0, 2.5))
    masks = read_masks(tmp_path / "scan", file, {"liver": "*"})
    for k, plane in zip((1, 3), seg.pixel_array, strict=True):
        truth[k] = plane == 1
    assert truth.any()
    np.testing.assert_array_equal(masks.inside[0], truth)


def test_describe_is_what_the_tests_think() -> None:
    assert describe(1, "x").segmented_property_type.meaning == "Neoplasm"
