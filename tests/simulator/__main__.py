"""Replay one schedule, or play many: `python -m tests.simulator --seed N`."""

import argparse
import sys
import time
from collections.abc import Iterator

from tests.simulator.scenario import scenario_of
from tests.simulator.world import Outcome, play


def history(outcome: Outcome) -> Iterator[str]:
    """Yield the lines of what happened."""
    for entry in outcome.history:
        yield f"{entry.at_s:10.3f}  {entry.who:<24} {entry.what}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this schedule, with its history")
    parser.add_argument("--first", type=int, default=0, help="first seed to play")
    parser.add_argument("--count", type=int, default=100, help="how many to play")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        outcome = play(scenario_of(arguments.seed))
        print(*history(outcome), sep="\n")
        print(scenario_of(arguments.seed).told())
        print(*(outcome.broken or ["No rule was broken."]), sep="\n")
        return 1 if outcome.broken else 0
    began_s, failed = time.monotonic(), 0
    for seed in range(arguments.first, arguments.first + arguments.count):
        outcome = play(scenario_of(seed))
        if outcome.broken:
            failed += 1
            print(f"seed {seed}: {outcome.broken[0]}", flush=True)
    seconds = time.monotonic() - began_s
    print(f"{arguments.count} schedules, {failed} broke a rule, {arguments.count / seconds:.1f} a second")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
