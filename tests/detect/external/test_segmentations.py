"""Label volumes scored as detectors: the ground truth is perfect, a shifted one is not."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from converters.conversion.convert import convert
from converters.core.boxes import Boxes
from converters.core.errors import InputError
from converters.dataset.folder import Dataset, open_dataset
from converters.dataset.split import Split, load_split
from converters.masks.components import Component
from converters.preprocessing.frame import Frame
from converters.recipes.recipe import Recipe
from detect.evaluation.metrics import Metrics
from detect.external.case_names import files_by_case
from detect.external.predictions import Predictions, read_predictions
from detect.external.segmentations import _row
from detect.workflows.evaluate_predictions import ExternalPredictions, evaluate_predictions
from tests.helpers import tiny

ROUND_BY = [(1, 1, 1), (-1, 1, 1), (1, -1, -1), (-1, -1, 1)]


def masks_of(dataset: Path, split: str) -> dict[str, nibabel.Nifti1Image]:
    scans = dataset.parent / "scans"
    cases = dict.fromkeys(load_split(open_dataset(dataset), split).case_ids)
    return {case: nibabel.load(scans / f"{case}-mask.nii") for case in cases}


def turned(image: nibabel.Nifti1Image, signs: tuple[int, ...]) -> nibabel.Nifti1Image:
    """Store the same voxels in another order, by nibabel."""
    orientation = np.array([[axis, sign] for axis, sign in enumerate(signs)], float)
    orientation[[0, 1]] = orientation[[1, 0]]  # and two axes exchanged
    return image.as_reoriented(orientation)


def write(folder: Path, images: dict[str, nibabel.Nifti1Image]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        nibabel.save(image, folder / f"{name}.nii.gz")
    return folder


def relabelled(
    image: nibabel.Nifti1Image, change: Callable[[np.ndarray], np.ndarray]
) -> nibabel.Nifti1Image:
    values = change(np.asarray(image.dataobj).astype(np.uint8))
    return nibabel.Nifti1Image(values, image.affine)


def score(folder: Path, dataset: Path, out: Path, **more: str) -> Metrics:
    source = ExternalPredictions(folder, **more)  # type: ignore[arg-type]
    return evaluate_predictions(source, dataset, out=out, pictures=0).metrics


def assert_perfect(metrics: Metrics) -> None:
    assert (metrics.map50, metrics.map50_95) == (1, 1)
    best, frozen = metrics.best_f1.mean, metrics.frozen.mean
    assert (best.precision, best.recall, frozen.precision, frozen.recall, frozen.f1) == (1,) * 5
    assert metrics.frozen.pooled.false_positives == metrics.frozen.pooled.false_negatives == 0
    assert metrics.boxes > 0 and all(row.ap50_95 == 1 for row in metrics.per_class)


@pytest.mark.parametrize("signs", ROUND_BY)
def test_the_ground_truth_is_perfect_however_it_is_stored(
    tiny_dataset: Path, tmp_path: Path, signs: tuple[int, ...]
) -> None:
    masks = masks_of(tiny_dataset, "test")
    folder = write(tmp_path / "x", {case: turned(m, signs) for case, m in masks.items()})
    assert_perfect(score(folder, tiny_dataset, tmp_path / "out"))
    assert_perfect(score(folder, tiny_dataset, tmp_path / "volume", score="volume"))


def test_shifted_by_two_voxels_it_is_not(tiny_dataset: Path, tmp_path: Path) -> None:
    masks = masks_of(tiny_dataset, "test")
    moved = {c: relabelled(m, lambda v: np.roll(v, 2, axis=0)) for c, m in masks.items()}
    metrics = score(write(tmp_path / "x", moved), tiny_dataset, tmp_path / "out")
    assert 0 < metrics.map50_95 < 0.8
    # squares of 12 to 17 px: two px off in one direction is an IoU of 5/7 to 15/19
    assert metrics.map50 == 1


def test_labels_of_another_numbering(tiny_dataset: Path, tmp_path: Path) -> None:
    """Labels of a network that was trained with an organ as label 1 are mapped to classes."""
    masks = masks_of(tiny_dataset, "test")
    table = np.array([1, 7, 5], np.uint8)  # background: the organ
    folder = write(tmp_path / "x", {c: relabelled(m, lambda v: table[v]) for c, m in masks.items()})
    assert_perfect(score(folder, tiny_dataset, tmp_path / "a", labels="bright=7,dark=5"))
    other = score(folder, tiny_dataset, tmp_path / "b", labels="bright=5,dark=7")
    assert other.map50 == 0
    with pytest.raises(InputError, match=r"labels \[5, 7\] that have no meaning"):
        score(folder, tiny_dataset, tmp_path / "c")
    source = ExternalPredictions(folder, labels="dark=9")
    nothing = evaluate_predictions(source, tiny_dataset, out=tmp_path / "d")
    assert "labels there: 1, 5, 7" in nothing.notes[0] and nothing.metrics.detections == 0


def read(folder: Path, dataset: Path, **more: str) -> tuple[Predictions, Split]:
    opened = open_dataset(dataset)
    split = load_split(opened, "test")
    return read_predictions(folder, opened, split, **more), split


def test_a_volume_scores_by_its_size(tiny_dataset: Path, tmp_path: Path) -> None:
    masks = masks_of(tiny_dataset, "test")
    predictions, split = read(write(tmp_path / "x", masks), tiny_dataset, score="volume")
    checked = 0
    for case, boxes in zip(split.case_ids, predictions.detections, strict=True):
        for label, value in zip(boxes.label, boxes.score, strict=True):
            voxels = int((np.asarray(masks[case].dataobj) == label + 1).sum())  # one lesion each
            mm3 = voxels * 0.8 * 0.8 * 2.0
            assert value == pytest.approx(mm3 / (mm3 + 1000))
            checked += 1
    assert checked > 10
    constant, _ = read(tmp_path / "x", tiny_dataset)
    assert constant.score == "constant" and "single operating point" in constant.notes[0]
    assert {float(v) for boxes in constant.detections for v in boxes.score} == {1.0}


def add_probabilities(folder: Path, seed: int = 0) -> dict[str, np.ndarray]:
    """Write nnU-Net's probabilities beside each volume: a softmax whose winner is the label."""
    rng = np.random.default_rng(seed)
    maps = {}
    for file in sorted(folder.glob("*.nii.gz")):
        labels = np.asarray(nibabel.load(file).dataobj).astype(int)
        logits = rng.normal(0, 1, (3, *labels.shape))
        np.put_along_axis(logits, labels[None], 4 + rng.random(labels.shape)[None], axis=0)
        softmax = (np.exp(logits) / np.exp(logits).sum(axis=0)).astype(np.float32)
        case = file.name.removesuffix(".nii.gz")
        np.savez_compressed(folder / f"{case}.npz", probabilities=softmax.transpose(0, 3, 2, 1))
        maps[case] = softmax
    return maps


