"""What every value of the contract shares: it is frozen, closed and has one canonical form."""

import hashlib
import json
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, StringConstraints

SCHEMA_VERSION: Final = 1
"""Version of messages, plans and manifests. Within one version no default ever changes (job ids leave defaults out)."""

STATE_VERSION: Final = 1
"""Version of what a checkpoint's state blob holds; a release with another one cannot resume it."""

SweepName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](-?[a-z0-9])*$", max_length=40)]
JobId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Nonce = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]

Scalar = bool | int | float | str | None
"""A value as a person writes it in a sweep file."""


class Frozen(BaseModel):
    """Base of all values: immutable, no unknown fields, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def canonical(self) -> bytes:
        """Return the one JSON form of this value: sorted keys, no spaces, ASCII."""
        return canonical_json(self.model_dump(mode="json"))


def canonical_json(value: Any) -> bytes:
    """Encode `value` so that equal values have equal bytes; NaN and infinity are refused with ValueError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def sha256_hex(body: bytes) -> str:
    """Return the SHA-256 of `body` in hex."""
    return hashlib.sha256(body).hexdigest()
