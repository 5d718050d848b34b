"""What of a machine decides about the bits of a result, and how two machines differ in it."""

from collections.abc import Mapping

Fingerprint = Mapping[str, str]


def differences(before: Fingerprint, now: Fingerprint) -> tuple[str, ...]:
    """Return what changed, for people; empty where a resume is bit-exact."""
    names = sorted({*before, *now})
    return tuple(
        f"{name}: {before.get(name, 'unknown')} → {now.get(name, 'unknown')}"
        for name in names
        if before.get(name) != now.get(name)
    )
