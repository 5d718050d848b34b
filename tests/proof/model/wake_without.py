"""Each rule of the wake taken away, from its definition or from those that it watches."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from producer.emulator.wake import Wake
from tests.proof.model.wake import State, WakeModel, the_wake

NEVER_S: Final = 10**9
SLOW: Final = State(to_come=1, capacity=1, vms=("booting",))
"""A VM that takes longer to boot than the pulse lasts."""
DEAD: Final = State(to_come=1, capacity=1, vms=("dead",))


def _edited(wake: Wake, old: str, new: str) -> Wake:
    text = json.dumps(wake.definition)
    assert old in text
    return replace(wake, definition=json.loads(text.replace(old, new)))


def _looks_once(wake: Wake) -> Wake:
    """Compare the pulse with itself."""
    return _edited(wake, "@outputs('read_pulse_again')['headers']['ETag']", "@outputs('read_pulse')['headers']['ETag']")


TAKEN_AWAY: Final[Mapping[str, WakeModel]] = {
    "12: it does not raise": WakeModel(the_wake(0)),
    "12: it does not clear": WakeModel(the_wake(pulseAge_s=NEVER_S), DEAD),
    "12: it looks at the pulse once": WakeModel(_looks_once(the_wake()), SLOW),
    "12: it PATCHes by what it read long ago": WakeModel(the_wake(freshness_s=NEVER_S), SLOW),
    "12: VMs do not pulse": WakeModel(the_wake(), pulses=False),
    "12: a VM receives as soon as it has pulsed": WakeModel(the_wake(), SLOW, waits_to_receive=False),
}
"""By rule: the model without it."""
