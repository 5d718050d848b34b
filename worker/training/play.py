"""Flying a trained policy on the held-out seeds, with frames for whoever wants to see it."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from worker.contract.errors import InputError
from worker.contract.job import EnvironmentSpec
from worker.training.environment import make_for_job
from worker.training.evaluation import FIRST_HELD_OUT_SEED, Policy, fly
from worker.training.policy import decode_policy

Frame = NDArray[np.uint8]
"""(height, width, 3), RGB."""
OnFrame = Callable[[Frame, float], None]
"""Told of every frame, and of how many a second the environment is made for."""
USUAL_FRAMES_PER_SECOND = 30.0
"""Where the environment does not say."""
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
"""One of them names where a window can open."""


@dataclass(frozen=True)
class Pilot:
    """A policy, and the environment that it was trained in."""

    environment: EnvironmentSpec
    policy: Policy


@dataclass(frozen=True)
class Flight:
    """One episode."""

    seed: int
    episode_return: float
    length: int
    """Steps."""


def published(policy: bytes) -> Pilot:
    """Return the pilot in what a finished run published as its policy.

    Raises:
        CheckpointCorrupt: `policy` is none.
        BadConfiguration: the environment cannot be made here.
    """
    job, actor = decode_policy(policy)
    return Pilot(job.configuration.environment, actor)


def play(pilot: Pilot, episodes: int, on_frame: OnFrame | None = None, *, window: bool = False) -> Iterator[Flight]:
    """Fly as the final evaluation does: deterministically, episode i on held-out seed i.

    Args:
        pilot: who flies, and where.
        episodes: how many.
        on_frame: gets every frame; without it nothing is drawn.
        window: show it in a window, at the environment's own pace.

    Raises:
        BadConfiguration: the environment cannot be made here.
        InputError: there is no display to open a window on.
    """
    if window:
        refuse_without_display(os.environ)
    mode: Literal["human", "rgb_array"] | None = "human" if window else "rgb_array" if on_frame else None
    environment = make_for_job(pilot.environment, mode)
    pace = float(environment.metadata.get("render_fps") or USUAL_FRAMES_PER_SECOND)

    def between() -> None:
        if on_frame is not None:
            on_frame(np.asarray(environment.render(), dtype=np.uint8), pace)

    try:
        for seed in range(FIRST_HELD_OUT_SEED, FIRST_HELD_OUT_SEED + episodes):
            yield Flight(seed, *fly(pilot.policy, environment, seed, between))
    finally:
        environment.close()


def refuse_without_display(variables: Mapping[str, str], platform: str = sys.platform) -> None:
    """Raise InputError where no window can open; SDL itself would take up an invisible one and say nothing."""
    if platform == "linux" and not any(variables.get(name) for name in DISPLAYS):
        raise InputError("There is no display here to open a window on; --video FILE makes a film instead.")
