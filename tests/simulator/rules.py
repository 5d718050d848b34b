"""The rules of docs/protocol.md, held against everything that is carried out, in the order in which it happens."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from producer.fleet.look import ScaleSetState
from tests.fakes.storage import MemoryBlobs
from tests.simulator.known import (
    NEVER,
    Entry,
    Key,
    KnownManifest,
    KnownMessage,
    KnownSweep,
    KnownSweeps,
    covers,
    named,
)
from tests.simulator.network import ATTEMPTS, LATE_S, TIMEOUT_S, Client
from tests.simulator.trainer import digest_of
from worker.contract import names
from worker.contract.base import SCHEMA_VERSION, canonical_json, sha256_hex
from worker.contract.manifest import TERMINAL

LATEST_S: Final = 1.0 + LATE_S + ATTEMPTS * TIMEOUT_S
"""How old a count may be by which a VM leaves."""


class Machines(Protocol):
    """What the rules ask of the machines."""

    def works(self, vm: str) -> str:
        """Return what a living, unimpaired slot of this VM works on; empty where none does."""

    def all_names(self) -> Sequence[str]:
        """Return the names of all machines that live."""


class Rules:
    """The witness. What is against a rule goes to `broken`, the rest of the history to `history`."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self.history: list[Entry] = []
        self.broken: list[str] = []
        self.blobs: MemoryBlobs | None = None
        self.machines: Machines | None = None
        self.healthy: Callable[[str], bool] = lambda _job: True
        self.manifests: dict[Key, KnownManifest] = {}
        self.claimants: dict[str, Client] = {}
        """Nonce → who wrote it first."""
        self.messages: dict[str, KnownMessage] = {}
        self.clients: list[Client] = []
        self.undisturbed = False
        """Whether nothing goes wrong in this run: then no message is delivered twice."""
        self._empty_s = 0.0
        """When the queue was last empty."""
        self._flags: dict[str, float] = {}
        """VM → since when a flag of it stands."""
        self._terminal_s: dict[Key, float] = {}
        self._other_gone_s: dict[Key, float] = {}
        self._sweeps = KnownSweeps(now_s)
        self.done = 0
        self.visibility_timeout_s = 0.0

    # ---- the history -----------------------------------------------------------------------------------------------

    def tell(self, who: str, what: str) -> None:
        """Add to the history."""
        self.history.append(Entry(self._now_s(), who, what))

    def breaks(self, who: str, what: str) -> None:
        """Something happened that never may."""
        self.tell(who, f"!!! {what}")
        self.broken.append(f"at {self._now_s():.3f} s, {who}: {what}")

    # ---- blobs -----------------------------------------------------------------------------------------------------

    def blob_put(self, client: Client, container: str, name: str, body: bytes) -> None:
        """A blob was written."""
        self.tell(client.name, f"put {container}/{name} ({len(body)} B)")
        if container == names.CHECKPOINTS:
            self._check_overwritten(client, container, name, body)
        if container == names.CONTROL and name.startswith((names.DRAIN, names.RETIRE)):
            self._flags.setdefault(name, self._now_s())
        if container != names.SWEEPS:
            return
        sweep, _, rest = name.partition("/")
        kind, _, job = rest.partition("/")
        if kind == "manifests":
            self._manifest_put(client, (sweep, job), json.loads(body))
        elif kind == "plan.json":
            self._sweeps.plan_put(sweep, json.loads(body))
        elif kind == "hold":
            self._sweeps.hold_put(sweep, json.loads(body))
        elif kind == "results":
            self._check_overwritten(client, container, name, body)

    def blob_deleted(self, client: Client, container: str, name: str) -> None:
        """A blob that was there is gone."""
        self.tell(client.name, f"delete {container}/{name}")
        if container == names.CONTROL:
            self._flags.pop(name, None)
        if container not in {names.SWEEPS, names.CHECKPOINTS}:
            return
        sweep, _, rest = name.partition("/")
        kind, _, job = rest.partition("/")
        if container == names.CHECKPOINTS:
            self._check_unnamed(client, (sweep, kind), container, name)
        elif kind == "manifests":
            self._forget_manifest(client, (sweep, job))
        elif kind == "plan.json":
            self._sweeps.plan_gone(sweep)
        elif kind == "hold":
            self._sweeps.hold_put(sweep, None)
        elif kind == "results":
            self._check_unnamed(client, (sweep, job.partition("/")[0]), container, name)

    def _check_overwritten(self, client: Client, container: str, name: str, body: bytes) -> None:
        parts = name.split("/")
        sweep, job = parts[0], parts[1 if container == names.CHECKPOINTS else 2]
        known = self.manifests.get((sweep, job))
        reference = known.named.get((container, name)) if known else None
        if reference is not None and reference != (len(body), sha256_hex(body)):
            self.breaks(client.name, f"overwrote {name}, which the manifest names, with something else")

    def _check_unnamed(self, client: Client, key: Key, container: str, name: str) -> None:
        known = self.manifests.get(key)
        if known is None or (container, name) not in known.named:
            return
        if known.status == "done" and container == names.CHECKPOINTS:
            return
        sweep = self._sweeps.known.get(key[0])
        if sweep is not None and sweep.no_plan_s == float("inf"):
            return
        self.breaks(client.name, f"deleted {name}, which the {known.status} manifest names")

    # ---- manifests -------------------------------------------------------------------------------------------------

    def _manifest_put(self, client: Client, key: Key, content: Mapping[str, Any]) -> None:
        before = self.manifests.get(key)
        after = KnownManifest(
            content=content,
            nonce=content["nonce"],
            epoch=content["epoch"],
            status=content["status"],
            step=content["step"],
            named=named(content),
            written_s=self._now_s(),
        )
        self.tell(
            client.name, f"    = {after.status}, epoch {after.epoch}, nonce {after.nonce[-6:]}, step {after.step}"
        )
        self.manifests[key] = after
        writer = self.claimants.setdefault(after.nonce, client)
        if before is None or after.nonce != before.nonce:
            self._check_claim(client, key, before, after)
        if before is not None:
            self._check_transition(client, writer, key, before, after)
        elif after.epoch != 1:
            self.breaks(client.name, f"wrote epoch {after.epoch} where no manifest was")
        self._check_named_blobs(client, key, before, after)
        self._check_end(client, key, before, after)
        if after.status in TERMINAL:
            self._terminal_s[key] = float("inf")
        elif self._terminal_s.get(key) == float("inf"):
            self._terminal_s[key] = self._now_s()

    def _check_claim(self, client: Client, key: Key, before: KnownManifest | None, after: KnownManifest) -> None:
        who, job = client.name, key[1]
        if before is not None and before.status == "running" and before.content["worker"] != who:
            age_s = self._now_s() - before.written_s
            if age_s < self.visibility_timeout_s:
                self.breaks(who, f"took {job} from {before.content['worker']}, who wrote {age_s:.3f} s ago")
        message_id = after.content["message_id"]
        if after.status != "running" or message_id not in self.messages:
            return
        received_s = client.received_s[message_id]
        if self.flagged_before(who.rpartition("/")[0], received_s):
            self.breaks(who, f"claimed {job} on a VM that was flagged before it received the message")
        sweep = self._sweeps.known.get(key[0])
        if sweep and covers(sweep.hold, job) and sweep.hold_since_s < received_s:
            self.breaks(who, f"claimed {job}, which was on hold before the message was received")

    def flagged_before(self, vm: str, at_s: float) -> bool:
        """Return whether a flag of this VM stands since before then: who received a message then claims nothing."""
        return any(self._flags.get(flag, float("inf")) < at_s for flag in (names.drain(vm), names.retire(vm)))

    def _check_transition(
        self, client: Client, writer: Client, key: Key, before: KnownManifest, after: KnownManifest
    ) -> None:
        who, job = client.name, key[1]
        if after.nonce != before.nonce:
            if after.epoch != before.epoch + 1:
                self.breaks(who, f"claimed {job} with epoch {after.epoch} after {before.epoch}")
            if before.status in TERMINAL and (after.status != "planned" or before.status == "done"):
                self.breaks(who, f"overwrote the terminal record of {job}: {before.status} with {after.status}")
        else:
            if after.epoch != before.epoch:
                self.breaks(who, f"changed the epoch of its claim of {job} from {before.epoch} to {after.epoch}")
            if before.status in TERMINAL | {"released"} and after.status != before.status:
                self.breaks(who, f"wrote {after.status} over the {before.status} manifest of {job}, by the same claim")
            if writer is not client and not (client.kind == "vm" and after.status in TERMINAL | {"released"}):
                self.breaks(who, f"wrote by the claim of {writer.name}")
        if after.step < before.step:
            self.breaks(who, f"the step of {job} went back from {before.step} to {after.step}")

    def _check_named_blobs(self, client: Client, key: Key, before: KnownManifest | None, after: KnownManifest) -> None:
        assert self.blobs is not None
        known = before.named if before else {}
        for (container, name), (length, digest) in after.named.items():
            if (container, name) in known or (after.status == "done" and container == names.CHECKPOINTS):
                continue
            found = self.blobs.get(container, name)
            if found is None or len(found.body) != length or sha256_hex(found.body) != digest:
                self.breaks(client.name, f"the manifest of {key[1]} names {name}, which is not there or is another")

    def _check_end(self, client: Client, key: Key, before: KnownManifest | None, after: KnownManifest) -> None:
        if before is not None and before.status == after.status:
            return
        if after.status in {"poisoned", "failed"} and self.healthy(key[1]):
            self.breaks(
                client.name, f"the healthy job {key[1]} is {after.status}: {after.content['outcome']['reason']}"
            )
        if after.status == "done":
            self.done += 1
            self._check_result(client, key, after)

    def _check_result(self, client: Client, key: Key, after: KnownManifest) -> None:
        assert self.blobs is not None
        reference = after.content["outcome"]["result"]
        found = self.blobs.get(names.SWEEPS, reference["name"])
        if found is None:
            return  # said already
        result = json.loads(found.body)
        expected = digest_of(canonical_json(after.content["job"]).decode(), result["fingerprint"]["cpu"])
        if after.content["exact"] and result["state_digest"] != expected:
            self.breaks(client.name, f"the result of {key[1]} differs from that of a straight run")

    def _forget_manifest(self, client: Client, key: Key) -> None:
        known = self.manifests.pop(key, None)
        sweep = self._sweeps.known.get(key[0])
        if sweep is None or sweep.no_plan_s != float("inf"):
            self.breaks(client.name, f"deleted the manifest of {key[1]}, whose sweep is planned")
        if known is not None and self._terminal_s.get(key) == float("inf"):
            self._terminal_s[key] = self._now_s()

    # ---- plans and holds -------------------------------------------------------------------------------------------

    def _excuse(self, key: Key, since_s: float) -> str:
        """Return what made the deletion of a message right at some time since then; empty where nothing did."""
        name, job = key
        sweep = self._sweeps.known.get(name, KnownSweep())
        if self._terminal_s.get(key, NEVER) >= since_s:
            return "it had ended"
        if sweep.no_plan_s >= since_s or sweep.unplanned_s.get(job, NEVER) >= since_s or job not in sweep.planned:
            return "no plan named it"
        if not job:
            return "it is no job"
        if covers(sweep.hold, job):
            return "it is on hold"
        if max(sweep.held_s.get("", NEVER), sweep.held_s.get(job, NEVER)) >= since_s:
            return "it was on hold"
        if any(message.key == key for message in self.messages.values()):
            return "it has another message"
        if self._other_gone_s.get(key, NEVER) >= since_s:
            return "it had another message"
        return ""

    # ---- messages --------------------------------------------------------------------------------------------------

    def message_sent(self, client: Client, message_id: str, text: str) -> None:
        """A message was put."""
        try:
            content = json.loads(text)
            key = (content["sweep"], content["id"]) if content["schema_version"] == SCHEMA_VERSION else ("", "")
        except (ValueError, KeyError):
            key = ("", "")
        self.messages[message_id] = KnownMessage(key, self._now_s())
        self.tell(client.name, f"send {message_id} for {'/'.join(key)}")

    def message_received(self, client: Client, message_id: str) -> None:
        """A message was received: whoever had it before has it no more."""
        message = self.messages[message_id]
        message.received_s = self._now_s()
        message.deliveries += 1
        if self.undisturbed and message.deliveries > 1:
            self.breaks(client.name, f"received {message_id} again, though nothing had gone wrong")
        for other in self.clients:
            other.holds.discard(message_id)
        client.holds.add(message_id)
        client.received_s[message_id] = self._now_s()
        self.tell(client.name, f"receive {message_id} ({self.messages[message_id].key[1]})")

    def message_renewed(self, client: Client, message_id: str, seconds: float) -> None:
        """A message was hidden for longer, or given back."""
        self.tell(client.name, f"hide {message_id} for {seconds:.3f} s")
        if seconds != self.visibility_timeout_s:  # a renewal is for all of it
            client.holds.discard(message_id)

    def message_deleted(self, client: Client, message_id: str) -> None:
        """A message was deleted."""
        message = self.messages.pop(message_id)
        self.forget_message(message_id)
        client.holds.discard(message_id)
        since_s = client.since_s if client.kind == "laptop" else message.received_s
        if self._runs_by(message.key, message_id):
            self.breaks(client.name, f"deleted {message_id}, by which {message.key[1]} runs")
        excuse = self._excuse(message.key, since_s)
        self._other_gone_s[message.key] = self._now_s()
        self.tell(client.name, f"delete message {message_id} ({message.key[1]}): {excuse}")
        if not excuse:
            self.breaks(client.name, f"deleted the message of {message.key[1]}, which has not ended")

    def _runs_by(self, key: Key, message_id: str) -> bool:
        known, sweep = self.manifests.get(key), self._sweeps.known.get(key[0])
        planned = sweep is not None and sweep.no_plan_s != float("inf")
        return planned and known is not None and (known.status, known.content["message_id"]) == ("running", message_id)

    def forget_message(self, message_id: str) -> None:
        """A message is gone."""
        self.messages.pop(message_id, None)
        if not self.messages:
            self._empty_s = self._now_s()

    # ---- the set ---------------------------------------------------------------------------------------------------

    def before_deletion(self, client: Client, vms: Sequence[str]) -> None:
        """Instances are about to be deleted by name."""
        self.tell(client.name, f"delete instances {', '.join(vms)}")
        assert self.machines is not None
        vms = [vm for vm in vms if vm in self.machines.all_names()]
        if not vms:
            return  # a request that comes late: an instance's name is never given again
        retires = client.kind == "vm" and names.drain(vms[0]) not in self._flags
        if retires and self.messages and self._now_s() - self._empty_s > LATEST_S:
            self.breaks(client.name, f"retires, and the queue was not empty for {self._now_s() - self._empty_s:.1f} s")
        self._check_idle(client, vms)

    def before_patch(self, client: Client, state: ScaleSetState, capacity: int) -> None:
        """The capacity is about to be set."""
        self.tell(client.name, f"set the capacity from {state.capacity} to {capacity}")
        if capacity < state.capacity:
            if capacity:
                self.breaks(client.name, f"lowered the capacity from {state.capacity} to {capacity}")
            self._check_idle(client, [instance.name for instance in state.instances])

    def _check_idle(self, client: Client, vms: Sequence[str]) -> None:
        assert self.machines is not None
        for vm in vms:
            works_on = self.machines.works(vm)
            if works_on:
                self.breaks(client.name, f"deletes {vm}, which works on {works_on}")

    # ---- the end ---------------------------------------------------------------------------------------------------

    def left_to_do(self) -> list[str]:
        """Return the planned jobs that have not ended."""
        left = []
        for name, sweep in self._sweeps.known.items():
            for job in sorted(sweep.planned):
                known = self.manifests.get((name, job))
                if known is None or known.status not in TERMINAL:
                    left.append(f"{name}/{job} is {known.status if known else 'planned'}")
        return left

    def log(self, who: str, event: str, fields: Mapping[str, object]) -> None:
        """A process logged something."""
        self.tell(who, f"· {event} {' '.join(f'{key}={value}' for key, value in fields.items())}")
        if event in {"checkpoint.corrupt", "checkpoint.lost"}:
            self.breaks(who, f"{event}, and nothing ever damaged a checkpoint")
