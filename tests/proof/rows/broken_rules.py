"""Row 10: a rule of the protocol broken in the code is noticed by the simulator, and by nothing that is so anyway."""

from tests.proof.row import Found, Row, Size, Tell
from tests.simulator.mutants import MUTANTS, first_found
from tests.simulator.world import play


def run(size: Size, tell: Tell) -> Found:
    """Play each mutant until it is noticed, and at full size all of its schedules with the code as it is."""
    failures: list[str] = []
    schedules = 0
    for number, (name, mutant) in enumerate(MUTANTS.items()):
        tell(f"{number} of {len(MUTANTS)}: {name}", Found(number, {}, failures))
        if first_found(name) is None:
            failures.append(f"not noticed: {name}")
        for scenario in mutant.scenarios[:: 1 if size == "full" else 15]:
            schedules += 1
            failures += [f"without {name}: {scenario.told()}: {broken}" for broken in play(scenario).broken[:1]]
    missed = sum(failure.startswith("not noticed") for failure in failures)
    figures = {"noticed": len(MUTANTS) - missed, "schedules of the code as it is": schedules}
    return Found(len(MUTANTS), figures, failures)


ROW = Row(
    number=10,
    part="rules",
    promise="A rule of the protocol that is broken in the code is noticed by the simulator",
    run=run,
    wanted=len(MUTANTS),
)
