"""Channels and windows of pictures, and the frame that datasets record for them."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from torchvision.io import decode_image

from converters.conversion.convert import convert
from converters.core.errors import InputError
from converters.dataset.audit import check
from converters.dataset.folder import open_dataset, read_png
from converters.imaging.nifti import write_nifti
from converters.imaging.read import read_mask, read_volume
from converters.imaging.volume import Volume
from converters.masks.components import decode_rle
from converters.preprocessing.frame import Frame
from converters.preprocessing.pictures import pictures
from converters.preprocessing.representation import (
    LIVER_WINDOWS,
    Adjacent,
    Channels,
    Representation,
)
from converters.preprocessing.windowing import Percentiles, Window
from converters.recipes.recipe import Recipe
from tests.helpers import bodies
from tests.helpers.trees import tree

WINDOW = Window(level=100, width=400)
SHORT = TypeAdapter(Channels)


def scan() -> Volume:
    return Volume(bodies.scan((50, 34, 8))[0], bodies.AFFINE, np.eye(4))


def scan_pictures(**how: object) -> list[np.ndarray]:
    return list(pictures(scan(), Representation(window=WINDOW, **how), "scan"))  # type: ignore


def test_gray_is_the_window_of_the_slice() -> None:
    shown = scan_pictures()
    assert len(shown) == bodies.SHAPE[0]
    for picture, plane in zip(shown, scan().array, strict=True):
        assert (picture == WINDOW.apply(plane)).all()


def test_adjacent_at_the_spacing_are_the_neighbouring_slices_exactly() -> None:
    gray, adjacent = scan_pictures(), scan_pictures(channels="adjacent:2.5")
    last = len(gray) - 1
    for z, picture in enumerate(adjacent):
        for channel, other in enumerate((max(z - 1, 0), z, min(z + 1, last))):
            assert (picture[..., channel] == gray[other]).all()


@pytest.mark.parametrize("step", [1.0, 2.0, 3.75, 6.0])
def test_adjacent_between_slices_are_interpolated_in_hu(step: float) -> None:
    hu, last = scan().array.astype(np.float64), bodies.SHAPE[0] - 1
    for z, picture in enumerate(scan_pictures(channels=f"adjacent:{step}")):
        for channel, sign in enumerate((-1, 0, 1)):
            place = min(max(z + sign * step / 2.5, 0), last)
            low = min(int(place), last - 1)
            exact = hu[low] * (low + 1 - place) + hu[low + 1] * (place - low)
            off = picture[..., channel].astype(int) - WINDOW.apply(exact)
            assert np.abs(off).max() <= (channel != 1)  # a rounding, between slices


def test_three_windows_in_their_order() -> None:
    windows = scan_pictures(channels="windows")
    for picture, plane in zip(windows, scan().array, strict=True):
        for channel, window in enumerate(LIVER_WINDOWS.windows.values()):
            assert isinstance(window, Window)
            assert (picture[..., channel] == window.apply(plane)).all()


def test_percentiles_are_those_of_the_body_whatever_the_air_around() -> None:
    volume = scan()
    how = Representation(window=Percentiles(percentiles=(5, 95)))
    ((_, window),) = pictures(volume, how, "scan").channels
    inside = np.percentile(volume.array[bodies.body()], (5, 95))
    # noise of 8 HU is less of it, averaged
    np.testing.assert_allclose([window.level - window.width / 2], inside[:1], atol=8)
    np.testing.assert_allclose([window.level + window.width / 2], inside[1:], atol=8)
    wider = np.pad(volume.array, ((0, 0), (40, 40), (40, 40)), constant_values=-1000)
    ((_, same),) = pictures(Volume(wider, volume.affine, np.eye(4)), how, "scan").channels
    np.testing.assert_allclose((same.level, same.width), (window.level, window.width), atol=4)


def test_short_forms() -> None:
    assert SHORT.validate_python("gray") == "gray"
    assert SHORT.validate_python("adjacent:2") == Adjacent(adjacent_mm=2)
    assert SHORT.validate_python("windows") == LIVER_WINDOWS
    for wrong in ("grey", "adjacent", "adjacent:0", "adjacent:x", {"windows": {}}, 3, None):
        with pytest.raises(ValidationError):
            SHORT.validate_python(wrong)


# In a recipe file

OWN = """
channels:
  windows: {a: {level: 1, width: 2}, b: {level: 3, width: 4}, c: {percentiles: [1, 99]}}
