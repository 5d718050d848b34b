"""Enqueue, cancel and audit through the real SDK, from many threads at once."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from azure.core.credentials import TokenCredential

from producer.session import Session
from producer.sweep.audit import audit
from producer.sweep.enqueue import enqueue
from producer.sweep.hold import cancel, pause, resume
from producer.sweep.lifecycle import delete
from producer.sweep.plans import job_statuses, sweeps
from tests.fakes.producing import Storage, plan_of
from worker.contract import names
from worker.contract.azure import blob_service, queue_service
from worker.contract.job import decode
from worker.contract.queue import AzureQueue
from worker.contract.records import AzureBlobs
from worker.contract.runtime import RealRuntime
from worker.contract.settings import Target

PLAN = plan_of(seeds="60")


@pytest.fixture
def session(storage: Target, credential: TokenCredential) -> Iterator[Session]:
    with queue_service(storage, credential) as queues, blob_service(storage, credential) as blobs:
        yield replace(
            Storage().session(),
            target=storage,
            blobs=AzureBlobs(blobs),
            jobs=AzureQueue(queues.get_queue_client(names.JOBS_QUEUE)),
            poison=AzureQueue(queues.get_queue_client(names.POISON_QUEUE)),
            runtime=RealRuntime(),
        )


def test_a_sweep_is_enqueued_paused_resumed_cancelled_and_deleted(session: Session) -> None:
    told: list[tuple[int, int]] = []
    assert enqueue(session, PLAN, lambda _: True, progress=lambda *count: told.append(count)).sent == 60
    assert told[-1] == (60, 60)
    assert session.jobs.count() == 60
    assert enqueue(session, PLAN, lambda _: True).sent == 0
    pause(session, "s")
    assert session.jobs.count() == 0
    assert resume(session, "s").sent == 60
    assert cancel(session, "s").cancelled == 60
    assert session.jobs.count() == 0
    assert {status.status for status in job_statuses(session, "s").values()} == {"cancelled"}
    assert audit(session).resent == 0
    delete(session, "s")
    assert list(sweeps(session.blobs)) == []


def test_messages_never_expire_and_each_job_has_one(
    session: Session, storage: Target, credential: TokenCredential
) -> None:
    enqueue(session, PLAN, lambda _: True)
    with queue_service(storage, credential) as queues:
        seen = queues.get_queue_client(names.JOBS_QUEUE).receive_messages(messages_per_page=32, visibility_timeout=600)
        found = [(decode(str(message.content)).id, message.expires_on) for message in seen]
    assert sorted(job for job, _ in found) == sorted(PLAN.by_id)
    assert {expires.year for _, expires in found if expires} == {9999}
