"""Multilayer perceptrons, forward and backward, written out and into memory that is allocated once.

Every operation is a call whose operands are bound when the memory is made. A gradient step consists of some 150 calls,
and looking for their operands anew would take longer than many of them do.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch as th
from torch import nn
from torch.nn import functional

from worker.training.flat import FlatParameters

NARROW = 16
"""Columns below which a product AᵀB is 3 times as fast as (BᵀA)ᵀ: MKL is slow where its result is narrow."""

Call = Callable[[], object]
Depths = Sequence[tuple["Layer", ...]]


@dataclass(frozen=True)
class Activation:
    """y = f(x), and its derivative told by y, or by what the forward call keeps; both calls work in place."""

    name: str
    forward: Callable[[th.Tensor, th.Tensor], Call]
    """(x, kept) → (x ← f(x))."""
    backward: Callable[[th.Tensor, th.Tensor], Call]
    """(g, kept) → (g ← g · f'(x))."""
    keeps: bool = False
    """Whether the forward call writes to a `kept` of its own. Otherwise `kept` is y."""


def _elu(x: th.Tensor, slope: th.Tensor) -> None:
    """x ← ELU(x), and keep f'(x) = exp(min(x, 0)): in float32 y + 1 has lost its digits where y is close to −1."""
    th.clamp(x, max=0, out=slope).exp_()
    functional.elu_(x)


aten = th.ops.aten
ACTIVATIONS: Mapping[type[nn.Module], Activation] = {
    nn.ReLU: Activation(
        "relu",
        lambda x, _: partial(th.relu_, x),
        lambda g, y: partial(aten.threshold_backward.grad_input, g, y, 0, grad_input=g),
    ),
    nn.Tanh: Activation(
        "tanh",
        lambda x, _: partial(th.tanh_, x),
        lambda g, y: partial(aten.tanh_backward.grad_input, g, y, grad_input=g),
    ),
    nn.ELU: Activation(
        "elu",
        lambda x, slope: partial(_elu, x, slope),
        lambda g, slope: partial(g.mul_, slope),
        keeps=True,
    ),
    nn.LeakyReLU: Activation(
        "leaky_relu",
        lambda x, _: partial(functional.leaky_relu_, x, 0.01),
        lambda g, y: partial(aten.leaky_relu_backward.grad_input, g, y, 0.01, True, grad_input=g),
    ),
}
"""By SB3's `activation_fn`, each with the defaults of its class."""


class Layer:
    """y = x Wᵀ + b, with the memory for ∂J/∂W and ∂J/∂b. Several `nn.Linear` of the same x are stacked to one layer."""

    def __init__(self, flat: FlatParameters, linears: Sequence[nn.Linear]) -> None:
        weights, biases = [linear.weight for linear in linears], [linear.bias for linear in linears]
        self.weight, self.bias = flat.view(flat.values, *weights), flat.view(flat.values, *biases)
        self._weight_gradient = flat.view(flat.gradients, *weights)
        self._bias_gradient = flat.view(flat.gradients, *biases)

    @property
    def width(self) -> int:
        """Return the number of outputs."""
        return len(self.bias)

    def forward(self, x: th.Tensor, out: th.Tensor) -> Call:
        """y ← x Wᵀ + b."""
        return partial(th.addmm, self.bias, x, self.weight.t(), out=out)

    def parameter_gradients(self, gradient: th.Tensor, x: th.Tensor) -> list[Call]:
        """∂J/∂W ← gᵀ x and ∂J/∂b ← gᵀ 1, where g = ∂J/∂y has shape (rows, outputs)."""
        calls: list[Call] = [
            partial(th.mm, gradient.new_ones(1, len(x)), gradient, out=self._bias_gradient.view(1, -1))
        ]
        if x.shape[1] < NARROW:
            transposed = gradient.new_empty(x.shape[1], self.width)
            calls.append(partial(th.mm, x.t(), gradient, out=transposed))
            calls.append(partial(self._weight_gradient.copy_, transposed.t()))
        else:
            calls.append(partial(th.mm, gradient.t(), x, out=self._weight_gradient))
        return calls

    def input_gradient(self, gradient: th.Tensor, out: th.Tensor) -> Call:
        """∂J/∂x ← g W."""
        return partial(th.mm, gradient, self.weight, out=out)


@dataclass(frozen=True)
class Perceptrons:
    """Networks of one shape: linear layers, with one activation after each but the last."""

    networks: Sequence[Sequence[Layer]]
    activation: Activation

    @property
    def depths(self) -> list[tuple[Layer, ...]]:
        """Return the layers of all networks, by depth."""
        return list(zip(*self.networks, strict=True))


class Pass:
    """The memory for one forward and one backward pass of all networks over the same rows, and their calls.

    Attributes:
        x: the input, shape (rows, inputs): write to it, then call `forward`.
        y: the output, shape (networks, rows, outputs).
        y_gradient: ∂J/∂y of the first `backward_rows` rows: write to it, then call `backward`.
        hidden: the outputs of the activations, shape (networks, rows, width) each.
        kept: what the activations' derivatives are told by, of the same shapes.
        hidden_gradients: ∂J/∂hidden times the activation's derivative.
    """

    def __init__(
        self, perceptrons: Perceptrons, rows: int, backward_rows: int = 0, spent: "Pass | None" = None
    ) -> None:
        """Allocate and bind, with the `hidden` of a pass of the same shape that is `spent`, if there is one."""
        depths, self._activation = perceptrons.depths, perceptrons.activation
        weight = depths[0][0].weight
        x = weight.new_zeros(rows, weight.shape[1])
        outputs = [weight.new_zeros(len(layers), rows, layers[0].width) for layers in depths]
        self.hidden: list[th.Tensor] = outputs[:-1] if spent is None else spent.hidden
        self.kept = self.hidden
        if self._activation.keeps:
            self.kept = [th.zeros_like(h) for h in self.hidden] if spent is None else spent.kept
        outputs = [*self.hidden, outputs[-1]]
        gradients = [th.zeros_like(output[:, :backward_rows]) for output in outputs]
        self.x, self.y, self.y_gradient = x.numpy(), outputs[-1].numpy(), gradients[-1].numpy()
        self.hidden_gradients = gradients[:-1]

        inputs = [x.expand(len(perceptrons.networks), *x.shape), *self.hidden]
        self._forward = self._bind_forward(depths, inputs, outputs)
        above = slice(None), slice(backward_rows)
        self._backward = self._bind_backward(
            depths, [h[above] for h in inputs], [k[above] for k in self.kept], gradients
        )

    def forward(self) -> np.ndarray:
        """Compute `hidden` and `y` from `x`. Returns y."""
        for call in self._forward:
            call()
        return self.y

    def backward(self) -> None:
        """Compute the gradients of all weights and biases from `y_gradient` and what the last forward pass left."""
        for call in self._backward:
            call()

    def _bind_forward(self, depths: Depths, inputs: Sequence[th.Tensor], outputs: Sequence[th.Tensor]) -> list[Call]:
        calls: list[Call] = []
        for depth, layers in enumerate(depths):
            calls += [layer.forward(inputs[depth][i], out=outputs[depth][i]) for i, layer in enumerate(layers)]
            if depth + 1 < len(depths):
                calls.append(self._activation.forward(outputs[depth], self.kept[depth]))
        return calls

    def _bind_backward(
        self, depths: Depths, inputs: Sequence[th.Tensor], kept: Sequence[th.Tensor], gradients: Sequence[th.Tensor]
    ) -> list[Call]:
        calls: list[Call] = []
        for depth, layers in reversed(list(enumerate(depths))):
            for i, layer in enumerate(layers):
                calls += layer.parameter_gradients(gradients[depth][i], inputs[depth][i])
            if depth > 0:
                below = gradients[depth - 1]
                calls += [layer.input_gradient(gradients[depth][i], out=below[i]) for i, layer in enumerate(layers)]
                calls.append(self._activation.backward(below, kept[depth - 1]))
        return calls


class ChosenGradient:
    """∂y/∂x of the last forward pass of two networks, where each row goes through one of them; weights get no gradient.

    The rows are sorted by network, so that together they are the work of one network and not of two. That work is
    done in the memory of the backward pass, which must be spent by then.
    """

    def __init__(self, perceptrons: Perceptrons, batch: Pass, columns: slice) -> None:
        """Bind to the pass of two networks with one output each, and to the columns of x that matter."""
        self._depths, self._rows = perceptrons.depths, len(batch.x)
        self._batch_kept = [k.flatten(0, 1) for k in batch.kept]
        self._kept, self._gradients = [g[0] for g in batch.hidden_gradients], [g[1] for g in batch.hidden_gradients]
        self._activation = [
            perceptrons.activation.backward(g, k) for g, k in zip(self._gradients, self._kept, strict=True)
        ]
        self._y_gradient = th.from_numpy(batch.y_gradient)[0].new_ones(self._rows, 1)
        self._columns = [layer.weight[:, columns].t() for layer in self._depths[0]]
        self._x_gradient = self._y_gradient.new_zeros(self._rows, len(self._columns[0]))
        self._in_order = self._x_gradient.numpy().copy()

    def __call__(self, second: np.ndarray) -> np.ndarray:
        """Return ∂y/∂x[:, columns], shape (rows, columns): through the second network where told so, else the first."""
        order = second.argsort(kind="stable")
        end = self._rows - np.count_nonzero(second)
        parts = slice(end), slice(end, None)
        source = th.from_numpy(order + self._rows * second[order])

        gradient = self._y_gradient
        for depth in reversed(range(1, len(self._depths))):
            below = self._gradients[depth - 1]
            for layer, part in zip(self._depths[depth], parts, strict=True):
                th.mm(gradient[part], layer.weight, out=below[part])
            th.index_select(self._batch_kept[depth - 1], 0, source, out=self._kept[depth - 1])
            self._activation[depth - 1]()
            gradient = below
        for columns, part in zip(self._columns, parts, strict=True):
            # Narrow as it is, this product is 3 times as fast with its right side laid out along the rows.
            th.mm(gradient[part], columns.contiguous().t(), out=self._x_gradient[part])

        self._in_order[order] = self._x_gradient.numpy()
        return self._in_order
