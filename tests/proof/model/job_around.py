"""What happens to workers: they crash and hang, requests come late or never, and time goes by."""

from collections.abc import Iterator
from typing import Final

from tests.proof.model.engine import Move
from tests.proof.model.job_core import IDLE, JobCore
from tests.proof.model.job_world import GONE, HIDDEN, VISIBLE, Hand, Message, World, spend
from tests.proof.model.ledger import NONE

Moves = Iterator[Move[World]]
CLAIMED: Final = frozenset({"restore", "train", "ending", "put", "again", "collect", "hold", "hung"})
"""Where a worker is while its heartbeat runs."""


def faults_of(model: JobCore, world: World, number: int, hand: Hand) -> Moves:
    if hand.at == "":
        return
    left = spend(world.left, "crash")
    if left:
        crashed = model.tidy(model.put_hand(world._replace(left=left), number, IDLE))
        yield Move(f"{model.name(number)} crashes, and starts again", crashed, fault=True)
    if left and hand.at == "train":
        hung = model.put_hand(world._replace(left=left), number, hand._replace(at="hung"))
        yield Move(f"{model.name(number)}'s training hangs", hung, fault=True)
    left = spend(world.left, "lost")
    if left and hand.lease and hand.at == "train":
        lost = model.put_hand(world._replace(left=left), number, hand._replace(lease=False))
        yield Move(f"{model.name(number)} loses the answer of a renewal", lost, fault=True)


def network(model: JobCore, world: World) -> Moves:
    late = world.late
    if late is None:
        return
    dropped = world._replace(late=None)
    yield Move("a request that was on its way is lost", model.tidy(dropped))
    if late.fresh or not model.rules.conditional:
        after, wrong = model.stored(dropped, late.write, late.then)
        yield Move(f"a late request arrives: {model.short(late.write)}", model.tidy(after), wrong=wrong)


def time(model: JobCore, world: World) -> Moves:
    pause = spend(world.left, "pause")
    for place, message in enumerate(world.messages):
        if message.state != GONE and not model.rules.never_expires:
            yield Move(f"message {place} expires", model.with_message(world, place, Message()))
        if message.state != HIDDEN:
            continue
        back = model.with_message(world, place, message._replace(state=VISIBLE))
        awaited = any(hand.lease and hand.message == place and hand.at != "hung" for hand in world.workers)
        awaited = awaited or (not model.rules.follows_progress and any(hand.at == "hung" for hand in world.workers))
        if not awaited:
            yield Move(f"message {place} is visible again", back)
        elif pause:
            paused = back._replace(left=pause)
            yield Move(f"all stand still until message {place} is visible again", paused, fault=True)
    if world.manifest == NONE or world.old or model.ledger[world.manifest].status != "running":
        return
    if not _heart_beats(model, world):
        yield Move("the manifest is older than V", world._replace(old=True))
    elif pause:
        yield Move("all stand still for V", world._replace(old=True, left=pause), fault=True)


def _heart_beats(model: JobCore, world: World) -> bool:
    return any(
        hand.at in CLAIMED
        and (hand.at != "hung" or not model.rules.follows_progress)
        and hand.mine != NONE
        and model.owns(world, hand)
        for hand in world.workers
    )
