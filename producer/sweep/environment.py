"""Asks the data plane about an environment: the producer itself never imports gymnasium."""

import json
import subprocess
from collections.abc import Callable, Mapping
from typing import Final

from pydantic import ValidationError

from producer.worker_process import WORKER, last_words, run_worker, worker_is_installed
from worker.contract.base import Scalar
from worker.contract.environments import ProbeVerdict
from worker.contract.errors import BadConfiguration, InputError, TranquilityError

QUICK_EPISODES: Final = 1
"""Enough to learn whether an environment exists and what its actions are."""
PROBE_TIMEOUT_S: Final = 900

Examine = Callable[[str, Mapping[str, Scalar], int | None], ProbeVerdict]
"""Look at an environment (id, keyword arguments, episodes or None for a whole proof).

Raises EnvironmentRefused with the reason, or CannotExamine.
"""


class EnvironmentRefused(InputError):
    """The environment does not exist, or no SAC can act in it."""


class CannotExamine(TranquilityError):
    """The environment cannot be looked at on this machine."""


def examine(
    environment: str,
    kwargs: Mapping[str, Scalar],
    episodes: int | None = None,
    command: tuple[str, ...] = WORKER,
) -> ProbeVerdict:
    """Run `python -m worker probe` in a process of its own and return its verdict."""
    if not worker_is_installed():
        raise CannotExamine("What trains is not installed: pip install 'tranquility[worker]'.")
    arguments = ["probe", environment, "--kwargs", json.dumps(dict(kwargs)), "--json"]
    if episodes is not None:
        arguments += ["--episodes", str(episodes)]
    try:
        ran = run_worker(arguments, PROBE_TIMEOUT_S, command)
    except subprocess.TimeoutExpired as error:
        raise CannotExamine(f"The probe of {environment} took more than {PROBE_TIMEOUT_S} s.") from error
    last = last_words(ran)
    if ran.returncode == 2:
        raise EnvironmentRefused(last.removeprefix(str(BadConfiguration())).strip())
    if ran.returncode != 0:
        raise CannotExamine(f"The probe of {environment} ended with {ran.returncode}: {last}")
    try:
        return ProbeVerdict.model_validate_json(ran.stdout)
    except ValidationError as error:
        raise CannotExamine(f"The probe of {environment} printed no verdict: {ran.stdout[:200]!r}") from error
