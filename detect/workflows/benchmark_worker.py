"""One training or one scoring in a process of its own, so that its memory is its own.

`run_job` starts the process, which runs this module. The job goes to its stdin, which stays open as
long as the parent lives; the answer comes from its stdout.
"""

import contextlib
import csv
import json
import os
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import IO, Literal

from pydantic import BaseModel

from converters.core.errors import InputError
from converters.core.files import write_json, write_text
from converters.core.progress import SilentReporter, report_to
from converters.dataset.folds import Fold
from detect.benchmarking.runs import EVALUATION, MEASURES, TRAINING
from detect.detectors.settings import TrainSettings


class Job(BaseModel):
    """The work of a process.

    Attributes:
        silent: report no progress.
        step: train a bundle, or score and measure it.
        model: a name of `detect models`.
        data: dataset folder.
        bundle: to make or to score.
        settings: of the training; the device is that of the scoring too.
        weights: to start from.
        fold: of the dataset.
        draw_seed: of the draws of patients.
    """

    silent: bool = False
    step: Literal["train", "score"]
    model: str
    data: Path
    bundle: Path
    settings: TrainSettings
    weights: str | None
    fold: Fold | None
    draw_seed: int


def run_job(job: Job, held: int) -> None:
    """Do a job in a process of its own.

    Args:
        job: what to do.
        held: file descriptor of a lock that the process shall hold too: killed parents leave
            children for a moment.

    Raises:
        InputError: it failed, or its process was ended from outside.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "detect.workflows.benchmark_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        pass_fds=(held,) if os.name == "posix" else (),
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise AssertionError("both are pipes")
        try:
            process.stdin.write(job.model_dump_json() + "\n")
            process.stdin.flush()
            answer = process.stdout.read()
        except BrokenPipeError:
            answer = ""
        finally:
            _close(process.stdin)  # ends the process, where it has not ended yet
            code = process.wait()
    if answer:
        error = json.loads(answer)["error"]
        if error:
            raise InputError(*error)
        return
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    raise InputError(
        job.bundle.name,
        f"its process was ended from outside ({how}), perhaps for want of memory",
        "use a smaller --batch or model, and run the same command again to go on",
    )


def _close(pipe: IO[str]) -> None:
    with contextlib.suppress(BrokenPipeError):
        pipe.close()


def main() -> None:
    """Do the job on stdin and answer on stdout."""
    job = Job.model_validate_json(sys.stdin.readline())
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no answer
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    error: tuple[str, str, str] | None = None
    try:
        with report_to(SilentReporter()) if job.silent else contextlib.nullcontext():
            train_bundle(job) if job.step == "train" else score_bundle(job)
    except InputError as caught:
        error = caught.path, caught.problem, caught.remedy
    except OSError as caught:
        where = str(caught.filename or job.bundle.name)
        error = where, caught.strerror or str(caught), "mend that and run the command again"
    except KeyboardInterrupt:
        os._exit(130)  # the parent was told as well, and says so
    except Exception as caught:
        log = job.bundle.with_name(f"{job.bundle.name}.error.txt")
        write_text(log, traceback.format_exc())
        what = f"{type(caught).__name__}: {caught}".splitlines()[0]
        error = job.bundle.name, what, f"{log.name} beside the models says where"
    answer.write(json.dumps({"error": error}))
    answer.close()


def _leave_with_parent() -> None:
    os.read(0, 1)  # comes back when the other end is closed, however the parent ended
    os._exit(1)


def train_bundle(job: Job) -> None:
    """Train, going on with what an interrupted process left, and note the peak of memory."""
    from detect.benchmarking.measuring import peak_mib
    from detect.detectors.device import choose_device
    from detect.workflows.train import train

    partial = job.bundle.with_name(f"{job.bundle.name}.partial")
    resume = (partial / "weights" / "resume.pt").is_file()  # else no epoch was finished
    before = _epochs(partial / "history.csv") if resume else 0
    train(
        job.model,
        job.data,
        out=job.bundle,
        weights=job.weights,
        settings=job.settings,
        fold=job.fold,
        resume=resume,
        overwrite=not resume,
    )
    trained_here = _epochs(job.bundle / "history.csv") > before
    peak = peak_mib(choose_device(job.settings.device)) if trained_here else None
    write_json(job.bundle / TRAINING, {"peak_mib": peak})


def _epochs(history: Path) -> int:
    with history.open(encoding="utf-8", newline="") as file:
        return len(list(csv.DictReader(file)))


def score_bundle(job: Job) -> None:
    """Time a model, score it on test, draw patients; `benchmark.json` is written last."""
    from converters.dataset.folder import open_dataset
    from converters.dataset.folds import fold_splits
    from converters.dataset.split import load_split
    from detect.benchmarking.measuring import describe_device, ms_per_slice, peak_mib
    from detect.detectors.device import choose_device
    from detect.detectors.registry import load_detector
    from detect.evaluation.bootstrap import bootstrap_patients
    from detect.workflows.evaluate import evaluate

    dataset = open_dataset(job.data)
    test = fold_splits(dataset, job.fold)["test"] if job.fold else load_split(dataset, "test")
    device = choose_device(job.settings.device)
    speed, batch = ms_per_slice(load_detector(job.bundle, job.settings.device), test)
    peak = peak_mib(device)  # before the scoring, which is no part of using a model
    result = evaluate(
        job.bundle, job.data, out=job.bundle / EVALUATION, device=job.settings.device,
        overwrite=True,
    )  # fmt: skip
    point = result.point
    draws = bootstrap_patients(
        result.matches,
        test.patient_ids,
        point.confidence if point else None,
        seed=job.draw_seed,
    )
    write_json(
        job.bundle / MEASURES,
        {
            "ms_per_slice": speed,
            "batch": batch,
            "device": describe_device(device),
            "peak_mib": peak,
            "patients": len(set(test.patient_ids)),
            "draws": draws.to_json(),
        },
    )


if __name__ == "__main__":
    main()
