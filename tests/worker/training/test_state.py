"""State is copied whole: with all of it a run goes on as it would have, and without any item of it, it does not."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from worker.contract.errors import CheckpointCorrupt, Diverged, StorageUnavailable
from worker.contract.job import Job
from worker.snapshot.arrays import Array
from worker.snapshot.random_streams import Pcg64
from worker.snapshot.replay_rows import ReplayRows
from worker.snapshot.training_state import TrainingState, expected_tensors
from worker.training.environment import TrainingEnvironment
from worker.training.trainer import SacRun
from worker.training_run import Snapshot, TrainingRun

CUT = 230


class Stop(Exception):
    """The boundary was reached."""


def ignore(*_: object) -> None:
    return


def capture_at(job: Job, step: int) -> tuple[SacRun, Snapshot]:
    """Train up to `step`, and return the stopped run with its snapshot."""
    run = SacRun(job)
    snapshots: list[Snapshot] = []

    def boundary(_: TrainingRun) -> None:
        if run.step == step:
            snapshots.append(run.capture(0))
            raise Stop

    with pytest.raises(Stop):
        run.train(boundary, ignore)
    return run, snapshots[0]


def resume(job: Job, snapshot: Snapshot, *, exact: bool = True) -> str:
    """Return the digest at the end of a run that goes on from `snapshot`."""
    run = SacRun(job)
    run.restore(snapshot.state, [snapshot.rows], snapshot.partial, ignore, exact=exact)
    return run.train(ignore, ignore).state_digest


@dataclass(frozen=True)
class Case:
    job: Job
    snapshot: Snapshot
    digest: str
    """At the end of the run that was never cut."""


@pytest.fixture(scope="module")
def late(make_job: Callable[..., Job]) -> Case:
    """A run cut after some updates, in mid-episode."""
    job = make_job()
    return Case(job, capture_at(job, CUT)[1], SacRun(job).train(ignore, ignore).state_digest)


@pytest.fixture(scope="module")
def early(make_job: Callable[..., Job]) -> Case:
    """A run cut in the warm-up, where actions are drawn from the action space."""
    job = make_job(timesteps=60, learning_starts=50)
    return Case(job, capture_at(job, 30)[1], SacRun(job).train(ignore, ignore).state_digest)


def test_with_all_of_its_state_a_run_goes_on_as_it_would_have(late: Case, early: Case) -> None:
    assert resume(late.job, late.snapshot) == late.digest
    assert resume(early.job, early.snapshot) == early.digest


def tensor(name: str, change: Callable[[Array], Array]) -> Callable[[TrainingState], TrainingState]:
    def ablate(state: TrainingState) -> TrainingState:
        assert np.any(change(state.tensors[name]) != state.tensors[name])
        return replace(state, tensors={**state.tensors, name: change(state.tensors[name])})

    return ablate


def as_the_critic(state: TrainingState) -> TrainingState:
    """What a checkpoint without target networks would be resumed with."""
    names = [name for name in state.tensors if "critic_target" in name]
    copied = {name: state.tensors[name.replace("critic_target", "critic")] for name in names}
    return replace(state, tensors={**state.tensors, **copied})


def another_stream(name: str) -> Callable[[TrainingState], TrainingState]:
    def ablate(state: TrainingState) -> TrainingState:
        if name == "torch_state":
            other = torch.Generator().manual_seed(99).get_state().numpy()
            return replace(state, streams=replace(state.streams, torch_state=other))
        return replace(state, streams=replace(state.streams, numpy_key=state.streams.numpy_key[::-1].copy()))

    return ablate


def other_action_space(state: TrainingState) -> TrainingState:
    head = state.streams.head.model_copy(update={"action_space": Pcg64.of(np.random.default_rng(5))})
    return replace(state, streams=replace(state.streams, head=head))


ABLATIONS: dict[str, Callable[[TrainingState], TrainingState]] = {
    "target networks": as_the_critic,
    "the actor's first moments": tensor("actor.optimizer/0/exp_avg", np.zeros_like),
    "the critic's second moments": tensor("critic.optimizer/2/exp_avg_sq", np.zeros_like),
    "Adam's step count": tensor("critic.optimizer/0/step", np.ones_like),
    "the entropy coefficient": tensor("log_ent_coef", np.zeros_like),
    "its optimizer": tensor("ent_coef_optimizer/0/exp_avg", np.zeros_like),
    "NumPy's stream": another_stream("numpy_key"),
    "torch's stream": another_stream("torch_state"),
}


@pytest.mark.parametrize("what", ABLATIONS)
def test_without_an_item_of_its_state_a_run_comes_out_otherwise(what: str, late: Case) -> None:
    without = replace(late.snapshot, state=ABLATIONS[what](late.snapshot.state))
    assert resume(late.job, without) != late.digest


def test_without_the_action_spaces_stream_the_warm_up_comes_out_otherwise(early: Case) -> None:
    without = replace(early.snapshot, state=other_action_space(early.snapshot.state))
    assert resume(early.job, without) != early.digest


def test_after_the_warm_up_the_action_spaces_stream_does_not_matter_to_the_weights(late: Case) -> None:
    straight = SacRun(late.job).train(ignore, ignore)
    run = SacRun(late.job)
    state = other_action_space(late.snapshot.state)
    run.restore(state, [late.snapshot.rows], None, ignore, exact=True)
    assert run.train(ignore, ignore).policy == straight.policy


@pytest.mark.parametrize("draws", [1, 700])
def test_what_other_threads_draw_from_pythons_stream_is_in_no_digest(draws: int, late: Case) -> None:
    def drawing(_: TrainingRun) -> None:
        for _draw in range(draws):
            random.gauss(0, 1)

    assert SacRun(late.job).train(drawing, ignore).state_digest == late.digest


def test_an_environment_with_another_stream_is_a_corrupt_checkpoint(late: Case) -> None:
    cursor = late.snapshot.state.cursor
    head = cursor.head.model_copy(update={"before_reset": Pcg64.of(np.random.default_rng(5))})
    wrong = replace(late.snapshot.state, cursor=replace(cursor, head=head))
    with pytest.raises(CheckpointCorrupt, match="does not replay"):
        resume(late.job, replace(late.snapshot, state=wrong))


def test_on_another_machine_a_run_goes_on_from_where_the_replay_came_out(late: Case) -> None:
    wrong = replace(late.snapshot.state, last_observation=late.snapshot.state.last_observation + 1)
    assert resume(late.job, replace(late.snapshot, state=wrong), exact=False) == late.digest


def test_rows_that_are_missing_are_a_corrupt_checkpoint(late: Case) -> None:
    rows = late.snapshot.rows
    parts = {
        "the first": [rows.slice(10, CUT)],
        "the last": [rows.slice(0, CUT - 1)],
        "in between": [rows.slice(0, 100), rows.slice(101, CUT)],
        "all": [],
    }
    for missing in parts.values():
        with pytest.raises(CheckpointCorrupt, match="rows"):
            SacRun(late.job).restore(late.snapshot.state, missing, None, ignore, exact=True)


def test_a_download_that_breaks_off_leaves_no_environment_open(late: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[TrainingEnvironment] = []
    close = TrainingEnvironment.close

    def told(environment: TrainingEnvironment) -> None:
        closed.append(environment)
        close(environment)

    def breaks_off() -> Iterator[ReplayRows]:
        yield late.snapshot.rows.slice(0, 100)
        raise StorageUnavailable("The connection broke.")

    monkeypatch.setattr(TrainingEnvironment, "close", told)
    with pytest.raises(StorageUnavailable):
        SacRun(late.job).restore(late.snapshot.state, breaks_off(), None, ignore, exact=True)
    assert len(closed) == 1


def arrays(run: SacRun) -> Iterator[Array]:
    """Yield every array that a run trains in."""
    model: Any = run._model
    yield from (tensor.numpy() for tensor in model.policy.state_dict().values())
    yield model.log_ent_coef.detach().numpy()
    for optimizer in (model.actor.optimizer, model.critic.optimizer, model.ent_coef_optimizer):
        for moments in optimizer.state.values():
            yield from (moment.numpy() for moment in moments.values())
    yield from (getattr(model.replay_buffer, name) for name in ("observations", "next_observations", "actions"))
    yield from (getattr(model.replay_buffer, name) for name in ("rewards", "dones", "timeouts"))
    yield model._last_obs
    yield np.random.get_state(legacy=False)["state"]["key"]  # noqa: NPY002


def test_a_capture_shares_no_memory_with_the_run_nor_a_restored_run_with_what_it_was_restored_from(
    make_job: Callable[..., Job],
) -> None:
    run, snapshot = capture_at(make_job(timesteps=220), 210)
    restored = SacRun(make_job(timesteps=220))
    restored.restore(snapshot.state, [snapshot.rows], None, ignore, exact=True)
    state, rows = snapshot.state, snapshot.rows
    copies = [
        *state.tensors.values(),
        *state.streams.arrays().values(),
        state.cursor.actions,
        state.last_observation,
        *(rows.observations, rows.next_observations, rows.actions, rows.rewards, rows.dones, rows.timeouts),
    ]
    for live in (*arrays(run), *arrays(restored)):
        assert not any(np.shares_memory(live, copy) for copy in copies)


def test_a_weight_that_is_not_finite_is_never_captured(make_job: Callable[..., Job]) -> None:
    run, _ = capture_at(make_job(timesteps=220), 20)
    model: Any = run._model
    model.critic.qf1[0].bias.data[3] = float("nan")
    with pytest.raises(Diverged, match="20 steps"):
        run.capture(0)


@pytest.mark.parametrize(
    "hyperparameters",
    [
        {"policy_kwargs": {"net_arch": (5,)}},
        {"policy_kwargs": {"net_arch": {"pi": (7,), "qf": (6, 5, 4)}, "activation_fn": "elu"}, "ent_coef": 0.1},
    ],
)
def test_names_and_shapes_follow_from_the_job_as_they_do_from_the_networks(
    hyperparameters: dict[str, Any], make_job: Callable[..., Job]
) -> None:
    job = make_job(timesteps=30, learning_starts=25, **hyperparameters)
    for step in (20, 29):
        _, snapshot = capture_at(job, step)
        found = {name: array.shape for name, array in snapshot.state.tensors.items()}
        assert found == expected_tensors(job.configuration, updated=step > 25)
        again = TrainingState.decode(snapshot.state.encode(), job.configuration)
        assert again.encode() == snapshot.state.encode()


def put(name: str, value: float, index: int = 0) -> Callable[[dict[str, Array]], None]:
    def tamper(content: dict[str, Array]) -> None:
        content[name] = content[name].copy()
        content[name].reshape(-1)[index] = value

    return tamper


def in_head(*path: str, value: object) -> Callable[[dict[str, Array]], None]:
    def tamper(content: dict[str, Array]) -> None:
        head = json.loads(content["head"].tobytes())
        place = head
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = value
        content["head"] = np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)

    return tamper


def longer(name: str) -> Callable[[dict[str, Array]], None]:
    return lambda content: content.update({name: np.repeat(content[name], 2, axis=0)})


TAMPERED: dict[str, Callable[[dict[str, Array]], object]] = {
    "a weight is NaN": put("policy/actor.mu.bias", np.nan),
    "a moment is infinite": put("critic.optimizer/1/exp_avg", np.inf),
    "a second moment is negative": put("critic.optimizer/1/exp_avg_sq", -1),
    "Adam stepped back": put("actor.optimizer/1/step", -1),
    "a layer is wider": longer("policy/critic.qf0.0.bias"),
    "a layer is missing": lambda content: content.pop("policy/critic.qf1.2.weight"),
    "a layer too many": lambda content: content.update({"policy/critic.qf2.0.bias": np.zeros(3, dtype=np.float32)}),
    "moments before any update": in_head("counters", "updates", value=0),
    "no step of the environment is stored": in_head("counters", "rows", value=0),
    "fewer steps than the episode has": in_head("counters", "step", value=10),
    "a negative count": in_head("counters", "episodes", value=-1),
    "a count that is text": in_head("counters", "updates", value="many"),
    "episodes that nobody knows": in_head("counters", "episodes", value=50),
    "another optimizer's rate": in_head("learning_rates", "policy.optimizer", value=1e-3),
    "a rate that is infinite": in_head("learning_rates", "actor.optimizer", value=float("inf")),
    "a stream's even increment": in_head("cursor", "before_reset", "inc", value=2),
    "a stream's state of 129 bits": in_head("cursor", "now", "state", value=2**128),
    "a place behind MT19937's words": in_head("streams", "numpy_position", value=625),
    "words too many": longer("random.numpy"),
    "an episode longer than any": longer("cursor.actions"),
    "another version": in_head("version", value=2),
    "an unknown field": in_head("code", value="import os"),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_state_that_encode_did_not_write_is_a_corrupt_checkpoint(what: str, late: Case) -> None:
    content = safetensors.numpy.load(late.snapshot.state.encode())
    content["cursor.actions"] = np.repeat(content["cursor.actions"], 4, axis=0)  # up to 120 of at most 200
    TrainingState.decode(safetensors.numpy.save(content), late.job.configuration)
    TAMPERED[what](content)
    with pytest.raises(CheckpointCorrupt):
        TrainingState.decode(safetensors.numpy.save(content), late.job.configuration)


def test_a_torch_stream_that_torch_refuses_is_a_corrupt_checkpoint(late: Case) -> None:
    streams = replace(late.snapshot.state.streams, torch_state=np.full(5056, 255, dtype=np.uint8))
    with pytest.raises(CheckpointCorrupt, match="torch"):
        resume(late.job, replace(late.snapshot, state=replace(late.snapshot.state, streams=streams)))


def test_a_state_of_another_job_is_a_corrupt_checkpoint(late: Case, make_job: Callable[..., Job]) -> None:
    for other in (
        make_job(ent_coef=0.1),
        make_job(policy_kwargs={"net_arch": (32, 33)}),
        make_job("tests/Drifting-v0"),
    ):
        with pytest.raises(CheckpointCorrupt):
            TrainingState.decode(late.snapshot.state.encode(), other.configuration)
