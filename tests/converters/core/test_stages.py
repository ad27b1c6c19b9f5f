"""Overlapping stages: outcomes in order, bounded memory, and no item stops the others."""

import logging
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from converters.core.errors import InputError
from converters.core.output_folder import ResumableFolder, atomic_folder, remove_unfinished
from converters.core.stages import Settled, ahead, overlapped
from converters.imaging.dicom.quiet import quiet


def slow(seconds: float) -> None:
    time.sleep(seconds)


@pytest.mark.parametrize("seed", range(4))
def test_outcomes_keep_their_order_whatever_is_slow(seed: int) -> None:
    pause = np.random.default_rng(seed).uniform(0, 0.01, (3, 12))

    def read(k: int) -> int | Settled[str]:
        slow(pause[0, k])
        if k % 5 == 4:
            return Settled(f"{k} is there")
        if k % 5 == 2:
            raise ValueError(k)
        return k

    def find(k: int) -> int:
        slow(pause[1, k])
        if k == 5:
            raise MemoryError(k)
        return k

    def write(k: int) -> str:
        slow(pause[2, k])
        if k == 6:
            raise OSError(k)
        return f"{k} written"

    messages = [str(outcome) for outcome in overlapped(range(12), read, find, write)]
    assert messages == [
        "0 written", "1 written", "2", "3 written", "4 is there", "5", "6", "7", "8 written",
        "9 is there", "10 written", "11 written",
    ]  # fmt: skip


def test_stages_overlap_and_no_more_than_three_items_are_in_work() -> None:
    began: dict[str, list[int]] = {"read": [], "find": [], "write": []}
    done: list[int] = []
    lock = threading.Lock()
    ahead_of_writing: list[int] = []
    reading_while_finding = threading.Event()

    def stage(name: str, k: int) -> int:
        with lock:
            began[name].append(k)
            ahead_of_writing.append(len(began["read"]) - len(done))
        if name == "find" and k == 3:  # the next one is being read: without overlap it never is
            assert reading_while_finding.wait(10)
        if name == "read" and k == 4:
            reading_while_finding.set()
        slow(0.002)
        if name == "write":
            with lock:
                done.append(k)
        return k

    outcomes = overlapped(
        range(20),
        lambda k: stage("read", k),
        lambda k: stage("find", k),
        lambda k: stage("write", k),
    )
    assert list(outcomes) == list(range(20))
    assert max(ahead_of_writing) == 3
    assert all(items == list(range(20)) for items in began.values())


def test_an_interrupt_ends_it_and_what_is_being_written_becomes_whole() -> None:
    whole: list[int] = []

    def find(k: int) -> int:
        if k == 2:
            raise KeyboardInterrupt
        return k

    def write(k: int) -> int:
        slow(0.05)
        whole.append(k)
        return k

    read: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        list(overlapped(range(50), lambda k: read.append(k) or k, find, write))
    assert whole == [0, 1]
    assert read in ([0, 1, 2], [0, 1, 2, 3])


def test_what_is_made_ahead_raises_in_its_turn() -> None:
    def make(k: int) -> int:
        if k == 2:
            raise ValueError(k)
        return k

    items: Iterator[int] = ahead(make, range(5))
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(ValueError, match="2"):
        next(items)
    assert list(ahead(make, [])) == []


# Folders


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "case"
    with pytest.raises(OSError, match="full"), atomic_folder(folder, "aa") as work:
        (work / "half").touch()
        raise OSError("full")
    assert not list(tmp_path.iterdir())
    for text in ("first", "second"):
        with atomic_folder(folder, "aa") as work:
            (work / text).touch()
            assert not (folder / text).exists()
        assert [path.name for path in folder.iterdir()] == [text]
    assert [path.name for path in tmp_path.iterdir()] == ["case"]


def test_two_workers_at_one_folder_do_not_disturb_each_other(tmp_path: Path) -> None:
    folder = tmp_path / "case"

    def write() -> None:
        for _ in range(40):
            with atomic_folder(folder, "aa") as work:
                (work / "a").write_text("all")
                (work / "b").write_text("all")

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()} == {
        "a": "all",
        "b": "all",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["case"]


def test_what_a_killed_run_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    stays = [".mine.partial", ".case-2.aa-bb.partial", "case.aa-bb.partial", ".case.bb-0.partial"]
    for name in (*stays, ".case.aa-bb.partial", ".case.aa-cc.partial.gone"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    with atomic_folder(tmp_path / "case", "bb"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"case", *stays}
    remove_unfinished(tmp_path, "bb")
    assert {path.name for path in tmp_path.iterdir()} == {"case", *stays[:-1]}


def test_an_error_in_writing_names_the_later_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught, atomic_folder(tmp_path / "case") as work:
        (work / "sub" / "file").touch()
    assert caught.value.filename == str(tmp_path / "case" / "sub" / "file")


def test_a_plan_is_resumed_and_another_one_starts_anew(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for plan, kept in (("a", False), ("a", True), ("b", False)):
        folder = ResumableFolder(out, "content")
        with folder.lock():
            assert folder.resume(plan) is kept
            (folder.content / plan).touch()
    assert [path.name for path in folder.staging.iterdir() if path.is_dir()] == [
        folder.content.name
    ]
    for name in ("b", "c"):
        with folder.lock():
            folder.resume(name)
            (folder.content / name).touch()
            folder.publish()
        assert [path.name for path in out.iterdir()] == [name]
        assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_two_runs_do_not_write_one_folder(tmp_path: Path) -> None:
    first, second = ResumableFolder(tmp_path / "out"), ResumableFolder(tmp_path / "out")
    with first.lock(), pytest.raises(InputError, match="another run"), second.lock():
        pass
    with second.lock():
        pass
    assert list(tmp_path.iterdir()) == []


def test_threads_do_not_let_out_what_others_keep_quiet(
    caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    """Messages of pydicom stay hidden while several threads silence them."""
    before = logging.getLogger("pydicom").level

    def talk() -> None:
        for _ in range(50):
            with quiet():
                time.sleep(0.0005)
                logging.getLogger("pydicom").warning("DOE^JANE")
                warnings.warn("DOE^JANE", stacklevel=1)

    threads = [threading.Thread(target=talk) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not caplog.records and not list(recwarn)
    assert logging.getLogger("pydicom").level == before
