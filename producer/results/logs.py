"""A job's logs: what every claim of it said, in the order of the claims, also on VMs that are gone."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ValidationError

from producer.sweep.plans import sweeps
from producer.words import duration, plural
from worker.contract import names
from worker.contract.errors import InputError, StorageUnavailable
from worker.contract.log import LEFT_OUT
from worker.contract.manifest import Attempt, Manifest
from worker.contract.records import BlobStore
from worker.contract.runtime import Event, Runtime

Level = Literal["debug", "info", "warning", "error"]
LEVELS: dict[str, int] = {"debug": 0, "info": 1, "warning": 2, "error": 3, "critical": 4}
BOUND = frozenset({"event", "level", "timestamp", "sweep", "job", "epoch", "worker"})
"""Keys that stand elsewhere in a printed line, or in the heading of its claim."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a claim's log."""

    epoch: int
    text: str
    """As the worker wrote it: JSON."""
    content: Mapping[str, Any]
    """Empty where the line is not JSON."""

    @property
    def level(self) -> int:
        """Return how much it matters; a line that cannot be read matters most."""
        return LEVELS.get(str(self.content.get("level", "error")), 3)

    @property
    def stands_for(self) -> int:
        """Return how many lines the worker wrote: one, but where it says how many it left out."""
        lines = self.content.get("lines") if self.content.get("event") == LEFT_OUT else 1
        return lines if isinstance(lines, int) else 1


def find_job(blobs: BlobStore, asked: str) -> tuple[str, str]:
    """Return sweep and id of the job that a person means: `JOB`, the beginning of an id, or `SWEEP/JOB`.

    One listing for each sweep. Raises InputError where there is no such job, or more than one.
    """
    sweep, _, prefix = asked.rpartition("/")
    if not prefix:
        raise InputError("Name a job: its id or the beginning of it, as status shows it, or SWEEP/JOB.")
    found = [
        (one, blob.name.removeprefix(names.manifests(one)))
        for one in ([sweep] if sweep else sweeps(blobs))
        for blob in blobs.list(names.SWEEPS, names.manifests(one) + prefix)
    ]
    if len(found) == 1:
        return found[0]
    if not found:
        of = f" of {sweep}" if sweep else ""
        raise InputError(f"No job{of} that a worker ever had begins with {prefix!r}: tranquility status shows them.")
    shown = ", ".join(f"{one}/{job}" for one, job in found[:5])
    raise InputError(f"{len(found)} jobs begin with {prefix!r}: {shown}{' …' if len(found) > 5 else ''}.")


@dataclass
class LogReader:
    """Reads a job's logs, and again what was added."""

    blobs: BlobStore
    sweep: str
    job: str
    _etags: dict[str, str] = field(default_factory=dict)
    _read: dict[str, int] = field(default_factory=dict)

    def new_lines(self) -> Iterator[LogLine]:
        """Yield what was not there at the last call. Raises StorageError."""
        for blob in self.blobs.list(names.SWEEPS, names.logs(self.sweep, self.job)):
            if self._etags.get(blob.name) == blob.etag:
                continue
            found = self.blobs.get(names.SWEEPS, blob.name)
            if found is None:
                continue
            said, read = 0, self._read.get(blob.name, 0)
            for text in found.body.decode(errors="replace").splitlines():
                line = _line(_epoch(blob.name), text)
                said += line.stands_for
                if said > read:
                    yield line
            self._etags[blob.name], self._read[blob.name] = found.etag, said

    def manifest(self) -> Manifest | None:
        """Return the job's manifest; None where it has none, or one that this release cannot read."""
        found = self.blobs.get(names.SWEEPS, names.manifest(self.sweep, self.job))
        try:
            return Manifest.model_validate_json(found.body) if found else None
        except ValidationError:
            return None


def _epoch(name: str) -> int:
    digits = name.rpartition("/")[2].partition("-")[0]
    return int(digits) if digits.isdecimal() else 0


