"""Curves for other tools: TensorBoard event files and one long CSV."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO

from producer.results.logs import LogReader
from producer.results.parts import (
    ResultDamaged,
    folders,
    read_outcome,
    read_part,
    read_result,
    side_by_side,
    write_whole,
)
from producer.results.progress import ALIVE, JobProgress, SweepProgress
from producer.words import label_keys, set_label
from worker.contract.errors import InputError
from worker.contract.log import MEASURED
from worker.contract.manifest import Outcome
from worker.contract.records import BlobStore

FILE_VERSION = "brain.Event:2"
MARK = ".tranquility."
"""In the names of our event files, before what tells one result of a job from another."""


@dataclass(frozen=True, slots=True)
class CurveRow:
    """One line of a curve: what was measured at `step`."""

    step: int
    values: Mapping[str, float]


def parse_curve(body: bytes) -> tuple[CurveRow, ...]:
    """Return the rows of a curve.csv. Raises ResultDamaged where it is none."""
    try:
        reader = csv.DictReader(io.StringIO(body.decode()))
        return tuple(
            CurveRow(int(line.pop("step")), {key: float(value) for key, value in line.items() if value})
            for line in reader
        )
    except (KeyError, ValueError, TypeError) as error:
        raise ResultDamaged(f"A curve.csv cannot be read: {error}.") from error


# ---- TensorBoard -----------------------------------------------------------------------------------------------------


def event_file(rows: Sequence[CurveRow], times: Callable[[int], float]) -> bytes:
    """Return curve rows as a TensorBoard event file; `times` says when a step was made, in Unix seconds.

    Raises InputError where the extra is not installed.
    """
    buffer = io.BytesIO()
    writer = _EventWriter(buffer, times(0))
    for row in rows:
        writer.write(row, times(row.step))
    return buffer.getvalue()


class _EventWriter:
    """Writes scalars in TensorBoard's record format."""

    def __init__(self, file: IO[bytes], now_s: float) -> None:
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError as error:
            raise InputError("Event files need TensorBoard: pip install 'tranquility[tensorboard]'.") from error
        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._records = RecordWriter(file)
        self._records.write(self._event(wall_time=now_s, file_version=FILE_VERSION).SerializeToString())

    def write(self, row: CurveRow, now_s: float) -> None:
        values = [self._summary.Value(tag=key, simple_value=value) for key, value in row.values.items()]
        event = self._event(wall_time=now_s, step=row.step, summary=self._summary(value=values))
        self._records.write(event.SerializeToString())

    def flush(self) -> None:
        self._records.flush()


@dataclass
class _Live:
    """The event file of a running job, and how far it is."""

    file: IO[bytes]
    writer: _EventWriter
    logs: LogReader
    last_step: int = -1


