"""The fingerprint of the training scans, and the warnings for scans unlike them."""

import json
from pathlib import Path

import numpy as np
import pytest

from converters.dataset.fingerprint import Range, TrainedOn, trained_on, warnings_for
from converters.dataset.folder import open_dataset
from converters.dataset.manifest import read_manifest
from converters.imaging.volume import Volume
from converters.preprocessing.representation import Adjacent, Representation
from converters.preprocessing.value_range import value_range
from converters.preprocessing.windowing import Percentiles, Window
from converters.recipes.recipe import Recipe
from detect.detectors.card import read_model_card
from tests.helpers import tiny

SEEN = Representation(window=Window(level=60, width=200))
SCOPE = TrainedOn(
    cases=2,
    pixel_mm=Range(low=0.6, high=0.78),
    slice_mm=Range(low=1, high=5),
    low_hu=Range(low=-1024, high=-1000),
    high_hu=Range(low=180, high=400),
    body_parts=["ABDOMEN"],
)


def trunk(seed: int = 0) -> np.ndarray:
    """HU of a trunk in air: fat, organs, a few per cent of bone; ``(4, 128, 128)``."""
    rng = np.random.default_rng(seed)
    hu = np.full((4, 128, 128), -1000.0)
    y, x = np.indices((128, 128)) - 64
    hu[:, (x / 55) ** 2 + (y / 40) ** 2 < 1] = -100
    hu[:, (x / 48) ** 2 + (y / 34) ** 2 < 1] = 50
    hu[:, 84:98, 54:74] = 500
    return hu + rng.normal(0, 10, hu.shape)


def scan(
    hu: np.ndarray | None = None,
    spacing: tuple[float, float, float] = (0.7, 0.7, 2.5),
    body_part: str = "",
) -> Volume:
    array = np.rint(trunk() if hu is None else hu)
    affine = np.diag([*spacing, 1.0])
    return Volume(array.astype(np.float32), affine, np.eye(4), "CT", body_part)


def warned(volume: Volume, scope: TrainedOn | None = SCOPE, seen: Representation = SEEN) -> str:
    return "\n".join(warnings_for(volume, scope, seen))


@pytest.mark.parametrize(
    ("spacing", "beginning"),
    [
        ((0.7, 0.7, 2.5), ""),
        ((0.79, 0.79, 2.5), ""),  # a hair beyond the range
        ((0.6 / 1.19, 0.78 * 1.19, 5.9), ""),
        ((0.6 / 1.21, 0.7, 2.5), "pixels of 0.496 x 0.7 mm; the model was trained on 0.6 to 0.78"),
        ((0.7, 0.95, 2.5), "pixels of 0.7 x 0.95 mm"),
        ((0.7, 0.7, 6.1), "slices 6.1 mm apart; the model was trained on 1 to 5 mm"),
        ((0.7, 0.7, 0.8), "slices 0.8 mm apart"),
    ],
)
def test_spacings_may_lie_a_fifth_beyond_the_training_scans(
    spacing: tuple[float, float, float], beginning: str
) -> None:
    warning = warned(scan(spacing=spacing))
    assert warning.startswith(beginning) and bool(warning) == bool(beginning), warning


def metal(hu: np.ndarray) -> np.ndarray:
    hu = hu.copy()
    hu[1:3, 60:68, 60:68] = 30000
    return hu


def padded(hu: np.ndarray) -> np.ndarray:
    y, x = np.indices(hu.shape[1:]) - 64
    return np.where(np.hypot(x, y) > 64, -3024, hu)


@pytest.mark.parametrize("change", [lambda hu: hu, metal, padded, lambda hu: hu * 1.05 + 15])
def test_normal_scans_pass(change) -> None:
    assert warned(scan(change(trunk(1)))) == ""


@pytest.mark.parametrize(
    "change",
    [
        lambda hu: (np.clip(hu, -1024, 1500) + 1024) / 2524,  # 0…1; rounded below, as if stored so
        lambda hu: np.clip((hu + 40) * 255 / 200, 0, 255),  # the window as grey
        lambda hu: (np.clip(hu, -1024, 3071) + 1024) * 255 / 4095,
        lambda hu: hu + 1024,  # the intercept was lost
        lambda hu: np.clip(hu, -200, 300),
        lambda hu: -hu,
    ],
)
def test_what_is_no_hu_is_told(change) -> None:
    warning = warned(scan(change(trunk(1))))
    assert "training scans -1024 to -1000 and 180 to 400 HU" in warning


