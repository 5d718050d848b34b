"""Row 3, small: workers killed and paused over a real Azurite."""

from collections.abc import Iterator

import pytest
from azure.core.credentials import TokenCredential

from producer.emulator.tokens import Identity
from tests.proof.herd import Herd
from tests.proof.real_processes import DURATIONS, Account, After, kill_at_random, pause_holders, short_jobs
from worker.contract.settings import Target


@pytest.fixture(scope="module")
def herd(identity: Identity, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Herd]:
    with Herd(tmp_path_factory.mktemp("herd"), identity, DURATIONS) as herd:
        yield herd


@pytest.fixture
def account(storage: Target, credential: TokenCredential) -> Account:
    return Account(storage, credential)


def test_workers_killed_at_random_lose_no_job_and_change_no_bit(account: Account, herd: Herd) -> None:
    found = kill_at_random(account, herd, kills=8, jobs_at_once=3, processes=2, seed=1)
    assert (found.lost_or_twice, found.poisoned, found.other_bits) == (0, 0, 0)
    assert found.claims > found.jobs


@pytest.mark.parametrize("after", ["committed", "published"])
def test_a_holder_that_slept_until_others_had_its_job_overwrites_nothing(
    account: Account, herd: Herd, after: After
) -> None:
    digest = herd.straight(short_jobs("straight", 1)[0])
    found = pause_holders(account, herd, rounds=1, after=after, digest=digest)
    assert (found.overwritten, found.other_bits) == (0, 0)
