"""Exports: every family finds the same boxes in every runtime; changed files are refused."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from converters.core.boxes import Boxes
from converters.core.distribution import install_hint
from converters.core.errors import InputError
from converters.core.files import sha256
from converters.dataset.folder import open_dataset
from converters.dataset.split import load_split
from converters.imaging.nifti import write_nifti
from detect.cli.main import main
from detect.detectors.card import ModelCard, ModelSpec, Parameters
from detect.detectors.exported import load_predictor
from detect.detectors.parity import compare
from detect.detectors.registry import create_detector, family_of, load_detector
from detect.detectors.runtimes.onnx import check_self_contained
from detect.workflows.export import export
from detect.workflows.export_model import export_model
from tests.helpers.imports import end_and_modules

LARGE = [pytest.param(model, marks=pytest.mark.slow) for model in ("rtdetr-l", "rfdetr-nano")]


def make_bundle(model: str, folder: Path) -> Path:
    """A bundle with random weights."""
    spec = ModelSpec(
        family=family_of(model), model=model, classes=["bright", "dark"],
        window={"level": 40, "width": 400}, imgsz=64,  # type: ignore[arg-type]
    )  # fmt: skip
    torch.manual_seed(0)
    create_detector(spec, "cpu").save(folder / "weights" / "best.safetensors")
    ModelCard(
        spec=spec,
        parameters=Parameters(unfused=1, fused=1),
        weights="weights/best.safetensors",
        weights_sha256=sha256(folder / "weights" / "best.safetensors"),
        operating_point=None,
        started_from="scratch",
        training={},
        dataset_sha256="",
        versions={},
    ).write(folder)  # type: ignore[call-arg]
    return folder


@pytest.fixture(scope="module")
def yolo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported YOLOv8n; not to be changed."""
    bundle = make_bundle("yolov8n", tmp_path_factory.mktemp("yolo"))
    for to in ("onnx", "openvino", "torchscript"):
        export_model(bundle, to)
    return bundle


def pictures(count: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (50 + k, 61), dtype=np.uint8) for k in range(count)]


def same(ours: list[Boxes], theirs: list[Boxes]) -> None:
    """Compare two lists as sets, within 0.5 px and 0.01 in score: the best 20 all match."""
    for a, b in zip(ours, theirs, strict=True):
        assert len(a) > 0 and abs(len(a) - len(b)) <= 0.02 * len(a)
        for detections, other in ((a, b), (b, a)):
            for k in np.argsort(-detections.score)[:20]:
                near = (
                    (other.label == detections.label[k])
                    & (np.abs(other.xyxy - detections.xyxy[k]).max(axis=1) < 0.5)
                    & (np.abs(other.score - detections.score[k]) < 0.01)
                )
                assert near.any()


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_yolo_finds_the_same_in_every_runtime(yolo: Path, runtime: str, count: int) -> None:
    ours = load_detector(yolo, "cpu").predict(pictures(count))
    predictor = load_predictor(yolo, "cpu", runtime)
    same(ours, predictor.predict(pictures(count)))
    assert predictor.predict([]) == [] and predictor.spec.model == "yolov8n"


@pytest.mark.parametrize("model", ["deim-n", *LARGE])
def test_a_transformer_finds_the_same_in_onnx(model: str, tmp_path: Path) -> None:
    bundle = make_bundle(model, tmp_path)
    known = export_model(bundle, "onnx").export.difference
    assert known.pictures == "phantom slices" and known.unmatched == 0
    assert known.px is None or known.px < 0.5
    ours = load_detector(bundle, "cpu").predict(pictures())
    same(ours, load_predictor(bundle, "cpu", "onnx").predict(pictures()))


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_an_export_needs_no_torch(yolo: Path, runtime: str, tmp_path: Path) -> None:
    """Prediction by an export does not import torch, whose import costs seconds."""
    rng = np.random.default_rng(0)
    hu = rng.integers(-200, 300, (4, 50, 60), dtype=np.int16)
    write_nifti(tmp_path / "scan.nii.gz", hu, np.eye(4))
    words = ["predict", tmp_path / "scan.nii.gz", "--model", yolo, "--out", tmp_path / "out"]
    words += ["--runtime", runtime, "--confidence", 0, "--quiet"]
    ended, modules = end_and_modules(words)
    assert ended == 0 and (tmp_path / "out" / "scan" / "detections.json").exists()
    heavy = {"torch", "torchvision", "ultralytics", "pandas", "matplotlib"}
    assert not heavy & modules


