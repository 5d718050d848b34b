"""A network's parameters as slices of one tensor, and Adam on such a tensor: one call instead of one per layer."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch as th

ALIGNMENT = 16
"""Floats in 64 bytes. Each block starts on a multiple, as separately allocated tensors do, for a matrix product may
take another path, and round otherwise, where its operands are not aligned."""


class FlatParameters:
    """The parameters of a network and their gradients, each in one tensor that the parameters are views of.

    A block is a run of parameters that lie side by side without a gap, so that they can also be read as one matrix.

    Attributes:
        parameters: in the order of the blocks.
        values: all parameters, with zeros in the gaps between blocks.
        gradients: laid out like `values`.
    """

    def __init__(self, blocks: Iterable[Sequence[th.Tensor]]) -> None:
        self._offsets: dict[th.Tensor, int] = {}
        end = 0
        for block in blocks:
            end = -(-end // ALIGNMENT) * ALIGNMENT
            for parameter in block:
                self._offsets[parameter] = end
                end += parameter.numel()
        self.parameters = tuple(self._offsets)
        self.values = self.parameters[0].detach().new_zeros(end)
        self.gradients = th.zeros_like(self.values)
        self.attach()

    def attach(self) -> None:
        """Make each parameter a view of `values` again, if something gave it memory of its own, and keep its numbers.

        `load_state_dict` copies into the views; SB3's `load` rebinds the data of `log_ent_coef`.
        """
        for parameter, offset in self._offsets.items():
            if parameter.data_ptr() != self.values.data_ptr() + offset * self.values.element_size():
                view = self.view(self.values, parameter)
                view.copy_(parameter.detach())
                parameter.data = view
                parameter.grad = self.view(self.gradients, parameter)

    def view(self, flat: th.Tensor, *block: th.Tensor) -> th.Tensor:
        """Return the part of `flat` that belongs to `block`, stacked along the first dimension."""
        offset, rows = self._offsets[block[0]], sum(parameter.shape[0] for parameter in block)
        count = sum(parameter.numel() for parameter in block)
        return flat[offset : offset + count].view(rows, *block[0].shape[1:])


class FlatAdam(th.optim.Adam):
    """Adam (Kingma & Ba 2015, algorithm 1), with all parameters and moments updated by one call.

    Its `state_dict` is that of `torch.optim.Adam` over the same parameters, and each loads the other's. A parameter
    that was never updated has moments and a step count of zero, where torch's has no state yet: the same to Adam.
    """

    def __init__(self, flat: FlatParameters, like: th.optim.Adam) -> None:
        """Continue `like`: its parameters, which must be those of `flat`, its options and its state."""
        group = dict(like.param_groups[0])
        super().__init__(group.pop("params"), lr=group["lr"])
        self.param_groups[0].update(group)
        self._flat = flat
        self._mean, self._square = th.zeros_like(flat.values), th.zeros_like(flat.values)
        self._steps = th.zeros(len(flat.parameters), device=flat.values.device)
        self._step_counts = self._steps.numpy()
        self._operands: tuple[list[th.Tensor], ...] = (
            [flat.values],
            [flat.gradients],
            [self._mean],
            [self._square],
            [],
            [self._steps[0]],
        )
        self.load_state_dict(like.state_dict())

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copy `state_dict` into the flat moments, which stay what this optimizer's state is made of."""
        super().load_state_dict(dict(state_dict))
        for index, parameter in enumerate(self.param_groups[0]["params"]):
            views = {
                "step": self._steps[index],
                "exp_avg": self._flat.view(self._mean, parameter),
                "exp_avg_sq": self._flat.view(self._square, parameter),
            }
            loaded = self.state[parameter]
            for name, view in views.items():
                view.copy_(loaded[name]) if name in loaded else view.zero_()
            self.state[parameter] = views

    def descend(self) -> None:
        """Update the parameters by the flat gradients: what `step` does, without its hooks and checks."""
        group = self.param_groups[0]
        beta1, beta2 = group["betas"]
        self._step_counts += 1
        th._fused_adam_(
            *self._operands,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )
