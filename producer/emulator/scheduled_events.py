"""The scheduled events of one set: a document that every VM of it reads, whomever the events are for."""

import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from random import Random
from typing import Any


@dataclass(frozen=True)
class ScheduledEvent:
    """One event. `not_before` is None once it has started."""

    event_id: str
    event_type: str
    resources: tuple[str, ...]
    not_before: datetime | None
    source: str
    duration_s: int

    def document(self) -> dict[str, Any]:
        """As instance metadata shows it."""
        scheduled = self.not_before
        return {
            "EventId": self.event_id,
            "EventStatus": "Started" if scheduled is None else "Scheduled",
            "EventType": self.event_type,
            "ResourceType": "VirtualMachine",
            "Resources": list(self.resources),
            "NotBefore": "" if scheduled is None else format_datetime(scheduled.astimezone(UTC), usegmt=True),
            "Description": "",
            "EventSource": self.source,
            "DurationInSeconds": self.duration_s,
        }


class ScheduledEvents:
    """The events that are announced or under way, and the incarnation that counts every change of them.

    Not thread-safe: the model of the set owns it and its lock.
    """

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._events: dict[str, ScheduledEvent] = {}
        self._incarnation = 1

    def announce(
        self,
        event_type: str,
        resources: tuple[str, ...],
        not_before: datetime,
        source: str = "Platform",
        duration: int = -1,
    ) -> ScheduledEvent:
        """Publish an event (Preempt, Freeze, Reboot, Redeploy, Terminate)."""
        event_id = str(uuid.UUID(int=self._chance.getrandbits(128), version=4)).upper()
        event = ScheduledEvent(event_id, event_type, resources, not_before, source, duration)
        self._events[event_id] = event
        self._incarnation += 1
        return event

    def start(self, event_id: str) -> None:
        """It happens now. An event that is over, or has started, stays as it is."""
        event = self._events.get(event_id)
        if event is not None and event.not_before is not None:
            self._events[event_id] = replace(event, not_before=None)
            self._incarnation += 1

    def finish(self, event_id: str) -> None:
        """It is over and vanishes from the document."""
        if self._events.pop(event_id, None) is not None:
            self._incarnation += 1

    def get(self, event_id: str) -> ScheduledEvent | None:
        """The event, unless it is over."""
        return self._events.get(event_id)

    def for_vm(self, vm: str, event_type: str) -> ScheduledEvent | None:
        """The event of this type that names `vm`."""
        matching = (
            event for event in self._events.values() if event.event_type == event_type and vm in event.resources
        )
        return next(matching, None)

    def document(self) -> dict[str, Any]:
        """What every VM of the set reads."""
        return {
            "DocumentIncarnation": self._incarnation,
            "Events": [event.document() for event in self._events.values()],
        }