@pytest.mark.parametrize("summary", ["mean", "max"])
def test_probabilities_become_scores(tiny_dataset: Path, tmp_path: Path, summary: str) -> None:
    """Against the mean over the components that scipy finds in the file's own voxels."""
    masks = {c: turned(m, (-1, 1, -1)) for c, m in masks_of(tiny_dataset, "test").items()}
    folder = write(tmp_path / "x", masks)
    maps = add_probabilities(folder)
    more = {} if summary == "mean" else {"score": "max"}  # the mean is the default
    predictions, split = read(folder, tiny_dataset, **more)
    assert predictions.score == summary and not predictions.notes
    expected: dict[str, list[float]] = {}
    for case, image in masks.items():
        labels = np.asarray(image.dataobj)
        for z in range(labels.shape[2]):
            for label in (1, 2):
                numbered, count = ndimage.label(labels[:, :, z] == label, np.ones((3, 3)))
                for k in range(1, count + 1):
                    probabilities = maps[case][label, :, :, z][numbered == k]
                    value = (
                        probabilities.mean(dtype=np.float64)
                        if summary == "mean"
                        else probabilities.max()
                    )
                    expected.setdefault(case, []).append(float(value))
    got: dict[str, list[float]] = {}
    for case, boxes in zip(split.case_ids, predictions.detections, strict=True):
        got.setdefault(case, []).extend(boxes.score.tolist())
    assert got.keys() == expected.keys()
    for case, values in expected.items():
        assert sorted(got[case]) == pytest.approx(sorted(values), abs=1e-6)


