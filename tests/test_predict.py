"""From scans on disk to lesions in patient space."""

import csv
import itertools
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from converters.reading import read_volume
from converters.windowing import Window
from converters.write_nifti import write_nifti
from detect.boxes import Boxes
from detect.cli import main
from detect.detectors import registry
from detect.inference import one_scan
from detect.inference.linking import Linking
from detect.model_card import (
    ModelCard,
    ModelSpec,
    OperatingPoint,
    Parameters,
    read_model_card,
    sha256,
)
from detect.predict import predict
from tests.converters.dicom_series import SECRETS, write_series
from tests.tiny import make_scans

# A detector of the tests: connected bright pixels. It computes, so that places can be checked.


class ThresholdDetector:
    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec

    @classmethod
    def load(cls, spec: ModelSpec, weights: Path, device: str) -> "ThresholdDetector":
        return cls(spec)

    def predict(self, images: Sequence[np.ndarray]) -> list[Boxes]:
        return [self._one(image) for image in images]

    @staticmethod
    def _one(image: np.ndarray) -> Boxes:
        parts = cc3d.statistics(cc3d.connected_components(image > 128, connectivity=8))
        rows = []
        for (y, x), count in zip(
            parts["bounding_boxes"][1:], parts["voxel_counts"][1:], strict=True
        ):
            if count >= 4:  # less is noise
                rows.append((x.start, y.start, x.stop, y.stop, count / image.size))
        table = np.array(sorted(rows, key=lambda row: -row[4]), dtype=float).reshape(-1, 5)
        return Boxes(table[:, :4], np.zeros(len(table), np.int64), table[:, 4])


FAMILY = ThresholdDetector


@pytest.fixture
def threshold_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    family = registry.Family(__name__, ["threshold"], "Apache-2.0")
    monkeypatch.setitem(registry.FAMILIES, "threshold", family)
    bundle = tmp_path / "threshold-model"
    bundle.mkdir()
    (bundle / "weights.safetensors").write_bytes(b"none are needed")
    ModelCard(
        spec=ModelSpec(
            family="threshold", model="threshold", classes=["bright"],
            window=Window(level=100, width=200), imgsz=64,
        ),
        parameters=Parameters(unfused=0, fused=0),
        weights="weights.safetensors",
        weights_sha256=sha256(bundle / "weights.safetensors"),
        operating_point=OperatingPoint(confidence=0.0),
        started_from="scratch", training={}, dataset_sha256="", versions={},
    ).write(bundle)  # fmt: skip
    return bundle


def detections(out: Path, case: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        (out / case / "detections.json").read_text(encoding="utf-8")
    )
    return content


# Places


def sphere(affine: np.ndarray, centre_mm: np.ndarray, radius_mm: float) -> np.ndarray:
    """Noise with a bright sphere, ``(slices, rows, columns)``."""
    shape = (32, 56, 64)
    k, j, i = np.indices(shape)
    voxels = np.stack([i, j, k, np.ones(shape)], axis=-1)
    place = (voxels @ affine.T)[..., :3]
    hu = np.random.default_rng(3).normal(0, 8, shape)
    hu[np.linalg.norm(place - centre_mm, axis=-1) <= radius_mm] += 250
    return hu.astype(np.int16)


