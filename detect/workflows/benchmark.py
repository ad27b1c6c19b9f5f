"""Train several models, score them with the one evaluator, and set them side by side."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.core.errors import InputError, ParameterError
from converters.core.files import sha256, write_json, write_text
from converters.core.locks import exclusive_lock
from converters.core.output_folder import is_free
from converters.core.progress import SilentReporter, reporter
from converters.dataset.folder import Dataset, open_dataset
from converters.dataset.folds import fold_splits
from converters.dataset.manifest import FILE_NAME as MANIFEST
from converters.dataset.split import load_split
from detect.benchmarking.results import Row, Summary, read_row, summarise, to_csv, to_markdown
from detect.benchmarking.runs import Run, plan
from detect.detectors.device import choose_device
from detect.detectors.registry import family_of
from detect.detectors.settings import TrainSettings, apply_protocol, resolve_settings
from detect.workflows.benchmark_worker import Job, run_job

REQUEST = "request.json"
LOCK_FILE = ".lock"
PATIENCE = 15.0  # s that the processes of a killed benchmark have to end


@dataclass(frozen=True)
class BenchmarkResult:
    """The result of a benchmark.

    Attributes:
        folder: holds `benchmark.csv`, `benchmark.md`, `benchmark.png`, `curves.png`, `report.html`
            and `runs/`.
        rows: one for each model, fold and seed.
        summaries: one for each model.
        errors: one for each run that failed.
    """

    folder: Path
    rows: list[Row]
    summaries: list[Summary]
    errors: list[InputError]


def benchmark(
    data: Path,
    models: Sequence[str],
    *,
    out: Path = Path("benchmark"),
    folds: int | None = None,
    seeds: int = 1,
    weights: str | None = None,
    protocol: str | None = None,
    settings: TrainSettings | None = None,
    overwrite: bool = False,
) -> BenchmarkResult:
    """Train each model, score it on test, and compare accuracy, speed and memory.

    Trainings go one after the other, each in a process of its own. A benchmark that was stopped,
    however, goes on when it is asked for again: what is finished is kept, the interrupted training
    resumes, and failed ones are tried again. Other models may be asked for; what else was asked for
    must stay the same.

    Args:
        data: dataset folder.
        models: names of `detect models`.
        out: folder to make or to go on with.
        folds: cross-validate by patient over the whole dataset in so many rounds; None trains and
            scores on the dataset's own splits.
        seeds: trainings of each model and fold, with the seed of the settings and those after it.
        weights: to start from, as in `train`.
        protocol: published settings of each model, for what `settings` does not set.
        settings: of every training; the device is that of the scoring too.
        overwrite: remove an earlier benchmark at `out` first.

    Raises:
        InputError: the request or the dataset is wrong, or another request lies at `out`. A run
            that fails does not raise: it is listed in the result.
    """
    _check_models(models)
    if folds is not None and folds < 2:
        raise ParameterError("folds", f"`{folds}` is refused", "ask for two or more")
    if seeds < 1:
        raise ParameterError("seeds", f"`{seeds}` is refused", "ask for one or more")
    settings = settings or TrainSettings()
    resolve_settings(settings, {"seed": settings.seed + seeds - 1})
    choose_device(settings.device)
    if protocol:
        for model in models:
            apply_protocol(settings, protocol, family_of(model))
    dataset = open_dataset(data)
    request = _Request(dataset, settings, folds, seeds, weights, protocol)
    runs = plan(models, folds, seeds, settings.seed)
    _check_splits(dataset, runs)
    with _locked(out) as lock:
        _open(out, request.to_json(), overwrite)
        errors: dict[str, InputError] = {}
        for number, run in enumerate(runs, start=1):
            if run.is_done(out):
                continue
            reporter().message(f"{run.name} ({number} of {len(runs)})")
            job = request.job(run, out)
            try:
                if not run.is_trained(out):
                    run_job(job, lock)
                run_job(job.model_copy(update={"step": "score"}), lock)
            except InputError as error:
                place = Path(error.path).name  # the table is passed on, and folders name people
                errors[run.name] = InputError(run.name, f"{place}: {error.problem}", error.remedy)
            _write_tables(out, runs, request.heading(), errors)
        return _write_all(request, out, runs, errors)


@dataclass(frozen=True)
class _Request:
    """A benchmark as it was asked for; see `benchmark`."""

    dataset: Dataset
    settings: TrainSettings
    folds: int | None
    seeds: int
    weights: str | None
    protocol: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the content of `request.json`, which a benchmark that goes on must repeat."""
        return {
            "dataset_sha256": sha256(self.dataset.folder / MANIFEST),
            "weights": self.weights,
            "protocol": self.protocol,
            "folds": self.folds,
            "seeds": self.seeds,
            **self.settings.model_dump(mode="json", exclude={"device", "workers"}),
        }

    def job(self, run: Run, out: Path) -> Job:
        """Return the training of a run."""
        settings = self.settings
        if self.protocol:
            settings = apply_protocol(settings, self.protocol, family_of(run.model))
        return Job(
            silent=isinstance(reporter(), SilentReporter),
            step="train",
            model=run.model,
            data=self.dataset.folder,
            bundle=run.bundle(out),
            settings=settings.model_copy(update={"seed": run.seed}),
            weights=self.weights,
            fold=run.fold,
            draw_seed=self.settings.seed + (run.fold.number if run.fold else 0),
        )

    def heading(self) -> str:
        """Describe the data, the length and the number of the trainings."""
        settings, name = self.settings, self.dataset.manifest.request.recipe.name
        how = f"batch {settings.batch}"
        if self.protocol:
            how = f"settings of protocol `{self.protocol}`"
        where = "scored on the dataset's test split"
        if self.folds:
            where = (
                f"tested once on every patient in {self.folds} rounds of cross-validation by"
                " patient"
            )
        repeats = f", {self.seeds} seeds" if self.seeds > 1 else ""
        length = f"up to {settings.epochs} epochs"
        if settings.budget or settings.iterations:
            length = f"{settings.budget or f'{settings.iterations} iterations'} each"
        return f"Dataset `{name}`; {where}{repeats}; {length}, {how}." + (
            " Mean ± standard deviation over the runs." if self.folds or self.seeds > 1 else ""
        )


