"""Row 1: every state that small models of the protocol can reach."""

from collections.abc import Mapping
from typing import Any, Final

from tests.proof.model import fleet_without, job_rules, sweep_without, wake_without
from tests.proof.model.engine import Model, explore
from tests.proof.model.sizes import MODELS
from tests.proof.row import Figure, Found, Row, Size, Tell

MOST_S: Final = {"small": 120.0, "full": 150.0}
"""A model that is not through by then counts as far as it was seen; its liveness is not known."""
TAKEN_AWAY: Final[Mapping[str, Model[Any]]] = {
    **{f"job {name}": model for name, model in job_rules.TAKEN_AWAY.items()},
    **{f"set {name}": model for name, model in fleet_without.TAKEN_AWAY.items()},
    **{f"sweep {name}": model for name, model in sweep_without.TAKEN_AWAY.items()},
    **{f"wake {name}": model for name, model in wake_without.TAKEN_AWAY.items()},
}


def run(size: Size, tell: Tell) -> Found:
    """Explore every model, and then those with a rule less."""
    failures: list[str] = []
    cut: list[str] = []
    states = moves = 0
    for name, model in MODELS[size].items():
        tell(f"{name}: {states} states so far", _found(size, states, moves, cut, 0, failures))
        explored = explore(model, most_s=MOST_S[size])
        states, moves = states + explored.states, moves + explored.moves
        if explored.hole:
            failures.append(f"{name}: {explored.hole}")
        elif not explored.complete:
            cut.append(name)
    missed = 0
    for name, model in TAKEN_AWAY.items():
        tell(f"without {name}", _found(size, states, moves, cut, missed, failures))
        if explore(model, most_s=MOST_S[size]).hole is None:
            missed += 1
            failures.append(f"without rule {name} no hole was found")
    return _found(size, states, moves, cut, missed, failures)


def _found(size: Size, states: int, moves: int, cut: list[str], missed: int, failures: list[str]) -> Found:
    figures: dict[str, Figure] = {
        "states": states,
        "moves": moves,
        "models": len(MODELS[size]),
        f"cut after {MOST_S[size]:.0f} s": "; ".join(cut) or "none",
        "rules taken away": len(TAKEN_AWAY),
        "of these not missed": missed,
    }
    return Found(states, figures, tuple(failures))


ROW = Row(
    number=1,
    promise="Every state reached in the protocol's models is safe; where all were, a path leads to the end",
    run=run,
    wanted=1_000_000,
)
