"""The one poller of scheduled events on a VM: it turns Azure's notice into a file that every slot watches.

One poller, since the metadata service allows 5 requests a second and every slot would ask once a second.

What counts: events that name this VM, since all VMs of a placement group are told of each other's. Preempt and
Terminate take the VM away; Redeploy and Reboot take its memory, and the jobs use their 15 minutes of notice better on
other VMs; Freeze is a pause, which the fence survives.

No event is acknowledged. To do so lets it happen at once, for all VMs that it names, and a commit wants each second.
"""

import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.contract.errors import MetadataUnavailable
from worker.contract.log import Logger
from worker.contract.runtime import Event, Runtime
from worker.vm.files import Notice, read_notice, write_file
from worker.vm.metadata import Imds

WATCHED: Final = ("Preempt", "Terminate", "Redeploy", "Reboot")
"""Event types that end what runs on a VM, the most urgent first."""
POLL_S: Final = 1.0
"""Not scaled with the protocol's durations: the notice is Azure's, and 30 s long."""
FIRST_ANSWER_S: Final = 120.0
"""The first call enables the service, and may take two minutes."""
ANSWER_S: Final = 5.0
THROTTLED_S: Final = 5.0


class ScheduledEvent(BaseModel):
    """An event as Azure announces it."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(alias="EventId")
    type: str = Field(alias="EventType")
    resources: tuple[str, ...] = Field(default=(), alias="Resources")
    not_before: str = Field(default="", alias="NotBefore")
    """Empty once it has begun."""


class EventPoller:
    """Polls for as long as the VM lives."""

    def __init__(self, service: Imds, vm: str, notice: Path, runtime: Runtime, log: Logger) -> None:
        self._imds = service
        self._vm = vm
        self._notice = notice
        self._runtime = runtime
        self._log = log.bind(vm=vm)
        self._answered = False
        self._failing = ""
        self._unreadable = ""

    def run(self, stop: Event) -> None:
        """Poll every second until `stop` is set."""
        while not stop.is_set():
            began_s = self._runtime.monotonic()
            pause_s = self.poll()
            spent_s = self._runtime.monotonic() - began_s
            self._runtime.wait(stop, max(0.0, pause_s - spent_s))

    def poll(self) -> float:
        """Ask once, and write the notice where there is one to give. Returns seconds from this poll to the next."""
        try:
            document = self._imds.get(
                "/metadata/scheduledevents", "2020-07-01", ANSWER_S if self._answered else FIRST_ANSWER_S
            )
            events = list(self._read(document))
        except MetadataUnavailable as error:
            # The service comes and goes (410 while it is updated, 429, 500): said once, then asked again.
            if str(error) != self._failing:
                self._log.warning("events.unavailable", problem=str(error))
                self._failing = str(error)
            return THROTTLED_S if error.status == http.client.TOO_MANY_REQUESTS else POLL_S
        if self._failing or not self._answered:
            self._log.info("events.watched")
        self._answered, self._failing = True, ""
        event = concerning(events, self._vm)
        if event:
            self._give_notice(event)
        return POLL_S

    def _read(self, document: Any) -> Iterator[ScheduledEvent]:
        entries = document.get("Events") if isinstance(document, dict) else None
        if not isinstance(entries, list):
            raise MetadataUnavailable("The document of scheduled events has no list of events.")
        for entry in entries:
            try:
                yield ScheduledEvent.model_validate(entry)
            except ValidationError as error:
                # The others still count.
                if repr(entry) != self._unreadable:
                    self._log.warning("events.unreadable", entry=repr(entry), problem=str(error))
                self._unreadable = repr(entry)

    def _give_notice(self, event: ScheduledEvent) -> None:
        if read_notice(self._notice):
            return
        notice = Notice(type=event.type, event_id=event.id, not_before=event.not_before, seen=self._runtime.utc())
        write_file(self._notice, notice)
        self._log.warning("vm.notice", type=event.type, not_before=event.not_before, event_id=event.id)


def concerning(events: list[ScheduledEvent], vm: str) -> ScheduledEvent | None:
    """Return the most urgent event that ends what runs on `vm`, or None."""
    mine = [
        event
        for event in events
        if event.type in WATCHED and vm.casefold() in (resource.casefold() for resource in event.resources)
    ]
    return min(mine, key=lambda event: WATCHED.index(event.type), default=None)
