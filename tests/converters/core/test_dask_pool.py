"""A conversion on a dask cluster gives the same bytes, even if processes die."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from converters.conversion.convert import ConvertResult, convert
from converters.conversion.workspace import Workspace
from converters.core import dask_pool as cluster
from converters.core.dask_pool import Cluster
from converters.core.distribution import install_hint
from converters.core.errors import InputError
from converters.core.pool import WorkersEnded, WorkersError, run_all
from converters.dataset.manifest import tool_versions
from detect.cli.main import main
from tests.helpers import tiny
from tests.helpers.trees import tree

CASES = 10


@pytest.fixture(scope="module")
def local() -> Iterator[LocalCluster]:
    """A dask cluster of two workers that are replaced when they die."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    ) as local_cluster:
        yield local_cluster


@pytest.fixture(scope="module")
def address(local: LocalCluster) -> str:
    return str(local.scheduler_address)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_scans(tmp_path_factory.mktemp("source") / "scans", cases=CASES)


@pytest.fixture(scope="module")
def expected(scans: Path) -> dict[str, str]:
    """Hashes of the files that a single process writes."""
    run(scans, scans.parent / "one", None)
    return tree(scans.parent / "one")


def run(scans: Path, out: Path, scheduler: str | None, **options: object) -> ConvertResult:
    recipe = tiny.recipe(out.parent)
    given = {"split": (6, 2, 2), "scheduler": scheduler, **options}
    return convert(recipe, scans, out, **given)  # type: ignore[arg-type]


def when(condition: Callable[[], object], act: Callable[[], None]) -> threading.Thread:
    """Act in another thread as soon as the condition holds."""

    def watch() -> None:
        while not condition():
            time.sleep(0.001)
        act()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def any_file(folder: Path, pattern: str) -> bool:
    return any(folder.glob(pattern))


def workers_of(address: str) -> list[int]:
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=30)
        return list(client.run(os.getpid).values())


