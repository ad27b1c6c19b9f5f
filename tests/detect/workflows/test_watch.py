"""Scans that arrive in a folder are processed once, whatever happens meanwhile."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.core.errors import InputError
from converters.imaging.dicom.geometry import DicomSeries
from converters.imaging.nifti import write_nifti
from detect.detectors.card import read_model_card
from detect.inference import scan as loading
from detect.inference.job import PredictSettings
from detect.inference.process_scan import Outcome
from detect.workflows.predict import predict
from detect.workflows.watch import Listener, WatchResult, watch
from tests.helpers.dicom_results import study, two_bright_blocks
from tests.helpers.dicom_series import SECRETS, write_series
from tests.helpers.threshold_detector import SCOPE, detections, run
from tests.helpers.tiny import make_scans

# Rounds


class Events:
    """The events of a watch, as its listener gets them."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.errors: list[InputError] = []
        self.skipped: list[InputError] = []
        self.listener = Listener(self.outcomes.append, self.errors.append, self.skipped.append)

    def cases(self) -> list[tuple[str, bool]]:
        return [(outcome.case, outcome.existing) for outcome in self.outcomes]


def once(inbox: Path, model: Path, out: Path, settle: float = 0, **more: bool) -> Events:
    events = Events()
    settings = PredictSettings([model], out, **more)
    watch(inbox, settings, listener=events.listener, settle=settle, once=True)
    return events


def test_each_scan_once_under_whatever_name(
    threshold_model: Path,
    tmp_path: Path,
) -> None:
    inbox, out = make_scans(tmp_path / "in", cases=2), tmp_path / "in" / "results"
    write_series(inbox / "DOE JANE", two_bright_blocks(), study())
    (inbox / "readme.txt").write_text("no scan")
    events = once(inbox, threshold_model, out)
    names = ["case0-mask", "case0-scan", "case1-mask", "case1-scan"]
    (series,) = (case for case, _ in events.cases() if case.startswith("scan-"))
    assert sorted(events.cases()) == [(name, False) for name in [*names, series]]
    assert not events.errors
    before = {path: path.stat().st_mtime_ns for path in out.rglob("detections.json")}
    summary = (out / "summary.csv").read_text(encoding="utf-8")
    assert summary.count("\n") == 6 and (out / "report.html").exists()

    assert once(inbox, threshold_model, out).cases() == []
    shutil.copytree(inbox / "DOE JANE", inbox / "again")
    (inbox / "case0-scan.nii").rename(inbox / "renamed.nii")
    shutil.copy(inbox / "renamed.nii", inbox / "renamed-again.nii")
    events = once(inbox, threshold_model, out)
    assert sorted(events.cases()) == [("case0-scan", True), ("case0-scan", True), (series, True)]
    (out / "watch.json").unlink()  # the results alone say what was done
    events = once(inbox, threshold_model, out)
    assert len(events.cases()) == 7 and all(again for _, again in events.cases())
    assert {path: path.stat().st_mtime_ns for path in out.rglob("detections.json")} == before
    assert (out / "summary.csv").read_text(encoding="utf-8") == summary
    journal = (out / "watch.json").read_text(encoding="utf-8")
    assert not any(word in journal for word in ("DOE", "renamed", str(tmp_path), *SECRETS))


