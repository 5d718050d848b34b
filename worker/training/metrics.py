"""When the learning curve gets a row, and what is in it."""

import math

from stable_baselines3 import SAC
from stable_baselines3.common.utils import safe_mean

from worker.contract.errors import Diverged
from worker.snapshot.curve import KEYS, MAX_ROWS, CurveRow

MIN_STEPS_BETWEEN_ROWS = 1_000
WATCHED = ("train/actor_loss", "train/critic_loss", "train/ent_coef", "train/ent_coef_loss")


def steps_between_rows(timesteps: int) -> int:
    """Return the steps between two rows, so that a whole run has at most about 1,000 of them."""
    return max(MIN_STEPS_BETWEEN_ROWS, math.ceil(timesteps / MAX_ROWS))


def passed(every: int, last: int, step: int) -> bool:
    """Return whether a multiple of `every` lies above `last` and not above `step`."""
    return step // every > last // every


def curve_row(model: SAC) -> CurveRow:
    """Return the row of this moment: SB3's rolling means and the values of the latest update."""
    episodes = model.ep_info_buffer or ()
    values = {
        "rollout/ep_rew_mean": float(safe_mean([episode["r"] for episode in episodes])),
        "rollout/ep_len_mean": float(safe_mean([episode["l"] for episode in episodes])),
    }
    recorded = model.logger.name_to_value
    values |= {key: float(recorded[key]) for key in KEYS if key in recorded}
    return CurveRow(model.num_timesteps, values)


def check_losses(model: SAC) -> None:
    """Look at the losses of the latest update.

    Raises:
        Diverged: one of them is not finite.
    """
    recorded = model.logger.name_to_value
    for key in WATCHED:
        if not math.isfinite(recorded.get(key, 0.0)):
            raise Diverged(f"{key} is {recorded[key]} after {model.num_timesteps} steps.")