def test_same_bytes_from_relative_paths_and_up_to_date(
    scans: Path, expected: dict[str, str], address: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(scans.parent)  # not where the workers are
    out = Path(os.path.relpath(tmp_path / "d"))
    tiny.recipe(tmp_path)
    words = ["convert", str(tmp_path / "recipe.yaml"), "--root", "scans", "--out", str(out)]
    words += ["--split", "6,2,2", "--scheduler", address]
    for message in ("10 cases", "up to date"):
        with pytest.raises(SystemExit, match="0"):
            main(words)
        printed = capsys.readouterr()
        assert message in printed.out and printed.err == ""
    assert tree(tmp_path / "d") == expected
    assert not (tmp_path / "d.partial").exists()


def test_workers_killed_in_both_passes_lose_nothing(
    scans: Path, expected: dict[str, str], address: str, tmp_path: Path
) -> None:
    pids, folder = workers_of(address), tmp_path / "d.partial"
    killers = [
        when(partial(any_file, folder, what), partial(os.kill, pid, signal.SIGKILL))
        for what, pid in zip(("analysis/*.json", "dataset-*/images/*/*.png"), pids, strict=True)
    ]
    result = run(scans, tmp_path / "d", address)
    for killer in killers:
        killer.join(timeout=60)
        assert not killer.is_alive()
    assert not result.errors and tree(tmp_path / "d") == expected
    assert not set(pids) & set(workers_of(address))


def die_if_told(item: str) -> str:
    if item == "deadly":
        time.sleep(1)  # dask gives up a worker that dies while it is being started
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_an_item_that_ends_its_workers_is_named_last_and_its_neighbours_are_done(
    local: LocalCluster, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local.scheduler, "allowed_failures", 0)  # 3 takes long: workers start anew
    pool = Cluster(address, {}, [])
    try:
        items = ["deadly", *"bcdefghijk"]
        outcomes = list(run_all(die_if_told, items, pool))
    finally:
        pool.close()
    assert outcomes[-1][0] == "deadly" and isinstance(outcomes[-1][1], WorkersEnded)
    assert sorted(item for item, _ in outcomes) == sorted(items)
    assert all(item == outcome for item, outcome in outcomes[:-1])


def test_one_bad_case_is_listed_as_ever(scans: Path, address: str, tmp_path: Path) -> None:
    folder = tiny.make_scans(tmp_path / "scans", cases=4)
    (folder / "case1-mask.nii").write_text("no mask")
    result = run(folder, tmp_path / "d", address, split=(2, 1, 1))
    assert [Path(e.path).name for e in result.errors] == ["case1-mask.nii"]
    run(folder, tmp_path / "e", None, split=(2, 1, 1))
    assert tree(tmp_path / "d") == tree(tmp_path / "e")


def test_a_killed_client_and_a_run_without_cluster_resume(
    scans: Path, expected: dict[str, str], address: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    tiny.recipe(tmp_path)
    folder = tmp_path / "d.partial"
    words = [sys.executable, "-m", "detect", "convert", str(tmp_path / "recipe.yaml")]
    words += ["--root", str(scans), "--out", str(tmp_path / "d"), "--split", "6,2,2"]
    client = subprocess.Popen([*words, "--scheduler", address], stderr=subprocess.DEVNULL)
    when(partial(any_file, folder, "done/case*.json"), client.kill).join(timeout=30)
    assert client.wait() == -signal.SIGKILL and not (tmp_path / "d").exists()
    before = len(list(folder.glob("done/case*.json")))
    analysed, written = [], []
    monkeypatch.setattr(Workspace, "keep_analysis", lambda _, analysis: analysed.append(analysis))
    keep_done = Workspace.keep_done
    monkeypatch.setattr(
        Workspace, "keep_done", lambda *given: (written.append(given), keep_done(*given))
    )
    run(scans, tmp_path / "d", None)
    assert not analysed and before >= 1 and len(written) == CASES - before
    assert tree(tmp_path / "d") == expected


def test_interrupted_it_cancels_what_waits(scans: Path, address: str, tmp_path: Path) -> None:
    pool = Cluster(address, {}, [])
    try:
        outcomes = run_all(time.sleep, [0.2] * 200, pool)
        next(outcomes)
        outcomes.close()  # as when the loop around it is left by Ctrl-C
    finally:
        pool.close()
    with Client(address, set_as_default=False) as client:
        deadline = time.monotonic() + 60
        while any(client.processing().values()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not any(client.processing().values())


@pytest.mark.parametrize("what", ["closed port", "no dask", "http://a", "nonsense", "tcp://"])
def test_wrong_addresses_are_one_line_and_touch_nothing(
    what: str, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(cluster, "CONNECT_S", 1.0)
    tiny.recipe(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        if what == "closed port":
            silent.close()
        where = f"127.0.0.1:{port}" if what in ("closed port", "no dask") else what
        words = ["--root", str(scans), "--out", str(tmp_path / "d"), "--scheduler", where]
        with pytest.raises(SystemExit, match="2"):
            main(["convert", str(tmp_path / "recipe.yaml"), *words])
    error = capsys.readouterr().err
    assert re.fullmatch(r"error: --scheduler: [^\n]+\n", error) and where in error
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


def test_other_versions_are_refused_at_once_and_by_late_workers(
    scans: Path, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tool_versions() | {"nibabel": "1.0"}
    monkeypatch.setattr("converters.conversion.convert.tool_versions", lambda: other)
    with pytest.raises(InputError, match=r"scheduler: the scheduler has nibabel .* not 1\.0"):
        run(scans, tmp_path / "d", address)
    assert not (tmp_path / "d.partial").exists()
    pool = Cluster(address, {}, [])
    try:
        pool._needs["nibabel"] = "1.0"
        with pytest.raises(WorkersError, match=r"the worker on .* has nibabel"):
            list(run_all(die_if_told, ["a", "b"], pool))
    finally:
        pool.close()


def test_workers_that_see_other_files_end_the_run(
    scans: Path, expected: dict[str, str], address: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(cluster, "_look", lambda path: b"what this machine has there")
        with pytest.raises(InputError, match=r"scans: is not what the worker on .* sees"):
            run(scans, tmp_path / "d", address)
    run(scans, tmp_path / "d", address)
    assert tree(tmp_path / "d") == expected


def test_without_dask_it_says_what_to_install(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=f"scheduler: .*{re.escape(install_hint('cluster'))}"):
        run(scans, tmp_path / "d", "127.0.0.1:8786")


def test_a_lost_worker_and_a_lost_scheduler_end_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "WITHOUT_WORKERS_S", 0.5)
    local_cluster = LocalCluster(
        n_workers=1,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address=None,
    )
    pool = Cluster(local_cluster.scheduler_address, {}, [])
    waiting = run_all(time.sleep, [2, 2], pool)
    lose = partial(
        local_cluster.scheduler.remove_worker, next(iter(local_cluster.scheduler.workers))
    )
    when(
        lambda: local_cluster.scheduler.tasks, lambda: local_cluster.sync(lose, stimulus_id="test")
    )
    with pytest.raises(WorkersError, match="scheduler: the cluster has no worker left"):
        next(waiting)
    monkeypatch.setattr(cluster, "WITHOUT_WORKERS_S", 60)
    waiting = run_all(time.sleep, [2], pool)
    closer = when(lambda: local_cluster.scheduler.tasks, local_cluster.close)
    with pytest.raises(WorkersError, match=r"scheduler: the connection .* was lost"):
        next(waiting)
    pool.close()
    closer.join()
