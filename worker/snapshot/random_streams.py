"""The random streams that a training run draws from, as values: nothing but numbers, checked when read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from worker.contract.base import Frozen
from worker.snapshot.arrays import Array, Reader

MT19937_WORDS = 624
TORCH_STATE_BYTES = 5056
"""Length of `torch.get_rng_state()` for the CPU."""

Position = Annotated[int, Field(ge=0, le=MT19937_WORDS)]


class Pcg64(Frozen):
    """State of a NumPy Generator over PCG64, as gymnasium's environments and spaces have one."""

    state: Annotated[int, Field(ge=0, lt=2**128)]
    inc: Annotated[int, Field(ge=0, lt=2**128)]
    has_uint32: Annotated[int, Field(ge=0, le=1)]
    uinteger: Annotated[int, Field(ge=0, lt=2**32)]

    @model_validator(mode="after")
    def _is_a_stream(self) -> Self:
        if self.inc % 2 == 0:
            raise ValueError("the increment of PCG64 is odd")
        return self

    @classmethod
    def of(cls, generator: np.random.Generator) -> "Pcg64":
        """Return the state of `generator`; ValueError if its bit generator is another one."""
        state = generator.bit_generator.state
        if state["bit_generator"] != "PCG64":
            raise ValueError(f"expected a PCG64 generator, found {state['bit_generator']}")
        return cls(**state["state"], has_uint32=state["has_uint32"], uinteger=state["uinteger"])

    def put_into(self, generator: np.random.Generator) -> None:
        """Set `generator` to this state."""
        generator.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": {"state": self.state, "inc": self.inc},
            "has_uint32": self.has_uint32,
            "uinteger": self.uinteger,
        }


class StreamsHead(Frozen):
    """What of the streams is not an array."""

    numpy_position: Position
    numpy_has_gauss: Annotated[int, Field(ge=0, le=1)]
    numpy_gauss: float
    python_position: Position
    python_gauss: float | None
    action_space: Pcg64


@dataclass(frozen=True, eq=False)
class RandomStreams:
    """The global streams of NumPy, torch and Python, and that of the action space.

    SB3 samples the replay buffer from NumPy's, noise from torch's, and warm-up actions from the action space's.
    """

    head: StreamsHead
    numpy_key: NDArray[np.uint32]
    torch_state: NDArray[np.uint8]
    python_key: NDArray[np.uint32]

    def numpy(self) -> dict[str, Any]:
        """Return what `np.random.set_state` takes."""
        return {
            "bit_generator": "MT19937",
            "state": {"key": self.numpy_key, "pos": self.head.numpy_position},
            "has_gauss": self.head.numpy_has_gauss,
            "gauss": self.head.numpy_gauss,
        }

    def python(self) -> tuple[int, tuple[int, ...], float | None]:
        """Return what `random.setstate` takes."""
        return 3, (*self.python_key.tolist(), self.head.python_position), self.head.python_gauss

    def without_python(self) -> "RandomStreams":
        """Return the same without Python's stream: training does not use it, and other threads of the process may.

        A single draw of theirs moves the position and leaves the key, and only every 624th changes that too.
        """
        head = self.head.model_copy(update={"python_position": 0, "python_gauss": None})
        return replace(self, head=head, python_key=np.zeros_like(self.python_key))

    @classmethod
    def of(
        cls,
        numpy: Mapping[str, Any],
        torch_state: NDArray[np.uint8],
        python: tuple[Any, ...],
        action_space: np.random.Generator,
    ) -> "RandomStreams":
        """Return the streams from `np.random.get_state(legacy=False)`, torch's bytes and `random.getstate()`."""
        _, words, gauss = python
        head = StreamsHead(
            numpy_position=numpy["state"]["pos"],
            numpy_has_gauss=numpy["has_gauss"],
            numpy_gauss=numpy["gauss"],
            python_position=words[-1],
            python_gauss=gauss,
            action_space=Pcg64.of(action_space),
        )
        key = np.array(numpy["state"]["key"], dtype=np.uint32)
        return cls(head, key, torch_state, np.array(words[:-1], dtype=np.uint32))

    def arrays(self) -> dict[str, Array]:
        """Return the streams' arrays, for a checkpoint."""
        return {
            "random.numpy": self.numpy_key,
            "random.torch": self.torch_state,
            "random.python": self.python_key,
        }

    @classmethod
    def take(cls, reader: Reader, head: StreamsHead) -> "RandomStreams":
        """Return the streams in a checkpoint; CheckpointCorrupt if they are not as `arrays` makes them."""
        return cls(
            head,
            reader.take("random.numpy", np.uint32, (MT19937_WORDS,)),
            reader.take("random.torch", np.uint8, (TORCH_STATE_BYTES,)),
            reader.take("random.python", np.uint32, (MT19937_WORDS,)),
        )
