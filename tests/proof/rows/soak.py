"""Row 11: half an hour of a bad network."""

from typing import Final

from tests.proof.herd import Herd
from tests.proof.real_processes import DURATIONS
from tests.proof.row import Found, Row, Size, Tell, told
from tests.proof.soak import BadNetwork, soak
from tests.proof.stage import Stage, on_stage
from worker.contract.settings import Durations

SEED: Final = 1
# The SDK waits up to 3.5 s before it asks again: with less of a visibility timeout every reset would cost a claim.
QUICK: Final = Durations().model_copy(
    update={
        "visibility_timeout_s": 30.0,
        "lease_renewal_s": 8.0,
        "manifest_write_s": 10.0,
        "commit_s": 0.2,
        "idle_receive_min_s": 0.05,
        "idle_receive_max_s": 0.2,
        "retry_base_s": 1.0,
        "first_receive_after_pulse_s": 0.01,
    }
)
NETWORKS: Final = {
    "small": BadNetwork(0.01, 0.1, 0.05, 1.0, 0.02, 3, 360, QUICK),
    "full": BadNetwork(2.0, 0.1, 0.05, 90.0, 30.0, 4, 3000, Durations().model_copy(update={"commit_s": 5.0})),
}
"""At full size all durations are those of Azure, but for commits that come twelve times as often."""


def play(stage: Stage, herd: Herd, size: Size, tell: Tell = told) -> Found:
    """Let workers work behind a bad network."""
    found = soak(stage, herd, NETWORKS[size], SEED, tell)
    wrong = {
        "jobs not done": found.jobs - found.done,
        "poisoned": found.poisoned,
        "other digests": found.other_bits,
    }
    figures = {"jobs": found.jobs, "minutes": round(found.seconds / 60, 1), "claims": found.claims, **wrong}
    return Found(
        trials=int(found.seconds // 60),
        figures={**figures, **{f"requests: {kind}": count for kind, count in found.faults.items()}},
        failures=[f"{count} {what} (seed {SEED})" for what, count in wrong.items() if count],
    )


def run(size: Size, tell: Tell) -> Found:
    """Play it on a stage of its own."""
    with on_stage() as stage, Herd(stage.folder / "herd", stage.identity, DURATIONS) as herd:
        return play(stage, herd, size, tell)


ROW = Row(
    number=11,
    promise="30 min at 2 s latency, 10 % resets, 5 % 503 and a blackout of 90 s: all jobs done, all digests equal",
    run=run,
    wanted=30,
)
