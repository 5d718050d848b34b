"""What the arithmetic of one SAC update allows: its matrix products alone, one after another on one core.

They are those of SB3's step, which this project's does with fewer: the actor on s and on s', both target critics, both
critics forward and backward, both critics forward and backward to the action, the actor backward.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch

ROWS = 256
OBSERVATION, ACTION = 8, 2

Shape = tuple[int, int, int]
"""(m, k, n) of an (m, k) × (k, n) product."""


def shapes(layers: Sequence[int]) -> list[Shape]:
    """Return the products of one update, for hidden layers of these widths and batches of 256 rows."""
    actor = _perceptron(OBSERVATION, layers, 2 * ACTION)
    critic = _perceptron(OBSERVATION + ACTION, layers, 1)
    forward_actor, forward_critic = _forward(actor), _forward(critic)
    to_action = [*_inputs(critic)[:-1], (ROWS, critic[0][1], ACTION)]
    return [
        *2 * forward_actor,
        *2 * forward_critic,  # targets
        *2 * [*forward_critic, *_weights(critic), *_inputs(critic)[:-1]],
        *2 * [*forward_critic, *to_action],
        *_weights(actor),
        *_inputs(actor)[:-1],
    ]


def flops(layers: Sequence[int]) -> int:
    """Return the floating-point operations of one update's products."""
    return sum(2 * m * k * n for m, k, n in shapes(layers))


class Products:
    """The products of one update. Those of one shape share their operands, so that these are in the cache."""

    def __init__(self, layers: Sequence[int]) -> None:
        wanted = shapes(layers)
        known = {(m, k, n): (torch.rand(m, k), torch.rand(k, n), torch.empty(m, n)) for m, k, n in set(wanted)}
        self._operands = [known[shape] for shape in wanted]

    def __call__(self) -> None:
        """Compute all of them."""
        for left, right, out in self._operands:
            torch.mm(left, right, out=out)


def _perceptron(inputs: int, layers: Sequence[int], outputs: int) -> list[tuple[int, int]]:
    return list(pairwise((inputs, *layers, outputs)))


def _forward(network: Sequence[tuple[int, int]]) -> list[Shape]:
    return [(ROWS, inputs, outputs) for inputs, outputs in network]


def _weights(network: Sequence[tuple[int, int]]) -> list[Shape]:
    return [(outputs, ROWS, inputs) for inputs, outputs in network]


def _inputs(network: Sequence[tuple[int, int]]) -> list[Shape]:
    """Return the gradients by each layer's input, from the last layer to the first."""
    return [(ROWS, outputs, inputs) for inputs, outputs in reversed(network)]