def test_what_is_black_or_white_in_the_window_may_lie_further_out() -> None:
    """HU outside the window get no warning where the training scans were clipped to it."""
    clipped = SCOPE.model_copy(
        update={"low_hu": Range(low=-200, high=-200), "high_hu": Range(low=160, high=160)}
    )
    assert warned(scan(trunk(1)), clipped) == ""
    assert warned(scan(trunk(1) + 1024), clipped)
    wide = Representation(window=Window(level=0, width=2000))
    assert warned(scan(trunk(1)), clipped, wide)
    by_rank = Representation(window=Percentiles(percentiles=(1, 99)))
    assert warned(scan(trunk(1)), clipped, by_rank)


def test_the_percentiles_are_those_of_all_voxels() -> None:
    rng = np.random.default_rng(2)
    hu = rng.normal(0, 300, (9, 400, 300))
    expected = np.percentile(np.sort(hu.ravel()), (1, 99))
    np.testing.assert_allclose(value_range(scan(hu)), expected, atol=10)
    assert value_range(scan(np.full((2, 8, 8), 4000.0))) == (3071, 3071)


@pytest.mark.parametrize(
    ("part", "known", "warns"),
    [
        ("LIVER", ["ABDOMEN"], False),
        ("CHESTABDPELVIS", ["ABDOMEN"], False),
        ("HEAD", ["ABDOMEN"], True),
        ("CHEST", ["ABDOMEN"], True),
        ("CHEST", ["ABDOMEN", "LUNG"], False),
        ("", ["ABDOMEN"], False),
        ("HEAD", [], False),
    ],
)
def test_body_parts_that_contradict(part: str, known: list[str], warns: bool) -> None:
    scope = SCOPE.model_copy(update={"body_parts": known})
    assert ("the header says" in warned(scan(body_part=part), scope)) == warns


def test_too_few_slices_for_their_neighbours() -> None:
    seen = Representation(window=SEEN.window, channels=Adjacent(adjacent_mm=4))
    assert "too few slices (4)" in warned(scan(spacing=(0.7, 0.7, 2.5)), SCOPE, seen)
    assert warned(scan(spacing=(0.7, 0.7, 2.7)), SCOPE, seen) == ""
    assert "too few slices" in warned(scan(), None, seen)  # the pictures are known in any case
    assert warned(scan(), None) == ""


def test_a_training_leaves_its_ranges_in_the_bundle(tiny_run: Path, tiny_dataset: Path) -> None:
    scope = read_model_card(tiny_run).trained_on
    assert scope is not None and scope.unknown == ["body part"]
    cases = [case for case in read_manifest(tiny_dataset).cases if case.split == "train"]
    assert scope.cases == len(cases) == 8
    assert (scope.pixel_mm.low, scope.pixel_mm.high) == pytest.approx((0.8, 0.8))
    assert (scope.slice_mm.low, scope.slice_mm.high) == pytest.approx((2, 2))
    import SimpleITK as sitk

    ends = []
    for case in cases:  # the independent count: every voxel of the file
        file = tiny_dataset.parent / "scans" / f"{case.id.removeprefix('tiny-')}-scan.nii"
        hu = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
        ends.append(np.percentile(hu, (1, 99)))
        np.testing.assert_allclose(case.value_range, ends[-1], atol=1e-9)
    assert scope.low_hu == Range.of(low for low, _ in ends)
    assert scope.high_hu == Range.of(high for _, high in ends)


def test_an_older_dataset_gives_a_model_that_says_less(tiny_dataset: Path, tmp_path: Path) -> None:
    content = json.loads((tiny_dataset / "dataset.json").read_text(encoding="utf-8"))
    del content["request"]["recipe"]["body_part"]
    for case in content["cases"]:
        del case["value_range"]
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    manifest = open_dataset(tmp_path).manifest
    scope = trained_on(manifest.cases, manifest.body_parts)
    assert scope is not None and scope.low_hu is None and scope.high_hu is None
    assert scope.unknown == ["range of values", "body part"]
    assert scope.pixel_mm.low == pytest.approx(0.8)
    assert warned(scan(np.zeros((4, 8, 8)), (0.8, 0.8, 2)), scope) == ""
    # one case with and others without: the range would be too narrow
    half = [manifest.cases[0].model_copy(update={"value_range": (0, 1)}), *manifest.cases[1:]]
    known = trained_on(half, [])
    assert known is not None and known.low_hu is None
    assert trained_on([], []) is None


def test_a_recipe_names_the_body_part_in_dicoms_terms(tmp_path: Path) -> None:
    from converters.core.errors import InputError

    good = tiny.recipe(tmp_path, tiny.RECIPE + "body_part: ABDOMEN\n")
    assert isinstance(good, Recipe) and good.body_part == "ABDOMEN"
    with pytest.raises(InputError, match="did you mean `ABDOMEN`"):
        tiny.recipe(tmp_path, tiny.RECIPE + "body_part: ABDOMNE\n")