@pytest.mark.parametrize(
    ("order", "flips"),
    [
        ((0, 1, 2), (False, False, False)),
        ((0, 1, 2), (True, False, True)),
        ((2, 0, 1), (False, True, False)),
    ],
)
@pytest.mark.parametrize("angles", [(0, 0, 0), (7, -12, 20)])
@pytest.mark.parametrize("fraction", [(0.5, 0.5, 0.5), (0.3, 0.62, 0.41)])
def test_a_planted_lesion_comes_back_where_it_was_put(
    threshold_model: Path, tmp_path: Path, angles, fraction, order, flips
) -> None:
    affine = np.eye(4)
    spacing = np.array([0.8, 0.9, 1.5])
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * spacing
    affine[:3, 3] = (-31.5, 12.25, 400)
    voxel = np.array(fraction) * (63, 55, 31)
    centre = affine[:3, :3] @ voxel + affine[:3, 3]
    write_nifti(tmp_path / "planted.nii.gz", sphere(affine, centre, 6.0), affine)
    stored = stored_as(sitk.ReadImage(str(tmp_path / "planted.nii.gz")), order, flips)
    sitk.WriteImage(stored, str(tmp_path / "planted.nii.gz"))
    out = tmp_path / "out"
    result = predict(threshold_model, [tmp_path / "planted.nii.gz"], out=out, quiet=True)
    assert not result.errors

    found = detections(out, "planted")
    (lesion,) = found["lesions"]
    axes = affine[:3, :3] / spacing
    off = axes.T @ (np.array(lesion["centre_mm"]) - centre)  # along column, row, slice
    assert (np.abs(off) <= spacing / 2).all()
    assert np.abs(np.array(lesion["size_mm"]) - 12).max() <= 2 * spacing.max()
    in_file = stored.TransformPhysicalPointToContinuousIndex(centre)
    np.testing.assert_allclose(lesion["centre_file_voxel"], in_file, atol=0.5)
    np.testing.assert_allclose(found["affine"], affine, atol=1e-4)
    assert {box["lesion_id"] for box in found["boxes"]} == {1}

    (row,) = csv.DictReader(
        (out / "planted" / "lesions.csv").read_text(encoding="utf-8").splitlines()
    )
    assert row["class"] == "bright"
    in_csv = [float(row[f"centre_{axis}_mm"]) for axis in "xyz"]
    np.testing.assert_allclose(in_csv, lesion["centre_mm"], atol=0.0051)
    sizes = [float(row[f"size_{axis}_mm"]) for axis in ("column", "row", "slice")]
    np.testing.assert_allclose(sizes, lesion["size_mm"], atol=0.0051)
    assert int(row["boxes"]) == len(found["boxes"]) == lesion["boxes"]
    overlays = {path.name for path in (out / "planted" / "overlays").iterdir()}
    assert overlays == {f"planted_z{box['slice_index']:04d}.png" for box in found["boxes"]}
    summary = list(csv.DictReader((out / "summary.csv").read_text(encoding="utf-8").splitlines()))
    assert [(r["case"], r["lesions"], r["bright"]) for r in summary] == [("planted", "1", "1")]


# Orientation


def stored_as(image: sitk.Image, order: tuple[int, ...], flips: tuple[bool, ...]) -> sitk.Image:
    """The same scan with its voxels stored along other axes."""
    return sitk.Flip(sitk.PermuteAxes(image, order), flips)


def boxes_in_patient(content: dict[str, Any]) -> np.ndarray:
    """Corners of every box in patient mm with its score, sorted."""
    affine, rows = np.array(content["affine"]), []
    for box in content["boxes"]:
        x, y, w, h = box["bbox"]
        corners = [(x - 0.5, y - 0.5), (x + w - 0.5, y + h - 0.5)]
        places = [affine[:3, :3] @ (*c, box["slice_index"]) + affine[:3, 3] for c in corners]
        rows.append((*np.concatenate(places), box["score"]))
    return np.array(sorted(rows, key=lambda row: -row[-1]))


def lesions_in_patient(content: dict[str, Any]) -> np.ndarray:
    """Centre and size in mm and the score of every lesion, in order."""
    return np.array([(*r["centre_mm"], *r["size_mm"], r["score"]) for r in content["lesions"]])