@dataclass
class TensorBoardExport:
    """Keeps a folder of event files in step with a sweep, one run a job.

    A finished job's curve is written once. Of running jobs, whose curves are not published yet, every call of `update`
    adds what their logs have measured by then, and `live/…` scalars; that file goes when the job is done.
    """

    blobs: BlobStore
    folder: Path
    now: Callable[[], float]
    """Unix seconds."""
    problems: list[str] = field(default_factory=list)
    _live: dict[str, _Live] = field(default_factory=dict)

    def update(self, sweep: SweepProgress, *, live: bool = False) -> int:
        """Bring the folder up to date and return how many curves were written. Raises StorageError, InputError."""
        where = folders(sweep)
        written: list[str] = []

        def finished(job: JobProgress) -> None:
            try:
                if self._write_curve(sweep.sweep, job, self.folder / where(job)):
                    written.append(job.id)
            except ResultDamaged as error:
                if error.detail not in self.problems:
                    self.problems.append(error.detail)

        side_by_side(finished, [job for job in sweep.jobs if job.state == "done"])
        if live:
            for job in sweep.jobs:
                if job.state in ALIVE and job.latest_return is not None:
                    self._add_live(sweep.sweep, job, self.folder / where(job))
        return len(written)

    def close(self) -> None:
        """Close the files of running jobs."""
        for live in self._live.values():
            live.file.close()
        self._live.clear()

    def _write_curve(self, sweep: str, job: JobProgress, folder: Path) -> bool:
        outcome = read_outcome(self.blobs, sweep, job.id)
        digest = outcome.curve.sha256[:12] if outcome.curve else ""
        path = folder / f"events.out.tfevents.0{MARK}{job.id}.{digest}"
        if path.exists():
            return False
        body = event_file(parse_curve(read_part(self.blobs, job.id, outcome.curve)), self._times(job, outcome))
        for older in folder.glob(f"events.out.tfevents.0{MARK}{job.id}.*"):
            older.unlink()  # of a run before `retry`: its points would mix with the new ones
        write_whole(path, body)
        live = self._live.pop(job.id, None)
        if live is not None:
            live.file.close()
        (folder / _live_name(job)).unlink(missing_ok=True)  # the same points, with less precision
        return True

    def _times(self, job: JobProgress, outcome: Outcome) -> Callable[[int], float]:
        """Spread the run evenly over its time: a curve has steps and no clock, so that a resume leaves no trace."""
        result = read_result(self.blobs, job.id, outcome)
        started = datetime.fromisoformat(result.attempts[0].started).timestamp()
        pace = result.seconds / max(1, result.step)
        return lambda step: started + step * pace

    def _add_live(self, sweep: str, job: JobProgress, folder: Path) -> None:
        if job.id not in self._live:
            folder.mkdir(parents=True, exist_ok=True)
            # Appended to, unlike all else: TensorBoard follows a file that grows.
            file: IO[bytes] = (folder / _live_name(job)).open("wb")
            self._live[job.id] = _Live(file, _EventWriter(file, self.now()), LogReader(self.blobs, sweep, job.id))
        live = self._live[job.id]
        if job.reached == live.last_step or job.latest_return is None:
            return
        values = {"live/latest_return": job.latest_return, "live/steps_per_second": job.steps_per_second}
        for row in (*_measured(live.logs), CurveRow(job.reached, values)):
            live.writer.write(row, self.now())
        live.writer.flush()
        live.last_step = job.reached


def _live_name(job: JobProgress) -> str:
    return f"events.out.tfevents.1{MARK}{job.id}.live"


def _measured(logs: LogReader) -> Iterator[CurveRow]:
    """Yield what a job's workers have measured since the last call."""
    for line in logs.new_lines():
        step = line.content.get("step")
        if line.content.get("event") == MEASURED and isinstance(step, int):
            numbers = ((key, value) for key, value in line.content.items() if "/" in key)
            yield CurveRow(step, {key: float(value) for key, value in numbers if isinstance(value, int | float)})


# ---- CSV -------------------------------------------------------------------------------------------------------------


def curves_csv(blobs: BlobStore, sweep: SweepProgress) -> tuple[str, tuple[str, ...]]:
    """Return all finished curves as one CSV, a line a step, and what could not be read."""
    keys = label_keys([planned.differs for planned in sweep.plan.sets[:300]])
    curves: dict[str, tuple[CurveRow, ...]] = {}
    problems: list[str] = []

    def read(job: JobProgress) -> None:
        try:
            curves[job.id] = parse_curve(read_part(blobs, job.id, read_outcome(blobs, sweep.sweep, job.id).curve))
        except ResultDamaged as error:
            problems.append(error.detail)

    done = [job for job in sweep.jobs if job.state == "done"]
    side_by_side(read, done)
    columns = list(dict.fromkeys(key for job in done for row in curves.get(job.id, ()) for key in row.values))
    text = io.StringIO()
    writer = csv.DictWriter(text, ["sweep", "set", "label", "seed", "job", "step", *columns], lineterminator="\n")
    writer.writeheader()
    for line in _lines(sweep, done, curves, keys):
        writer.writerow(line)
    return text.getvalue(), tuple(problems)


def _lines(
    sweep: SweepProgress,
    jobs: Sequence[JobProgress],
    curves: Mapping[str, tuple[CurveRow, ...]],
    keys: Sequence[str],
) -> Iterator[dict[str, object]]:
    for job in jobs:
        label = set_label(sweep.plan.sets[job.set].differs, keys)
        head = {"sweep": sweep.sweep, "set": job.set, "label": label, "seed": job.seed, "job": job.id}
        for row in curves.get(job.id, ()):
            yield {**head, "step": row.step, **row.values}
