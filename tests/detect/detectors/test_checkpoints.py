"""Weight files of strangers, through the ultralytics adapter."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from converters.core.errors import InputError
from detect.detectors.card import read_model_card
from detect.detectors.checkpoints import State
from detect.detectors.checkpoints import read_state as read_weight_file
from detect.detectors.registry import create_detector
from detect.families.ultralytics.network import build_network, load_checkpoint
from detect.workflows.train import train
from tests.helpers.bundles import Evil, spec
from tests.helpers.tiny import SETTINGS


def read_state(path: Path, trust: bool) -> State:
    return read_weight_file(path, trust, load_checkpoint)


def save_pt(path: Path, model: str, classes: int = 80) -> Path:
    """A checkpoint as ultralytics saves it: the pickled network in half precision."""
    network = build_network(model, classes, 64).half()
    torch.save({"model": network, "ema": None, "epoch": -1, "date": "today"}, path)
    return path


class Foreign:
    pass


def test_known_classes_load_without_trust_and_every_body_tensor_is_taken(tmp_path: Path) -> None:
    path = save_pt(tmp_path / "coco.pt", "yolov8n")
    detector = create_detector(spec("yolov8n"), "cpu")
    fresh = {k: v.clone() for k, v in detector.network.state_dict().items()}
    detector.load_weights(path, trust=False)
    state, given = detector.network.state_dict(), read_state(path, trust=False)
    for name, tensor in state.items():
        fits = name in given and given[name].shape == tensor.shape
        expected = given[name].to(tensor.dtype) if fits else fresh[name]
        assert torch.equal(tensor, expected), name
    kept = [name for name in state if state[name].shape != given[name].shape]
    assert kept and all(".cv3." in name for name in kept)  # the class branch, and only it


@pytest.mark.parametrize("where", ["beside", "instead"])
def test_code_in_a_weight_file_is_refused_and_does_not_run(tmp_path: Path, where: str) -> None:
    witness = tmp_path / "it-ran"
    path = tmp_path / "evil.pt"
    network = build_network("yolov8n", 80, 64)
    content = {"model": network, "extra": Evil(witness)} if where == "beside" else Evil(witness)
    torch.save(content, path)
    detector = create_detector(spec("yolov8n"), "cpu")
    with pytest.raises(InputError, match=r"run code when loaded.*--trust") as caught:
        detector.load_weights(path, trust=False)
    assert "\n" not in str(caught.value)
    assert not witness.exists()
    if where == "beside":  # the witness works: with trust it does run
        detector.load_weights(path, trust=True)
        assert witness.exists()


def test_a_foreign_class_is_refused_without_trust(tmp_path: Path) -> None:
    path = tmp_path / "foreign.pt"
    torch.save({"model": build_network("yolov8n", 80, 64), "extra": Foreign()}, path)
    with pytest.raises(InputError, match="--trust"):
        read_state(path, trust=False)
    assert read_state(path, trust=True)


def damaged(path: Path, kind: str) -> Path:
    if kind == "truncated":
        save_pt(path, "yolov8n")
        path.write_bytes(path.read_bytes()[:200_000])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("these are not weights\n" * 100)
    elif kind == "state dict":
        torch.save({"a": torch.zeros(2)}, path)
    elif kind == "list":
        torch.save([torch.zeros(2)], path)
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "state dict", "list", "folder"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".onnx"])
@pytest.mark.parametrize("trust", [False, True])
def test_damaged_weight_files(tmp_path: Path, kind: str, suffix: str, trust: bool) -> None:
    path = damaged(tmp_path / f"weights{suffix}", kind)
    with pytest.raises(InputError) as caught:
        read_state(path, trust)
    assert caught.value.path == str(path) and "\n" not in str(caught.value)


def test_a_damaged_file_under_a_known_name_is_neither_deleted_nor_fetched(
    tmp_path: Path, monkeypatch
) -> None:
    """A damaged `yolov8n.pt` in the working folder is neither deleted nor downloaded anew."""
    monkeypatch.chdir(tmp_path)
    Path("yolov8n.pt").write_text("cut short")
    with pytest.raises(InputError):
        read_state(Path("yolov8n.pt"), trust=False)
    assert Path("yolov8n.pt").read_text(encoding="utf-8") == "cut short"


def test_weights_of_another_architecture(tmp_path: Path) -> None:
    detector = create_detector(spec("yolov8n"), "cpu")
    before = {k: v.clone() for k, v in detector.network.state_dict().items()}
    with pytest.raises(InputError, match="another architecture"):
        detector.load_weights(save_pt(tmp_path / "other.pt", "yolo11n"), trust=False)
    larger = build_network("yolov8s", 2, 64).state_dict()
    save_file(larger, tmp_path / "larger.safetensors")
    with pytest.raises(InputError, match="another architecture"):
        detector.load_weights(tmp_path / "larger.safetensors", trust=False)
    assert all(torch.equal(v, before[k]) for k, v in detector.network.state_dict().items())


def test_a_bundle_whose_weights_do_not_fit(tiny_run: Path, tmp_path: Path) -> None:
    from detect.families.ultralytics.detector import UltralyticsDetector

    state = load_file(tiny_run / "weights" / "last.safetensors")
    first = next(iter(state))
    state[first] = torch.zeros(1, 2, 3)
    save_file(state, tmp_path / "changed.safetensors")
    card_spec = read_model_card(tiny_run).spec
    with pytest.raises(InputError, match="does not fit the model"):
        UltralyticsDetector.load(card_spec, tmp_path / "changed.safetensors", "cpu")


def test_training_can_start_from_weights(tiny_run: Path, tiny_dataset: Path, tmp_path) -> None:
    best = tiny_run / "weights" / "best.safetensors"
    gentle = SETTINGS.model_copy(update={"epochs": 1, "lr": 1e-9})
    result = train(
        "yolov8n", tiny_dataset, out=tmp_path / "run", weights=str(best), settings=gentle,
    )  # fmt: skip
    before, after = load_file(best), load_file(tmp_path / "run" / "weights/best.safetensors")
    name = "model.22.cv2.0.2.weight"
    assert torch.allclose(before[name], after[name], atol=1e-3)
    assert result.card.started_from.startswith("best.safetensors sha256:")


@pytest.mark.realdata
def test_the_published_weights(realdata: Path) -> None:
    """The published weights load without trust; all tensors but the last class layer are taken."""
    detector = create_detector(spec("yolov8n"), "cpu")
    path = realdata / "weights" / "yolov8n.pt"
    detector.load_weights(path, trust=False)
    given, state = read_state(path, trust=False), detector.network.state_dict()
    assert set(given) == set(state)
    differing = [k for k in state if not torch.equal(state[k].float(), given[k].float())]
    assert all(".cv3." in name for name in differing)