def test_the_way_a_scan_is_stored_does_not_matter(tiny_run: Path, tmp_path: Path) -> None:
    scan = make_scans(tmp_path / "scans", cases=1, seed=9) / "case0-scan.nii"
    image = sitk.ReadImage(str(scan))
    image.SetOrigin((-17.0, 23.5, -410.0))
    folder = tmp_path / "stored"
    folder.mkdir()
    for flips in itertools.product((False, True), repeat=3):
        name = "flip" + "".join("01"[f] for f in flips)
        sitk.WriteImage(stored_as(image, (0, 1, 2), flips), str(folder / f"{name}.nii.gz"))
    for order in ((2, 1, 0), (1, 2, 0), (0, 2, 1)):
        name = "order" + "".join(map(str, order))
        sitk.WriteImage(stored_as(image, order, (True, False, False)), str(folder / f"{name}.nii"))
    sitk.WriteImage(stored_as(image, (1, 0, 2), (False, True, True)), str(folder / "meta.mha"))
    sitk.WriteImage(image, str(folder / "nrrd.nrrd"))
    pixels = (sitk.GetArrayFromImage(image) + 1024).astype(np.uint16)

    def same_spacing(number: int, ds):
        ds.PixelSpacing = [0.8, 0.8]
        ds.RescaleIntercept = -1024
        return ds

    write_series(folder / "series", pixels, same_spacing, origin=(-17.0, 23.5, -410.0))

    out = tmp_path / "out"
    result = predict(tiny_run, [folder], out=out, confidence=0.005, quiet=True)
    assert not result.errors and len(result.rows) == 8 + 3 + 2 + 1
    expected = boxes_in_patient(detections(out, "flip000"))
    assert len(expected) > 5
    lesions = lesions_in_patient(detections(out, "flip000"))
    for case in result.rows:
        content = detections(out, case)
        own = boxes_in_patient(content)
        np.testing.assert_allclose(own, expected, atol=1e-3, err_msg=case)
        found = lesions_in_patient(content)
        np.testing.assert_allclose(found, lesions, atol=1e-3, err_msg=case)
        # each voxel is found again in the file: the same value at the same place
        (path,) = folder.glob(f"{case}.*") if "scan-" not in case else [None]
        stored = sitk.ReadImage(str(path)) if path else image
        to_file = np.array(content["canonical_to_file"])
        for voxel in np.random.default_rng(0).integers(0, image.GetSize(), (50, 3)).tolist():
            there = (to_file @ (*voxel, 1)).astype(int).tolist()[:3]
            assert stored[there] == image[voxel], case
            np.testing.assert_allclose(
                stored.TransformIndexToPhysicalPoint(there),
                image.TransformIndexToPhysicalPoint(voxel),
                atol=1e-3,
            )


def test_the_place_in_the_file_is_the_place_in_the_patient(tiny_run: Path, tmp_path: Path) -> None:
    """SimpleITK maps `centre_file_voxel` to `centre_mm`."""
    scan = make_scans(tmp_path / "scans", cases=1, seed=4) / "case0-scan.nii"
    image = stored_as(sitk.ReadImage(str(scan)), (2, 0, 1), (True, False, True))
    sitk.WriteImage(image, str(tmp_path / "scan.nii.gz"))
    predict(tiny_run, [tmp_path / "scan.nii.gz"], out=tmp_path / "out", confidence=0.01, quiet=True)
    lesions = detections(tmp_path / "out", "scan")["lesions"]
    assert lesions
    for row in lesions:
        there = image.TransformContinuousIndexToPhysicalPoint(row["centre_file_voxel"])
        np.testing.assert_allclose(there, row["centre_mm"], atol=1e-3)


def test_one_slice_is_a_scan(tiny_run: Path, tmp_path: Path) -> None:
    hu = np.zeros((1, 48, 64), np.int16)
    hu[0, 10:26, 10:26] = 120
    write_nifti(tmp_path / "one.nii", hu, np.diag([1.0, 1.0, 5.0, 1.0]))
    result = predict(tiny_run, [tmp_path / "one.nii"], out=tmp_path / "out", quiet=True)
    assert not result.errors
    assert detections(tmp_path / "out", "one")["shape"] == [1, 48, 64]


# Batches


