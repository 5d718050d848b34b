"""Named arrays and one JSON head as bytes and back: safetensors, never pickle, and nothing believed that was read."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import ValidationError

from worker.contract.base import Frozen, canonical_json
from worker.contract.errors import CheckpointCorrupt

Array = NDArray[Any]
Floats = NDArray[np.float32]
Head = TypeVar("Head", bound=Frozen)

_HEAD = "head"


def encode(head: Frozen, arrays: Mapping[str, Array]) -> bytes:
    """Return `head` and `arrays` as safetensors; equal content gives equal bytes.

    The head is an array of its own, since the order of safetensors' own metadata is not fixed.
    """
    text = np.frombuffer(canonical_json(head.model_dump(mode="json")), dtype=np.uint8)
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    return safetensors.numpy.save({_HEAD: text, **contiguous})


class Reader:
    """The arrays of a blob; each is taken once and checked as it is taken."""

    def __init__(self, body: bytes) -> None:
        """Parse `body`.

        Raises:
            CheckpointCorrupt: it is not safetensors.
        """
        try:
            self._arrays: dict[str, Array] = safetensors.numpy.load(body)
        except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
            raise CheckpointCorrupt(f"It is not safetensors: {error}.") from error

    def head(self, model: type[Head]) -> Head:
        """Return the head as `model`.

        Raises:
            CheckpointCorrupt: there is none, or it is not such a value.
        """
        text = self.take(_HEAD, np.uint8, (None,)).tobytes()
        try:
            return model.model_validate(json.loads(text), strict=False)
        except (ValueError, RecursionError) as error:  # ValidationError and JSON's errors are ValueErrors
            raise CheckpointCorrupt(f"Its head is wrong: {_brief(error)}.") from error

    def take(
        self, name: str, dtype: type[np.generic], shape: tuple[int | None, ...], *, nan_is_absent: bool = False
    ) -> Array:
        """Return the array `name`; None in `shape` stands for any length.

        Raises:
            CheckpointCorrupt: it is missing, of another type or shape, or holds a number that is not finite
                (`nan_is_absent` allows NaN, which then means that there is no value).
        """
        array = self._arrays.pop(name, None)
        if array is None:
            raise CheckpointCorrupt(f"It holds no {name!r}.")
        fits = array.ndim == len(shape) and all(b in (None, a) for a, b in zip(array.shape, shape, strict=True))
        if array.dtype != np.dtype(dtype) or not fits:
            raise CheckpointCorrupt(f"{name!r} is {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape}.")
        if array.dtype.kind == "f" and not (np.isfinite(array) | (nan_is_absent & np.isnan(array))).all():
            raise CheckpointCorrupt(f"{name!r} holds a number that is not finite.")
        return array

    def nothing_else(self) -> None:
        """Raise CheckpointCorrupt if an array was not taken."""
        if self._arrays:
            raise CheckpointCorrupt(f"It holds what it should not: {', '.join(sorted(self._arrays)[:3])}.")


def _brief(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error) or type(error).__name__
