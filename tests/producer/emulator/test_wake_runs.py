"""The deployed wake on this machine: the emulator's addresses, and a schedule that shrinks with the rest."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from producer.emulator import wake_runs
from producer.emulator.arm import ArmSettings
from producer.emulator.certificates import Certificates
from producer.emulator.deployment import Deployment, deployed
from producer.emulator.errors import EmulatorError
from producer.emulator.fleet import FleetSettings, LocalFleet
from producer.emulator.states import Latencies
from producer.emulator.tokens import TokenAuthority
from producer.emulator.units import InstanceSpec
from producer.emulator.wake_runs import WakeRuns, here
from producer.target.committed import committed_snapshot
from tests.fakes.said import Said
from worker.contract import names
from worker.contract.azure import blob_service, credential, queue_service
from worker.contract.runtime import RealRuntime

PATIENCE_S = 60.0
HERE = {
    "https://management.azure.com": "https://127.0.0.1:1",
    "https://tranqm5c2xujmeihzu.blob.core.windows.net/": "https://127.0.0.1:2/account",
    "https://tranqm5c2xujmeihzu.queue.core.windows.net/": "https://127.0.0.1:3/account",
}


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return deployed(committed_snapshot(), max_instances=2, slots_per_instance=1)


@pytest.fixture
def said() -> Said:
    return Said(PATIENCE_S)


@pytest.fixture
def fleet(
    azurite_home: Path,
    deployment: Deployment,
    said: Said,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[LocalFleet]:
    """A fleet whose wake runs every 1.2 seconds, takes 4 seconds for silence, and whose VMs do nothing at all."""
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "")  # `credential` sets it: put it back afterwards
    monkeypatch.setattr(wake_runs, "PULSE_AGE_MIN_S", 1)
    settings = FleetSettings(Latencies(0.05, 0.05), ArmSettings(throttle_speed=1000), time_scale=0.002)
    idle = InstanceSpec(())
    with LocalFleet(azurite_home, tmp_path, deployment, lambda _: idle, settings, say=said) as running:
        yield running


def test_the_wake_raises_the_set_for_a_queue_and_clears_it_when_nothing_lives(fleet: LocalFleet, said: Said) -> None:
    target = fleet.operator_target
    me = credential(target)
    with queue_service(target, me) as queues, blob_service(target, me) as blobs:
        for _ in range(3):
            queues.get_queue_client(names.JOBS_QUEUE).send_message("a job")
        said.await_one("The wake set the capacity to 2.")
        assert fleet.wait_for(lambda fleet: len(fleet.instances) == 2, PATIENCE_S), "at most 2, of 3 that are needed"
        pulse = blobs.get_blob_client(names.CONTROL, names.PULSE).download_blob().readall()
        assert pulse == b'{"by": "wake"}', "written before the raise"
        said.await_one("The wake set the capacity to 0.")  # nobody else wrote a pulse since
        assert fleet.wait_for(lambda fleet: not fleet.instances, PATIENCE_S)


def test_at_the_pace_of_a_local_fleet_all_times_shrink_together(deployment: Deployment) -> None:
    assert deployment.wake is not None
    wake = here(deployment.wake.workflow, HERE, 0.1)
    assert wake.interval_s == 60
    times = {name: wake.parameters[name] for name in ("freshness_s", "pulseAge_s", "clearDelay_s", "rest_s")}
    assert times == {"freshness_s": 10, "pulseAge_s": 180, "clearDelay_s": 60, "rest_s": 2160}
    assert wake.parameters["scaleSetUri"].startswith("https://127.0.0.1:1/subscriptions/")
    assert wake.parameters["controlUri"] == "https://127.0.0.1:2/account/control"
    assert wake.parameters["countUri"] == "https://127.0.0.1:3/account/jobs?comp=metadata"
    assert here(deployment.wake.workflow, HERE, 1.0).parameters["pulseAge_s"] == 1800


def test_silence_is_never_shorter_than_a_slow_machine_needs_to_boot(deployment: Deployment) -> None:
    assert deployment.wake is not None
    assert here(deployment.wake.workflow, HERE, 0.02).parameters["pulseAge_s"] == wake_runs.PULSE_AGE_MIN_S


def test_a_wake_that_calls_something_else_than_the_target_is_refused(deployment: Deployment) -> None:
    assert deployment.wake is not None
    elsewhere = deployment.wake.workflow.with_parameters(countUri="https://other.queue.core.windows.net/jobs")
    with pytest.raises(EmulatorError, match=r"other\.queue"):
        here(elsewhere, HERE, 0.1)


class Nowhere:
    """A wake whose every address refuses connections."""

    def __init__(self, deployment: Deployment, tokens: TokenAuthority, certificates: Certificates, said: Said) -> None:
        assert deployment.wake is not None
        nobody = here(deployment.wake.workflow, dict.fromkeys(HERE, "https://127.0.0.1:9"), 0.00005)
        wake = replace(deployment.wake, workflow=nobody)
        runtime = RealRuntime()
        self.runs = WakeRuns(wake, tokens, certificates.ca_file, runtime, lambda: datetime.now(UTC), said)
        self.stop = threading.Event()


def test_a_problem_is_told_once_and_the_schedule_goes_on(
    deployment: Deployment, token_authority: TokenAuthority, local_ca: Certificates, said: Said
) -> None:
    nowhere = Nowhere(deployment, token_authority, local_ca, said)
    rounds = []

    def round_over(run: object, world: object, tell: object = nowhere.runs._tell) -> None:
        rounds.append(run)
        assert callable(tell)
        tell(run, world)
        if len(rounds) == 3:
            nowhere.stop.set()

    nowhere.runs._tell = round_over  # type: ignore[method-assign] # counts the runs
    nowhere.runs.run(nowhere.stop)
    (problem,) = said
    assert problem.startswith("A run of the wake failed: ActionFailed: read_set: GET https://127.0.0.1:9/")


def test_a_definition_beyond_the_emulator_is_told_and_not_run_again(
    deployment: Deployment, token_authority: TokenAuthority, local_ca: Certificates, said: Said
) -> None:
    nowhere = Nowhere(deployment, token_authority, local_ca, said)
    wake = nowhere.runs._wake
    foreign = {"actions": {"each": {"type": "Foreach", "inputs": {}}}}
    nowhere.runs._wake = replace(wake, workflow=replace(wake.workflow, definition=foreign))
    nowhere.runs.run(nowhere.stop)
    assert len(said) == 1
    assert "cannot run on this machine" in said[0]
