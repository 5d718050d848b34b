"""Row 8: what is slow, and what hangs, under the real watchdog of systemd in a machine."""

import tempfile
from pathlib import Path

from producer.emulator.nspawn.spec import why_not_here
from tests.fakes.account import installed_azurite
from tests.machines import hang, slow
from tests.machines.machine import PACE
from tests.proof.row import Figure, Found, Row, Size, Tell


def run(size: Size, tell: Tell) -> Found:
    """Let a restore, a final evaluation and two slots be slow or hang, once each."""
    reason = why_not_here()
    if reason:
        return Found(0, failures=[f"cannot run here: {reason}"])
    with tempfile.TemporaryDirectory(prefix="tranquility-proof-") as folder:
        tell("two slots hang")
        hung = hang.story(installed_azurite(), Path(folder) / "hang")
        tell("a restore and a final evaluation are slow")
        late = slow.story(installed_azurite(), Path(folder) / "slow")
    longer_s = min(late.restored_s, slow.SLOWED_S)
    wrong = {
        "slow and killed": len(late.results) - 1 + (late.manifest.status != "done"),
        "slow for too short a time": int(longer_s <= PACE.watchdog_s or late.evaluating.status != "running"),
        "hung and left alone": sum(found.results != ["watchdog"] for found in hung.values()),
        "hung and not counted": sum(found.after.attempts[0].ended != "killed" for found in hung.values()),
    }
    figures: dict[str, Figure] = {
        "watchdog, s": PACE.watchdog_s,
        "restore, s": round(late.restored_s, 1),
        "final evaluation, s": slow.SLOWED_S,
        **wrong,
    }
    return Found(len(hung) + 2, figures, [f"{count} {what}" for what, count in wrong.items() if count])


ROW = Row(
    number=8,
    part="watchdog",
    promise="A long restore and a long final evaluation are left alone; a slot that hangs is killed, and it counts",
    run=run,
    wanted=4,
)
