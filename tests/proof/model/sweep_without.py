"""Each rule of enqueue, audit and delete taken away, and the small model in which that must show."""

from collections.abc import Mapping
from typing import Any, Final

from tests.proof.model.sweep import SweepModel
from tests.proof.model.sweep_world import Sweep, SweepRules


def _without(*wishes: str, kills: int = 0, deaths: int = 0, **rules: Any) -> SweepModel:
    return SweepModel(Sweep(wishes=wishes, kills=kills, deaths=deaths), SweepRules(**rules))


TAKEN_AWAY: Final[Mapping[str, SweepModel]] = {
    "7: the messages before the plan": _without(
        "enqueue", steps=("find plan", "statuses", "records", "send", "record", "write plan"), audits=False
    ),
    "7: no audit": _without("enqueue", kills=1, audits=False),
    "7: nobody says that jobs begin": _without("enqueue", "retry", kills=1, reopens=False),
    "7: a mark is believed whatever a killed command has said": _without("enqueue", "retry", kills=2, doubts=False),
    "7: a message needs no plan": _without("enqueue", "delete", "enqueue", kills=1, planned_only=False),
    "8: deleted before all has ended": _without("enqueue", "delete", only_ended=False, tombstone=False),
    "8: deleted without a tombstone": _without("enqueue", "delete", "retry", tombstone=False),
}
"""By rule: the model without it."""