def test_the_files_of_each_scan_are_hashed_once(
    threshold_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox, out = make_scans(tmp_path / "in", cases=2), tmp_path / "out"
    write_series(inbox / "CT", two_bright_blocks(), study())
    hashed: list[Path] = []
    hash_files = loading.hash_files

    def counted(scan: Path | DicomSeries) -> str:
        hashed.append(scan.folder if isinstance(scan, DicomSeries) else scan)
        return hash_files(scan)

    monkeypatch.setattr(loading, "hash_files", counted)
    assert len(once(inbox, threshold_model, out).cases()) == 5
    assert sorted(hashed) == sorted(inbox.iterdir())


def test_copies_that_arrive_together(
    threshold_model: Path,
    tmp_path: Path,
) -> None:
    inbox, out = make_scans(tmp_path / "in", cases=1), tmp_path / "out"
    (inbox / "case0-mask.nii").unlink()
    for name in ("b", "c"):
        shutil.copy(inbox / "case0-scan.nii", inbox / f"{name}.nii")
    (inbox / "d.nii").write_bytes(b"broken")
    shutil.copy(inbox / "d.nii", inbox / "e.nii")
    events = once(inbox, threshold_model, out)
    assert events.cases() == [("b", False), ("b", True), ("b", True)]
    assert len(events.errors) == 2  # each of them is broken
    assert [path.name for path in out.iterdir() if path.is_dir()] == ["b"]


def test_the_same_name_in_two_folders(
    threshold_model: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    for number in range(2):
        folder = make_scans(tmp_path / "made", cases=1, seed=number)
        (tmp_path / "in" / f"{number}").mkdir(parents=True)
        (folder / "case0-scan.nii").rename(tmp_path / "in" / f"{number}" / "scan.nii")
        shutil.rmtree(folder)
        events = once(tmp_path / "in", threshold_model, out)
        assert not events.errors and len(events.cases()) == 1
    first, second = sorted(path.name for path in out.iterdir() if path.is_dir())
    assert first == "scan" and second.startswith("scan-")


def test_a_study_in_one_folder(
    threshold_model: Path,
    tmp_path: Path,
) -> None:
    """Its scans are processed, one of which comes late; the localizer is passed over, once."""
    inbox, out = tmp_path / "in", tmp_path / "out"

    def add(name: str, pixels: np.ndarray, edit: Any = None) -> None:
        for path in write_series(tmp_path / name, pixels, edit or study()):
            path.rename(inbox / "CT" / f"{name}-{path.name}")

    def localizer(number: int, ds):
        ds = study()(number, ds)
        ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        return ds

    (inbox / "CT").mkdir(parents=True)
    add("one", two_bright_blocks())
    add("localizer", two_bright_blocks()[:1], localizer)
    events = once(inbox, threshold_model, out)
    assert len(events.cases()) == 1 and len(events.skipped) == 1 and not events.errors
    add("two", two_bright_blocks()[:10])
    events = once(inbox, threshold_model, out)
    assert sorted(again for _, again in events.cases()) == [False, True]
    assert len({case for case, _ in events.cases()}) == 2
    assert not any("until its files changed" in outcome.note for outcome in events.outcomes)
    assert len(json.loads((out / "watch.json").read_text(encoding="utf-8"))["places"]) == 1
    events = once(inbox, threshold_model, out)
    assert not (events.outcomes or events.errors or events.skipped)


def test_augmented_and_strict(
    threshold_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    for name, spacing in (("near", 1.0), ("far", 9.0)):
        affine = np.diag([spacing, spacing, 2.0, 1.0])
        hu = np.full((6, 48, 64), -1000, np.int16)
        hu[1:4, 10:20, 5:15] = 250
        inbox.mkdir(exist_ok=True)
        write_nifti(inbox / f"{name}.nii", hu, affine)
    words = ["watch", inbox, "--model", threshold_model, "--once", "--settle", 0, "--augment"]
    words += ["--out", out]
    assert run(*words, "--strict") == 2  # the model does not say what it knows
    assert "--strict" in capsys.readouterr().err and not out.exists()
    read_model_card(threshold_model).model_copy(update={"trained_on": SCOPE}).write(threshold_model)
    assert run(*words, "--strict") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"failed: {inbox / 'far.nii'}: ") and "--strict" in line
    assert detections(out, "near")["augment"] and not (out / "far").exists()
    assert run(*words) == 0  # another request: the refused one is tried again
    assert "far: 1 lesions\n  warning: pixels of 9 x 9 mm" in capsys.readouterr().out
    plain = predict(threshold_model, [inbox], out=tmp_path / "local", augment=True)
    for case, rows in plain.rows.items():
        assert detections(out, case)["lesions"] == rows


def test_no_room_for_the_summary_stops_nothing(
    threshold_model: Path,
    tmp_path: Path,
) -> None:
    inbox, out = make_scans(tmp_path / "in", cases=1), tmp_path / "out"
    (out / "summary.csv").mkdir(parents=True)  # nothing can be written there
    events = once(inbox, threshold_model, out)
    assert len(events.cases()) == 2
    (error,) = events.errors
    assert error.path == str(out) and "cannot be written to" in str(error)


def test_what_failed_is_listed_once_and_tried_again_when_it_changes(
    threshold_model: Path,
    tmp_path: Path,
) -> None:
    inbox, out = make_scans(tmp_path / "in", cases=1), tmp_path / "out"
    whole = (inbox / "case0-scan.nii").read_bytes()
    (inbox / "case0-scan.nii").write_bytes(whole[: len(whole) // 2])
    events = once(inbox, threshold_model, out)
    assert events.cases() == [("case0-mask", False)]
    assert [error.path for error in events.errors] == [str(inbox / "case0-scan.nii")]
    events = once(inbox, threshold_model, out)
    assert not events.outcomes and not events.errors
    (inbox / "case0-scan.nii").write_bytes(whole)
    assert once(inbox, threshold_model, out).cases() == [("case0-scan", False)]


def test_half_a_result_of_a_killed_run_is_none(
    threshold_model: Path,
    tmp_path: Path,
) -> None:
    inbox, out = make_scans(tmp_path / "in", cases=1), tmp_path / "out"
    once(inbox, threshold_model, out)
    (out / "watch.json").unlink()
    half = ".case0-scan.0123abcd-4567cdef.partial"
    (out / "case0-scan").rename(out / half)
    (out / half / "lesions.csv").unlink()
    events = once(inbox, threshold_model, out)
    assert sorted(events.cases()) == [("case0-mask", True), ("case0-scan", False)]
    assert not (out / half).exists()
    for text in ("summary.csv", "report.html"):
        assert "partial" not in (out / text).read_text(encoding="utf-8")


def test_a_scan_that_changes_after_it_was_processed(
    threshold_model: Path,
    tmp_path: Path,
) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    paths = write_series(inbox / "CT", two_bright_blocks(), study())
    late = {path: path.read_bytes() for path in paths[12:]}
    for path in late:
        path.unlink()
    ((half, _),) = once(inbox, threshold_model, out).cases()
    for path, content in late.items():
        path.write_bytes(content)
    (outcome,) = once(inbox, threshold_model, out).outcomes
    assert outcome.case != half and outcome.note == f"there was {half} until its files changed"
    scans = make_scans(tmp_path / "made", cases=2)
    shutil.copy(scans / "case0-scan.nii", inbox / "a.nii")
    assert once(inbox, threshold_model, out).cases() == [("a", False)]
    shutil.copy(scans / "case1-scan.nii", inbox / "a.nii")
    (error,) = once(inbox, threshold_model, out).errors
    assert "--overwrite" in str(error)
    events = once(inbox, threshold_model, out, overwrite=True)
    assert not events.errors and events.cases() == [(outcome.case, True), ("a", False)]


def test_another_watch_of_the_same_results_is_refused(
    threshold_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from converters.core.locks import exclusive_lock

    inbox, out = make_scans(tmp_path / "in", cases=1), tmp_path / "out"
    out.mkdir()
    ask = ["watch", inbox, "--model", threshold_model, "--out", out, "--once", "--settle", 0]
    with exclusive_lock(out / ".watch.lock", InputError(out, "busy", "wait")):
        assert run(*ask) == 2
    assert "another `detect watch` at work" in capsys.readouterr().err
    (inbox / "bad.nii").write_bytes(b"")
    assert run(*ask, "--quiet") == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith(f"failed: {inbox / 'bad.nii'}: ")
    assert run(*ask) == 0
    assert "0 scans processed, 0 there already, 0 failed" in capsys.readouterr().out
    assert run("watch", inbox, "--model", threshold_model, "--out", inbox) == 2
    assert run("watch", tmp_path / "no", "--model", threshold_model, "--out", out) == 2


def test_a_share_that_goes_away_for_a_while(
    threshold_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A share that goes away is reported once, and later scans are processed."""
    inbox, out = make_scans(tmp_path / "in", cases=1), tmp_path / "out"
    events = Events()
    steps: list[Callable[[], object]] = [
        lambda: inbox.rename(tmp_path / "away"),
        lambda: None,
        lambda: (tmp_path / "away").rename(inbox),
        lambda: make_scans(inbox / "more", cases=2),
        lambda: None,
    ]

    def sleep(seconds: float) -> None:
        if not steps:
            raise KeyboardInterrupt
        steps.pop(0)()

    monkeypatch.setattr("detect.workflows.watch.time.sleep", sleep)
    result = watch(
        inbox, PredictSettings([threshold_model], out), listener=events.listener, settle=0
    )
    assert result == WatchResult(done=4, again=2, failed=events.errors)
    (error,) = events.errors
    assert error.path == str(inbox) and "cannot be read" in str(error)
    assert (out / "summary.csv").read_text(encoding="utf-8").count("\n") == 5


# The command itself


def slowly(source: Path, target: Path) -> None:
    """Copy as a network does: in pieces, with pauses."""
    content = source.read_bytes()
    with target.open("wb") as stream:
        for part in range(4):
            stream.write(content[len(content) * part // 4 : len(content) * (part + 1) // 4])
            stream.flush()
            time.sleep(0.15)


def test_killed_midway_and_started_again(tiny_run: Path, tmp_path: Path) -> None:
    scans, inbox, out = make_scans(tmp_path / "scans", cases=5), tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    names = sorted(path.name for path in scans.iterdir())
    command = [
        sys.executable, "-m", "detect", "watch", str(inbox), "--model", str(tiny_run), "--out",
        str(out), "--confidence", "0.01", "--device", "cpu", "--settle", "0.6",
    ]  # fmt: skip

    def copy_all() -> None:
        for name in names:
            slowly(scans / name, inbox / name)

    copying = threading.Thread(target=copy_all)

    def done() -> list[Path]:
        return sorted(out.glob("case*/detections.json"))

    def wait(process: subprocess.Popen[str], enough: int) -> None:
        end = time.monotonic() + 240
        while len(done()) < enough and process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)

    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    with subprocess.Popen(command, **streams) as process:  # type: ignore[call-overload]
        time.sleep(1)
        copying.start()
        wait(process, 2)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert process.stderr.read() == ""  # nothing was taken before it was whole
    before = {path: path.stat().st_mtime_ns for path in done()}
    assert len(before) >= 2
    copying.join()
    shutil.copy(inbox / names[0], inbox / "copy.nii")
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # in the background it is not
    with subprocess.Popen(command, preexec_fn=heard, **streams) as process:  # type: ignore[call-overload]
        wait(process, len(names))
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        try:
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 0 and errors == ""
    lines = output.splitlines()
    assert lines[-1].endswith(" there already, 0 failed, 0 still arriving")
    processed = [line for line in lines[:-1] if line.endswith(" lesions")]
    assert lines[-1].startswith(f"{len(processed)} scans processed")
    assert len(processed) <= len(names) - len(before) and "came again" in output
    assert {path.parent.name for path in done()} == {Path(name).stem for name in names}
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    assert not list(out.glob(".*.partial"))
    assert json.loads((out / "watch.json").read_text(encoding="utf-8"))["places"].keys() > set()

    local = tmp_path / "local"
    predict(tiny_run, [scans], out=local, confidence=0.01, device="cpu")
    for path in done():
        ours = detections(out, path.parent.name)
        assert ours["lesions"] == detections(local, path.parent.name)["lesions"]
    assert (out / "summary.csv").read_text(encoding="utf-8") == (local / "summary.csv").read_text(
        encoding="utf-8"
    )


def test_memory_and_model_are_kept_between_scans(
    threshold_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The models are loaded once, and not before there is a scan."""
    import detect.inference.job as jobs

    loaded: list[str] = []
    load = jobs.load_models
    monkeypatch.setattr(
        jobs, "load_models", lambda models, *how: (loaded.append(how[0]), load(models, *how))[1]
    )
    inbox, out = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    hu = np.zeros((2, 8, 8), np.int16)
    steps = [lambda n=n: write_nifti(inbox / f"{n}.nii", hu + n, np.eye(4)) for n in range(3)]

    def sleep(seconds: float) -> None:
        if not steps:
            raise KeyboardInterrupt
        assert len(loaded) == (len(steps) < 3)
        steps.pop(0)()

    monkeypatch.setattr("detect.workflows.watch.time.sleep", sleep)
    events = Events()
    result = watch(
        inbox, PredictSettings([threshold_model], out), listener=events.listener, settle=0
    )
    assert result.done == 3 and loaded == ["auto"]
