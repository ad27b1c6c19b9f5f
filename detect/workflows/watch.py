"""Find lesions in scans as they arrive in a folder, each of them once."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Literal

from converters.core.errors import InputError
from converters.core.locks import exclusive_lock, sigterm_as_interrupt
from converters.core.stages import Settled, overlapped
from detect.detectors.protocol import Predictor
from detect.inference.case_names import name_cases
from detect.inference.find_scans import ScanTask, discover_series
from detect.inference.job import Job, PredictSettings, prepare_job
from detect.inference.process_scan import (
    DECISIVE,
    Outcome,
    as_input_error,
    read_scan,
    search_scan,
    write_scan,
)
from detect.inference.scan import Scan, hash_scan
from detect.inference.watching.inbox import Listing, Settling, list_inbox
from detect.inference.watching.journal import Entry, Journal
from detect.workflows.prediction_summary import write_summary

SETTLE = 10.0
LOCK_FILE = ".watch.lock"
_LEAST_PAUSE = 0.2  # seconds between two listings
_LISTING = 5  # listing may take a fifth of the time, on a slow share
_REPORTING = 20  # and a report a twentieth


@dataclass
class WatchResult:
    """Counts of a watch.

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
    """Functions that are called for each scan as soon as it is done.

    Attributes:
        outcome: takes the result of a scan.
        error: takes what is wrong with a scan.
        skipped: takes what is no scan to process, such as a localizer, and why.
    """

    outcome: Callable[[Outcome], None]
    error: Callable[[InputError], None]
    skipped: Callable[[InputError], None]


def watch(
    inbox: Path,
    settings: PredictSettings,
    *,
    listener: Listener,
    settle: float = SETTLE,
    once: bool = False,
) -> WatchResult:
    """Process scans once they are complete, until Ctrl-C or SIGTERM.

    Args:
        inbox: the folder, with all folders below it.
        settings: of the prediction; the folder of the outputs may lie in `inbox`.
        listener: is called for each scan.
        settle: seconds in which a scan's files must not have changed.
        once: process what is there and complete, and end.

    Raises:
        InputError: the request is wrong as a whole, or another watch uses the outputs' folder.
    """
    out = settings.out
    if not inbox.is_dir():
        raise InputError(inbox, "is not a folder", "give the folder that the scans come into")
    if out.resolve() == inbox.resolve():
        raise InputError(out, "is the folder of the scans itself", "give another --out")
    job = prepare_job(settings)
    out.mkdir(parents=True, exist_ok=True)
    busy = InputError(
        out, "has another `detect watch` at work", "wait for it, or give another --out"
    )
    with exclusive_lock(out / LOCK_FILE, busy):
        watcher = _Watcher(job, inbox, listener)
        with suppress(KeyboardInterrupt), sigterm_as_interrupt():
            watcher.run(settle, once)
        watcher.report()
    return watcher.result


class _CopyInWork(Exception):
    """A copy of a scan that is being processed: it is looked at when that is done."""


@dataclass
class _Try:
    """Outcomes of the scans of one place."""

    cases: list[str] = field(default_factory=list)
    failed: bool = False
    again: bool = False