def run(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


def test_a_bad_scan_is_listed_and_the_others_are_done(
    threshold_model: Path, tmp_path: Path, capsys
) -> None:
    scans = make_scans(tmp_path / "scans", cases=3)
    (scans / "broken.nii").write_bytes(b"no scan")
    out = tmp_path / "out"
    assert run("predict", scans, "--model", threshold_model, "--out", out) == 1
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith(f"failed: {scans / 'broken.nii'}: ")
    cases = {f"case{n}-{kind}" for n in range(3) for kind in ("scan", "mask")}
    assert {path.name for path in out.iterdir()} == {*cases, "summary.csv", "report.html"}
    for case in cases:
        assert str(out / case) in printed.out
    rows = list(csv.DictReader((out / "summary.csv").read_text(encoding="utf-8").splitlines()))
    assert {row["case"] for row in rows} == cases

    (scans / "broken.nii").unlink()
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.json")}
    assert run("predict", scans, "--model", threshold_model, "--out", out) == 0
    assert capsys.readouterr().out.count("(there already)") == len(cases)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.json")} == stamps


def test_another_scan_or_confidence_is_not_taken_for_done(
    threshold_model: Path, tmp_path: Path
) -> None:
    scans = make_scans(tmp_path / "scans", cases=2)
    scan, out = scans / "case0-scan.nii", tmp_path / "out"
    first = predict(threshold_model, [scan], out=out, quiet=True)
    assert first.rows and not first.skipped
    again = predict(threshold_model, [scan], out=out, quiet=True)
    assert again.skipped == ["case0-scan"] and again.rows == first.rows
    shutil.copy(scans / "case1-scan.nii", scan)
    (refused,) = predict(threshold_model, [scan], out=out, quiet=True).errors
    assert "another scan" in str(refused)
    (refused,) = predict(threshold_model, [scan], out=out, confidence=0.01, quiet=True).errors
    assert "another scan" in str(refused)
    replaced = predict(threshold_model, [scan], out=out, overwrite=True, quiet=True)
    assert not replaced.errors and not replaced.skipped
    (out / "case1-scan").mkdir()
    (out / "case1-scan" / "notes.txt").write_text("mine")
    other = scans / "case1-scan.nii"
    (refused,) = predict(threshold_model, [other], out=out, overwrite=True, quiet=True).errors
    assert "no result of detect" in str(refused)
    assert (out / "case1-scan" / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_killed_midway_leaves_no_half_case(tiny_run: Path, tmp_path: Path) -> None:
    scans, out = make_scans(tmp_path / "scans", cases=12), tmp_path / "out"
    command = [
        sys.executable, "-m", "detect", "predict", str(scans), "--model", str(tiny_run),
        "--out", str(out), "--confidence", "0.01", "--device", "cpu",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while not list(out.glob("case*")) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    done = sorted(path.name for path in out.glob("case*"))
    assert 0 < len(done) < 24
    for case in done:
        assert {p.name for p in (out / case).iterdir()} == {
            "detections.json", "lesions.csv", "lesions.nii.gz", "overlays",
        }  # fmt: skip
        assert detections(out, case)["case"] == case
    result = predict(tiny_run, [scans], out=out, confidence=0.01, device="cpu", quiet=True)
    assert sorted(result.skipped) == done and len(result.rows) == 24 and not result.errors
    assert not list(out.glob(".*"))


def test_interrupted_while_writing_leaves_no_half_case(
    threshold_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans, out = make_scans(tmp_path / "scans", cases=2), tmp_path / "out"
    given = [scans / "case0-scan.nii", scans / "case1-scan.nii"]
    write = one_scan.write_case_outputs

    def interrupted(folder: Path, case: str, *rest: Any) -> list[dict[str, Any]]:
        rows = write(folder, case, *rest)
        if case == "case1-scan":
            (folder / "lesions.csv").unlink()
            raise KeyboardInterrupt
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(one_scan, "write_case_outputs", interrupted)
        with pytest.raises(KeyboardInterrupt):
            predict(threshold_model, given, out=out, quiet=True)
    assert [path.name for path in out.iterdir()] == ["case0-scan"]
    result = predict(threshold_model, given, out=out, quiet=True)
    assert result.skipped == ["case0-scan"] and len(result.rows) == 2 and not result.errors


def test_names_of_cases(threshold_model: Path, tmp_path: Path) -> None:
    """Equal names are told apart, odd ones replaced, and none leads out of the output folder."""
    source = make_scans(tmp_path / "source", cases=1) / "case0-scan.nii"
    scans, out = tmp_path / "scans", tmp_path / "sub" / "out"
    for place, name in enumerate(
        ["a/scan.nii", "b/scan.nii", "a/scan.mha", "...nii", "summary.csv.nii", "ok.1.nii"]
    ):
        path = scans / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name.endswith(".mha"):
            sitk.WriteImage(sitk.ReadImage(str(source)), str(path))
        else:
            hu = sitk.GetArrayFromImage(sitk.ReadImage(str(source)))
            write_nifti(path, (hu + place).astype(np.int16), np.diag([0.8, 0.8, 2.0, 1.0]))
    given = [path for path in scans.rglob("*") if path.is_file()]
    result = predict(threshold_model, given, out=out, quiet=True)
    assert not result.errors and not result.skipped and len(result.rows) == len(given) == 6
    assert {path.name for path in out.iterdir()} == {*result.rows, "summary.csv", "report.html"}
    assert {path.name for path in out.parent.iterdir()} == {"out"}
    assert "ok.1" in result.rows
    assert sum(name.startswith("scan-") for name in result.rows) == 5


def test_nothing_of_the_patient_reaches_the_outputs(
    threshold_model: Path, tmp_path: Path, capsys
) -> None:
    pixels = np.full((4, 48, 64), 1024, np.uint16)
    pixels[1:3, 10:30, 10:30] = 1300
    person = tmp_path / "ROE^RICHARD_19610203"
    write_series(person / "CT", pixels)
    write_series(person / "again", pixels + 1)
    out = tmp_path / "out"
    assert run("predict", person, "--model", threshold_model, "--out", out) == 0
    printed = capsys.readouterr()
    assert len(list(out.glob("scan-*"))) == 2
    texts = [str(path.relative_to(out)).encode() for path in out.rglob("*")]
    texts += [path.read_bytes() for path in out.rglob("*") if path.is_file()]
    texts += [printed.out.replace(str(out), "").encode(), printed.err.encode()]
    for secret in (*SECRETS, "ROE", "RICHARD", "19610203", "1.2.826"):
        assert not any(secret.encode() in text for text in texts), secret
    overlay = next(out.rglob("*.png")).read_bytes()
    assert b"tEXt" not in overlay and b"iTXt" not in overlay


# Several models


def another(model: Path, name: str, **changes: Any) -> Path:
    """A copy of a bundle with other weights, and whatever else."""
    copy = model.with_name(name)
    shutil.copytree(model, copy)
    card = read_model_card(copy)
    (copy / card.weights).write_bytes(name.encode())
    changes["weights_sha256"] = sha256(copy / card.weights)
    card.model_copy(update=changes).write(copy)
    return copy


def test_an_ensemble_of_equals_finds_the_same(threshold_model: Path, tmp_path: Path) -> None:
    scan = make_scans(tmp_path / "scans", cases=1) / "case0-scan.nii"
    twin = another(
        threshold_model, "twin", operating_point=OperatingPoint(confidence=0.02),
        linking=Linking(max_gap=3),
    )  # fmt: skip
    alone = predict(threshold_model, [scan], out=tmp_path / "a", confidence=0.01, quiet=True)
    given = ["--model", threshold_model, "--model", twin]
    assert run("predict", scan, *given, "--out", tmp_path / "b") == 0
    content = detections(tmp_path / "b", "case0-scan")
    assert content["confidence"] == pytest.approx(0.01)
    assert content["confidence_rule"] == "mean of the members' confidences"
    assert content["linking"] == Linking().model_dump()  # they do not agree
    members = {m["weights_sha256"]: m["confidence"] for m in content["members"]}
    assert members == {
        read_model_card(threshold_model).weights_sha256: 0,
        read_model_card(twin).weights_sha256: 0.02,
    }
    assert content["lesions"]
    for one, other in zip(content["lesions"], alone.rows["case0-scan"], strict=True):
        assert one["score"] == pytest.approx(other["score"])
        assert one["centre_mm"] == pytest.approx(other["centre_mm"])
    # the order of the models makes no difference, their number does
    again = predict([twin, threshold_model], [scan], out=tmp_path / "b", quiet=True)
    assert again.skipped == ["case0-scan"]
    (refused,) = predict(twin, [scan], out=tmp_path / "b", confidence=0.01, quiet=True).errors
    assert "another scan's or model's" in str(refused)


def test_models_that_do_not_fit_are_refused(threshold_model: Path, tmp_path: Path, capsys) -> None:
    scan = make_scans(tmp_path / "scans", cases=1) / "case0-scan.nii"
    spec = read_model_card(threshold_model).spec
    classes = another(threshold_model, "c", spec=spec.model_copy(update={"classes": ["dark"]}))
    window = Window(level=0, width=50)
    other = another(threshold_model, "w", spec=spec.model_copy(update={"window": window}))
    for second, words in (
        (classes, "has classes ['dark'], but threshold-model has ['bright']"),
        (other, "has window"),
        (threshold_model, "is given twice"),
    ):
        given = ["--model", threshold_model, "--model", second]
        assert run("predict", scan, *given, "--out", tmp_path / "out") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line
        assert not (tmp_path / "out").exists()


def test_the_linking_of_the_model_is_used(threshold_model: Path, tmp_path: Path) -> None:
    """A flash on a single slice is dropped where findings of two boxes are wanted."""
    hu = np.zeros((8, 48, 64), np.int16)
    hu[1:4, 10:20, 10:20] = 250
    hu[6, 30:36, 30:36] = 250
    write_nifti(tmp_path / "scan.nii", hu, np.eye(4))
    linking = Linking(min_boxes=2)
    strict = another(threshold_model, "strict", linking=linking)
    for model, count in ((threshold_model, 2), (strict, 1)):
        out = tmp_path / f"out{count}"
        assert (
            len(predict(model, [tmp_path / "scan.nii"], out=out, quiet=True).rows["scan"]) == count
        )
    content = detections(tmp_path / "out1", "scan")
    assert {box["slice_index"] for box in content["boxes"]} == {1, 2, 3}
    assert {box["lesion_id"] for box in content["boxes"]} == {1}
    overlays = {path.name for path in (tmp_path / "out1" / "scan" / "overlays").iterdir()}
    assert overlays == {f"scan_z{z:04d}.png" for z in (1, 2, 3)}
    assert content["linking"] == linking.model_dump()
    # found again at the same confidence, but linked in another way
    (refused,) = predict(
        threshold_model, [tmp_path / "scan.nii"], out=tmp_path / "out1", quiet=True
    ).errors
    assert "another" in str(refused)


# Real scans


@pytest.mark.realdata
def test_real_scans(tiny_run: Path, realdata: Path, tmp_path: Path) -> None:
    given = [
        realdata / "dicom_jpeg2000",
        realdata / "sts" / "STS_003" / "CT" / "image",
        realdata / "flipped_nifti" / "ct_ras.nii.gz",
    ]
    result = predict(tiny_run, given, out=tmp_path / "out", confidence=0.02, quiet=True)
    assert not result.errors
    shapes = [detections(tmp_path / "out", case)["shape"] for case in result.rows]
    assert shapes == [[20, 512, 512], [51, *shapes[1][1:]], [112, 101, 122]]


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["flipped_nifti/ct_ras.nii.gz", "sts/STS_019/CT/image"])
def test_a_real_scan_stored_anew_gives_the_same_lesions(
    tiny_run: Path, realdata: Path, tmp_path: Path, name: str
) -> None:
    volume = read_volume(realdata / name)
    write_nifti(tmp_path / "anew.nii.gz", volume.array, volume.affine)
    given, out = [realdata / name, tmp_path / "anew.nii.gz"], tmp_path / "out"
    result = predict(tiny_run, given, out=out, confidence=0.01, quiet=True)
    assert not result.errors
    first, anew = (detections(out, case) for case in result.rows)
    assert len(first["lesions"])
    for values in (lesions_in_patient, boxes_in_patient):
        np.testing.assert_allclose(values(anew), values(first), atol=1e-3)
    assert (np.array(anew["canonical_to_file"]) == np.eye(4)).all()
