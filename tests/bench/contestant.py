"""One contestant of a benchmark, in a process of its own: it trains so many steps whenever it is told to.

Usage: python -m tests.bench.contestant KIND, with lines on standard input: a number of steps. It answers each with the
seconds that they took. While it waits it uses no processor, so that contestants take turns on one core.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gymnasium

GAME = "LunarLanderContinuous-v3"
BUFFER = 200_000
WARM_UP = 100
LAYERS = (256, 256)
FOR_EVER = 50_000_000


class Told:
    """Stops the clock when the steps are done, and waits for the next number; ends the process with its input."""

    def __init__(self, settled: Callable[[], object] = lambda: None) -> None:
        """`settled` waits for what a library computes behind the caller's back."""
        self._settled = settled
        self._target = 0
        self._began_s: float | None = None

    def at(self, step: int) -> None:
        """Call this wherever a run stands between two rollouts."""
        if step < self._target:
            return
        self._settled()
        if self._began_s is not None:
            sys.stdout.write(f"{time.perf_counter() - self._began_s}\n")
            sys.stdout.flush()
        line = sys.stdin.readline()
        if not line:
            os._exit(0)  # the run is in the middle of its `learn`, and nobody wants its end
        self._target = step + int(line)
        self._began_s = time.perf_counter()


def learn(model: Any, told: Told) -> None:
    """Train any model with SB3's interface for ever."""
    from stable_baselines3.common.callbacks import BaseCallback

    class AtRollouts(BaseCallback):
        def _on_rollout_start(self) -> None:
            told.at(self.num_timesteps)

        def _on_step(self) -> bool:
            return True

    model.learn(FOR_EVER, callback=AtRollouts(), log_interval=None)


def options(**policy: Any) -> dict[str, Any]:
    """Return the arguments that all take.

    The environment comes without Gymnasium's checker, as the worker's does: where the lander leaves the bounds of its
    observations that one complains at every step, for up to 2 ms, which is between a sixth and half of an update.
    """
    return {
        "policy": "MlpPolicy",
        "env": gymnasium.make(GAME, disable_env_checker=True),
        "buffer_size": BUFFER,
        "learning_starts": WARM_UP,
        "policy_kwargs": {"net_arch": list(LAYERS), **policy},
        "seed": 0,
    }


def fast() -> None:
    """This project's trainer, used as SB3's SAC is."""
    from worker.training.sac import FastSAC

    learn(FastSAC(**options(), device="cpu"), Told())


def worker() -> None:
    """This project's trainer as a worker runs it: with boundaries, beats, and the environment that can be replayed."""
    from worker.contract.job import Configuration, EnvironmentSpec, Evaluation, Hyperparameters, Job
    from worker.training.trainer import SacRun

    configuration = Configuration(
        environment=EnvironmentSpec(id=GAME),
        timesteps=FOR_EVER,
        trainer="fast",
        hyperparameters=Hyperparameters.model_validate(
            {"buffer_size": BUFFER, "learning_starts": WARM_UP, "policy_kwargs": {"net_arch": LAYERS}}
        ),
        evaluation=Evaluation(every=FOR_EVER, episodes=1, final_episodes=1),
    )
    told = Told()
    SacRun(Job.of("bench", configuration, 0)).train(lambda run: told.at(run.step), lambda: None)


def sb3() -> None:
    """Stable-Baselines3 as it comes."""
    from stable_baselines3 import SAC

    learn(SAC(**options(), device="cpu"), Told())


def sb3_fused() -> None:
    """Stable-Baselines3 with torch's fused Adam."""
    from stable_baselines3 import SAC

    learn(SAC(**options(optimizer_kwargs={"fused": True}), device="cpu"), Told())


def sbx() -> None:
    """SBX: Stable-Baselines in JAX, its update compiled."""
    import jax
    from sbx import SAC

    model = SAC(**options())
    wait: Callable[[object], object] = jax.block_until_ready
    learn(model, Told(lambda: wait(model.policy.qf_state.params)))


def floor() -> None:
    """No trainer: the matrix products of one update, see floor.py."""
    from tests.bench.floor import Products

    told, products = Told(), Products(LAYERS)
    for update in _counted():
        told.at(update)
        products()


def _counted() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


CONTESTANTS: Mapping[str, Callable[[], None]] = {
    "fast": fast,
    "worker": worker,
    "sb3": sb3,
    "sb3-fused": sb3_fused,
    "sbx": sbx,
    "floor": floor,
}


def main() -> None:
    """Run the contestant."""
    import warnings

    import torch

    warnings.simplefilter("ignore")  # the libraries' own; what is measured is tested elsewhere
    if os.environ.get("BENCH_THREADS") == "1":
        torch.set_num_threads(1)
    CONTESTANTS[sys.argv[1]]()


if __name__ == "__main__":
    main()
