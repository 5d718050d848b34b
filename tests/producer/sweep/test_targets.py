"""SWEEP, SWEEP/JOB, JOB: what a person means."""

import pytest

from producer.sweep.enqueue import enqueue
from producer.sweep.targets import Meant, meant
from tests.fakes.producing import Storage, plan_of
from worker.contract.errors import InputError

ONE = plan_of(name="one", seeds="[0, 1]")
TWO = plan_of(name="two", seeds="[0, 1]")
FIRST, SECOND = (planned.id for planned in ONE.jobs)


def stored() -> Storage:
    storage = Storage()
    for plan in (ONE, TWO):
        enqueue(storage.session(), plan, lambda _: True)
    return storage


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (["one"], Meant("one")),
        ([f"one/{FIRST}"], Meant("one", (FIRST,))),
        ([f"one/{FIRST[:4]}", f"one/{SECOND}"], Meant("one", (FIRST, SECOND))),
        ([f"one/{FIRST}", f"one/{FIRST[:5]}"], Meant("one", (FIRST,))),
    ],
)
def test_sweeps_and_their_jobs_are_found(asked: list[str], found: Meant) -> None:
    assert meant(stored().session(), asked) == found


def test_a_job_alone_is_found_where_its_id_says_enough() -> None:
    storage = Storage()
    enqueue(storage.session(), ONE, lambda _: True)
    assert meant(storage.session(), [SECOND[:8]]) == Meant("one", (SECOND,))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["oen"], "There is no sweep 'oen'. Did you mean one?"),
        (["three"], "There is no sweep 'three'. Sweeps here: one, two."),
        (["three/ab"], "There is no sweep 'three'."),
        (["one/x"], "No job of one begins with 'x'."),
        (["one/"], "No job of one begins with ''."),
        (["ffffffff"], "There is no sweep 'ffffffff'."),
        ([FIRST], f"Jobs of one, two begin with {FIRST}: write SWEEP/{FIRST}."),
        ([f"one/{FIRST}", "two"], "are of several sweeps: one sweep at a time."),
        (["one", f"one/{FIRST}"], "Name the sweep one alone, or some of its jobs."),
    ],
)
def test_what_cannot_be_meant_is_said(asked: list[str], words: str) -> None:
    with pytest.raises(InputError) as caught:
        meant(stored().session(), asked)
    assert words in str(caught.value)


def test_a_beginning_that_several_jobs_share_is_not_enough() -> None:
    many = plan_of(name="many", seeds="40")
    storage = Storage()
    enqueue(storage.session(), many, lambda _: True)
    starts = [planned.id[:1] for planned in many.jobs]
    shared = max(set(starts), key=starts.count)
    with pytest.raises(InputError, match=f"jobs of many begin with '{shared}'"):
        meant(storage.session(), [f"many/{shared}"])