def _line(epoch: int, text: str) -> LogLine:
    try:
        content = json.loads(text)
    except ValueError:
        content = {}
    return LogLine(epoch, text, content if isinstance(content, dict) else {})


def follow(
    reader: LogReader,
    show: Callable[[LogLine], None],
    know: Callable[[Manifest | None], None],
    runtime: Runtime,
    stop: Event,
    *,
    every_s: float = 2.0,
) -> None:
    """Show what is added until the job has ended or `stop` is set. A storage outage is waited out.

    After the end one more look is taken: the last lines of a claim may come up after its manifest.
    """
    ended = False
    while True:
        try:
            manifest = reader.manifest()
            know(manifest)
            for line in reader.new_lines():
                show(line)
        except StorageUnavailable:
            manifest = None
        over, ended = ended, manifest is not None and manifest.terminal
        if over or runtime.wait(stop, every_s):
            return


# ---- in words --------------------------------------------------------------------------------------------------------


def opening(attempt: Attempt) -> str:
    """Return the line above a claim's log: where, and from when."""
    began = f"{_clock(attempt.started)} UTC"
    return f"── attempt {attempt.epoch} on {attempt.worker}, {began}, from step {attempt.from_step:,} ──"


def ending(attempt: Attempt) -> str:
    """Return the line below a claim's log: what ended it."""
    lost = attempt.reached_step - attempt.to_step
    again = f", {plural(lost, 'step')} lost" if lost > 0 else ""
    reason = f" ({attempt.reason})" if attempt.reason else ""
    return f"── {attempt.ended}{reason} at step {attempt.to_step:,} after {duration(attempt.seconds)}{again} ──"


@dataclass
class LogPrinter:
    """Prints lines between the opening and the ending of their claims; claims that left no log are named too."""

    out: Callable[[str], None]
    level: int = 1
    """Lines below it are left out."""
    _attempts: dict[int, Attempt] = field(default_factory=dict)
    _current: int = 0
    _headed: int = 0
    """The claim under whose heading the next line would stand: a line may come up after a later claim has begun."""

    def know(self, manifest: Manifest | None) -> None:
        """Take in what the manifest says of the claims by now."""
        for attempt in manifest.attempts if manifest else ():
            self._attempts[attempt.epoch] = attempt

    def show(self, line: LogLine) -> None:
        """Print a line, after whatever must stand before it."""
        self._advance(line.epoch)
        if line.level >= self.level:
            if line.epoch != self._headed:
                self.out(f"── attempt {line.epoch} {'again' if line.epoch == self._current else 'had also said'} ──")
                self._headed = line.epoch
            self.out(readable(line))

    def finish(self) -> None:
        """Print what ended the last claim."""
        self._advance(max(self._attempts, default=0))
        self._end()

    def _advance(self, epoch: int) -> None:
        for later in sorted({*self._attempts, epoch}):
            if self._current < later <= epoch:
                self._end()
                known = self._attempts.get(later)
                self.out(opening(known) if known else f"── attempt {later} ──")
                self._current = self._headed = later

    def _end(self) -> None:
        attempt = self._attempts.get(self._current)
        if attempt is not None and attempt.ended != "running":
            self.out(ending(attempt))


def readable(line: LogLine) -> str:
    """Return a line for people: time, level, event, and whatever else it holds."""
    if not line.content:
        return line.text
    time = _clock(str(line.content.get("timestamp", "")))
    rest = " ".join(f"{key}={_shown(value)}" for key, value in line.content.items() if key not in BOUND)
    level = str(line.content.get("level", ""))
    return f"{time} {level:<7} {line.content.get('event', '')} {rest}".rstrip()


def _clock(timestamp: str) -> str:
    """Return a UTC time for people, to the second."""
    return timestamp[:19].replace("T", " ")


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return json.dumps(text, ensure_ascii=False) if isinstance(value, str) and " " in text else text
