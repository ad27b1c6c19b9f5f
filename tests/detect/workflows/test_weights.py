"""Weight files: the register, the folder, and what a training starts from."""

import hashlib
import json
import os
import pickle
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from converters.core.errors import InputError
from converters.preprocessing.windowing import Window
from detect.cli.main import _run
from detect.detectors.card import ModelSpec
from detect.detectors.checkpoints import CHECKPOINTS
from detect.detectors.registry import FAMILIES, create_detector, model_names
from detect.detectors.settings import TrainSettings
from detect.families.ultralytics.network import build_network
from detect.workflows.pretrain import pretrain
from detect.workflows.weights import add_weights, choose_start, verify_weights
from weights import resolve
from weights.resolve import Known

REGISTER = resolve.known_weights()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of weights, and a register without hashes: files made here match none."""
    monkeypatch.setenv("DETECT_WEIGHTS", str(tmp_path / "weights"))
    bare = {n: replace(e, bytes=None, sha256=None, md5=None) for n, e in REGISTER.items()}
    monkeypatch.setattr(resolve, "known_weights", lambda: bare)
    return tmp_path / "weights"


def tensors(path: Path, value: float = 0.0) -> Path:
    save_file({"layer.weight": torch.full((3, 4), value)}, path)
    return path


def checkpoint(path: Path) -> Path:
    torch.save({"model": {"layer.weight": torch.zeros(3, 4)}}, path)
    return path


def held(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


class Evil:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self):
        return os.system, (f"touch {self.witness}",)


# The register


def test_the_register_says_what_it_must() -> None:
    entries = REGISTER
    assert len({entry.model for entry in entries.values()}) == len(entries)
    names = model_names()
    for file, entry in entries.items():
        assert entry.file == file and Path(file).suffix in (".safetensors", *CHECKPOINTS)
        assert re.fullmatch(r"https://[\w.-]+/[\w./-]+", entry.source), entry
        assert entry.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
        assert entry.md5 is None or re.fullmatch(r"[0-9a-f]{32}", entry.md5)
        assert entry.licence in ("AGPL-3.0", "Apache-2.0")
        if entry.family in FAMILIES:
            assert names[entry.model] == entry.family
    assert {entry.family for entry in entries.values()} == {"ultralytics", "deim", "rfdetr"}


def test_the_package_itself_would_fetch_the_same_files() -> None:
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES

    files = [e.file for e in resolve.known_weights().values() if e.family == "ultralytics"]
    assert files and set(files) <= set(GITHUB_ASSETS_NAMES)


def test_a_missing_file_is_answered_with_what_to_fetch_and_where_to_put_it(folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        choose_start("deim-s", "dfine-small-coco.safetensors")
    line = str(caught.value)
    assert "https://huggingface.co/ustc-community/dfine-small-coco/resolve/main/" in line
    assert f"{folder} as dfine-small-coco.safetensors" in line and "\n" not in line


# Where a training starts


def test_auto_takes_the_registered_file_or_says_that_it_starts_from_scratch(folder: Path) -> None:
    start = choose_start("yolov8n", "auto")
    assert start.path is None
    assert "yolov8n starts from scratch" in start.message and str(folder) in start.message
    assert "/yolov8n.pt" in start.message and "\n" not in start.message
    unregistered = choose_start("yolov8n-p2", "auto")
    assert unregistered.path is None and "no weights of it are registered" in unregistered.message
    assert choose_start("yolov8n", None).path is None
    folder.mkdir()
    checkpoint(folder / "yolov8n.pt")
    start = choose_start("yolov8n", "auto")
    assert start.path == folder / "yolov8n.pt" and str(folder / "yolov8n.pt") in start.message


def test_trained_from_what_was_added(
    folder: Path, tmp_path: Path, tiny_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published = tmp_path / "yolov8n.pt"
    torch.save({"model": build_network("yolov8n", 80, 64)}, published)
    assert _run(["weights", "add", str(published)]) == 0
    words = ["train", "--model", "yolov8n", "--data", str(tiny_dataset), "--epochs", "1"]
    words += ["--imgsz", "64", "--device", "cpu", "--weights", "auto"]
    assert _run([*words, "--out", str(tmp_path / "run")]) == 0
    assert f"yolov8n starts from {folder / 'yolov8n.pt'}." in capsys.readouterr().out.splitlines()
    card = json.loads((tmp_path / "run" / "model.json").read_text(encoding="utf-8"))
    digest = hashlib.sha256(published.read_bytes()).hexdigest()
    assert card["started_from"] == f"yolov8n.pt sha256:{digest}"


# The folder


def test_added_listed_and_verified(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetched = tensors(tmp_path / "model.safetensors")
    assert _run(["weights", "add", str(fetched), "--as", "deim-n"]) == 0
    stored = folder / "dfine-nano-coco.safetensors"
    assert stored.read_bytes() == fetched.read_bytes()
    digest = hashlib.sha256(fetched.read_bytes()).hexdigest()
    size = fetched.stat().st_size
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    assert index == {stored.name: {"sha256": digest, "bytes": size}}
    assert _run(["weights", "add", str(checkpoint(tmp_path / "x.ckpt")), "--as", "mine.ckpt"]) == 0
    (folder / "yolov8n.pt").write_text("put there by hand")
    capsys.readouterr()

    assert _run(["weights", "list"]) == 0
    rows = {row.split()[0]: row for row in capsys.readouterr().out.splitlines() if row.strip()}
    assert set(resolve.known_weights()) | {"mine.ckpt"} <= set(rows)
    for name in (stored.name, "mine.ckpt", "yolov8n.pt"):
        assert " yes " in rows[name]
    assert " no " in rows["yolov8s.pt"] and "Apache-2.0" in rows[stored.name]

    assert _run(["weights", "verify"]) == 0
    printed = capsys.readouterr().out
    assert "yolov8n.pt: no hash" in printed and "3 files, 0 problems" in printed
    with stored.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x01")
    (folder / "mine.ckpt").unlink()
    assert _run(["weights", "verify"]) == 1
    printed = capsys.readouterr().out
    assert f"{stored.name}: is not the file that was added: sha256" in printed
    assert "mine.ckpt: is gone" in printed and "2 files, 2 problems" in printed


def test_adding_a_file_that_is_there_records_it(folder: Path) -> None:
    folder.mkdir()
    file = checkpoint(folder / "yolov8n.pt")
    before = file.read_bytes()
    assert verify_weights().unknown == ["yolov8n.pt"]
    add_weights(file)
    assert verify_weights().unknown == [] and file.read_bytes() == before
    assert held(folder) == {"yolov8n.pt", "index.json"}


def test_the_publishers_word_is_compared(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tensors(tmp_path / "a.safetensors")
    content = file.read_bytes()
    right = {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "md5": hashlib.md5(content).hexdigest(),
    }
    wrong = {"bytes": 7, "sha256": "0" * 64, "md5": "0" * 32}

    def publish(**known: object) -> None:
        entry = Known("a.safetensors", "f", "m", "https://b.org/a.safetensors", "MIT", **known)
        monkeypatch.setattr(resolve, "known_weights", lambda: {"a.safetensors": entry})

    for key in right:
        publish(**{key: wrong[key]})
        with pytest.raises(InputError, match=f"is not the published a.safetensors.*{key}"):
            add_weights(file)
        assert not held(folder)
    publish(**right)
    add_weights(file)
    assert not verify_weights().problems
    publish(**(right | {"md5": wrong["md5"]}))
    assert len(verify_weights().problems) == 1


def broken(kind: str, folder: Path) -> tuple[Path, str | None]:
    path = folder / "yolov8n.pt"
    named: str | None = None
    if kind == "text":
        path.write_text("no weights")
    elif kind == "empty":
        path.touch()
    elif kind == "cut short":
        path.write_bytes(checkpoint(path).read_bytes()[:-30])
    elif kind == "another zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("letter.txt", "no weights")
    elif kind == "folder":
        path.mkdir()
    elif kind == "bare pickle":
        path.write_bytes(pickle.dumps({"layer": 1}))
    elif kind == "safetensors cut short":
        path, named = folder / "model.safetensors", "deim-n"
        path.write_bytes(tensors(path).read_bytes()[:-1])
    elif kind == "no safetensors":
        path, named = checkpoint(path), "deim-n"
    elif kind == "no known model":
        path = checkpoint(folder / "best.pt")
    elif kind == "another format":
        path, named = folder / "yolov8n.onnx", "yolov8n.onnx"
        path.write_bytes(b"onnx")
    elif kind == "not what was published":
        path, named = checkpoint(path), "rfdetr-nano"
    elif kind == "out of the folder":
        path, named = checkpoint(path), "../yolov8n.pt"
    elif kind == "hidden":
        path, named = checkpoint(path), ".yolov8n.pt"
    return path, named


@pytest.mark.parametrize(
    "kind",
    [
        "text", "empty", "cut short", "another zip", "folder", "missing", "bare pickle",
        "safetensors cut short", "no safetensors", "no known model", "another format",
        "not what was published", "out of the folder", "hidden",
    ],
)  # fmt: skip
def test_refused(
    kind: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resolve, "known_weights", lambda: REGISTER)
    path, named = broken(kind, tmp_path)
    before = held(tmp_path)
    assert _run(["weights", "add", str(path), *(["--as", named] if named else [])]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and (path.name in line or "--as" in line)
    assert not held(folder) and held(tmp_path) <= before | {"weights"}


def test_other_content_under_a_name_is_not_replaced(folder: Path, tmp_path: Path) -> None:
    add_weights(tensors(tmp_path / "a.safetensors"), "mine.safetensors")
    before = (folder / "mine.safetensors").read_bytes()
    with pytest.raises(InputError, match="other content"):
        add_weights(tensors(tmp_path / "b.safetensors", value=1), "mine.safetensors")
    assert (folder / "mine.safetensors").read_bytes() == before
    assert held(folder) == {"mine.safetensors", "index.json"}


@pytest.mark.parametrize("text", ["{", "[]", '{"a.pt": {}}', '{"a.pt": {"sha256": 1}}'])
def test_a_damaged_index_is_one_line(
    text: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.mkdir()
    (folder / "index.json").write_text(text)
    assert _run(["weights", "verify"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "index.json" in line


@pytest.mark.filterwarnings("error::UserWarning")  # they would stand beside the one clear line
def test_nothing_of_a_hostile_file_runs(
    folder: Path, tmp_path: Path, tiny_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    witness = tmp_path / "it-ran"
    bare, packed = tmp_path / "bare.pt", tmp_path / "packed.pt"
    bare.write_bytes(pickle.dumps(Evil(witness)))
    torch.save({"model": build_network("yolov8n", 80, 64), "extra": Evil(witness)}, packed)

    assert _run(["weights", "add", str(bare)]) == 2
    assert _run(["weights", "add", str(bare), "--as", "yolov8n"]) == 2
    assert _run(["weights", "add", str(packed)]) == 2
    assert not held(folder)
    # Under a known name the frame passes, since nothing inside is looked at: that is for reading.
    assert _run(["weights", "add", str(packed), "--as", "yolov8n"]) == 0
    assert _run(["weights", "list"]) == 0
    assert _run(["weights", "verify"]) == 0
    words = ["train", "--model", "yolov8n", "--data", str(tiny_dataset), "--imgsz", "64"]
    words += ["--device", "cpu", "--out", str(tmp_path / "run")]
    for weights in ("auto", "yolov8n.pt", str(bare)):
        capsys.readouterr()
        assert _run([*words, "--weights", weights]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "--trust" in line
    assert not witness.exists() and not (tmp_path / "run").exists()
    torch.load(packed, weights_only=False)
    assert witness.exists()  # the witness works


# Weights made here


def test_synthetic_weights_are_asked_for_in_one_line(folder: Path) -> None:
    with pytest.raises(InputError) as error:
        choose_start("yolov8n", "synthetic")
    assert error.value.path == str(folder / "synthetic-yolov8n.safetensors")
    assert "detect weights pretrain yolov8n" in error.value.remedy


def test_pretrained_on_made_up_patients_and_started_from(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TrainSettings(epochs=1, batch=8, imgsz=64, device="cpu", workers=0)
    given = {"patients": 12, "settings": settings}
    file = pretrain("yolov8n", **given)  # type: ignore[arg-type]
    assert held(folder) == {file.name, "index.json"}
    assert verify_weights().problems == []
    with pytest.raises(InputError, match="is here already"):
        pretrain("yolov8n", **given)  # type: ignore[arg-type]
    before = file.read_bytes()

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("detect.workflows.pretrain.train", stopped)
        pretrain("yolov8n", overwrite=True, **given)  # type: ignore[arg-type]
    assert file.read_bytes() == before
    work = folder / f".{file.stem}.partial"
    grown = json.loads((work / "grown" / "synthesis.json").read_text(encoding="utf-8"))
    assert len(grown["cases"]) == 12
    with monkeypatch.context() as patched:
        # what is there already is kept
        patched.setattr("detect.workflows.pretrain.make_phantom", stopped)
        pretrain("yolov8n", overwrite=True, **given)  # type: ignore[arg-type]
    assert file.read_bytes() == before and not work.exists()

    assert choose_start("yolov8n", "synthetic").path == file
    window = Window(level=60, width=200)
    spec = ModelSpec(
        family="ultralytics", model="yolov8n", classes=["tumour"], imgsz=64, window=window
    )
    detector = create_detector(spec, "cpu")
    fresh = {name: value.clone() for name, value in detector.network.state_dict().items()}
    detector.load_weights(file, trust=False)
    pretrained, begun = load_file(file), detector.network.state_dict()
    taken = {name for name, value in pretrained.items() if torch.equal(begun[name], value)}
    other_classes = {name for name, value in pretrained.items() if begun[name].shape != value.shape}
    assert taken == pretrained.keys() - other_classes
    assert 0 < len(other_classes) <= 6
    assert all(torch.equal(begun[name], fresh[name]) for name in other_classes)
