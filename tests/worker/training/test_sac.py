"""FastSAC is SB3's SAC: what a rewrite of its gradient step gets wrong, one test each."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.sac.policies import SACPolicy
from torch import nn

from tests.worker.training.sb3_reference import SpacesOnly, gradients_of_train, optimizers
from tests.worker.training.test_sac_gradients import draw_step
from worker.training.networks import Memory, Networks
from worker.training.sac import FastSAC
from worker.training.squashed_gaussian import LOG_STD_MAX, LOG_STD_MIN, SquashedGaussian

SMALL: dict[str, Any] = {"policy_kwargs": {"net_arch": [16, 16]}, "batch_size": 16, "buffer_size": 500, "device": "cpu"}


def pair(**options: Any) -> tuple[FastSAC, SAC]:
    """Return ours and SB3's, both with the same random weights and transitions in their buffers."""
    env = options.pop("env", None) or SpacesOnly(5, 2)
    models = FastSAC("MlpPolicy", env, seed=1, **(SMALL | options)), SAC("MlpPolicy", env, seed=1, **(SMALL | options))
    for model in models:
        fill(model, 100)
        model.set_logger(Logger(folder=None, output_formats=[]))
    return models


def fill(model: SAC, count: int) -> None:
    rng = np.random.default_rng(0)
    observations, actions = model.observation_space.shape[0], model.action_space.shape[0]
    for number in range(count):
        model.replay_buffer.add(
            rng.normal(size=(1, observations)),
            rng.normal(size=(1, observations)),
            rng.uniform(-1, 1, size=(1, actions)),
            rng.normal(size=1),
            np.array([number % 7 == 0]),
            [{"TimeLimit.truncated": number % 14 == 0}],
        )


def seed_streams(seed: int = 5) -> None:
    np.random.seed(seed)  # noqa: NPY002 - what samples are drawn from
    th.manual_seed(seed)


def logged(model: SAC) -> dict[str, float]:
    return {name: float(value) for name, value in model.logger.name_to_value.items()}


def test_a_gradient_step_logs_what_sb3_logs_under_the_same_keys() -> None:
    ours, theirs = pair()
    for model in (ours, theirs):
        seed_streams()
        model.train(gradient_steps=3, batch_size=16)
    assert list(ours.logger.name_to_value) == list(theirs.logger.name_to_value)
    assert ours.logger.name_to_excluded == theirs.logger.name_to_excluded
    assert logged(ours) == pytest.approx(logged(theirs), rel=1e-4)
    assert ours._n_updates == theirs._n_updates == 3


def test_a_fixed_entropy_coefficient_logs_no_loss_of_its_own() -> None:
    ours, theirs = pair(ent_coef=0.2)
    for model in (ours, theirs):
        seed_streams()
        model.train(gradient_steps=1, batch_size=16)
    assert list(ours.logger.name_to_value) == list(theirs.logger.name_to_value)
    assert "train/ent_coef_loss" not in ours.logger.name_to_value


@pytest.mark.parametrize("ent_coef", ["auto", "auto_0.1", 0.2])
def test_both_losses_use_the_entropy_coefficient_from_before_its_step(ent_coef: str | float) -> None:
    found = []
    for move in (0.0, 5.0):
        model, _ = pair(ent_coef=ent_coef)
        step = draw_step(model, np.random.default_rng(0))
        if "alpha" in step.moves:
            step.moves["alpha"][0].fill_(move)
        found.append(gradients_of_train(model, [step])[0][0])
    assert all(th.equal(found[0][name], found[1][name]) for name in found[0])


def test_the_entropy_coefficients_optimizer_is_plain_adam_and_ignores_policy_kwargs() -> None:
    kwargs = {"net_arch": [16], "optimizer_kwargs": {"eps": 1e-3, "betas": (0.5, 0.6), "weight_decay": 0.1}}
    ours, theirs = pair(policy_kwargs=kwargs)
    for name, optimizer in optimizers(ours).items():
        assert isinstance(optimizer, th.optim.Adam)
        expected = {k: v for k, v in optimizers(theirs)[name].param_groups[0].items() if k != "params"}
        assert {k: v for k, v in optimizer.param_groups[0].items() if k != "params"} == expected
    assert ours.ent_coef_optimizer is not None
    assert ours.ent_coef_optimizer.param_groups[0]["eps"] == 1e-8


