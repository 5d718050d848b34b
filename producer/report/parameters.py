"""Hyperparameters as numbers: what parallel coordinates draw and what the importance is computed from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from producer.results.leaderboard import Leaderboard
from producer.words import label_keys, set_values

LOG_SPAN = 10.0
"""A positive parameter that spans this factor is compared by its logarithm."""


@dataclass(frozen=True)
class Parameter:
    """One hyperparameter over the ranked sets."""

    key: str
    positions: tuple[float, ...]
    """0 to 1, one a set in the order of the ranking."""
    ticks: tuple[tuple[float, str], ...]
    """(position, text)."""
    logarithmic: bool

    @property
    def name(self) -> str:
        """Return its name without the part that all of its kind share."""
        return self.key.removeprefix("policy_kwargs.").removeprefix("env.kwargs.")


def parameters(board: Leaderboard) -> tuple[Parameter, ...]:
    """Return what differs between the ranked sets, the most varied first."""
    differs = [standing.entrant.differs for standing in board.standings]
    telling = label_keys(differs) if len(differs) > 1 else ()
    return tuple(_parameter(key, differs) for key in telling)


def matrix(board: Leaderboard, chosen: Sequence[Parameter]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return features (sets × parameters) and scores (mean over seeds, one a set)."""
    features = np.array([parameter.positions for parameter in chosen], dtype=np.float64).T
    return features, np.array([standing.entrant.mean for standing in board.standings], dtype=np.float64)


def _parameter(key: str, differs: Sequence[Mapping[str, Any]]) -> Parameter:
    values = [one.get(key) for one in differs]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return _numeric(key, [float(value) for value in values if value is not None])
    return _categorical(key, [set_values(one, [key]) for one in differs])


def _numeric(key: str, values: Sequence[float]) -> Parameter:
    low, high = min(values), max(values)
    logarithmic = low > 0 and high / low >= LOG_SPAN
    scaled = np.log(values) if logarithmic else np.asarray(values)
    span = float(np.ptp(scaled)) or 1.0
    positions = (scaled - scaled.min()) / span
    distinct = sorted(set(values))
    if len(distinct) > 5:
        middle = float(np.sqrt(low * high)) if logarithmic else (low + high) / 2
        ticks = [(0.0, low), (0.5, middle), (1.0, high)]
    else:
        ticks = [(float(positions[values.index(value)]), value) for value in distinct]
    return Parameter(key, tuple(map(float, positions)), tuple((at, f"{value:.3g}") for at, value in ticks), logarithmic)


def _categorical(key: str, values: Sequence[str]) -> Parameter:
    distinct = sorted(set(values))
    places = {value: index / max(1, len(distinct) - 1) for index, value in enumerate(distinct)}
    ticks = tuple((place, value) for value, place in places.items()) if len(distinct) <= 12 else ()
    return Parameter(key, tuple(places[value] for value in values), ticks, logarithmic=False)
