"""Row 8: hostile messages, jobs that never end well, and healthy ones whose workers vanish.

A trainer that hangs is killed under the real systemd in tests/machines/test_hang.py; that a restore and a final
evaluation longer than the watchdog's patience are not, in test_slow.py beside it.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from tests.proof.poison import (
    Fuzzed,
    crashes_always,
    diverges,
    evicted_before_its_first_commit,
    flaps,
    fuzz,
    preempted,
)
from tests.proof.row import Found, Row, Size, Tell

MESSAGES: Final = {"small": 150, "full": 10_000}
FLAPS: Final = {"small": 4, "full": 200}
SEED: Final = 1
ENDINGS: Final[Mapping[str, Callable[[], list[str]]]] = {
    "crashes at once": partial(crashes_always, 0, commits=False),
    "crashes in the middle": partial(crashes_always, 12, commits=False),
    "crashes after a commit": partial(crashes_always, 12, commits=True),
    "crashes in its final evaluation": partial(crashes_always, 30, commits=True),
    "diverges": diverges,
    "preempted 50 times, a few steps each": partial(preempted, 50, 2),
    "preempted 50 times before a step": partial(preempted, 50, 0),
    "evicted 15 times before its first commit": partial(evicted_before_its_first_commit, 15),
}


def run(size: Size, tell: Tell) -> Found:
    """Send what is no job, then train what must and must not be poisoned."""
    failures: list[str] = []
    figures: dict[str, int | float | str] = {}

    def count(fuzzed: Fuzzed) -> None:
        total = fuzzed.fates.total()
        tell(f"{total} of {MESSAGES[size]} messages", Found(total, dict(fuzzed.fates), fuzzed.wrong))

    fuzzed = fuzz(MESSAGES[size], SEED, count)
    figures.update(fuzzed.fates)
    failures += fuzzed.wrong
    for name, play in ENDINGS.items():
        tell(name)
        failures += [f"a job that is {name}: {wrong}" for wrong in play()]
    shares = (0.1, 0.3, 0.5)
    for seed in range(FLAPS[size]):
        share = shares[seed % len(shares)]
        failures += [f"storage that fails {share:.0%}, seed {seed}: {wrong}" for wrong in flaps(seed, share)]
        tell(f"{seed + 1} of {FLAPS[size]} flapping outages", Found(MESSAGES[size] + seed, figures, failures))
    figures |= {"jobs that crash, diverge or are preempted": len(ENDINGS), "flapping outages": FLAPS[size]}
    return Found(MESSAGES[size] + len(ENDINGS) + FLAPS[size], figures, failures)


ROW = Row(
    number=8,
    part="messages",
    promise="10,000 fuzzed messages end no loop; a crasher is poisoned after 3 attempts in vain, a healthy job never",
    run=run,
    wanted=MESSAGES["full"],
)
