"""Workers whose training waits at a step until a test lets it go on: what is done to them then meets them at work.

`python -m tests.system.waiting {worker|producer} STEP FILE ARGUMENTS…` is one of our programs, with such workers or
being one; once FILE is there, they go on.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from producer.emulator import local
from producer.emulator.fleet import Endpoints, Machine
from producer.emulator.machine import MachineImage
from producer.emulator.units import InstanceSpec, Process
from tests.system.watched import Beat, hold, watched
from worker.__main__ import THREADS
from worker.training_run import Boundary, TrainingRun


@dataclass(frozen=True)
class WaitingImage(MachineImage):
    """Says what every VM runs: the same as ever, but training waits."""

    step: int
    """At which a job waits, every attempt of it."""
    go: Path
    """Where this file is, no job waits any more."""

    def spec(self, machine: Machine, endpoints: Endpoints) -> InstanceSpec:
        return InstanceSpec(tuple(self._waiting(process) for process in super().spec(machine, endpoints).processes))

    def _waiting(self, process: Process) -> Process:
        module = process.argv.index("worker")
        before, command = process.argv[:module], process.argv[module + 1 :]
        if command[0] != "run":
            return process
        argv = (*before, "tests.system.waiting", "worker", str(self.step), str(self.go), *command)
        environment: Mapping[str, str] = {**process.env, **dict.fromkeys(THREADS, "1")}
        return replace(process, argv=argv, env=environment)


def run_worker(step: int, go: Path) -> None:
    """Be `python -m worker`, and wait."""
    from worker.commands import run_command
    from worker.sac_trainers import sac_trainers

    def look(run: TrainingRun, boundary: Boundary, beat: Beat) -> None:
        if run.step >= step:
            hold(run, boundary, beat, go.exists)

    pytest.MonkeyPatch().setattr("worker.run.sac_trainers", lambda: watched(sac_trainers(), look))
    run_command()


def run_producer(step: int, go: Path) -> None:
    """Be `tranquility`, with a fleet of such workers."""
    from producer import program

    pytest.MonkeyPatch().setattr(local, "MachineImage", partial(WaitingImage, step=step, go=go))
    program.run()


def main() -> None:
    """Run the program that is asked for."""
    program, step, go = sys.argv[1:4]
    del sys.argv[1:4]
    {"worker": run_worker, "producer": run_producer}[program](int(step), Path(go).absolute())


if __name__ == "__main__":
    main()
