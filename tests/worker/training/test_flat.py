"""Flat parameters and Adam on them, against torch's own."""

from copy import deepcopy

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.utils import polyak_update
from torch import nn

from worker.training.flat import ALIGNMENT, FlatAdam, FlatParameters


def network(seed: int) -> nn.Sequential:
    th.manual_seed(seed)
    return nn.Sequential(nn.Linear(10, 33), nn.ReLU(), nn.Linear(33, 33), nn.ReLU(), nn.Linear(33, 1))


def flatten(module: nn.Module) -> FlatParameters:
    return FlatParameters([[parameter] for parameter in module.parameters()])


def flat_adam(module: nn.Module, **options: float) -> FlatAdam:
    return FlatAdam(flatten(module), th.optim.Adam(module.parameters(), **options))


def set_gradients(module: nn.Module, seed: int) -> None:
    generator = th.Generator().manual_seed(seed)
    for parameter in module.parameters():
        gradient = th.randn(parameter.shape, generator=generator)
        if parameter.grad is None:
            parameter.grad = gradient
        else:
            parameter.grad.copy_(gradient)


def ulps(found: th.Tensor, expected: th.Tensor, magnitude: th.Tensor) -> float:
    return float(((found - expected).abs().numpy() / np.spacing(magnitude.abs().numpy())).max())


def is_flat(flat: FlatParameters) -> bool:
    start, end = flat.values.data_ptr(), flat.values.data_ptr() + flat.values.nbytes
    return all(start <= parameter.data_ptr() < end for parameter in flat.parameters)


def test_parameters_keep_their_values_and_share_the_flat_memory() -> None:
    module = network(0)
    before = deepcopy(module.state_dict())
    flat = flatten(module)
    assert all(th.equal(value, before[name]) for name, value in module.state_dict().items())
    flat.values.zero_()
    assert all(not parameter.any() for parameter in module.parameters())
    assert all(parameter.data_ptr() % (4 * ALIGNMENT) == 0 for parameter in flat.parameters)


def test_a_block_reads_as_one_matrix() -> None:
    first, second = nn.Linear(5, 2), nn.Linear(5, 3)
    flat = FlatParameters([[first.weight, second.weight], [first.bias, second.bias]])
    weights = flat.view(flat.values, first.weight, second.weight)
    assert th.equal(weights, th.cat([first.weight, second.weight]))
    assert weights.data_ptr() == first.weight.data_ptr()


def test_load_state_dict_leaves_the_parameters_flat() -> None:
    module = network(0)
    flat = flatten(module)
    module.load_state_dict(network(1).state_dict())
    assert is_flat(flat)
    assert th.equal(flat.view(flat.values, flat.parameters[0]), network(1)[0].weight)


def test_attach_takes_over_data_that_was_rebound() -> None:
    # SB3's `load` does this to log_ent_coef (SB3 #391).
    parameter = nn.Parameter(th.zeros(1))
    flat = FlatParameters([[parameter]])
    parameter.data = th.full((1,), 7.0)
    flat.attach()
    assert is_flat(flat)
    assert flat.values[0] == 7.0
    assert parameter.grad is not None


@pytest.mark.parametrize("options", [{}, {"eps": 1e-3, "weight_decay": 0.01}, {"betas": (0.5, 0.9)}])
def test_a_step_is_torchs_adam_within_two_ulp(options: dict[str, float]) -> None:
    ours, theirs = network(0), network(0)
    adam, reference = flat_adam(ours, lr=3e-4, **options), th.optim.Adam(theirs.parameters(), lr=3e-4, **options)
    for seed in range(20):
        theirs.load_state_dict(ours.state_dict())
        reference.load_state_dict(deepcopy(adam.state_dict()))
        before = [parameter.detach().clone() for parameter in ours.parameters()]
        set_gradients(ours, seed)
        set_gradients(theirs, seed)
        adam.descend()
        reference.step()
        for parameter, expected, old in zip(ours.parameters(), theirs.parameters(), before, strict=True):
            assert ulps(parameter.data, expected.data, th.maximum(expected.data.abs(), old.abs())) <= 2
            moments, expected_moments = adam.state[parameter], reference.state[expected]
            assert moments["step"] == expected_moments["step"]
            for name in ("exp_avg", "exp_avg_sq"):
                # The mean is a sum of two terms, and its rounding is that of the larger one.
                scale = th.maximum(
                    expected_moments[name].abs(), expected.grad.abs() ** (1 + (name == "exp_avg_sq")) * 0.1
                )
                assert ulps(moments[name], expected_moments[name], scale) <= 2


def test_step_and_descend_are_the_same_update() -> None:
    one, other = network(0), network(0)
    stepped, descended = flat_adam(one, lr=1e-2), flat_adam(other, lr=1e-2)
    for seed in range(5):
        set_gradients(one, seed)
        set_gradients(other, seed)
        stepped.step()
        descended.descend()
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert th.allclose(a, b, rtol=1e-5, atol=1e-7)


def test_saved_state_loads_into_torchs_adam_and_goes_on_there() -> None:
    module, other = network(0), network(0)
    adam = flat_adam(module, lr=1e-2)
    for seed in range(3):
        set_gradients(module, seed)
        adam.descend()
    other.load_state_dict(module.state_dict())
    reference = th.optim.Adam(other.parameters(), lr=1)
    reference.load_state_dict(deepcopy(adam.state_dict()))
    set_gradients(module, 9)
    set_gradients(other, 9)
    adam.descend()
    reference.step()
    assert [float(state["step"]) for state in reference.state.values()] == [4.0] * 6
    for a, b in zip(module.parameters(), other.parameters(), strict=True):
        assert th.allclose(a, b, rtol=1e-6, atol=1e-8)


def test_torchs_state_loads_and_stays_flat() -> None:
    module, other = network(0), network(0)
    reference = th.optim.Adam(other.parameters(), lr=1e-2)
    for seed in range(3):
        set_gradients(other, seed)
        reference.step()
    adam = flat_adam(module, lr=1)
    module.load_state_dict(other.state_dict())
    adam.load_state_dict(deepcopy(reference.state_dict()))
    set_gradients(module, 9)
    set_gradients(other, 9)
    adam.descend()
    reference.step()
    assert adam.param_groups[0]["lr"] == 1e-2
    for a, b in zip(module.parameters(), other.parameters(), strict=True):
        assert th.allclose(a, b, rtol=1e-6, atol=1e-8)
        assert adam.state[a]["step"] == 4


def test_a_state_from_before_the_first_step_resets_the_moments() -> None:
    module = network(0)
    adam = flat_adam(module, lr=1e-2)
    set_gradients(module, 0)
    adam.descend()
    adam.load_state_dict(th.optim.Adam(network(0).parameters()).state_dict())
    assert all(not value.any() for state in adam.state.values() for value in state.values())


def test_the_polyak_update_has_the_bits_of_sb3s() -> None:
    for tau in (0.005, 0.01, 0.3, 1.0):
        source, ours, theirs = network(0), network(1), network(1)
        flat, target = flatten(source), flatten(ours)
        target.values.mul_(1 - tau).add_(flat.values, alpha=tau)
        polyak_update(source.parameters(), theirs.parameters(), tau)
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert th.equal(a, b)
