"""The leader of a ranking as a sweep file of its own."""

from typing import Any

import yaml

from producer.results.leaderboard import Leaderboard
from worker.contract.job import Configuration


def best_config(board: Leaderboard, sweep: str, source: Configuration) -> str:
    """Return a sweep file that trains the leader's hyperparameters once more.

    Args:
        board: the ranking.
        sweep: the sweep that the leader comes from.
        source: the leader's whole configuration.
    """
    leader = board.leader.entrant
    environment: dict[str, Any] = {"id": source.environment.id}
    if source.environment.kwargs:
        environment["kwargs"] = dict(source.environment.kwargs)
    content: dict[str, Any] = {
        "name": f"{sweep[:35].rstrip('-')}-best",
        "env": environment,
        "timesteps": source.timesteps,
        "trainer": source.trainer,
        "seeds": [run.seed for run in leader.runs],
    }
    fixed = source.hyperparameters.model_dump(mode="json", exclude_defaults=True)
    if fixed:
        content["fixed"] = fixed
    content["evaluation"] = source.evaluation.model_dump(mode="json")
    comment = "".join(f"# {line}\n" for line in (f"The leader of sweep {sweep}.", board.sentence, *board.warnings))
    return comment + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None)