def _check_models(models: Sequence[str]) -> None:
    if not models:
        raise ParameterError("models", "names none", "give names of `detect models`")
    for model in models:
        try:
            family_of(model)
        except InputError as error:
            raise ParameterError("models", error.problem, error.remedy) from error
        if models.count(model) > 1:
            raise ParameterError("models", f"`{model}` is named twice", "name it once")


def _check_splits(dataset: Dataset, runs: Sequence[Run]) -> None:
    """Refuse what no training could start with."""
    for fold in dict.fromkeys(run.fold for run in runs):
        names = ("train", "val", "test")
        if fold:
            splits = fold_splits(dataset, fold)
        else:
            splits = {name: load_split(dataset, name) for name in names}
        for name in ("train", "test"):
            if not splits[name].boxes:
                where = f"{name} of fold {fold.number}" if fold else name
                raise InputError(
                    dataset.folder, f"has no box in {where}", "add scans, or split them otherwise"
                )


@contextmanager
def _locked(out: Path) -> Iterator[int]:
    """Make the folder and keep other benchmarks out of it; yields the lock's file descriptor."""
    if not out.name.strip("."):
        raise ParameterError("out", f"`{out}` cannot be replaced as a whole", "name a new folder")
    if not is_free(out) and not (out / REQUEST).is_file():
        raise InputError(out, "is no benchmark", "give another --out")
    busy = InputError(out, "is being worked on by another benchmark", "wait until it ends")
    with exclusive_lock(out / LOCK_FILE, busy, PATIENCE) as lock:
        yield lock


def _open(out: Path, request: dict[str, Any], overwrite: bool) -> None:
    """Go on with what lies at `out`, or begin."""
    if overwrite:
        for entry in out.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != LOCK_FILE:
                entry.unlink()
    if (out / REQUEST).is_file():
        try:
            before = dict(json.loads((out / REQUEST).read_bytes()))
        except (ValueError, TypeError) as error:
            raise InputError(out / REQUEST, "cannot be read", "use --overwrite") from error
        for key, value in request.items():
            if before.get(key) != value:
                raise InputError(
                    out,
                    f"was begun with {key} = {before.get(key)}, not {value}",
                    "ask for the same, give another --out, or start anew with --overwrite",
                )
    write_json(out / REQUEST, request)


def _write_tables(
    out: Path, runs: Sequence[Run], heading: str, errors: dict[str, InputError]
) -> list[Row]:
    rows = [read_row(run, out, run.name in errors) for run in runs]
    write_text(out / "benchmark.csv", to_csv(rows))
    text = to_markdown(summarise(rows), heading, [str(error) for error in errors.values()])
    write_text(out / "benchmark.md", text)
    return rows


def _write_all(
    request: _Request, out: Path, runs: Sequence[Run], errors: dict[str, InputError]
) -> BenchmarkResult:
    from detect.report.benchmark_report import accuracy_chart, benchmark_report, learning_chart

    rows = _write_tables(out, runs, request.heading(), errors)
    summaries = summarise(rows)
    accuracy_chart(summaries).write_png(out / "benchmark.png")
    learning_chart(rows).write_png(out / "curves.png")
    failures = [str(error) for error in errors.values()]
    report = benchmark_report(request.dataset, out, rows, request.heading(), failures)
    write_text(out / "report.html", report)
    return BenchmarkResult(out, rows, summaries, list(errors.values()))
