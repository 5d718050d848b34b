"""Lines of the code as somebody might have written them who did not know why they are as they are."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Mutant:
    """One line (or what belongs together) of one file, changed."""

    name: str
    file: str
    before: str
    """Occurs exactly once."""
    after: str
    tests: tuple[str, ...]
    """Who is to notice, the fastest first."""


MUTANTS: Final[tuple[Mutant, ...]] = (
    # Fence and manifest
    Mutant(
        "no If-Match on a manifest",
        "worker/fence.py",
        "condition = Absent() if etag is None else Unchanged(etag)",
        "condition = None",
        ("tests/worker/test_fence.py",),
    ),
    Mutant(
        "no If-None-Match at a manifest's birth",
        "worker/fence.py",
        "condition = Absent() if etag is None else Unchanged(etag)",
        "condition = None if etag is None else Unchanged(etag)",
        ("tests/worker/test_fence.py",),
    ),
    Mutant(
        "an earlier write of its own is taken for another claim's",
        "worker/decisions.py",
        "    if seen.manifest.nonce != ours.nonce:",
        "    if seen.manifest != ours:",
        ("tests/worker/test_decisions.py", "tests/worker/test_fence.py"),
    ),
    Mutant(
        "the message of a held job is deleted while the job runs",
        "worker/decisions.py",
        "        if manifest.message_id != message_id:",
        "        if hold is not None or manifest.message_id != message_id:",
        ("tests/worker/test_decisions.py",),
    ),
    Mutant(
        "a silent holder of a held job keeps its claim",
        "worker/decisions.py",
        'else End("released", f"the sweep is {hold.kind}")',
        'else Discard(f"the sweep is {hold.kind}")',
        ("tests/worker/test_decisions.py",),
    ),
    Mutant(
        "a claim by a message that others have",
        "worker/job_run.py",
        "    if lease.lost:\n",
        "    if False:\n",
        ("tests/worker/test_outage.py",),
    ),
    Mutant(
        "a claim keeps the nonce before it",
        "worker/decisions.py",
        '            "nonce": nonce,\n            "worker": worker,',
        '            "nonce": before.nonce,\n            "worker": worker,',
        ("tests/worker/test_decisions.py", "tests/worker/test_fence.py"),
    ),
    Mutant(
        "a claim keeps the epoch before it",
        "worker/decisions.py",
        '            "epoch": before.epoch + 1,\n            "nonce": nonce,\n            "worker": worker,',
        '            "epoch": before.epoch,\n            "nonce": nonce,\n            "worker": worker,',
        ("tests/worker/test_decisions.py",),
    ),
    Mutant(
        "names of checkpoints without the nonce",
        "worker/contract/names.py",
        'state-{step:09d}-{nonce}-{serial}"',
        'state-{step:09d}-{serial}"',
        ("tests/worker/test_checkpoint.py",),
    ),
    # Lease and heartbeat
    Mutant(
        "no renewal of the lease",
        "worker/heartbeat.py",
        "            self._lease.renew()",
        "            pass",
        ("tests/worker/test_heartbeat.py",),
    ),
    Mutant(
        "the old pop receipt after a renewal",
        "worker/lease.py",
        "            self._receipt = self._queue.renew(self._receipt, seconds)",
        "            self._queue.renew(self._receipt, seconds)",
        ("tests/worker/test_lease.py",),
    ),
    Mutant(
        "the heartbeat is not joined",
        "worker/heartbeat.py",
        "        self._ended.set()\n        self._task.join()",
        "        self._ended.set()",
        ("tests/worker/test_job_run.py",),
    ),
    Mutant(
        "a trainer that stands still keeps its message",
        "worker/heartbeat.py",
        "        if self._slot.liveness.without_progress_s() > self._slot.durations.visibility_timeout_s:",
        "        if self._slot.liveness.without_progress_s() > 1e9:",
        ("tests/worker/test_heartbeat.py",),
    ),
    Mutant(
        "an outage without end is never given up",
        "worker/heartbeat.py",
        "            if self._claim.age_s() > self._slot.durations.storage_patience_s:",
        "            if self._claim.age_s() > 1e9:",
        ("tests/worker/test_heartbeat.py",),
    ),
    Mutant(
        "the heart beats no manifest",
        "worker/heartbeat.py",
        "        if self._claim.age_s() >= self._slot.durations.manifest_write_s:",
        "        if self._claim.age_s() >= 1e9:",
        ("tests/worker/test_heartbeat.py",),
    ),
    Mutant(
        "an update without a visibility timeout",
        "worker/contract/queue.py",
        "pop_receipt=receipt.pop_receipt, visibility_timeout=ceil(visibility_timeout_s)",
        "pop_receipt=receipt.pop_receipt",
        ("tests/worker/contract/test_queue.py",),
    ),
    Mutant(
        "messages that expire",
        "worker/contract/queue.py",
        "visibility_timeout=0, time_to_live=-1",
        "visibility_timeout=0",
        ("tests/worker/contract/test_queue.py",),
    ),
    # Checkpoint
    Mutant(
        "no check of a blob's hash",
        "worker/checkpoint.py",
        " and sha256_hex(found.body) == blob.sha256:",
        ":",
        ("tests/worker/test_checkpoint.py",),
    ),
    Mutant(
        "a missing blob is corruption, whoever owns the job",
        "worker/checkpoint.py",
        "        if not self._fence.still_mine():",
        "        if False:",
        ("tests/worker/test_checkpoint.py",),
    ),
    Mutant(
        "garbage is everything that was named before",
        "worker/decisions.py",
        "    return named_before - named_after",
        "    return named_before",
        ("tests/worker/test_decisions.py",),
    ),
    Mutant(
        "garbage is collected by listing",
        "worker/committer.py",
        "            self._store.collect(decisions.garbage(before, after))",
        "            self._store.collect_all()",
        ("tests/worker/test_committer.py",),
    ),
    Mutant(
        "only one generation is kept",
        "worker/decisions.py",
        "    kept = (generation,) if base is None else (generation, base)",
        "    kept = (generation,)",
        ("tests/worker/test_decisions.py",),
    ),
    Mutant(
        "no fall-back to the generation before",
        "worker/attempt.py",
        "        for generation in generations:",
        "        for generation in generations[:1]:",
        ("tests/worker/test_checkpoint.py",),
    ),
    # The end of a job
    Mutant(
        "the message is deleted before the end is written",
        "worker/job_run.py",
        "        if change is not None:\n            _write_the_end(",
        "        if change is not None:\n            lease.delete()\n            _write_the_end(",
        ("tests/worker/test_loop.py", "tests/proof/test_faults.py"),
    ),
    Mutant(
        "done leaves its message",
        "worker/job_run.py",
        '        lease.delete()\n        if manifest.status == "done"',
        '        if manifest.status == "done"',
        ("tests/worker/test_loop.py",),
    ),
    Mutant(
        "an eviction counts against the job",
        "worker/decisions.py",
        '    if ended == "storage" or ended in IN_ORDER:',
        "    if False:",
        ("tests/worker/test_decisions.py",),
    ),
    Mutant(
        "the fourth failure poisons",
        "worker/decisions.py",
        "FAILURES_UNTIL_POISON: Final = 3",
        "FAILURES_UNTIL_POISON: Final = 4",
        ("tests/worker/test_decisions.py",),
    ),
    Mutant(
        "a job without a plan is trained",
        "worker/decisions.py",
        "    if not planned:",
        "    if False:",
        ("tests/worker/test_decisions.py",),
    ),
    Mutant(
        "a job that runs elsewhere is claimed",
        "worker/decisions.py",
        "seen.age_s < visibility_timeout_s:\n        # On hold",
        "seen.age_s < 0:\n        # On hold",
        ("tests/worker/test_decisions.py",),
    ),
    Mutant(
        "a hold is not read at a commit",
        "worker/attempt.py",
        'self._job.id) is not None:\n            self.stop.ask("held")',
        "self._job.id) is not None:\n            pass",
        ("tests/worker/test_loop.py",),
    ),
    # The loop
    Mutant(
        "the flags are not read after a receive",
        "worker/loop.py",
        "        flagged = self._is_flagged()",
        "        flagged = self._flagged",
        ("tests/worker/test_loop.py",),
    ),
    Mutant(
        "a drained slot keeps its message",
        "worker/loop.py",
        "            if lease:\n                lease.give_back()\n            return False",
        "            return False",
        ("tests/worker/test_loop.py",),
    ),
    Mutant(
        "what is no job is deleted without a trace",
        "worker/loop.py",
        "            send_to_poison(slot, str(error), message.text, lease.message_id)\n",
        "",
        ("tests/worker/test_loop.py",),
    ),
    Mutant(
        "the watchdog is fed by whoever lives",
        "worker/presence.py",
        "        if self._slot.liveness.without_sign_s() < self._slot.durations.watchdog_s:",
        "        if True:",
        ("tests/worker/test_presence.py",),
    ),
    Mutant(
        "the witness writes over a later claim",
        "worker/vm/witness.py",
        "manifest is None or manifest.nonce != worked_on.nonce or manifest.status",
        "manifest is None or manifest.status",
        ("tests/worker/vm/test_witness.py",),
    ),
    Mutant(
        "events for other VMs evict this one",
        "worker/vm/events.py",
        "        if event.type in WATCHED and vm.casefold() in (resource.casefold() for resource in event.resources)",
        "        if event.type in WATCHED",
        ("tests/worker/vm/test_events.py",),
    ),
    # Bit-exactness
    Mutant(
        "torch's stream is not restored",
        "worker/training/state.py",
        "        torch.set_rng_state(torch.tensor(streams.torch_state))",
        "        torch.tensor(streams.torch_state)",
        ("tests/worker/training/test_state.py",),
    ),
    Mutant(
        "NumPy's stream is not restored",
        "worker/training/state.py",
        "    np.random.set_state(streams.numpy())",
        "    streams.numpy()",
        ("tests/worker/training/test_state.py",),
    ),
    Mutant(
        "the action space's stream is not restored",
        "worker/training/state.py",
        "    streams.head.action_space.put_into(model.action_space.np_random)\n",
        "",
        ("tests/worker/training/test_state.py", "tests/proof/test_cuts.py"),
    ),
    Mutant(
        "the updates made are not restored",
        "worker/training/state.py",
        "    model._n_updates = state.counters.updates",
        "    pass",
        ("tests/worker/training/test_state.py",),
    ),
    Mutant(
        "log_ent_coef is bound anew, and its optimizer holds the old one",
        "worker/training/state.py",
        'model.log_ent_coef.data.copy_(torch.tensor(state.tensors["log_ent_coef"]))',
        'model.log_ent_coef = torch.tensor(state.tensors["log_ent_coef"], requires_grad=True)',
        ("tests/worker/training/test_state.py", "tests/proof/test_cuts.py"),
    ),
    # The set
    Mutant(
        "no pulse before a raise",
        "producer/fleet/scaler.py",
        '            control.pulse(f"{self.session.user} raises the capacity to {capacity}")\n',
        "",
        ("tests/producer/fleet/test_scaler.py",),
    ),
    Mutant(
        "an audit that could not read everything counts as whole",
        "producer/fleet/scaler.py",
        "whole=not found.unread",
        "whole=True",
        ("tests/producer/fleet/test_scaler.py", "tests/producer/sweep/test_audit.py"),
    ),
    Mutant(
        "a mark is believed whatever a killed command has said",
        "producer/sweep/plans.py",
        "    return [blob.name for blob in found] == [names.complete(sweep)]",
        "    return names.complete(sweep) in [blob.name for blob in found]",
        ("tests/producer/sweep/test_audit.py",),
    ),
    Mutant(
        "an instance on its way out counts as part of the capacity",
        "producer/fleet/scaler.py",
        "sum(not instance.deleting for instance in look.state.instances)",
        "len(look.state.instances)",
        ("tests/producer/fleet/test_scaler.py",),
    ),
    Mutant(
        "a report that came in the middle of a look is as old as the look",
        "producer/fleet/memory.py",
        "        if report is not None and report.age_s < policy.durations.dead_after_s:",
        "        if False:",
        ("tests/producer/fleet/test_reconcile.py",),
    ),
    Mutant(
        "an old look is acted by",
        "producer/fleet/scaler.py",
        "        if self.session.runtime.monotonic() - look.read_s > self.session.durations.read_to_write_s:",
        "        if False:",
        ("tests/producer/fleet/test_scaler.py",),
    ),
    Mutant(
        "a VM is deleted before its slots have answered",
        "producer/fleet/reconcile.py",
        "        and (_answered(instance.name, look, memory, policy) or _stands_still(instance, look, policy))\n",
        "",
        ("tests/producer/fleet/test_reconcile.py",),
    ),
    Mutant(
        "a set is drained at the first count of 0",
        "producer/fleet/reconcile.py",
        "    if not look.count and not (memory.zero_confirmed(look, policy) and memory.audited):",
        "    if False:",
        ("tests/producer/fleet/test_reconcile.py",),
    ),
    Mutant(
        "a retiring VM leaves without counting again",
        "worker/vm/retire.py",
        "        if look.count:\n            return LowerRetire()",
        "        if False:\n            return LowerRetire()",
        ("tests/worker/vm/test_retire.py",),
    ),
    Mutant(
        "the audit sends the jobs of a sweep that is being deleted",
        "producer/sweep/audit.py",
        "    if stored is None or stored.plan.deleted:",
        "    if stored is None:",
        ("tests/producer/sweep/test_audit.py", "tests/producer/sweep/test_lifecycle.py"),
    ),
    Mutant(
        "retry writes over whatever is there",
        "producer/sweep/lifecycle.py",
        "after.canonical(), Unchanged(found.etag), after.metadata()",
        "after.canonical(), None, after.metadata()",
        ("tests/producer/sweep/test_lifecycle.py",),
    ),
    Mutant(
        "an enqueue without a wake believes its first look",
        "producer/fleet/scaler.py",
        "began_s + OUTLASTS * durations.read_to_write_s",
        "began_s",
        ("tests/producer/fleet/test_scaler.py",),
    ),
)
