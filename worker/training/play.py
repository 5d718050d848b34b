"""Flying a published policy on the held-out seeds, with frames for whoever wants to see it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.training.environment import make_for_job
from worker.training.evaluation import FIRST_HELD_OUT_SEED, fly
from worker.training.policy import decode_policy

Frame = NDArray[np.uint8]
"""(height, width, 3), RGB."""


@dataclass(frozen=True)
class Flight:
    """One episode."""

    seed: int
    episode_return: float
    length: int
    """Steps."""


def play(
    policy: bytes, episodes: int, on_frame: Callable[[Frame], None] | None = None, render_mode: str | None = None
) -> Iterator[Flight]:
    """Fly a policy as the final evaluation does: deterministically, episode i on held-out seed i.

    Args:
        policy: what a finished run published as its policy.
        episodes: how many.
        on_frame: gets every frame, in `rgb_array` mode.
        render_mode: `human` for a window; by default nothing is drawn unless `on_frame` asks for it.

    Raises:
        CheckpointCorrupt: `policy` is none.
        BadConfiguration: the environment cannot be made here.
    """
    job, actor = decode_policy(policy)
    environment = make_for_job(job.configuration.environment, render_mode or ("rgb_array" if on_frame else None))

    def between() -> None:
        if on_frame is not None:
            on_frame(np.asarray(environment.render(), dtype=np.uint8))

    try:
        for seed in range(FIRST_HELD_OUT_SEED, FIRST_HELD_OUT_SEED + episodes):
            yield Flight(seed, *fly(actor, environment, seed, between))
    finally:
        environment.close()
