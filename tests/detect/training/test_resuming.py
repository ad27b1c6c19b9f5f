"""A stopped training resumes, with unchanged settings only."""

import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from converters.core.errors import InputError
from detect.detectors.card import read_model_card
from detect.workflows.train import train
from tests.helpers.bundles import BUNDLE, Evil, files
from tests.helpers.tiny import SETTINGS


class Stopped(Exception):
    pass


def interrupt(dataset: Path, out: Path, after: int, monkeypatch, epochs: int = 3) -> Path:
    """Train and stop by an exception once `after` epochs stand in the history."""
    from contextlib import contextmanager

    count = 0

    @contextmanager
    def progress(*_):
        def advance(_note: str) -> None:
            nonlocal count
            count += 1
            if count > after:
                raise Stopped

        yield advance

    settings = SETTINGS.model_copy(update={"epochs": epochs})
    with monkeypatch.context() as patch:
        patch.setattr("detect.workflows.train.progress", progress)
        with pytest.raises(Stopped):
            train("yolov8n", dataset, out=out, settings=settings)
    assert not out.exists()
    return out.with_name(out.name + ".partial")


def epochs_in(history: Path) -> list[str]:
    return [row.split(",")[0] for row in history.read_text(encoding="utf-8").splitlines()[1:]]


def test_killed_and_resumed(tiny_dataset: Path, tmp_path: Path) -> None:
    """A process killed in its second epoch goes on there; its first row is kept as it was."""
    command = [
        sys.executable, "-m", "detect", "train", "--model", "yolov8n", "--data", str(tiny_dataset),
        "--out", "run", "--epochs", "6", "--imgsz", "64", "--batch", "4", "--device", "cpu",
    ]  # fmt: skip
    checkpoint = tmp_path / "run.partial" / "weights" / "resume.pt"
    with subprocess.Popen(command, cwd=tmp_path) as process:
        try:
            while not checkpoint.exists() and process.poll() is None:
                time.sleep(0.02)
        finally:
            process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "run").exists()
    history = tmp_path / "run.partial" / "history.csv"
    before = history.read_text(encoding="utf-8").splitlines()
    resumed = subprocess.run(
        [*command, "--resume"], cwd=tmp_path, capture_output=True, encoding="utf-8", check=True
    )
    assert resumed.stderr == ""
    after = (tmp_path / "run" / "history.csv").read_text(encoding="utf-8").splitlines()
    saved = min(len(before), len(after))  # a row may have been written without its checkpoint
    assert before[:2] == after[:2] and saved >= 2
    assert epochs_in(tmp_path / "run" / "history.csv") == list("123456")
    assert set(files(tmp_path / "run")) == BUNDLE
    read_model_card(tmp_path / "run")


@pytest.mark.filterwarnings("error::UserWarning")  # they would stand beside the one clear line
def test_resume_refuses_other_settings_and_other_data(
    tiny_dataset: Path, tmp_path: Path, monkeypatch
) -> None:
    out = tmp_path / "run"
    partial = interrupt(tiny_dataset, out, 1, monkeypatch)
    settings = SETTINGS.model_copy(update={"epochs": 3})
    before = files(partial)

    def refused(problem: str, **changes) -> None:
        given = {"model": "yolov8n", "data": tiny_dataset, "settings": settings, "resume": True}
        with pytest.raises(InputError, match=problem):
            train(**(given | changes), out=out)
        assert files(partial) == before

    refused("settings.lr", settings=settings.model_copy(update={"lr": 1e-3}))
    refused("settings.epochs", settings=settings.model_copy(update={"epochs": 4}))
    refused("spec.model", model="yolo11n")
    refused("holds an interrupted run", resume=False)
    refused("contradicts", overwrite=True)
    checkpoint = torch.load(partial / "weights" / "resume.pt", weights_only=True)
    (partial / "weights" / "resume.pt").write_bytes(b"cut short")
    before = files(partial)
    refused("cannot be resumed from")
    witness = tmp_path / "it-ran"
    for content in (Evil(witness), checkpoint | {"history": Evil(witness)}):
        torch.save(content, partial / "weights" / "resume.pt")
        before = files(partial)
        refused("cannot be resumed from")
    (partial / "weights" / "resume.pt").write_bytes(pickle.dumps(Evil(witness)))
    before = files(partial)
    refused("cannot be resumed from")
    assert not witness.exists()
    train("yolov8n", tiny_dataset, out=out, settings=SETTINGS, overwrite=True)
    assert not partial.exists()


def test_stopped_between_training_and_the_bundle(
    tiny_dataset: Path, tmp_path: Path, monkeypatch
) -> None:
    """All epochs are there: resuming only scores and finishes."""
    out = tmp_path / "run"

    def fail(*_):
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr("detect.workflows.train._finish", fail)
        with pytest.raises(Stopped):
            train("yolov8n", tiny_dataset, out=out, settings=SETTINGS)
    weights = (tmp_path / "run.partial/weights/last.safetensors").read_bytes()
    train("yolov8n", tiny_dataset, out=out, settings=SETTINGS, resume=True)
    assert set(files(out)) == BUNDLE
    assert (out / "weights/last.safetensors").read_bytes() == weights
    assert epochs_in(out / "history.csv") == ["1", "2"]
