"""The real cloud-init with the custom data of the template: a bare machine becomes a worker, or ends itself."""

import pytest

from producer.emulator.nspawn.cloud import real_names
from tests.machines.boot import Ended, Started
from tests.machines.machine import CONFIGURATION

pytestmark = pytest.mark.timeout(900)


def test_a_bare_machine_ends_up_training_a_job_from_the_published_release(started: Started, straight: str) -> None:
    (attempt,) = started.manifest.attempts
    assert (started.manifest.status, attempt.release) == ("done", started.release)
    assert started.manifest.step == CONFIGURATION.timesteps
    assert started.digest == straight


def test_cloud_init_has_no_complaint(started: Started) -> None:
    assert started.cloud_init["status"] == "done"
    assert started.cloud_init["errors"] == []


def test_each_physical_core_has_its_slot(started: Started) -> None:
    assert started.units == [f"sweep-worker@{core}.service" for core in started.cores]


def test_once_a_worker_is_ready_the_dead_mans_switch_is_off(started: Started) -> None:
    assert started.deadman == "inactive"


def test_it_was_as_bare_as_ubuntu(started: Started) -> None:
    """No ensurepip, no way to any index of packages, and every name leads to the emulator."""
    assert started.ensurepip == "ModuleNotFoundError: No module named 'ensurepip'"
    assert started.routes == ""
    assert all(name in started.hosts for name in real_names(started.target))


def test_with_a_release_that_was_changed_after_it_was_published_a_machine_deletes_itself(ended: Ended) -> None:
    assert ended.capacity == 0
    assert "requirements.txt of release" in ended.log
    assert "is not what was published" in ended.log


def test_it_leaves_what_a_person_needs_to_find_out_why(ended: Ended) -> None:
    for title in ("journal of tranquility-bootstrap.service", "/var/log/cloud-init.log", "cloud-init-output.log"):
        assert title in ended.log
    assert "Datasource DataSourceNoCloud" in ended.log
