"""Row 12: `systemctl stop` at random moments, under the real systemd in a machine."""

import random
import tempfile
import time
from pathlib import Path
from typing import Final

from producer.emulator.nspawn.spec import why_not_here
from tests.fakes.account import installed_azurite
from tests.machines.machine import Machines, job, machines, slot_unit
from tests.proof.row import Found, Row, Size, Tell

STOPS: Final = {"small": 2, "full": 200}
SEED: Final = 1
LONGEST_S: Final = 10.0
"""Of a notice that is 30 s long."""
UNIT: Final = slot_unit("vm/0")
ENDLESS: Final = job("stops", timesteps=1_000_000)


def play(fleet: Machines, size: Size, tell: Tell) -> Found:
    """Stop the slot of one machine again and again, while it trains one long job, and start it again each time."""
    chance = random.Random(SEED)
    vm = fleet.boot_busy()
    fleet.account.enqueue([ENDLESS])
    seconds: list[float] = []
    failures: list[str] = []
    for number in range(STOPS[size]):
        fleet.attempts(ENDLESS, number + 1)
        fleet.in_training(ENDLESS)
        time.sleep(chance.uniform(0.0, 2.0))
        began_s = time.monotonic()
        vm("systemctl", "stop", UNIT)
        seconds.append(time.monotonic() - began_s)
        result = vm.show(UNIT, "Result")["Result"]
        attempt = fleet.manifest(ENDLESS).attempts[-1]
        lost = attempt.reached_step - attempt.to_step
        if (result, attempt.ended, lost) != ("success", "stopped", 0) or seconds[-1] > LONGEST_S:
            said = f"systemd says {result}, the manifest {attempt.ended}; {lost} steps lost, {seconds[-1]:.1f} s"
            failures.append(f"stop {number + 1} (seed {SEED}): {said}")
        tell(f"{number + 1} of {STOPS[size]} stops", _found(seconds, failures))
        vm("systemctl", "start", UNIT)
    return _found(seconds, failures)


def _found(seconds: list[float], failures: list[str]) -> Found:
    ordered = sorted(seconds)
    figures = {
        "median, s": round(ordered[len(ordered) // 2], 2),
        "99 of 100 within, s": round(ordered[(len(ordered) * 99 - 1) // 100], 2),
        "longest, s": round(ordered[-1], 2),
    }
    return Found(len(seconds), figures, list(failures))


def run(size: Size, tell: Tell) -> Found:
    """Play it in a machine of its own."""
    reason = why_not_here()
    if reason:
        return Found(0, failures=[f"cannot run here: {reason}"])
    with (
        tempfile.TemporaryDirectory(prefix="tranquility-proof-") as folder,
        machines(installed_azurite(), Path(folder)) as fleet,
    ):
        return play(fleet, size, tell)


ROW = Row(
    number=12,
    promise="systemctl stop under the real unit: committed to the last step, given back, and gone within 10 s",
    run=run,
    wanted=STOPS["full"],
)
