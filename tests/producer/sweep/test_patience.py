"""A denial is waited out for ten minutes, said once, and then believed."""

import pytest

from producer.sweep.enqueue import enqueue
from producer.sweep.patience import PATIENCE_S, PAUSE_S, patient
from tests.fakes.producing import Gate, InlineRuntime, Storage, plan_of
from worker.contract.errors import AccessDenied

PLAN = plan_of(seeds="[0, 1]")


def test_a_role_that_takes_effect_late_is_waited_for_and_that_is_said_once() -> None:
    storage = Storage()
    said: list[str] = []
    session = storage.session(gate=Gate(denied=20))
    assert enqueue(patient(session, said.append), PLAN, lambda _: True).sent == 2
    assert len(said) == 1
    assert "403 AuthorizationPermissionMismatch" in said[0]
    assert "A new role takes up to 10 minutes to take effect" in said[0]
    assert isinstance(session.runtime, InlineRuntime)
    assert session.runtime.waits == [PAUSE_S] * 20


def test_a_role_that_is_not_there_after_ten_minutes_is_missing() -> None:
    session = Storage().session(gate=Gate(denied=1000))
    with pytest.raises(AccessDenied):
        patient(session, lambda _: None).blobs.get("sweeps", "x")
    assert isinstance(session.runtime, InlineRuntime)
    assert sum(session.runtime.waits) == PATIENCE_S


def test_every_request_is_patient() -> None:
    storage = Storage()
    gate = Gate()
    session = patient(storage.session(gate=gate), lambda _: None)

    def denied_once() -> None:
        gate.denied = 1

    denied_once()
    session.blobs.put("sweeps", "a/b", b"x")
    denied_once()
    assert [blob.name for blob in session.blobs.list("sweeps", "a")] == ["a/b"]
    denied_once()
    assert list(session.blobs.folders("sweeps")) == ["a"]
    denied_once()
    session.blobs.delete("sweeps", "a/b")
    denied_once()
    receipt = session.jobs.send("text")
    denied_once()
    assert session.jobs.count() == 1
    denied_once()
    session.jobs.renew(receipt, 0)
    denied_once()
    message = session.jobs.receive(30)
    assert message is not None
    denied_once()
    session.jobs.delete(message.receipt)
    assert gate.denied == 0