def test_merged_labels_share_their_probability(tiny_dataset: Path, tmp_path: Path) -> None:
    masks = masks_of(tiny_dataset, "test")
    folder = write(tmp_path / "x", masks)
    maps = add_probabilities(folder)
    predictions, split = read(folder, tiny_dataset, labels="bright=1,bright=2", score="max")
    assert set(np.concatenate([boxes.label for boxes in predictions.detections])) == {0}
    for case, image in masks.items():
        together = (maps[case][1] + maps[case][2])[np.asarray(image.dataobj) > 0]
        scores = [
            boxes.score for boxes, c in zip(predictions.detections, split.case_ids, strict=True)
            if c == case
        ]  # fmt: skip
        assert np.concatenate(scores).max() == pytest.approx(float(together.max()), abs=1e-6)


def layout(folder: Path, image: str, mask: str, case_id: str) -> Recipe:
    text = f"image: '{image}'\nmask: '{mask}'\ncase_id: '{case_id}'\n"
    return tiny.recipe(folder, re.sub(r"(image|mask): .*\n", "", tiny.RECIPE) + text)


def test_a_case_that_is_named_by_its_patient_too(tmp_path: Path) -> None:
    recipe = layout(
        tmp_path, "{patient}/ct-{case}.nii*", "{patient}/seg-{case}.nii*", "{patient}-{case}"
    )
    cases = ["p1-7", "p2-7"]
    for name in ("p2-7.nii.gz", "p2/ct-7.nii.gz", "p2/seg-7.nii", "p2-7/tumour.nrrd"):
        assert files_by_case([tmp_path / name], tmp_path, cases, [recipe]) == {
            "p2-7": tmp_path / name
        }
    for name in ("7.nii.gz", "ct-7.nii.gz", "p3/ct-7.nii.gz"):
        with pytest.raises(InputError, match="of no case"):
            files_by_case([tmp_path / name], tmp_path, cases, [recipe])


def test_names_that_a_file_may_have(tmp_path: Path) -> None:
    recipe = layout(tmp_path, "**/volume-{case}.nii*", "**/segmentation-{case}.nii*", "lits-{case}")
    cases = ["lits-7", "lits-12"]
    for name in ("lits-7.nii.gz", "7.nii.gz", "volume-7.nii.gz", "segmentation-7.nii", "7.nrrd",
                 "lits-7/liver_tumor.nii.gz", "7/x/tumour.NII.GZ"):  # fmt: skip
        assert files_by_case([tmp_path / name], tmp_path, cases, [recipe]) == {
            "lits-7": tmp_path / name
        }
    for name in ("8.nii.gz", "lits-07.nii.gz", "volume-1.nii.gz", "tumour.nii.gz"):
        with pytest.raises(InputError, match="of no case"):
            files_by_case([tmp_path / name], tmp_path, cases, [recipe])
    with pytest.raises(InputError, match="second volume of case lits-7"):
        both = [tmp_path / "7.nii.gz", tmp_path / "volume-7.nii.gz"]
        files_by_case(both, tmp_path, cases, [recipe])