"""


def test_a_recipe_says_it_all(tmp_path: Path) -> None:
    recipe = bodies.recipe(tmp_path, OWN + "crop: body\nmargin_mm: 5\nspacing_mm: 0.8\n")
    seen = recipe.representation
    assert seen.planes == 3 and seen.spacing_mm == 0.8 and seen.margin_mm == 5
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("crop: liver\n", "`crop`"),
        ("spacing: 0.8\n", "did you mean `spacing_mm`"),
        ("channels: {adjacnt_mm: 2}\n", "did you mean `adjacent_mm`"),
        ("channels: rgb\n", "none of gray, adjacent:MM and windows"),
        (OWN.replace("level: 3", "levl: 3"), "did you mean `level`"),
        (OWN.replace("[1, 99]", "[99, 1]"), "is not below"),
    ],
)
def test_a_wrong_key_is_named_with_the_nearest(tmp_path: Path, extra: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        bodies.recipe(tmp_path, extra)
    assert "\n" not in str(caught.value)


def test_an_organ_crop_needs_organs(tmp_path: Path) -> None:
    bodies.recipe(tmp_path, "crop: organ\n")
    (tmp_path / "recipe.yaml").write_text("")
    with pytest.raises(InputError, match="organs"):
        tiny_text = bodies.RECIPE.replace("organs: {trunk: 1}", "ignore: 1")
        bodies.tiny.recipe(tmp_path, tiny_text + "crop: organ\n")


# On disk

KINDS = {
    "adjacent": "channels: adjacent:2\ncrop: body\nspacing_mm: 0.9\n",
    "windows": "channels: windows\ncrop: organ\nmargin_mm: 3\n",
    "cropped": "crop: body\n",
    "coarse": "spacing_mm: 3.1\n",
}


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bodies.make_scans(tmp_path_factory.mktemp("bodies") / "scans")


@pytest.fixture(scope="module", params=list(KINDS))
def dataset(request: pytest.FixtureRequest, scans: Path, tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp(request.param)
    run(place, scans, KINDS[request.param])
    return place / "d"


def run(place: Path, scans: Path, extra: str, name: str = "d", **options: object):
    recipe = bodies.recipe(place, extra)
    options = {"split": (2, 2, 2), "negatives": "1", **options}
    return convert(recipe, scans, place / name, **options)  # type: ignore


def test_it_is_sound_and_masks_boxes_and_pictures_lie_on_the_scan(
    dataset: Path, scans: Path
) -> None:
    assert check(dataset) == []
    opened = open_dataset(dataset)
    how = opened.manifest.request.recipe.representation
    for entry in opened.manifest.cases:
        frame, volume = entry.frame, read_volume(scans / f"{entry.id}-scan.nii")
        lesion = read_mask(scans / f"{entry.id}-mask.nii").array == 2
        assert frame is not None and len(entry.windows) == how.planes
        back = np.zeros_like(lesion)
        content = opened.annotations(entry.split)
        images = {i["id"]: i for i in content["images"] if i["case_id"] == entry.id}
        again = pictures(volume, how, "scan", extent_of(scans, entry.id))
        assert again.frame == frame
        for image in images.values():
            picture = read_png(opened.image_path(entry.split, image["file_name"]))
            assert (picture == again[image["slice_index"]]).all()
            assert image["frame"] == frame.model_dump()
            middle = frame.to_slice(np.array([[0.5, 0.5, 1, 1]]))[0, :2] - 0.5
            place = volume.to_patient(np.array([[*middle, image["slice_index"]]]))[0]
            np.testing.assert_allclose(image["position_mm"], place, atol=1e-9)
            covered = np.multiply(image["spacing_mm"][:2], (frame.width, frame.height))
            np.testing.assert_allclose(
                covered, np.multiply((frame.columns, frame.rows), (1.2, 1.3))
            )
        for box in content["annotations"]:
            if box["image_id"] not in images:
                continue
            z = images[box["image_id"]]["slice_index"]
            x, y, w, h = box["bbox"]
            on_slice = frame.to_slice(np.array([[x, y, x + w, y + h]]))[0]
            rows, columns = (np.flatnonzero(lesion[z].any(axis=a)) for a in (1, 0))
            wanted = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            np.testing.assert_allclose(on_slice, wanted, atol=1e-9)
            pixels = decode_rle(box["segmentation"]["counts"], *box["segmentation"]["size"])
            assert pixels.shape == (frame.height, frame.width)
            assert (pixels == frame.cut_mask(lesion[z])).all()
            if not frame.resampled:
                part = np.s_[
                    frame.top : frame.top + frame.rows, frame.left : frame.left + frame.columns
                ]
                back[z][part] = pixels
                assert box["area"] == pixels.sum() and isinstance(box["area"], int)
        if not frame.resampled:
            assert (back == lesion).all()  # voxel for voxel


def extent_of(scans: Path, case: str):
    from converters.preprocessing.frame import extent

    return extent(read_mask(scans / f"{case}-mask.nii").array > 0)


def test_other_readers_agree_on_the_order_of_the_channels(dataset: Path) -> None:
    for path in sorted(dataset.glob("images/*/*.png"))[:3]:
        pixels = read_png(path)
        assert (np.asarray(Image.open(path)) == pixels).all()
        by_torch = decode_image(str(path)).numpy()
        by_torch = by_torch[0] if pixels.ndim == 2 else by_torch.transpose(1, 2, 0)
        assert (by_torch == pixels).all()
        by_cv2 = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert ((by_cv2 if pixels.ndim == 2 else by_cv2[..., ::-1]) == pixels).all()


def test_the_same_bytes_for_two_workers(scans: Path, tmp_path: Path) -> None:
    run(tmp_path, scans, KINDS["adjacent"], name="one", workers=1)
    run(tmp_path, scans, KINDS["adjacent"], name="two", workers=2)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_check_notices_a_frame_that_is_not_the_pictures(dataset: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(dataset, tmp_path / "copy")
    manifest = json.loads((copy / "dataset.json").read_text(encoding="utf-8"))
    manifest["cases"][0]["frame"]["columns"] += 300
    (copy / "dataset.json").write_text(json.dumps(manifest))
    problems = " ".join(check(copy))
    assert "leaves the scan" in problems and "another frame" in problems


def test_datasets_from_before_frames_are_read(scans: Path, tmp_path: Path) -> None:
    run(tmp_path, scans, "")
    manifest = json.loads((tmp_path / "d/dataset.json").read_text(encoding="utf-8"))
    for case in manifest["cases"]:
        assert Frame.model_validate(case.pop("frame")) == Frame.whole(bodies.SHAPE)
        del case["windows"]
    for key in ("crop", "margin_mm", "spacing_mm"):
        del manifest["request"]["recipe"][key]
    (tmp_path / "d/dataset.json").write_text(json.dumps(manifest))
    for file in (tmp_path / "d/annotations").iterdir():
        content = json.loads(file.read_text(encoding="utf-8"))
        for image in content["images"]:
            del image["frame"]
        file.write_text(json.dumps(content))
    assert check(tmp_path / "d") == []
    assert run(tmp_path, scans, "").up_to_date


def test_a_lesion_outside_of_the_body_is_never_cut(scans: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(scans, tmp_path / "scans")
    mask = read_mask(folder / "case1-mask.nii")
    array = mask.array.copy()
    array[5, 66:69, 3:6] = 2
    write_nifti(folder / "case1-mask.nii", array, mask.affine)
    result = run(tmp_path, folder, "crop: body\n")
    (error,) = result.errors
    assert "beyond the body" in str(error) and "--crop none" in str(error)
    assert len(result.manifest.cases) == 5
    assert not run(tmp_path, folder, "", name="whole").errors


def test_a_case_without_the_organ_is_listed(scans: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(scans, tmp_path / "scans")
    mask = read_mask(folder / "case2-mask.nii")
    write_nifti(folder / "case2-mask.nii", np.zeros_like(mask.array), mask.affine)
    (error,) = run(tmp_path, folder, "crop: organ\n", negatives="all").errors
    assert "no organ" in str(error)


def test_a_component_too_small_for_any_pixel_keeps_its_box(tmp_path: Path) -> None:
    folder = bodies.make_scans(tmp_path / "scans", 3)
    mask = read_mask(folder / "case0-mask.nii")
    array = mask.array.copy()
    array[0, 30:32, 51] = 2
    write_nifti(folder / "case0-mask.nii", array, mask.affine)
    run(tmp_path, folder, "spacing_mm: 9\n", split=(1, 1, 1))
    assert check(tmp_path / "d") == []
    opened = open_dataset(tmp_path / "d")
    entry = next(c for c in opened.manifest.cases if c.id == "case0")
    boxes = opened.annotations(entry.split)["annotations"]
    (empty,) = (
        b
        for b in boxes
        if not decode_rle(b["segmentation"]["counts"], *b["segmentation"]["size"]).any()
    )
    assert 0 < empty["area"] < 1 and empty["area_mm2"] == pytest.approx(2 * 1.2 * 1.3)