@pytest.mark.parametrize("interval", [1, 2, 3])
def test_target_update_interval_counts_within_one_train(interval: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pair(target_update_interval=interval, tau=0.5, learning_rate=1e-3)
    updated: list[int] = []
    monkeypatch.setattr(Networks, "follow_critics", lambda *_: updated.append(0))
    ours.train(gradient_steps=5, batch_size=16)
    ours.train(gradient_steps=5, batch_size=16)
    polyak: list[int] = []
    monkeypatch.setattr("stable_baselines3.sac.sac.polyak_update", lambda *_: polyak.append(0))
    theirs.train(gradient_steps=5, batch_size=16)
    theirs.train(gradient_steps=5, batch_size=16)
    # SB3 makes a second call for the statistics of batch norm, of which there are none.
    assert 2 * len(updated) == len(polyak) == 4 * -(-5 // interval)


def test_the_targets_follow_the_critics_after_the_critics_step() -> None:
    ours, _ = pair(tau=1.0, learning_rate=1e-2)
    ours.train(gradient_steps=1, batch_size=16)
    critic, target = ours.critic.state_dict(), ours.critic_target.state_dict()
    assert all(th.equal(critic[name], target[name]) for name in critic)


def test_the_learning_rate_is_set_once_per_train_on_all_optimizers() -> None:
    ours, _ = pair(learning_rate=LinearSchedule(1e-3, 0.0, 1.0))
    asked: list[float] = []
    schedule = ours.lr_schedule
    ours.lr_schedule = lambda remaining: asked.append(remaining) or schedule(remaining)
    ours._current_progress_remaining = 0.25
    ours.train(gradient_steps=5, batch_size=16)
    assert asked == [0.25] * 4  # for the log and for each of the three optimizers
    rate = schedule(0.25)
    assert rate == pytest.approx(2.5e-4)
    assert [optimizer.param_groups[0]["lr"] for optimizer in optimizers(ours).values()] == [rate] * 3
    assert logged(ours)["train/learning_rate"] == rate


def test_the_learning_rate_of_the_schedule_is_the_one_that_moves_the_parameters() -> None:
    ours, _ = pair(learning_rate=LinearSchedule(1e-3, 0.0, 1.0))
    before = [parameter.detach().clone() for parameter in (*ours.actor.parameters(), *ours.critic.parameters())]
    ours._current_progress_remaining = 0.0
    ours.train(gradient_steps=1, batch_size=16)
    after = [parameter.data for parameter in (*ours.actor.parameters(), *ours.critic.parameters())]
    assert all(th.equal(value, old) for value, old in zip(after, before, strict=True))
    ours._current_progress_remaining = 0.5
    ours.train(gradient_steps=1, batch_size=16)
    # Adam's second step, after a first one of the same direction, is at most the learning rate in size.
    assert 0 < max(float((value - old).abs().max()) for value, old in zip(after, before, strict=True)) < 6e-4


@pytest.mark.parametrize("raw", [LOG_STD_MIN, LOG_STD_MAX, LOG_STD_MIN - 1e-5, LOG_STD_MAX + 1e-5, -3.0])
def test_clamp_passes_the_gradient_at_its_bounds_and_not_beyond(raw: float) -> None:
    parameters = th.tensor([[0.3, raw]], requires_grad=True)
    noise = th.tensor([[0.7]])
    log_std = parameters[:, 1:].clamp(LOG_STD_MIN, LOG_STD_MAX)
    action = th.tanh(parameters[:, :1] + log_std.exp() * noise)
    log_prob = -0.5 * noise**2 - log_std - 0.5 * np.log(2 * np.pi) - th.log(1 - action**2 + 1e-6)
    (2.0 * action + 0.5 * log_prob).sum().backward()
    assert parameters.grad is not None

    policy = SquashedGaussian(parameters.detach().numpy(), noise.numpy())
    gradient = policy.backward(np.full((1, 1), 2.0, np.float32), log_prob_weight=0.5)
    assert gradient == pytest.approx(parameters.grad.numpy(), rel=1e-4)
    assert (gradient[0, 1] == 0) == (not LOG_STD_MIN <= np.float32(raw) <= LOG_STD_MAX)
    assert policy.log_prob() == pytest.approx(log_prob.detach().numpy(), rel=1e-6)


def test_the_log_probability_of_a_saturated_action_is_sb3s() -> None:
    ours, theirs = pair()
    for model in (ours, theirs):
        model.actor.mu.bias.data.fill_(30.0)
    distribution = theirs.actor.action_dist
    th.manual_seed(0)
    observation = th.zeros(4, 5)
    _, expected = theirs.actor.action_log_prob(observation)
    noise = (distribution.gaussian_actions - distribution.distribution.mean) / distribution.distribution.stddev
    parameters = th.cat(
        [theirs.actor.mu(theirs.actor.latent_pi(observation)), distribution.distribution.stddev.log()], 1
    )
    found = SquashedGaussian(parameters.detach().numpy(), noise.detach().numpy()).log_prob()
    assert np.isfinite(found).all()
    assert found[:, 0] == pytest.approx(expected.detach().numpy(), rel=1e-5)


@pytest.mark.parametrize("rows", [1, 7, 8, 16, 33, 256])
def test_the_noise_is_drawn_as_sb3_draws_it(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pair(batch_size=rows)
    drawn: list[th.Tensor] = []
    normal = th.distributions.normal._standard_normal

    def record(*args: Any, **kwargs: Any) -> th.Tensor:
        drawn.append(normal(*args, **kwargs))
        return drawn[-1]

    monkeypatch.setattr("torch.distributions.normal._standard_normal", record)
    seed_streams()
    theirs.train(gradient_steps=2, batch_size=rows)
    after = th.get_rng_state()
    seed_streams()
    ours.train(gradient_steps=2, batch_size=rows)
    assert th.equal(th.get_rng_state(), after)
    seed_streams()
    memory = Memory(ours._networks, rows)
    for step in range(2):
        assert np.array_equal(memory.draw_noise(), th.cat(drawn[2 * step : 2 * step + 2]).numpy())


def test_buffer_indices_come_from_numpys_global_stream_as_sb3s_do() -> None:
    ours, theirs = pair()
    states = []
    for model in (ours, theirs):
        seed_streams()
        model.train(gradient_steps=3, batch_size=16)
        states.append(np.random.get_state())  # noqa: NPY002
    assert states[0][2] == states[1][2]
    assert np.array_equal(states[0][1], states[1][1])


def test_each_gradient_step_samples_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _ = pair()
    sampled: list[int] = []
    sample = ours.replay_buffer.sample
    monkeypatch.setattr(ours.replay_buffer, "sample", lambda *a, **k: sampled.append(a[0]) or sample(*a, **k))
    ours.train(gradient_steps=4, batch_size=16)
    assert sampled == [16] * 4


def test_sb3s_own_buffer_trains_to_the_same_bits() -> None:
    packed, _ = pair()
    plain, _ = pair(replay_buffer_class=ReplayBuffer)
    for model in (packed, plain):
        seed_streams()
        model.train(gradient_steps=5, batch_size=16)
    expected = plain.policy.state_dict()
    assert all(th.equal(value, expected[name]) for name, value in packed.policy.state_dict().items())


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-2.0, 2.0), (-0.3, 1.7)])
def test_actions_are_unscaled_scaled_and_unscaled_as_sb3_does(
    low: float, high: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pair(env=SpacesOnly(5, 2, low, high))
    monkeypatch.setattr(SACPolicy, "_predict", lambda *_, **__: th.from_numpy(sampled[-1]))
    sampled: list[np.ndarray] = []
    new = SquashedGaussian.__init__

    def record(self: SquashedGaussian, *args: Any) -> None:
        new(self, *args)
        sampled.append(self.action)

    monkeypatch.setattr(SquashedGaussian, "__init__", record)
    for seed in range(20):
        observation = np.random.default_rng(seed).normal(size=(1, 5)).astype(np.float32)
        ours._last_obs = theirs._last_obs = observation
        found = ours._sample_action(learning_starts=0)
        expected = theirs._sample_action(learning_starts=0)
        assert [part.tobytes() for part in found] == [part.tobytes() for part in expected]
        assert [part.dtype for part in found] == [part.dtype for part in expected]


def test_the_rollout_samples_sb3s_policy_with_sb3s_noise() -> None:
    ours, theirs = pair()
    for model in (ours, theirs):
        model._last_obs = np.full((1, 5), 0.3, np.float32)
    th.manual_seed(3)
    found = ours._sample_action(learning_starts=0)[0]
    after = th.get_rng_state()
    th.manual_seed(3)
    assert found == pytest.approx(theirs._sample_action(learning_starts=0)[0], rel=1e-5)
    assert th.equal(th.get_rng_state(), after)


def test_before_learning_starts_actions_come_from_the_action_space() -> None:
    ours, theirs = pair()
    sampled = []
    for model in (ours, theirs):
        model.action_space.seed(4)
        sampled.append(model._sample_action(learning_starts=10)[0])
    assert np.array_equal(*sampled)


@pytest.mark.parametrize(
    ("target_entropy", "ent_coef", "expected"),
    [("auto", "auto", (-2.0, 1.0)), ("auto", "auto_0.1", (-2.0, 0.1)), (-0.5, "auto_2", (-0.5, 2.0))],
)
def test_target_entropy_and_first_entropy_coefficient_are_sb3s(
    target_entropy: str | float, ent_coef: str, expected: tuple[float, float]
) -> None:
    ours, theirs = pair(target_entropy=target_entropy, ent_coef=ent_coef)
    assert ours.target_entropy == theirs.target_entropy == expected[0]
    assert ours.log_ent_coef is not None
    assert ours.log_ent_coef.item() == theirs.log_ent_coef.item()
    ours.train(gradient_steps=1, batch_size=16)
    assert logged(ours)["train/ent_coef"] == pytest.approx(expected[1])


def test_the_memory_of_a_step_carries_nothing_to_the_next() -> None:
    clean, soiled = pair()[0], pair()[0]
    for model in (clean, soiled):
        seed_streams()
        for number in range(6):
            if model is soiled and number:
                soil(model)
            model.train(gradient_steps=1, batch_size=16)
    expected = clean.policy.state_dict()
    assert all(th.equal(value, expected[name]) for name, value in soiled.policy.state_dict().items())


def soil(model: FastSAC) -> None:
    """Write garbage to all memory that is not SB3's state."""
    memory = model._memory
    for each in (memory.policy, memory.critics, memory.targets, model._rollout):
        for values in (
            each.x,
            each.y,
            each.y_gradient,
            *(h.numpy() for h in (*each.hidden, *each.kept, *each.hidden_gradients)),
        ):
            values.fill(np.nan)
    for flat in (model._networks.actor_parameters, model._networks.critic_parameters):
        for parameter in flat.parameters:
            flat.view(flat.gradients, parameter).fill_(np.nan)


def test_the_networks_stay_flat_when_parameters_are_loaded() -> None:
    ours, _theirs = pair()
    other, _ = pair()
    seed_streams()
    other.train(gradient_steps=3, batch_size=16)
    ours.set_parameters(other.get_parameters())
    ours.log_ent_coef.data = other.log_ent_coef.data.clone()
    for model in (ours, other):
        seed_streams(8)
        model.train(gradient_steps=3, batch_size=16)
    expected = other.policy.state_dict()
    assert all(th.equal(value, expected[name]) for name, value in ours.policy.state_dict().items())
    assert th.equal(ours.log_ent_coef, other.log_ent_coef)


def test_a_state_moves_to_sb3_and_back() -> None:
    ours, theirs = pair()
    seed_streams()
    ours.train(gradient_steps=5, batch_size=16)
    theirs.set_parameters(ours.get_parameters())
    theirs.log_ent_coef.data.copy_(ours.log_ent_coef.data)
    back, _ = pair()
    back.set_parameters(theirs.get_parameters())
    for name, value in ours.policy.state_dict().items():
        assert th.equal(value, theirs.policy.state_dict()[name])
        assert th.equal(value, back.policy.state_dict()[name])
    theirs.train(gradient_steps=1, batch_size=16)
    assert {float(state["step"]) for state in theirs.critic.optimizer.state.values()} == {6.0}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"policy_kwargs": {"activation_fn": nn.GELU}}, "activation_fn 'GELU'"),
        ({"policy_kwargs": {"n_critics": 3}}, "n_critics 3"),
        ({"policy_kwargs": {"optimizer_class": th.optim.SGD}}, "optimizer_class 'SGD'"),
        ({"policy_kwargs": {"optimizer_kwargs": {"amsgrad": True}}}, "optimizer_kwargs.amsgrad True"),
        ({"policy_kwargs": {"share_features_extractor": True}}, "share_features_extractor True"),
        ({"use_sde": True}, "use_sde True"),
        ({"n_steps": 3}, "n_steps 3"),
        ({"env": "FrozenLake"}, "observation_space"),
    ],
)
def test_what_is_not_covered_is_refused_at_construction(options: dict[str, Any], complaint: str) -> None:
    class Images(SpacesOnly):
        def __init__(self) -> None:
            super().__init__(3, 1)
            self.observation_space = gym.spaces.Box(0, 255, (40, 40, 3), np.uint8)

    env = Images() if "env" in options else SpacesOnly(3, 1)
    options = SMALL | {k: v for k, v in options.items() if k != "env"}
    with pytest.raises(ValueError, match=complaint.replace(".", r"\.")):
        FastSAC("MlpPolicy", env, **options)


def test_several_environments_at_once_are_covered() -> None:
    model = FastSAC("MlpPolicy", gym_vector(3), learning_starts=5, seed=0, **SMALL)
    model.learn(60)
    assert model.num_timesteps == 60
    assert model._n_updates > 0


def gym_vector(count: int) -> Any:
    from stable_baselines3.common.env_util import make_vec_env

    return make_vec_env("Pendulum-v1", n_envs=count)


def test_another_batch_size_than_the_models_is_covered() -> None:
    ours, theirs = pair()
    for model in (ours, theirs):
        seed_streams()
        model.train(gradient_steps=2, batch_size=64)
    assert logged(ours) == pytest.approx(logged(theirs), rel=1e-4)
