"""A sweep in the folder layout of rl-baselines3-zoo, so that its scripts play our models and plot our runs.

Every finished job is an experiment, numbered from 1 in the order of the plan: `DIR/sac/ENV_NUMBER/`. Checked against
`get_model_path` and `get_saved_hyperparams` of rl_zoo3 2.9.2, and played with its enjoy.
"""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from producer.results.parts import ResultDamaged, read_outcome, read_part, read_result, side_by_side, write_whole
from producer.results.progress import JobProgress, SweepProgress
from producer.words import label_keys, set_label
from worker.contract.job import Hyperparameters, Job
from worker.contract.records import BlobStore
from worker.contract.result import Result

ALGORITHM = "sac"
ABOUT = """\
Made by tranquility, in the layout of rl-baselines3-zoo. experiments.csv says which experiment is which job.
best_model.zip is the final model, as ENV.zip is: a run's score is that of its final model on held-out episodes, and
models from the middle of a run are not kept, since the best of many short evaluations was selected by luck, too.
0.monitor.csv has the training episodes that the replay buffer held at the end; its clock is spread evenly over the run.
"""


@dataclass(frozen=True, slots=True)
class ZooExport:
    """What an export wrote."""

    experiments: int
    problems: tuple[str, ...]
    command: str
    """Plays the model with the highest score; empty where there is none."""


def export_zoo(blobs: BlobStore, sweep: SweepProgress, folder: Path) -> ZooExport:
    """Write every finished job. What is damaged is reported, and the rest written all the same.

    Raises StorageError, and InputError where the folder cannot be written.
    """
    jobs = {job.id: number for number, job in enumerate(sweep.jobs, start=1)}
    problems: list[str] = []
    written: dict[str, JobProgress] = {}

    def write(job: JobProgress) -> None:
        whole = sweep.plan.job(sweep.plan.by_id[job.id])
        try:
            files = experiment(blobs, whole)
        except ResultDamaged as error:
            problems.append(error.detail)
            return
        place = folder / ALGORITHM / f"{environment_name(whole)}_{jobs[job.id]}"
        for name, body in files.items():
            write_whole(place / name, body)
        written[job.id] = job

    side_by_side(write, [job for job in sweep.jobs if job.state == "done"])
    write_whole(folder / "README.txt", ABOUT.encode())
    write_whole(folder / "experiments.csv", _index(sweep, jobs, written).encode())
    scored = [(job.score.mean, job.id) for job in written.values() if job.score]
    command = _command(sweep.plan.job(sweep.plan.by_id[max(scored)[1]]), jobs[max(scored)[1]], folder) if scored else ""
    return ZooExport(len(written), tuple(problems), command)


def environment_name(job: Job) -> str:
    """Return an environment's id as the zoo writes it into file names."""
    return job.configuration.environment.id.replace("/", "-")


def experiment(blobs: BlobStore, job: Job) -> dict[str, bytes]:
    """Return the files of one experiment by their names. Raises ResultDamaged, StorageError."""
    outcome = read_outcome(blobs, job.sweep, job.id)
    model = read_part(blobs, job.id, outcome.model)
    result = read_result(blobs, job.id, outcome)
    name = environment_name(job)
    files = {
        f"{name}.zip": model,
        "best_model.zip": model,
        "0.monitor.csv": monitor(read_part(blobs, job.id, outcome.episodes), result),
        f"{name}/config.yml": _yaml(config(job)),
        f"{name}/args.yml": _yaml(arguments(job)),
    }
    return files | ({"evaluations.npz": evaluations(result)} if result.evaluations else {})


def evaluations(result: Result) -> bytes:
    """Return the periodic evaluations as SB3's EvalCallback saves them: arrays of (evaluations, episodes)."""
    body = io.BytesIO()
    np.savez(
        body,
        timesteps=np.array([one.step for one in result.evaluations]),
        results=np.array([one.returns for one in result.evaluations]),
        ep_lengths=np.array([one.lengths for one in result.evaluations]),
    )
    return body.getvalue()


def monitor(episodes: bytes, result: Result) -> bytes:
    """Return the training episodes as SB3's Monitor writes them: return, length, seconds since the start."""
    started = datetime.fromisoformat(result.attempts[0].started).timestamp()
    pace = result.seconds / max(1, result.step)
    text = io.StringIO()
    text.write("#" + json.dumps({"t_start": started, "env_id": result.job.configuration.environment.id}) + "\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("r", "l", "t"))
    try:
        for line in csv.DictReader(io.StringIO(episodes.decode())):
            writer.writerow((line["return"], line["length"], round(int(line["step"]) * pace, 6)))
    except (KeyError, ValueError, TypeError) as error:
        raise ResultDamaged(f"Job {result.job.id}: its episodes.csv cannot be read: {error!r}.") from error
    return text.getvalue().encode()


def config(job: Job) -> Mapping[str, Any]:
    """Return a job's hyperparameters as the zoo's config.yml has them."""
    configuration = job.configuration
    own = configuration.hyperparameters.model_dump(mode="json", exclude_defaults=True)
    own.pop("policy_kwargs", None)
    return {
        "n_timesteps": configuration.timesteps,
        "policy": "MlpPolicy",
        **{name: own[name] for name in sorted(own)},
        "policy_kwargs": _policy_kwargs(configuration.hyperparameters),
    }


def _policy_kwargs(hyperparameters: Hyperparameters) -> str:
    layers = hyperparameters.policy_kwargs.layers()
    names = {"relu": "ReLU", "tanh": "Tanh", "elu": "ELU", "leaky_relu": "LeakyReLU"}
    activation = names[hyperparameters.policy_kwargs.activation_fn]
    return f"dict(net_arch=dict(pi={list(layers.pi)}, qf={list(layers.qf)}), activation_fn=nn.{activation})"


def arguments(job: Job) -> Mapping[str, Any]:
    """Return what the zoo's args.yml needs: how the environment was made, and the seed."""
    environment = job.configuration.environment
    return {
        "algo": ALGORITHM,
        "env": environment.id,
        "env_kwargs": dict(environment.kwargs) or None,
        "n_timesteps": job.configuration.timesteps,
        "seed": job.seed,
    }


def _yaml(content: Mapping[str, Any]) -> bytes:
    text: str = yaml.safe_dump(dict(content), sort_keys=False)
    return text.encode()


def _index(sweep: SweepProgress, numbers: Mapping[str, int], written: Mapping[str, JobProgress]) -> str:
    keys = label_keys([planned.differs for planned in sweep.plan.sets[:300]])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("exp_id", "sweep", "job", "set", "label", "seed", "score"))
    for job in sweep.jobs:
        if job.id in written:
            label = set_label(sweep.plan.sets[job.set].differs, keys)
            score = job.score.mean if job.score else ""
            writer.writerow((numbers[job.id], sweep.sweep, job.id, job.set, label, job.seed, score))
    return text.getvalue()


def _command(job: Job, number: int, folder: Path) -> str:
    environment = job.configuration.environment.id
    return f"python -m rl_zoo3.enjoy --algo {ALGORITHM} --env {environment} -f {folder} --exp-id {number}"
