"""How fast this trainer is: against others on one core, on the whole machine, and against what arithmetic allows."""

import os
from dataclasses import dataclass
from importlib.util import find_spec

from tests.bench import floor
from tests.bench.contestant import LAYERS
from tests.bench.figures import Spread, keep, ratios
from tests.bench.turns import Entry, Rates, Tell, take_turns


@dataclass(frozen=True)
class Effort:
    """How long the benchmarks take."""

    rounds: int = 12
    steps: int = 400
    early: int = 5_000
    late: int = 100_000


def last_core() -> int:
    """Return the core that contestants alone on a core share."""
    return max(os.sched_getaffinity(0))


def per_core(effort: Effort, tell: Tell) -> None:
    """Each trainer on one core, at `effort.early` steps; with the floor."""
    if find_spec("sbx") is None:
        raise SystemExit("SBX is not installed. make bench installs all that is compared.")
    core = last_core()
    kinds = ("fast", "worker", "sb3", "sb3-fused", "sbx", "floor")
    rates = take_turns(
        [[Entry(kind, kind, core, effort.early)] for kind in kinds],
        rounds=effort.rounds,
        steps=effort.steps,
        tell=tell,
    )
    keep(
        "per_core",
        {
            "steps_per_second": spreads(rates),
            "ratio": {kind: ratios(rates["fast"], rates[kind]) for kind in kinds if kind not in ("fast", "floor")},
            "share_of_floor": ratios(rates["fast"], rates["floor"]),
            "floor": _floor(rates),
            "at_step": effort.early,
            "rounds": effort.rounds,
            "steps_per_turn": effort.steps,
        },
    )


def late(effort: Effort, tell: Tell) -> None:
    """The share of the floor that is reached after `effort.late` steps."""
    core = last_core()
    rates = take_turns(
        [[Entry("fast", "fast", core, effort.late)], [Entry("floor", "floor", core, effort.early)]],
        rounds=effort.rounds,
        steps=effort.steps,
        tell=tell,
    )
    keep(
        "late",
        {
            "steps_per_second": spreads(rates),
            "share_of_floor": ratios(rates["fast"], rates["floor"]),
            "floor": _floor(rates),
            "at_step": effort.late,
            "rounds": effort.rounds,
        },
    )


def machine(effort: Effort, tell: Tell) -> None:
    """The packed machine, one worker of one thread on every core, against one process with default threads."""
    cores = sorted(os.sched_getaffinity(0))
    packed = [Entry(f"worker {core}", "worker", core, effort.early) for core in cores]
    alone = [[Entry(kind, kind, None, effort.early)] for kind in ("sb3", "fast")]
    rates = take_turns(
        [packed, *alone],
        rounds=effort.rounds,
        steps=effort.steps,
        tell=tell,
    )
    together = [sum(values) for values in zip(*(rates[entry.name] for entry in packed), strict=True)]
    keep(
        "machine",
        {
            "steps_per_second": {"packed": Spread.of(together), **spreads({k: rates[k] for k in ("sb3", "fast")})},
            "ratio": {kind: ratios(together, rates[kind]) for kind in ("sb3", "fast")},
            "workers": len(cores),
            "rounds": effort.rounds,
        },
    )


def spreads(rates: Rates) -> dict[str, Spread]:
    return {name: Spread.of(values) for name, values in rates.items()}


def _floor(rates: Rates) -> dict[str, object]:
    flops = floor.flops(LAYERS)
    return {
        "mflop_per_update": round(flops / 1e6, 1),
        "gflop_per_second": Spread.of([rate * flops / 1e9 for rate in rates["floor"]]),
    }
