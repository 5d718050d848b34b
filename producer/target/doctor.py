"""Looks at every part of a target, and changes nothing. What it means is decided by `findings`."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

from producer.fleet.look import Instance
from producer.session import Session
from producer.sweep.hold import find_hold
from producer.sweep.parallel import fan_out
from producer.sweep.plans import is_marked_complete, job_statuses, sweeps
from producer.target.arm_reader import ArmReader
from producer.target.findings import DAY_S, NEAR
from producer.target.limits import SPOT_CORES
from producer.target.release import current_release
from producer.target.symptoms import (
    Orphan,
    Queues,
    Reading,
    SeenControl,
    SeenQuota,
    SeenRelease,
    SeenSet,
    SeenSlot,
    SeenSweep,
    SeenVm,
    SeenWake,
    SilentJob,
    Symptoms,
    WakeRun,
)
from producer.target.tried import DISK_API, LOGIC_API, NETWORK_API, attempts, try_all
from worker.contract import names
from worker.contract.arm import fleet_errors
from worker.contract.errors import AccessDenied, FleetDenied, TranquilityError
from worker.contract.plan import Plan
from worker.contract.plans import find_plan
from worker.contract.resource_types import ADDRESSES, DISKS, INTERFACES, SETS, VMS, WORKFLOWS

COMPUTE_API: Final = "2025-04-01"
RUNS: Final = 20
_UNIT_S: Final[Mapping[str, float]] = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": DAY_S}

T = TypeVar("T")


def examine(session: Session, say: Callable[[str], None] = lambda _: None) -> Symptoms:
    """Look at everything; what cannot be read is part of what is seen. Raises NotSignedIn."""
    arm = ArmReader(session.compute, session.target)
    say("Trying every operation")
    tried = tuple(try_all(attempts(session)))
    say("Looking at the queue and the sweeps")
    before = _reading(lambda: _queues(session))
    found = _reading(lambda: tuple(open_sweeps(session)))
    after = _reading(lambda: _queues(session))
    say("Looking at the scale set and what belongs to it")
    return Symptoms(
        tried=tried,
        # Between the two counts jobs may have ended, or been enqueued: whoever has a message was counted once.
        queues=max(before, after, key=lambda reading: reading.value.jobs if reading.value else -1),
        control=_reading(lambda: _control(session)),
        set=_reading(lambda: _set(session, arm)),
        sweeps=found,
        release=_reading(lambda: _release(session)),
        orphans=_reading(lambda: tuple(_orphans(session, arm))),
        wake=_reading(lambda: _wake(session, arm)) if session.target.wake else Reading(),
        quota=_reading(lambda: _quota(session)),
    )


def _reading(read: Callable[[], T | None]) -> Reading[T]:
    try:
        return Reading(read())
    except TranquilityError as error:
        return Reading(None, str(error), denied=isinstance(error, AccessDenied | FleetDenied))


# ---- storage ---------------------------------------------------------------------------------------------------------


def _queues(session: Session) -> Queues:
    return Queues(session.jobs.count(), session.poison.count())


def _control(session: Session) -> SeenControl:
    control = session.control
    slots = tuple(
        SeenSlot(seen.report.vm, seen.report.slot, seen.age_s, seen.report.release, seen.report.state)
        for seen in control.slots()
    )
    hold, refusal = control.fleet_hold(), control.refusal()
    pulse = session.blobs.get(names.CONTROL, names.PULSE)
    boots = session.blobs.list(names.CONTROL, names.FAILED_BOOTS)
    return SeenControl(
        slots=slots,
        hold=hold.reason if hold else "",
        refusal=refusal.message if refusal else "",
        refusal_age_s=refusal.age_s if refusal else 0.0,
        pulse_age_s=pulse.age_s if pulse else None,
        failed_boots={blob.name.removeprefix(names.FAILED_BOOTS): blob.age_s for blob in boots},
    )


def open_sweeps(session: Session) -> Iterator[SeenSweep]:
    """Yield every sweep that may run and has not ended."""
    for sweep in sweeps(session.blobs):
        if is_marked_complete(session.blobs, sweep):
            continue
        stored = find_plan(session.blobs, sweep)
        if stored is None or stored.plan.deleted:
            continue
        found = find_hold(session, sweep)
        held = found.hold if found is not None else None
        open_jobs = [planned.id for planned in stored.plan.jobs if held is None or not held.covers(planned.id)]
        yield _sweep(session, stored.plan, open_jobs)


def _sweep(session: Session, plan: Plan, jobs: list[str]) -> SeenSweep:
    statuses = job_statuses(session, plan.sweep)
    open_jobs = [job for job in jobs if job not in statuses or not statuses[job].terminal]
    running = {job: statuses[job] for job in open_jobs if job in statuses and statuses[job].status == "running"}
    return SeenSweep(
        sweep=plan.sweep,
        open_jobs=len(open_jobs),
        running=tuple(SilentJob(f"{plan.sweep}/{job[:8]}", one.worker, one.age_s) for job, one in running.items()),
        oldest_checkpoint_s=_oldest_checkpoint_s(session, plan.sweep, [job for job in open_jobs if job in statuses]),
    )


def _oldest_checkpoint_s(session: Session, sweep: str, jobs: list[str]) -> float:
    """Return the age of the oldest checkpoint blob of these jobs.

    Nothing was written before the first message was sent: while that is young, no job is looked at.
    """
    near_s = NEAR * session.target.checkpoint_retention_days * DAY_S
    sent = max((blob.age_s for blob in session.blobs.list(names.SWEEPS, names.sent(sweep, ""))), default=0.0)
    if sent <= near_s:
        return 0.0
    ages: list[float] = []

    def look(job: str) -> None:
        ages.extend(blob.age_s for blob in session.blobs.list(names.CHECKPOINTS, names.checkpoint(sweep, job)))

    fan_out(session.runtime, look, jobs)
    return max(ages, default=0.0)


def _release(session: Session) -> SeenRelease | None:
    found = current_release(session.blobs)
    return SeenRelease(found[0], found[1].version) if found else None


# ---- Azure Resource Manager ------------------------------------------------------------------------------------------


def _set(session: Session, arm: ArmReader) -> SeenSet:
    path = f"{SETS}/{session.target.scale_set}"
    (document,) = arm.get(path, COMPUTE_API).items
    members = {"$filter": f"'virtualMachineScaleSet/id' eq '{document['id']}'", "$expand": "instanceView"}
    listed = arm.list(VMS, COMPUTE_API, members)
    vms = tuple(SeenVm(_instance(vm), _age_s(listed.date, vm["properties"].get("timeCreated"))) for vm in listed.items)
    return SeenSet(int(document["sku"]["capacity"]), vms)


def _instance(vm: Mapping[str, Any]) -> Instance:
    statuses = (vm["properties"].get("instanceView") or {}).get("statuses") or ()
    power = [one["code"] for one in statuses if one["code"].startswith("PowerState/")]
    wrong = [one.get("message", "") for one in statuses if one["code"].startswith("ProvisioningState/failed")]
    return Instance(
        name=vm["name"],
        provisioning=vm["properties"].get("provisioningState", ""),
        power=power[0].removeprefix("PowerState/") if power else "",
        problem=" ".join(wrong).strip(),
    )


def _orphans(session: Session, arm: ArmReader) -> Iterator[Orphan]:
    """Yield what no VM holds any more."""
    for disk in arm.list(DISKS, DISK_API).items:
        if disk["properties"].get("diskState") == "Unattached":
            yield Orphan("disk", disk["name"], _is_ours(session, disk))
    for interface in arm.list(INTERFACES, NETWORK_API).items:
        holders = ("virtualMachine", "privateEndpoint")
        if not any(interface["properties"].get(holder) for holder in holders):
            yield Orphan("interface", interface["name"], _is_ours(session, interface))
    for address in arm.list(ADDRESSES, NETWORK_API).items:
        if not any(address["properties"].get(holder) for holder in ("ipConfiguration", "natGateway")):
            yield Orphan("address", address["name"], _is_ours(session, address))


def _is_ours(session: Session, resource: Mapping[str, Any]) -> bool:
    """Return whether a resource came from the set: by the tag that the set hands on, its name, or its subnet."""
    if (resource.get("tags") or {}).get("application") == "tranquility":
        return True
    subnets = [
        ((ip.get("properties") or {}).get("subnet") or {}).get("id", "")
        for ip in resource["properties"].get("ipConfigurations") or ()
    ]
    prefix = session.target.scale_set.removesuffix("-set")
    ours = f"/virtualNetworks/{prefix}-vnet/subnets/workers"
    return resource["name"].startswith(session.target.scale_set) or any(subnet.endswith(ours) for subnet in subnets)


def _wake(session: Session, arm: ArmReader) -> SeenWake:
    path = f"{WORKFLOWS}/{session.target.wake}"
    workflow = arm.get(path, LOGIC_API)
    properties = workflow.items[0]["properties"]
    (trigger,) = properties["definition"]["triggers"].values()
    every = trigger["recurrence"]
    runs = arm.list(f"{path}/runs", LOGIC_API, {"$top": str(RUNS)})
    changed = properties.get("changedTime") or properties.get("createdTime")
    return SeenWake(
        enabled=properties.get("state") == "Enabled",
        age_s=_age_s(workflow.date, changed),
        interval_s=every["interval"] * _UNIT_S[every["frequency"].lower()],
        runs=tuple(_run(run["properties"], runs.date) for run in runs.items),
    )


def _run(properties: Mapping[str, Any], date: datetime) -> WakeRun:
    error = properties.get("error") or {}
    return WakeRun(
        status=properties["status"],
        age_s=_age_s(date, properties.get("startTime")),
        code=error.get("code") or properties.get("code") or "",
        message=error.get("message", ""),
    )


def _quota(session: Session) -> SeenQuota | None:
    with fleet_errors():
        for usage in session.compute.usage.list(session.target.location):
            if usage.name is not None and usage.name.value == SPOT_CORES:
                return SeenQuota(int(usage.current_value), int(usage.limit))
    return None


def _age_s(date: datetime, moment: str | None) -> float:
    return max(0.0, (date - datetime.fromisoformat(moment)).total_seconds()) if moment else 0.0
