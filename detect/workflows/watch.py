"""Find lesions in scans as they arrive in a folder, each of them once."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Literal

from converters.core.errors import InputError
from converters.core.locks import alone, sigterm_as_interrupt
from converters.core.stages import Settled, overlapped
from converters.imaging.hashing import hash_files
from detect.detectors.protocol import Predictor
from detect.inference.case_names import name_cases
from detect.inference.find_scans import Source
from detect.inference.find_scans import look as look_into
from detect.inference.job import make_job
from detect.inference.model_set import load_models
from detect.inference.process_scan import Job, Outcome, Scan, Todo, find, listed, read, write
from detect.inference.watching.inbox import Listing, Settling, look
from detect.inference.watching.journal import Entry, Journal
from detect.inference.watching.results import results
from detect.workflows.prediction_summary import write_summary

SETTLE = 10.0
_LEAST_PAUSE = 0.2  # seconds between two looks
_LOOKING = 5  # a look may take a fifth of the time, on a slow share
_REPORTING = 20  # and a report a twentieth


@dataclass
class WatchResult:
    """What a watch did.

    Attributes:
        done: how many scans it processed.
        again: how many were there already, under this name or another.
        failed: one error for each that could not be processed.
        changing: how many were still arriving when it ended.
    """

    done: int = 0
    again: int = 0
    failed: list[InputError] = field(default_factory=list)
    changing: int = 0


@dataclass(frozen=True)
class Listener:
    """Who is told of each scan at once.

    Attributes:
        outcome: takes what became of a scan.
        error: takes what is wrong with one.
        passed_over: takes what is no scan to process, such as a localizer, and why.
    """

    outcome: Callable[[Outcome], None]
    error: Callable[[InputError], None]
    passed_over: Callable[[InputError], None]


def watch(
    inbox: Path,
    model: Path | Sequence[Path],
    *,
    out: Path,
    listener: Listener,
    settle: float = SETTLE,
    once: bool = False,
    confidence: float | None = None,
    dicom_sr: bool = False,
    dicom_seg: bool = False,
    keep_identifiers: bool = False,
    strict: bool = False,
    device: str = "auto",
    runtime: str = "torch",
    augment: bool = False,
    overwrite: bool = False,
) -> WatchResult:
    """Process scans once they are complete, until Ctrl-C or SIGTERM.

    Args:
        inbox: the folder, with whatever is below it.
        model: as `detect.workflows.predict.predict`'s, like all that is not named here.
        out: folder for the outputs; it may lie in `inbox`.
        listener: is told of each scan.
        settle: seconds in which a scan's files must not have changed.
        once: process what is there and complete, and end.

    Raises:
        InputError: the request is wrong as a whole, or another watch uses `out`.
    """
    models = [model] if isinstance(model, Path) else list(model)
    if not inbox.is_dir():
        raise InputError(inbox, "is not a folder", "give the folder that the scans come into")
    if out.resolve() == inbox.resolve():
        raise InputError(out, "is the folder of the scans itself", "give another --out")
    job = make_job(
        models,
        out,
        confidence=confidence,
        dicom_sr=dicom_sr,
        dicom_seg=dicom_seg,
        device=device,
        runtime=runtime,
        augment=augment,
        strict=strict,
        overwrite=overwrite,
    )
    out.mkdir(parents=True, exist_ok=True)
    with alone(out):
        watcher = _Watcher(job, inbox, listener, keep_identifiers)
        with suppress(KeyboardInterrupt), sigterm_as_interrupt():
            watcher.run(settle, once)
        watcher.report()
    return watcher.result


class _Again(Exception):
    """A copy of a scan that is being processed: it is seen to when that is done."""


@dataclass
class _Try:
    """What became of the scans of one place."""

    cases: list[str] = field(default_factory=list)
    failed: bool = False
    again: bool = False


class _Watcher:
    def __init__(self, job: Job, inbox: Path, listener: Listener, keep_identifiers: bool) -> None:
        self.job, self.inbox, self.listener = job, inbox, listener
        self.keep_identifiers = keep_identifiers
        self.result = WatchResult()
        facts = job.used.facts
        self.journal = Journal(job.out, [facts, sorted(job.wanted), job.overwrite, job.strict])
        self.case_of = {own["source_sha256"]: case for case, own in results(job.out, facts)}
        self.given_up: dict[Path, str] = {}  # no fault of the scan: the next start tries again
        self.detector: Predictor | None = None
        self.unreported = not (job.out / "report.html").exists()
        self.report_took = self.reported = 0.0

    def run(self, settle: float, once: bool) -> None:
        """Look, process, wait."""
        settling = Settling(settle)
        for rounds in count(1):
            started = time.monotonic()
            there = self._look()
            fresh = self._fresh(there)
            ready = settling.settled(fresh)
            looked = time.monotonic() - started
            self.result.changing = len(fresh) - len(ready)
            self._process(self._scans(ready, there), there)
            if once and (rounds > 1 or not self.result.changing):
                return
            if not once and time.monotonic() > self.reported + _REPORTING * self.report_took:
                self.report()
            pause = settle if once else max(_LEAST_PAUSE, settle / _LOOKING, looked * _LOOKING)
            time.sleep(pause)

    def report(self) -> None:
        """Write the summary and the report of all that is there, if there is more than before."""
        if not self.unreported:
            return
        started, used = time.monotonic(), self.job.used
        rows, warnings = {}, {}
        for case, own in results(self.job.out, used.facts):
            rows[case], warnings[case] = own["lesions"], own.get("warnings", [])
        classes, failed = used.spec.classes, len(self.result.failed)
        if error := write_summary(self.job.out, rows, warnings, classes, failed=failed):
            self._fail(error)
        self.unreported = False
        self.reported = time.monotonic()
        self.report_took = self.reported - started

    def _look(self) -> Listing:
        """What lies there: nothing while the folder is away, as a share may be for a while."""
        try:
            there = look(self.inbox, self.job.out)
        except OSError as error:
            there = Listing(closed={self.inbox: error.strerror or type(error).__name__})
        for folder in self.given_up.keys() - there.closed.keys() - there.stamps.keys():
            del self.given_up[folder]  # it is back, or gone
        for folder, why in there.closed.items():
            if self.given_up.get(folder) != why:
                self.given_up[folder] = why
                self._fail(InputError(folder, f"cannot be read ({why})", "see to it"))
        if not there.closed:
            self.journal.keep(there.stamps)
        return there

    def _fresh(self, there: Listing) -> dict[Path, str]:
        """What was not tried as it is now, and its stamp."""
        fresh = {}
        for path, stamp in there.stamps.items():
            entry = self.journal.of(path)
            if (entry is None or entry.stamp != stamp) and self.given_up.get(path) != stamp:
                fresh[path] = stamp
        return fresh

    def _scans(self, places: Sequence[Path], there: Listing) -> dict[Path, list[Source]]:
        """The scans in some places; places without any are done with."""
        scans = {}
        for place in places:
            if not place.is_dir():
                scans[place] = [Source(place)]
                continue
            found = look_into(place, self.job.used.spec.representation.modality)
            for reason in found.skipped:
                self.listener.passed_over(reason)
            for error in found.errors:
                self._fail(error)
            if found.scans:
                scans[place] = found.scans
            else:
                state: Literal["failed", "other"] = "failed" if found.errors else "other"
                self.journal.add(place, Entry(stamp=there.stamps[place], state=state))
        return scans

    def _process(self, places: Mapping[Path, list[Source]], there: Listing) -> None:
        """Process what is complete in some places; each scan is told of as it is done."""
        if not places:
            return
        if self.detector is None:
            self.detector = load_models(self.job.used, self.job.device)
        todo = self._todo(places, there)
        hashes: dict[Todo, str] = {}
        stages = (
            partial(self._read, hashes),
            partial(find, self.job, self.detector),
            partial(write, self.job),
        )
        tries = {place: _Try() for place in places}
        left = Counter(place for place, _ in todo)
        every = [item for _, item in todo]
        for (place, item), outcome in zip(todo, overlapped(every, *stages), strict=True):
            one, stamp = tries[place], there.stamps[place]
            left[place] -= 1
            if isinstance(outcome, Outcome):
                one.cases.append(outcome.case)
                if source := hashes.get(item):
                    self.case_of[source] = outcome.case
                self._tell(outcome, "" if left[place] else self._gone(place, one))
            elif isinstance(outcome, _Again):
                one.again = True
            else:
                error = listed(item, outcome)
                self._fail(error)
                one.failed = True
                if Path(error.path).is_relative_to(self.job.out):
                    self.given_up[place] = stamp
            if not left[place] and not one.again and self.given_up.get(place) != stamp:
                state: Literal["failed", "done"] = "failed" if one.failed else "done"
                self.journal.add(place, Entry(stamp=stamp, state=state, cases=one.cases))
        self._process({place: places[place] for place, one in tries.items() if one.again}, there)

    def _todo(self, places: Mapping[Path, list[Source]], there: Listing) -> list[tuple[Path, Todo]]:
        """The scans in some places, each with its place."""
        # equal names are told apart, also where one of them was processed before
        files = [Source(path) for path in there.stamps if not path.is_dir()]
        scans = [(place, own) for place, every in places.items() for own in every]
        named = dict.fromkeys([*files, *(own for _, own in scans)])
        names = name_cases(list(named), self.keep_identifiers)
        return [
            (place, Todo(own.path, names.get(own), own.series, own.warnings))
            for place, own in scans
        ]

    def _read(self, hashes: dict[Todo, str], todo: Todo) -> Scan | Settled[Outcome]:
        """Read a scan, unless it came before under another name."""
        try:
            source = hash_files(todo.series or todo.scan)
        except (InputError, OSError):
            return read(self.job, todo)  # which says what is wrong
        if source in hashes.values():
            return Settled(_Again())
        hashes[todo] = source
        case, own = self.case_of.get(source), todo.name or f"scan-{source[:12]}"
        if case not in (None, own) and (self.job.out / case).is_dir():
            return Settled(Outcome(case, [], True, "the same scan came again"))
        return read(self.job, todo)

    def _gone(self, place: Path, now: "_Try") -> str:
        """Which results are of what lay in a place before it changed."""
        before = self.journal.of(place)
        gone = set(before.cases if before else ()) - set(now.cases)
        return f"there was {', '.join(sorted(gone))} until its files changed" if gone else ""

    def _tell(self, outcome: Outcome, more: str) -> None:
        if outcome.there:
            self.result.again += 1
        else:
            self.result.done += 1
            self.unreported = True
        note = "; ".join(filter(None, (outcome.note, more)))
        self.listener.outcome(replace(outcome, note=note))

    def _fail(self, error: InputError) -> None:
        self.result.failed.append(error)
        self.listener.error(error)
