"""How numbers are written for people, in tables of a fixed width."""

from collections.abc import Mapping, Sequence
from typing import Any

BARS = "▁▂▃▄▅▆▇█"
ASCII_BARS = "_.-=+*%#"


def duration(seconds: float) -> str:
    """Return a length of time in at most 7 characters: `45 s`, `12 min`, `1 h 05`, `3 d 04`."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d}"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours:02d}"


def short(count: float) -> str:
    """Return a count in at most 5 characters: `950`, `45.0k`, `200k`, `1.50M`, `12.5M`."""
    for unit, size in (("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9)):
        value = count / size
        if value < 999.5:
            digits = 0 if not unit or value >= 99.95 else 1 if value >= 9.995 or unit == "k" else 2
            return f"{value:.{digits}f}{unit}"
    return f"{count / 1e12:.2g}T"


def number(value: float | None, digits: int = 0) -> str:
    """Return a return or a score; a minus sign that a person can see, and nothing for nothing."""
    if value is None:
        return ""
    text = f"{value:.{digits}f}"
    return "0" if text == "-0" else text.replace("-", "−")


def sparkline(values: Sequence[float], width: int, *, ascii_only: bool = False) -> str:
    """Return the last `width` values as bars between their own lowest and highest."""
    shown = values[-width:]
    if len(shown) < 2:
        return ""
    bars = ASCII_BARS if ascii_only else BARS
    low, high = min(shown), max(shown)
    if high - low < 1e-9:
        return bars[len(bars) // 2 - 1] * len(shown)
    return "".join(bars[min(len(bars) - 1, int((value - low) / (high - low) * len(bars)))] for value in shown)


def label_keys(sets: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the keys that tell hyperparameter sets apart, the most telling first; a few hundred sets show which.

    A key with the same value in all sets is left out, unless there is only one set.
    """
    sample = sets[:300]
    keys = sorted({key for differs in sample for key in differs})
    spread = {key: len({repr(differs.get(key)) for differs in sample}) for key in keys}
    telling = [key for key in keys if spread[key] > 1 or len(sets) == 1]
    return tuple(sorted(telling, key=lambda key: -spread[key]))


def set_label(differs: Mapping[str, Any], keys: Sequence[str]) -> str:
    """Return what tells a hyperparameter set from the others of its sweep."""
    shown = [key for key in keys if key in differs]
    return " ".join(f"{key.removeprefix('policy_kwargs.')}={_value(differs[key])}" for key in shown) or "common"


def set_values(differs: Mapping[str, Any], keys: Sequence[str]) -> str:
    """Return the same where there is no room for names: the values of `keys`, a dash for what is at its default."""
    return " ".join(_value(differs[key]) if key in differs else "–" for key in keys)


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return "×".join(_value(part) for part in value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_value(part)}" for key, part in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def plural(count: int, noun: str, verb: str = "") -> str:
    """Return a count with its noun, and with a verb's form: `are`, `have`, or the plain form of any other."""
    one = count == 1
    said = f"{count:,} {noun}{'' if one else 's'}"
    if not verb:
        return said
    return f"{said} {_SINGULAR.get(verb, f'{verb}s') if one else verb}"


_SINGULAR = {"are": "is", "were": "was", "have": "has"}