@pytest.mark.realdata
def test_real_liver_masks(lits_dataset: Path, realdata: Path, tmp_path: Path) -> None:
    """The annotators' masks, liver included, as nnU-Net would have written them; then shifted."""
    split = load_split(open_dataset(lits_dataset), "test")
    perfect, moved = tmp_path / "perfect", tmp_path / "moved"
    perfect.mkdir()
    images = {}
    for case in dict.fromkeys(split.case_ids):
        number = case.removeprefix("lits-")
        source = realdata / "lits256" / f"segmentation-{number}.nii.gz"
        shutil.copy(source, perfect / f"volume-{number}.nii.gz")
        image = nibabel.load(source)
        images[case] = turned(relabelled(image, lambda v: np.roll(v, 2, axis=0)), (-1, 1, 1))
    assert_perfect(score(perfect, lits_dataset, tmp_path / "a"))
    metrics = score(write(moved, images), lits_dataset, tmp_path / "b")
    assert 0 < metrics.map50_95 < 0.6 and metrics.frozen.mean.f1 < 0.95


def test_boxes_outside_the_split_are_left_out(tiny_dataset: Path, tmp_path: Path) -> None:
    """Volumes of every case: those of other splits are passed over."""
    every = {c: m for s in ("train", "val", "test") for c, m in masks_of(tiny_dataset, s).items()}
    folder = write(tmp_path / "x", every)
    predictions, split = read(folder, tiny_dataset)
    assert sum(map(len, predictions.detections)) == split.boxes
    assert all(isinstance(boxes, Boxes) for boxes in predictions.detections)


def test_a_dataset_without_label_numbers_asks_for_their_meaning(
    tiny_dataset: Path, tmp_path: Path
) -> None:
    """A dataset from named structures asks for the meaning of labels."""
    opened = open_dataset(tiny_dataset)
    request = opened.manifest.request
    recipe = request.recipe.model_copy(
        update={"mask_kind": "structures", "classes": {"bright": ["lesion*"], "dark": ["cyst"]}}
    )
    manifest = opened.manifest.model_copy(
        update={"request": request.model_copy(update={"recipe": recipe})}
    )
    named = Dataset(opened.folder, manifest)
    split = load_split(opened, "test")
    folder = write(tmp_path / "x", masks_of(tiny_dataset, "test"))
    with pytest.raises(InputError, match="--labels, for example bright=1"):
        read_predictions(folder, named, split)
    predictions = read_predictions(folder, named, split, labels="bright=1,dark=2")
    assert sum(map(len, predictions.detections)) == split.boxes


def test_resampled_pictures(tmp_path: Path) -> None:
    """Volumes stay on the scan's grid; their boxes lie on the pictures as the truth does."""
    scans = tiny.make_scans(tmp_path / "scans")
    recipe = tiny.recipe(tmp_path, tiny.RECIPE + "spacing_mm: 1.1\n")
    dataset = tmp_path / "dataset"
    convert(recipe, scans, dataset, split=(8, 2, 2), negatives="all")
    split = load_split(open_dataset(dataset), "test")
    assert set(split.sizes) == {(35, 47)}  # of 48 x 64 px of 0.8 mm
    folder = write(tmp_path / "x", masks_of(dataset, "test"))
    assert_perfect(score(folder, dataset, tmp_path / "out"))


def test_boxes_are_cut_to_the_picture(tiny_dataset: Path) -> None:
    case = open_dataset(tiny_dataset).manifest.cases[0]
    frame = Frame(left=10, top=20, columns=30, rows=20, width=60, height=20)  # x doubled
    case = case.model_copy(update={"frame": frame})

    def row(x: int, y: int, width: int, height: int) -> tuple[float, ...] | None:
        component = Component(1, 1, 0, x, y, width, height, 1, 1.0, 1.0, "")
        return _row(component, 0.5, case)

    assert row(15, 25, 5, 5) == (10, 5, 20, 10, 1, 0.5)
    assert row(8, 15, 4, 10) == (0, 0, 4, 5, 1, 0.5)
    assert row(38, 35, 9, 9) == (56, 15, 60, 20, 1, 0.5)
    assert row(4, 25, 6, 5) is None and row(15, 40, 5, 5) is None
