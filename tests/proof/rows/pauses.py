"""Row 3: a holder sleeps past its visibility, and wakes when a successor has committed, or published."""

from typing import Final, get_args

from tests.proof.herd import Herd
from tests.proof.real_processes import DURATIONS, Account, After, Pauses, pause_holders, short_jobs
from tests.proof.row import Found, Row, Size, Tell, told
from tests.proof.stage import Stage, on_stage

ROUNDS: Final = {"small": 1, "full": 200}
LANES: Final = {"small": 1, "full": 6}


def play(stage: Stage, herd: Herd, size: Size, tell: Tell = told) -> Found:
    """Pause holders, by SIGSTOP."""
    found: dict[After, Pauses] = {}
    digest = herd.straight(short_jobs("straight", 1)[0])
    accounts = [Account(stage.target(), stage.credential) for _ in range(LANES[size])]
    done = tell.done
    for after in get_args(After):
        skipped = min(done, ROUNDS[size])
        done -= skipped

        def count(pauses: Pauses, after: After = after) -> None:
            found[after] = pauses
            tell(f"{pauses.rounds} pauses until the successor had {after}", _summed(found))

        pause_holders(accounts, herd, rounds=ROUNDS[size] - skipped, after=after, digest=digest, count=count)
    return _summed(found)


def _summed(found: dict[After, Pauses]) -> Found:
    overwritten = sum(pauses.overwritten for pauses in found.values())
    other_bits = sum(pauses.other_bits for pauses in found.values())
    wrong = {"outcomes overwritten": overwritten, "other digests": other_bits}
    again = {"claimed anew from a successor that fell silent": sum(pauses.claimed_again for pauses in found.values())}
    return Found(
        trials=sum(pauses.rounds for pauses in found.values()),
        figures={**{f"rounds until {after}": pauses.rounds for after, pauses in found.items()}, **again, **wrong},
        failures=[f"{count} {what}" for what, count in wrong.items() if count],
    )


def run(size: Size, tell: Tell) -> Found:
    """Play it on a stage of its own."""
    with on_stage() as stage, Herd(stage.folder / "herd", stage.identity, DURATIONS) as herd:
        return play(stage, herd, size, tell)


ROW = Row(
    number=3,
    part="pauses",
    promise="SIGSTOP of a holder, SIGCONT after its successor committed, or published: no stale write is accepted",
    run=run,
    wanted=2 * ROUNDS["full"],
    adds_up=True,
)