class _Watcher:
    def __init__(self, job: Job, inbox: Path, listener: Listener) -> None:
        self.job, self.inbox, self.listener = job, inbox, listener
        self.result = WatchResult()
        facts, settings = job.models.facts, job.settings
        request = [facts, sorted(settings.dicom_files), settings.overwrite, settings.strict]
        self.journal = Journal(job.out, request)
        self.case_of = {content["source_sha256"]: case for case, content in results(job.out, facts)}
        self.given_up: dict[Path, str] = {}  # no fault of the scan: the next start tries again
        self.detector: Predictor | None = None
        self.unreported = not (job.out / "report.html").exists()
        self.report_took = self.reported = 0.0

    def run(self, settle: float, once: bool) -> None:
        """List, process, wait."""
        settling = Settling(settle)
        for rounds in count(1):
            started = time.monotonic()
            listing = self._list()
            fresh = self._fresh(listing)
            ready = settling.settled(fresh)
            took = time.monotonic() - started
            self.result.changing = len(fresh) - len(ready)
            self._process(self._scans(ready, listing), listing)
            if once and (rounds > 1 or not self.result.changing):
                return
            if not once and time.monotonic() > self.reported + _REPORTING * self.report_took:
                self.report()
            pause = settle if once else max(_LEAST_PAUSE, settle / _LISTING, took * _LISTING)
            time.sleep(pause)

    def report(self) -> None:
        """Write the summary and the report of all results, if there are more than before."""
        if not self.unreported:
            return
        started, models = time.monotonic(), self.job.models
        rows, warnings = {}, {}
        for case, content in results(self.job.out, models.facts):
            rows[case], warnings[case] = content["lesions"], content.get("warnings", [])
        failed = len(self.result.failed)
        if error := write_summary(self.job.out, rows, warnings, models.spec.classes, failed=failed):
            self._fail(error)
        self.unreported = False
        self.reported = time.monotonic()
        self.report_took = self.reported - started

    def _list(self) -> Listing:
        """List the folder: empty while it is away, as a share may be for a while."""
        try:
            listing = list_inbox(self.inbox, self.job.out)
        except OSError as error:
            listing = Listing(closed={self.inbox: error.strerror or type(error).__name__})
        for folder in self.given_up.keys() - listing.closed.keys() - listing.stamps.keys():
            del self.given_up[folder]  # it is back, or gone
        for folder, why in listing.closed.items():
            if self.given_up.get(folder) != why:
                self.given_up[folder] = why
                self._fail(InputError(folder, f"cannot be read ({why})", "see to it"))
        if not listing.closed:
            self.journal.keep(listing.stamps)
        return listing

    def _fresh(self, listing: Listing) -> dict[Path, str]:
        """Return the places that were not tried as they are now, and their stamps."""
        fresh = {}
        for path, stamp in listing.stamps.items():
            entry = self.journal.of(path)
            if (entry is None or entry.stamp != stamp) and self.given_up.get(path) != stamp:
                fresh[path] = stamp
        return fresh

    def _scans(self, places: Sequence[Path], listing: Listing) -> dict[Path, list[ScanTask]]:
        """Return the scans in some places; places without any are done with."""
        scans = {}
        for place in places:
            if not place.is_dir():
                scans[place] = [ScanTask(place)]
                continue
            discovered = discover_series(place, self.job.models.spec.representation.modality)
            for reason in discovered.skipped:
                self.listener.skipped(reason)
            for error in discovered.errors:
                self._fail(error)
            if discovered.scans:
                scans[place] = discovered.scans
            else:
                state: Literal["failed", "other"] = "failed" if discovered.errors else "other"
                self.journal.add(place, Entry(stamp=listing.stamps[place], state=state))
        return scans

    def _process(self, places: Mapping[Path, list[ScanTask]], listing: Listing) -> None:
        """Process the scans of some places, and call the listener for each."""
        if not places:
            return
        if self.detector is None:
            self.detector = self.job.load()
        tasks = self._tasks(places, listing)
        hashes: dict[ScanTask, str] = {}
        stages = (
            partial(self._read, hashes),
            partial(search_scan, self.job, self.detector),
            partial(write_scan, self.job),
        )
        tries = {place: _Try() for place in places}
        left = Counter(place for place, _ in tasks)
        outcomes = overlapped([task for _, task in tasks], *stages)
        for (place, task), outcome in zip(tasks, outcomes, strict=True):
            attempt, stamp = tries[place], listing.stamps[place]
            left[place] -= 1
            if isinstance(outcome, Outcome):
                attempt.cases.append(outcome.case)
                if sha256 := hashes.get(task):
                    self.case_of[sha256] = outcome.case
                self._done(outcome, "" if left[place] else self._replaced(place, attempt))
            elif isinstance(outcome, _CopyInWork):
                attempt.again = True
            else:
                error = as_input_error(task, outcome)
                self._fail(error)
                attempt.failed = True
                if Path(error.path).is_relative_to(self.job.out):
                    self.given_up[place] = stamp
            if not left[place] and not attempt.again and self.given_up.get(place) != stamp:
                state: Literal["failed", "done"] = "failed" if attempt.failed else "done"
                self.journal.add(place, Entry(stamp=stamp, state=state, cases=attempt.cases))
        again = {place: places[place] for place, attempt in tries.items() if attempt.again}
        self._process(again, listing)

    def _tasks(
        self, places: Mapping[Path, list[ScanTask]], listing: Listing
    ) -> list[tuple[Path, ScanTask]]:
        """Name the scans in some places; returns each with its place."""
        # equal names get a hash of their path, also where one of them was processed before
        files = [ScanTask(path) for path in listing.stamps if not path.is_dir()]
        scans = [(place, scan) for place, listed in places.items() for scan in listed]
        unnamed = list(dict.fromkeys([*files, *(scan for _, scan in scans)]))
        named = dict(
            zip(unnamed, name_cases(unnamed, self.job.settings.keep_identifiers), strict=True)
        )
        return [(place, named[scan]) for place, scan in scans]

    def _read(self, hashes: dict[ScanTask, str], task: ScanTask) -> Scan | Settled[Outcome]:
        """Read a scan, unless it came before under another name."""
        sha256 = hash_scan(task)
        if sha256 in hashes.values():
            return Settled(_CopyInWork())
        hashes[task] = sha256
        case = self.case_of.get(sha256)
        if case not in (None, task.case(sha256)) and (self.job.out / case).is_dir():
            return Settled(Outcome(case, [], True, "the same scan came again"))
        return read_scan(self.job, task, sha256)

    def _replaced(self, place: Path, attempt: _Try) -> str:
        """Name the results of what lay in a place before its files changed."""
        before = self.journal.of(place)
        gone = set(before.cases if before else ()) - set(attempt.cases)
        return f"there was {', '.join(sorted(gone))} until its files changed" if gone else ""

    def _done(self, outcome: Outcome, more: str) -> None:
        if outcome.existing:
            self.result.again += 1
        else:
            self.result.done += 1
            self.unreported = True
        note = "; ".join(filter(None, (outcome.note, more)))
        self.listener.outcome(replace(outcome, note=note))

    def _fail(self, error: InputError) -> None:
        self.result.failed.append(error)
        self.listener.error(error)


def results(out: Path, facts: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each case of the same models with its `detections.json`, sorted by name.

    Args:
        out: folder of the outputs.
        facts: of the models.
    """
    for path in sorted(out.glob("[!.]*/detections.json")):  # not what a killed run left half
        try:
            content = json.loads(path.read_bytes())
            if all(content.get(key) == facts.get(key) for key in DECISIVE):
                yield path.parent.name, content
        except (OSError, ValueError, AttributeError):  # not written by detect
            continue
