"""Stories: what happens in machines while other tests run; each is told once, and all begin at once.

Most of a story is waiting, for a watchdog or for a boot. So they run side by side, and tests look at what was told.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from producer.emulator.nspawn.spec import why_not_here
from producer.emulator.tokens import Identity
from tests.machines import boot as booting
from tests.machines import denied as denying
from tests.machines import drain as draining
from tests.machines import hang as hanging
from tests.machines import life as living
from tests.machines import slow as slowing
from tests.machines.boot import Ended, Started
from tests.machines.denied import Denied
from tests.machines.drain import Drained
from tests.machines.hang import Hung
from tests.machines.life import Life
from tests.machines.machine import OVER, PACE, job
from tests.machines.slow import Slow
from tests.needs import missing
from tests.proof.herd import Herd
from worker.contract.job import Job

STORIES: Final[dict[str, Callable[[Path, Path], Any]]] = {
    "hang": hanging.story,
    "life": living.story,
    "drained": draining.story,
    "denied": denying.story,
    "slow": slowing.story,
    "started": booting.trained,
    "ended": booting.deleted,
}


STRAIGHT: Final = {"straight": job("straight"), "long_straight": job("straight", hanging.TIMESTEPS)}
"""The jobs of the stories, trained in one go."""


def straight_run(wanted: Job, folder: Path, identity: Identity) -> str:
    """Train a job of the stories on this machine; return its digest."""
    with Herd(folder, identity, PACE) as herd:
        return herd.straight(wanted)


@pytest.fixture(scope="session")
def told(
    request: pytest.FixtureRequest, azurite_home: Path, identity: Identity, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Any]]]:
    """The stories that are wanted by the tests of this run."""
    reason = why_not_here()
    if reason:
        missing(reason)
    wanted = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    with ThreadPoolExecutor(len(STORIES) + len(STRAIGHT)) as threads:
        begun = {
            name: threads.submit(story, azurite_home, tmp_path_factory.mktemp(name))
            for name, story in STORIES.items()
            if name in wanted
        }
        begun |= {
            name: threads.submit(straight_run, run, tmp_path_factory.mktemp(name), identity)
            for name, run in STRAIGHT.items()
            if name in wanted
        }
        try:
            yield begun
        finally:
            OVER.set()


@pytest.fixture(scope="session")
def straight(told: dict[str, Future[str]]) -> str:
    """The digest of a run that nothing happened to."""
    return told["straight"].result()


@pytest.fixture(scope="session")
def long_straight(told: dict[str, Future[str]]) -> str:
    """The digest of a long run that nothing happened to."""
    return told["long_straight"].result()


@pytest.fixture(scope="session")
def hang(told: dict[str, Future[dict[str, Hung]]]) -> dict[str, Hung]:
    """What became of jobs whose slots hung."""
    return told["hang"].result()


@pytest.fixture(scope="session")
def life(told: dict[str, Future[Life]]) -> Life:
    """What became of a job to which everything happened."""
    return told["life"].result()


@pytest.fixture(scope="session")
def started(told: dict[str, Future[Started]]) -> Started:
    """What became of a bare machine with a real release."""
    return told["started"].result()


@pytest.fixture(scope="session")
def ended(told: dict[str, Future[Ended]]) -> Ended:
    """What became of a bare machine with a broken one."""
    return told["ended"].result()


@pytest.fixture(scope="session")
def drained(told: dict[str, Future[Drained]]) -> Drained:
    """What became of a VM that was drained while its slot was busy."""
    return told["drained"].result()


@pytest.fixture(scope="session")
def denied(told: dict[str, Future[Denied]]) -> Denied:
    """What became of a VM whose role came late."""
    return told["denied"].result()


@pytest.fixture(scope="session")
def slow(told: dict[str, Future[Slow]]) -> Slow:
    """What became of a job whose restore and final evaluation took long."""
    return told["slow"].result()
