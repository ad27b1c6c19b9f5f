"""Run items on the workers of a dask.distributed cluster in place of local processes.

Workers and scheduler run `detect` of the same version and see the same file system. Dask sends
pickles both ways: whoever can reach the scheduler can run code on it, on the workers and here.
"""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from converters.core.distribution import NAME, PROGRAM, install_hint, installed_version
from converters.core.errors import InputError
from converters.core.pool import WorkersEnded, WorkersError

if TYPE_CHECKING:
    from distributed import Client

Item = TypeVar("Item")
Result = TypeVar("Result")

PARAMETER = "scheduler"
CONNECT_S = 5.0
FIRST_WORKER_S = 10.0
WITHOUT_WORKERS_S = 60.0  # a worker that was ended is replaced well within it, or not at all
_AGAIN = "run the same command again: it resumes"

# Threads of one worker take turns: pydicom is kept quiet by settings of the whole process, and
# memory is planned by one case a process.
_TURN = threading.Lock()


class Cluster:
    """The workers of a dask scheduler, including those that join later."""

    def __init__(self, address: str, needs: Mapping[str, str], sees: Sequence[Path]) -> None:
        """Connect; see `open_pool`.

        Raises:
            WorkersError: dask is missing, nothing answers, no worker is there, or versions differ.
        """
        self._needs, self._sees = dict(needs), tuple(sees)
        self._client = _connect(address)
        self._alone_since: float | None = None
        try:
            self._check_workers(address)
        except BaseException:
            self.close()
            raise
        # pure: dask would take equal calls for one, and give the first one's result
        self._executor = self._client.get_executor(pure=False)

    def submit(self, function: Callable[[Item], Result], item: Item) -> Future[Result]:
        """See `Pool`."""
        seen = {path: _look(path) for path in self._sees}
        task = _Task(function, item, self._needs, seen)
        return cast("Future[Result]", self._executor.submit(_work, task))

    def result(self, future: Future[Result]) -> Result:
        """See `Pool`."""
        from distributed.scheduler import KilledWorker

        try:
            outcome = future.result()
        except KilledWorker as error:
            raise WorkersEnded from error
        except CancelledError as error:
            raise _lost() from error
        except ImportError as error:
            raise WorkersError(
                PARAMETER,
                f"a worker lacks `{error.name}`",
                "install the same `detect` on all workers",
            ) from error
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def check(self) -> None:
        """See `Pool`."""
        if self._client.status != "running":  # a scheduler that was shut down cancels nothing
            raise _lost()
        try:
            workers = self._client.scheduler_info()["workers"]
        except OSError as error:
            raise _lost() from error
        if workers:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = time.monotonic()
        elif time.monotonic() - self._alone_since > WITHOUT_WORKERS_S:
            raise WorkersError(
                PARAMETER, "the cluster has no worker left", f"start some, and {_AGAIN}"
            )

    def close(self) -> None:
        """See `Pool`; the cluster itself goes on."""
        self._client.close(timeout=CONNECT_S)

    def _check_workers(self, address: str) -> None:
        """Refuse at once a cluster without workers or with other versions."""
        try:
            self._client.wait_for_workers(1, timeout=FIRST_WORKER_S)
            asked = [NAME if package == PROGRAM else package for package in self._needs]
            versions = self._client.get_versions(packages=asked)
        except (OSError, TimeoutError) as error:
            raise WorkersError(
                PARAMETER,
                f"the scheduler at {address} has no workers that answer",
                f"start some with `dask worker {address} --nthreads 1`",
            ) from error
        for place, installed in [
            ("the scheduler", versions["scheduler"]),
            *versions["workers"].items(),
        ]:
            present = installed["packages"]
            present[PROGRAM] = present.get(NAME)
            _refuse(_difference(self._needs, present.get), f"{place} has")


@dataclass(frozen=True, repr=False)  # repr: dask logs the arguments of what fails, paths and all
class _Task:
    """One item, with what a worker needs to process it."""

    function: Callable[[Any], Any]
    item: Any
    needs: dict[str, str]
    seen: dict[Path, bytes | bool]


def _work(task: _Task) -> Any:
    """Do one item on a worker.

    Returns:
        the result of its function, or an error of the user or of this worker: dask would write a
        raised one to the worker's log, and it may quote names of files.
    """
    with _TURN:
        here = f"the worker on {socket.gethostname()}"
        try:
            _refuse(_difference(task.needs, _installed), f"{here} has")
            for path, seen in task.seen.items():
                if _look(path) != seen:
                    raise WorkersError(
                        path,
                        f"is not what {here} sees under this path",
                        "--scheduler wants sources and --out on a file system that all workers"
                        " share",
                    )
            return task.function(task.item)
        except (InputError, OSError) as error:
            return error


def _connect(address: str) -> "Client":
    try:
        from distributed import Client
    except ImportError as error:
        raise WorkersError(
            PARAMETER, "needs dask.distributed", f"run {install_hint('cluster')}"
        ) from error
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "distributed":  # what matters becomes one line of ours
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        with ThreadPoolExecutor(1) as aside:  # this thread may have an event loop, as in a notebook
            aside.submit(asyncio.run, _greet(address)).result()
        return Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TypeError, RuntimeError, ImportError) as error:
        raise WorkersError(
            PARAMETER,
            f"no dask scheduler answers at `{address}` ({str(error) or 'timed out'})",
            "give the address that `dask scheduler` prints, for example tcp://10.0.0.1:8786",
        ) from error


async def _greet(address: str) -> None:
    """Shake hands within a time limit: a client waits for ever for a server that says nothing."""
    from distributed.comm import connect
    from distributed.security import Security

    keys = Security().get_connection_args("client")
    comm = await asyncio.wait_for(connect(address, timeout=CONNECT_S, **keys), CONNECT_S)
    await comm.close()


def _lost() -> WorkersError:
    return WorkersError(
        PARAMETER, "the connection to the scheduler was lost", f"when it is back, {_AGAIN}"
    )


def _difference(needs: Mapping[str, str], installed: Callable[[str], str | None]) -> str | None:
    """Name the first package that is missing or of another version."""
    for package, wanted in needs.items():
        present = installed(package)
        if present != wanted:
            return f"{package} {present}, and not {wanted}" if present else f"no {package} {wanted}"
    return None


def _refuse(difference: str | None, who: str) -> None:
    if difference:
        raise WorkersError(
            PARAMETER, f"{who} {difference}", "install the same versions here and on the cluster"
        )


def _installed(package: str) -> str | None:
    try:
        return installed_version(package)
    except PackageNotFoundError:
        return None


def _look(path: Path) -> bytes | bool:
    """Return the content of a file, or whether a folder exists, to compare between machines."""
    return path.read_bytes() if path.is_file() else path.is_dir()
