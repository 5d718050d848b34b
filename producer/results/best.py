"""The best of a ranking as a sweep file of its own: the winner on fresh seeds, or else the leader."""

from typing import Any

import yaml

from producer.results.entrants import Entrant
from producer.results.leaderboard import Leaderboard
from worker.contract.job import Configuration


def best_of(board: Leaderboard) -> Entrant:
    """Return the winner on fresh seeds, or else the leader."""
    winner = board.confirmation.winner if board.confirmation else None
    return next(
        (one.entrant for one in board.standings if winner and one.entrant.same_set(winner)), board.leader.entrant
    )


def best_config(board: Leaderboard, sweep: str, source: Configuration) -> str:
    """Return a sweep file that trains the best set's hyperparameters once more, with the seeds that chose it.

    Args:
        board: the ranking.
        sweep: the sweep that the best set comes from.
        source: its whole configuration.
    """
    best = best_of(board)
    environment: dict[str, Any] = {"id": source.environment.id}
    if source.environment.kwargs:
        environment["kwargs"] = dict(source.environment.kwargs)
    content: dict[str, Any] = {
        "name": f"{sweep[:35].rstrip('-')}-best",
        "env": environment,
        "timesteps": source.timesteps,
        "trainer": source.trainer,
        "seeds": [run.seed for run in best.runs],
    }
    fixed = source.hyperparameters.model_dump(mode="json", exclude_defaults=True)
    if fixed:
        content["fixed"] = fixed
    content["evaluation"] = source.evaluation.model_dump(mode="json")
    what = "leader" if best.same_set(board.leader.entrant) else "winner on fresh seeds"
    confirmed = (board.confirmation.sentence,) if board.confirmation else ()
    said = (f"The {what} of sweep {sweep}.", board.sentence, *confirmed, *board.warnings)
    comment = "".join(f"# {line}\n" for line in said)
    return comment + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None)