def test_what_is_known_of_an_export(yolo: Path) -> None:
    known = json.loads((yolo / "exports" / "exports.json").read_text(encoding="utf-8"))
    assert known["weights_sha256"] == sha256(yolo / "weights" / "best.safetensors")
    for name, files in (
        ("onnx", ["model.onnx"]),
        ("openvino", ["model.xml", "model.bin"]),
        ("torchscript", ["model.torchscript"]),
    ):
        entry = known["exports"][name]
        assert entry["sha256"] == {file: sha256(yolo / "exports" / file) for file in files}
        assert entry["imgsz"] == 64 and entry["batch"] == "dynamic"
    model = onnx.load(yolo / "exports" / "model.onnx")
    onnx.checker.check_model(model)
    assert model.opset_import[0].version == known["exports"]["onnx"]["opset"]


def test_torchscript_runs_in_plain_torch(yolo: Path) -> None:
    network = torch.jit.load(yolo / "exports" / "model.torchscript")
    batch = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        (ours,) = load_detector(yolo, "cpu").traceable()(batch)
        torch.testing.assert_close(network(batch)[0], ours, atol=1e-3, rtol=1e-4)


def test_int8_is_calibrated_scored_and_run(
    tiny_run: Path, tiny_dataset: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle = shutil.copytree(tiny_run, tmp_path / "run")
    words = ["export", str(bundle), "--to", "openvino", "--int8", "--data", str(tiny_dataset)]
    with pytest.raises(SystemExit) as end:
        main([*words, "--quiet"])
    assert end.value.code == 0
    printed = capfd.readouterr().out
    known = json.loads((bundle / "exports" / "exports.json").read_text(encoding="utf-8"))
    entry = known["exports"]["openvino-int8"]
    assert f"{entry['cost']['map50_torch']:.3f} → {entry['cost']['map50']:.3f}" in printed
    assert entry["calibration"] > 10
    splits = [
        len(load_split(open_dataset(tiny_dataset), name)) for name in ("val", "test", "train")
    ]
    assert entry["difference"]["pictures"] == "val and test and train slices"
    assert entry["difference"]["slices"] == sum(splits) < 200
    small, whole = bundle / "exports" / "model-int8.bin", bundle / "weights" / "best.safetensors"
    assert small.stat().st_size < 0.4 * whole.stat().st_size  # bytes instead of floats
    # the same numbers from the verb that anybody would ask
    from detect.workflows.evaluate import evaluate

    for runtime, key in (("torch", "map50_torch"), ("openvino-int8", "map50")):
        result = evaluate(
            bundle, tiny_dataset, runtime=runtime, out=tmp_path / runtime, device="cpu"
        )
        assert result.metrics.map50 == pytest.approx(entry["cost"][key], abs=1e-9)
        assert (
            json.loads((result.folder / "metrics.json").read_text(encoding="utf-8"))["runtime"]
            == runtime
        )


# Bad requests


def test_formats_and_options_fit_what_is_exported(
    yolo: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    for arguments, message in (
        ({"source": yolo, "to": "voc"}, "its formats are onnx"),
        ({"source": yolo, "to": "onnx", "out": tmp_path / "o"}, "^out: "),
        ({"source": tiny_dataset, "to": "onnx", "out": tmp_path / "o"}, "datasets go to coco"),
        ({"source": tiny_dataset, "to": "voc", "out": tmp_path / "o", "int8": True}, "^int8: "),
        ({"source": tiny_dataset, "to": "voc"}, "^out: "),
    ):
        with pytest.raises(InputError, match=message):
            export(**arguments)  # type: ignore[arg-type]


def test_formats_and_runtimes_are_named(yolo: Path) -> None:
    for arguments, message in (
        ({"to": "voc"}, "onnx, openvino, torchscript"),
        ({"to": "onnx", "int8": True}, "--to openvino"),
        ({"to": "openvino", "int8": True}, "--data"),
        ({"to": "onnx"}, "--overwrite"),
    ):
        with pytest.raises(InputError, match=message):
            export_model(yolo, **arguments)  # type: ignore[arg-type]
    for runtime, message in (("tensorrt", "onnx"), ("openvino-int8", "--int8 --data DATASET")):
        with pytest.raises(InputError, match=message):
            load_predictor(yolo, "cpu", runtime)
    with pytest.raises(InputError, match="CPU"):
        load_predictor(yolo, "0", "onnx")


@pytest.mark.parametrize("runtime, file", [("onnx", "model.onnx"), ("openvino", "model.bin")])
def test_a_changed_file_is_refused(yolo: Path, tmp_path: Path, runtime: str, file: str) -> None:
    bundle = shutil.copytree(yolo, tmp_path / "run")
    path = bundle / "exports" / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not the file"):
        load_predictor(bundle, "cpu", runtime)
    path.unlink()
    with pytest.raises(InputError, match="is missing"):
        load_predictor(bundle, "cpu", runtime)
    path.symlink_to(yolo / "exports" / file)  # the right content, but not the bundle's own
    with pytest.raises(InputError, match="outside"):
        load_predictor(bundle, "cpu", runtime)


def test_an_export_of_other_weights_is_none(yolo: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(yolo, tmp_path / "run")
    other = make_bundle("yolov8n", tmp_path / "other")
    state = load_detector(other, "cpu")
    state.network.model[0].conv.weight.data += 1  # type: ignore[attr-defined]
    state.save(bundle / "weights" / "best.safetensors")
    card = json.loads((bundle / "model.json").read_text(encoding="utf-8"))
    card["weights_sha256"] = sha256(bundle / "weights" / "best.safetensors")
    (bundle / "model.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match="holds no onnx export"):
        load_predictor(bundle, "cpu", "onnx")


@pytest.mark.parametrize("deep", [False, True])
def test_weights_in_other_files_are_refused(deep: bool) -> None:
    """An ONNX model with weights in other files is refused: it could read any file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    if deep:  # in an attribute of a node of a branch
        inner = helper.make_graph(
            [helper.make_node("Constant", [], ["y"], value=tensor)], "g", [], [out]
        )
        node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
        graph = helper.make_graph([node], "g", [], [out])
    else:
        node = helper.make_node("Identity", ["w"], ["y"])
        graph = helper.make_graph([node], "g", [], [out], [tensor])
    content = helper.make_model(graph).SerializeToString()
    with pytest.raises(InputError, match="other files"):
        check_self_contained(Path("model.onnx"), content)


def test_a_self_contained_model_and_one_that_is_none(yolo: Path) -> None:
    path = yolo / "exports" / "model.onnx"
    check_self_contained(path, path.read_bytes())
    with pytest.raises(InputError, match="no ONNX"):
        check_self_contained(path, b"\xff" * 40)


@pytest.mark.parametrize(
    "package, to", [("onnxruntime", "onnx"), ("onnx", "onnx"), ("openvino", "openvino")]
)
def test_a_missing_package_is_named(
    package: str, to: str, yolo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # what Python does for `import` of none
    with pytest.raises(InputError, match=re.escape(install_hint(to))):
        load_predictor(yolo, "cpu", to)
    bundle = make_bundle("yolov8n", tmp_path)
    with pytest.raises(InputError, match=re.escape(install_hint(to))):
        export_model(bundle, to)
    assert not (bundle / "exports").exists()


def test_openvino_is_kept_from_reporting_home() -> None:
    code = (
        "import sys\n"
        "from detect.detectors.runtimes.packages import load\n"
        "load('openvino', 'openvino'); load('nncf', 'openvino')\n"
        "loaded = [m for m, v in sys.modules.items() if v and m.startswith('openvino_telemetry')]\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# The comparison


def boxes(*rows: tuple[float, float, float, float, int, float]) -> Boxes:
    table = np.array(rows, float).reshape(-1, 6)
    return Boxes(table[:, :4], table[:, 4].astype(np.int64), table[:, 5])


def test_boxes_are_compared_as_sets() -> None:
    ours = boxes((0, 0, 10, 10, 0, 0.9), (20, 0, 30, 10, 1, 0.9), (1, 0, 11, 10, 0, 0.04))
    theirs = boxes((20, 0, 30, 10.25, 1, 0.9), (0, 0, 10, 10, 0, 0.88), (50, 0, 60, 9, 0, 0.01))
    agreement = compare("made", [ours], [theirs])
    assert (agreement.boxes, agreement.unmatched, agreement.slices) == (2, 0, 1)
    assert agreement.px == pytest.approx(0.25) and agreement.score == pytest.approx(0.02)


def test_what_has_no_partner_is_counted() -> None:
    ours = boxes((0, 0, 10, 10, 0, 0.9), (40, 0, 50, 10, 0, 0.3))
    theirs = boxes((0, 0, 10, 10, 1, 0.9), (40, 0, 50, 13, 0, 0.3), (70, 0, 80, 10, 0, 0.04))
    agreement = compare("made", [ours, boxes()], [theirs, boxes()])
    assert (agreement.boxes, agreement.unmatched) == (0, 4)
    assert agreement.px is None and agreement.score is None
